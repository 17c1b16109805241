# A crispd of a test's own, with an image made by hand, and what shows how its processes live:
# for t/cri/*.t that are written in Python.  Everything is below T and named by TAG.
import atexit, hashlib, json, os, re, shutil, signal, subprocess, sys, tarfile, tempfile, time

BUILD = os.environ.get("BUILD", "build")
os.chdir(os.path.dirname(os.path.abspath(__file__)) + "/../..")
sys.path.insert(0, "t")
import tap
from tap import done, ok
T = tempfile.mkdtemp(prefix="crisp-keeper-cri.")
TAG = f"kt{os.getpid()}"
SOCK, IMAGE = f"{T}/state/crisp.sock", "localhost/keeper-test:1"
COUNT = "i=0; while [ ! -e /dev/shm/end ]; do i=$((i+1)); echo line $i; sleep 0.005; done; exit 42"
daemon = None           # what the operator has started last


def until(cond, seconds=30):
    end = time.monotonic() + seconds
    while not (got := cond()) and time.monotonic() < end:
        time.sleep(0.02)
    return got


def ctl(*args, check=True):
    r = subprocess.run([f"{BUILD}/crispctl", "-s", SOCK, *args], capture_output=True, text=True, timeout=120)
    if check and r.returncode:
        raise RuntimeError(f"crispctl {' '.join(args)}: {r.returncode} {r.stderr}")
    return r.stdout


def rpc(method, request, response=None):
    def proto(mode, name, data):
        return subprocess.run(["protoc", "-Iproto", "-I/usr/include", f"--{mode}=runtime.v1.{name}", "proto/cri.proto"],
                              input=data, capture_output=True, check=True).stdout
    wire = subprocess.run([f"{BUILD}/t/cri/rpc", SOCK, method], input=proto("encode", f"{method}Request", request.encode()),
                          capture_output=True)
    if wire.returncode:
        raise RuntimeError(f"{method}: {wire.stderr.decode()}")
    return proto("decode", f"{method}Response", wire.stdout).decode()


# -- an image, by hand --
def blob(folder, data):
    digest = hashlib.sha256(data).hexdigest()
    open(f"{folder}/blobs/sha256/{digest}", "wb").write(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


def make_image(folder):
    os.makedirs(f"{folder}/blobs/sha256")
    os.makedirs(f"{T}/fs/bin")
    shutil.copy("/bin/busybox", f"{T}/fs/bin/busybox")
    for tool in "sh", "sleep", "readlink", "cat", "hostname":
        os.symlink("busybox", f"{T}/fs/bin/{tool}")
    with tarfile.open(f"{T}/layer", "w") as tar:
        tar.add(f"{T}/fs", ".")
    layer = blob(folder, open(f"{T}/layer", "rb").read())
    arch = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True).stdout.strip()
    config = blob(folder, json.dumps({"architecture": arch, "os": "linux", "config": {"Env": ["PATH=/bin"]},
                                      "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}).encode())
    oci = "application/vnd.oci.image."
    manifest = blob(folder, json.dumps({
        "schemaVersion": 2, "mediaType": oci + "manifest.v1+json", "config": {"mediaType": oci + "config.v1+json", **config},
        "layers": [{"mediaType": oci + "layer.v1.tar", **layer}]}).encode())
    json.dump({"schemaVersion": 2, "manifests": [{"mediaType": oci + "manifest.v1+json", **manifest}]},
              open(f"{folder}/index.json", "w"))
    json.dump({"imageLayoutVersion": "1.0.0"}, open(f"{folder}/oci-layout", "w"))


# -- the daemon --
def children(pid):
    try:
        return [int(p) for p in open(f"/proc/{pid}/task/{pid}/children").read().split()]
    except OSError:
        return []


def is_core(pid):
    try:
        return b"--core" in open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
    except OSError:
        return False


def core_of(keeper):
    return next((p for p in children(keeper) if is_core(p)), 0)


def keepers():
    """The keepers of this state, also those that rest."""
    def is_ours(pid):
        try:
            return os.readlink(f"/proc/{pid}/exe").endswith("/crisp-keeper") and \
                f"{T}/config.yaml" in open(f"/proc/{pid}/cmdline").read().split("\0")
        except OSError:
            return False
    return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and is_ours(pid)]


def keeper():
    return next(iter(keepers()), 0)


def process():
    return daemon


def is_gone(pid):
    return not os.path.exists(f"/proc/{pid}") or open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] == "Z"


def start(*args, **env):
    global daemon
    rd, wr = os.pipe()
    daemon = subprocess.Popen([f"{BUILD}/crispd", "--config", f"{T}/config.yaml", f"--ready-fd={wr}", *args], pass_fds=[wr],
                              stdin=subprocess.DEVNULL, stderr=open(f"{T}/log", "a"), env={**os.environ, **env})
    os.close(wr)
    good = os.read(rd, 10) == b"ready\n"
    os.close(rd)
    return good


def kill_core(keeper):
    old = until(lambda: core_of(keeper))
    os.kill(old, signal.SIGKILL)
    until(lambda: core_of(keeper) not in (0, old))


def status(name):
    return json.loads(ctl("inspect", f"{name}/{name}"))["status"]


def pid_of(name):
    return json.loads(ctl("inspect", f"{name}/{name}"))["info"]["info"]["pid"]


def exited(name):
    s = until(lambda: (s := status(name)).get("state") == "CONTAINER_EXITED" and s)
    return s and (s["exitCode"], s["reason"])


def end_count(name):
    # The exec may be killed by the end that it brings about.
    ctl("exec", name, "--", "sh", "-c", "> /dev/shm/end", check=False)


def lines(name):
    return [int(x) for x in re.findall(r"^line (\d+)$", ctl("logs", name), re.M)]


def whole(numbers):
    """Every line is there; a repeat is fine."""
    return numbers and sorted(set(numbers)) == list(range(1, max(numbers) + 1))


def stop(pid):
    os.kill(pid, signal.SIGTERM)
    return until(lambda: is_gone(pid))


@atexit.register
def clean_up():
    try:
        ctl("rm", "-fa", check=False)
    except Exception:
        pass
    for exe in os.listdir("/proc"):
        if exe.isdigit():
            try:
                if f"{T}/config.yaml" in open(f"/proc/{exe}/cmdline").read().split("\0"):
                    os.kill(int(exe), signal.SIGKILL if is_core(exe) else signal.SIGTERM)
            except OSError:
                pass
    if daemon:
        daemon.wait()
    time.sleep(0.1)
    subprocess.run(["umount", "-R", "-l", f"{T}/netns"], stderr=subprocess.DEVNULL)
    for folder, _, _ in sorted(os.walk("/sys/fs/cgroup"), reverse=True):
        if f"/crisp-{TAG}" in folder:
            try:
                os.rmdir(folder)
            except OSError:
                pass
    if tap.failed:
        print("# the daemon's log:\n# " + open(f"{T}/log").read().replace("\n", "\n# "))
    shutil.rmtree(T, ignore_errors=True)


open(f"{T}/config.yaml", "w").write(f"""
state: {T}/state
root: {T}/root
netns_dir: {T}/netns
netns_prefix: {TAG}-
cgroup: {{parent: /crisp-{TAG}}}
engines: {{default: crun, handlers: {{crun: {{engine: crun}}, runc: {{engine: runc}}}}}}
network: {{plugin: none}}
""")


def begin():
    make_image(f"{T}/image")
    if not ok(start(), "the daemon comes up"):
        sys.exit(1)
    ctl("load", "-n", IMAGE, f"{T}/image")

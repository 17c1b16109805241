#!/usr/bin/env python3
# Core and keeper die under real containers: same processes, no line lost, exit codes right.
import atexit, hashlib, json, os, re, shutil, signal, subprocess, sys, tarfile, tempfile, time

BUILD = os.environ.get("BUILD", "build")
os.chdir(os.path.dirname(os.path.abspath(__file__)) + "/../..")
T = tempfile.mkdtemp(prefix="crisp-keeper-cri.")
TAG = f"kt{os.getpid()}"
SOCK, IMAGE = f"{T}/state/crisp.sock", "localhost/keeper-test:1"
tests = failed = 0
daemon = None


def ok(good, name, note=""):
    global tests, failed
    tests += 1
    failed += not good
    print(f"{'' if good else 'not '}ok {tests} - {name}", flush=True)
    if not good and note != "":
        print("# " + str(note).replace("\n", "\n# "), flush=True)
    return good


def until(cond, seconds=30):
    end = time.monotonic() + seconds
    while not (got := cond()) and time.monotonic() < end:
        time.sleep(0.02)
    return got


def ctl(*args, check=True):
    r = subprocess.run([f"{BUILD}/crispctl", "-s", SOCK, *args], capture_output=True, text=True, timeout=120)
    if check and r.returncode:
        raise RuntimeError(f"crispctl {' '.join(args)}: {r.stderr}")
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


def start():
    global daemon
    rd, wr = os.pipe()
    daemon = subprocess.Popen([f"{BUILD}/crispd", "--config", f"{T}/config.yaml", f"--ready-fd={wr}"], pass_fds=[wr],
                              stdin=subprocess.DEVNULL, stderr=open(f"{T}/log", "a"))
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


def lines(name):
    return [int(x) for x in re.findall(r"^line (\d+)$", ctl("logs", name), re.M)]


def whole(numbers):
    """Every line is there; a repeat is fine."""
    return numbers and sorted(set(numbers)) == list(range(1, max(numbers) + 1))


def stop_all(keeper):
    os.kill(keeper, signal.SIGTERM)
    until(lambda: not os.path.exists(f"/proc/{keeper}") or
          open(f"/proc/{keeper}/stat").read().rsplit(")", 1)[1].split()[0] == "Z")


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
    if failed:
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
make_image(f"{T}/image")
if not ok(start(), "the daemon comes up"):
    sys.exit(1)
keeper = daemon.pid
ctl("load", "-n", IMAGE, f"{T}/image")
COUNT = "i=0; while [ ! -e /dev/shm/end ]; do i=$((i+1)); echo line $i; sleep 0.005; done; exit 42"

for engine in "crun", "runc":
    # -- the core dies --
    ctl("run", "-r", engine, "-n", f"count-{engine}", "-i", IMAGE, "--", "sh", "-c", COUNT)
    pid = pid_of(f"count-{engine}")
    for _ in range(3):
        seen = len(lines(f"count-{engine}"))
        kill_core(keeper)
        until(lambda: len(lines(f"count-{engine}")) > seen)
    ok(pid and pid_of(f"count-{engine}") == pid, f"{engine}: the core dies three times, the process is the same")
    ctl("exec", f"count-{engine}", "--", "sh", "-c", "> /dev/shm/end")
    ok(exited(f"count-{engine}") == (42, "Error"), f"{engine}: its exit code is right", status(f"count-{engine}"))
    got = lines(f"count-{engine}")
    ok(whole(got), f"{engine}: no line of {len(set(got))} is lost, {len(got) - len(set(got))} are repeated")
    # -- an exit while no core lives --
    ctl("run", "-r", engine, "-n", f"gone-{engine}", "-i", IMAGE, "--", "sh", "-c", "sleep 1000; exit 7")
    pid = pid_of(f"gone-{engine}")
    sleeper = until(lambda: children(pid))
    core = core_of(keeper)
    os.kill(core, signal.SIGSTOP)
    os.kill(sleeper[0], signal.SIGTERM)     # the shell goes on to its exit
    until(lambda: open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] == "Z")
    os.kill(core, signal.SIGKILL)
    until(lambda: core_of(keeper) not in (0, core))
    ok(exited(f"gone-{engine}") == (7, "Error"), f"{engine}: an exit while no core lives has its code",
       status(f"gone-{engine}"))

# -- the keeper dies --
ctl("run", "-n", "stay", "-i", IMAGE, "--", "sh", "-c", COUNT)
pid, core = pid_of("stay"), core_of(keeper)
os.kill(keeper, signal.SIGKILL)
ok(until(lambda: core_of(core)), "the keeper dies: the core becomes one, with a new core")
daemon.wait()
keeper = core
seen = len(lines("stay"))
ok(until(lambda: len(lines("stay")) > seen) and pid_of("stay") == pid, "the container goes on")
kill_core(keeper)
ok(until(lambda: pid_of("stay") == pid), "the new keeper keeps as well")
ctl("exec", "stay", "--", "sh", "-c", "> /dev/shm/end")
ok(exited("stay") == (42, "Error") and whole(lines("stay")), "exit code and lines are right", status("stay"))

# -- both leave, the container stays --
NAMESPACES = "for n in net ipc uts; do readlink /proc/self/ns/$n; done; hostname"
LINUX = "linux { security_context { namespace_options { pid: %s } } }"
CTR = 'metadata { name: "%s" } image { image: "%s" } command: "sleep" args: "1000" '


class Pod:
    """pid: POD has a pause process, which lives in the namespaces; CONTAINER has none."""
    def __init__(self, name, pid):
        self.linux = LINUX % pid
        self.config = f'metadata {{ name: "{name}" uid: "u" namespace: "n" }} hostname: "host-{name}" {self.linux}'
        self.id = re.search('"(.*)"', rpc("RunPodSandbox", f"config {{ {self.config} }}"))[1]

    def add(self, name):
        """A container; what namespaces it is in."""
        made = rpc("CreateContainer", f'pod_sandbox_id: "{self.id}" sandbox_config {{ {self.config} }} '
                   f"config {{ {CTR % (name, IMAGE)} {self.linux} }}")
        ctr = re.search('"(.*)"', made)[1]
        rpc("StartContainer", f'container_id: "{ctr}"')
        return ctl("exec", ctr, "--", "sh", "-c", NAMESPACES).split()


def restart():
    stop_all(keeper)
    good = start()
    return good, daemon.pid


shared, lonely = Pod("shared", "POD"), Pod("lonely", "CONTAINER")
first, alone = shared.add("first"), lonely.add("alone")
ok(first[3] == "host-shared" and alone[3] == "host-lonely", "a container has the pod's hostname", (first, alone))
good, keeper = restart()
ok(good, "a stop and a start")
ok("first" in ctl("ps") and "alone" in ctl("ps"), "leave the containers running", ctl("ps", "-a"))
ok(shared.add("second") == first and lonely.add("second") == alone, "another container joins its pod's namespaces")
ctl("stop", "-t", "0", "shared/first", "shared/second", "lonely/alone", "lonely/second")
good, keeper = restart()
ok(shared.add("third") == first, "the pause process holds them, too")
third = lonely.add("third")
ok(third[0] == alone[0] and third[3] == alone[3], "with nobody in them the network's is the same", third)
host = [os.readlink(f"/proc/self/ns/{n}") for n in ("net", "ipc", "uts")]
ok(not set(third) & set(host), "and none is the host's", third)

ctl("rm", "-fa")
ok(os.listdir(f"{T}/netns") == [] and len(os.listdir(f"/proc/{keeper}/fd")) <= 9, "nothing is left in the keeper",
   [os.readlink(f"/proc/{keeper}/fd/{f}") for f in os.listdir(f"/proc/{keeper}/fd")])
stop_all(keeper)
ok(daemon.wait(20) == 0, "the end")
print(f"1..{tests}")
sys.exit(1 if failed else 0)

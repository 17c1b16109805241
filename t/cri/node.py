"""A real crispd under test, called by the gRPC library of Python, for kill.t, broken.t, escape.t.

Its state lies in a tmpfs of its own; everything that it names on the host begins with TAG."""
import atexit, glob, json, os, shutil, signal, subprocess, sys, tempfile, threading, time

import grpc
from google.protobuf import json_format

TOP = os.path.abspath(os.path.dirname(os.path.abspath(__file__)) + "/../..")
sys.path.insert(0, f"{TOP}/t")
from tap import SLOW, WAIT, done, ok, say, until

BUILD = os.path.join(TOP, os.environ.get("BUILD", "build"))
TAG = f"nt{os.getpid()}"
HOME = tempfile.mkdtemp(prefix=f"{TAG}.")	# short: sockets lie below it
os.chmod(HOME, 0o711)	# as folders on the way to a node's state are: roots of user namespaces go it, too
IMAGE = "localhost/busybox:1"
TOOLS = "sh sleep usleep cat ls touch kill id readlink true echo wc chroot mkdir mount umount nsenter chmod chown".split()

os.environ.pop("GRPC_VERBOSITY", None)

# -- messages: proto/cri.proto by the library, without what only protobuf-c knows --

def load_proto():
    with open(f"{TOP}/proto/cri.proto") as f:
        lines = [line for line in f if "protobuf-c" not in line and "pb_c_file" not in line]
    with open(f"{HOME}/cri_of_test.proto", "w") as f:
        f.writelines(lines)
    subprocess.run(["protoc", f"-I{HOME}", f"--python_out={HOME}", f"{HOME}/cri_of_test.proto"], check=True)
    sys.path.insert(0, HOME)
    import cri_of_test_pb2
    return cri_of_test_pb2


cri = load_proto()
METHODS = {m.name: (f"/runtime.v1.{s.name}/{m.name}", getattr(cri, m.input_type.name), getattr(cri, m.output_type.name))
           for s in cri.DESCRIPTOR.services_by_name.values() for m in s.methods}

# -- processes --


def stat_of(pid):
    """(ppid, state) of a process, or None."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            rest = f.read().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return int(rest[1]), rest[0]


def alive(pid):
    st = stat_of(pid)
    return bool(st) and st[1] not in "ZX"


def cmdline(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as f:
            return f.read().split("\0")
    except OSError:
        return []


def children(pid):
    return [int(p) for p in os.listdir("/proc") if p.isdigit() and (stat_of(p) or (0,))[0] == pid]


def processes(*words):
    """Those that run and have each of these words somewhere on their command line."""
    return [int(p) for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid() and alive(p) and
            all(any(w in arg for arg in cmdline(p)) for w in words)]


def component(build, name):
    """What components.sh builds with that function: the value of its variable."""
    r = subprocess.run(["sh", "-c", f'here=$PWD; . ./components.sh; {build} >&2 && echo "${name}"'],
                       cwd=f"{TOP}/t/cri", capture_output=True, text=True)
    if r.returncode:
        print(f"Bail out! {build}: {r.stderr[-300:]}")
        sys.exit(1)
    return r.stdout.strip()


def make_image():
    """The host's static busybox as an image, by crispctl load of a docker archive."""
    import hashlib, tarfile
    fs = f"{HOME}/fs"
    os.makedirs(f"{fs}/bin")
    os.mkdir(f"{fs}/tmp")
    shutil.copy("/bin/busybox", f"{fs}/bin/busybox")
    for tool in TOOLS:
        os.symlink("busybox", f"{fs}/bin/{tool}")
    with tarfile.open(f"{HOME}/layer.tar", "w") as tar:
        tar.add(fs, ".")
    with open(f"{HOME}/layer.tar", "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    arch = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True).stdout.strip()
    files = {"config.json": {"architecture": arch, "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
                             "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]}},
             "manifest.json": [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]}
    for name, value in files.items():
        with open(f"{HOME}/{name}", "w") as f:
            json.dump(value, f)
    with tarfile.open(f"{HOME}/image.tar", "w") as tar:
        for name in [*files, "layer.tar"]:
            tar.add(f"{HOME}/{name}", name)


class Node:
    def __init__(self, handlers=None, network="bridge", driver="cgroupfs"):
        self.memory = f"{HOME}/m"
        os.mkdir(self.memory)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", TAG, self.memory], check=True)
        self.state, self.root, self.logs = f"{self.memory}/s", f"{HOME}/root", f"{self.memory}/logs"
        os.mkdir(self.logs)
        self.socket, self.log = f"{self.state}/crisp.sock", f"{HOME}/log"
        self.netns_prefix, self.cgroup, self.bridge = f"{TAG}-", f"/crisp-{TAG}", f"{TAG}b"
        self.driver = driver
        if driver == "systemd":
            self.cgroup = f"/crisp{TAG}.slice"
        self.handlers = handlers or {"crun": {"engine": "crun"}, "runc": {"engine": "runc"}}
        self.network = {"plugin": network}
        if network == "bridge":
            self.network["options"] = {"bridge": self.bridge, "nft_table": TAG,
                                       "subnets": [f"10.{100 + os.getpid() % 100}.0.0/16"]}
        self.keeper = None
        self.here = threading.local()
        atexit.register(self.clean_up)
        make_image()

    # -- its life --

    def start(self):
        config = {"state": self.state, "root": self.root, "netns_prefix": self.netns_prefix,
                  "cgroup": {"driver": self.driver, "parent": self.cgroup.lstrip("/") if self.driver == "systemd" else self.cgroup},
                  "network": self.network,
                  "engines": {"default": next(iter(self.handlers)), "handlers": self.handlers}}
        with open(f"{HOME}/config.yaml", "w") as f:
            json.dump(config, f)	# which is YAML
        rd, wr = os.pipe()
        with open(self.log, "a") as log:
            env = {**os.environ, "CRISP_OP_FAULT": f"{HOME}/fault"}
            self.keeper = subprocess.Popen([f"{BUILD}/crispd", "--config", f"{HOME}/config.yaml", f"--ready-fd={wr}"],
                                           pass_fds=[wr], stdin=subprocess.DEVNULL, stderr=log, env=env)
        os.close(wr)
        with os.fdopen(rd, "rb") as f:
            if f.readline() != b"ready\n":
                raise AssertionError(f"crispd is not ready:\n{self.last_words()}")
        return self

    def arm(self, what):
        """What is to go wrong at a row of an operation, once: core/op/fault.h."""
        with open(f"{HOME}/fault.new", "w") as f:
            f.write(what + "\n")
        os.rename(f"{HOME}/fault.new", f"{HOME}/fault")

    def load(self):
        subprocess.run([f"{BUILD}/crispctl", "-s", self.socket, "load", "-n", IMAGE, f"{HOME}/image.tar"],
                       check=True, stdout=subprocess.DEVNULL)
        return self

    def core(self, other_than=0):
        """The core's pid; it need not listen yet."""
        return until(lambda: next((p for p in children(self.keeper.pid)
                                   if p != other_than and alive(p) and "--core" in cmdline(p)), None), "a core")

    def kill_core(self):
        """When this returns another one answers."""
        core = self.core()
        os.kill(core, signal.SIGKILL)
        self.core(core)
        until(self.answers, "an answer of the new core")

    def answers(self):
        try:
            return self.call("Version")
        except grpc.RpcError:
            return None

    def last_words(self, n=20):
        with open(self.log, errors="replace") as f:
            return "".join(f.readlines()[-n:])

    def stop(self):
        """SIGTERM; the exit code."""
        self.keeper.send_signal(signal.SIGTERM)
        code = self.keeper.wait(WAIT)
        self.keeper = None
        return code

    def ours(self):
        """What runs of the daemon, its helpers and its containers."""
        def marked(pid):
            try:
                with open(f"/proc/{pid}/cmdline") as f, open(f"/proc/{pid}/cgroup") as g:
                    return HOME in f.read() or self.cgroup + "/" in g.read()
            except OSError:
                return False
        return [int(p) for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid() and marked(p)]

    def helpers(self):
        """Engines' command lines and workers under way."""
        return [p for p in self.ours() if p not in (self.keeper.pid, self.core()) and alive(p) and
                (f"{self.cgroup}/" not in open(f"/proc/{p}/cgroup").read() or "crisp-helpers" in open(f"/proc/{p}/cgroup").read())]

    def clean_up(self):
        for _ in range(200):	# a core whose keeper dies becomes one
            pids = [p for p in self.ours() if alive(p)]
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            if not pids:
                break
            time.sleep(0.02)
        if self.keeper:
            self.keeper.wait()
        subprocess.run([f"{BUILD}/libexec/crisp-bridge", "cleanup", self.bridge, TAG], capture_output=True)
        for pin in glob.glob(f"/run/netns/{self.netns_prefix}*"):
            subprocess.run(["umount", "-l", pin], capture_output=True)
            os.unlink(pin)
        if self.driver == "systemd":
            subprocess.run(["systemctl", "stop", self.cgroup[1:]], capture_output=True)
        for top in glob.glob(f"/sys/fs/cgroup/*{self.cgroup}") + glob.glob(f"/sys/fs/cgroup{self.cgroup}"):
            for where, _, _ in os.walk(top, topdown=False):
                try:
                    os.rmdir(where)
                except OSError:
                    pass
        subprocess.run(["umount", "-R", "-l", self.memory], check=False)
        shutil.rmtree(HOME, ignore_errors=True)

    # -- calls --

    def channel(self):
        """One for each thread; it connects anew when a core has died."""
        if not getattr(self.here, "channel", None):
            self.here.channel = grpc.insecure_channel(f"unix:{self.socket}", options=[
                ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0), ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.min_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)])
        return self.here.channel

    def begin(self, method, within=WAIT * 2, **request):
        path, takes, gives = METHODS[method]
        stub = self.channel().unary_unary(path, request_serializer=takes.SerializeToString,
                                          response_deserializer=gives.FromString)
        return stub.future(json_format.ParseDict(request, takes()), timeout=within, wait_for_ready=True)

    def call(self, method, within=WAIT * 2, **request):
        """On a slow machine, as a kubelet does, once more while an engine or the network isn't ready."""
        end = time.monotonic() + WAIT
        while True:
            try:
                return self.begin(method, within, **request).result()
            except grpc.RpcError as e:
                if SLOW == 1 or e.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() > end:
                    raise
            time.sleep(1)

    def refused(self, method, within=WAIT * 2, **request):
        """(code, message) of a call that must fail."""
        try:
            answer = self.call(method, within, **request)
        except grpc.RpcError as e:
            return e.code().name, e.details()
        return "OK", str(answer)

    NAMESPACES = {"network": "POD", "pid": "CONTAINER", "ipc": "POD"}

    def cgroup_parent(self, name):
        """Of a pod, as a kubelet names it."""
        if self.driver == "systemd":
            return self.cgroup[1:].replace(".slice", f"-pods-{name.replace('-', '_')}.slice")
        return f"{self.cgroup}/pods/{name}"

    def pod_config(self, name, **more):
        namespaces = more.pop("namespaces", self.NAMESPACES)
        return {"metadata": {"name": name, "uid": f"uid-{name}", "namespace": "ns"}, "hostname": name,
                "log_directory": f"{self.logs}/{name}",
                "linux": {"cgroup_parent": more.pop("cgroup_parent", self.cgroup_parent(name)),
                          "security_context": {"namespace_options": namespaces, **more.pop("security", {})}}, **more}

    def ctr_config(self, name, *words, **more):
        namespaces = more.pop("namespaces", self.NAMESPACES)
        return {"metadata": {"name": name}, "image": {"image": IMAGE}, "command": list(words), "log_path": f"{name}.log",
                "linux": {"security_context": {"namespace_options": namespaces, **more.pop("security", {})},
                          "resources": more.pop("resources", {})}, **more}

    def run(self, name, handler="crun", **more):
        return self.call("RunPodSandbox", config=self.pod_config(name, **more), runtime_handler=handler).pod_sandbox_id

    def create_request(self, pod, name, *words, **more):
        return {"pod_sandbox_id": pod, "config": self.ctr_config(name, *words, **more), "sandbox_config": {}}

    def create(self, pod, name, *words, **more):
        return self.call("CreateContainer", **self.create_request(pod, name, *words, **more)).container_id

    def started(self, pod, name, *words, **more):
        ctr = self.create(pod, name, *words, **more)
        self.call("StartContainer", container_id=ctr)
        return ctr

    def exec(self, ctr, *words, timeout=WAIT // 2):
        return self.call("ExecSync", container_id=ctr, cmd=list(words), timeout=timeout)

    def status(self, ctr):
        return self.call("ContainerStatus", container_id=ctr).status

    def state_of(self, ctr):
        return cri.ContainerState.Name(self.status(ctr).state)

    def pid(self, ctr):
        return json.loads(self.call("ContainerStatus", container_id=ctr, verbose=True).info["info"])["pid"]

    def wait_exit(self, ctr):
        return until(lambda: (s := self.status(ctr)).state == cri.CONTAINER_EXITED and s, "an exit")

    def log_of(self, ctr):
        """What it has said so far."""
        path = self.status(ctr).log_path
        return "".join(line.split(" ", 3)[3] for line in open(path)) if os.path.exists(path) else ""

    def pod_state(self, pod):
        return cri.PodSandboxState.Name(self.call("PodSandboxStatus", pod_sandbox_id=pod).status.state)

    def not_ready(self, pod):
        until(lambda: self.pod_state(pod) == "SANDBOX_NOTREADY", "the pod's state")

    def pods(self):
        return {p.id for p in self.call("ListPodSandbox").items}

    def ctrs(self):
        return {c.id: c for c in self.call("ListContainers").containers}

    def down(self, pod):
        self.call("StopPodSandbox", pod_sandbox_id=pod)
        self.call("RemovePodSandbox", pod_sandbox_id=pod)

    # -- leaks --

    def leakcheck(self, command, *more):
        r = subprocess.run([f"{TOP}/t/leak/leakcheck", command, f"{HOME}/leaks", *more,
                            "--pid", f"keeper={self.keeper.pid}", "--pid", f"core={self.core()}"],
                           capture_output=True, text=True)
        return r.stdout + r.stderr if r.returncode else ""

    def snapshot(self):
        """Note what there is; what lives as long as the daemon is no leak."""
        warm = self.run("warm")
        self.started(warm, "warm", "sleep", "1000")
        self.down(warm)
        return self.note()

    def note(self, *marks):
        """Note what there is; further words by which processes of ours are known."""
        return self.leakcheck("snapshot", *(o for m in (f"{HOME}/config.yaml", *marks) for o in ("--mark", m)),
                              "--dir", self.state, "--dir", self.root, "--netns", self.netns_prefix, "--link", TAG,
                              "--cgroup", self.cgroup, "--nft", TAG)

    def leaks(self):
        return self.leakcheck("compare", "--wait", "20")

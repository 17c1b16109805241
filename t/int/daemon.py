"""
A real crispd on fake plugins, for the tests daemon*.t: its life, its calls, its ends.

Everything lies in one tmpfs below /run, in mount and network namespaces that the test alone has
(begin() moves it there).  Calls go through t/cri/rpc; messages are dicts here, put on the wire by
proto/cri.proto itself.
"""
import atexit, ctypes, glob, hashlib, io, json, os, re, select, shutil, signal, struct, subprocess, sys, tarfile, threading, time

TOP = os.path.abspath(os.path.dirname(os.path.abspath(__file__)) + "/../..")
sys.path.insert(0, f"{TOP}/t")
from tap import SLOW, WAIT, done, ok, say, until

BUILD = os.path.join(TOP, os.environ.get("BUILD", "build"))
IMAGE = "test/box:1"

# -- messages --

def read_proto():
    text = re.sub(r"//.*", "", open(f"{TOP}/proto/cri.proto").read())
    messages, enums, methods = {}, {}, {}
    scope = []
    for line in text.splitlines():
        line = line.strip()
        if m := re.match(r"(message|enum|service) (\w+) \{", line):
            scope.append((m[1], m[2]))
            if m[1] == "message":
                messages[m[2]] = {}
            elif m[1] == "enum":
                enums[m[2]] = {}
            if line.endswith("}"):
                scope.pop()
        elif line.startswith("}"):
            if scope:
                scope.pop()
        elif m := re.match(r"rpc (\w+)\((\w+)\) returns \((?:stream )?(\w+)\)", line):
            methods[m[1]] = m[2], m[3]
        elif scope and scope[-1][0] == "enum" and (m := re.match(r"(\w+) = (\d+);", line)):
            enums[scope[-1][1]][m[1]] = int(m[2])
        elif scope and scope[-1][0] == "message" and (m := re.match(r"map<string, (\w+)> (\w+) = (\d+)", line)):
            messages[scope[-1][1]][m[2]] = int(m[3]), "map", m[1]
        elif scope and scope[-1][0] == "message" and (m := re.match(r"(repeated )?(\w+) (\w+) = (\d+)", line)):
            messages[scope[-1][1]][m[3]] = int(m[4]), "many" if m[1] else "one", m[2]
    return messages, enums, methods


MESSAGES, ENUMS, METHODS = read_proto()


def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def is_number(kind):
    return kind in ENUMS or kind in ("int32", "int64", "uint32", "uint64", "bool")


def put_field(number, kind, value):
    if kind in ENUMS:
        value = ENUMS[kind].get(value, value)
    if is_number(kind):
        return varint(number << 3) + varint(int(value))
    if kind == "double":
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if kind in MESSAGES:
        value = pack(kind, value)
    elif isinstance(value, str):
        value = value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value


def pack(name, message):
    out = b""
    for field, value in message.items():
        number, shape, kind = MESSAGES[name][field]
        if shape == "map":
            for k, v in value.items():
                entry = put_field(1, "string", k) + put_field(2, kind, v)
                out += varint(number << 3 | 2) + varint(len(entry)) + entry
        else:
            for v in value if shape == "many" else [value]:
                out += put_field(number, kind, v)
    return out


def take_varint(data, at):
    n = shift = 0
    while True:
        byte = data[at]
        at += 1
        n |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return n, at


def fields_of(data):
    at = 0
    while at < len(data):
        tag, at = take_varint(data, at)
        if tag & 7 == 0:
            value, at = take_varint(data, at)
        else:
            size = 8
            if tag & 7 == 2:
                size, at = take_varint(data, at)
            value, at = data[at:at + size], at + size
        yield tag >> 3, value


def unpack_value(kind, value):
    if kind in ENUMS:
        return next((k for k, v in ENUMS[kind].items() if v == value), value)
    if kind in MESSAGES:
        return unpack(kind, value)
    if kind == "string":
        return value.decode()
    if kind == "double":
        return struct.unpack("<d", value)[0]
    if kind in ("int32", "int64") and value >> 63:
        return value - (1 << 64)
    return value


def unpack(name, data):
    """A dict with every scalar, list and map of the message, and the submessages that are there."""
    out, by_number = {}, {}
    for field, (number, shape, kind) in MESSAGES[name].items():
        by_number[number] = field, shape, kind
        if shape == "many":
            out[field] = []
        elif shape == "map":
            out[field] = {}
        elif kind in ENUMS:
            out[field] = next(k for k, v in ENUMS[kind].items() if v == 0)
        elif kind not in MESSAGES:
            out[field] = "" if kind == "string" else b"" if kind == "bytes" else 0
    for number, value in fields_of(data):
        field, shape, kind = by_number[number]
        if shape == "map":
            entry = dict(fields_of(value))
            out[field][entry.get(1, b"").decode()] = unpack_value(kind, entry.get(2, b""))
        elif shape == "many" and is_number(kind) and isinstance(value, bytes):
            at = 0
            while at < len(value):
                n, at = take_varint(value, at)
                out[field].append(unpack_value(kind, n))
        elif shape == "many":
            out[field].append(unpack_value(kind, value))
        else:
            out[field] = unpack_value(kind, value)
    return out


class Failure(Exception):
    """An RPC that failed: .code is the name of the errno class, .words what was said."""

    def __init__(self, text):
        self.code, _, self.words = text.strip().partition(": ")
        super().__init__(text.strip())


class Call:
    """A call under way, in a process of its own: leave() is a client that dies."""

    def __init__(self, daemon, method, request, timeout_ms):
        self.method = method
        self.p = subprocess.Popen([f"{BUILD}/t/cri/rpc", daemon.socket, method, str(timeout_ms)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.p.stdin.write(pack(METHODS[method][0], request))
        self.p.stdin.close()
        self.p.stdin = None

    def leave(self):
        self.p.kill()
        self.p.communicate()

    def over(self):
        return self.p.poll() is not None

    def answer(self):
        out, err = self.p.communicate(timeout=300)
        if self.p.returncode:
            raise Failure(err.decode(errors="replace"))
        return unpack(METHODS[self.method][1], out)


class Stream(Call):
    """A streaming call; what is not read here stalls it."""
    buffer = b""

    def next(self, seconds=WAIT):
        """The next message; None at the end, or when none has come in time."""
        end = time.monotonic() + seconds
        while True:
            size = int.from_bytes(self.buffer[:4], "little")
            if len(self.buffer) >= 4 + size and len(self.buffer) >= 4:
                message, self.buffer = self.buffer[4:4 + size], self.buffer[4 + size:]
                return unpack(METHODS[self.method][1], message)
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.p.stdout], [], [], left)[0]:
                return None
            more = os.read(self.p.stdout.fileno(), 65536)
            if not more:
                return None
            self.buffer += more

    def rest(self):
        """All that come until the end; a stream that fails is a Failure."""
        messages = []
        while (m := self.next()) is not None:
            messages.append(m)
        err = self.p.stderr.read()
        if self.p.wait(WAIT):
            raise Failure(err.decode(errors="replace"))
        return messages


# -- a place to be --

mark = f"ct-{os.getpid()}"
home = f"/run/{mark}"
daemons = []
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))	# with what atexit does


def begin():
    """Move into namespaces of our own, with a tmpfs at home."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.getuid():
        print("1..0 # SKIP needs root")
        sys.exit(0)
    if libc.unshare(0x00020000 | 0x40000000):	# CLONE_NEWNS, CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rslave", "/"], check=True)
    os.mkdir(home)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", mark, home], check=True)
    subprocess.run(["mount", "--make-shared", home], check=True)
    atexit.register(end)
    make_image(f"{home}/image")


def end():
    for d in daemons:
        d.kill_all()
    os.chdir("/")
    for path in sorted(glob.glob(f"/sys/fs/cgroup/*/{mark}*") + glob.glob(f"/sys/fs/cgroup/{mark}*")):
        for where, _, _ in os.walk(path, topdown=False):
            try:
                os.rmdir(where)
            except OSError:
                pass
    subprocess.run(["umount", "-R", "-l", home], check=False)
    try:
        os.rmdir(home)
    except OSError:
        pass


def make_image(top):
    """A box as an OCI layout: one layer with a passwd."""
    os.makedirs(f"{top}/blobs/sha256")

    def blob(data):
        digest = hashlib.sha256(data).hexdigest()
        with open(f"{top}/blobs/sha256/{digest}", "wb") as f:
            f.write(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as t:
        for name, data in ("etc/passwd", b"root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n"), ("bin/none", b""):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    layer = blob(tar.getvalue())
    config = blob(json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["none"], "Env": ["PATH=/bin"]},
                              "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}).encode())
    kind = "application/vnd.oci.image."
    manifest = blob(json.dumps({"schemaVersion": 2, "mediaType": kind + "manifest.v1+json",
                                "config": {"mediaType": kind + "config.v1+json", **config},
                                "layers": [{"mediaType": kind + "layer.v1.tar", **layer}]}).encode())
    with open(f"{top}/index.json", "w") as f:
        json.dump({"schemaVersion": 2, "manifests": [{"mediaType": kind + "manifest.v1+json", **manifest}]}, f)
    with open(f"{top}/oci-layout", "w") as f:
        f.write('{"imageLayoutVersion":"1.0.0"}')


# -- processes --

def stat_of(pid):
    """ppid and state of a process, or None."""
    try:
        rest = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return int(rest[1]), rest[0]


def alive(pid):
    st = stat_of(pid)
    return bool(st) and st[1] not in "ZX"


def children(pid):
    return [int(p) for p in os.listdir("/proc") if p.isdigit() and (stat_of(p) or (0,))[0] == pid]


def cmdline(pid):
    try:
        return open(f"/proc/{pid}/cmdline").read().split("\0")
    except OSError:
        return []


ARCHETYPES = "cli", "serial", "sandbox", "tty"


class Daemon:
    """crispd with state, root, socket and cgroups of its own, below home."""

    def __init__(self, name="d", network=None, **handlers):
        self.name = name
        self.dir = f"{home}/{name}"
        self.state, self.root, self.socket = f"{self.dir}/s", f"{self.dir}/r", f"{self.dir}/s/crisp.sock"
        self.logs, self.log = f"{self.dir}/logs", f"{self.dir}/log"
        self.fault = f"{self.dir}/fault"
        self.cgroup = f"/{mark}-{name}"
        self.handlers = {a: {"archetype": a} for a in ARCHETYPES}
        self.handlers.update(handlers)
        self.more = {}		# of a handler beside its engine and the engine's options
        self.network = network or {}
        self.keeper, self.keepers_pid = None, 0
        self.attempt = 0
        self.args = []
        os.makedirs(self.logs)
        os.makedirs(f"{self.dir}/netns")
        daemons.append(self)

    def config(self):
        handlers = {name: {"engine": "fake", "options": o, **self.more.get(name, {})} for name, o in self.handlers.items()}
        return {
            "socket": self.socket, "state": self.state, "root": self.root, "netns_dir": f"{self.dir}/netns",
            "netns_prefix": "t-", "log": {"level": "debug"}, "cgroup": {"parent": self.cgroup},
            "engines": {"default": "cli", "handlers": handlers},
            "network": {"plugin": "fake", "options": self.network},
        }

    def start(self, wait=True, **popen):
        with open(f"{self.dir}/config.yaml", "w") as f:
            json.dump(self.config(), f)	# which is YAML
        r, w = os.pipe()
        env = dict(os.environ, CRISP_OP_FAULT=self.fault, CRISP_TEST=self.dir)
        self.keeper = subprocess.Popen(
            [f"{BUILD}/crispd", "--config", f"{self.dir}/config.yaml", f"--ready-fd={w}", *self.args],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(self.log, "ab"), pass_fds=[w], env=env, **popen)
        os.close(w)
        if wait:
            with os.fdopen(r, "rb") as f:
                word = f.read()	# to its end: nobody else may hold it
            self.core()
            if word != b"ready\n":
                raise AssertionError(f"crispd is not ready: {self.last_words()}")
        else:
            os.close(r)
        return self

    def load(self):
        subprocess.run([f"{BUILD}/crispctl", "--socket", self.socket, "load", "--name", IMAGE, f"{home}/image"],
                       check=True, stdout=subprocess.DEVNULL)
        return self

    def last_words(self, n=15):
        return "".join(open(self.log, errors="replace").readlines()[-n:])

    def core(self, other_than=0):
        """The core's pid.  Its parent is the keeper, which need not be the process that was started."""
        def find():
            for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
                words = cmdline(pid)
                if "--core" in words and f"{self.dir}/config.yaml" in words and alive(pid) and pid != other_than:
                    self.keepers_pid = stat_of(pid)[0]
                    return pid
        return until(find, "a core")

    def keeper_pid(self):
        """Of the core that core() has found last."""
        return self.keepers_pid or self.keeper.pid

    def answers(self):
        try:
            return self.call("Version", timeout_ms=2000)
        except Failure:
            return None

    def kill_core(self):
        """kill -9; returns when the next core answers."""
        old = self.core()
        os.kill(old, signal.SIGKILL)
        return self.next_core(old)

    def next_core(self, old):
        until(lambda: not alive(old), "the core to die")
        new = self.core(old)
        until(self.answers, "the next core to answer")
        return new

    def stop(self):
        """SIGTERM; the exit code."""
        self.keeper.send_signal(signal.SIGTERM)
        return self.keeper.wait(WAIT)

    def kill_all(self):
        """What the daemon and its pods left of processes."""
        # More than once: a core whose keeper dies becomes one.
        for _ in range(100 if self.keeper else 0):
            pids = [int(p) for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid() and self.ours(p)]
            pids = [p for p in pids if alive(p)]
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            if not pids:
                break
            time.sleep(0.02)
        if self.keeper:
            try:
                self.keeper.wait(5)
            except subprocess.TimeoutExpired:
                pass

    def ours(self, pid):
        try:
            return self.dir in open(f"/proc/{pid}/cmdline").read() or \
                f"CRISP_TEST={self.dir}\0" in open(f"/proc/{pid}/environ").read()
        except OSError:
            return False

    # -- calls --

    def begin(self, method, request=None, timeout_ms=60000):
        return Call(self, method, request or {}, timeout_ms)

    def stream(self, method, request=None, timeout_ms=0):
        return Stream(self, method, request or {}, timeout_ms)

    def call(self, method, request=None, timeout_ms=60000):
        return self.begin(method, request, timeout_ms).answer()

    def refused(self, method, request=None, timeout_ms=60000):
        """The Failure of a call that must fail; a call that succeeds is a Failure of its own."""
        try:
            return Failure(f"OK: {self.call(method, request, timeout_ms)}")
        except Failure as f:
            return f

    def pod_config(self, name, **more):
        # This test's own attempt numbers keep names apart.
        config = {"metadata": {"name": name, "uid": f"uid-{name}", "namespace": "ns", "attempt": 0},
                  "hostname": name, "log_directory": f"{self.logs}/{name}",
                  "linux": {"cgroup_parent": f"{self.cgroup}/pods/{name}",
                            "security_context": {"namespace_options": {"network": "POD", "pid": "CONTAINER", "ipc": "POD"}}}}
        config.update(more)
        return config

    def ctr_config(self, name, *words, **more):
        config = {"metadata": {"name": name, "attempt": 0}, "image": {"image": IMAGE}, "command": list(words or ["none"]),
                  "log_path": f"{name}.log",
                  "linux": {"security_context": {"namespace_options": {"network": "POD", "pid": "CONTAINER", "ipc": "POD"}}}}
        config.update(more)
        return config

    def run(self, name, handler="cli", **more):
        return self.call("RunPodSandbox", {"config": self.pod_config(name, **more), "runtime_handler": handler})["pod_sandbox_id"]

    def create_request(self, pod, name, *words, **more):
        return {"pod_sandbox_id": pod, "config": self.ctr_config(name, *words, **more), "sandbox_config": {}}

    def create(self, pod, name, *words, **more):
        return self.call("CreateContainer", self.create_request(pod, name, *words, **more))["container_id"]

    def started(self, pod, name, *words, **more):
        ctr = self.create(pod, name, *words, **more)
        self.call("StartContainer", {"container_id": ctr})
        if words == ("deaf",):	# it is once it says so
            until(lambda: "deaf" in self.output(ctr), "a deaf container")
        return ctr

    def output(self, ctr):
        """What it has said, without the CRI's prefixes."""
        try:
            lines = open(self.ctr(ctr)["log_path"]).read().splitlines(True)
        except FileNotFoundError:
            return ""
        return "".join(line.split(" ", 3)[3] for line in lines)

    def ctr(self, id):
        """Its status and the core's own facts."""
        r = self.call("ContainerStatus", {"container_id": id, "verbose": True})
        return {**r["status"], **json.loads(r["info"]["info"])}

    def pod(self, id):
        r = self.call("PodSandboxStatus", {"pod_sandbox_id": id, "verbose": True})
        return {**r["status"], **json.loads(r["info"]["info"])}

    def pods(self):
        return {p["id"]: p for p in self.call("ListPodSandbox")["items"]}

    def ctrs(self):
        return {c["id"]: c for c in self.call("ListContainers")["containers"]}

    def wait_exit(self, id):
        return until(lambda: (lambda c: c if c["state"] == "CONTAINER_EXITED" else None)(self.ctr(id)), "an exit")

    def remove_all(self):
        for pod in self.pods():
            self.call("StopPodSandbox", {"pod_sandbox_id": pod})
            self.call("RemovePodSandbox", {"pod_sandbox_id": pod})

    # -- leaks --

    def leakcheck(self, command, *more):
        return subprocess.run([f"{TOP}/t/leak/leakcheck", command, f"{home}/{self.name}.leaks", *more],
                              capture_output=True, text=True)

    def snapshot(self):
        """Note what there is; logs, and what lives with the daemon, are no leaks."""
        # The first shared pid namespace makes what all others use.
        pod = self.run("first", hostname="", linux={"cgroup_parent": f"{self.cgroup}/first", "security_context": {
            "namespace_options": {"network": "NODE", "pid": "POD", "ipc": "POD"}}})
        self.call("RemovePodSandbox", {"pod_sandbox_id": pod})
        what = ["--mark", f"{self.dir}/s", "--dir", self.state, "--dir", self.root, "--dir", f"{self.dir}/netns",
                "--cgroup", self.cgroup, "--pid", f"keeper={self.keeper_pid()}", "--pid", f"core={self.core()}"]
        r = self.leakcheck("snapshot", *what)
        assert r.returncode == 0, r.stdout + r.stderr

    def leaks(self):
        r = self.leakcheck("compare", "--wait", "10", "--pid", f"keeper={self.keeper_pid()}", "--pid", f"core={self.core()}")
        return r.stdout + r.stderr if r.returncode else ""

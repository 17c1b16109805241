"""A node of one's own for a real kubelet: namespaces, mounts and cgroups in which crispd and the kubelet run,
and a cluster's control plane if one is wanted.  The test program runs inside; nothing of it is left at the end.

The caller says isolate() first: the outer process then waits, cleans up and compares what is left on the host,
while the inner one goes on as the child of the new pid namespace's pid 1."""
import glob, gzip, hashlib, json, os, re, shutil, signal, ssl, subprocess, sys, tarfile, time
import urllib.error, urllib.parse, urllib.request

import yaml

TOP = os.path.abspath(os.path.dirname(os.path.abspath(__file__)) + "/../..")
sys.path.insert(0, f"{TOP}/t")
import tap
from tap import ok

HERE = f"{TOP}/t/kubelet"
BUILD = os.path.join(TOP, os.environ.get("BUILD", "build"))
TAG = os.environ.get("CRISP_NODE_TAG") or f"kt{os.getpid()}"
HOME = f"/tmp/crisp-{TAG}"
CGROUP = f"/crisp-{TAG}"
NAME, ADDRESS = "n1", "192.168.77.2"	# of the node
IMAGE = "localhost/busybox:1"
CORES_OWN = "/run/crisp"	# the state folder: /run is the node's own
SYSCTLS = {"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
           "kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000"}
API = "https://127.0.0.1:6443"
TOKEN = "token-of-the-test"

began = time.monotonic()


def say(*words):
    tap.say(f"{time.monotonic() - began:.0f} s:", *words)


def until(what, why="", seconds=60, pause=0.1):
    return tap.until(what, why, seconds, pause)	# seldomer: most of what is asked here is a server


def run(*words, **more):
    return subprocess.run(words, check=True, **more)


def text_of(path):
    try:
        with open(path, errors="replace") as f:
            return f.read()
    except OSError:
        return ""


# -- namespaces --

def hierarchies():
    return [line.split()[4] for line in text_of("/proc/self/mountinfo").splitlines()
            if line.split(" - ")[1].split()[0] in ("cgroup", "cgroup2")]


def drop_cgroups():
    """Kill what is left in the test's cgroups and remove them."""
    for top in hierarchies():
        for where, _, _ in os.walk(top + CGROUP, topdown=False):
            for pid in text_of(f"{where}/cgroup.procs").split():
                os.kill(int(pid), signal.SIGKILL)
            for _ in range(100):
                try:
                    os.rmdir(where)
                    break
                except OSError:
                    time.sleep(0.02)


def leakcheck(command, file, *more):
    r = subprocess.run([f"{TOP}/t/leak/leakcheck", command, file, *more], capture_output=True, text=True)
    return r.stdout + r.stderr if r.returncode else ""


def isolate():
    """Returns in the inner process only."""
    if os.environ.get("CRISP_NODE_TAG"):
        return become_node()
    before = f"{HOME}.leaks"
    leakcheck("snapshot", before, "--mark", HOME, "--dir", HOME, "--cgroup", CGROUP, "--link", TAG)
    os.mkdir(HOME)
    for top in hierarchies():
        os.mkdir(top + CGROUP)
        for file in ("cpuset.cpus", "cpuset.mems"):	# a new one of cgroup v1 has none and can hold nothing
            if os.path.exists(f"{top}/{file}"):
                with open(f"{top}{CGROUP}/{file}", "w") as f:
                    f.write(text_of(f"{top}/{file}"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    inner = None
    try:
        inner = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child", "--propagation=private",
             sys.executable, *sys.argv], env={**os.environ, "CRISP_NODE_TAG": TAG}, stdin=subprocess.DEVNULL)
        code = inner.wait()
    finally:
        if inner and inner.poll() is None:
            inner.kill()
            inner.wait()
        drop_cgroups()
        if os.environ.get("KEEP"):
            shutil.copytree(f"{HOME}/logs", os.environ["KEEP"], dirs_exist_ok=True)
        shutil.rmtree(HOME)
    left = leakcheck("compare", before, "--wait", "20")
    os.unlink(before)
    try:
        with open(f"{HOME}.count") as f:
            count = int(f.read())
        os.unlink(f"{HOME}.count")
    except OSError:
        count = 0	# it died; the plan below cannot hold then
    print(f"{'not ' if left else ''}ok {count + 1} - nothing of the node is left on the host")
    for line in left.splitlines()[:20]:
        print(f"# {line}")
    print(f"1..{count + 1}")
    sys.exit(code or bool(left))


def become_node():
    child = os.fork()
    if child:	# pid 1: reap whatever has lost its parent, leave with the test
        while True:
            pid, status = os.wait()
            if pid == child:
                os._exit(os.waitstatus_to_exitcode(status) & 255)
    run("mount", "-t", "proc", "proc", "/proc")
    # A user namespace may mount /proc where one is seen that nothing is mounted over.
    os.mkdir(f"{HOME}/proc")
    run("mount", "-t", "proc", "proc", f"{HOME}/proc")
    # A sysfs of this network namespace, the cgroups below it where they were.
    run("mount", "--rbind", "/sys/fs/cgroup", HOME)
    run("mount", "-t", "sysfs", "sysfs", "/sys")
    run("mount", "--move", HOME, "/sys/fs/cgroup")
    for place in ("/run", "/var/log", "/var/lib/kubelet", "/var/lib/cni", "/etc/cni", "/opt/cni"):
        if os.path.isdir(place) or place in ("/run", "/var/lib/kubelet"):
            os.makedirs(place, exist_ok=True)
            run("mount", "-t", "tmpfs", "-o", "mode=755", TAG, place)
    # The kubelet sets these for the whole machine: it shall set files.
    for name, value in SYSCTLS.items():
        file = f"{HOME}/sysctl-{name.replace('/', '-')}"
        with open(file, "w") as f:
            f.write(value + "\n")
        run("mount", "--bind", file, f"/proc/sys/{name}")
    # The kubelet looks its own name up; nobody else is to be asked.
    for name, text in ("hosts", f"127.0.0.1 localhost\n{ADDRESS} {NAME}\n"), ("resolv.conf", "nameserver 127.0.0.1\n"):
        with open(f"{HOME}/{name}", "w") as f:
            f.write(text)
        run("mount", "--bind", f"{HOME}/{name}", f"/etc/{name}")
    run("hostname", NAME)
    for words in ("link set lo up", f"link add {TAG} type veth peer name {TAG}p", f"link set {TAG}p up",
                  f"addr add {ADDRESS}/24 dev {TAG}", f"link set {TAG} up", f"route add default via 192.168.77.1 dev {TAG}"):
        run("ip", *words.split())
    os.mkdir(f"{HOME}/logs")
    # Pods stand on a mount tree that is shared, as a host's is: volumes propagate.
    run("mount", "--make-rshared", "/")


def done():
    with open(f"{HOME}.count", "w") as f:	# the outer process has one point more, and says the plan
        f.write(str(tap.tests))
    sys.exit(1 if tap.failed else 0)


# -- what the node runs --

def service(name, *words, **more):
    log = open(f"{HOME}/logs/{name}.log", "a")
    return subprocess.Popen([*words], stdin=subprocess.DEVNULL, stdout=log, stderr=log, **more)


def last_words(name, n=20):
    return "".join(text_of(f"{HOME}/logs/{name}.log").splitlines(True)[-n:])


def make_image(name, tools=None, files=(), size=0, **config):
    """A docker archive of the host's static busybox; returns its path."""
    work = f"{HOME}/image-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    root = f"{work}/root"
    os.makedirs(f"{root}/bin")
    for folder in ("etc", "tmp", "root", "www"):
        os.mkdir(f"{root}/{folder}")
    os.chmod(f"{root}/tmp", 0o1777)
    shutil.copy("/bin/busybox", f"{root}/bin/busybox")
    for tool in tools or subprocess.run(["busybox", "--list"], capture_output=True, text=True).stdout.split():
        if tool != "busybox":
            os.symlink("busybox", f"{root}/bin/{tool}")
    for path in files:
        shutil.copy(path, f"{root}/bin/")
    with open(f"{root}/etc/passwd", "w") as f:
        f.write("root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
    with open(f"{root}/etc/group", "w") as f:
        f.write("root:x:0:\nworker:x:1000:\nextra:x:4000:worker\nnobody:x:65534:\n")
    if size:	# that does not compress
        with open(f"{root}/ballast", "wb") as f:
            f.write(os.urandom(size))
    with tarfile.open(f"{work}/layer.tar", "w") as tar:
        tar.add(root, ".")
    with open(f"{work}/layer.tar", "rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    docs = {"config.json": {"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], **config},
                            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]}},
            "manifest.json": [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]}
    for file, value in docs.items():
        with open(f"{work}/{file}", "w") as f:
            json.dump(value, f)
    archive = f"{work}.tar"
    with tarfile.open(archive, "w") as tar:
        for file in [*docs, "layer.tar"]:
            tar.add(f"{work}/{file}", file)
    shutil.rmtree(work)
    return archive


class Crisp:
    def __init__(self, **config):
        self.log, self.socket = f"{HOME}/logs/crisp.log", f"{CORES_OWN}/crisp.sock"
        self.root = f"{HOME}/store/crisp"
        os.mkdir(f"{HOME}/store")
        # Images on a small disk of their own, so that collecting them is seen.
        with open(f"{HOME}/store.img", "wb") as f:
            f.truncate(1 << 30)
        run("mkfs.ext4", "-q", "-O", "^has_journal", f"{HOME}/store.img")
        run("mount", "-o", "loop", f"{HOME}/store.img", f"{HOME}/store")
        self.config = {"state": CORES_OWN, "root": self.root, "cgroup": {"parent": CGROUP},
                       "network": {"plugin": "bridge", "options": {
                           "bridge": "crisp0", "nft_table": "crisp", "subnets": ["10.88.0.0/16"]}},
                       **config}
        self.process = None

    def start(self):
        with open(f"{HOME}/crisp.yaml", "w") as f:
            yaml.dump(self.config, f)
        rd, wr = os.pipe()
        self.process = service("crisp", f"{BUILD}/crispd", "--config", f"{HOME}/crisp.yaml", f"--ready-fd={wr}", pass_fds=[wr])
        os.close(wr)
        with os.fdopen(rd, "rb") as f:
            if f.readline() != b"ready\n":
                raise AssertionError("crispd is not ready:\n" + last_words("crisp"))
        return self

    def stop(self):
        self.process.terminate()
        return self.process.wait(30)

    def core(self):
        def find():
            for pid in filter(str.isdigit, os.listdir("/proc")):
                if "--core" in text_of(f"/proc/{pid}/cmdline").split("\0") and f"{HOME}/crisp.yaml" in text_of(f"/proc/{pid}/cmdline"):
                    return int(pid)
        return until(find, "a core")

    def kill_core(self):
        core = self.core()
        os.kill(core, signal.SIGKILL)
        until(lambda: self.core() != core, "another core")

    def keeper(self):
        return int(text_of(f"/proc/{self.core()}/stat").rsplit(")", 1)[1].split()[1])

    def ctl(self, *words):
        r = subprocess.run([f"{BUILD}/crispctl", "-s", self.socket, *words], capture_output=True, text=True)
        if r.returncode:
            raise AssertionError(f"crispctl {' '.join(words)}: {r.stderr}")
        return r.stdout

    def load(self, name, **more):
        archive = make_image(name, **more)
        self.ctl("load", "-n", name, archive)
        os.unlink(archive)

    def snapshot(self):
        return leakcheck("snapshot", f"{HOME}/leaks", "--dir", CORES_OWN, "--dir", self.root, "--netns", "crisp-", "--link", "crisp",
                         "--link", "veth", "--cgroup", CGROUP, "--nft", "crisp",
                         "--pid", f"core={self.core()}", "--pid", f"keeper={self.keeper()}")

    def leaks(self, seconds):
        return leakcheck("compare", f"{HOME}/leaks", "--wait", str(seconds),
                         "--pid", f"core={self.core()}", "--pid", f"keeper={self.keeper()}")


def fetch(url, method="GET", data=None, headers={}, timeout=30):
    """The body; an HTTP error is returned as urllib's exception raises it."""
    context = ssl._create_unverified_context() if url.startswith("https") else None
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=timeout, context=context) as answer:
        return answer.read()


class Kubelet:
    """One of VERSION; without an API server it takes its pods from a folder."""
    def __init__(self, program, crisp, api=None, **config):
        self.program, self.crisp, self.api = program, crisp, api
        self.folder = f"{HOME}/manifests"
        os.makedirs(self.folder, exist_ok=True)
        self.config = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "enableServer": True, "address": "0.0.0.0", "port": 10250, "readOnlyPort": 10255,
            "containerRuntimeEndpoint": f"unix://{crisp.socket}", "failCgroupV1": False, "cgroupDriver": "cgroupfs",
            "cgroupRoot": CGROUP, "failSwapOn": False, "oomScoreAdj": 0, "maxOpenFiles": 20000,
            "enforceNodeAllocatable": ["pods"], "maxPods": 200,
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "20%"},
            "containerLogMaxSize": "1Mi", "containerLogMaxFiles": 3, "containerLogMonitorInterval": "3s",
            "syncFrequency": "5s", "fileCheckFrequency": "1s", "registryPullQPS": 0, "serializeImagePulls": False,
            "nodeStatusUpdateFrequency": "5s", "allowedUnsafeSysctls": ["net.core.somaxconn", "kernel.msgmax"],
            "seccompDefault": False, "evictionPressureTransitionPeriod": "5s", "imageMinimumGCAge": "1s", "cpuManagerReconcilePeriod": "10s", **config}
        if api:
            self.config["registerNode"] = True
        else:
            self.config["staticPodPath"] = self.folder
        self.process = None

    def start(self):
        with open(f"{HOME}/kubelet.yaml", "w") as f:
            yaml.dump(self.config, f)
        more = ["--kubeconfig", self.api.kubeconfig] if self.api else []
        self.process = service("kubelet", self.program, f"--config={HOME}/kubelet.yaml", "--root-dir=/var/lib/kubelet",
                               f"--cert-dir={HOME}/pki", f"--hostname-override={NAME}", f"--node-ip={ADDRESS}", "-v=2",
                               *more)
        until(self.healthy, "the kubelet's health", 120)
        return self

    def stop(self):
        self.process.terminate()
        self.process.wait(30)

    def healthy(self):
        if self.process.poll() is not None:
            raise AssertionError("the kubelet has left:\n" + last_words("kubelet", 5))
        try:
            return fetch("http://127.0.0.1:10248/healthz") == b"ok" and self.get("pods")	# which it answers later
        except OSError:
            return False

    def get(self, path):
        return fetch(f"http://127.0.0.1:10255/{path}").decode()

    def failures(self):
        """The runtime calls that failed, by operation."""
        return {m[0]: int(float(m[1])) for m in re.findall(
            r'^kubelet_runtime_operations_errors_total\{operation_type="(\w+)"\} (\S+)', self.get("metrics"), re.M)}

    # -- pods, of either kind --

    def add(self, pod):
        if self.api:
            return self.api.post(f"namespaces/default/pods", pod)
        with open(f"{HOME}/manifest.tmp", "w") as f:
            json.dump(pod, f)
        os.rename(f"{HOME}/manifest.tmp", f"{self.folder}/{pod['metadata']['name']}.json")

    def delete(self, name, grace=None):
        if self.api:
            return self.api.delete(f"namespaces/default/pods/{name}" + (f"?gracePeriodSeconds={grace}" if grace is not None else ""))
        os.unlink(f"{self.folder}/{name}.json")

    def full_name(self, name):
        return name if self.api else f"{name}-{NAME}"

    def pods(self):
        if self.api:
            items = self.api.get("namespaces/default/pods")["items"]
        else:
            items = json.loads(self.get("pods")).get("items") or []
        return {p["metadata"]["name"] if self.api else p["metadata"]["name"].removesuffix(f"-{NAME}"): p for p in items}

    def pod(self, name):
        if not self.api:
            return self.pods().get(name)
        try:
            return self.api.get(f"namespaces/default/pods/{name}")
        except urllib.error.HTTPError as e:
            if e.code == 404:
                return None
            raise

    def gone(self, name):
        """Also from the node: a static pod is not told of any more as soon as its file is gone."""
        if self.pod(name):
            return False
        return self.full_name(name) not in {w for line in self.crisp.ctl("ps").splitlines() for w in line.split()}

    def run(self, name, *words, container="main", wrong=False):
        """A command's output, by ExecSync.  The kubelet splits at spaces: inside a word there are tabs instead."""
        cmd = urllib.parse.quote(" ".join(w.replace(" ", "\t") for w in words))
        try:
            return fetch(f"https://127.0.0.1:10250/run/default/{self.full_name(name)}/{container}?cmd={cmd}", "POST", b"").decode(errors="replace")
        except urllib.error.HTTPError as e:
            if wrong:
                return e.read().decode(errors="replace")
            raise AssertionError(f"run {words} in {name}/{container}: {e.read().decode(errors='replace')}")

    def sh(self, name, script, container="main"):
        return self.run(name, "sh", "-c", script, container=container)

    def log(self, name, container="main", **more):
        query = urllib.parse.urlencode(more)
        return fetch(f"https://127.0.0.1:10250/containerLogs/default/{self.full_name(name)}/{container}?{query}").decode(errors="replace")


class Cluster:
    """etcd, an API server and kubectl: no scheduler and no controllers, pods name their node."""
    def __init__(self, folder, etcd):
        self.folder, self.etcd, self.kubeconfig = folder, etcd, f"{HOME}/kubeconfig"
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "t",
                  "clusters": [{"name": "t", "cluster": {"server": API, "insecure-skip-tls-verify": True}}],
                  "users": [{"name": "t", "user": {"token": TOKEN}}],
                  "contexts": [{"name": "t", "context": {"cluster": "t", "user": "t"}}]}
        with open(self.kubeconfig, "w") as f:
            yaml.dump(config, f)
        with open(f"{HOME}/tokens.csv", "w") as f:
            f.write(f'{TOKEN},admin,1,"system:masters"\n')
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{HOME}/sa.key", "-out", f"{HOME}/sa.crt",
            "-days", "30", "-subj", "/CN=sa", capture_output=True)

    def start(self):
        service("etcd", self.etcd, "--data-dir", f"{HOME}/etcd", "--listen-client-urls", "http://127.0.0.1:2379",
                "--advertise-client-urls", "http://127.0.0.1:2379", "--listen-peer-urls", "http://127.0.0.1:2380",
                "--unsafe-no-fsync")
        self.process = service(
            "apiserver", f"{self.folder}/kube-apiserver", "--etcd-servers=http://127.0.0.1:2379",
            f"--service-account-key-file={HOME}/sa.crt", f"--service-account-signing-key-file={HOME}/sa.key",
            "--service-account-issuer=https://test.local", f"--token-auth-file={HOME}/tokens.csv",
            "--authorization-mode=AlwaysAllow", "--allow-privileged=true", f"--cert-dir={HOME}/api-pki", "--secure-port=6443", "--bind-address=127.0.0.1",
            f"--advertise-address={ADDRESS}", "--service-cluster-ip-range=10.96.0.0/24",
            "--kubelet-preferred-address-types=InternalIP", "--disable-admission-plugins=ServiceAccount")

        def ready():
            if self.process.poll() is not None:
                raise AssertionError("the API server has left:\n" + last_words("apiserver", 5))
            try:
                return self.call("GET", "/readyz") == b"ok" and self.get("namespaces/default")
            except OSError:
                return False
        until(ready, "the API server", 180)
        self.post("namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})	# a controller's work elsewhere
        return self

    def call(self, method, path, data=None, kind="application/json"):
        return fetch(API + path, method, data, {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind})

    def get(self, path):
        return json.loads(self.call("GET", f"/api/v1/{path}"))

    def post(self, path, value, group="/api/v1"):
        try:
            return json.loads(self.call("POST", f"{group}/{path}", json.dumps(value).encode()))
        except urllib.error.HTTPError as e:
            raise AssertionError(f"POST {path}: {e.read().decode()}") from None

    def patch(self, path, value):
        try:
            return json.loads(self.call("PATCH", f"/api/v1/{path}", json.dumps(value).encode(), "application/strategic-merge-patch+json"))
        except urllib.error.HTTPError as e:
            raise AssertionError(f"PATCH {path}: {e.read().decode()}") from None

    def delete(self, path):
        return self.call("DELETE", f"/api/v1/{path}")

    def kubectl_words(self, *words):
        return [f"{self.folder}/kubectl", "--kubeconfig", self.kubeconfig, "--cache-dir", f"{HOME}/kubectl", *words]

    def kubectl(self, *words):
        r = subprocess.run(self.kubectl_words(*words), capture_output=True, text=True)
        return r.stdout + r.stderr

    def node_ready(self):
        try:
            node = self.get(f"nodes/{NAME}")
        except urllib.error.HTTPError:
            return False
        return any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))

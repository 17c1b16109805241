#!/usr/bin/python3
"""tools/bench --engines [--rounds N]: what a container costs with each engine, beside the bare command line
of its runtime, all in one run and in turn; and what crun's create gains by what crisp does for it.

With crisp: a pod for each handler, in it N times CreateContainer, StartContainer, ExecSync of `true`,
RemoveContainer.  Bare: create, start, exec and delete of the same bundle.  Medians and minima in ms, and the
ratio of a row's whole to that of the bare command line (its create to the slowest, for what is gained).
It prints numbers; the exit code says whether they could be measured.
"""
import ctypes, fcntl, json, os, shutil, statistics, subprocess, sys, time

TOP = os.path.abspath(os.path.dirname(os.path.abspath(__file__)) + "/../..")
sys.path.insert(0, f"{TOP}/t/cri")
from node import HOME, Node, until

ROUNDS = int(sys.argv[sys.argv.index("--rounds") + 1]) if "--rounds" in sys.argv else 10
OPS = ("create", "start", "exec", "delete")


def component(function, value):
    r = subprocess.run(["sh", "-c", f'here=$PWD tmp=/nonexistent; . ./components.sh; {function} >&2 && echo "{value}"'],
                       cwd=f"{TOP}/t/cri", capture_output=True, text=True)
    if r.returncode:
        print(f"# left out: {function}: {r.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
    return r.stdout.strip()


class Samples:
    def __init__(self):
        self.of = {}

    def add(self, who, what, seconds):
        self.of.setdefault((who, what), []).append(seconds * 1000)

    def cell(self, who, what):
        got = self.of.get((who, what))
        return f"{statistics.median(got):8.1f} ({min(got):6.1f})" if got else "                 "


    def ratio(self, who, base, what):
        """Of medians, each against what was measured in the same rounds."""
        a, b = self.of.get((who, what)), self.of.get((base, what))
        return f"{statistics.median(a) / statistics.median(b):8.2f}" if a and b else ""


def timed(samples, who, what, call):
    began = time.monotonic()
    result = call()
    samples.add(who, what, time.monotonic() - began)
    return result


# -- crisp --

def crisp_round(samples, node, pod, handler, number):
    request = node.create_request(pod, f"c{number}", "sleep", "1000",
                                  security={"seccomp": {"profile_type": "RuntimeDefault"}})
    began = time.monotonic()
    ctr = timed(samples, handler, "create", lambda: node.call("CreateContainer", **request)).container_id
    timed(samples, handler, "start", lambda: node.call("StartContainer", container_id=ctr))
    timed(samples, handler, "exec", lambda: node.exec(ctr, "true"))
    timed(samples, handler, "delete", lambda: node.call("RemoveContainer", container_id=ctr))
    samples.add(handler, "all", time.monotonic() - began)


# -- the bare command line --

class Bare:
    """A runtime's program on a bundle that stands ready."""
    def __init__(self, name, program, config, flags=(), sealed=False):
        self.name, self.flags, self.sealed = name, list(flags), sealed
        self.root, self.bundle = f"{HOME}/memory/bare/{name}", f"{HOME}/memory/bare/{name}.bundle"
        os.makedirs(self.root)
        os.makedirs(self.bundle)
        self.program = self.seal(program) if sealed else program
        with open(f"{self.bundle}/config.json", "w") as f:
            json.dump(config, f)

    def seal(self, program):
        self.fd = os.memfd_create("runtime", os.MFD_ALLOW_SEALING)
        with open(program, "rb") as f:
            os.write(self.fd, f.read())
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
        os.set_inheritable(self.fd, True)
        return f"/proc/self/fd/{self.fd}"

    def run(self, *words):
        null = os.open("/dev/null", os.O_RDWR)
        pid = os.posix_spawn(self.program, [self.name.split()[0], f"--root={self.root}", *self.flags, *words], os.environ,
                             file_actions=[(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)])
        os.close(null)
        ended, status = os.waitpid(-1, 0)
        while ended != pid:	# what it and others left to us
            ended, status = os.waitpid(-1, 0)
        code = os.waitstatus_to_exitcode(status)
        if code:
            raise RuntimeError(f"{self.name}: {words[0]}: exit code {code}")

    def round(self, samples, only_create=False):
        pid_file = f"{self.root}/pid"
        began = time.monotonic()
        timed(samples, self.name, "create", lambda: self.run("create", f"--bundle={self.bundle}", f"--pid-file={pid_file}", "bare"))
        if not only_create:
            timed(samples, self.name, "start", lambda: self.run("start", "bare"))
            timed(samples, self.name, "exec", lambda: self.run("exec", "bare", "true"))
        pid = int(open(pid_file).read())
        timed(samples, self.name, "delete", lambda: self.delete(pid))
        samples.add(self.name, "all", time.monotonic() - began)

    def delete(self, pid):
        """By SIGKILL first, and its end: ours, since we adopt orphans."""
        os.kill(pid, 9)
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            until(lambda: not os.path.exists(f"/proc/{pid}"), "its end")
        self.run("delete", "--force", "bare")


def config_of(node, ctr, rootfs, cgroup):
    with open(f"{node.state}/containers/{ctr}/config.json") as f:
        config = json.load(f)
    config["root"]["path"] = rootfs
    config["linux"]["cgroupsPath"] = cgroup
    return config


def without_path(config, kind):
    """It makes a namespace of its own."""
    config = json.loads(json.dumps(config))
    for ns in config["linux"]["namespaces"]:
        if ns["type"] == kind:
            ns.pop("path", None)
    return config


def with_filter(config, text):
    config = json.loads(json.dumps(config))
    config.setdefault("annotations", {})["run.oci.seccomp_bpf_data"] = text
    return config


def filter_of(bare):
    """The program that crun has made of a profile, in base64."""
    import base64
    bare.run("create", f"--bundle={bare.bundle}", f"--pid-file={bare.root}/pid", "bare")
    path = f"{bare.root}/bare/seccomp.bpf"
    text = base64.b64encode(open(path, "rb").read()).decode() if os.path.exists(path) else None
    bare.delete(int(open(f"{bare.root}/pid").read()))
    return text


# -- --

def table(title, rows, samples, columns, bases=None):
    """bases: the row that a row is measured by, in the last column."""
    print(f"\n{title}\n")
    print(f"{'':34}" + "".join(f"{c:>17}" for c in columns) + ("   ratio" if bases else ""))
    for row in rows:
        print(f"{row:34}" + "".join(samples.cell(row, c) for c in columns) +
              (samples.ratio(row, bases[row], columns[-1]) if bases and row in bases else ""))


def main():
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)	# we adopt orphans
    crun, runc = shutil.which("crun"), shutil.which("runc")
    runsc = component("gvisor_runsc", "$runsc")
    shim = component("cd ../..; . t/bench/containerd.sh; containerd_build", "$containerd_bin") + "/containerd-shim-runc-v2"
    handlers = {"crun": {"engine": "crun"}, "runc": {"engine": "runc"}}
    if runsc:
        handlers["gvisor"] = {"engine": "gvisor", "options": {"path": runsc}}
    handlers["shimv2 1.6"] = {"engine": "shimv2"}
    if os.path.exists(shim):
        handlers["shimv2 2.3"] = {"engine": "shimv2", "options": {"path": shim}}
    names = {h: h.replace(" ", "-").replace(".", "-") for h in handlers}
    node = Node({names[h]: v for h, v in handlers.items()}).start().load()
    samples, pods = Samples(), {}
    for h in handlers:
        began = time.monotonic()
        pods[h] = node.run(names[h], names[h])
        samples.add(h, "pod", time.monotonic() - began)
    rootfs = f"{HOME}/fs"
    sample = node.create(pods["crun"], "sample", "sleep", "1000", security={"seccomp": {"profile_type": "RuntimeDefault"}})
    config = config_of(node, sample, rootfs, f"{node.cgroup}/bare")
    bares = [Bare("crun bare", crun, config), Bare("runc bare", runc, config)]
    if runsc:
        alone = json.loads(json.dumps(config))
        alone["annotations"] = {}
        alone["linux"]["namespaces"] = [ns for ns in alone["linux"]["namespaces"] if ns["type"] in ("pid", "mount")]
        bares.append(Bare("runsc bare (a sandbox each)", runsc, alone, ["--network=none"]))
    plain = without_path(config, "network")
    gains = [Bare("crun: from its file, new netns", crun, plain), Bare("crun: pod's netns", crun, config),
             Bare("crun: and sealed", crun, config, sealed=True)]
    text = filter_of(gains[1])
    if text:
        gains.append(Bare("crun: and its filter prebuilt", crun, with_filter(config, text), sealed=True))
    for n in range(ROUNDS + 1):
        now = samples if n else Samples()	# the first warms up
        for h in handlers:
            crisp_round(now, node, pods[h], h, n)
        for b in bares:
            b.round(now)
        for b in gains:
            b.round(now, only_create=True)
    table(f"A container, {ROUNDS} rounds in turn: median (minimum) in ms", [*handlers, *(b.name for b in bares)], samples, (*OPS, "all"),
          {h: "crun bare" if h == "crun" else "runsc bare (a sandbox each)" if h == "gvisor" else "runc bare" for h in handlers})
    table("A pod, one each: ms", handlers, samples, ("pod",))
    table("What crun's create takes", [b.name for b in gains], samples, ("create",), {b.name: gains[0].name for b in gains})
    for pod in pods.values():
        node.down(pod)
    node.stop()


main()

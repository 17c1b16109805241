#!/usr/bin/python3
# One node with four runtime handlers at once: two command lines, gVisor and a containerd shim.  Pods
# of two containers on each side by side; the core dies under them, and so does what holds them; and
# an engine whose program goes and comes back.
import glob, os, shutil, signal, subprocess, sys, threading, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import grpc
from node import HOME, Node, alive, component, done, ok, processes, say, until

MIB = 1 << 20
SECOND = 1.0


HANDLERS = {
    "crun": {"engine": "crun"},
    "runc": {"engine": "runc"},
    "gvisor": {"engine": "gvisor", "options": {"path": component("gvisor_runsc", "runsc")}, "fallback": "crun"},
    "shimv2": {"engine": "shimv2"},
}
OF_THE_HOST = "crun", "runc", "shimv2"	# its cgroup and pids are the container's


def each(what, handlers=HANDLERS):
    """what(handler) for all of them at once; {handler: result}."""
    results, errors = {}, []

    def run(h):
        try:
            results[h] = what(h)
        except Exception as e:
            errors.append(f"{h}: {e}")
    threads = [threading.Thread(target=run, args=(h,)) for h in handlers]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise AssertionError("; ".join(errors))
    return results


def numbers(ctr):
    return [int(line.split()[1]) for line in node.log_of(ctr).splitlines() if line.startswith("line ")]


def within(what, why):
    """Does it become true within a second?  How long that took is said."""
    began = time.monotonic()
    while not what() and time.monotonic() - began < SECOND:
        time.sleep(0.01)
    took = time.monotonic() - began
    say(f"{why}: {took * 1000:.0f} ms")
    return took < SECOND


def limit_of(pod_name, id):
    found = glob.glob(f"/sys/fs/cgroup/memory{node.cgroup}/pods/{pod_name}/{id}/memory.limit_in_bytes") + \
        glob.glob(f"/sys/fs/cgroup{node.cgroup}/pods/{pod_name}/{id}/memory.max")
    return int(open(found[0]).read()) if found else None


COUNTS = "i=0; while [ ! -e /tmp/end ]; do echo line $i; i=$((i+1)); usleep 20000; done; exit 42"
LISTENS = "echo ready; trap 'echo bye; exit 3' TERM; while :; do sleep 0.1; done"


def up(h, name="pod"):
    pod = node.run(f"{name}-{h}", h)
    limited = {"resources": {"memory_limit_in_bytes": 256 * MIB}}
    return pod, node.started(pod, "a", "sh", "-c", COUNTS, **limited), node.started(pod, "b", "sh", "-c", LISTENS, **limited)


def snapshot():
    each(lambda h: node.down(up(h, "warm")[0]))
    return node.note(f"{node.state}/engines")


def ready():
    return {h.name for h in node.call("Status").runtime_handlers}


shutil.copy("/usr/bin/crun", f"{HOME}/crun")
COPY = {"engine": "crun", "options": {"path": f"{HOME}/crun"}, "privileged_without_host_devices": True,
        "spec": {"process": {"env": ["BELOW=1"], "rlimits": [{"type": "RLIMIT_CORE", "hard": 8192, "soft": 4096}]},
                 "mounts": [{"destination": "/below", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "size=4k"]}]}}
node = Node({**HANDLERS, "copy": COPY}).start().load()
ok(ready() == {"", "copy", *HANDLERS}, "all handlers are ready", ready())
ok(snapshot() == "", "what there is")

# -- side by side --

pods = each(up)
for h, (pod, a, b) in pods.items():
    st = node.call("PodSandboxStatus", pod_sandbox_id=pod).status
    ok(st.runtime_handler == h and node.pod_state(pod) == "SANDBOX_READY" and
       node.state_of(a) == node.state_of(b) == "CONTAINER_RUNNING", f"{h}: a pod of two containers runs", st)
ok(len({st.network.ip for st in (node.call("PodSandboxStatus", pod_sandbox_id=p).status for p, _, _ in pods.values())}) == 4,
   "each with an address of its own")
for h, (pod, a, b) in pods.items():
    got = node.exec(b, "sh", "-c", "echo one; echo two >&2; exit 5")
    ok((got.exit_code, got.stdout, got.stderr) == (5, b"one\n", b"two\n"), f"{h}: exec has output and exit code", got)
    ok(until(lambda: len(numbers(a)) > 3 and node.log_of(b), "the logs") and node.log_of(b) == "ready\n", f"{h}: logs", repr((node.log_of(a)[:100], node.log_of(b))))
    s = until(lambda: (s := node.call("ContainerStats", container_id=a).stats).memory.working_set_bytes.value and
              s.cpu.usage_core_nano_seconds.value and s, "stats")
    ok(s.cpu.usage_core_nano_seconds.value and s.memory.working_set_bytes.value, f"{h}: stats", s)
    node.call("UpdateContainerResources", container_id=b, linux={"memory_limit_in_bytes": 64 * MIB})
    if h in OF_THE_HOST:
        ok(limit_of(f"pod-{h}", b) == 64 * MIB, f"{h}: update", limit_of(f"pod-{h}", b))
    else:	# the limits of a guest's containers hold for all of them together
        ok(limit_of(f"pod-{h}", pod) == 320 * MIB, f"{h}: update", limit_of(f"pod-{h}", pod))

# -- the core dies --

was = {h: (len(numbers(a)), node.pid(a), node.pid(b)) for h, (pod, a, b) in pods.items()}
node.kill_core()
for h, (pod, a, b) in pods.items():
    ok(node.pod_state(pod) == "SANDBOX_READY" and node.state_of(a) == node.state_of(b) == "CONTAINER_RUNNING" and
       (node.pid(a), node.pid(b)) == was[h][1:], f"{h}: the core dies, pod and containers are the same", was[h])
    ok(until(lambda: len(numbers(a)) > was[h][0], "a line"), f"{h}: its log goes on")
    ok(node.exec(b, "echo", "again").stdout == b"again\n", f"{h}: exec")
    ok(len(node.call("ListContainers", filter={"pod_sandbox_id": pod}).containers) == 2, f"{h}: both are listed")
for h, (pod, a, b) in pods.items():
    node.refused("ExecSync", container_id=a, cmd=["touch", "/tmp/end"], timeout=30)	# or killed with it: all the same
for h, (pod, a, b) in pods.items():
    st, seen = node.wait_exit(a), numbers(a)
    ok((st.exit_code, st.reason) == (42, "Error"), f"{h}: the exit code is right", st)
    ok(set(seen) == set(range(max(seen) + 1)), f"{h}: no line is lost", (len(seen), max(seen)))
    node.call("StopContainer", container_id=b, timeout=20)
    st = node.status(b)
    ok(st.exit_code == 3 and node.log_of(b) == "ready\nbye\n", f"{h}: a stop lets it end by itself", (st, node.log_of(b)))
    node.call("RemoveContainer", container_id=a)
    ok(a not in node.ctrs() and b in node.ctrs(), f"{h}: one of them is removed")

# ends that no core sees, in all at once
ctrs = each(lambda h: node.started(pods[h][0], "gap", "sh", "-c", "sleep 1; exit 9"))
os.kill(node.core(), signal.SIGSTOP)
time.sleep(2.5)
node.kill_core()
for h, c in ctrs.items():
    st = node.wait_exit(c)
    ok((st.exit_code, st.reason) == (9, "Error"), f"{h}: an exit while no core lives has its code", st)

# containers that have ended before the core that removes them began
rests = each(lambda h: (pod := node.run(f"rests-{h}", h), [node.wait_exit(node.started(pod, n, "sh", "-c", "exit 0")) for n in "ab"])[0])
node.kill_core()
each(lambda h: node.down(rests[h]))
ok(until(lambda: not any(processes(p) for p in rests.values()), "their end"), "pods of ended containers, removed by another core: all of it goes")

# -- out of memory --

HOG = "while [ ! -e /tmp/go ]; do usleep 50000; done; exec busybox tail /dev/zero"


def hog(h):
    config = node.ctr_config("hog", "sh", "-c", HOG)
    if h in OF_THE_HOST:
        config["linux"]["resources"] = {"memory_limit_in_bytes": 16 * MIB}
    pod = node.run(f"oom-{h}", h)
    c = node.call("CreateContainer", pod_sandbox_id=pod, config=config, sandbox_config={}).container_id
    node.call("StartContainer", container_id=c)
    if h not in OF_THE_HOST:	# the guest is in the pod's cgroup, whose limit is the kubelet's to set
        for path, value in (f"/sys/fs/cgroup/memory{node.cgroup}/pods/oom-{h}/memory.limit_in_bytes", 150 * MIB), \
                           (f"/sys/fs/cgroup{node.cgroup}/pods/oom-{h}/memory.max", 150 * MIB):
            if os.path.exists(path):
                open(path, "w").write(str(value))
    until(lambda: node.state_of(c) == "CONTAINER_EXITED" or	# it may be killed with it
          node.refused("ExecSync", container_id=c, cmd=["touch", "/tmp/go"], timeout=30)[0] == "OK", "a word to it")
    return pod, node.wait_exit(c)


for h, (pod, st) in each(hog).items():
    ok((st.exit_code, st.reason) == (137, "OOMKilled"), f"{h}: out of memory", st)
    node.down(pod)

# -- what holds a pod dies --

down = each(lambda h: up(h, "dies"))
pod, a, b = down["crun"]
os.kill(node.pid(a), signal.SIGKILL)
ok(within(lambda: node.state_of(a) == "CONTAINER_EXITED", "a killed container") and node.status(a).exit_code == 137,
   "a container is killed: its state within a second", node.status(a))

pod, a, b = down["shimv2"]
shim = processes("-namespace", pod)
ok(len(shim) == 1, "shimv2: a shim for the pod", shim)
pids = [node.pid(a), node.pid(b)]
os.kill(shim[0], signal.SIGKILL)
ok(within(lambda: node.pod_state(pod) == "SANDBOX_NOTREADY" and node.state_of(a) == node.state_of(b) == "CONTAINER_EXITED",
          "a killed shim"), "the shim is killed: the pod's state within a second", (node.pod_state(pod), node.state_of(a)))
ok(not any(map(alive, pids)), "and nothing of it runs on")

pod, a, b = down["gvisor"]
gofer = processes("runsc-gofer", a)
ok(len(gofer) == 1, "gvisor: a gofer for each container", gofer)
os.kill(gofer[0], signal.SIGKILL)
ok(within(lambda: node.state_of(a) == "CONTAINER_EXITED", "a killed gofer"),
   "a gofer is killed: its container has ended within a second", node.state_of(a))
ok(node.pod_state(pod) == "SANDBOX_READY" and node.exec(b, "echo", "fine").stdout == b"fine\n", "the other goes on")
sentry = processes("runsc-sandbox", pod)
ok(len(sentry) == 1, "gvisor: a sandbox for the pod", sentry)
os.kill(sentry[0], signal.SIGKILL)
ok(within(lambda: node.pod_state(pod) == "SANDBOX_NOTREADY" and node.state_of(b) == "CONTAINER_EXITED", "a killed sandbox"),
   "the sandbox is killed: the pod's state within a second", (node.pod_state(pod), node.state_of(b)))

pod, a, b = down["runc"]
ok(node.pod_state(pod) == "SANDBOX_READY" and node.state_of(a) == node.state_of(b) == "CONTAINER_RUNNING",
   "runc: the pod beside them does not notice")

# -- a pod that the sandbox can't have --

pod = node.run("host", "gvisor", hostname="", namespaces={"network": "NODE", "pid": "CONTAINER", "ipc": "POD"})
st = node.call("PodSandboxStatus", pod_sandbox_id=pod, verbose=True)
ok(st.status.runtime_handler == "crun" and '"askedHandler":"gvisor"' in st.info["info"] and '"hostNetwork"' in st.info["info"],
   "a pod on the host's network goes to the fallback, and says so", st)
c = node.started(pod, "c", "sh", "-c", "ls -d /sys/class/net/" + node.bridge,
                 namespaces={"network": "NODE", "pid": "CONTAINER", "ipc": "POD"})
ok(node.wait_exit(c).exit_code == 0, "and sees it", node.log_of(c))

# -- options, by a real engine --

pod = node.run("options", "copy", security={"privileged": True})
c = node.started(pod, "c", "sleep", "1000", security={"privileged": True}, envs=[{"key": "OWN", "value": "Mg=="}])
got = node.exec(c, "sh", "-c", "echo $BELOW $OWN; ulimit -c; cat /proc/mounts; ls /dev; cat /proc/self/status")
out = got.stdout.decode()
ok(out.startswith("1 2\n8\n"), "the handler's parts of the spec: variables and limits", out[:100])
ok("tmpfs /below tmpfs ro," in out, "mounts")
ok("kmsg" not in out.split() and "Seccomp:\t0" in out, "privileged, without the host's devices", out)
node.down(pod)

# -- an engine whose program goes, and comes back --

pod = node.run("copy", "copy")
ctr = node.started(pod, "c", "sleep", "1000")
os.rename(f"{HOME}/crun", f"{HOME}/crun.gone")
code, words = node.refused("CreateContainer", **node.create_request(pod, "d", "true"))
ok(code != "OK" and f"{HOME}/crun" in words, "its program is gone: the first to ask is told", words)
ok(until(lambda: "copy" not in ready(), "the probe") and ready() == {"", *HANDLERS}, "its handler is not ready, all others are", ready())
code, words = node.refused("RunPodSandbox", config=node.pod_config("copy2"), runtime_handler="copy")
ok(code == "UNAVAILABLE" and f"{HOME}/crun" in words, "the next one hears why", (code, words))
ok(node.state_of(ctr) == "CONTAINER_RUNNING", "what runs, runs")
os.rename(f"{HOME}/crun.gone", f"{HOME}/crun")
ok(until(lambda: "copy" in ready(), "the probe"), "it is back: the handler is ready again")
ok(node.exec(ctr, "echo", "x").stdout == b"x\n" and node.create(pod, "d", "true"), "and works")

# -- the end of all --

everything = list(node.pods())
each(lambda pod: node.down(pod), everything)
ok(not node.pods() and not node.ctrs(), "all can be removed")
left = node.leaks()
ok(left == "", "nothing is left", left)
if os.environ.get("KEEP_LOG"):
    subprocess.run(["cp", node.log, os.environ["KEEP_LOG"]])
ok(node.stop() == 0, "the end")
done()

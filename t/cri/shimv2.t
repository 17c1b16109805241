#!/usr/bin/python3
# Containers in containerd's shims, of both generations: that of Debian's containerd, which is
# started the old way, and the one of today's; and in gVisor's own.  The core and the shims die
# under them.  SHIMS=old: without most of the newer one's.
import glob, os, signal, subprocess, sys, threading, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from node import HOME, TOP, Node, alive, cmdline, component, cri, done, ok, processes, say, stat_of, until

MIB = 1 << 20


def todays_shim():
    """Built once, together with the benchmark's peer."""
    r = subprocess.run(["sh", "-euc", 'tmp=/nonexistent; . t/bench/containerd.sh; containerd_build >&2; echo "$containerd_bin"'],
                       cwd=TOP, capture_output=True, text=True)
    if r.returncode:
        print(f"Bail out! today's shim could not be built: {r.stderr[-300:]}")
        sys.exit(1)
    return f"{r.stdout.strip()}/containerd-shim-runc-v2"


def gvisor_shim():
    """(options of) gVisor's shim."""
    folder = component("gvisor_shim", "gvisor_shim")
    with open(f"{HOME}/runsc.toml", "w") as f:
        f.write(f'binary_name = "{folder}/runsc"\nroot = "{HOME}/memory/runsc"\n[runsc_config]\nplatform = "systrap"\n')
    return {"path": f"{folder}/containerd-shim-runsc-v1", "config_path": f"{HOME}/runsc.toml"}


HANDLERS = {
    "runsc": {"engine": "shimv2", "options": gvisor_shim()},
    "old": {"engine": "shimv2"},
    "new": {"engine": "shimv2", "options": {"path": todays_shim()}},
    "runc": {"engine": "runc"},
    "oldest": {"engine": "shimv2", "options": {"start": "bootstrap"}},
    "newest": {"engine": "shimv2", "options": {"path": todays_shim(), "start": "legacy"}},
    "nowhere": {"engine": "shimv2", "options": {"path": "/nonexistent/containerd-shim-runc-v2"}},
}


def shims():
    """Shims of ours that run."""
    return processes("-namespace", HOME)


def sockets():
    """Where the shims of ours listen, as the engine has it on record."""
    found = set()
    for path in glob.glob(f"{node.state}/engines/*/blob-*"):
        address = open(path).read().split("\n")[3]
        found.add(address.removeprefix("unix://"))
    return found - {""}


def snapshot():
    for handler in "old", "new", "runc", "runsc":
        pod = node.run("warm-" + handler, handler)
        if handler != "runsc":
            node.started(pod, "warm", "sleep", "1000")
        node.down(pod)
    return node.note(f"{node.state}/engines")


def life(h):
    pod = node.run(f"life-{h}", h)
    a = node.started(pod, "a", "sh", "-c", "echo out; echo err >&2; read x; echo got $x; exec sleep 1000", stdin=True)
    b = node.started(pod, "b", "sh", "-c", "echo hello from b; trap 'echo bye; exit 3' TERM; while :; do sleep 0.1; done")
    ok(len(shims()) == 1, f"{h}: two containers, one shim", shims())
    ok(alive(node.pid(a)) and stat_of(node.pid(a))[0] == shims()[0], f"{h}: the shim is their parent", stat_of(node.pid(a)))
    until(lambda: "hello from b\n" in node.log_of(b), "b's log")
    ok(sorted(node.log_of(a).split()) == ["err", "out"], f"{h}: stdout and stderr are in the log", node.log_of(a))
    got = node.exec(a, "sh", "-c", "echo one; echo two >&2; exit 5")
    ok((got.exit_code, got.stdout, got.stderr) == (5, b"one\n", b"two\n"), f"{h}: exec has output and exit code", got)
    got = node.exec(a, "sh", "-c", "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done")
    ok(got.stdout.count(b"\n") == 20000 and got.stdout.endswith(b"line 19999\n"), f"{h}: exec's output is whole", len(got.stdout))
    code, words = node.refused("ExecSync", container_id=a, cmd=["/no/such"], timeout=10)
    ok(code != "OK" and "/no/such" in words, f"{h}: a program that isn't there is no exit code", words)
    began = time.monotonic()
    code, words = node.refused("ExecSync", container_id=a, cmd=["sleep", "1000"], timeout=1)
    ok(code == "DEADLINE_EXCEEDED" and time.monotonic() - began < 20, f"{h}: an exec is killed at its deadline", words)
    until(lambda: not any(cmdline(p)[:2] == ["sleep", "1000"] and stat_of(p) and stat_of(p)[0] == shims()[0]
                          for p in os.listdir("/proc") if p.isdigit() and int(p) != node.pid(a)), "the exec's death")
    stats = node.call("ContainerStats", container_id=a).stats
    ok(stats.cpu.usage_core_nano_seconds.value > 0 and stats.memory.working_set_bytes.value > 0, f"{h}: stats", stats)
    node.call("UpdateContainerResources", container_id=a, linux={"memory_limit_in_bytes": 64 * MIB})
    v1 = glob.glob(f"/sys/fs/cgroup/memory{node.cgroup}/pods/life-{h}/{a}/memory.limit_in_bytes")
    v2 = glob.glob(f"/sys/fs/cgroup{node.cgroup}/pods/life-{h}/{a}/memory.max")
    ok([open(p).read().strip() for p in v1 or v2] == [str(64 * MIB)], f"{h}: update", v1 or v2)
    mounts = open("/proc/mounts").read()
    ok(f"{node.state}/mnt/" not in mounts, f"{h}: nothing is mounted in the host's namespace",
       [m for m in mounts.splitlines() if node.state in m])
    node.call("StopContainer", container_id=b, timeout=20)
    st = node.status(b)
    ok((st.exit_code, st.reason) == (3, "Error") and node.log_of(b).endswith("bye\n"), f"{h}: a stop lets it end by itself", st)
    node.call("RemoveContainer", container_id=b)
    ok(len(shims()) == 1 and node.state_of(a) == "CONTAINER_RUNNING", f"{h}: the other one runs on")
    where = sockets()
    node.down(pod)
    ok(until(lambda: not shims(), "the shim's end"), f"{h}: the shim goes with the pod")
    ok(where and not any(os.path.exists(s) for s in where), f"{h}: and so does its socket", where)


def ends(h):
    pod = node.run(f"ends-{h}", h)
    for words, code, reason in (("exit 0", 0, "Completed"), ("exit 42", 42, "Error"), ("exec sleep 1000", 137, "Error")):
        c = node.started(pod, f"c{code}", "sh", "-c", f"i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done; {words}")
        if code == 137:
            until(lambda: cmdline(node.pid(c))[0] == "sleep", "sleep")
            os.kill(node.pid(c), signal.SIGKILL)
        st = node.wait_exit(c)
        ok((st.exit_code, st.reason) == (code, reason), f"{h}: '{words}' is {code}", st)
        ok(node.log_of(c).split() == [str(i) for i in range(3000)], f"{h}: and all that it wrote is in the log", node.log_of(c)[-100:])
    hog = node.ctr_config("hog", "sh", "-c", "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done")
    hog["linux"]["resources"] = {"memory_limit_in_bytes": 16 * MIB}
    c = node.call("CreateContainer", pod_sandbox_id=pod, config=hog, sandbox_config={}).container_id
    node.call("StartContainer", container_id=c)
    st = node.wait_exit(c)
    ok((st.exit_code, st.reason) == (137, "OOMKilled"), f"{h}: out of memory", st)
    code, words = node.refused("StartContainer", container_id=node.create(pod, "none", "/no/such/program"))
    ok(code != "OK" and "/no/such/program" in words, f"{h}: a missing program is named", words)
    c = node.started(pod, "tty", "sh", "-c", "test -t 1 && echo a terminal; exit 4", tty=True)
    st = node.wait_exit(c)
    ok(st.exit_code == 4 and node.log_of(c) == "a terminal\n", f"{h}: a terminal", (st.exit_code, node.log_of(c)))
    node.down(pod)
    pod = node.run(f"share-{h}", h, namespaces={"network": "POD", "pid": "POD", "ipc": "POD"})
    ns = {"namespaces": {"network": "POD", "pid": "POD", "ipc": "POD"}}
    a = node.started(pod, "a", "sh", "-c", "echo shared >/dev/shm/x; exec sleep 1000", **ns)
    b = node.started(pod, "b", "sleep", "1000", **ns)
    got = node.exec(b, "sh", "-c", "cat /dev/shm/x; cat /proc/1/cmdline")
    ok(got.stdout.startswith(b"shared\n/pause"), f"{h}: containers share processes and /dev/shm", got)
    node.down(pod)


def core_dies(h):
    pod = node.run(f"core-{h}", h)
    ctrs = [node.started(pod, f"c{i}", "sh", "-c", "sleep 100000; exit 7") for i in range(3)]
    writer = node.started(pod, "writer", "sh", "-c", "i=0; while [ ! -e /tmp/end ]; do echo line $i; i=$((i+1)); usleep 500; done; exit 9")
    created = node.create(pod, "created", "sh", "-c", "exit 6")
    pids, shim = {c: node.pid(c) for c in ctrs}, shims()
    core = node.core()
    os.kill(core, signal.SIGSTOP)
    inner = [p for p in os.listdir("/proc") if p.isdigit() and (stat_of(p) or (0,))[0] == pids[ctrs[0]]]
    os.kill(int(inner[0]), signal.SIGTERM)	# its shell goes on to the exit, which no core sees
    until(lambda: not alive(pids[ctrs[0]]), "its end")
    node.kill_core()
    st = node.wait_exit(ctrs[0])
    ok((st.exit_code, st.reason) == (7, "Error"), f"{h}: an exit while no core lived has its code", st)
    ok(all(node.state_of(c) == "CONTAINER_RUNNING" and node.pid(c) == pids[c] for c in ctrs[1:]) and shims() == shim,
       f"{h}: the others run on, in the same shim", [node.state_of(c) for c in ctrs])
    ok(node.exec(ctrs[1], "echo", "there").stdout == b"there\n", f"{h}: exec in one of them")
    node.call("StartContainer", container_id=created)
    st = node.wait_exit(created)
    ok(st.exit_code == 6, f"{h}: one that was created can be started", st)
    more = node.started(pod, "more", "sleep", "1000")
    ok(node.state_of(more) == "CONTAINER_RUNNING" and shims() == shim, f"{h}: and another joins them")
    node.kill_core()
    node.refused("ExecSync", container_id=writer, cmd=["touch", "/tmp/end"], timeout=30)	# or killed with it: all the same
    st = node.wait_exit(writer)
    lines = node.log_of(writer).split("\n")[:-1]
    seen = [int(line.split()[1]) for line in lines]
    ok(st.exit_code == 9 and set(seen) == set(range(max(seen) + 1)), f"{h}: no line of a log is lost", (st.exit_code, len(seen), max(seen)))
    node.call("StopContainer", container_id=ctrs[1], timeout=0)
    ok(node.status(ctrs[1]).exit_code == 137, f"{h}: a stop kills", node.status(ctrs[1]))
    node.down(pod)


def shim_dies(h):
    pod = node.run(f"shim-{h}", h)
    a, b = node.started(pod, "a", "sleep", "100000"), node.started(pod, "b", "sleep", "100000")
    gone = node.started(pod, "gone", "sh", "-c", "exit 2")
    node.wait_exit(gone)
    pids, where = [node.pid(a), node.pid(b)], sockets()
    began = time.monotonic()
    os.kill(shims()[0], signal.SIGKILL)
    node.not_ready(pod)
    took = time.monotonic() - began
    say(f"{h}: a dead shim, its containers killed, after {took * 1000:.0f} ms")
    ok(all(node.state_of(c) == "CONTAINER_EXITED" for c in (a, b)) and not any(map(alive, pids)),
       f"{h}: its containers have ended, really", [(node.state_of(c), alive(p)) for c, p in zip((a, b), pids)])
    st = node.status(a)
    ok((st.exit_code, st.reason) == (255, "Unknown"), f"{h}: how is not known", st)
    ok(node.status(gone).exit_code == 2, f"{h}: what was known before still is", node.status(gone))
    code, words = node.refused("CreateContainer", **node.create_request(pod, "late", "true"))
    ok(code == "FAILED_PRECONDITION", f"{h}: no container joins a dead pod", words)
    node.call("RemoveContainer", container_id=a)
    node.down(pod)
    ok(node.pods() == set() and not any(os.path.exists(s) for s in where), f"{h}: all of it can be removed")
    # and while nobody looks
    pod = node.run(f"shim2-{h}", h)
    c = node.started(pod, "c", "sleep", "100000")
    pid, core = node.pid(c), node.core()
    os.kill(core, signal.SIGSTOP)
    os.kill(shims()[0], signal.SIGKILL)
    node.kill_core()
    ok(node.state_of(c) == "CONTAINER_EXITED" and not alive(pid), f"{h}: a shim that died together with the core", node.state_of(c))
    ok(node.call("PodSandboxStatus", pod_sandbox_id=pod).status.state == cri.SANDBOX_NOTREADY, f"{h}: the pod is not ready")
    node.down(pod)


def pause_dies(h):
    pod = node.run(f"pause-{h}", h)
    c = node.started(pod, "c", "sleep", "100000")
    pause = [p for p in os.listdir("/proc") if p.isdigit() and cmdline(p)[:1] == ["/pause"] and stat_of(p)[0] == shims()[0]]
    os.kill(int(pause[0]), signal.SIGKILL)
    node.not_ready(pod)
    ok(node.wait_exit(c).exit_code == 137, f"{h}: a sandbox without its first process takes the containers along", node.status(c))
    node.down(pod)


def named(id):
    """What runs with this id in its command line."""
    return [cmdline(p) for p in processes(id)]


def shim_of(id):
    """Its shim, where each container has one."""
    return next(p for p in shims() if os.readlink(f"/proc/{p}/cwd").endswith("/" + id))


def gvisor(h):
    pod = node.run(f"pod-{h}", h)
    a = node.started(pod, "a", "sh", "-c", "echo out; echo err >&2; exec sleep 100000")
    b = node.started(pod, "b", "sh", "-c", "cat /proc/version; exit 4")
    c = node.started(pod, "c", "sh", "-c", "trap 'echo bye; exit 3' TERM; while :; do sleep 0.1; done")
    ok(len(shims()) == 4, f"{h}: a shim for each container and one for the pod", shims())
    st = node.wait_exit(b)
    ok(st.exit_code == 4 and "gvisor" in node.log_of(b).lower() + "gvisor" * ("4.4.0" in node.log_of(b)), f"{h}: a guest's kernel, an exit code", node.log_of(b))
    ok(sorted(node.log_of(a).split()) == ["err", "out"], f"{h}: stdout and stderr are in the log", node.log_of(a))
    got = node.exec(a, "sh", "-c", "echo one; echo two >&2; exit 5")
    ok((got.exit_code, got.stdout, got.stderr) == (5, b"one\n", b"two\n"), f"{h}: exec has output and exit code", got)
    stats = until(lambda: (s := node.call("ContainerStats", container_id=a).stats).memory.working_set_bytes.value and s, "stats")
    ok(stats.memory.working_set_bytes.value > 0, f"{h}: stats are of the guest", stats)
    node.call("StopContainer", container_id=c, timeout=20)
    ok(node.status(c).exit_code == 3 and node.log_of(c) == "bye\n", f"{h}: a stop lets it end by itself", node.status(c))
    d = node.started(pod, "d", "sh", "-c", "sleep 1; exit 7")
    core = node.core()
    os.kill(core, signal.SIGSTOP)
    time.sleep(2)	# its end, which no core sees
    node.kill_core()
    st = node.wait_exit(d)
    ok(st.exit_code == 7, f"{h}: an exit while no core lived has its code", st)
    ok(node.state_of(a) == "CONTAINER_RUNNING" and node.exec(a, "echo", "there").stdout == b"there\n", f"{h}: the other one runs on")
    e = node.started(pod, "e", "sleep", "100000")
    os.kill(shim_of(e), signal.SIGKILL)
    st = node.wait_exit(e)
    ok((st.exit_code, st.reason) == (255, "Unknown") and node.state_of(a) == "CONTAINER_RUNNING" and
       node.call("PodSandboxStatus", pod_sandbox_id=pod).status.state == cri.SANDBOX_READY,
       f"{h}: the death of a container's shim is that of the container alone", st)
    ok(not named(e) and named(a), f"{h}: of which nothing is left when it is told", named(e))
    sentry = node.pid(a)
    os.kill(shim_of(pod), signal.SIGKILL)
    node.not_ready(pod)
    ok(node.wait_exit(a), f"{h}: the death of the pod's shim is that of the pod")
    ok(until(lambda: not alive(sentry), "its end"), f"{h}: and of the guest's kernel")
    node.down(pod)
    ok(until(lambda: not shims(), "the shims' end"), f"{h}: all shims go with the pod")
    # all of it while nobody looks
    pod = node.run(f"both-{h}", h)
    a = node.started(pod, "a", "sleep", "100000")
    sentry, core = node.pid(a), node.core()
    os.kill(core, signal.SIGSTOP)
    for p in shims():
        os.kill(p, signal.SIGKILL)
    node.kill_core()
    node.not_ready(pod)
    ok(node.state_of(a) == "CONTAINER_EXITED" and not alive(sentry) and not named(a), f"{h}: shims that died together with the core")
    node.down(pod)
    # the kernel itself
    pod = node.run(f"sentry-{h}", h)
    a = node.started(pod, "a", "sleep", "100000")
    os.kill(node.pid(a), signal.SIGKILL)
    node.not_ready(pod)
    ok(node.wait_exit(a).exit_code, f"{h}: a guest's kernel that dies ends the pod", node.status(a))
    node.down(pod)
    ok(until(lambda: not shims(), "the shims' end") and not named(pod), f"{h}: and all of it can be removed")


node = Node(HANDLERS).start().load()
ready = {h.name for h in node.call("Status").runtime_handlers}
ok(ready >= {"old", "new", "runc", "oldest", "newest"} and "nowhere" not in ready, "handlers that work are announced", ready)
node.down(node.run("newest", "newest"))
ok(True, "newest: today's shim is also started the old way")
for h, words in ("oldest", "not found"), ("nowhere", "/nonexistent/containerd-shim-runc-v2"):
    code, text = node.refused("RunPodSandbox", config=node.pod_config(f"no-{h}"), runtime_handler=h)
    ok(code != "OK" and words in text, f"{h}: refused with the cause", text)
ok(snapshot() == "", "what there is")
for h in os.environ.get("SHIMS", "old new").split():
    for part in life, ends, core_dies, shim_dies, pause_dies:
        part(h)

gvisor("runsc")

# side by side: one shim per pod, and a pod without
pods = {h: node.run(f"side-{h}", h) for h in ("old", "new", "runc")}
ctrs = {h: [node.started(p, n, "sh", "-c", "sleep 100000") for n in "ab"] for h, p in pods.items()}
ok(len(shims()) == 2, "pods side by side have a shim each", shims())
node.kill_core()
ok(all(node.state_of(c) == "CONTAINER_RUNNING" for cs in ctrs.values() for c in cs), "and outlive the core")
down = [threading.Thread(target=node.down, args=(p,)) for p in pods.values()]
for t in down:
    t.start()
for t in down:
    t.join()
left = node.leaks()
ok(left == "", "nothing is left", left)
if os.environ.get("KEEP_LOG"):
    subprocess.run(["cp", node.log, os.environ["KEEP_LOG"]])
ok(node.stop() == 0, "the end")
done()

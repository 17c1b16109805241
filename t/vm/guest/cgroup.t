#!/usr/bin/env python3
# Containers of the engine HANDLER on cgroup v2 alone, under the driver that CGROUP_DRIVER names: where they are,
# what they may use, what they have used, who is killed, and what is left.
import os, sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)) + "/../../cri")
from node import *

DRIVER, HANDLER = os.environ["CGROUP_DRIVER"], os.environ["HANDLER"]
MIB = 1 << 20
HOG = "x=0123456789abcdef; while :; do x=$x$x; done"	# sh doubles its memory until it is killed
node = Node(driver=DRIVER)
node.start().load()


def cgroup_of(pid):
    with open(f"/proc/{pid}/cgroup") as f:
        return f.read().split("::", 1)[1].strip()


def read(where, name):
    try:
        with open(f"/sys/fs/cgroup{where}/{name}") as f:
            return f.read().strip()
    except OSError as e:
        return str(e)


def daemon_reload():
    subprocess.run(["systemctl", "daemon-reload"], check=True)


def units():
    """What systemd knows of this test's slices and of crisp's scopes."""
    r = subprocess.run(["systemctl", "list-units", "--all", "--no-legend", "--plain", "crisp*.slice", "crisp-*.scope"],
                       capture_output=True, text=True)
    return [line for line in r.stdout.splitlines() if TAG in line or line.startswith("crisp-")]


def refusal(parent):
    return node.refused("RunPodSandbox", config=node.pod_config("refused", cgroup_parent=parent))


# -- what the node says, and what it takes --
lc = node.call("RuntimeConfig").linux
ok(cri.CgroupDriver.Name(lc.cgroup_driver) == DRIVER.upper(), "RuntimeConfig says which driver", lc)
for bad in ["/a/b", "a--b.slice"] if DRIVER == "systemd" else ["kubepods-pod1.slice"]:
    code, words = refusal(bad)
    ok(code == "INVALID_ARGUMENT" and "linux.cgroup_parent" in words and DRIVER in words, f"refused: {words}", code)

# -- limits --
pod = node.run("limits", HANDLER)
ctr = node.started(pod, "limits", "sleep", "1000000", resources={
    "memory_limit_in_bytes": 48 * MIB, "memory_swap_limit_in_bytes": 48 * MIB, "cpu_period": 100000,
    "cpu_quota": 25000, "cpu_shares": 512, "cpuset_cpus": "0", "oom_score_adj": 100,
    "hugepage_limits": [{"page_size": "2MB", "limit": 4 * MIB}],
    "unified": {"memory.high": str(40 * MIB), "memory.oom.group": "1", "pids.max": "77"}})
at = cgroup_of(node.pid(ctr))
parent = node.cgroup_parent("limits")
if DRIVER == "systemd":
    ok(f"/{parent}/crisp-{ctr}.scope" in at and at.startswith(node.cgroup), "it is in its scope", at)
else:
    ok(at == f"{parent}/{ctr}", "it is in its cgroup", at)
for name, want in {"memory.max": str(48 * MIB), "memory.swap.max": "0", "memory.high": str(40 * MIB),
                   "memory.oom.group": "1", "cpu.max": "25000 100000", "cpu.weight": "20", "cpuset.cpus": "0",
                   "pids.max": "77", "hugetlb.2MB.max": str(4 * MIB)}.items():
    got = read(at, name)
    ok(got == want, f"{name} is {want}", got)
ok(node.exec(ctr, "cat", "/proc/self/cgroup").stdout == b"0::/\n", "it sees no cgroup above its own")
r = node.status(ctr).resources.linux
ok((r.memory_limit_in_bytes, r.cpu_quota, r.cpu_period) == (48 * MIB, 25000, 100000),
   "the status tells the limits", r)
s = node.call("ContainerStats", container_id=ctr).stats
ok(0 < s.memory.working_set_bytes.value < 48 * MIB and s.cpu.usage_core_nano_seconds.value > 0 and
   s.memory.available_bytes.value == 48 * MIB - s.memory.working_set_bytes.value, "stats", s)

# -- update, and what systemd thinks of it --
node.call("UpdateContainerResources", container_id=ctr, linux={
    "memory_limit_in_bytes": 96 * MIB, "memory_swap_limit_in_bytes": 96 * MIB, "cpu_period": 100000,
    "cpu_quota": 50000, "cpu_shares": 1024})
want = {"memory.max": str(96 * MIB), "cpu.max": "50000 100000", "cpu.weight": "39", "memory.swap.max": "0"}
ok(all(read(at, n) == v for n, v in want.items()), "limits are updated", [read(at, n) for n in want])
daemon_reload()
want.update({"cpuset.cpus": "0", "pids.max": "77", "memory.oom.group": "1", "hugetlb.2MB.max": str(4 * MIB)})
# runc 1.1 writes these two to the cgroup and does not tell systemd, which takes them back.
untold = {"memory.swap.max", "memory.oom.group"} if (HANDLER, DRIVER) == ("runc", "systemd") else set()
ok(all(read(at, n) == v for n, v in want.items() if n not in untold), "and survive a daemon-reload",
   {n: read(at, n) for n in want})
ok(node.exec(ctr, "sh", "-c", "echo > /dev/null && cat /dev/null && echo good").stdout == b"good\n",
   "so do its devices")
node.call("StopContainer", container_id=ctr, timeout=0)
ok(node.status(ctr).reason == "Error" and node.status(ctr).exit_code == 137, "a kill is no OOM")
node.down(pod)

# -- no limit is none --
pod = node.run("free", HANDLER)
ctr = node.started(pod, "free", "sleep", "1000000")
at = cgroup_of(node.pid(ctr))
scopes = [at, os.path.dirname(at)] if at.endswith("/container") else [at]
ok(all(read(a, "pids.max") == "max" for a in scopes), "tasks without a limit", [read(a, "pids.max") for a in scopes])
node.down(pod)

# -- memory --
pod = node.run("oom", HANDLER)
few = {"memory_limit_in_bytes": 24 * MIB, "memory_swap_limit_in_bytes": 24 * MIB}
ctr = node.started(pod, "main", "sh", "-c", HOG, resources=few)
s = node.wait_exit(ctr)
ok((s.reason, s.exit_code) == ("OOMKilled", 137), "main out of memory", s)
ctr = node.started(pod, "child", "sh", "-c", f"({HOG}); echo child $?; sleep 1000000", resources=few)
log = f"{node.logs}/oom/child.log"
until(lambda: os.path.exists(log) and "child 137" in open(log).read(), "the child's end")
ok(node.state_of(ctr) == "CONTAINER_RUNNING", "a child out of memory, main lives")
node.call("StopContainer", container_id=ctr, timeout=0)
ok(node.status(ctr).reason == "OOMKilled", "and its end tells of it", node.status(ctr).reason)
ctr = node.started(pod, "group", "sh", "-c", f"({HOG}); sleep 1000000",
                   resources={**few, "unified": {"memory.oom.group": "1"}})
s = node.wait_exit(ctr)
ok((s.reason, s.exit_code) == ("OOMKilled", 137), "memory.oom.group takes all of them", s)
ctr = node.started(pod, "fine", "sh", "-c", "exit 3")
s = node.wait_exit(ctr)
ok((s.reason, s.exit_code) == ("Error", 3), "what fails beside them is not blamed on memory", s)
node.down(pod)

# -- everybody dies --
pod = node.run("host", HANDLER, namespaces={"network": "POD", "pid": "NODE", "ipc": "POD"})
ctr = node.started(pod, "left", "sh", "-c", "(sleep 1000001 &) ; (sleep 1000001 &) ; sleep 1000000",
                   namespaces={"network": "POD", "pid": "NODE", "ipc": "POD"})
at = cgroup_of(node.pid(ctr))
until(lambda: len(read(at, "cgroup.procs").split()) == 3, "three processes")
pids = [int(p) for p in read(at, "cgroup.procs").split()]
node.call("StopContainer", container_id=ctr, timeout=0)
ok(until(lambda: not any(alive(p) for p in pids), "the end of all of them", 5),
   "nobody outlives a container on the host's pids")
node.down(pod)

# -- a core dies --
pod = node.run("core", HANDLER, namespaces={"network": "POD", "pid": "POD", "ipc": "POD"})
ctr = node.started(pod, "stays", "sh", "-c", "trap 'exit 7' TERM; while :; do sleep 1; done",
                   namespaces={"network": "POD", "pid": "POD", "ipc": "POD"}, resources=few)
pid, core = node.pid(ctr), node.core()
os.kill(core, signal.SIGKILL)
node.core(core)
ok(node.pid(ctr) == pid and alive(pid), "a container outlives the core")
node.call("StopContainer", container_id=ctr, timeout=WAIT)
s = node.status(ctr)
ok((s.reason, s.exit_code) == ("Error", 7), "and ends as it should", s)
node.down(pod)

# -- two pods in one slice that was not there --
if DRIVER == "systemd":
    first = node.run("one", HANDLER, cgroup_parent=f"crisp{TAG}-shared.slice")
    second = node.run("two", HANDLER, cgroup_parent=f"crisp{TAG}-shared.slice")
    a, b = node.started(first, "a", "sleep", "1000000"), node.started(second, "b", "sleep", "1000000")
    node.down(first)
    ok(node.state_of(b) == "CONTAINER_RUNNING" and any("shared" in u for u in units()), "a slice in use stays", units())
    node.down(second)

# -- what is left --
left = []


def nothing_left():
    left[:] = units() + glob.glob(f"/sys/fs/cgroup/**/crisp-*.scope", recursive=True) + \
        glob.glob(f"/sys/fs/cgroup{node.cgroup}/*")
    return not [x for x in left if not x.endswith("/helpers") and "/helpers/" not in x and not os.path.isfile(x)]


try:
    until(nothing_left, "nothing is left")
    ok(True, "no unit and no cgroup is left")
except AssertionError:
    ok(False, "no unit and no cgroup is left", "\n".join(left))
ok(node.stop() == 0, "crispd leaves")
ok(not os.path.exists(f"/sys/fs/cgroup{node.cgroup}"), "and so does its parent", units())
with open(node.log) as f:
    bad = [line for line in f if "level=error" in line or "a cgroup stays" in line or "a slice stays" in line]
ok(not bad, "no error in the log", "".join(bad))
done()

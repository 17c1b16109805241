#!/usr/bin/python3
# Limits of a guest's containers: what an update of one of them means for the sandbox's cgroup, which updates
# are refused since they would have no effect, and what follows a start, a new core, a change of the pod.
import glob, os, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from node import Node, component, done, ok

MIB = 1 << 20
node = Node({"gvisor": {"engine": "gvisor", "options": {"path": os.environ.get("RUNSC") or component("gvisor_runsc", "runsc")}}}).start().load()
warm = node.run("warm", "gvisor")
node.started(warm, "warm", "true")
node.down(warm)
ok(node.note(f"{node.state}/engines") == "", "what there is")


def read(controller, v1, v2):
    for path in f"/sys/fs/cgroup/{controller}{leaf}/{v1}", f"/sys/fs/cgroup{leaf}/{v2}":
        if os.path.exists(path):
            return open(path).read().split()[0]
    return None


def memory():
    got = read("memory", "memory.limit_in_bytes", "memory.max")
    return None if got == "max" or int(got) > 1 << 60 else int(got)


def quota():
    got = read("cpu", "cpu.cfs_quota_us", "cpu.max")
    return None if got in ("max", "-1") else int(got)


def update(ctr, **limits):
    return node.refused("UpdateContainerResources", container_id=ctr, linux=limits)


pod = node.run("pod", "gvisor")
leaf = f"{node.cgroup}/pods/pod/{pod}"
a = node.started(pod, "a", "sleep", "100000", resources={"memory_limit_in_bytes": 200 * MIB, "cpu_period": 50000, "cpu_quota": 25000})
b = node.started(pod, "b", "sleep", "100000", resources={"memory_limit_in_bytes": 200 * MIB})
ok(memory() is None and quota() is None, "without an update the sandbox has no limits of its own", (memory(), quota()))

got = update(a, memory_limit_in_bytes=100 * MIB)
ok(got[0] == "OK" and memory() == 300 * MIB, "memory: the containers' limits together", (got, memory()))
ok(node.status(a).resources.linux.memory_limit_in_bytes == 100 * MIB, "and the container's is told", node.status(a).resources)
ok(quota() is None, "one of them has no CPU limit, so the sandbox has none")
got = update(a, cpu_quota=30000)
ok(got[0] == "FAILED_PRECONDITION" and "linux.cpu_quota: would have no effect" in got[1] and " b has no such limit" in got[1],
   "to limit the CPUs of one of them would have no effect: refused", got)
got = update(b, cpu_period=100000, cpu_quota=40000)
ok(got[0] == "OK" and quota() == 90000, "now both have one: in 100 ms", (got, quota()))
got = update(a, cpuset_cpus="0")
ok(got[0] == "FAILED_PRECONDITION" and "linux.cpuset_cpus" in got[1], "CPUs of one alone", got)
got = update(a, memory_limit_in_bytes=MIB), update(b, memory_limit_in_bytes=MIB)
ok(got[1][0] == "FAILED_PRECONDITION" and "its guest uses" in got[1][1] and memory() == 201 * MIB,
   "less than the guest uses is refused, and nothing has changed", (got, memory()))
got = update(a, oom_score_adj=500)
ok(got[0] == "UNIMPLEMENTED" and "linux.oom_score_adj" in got[1], "what can't be changed is named", got)
got = update(a, hugepage_limits=[{"page_size": "2MB", "limit": 2 * MIB}])
ok(got[0] in ("UNIMPLEMENTED", "INVALID_ARGUMENT") and "linux.hugepage_limits[0]" in got[1], "huge pages", got)

node.kill_core()
got = update(a, memory_limit_in_bytes=120 * MIB)
ok(got[0] == "OK" and memory() == 320 * MIB, "another core goes on with it", (got, memory()))
got = node.refused("UpdatePodSandboxResources", pod_sandbox_id=pod, overhead={"memory_limit_in_bytes": 30 * MIB})
ok(got[0] == "OK" and memory() == 350 * MIB, "the pod's overhead comes on top", (got, memory()))
c = node.started(pod, "c", "sleep", "100000", resources={"memory_limit_in_bytes": 50 * MIB})
ok(memory() == 400 * MIB and quota() is None, "a container that joins brings its limits, or has none", (memory(), quota()))
d = node.started(pod, "d", "true")
ok(memory() is None, "with one that has no limit the sandbox has none", memory())
node.wait_exit(d)
got = update(c, memory_limit_in_bytes=60 * MIB)
ok(got[0] == "OK" and memory() == 410 * MIB, "one that has ended does not count", (got, memory()))
got = update(c, memory_limit_in_bytes=-1)
ok(got[0] == "OK" and memory() is None, "a limit can be taken off", (got, memory()))

e = node.create(pod, "e", "sleep", "100000")
node.arm("fail update/keep limits")
got = update(a, memory_limit_in_bytes=70 * MIB, cpu_quota=0)
ok(got[0] != "OK", "an update that fails", got)
node.call("RemoveContainer", container_id=e)
fresh = node.run("fresh", "gvisor")
leaf = f"{node.cgroup}/pods/fresh/{fresh}"
f = node.started(fresh, "f", "sleep", "100000", resources={"memory_limit_in_bytes": 200 * MIB})
node.arm("fail update/keep limits")
got = update(f, memory_limit_in_bytes=100 * MIB)
ok(got[0] != "OK" and memory() is None, "the first of all updates fails: no limits, as before", (got, memory()))
ok(node.status(f).resources.linux.memory_limit_in_bytes == 200 * MIB, "and the old one is told")

for pod in node.pods():
    node.down(pod)
left = node.leaks()
ok(left == "", "nothing is left", left)
ok(node.stop() == 0, "the end")
done()

#!/usr/bin/python3
# What pods use, on crun, beside what the kernel says: cgroup files, /proc/net/dev, /proc.
import json, os, subprocess, sys, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from node import Node, cri, done, ok, until

node = Node().start().load()
node.snapshot()


def cgroup_files(path, v1, v2):
    """The number in a file of the cgroup, whichever version has it."""
    for name in (f"/sys/fs/cgroup/{v1.split('.')[0]}{path}/{v1}", f"/sys/fs/cgroup{path}/{v2}"):
        if os.path.exists(name):
            return open(name).read()
    raise AssertionError(f"no {v1} nor {v2} of {path}")


def net_dev(pid):
    """name -> (rx bytes, tx bytes) as a process in the pod sees it."""
    lines = open(f"/proc/{pid}/net/dev").read().splitlines()[2:]
    split = [line.replace(":", " ").split() for line in lines]
    return {w[0]: (int(w[1]), int(w[9])) for w in split}


def near(a, b, share=0.2, slack=1 << 20):
    return abs(a - b) <= max(share * max(a, b), slack)


FILL = 20 * os.path.getsize("/bin/busybox")
pod = node.run("web")
ctr = node.started(pod, "main", "sh", "-c", f"for i in {' '.join(map(str, range(20)))}; do cat /bin/busybox; done >/tmp/fill; while :; do :; done")
other = node.started(pod, "side", "sleep", "100000")
group = node.pod_config("web")["linux"]["cgroup_parent"]
pid = node.pid(ctr)


def stats():
    return node.call("PodSandboxStats", pod_sandbox_id=pod).stats


first = stats()
until(lambda: node.call("PodSandboxStats", pod_sandbox_id=pod).stats.linux.cpu.HasField("usage_nano_cores"), "a rate")
subprocess.run(["nsenter", "-t", str(pid), "-n", "ping", "-c", "3", "-i", "0.2", "-W", "1", "-q",
                ".".join(node.call("PodSandboxStatus", pod_sandbox_id=pod).status.network.ip.split(".")[:2]) + ".0.1"],
               capture_output=True)
before = net_dev(pid)
s = stats()
after = net_dev(pid)
ok(s.attributes.id == pod and s.attributes.metadata.name == "web" and s.attributes.metadata.uid == "uid-web",
   "whose they are", s.attributes)
lx = s.linux
ok(lx.cpu.timestamp > 0 and lx.cpu.usage_core_nano_seconds.value > first.linux.cpu.usage_core_nano_seconds.value,
   "the CPU's time grows", lx.cpu)
v1 = f"/sys/fs/cgroup/cpuacct{group}/cpuacct.usage"
if os.path.exists(v1):
    now = int(open(v1).read())
else:
    now = int(open(f"/sys/fs/cgroup{group}/cpu.stat").read().split()[1]) * 1000
ok(near(lx.cpu.usage_core_nano_seconds.value, now, 0.5, 2e9), "as the cgroup says", (lx.cpu, now))
ok(0 < lx.cpu.usage_nano_cores.value < os.cpu_count() * 1.1e9, "the rate is one of this machine", lx.cpu)
used = int(cgroup_files(group, "memory.usage_in_bytes", "memory.current"))
ok(near(lx.memory.usage_bytes.value, used, 0.5, 30 << 20) and
   0 < lx.memory.working_set_bytes.value <= lx.memory.usage_bytes.value, "memory", (lx.memory, used))
ok(not lx.memory.HasField("available_bytes"), "nothing is available without a limit", lx.memory)
ok(lx.process.process_count.value >= 2 and lx.process.timestamp > 0, "processes", lx.process)
d = lx.network.default_interface
ok(d.name == "eth0" and before["eth0"][0] <= d.rx_bytes.value <= after["eth0"][0] and
   before["eth0"][1] <= d.tx_bytes.value <= after["eth0"][1] and d.tx_bytes.value > 0,
   "eth0 as the pod itself sees it", (d, before, after))
ok(not lx.network.interfaces and lx.network.timestamp > 0, "and no other interface", lx.network)
ok(sorted(c.attributes.id for c in lx.containers) == sorted([ctr, other]), "both containers", lx.containers)
ok(all(c.cpu.usage_core_nano_seconds.value <= lx.cpu.usage_core_nano_seconds.value and
       c.memory.usage_bytes.value <= lx.memory.usage_bytes.value * 1.2 for c in lx.containers),
   "none of them uses more than the pod", lx)
one = {c.attributes.id: c for c in lx.containers}[ctr]
ok(one.attributes.metadata.name == "main" and one.cpu.timestamp > 0 and one.memory.working_set_bytes.value > 0, "one of them", one)
until(lambda: next(c for c in stats().linux.containers if c.attributes.id == ctr).writable_layer.used_bytes.value >= FILL,
      "its writable layer is measured")
layer = next(c for c in stats().linux.containers if c.attributes.id == ctr).writable_layer
ok(os.path.isdir(layer.fs_id.mountpoint) and layer.inodes_used.value > 1, "its writable layer, on a path that is there", layer)

# -- lists and filters --

host = node.run("host", namespaces={**node.NAMESPACES, "network": "NODE"})
listed = node.call("ListPodSandboxStats").stats
ok({p.attributes.id for p in listed} == {pod, host}, "the list has both pods", listed)
h = next(p for p in listed if p.attributes.id == host)
ok(not h.linux.HasField("network"), "a pod in the host's network has no counters of its own", h)
ok(h.linux.cpu.timestamp > 0 and not h.linux.containers, "one without containers has numbers", h)
ok([p.attributes.id for p in node.call("ListPodSandboxStats", filter={"id": pod[:12]}).stats] == [pod], "a filter by id")
ok(not node.call("ListPodSandboxStats", filter={"label_selector": {"a": "b"}}).stats, "a filter by labels")
ok(node.refused("PodSandboxStats", pod_sandbox_id="nope") == ("NOT_FOUND", 'pod_sandbox_id "nope": no such pod'), "an unknown pod")

# -- over the core's death --

old = node.core()
os.kill(old, 9)
node.core(old)
d2 = until(lambda: stats(), "stats after a kill").linux.network.default_interface
ok(d2.name == "eth0" and d2.rx_bytes.value >= d.rx_bytes.value and d2.tx_bytes.value >= d.tx_bytes.value,
   "the counters go on after kill -9 of the core", (d, d2))
ok(not os.path.exists(f"/proc/{old}"), "which was another one")

# -- the ends --

node.call("StopContainer", container_id=ctr, timeout=0)
ok([c.attributes.id for c in stats().linux.containers] == [other], "one that has ended uses nothing")
node.call("StopPodSandbox", pod_sandbox_id=pod)
ok([p.attributes.id for p in node.call("ListPodSandboxStats").stats] == [host], "nor does a pod that has stopped")
gone = stats()
ok(gone.attributes.id == pod and not gone.linux.HasField("network"), "which still says who it is", gone)
for p in (pod, host):
    node.down(p)
ok(node.refused("PodSandboxStats", pod_sandbox_id=pod)[0] == "NOT_FOUND", "a removed pod")
leaks = node.leaks()
ok(not leaks, "nothing is left", leaks)
ok(node.stop() == 0, "crispd stops")
done()

#!/usr/bin/python3
# What pods use, on crun, beside what the kernel says: cgroup files, /proc/net/dev, /proc.
import json, os, re, subprocess, sys, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import grpc
from node import BUILD, Node, cri, done, ok, until

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

r = subprocess.run([f"{BUILD}/crispctl", "--socket", node.socket, "stats", "--pods"], capture_output=True, text=True)
ok(re.search(rf"^{pod[:12]} +web +[0-9.]+% +\S+B +\S+B +\S+B +[0-9]+$", r.stdout, re.M), "crispctl stats --pods", r)

# -- file systems --

info = node.call("ImageFsInfo")
images, layers = info.image_filesystems[0], info.container_filesystems[0]
ok(os.path.isdir(images.fs_id.mountpoint) and images.used_bytes.value >= os.path.getsize("/bin/busybox") and
   images.inodes_used.value > 2 and images.timestamp > 0, "what images hold", images)
ok(layers.fs_id == layer.fs_id and layers.used_bytes.value >= FILL and layers.inodes_used.value > 2 and layers.timestamp > 0,
   "what writable layers hold", layers)

# -- metrics --

NAMES = """blkio_device_usage_total cpu_cfs_periods_total cpu_cfs_throttled_periods_total cpu_cfs_throttled_seconds_total
cpu_system_seconds_total cpu_usage_seconds_total cpu_user_seconds_total file_descriptors fs_inodes_free fs_inodes_total
fs_limit_bytes fs_reads_bytes_total fs_reads_total fs_usage_bytes fs_writes_bytes_total fs_writes_total
hugetlb_max_usage_bytes hugetlb_usage_bytes last_seen memory_cache memory_failcnt memory_failures_total
memory_kernel_usage memory_mapped_file memory_max_usage_bytes memory_rss memory_swap memory_usage_bytes
memory_working_set_bytes network_receive_bytes_total network_receive_errors_total
network_receive_packets_dropped_total network_receive_packets_total network_transmit_bytes_total
network_transmit_errors_total network_transmit_packets_dropped_total network_transmit_packets_total
oom_events_total pressure_cpu_stalled_seconds_total pressure_cpu_waiting_seconds_total
pressure_io_stalled_seconds_total pressure_io_waiting_seconds_total pressure_memory_stalled_seconds_total
pressure_memory_waiting_seconds_total processes sockets spec_cpu_period spec_cpu_quota spec_cpu_shares
spec_memory_limit_bytes spec_memory_reservation_limit_bytes spec_memory_swap_limit_bytes start_time_seconds
threads threads_max ulimits_soft""".split()
known = {m.name: m for m in node.call("ListMetricDescriptors").descriptors}
ok(len(NAMES) == 56 and set(known) == {f"container_{n}" for n in NAMES}, "all 56 metrics are described",
   set(known) ^ {f"container_{n}" for n in NAMES})
ok(all(m.help and list(m.label_keys[:6]) == ["id", "name", "image", "container", "pod", "namespace"] for m in known.values()),
   "with help and labels")
limits = {"cpu_period": 100000, "cpu_quota": 50000, "cpu_shares": 512, "memory_limit_in_bytes": 64 << 20,
          "memory_swap_limit_in_bytes": 64 << 20}
limited = node.create_request(host, "limited", "sh", "-c", "while :; do :; done")
limited["config"]["linux"]["resources"] = limits
limited = node.call("CreateContainer", **limited).container_id
node.call("StartContainer", container_id=limited)
metrics = {p.pod_sandbox_id: p for p in node.call("ListPodSandboxMetrics").pod_metrics}
ok(set(metrics) == {pod, host}, "metrics of both pods", set(metrics))
of = {c.container_id: c.metrics for p in metrics.values() for c in p.container_metrics}
ok(set(of) == {ctr, other, limited}, "and of all containers", set(of))
every = [m for p in metrics.values() for m in p.metrics] + [m for c in of.values() for m in c]
wrong = {m.name for m in every if len(m.label_values) != len(known[m.name].label_keys)}
ok(not wrong, "each with as many values as its description has keys", wrong)
told = [(list(c.metrics[0].label_values[3:6]), p.pod_sandbox_id) for p in metrics.values() for c in p.container_metrics]
ok(all(c and n == "ns" and p for (c, p, n), _ in told), "each names its container, pod and namespace", told)


def value(id, name, *more):
    got = [m.value.value for m in of[id] if m.name == f"container_{name}" and tuple(m.label_values[6:])[:len(more)] == more]
    return got[0] if got else None


PSI = os.path.exists(f"/sys/fs/cgroup{group}/cpu.pressure")
V1 = os.path.exists(f"/sys/fs/cgroup/memory{group}/memory.stat")
HUGE = os.path.isdir("/sys/fs/cgroup/hugetlb") or os.path.exists("/sys/fs/cgroup/hugetlb.2MB.current")
absent = {n for n in NAMES if value(limited, n) is None and not n.startswith("network_")}
may_lack = {n for n in NAMES if n.startswith(("blkio_", "fs_reads", "fs_writes"))}	# no device has moved a byte
may_lack |= set() if PSI else {n for n in NAMES if n.startswith("pressure_")}
may_lack |= set() if HUGE else {n for n in NAMES if n.startswith("hugetlb_")}
may_lack |= set() if V1 else {"hugetlb_max_usage_bytes"}
ok(not absent - may_lack, "at once after its start a container has all but what the kernel does not tell", absent - may_lack)
ok((value(limited, "spec_cpu_quota"), value(limited, "spec_cpu_period"), value(limited, "spec_memory_limit_bytes"),
    value(limited, "spec_cpu_shares")) == (50000, 100000, 64 << 20, 512), "its limits",
   [value(limited, n) for n in NAMES if n.startswith("spec_")])
ok(value(other, "spec_memory_limit_bytes") == 0 and value(other, "spec_cpu_quota") is None, "none where there are none")
ok(value(limited, "processes") == 1 and value(limited, "threads") == 1, "its processes",
   (value(limited, "processes"), value(limited, "threads")))
pid = node.pid(other)
fds = os.listdir(f"/proc/{pid}/fd")
ok(value(other, "file_descriptors") == len(fds) and value(other, "sockets") == 0, "open files", (value(other, "file_descriptors"), fds))
soft = int(next(l for l in open(f"/proc/{pid}/limits") if l.startswith("Max open files"))[14:].split()[0])
ok(value(other, "ulimits_soft", "max_open_files") == soft, "and the limit of them", (value(other, "ulimits_soft"), soft))
fs = os.statvfs(layer.fs_id.mountpoint)
dev = f"/sys/dev/block/{os.major(os.stat(layer.fs_id.mountpoint).st_dev)}:{os.minor(os.stat(layer.fs_id.mountpoint).st_dev)}"
name = "/dev/" + os.path.basename(os.readlink(dev)) if os.path.exists(dev) else dev.rsplit("/")[-1]
ok(value(ctr, "fs_limit_bytes", name) == fs.f_blocks * fs.f_frsize and value(ctr, "fs_inodes_total", name) == fs.f_files and
   value(ctr, "fs_usage_bytes", name) >= FILL, "the file system below", [m for m in of[ctr] if "_fs_" in m.name])
ok(value(ctr, "cpu_usage_seconds_total", "total") > 0 and abs(value(ctr, "start_time_seconds") - time.time()) < 600 and
   abs(value(ctr, "last_seen") - time.time()) < 60 and value(ctr, "memory_working_set_bytes") > 0, "and what else it uses")
net = {(m.name, m.label_values[6]): m.value.value for m in metrics[pod].metrics}
now = net_dev(node.pid(ctr))["eth0"]
ok(len(net) == 8 and 0 < net["container_network_receive_bytes_total", "eth0"] <= now[0] and
   0 < net["container_network_transmit_bytes_total", "eth0"] <= now[1], "the pod's network", (net, now))
ok(not metrics[host].metrics, "none of the host's")
node.call("StopContainer", container_id=limited, timeout=0)

# -- over the core's death --

old = node.core()
os.kill(old, 9)
node.core(old)


def again():
    try:
        return stats()
    except grpc.RpcError as e:	# what the dead core's connection has left to say
        if e.code() != grpc.StatusCode.UNAVAILABLE:
            raise


d2 = until(again, "stats after a kill").linux.network.default_interface
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

#!/usr/bin/env python3
# UpdatePodSandboxResources: the pod's numbers are kept, field by field, over the core's death; what
# is wrong is refused and changes nothing.
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import *

begin()
d = Daemon().start().load()
d.snapshot()


def kept(pod):
    linux = unpack("PodSandboxConfig", open(f"{d.state}/pods/{pod}/config.pb", "rb").read())["linux"]
    of = lambda r: {k: v for k, v in linux.get(r, {}).items() if v}
    return of("resources"), of("overhead")


def resize(pod, **what):
    return d.call("UpdatePodSandboxResources", {"pod_sandbox_id": pod, **what})


for handler in ("cli", "sandbox"):
    pod = d.run(f"p-{handler}", handler)
    ctr = d.started(pod, "c", "deaf")
    resize(pod, resources={"cpu_shares": 512, "memory_limit_in_bytes": 64 << 20}, overhead={"cpu_shares": 10})
    ok(kept(pod) == ({"cpu_shares": 512, "memory_limit_in_bytes": 64 << 20}, {"cpu_shares": 10}), f"{handler}: the numbers are kept", kept(pod))
    resize(pod, resources={"cpu_shares": 1024})
    ok(kept(pod) == ({"cpu_shares": 1024, "memory_limit_in_bytes": 64 << 20}, {"cpu_shares": 10}), "what is not told stays", kept(pod))
    before = kept(pod)
    f = d.refused("UpdatePodSandboxResources", {"pod_sandbox_id": pod, "resources": {"cpu_shares": 7}, "overhead": {"cpu_period": -5}})
    ok(f.code == "EINVAL" and "overhead.cpu_period" in f.words and kept(pod) == before, "a wrong number is named, and changes nothing", f)
    d.kill_core()
    resize(pod, overhead={"memory_limit_in_bytes": 1 << 20})
    ok(kept(pod)[0] == before[0] and kept(pod)[1] == {"cpu_shares": 10, "memory_limit_in_bytes": 1 << 20}, "the next core goes on from there", kept(pod))
    ok(d.ctr(ctr)["state"] == "CONTAINER_RUNNING" and d.create(pod, "more"), "the pod is as usable as before")
    d.call("StopPodSandbox", {"pod_sandbox_id": pod})
    f = d.refused("UpdatePodSandboxResources", {"pod_sandbox_id": pod, "resources": {"cpu_shares": 7}})
    ok(f.code in ("EBUSY", "EINVAL", "EPERM") and "not ready" in f.words, "a pod that has stopped", f)
    d.call("RemovePodSandbox", {"pod_sandbox_id": pod})
f = d.refused("UpdatePodSandboxResources", {"pod_sandbox_id": "nope", "resources": {"cpu_shares": 7}})
ok(f.code == "ENOENT" and '"nope"' in f.words, "an unknown pod", f)
leaks = d.leaks()
ok(not leaks, "nothing is left", leaks)
ok(d.stop() == 0, "crispd leaves")
done()

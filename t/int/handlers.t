#!/usr/bin/env python3
# What belongs to a handler beside its engine; and what is asked for while an operation hangs.
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import *

begin()
d = Daemon(slow={"archetype": "cli", "rules": [{"op": "start", "delay_ms": 1500}]},
           stuck={"archetype": "cli", "rules": [{"op": "start", "hang": True, "times": 2}]},
           ).start().load()
d.snapshot()

# -- a stop or a removal behind another operation, whose caller leaves --

pod = d.run("leaves", "slow")
for name, method, gone in ("stop", "StopContainer", False), ("remove", "RemoveContainer", True):
    ctr = d.create(pod, name, "deaf")
    start = d.begin("StartContainer", {"container_id": ctr})
    until(lambda: d.ctr(ctr).get("operation") == "start", "the start")
    for _ in range(3):
        f = d.refused(method, {"container_id": ctr}, 100)
        ok(f.code == "ETIMEDOUT" and d.ctr(ctr)["operation"] == "start", f"{name} behind a start: its caller leaves", f)
    start.answer()
    if gone:
        until(lambda: ctr not in d.ctrs(), "the removal")
        ok(True, "remove: it is done all the same")
    else:
        c = d.wait_exit(ctr)
        ok(c["exit_code"] == 137, "stop: it is done all the same", c)
start = d.create(pod, "c", "deaf")
d.begin("StartContainer", {"container_id": start})
until(lambda: d.ctr(start).get("operation") == "start", "the start")
stop = d.begin("StopContainer", {"container_id": start, "timeout": 0})
until(lambda: d.ctr(start)["state"] == "CONTAINER_EXITED", "the stop")
stop.answer()
ok(d.ctr(start)["exit_code"] == 137, "a caller that stays is answered")
with open(d.fault, "w") as f:
    f.write("hang stop pod/unmake namespaces\n")
stop = d.begin("StopPodSandbox", {"pod_sandbox_id": pod})
until(lambda: not os.path.exists(d.fault), "the stop")
f = d.refused("RemovePodSandbox", {"pod_sandbox_id": pod}, 100)
ok(f.code == "ETIMEDOUT" and pod in d.pods(), "a removal of a pod behind a stop that hangs: its caller leaves", f)
stop.leave()
ok(pod in d.pods(), "the stop goes on")
d.kill_core()
d.remove_all()

# -- a start that hangs --

pod = d.run("hangs", "stuck")
for name, method in ("stop", "StopContainer"), ("remove", "RemoveContainer"):
    ctr = d.create(pod, name, "deaf")
    start = d.begin("StartContainer", {"container_id": ctr})
    until(lambda: d.ctr(ctr).get("operation") == "start", "the start")
    t = time.monotonic()
    d.call(method, {"container_id": ctr})
    ok(time.monotonic() - t < 25, f"{name}: a start that hangs is given up for it", time.monotonic() - t)
    try:
        start.answer()
        ok(False, f"{name}: the start fails")
    except Failure as f:
        ok("its end is asked for" in f.words, f"{name}: the start says why", f)
d.remove_all()

left = d.leaks()
ok(not left, "nothing is left", left)
ok(d.stop() == 0, "SIGTERM")
done()

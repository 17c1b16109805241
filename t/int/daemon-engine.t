#!/usr/bin/env python3
# An engine or a network that fails, refuses, hangs, or answers twice, at each of its operations: the
# caller reads who failed at what, the state is as before or taken back, and nothing is left.
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import *

OPS = {
    "cli": ("create", "start", "delete", "exec", "update"),
    "serial": ("create", "start", "delete", "exec", "update"),
    "sandbox": ("sandbox_create", "create", "start", "kill", "delete", "exec", "update", "sandbox_delete"),
    "tty": ("create", "start", "kill"),
}
WAYS = {
    "fail": {"errno": 5, "msg": "it is broken"},
    "refuse": {"errno": 16, "refuse": True},
    "hang": {"hang": True},
    "twice": {"twice": True},
}
handlers, pod = {}, ""
for a, ops in OPS.items():
    for op in ops:
        for way, rule in WAYS.items():
            handlers[f"{a}-{op.replace('_', '-')}-{way}"] = {"archetype": a, "rules": [{"op": op, "times": 1, **rule}]}

for op in "create", "start":
    handlers[f"lost-{op}"] = {"archetype": "cli", "rules": [
        {"op": op, "times": 1, "errno": 5, "msg": 'exec: "/bin/lost": stat /bin/lost: no such file or directory'},
        {"op": op, "skip": 1, "times": 1, "errno": 5, "msg": "mount /bin/lost+found: no such file or directory"}]}

handlers["bad"] = {"archetype": "cli", "fail": {"create": "executable file `/bin/lost` not found in $PATH"}}

begin()
d = Daemon(**handlers).start().load()
d.snapshot()


def attempt(method, request, way):
    """The call whose engine operation goes wrong."""
    if way == "hang":
        return d.refused(method, request, timeout_ms=700)
    return d.refused(method, request)


def left_of(name):
    """Pods and containers of this case: others hang meanwhile."""
    pods = [p for p in d.pods().values() if p["metadata"]["name"] == name]
    return pods, [c for c in d.ctrs().values() if c["pod_sandbox_id"] == pod]


def blames(f, way, handler, op):
    """Is the answer as it must be?  One that hangs is answered for at the caller's deadline."""
    if way == "hang":
        return f.code == "ETIMEDOUT"
    if way == "twice":
        return f.code == "OK"
    op = {"sandbox_create": "create sandbox", "sandbox_delete": "delete sandbox"}.get(op, op)
    return f"{handler}: {op}: " in f.words and ("it is broken" in f.words if way == "fail" else "refused" in f.words)


for a, ops in OPS.items():
    for op in ops:
        for way in WAYS:
            h = f"{a}-{op.replace('_', '-')}-{way}"
            name = f"{a}: {op}, {way}"
            rq = {"config": d.pod_config(h), "runtime_handler": h}
            if op == "sandbox_create":
                f = attempt("RunPodSandbox", rq, way)
                if way == "hang":	# the operation goes on; a stop that names nobody can't reach it
                    ok(blames(f, way, h, op) and not left_of(h)[0], name, f)
                    d.kill_core()
                    ok(not left_of(h)[0], f"{name}: it is taken back by the next core")
                    continue
                ok(blames(f, way, h, op), name, f)
                if way != "twice":
                    ok(not left_of(h)[0], f"{name}: no pod is left", left_of(h))
                    d.call("RunPodSandbox", rq)
                for p in left_of(h)[0]:
                    d.call("RemovePodSandbox", {"pod_sandbox_id": p["id"]})
                continue
            pod = d.call("RunPodSandbox", rq)["pod_sandbox_id"]
            rq = d.create_request(pod, "c", "deaf")
            if op == "create":
                f = attempt("CreateContainer", rq, way)
                ok(blames(f, way, h, op), name, f)
                ok(way == "twice" or not left_of(h)[1], f"{name}: no container is left", left_of(h))
                if way in ("fail", "refuse"):
                    ctr = d.call("CreateContainer", rq)["container_id"]
                    d.call("StartContainer", {"container_id": ctr})
                    ok(d.ctr(ctr)["state"] == "CONTAINER_RUNNING", f"{name}: the next try works")
                d.call("RemovePodSandbox", {"pod_sandbox_id": pod})
                continue
            ctr = d.call("CreateContainer", rq)["container_id"]
            if op == "start":
                f = attempt("StartContainer", {"container_id": ctr}, way)
                ok(blames(f, way, h, op), name, f)
                if way in ("fail", "refuse"):
                    c = d.wait_exit(ctr)
                    ok((c["exit_code"], c["reason"]) == (128, "StartError") and h in c["message"] and c["finished_at"],
                       f"{name}: it has ended, with the reason", c)
                    ok(d.refused("StartContainer", {"container_id": ctr}).code == "EBUSY", f"{name}: it is not started again")
                elif way == "twice":
                    ok(d.ctr(ctr)["state"] == "CONTAINER_RUNNING", f"{name}: it runs")
                d.call("RemovePodSandbox", {"pod_sandbox_id": pod})
                ok(left_of(h) == ([], []), f"{name}: the pod is removed")
                continue
            d.call("StartContainer", {"container_id": ctr})
            until(lambda: "deaf" in d.output(ctr), "a deaf container")
            if op == "exec":
                f = attempt("ExecSync", {"container_id": ctr, "cmd": ["echo", "x"]}, way)
                ok(blames(f, way, h, op), name, f)
                r = d.call("ExecSync", {"container_id": ctr, "cmd": ["echo", "x"]})
                ok(r["stdout"] == b"x\n", f"{name}: the next one works")
            elif op == "update":
                before = d.ctr(ctr).get("resources")
                f = attempt("UpdateContainerResources", {"container_id": ctr, "linux": {"cpu_shares": 77}}, way)
                ok(blames(f, way, h, op), name, f)
                now = d.ctr(ctr).get("resources")
                if way != "twice":
                    ok(now == before, f"{name}: what is told is as before", (before, now))
                else:
                    ok(now["linux"]["cpu_shares"] == 77, f"{name}: what is told is new", now)
            elif op == "kill":
                f = attempt("StopContainer", {"container_id": ctr}, way)
                ok(blames(f, way, h, op), name, f)
                if way in ("fail", "refuse"):
                    ok(d.ctr(ctr)["state"] == "CONTAINER_RUNNING", f"{name}: it still runs")
                    d.call("StopContainer", {"container_id": ctr})
                    ok(d.ctr(ctr)["exit_code"] == 137, f"{name}: the next try kills it")
            elif op == "delete":
                if way == "hang":
                    f = attempt("RemoveContainer", {"container_id": ctr}, way)
                    ok(blames(f, way, h, op), name, f)
                else:	# its process is dead: that an engine keeps a note of it keeps nobody
                    d.call("RemoveContainer", {"container_id": ctr})
                    ok(not left_of(h)[1], name)
            elif op == "sandbox_delete":
                f = attempt("StopPodSandbox", {"pod_sandbox_id": pod}, way)
                ok(blames(f, way, h, op), name, f)
                if way in ("fail", "refuse"):
                    ok(d.pod(pod)["state"] == "SANDBOX_NOTREADY", f"{name}: it is not ready")
                    d.call("StopPodSandbox", {"pod_sandbox_id": pod})
            if way != "hang":
                d.call("RemovePodSandbox", {"pod_sandbox_id": pod})
                ok(left_of(h) == ([], []), f"{name}: all can be removed")

# -- what to do about a program that is not there: told at the start, whenever the engine looks for it --

for op in "create", "start":
    pod = d.run(f"lost-{op}", f"lost-{op}")
    for name, advised in ("lost", True), ("another", False):
        rq = d.create_request(pod, name, "/bin/lost")
        if op == "create" and not advised:
            f = d.refused("CreateContainer", rq)
        else:
            ctr = d.call("CreateContainer", rq)["container_id"]
            f = d.refused("StartContainer", {"container_id": ctr})
            c = d.wait_exit(ctr)
            ok((c["state"], c["exit_code"], c["reason"]) == ("CONTAINER_EXITED", 128, "StartError") and c["message"] in f.words,
               f"{op}: {name} is not there: StartError", c)
        ok("/bin/lost" in f.words and ("; see to the container's command, and that its image has this program" in f.words) == advised,
           f"{op}: {name} is not there: {'with' if advised else 'no'} advice", f)
    d.call("RemovePodSandbox", {"pod_sandbox_id": pod})

pod = d.run("bad", "bad")
ctrs = [d.create(pod, f"c{i}", "/bin/lost") for i in range(5)]
ok({c["state"] for c in d.ctrs().values() if c["id"] in ctrs} == {"CONTAINER_CREATED"}, "a command that can't be run: created")
d.call("ListContainerStats")
d.kill_core()
f = d.refused("StartContainer", {"container_id": ctrs[0]})
ok("/bin/lost" in f.words and d.ctr(ctrs[0])["reason"] == "StartError", "and the next core knows why it can't be started", f)
f = d.refused("ExecSync", {"container_id": ctrs[1], "cmd": ["x"]})
ok(f.code == "EBUSY", "no command is run in it", f)
f = d.refused("UpdateContainerResources", {"container_id": ctrs[1], "linux": {"cpu_shares": 77}})
ok(f.code != "OK", "no limit of it is changed", f)
d.call("StopContainer", {"container_id": ctrs[1], "timeout": 5})
ok((c := d.ctr(ctrs[1]))["state"] == "CONTAINER_EXITED" and c["reason"] == "StartError", "a stop ends it", c)
ok(d.refused("StartContainer", {"container_id": ctrs[1]}).code == "EBUSY", "and it is not started any more")
d.call("RemoveContainer", {"container_id": ctrs[2]})
ok(ctrs[2] not in d.ctrs(), "it is removed without having been started")
d.call("StopPodSandbox", {"pod_sandbox_id": pod})
ok({c["state"] for c in d.ctrs().values() if c["id"] in ctrs} == {"CONTAINER_EXITED"}, "a stop of the pod ends the others")
d.call("RemovePodSandbox", {"pod_sandbox_id": pod})

# -- what hangs is answered for in the end, all at once here --

waiting = {id: d.begin("RemovePodSandbox", {"pod_sandbox_id": id}, 200000) for id in d.pods()}
t = time.monotonic()
for call in waiting.values():
    try:
        call.answer()
    except Failure as f:
        print("#", f)
d.remove_all()
ok(not d.pods() and time.monotonic() - t < 150, "an engine that hangs does not keep its pods for ever", d.pods())
left = d.leaks()
ok(not left, "nothing is left", left)
d.stop()

# -- networks --

d = Daemon("n", network={"rules": [
    {"op": "attach", "pod": "fails", "errno": 5, "msg": "no cable", "times": 1},
    {"op": "attach", "pod": "hangs", "hang": True, "times": 1},
]}).start().load()
d.snapshot()
rq = {"config": d.pod_config("fails")}
f = d.refused("RunPodSandbox", rq)
ok("attach" in f.words and "no cable" in f.words and not d.pods(), "attach fails", f)
pod = d.call("RunPodSandbox", rq)["pod_sandbox_id"]
ok(d.pod(pod)["network"]["ip"], "attach: the next try works")
d.call("RemovePodSandbox", {"pod_sandbox_id": pod})
f = d.refused("RunPodSandbox", {"config": d.pod_config("hangs")}, timeout_ms=700)
ok(f.code == "ETIMEDOUT" and not d.pods(), "attach hangs: the caller's deadline", f)
d.kill_core()
ok(not d.pods(), "killed meanwhile: it is taken back")
left = d.leaks()
ok(not left, "nothing is left", left)
d.stop()

d = Daemon("n2", network={"rules": [
    {"op": "detach", "errno": 5, "msg": "it is stuck", "times": 2},
    {"op": "detach", "errno": 5, "msg": "it is stuck again", "skip": 1, "times": 1},
]}).start().load()
d.snapshot()
# What can't be taken back stays, where whoever collects pods finds it.
with open(d.fault, "w") as f:
    f.write("fail run pod/make ready\n")
rq = {"config": d.pod_config("stays")}
f = d.refused("RunPodSandbox", rq)
pods = d.pods()
ok("make ready" in f.words and [(p["metadata"]["name"], p["state"]) for p in pods.values()] == [("stays", "SANDBOX_NOTREADY")],
   "a pod that is not run and can't be taken back stays, not ready", (f, pods))
pod = (list(pods) + [""])[0]
f = d.refused("RunPodSandbox", rq)
ok(f.code == "EEXIST" and pod in f.words, "under its name", f)
f = d.refused("RemovePodSandbox", {"pod_sandbox_id": pod})
ok("it is stuck" in f.words, "removing it says what is wrong", f)
d.call("RemovePodSandbox", {"pod_sandbox_id": pod})
ok(not d.pods(), "and the next time it works")
pod = d.run("stuck")
ctr = d.started(pod, "c", "deaf")
f = d.refused("StopPodSandbox", {"pod_sandbox_id": pod})
ok("it is stuck again" in f.words and d.ctr(ctr)["state"] == "CONTAINER_EXITED", "detach fails: said by StopPodSandbox", f)
d.call("StopPodSandbox", {"pod_sandbox_id": pod})
ok(d.pod(pod)["state"] == "SANDBOX_NOTREADY", "and tried again with the next")
d.call("RemovePodSandbox", {"pod_sandbox_id": pod})
left = d.leaks()
ok(not left, "nothing is left", left)
d.stop()
done()

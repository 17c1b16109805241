#!/usr/bin/env python3
# The life of pods and containers on all four archetypes of the fake engine: states, idempotency,
# error codes, joined and abandoned creates, stops.
import os, sys, time
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import *

begin()
d = Daemon(
    slow={"archetype": "cli", "delay_ms": {"create": 700, "start": 700}},
    slowbox={"archetype": "sandbox", "delay_ms": {"sandbox_create": 700, "create": 700}},
    broken={"archetype": "no such"},
).start().load()
NOBODY = "0" * 64


def code(f, want, *words):
    """Was it refused with this class, and do the words say what?"""
    return f.code == want and all(w in f.words for w in words)


def refuse(name, method, request, want, *words):
    f = d.refused(method, request)
    ok(code(f, want, *words), name, f)


# -- one life, four times --

d.snapshot()
for a in ARCHETYPES:
    pod = d.run(f"life-{a}", a, labels={"app": "x", "bytes": "ü"}, annotations={"k": "v"})
    p = d.pod(pod)
    ok(p["state"] == "SANDBOX_READY" and p["created_at"] and p["runtime_handler"] == a and
       p["labels"] == {"app": "x", "bytes": "ü"} and p["annotations"] == {"k": "v"} and p["network"]["ip"], f"{a}: a pod is ready", p)
    ctr = d.create(pod, "main", "deaf")
    c = d.ctr(ctr)
    ok(c["state"] == "CONTAINER_CREATED" and not c["started_at"] and not c["finished_at"], f"{a}: a container is created", c)
    d.call("StartContainer", {"container_id": ctr})
    c = d.ctr(ctr)
    ok(c["state"] == "CONTAINER_RUNNING" and c["started_at"] >= c["created_at"] and not c["finished_at"], f"{a}: it runs", c)
    ok(c["image"]["image"] == IMAGE, f"{a}: its image", c["image"])
    until(lambda: d.output(ctr) == "deaf\n", "its output")
    r = d.call("ExecSync", {"container_id": ctr, "cmd": ["echo", "hello", "there"]})
    ok((r["stdout"], r["stderr"], r["exit_code"]) == (b"hello there\n", b"", 0), f"{a}: exec", r)
    r = d.call("ExecSync", {"container_id": ctr, "cmd": ["err", "oh"]})
    ok((r["stdout"], r["stderr"]) == (b"", b"oh\n"), f"{a}: exec, stderr", r)
    r = d.call("ExecSync", {"container_id": ctr, "cmd": ["exit", "7"]})
    ok(r["exit_code"] == 7, f"{a}: exec, exit code", r)
    t = time.monotonic()
    f = d.refused("ExecSync", {"container_id": ctr, "cmd": ["sleep", "1000"], "timeout": 1})
    ok(code(f, "ETIMEDOUT") and time.monotonic() - t < 20, f"{a}: exec, timeout", f)
    x = d.begin("ExecSync", {"container_id": ctr, "cmd": ["sleep", "1000"]})
    time.sleep(0.2)
    x.leave()
    lister = d.create(pod, "second", "exit", "3", image={"image": c["image_id"], "user_specified_image": IMAGE})
    ok(d.ctr(lister)["image"]["image"] == IMAGE, f"{a}: by id, the image is told as the user said it", d.ctr(lister)["image"])
    ok(set(d.ctrs()) == {ctr, lister}, f"{a}: both are listed")
    one = d.call("ListContainers", {"filter": {"pod_sandbox_id": pod, "state": {"state": "CONTAINER_RUNNING"}}})["containers"]
    ok([c["id"] for c in one] == [ctr], f"{a}: filtered by pod and state", one)
    d.call("StartContainer", {"container_id": lister})
    c = d.wait_exit(lister)
    ok((c["exit_code"], c["reason"]) == (3, "Error") and c["finished_at"] >= c["started_at"], f"{a}: an exit code", c)
    refuse(f"{a}: exec in what has ended", "ExecSync", {"container_id": lister, "cmd": ["x"]}, "EBUSY", lister, "exited with code 3")
    t = time.monotonic()
    d.call("StopContainer", {"container_id": ctr, "timeout": 1})
    t = time.monotonic() - t
    c = d.ctr(ctr)
    ok(c["state"] == "CONTAINER_EXITED" and c["exit_code"] == 137 and 1 <= t < 20, f"{a}: deaf to SIGTERM, killed after the timeout", (c, t))
    polite = d.started(pod, "polite")
    t = time.monotonic()
    d.call("StopContainer", {"container_id": polite, "timeout": 100})
    c = d.ctr(polite)
    ok(c["state"] == "CONTAINER_EXITED" and c["exit_code"] == 143 and time.monotonic() - t < 50, f"{a}: one that obeys SIGTERM", c)
    d.call("StopPodSandbox", {"pod_sandbox_id": pod})
    p = d.pod(pod)
    ok(p["state"] == "SANDBOX_NOTREADY", f"{a}: the pod is stopped", p)
    for i in range(9):
        d.call("StopPodSandbox", {"pod_sandbox_id": pod})
    ok(d.pod(pod)["state"] == "SANDBOX_NOTREADY", f"{a}: stopped ten times")
    refuse(f"{a}: no create in a stopped pod", "CreateContainer", d.create_request(pod, "late"), "EBUSY", pod)
    d.call("RemoveContainer", {"container_id": ctr})
    refuse(f"{a}: a removed container has no status", "ContainerStatus", {"container_id": ctr}, "ENOENT", ctr)
    d.call("RemovePodSandbox", {"pod_sandbox_id": pod})
    ok(not d.pods() and not d.ctrs(), f"{a}: the pod is removed with what was in it")
    d.call("RemovePodSandbox", {"pod_sandbox_id": pod})
    d.call("StopPodSandbox", {"pod_sandbox_id": pod})
    left = d.leaks()
    ok(not left, f"{a}: nothing is left", left)

# -- what is not there --

for method, key in ("StopContainer", "container_id"), ("RemoveContainer", "container_id"), \
        ("StopPodSandbox", "pod_sandbox_id"), ("RemovePodSandbox", "pod_sandbox_id"):
    ok(d.call(method, {key: NOBODY}) == {}, f"{method} of an unknown id is no error")
    ok(d.call(method, {key: "x"}) == {}, f"{method} of rubbish is no error")
for method, key in ("ContainerStatus", "container_id"), ("PodSandboxStatus", "pod_sandbox_id"), ("ContainerStats", "container_id"), \
        ("StartContainer", "container_id"), ("ReopenContainerLog", "container_id"):
    refuse(f"{method} of an unknown id", method, {key: NOBODY}, "ENOENT", key, NOBODY)
refuse("ExecSync of an unknown id", "ExecSync", {"container_id": NOBODY, "cmd": ["x"]}, "ENOENT", NOBODY)
refuse("UpdateContainerResources of an unknown id", "UpdateContainerResources", {"container_id": NOBODY, "linux": {}}, "ENOENT", NOBODY)
refuse("CreateContainer in an unknown pod", "CreateContainer", d.create_request(NOBODY, "c"), "ENOENT", "pod_sandbox_id", NOBODY)
for method in "StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox":
    f = d.refused(method, {})
    ok(f.code in ("OK", "EINVAL"), f"{method} without an id hits nobody", f)

# -- bad requests: the field is named, nothing is made --

good = d.pod_config("bad")
def without(config, *path):
    config = json.loads(json.dumps(config))
    at = config
    for key in path[:-1]:
        at = at[key]
    del at[path[-1]]
    return config
def changed(config, value, *path):
    config = json.loads(json.dumps(config))
    at = config
    for key in path[:-1]:
        at = at.setdefault(key, {})
    at[path[-1]] = value
    return config
def bad_pod(name, config, want, *words, handler="cli"):
    refuse(f"RunPodSandbox: {name}", "RunPodSandbox", {"config": config, "runtime_handler": handler}, want, *words)
refuse("RunPodSandbox: no config", "RunPodSandbox", {}, "EINVAL", "config")
bad_pod("no metadata", without(good, "metadata"), "EINVAL", "metadata")
for key in "name", "uid", "namespace":
    bad_pod(f"no metadata.{key}", without(good, "metadata", key), "EINVAL", f"metadata.{key}")
bad_pod("unknown handler", good, "EINVAL", "runtime_handler", '"nope"', "cli", "engines.handlers", handler="nope")
bad_pod("a handler that doesn't load", good, "EHOSTDOWN", "runtime_handler", '"broken"', "archetype", handler="broken")
bad_pod("a path as handler", good, "EINVAL", "runtime_handler", handler="../fake")
bad_pod("a slice as parent", changed(good, "kubepods.slice", "linux", "cgroup_parent"), "EINVAL", "cgroup_parent")
bad_pod("a parent that climbs", changed(good, "/../../../../tmp/x", "linux", "cgroup_parent"), "EINVAL", "cgroup_parent")
bad_pod("a relative log directory", changed(good, "logs/x", "log_directory"), "EINVAL", "log_directory")
ok(not d.pods(), "no pod was made")

pod = d.run("bad")
def bad_ctr(name, config, want, *words):
    refuse(f"CreateContainer: {name}", "CreateContainer", {"pod_sandbox_id": pod, "config": config}, want, *words)
good = d.ctr_config("bad")
refuse("CreateContainer: no config", "CreateContainer", {"pod_sandbox_id": pod}, "EINVAL", "config")
bad_ctr("no metadata", without(good, "metadata"), "EINVAL", "metadata")
bad_ctr("no metadata.name", without(good, "metadata", "name"), "EINVAL", "metadata.name")
bad_ctr("no image", without(good, "image"), "EINVAL", "image")
bad_ctr("unknown image", changed(good, "no/such:1", "image", "image"), "ENOENT", "image", '"no/such:1"')
bad_ctr("a log path that climbs", changed(good, "../../../../etc/passwd", "log_path"), "EINVAL", "log_path")
bad_ctr("an absolute log path", changed(good, "/etc/x", "log_path"), "EINVAL", "log_path")
bad_ctr("a mount on the root", changed(good, [{"container_path": "/", "host_path": "/tmp"}], "mounts"), "EINVAL", "mounts")
bad_ctr("a mount from nowhere", changed(good, [{"container_path": "/x", "host_path": ""}], "mounts"), "EINVAL", "mounts")
ok(not d.ctrs() and not glob.glob("/etc/x"), "no container was made")

# -- duplicates --

f = d.refused("RunPodSandbox", {"config": d.pod_config("bad"), "runtime_handler": "cli"})
ok(code(f, "EEXIST", pod), "the same pod again: AlreadyExists names the id", f)
other = d.call("RunPodSandbox", {"config": changed(d.pod_config("bad"), 1, "metadata", "attempt")})["pod_sandbox_id"]
ok(other != pod and len(d.pods()) == 2, "another attempt is another pod; \"\" is the default handler")
d.call("RemovePodSandbox", {"pod_sandbox_id": other})
# Names with the separator of others in them are names of their own.
a = d.call("RunPodSandbox", {"config": changed(changed(d.pod_config("s"), "x/y", "metadata", "namespace"), "z", "metadata", "name")})
f = d.refused("RunPodSandbox", {"config": changed(changed(d.pod_config("s"), "x", "metadata", "namespace"), "y/z", "metadata", "name")})
ok(f.code in ("OK", "EINVAL"), "\"x/y\", \"z\" is not \"x\", \"y/z\"", f)
for id in set(d.pods()) - {pod}:
    d.call("RemovePodSandbox", {"pod_sandbox_id": id})
ctr = d.create(pod, "c")
f = d.refused("CreateContainer", d.create_request(pod, "c"))
ok(code(f, "EEXIST", ctr), "the same container again: AlreadyExists names the id", f)
ok(d.create(pod, "c", metadata={"name": "c", "attempt": 1}) != ctr, "another attempt is another container")

# -- wrong states --

refuse("exec in a created container", "ExecSync", {"container_id": ctr, "cmd": ["true"]}, "EBUSY", ctr, "created")
refuse("reopen the log of a created container", "ReopenContainerLog", {"container_id": ctr}, "EBUSY", ctr)
d.call("StartContainer", {"container_id": ctr})
refuse("start twice", "StartContainer", {"container_id": ctr}, "EBUSY", ctr, "running")
refuse("an exec without a command", "ExecSync", {"container_id": ctr}, "EINVAL", "cmd")
d.call("StopContainer", {"container_id": ctr})
refuse("start of an exited one", "StartContainer", {"container_id": ctr}, "EBUSY", ctr, "exited")
refuse("exec in an exited one", "ExecSync", {"container_id": ctr, "cmd": ["true"]}, "EBUSY", ctr, "exited")
log = d.ctr(ctr)["log_path"]
os.rename(log, log + ".old")
refuse("reopen the log of an exited one", "ReopenContainerLog", {"container_id": ctr}, "EBUSY", ctr)
ok(not os.path.exists(log), "and no file is made")
before = d.ctr(ctr)
d.call("StopContainer", {"container_id": ctr, "timeout": 10})
ok(d.ctr(ctr) == before, "a second stop changes nothing")
d.call("RemovePodSandbox", {"pod_sandbox_id": pod})

# -- a process that dies before it is started --

pod = d.run("early")
ctr = d.create(pod, "c")
os.kill(d.ctr(ctr)["pid"], signal.SIGKILL)
c = d.wait_exit(ctr)
ok((c["exit_code"], c["reason"]) == (137, "Error"), "a created container whose process dies has ended", c)
refuse("and can't be started", "StartContainer", {"container_id": ctr}, "EBUSY", ctr, "exited")
rq = {"config": d.pod_config("early")}
d.kill_core()
refuse("a pod that exists exists after the core's death, too", "RunPodSandbox", rq, "EEXIST", pod)
refuse("as does a container", "CreateContainer", d.create_request(pod, "c"), "EEXIST", ctr)
d.call("RemovePodSandbox", {"pod_sandbox_id": pod})

# -- every archetype: stop of what has not started, remove of what runs, one stop shortens another --

for a in ARCHETYPES:
    pod = d.run(f"stop-{a}", a)
    ctr = d.create(pod, "created")
    d.call("StopContainer", {"container_id": ctr, "timeout": 60})
    c = d.ctr(ctr)
    ok(c["state"] == "CONTAINER_EXITED" and c["finished_at"], f"{a}: a created container can be stopped", c)
    ctr = d.create(pod, "created2")
    d.call("RemoveContainer", {"container_id": ctr})
    ctr = d.started(pod, "runs", "deaf")
    d.call("RemoveContainer", {"container_id": ctr})
    ok(code(d.refused("ContainerStatus", {"container_id": ctr}), "ENOENT"), f"{a}: remove of a running one")
    ctr = d.started(pod, "deaf", "deaf")
    long = d.begin("StopContainer", {"container_id": ctr, "timeout": 1000}, 200000)
    until(lambda: d.ctr(ctr)["operation"] == "stop", "the stop to begin")
    longer = d.begin("StopContainer", {"container_id": ctr, "timeout": 2000}, 200000)
    time.sleep(0.1)
    ok(not long.over() and d.ctr(ctr)["state"] == "CONTAINER_RUNNING", f"{a}: it has its time to end")
    d.call("StopContainer", {"container_id": ctr, "timeout": 1})
    ok(long.answer() == {} and longer.answer() == {} and d.ctr(ctr)["exit_code"] == 137, f"{a}: a second stop shortens the first")
    ctr = d.started(pod, "left", "deaf")
    long = d.begin("StopContainer", {"container_id": ctr, "timeout": 1})
    until(lambda: d.ctr(ctr)["operation"] == "stop", "the stop to begin")
    long.leave()
    ok(d.wait_exit(ctr)["exit_code"] == 137, f"{a}: a stop goes on without its caller")
    for i in range(3):
        d.started(pod, f"many{i}", "deaf")
    d.create(pod, "made")
    t = time.monotonic()
    d.call("RemovePodSandbox", {"pod_sandbox_id": pod})
    ok(not d.ctrs() and not d.pods(), f"{a}: RemovePodSandbox with running containers", d.ctrs())
left = d.leaks()
ok(not left, "nothing is left", left)

# -- creates that are joined and abandoned --

for handler in "slow", "slowbox":
    rq = {"config": d.pod_config(f"joined-{handler}"), "runtime_handler": handler}
    # With a pause process, so that running it takes its time on both.
    rq["config"]["linux"]["security_context"]["namespace_options"]["pid"] = "POD"
    two = [d.begin("RunPodSandbox", rq) for _ in range(2)]
    ids = {c.answer()["pod_sandbox_id"] for c in two}
    ok(len(ids) == 1 and len(d.pods()) == 1, f"{handler}: two RunPodSandbox at once, one pod", ids)
    pod = ids.pop()
    ok(code(d.refused("RunPodSandbox", rq), "EEXIST", pod), f"{handler}: a third is late")
    rq = d.create_request(pod, "c", "deaf")
    two = [d.begin("CreateContainer", rq) for _ in range(2)]
    time.sleep(0.1)
    ok(not d.ctrs(), f"{handler}: what is being created is not listed")
    ids = {c.answer()["container_id"] for c in two}
    ok(len(ids) == 1 and len(d.ctrs()) == 1, f"{handler}: two CreateContainer at once, one container", ids)
    ctr = ids.pop()
    ok(code(d.refused("CreateContainer", rq), "EEXIST", ctr), f"{handler}: a third is late")
    # One of two leaves: the other has it, nobody is owed anything.
    rq = d.create_request(pod, "c2")
    stays, goes = d.begin("CreateContainer", rq), d.begin("CreateContainer", rq)
    time.sleep(0.2)
    goes.leave()
    ctr = stays.answer()["container_id"]
    ok(code(d.refused("CreateContainer", rq), "EEXIST", ctr), f"{handler}: one of two callers left: the other one has it")
    # The only one leaves: the next who asks gets it, once.
    rq = d.create_request(pod, "c3")
    goes = d.begin("CreateContainer", rq)
    time.sleep(0.2)
    goes.leave()
    until(lambda: len(d.ctrs()) == 3, "the create to end without its caller")
    ctr = d.call("CreateContainer", rq)["container_id"]
    ok(ctr in d.ctrs() and len(d.ctrs()) == 3, f"{handler}: the caller left: a retry gets what was made")
    ok(code(d.refused("CreateContainer", rq), "EEXIST", ctr), f"{handler}: once")
    # It leaves, and comes back while it is still under way.
    rq = d.create_request(pod, "c4")
    f = d.refused("CreateContainer", rq, timeout_ms=200)
    again = d.call("CreateContainer", rq)["container_id"]
    ok(code(f, "ETIMEDOUT") and code(d.refused("CreateContainer", rq), "EEXIST", again), f"{handler}: the caller's deadline passed: a retry joins", f)
    # Removed while it is being created.
    rq = d.create_request(pod, "c5")
    making = d.begin("CreateContainer", rq)
    time.sleep(0.2)
    d.call("RemovePodSandbox", {"pod_sandbox_id": pod})
    try:
        f = Failure(f"OK: {making.answer()}")
    except Failure as e:
        f = e
    ok(code(f, "ECANCELED") and not d.ctrs(), f"{handler}: the pod is removed under a create", f)
if "pod run abandoned":
    rq = {"config": d.pod_config("abandoned"), "runtime_handler": "slowbox"}
    ok(code(d.refused("RunPodSandbox", rq, timeout_ms=200), "ETIMEDOUT"), "RunPodSandbox: the deadline passes")
    ok(not d.pods(), "what is being run is not listed")
    until(d.pods, "the pod to come up without its caller")
    pod = d.call("RunPodSandbox", rq)["pod_sandbox_id"]
    ok(list(d.pods()) == [pod], "a retry gets its id")
    ok(code(d.refused("RunPodSandbox", rq), "EEXIST", pod), "once")
    d.call("RemovePodSandbox", {"pod_sandbox_id": pod})

# A start that is slow is joined, and a stop waits for it.
pod = d.run("slow", "slow")
ctr = d.create(pod, "c")
two = [d.begin("StartContainer", {"container_id": ctr}) for _ in range(2)]
until(lambda: d.ctr(ctr)["operation"] == "start", "the start to begin")
stop = d.begin("StopContainer", {"container_id": ctr, "timeout": 100})
ok([c.answer() for c in two] == [{}, {}], "two starts at once are one")
ok(stop.answer() == {} and d.ctr(ctr)["exit_code"] == 143, "a stop under way of the start comes after it")
ctr = d.create(pod, "c2")
start = d.begin("StartContainer", {"container_id": ctr})
until(lambda: d.ctr(ctr)["operation"] == "start", "the start to begin")
d.call("RemovePodSandbox", {"pod_sandbox_id": pod})
try:
    start.answer()
except Failure:
    pass
ok(not d.pods() and not d.ctrs(), "a pod can be removed while a container of it starts")
left = d.leaks()
ok(not left, "nothing is left", left)
d.call("RemoveImage", {"image": {"image": IMAGE}})
left = [f"{top}/{name}" for top in ("layers", "trash", "trash.now") if os.path.isdir(f"{d.root}/images/{top}")
        for name in os.listdir(f"{d.root}/images/{top}")]
ok(not left, "an image's layers have left the disk when RemoveImage answers", left)
ok(d.stop() == 0, "SIGTERM: exit code 0")
done()

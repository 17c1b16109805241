#!/usr/bin/env python3
# What belongs to a handler beside its engine; and what is asked for while an operation hangs.
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import *

begin()
d = Daemon(slow={"archetype": "cli", "rules": [{"op": "start", "delay_ms": 5000}]},
           stuck={"archetype": "cli", "rules": [{"op": "start", "hang": True, "times": 2}]},
           opts={"archetype": "cli"}, box={"archetype": "sandbox"}, middle={"archetype": "tty"},
           narrow={"archetype": "cli", "delay_ms": {"create": 400}},
           late={"archetype": "cli", "rules": [{"op": "create", "hang": True, "times": 1}]},
           breaks={"archetype": "cli", "rules": [{"op": "create", "skip": 1, "times": 3, "errno": 5, "msg": "worn out"},
                                                 {"op": "probe", "skip": 1, "times": 2, "errno": 5, "msg": "out of order"}]},
           dull={"archetype": "cli", "rules": [{"op": "probe", "times": 1, "errno": 5, "msg": "out of order"},
                                               {"op": "probe", "skip": 1, "delay_ms": 3000}]})
d.more = {
    "opts": {"allowed_annotations": ["example.com/*", "run.?ci.x"], "privileged_without_host_devices": True,
             "pod_overhead": {"memory": "160Mi", "cpu": "250m"},
             "spec": {"process": {"env": ["BELOW=1", "PATH=/below"], "rlimits": [{"type": "RLIMIT_CORE", "hard": 7, "soft": 5}]},
                      "mounts": [{"destination": "/below", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]}],
                      "annotations": {"example.com/below": "yes"}}},
    "box": {"fallback": "middle"},
    "middle": {"fallback": "cli"},
    "narrow": {"max_parallel": 2},
    "late": {"create_timeout": "1s"},
}
d.start().load()
d.snapshot()


def spec(ctr):
    return json.load(open(f"{d.state}/containers/{ctr}/config.json"))


def security(**options):
    """linux of a pod's config."""
    return {"linux": {"cgroup_parent": f"{d.cgroup}/pods/x", "security_context": {
        "namespace_options": {"network": "POD", "pid": "CONTAINER", "ipc": "POD", **options.pop("ns", {})}, **options}}}


def handlers():
    """What Status says of each handler in force."""
    r = d.call("Status", {"verbose": True})
    said = json.loads(r["info"]["info"])["handlers"]
    return {h["handler"]: h for h in said if not h["old"]}, {h["name"] for h in r["runtime_handlers"]}


def old_handlers():
    said = json.loads(d.call("Status", {"verbose": True})["info"]["info"])["handlers"]
    return sorted(h["handler"] for h in said if h["old"])


def reload(config=None):
    """Write the configuration, and return what the core has to say of it."""
    before = len(open(d.log).read())
    with open(f"{d.dir}/config.yaml", "w") as f:
        f.write(config if config is not None else json.dumps(d.config()))
    d.keeper.send_signal(signal.SIGHUP)
    return until(lambda: next((l for l in open(d.log).read()[before:].splitlines() if "handlers reloaded" in l or "stays as it was" in l), None),
                 "the reload")


# -- one that takes long to look at; first of all, before it is looked at again by itself --

t = time.monotonic()
f = d.refused("RunPodSandbox", {"config": d.pod_config("dull"), "runtime_handler": "dull"}, 1000)
ok(f.code == "EHOSTDOWN" and "out of order" in f.words and time.monotonic() - t < 1,
   "what is known of it is told before the caller's deadline", f)
both = [d.begin("RunPodSandbox", {"config": d.pod_config(f"dull{i}"), "runtime_handler": "dull"}) for i in range(2)]
ok(all(c.answer() for c in both) and time.monotonic() - t < 6, "who waits for the same look gets what it finds", time.monotonic() - t)
d.remove_all()

# -- options --

pod = d.run("opts", "opts", annotations={"example.com/a": "pod", "example.com/b": "pod", "run.oci.x": "1", "run.oci.y": "1",
                                         "example.com/deep/er": "1", "io.kubernetes.cri.sandbox-id": "evil"})
ctr = d.create(pod, "c", annotations={"example.com/b": "ctr"}, envs=[{"key": "OWN", "value": b"1"}])
s = spec(ctr)
a = s["annotations"]
ok({k: v for k, v in a.items() if not k.startswith("io.kubernetes.")} ==
   {"example.com/a": "pod", "example.com/b": "ctr", "run.oci.x": "1", "example.com/below": "yes"},
   "allowed annotations reach the engine, and no others", a)
ok(a["io.kubernetes.cri.sandbox-id"] == pod, "none says who a pod is")
ok("BELOW=1" in s["process"]["env"] and "PATH=/bin" in s["process"]["env"] and "PATH=/below" not in s["process"]["env"],
   "parts of the spec lie below the container's own", s["process"]["env"])
ok(any(m["destination"] == "/below" for m in s["mounts"]) and {"type": "RLIMIT_CORE", "hard": 7, "soft": 5} in s["process"]["rlimits"],
   "mounts and limits")
p = d.pod(pod)
ok(p["handlerOptions"]["pod_overhead"] == {"memory": 160 << 20, "cpu": "250m"} and p["runtime_handler"] == "opts",
   "its status tells with which options it was made", p)
d.remove_all()
pod = d.run("privileged", "opts", **security(privileged=True))
ctr = d.create(pod, "c", linux={"security_context": {"privileged": True, "namespace_options": {"pid": "CONTAINER"}}})
s = spec(ctr)["linux"]
ok(not s["devices"] and s["resources"]["devices"][0]["allow"] is False, "privileged, without the host's devices", s["devices"])
d.remove_all()
pod = d.run("privileged", "cli", **security(privileged=True))
s = spec(d.create(pod, "c", linux={"security_context": {"privileged": True, "namespace_options": {"pid": "CONTAINER"}}}))["linux"]
ok(s["devices"] and s["resources"]["devices"][0]["allow"] is True, "elsewhere with them")
d.remove_all()
d.run("small", "opts", linux={"overhead": {"memory_limit_in_bytes": 1 << 20}, "cgroup_parent": f"{d.cgroup}/pods/s"})
ok("reserves less than its handler takes" in d.last_words(60), "a runtime class that reserves too little is warned of")
d.remove_all()

pod = d.run("late", "late")
t = time.monotonic()
f = d.refused("CreateContainer", d.create_request(pod, "c"))
ok("late: create: no answer in 1000 ms" in f.words and time.monotonic() - t < 20, "create_timeout", f)
ok(d.create(pod, "c"), "and the next one")
d.remove_all()

pod = d.run("narrow", "narrow")
t = time.monotonic()
calls = [d.begin("CreateContainer", d.create_request(pod, f"c{i}")) for i in range(6)]
most = 0
while not all(c.over() for c in calls):
    most = max(most, handlers()[0]["narrow"]["making"])
took = time.monotonic() - t
ctrs = [c.answer()["container_id"] for c in calls]
ok(most == 2 and took >= 1.2, "max_parallel: six creates, two at once", (most, took))
ok(len(d.ctrs()) == 6, "and all are made")
d.remove_all()

# -- fallback --

for why, more in (("privileged", security(privileged=True)), ("hostNetwork", security(ns={"network": "NODE"})),
                  ("hostPID", security(ns={"pid": "NODE"})), ("hostIPC", security(ns={"ipc": "NODE"}))):
    pod = d.run("moves", "box", hostname="", **more)
    p = d.pod(pod)
    ok((p["runtime_handler"], p["handler"], p["askedHandler"], p["movedBecause"]) == ("cli", "cli", "box", why),
       f"{why}: the pod goes to the fallback's fallback, and says so", p)
    ok(f"asked=box handler=cli why={why}" in d.last_words(60), f"{why}: as does the log", d.last_words(60))
    ctr = d.started(pod, "c", "deaf")
    d.kill_core()
    p = d.pod(pod)
    ok(p["runtime_handler"] == "cli" and p["movedBecause"] == why and d.ctr(ctr)["state"] == "CONTAINER_RUNNING", f"{why}: after a restart, too")
    d.remove_all()
p = d.pod(d.run("stays", "box"))
ok(p["runtime_handler"] == "box" and "askedHandler" not in p, "a pod that does not need the host stays")
p = d.pod(d.run("host", "cli", hostname="", **security(ns={"network": "NODE"})))
ok(p["runtime_handler"] == "cli" and "askedHandler" not in p, "nor does one of a handler without the rule move")
d.remove_all()
more, d.more = d.more, {**d.more, "box": {"fallback": "midle"}}
with open(f"{d.dir}/bad.yaml", "w") as f:
    json.dump(d.config(), f, indent=1)
r = subprocess.run([f"{BUILD}/crispd", "--check", "--config", f"{d.dir}/bad.yaml"], capture_output=True, text=True)
line = next(i for i, l in enumerate(open(f"{d.dir}/bad.yaml"), 1) if "midle" in l)
ok(r.returncode == 2 and f'bad.yaml:{line}: engines.handlers.box.fallback: "midle" is no handler, did you mean "middle"?' in r.stderr,
   "an unknown fallback is refused, with file and line", r.stderr)
said = reload()
ok("stays as it was" in said and "midle" in said, "at a reload, too", said)
d.more = more
ok(d.pod(d.run("moves", "box", hostname="", **security(ns={"network": "NODE"})))["handler"] == "cli", "and the old rule holds")
d.remove_all()

# -- reload --

before = d.run("before", "opts", annotations={"example.com/a": "1"})
ctr = d.started(before, "c", "deaf")
gone = d.run("gone", "narrow")
d.more = {**more, "opts": {"allowed_annotations": []}, "fresh": {"fallback": "cli"}}
d.handlers = {**d.handlers, "opts": {"archetype": "cli", "exit_code": 9}, "fresh": {"archetype": "cli"}}
narrow = d.handlers.pop("narrow")
said = reload()
ok("added=fresh" in said and "removed=narrow" in said and "changed=opts" in said, "a reload says what it has changed", said)
ok("fresh" in until(lambda: "fresh" in handlers()[1] and handlers()[1], "the handler") and "narrow" not in handlers()[1],
   "handlers come and go", handlers()[1])
f = d.refused("RunPodSandbox", {"config": d.pod_config("x"), "runtime_handler": "narrow"})
ok(f.code == "EINVAL" and "no such handler" in f.words, "no new pod gets one that is gone", f)
for round in "after the reload", "after a restart of the core":
    ok(d.ctr(ctr)["state"] == "CONTAINER_RUNNING", f"{round}: what runs runs on")
    a = spec(d.create(before, round.split()[-1]))["annotations"]
    ok(a.get("example.com/a") == "1" and a.get("example.com/below") == "yes", f"{round}: a pod keeps the options that it began with", a)
    ok(d.pod(before)["handlerOptions"]["allowed_annotations"] == ["example.com/*", "run.?ci.x"], f"{round}: and tells them")
    new = d.create(gone, "c" + round.split()[-1], "deaf")
    ok(d.ctr(new)["state"] == "CONTAINER_CREATED", f"{round}: and its handler, that is no more")
    d.kill_core() if round == "after the reload" else None
pod = d.run("after", "opts", annotations={"example.com/a": "1"})
ok("example.com/a" not in spec(d.create(pod, "c"))["annotations"] and "handlerOptions" not in d.pod(pod), "a new pod has the new ones")
ok(old_handlers() == ["narrow", "opts"], "what pods still have is there beside", old_handlers())
d.remove_all()
ok(not d.pods(), "all can be removed")
ok(until(lambda: not old_handlers(), "their end") and len([l for l in open(d.log) if "engine closed" in l]) == 2, "and with the last of its pods goes a handler that is no more",
   [l for l in open(d.log) if "engine closed" in l])
d.cgroup, was = d.cgroup + "-other", d.cgroup
reload()
until(lambda: "keys=cgroup.parent" in d.last_words(20), "the word on what stays")
ok(True, "what can't be reloaded is named")
d.cgroup = was
said = reload("engines: {handlers: {cli: {engine: fake, optoins: {}}}}")
ok("did you mean" in said and "optoins" in said, "a bad configuration: the log says where", said)
ok(d.pod(d.run("still", "fresh"))["state"] == "SANDBOX_READY", "and the old one holds")
d.remove_all()

# -- the core dies on a configuration that is no more --

bad = "engines: {handlers: {cli: {engine: fake, optoins: {}}}}"
pod = d.run("held", "fresh")
ctr = d.started(pod, "c", "deaf")
said = reload(bad)
for word in "bad", "other", "none":
    if word == "other":
        with open(f"{d.dir}/config.yaml", "w") as f:
            json.dump({**d.config(), "cgroup": {"parent": "/elsewhere"}, "engines": {"default": "other", "handlers": {"other": {"engine": "fake"}}}}, f)
    elif word == "none":
        os.rename(f"{d.dir}/config.yaml", f"{d.dir}/gone.yaml")
    d.kill_core()
    ok("fresh" in handlers()[1] and "narrow" not in handlers()[1] and d.ctr(ctr)["state"] == "CONTAINER_RUNNING",
       f"{word}: the next core goes on with the one in force", handlers()[1])
    parent = d.pod(d.run(word, "fresh", linux={}))["cgroupParent"]
    ok(parent.startswith(f"{d.cgroup}/"), f"{word}: with all of it", parent)
d.remove_all()
d.more, d.handlers = more, {**d.handlers, "narrow": narrow}
with open(f"{d.dir}/config.yaml", "w") as f:
    json.dump(d.config(), f)
old = d.core()
d.keeper.send_signal(signal.SIGUSR2)
d.next_core(old)
ok("narrow" in handlers()[1], "a core that is started anew by request reads the file")

# -- an engine that comes later --

os.mkdir(f"{d.dir}/plugins")
shutil.copy(f"{BUILD}/engines/fake.so", f"{d.dir}/plugins/fake.so")
e = Daemon("e", later={"archetype": "cli"})
e.handlers = {h: {**o, "program": f"{BUILD}/libexec/crisp-fake"} for h, o in e.handlers.items()}
e.more = {"later": {"engine": "later"}}
e.args = ["--set", f"engine_dir={d.dir}/plugins"]
e.start().load()
st = json.loads(e.call("Status", {"verbose": True})["info"]["info"])["handlers"]
ok([h["state"] for h in st] == ["ready"] * 4 + ["failed"] and "later.so" in st[4]["reason"], "a plugin is missing: its handler alone has failed", st)
f = e.refused("RunPodSandbox", {"config": e.pod_config("x"), "runtime_handler": "later"})
ok(f.code == "EHOSTDOWN" and "later.so" in f.words, "and says why", f)
shutil.copy(f"{BUILD}/engines/fake.so", f"{d.dir}/plugins/later.so")
e.keeper.send_signal(signal.SIGHUP)
until(lambda: "later" in [h["name"] for h in e.call("Status")["runtime_handlers"]], "the plugin")
pod = e.run("x", "later")
ok(e.ctr(e.started(pod, "c", "deaf"))["state"] == "CONTAINER_RUNNING", "a reload finds it")
e.remove_all()
e.stop()

# -- an engine that breaks --

pod = d.run("breaks", "breaks")
d.create(pod, "good")
for i in range(3):
    ok("breaks" in handlers()[1], "an engine that fails now and then is ready")
    f = d.refused("CreateContainer", d.create_request(pod, f"bad{i}"))
    ok("worn out" in f.words, "its words are told", f)
h = until(lambda: (lambda h, names: h["breaks"]["state"] == "unready" and "breaks" not in names and h)(*handlers()), "the probe")
ok("out of order" in h["breaks"]["reason"], "one that has failed three times is looked at, and is not ready, with the reason", h["breaks"])
f = d.refused("RunPodSandbox", {"config": d.pod_config("more"), "runtime_handler": "breaks"})
ok(f.code == "EHOSTDOWN" and "out of order" in f.words, "no pod is run on it", f)
ok("cli" in handlers()[1] and d.run("other", "cli"), "the others are ready")
ok(d.run("more", "breaks") and d.create(pod, "better"), "mended, the next pod is run: it is looked at for each that asks")
d.remove_all()

# -- a stop or a removal behind another operation, whose caller leaves --

pod = d.run("leaves", "slow")
for name, method, gone in ("stop", "StopContainer", False), ("remove", "RemoveContainer", True):
    ctr = d.create(pod, name, "deaf")
    start = d.begin("StartContainer", {"container_id": ctr})
    until(lambda: d.ctr(ctr).get("operation") == "start", "the start")
    for _ in range(2):
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

os.rmdir(f"{d.state}/engines/fresh")	# of a handler that came later
left = d.leaks()
ok(not left, "nothing is left", left)
ok(d.stop() == 0, "SIGTERM")
done()

#!/usr/bin/env python3
# Ends and new beginnings of the daemon itself: signals, a second daemon, a dead keeper, both dead,
# a configuration without the handler of a pod; and the containers meanwhile.
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import *

begin()
os.setpriority(os.PRIO_PROCESS, 0, 0)
d = Daemon(fresh={"archetype": "cli"}).start()
del d.handlers["fresh"]	# its folder stays, and is no leak
d.stop()
d.start().load()
d.snapshot()
stay = {}
for a in ARCHETYPES:
    pod = d.run(f"stay-{a}", a)
    stay[a] = pod, d.started(pod, "w", "lines", "100000000", "5"), d.create(pod, "idle")


def look():
    return {a: (d.pod(pod)["state"], d.ctr(w)["state"], d.ctr(w)["pid"], d.ctr(idle)["state"], d.ctr(idle)["pid"],
                d.pod(pod)["network"]["ip"]) for a, (pod, w, idle) in stay.items()}


def same(name):
    now = look()
    ok(now == was, name, (was, now))


def flows(name):
    """Does what they write still arrive?"""
    for a, (pod, w, idle) in stay.items():
        n = len(d.output(w))
        try:
            until(lambda: len(d.output(w)) > n, "a line", 10)
            good = True
        except AssertionError:
            good = False
        ok(good, f"{name}: {a}: lines arrive")


was = look()


def nice_of(pid):
    try:
        return int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[16])
    except OSError:
        return None


def precedence(name, own=-15, keeper=0):
    """Has the core its nice value, and nobody else: helpers, containers, what runs in them?"""
    ctr = d.started(stay["cli"][0], f"nice{own}{name}".replace(" ", ""), "deaf")
    x = d.begin("ExecSync", {"container_id": ctr, "cmd": ["sleep", "1000"]})
    everyone = lambda: [int(p) for p in os.listdir("/proc") if p.isdigit() and d.ours(p) and alive(int(p))]
    until(lambda: any("1000" in cmdline(p) for p in everyone()), "the exec")
    wanted = {d.core(): own, d.keeper_pid(): keeper}
    pids = everyone() + [c["pid"] for c in map(d.ctr, d.ctrs()) if c["pid"]]
    wrong = [(cmdline(p)[:3], nice_of(p)) for p in pids if nice_of(p) not in (None, wanted.get(p, 0))]
    x.leave()
    d.call("RemoveContainer", {"container_id": ctr})
    ok(len(pids) > 6 and not wrong, f"{name}: the core takes precedence, and nobody inherits it", wrong)


precedence("first start")

# -- SIGHUP --

d.handlers["fresh"] = {"archetype": "cli"}
with open(f"{d.dir}/config.yaml", "w") as f:
    json.dump(d.config(), f)
ok(d.refused("RunPodSandbox", {"config": d.pod_config("f"), "runtime_handler": "fresh"}).code == "EINVAL", "no such handler")
d.keeper.send_signal(signal.SIGHUP)
until(lambda: "reloaded" in open(d.log).read(), "the reload")


def names():
    return [h["name"] for h in d.call("Status")["runtime_handlers"]]


pod = until(lambda: d.run("f", "fresh") if "fresh" in names() else None, "the handler")
ok(True, "SIGHUP: a new handler is there")
d.call("RemovePodSandbox", {"pod_sandbox_id": pod})
with open(f"{d.dir}/config.yaml", "w") as f:
    f.write("{loq: {level: info}}")
d.keeper.send_signal(signal.SIGHUP)
until(lambda: "stays as it was" in open(d.log).read(), "the refusal")
ok(d.answers(), "SIGHUP with a bad configuration: it stays as it was")
with open(f"{d.dir}/config.yaml", "w") as f:
    json.dump(d.config(), f)
same("nobody was hurt")

# -- a second one --

for name, sets in ("on the same state", []), ("on the same state, another socket", ["--set", f"socket={d.dir}/other.sock"]):
    p = subprocess.run([f"{BUILD}/crispd", "--config", f"{d.dir}/config.yaml", *sets], capture_output=True, text=True, timeout=60)
    ok(p.returncode == 1 and "another crisp" in p.stderr, f"a second daemon {name} leaves with 1", (p.returncode, p.stderr))
p = subprocess.run([f"{BUILD}/crispd", "--config", f"{d.dir}/config.yaml", "--set", f"state={d.dir}/s2", "--set", f"socket={d.socket}",
                    "--set", f"root={d.dir}/r2"], capture_output=True, text=True, timeout=60)
ok(p.returncode == 1 and d.socket in p.stderr, "one on the same socket, too", (p.returncode, p.stderr))
ok(d.answers(), "the first one serves")
same("and nobody was hurt")

# -- the core alone, by request --

old = d.core()
d.keeper.send_signal(signal.SIGUSR2)
new = d.next_core(old)
ok(new != old, "SIGUSR2: another core")
same("the same pods and containers")
precedence("SIGUSR2")

# -- SIGTERM, and by hand again --

for round in 1, 2:
    ctr = d.started(stay["cli"][0], f"ends{round}", "after", "1500", "42")
    ok(d.stop() == 0, "SIGTERM: exit code 0")
    ok(not os.path.exists(d.socket), "the socket is gone")
    ok(all(alive(was[a][2]) for a in ("cli", "serial")), "containers run on")
    if round == 2:
        time.sleep(2)	# it ends while nobody is there
    d.start()
    same("started by hand: the same pods and containers")
    flows("started by hand")
    precedence("started by hand")
    c = d.wait_exit(ctr)
    ok((c["exit_code"], c["reason"]) == (42, "Error"), "the exit code of one that ended " + ("later", "meanwhile")[round - 1], c)
    new = d.started(stay["cli"][0], f"new{round}", "deaf")
    d.call("RemoveContainer", {"container_id": new})

# -- the keeper dies --

keeper, core = d.keeper_pid(), d.core()
ctr = d.started(stay["cli"][0], "ends3", "after", "2000", "43")
os.kill(keeper, signal.SIGKILL)
until(lambda: not alive(keeper), "the keeper to die")
until(lambda: any("--core" in cmdline(p) for p in children(core)), "the core to become one")
until(d.answers, "the next core to answer")
ok(d.core(core) and d.keeper_pid() == core, "the keeper is killed: the core becomes one, and starts another")
same("the same pods and containers")
flows("the keeper killed")
c = d.wait_exit(ctr)
ok((c["exit_code"], c["reason"]) == (43, "Error"), "the exit code of one that ends later", c)
precedence("the keeper killed")
d.kill_core()
same("and the new core killed: the same again")

# -- both die --

core = d.core()
keeper = d.keeper_pid()
os.kill(core, signal.SIGSTOP)	# or it would become a keeper
os.kill(keeper, signal.SIGKILL)
until(lambda: not alive(keeper), "the keeper to die")
os.kill(core, signal.SIGKILL)
until(lambda: not alive(core), "the core to die")
d.start(preexec_fn=lambda: os.nice(3))
now = look()
ok({a: v[:1] + v[3:] for a, v in now.items()} == {a: v[:1] + v[3:] for a, v in was.items()},
   "keeper and core killed: pods and created containers are as they were", (was, now))
for a, (pod, w, idle) in stay.items():
    c = d.ctr(w)
    # Nobody held its pipe: it may have died of that, with a code that nobody could see.
    ok(c["state"] == "CONTAINER_RUNNING" or c["reason"] in ("Unknown", "Error"), f"{a}: a writer is told of truly", c)
precedence("with a nice value of the operator's own", 3, 3)
d.remove_all()
ok(not d.pods() and not d.ctrs(), "all can be removed")

# -- a handler that is not configured any more, or otherwise; an engine that is gone --

pods = {a: d.run(f"lost-{a}", a) for a in ARCHETYPES}
ctrs = {a: d.started(pods[a], "c", "deaf") for a in ARCHETYPES}
ok(d.stop() == 0, "SIGTERM")
handlers, d.handlers = d.handlers, {"cli": {"archetype": "cli", "exit_code": 5}}
d.start()
ok(set(d.pods()) == set(pods.values()) and all(d.ctr(c)["state"] == "CONTAINER_RUNNING" for c in ctrs.values()),
   "without their handlers: pods and containers are there")
ok(names() == ["", "cli"], "their handlers are offered no more", names())
for a in ARCHETYPES:
    ok(d.refused("RunPodSandbox", {"config": d.pod_config(f"x-{a}"), "runtime_handler": a}).code == ("OK" if a == "cli" else "EINVAL"), f"{a}: for new pods")
    r = d.call("ExecSync", {"container_id": ctrs[a], "cmd": ["echo", "x"]}) if a in ("sandbox", "tty") else {"stdout": b"x\n"}
    ok(r["stdout"] == b"x\n", f"{a}: exec works on", r)
    new = d.started(pods[a], "new", "deaf")
    ok(d.ctr(new)["state"] == "CONTAINER_RUNNING", f"{a}: as does a new container")
ok(d.stop() == 0, "SIGTERM")
os.mkdir(f"{d.dir}/engines")
d.args = ["--set", f"engine_dir={d.dir}/engines"]
d.start()
core = d.core()
for a in ARCHETYPES:
    for method, request in (("ExecSync", {"container_id": ctrs[a], "cmd": ["true"]}),
                            ("CreateContainer", d.create_request(pods[a], "newer")),
                            ("UpdateContainerResources", {"container_id": ctrs[a], "linux": {"cpu_shares": 5}})):
        f = d.refused(method, request, 10000)
        ok("fake" in f.words and f.code != "OK", f"{a}: without the engine {method} says so", f)
for a in ARCHETYPES:
    f = d.refused("StopPodSandbox", {"pod_sandbox_id": pods[a]}, 10000)
    ok(f.code == "OK" if a in ("cli", "serial") else "fake" in f.words, f"{a}: without the engine a pod is stopped, or it says why not", f)
ok(d.core() == core, "the core lives")
ok(d.stop() == 0, "SIGTERM")
d.handlers, d.args = handlers, []
d.start()
d.remove_all()
ok(not d.pods(), "with the handlers back all can be removed")

# -- a core that can't start --

pod = d.run("keep")
ctr = d.started(pod, "c", "deaf")
pid = d.ctr(ctr)["pid"]
os.rmdir(f"{d.state}/aside")
open(f"{d.state}/aside", "w").close()
os.kill(d.core(), signal.SIGKILL)
ok(d.keeper.wait(WAIT) == 1 and alive(pid), "a later core can't start: the daemon ends with 1, what runs does not")
os.unlink(f"{d.state}/aside")
d.start()
ok(d.ctr(ctr)["pid"] == pid and d.ctr(ctr)["state"] == "CONTAINER_RUNNING", "and is there when one can")
d.remove_all()
ok(d.stop() == 0, "SIGTERM")
until(lambda: not alive(d.keeper_pid()), "a keeper with nothing to hold to leave")
d.start()
left = d.leaks()
ok(not left, "nothing is left", left)
ok(d.stop() == 0, "SIGTERM")
done()

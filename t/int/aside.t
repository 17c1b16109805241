#!/usr/bin/env python3
# Records that a core can't take up are set aside: what they had running is ended, nothing is left
# but the record itself, the node runs on, and whoever looks is told.
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import *

begin()
deadly = f"{home}/deadly"	# names those that kill the core when their engine is asked for them
d = Daemon(**{f"deadly-{a}": {"archetype": a, "rules": [{"op": op, "deadly": deadly} for op in ops]} for a, ops in (
    ("cli", ["attach"]), ("sandbox", ["attach", "sandbox_attach"]))}).start().load()
d.snapshot()


def running(handler, name, **more):
    """A pod with two containers that run and one that does not: the pod, the containers, their pids."""
    pod = d.run(name, handler, **more)
    ctrs = [d.started(pod, "a", "deaf"), d.started(pod, "b", "deaf"), d.create(pod, "c")]
    return pod, ctrs, [p for p in (d.ctr(c)["pid"] for c in ctrs) if p]


def spoil(kind, id, text="not JSON"):
    with open(f"{d.state}/{kind}/{id}/record.json", "w") as f:
        f.write(text)


def with_spoilt(*records):
    """The core is killed, and the next one finds these."""
    old = d.core()
    keeper = d.keeper_pid()
    os.kill(keeper, signal.SIGSTOP)
    os.kill(old, signal.SIGKILL)
    for kind, id in records:
        spoil(kind, id)
    os.kill(keeper, signal.SIGCONT)
    d.next_core(old)


def with_blamed(note, id):
    """The core is killed, and the next one finds that two have died over this one."""
    os.kill(keeper := d.keeper_pid(), signal.SIGSTOP)
    os.kill(old := d.core(), signal.SIGKILL)
    with open(f"{d.state}/{note}", "w") as f:
        f.write(f"{id} 2")
    os.kill(keeper, signal.SIGCONT)
    d.next_core(old)


def told():
    return sorted(json.loads(d.call("Status", {"verbose": True})["info"]["info"])["setAside"])


def aside():
    return sorted(os.listdir(f"{d.state}/aside"))


def forget(name):
    """What the operator does when he has seen enough."""
    for id in aside():
        shutil.rmtree(f"{d.state}/aside/{id}")
    # Whose its parent is was in the pod's record; a kubelet clears its own away.
    for top in glob.glob(f"/sys/fs/cgroup/*{d.cgroup}/pods/{name}") + glob.glob(f"/sys/fs/cgroup{d.cgroup}/pods/{name}"):
        os.rmdir(top)


def helpers_of(pod):
    """Processes that work for a pod beside its containers: an engine's sandbox, a pause."""
    return [int(p) for p in os.listdir("/proc") if p.isdigit() and alive(p) and pod in open(f"/proc/{p}/cgroup").read()]


stay, stay_ctrs, stay_pids = running("cli", "stay")


def shared(name):
    """One pid namespace for all of the pod, and so a pause process."""
    return {"linux": {"cgroup_parent": f"{d.cgroup}/pods/{name}", "security_context": {
        "namespace_options": {"network": "POD", "pid": "POD", "ipc": "POD"}}}}


def plain(name):
    return {}


for handler, name, more in ("cli", "alone", plain), ("cli", "shared", shared), ("tty", "tty", plain), ("sandbox", "box", plain):
    pod, ctrs, pids = running(handler, name, **more(name))
    more_pids = helpers_of(pod)
    with_spoilt(("pods", pod))
    ok(pod not in d.pods() and not set(ctrs) & set(d.ctrs()), f"{name}: a pod whose record is rubbish is listed no more, nor what it had")
    ok(not any(map(alive, pids + more_pids)), f"{name}: and nothing of it runs", (pids, more_pids))
    ok(aside() == sorted([pod, *ctrs]) and told() == aside(), f"{name}: its records are set aside, and Status says so", (aside(), told()))
    said = subprocess.run([f"{BUILD}/crispctl", "--socket", d.socket, "status"], capture_output=True, text=True).stdout
    ok(all(f"set aside and killed, its record could not be taken up: {id}" in said for id in aside()), f"{name}: crispctl lists them", said)
    said = [l for l in open(d.log) if "set aside" in l and "level=error" in l]
    ok(all(any(id in l for l in said) for id in [pod, *ctrs]), f"{name}: and the log, each", said)
    forget(name)
    again = d.run(name, handler, **more(name))
    ok(d.started(again, "a", "deaf"), f"{name}: another of that name can be made")
    d.call("RemovePodSandbox", {"pod_sandbox_id": again})

pod, ctrs, pids = running("cli", "one")
with_spoilt(("containers", ctrs[0]))
ok(d.pod(pod)["state"] == "SANDBOX_READY" and set(d.ctrs()) & set(ctrs) == set(ctrs[1:]), "a container's record alone: its pod stays")
ok(not alive(pids[0]) and alive(pids[1]) and aside() == [ctrs[0]], "and what is beside it runs on")
ok(d.started(pod, "a", "deaf"), "another container of that name can be made")
forget("none")
d.call("RemovePodSandbox", {"pod_sandbox_id": pod})

# All of ours has died at once: no keeper has the process, but its record knows its pid.
pod, ctrs, pids = running("cli", "bereft")
for pid in d.keeper_pid(), d.core():
    os.kill(pid, signal.SIGSTOP)
core, keeper = d.core(), d.keeper_pid()
os.kill(keeper, signal.SIGKILL)
os.kill(core, signal.SIGKILL)
until(lambda: not alive(core) and not alive(keeper), "both to die")
spoil("pods", pod)
d.start()
ok(pod not in d.pods() and not any(map(alive, pids)), "killed together with the keeper: nothing of it runs", pids)
ok(aside() == sorted([pod, *ctrs]), "and it is set aside")
forget("bereft")

# One that can be read is cleared away whole.
for handler, name, more in ("cli", "alone", plain), ("cli", "shared", shared), ("sandbox", "box", plain):
    for note in "unwinding", "recovering":
        pod, ctrs, pids = running(handler, f"{name}-{note}", **more(f"{name}-{note}"))
        more_pids = helpers_of(pod)
        with_blamed(note, pod)
        ok(pod not in d.pods() and not set(ctrs) & set(d.ctrs()) and not any(map(alive, pids + more_pids)) and len(aside()) == 4,
           f"{name}: cores have died over it ({note}): set aside, and nothing runs", (pids, more_pids, aside()))
        ok(note == "recovering" or not glob.glob(f"/sys/fs/cgroup/*{d.cgroup}/pods/{name}-{note}"), f"{name}: its cgroup has gone")
        forget(f"{name}-{note}")
pod, ctrs, pids = running("cli", "one")
with_blamed("unwinding", ctrs[0])
ok(aside() == [ctrs[0]] and not alive(pids[0]) and alive(pids[1]), "a container that cores have died over is set aside alone")
forget("none")
d.call("RemovePodSandbox", {"pod_sandbox_id": pod})

# One that kills each core that asks its engine for it: at last it is asked for alone, then set aside.
for handler, whole in ("deadly-cli", False), ("deadly-sandbox", False), ("deadly-sandbox", True):
    name = f"{handler}-{'pod' if whole else 'ctr'}"
    pod, ctrs, pids = running(handler, name)
    core = d.core()
    with open(deadly, "w") as f:
        f.write(pod if whole else ctrs[0])
    os.kill(core, signal.SIGKILL)
    until(lambda: not alive(core), "the core to die")
    until(lambda: aside() and d.answers(), "a core that answers", 60)
    ok(aside() == (sorted([pod, *ctrs]) if whole else [ctrs[0]]), f"{name}: set aside", (aside(), pod, ctrs))
    ok(whole or (set(d.ctrs()) & set(ctrs) == set(ctrs[1:]) and d.ctr(ctrs[1])["state"] == "CONTAINER_RUNNING"),
       f"{name}: what is beside it runs on")
    ok(not os.path.exists(f"{d.state}/asking"), f"{name}: and nobody is under suspicion any more")
    os.unlink(deadly)
    forget(name if whole else "none")
    if not whole:
        d.call("RemovePodSandbox", {"pod_sandbox_id": pod})

ok([d.ctr(c)["pid"] for c in stay_ctrs] == stay_pids and all(map(alive, stay_pids)), "the others are as they were")
d.call("RemovePodSandbox", {"pod_sandbox_id": stay})
left = d.leaks()
ok(not left, "nothing is left", left)
ok(d.stop() == 0, "SIGTERM: exit code 0")
done()

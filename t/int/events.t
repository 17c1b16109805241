#!/usr/bin/env python3
# GetContainerEvents: every change in order, once, with the state right after it; readers that stall,
# leave, or are too many; the core's death; its end.
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import *

begin()
d = Daemon(late={"archetype": "cli", "delay_ms": {"start": 300}}, nostart={"archetype": "cli", "fail": {"start": "no"}}).start().load()
d.snapshot()
synced = 0


def reader():
    """A stream that is surely there: it has told of something."""
    global synced
    s = d.stream("GetContainerEvents")
    while True:
        synced += 1
        pod = d.run(f"sync{synced}")
        d.call("RemovePodSandbox", {"pod_sandbox_id": pod})
        if s.next(0.3):
            while s.next(1)["container_event_type"] != "CONTAINER_DELETED_EVENT":
                pass
            return s


def short(e):
    return e["container_id"], e["container_event_type"].removeprefix("CONTAINER_").removesuffix("_EVENT")


def states(e):
    """id -> state of the pod and its containers in an event's snapshot."""
    p = e["pod_sandbox_status"]
    return {p["id"]: p["state"].removeprefix("SANDBOX_"),
            **{c["id"]: c["state"].removeprefix("CONTAINER_") for c in e["containers_statuses"]}}


def take(s, n):
    got = [s.next(10) for _ in range(n)]
    return [e for e in got if e]


# -- one pod's life --

s = reader()
pod = d.run("life")
ctr = d.started(pod, "c", "exit", "3")
d.wait_exit(ctr)
d.call("RemoveContainer", {"container_id": ctr})
d.call("StopPodSandbox", {"pod_sandbox_id": pod})
d.call("RemovePodSandbox", {"pod_sandbox_id": pod})
events = take(s, 8)
want = [(pod, "CREATED"), (pod, "STARTED"), (ctr, "CREATED"), (ctr, "STARTED"), (ctr, "STOPPED"), (ctr, "DELETED"),
        (pod, "STOPPED"), (pod, "DELETED")]
ok([short(e) for e in events] == want, "eight events, in order", [short(e) for e in events])
want = [{pod: "READY"}, {pod: "READY"}, {pod: "READY", ctr: "CREATED"}, {pod: "READY", ctr: "RUNNING"},
        {pod: "READY", ctr: "EXITED"}, {pod: "READY"}, {pod: "NOTREADY"}, {pod: "NOTREADY"}]
ok([states(e) for e in events] == want, "each with the states right after it", [states(e) for e in events])
c = events[4]["containers_statuses"][0]
ok(c["exit_code"] == 3 and c["reason"] == "Error" and c["finished_at"] >= c["started_at"] > 0, "the exit is told whole", c)
p = events[0]["pod_sandbox_status"]
ok(p["metadata"]["uid"] == "uid-life" and p["network"]["ip"], "and so is the pod", p)
ok([e["created_at"] for e in events] == sorted(e["created_at"] for e in events) and events[0]["created_at"] > 0, "times do not go back")
st = d.call("PodSandboxStatus", {"pod_sandbox_id": d.run("now")})
ok(st["timestamp"] > 0 and st["containers_statuses"] == [], "PodSandboxStatus has time and containers, too", st)
take(s, 2)

watch = subprocess.Popen([f"{BUILD}/crispctl", "--socket", d.socket, "events"], stdout=subprocess.PIPE, text=True)
lines = []
while not lines:	# until it surely watches
    synced += 1
    d.call("RemovePodSandbox", {"pod_sandbox_id": d.run(f"sync{synced}")})
    if select.select([watch.stdout], [], [], 0.3)[0]:
        lines = [watch.stdout.readline() for _ in range(4)]
pod = d.run("seen")
ctr = d.started(pod, "box", "exit", "5")
lines = [watch.stdout.readline() for _ in range(5)]
ok(re.match(rf"\S+ +created +pod +{pod[:12]} +seen$", lines[0]) and re.match(rf"\S+ +stopped +container +{ctr[:12]} +seen +box +5 Error$", lines[4]),
   "crispctl events", lines)
watch.kill()
watch.wait()
while s.next(0.5):
    pass

# -- ends that come early --

pod = d.run("early", "late")
ctr = d.create(pod, "c", "exit", "0")
d.call("StartContainer", {"container_id": ctr})
d.wait_exit(ctr)
kinds = [short(e) for e in take(s, 5)]
ok(kinds[2:] == [(ctr, "CREATED"), (ctr, "STARTED"), (ctr, "STOPPED")], "a container that ends while it is started", kinds)
pod = d.run("nostart", "nostart")
ctr = d.create(pod, "c", "none")
d.refused("StartContainer", {"container_id": ctr})
events = take(s, 4)
ok([short(e) for e in events][2:] == [(ctr, "CREATED"), (ctr, "STOPPED")], "one that cannot be started", [short(e) for e in events])
ok(events[-1]["containers_statuses"][0]["reason"] == "StartError", "and why", events[-1])
d.remove_all()
while s.next(0.5):
    pass

# -- a crowd --

others = [reader() for _ in range(3)]
while s.next(0.5):
    pass
for o in others:
    while o.next(0.3):
        pass
calls = [d.begin("RunPodSandbox", {"config": d.pod_config(f"crowd{i}"), "runtime_handler": "cli"}) for i in range(20)]
pods = [c.answer()["pod_sandbox_id"] for c in calls]
calls = [d.begin("StopPodSandbox", {"pod_sandbox_id": p}) for p in pods]
for c in calls:
    c.answer()
told = [[short(e) for e in take(r, 60)] for r in (s, *others)]
ok(all(t == told[0] for t in told), "all readers are told the same")
ok(all([k for i, k in told[0] if i == p] == ["CREATED", "STARTED", "STOPPED"] for p in pods), "each pod's own in order", told[0])
others[0].leave()
others[1].leave()
one = d.run("one-more")
ok(short(others[2].next()) == (one, "CREATED") and short(s.next()) == (one, "CREATED"), "two have left, two go on")
d.remove_all()
others[2].leave()
while s.next(0.5):
    pass

# -- a reader that stalls: first within what is held for it, then beyond --

FAT = {"x": "y" * 60000}	# each event of these pods carries it


def churn(n, first=0):
    for i in range(first, first + n):
        pod = d.run(f"fat{i}", annotations=FAT)
        d.call("StopPodSandbox", {"pod_sandbox_id": pod})
        d.call("RemovePodSandbox", {"pod_sandbox_id": pod})


churn(10)
kinds = [short(e)[1] for e in take(s, 40)]
ok(kinds == ["CREATED", "STARTED", "STOPPED", "DELETED"] * 10, "a stall of 2.4 MB loses nothing", kinds)

kept = {i: d.run(f"kept{i}") for i in range(3)}
run, ended = d.started(kept[0], "run", "deaf"), d.started(kept[0], "ended", "exit", "7")
d.wait_exit(ended)
made = d.create(kept[1], "made", "none")
take(s, 6 + 6)
memory = lambda: int(next(l for l in open(f"/proc/{d.core()}/status") if l.startswith("VmRSS")).split()[1])
churn(60, 100)				# 14 MB
lost = d.run("stays", annotations=FAT)
d.call("StopPodSandbox", {"pod_sandbox_id": kept[2]})
SANITIZED = "asan" in os.environ.get("BUILD", "")	# its heap keeps what was freed
ok(memory() < (256 if SANITIZED else 64) << 10, "the core's memory is bounded meanwhile", memory())
events = []
while e := s.next(3):
    events.append(e)
kinds = {}
for e in events:
    kinds.setdefault(e["container_id"], []).append(short(e)[1])
fat = {e["container_id"] for e in events if e["pod_sandbox_status"]["metadata"]["name"].startswith("fat")}
ok(len(fat) == 60 and all(kinds[i][-1] == "DELETED" for i in fat), "after a stall of 14 MB each deletion is told", len(fat))
ok(any(kinds[i] == ["DELETED"] for i in fat), "though not what was before some of them")
ok(kinds.get(lost, [""])[-1] == "STARTED" and kinds.get(kept[0], [""])[-1] == "STARTED" and kinds.get(kept[2], [""])[-1] == "STOPPED" and
   kinds.get(run) == ["STARTED"] and kinds.get(ended) == ["STOPPED"] and kinds.get(made) == ["CREATED"],
   "and how everything is that is left", {k: v for k, v in kinds.items() if k not in fat})
last = {e["container_id"]: states(e) for e in events}
ok(last[kept[0]] == {kept[0]: "READY", run: "RUNNING", ended: "EXITED"} and last[kept[2]] == {kept[2]: "NOTREADY"}, "with exact snapshots", last[kept[0]])
after = d.run("after")
ok([short(e) for e in take(s, 2)] == [(after, "CREATED"), (after, "STARTED")], "then it goes on event by event")

# -- one that does not come back in time --

churn(130, 200)				# 31 MB, of which 7.8 are deletions
try:
    words = len(s.rest())
except Failure as f:
    words = f"{f}"
ok("list anew" in str(words), "one that would have too many deletions to be told is ended", words)
d.remove_all()

# -- too many --

crowd = [d.stream("GetContainerEvents") for _ in range(20)]
refused = []
until(lambda: sum(c.over() for c in crowd) >= 4, "four to be refused")
for c in crowd:
    if c.over():
        refused.append(c.p.stderr.read().decode())
ok(len(refused) == 4 and all("too many readers" in r for r in refused), "17 readers are one too many", refused)
for c in crowd:
    c.leave()

# -- kill -9 of the core --

s = reader()
pod = d.run("survivor")
ctr = d.started(pod, "c", "deaf")
take(s, 4)
d.kill_core()
try:
    words = s.rest()
except Failure as f:
    words = str(f)
ok(isinstance(words, str) and words, "the core's death ends the stream with an error", words)
s = reader()
ok(d.ctr(ctr)["state"] == "CONTAINER_RUNNING", "the container is still there")
d.call("StopContainer", {"container_id": ctr, "timeout": 0})
e = s.next()
ok(short(e) == (ctr, "STOPPED") and states(e) == {pod: "READY", ctr: "EXITED"}, "and its end is told by the next core", e)
d.remove_all()
s.leave()
leaks = d.leaks()
ok(not leaks, "nothing is left", leaks)
s = reader()

# -- the end --

while s.next(0.5):
    pass
ok(d.stop() == 0, "crispd leaves under a reader")
try:
    words = s.rest()
except Failure as f:
    words = str(f)
ok("EAGAIN" in str(words) or "leaves" in str(words), "which is told so", words)
done()

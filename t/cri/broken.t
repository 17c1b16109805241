#!/usr/bin/python3
# crun, but one of its operations is broken: missing, it dies, prints rubbish, says that all is well when
# it is not, hangs.  The caller is answered, the state is right, no program stays, the pod can go.
import os, shutil, sys, time

import grpc

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from node import HOME, SLOW, Node, alive, cmdline, done, ok, say, until

CRUN = shutil.which("crun")
OPS = "create", "start", "exec", "update", "delete"
KINDS = "missing", "dies", "rubbish", "lies"
WRAPPER = """#!/bin/sh
read -r kind <{dir}/kind
case " $* " in *" {word} "*) ;; *) exec {crun} "$@" ;; esac
case $kind in
good) exec {crun} "$@" ;;
dies) kill -9 $$ ;;
rubbish) head -c 100000 /dev/zero | tr '\\0' '\\377' | tee /dev/fd/2 >&3; exit 3 ;;
lies) exit 0 ;;
hangs) sleep 98765 & wait ;;
esac
"""
WORDS = {"missing": "can't be run", "dies": "was killed by signal 9", "rubbish": "exit code 3", "lies": "without an error, but"}


class Broken:
    """A handler whose crun fails at one operation, once told so."""

    def __init__(self, op, name=None, kind="good"):
        self.word = op
        self.handler = f"bad-{name or op}"
        self.dir = f"{HOME}/{self.handler}"
        self.path = f"{self.dir}/crun"
        os.makedirs(self.dir)
        self.be("good")
        self.be(kind)

    def be(self, kind):
        with open(f"{self.dir}/kind.new", "w") as f:
            f.write(kind + "\n")
        os.rename(f"{self.dir}/kind.new", f"{self.dir}/kind")
        if kind == "missing":
            os.unlink(self.path)
        elif not os.path.exists(self.path):
            with open(f"{self.path}.new", "w") as f:
                f.write(WRAPPER.format(dir=self.dir, word=self.word, crun=CRUN))
            os.chmod(f"{self.path}.new", 0o755)
            os.rename(f"{self.path}.new", self.path)


broken = {op: Broken(op) for op in OPS}
probes = {kind: Broken("--version", f"probe-{kind}", kind) for kind in (*KINDS, "hangs")}
tested = Broken("delete", "tested", "dies")	# from the start: the test of user namespaces meets it
node = Node(handlers={"crun": {"engine": "crun"}, **{b.handler: {"engine": "crun", "options": {"path": b.path}}
                                                     for b in (*broken.values(), *probes.values(), tested)}})


def says(got, kind, op, code="UNKNOWN"):
    """Code and words of a failure are right: engine, operation and what is the matter."""
    return got[0] == code and f"bad-{op}: {op}: " in got[1] and WORDS.get(kind, "") in got[1]


def programs():
    """What runs of the wrappers."""
    found = [p for p in node.ours() if alive(p) and any(w.startswith(f"{HOME}/bad-") and w.endswith("/crun") for w in cmdline(p))]
    return found + [p for p in node.helpers() if cmdline(p)[:2] == ["sleep", "98765"]]


def no_program():
    return not programs()


def shares(ctr):
    return node.status(ctr).resources.linux.cpu_shares


def try_test():
    """What the daemon begins by itself ends, though the engine does not delete it."""
    until(lambda: os.path.exists(f"{node.state}/engines/{tested.handler}/userns-works"), "what the test of user namespaces has found")
    until(lambda: not [top for top, _, _ in os.walk("/sys/fs/cgroup") if top.endswith(f"{node.cgroup}/userns-test-{tested.handler}")],
          "the end of the test's cgroups")
    ok(no_program(), "nothing is left of a test whose delete fails", [cmdline(p) for p in programs()])


def try_probes():
    words = {**WORDS, "lies": "says no version", "hangs": "no answer in"}
    for kind, b in probes.items():
        request = {"config": node.pod_config(f"probe-{kind}"), "runtime_handler": b.handler}
        got = until(lambda: "not probed" not in (got := node.refused("RunPodSandbox", **request))[1] and got, "a probe")
        ok(got[0] == "UNAVAILABLE" and f"{b.handler}: probe: " in got[1] and words[kind] in got[1],
           f"probe, {kind}: its handler takes no pod", got)
        b.be("good")
    for kind, b in probes.items():
        request = {"config": node.pod_config(f"probe-{kind}"), "runtime_handler": b.handler}
        got = node.refused("RunPodSandbox", **request)
        ok(got[0] == "OK", f"probe, {kind}: once it is well the handler takes the next pod", got)
    for p in node.pods():
        node.down(p)


def run(name, handler):
    """The engine of the handler was mended a moment ago, and is looked at for this pod."""
    return node.run(name, handler)


def try_create(kind):
    b, name = broken["create"], f"create-{kind}"
    pod = run(name, b.handler)
    b.be(kind)
    got = node.refused("CreateContainer", **node.create_request(pod, "c", "sleep", "1000"))
    ok(says(got, kind, "create"), f"create, {kind}: the caller is told", got)
    ok(not node.ctrs(), f"create, {kind}: there is no container")
    b.be("good")
    ctr = node.started(pod, "c", "sleep", "1000")
    ok(node.state_of(ctr) == "CONTAINER_RUNNING", f"create, {kind}: asked again it succeeds")
    node.down(pod)


def try_start(kind):
    b = broken["start"]
    pod = run(f"start-{kind}", b.handler)
    ctr = node.create(pod, "c", "sleep", "1000")
    pid = node.pid(ctr)
    b.be(kind)
    got = node.refused("StartContainer", container_id=ctr)
    if kind == "lies":	# none can tell: it is as if it ran, and can be stopped
        ok(got[0] == "OK", f"start, {kind}: it is believed", got)
    else:
        ok(says(got, kind, "start"), f"start, {kind}: the caller is told", got)
        st = node.wait_exit(ctr)
        ok((st.exit_code, st.reason) == (128, "StartError") and f"bad-start: start: " in st.message,
           f"start, {kind}: so says the status", st)
        ok(not alive(pid), f"start, {kind}: its process is gone")
    b.be("good")
    node.call("RemoveContainer", container_id=ctr)
    ok(not alive(pid) and node.state_of(node.started(pod, "c", "sleep", "1000")) == "CONTAINER_RUNNING",
       f"start, {kind}: it can be removed, the next one runs")
    node.down(pod)


def try_exec(kind):
    b = broken["exec"]
    pod = run(f"exec-{kind}", b.handler)
    ctr = node.started(pod, "c", "sleep", "1000")
    b.be(kind)
    got = node.refused("ExecSync", container_id=ctr, cmd=["true"], timeout=20)
    ok(says(got, kind, "exec"), f"exec, {kind}: the caller is told", got)
    ok(node.state_of(ctr) == "CONTAINER_RUNNING", f"exec, {kind}: the container runs on")
    b.be("good")
    ok(node.exec(ctr, "echo", "well").stdout == b"well\n", f"exec, {kind}: the next one works")
    node.down(pod)


def try_update(kind):
    b = broken["update"]
    pod = run(f"update-{kind}", b.handler)
    ctr = node.started(pod, "c", "sleep", "1000")
    node.call("UpdateContainerResources", container_id=ctr, linux={"cpu_shares": 512})
    b.be(kind)
    got = node.refused("UpdateContainerResources", container_id=ctr, linux={"cpu_shares": 256})
    if kind == "lies":
        ok(got[0] == "OK", f"update, {kind}: it is believed", got)
    else:
        ok(says(got, kind, "update"), f"update, {kind}: the caller is told", got)
        ok(shares(ctr) == 512 and node.state_of(ctr) == "CONTAINER_RUNNING", f"update, {kind}: nothing has changed", node.status(ctr))
    b.be("good")
    node.call("UpdateContainerResources", container_id=ctr, linux={"cpu_shares": 1024})
    ok(shares(ctr) == 1024, f"update, {kind}: the next one works", node.status(ctr))
    node.down(pod)


def try_delete(kind):
    b = broken["delete"]
    pod = run(f"delete-{kind}", b.handler)
    ctr = node.started(pod, "c", "sleep", "1000")
    pid = node.pid(ctr)
    b.be(kind)
    node.call("StopContainer", container_id=ctr, timeout=0)
    node.call("RemoveContainer", container_id=ctr)
    ok(not alive(pid) and not node.ctrs(), f"delete, {kind}: its processes are gone, and so is it")
    with open(node.log) as f:
        ok(any("bad-delete: delete: " in line and WORDS[kind] in line for line in f), f"delete, {kind}: the log tells")
    node.down(pod)
    b.be("good")


def answered_in_time(call):
    """A call of which the caller has had enough."""
    try:
        call.result()
    except grpc.RpcError as e:
        return e.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    return False


def refusal(call):
    """Code and words that a call ends with."""
    try:
        call.result()
    except grpc.RpcError as e:
        return e.code().name, e.details()
    return "OK", ""


def try_hangs():
    """All at once: first callers that don't wait that long, then the daemon's own deadline of a minute."""
    pods = {op: run(f"hang-{op}", b.handler) for op, b in broken.items()}
    ctrs = {op: node.started(pods[op], "c", "sleep", "1000") for op in ("exec", "update", "delete")}
    ctrs["start"] = node.create(pods["start"], "c", "sleep", "1000")
    for b in broken.values():
        b.be("hangs")
    calls = {"create": node.begin("CreateContainer", 2, **node.create_request(pods["create"], "c", "sleep", "1000")),
             "start": node.begin("StartContainer", 2, container_id=ctrs["start"]),
             "exec": node.begin("ExecSync", 2, container_id=ctrs["exec"], cmd=["true"], timeout=60),
             "update": node.begin("UpdateContainerResources", 2, container_id=ctrs["update"], linux={"cpu_shares": 256}),
             "delete": node.begin("RemoveContainer", 2, container_id=ctrs["delete"])}
    for op, call in calls.items():
        ok(answered_in_time(call), f"{op}, hangs: the caller's deadline is kept")
    ok(node.refused("ExecSync", container_id=ctrs["exec"], cmd=["true"], timeout=1)[0] == "DEADLINE_EXCEEDED",
       "exec, hangs: so is that of the request")
    until(lambda: not [p for p in programs() if "bad-exec" in " ".join(cmdline(p))], "the end of an exec that nobody waits for")
    ok(node.state_of(ctrs["exec"]) == "CONTAINER_RUNNING", "exec, hangs: the container runs on, no program is left")
    other = node.started(node.run("other"), "c", "sleep", "1000")
    ok(node.exec(other, "echo", "well").stdout == b"well\n", "others are served meanwhile")

    # An update is given up by whoever ends its container.
    more = [node.started(pods["update"], f"more{i}", "sleep", "1000") for i in range(2)]
    waiting = [node.begin("UpdateContainerResources", container_id=c, linux={"cpu_shares": 256}) for c in more]
    until(lambda: len([p for p in programs() if "bad-update" in " ".join(cmdline(p))]) >= 3, "three updates that hang")
    broken["update"].be("good")
    began = time.monotonic()
    node.call("StopContainer", 30, container_id=more[0], timeout=0)
    node.call("RemoveContainer", 30, container_id=ctrs["update"])
    node.call("StopPodSandbox", 30, pod_sandbox_id=pods["update"])
    ok(node.state_of(more[0]) == node.state_of(more[1]) == "CONTAINER_EXITED" and ctrs["update"] not in node.ctrs() and
       time.monotonic() - began < 10 * SLOW, "update, hangs: its container can be stopped and removed, and so its pod",
       time.monotonic() - began)
    for call, words in zip(waiting, ("the container was stopped", "the pod was stopped")):
        got = refusal(call)
        ok(got[0] == "CANCELLED" and words in got[1], f"update, hangs: who waits is told that {words}", got)

    # A create is given up by whoever stops its pod; the client's retry would have joined it.
    node.call("StopPodSandbox", 30, pod_sandbox_id=pods["create"])
    ok(not node.call("ListContainers", filter={"pod_sandbox_id": pods["create"]}).containers,
       "create, hangs: its pod can be stopped, and it is gone")
    # Those who wait are told; who joins an operation that hangs as well.
    began = time.monotonic()
    calls = {"start": node.begin("StartContainer", container_id=ctrs["start"]),
             "delete": node.begin("RemoveContainer", container_id=ctrs["delete"])}
    got = refusal(calls["start"])
    ok(got[0] == "DEADLINE_EXCEEDED" and "bad-start: start: no answer in " in got[1], "start, hangs: who waits is told", got)
    st = node.wait_exit(ctrs["start"])
    ok((st.exit_code, st.reason) == (128, "StartError"), "start, hangs: so says the status", st)
    calls["delete"].result()
    ok("bad-delete" not in str(node.ctrs()) and ctrs["delete"] not in node.ctrs(), "delete, hangs: it goes all the same")
    say(f"the daemon's deadline came after {time.monotonic() - began:.0f} s")
    for b in broken.values():
        b.be("good")
    for p in node.pods():
        node.down(p)
    ok(not node.pods(), "all pods can be removed")


node.start().load()
try_test()
try_probes()
for b in broken.values():
    pod = run("warm", b.handler)
    node.started(pod, "c", "sleep", "1000")
    node.down(pod)
ok(node.snapshot() == "", "crispd runs")
for kind in KINDS:
    for op in OPS:
        globals()[f"try_{op}"](kind)
    ok(no_program(), f"{kind}: no program is left", [cmdline(p) for p in programs()])
    left = node.leaks()
    ok(left == "", f"{kind}: nothing is left", left)
try_hangs()
until(no_program, "the end of all programs")
left = node.leaks()
ok(left == "", "hangs: nothing is left, no program either", left)
ok(node.stop() == 0, "the end")
done()

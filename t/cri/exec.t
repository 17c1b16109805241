#!/usr/bin/python3
# What a command in a container has started ends with it: when its time is over, and when the core dies.
import sys
sys.dont_write_bytecode = True
from node import *

node = Node().start().load()
SHELL = ["sh", "-c", "sleep 4711 & echo up >&2; wait"]


def sleepers():
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if cmdline(pid)[:2] == ["sleep", "4711"]
            and f"{node.cgroup}/" in open(f"/proc/{pid}/cgroup").read()]


for handler in "crun", "runc":
    pod = node.run(f"exec-{handler}", handler)
    ctr = node.started(pod, "main", "sleep", "1000")
    for _ in range(3):
        got = node.refused("ExecSync", container_id=ctr, cmd=SHELL, timeout=1)
    ok(got[0] == "DEADLINE_EXCEEDED", f"{handler}: a command that does not end in time", got)
    try:
        until(lambda: not sleepers(), "its child to end", 5)
    except AssertionError as e:
        ok(False, f"{handler}: its child ends with it", e)
    else:
        ok(True, f"{handler}: its child ends with it")
    call = node.begin("ExecSync", container_id=ctr, cmd=SHELL, timeout=60)
    until(sleepers, "a child")
    core = node.core()
    os.kill(core, signal.SIGKILL)
    node.core(other_than=core)
    until(lambda: not sleepers(), "the child to end with its core")
    ok(True, f"{handler}: the next core ends what the last one had run")
    call.cancel()
    # A command that can't be run: the container is there, and its start fails.
    for command in "/no/such", "nosuch":
        bad = node.create(pod, f"bad-{command[-6:].strip('/')}", command)
        got = node.refused("StartContainer", container_id=bad)
        ok(command in got[1] and "see to the container's command" in got[1], f"{handler}: {command} can't be started", got)
        s = node.status(bad)
        ok((s.exit_code, s.reason) == (128, "StartError") and command in s.message, f"{handler}: StartError, 128", s)
        node.call("RemoveContainer", container_id=bad)
    node.down(pod)
ok(node.stop() == 0, "crispd leaves")
done()

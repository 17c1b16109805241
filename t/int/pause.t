#!/usr/bin/env python3
# crisp-pause as pid 1 of a pid namespace: reaps, ends when told, costs next to nothing.
import os, re, signal, subprocess, sys, time

BUILD = os.environ.get("BUILD", "build")
os.chdir(os.path.dirname(os.path.abspath(__file__)) + "/../..")
sys.path.insert(0, "t")
from tap import done, ok
PAUSE = os.path.abspath(f"{BUILD}/libexec/crisp-pause")


def children(pid):
    return [int(p) for p in open(f"/proc/{pid}/task/{pid}/children").read().split()]


def until(cond):
    end = time.monotonic() + 20
    while not cond() and time.monotonic() < end:
        time.sleep(0.005)
    return cond()


def start():
    """unshare stays outside, pid 1 of the new namespace is its child."""
    u = subprocess.Popen(["unshare", "-p", "-f", PAUSE], stdin=subprocess.DEVNULL)
    until(lambda: children(u.pid) and os.readlink(f"/proc/{children(u.pid)[0]}/exe") == PAUSE)
    return u, children(u.pid)[0]


for name in "SIGTERM", "SIGINT":
    u, pid = start()
    until(lambda: int(re.search(r"SigBlk:\s*(\w+)", open(f"/proc/{pid}/status").read())[1], 16))
    os.kill(pid, getattr(signal, name))
    ok(u.wait(20) == 0, f"{name} ends it, with code 0", u.returncode)

u, pid = start()
pss = int(re.search(r"^Pss:\s+(\d+)", open(f"/proc/{pid}/smaps_rollup").read(), re.M)[1])
print(f"# PSS {pss} kB")
ok(pss <= 16, "at most 16 kB", pss)
ok(len(os.listdir(f"/proc/{pid}/fd")) <= 3, "it opens nothing")
# sh leaves two orphans to pid 1: one that has ended, one that is killed.
subprocess.run(["nsenter", "-t", str(pid), "-p", "/bin/sh", "-c", "(true &); (sleep 1000 & )"], timeout=60)
ok(until(lambda: len(children(pid)) == 1), "an orphan that ends is reaped", children(pid))
sleeper = children(pid)
for s in sleeper:
    os.kill(s, signal.SIGKILL)
ok(until(lambda: children(pid) == []), "also one that is killed", children(pid))
os.kill(pid, signal.SIGUSR1), os.kill(pid, signal.SIGHUP)
subprocess.run(["nsenter", "-t", str(pid), "-p", "/bin/sh", "-c", "(true &)"], timeout=60)
ok(until(lambda: children(pid) == []) and u.poll() is None, "other signals don't end it (pid 1 has no default action)")
os.kill(pid, signal.SIGKILL)
u.wait(20)
done()

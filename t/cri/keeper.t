#!/usr/bin/env python3
# Core and keeper die under real containers: same processes, no line lost, exit codes right.
import sys
sys.dont_write_bytecode = True
from daemon import *

begin()
keeper_pid = process().pid

for engine in "crun", "runc":
    # -- the core dies --
    ctl("run", "-r", engine, "-n", f"count-{engine}", "-i", IMAGE, "--", "sh", "-c", COUNT)
    pid = pid_of(f"count-{engine}")
    for _ in range(3):
        seen = len(lines(f"count-{engine}"))
        kill_core(keeper_pid)
        until(lambda: len(lines(f"count-{engine}")) > seen)
    ok(pid and pid_of(f"count-{engine}") == pid, f"{engine}: the core dies three times, the process is the same")
    end_count(f"count-{engine}")
    ok(exited(f"count-{engine}") == (42, "Error"), f"{engine}: its exit code is right", status(f"count-{engine}"))
    got = lines(f"count-{engine}")
    ok(whole(got), f"{engine}: no line of {len(set(got))} is lost, {len(got) - len(set(got))} are repeated")
    # -- an exit while no core lives --
    ctl("run", "-r", engine, "-n", f"gone-{engine}", "-i", IMAGE, "--", "sh", "-c", "sleep 1000; exit 7")
    pid = pid_of(f"gone-{engine}")
    sleeper = until(lambda: children(pid))
    core = core_of(keeper_pid)
    os.kill(core, signal.SIGSTOP)
    os.kill(sleeper[0], signal.SIGTERM)     # the shell goes on to its exit
    until(lambda: open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] == "Z")
    os.kill(core, signal.SIGKILL)
    until(lambda: core_of(keeper_pid) not in (0, core))
    ok(exited(f"gone-{engine}") == (7, "Error"), f"{engine}: an exit while no core lives has its code",
       status(f"gone-{engine}"))

# -- the keeper dies --
ctl("run", "-n", "stay", "-i", IMAGE, "--", "sh", "-c", COUNT)
pid, core = pid_of("stay"), core_of(keeper_pid)
os.kill(keeper_pid, signal.SIGKILL)
ok(until(lambda: core_of(core)), "the keeper dies: the core becomes one, with a new core")
process().wait()
keeper_pid = core
seen = len(lines("stay"))
ok(until(lambda: len(lines("stay")) > seen) and pid_of("stay") == pid, "the container goes on")
kill_core(keeper_pid)
ok(until(lambda: pid_of("stay") == pid), "the new keeper keeps as well")
end_count("stay")
ok(exited("stay") == (42, "Error") and whole(lines("stay")), "exit code and lines are right", status("stay"))

ctl("rm", "-fa")
ok(os.listdir(f"{T}/netns") == [] and len(os.listdir(f"/proc/{keeper_pid}/fd")) <= 10, "nothing is left in the keeper",
   [os.readlink(f"/proc/{keeper_pid}/fd/{f}") for f in os.listdir(f"/proc/{keeper_pid}/fd")])
ok(stop(keeper_pid) and keepers() == [], "the end")
done()

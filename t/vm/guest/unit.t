#!/usr/bin/env python3
# tools/crisp.service under systemd, with pods running: start, reload, restart, stop, start again, and
# what happens when the core or the main process is killed.
import os, sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)) + "/../../cri")
from node import *

UNIT = "crisp.service"
COUNT = "trap 'exit 42' TERM; i=0; while :; do i=$((i + 1)); echo line $i; sleep 1; done"


def systemctl(*words):
    r = subprocess.run(["systemctl", *words], capture_output=True, text=True)
    return ok(r.returncode == 0, f"systemctl {' '.join(words)}", r.stderr)


def show(what):
    return subprocess.run(["systemctl", "show", "-P", what, UNIT], capture_output=True, text=True).stdout.strip()


def main_pid():
    return int(show("MainPID"))


def cgroup(pid):
    try:
        with open(f"/proc/{pid}/cgroup") as f:
            return f.read().strip()
    except OSError:
        return ""


class Unit(Node):
    """The installed one: no configuration but the log level."""
    def install(self):
        self.state, self.root, self.socket = "/run/crisp", "/var/lib/crisp", "/run/crisp/crisp.sock"
        self.cgroup, self.driver = "/crisp.slice", "systemd"
        os.makedirs("/etc/crisp", exist_ok=True)
        with open(f"{TOP}/tools/crisp.service") as f, open(f"/etc/systemd/system/{UNIT}", "w") as g:
            g.write(f.read().replace("/usr/local/bin/crispd", f"{BUILD}/crispd"))
        subprocess.run(["systemctl", "daemon-reload"], check=True)

    def pod(self, name):
        config = node.pod_config(name)
        del config["linux"]["cgroup_parent"]
        return self.call("RunPodSandbox", config=config).pod_sandbox_id

    def core(self, other_than=0):
        return until(lambda: next((int(p) for p in os.listdir("/proc") if p.isdigit() and int(p) != other_than and
                                   alive(int(p)) and "--core" in cmdline(int(p)) and UNIT in cgroup(p)), None), "a core")


def lines(pod_name):
    with open(f"{node.logs}/{pod_name}/count.log") as f:
        return [int(line.split()[-1]) for line in f if " line " in line]


def gapless(pod_name):
    got = lines(pod_name)
    return set(got) == set(range(1, max(got) + 1))


def grows(pod_name):
    seen = len(lines(pod_name))
    return until(lambda: len(lines(pod_name)) > seen, "more lines")


def check(what):
    """The containers are the same and are served."""
    ok(show("ActiveState") == "active", f"{what}: the unit is active", show("ActiveState"))
    same = all(node.pid(c) == pid and alive(pid) for c, pid in pids.items())
    ok(same, f"{what}: the containers run on")
    ok(grows("first") and gapless("first"), f"{what}: their output is read, no line is lost")
    s = node.exec(next(iter(pids)), "echo", "hello")
    ok(s.stdout == b"hello\n", f"{what}: exec works", s)


node = Unit()
node.install()
systemctl("start", UNIT)
node.load()
ok(show("StatusText") is not None and main_pid() > 0, "it is ready")
ok(cri.CgroupDriver.Name(node.call("RuntimeConfig").linux.cgroup_driver) == "SYSTEMD", "auto is systemd here")
at = cgroup(node.core())
ok(at == f"0::/system.slice/{UNIT}/helpers", "the core is below its unit's cgroup", at)
pods = {"first": node.pod("first"), "second": node.pod("second")}
pids = {node.started(pods[p], "count", "sh", "-c", COUNT): None for p in pods}
for c in pids:
    pids[c] = node.pid(c)
check("start")
systemctl("reload", UNIT)
check("reload")
systemctl("restart", UNIT)
check("restart")
systemctl("stop", UNIT)
ok(show("ActiveState") == "inactive" and not os.path.exists(node.socket) and all(alive(p) for p in pids.values()),
   "stop: nobody serves, the containers run on", show("ActiveState"))
gap, pid = list(pids.items())[1]
os.kill(pid, signal.SIGTERM)
until(lambda: not alive(pid), "an end without crisp")
del pids[gap]
systemctl("start", UNIT)
s = node.status(gap)
ok((s.reason, s.exit_code) == ("Error", 42), "what ended in between has its exit code", s)
check("start again")
core = node.core()
os.kill(core, signal.SIGKILL)
node.core(core)
check("the core is killed")
main = main_pid()
os.kill(main, signal.SIGKILL)
until(lambda: main_pid() not in (0, main) and show("ActiveState") == "active", "systemd starts it again")
check("the main process is killed")
subprocess.run(["systemctl", "daemon-reload"], check=True)
check("daemon-reload")
ctr = next(iter(pids))
node.call("StopContainer", container_id=ctr, timeout=WAIT)
ok(node.status(ctr).exit_code == 42, "and ends with its exit code", node.status(ctr))
for p in pods.values():
    node.down(p)
systemctl("stop", UNIT)
left = [p for p in os.listdir("/proc") if p.isdigit() and any("crisp" in w for w in cmdline(int(p))[:1])]
ok(not left, "stopped without pods, no process is left", [cmdline(int(p)) for p in left])
units = subprocess.run(["systemctl", "list-units", "--all", "--no-legend", "--plain", "crisp*.slice", "crisp-*.scope"],
                       capture_output=True, text=True).stdout
ok(not units, "and no unit", units)
r = subprocess.run(["journalctl", "-u", UNIT, "--no-pager", "-o", "cat"], capture_output=True, text=True).stdout
bad = [line for line in r.splitlines() if "level=error" in line]
ok(not bad, "no error in the journal", "\n".join(bad))
done()

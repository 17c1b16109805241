#!/usr/bin/env python3
# crispd leaves and comes back under running containers: they don't notice.
import sys
sys.dont_write_bytecode = True
from daemon import *

SECOND = "another crisp, with pid %d, is using"
begin()
subprocess.run(["t/leak/leakcheck", "snapshot", f"{T}/before", "--mark", f"{T}/config.yaml", "--dir", T,
                "--cgroup", f"/crisp-{TAG}"], check=True)


def leave():
    """SIGTERM to what the operator has started; its exit code."""
    os.kill(process().pid, signal.SIGTERM)
    return process().wait(20)


def exe(pid):
    return os.path.basename(os.readlink(f"/proc/{pid}/exe"))


def refused():
    r = subprocess.run([f"{BUILD}/crispd", "--config", f"{T}/config.yaml"], capture_output=True, text=True, timeout=60)
    return ok(r.returncode == 1 and SECOND % process().pid in r.stderr, "a second crispd is refused",
              (r.returncode, r.stderr)) and bool(ctl("ps"))


def count_ends(name):
    end_count(name)
    got = exited(name)
    numbers = lines(name)
    ok(got == (42, "Error"), f"{name}: its exit code is right", (got, status(name)))
    ok(whole(numbers), f"{name}: no line of {len(set(numbers))} is lost, {len(numbers) - len(set(numbers))} are repeated")


def grows(name):
    seen = len(lines(name))
    return until(lambda: len(lines(name)) > seen)


# -- it leaves, and comes back --
for engine in "crun", "runc":
    name = f"count-{engine}"
    ctl("run", "-r", engine, "-n", name, "-i", IMAGE, "--", "sh", "-c", COUNT)
    ctl("run", "-r", engine, "-n", f"gap-{engine}", "-i", IMAGE, "--", "sh", "-c", "sleep 1000; echo line 1; exit 7")
    pid, gap = pid_of(name), pid_of(f"gap-{engine}")
    sleeper = until(lambda: children(gap))
    ok(leave() == 0, f"{engine}: crispd leaves at once")
    ok(len(keepers()) == 1 and not core_of(keeper()), "a keeper stays, without a core", keepers())
    ok(not os.path.exists(SOCK) and os.path.exists(f"/proc/{pid}"), "nobody serves, the container runs")
    os.kill(sleeper[0], signal.SIGTERM)     # one ends now: the shell goes on to its exit
    until(lambda: is_gone(gap))
    time.sleep(1)                           # for some hundred lines, more than a pipe is read ahead
    ok(start(), "another crispd is ready")
    ok(exe(process().pid) == "crisp-front" and len(keepers()) == 1, "as the front of that keeper", exe(process().pid))
    ok(pid_of(name) == pid and grows(name), "the process is the same, and its output is read")
    ok(exited(f"gap-{engine}") == (7, "Error") and lines(f"gap-{engine}") == [1],
       "what ended in between has its exit code and its last line", status(f"gap-{engine}"))
    refused()
    count_ends(name)

# -- by and by --
ctl("run", "-n", "many", "-i", IMAGE, "--", "sh", "-c", COUNT)
pid, kept = pid_of("many"), keeper()
for _ in range(3):
    leave()
    start()
ok(pid_of("many") == pid and keepers() == [kept], "three more restarts: the same keeper, in the same pid", (kept, keepers()))
kill_core(kept)
ok(grows("many") and pid_of("many") == pid, "it keeps as ever when the core dies")
core = core_of(kept)
os.kill(process().pid, signal.SIGUSR2)
ok(until(lambda: core_of(kept) not in (0, core)) and grows("many"), "SIGUSR2: another core")
ok(process().poll() is None and keepers() == [kept] and pid_of("many") == pid, "and nothing else", process().poll())
count_ends("many")

# -- stdin --
POD = f'metadata {{ name: "in" uid: "u" namespace: "n" }} log_directory: "{T}/logs" linux {{ }}'
pod = re.search('"(.*)"', rpc("RunPodSandbox", f"config {{ {POD} }}"))[1]
ctr = re.search('"(.*)"', rpc("CreateContainer", f'''pod_sandbox_id: "{pod}" sandbox_config {{ {POD} }}
    config {{ metadata {{ name: "in" }} image {{ image: "{IMAGE}" }} stdin: true log_path: "in.log" linux {{ }}
              command: "sh" args: "-c" args: "while read x; do echo got $x; done; echo end of file" }}'''))[1]
rpc("StartContainer", f'container_id: "{ctr}"')
pid = pid_of("in")
leave()
time.sleep(0.1)
open(f"/proc/{pid}/fd/0", "w").write("a line\n")
start()
got = until(lambda: open(f"{T}/logs/in.log").read())
ok(pid_of("in") == pid and got.endswith(" got a line\n") and "end of file" not in got, "an open stdin stays so", got)

# -- other arguments, another place --
ctl("run", "-n", "args", "-i", IMAGE, "--", "sh", "-c", COUNT)
leave()
good = start("--set", "log.level=debug", CRISP_TEST_MARK="yes")
core = core_of(keeper())
ok(good and b"log.level=debug" in open(f"/proc/{core}/cmdline", "rb").read() and
   b"CRISP_TEST_MARK=yes" in open(f"/proc/{core}/environ", "rb").read(), "the new arguments and environment hold")
count_ends("args")

# -- the front is killed --
ctl("run", "-n", "front", "-i", IMAGE, "--", "sh", "-c", COUNT)
process().kill()
process().wait()
core = core_of(keeper())
ok(grows("front"), "without its front the keeper serves on")
ok(start() and core_of(keeper()) != core, "and another crispd is its front, with a core of its own")
count_ends("front")

# -- namespaces --
NAMESPACES = "for n in net ipc uts; do readlink /proc/self/ns/$n; done; hostname"
LINUX = "linux { security_context { namespace_options { pid: %s } } }"
CTR = 'metadata { name: "%s" } image { image: "%s" } command: "sleep" args: "1000" '


class Pod:
    """pid: POD has a pause process, which lives in the namespaces; CONTAINER has none."""
    def __init__(self, name, pid):
        self.linux = LINUX % pid
        self.config = f'metadata {{ name: "{name}" uid: "u" namespace: "n" }} hostname: "host-{name}" {self.linux}'
        self.id = re.search('"(.*)"', rpc("RunPodSandbox", f"config {{ {self.config} }}"))[1]

    def add(self, name):
        """A container; what namespaces it is in."""
        made = rpc("CreateContainer", f'pod_sandbox_id: "{self.id}" sandbox_config {{ {self.config} }} '
                   f"config {{ {CTR % (name, IMAGE)} {self.linux} }}")
        ctr = re.search('"(.*)"', made)[1]
        rpc("StartContainer", f'container_id: "{ctr}"')
        return ctl("exec", ctr, "--", "sh", "-c", NAMESPACES).split()


def restart(kill):
    """kill: the keeper dies at rest, and all that it holds is closed."""
    leave()
    if kill:
        os.kill(keeper(), signal.SIGKILL)
        until(lambda: not keepers())
    return start()


shared, lonely = Pod("shared", "POD"), Pod("lonely", "CONTAINER")
first, alone = shared.add("first"), lonely.add("alone")
ok(first[3] == "host-shared" and alone[3] == "host-lonely", "a container has the pod's hostname", (first, alone))
ctl("exec", "lonely/alone", "--", "sh", "-c", "echo mine >/dev/shm/file")
ok(restart(False), "a stop and a start")
ok("first" in ctl("ps") and "alone" in ctl("ps"), "leave the containers running", ctl("ps", "-a"))
ok(shared.add("second") == first and lonely.add("second") == alone, "another container joins its pod's namespaces")
ctl("stop", "-t", "0", "lonely/alone", "lonely/second")
restart(False)
ok(lonely.add("third") == alone, "also when nobody was in them")
ok(ctl("exec", "lonely/third", "--", "cat", "/dev/shm/file") == "mine\n", "and its /dev/shm is as it was")
ok(restart(True), "a stop, the keeper is killed, a start")
ok("first" in ctl("ps") and "third" in ctl("ps"), "silent containers run on", ctl("ps", "-a"))
ok(shared.add("fourth") == first and lonely.add("fourth") == alone, "another one joins the namespaces of those that live")
ctl("stop", "-t", "0", *(f"shared/{c}" for c in ("first", "second", "fourth")), "lonely/third", "lonely/fourth")
restart(True)
ok(shared.add("fifth") == first, "the pause process holds them, too")
fifth = lonely.add("fifth")
ok(fifth[0] == alone[0] and fifth[3] == alone[3], "with nobody in them the network's is the same", fifth)
host = [os.readlink(f"/proc/self/ns/{n}") for n in ("net", "ipc", "uts")]
ok(not set(fifth) & set(host), "and none is the host's", fifth)

# -- the end --
ctl("rm", "-fa")
ok("is lost" not in open(f"{T}/log").read(), "no fd is lost on the way")
ok(leave() == 0 and until(lambda: not keepers()), "with nothing to hold the keeper leaves as well", keepers())
left = subprocess.run(["t/leak/leakcheck", "compare", f"{T}/before", "--wait", "5"], capture_output=True, text=True).stdout
left = [l for l in left.splitlines() if "/log" not in l]
ok(not [l for l in left if "process" in l or "mount" in l or "holder" in l or "cgroup" in l], "and nothing is left", left)
ok(start() and exe(process().pid) == "crisp-keeper", "the next one begins anew")
ctl("run", "-n", "last", "-i", IMAGE, "--", "sleep", "1000")
leave()
pid = keeper()
ok(pid and not is_gone(pid), "a keeper rests")
os.rename(f"{T}/state", f"{T}/old")
os.unlink(f"{T}/old/lock")
ok(until(lambda: is_gone(pid)), "and leaves when its state's lock file is removed")
os.rename(f"{T}/old", f"{T}/state")
ok(start() and "last" in ctl("ps"), "a silent container is found again nevertheless")
done()

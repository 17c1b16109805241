#!/usr/bin/env python3
# The keeper under a small core (t/int/keeper_core.c) that is killed at will: fds and exits
# come back, a crash loop is slowed down, a dead keeper is replaced.
import os, re, signal, subprocess, sys, tempfile, time, atexit

BUILD = os.environ.get("BUILD", "build")
os.chdir(os.path.dirname(os.path.abspath(__file__)) + "/../..")
sys.path.insert(0, "t")
from tap import done, ok
KEEPER = os.path.abspath(f"{BUILD}/libexec/crisp-keeper")
CORE = os.path.abspath(f"{BUILD}/t/int/keeper_core")
tmp = tempfile.TemporaryDirectory(prefix="crisp-keeper-t.")
running = []


class Keeper:
    def __init__(self, *args):
        self.p = subprocess.Popen([KEEPER, CORE, KEEPER, *args], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=open(f"{tmp.name}/log", "ab"), text=True, bufsize=1)
        self.core = None
        running.append(self)

    def tell(self, *lines):
        for line in lines:
            self.p.stdin.write(line + "\n")
        self.p.stdin.flush()

    def line(self):
        signal.alarm(120)
        text = self.p.stdout.readline().rstrip("\n")
        signal.alarm(0)
        m = re.match(r"core \d+ pid (\d+)", text)
        if m:
            self.core = int(m[1])
        return text

    def until(self, pattern):
        """The first line that matches; the ones before it are dropped."""
        while True:
            text = self.line()
            m = re.match(pattern, text)
            if m or text == "":
                return m

    def end(self):
        if self.p.poll() is None:
            self.p.kill()
        if self.core and os.path.exists(f"/proc/{self.core}") and CORE in open(f"/proc/{self.core}/cmdline").read():
            os.kill(self.core, signal.SIGKILL)
        self.p.wait()


@atexit.register
def end_all():
    for k in running:
        k.end()


def hung(*_):
    print("not ok - no answer in 120 s", flush=True)
    os._exit(1)


signal.signal(signal.SIGALRM, hung)
for name in "a", "b", "c":
    open(f"{tmp.name}/{name}", "w").write(f"file-{name}")
F = tmp.name

# -- fds come back --
k = Keeper()
m = k.until(r"core 0 pid \d+ keeper (\d+)")
ok(m and int(m[1]) == k.p.pid, "the first core learns of its keeper")
k.tell("unclaimed")
ok(k.line() == "unclaimed 0", "the first hand-over is empty")
k.tell(f"put a {F}/a", f"put b {F}/b", f"putdie c {F}/c")
ok(k.until(r"core 1 ") is not None, "killed: there is a new core")
k.tell("unclaimed", "take a", "take c", "take a", "take zz", "unclaimed")
got = [k.line() for _ in range(6)]
ok(got[0] == "unclaimed 3", "all fds come back", got)
ok(got[1:3] == ["take a: file-a", "take c: file-c"], "also the one put right before death", got)
ok(got[3:5] == ["take a: none", "take zz: none"], "an fd is given once, an unknown one never", got)
ok(got[5] == "unclaimed 1", "what was taken is claimed", got)
k.tell(f"put a {F}/b", "drop c", "die")
ok(k.until(r"core 2 ") is not None, "killed again: another core")
k.tell("unclaimed", "take a", "take b", "take c")
got = [k.line() for _ in range(4)]
ok(got == ["unclaimed 2", "take a: file-b", "take b: file-b", "take c: none"], "replaced and dropped keys are so", got)
k.tell(f"put x {F}/a", "die")
k.until(r"core 3 ")
k.tell("take x", "forget", "die")
k.until(r"core 4 ")
k.tell("unclaimed", "take x")
got = [k.line(), k.line()]
ok("unclaimed 1" in got and "take x: file-a" in got, "what nobody took is dropped, what was taken stays", got)

# -- more than a socket holds --
n = 3000
k.tell(f"many {n} {F}/a")
k.until(f"put {n}")
k.tell("die")
k.until(r"core 5 ")
k.tell("unclaimed", f"take many/{n - 1}")
got = [k.line(), k.line()]
ok(got == [f"unclaimed {n + 1}", f"take many/{n - 1}: file-a"], f"{n} fds come back", got)
fds = len(os.listdir(f"/proc/{k.p.pid}/fd"))
k.tell("forget", "echo done")
k.until("echo done")
deadline = time.monotonic() + 10
while time.monotonic() < deadline and len(os.listdir(f"/proc/{k.p.pid}/fd")) > 10:
    time.sleep(0.01)
left = os.listdir(f"/proc/{k.p.pid}/fd")
ok(fds >= n and len(left) <= 7, "the keeper closes what is dropped", (fds, left))

# -- exits --
os.mkfifo(f"{F}/fifo")
os.mkfifo(f"{F}/fifo2")
k.tell(f"child {F}/fifo", f"child {F}/fifo2")
child = int(k.until(r"child (\d+)")[1])
child2 = int(k.until(r"child (\d+)")[1])
k.tell("die")
k.until(r"core 6 ")
ppid = int(open(f"/proc/{child}/stat").read().rsplit(")", 1)[1].split()[1])
ok(ppid == k.p.pid, "an orphan is the keeper's", (ppid, k.p.pid))
open(f"{F}/fifo", "w").write("42")
m = k.until(r"exit (\d+) (\d+)")
ok(m and (int(m[1]), int(m[2])) == (child, 42 << 8), "the exit of an orphan is told", m)
k.tell("die")
k.until(r"core 7 ")
m = k.until(r"exit (\d+) (\d+)")
ok(m and (int(m[1]), int(m[2])) == (child, 42 << 8), "an exit that was not acked is told again", m)
os.kill(k.core, signal.SIGSTOP)  # no core listens while this one ends
open(f"{F}/fifo2", "w").write("5")
while os.path.exists(f"/proc/{child2}"):
    time.sleep(0.01)
os.kill(k.core, signal.SIGKILL)
k.until(r"core 8 ")
got = {k.line(), k.line()}
ok(got == {f"exit {child} {42 << 8}", f"exit {child2} {5 << 8}"}, "an exit while no core lives is told", got)
k.tell(f"ack {child}", f"ack {child2}", "die")
k.until(r"core 9 ")
k.tell("echo quiet")
ok(k.line() == "echo quiet", "an acked exit is told no more")

# -- the memory of exits is bounded --
k.tell("brood 5000", "echo born")
k.until("echo born")
k.tell("die")
k.until(r"core 10 ")
k.tell("echo all")
told = 0
while True:
    text = k.line()
    if text == "echo all":
        break
    told += text.startswith("exit ")
# Some of the 5000 may reach the keeper only now: count a settled hand-over.
k.tell("die")
k.until(r"core 11 ")
k.tell("echo all")
told = 0
while (text := k.line()) != "echo all":
    told += text.startswith("exit ")
ok(told == 4096, "at most 4096 exits are remembered, the oldest go first", told)

# -- signals, PSS, the end --
os.kill(k.p.pid, signal.SIGHUP)
ok(k.until(r"signal 1$") is not None, "SIGHUP goes to the core")
os.kill(k.p.pid, signal.SIGTERM)
ok(k.until(r"signal 15$") is not None, "SIGTERM goes to the core")
k.tell("quit 3")
ok(k.p.wait(10) == 3, "an orderly end: the keeper leaves with the code of quit", k.p.returncode)

k = Keeper()
k.until("core 0 ")
smaps = open(f"/proc/{k.p.pid}/smaps_rollup").read()
pss = int(re.search(r"^Pss:\s+(\d+)", smaps, re.M)[1])
print(f"# keeper PSS {pss} kB")
ok(pss <= 40, "an idle keeper costs at most 40 kB", pss)
os.kill(k.p.pid, signal.SIGTERM)
k.until(r"signal 15$")
k.tell("exit 0")
ok(k.p.wait(10) == 0, "a core that ends after SIGTERM is not started again")

# -- a core that can't start, one that keeps dying --
k = Keeper("fail")
ok(k.p.wait(10) == 7, "a core that fails before its first word ends the keeper, with its code")
pauses = "the core keeps dying, pausing"
before = open(f"{F}/log").read().count(pauses)
k = Keeper("crash")
at = []
for _ in range(5):
    if k.until("crash") is None:
        break
    at.append(time.monotonic())
deadline = time.monotonic() + 10
while time.monotonic() < deadline and open(f"{F}/log").read().count(pauses) < before + 3:
    time.sleep(0.01)
ok(len(at) == 5 and at[3] - at[2] > 0.9 and at[4] - at[3] > 0.9 and open(f"{F}/log").read().count(pauses) == before + 3,
   "from the third death in 10 s on there is a pause", at)
os.kill(k.p.pid, signal.SIGTERM)
ok(k.p.wait(10) == 0, "SIGTERM in the pause ends the keeper")
k = Keeper()
for i in range(4):	# the first two at once
    k.until(f"core {i} ")
    k.tell(f"put sock {F}/a", "die")
began = time.monotonic()
k.until("core 4 ")
ok(0.05 < time.monotonic() - began < 0.9, "a core that was up is followed sooner", time.monotonic() - began)
k.tell("quit 0")
ok(k.p.wait(10) == 0, "and by none once it has quit")

# -- the keeper dies --
k = Keeper()
k.until("core 0 ")
old = k.core
k.tell(f"put a {F}/a", f"child {F}/fifo")
child = int(k.until(r"child (\d+)")[1])
k.tell("take a")
k.until("take a")
os.kill(k.p.pid, signal.SIGKILL)
ok(k.until("lost") is not None, "the core notices that the keeper has died")
m = k.until(r"core (\d+) pid \d+ keeper (\d+)")
ok(m and int(m[2]) == old and k.core != old, "it becomes the keeper, in its own pid, of a new core", m and m[0])
k.tell("take a")
ok(k.line() == "take a: file-a", "its fds are handed over")
open(f"{F}/fifo", "w").write("9")
m = k.until(r"exit (\d+) (\d+)")
ok(m and (int(m[1]), int(m[2])) == (child, 9 << 8), "its children stay its own and their exits are told")
k.tell("die")
ok(k.until(r"core 2 ") is not None, "and it keeps as any keeper does")
k.tell("take a", "quit 0")
ok(k.until("take a: file-a") is not None, "with the same fds")
deadline = time.monotonic() + 10
while time.monotonic() < deadline and os.path.exists(f"/proc/{old}") and \
        open(f"/proc/{old}/stat").read().rsplit(")", 1)[1].split()[0] != "Z":
    time.sleep(0.01)
ok(not os.path.exists(f"/proc/{old}") or open(f"/proc/{old}/stat").read().rsplit(")", 1)[1].split()[0] == "Z",
   "and leaves when told")

# -- the keeper rests --
def stat(pid):
    return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()


def gone(pid):
    return not os.path.exists(f"/proc/{pid}") or stat(pid)[0] == "Z"


def wait_gone(pid):
    end = time.monotonic() + 10
    while time.monotonic() < end and not gone(pid):
        time.sleep(0.01)
    return gone(pid)


def is_keeper(pid):
    try:
        return not gone(pid) and os.readlink(f"/proc/{pid}/exe") == KEEPER
    except OSError:
        return False


def held_by(pid):
    return {os.readlink(f"/proc/{pid}/fd/{f}") for f in os.listdir(f"/proc/{pid}/fd")}


k = Keeper()
k.until("core 0 ")
k.tell(f"put lock {F}/b", f"put c/a {F}/a", "again")
ok(k.until("core 1 ") is not None, "again: another core")
core = k.core
k.tell("take c/a", "take lock", f"child {F}/fifo")
child = int(k.until(r"child (\d+)")[1])
k.tell("rest 5")
ok(k.p.wait(10) == 5 and is_keeper(core), "rest: the keeper leaves with that code, the core is one in its pid")
ok({f"{F}/a", f"{F}/b"} <= held_by(core), "which holds the fds", held_by(core))
ok(stat(child)[1] == str(core), "and whose children stay its own", stat(child)[1])
ok(not {os.readlink(f"/proc/{core}/fd/{n}") for n in range(3)} - {"/dev/null"} and os.readlink(f"/proc/{core}/cwd") == "/",
   "but nothing of the operator's", held_by(core))
os.unlink(f"{F}/b")
ok(wait_gone(core), "it leaves when the lock's file is removed")
open(f"{F}/fifo", "w").write("0")

# Resting is left to a child of the operator's process, where the core can't become a keeper.
for how, words, code in (("the core can't be one", ["rest 6 /none/crisp-keeper"], 6), ("the core just dies", ["exit 7"], 7)):
    k = Keeper()
    k.until("core 0 ")
    k.tell(f"put c/a {F}/a", "echo put")
    k.until("echo put")
    os.kill(k.p.pid, signal.SIGTERM)
    k.until("signal 15$")
    k.tell(*words)
    got = k.p.wait(10)
    rest = [int(p) for p in os.listdir("/proc") if p.isdigit() and int(p) != k.p.pid and is_keeper(int(p))
            and f"{F}/a" in held_by(int(p))]
    ok(got == code and len(rest) == 1, f"{how}: a child of the keeper holds the fds", (got, rest))
    for pid in rest:
        os.kill(pid, signal.SIGTERM)
    ok(all(wait_gone(pid) for pid in rest), "and leaves on SIGTERM")

done()

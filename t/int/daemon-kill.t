#!/usr/bin/env python3
# The core is killed at every step of every operation, on engines of both kinds: the next one has
# the same ids and pids, takes back what was half made, goes on with what was being taken down,
# and leaves nothing behind.
import os, sys, re
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import *


def steps_of(file, name):
    """The rows of a step table, from its source: a new row is tested without a word here."""
    text = open(f"{TOP}/core/model/{file}.c").read()
    body = re.search(r"op_step %s\[\] = \{(.*?)\n\t\{ 0 \}" % name, text, re.S)[1]
    if "STOP_ROWS" in body:
        body = re.search(r"#define STOP_ROWS(.*?)\n\n", text, re.S)[1] + body
    return re.findall(r'\{ "([^"]+)"', body)


TABLES = {
    "run pod": steps_of("run_pod", "run_pod_steps"),
    "create": steps_of("create", "create_steps"),
    "start": steps_of("start", "start_steps"),
    "stop": steps_of("stop", "stop_steps"),
    "remove": steps_of("stop", "remove_steps"),
    "stop pod": steps_of("stop_pod", "stop_pod_steps"),
    "remove pod": steps_of("stop_pod", "remove_pod_steps"),
}

begin()
d = Daemon(
    tardy={"archetype": "cli", "delay_ms": {op: 300 for op in ("create", "start", "delete", "kill")}},
    tardybox={"archetype": "sandbox", "delay_ms": {op: 300 for op in (
        "sandbox_create", "sandbox_delete", "create", "start", "delete", "kill")}},
).start().load()
number = 0


def arm(what):
    with open(d.fault + ".new", "w") as f:
        f.write(what + "\n")
    os.rename(d.fault + ".new", d.fault)


def armed():
    return os.path.exists(d.fault)


def numbers(ctr):
    return [int(n) for n in d.output(ctr).split()]


def lost(got):
    """Numbered lines that are missing, or come again after more than one batch."""
    last = 0
    for n in got:
        if n > last + 1:
            return f"{last} is followed by {n}"
        last = max(last, n)
    return ""


class Case:
    """A pod of its own, prepared for one operation."""

    def __init__(self, handler):
        global number
        number += 1
        self.handler, self.name = handler, f"k{number}"

    def prepare(self, table):
        more = {} if table == "run pod" else None
        self.rq_pod = {"config": d.pod_config(self.name), "runtime_handler": self.handler}
        if self.handler == "cli":	# with a pause process, so that its steps do something
            ns = self.rq_pod["config"]["linux"]["security_context"]["namespace_options"]
            ns["pid"] = "POD"
        if table != "run pod":
            self.pod = d.call("RunPodSandbox", self.rq_pod)["pod_sandbox_id"]
            self.rq_ctr = d.create_request(self.pod, "c", "deaf")
        if table in ("start", "stop", "remove", "stop pod", "remove pod"):
            self.ctr = d.call("CreateContainer", self.rq_ctr)["container_id"]
        if table in ("stop", "remove", "stop pod", "remove pod"):
            d.call("StartContainer", {"container_id": self.ctr})
            until(lambda: "deaf" in d.output(self.ctr), "a deaf container")

    def begin(self, table):
        method, request = {
            "run pod": lambda: ("RunPodSandbox", self.rq_pod),
            "create": lambda: ("CreateContainer", self.rq_ctr),
            "start": lambda: ("StartContainer", {"container_id": self.ctr}),
            "stop": lambda: ("StopContainer", {"container_id": self.ctr, "timeout": 1}),
            "remove": lambda: ("RemoveContainer", {"container_id": self.ctr}),
            "stop pod": lambda: ("StopPodSandbox", {"pod_sandbox_id": self.pod}),
            "remove pod": lambda: ("RemovePodSandbox", {"pod_sandbox_id": self.pod}),
        }[table]()
        return d.begin(method, request)

    def check(self, table, done):
        """After the kill: what must be so already, and that the same call succeeds now."""
        pods, ctrs = d.pods(), d.ctrs()
        mine = [p for p in pods.values() if p["metadata"]["name"] == self.name]
        if table == "run pod":
            if not done and mine:
                return f"a half-made pod is there: {mine}"
            try:
                self.pod = d.call("RunPodSandbox", self.rq_pod)["pod_sandbox_id"]
            except Failure as f:
                if not done or f.code != "EEXIST":
                    return f
                self.pod = mine[0]["id"]
            self.rq_ctr = d.create_request(self.pod, "c")
        elif table == "create":
            if not done and self.ctrs_of(ctrs):
                return f"a half-made container is there: {self.ctrs_of(ctrs)}"
        elif table == "start":
            state = d.ctr(self.ctr)["state"]
            if state not in ("CONTAINER_CREATED", "CONTAINER_RUNNING"):
                return state
            if state == "CONTAINER_CREATED":
                d.call("StartContainer", {"container_id": self.ctr})
        elif table == "stop":
            d.call("StopContainer", {"container_id": self.ctr, "timeout": 1})
            c = d.ctr(self.ctr)
            if c["state"] != "CONTAINER_EXITED" or c["exit_code"] != 137:
                return c
        elif table == "remove":
            d.call("RemoveContainer", {"container_id": self.ctr})
            if self.ctrs_of(d.ctrs()):
                return "it is still there"
        elif table == "stop pod":
            d.call("StopPodSandbox", {"pod_sandbox_id": self.pod})
            if d.pod(self.pod)["state"] != "SANDBOX_NOTREADY" or d.ctr(self.ctr)["state"] != "CONTAINER_EXITED":
                return d.pod(self.pod), d.ctr(self.ctr)
        elif table == "remove pod":
            d.call("RemovePodSandbox", {"pod_sandbox_id": self.pod})
            if self.pod in d.pods():
                return "it is still there"
        if table in ("run pod", "create"):	# a life after it
            try:
                ctr = d.call("CreateContainer", self.rq_ctr)["container_id"]
            except Failure as f:
                if not done or f.code != "EEXIST":
                    return f
                ctr = self.ctrs_of(d.ctrs())[0]["id"]
            d.call("StartContainer", {"container_id": ctr})
            if d.ctr(ctr)["state"] != "CONTAINER_RUNNING":
                return d.ctr(ctr)
        if self.pod in d.pods():
            d.call("RemovePodSandbox", {"pod_sandbox_id": self.pod})
        return ""

    def ctrs_of(self, ctrs):
        return [c for c in ctrs.values() if c["pod_sandbox_id"] == self.pod]


def run_case(handler, table, fault):
    case = Case(handler)
    case.prepare(table)
    old = d.core()
    arm(fault)
    call = case.begin(table)
    until(lambda: not alive(old) or call.over(), "the core to die")
    try:
        answer = call.answer()
    except Failure as f:
        answer = f
    if armed():
        os.unlink(d.fault)
        return f"this step was not reached: {answer}", case
    d.next_core(old)
    return case.check(table, False), case


def newest_pod():
    """The id of the pod that is being run, which is listed nowhere but on disk."""
    return set(os.listdir(f"{d.state}/pods")).difference(d.pods()).pop()


# -- those that live through all of it --

d.snapshot()
stay = {}
for a in ARCHETYPES:
    pod = d.run(f"stay-{a}", a)
    stay[a] = pod, d.started(pod, "w", "lines", "100000000", "5"), d.create(pod, "idle")


def look():
    return {a: (d.pod(pod)["state"], d.ctr(w)["state"], d.ctr(w)["pid"], d.ctr(w)["started_at"], d.ctr(idle)["state"],
                d.ctr(idle)["pid"], d.pod(pod)["network"]["ip"]) for a, (pod, w, idle) in stay.items()}


was = look()

for handler in "cli", "sandbox":
    for table, steps in TABLES.items():
        for step in steps:
            problem, case = run_case(handler, table, f"kill {table}/{step}")
            ok(not problem, f"{handler}: killed at \"{table}\", \"{step}\"", problem)
    now = look()
    ok(now == was, f"{handler}: the others are as they were", (was, now))

# -- killed while it takes back: a row fails, and undoing is cut short at each row --

for table in "run pod", "create":
    steps = TABLES[table]
    for step in reversed(steps):
        case = Case("cli")
        case.prepare(table)
        old = d.core()
        # It waits in the last row, until a stop cancels it.
        arm(f"hang {table}/{steps[-1]}")
        call = case.begin(table)
        until(lambda: not armed(), "the last row")
        arm(f"kill undo {table}/{step}")
        pod = case.pod if table == "create" else newest_pod()
        remover = d.begin("StopPodSandbox", {"pod_sandbox_id": pod})
        until(lambda: not alive(old) or remover.over(), "the core to die while undoing")
        for c in call, remover:
            try:
                c.answer()
            except Failure:
                pass
        if armed():
            os.unlink(d.fault)
            ok(False, f"killed undoing \"{table}\", \"{step}\"", "not reached")
            continue
        d.next_core(old)
        problem = case.check(table, False) if table == "run pod" else ""
        if table == "create":
            d.call("RemovePodSandbox", {"pod_sandbox_id": case.pod})
        ok(not problem, f"killed undoing \"{table}\", \"{step}\"", problem)

# Again and again: no record is blamed for it.
case = Case("cli")
case.prepare("create")
arm("kill create/make created")
call = case.begin("create")
for i in range(4):
    end = time.monotonic() + WAIT
    while armed() and time.monotonic() < end:
        pass	# the next core is quick, and must find its own fault
    arm("kill undo create/hold image")
until(lambda: not armed(), "the fifth death")
try:
    call.answer()
except Failure:
    pass
until(d.answers, "the last core to answer")
ok(not os.listdir(f"{d.state}/aside"), "killed in undoing, again and again: no record is set aside")
problem = case.check("create", False)
ok(not problem, "and it is undone in the end", problem)

# But for one that no core survives: at last it is taken up alone, then set aside.
case = Case("cli")
case.prepare("create")
bystander = case.pod, d.started(case.pod, "bystander", "deaf")
arm("kill create/make created")
call = case.begin("create")
deaths = -1		# the one that begins it is no fault of the record
while deaths < 12:
    end = time.monotonic() + WAIT
    while armed() and not os.listdir(f"{d.state}/aside") and time.monotonic() < end:
        pass	# again: it must find its own fault
    if armed():
        os.unlink(d.fault)
        break
    deaths += 1
    arm("kill undo create/hold image")
try:
    call.answer()
except Failure:
    pass
until(d.answers, "a core that answers")
aside = os.listdir(f"{d.state}/aside")
ok(len(aside) == 1 and deaths == 5, "killed in undoing by each core: the record is set aside", (deaths, aside))
ok(d.ctr(bystander[1])["state"] == "CONTAINER_RUNNING", "what is beside it runs on")
ok(not os.path.exists(f"{d.state}/unwinding"), "and nobody is under suspicion any more")
for name in aside:
    shutil.rmtree(f"{d.state}/aside/{name}")
d.call("RemovePodSandbox", {"pod_sandbox_id": case.pod})

now = look()
ok(now == was, "the others are as they were", (was, now))

# -- killed while an engine is at work: the record says that it was asked, and no more --

for handler in "tardy", "tardybox":
    for table in TABLES:
        for ms in 100, 400:
            case = Case(handler)
            case.prepare(table)
            old = d.core()
            call = case.begin(table)
            time.sleep(ms / 1000)
            os.kill(old, signal.SIGKILL)
            try:
                call.answer()
                over = True
            except Failure:
                over = False
            d.next_core(old)
            problem = case.check(table, over or ms == 400)
            ok(not problem, f"{handler}: killed {ms} ms into \"{table}\"", problem)
now = look()
ok(now == was, "the others are as they were", (was, now))

# -- an exit while no core lives --

for handler in "cli", "serial", "sandbox", "tty":
    pod = d.run(f"exit-{handler}", handler)
    ctr = d.started(pod, "c", "after", "500", "42")
    old = d.core()
    os.kill(d.keeper_pid(), signal.SIGSTOP)
    os.kill(old, signal.SIGKILL)
    time.sleep(0.8)	# while nobody can look
    os.kill(d.keeper_pid(), signal.SIGCONT)
    d.next_core(old)
    c = d.wait_exit(ctr)
    ok((c["exit_code"], c["reason"]) == (42, "Error"), f"{handler}: an exit while no core lives is told with its code", c)
    d.call("RemovePodSandbox", {"pod_sandbox_id": pod})

# -- what was written all along --

for a, (pod, w, idle) in stay.items():
    d.call("StopContainer", {"container_id": w})
    got = numbers(w)
    ok(len(got) > 100 and not lost(got), f"{a}: no line of a writer is lost", (len(got), lost(got)))
    d.call("StartContainer", {"container_id": idle})
    ok(d.ctr(idle)["state"] == "CONTAINER_RUNNING", f"{a}: what was created before can be started after")
d.remove_all()
left = d.leaks()
ok(not left, "nothing is left", left)
ok(d.stop() == 0, "SIGTERM: exit code 0")
done()

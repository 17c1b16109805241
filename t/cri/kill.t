#!/usr/bin/python3
# The core is killed 20 times at seeded instants, while clients make, use and remove pods on crun.
import json, os, random, re, signal, sys, threading, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import grpc
from node import Node, alive, children, cri, done, ok, say, until

KILLS = int(os.environ.get("KILLS", 20))
SEED = int(os.environ.get("SEED", 7))
CLIENTS = 4
BATCH = 64 << 10	# of a log, which a death may repeat

rnd = random.Random(SEED)
over = threading.Event()
node = Node().start().load()
words = []		# of clients that met something else than a dead core


class Client(threading.Thread):
    """A kubelet of its own pods.  It asks again when a core dies, and takes a state as it finds it."""

    def __init__(self, number):
        super().__init__(daemon=True)
        self.number, self.rnd = number, random.Random(SEED * 100 + number)
        self.kept, self.made, self.retries, self.known = {}, 0, 0, 0

    def ask(self, method, settled=None, **request):
        """The answer, None when settled() says that it is as wanted although the answer was lost."""
        while True:
            try:
                return node.call(method, **request)
            except grpc.RpcError as e:
                if e.code() == grpc.StatusCode.UNAVAILABLE:
                    self.retries += 1
                elif settled and settled():
                    self.known += 1
                    return None
                else:
                    raise RuntimeError(f"{method}: {e.code().name}: {e.details()}") from None

    def run(self):
        try:
            while not over.is_set():
                self.one_pod()
        except Exception as e:
            words.append(f"client {self.number}, pod {self.made}: {e}")
        finally:
            node.channel().close()

    def one_pod(self):
        self.made += 1
        name = f"c{self.number}-{self.made}"
        pod = self.ask("RunPodSandbox", config=node.pod_config(name), runtime_handler="crun").pod_sandbox_id
        ctrs = {}
        for k in range(self.rnd.randint(1, 2)):
            ctr = self.ask("CreateContainer", **node.create_request(pod, f"k{k}", "sleep", "100000")).container_id
            self.ask("StartContainer", container_id=ctr, settled=lambda: self.runs(ctr))
            got = self.ask("ExecSync", container_id=ctr, cmd=["echo", name], timeout=30)
            if got.exit_code or got.stdout.decode() != name + "\n":
                raise RuntimeError(f"exec said {got}")
            ctrs[ctr] = self.pid(ctr)
        if self.made % 4 == 1 and len(self.kept) < 3:
            self.kept[pod] = ctrs
            return
        if self.rnd.random() < 0.5:
            first = next(iter(ctrs))
            self.ask("StopContainer", container_id=first, timeout=0)
            self.ask("RemoveContainer", container_id=first)
        self.ask("StopPodSandbox", pod_sandbox_id=pod)
        self.ask("RemovePodSandbox", pod_sandbox_id=pod)

    def pid(self, ctr):
        return json.loads(self.ask("ContainerStatus", container_id=ctr, verbose=True).info["info"])["pid"]

    def runs(self, ctr):
        return self.ask("ContainerStatus", container_id=ctr).status.state == cri.CONTAINER_RUNNING


def log_of(path):
    """Numbers in a log, and how many bytes each line takes in its file; P records are joined."""
    out, part, size = [], "", 0
    with open(path, errors="replace") as f:
        for line in f:
            m = re.match(r"\S+ stdout ([PF]) (.*)\n$", line)
            if not m:
                return None, f"no line of a log: {line!r}"
            part, size = part + m[2], size + len(m[2]) + 1
            if m[1] == "F":
                out.append((part, size))
                part, size = "", 0
    return out, ""


def judge_log(path):
    """'' if no line is missing; else what is wrong.  And how much came twice, how often."""
    lines, wrong = log_of(path)
    if wrong:
        return wrong, 0, 0
    last = repeated = jumps = 0
    for text, size in lines:
        m = re.fullmatch(r"line (\d+) x{40}", text)
        if not m:
            return f"a broken line after {last}: {text!r}", repeated, jumps
        n = int(m[1])
        if n > last + 1:
            return f"after line {last} comes {n}", repeated, jumps
        if n <= last:
            repeated += size
        if n < last and n != previous + 1:
            jumps += 1
        previous = n
        last = max(last, n)
    return "" if last else "it is empty", repeated, jumps


ok(node.snapshot() == "", "crispd runs")
pod = node.run("steady")
X40 = "x" * 40
writer = node.started(pod, "writer", "sh", "-c", "i=0; while [ ! -e /tmp/end ]; do i=$((i+1)); "
                      f"echo line $i {X40}; [ $((i % 100)) != 0 ] || usleep 2000; done; exit 42")
mortal = node.started(pod, "mortal", "sh", "-c", "sleep 100000; exit 7")
first = {c: node.pid(c) for c in (writer, mortal)}
watcher, *clients = [Client(n) for n in range(CLIENTS + 1)]
for c in clients:
    c.start()

gaps = []
for k in range(KILLS):
    time.sleep(rnd.uniform(0.05, 1.5))
    core = node.core()
    if k == KILLS // 2:	# it ends while no core looks
        sleeper = until(lambda: children(first[mortal]), "the sleeper")
        os.kill(core, signal.SIGSTOP)
        os.kill(sleeper[0], signal.SIGTERM)	# its shell goes on to the exit
        until(lambda: not alive(first[mortal]), "its exit")
    began = time.monotonic()
    os.kill(core, signal.SIGKILL)
    node.core(core)
    watcher.ask("Version")
    gaps.append(time.monotonic() - began)
over.set()
for c in clients:
    c.join()
ok(not words, f"{KILLS} times the core was killed; clients met nothing worse than a call to repeat", "\n".join(words))
say(f"{sum(c.made for c in clients)} pods, {sum(c.retries for c in clients)} calls repeated, "
    f"{sum(c.known for c in clients)} found done; "
    f"a new core answers after {sorted(gaps)[len(gaps) // 2] * 1000:.0f} ms (p50), {max(gaps) * 1000:.0f} ms (max)")

kept = {pod: {writer: first[writer]}}
for c in clients:
    kept.update(c.kept)
now = node.ctrs()
wrong = [f"{ctr}: pid {node.pid(ctr) if ctr in now else 'none'}, was {pid}" for ctrs in kept.values() for ctr, pid in ctrs.items()
         if ctr not in now or node.pid(ctr) != pid or now[ctr].state != cri.CONTAINER_RUNNING or not alive(pid)]
ok(not wrong, f"what was up is: {sum(map(len, kept.values()))} containers of the same ids and pids", "\n".join(wrong))
ok(node.pods() == set(kept) and set(now) == {c for ctrs in kept.values() for c in ctrs} | {mortal},
   "and nothing else is listed", f"{node.pods() ^ set(kept)} {set(now)}")
pins = {p[len(node.netns_prefix):] for p in os.listdir("/run/netns") if p.startswith(node.netns_prefix)}
ok(pins == set(kept), "network namespaces are those of the pods", pins ^ set(kept))
for kind, want in ("pods", set(kept)), ("containers", set(now)):
    there = set(os.listdir(f"{node.state}/{kind}"))
    ok(there == want, f"the records of {kind} are theirs", there ^ want)
ended = node.wait_exit(mortal)
ok((ended.exit_code, ended.reason) == (7, "Error"), "an exit while no core lived has its code", ended)
node.exec(writer, "touch", "/tmp/end")
ended = node.wait_exit(writer)
ok((ended.exit_code, ended.reason) == (42, "Error"), "the writer ends with its own", ended)
wrong, repeated, jumps = judge_log(ended.log_path)
ok(wrong == "", "and no line of it is lost", wrong)
ok(repeated <= KILLS * BATCH and jumps <= KILLS, f"{repeated} bytes came twice, at {jumps} deaths; 64 KiB each may")
for p in node.pods():
    node.down(p)
ok(node.pods() == set() and node.ctrs() == {}, "all of it can be removed")
left = node.leaks()
ok(left == "", "and leaves nothing", left)
if os.environ.get("KEEP_LOG"):
    os.system(f"cp {node.log} {os.environ['KEEP_LOG']}")
ok(node.stop() == 0, "the end")
done()

#!/usr/bin/env python3
# The daemon on each shape of engine that the fake one can take: life, exec, terminal, a core that
# dies, an engine that fails.
import json, os, re, signal, subprocess, sys, tempfile, time, shutil

if os.geteuid():
    print("1..0 # SKIP needs root")
    sys.exit(0)
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)) + "/..")
import tap
from tap import done, ok

BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
T = tempfile.mkdtemp(prefix="cs.")	# short: a socket lies deep below it
TAG = f"sh{os.getpid()}"
SOCK, IMAGE = f"{T}/run/crisp.sock", "localhost/shapes:1"
SHAPES = ("cli", "serial", "sandbox", "tty")
OPS = ("create", "start", "exec")
daemon = None


def until(cond, seconds=20):
    end = time.monotonic() + seconds
    while not (got := cond()) and time.monotonic() < end:
        time.sleep(0.02)
    return got


def crispctl(*args):
    return subprocess.run([f"{BUILD}/crispctl", "-s", SOCK, "--timeout", "30s", *args],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)


def run(shape, name, *command, tty=False):
    return crispctl("run", "-r", shape, "-i", IMAGE, "-n", name, *(["--tty"] if tty else []), "--", *command)


def logs(name):
    return crispctl("logs", name).stdout


def status(name):
    r = crispctl("inspect", f"{name}/{name}")
    return json.loads(r.stdout)["status"] if r.returncode == 0 else {}


def ended(name):
    s = until(lambda: (s := status(name)).get("state") == "CONTAINER_EXITED" and s)
    return (s.get("exitCode", 0), s.get("reason")) if s else status(name)


def config():
    handlers = [f"{s}: {{engine: fake, options: {{archetype: {s}}}}}" for s in SHAPES]
    for shape in SHAPES:
        for op in OPS:
            handlers.append(f"bad-{shape}-{op}: {{engine: fake, options: {{archetype: {shape}, "
                            f"fail: {{{op}: not today}}}}}}")
    return f"""
state: {T}/run
root: {T}/lib
netns_dir: {T}/netns
netns_prefix: {TAG}-
cgroup: {{parent: /crisp-{TAG}}}
network: {{plugin: none}}
engines:
  default: cli
  handlers:
    """ + "\n    ".join(handlers) + "\n"


def start():
    global daemon
    open(f"{T}/config.yaml", "w").write(config())
    rd, wr = os.pipe()
    daemon = subprocess.Popen([f"{BUILD}/crispd", "--config", f"{T}/config.yaml", f"--ready-fd={wr}"],
                              pass_fds=[wr], stdin=subprocess.DEVNULL, stderr=open(f"{T}/log", "a"))
    os.close(wr)
    good = os.read(rd, 10) == b"ready\n"
    os.close(rd)
    return good


def core():
    try:
        for pid in map(int, open(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read().split()):
            if b"--core" in open(f"/proc/{pid}/cmdline", "rb").read():
                return pid
    except OSError:
        pass
    return 0


def make_image():
    os.makedirs(f"{T}/fs/etc")
    open(f"{T}/fs/etc/passwd", "w").write("root:x:0:0::/:/bin/sh\n")
    subprocess.run(["tar", "-C", f"{T}/fs", "-cf", f"{T}/layer.tar", "."], check=True)
    digest = subprocess.check_output(["sha256sum", f"{T}/layer.tar"], text=True).split()[0]
    arch = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
    os.makedirs(f"{T}/img")
    shutil.move(f"{T}/layer.tar", f"{T}/img/layer.tar")
    json.dump({"architecture": arch, "os": "linux", "config": {"Cmd": ["/bin/app"]},
               "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]}}, open(f"{T}/img/config.json", "w"))
    json.dump([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}],
              open(f"{T}/img/manifest.json", "w"))
    subprocess.run(["tar", "-C", f"{T}/img", "-cf", f"{T}/image.tar", "."], check=True)


def test_life(shape):
    r = run(shape, f"{shape}-say", "/bin/echo", "hello", "there")
    ok(r.returncode == 0, f"{shape}: a pod runs", r.stderr)
    ok(ended(f"{shape}-say") == (0, "Completed"), f"{shape}: it ends", ended(f"{shape}-say"))
    ok(logs(f"{shape}-say") == "hello there\n", f"{shape}: its output is whole", logs(f"{shape}-say"))
    run(shape, f"{shape}-code", "/bin/exit", "42")
    ok(ended(f"{shape}-code") == (42, "Error"), f"{shape}: exit 42", ended(f"{shape}-code"))
    run(shape, f"{shape}-err", "/bin/err", "complaint")
    ended(f"{shape}-err")
    r = crispctl("logs", f"{shape}-err")
    ok((r.stdout, r.stderr) == ("", "complaint\n"), f"{shape}: stderr is told apart", (r.stdout, r.stderr))
    run(shape, f"{shape}-term", "/bin/echo", "on", "a", "terminal", tty=True)
    ended(f"{shape}-term")
    ok(logs(f"{shape}-term").strip() == "on a terminal", f"{shape}: a terminal", repr(logs(f"{shape}-term")))


def test_exec(shape):
    name = f"{shape}-app"
    r = run(shape, name, "/bin/app")
    ok(r.returncode == 0, f"{shape}: a pod to work in", r.stderr)
    r = crispctl("exec", name, "/bin/echo", "from", "inside")
    ok((r.returncode, r.stdout) == (0, "from inside\n"), f"{shape}: exec", (r.returncode, r.stdout, r.stderr))
    ok(crispctl("exec", name, "/bin/exit", "9").returncode == 9, f"{shape}: its exit code")
    r = crispctl("exec", name, "/no/such")
    ok(r.returncode == 1 and f"{shape}: exec:" in r.stderr, f"{shape}: exec of nothing is an error", r.stderr)
    r = crispctl("stop", "-t", "5", f"{name}/{name}")
    ok(r.returncode == 0 and ended(name)[0] == 143, f"{shape}: stopped by SIGTERM", (r.stderr, ended(name)))
    run(shape, f"{shape}-deaf", "/bin/deaf")
    until(lambda: status(f"{shape}-deaf").get("state") == "CONTAINER_RUNNING")
    r = crispctl("stop", "-t", "1", f"{shape}-deaf/{shape}-deaf")
    ok(r.returncode == 0 and ended(f"{shape}-deaf")[0] == 137, f"{shape}: or by SIGKILL",
       (r.stderr, ended(f"{shape}-deaf")))


def test_death():
    """The core dies twice while lines are written, and once while its containers end."""
    for shape in SHAPES:
        run(shape, f"{shape}-lines", "/bin/lines", "300", "5")
        run(shape, f"{shape}-live", "/bin/app")
    for _ in range(2):
        old = until(core)
        os.kill(old, signal.SIGKILL)
        until(lambda: core() not in (0, old))
        until(lambda: crispctl("status").returncode == 0)
    for shape in SHAPES:
        end = ended(f"{shape}-lines")
        got = [int(x) for x in logs(f"{shape}-lines").split()]
        ok(end == (0, "Completed"), f"{shape}: the core died twice, the exit code is right", end)
        ok(sorted(set(got)) == list(range(1, 301)), f"{shape}: and no line is lost", len(set(got)))
        r = crispctl("exec", f"{shape}-live", "/bin/echo", "alive")
        ok(r.stdout == "alive\n", f"{shape}: what lived lives", r.stderr)
    for shape in SHAPES:
        run(shape, f"{shape}-gap", "/bin/after", "700", "33")
    os.kill(daemon.pid, signal.SIGSTOP)	# no core is started
    os.kill(core(), signal.SIGKILL)
    time.sleep(1.5)
    os.kill(daemon.pid, signal.SIGCONT)
    until(lambda: crispctl("status").returncode == 0)
    for shape in SHAPES:
        end = ended(f"{shape}-gap")
        ok(end == (33, "Error"), f"{shape}: it ended while no core lived, the exit code is right", end)


def test_failures():
    for shape in SHAPES:
        for op in OPS:
            name, handler = f"{shape}-bad-{op}", f"bad-{shape}-{op}"
            r = run(handler, name, "/bin/app")
            if op == "exec" and ok(r.returncode == 0, f"{handler}: runs", r.stderr):
                r = crispctl("exec", name, "/bin/true")
                crispctl("rm", "-f", name)
            ok(r.returncode == 1 and f"{handler}: {op}: not today" in r.stderr, f"{handler}: says so", r.stderr)
    ok(crispctl("pods").stdout.count("bad-") == 0, "and nothing of it is left", crispctl("pods").stdout)


def left():
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = open(f"/proc/{pid}/cmdline", "rb").read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if T in line:
            found.append(line)
    found += [m for m in open("/proc/self/mountinfo").read().splitlines() if f"{T}/run" in m]
    found += subprocess.run(["find", "/sys/fs/cgroup", "-maxdepth", "3", "-name", f"*{TAG}*"],
                            capture_output=True, text=True).stdout.split()
    return found


try:
    make_image()
    if ok(start(), "the daemon starts", open(f"{T}/log").read()):
        r = crispctl("load", f"{T}/image.tar")
        ok(r.returncode == 0, "an image", r.stderr)
        for shape in SHAPES:
            test_life(shape)
            test_exec(shape)
        test_death()
        test_failures()
        r = crispctl("rm", "-fa")
        ok(r.returncode == 0 and json.loads(crispctl("-o", "json", "pods").stdout or "[]") in ([], {}, {"items": []}),
           "all pods are removed", (r.stderr, crispctl("pods").stdout))
finally:
    if daemon:
        daemon.send_signal(signal.SIGCONT)
        daemon.terminate()
        ok(daemon.wait(20) == 0, "the daemon leaves")
ok(until(lambda: not left(), 5), "nothing is left", "\n".join(left()))
subprocess.run(["umount", f"{T}/netns"], stderr=subprocess.DEVNULL)
if tap.failed:
    print("# " + "\n# ".join(l for l in open(f"{T}/log").read().splitlines() if "level=info" not in l))
shutil.rmtree(T, ignore_errors=True)
done()

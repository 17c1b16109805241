#!/usr/bin/env python3
# The leak check itself: one leak of each kind is planted, and it must name each, and nothing else.
import os, shutil, subprocess, sys, tempfile, time

os.chdir(os.path.dirname(os.path.abspath(__file__)) + "/../..")
sys.path.insert(0, "t")
from tap import done, ok
if os.geteuid() != 0:
    print("1..0 # SKIP needs root")
    sys.exit(0)

tag = f"lk{os.getpid()}"
top = tempfile.mkdtemp(prefix=f"crisp-{tag}-")
watched = os.path.join(top, "watched")
os.mkdir(watched)


def sh(command):
    subprocess.run(command, shell=True, check=True)


# A daemon that does nothing; told to, it opens files, or makes children that it does not reap.
daemon = subprocess.Popen([sys.executable, "-c", """
import os, sys
kept = []
for line in sys.stdin:
    if line == "open\\n":
        kept.append(open("/dev/null"))
    elif line == "pipe\\n":
        kept.append(os.pipe())
    elif line == "zombie\\n":
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        kept.append(pid)
    elif line == "child\\n":
        pid = os.fork()
        if pid == 0:
            os.execvp("sleep", ["sleep", "1000"])
        kept.append(pid)
    elif line == "undo\\n":
        what = kept.pop()
        if isinstance(what, int):
            try:
                os.kill(what, 9)
            except OSError:
                pass
            os.waitpid(what, 0)
        elif isinstance(what, tuple):
            os.close(what[0]), os.close(what[1])
        else:
            what.close()
    print("done", flush=True)
"""], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def tell(word):
    daemon.stdin.write(word + "\n")
    daemon.stdin.flush()
    daemon.stdout.readline()


def hierarchy(v2):
    for line in open("/proc/self/mountinfo"):
        left, right = line.split(" - ")
        if right.split()[0] == ("cgroup2" if v2 else "cgroup"):
            return left.split()[4]


def snapshot():
    subprocess.run(["t/leak/leakcheck", "snapshot", f"{top}/snap", "--mark", tag, "--pid", f"core={daemon.pid}",
                    "--dir", watched, "--netns", tag, "--link", tag, "--cgroup", f"/{tag}", "--nft", tag,
                    "--device", f"{top}/null"], check=True)


def compare(*args):
    p = subprocess.run(["t/leak/leakcheck", "compare", f"{top}/snap", *args], capture_output=True, text=True)
    return p.returncode, p.stdout + p.stderr


def plant(kind, plant, unplant, want, lines=1):
    plant() if callable(plant) else sh(plant)
    code, text = compare()
    ok(code == 1 and all(w in text for w in [want]) and text.count("leak: ") == lines, f"a {kind} is named", text)
    unplant() if callable(unplant) else sh(unplant)
    code, text = compare("--wait", "5")
    ok(code == 0 and not text, f"and gone again, nothing is said of the {kind}", text)


marked = []


def start_marked():
    marked.append(subprocess.Popen(["sleep", "1001"], env={"CRISP_TEST": tag, "PATH": os.environ["PATH"]}))
    while b"sleep" not in open(f"/proc/{marked[-1].pid}/cmdline", "rb").read():
        time.sleep(0.01)


def stop_marked():
    p = marked.pop()
    p.kill()
    p.wait()


try:
    # What was there before is no leak.
    sh(f"nft add table ip {tag}; nft add chain ip {tag} c; nft add rule ip {tag} c tcp dport 1 accept")
    open(f"{watched}/old", "w").close()
    sh(f"mknod -m 666 {top}/null c 1 3")
    snapshot()
    code, text = compare()
    ok(code == 0 and not text, "nothing has changed, nothing is said", text)
    plant("process, by its environment", start_marked, stop_marked, "process: ")
    plant("process, as a child", lambda: tell("child"), lambda: tell("undo"), "sleep 1000")
    plant("zombie", lambda: tell("zombie"), lambda: tell("undo"), "zombie: ")
    plant("fd", lambda: tell("open"), lambda: tell("undo"), "fd: core: /dev/null, 1 more than before")
    plant("pipe", lambda: tell("pipe"), lambda: tell("undo"), "fd: core: pipe, 2 more than before")
    plant("file", f"touch {watched}/new", f"rm {watched}/new", f"file: {watched}/new")
    plant("device given away", f"chown 1000:1001 {top}/null", f"chown 0:0 {top}/null",
          f"device: {top}/null is now 1000:1001's, mode 666")
    plant("device shut", f"chmod 600 {top}/null", f"chmod 666 {top}/null", f"device: {top}/null is now 0:0's, mode 600")
    os.mkdir(f"{watched}/mnt")
    snapshot()
    plant("mount", f"mount -t tmpfs {tag} {watched}/mnt && touch {watched}/mnt/inner", f"umount {watched}/mnt",
          f"mount: {watched}/mnt (tmpfs")
    plant("mount elsewhere of what is ours", f"mkdir {top}/other; mount --bind {watched} {top}/other",
          f"umount {top}/other", f"mount: {top}/other")
    plant("netns", f"ip netns add {tag}-a", f"ip netns del {tag}-a", f"netns: {tag}-a", lines=2)
    plant("veth", f"ip link add {tag}v type veth peer name {tag}w", f"ip link del {tag}v", f"link: {tag}v", lines=2)
    plant("bridge", f"ip link add {tag}b type bridge", f"ip link del {tag}b", f"bridge: {tag}b")
    for v2 in False, True:
        if hierarchy(v2):
            path = f"{hierarchy(v2)}/{tag}"
            version = "v2" if v2 else "v1"
            plant(f"cgroup {version}", f"mkdir -p {path}/pod", f"rmdir {path}/pod {path}", f"cgroup: {version}", lines=2)
    plant("nft rule", f"nft add rule ip {tag} c tcp dport 2 accept", f"nft flush chain ip {tag} c; "
          f"nft add rule ip {tag} c tcp dport 1 accept", f"nft: ip {tag}: chain c: tcp dport 2 accept")
    plant("nft table", f"nft add table ip6 {tag}", f"nft delete table ip6 {tag}", f"nft: table ip6 {tag}")
    plant("nft set element", f"nft add map ip {tag} m '{{ type inet_service : ipv4_addr ; }}'; "
          f"nft add element ip {tag} m '{{ 80 : 10.1.1.1, 81 : 10.1.1.2 }}'", f"nft delete map ip {tag} m",
          "10.1.1.2", lines=4)
    code, text = compare("--pid", "core=1")
    ok(code in (0, 1) and "no process" not in text, "the daemon may have another pid by now", text)
    code, text = compare("--pid", "core=999999999")
    ok(code not in (0,) and "no process 999999999" in text, "a pid that is none is an error", text)
finally:
    while marked:
        stop_marked()
    daemon.kill()
    daemon.wait()
    subprocess.run(f"umount {watched}/mnt {top}/other; nft delete table ip {tag}; ip netns del {tag}-a; "
                   f"ip link del {tag}v; ip link del {tag}b", shell=True, stderr=subprocess.DEVNULL)
    shutil.rmtree(top, ignore_errors=True)
done()

#!/usr/bin/env python3
# crisp-work: the template mount namespace, enter, pod namespaces, pins.  Runs in a mount
# namespace of its own that plays the host.
import atexit, fcntl, os, re, socket, statistics, subprocess, sys, tempfile, time

if os.environ.get("CRISP_WORK_T") != "inside":
    os.environ["CRISP_WORK_T"] = "inside"
    os.execvp("unshare", ["unshare", "-m", "--propagation", "private", sys.executable, os.path.abspath(__file__)])

BUILD = os.environ.get("BUILD", "build")
os.chdir(os.path.dirname(os.path.abspath(__file__)) + "/../..")
sys.path.insert(0, "t")
from tap import done, ok
WORK = os.path.abspath(f"{BUILD}/libexec/crisp-work")
BUSYBOX = "/bin/busybox"
T = tempfile.mkdtemp(prefix="crisp-work-t.")
subprocess.run(["mount", "-t", "tmpfs", "host", T], check=True)   # all of ours goes with it


@atexit.register
def clean_up():
    os.chdir("/")
    subprocess.run(["umount", "-R", "-l", T])
    os.rmdir(T)


NETNS, STATE = f"{T}/netns", f"{T}/state"


def work(*args, fds=(), reply=False, before=()):
    """Run a job.  fds: inherited as they are numbered."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def place():
        if reply:
            os.dup2(theirs.fileno(), 3)

    r = subprocess.run([*before, WORK, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                       pass_fds=[*fds, *([3] if reply else [])], preexec_fn=place if reply else None, timeout=60)
    got = {}
    if reply and r.returncode == 0:
        letters, received, _, _ = socket.recv_fds(ours, 16, 8)
        got = dict(zip(letters.decode(), received))
    ours.close(), theirs.close()
    return r, got


def failing(calls, *args, **kw):
    """Run a job on a kernel that lacks these calls."""
    inject = [f"--inject={c}" for c in calls]
    return work(*args, before=["strace", "-qq", "-E", "ASAN_OPTIONS=detect_leaks=0", "-o", "/dev/null", *inject], **kw)


def high(fd):
    """Out of the way of fd 3."""
    import fcntl
    new = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100)
    os.close(fd)
    return new


def mounts(pid="self"):
    """(point, optional fields, type) of each mount."""
    out = []
    for line in open(f"/proc/{pid}/mountinfo"):
        left, right = line.rstrip("\n").split(" - ", 1)
        words = left.split()
        out.append((words[4], " ".join(words[6:]), right.split()[0]))
    return out


def unchanged(was):
    """Does the table of mounts stand as it did?  One whose folder the host has removed meanwhile is gone here, too."""
    return mounts() == [m for m in was if os.path.lexists(m[0].encode().decode("unicode_escape"))]


def points(text):
    return [line.split()[4] for line in text.splitlines() if " - " in line]


def enter(ns, *args, program=("/bin/cat", "/proc/self/mountinfo"), fds=()):
    r, _ = work("enter", ns, *args, "--", *program, fds=(ns, *fds))
    return r


# -- the template --
r, got = work("template", STATE, NETNS, reply=True)
ok(r.returncode == 0 and list(got) == ["m"], "template hands over a mount namespace", r.stderr)
os.close(got["m"])
pin = f"{NETNS}/t-old"
open(pin, "w").close()
subprocess.run(["mount", "--bind", "/proc/self/ns/net", pin], check=True)
ok(sum(p == pin for p, _, _ in mounts()) == 1, "a pin is mounted once")
r, got = work("template", STATE, NETNS, reply=True)
ok(r.returncode == 0 and list(got) == ["m"], "with a pin there, too", r.stderr)
ns = high(got["m"])
host = mounts()
ok(any(p == NETNS and "shared:" in o for p, o, _ in host), "the folder of pins is a shared mount of its own")
ok(not any(p.startswith(STATE) for p, _, _ in host), "the host does not see the template's mount",
   [m for m in host if m[0].startswith(STATE)])
ok(any(p == pin for p, _, _ in host), "the host's pin is still there")
ok(any(p == "/" and "shared:" in o for p, o, _ in host), "the root is shared")
r = enter(ns)
inside = points(r.stdout)
ok(r.returncode == 0 and f"{STATE}/mnt" in inside, "enter runs a program in the template", r.stderr)
ok(NETNS in inside and not any(p.startswith(NETNS + "/") for p in inside), "no pin is in the template", inside)
m = re.search(rf" {re.escape(STATE)}/mnt \S+ (.*)- ", r.stdout)
ok(m and m[1] == "", "the private mount is private", m and m[0])
m = re.search(rf" {re.escape(T)} \S+ (.*)- ", r.stdout)
ok(m and "shared:" in m[1], "what lies below it is in the host's peer group", m and m[0])

new_pin = f"{NETNS}/t-new"
open(new_pin, "w").close()
subprocess.run(["mount", "--bind", "/proc/self/ns/net", new_pin], check=True)
os.mkdir(f"{T}/volume")
subprocess.run(["mount", "-t", "tmpfs", "volume", f"{T}/volume"], check=True)
open(f"{T}/volume/file", "w").write("late")
inside = points(enter(ns).stdout)
ok(new_pin not in inside, "a new pin does not arrive")
ok(f"{T}/volume" in inside, "a volume mounted later does")
r = enter(ns, program=("/bin/cat", f"{T}/volume/file"))
ok(r.stdout == "late", "and can be read", r.stderr)
os.mkdir(f"{T}/from-pod")
enter(ns, program=("/bin/mount", "-t", "tmpfs", "from-pod", f"{T}/from-pod"))
ok(any(p == f"{T}/from-pod" for p, _, _ in mounts()), "a mount made for the host arrives there")
subprocess.run(["umount", f"{T}/from-pod"], check=True)
host = mounts()
r, got = work("template", STATE, NETNS, reply=True)
ok(r.returncode == 0 and unchanged(host), "another template changes nothing on the host", r.stderr)
os.close(got["m"])

# -- enter: the rootfs --
for d in "low1/etc", "low2/etc", "low2/bin", "upper", "work", "ro":
    os.makedirs(f"{T}/layers/{d}")
L = f"{T}/layers"
open(f"{L}/low1/etc/top", "w").write("one")
open(f"{L}/low2/etc/top", "w").write("two")
open(f"{L}/low2/etc/bottom", "w").write("two")
root = f"{STATE}/mnt/c1"
overlay = ("--overlay", root, f"{L}/low1:{L}/low2", f"{L}/upper", f"{L}/work")
r = enter(ns, *overlay, program=("/bin/sh", "-c", f"cat {root}/etc/top {root}/etc/bottom; echo w > {root}/written; "
                                 f"cat /proc/self/mountinfo"))
ok(r.stdout.startswith("onetwo"), "the topmost layer is first", r.stdout[:100] + r.stderr)
ok(f"{root} rw" in r.stdout and "volatile" in r.stdout, "the overlay is volatile")
ok(os.path.exists(f"{L}/upper/written"), "what is written is in the upper folder")
ok(not any(root in p for p, _, _ in mounts()) and os.listdir(root) == [], "the host does not see the overlay")
ok(root not in points(enter(ns).stdout), "nor does the next one")
r = enter(ns, *overlay, program=("/bin/cat", f"{root}/written"))
ok(r.stdout == "w\n", "the same folders can be mounted again", r.stderr)
r = enter(ns, "--overlay", root, f"{L}/low1:{L}/low2", "", "", program=("/bin/sh", "-c", f"cat {root}/etc/top; touch {root}/x"))
ok(r.stdout == "one" and "Read-only" in r.stderr, "without an upper folder it is read-only", r.stderr)
r = enter(ns, "--overlay", root, f"{L}/low2", "", "", program=("/bin/sh", "-c", f"cat {root}/etc/top; touch {root}/x"))
ok(r.stdout == "two" and "Read-only" in r.stderr, "also a single layer", r.stderr)
many = []
for i in range(150):
    d = f"{L}/" + "x" * 200 + f"-{i}" + "/" + "y" * 100
    os.makedirs(d)
    open(f"{d}/f{i}", "w").write(str(i))
    many.append(d)
r = enter(ns, "--overlay", root, ":".join(many), f"{L}/upper", f"{L}/work",
          program=("/bin/sh", "-c", f"cat {root}/f0 {root}/f149"))
ok(r.stdout == "0149", "150 layers with long names", r.stderr)
r = enter(ns, "--overlay", root, f"{L}/missing:{L}/low1", f"{L}/upper", f"{L}/work")
ok(r.returncode == 1 and "missing" in r.stderr and r.stderr.count("\n") == 1, "a missing layer is named", r.stderr)
r = enter(ns, program=("/nonexistent",))
ok(r.returncode == 1 and "/nonexistent" in r.stderr, "a missing program is named", r.stderr)
rd, wr = os.pipe()
r = enter(ns, "--errfd", wr, program=("/nonexistent",), fds=(wr,))
os.close(wr)
ok(r.stderr == "" and b"/nonexistent" in os.read(rd, 1000), "errors go to --errfd")
os.close(rd)
# -- an engine's own wishes: the pod's network, a folder covered --
subprocess.run(["ip", "netns", "add", NS_NAME := f"work{os.getpid()}"], check=True)
net = os.open(f"/run/netns/{NS_NAME}", os.O_RDONLY)
r, _ = work("enter", ns, "--netns", net, "--cover", "/proc/sys/net/core", "--", "/bin/sh", "-c",
            "readlink /proc/self/ns/net; ls /proc/sys/net/core | wc -l", fds=(ns, net))
inside = r.stdout.split()
ok(r.returncode == 0 and inside[0] == f"net:[{os.fstat(net).st_ino}]", "enter --netns: the program is in that network", r)
ok(inside[1:] == ["0"], "--cover: and finds the folder empty", r)
ok(len(os.listdir("/proc/sys/net/core")) > 5 and "/proc/sys/net" not in open("/proc/self/mounts").read(),
   "the host does not")
for bad in (["--cover", "/etc"], ["--cover", "/proc/no/such"], ["--netns", 999], ["--netns", "x"]):
    r, _ = work("enter", ns, *bad, "--", "/bin/true", fds=(ns,))
    ok(r.returncode and r.stderr, f"{' '.join(map(str, bad))} is refused", r)
os.close(net)
subprocess.run(["ip", "netns", "del", NS_NAME])
r, _ = work("enter", 999, "--", "/bin/true")
ok(r.returncode == 1 and "999" in r.stderr, "a bad namespace is named", r.stderr)
r, _ = work("enter", 999, "--what", "--", "/bin/true")
ok(r.returncode == 2 and "--what" in r.stderr, "a bad option is named", r.stderr)
exe = high(os.memfd_create("engine", 0))
os.write(exe, open(BUSYBOX, "rb").read())
r = enter(ns, "--chdir", T, "--argv0", "busybox", program=(f"/proc/self/fd/{exe}", "sh", "-c", "pwd; ls /proc/self/fd"), fds=(exe,))
ok(r.stdout.split("\n")[0] == T, "a program in a memfd, in a folder", r.stderr)
ok(not set(r.stdout.split()[1:]) & {str(exe), str(ns)}, "it inherits neither itself nor the namespace", r.stdout)

# -- older kernels --
OLD = f"{T}/old-state"
r, got = failing(["move_mount:error=EINVAL:when=1"], "template", OLD, NETNS, reply=True)
ok(r.returncode == 0, "a template without MOVE_MOUNT_SET_GROUP", r.stderr)
old = high(got["m"])
ok([o for p, o, _ in mounts() if p == f"{OLD}/mnt"] == [""], "has its private mount on the host, too",
   [m for m in mounts() if m[0].startswith(OLD)])
r = enter(old, "--overlay", f"{OLD}/mnt/c1", *overlay[2:])
ok(f"{OLD}/mnt/c1" in points(r.stdout) and not any(p == f"{OLD}/mnt/c1" for p, _, _ in mounts()), "and still hides what is below it", r.stderr)
os.mkdir(f"{T}/volume2")
subprocess.run(["mount", "-t", "tmpfs", "volume2", f"{T}/volume2"], check=True)
ok(f"{T}/volume2" in points(enter(old).stdout), "a volume mounted later arrives")
r, got = work("template", OLD, NETNS, reply=True)
ok(r.returncode == 0 and sum(p == f"{OLD}/mnt" for p, _, _ in mounts()) == 1, "another template takes that mount", r.stderr)
os.close(old), os.close(got["m"])
subprocess.run(["umount", f"{OLD}/mnt"], check=True)
other = f"{T}/netns-old"
r, got = failing(["mount_setattr:error=ENOSYS"], "template", STATE, other, reply=True)
ok(r.returncode == 0 and any(p == other and "shared:" in o for p, o, _ in mounts()), "a folder of pins without mount_setattr",
   r.stderr)
os.close(got["m"])
open(f"{other}/pin", "w").close()
subprocess.run(["mount", "--bind", "/proc/self/ns/net", f"{other}/pin"], check=True)
ok(sum(p == f"{other}/pin" for p, _, _ in mounts()) == 1, "has each pin once")
for call in "fsopen:error=ENOSYS", "fsconfig:error=EINVAL:when=2":
    r, _ = failing([call], "enter", ns, *overlay, "--", "/bin/cat", f"{root}/etc/top", fds=(ns,))
    ok(r.returncode == 0 and r.stdout == "one", f"an overlay by mount(2) ({call})", r.stderr)

# -- pod namespaces --
me = {n: os.readlink(f"/proc/self/ns/{n}") for n in ("net", "ipc", "uts")}
pin = f"{NETNS}/t-pod"
r, fds = work("ns", "--net", pin, "--ipc", "--uts", "--hostname", "pod-1", "--shm", 1 << 20,
              "--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.shm_rmid_forced=1",
              "--sysctl", "net/ipv4/conf/lo/forwarding=0", "--sysctl", "kernel.domainname=dom", reply=True)
ok(r.returncode == 0 and list(fds) == list("ndiuhrs"), "ns hands over what is new, and the host's files", r.stderr)
fds = {k: high(v) for k, v in fds.items()}
links = {k: os.readlink(f"/proc/self/fd/{fds[k]}") for k in "niu"}
ok(not set(links.values()) & set(me.values()) and len(set(links.values())) == 3, "they are new", links)
ok(os.stat(pin).st_ino == os.fstat(fds["n"]).st_ino, "the pin is the netns")
ok(os.readlink("/proc/self/ns/net") == me["net"] and os.uname().nodename != "pod-1", "the host's are as before")


def inside_pod(cmd):
    return subprocess.run(["nsenter", f"--net=/proc/{os.getpid()}/fd/{fds['n']}",
                           f"--ipc=/proc/{os.getpid()}/fd/{fds['i']}", f"--uts=/proc/{os.getpid()}/fd/{fds['u']}",
                           "/bin/sh", "-c", cmd], capture_output=True, text=True).stdout


got = inside_pod("hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_forward "
                 "/proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_unprivileged_port_start; "
                 "cat /proc/sys/net/ipv4/ping_group_range").split()
ok(got == ["pod-1", "dom", "1", "1", "0", "0", "2147483647"], "hostname, sysctls and defaults are in force", got)
ok("LOOPBACK,UP" in inside_pod("ip link show lo"), "lo is up")
for name, faults in ("a procfs of its own", []), ("without fsopen", ["fsopen:error=ENOSYS"]):
    pods, crowd = f"{NETNS}/t-crowd", ["ns", "--crowded", "--net", f"{NETNS}/t-crowd"]
    r, more = failing(faults, *crowd, reply=True) if faults else work(*crowd, reply=True)
    got = subprocess.run(["nsenter", f"--net={pods}", "cat", "/proc/sys/net/ipv4/ping_group_range"], capture_output=True, text=True).stdout.split()
    ok(r.returncode == 0 and got == ["0", "2147483647"], f"in a crowd: {name}", (r.stderr, got))
    for fd in more.values():
        os.close(fd)
    work("unpin", pods)
ok(pin not in points(enter(ns).stdout), "the pin is not in the template")
r = enter(ns, "--fdmount", fds["s"], f"{STATE}/mnt/shm", program=(
    "/bin/sh", "-c", f"echo hi > {STATE}/mnt/shm/x; stat -f -c '%T %b %S' {STATE}/mnt/shm; stat -c %a {STATE}/mnt/shm; "
    "grep mnt/shm /proc/self/mountinfo"), fds=(fds["s"],))
ok(r.stdout.startswith("tmpfs 256 4096\n1777\n") and all(o in r.stdout for o in ("nosuid", "nodev", "noexec")),
   "shm is a tmpfs of that size", r.stdout + r.stderr)
r = enter(ns, "--fdmount", fds["s"], f"{STATE}/mnt/shm2", program=("/bin/cat", f"{STATE}/mnt/shm2/x"), fds=(fds["s"],))
ok(r.stdout == "hi\n", "two containers share it", r.stderr)
ok(not any("shm" in p and p.startswith(STATE) for p, _, _ in mounts()), "the host does not see it")
r, old = failing(["open_tree:error=EINVAL"], "ns", "--shm", 1 << 20, reply=True)
ok(r.returncode == 0 and os.readlink(f"/proc/self/fd/{old['s']}").startswith("mnt:"),
   "where a detached mount can't be cloned, shm is a mount namespace", r.stderr)
r, old = work("ns", "--shm-in-ns", 1 << 20, reply=True)
shm = high(old["s"])
table = subprocess.run(["nsenter", f"--mount=/proc/self/fd/{shm}", "--", "/proc/self/exe"], capture_output=True, pass_fds=(shm,))
ok(r.returncode == 0 and table.returncode != 0, "an old kernel's shm: a mount namespace with nothing else in it", r.stderr)
for i, cmd in enumerate(("echo hi > %s/x; stat -f -c '%%T %%b' %s", "cat %s/x; stat -c %%a %s")):
    r = enter(ns, "--fdmount", shm, f"{STATE}/mnt/shm", program=("/bin/sh", "-c", cmd % (f"{STATE}/mnt/shm", f"{STATE}/mnt/shm")),
              fds=(shm,))
    ok(r.stdout == ("tmpfs 256\n", "hi\n1777\n")[i], f"enter mounts it, {i + 1}", r.stdout + r.stderr)
ok(not any(p.startswith(STATE) or "shm" in p and t == "tmpfs" and p not in ("/dev/shm", "/run/shm") for p, _, t in mounts()),
   "and the host does not see it")
file = high(os.open("/etc/hosts", os.O_PATH))
r = enter(ns, "--fdmount", file, f"{STATE}/mnt/file", program=("/bin/cat", f"{STATE}/mnt/file"), fds=(file,))
ok(r.stdout == open("/etc/hosts").read(), "a file of the host can be mounted by fd", r.stderr)
r, _ = work("sysctl", pin, "net.ipv4.conf.lo.forwarding=1")
ok(r.returncode == 0 and inside_pod("cat /proc/sys/net/ipv4/conf/lo/forwarding") == "1\n", "a later sysctl", r.stderr)
r, _ = work("ns", "--net", pin, "--ipc", reply=True)
ok(r.returncode == 1 and "exist" in r.stderr and any(p == pin for p, _, _ in mounts()),
   "a pin that exists is refused and stays", r.stderr)
r, _ = work("ns", "--net", f"{NETNS}/t-bad", "--sysctl", "net.nonsense=1", reply=True)
ok(r.returncode == 1 and "net.nonsense" in r.stderr and not os.path.exists(f"{NETNS}/t-bad"),
   "a bad sysctl is named, and no pin stays", r.stderr)
r, _ = work("ns", "--net", f"{NETNS}/t-bad", "--sysctl", "net/../kernel/panic=1", reply=True)
ok(r.returncode == 1 and "net/../kernel/panic" in r.stderr, "a sysctl that climbs is refused", r.stderr)
for setting in "kernel.panic=0", "net.ipv4.ip_forward=1", "kernel.domainname=x", "kernel.hostname=x":
    r, _ = work("ns", "--ipc", "--sysctl", setting, reply=True)
    ok(r.returncode == 1 and setting.split("=")[0] in r.stderr, f"{setting} would be the host's: refused", r.stderr)
r, got = work("ns", "--ipc", reply=True)
ok(r.returncode == 0 and list(got) == list("ihr"), "a pod on the host's network has no netns")
r, got = work("ns", reply=True)
ok(r.returncode == 0 and list(got) == list("hr"), "a pod may have nothing of its own")

# -- user namespaces --
MAP, HOST_ROOT = "100000:65536:200000:65536", (100000, 200000)
user_pin = f"{NETNS}/t-user"
r, got = work("ns", "--net", user_pin, "--ipc", "--uts", "--hostname", "u", "--shm", 1 << 20, "--userns", MAP,
              "--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.shmmax=123456", "--sysctl", "kernel.domainname=dom",
              reply=True)
ok(r.returncode == 0 and "o" in got, "a user namespace is handed over as well", r.stderr)
got = {k: high(v) for k, v in got.items()}
NS_GET_USERNS = 0xb701
owners = {os.fstat(fcntl.ioctl(got[k], NS_GET_USERNS)).st_ino for k in "niu"}
ok(owners == {os.fstat(got["o"]).st_ino}, "it owns the others", owners)


def inside_user(cmd, *more):
    me = os.getpid()
    return subprocess.run(["nsenter", f"--user=/proc/{me}/fd/{got['o']}", f"--net=/proc/{me}/fd/{got['n']}",
                           f"--ipc=/proc/{me}/fd/{got['i']}", f"--uts=/proc/{me}/fd/{got['u']}", *more,
                           "/bin/sh", "-c", cmd], capture_output=True, text=True).stdout.split()


said = inside_user("cat /proc/self/uid_map /proc/self/gid_map; id -u; hostname; cat /proc/sys/kernel/domainname "
                   "/proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax")
ok(said == ["0", "100000", "65536", "0", "200000", "65536", "0", "u", "dom", "1", "123456"],
   "maps, hostname, and sysctls of each kind", said)
r = enter(ns, "--fdmount", got["s"], f"{STATE}/mnt/shm", program=("/bin/stat", "-c", "%u %g %a", f"{STATE}/mnt/shm"), fds=(got["s"],))
ok(r.stdout == "100000 200000 1777\n", "its /dev/shm is its root's", r.stdout + r.stderr)
r, more = work("ns", "--ipc", "--uts", "--userns", MAP, "--in", f"/proc/{os.getpid()}/fd/{got['o']}",
               "--sysctl", "kernel.shmmax=7", reply=True)
ok(r.returncode == 0 and os.fstat(more["o"]).st_ino == os.fstat(got["o"]).st_ino and
   {os.fstat(fcntl.ioctl(more[k], NS_GET_USERNS)).st_ino for k in "iu"} == owners, "namespaces made anew in one that exists", r.stderr)
for bad in "1:0:1:1", "1:2:3", "x", "0:1:0:1:":
    r, _ = work("ns", "--ipc", "--userns", bad, reply=True)
    ok(r.returncode == 2, f"a map that is none: {bad}", r.stderr)
r, _ = work("ns", "--net", f"{NETNS}/t-bad", "--userns", "4294967295:2:0:1", reply=True)
ok(r.returncode == 1 and "uid_map" in r.stderr and not os.path.exists(f"{NETNS}/t-bad"), "a map that the kernel refuses", r.stderr)

# Layers and volumes through it: what is root's on disk is its root's.
layers, vol = f"{T}/disk/layers", f"{T}/disk/vol"
for i, path in enumerate(("a/etc", "b/bin", "upper", "work", "vol/sub")):
    os.makedirs(f"{layers}/{path}" if i < 2 else f"{T}/disk/{path}")
open(f"{layers}/a/etc/f", "w").write("x")
os.chown(f"{layers}/a/etc/f", 0, 7)
os.chown(f"{T}/disk/upper", *HOST_ROOT)
open(f"{vol}/one", "w").write("1")
os.chmod(vol, 0o777)
subprocess.run(["mount", "-t", "tmpfs", "below", f"{vol}/sub"], check=True)
root, mapped = f"{STATE}/mnt/rootfs", f"{STATE}/mnt/volumes/3"
mapped_overlay = ("--userns", got["o"], "--mapped-overlay", root, f"{layers}/b:{layers}/a", f"{T}/disk/upper", f"{T}/disk/work")
binds = ("--mapped-bind", vol, mapped, "", "--mapped-bind", f"{vol}/one", f"{STATE}/mnt/volumes/4", "nodev")
r = enter(ns, *mapped_overlay, *binds, program=("/bin/sh", "-c",
          f"cd {root}; stat -c '%u %g' . bin etc/f {mapped} {mapped}/one {mapped}/sub ../volumes/4; echo y >> etc/f; "
          f"chown 100005:200006 etc/f; setpriv --reuid=100001 --regid=200002 --clear-groups touch {mapped}/new; grep -c layers /proc/self/mountinfo"),
          fds=(got["o"],))
ok(r.stdout.split("\n")[:7] == ["100000 200000"] * 2 + ["100000 200007"] + ["100000 200000"] * 2 + ["0 0", "100000 200000"],
   "an overlay, a folder and a file with their owners mapped; what is mounted below a volume as it is", r.stdout + r.stderr)
up, new = os.stat(f"{T}/disk/upper/etc/f"), os.stat(f"{vol}/new")
ok((up.st_uid, up.st_gid) == (100005, 200006) and (new.st_uid, new.st_gid) == (1, 2),
   "the upper layer keeps the node's ids, a volume its own", (up, new))
ok(sorted(os.listdir(f"{STATE}/mnt/volumes")) == [] and not any(layers in p for p, _, _ in mounts()), "the host sees none of it")
r = enter(ns, "--userns", got["o"], "--mapped-bind", "/proc", mapped, "", program=("/bin/true",), fds=(got["o"],))
ok(r.returncode == 1 and "map the ids of /proc" in r.stderr, "a file system that can't is named", r.stderr)
r = enter(ns, "--bind", vol, mapped, "noexec,nodev,nosuid")
line = next((line for line in r.stdout.splitlines() if line.split()[4] == mapped), "")
ok(all(o in line.split()[5].split(",") for o in ("noexec", "nodev", "nosuid")) if line else False, "a bind with options", r.stdout + r.stderr)
for bad in "noexec,", "exec", "nodev,,nosuid", "node":
    r = enter(ns, "--bind", vol, mapped, bad)
    ok((r.returncode == 1 and "mount option" in r.stderr) if bad != "noexec," else r.returncode == 0, f"options \"{bad}\"", r.stderr)
r = enter(ns, "--mapped-bind", vol, mapped, "")
ok(r.returncode == 2 and "--userns" in r.stderr, "a mapped mount by no namespace", r.stderr)
r = enter(ns, "--userns", file, "--mapped-bind", vol, mapped, "", program=("/bin/true",), fds=(file,))
ok(r.returncode == 1 and "map the ids" in r.stderr, "a user namespace that is none", r.stderr)
subprocess.run(["umount", f"{vol}/sub"], check=True)
r, _ = work("unpin", user_pin)
ok(r.returncode == 0 and not os.path.exists(user_pin), "unpin it", r.stderr)

# -- the end of a pod --
r, _ = work("unpin", pin)
ok(r.returncode == 0 and not os.path.exists(pin) and not any(p == pin for p, _, _ in mounts()), "unpin", r.stderr)
r, _ = work("unpin", pin)
ok(r.returncode == 0, "unpin of nothing", r.stderr)
open(pin, "w").close()
r, _ = work("unpin", pin)
ok(r.returncode == 0 and not os.path.exists(pin), "unpin of a half-made pin", r.stderr)
os.makedirs(f"{T}/tree/a/b")
open(f"{T}/tree/a/b/c", "w").close()
os.symlink("/etc", f"{T}/tree/link")
r, _ = work("rmtree", f"{T}/nothing", f"{T}/tree", f"{L}/work")
ok(r.returncode == 0 and not os.path.exists(f"{T}/tree") and not os.path.exists(f"{L}/work"), "rmtree", r.stderr)
os.makedirs(f"{T}/tree2/m"), os.makedirs(f"{T}/tree3")
subprocess.run(["mount", "-t", "tmpfs", "m", f"{T}/tree2/m"], check=True)
r, _ = work("rmtree", f"{T}/tree2", f"{T}/tree3")
ok(r.returncode == 1 and "tree2" in r.stderr and not os.path.exists(f"{T}/tree3"),
   "rmtree stops at a mount, and goes on with the others", r.stderr)

# -- what it takes --
def median(f, n=40):
    times = []
    for _ in range(n):
        t = time.monotonic()
        f()
        times.append((time.monotonic() - t) * 1000)
    return statistics.median(times)


# -- connections: from within a netns, and if nobody listens there, from here --

listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
where = f"{T}/dialled"
open(where, "w").close()
subprocess.run(["unshare", "--net", "mount", "--bind", "/proc/self/ns/net", where], check=True)


def dial(*args):
    r, got = work("dial", *args, reply=True)
    if not got:
        return r.stderr.strip()
    with socket.socket(fileno=got["c"]) as s:
        return s.getpeername()[0]


ok(dial("-", port) == "127.0.0.1", "dial: localhost of the host", dial("-", port))
ok("connect to localhost:" in dial(where, port) and "unreachable" in dial(where, port), "not that of an empty netns", dial(where, port))
ok(dial(where, port, "127.0.0.1") == "127.0.0.1", "an address is dialled from the host", dial(where, port, "127.0.0.1"))
ok(dial(where, port, "::1", "127.0.0.1") == "127.0.0.1", "one after the other", dial(where, port, "::1", "127.0.0.1"))
ok(work("dial", where, port, "localhost", reply=True)[0].returncode == 2, "a name is no address")
subprocess.run(["umount", where], check=True)

# -- limits --

for name in "a", "b":
    open(f"{T}/{name}", "w").close()
r, _ = work("limit", f"{T}/a", "1", f"{T}/b", "2")
ok(r.returncode == 0 and open(f"{T}/a").read() + open(f"{T}/b").read() == "12", "limit: files get their values", r.stderr)
r, _ = work("limit", f"{T}/a", "3", f"{T}/none", "4")
ok(r.returncode == 1 and f"{T}/none" in r.stderr, "one that can't be written is named", r.stderr)
ok(work("limit", f"{T}/a")[0].returncode == 2, "half a pair is a wrong use")

os.makedirs(f"{L}/work")
spawn = lambda *a, fds=(): subprocess.run(a, pass_fds=fds, stdout=subprocess.DEVNULL, close_fds=bool(fds))
plain = median(lambda: spawn(BUSYBOX, "true", fds=(ns,)))
entered = median(lambda: spawn(WORK, "enter", str(ns), "--", BUSYBOX, "true", fds=(ns,)))
rooted = median(lambda: spawn(WORK, "enter", str(ns), *overlay, "--", BUSYBOX, "true", fds=(ns,)))


def make_and_drop():
    _, got = work("ns", "--net", pin, "--ipc", "--uts", "--hostname", "h", "--shm", 1 << 26, reply=True)
    for fd in got.values():
        os.close(fd)
    made.append(time.monotonic())
    work("unpin", pin)


made = []
both = median(make_and_drop, 20)
print(f"# a program {plain:.2f} ms, entered {entered:.2f} ms, with an overlay {rooted:.2f} ms, ns and unpin {both:.2f} ms")

done()

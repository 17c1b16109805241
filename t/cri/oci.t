#!/usr/bin/env python3
# Bundles made from CRI messages (t/cri/bundle.c: check, prepare, spec), run by crun and runc
# themselves: do the engines take our config.json, and does it do what was asked?
import ctypes, json, os, re, shutil, subprocess, sys, tempfile, time

if os.geteuid():
    print("1..0 # SKIP needs root")
    sys.exit(0)
if os.environ.get("CRISP_OCI_T") != "inside":
    os.environ["CRISP_OCI_T"] = "inside"
    os.execvp("unshare", ["unshare", "-m", "--propagation", "private", sys.executable, os.path.abspath(__file__)])

BUILD = os.environ.get("BUILD", "build")
os.chdir(os.path.dirname(os.path.abspath(__file__)) + "/../..")
sys.path.insert(0, "t")
from tap import done, ok
BUNDLE, WORK, PAUSE = (os.path.abspath(f"{BUILD}/{p}") for p in
                       ("t/cri/bundle", "libexec/crisp-work", "libexec/crisp-pause"))
BUSYBOX = "/bin/busybox"
V1 = os.path.isdir("/sys/fs/cgroup/memory")
T = tempfile.mkdtemp(prefix="crisp-oci-t.")
NAME = f"crisp-oci-t-{os.getpid()}"
subprocess.run(["mount", "-t", "tmpfs", "t", T], check=True)


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)


def make_image():
    low, top = f"{T}/layers/0", f"{T}/layers/1"
    os.makedirs(f"{low}/bin")
    shutil.copy(BUSYBOX, f"{low}/bin/busybox")
    for applet in ("sh cat id env mount touch ls grep stat sleep mknod mkdir dd true pwd hostname "
                   "chroot unshare ps readlink head wc tr").split():
        os.link(f"{low}/bin/busybox", f"{low}/bin/{applet}")
    write(f"{low}/etc/passwd", "root:x:0:0::/root:/bin/sh\nghost:x:666:666::/:\n")
    write(f"{top}/etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n")
    write(f"{top}/etc/group", "root:x:0:\napp:x:1001:\nextra:x:50000:app\n")
    write(f"{top}/seeded/file", "from the image")
    os.chmod(f"{top}/seeded", 0o777)
    os.makedirs(f"{low}/tmp")
    os.chmod(f"{low}/tmp", 0o1777)
    return f"{low}:{top}"


def encode(kind, text, path):
    r = subprocess.run(["protoc", f"--encode=runtime.v1.{kind}", "-Iproto", "-I/usr/include", "proto/cri.proto"],
                       input=text.encode(), stdout=open(path, "wb"), stderr=subprocess.PIPE)
    if r.returncode:
        print(f"not ok - {r.stderr.decode()}")
        sys.exit(1)
    return path


LAYERS = make_image()
HEAD = 'metadata { name: "c" } image { image: "busybox" } '
POD = 'metadata { name: "p" uid: "u" namespace: "n" } hostname: "thepod" '
OWN_PID = "linux { security_context { namespace_options { pid: CONTAINER } privileged: true } }"
HOST = "linux { security_context { namespace_options { pid: NODE network: NODE ipc: NODE } privileged: true } }"
write(f"{T}/pod/resolv.conf", "nameserver 192.0.2.53\n")
write(f"{T}/pod/hosts", "127.0.0.1 localhost\n")
write(f"{T}/pod/hostname", "thepod\n")
os.makedirs(f"{T}/pod/shm")
subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "shm", f"{T}/pod/shm"], check=True)
for kind in ("net", "ipc", "uts"):
    write(f"{T}/ns/{kind}", "")
subprocess.run(["mount", "--bind", "--make-private", f"{T}/ns", f"{T}/ns"], check=True)
subprocess.run(["unshare", f"--net={T}/ns/net", f"--ipc={T}/ns/ipc", f"--uts={T}/ns/uts", "hostname", "thepod"], check=True)
KEYS = dict(work=WORK, layers=LAYERS, netns=f"{T}/ns/net", ipcns=f"{T}/ns/ipc", utsns=f"{T}/ns/uts",
            resolv_conf=f"{T}/pod/resolv.conf", hosts=f"{T}/pod/hosts", hostname_file=f"{T}/pod/hostname",
            shm=f"{T}/pod/shm")
count = 0
# Not /dev/null: crun makes whatever it finds there the property of the container's user.
write(f"{T}/stdin", "")
STDIN = open(f"{T}/stdin")
DEVICES = f"{T}/devices"
subprocess.run(["t/leak/leakcheck", "snapshot", DEVICES], check=True)


class Container:
    """A bundle with its overlay mounted, for one engine."""

    def __init__(self, engine, ctr, pod=POD + OWN_PID, **keys):
        global count
        count += 1
        self.engine, self.id, self.dir = engine, f"{NAME}-{count}", f"{T}/b{count}"
        self.cgroup = f"/{NAME}/{self.id}"
        self.pids = []
        os.makedirs(f"{self.dir}/rootfs")
        keys = {**KEYS, "cgroup": self.cgroup, **keys}
        encode("PodSandboxConfig", pod, f"{self.dir}/pod")
        encode("ContainerConfig", HEAD + ctr, f"{self.dir}/ctr")
        self.made = subprocess.run([BUNDLE, "container", f"{self.dir}/pod", f"{self.dir}/ctr", self.dir,
                                    *(f"{k}={v}" for k, v in keys.items())], capture_output=True, text=True)
        if self.made.returncode:
            return
        lower = ":".join(reversed(LAYERS.split(":")))
        subprocess.run(["mount", "-t", "overlay", "-o", f"lowerdir={lower},upperdir={self.dir}/upper,workdir={self.dir}/work",
                        "overlay", f"{self.dir}/rootfs"], check=True)

    def tool(self, *args, **more):
        return subprocess.run([self.engine, "--root", f"{T}/{self.engine}", *args], stdin=STDIN,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, **more)

    def run(self):
        """Run to the end: what it prints."""
        if self.made.returncode:
            return self.made.stderr
        r = self.tool("run", "--bundle", self.dir, self.id)
        self.code = r.returncode
        return r.stdout

    def start(self):
        out = open(f"{self.dir}/out", "w")
        r = subprocess.run([self.engine, "--root", f"{T}/{self.engine}", "create", "--bundle", self.dir, "--pid-file",
                            f"{self.dir}/pid", self.id], stdin=STDIN, stdout=out, stderr=out, timeout=60)
        if not r.returncode:
            r = self.tool("start", self.id)
        return r.returncode == 0

    def pid(self):
        return int(open(f"{self.dir}/pid").read())

    def exec(self, *cmd):
        p = subprocess.run([BUNDLE, "exec", f"{self.dir}/config.json", *cmd], capture_output=True, text=True)
        write(f"{self.dir}/process.json", p.stdout)
        return self.tool("exec", "--process", f"{self.dir}/process.json", self.id).stdout

    def end(self):
        self.tool("delete", "-f", self.id)
        if os.path.ismount(f"{self.dir}/rootfs"):
            subprocess.run(["umount", f"{self.dir}/rootfs"])


def script(text, more=""):
    return f'command: "/bin/sh" args: "-c" args: {json.dumps(text)} {more} '


def run(engine, ctr, **keys):
    c = Container(engine, ctr, **keys)
    out = c.run()
    c.end()
    return out


def plain(e):
    out = run(e, script("pwd; id; hostname; umask; ulimit -n; cat /proc/self/status /proc/self/oom_score_adj; env; "
                        "mount; cat /etc/hostname /etc/resolv.conf; touch /dev/shm/x && echo shm ok; "
                        "touch /sys/x; ls /dev; mount -t tmpfs x /tmp; readlink /proc/self/ns/net",
                        'envs { key: "MULTI" value: "a\\nb=\\303\\244" } working_dir: "/made/dir" '
                        "linux { resources { oom_score_adj: 500 } security_context { seccomp { profile_type: RuntimeDefault } } }"))
    ok("/made/dir\nuid=0(root) gid=0(root) groups=0(root)\nthepod\n0022\n" in out, f"{e}: dir, user, host, umask", out)
    ok("CapEff:\t00000000a80425fb" in out and "CapInh:\t0000000000000000" in out, f"{e}: 14 capabilities", out)
    ok("Seccomp:\t2" in out and re.search(r"^500$", out, re.M), f"{e}: seccomp, oom score", out)
    ok("MULTI=a\nb=ä\n" in out and "HOSTNAME=thepod" in out and "HOME=/root" in out and "PATH=/usr/local/sbin:" in out,
       f"{e}: environment", out)
    ok("nameserver 192.0.2.53" in out and "shm ok" in out, f"{e}: the pod's files and shm", out)
    ok("touch: /sys/x: Read-only" in out and "permission denied" in out.lower() or "Operation not permitted" in out,
       f"{e}: /sys is read-only, mount is refused", out)
    ok(all(d in out for d in ("full", "null", "ptmx", "random", "tty", "urandom", "zero", "mqueue")), f"{e}: devices", out)
    ok(not os.path.exists("/proc/self/ns/net") or os.readlink("/proc/self/ns/net") not in out, f"{e}: the pod's network", out)


def users(e):
    out = run(e, script("id -u; id -g; id -G; env; touch /x"), user="app")
    ok("1000\n1001\n1001 50000\n" in out and "HOME=/home/app" in out and "Permission denied" in out,
       f"{e}: the image's user from its top layer", out)
    out = run(e, script("id -u; id -G", "linux { security_context { run_as_user { value: 1000 } run_as_group { value: 7 } "
                        "supplemental_groups: 9 supplemental_groups_policy: Strict } }"))
    ok(out == "1000\n7 9\n", f"{e}: strict groups", out)
    out = run(e, script("id", 'linux { security_context { run_as_username: "ghost" } }'))
    ok('run_as_username "ghost"' in out, f"{e}: a name that only a lower layer knows is refused", out)
    out = run(e, script("grep Cap /proc/self/status", "linux { security_context { run_as_user { value: 1000 } capabilities { "
                        'drop_capabilities: "ALL" add_ambient_capabilities: "NET_BIND_SERVICE" } no_new_privs: true } }'))
    ok("CapEff:\t0000000000000400" in out and "CapAmb:\t0000000000000400" in out, f"{e}: ambient capability", out)


def readonly(e):
    out = run(e, script("touch /x; touch /vol/a /seeded/b && cat /seeded/file; touch /dev/shm/y && echo shm; touch /etc/hosts",
                        "linux { security_context { readonly_rootfs: true } }"), volumes="/vol:/seeded")
    ok("touch: /x: Read-only" in out and "from the image" in out and "shm" in out and "/etc/hosts: Read-only" in out,
       f"{e}: a read-only root with writable volumes", out)
    out = run(e, script("ls -d /vol/deep && touch /vol/deep/x && stat -c %a /seeded && echo fine"), volumes="/vol/deep:/seeded")
    ok(out == "/vol/deep\n777\nfine\n", f"{e}: volumes are made, the image's stay as they are", out)


def privileged(e):
    out = run(e, script("grep CapBnd /proc/self/status; grep Seccomp: /proc/self/status; ls /dev; hostname; mount -t tmpfs x /tmp && echo mounted; "
                        "test -w /proc/sys/kernel && echo rw; mount | grep ' /sys '; for n in net ipc pid; do readlink /proc/self/ns/$n; done",
                        "linux { security_context { privileged: true seccomp { profile_type: RuntimeDefault } } }"), pod=POD + HOST)
    bounding = re.search(r"CapBnd:\t(\w+)", open("/proc/self/status").read()).group(1)
    ok(f"CapBnd:\t{bounding}" in out and "Seccomp:\t0" in out, f"{e}: privileged has all that we have", out)
    ok("mounted" in out and "rw" in out and "/sys type sysfs (rw" in out, f"{e}: privileged writes", out)
    ok(all(os.readlink(f"/proc/self/ns/{n}") in out for n in ("net", "ipc", "pid")), f"{e}: the host's namespaces", out)
    some = [d for d in os.listdir("/dev") if d in ("loop-control", "fuse", "vda", "kmsg", "net")]
    ok(all(d in out for d in some) and some, f"{e}: the host's devices", out)


def mounts(e):
    os.makedirs(f"{T}/src/sub/inner", exist_ok=True)
    write(f"{T}/src/file", "data")
    write(f"{T}/log", "")
    if not os.path.islink(f"{T}/link"):
        os.symlink("src", f"{T}/link")
    shutil.rmtree(f"{T}/missing", ignore_errors=True)
    out = run(e, script("cat /data/file; touch /data/x; cat /data/sub/hosts; echo bye > /log/term; ls -d /made; mount; cat /etc/hosts", f"""
        mounts {{ container_path: "/data/sub" host_path: "{T}/pod" }}
        mounts {{ container_path: "/data" host_path: "{T}/link" readonly: true }}
        mounts {{ container_path: "/log/term" host_path: "{T}/log" }}
        mounts {{ container_path: "/made" host_path: "{T}/missing/dir" }}
        mounts {{ container_path: "/etc/hosts" host_path: "{T}/src/file" readonly: true selinux_relabel: true }}
        mounts {{ container_path: "/exec" host_path: "{T}/src" mount_options: "noexec" mount_options: "nosuid" }}"""))
    ok("data" in out and "touch: /data/x: Read-only" in out and "127.0.0.1 localhost" in out, f"{e}: binds, nested", out)
    ok(open(f"{T}/log").read() == "bye\n", f"{e}: a termination log", out)
    ok(os.path.isdir(f"{T}/missing/dir") and "/made\n" in out, f"{e}: a missing source is made", out)
    ok(re.search(r"on /exec type tmpfs \(rw,nosuid,(nodev,)?noexec", out), f"{e}: mount options", out)

    subprocess.run(["mount", "-t", "tmpfs", "in", f"{T}/src/sub/inner"], check=True)
    out = run(e, script("touch /r/sub/inner/x || echo no; touch /n/sub/inner/y && echo yes", f"""
        mounts {{ container_path: "/r" host_path: "{T}/src" readonly: true recursive_read_only: true }}
        mounts {{ container_path: "/n" host_path: "{T}/src" readonly: true }}"""))
    ok("no\n" in out and "yes\n" in out, f"{e}: recursive read-only", out)
    subprocess.run(["umount", f"{T}/src/sub/inner"], check=True)


def propagation(e):
    src = f"{T}/shared"
    os.makedirs(src, exist_ok=True)
    out = run(e, script("true", f'mounts {{ container_path: "/s" host_path: "{src}" propagation: PROPAGATION_HOST_TO_CONTAINER }}'))
    ok(f'mounts[0].host_path "{src}"' in out and "not shared or a slave" in out, f"{e}: a private source is refused", out)
    subprocess.run(["mount", "-t", "tmpfs", "s", src], check=True)
    subprocess.run(["mount", "--make-shared", src], check=True)
    for way, seen, back in (("PRIVATE", 0, 0), ("HOST_TO_CONTAINER", 1, 0), ("BIDIRECTIONAL", 1, 1)):
        os.makedirs(f"{src}/a", exist_ok=True), os.makedirs(f"{src}/b", exist_ok=True)
        c = Container(e, f"""command: "sleep" args: "60" linux {{ security_context {{ privileged: true }} }}
            mounts {{ container_path: "/s" host_path: "{src}" propagation: PROPAGATION_{way} }}""")
        good = c.start()
        subprocess.run(["mount", "-t", "tmpfs", "later", f"{src}/a"], check=True)
        inside = c.exec("mount")
        c.exec("mount", "-t", "tmpfs", "theirs", "/s/b")
        outside = open("/proc/self/mountinfo").read()
        ok(good and ("later on /s/a" in inside) == bool(seen) and ("theirs" in outside) == bool(back), f"{e}: {way}",
           c.made.stderr + inside + open(f"{c.dir}/out").read())
        c.end()
        subprocess.run(["umount", f"{src}/a"])
        subprocess.run(["umount", "-q", f"{src}/b"])
    subprocess.run(["umount", src], check=True)


def knob(c, controller, v1, v2):
    path = f"/sys/fs/cgroup/{controller}{c.cgroup}/{v1}" if V1 else f"/sys/fs/cgroup{c.cgroup}/{v2}"
    return open(path).read().strip()


def resources(e):
    limits = ("linux { resources { cpu_period: 100000 cpu_quota: 50000 cpu_shares: 512 memory_limit_in_bytes: %d "
              'oom_score_adj: -997 cpuset_cpus: "0" hugepage_limits { page_size: "2MB" } hugepage_limits { page_size: "7KB" } } }')
    c = Container(e, 'command: "sleep" args: "60" ' + limits % (64 << 20))
    good = c.start()
    ok(good and knob(c, "memory", "memory.limit_in_bytes", "memory.max") == str(64 << 20), f"{e}: memory limit",
       c.made.stderr + open(f"{c.dir}/out").read())
    ok(V1 and knob(c, "cpu", "cpu.shares", "") == "512" and knob(c, "cpu", "cpu.cfs_quota_us", "") == "50000"
       or not V1 and knob(c, "", "", "cpu.max") == "50000 100000", f"{e}: cpu limits")
    ok(knob(c, "cpuset", "cpuset.cpus", "cpuset.cpus") == "0", f"{e}: cpuset")
    for size in (128 << 20, 32 << 20):
        encode("ContainerConfig", HEAD + limits % size, f"{c.dir}/ctr2")
        text = subprocess.run([BUNDLE, "resources", f"{c.dir}/ctr2"], capture_output=True, text=True).stdout
        write(f"{c.dir}/update", text)
        r = c.tool("update", "--resources", f"{c.dir}/update", c.id)
        ok(r.returncode == 0 and knob(c, "memory", "memory.limit_in_bytes", "memory.max") == str(size),
           f"{e}: update to {size >> 20} MiB", r.stdout)
    out = c.exec("cat", "/proc/self/oom_score_adj", "/proc/1/oom_score_adj")
    mine = int(open("/proc/self/oom_score_adj").read())
    ok(out in (f"{mine}\n{mine}\n", "-997\n-997\n"), f"{e}: a score that may be given", out)
    c.end()


def devices(e):
    out = run(e, script("ls -l /dev/my; head -c1 /dev/my | wc -c; echo x > /dev/my; mknod /dev/raw b 7 0 && head -c1 /dev/raw",
                        'devices { host_path: "/dev/zero" container_path: "/dev/my" permissions: "rm" }'))
    ok(re.search(r"crw-rw-rw-.* 1, +5 .*/dev/my", out) and "\n1\n" in out, f"{e}: a device", out)
    # /dev/zero itself is for everybody, so only another device shows that the rest is shut
    ok("/dev/raw: Operation not permitted" in out, f"{e}: other devices stay shut", out)
    out = run(e, script("true", 'devices { host_path: "/etc/passwd" }'))
    ok('devices[0].host_path "/etc/passwd": is no device' in out, f"{e}: a file is no device", out)


def seccomp(e):
    write(f"{T}/profile.json", json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}))
    profile = 'linux { security_context { seccomp { profile_type: Localhost localhost_ref: "%s" } } }'
    out = run(e, script("mkdir /x", profile % f"{T}/profile.json"))
    ok("No space left" in out, f"{e}: a profile of the host's", out)
    out = run(e, script("true", profile % f"{T}/none.json"))
    ok(f'localhost_ref "{T}/none.json"' in out and "No such file" in out, f"{e}: a profile that is missing", out)
    out = run(e, script("unshare -U true; unshare -n true; echo alive; chroot / /bin/true && echo chroot",
                        "linux { security_context { seccomp { profile_type: RuntimeDefault } } }"))
    ok(out.count("Operation not permitted") == 2 and "alive" in out and "chroot\n" in out, f"{e}: no namespaces, but chroot", out)
    out = run(e, script("ls /proc/kcore; echo 1 > /proc/sys/kernel/panic; cat /proc/keys /proc/timer_list | wc -c; ls /sys/firmware | wc -l"))
    # runc copies the two streams on their own: no order between them
    ok("Read-only" in out and out.splitlines().count("0") == 2, f"{e}: masked and read-only paths", out)


def execs(e):
    c = Container(e, 'command: "sleep" args: "60" envs { key: "A" value: "b" } linux { security_context { run_as_user { value: 1000 } } }')
    good = c.start()
    out = c.exec("sh", "-c", "id -u; echo $A; grep -c . /proc/self/cgroup > /dev/null && ls -l /proc/self/fd | wc -l")
    ok(good and "1000\nb\n" in out, f"{e}: exec", out + c.made.stderr)
    c.end()


def pause(e):
    empty = f"{T}/empty"
    for name in ("dev", "proc", "sys"):
        os.makedirs(f"{empty}/{name}", exist_ok=True)
    write(f"{empty}/pause", "")
    d = f"{T}/pause-{e}"
    os.makedirs(d)
    subprocess.run([BUNDLE, "pause", d, f"rootfs={empty}", f"pause={PAUSE}", f"cgroup=/{NAME}/pause",
                    *(f"{k}={KEYS[k]}" for k in ("netns", "ipcns", "utsns"))], check=True)
    p = Container(e, "")
    p.dir, p.id = d, f"{NAME}-pause"
    good = p.start()
    end = time.monotonic() + 10		# start answers before the program is executed
    while good and "Name:\tpause" not in open(f"/proc/{p.pid()}/status").read() and time.monotonic() < end:
        time.sleep(0.01)
    status = open(f"/proc/{p.pid()}/status").read() if good else open(f"{d}/out").read()
    ok(good and "Uid:\t65534" in status and "CapBnd:\t0000000000000000" in status and "Seccomp:\t2" in status
       and "NoNewPrivs:\t1" in status, f"{e}: crisp-pause runs as nobody", status)
    ok(sorted(os.listdir(empty)) == ["dev", "pause", "proc", "sys"], f"{e}: its root stays empty", os.listdir(empty))
    look = ("tr '\\0' ' ' < /proc/1/cmdline; echo; ls /proc/1/root; ls /proc/1/root/etc; touch /proc/1/root/x; "
            "chroot /proc/1/root /pause & sleep 0.2; ls /proc/1/root/proc/1/root")
    for power, more in (("", ""), (" with CAP_SYS_PTRACE", 'capabilities { add_capabilities: "SYS_PTRACE" }')):
        out = run(e, script(look, "linux { security_context { %s } }" % more), pidns=f"/proc/{p.pid()}/ns/pid" if good else "",
                  pod=POD + "linux { security_context { namespace_options { pid: POD } } }")
        ok("/pause \n" in out and "/root/etc: No such" in out and "/root/x: Read-only" in out and "dev\npause\nproc\nsys\n" in out
           if power else "/pause \n" in out and out.count("Permission denied") >= 4,
           f"{e}: nothing of the host behind /proc/1/root{power}", out)
    p.end()


engines = [e for e in ("crun", "runc") if shutil.which(e)]
try:
    for engine in engines:
        for part in (plain, users, readonly, privileged, mounts, propagation, resources, devices, seccomp, execs, pause):
            part(engine)
    left = subprocess.run(["t/leak/leakcheck", "compare", DEVICES], capture_output=True, text=True)
    ok(left.returncode == 0, "the host's devices are whose they were", left.stdout)
finally:
    for top in (os.listdir("/sys/fs/cgroup") if V1 else [""]):
        for root, dirs, _ in os.walk(f"/sys/fs/cgroup/{top}/{NAME}", topdown=False):
            try:
                os.rmdir(root)
            except OSError:
                pass
    subprocess.run(["umount", "-l", T])
    os.rmdir(T)
done()

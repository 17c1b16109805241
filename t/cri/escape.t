#!/usr/bin/python3
# Pid 1 of a pod that shares its pids is the pause process: through it no container reaches the host.
import os, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from node import HOME, Node, done, ok, say

node = Node().start().load()
secret = f"{HOME}/secret"
SHARED = {"network": "POD", "pid": "POD", "ipc": "POD"}
HOSTS = {"network": "POD", "pid": "NODE", "ipc": "POD"}
# What is tried for each process that is seen; a word for each way that led to the host.
TRY = f"""
for pid in /proc/[0-9]*; do
	for way in root cwd root/proc/1/root; do
		[ ! -e $pid/$way{secret} ] || echo "$pid/$way: there"
		cat $pid/$way{secret} 2>/dev/null
		(echo written > $pid/$way{secret}) 2>/dev/null && echo "$pid/$way: written"
		(: > $pid/$way{HOME}/made) 2>/dev/null && echo "$pid/$way: made"
		chroot $pid/$way cat {secret} 2>/dev/null
	done
	for fd in $pid/fd/*; do
		[ ! -d $fd/. ] || [ ! -e $fd{secret} ] || echo "$fd: there"
	done
done
echo tried"""


def namesakes(ctr):
    """The host's pid of pid 1 in the container's pid namespace."""
    ns = os.readlink(f"/proc/{node.pid(ctr)}/ns/pid")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/ns/pid") != ns:
                continue
            with open(f"/proc/{pid}/status") as f:
                if next(line for line in f if line.startswith("NSpid:")).split()[-1] == "1":
                    return int(pid)
        except OSError:
            pass
    return 0


def mounts(pid):
    with open(f"/proc/{pid}/mountinfo") as f:
        return [(m[2], m[3], m[4], m[5]) for m in map(str.split, f)]


def status_of(pid):
    with open(f"/proc/{pid}/status") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f)


def caps(*add):
    return {"security": {"capabilities": {"add_capabilities": list(add)}}}


HOST_ROOT = next(m for m in mounts("self") if m[2] == "/")
for engine in "crun", "runc":
    with open(secret, "w") as f:
        f.write("of the host\n")
    os.chmod(secret, 0o666)
    pod = node.run(f"shared-{engine}", engine, namespaces=SHARED)
    for name, more in ("default", {}), ("with SYS_PTRACE", caps("SYS_PTRACE")), \
                      ("with SYS_PTRACE, SYS_CHROOT and DAC_OVERRIDE", caps("SYS_PTRACE", "SYS_CHROOT", "DAC_OVERRIDE")):
        ctr = node.started(pod, name.replace(" ", "-"), "sleep", "100000", namespaces=SHARED, **more)
        said = node.exec(ctr, "sh", "-c", TRY)
        ok(said.stdout == b"tried\n", f"{engine}, {name}: no way leads to a file of the host",
           said.stdout.decode(errors="replace") + said.stderr.decode(errors="replace"))
        seen = node.exec(ctr, "sh", "-c", "ls /proc/1/root/").stdout.decode().split()
        say(f"{engine}, {name}: /proc/1/root shows", " ".join(seen) or "nothing")
        inside = node.exec(ctr, "sh", "-c", "echo /proc/[0-9]* | wc -w").stdout.decode().strip()
        ok(int(inside) > 2, f"{engine}, {name}: it does see the pod's processes", inside)
    with open(secret) as f:
        ok(f.read() == "of the host\n" and not os.path.exists(f"{HOME}/made"), f"{engine}: the host's files are as they were")

    pause = namesakes(ctr)
    ok(pause and status_of(pause)["Name"] == "pause", f"{engine}: pid 1 is the pause process", pause)
    own = mounts(pause)
    host = [m for m in own if m[0] == HOST_ROOT[0] and m[1] == "/" or secret.startswith(m[1].rstrip("/") + "/") and m[1] != "/"]
    ok(not host, f"{engine}: none of its {len(own)} mounts is the host's root", host)
    root = next(m for m in own if m[2] == "/")
    ok("ro" in root[3].split(","), f"{engine}: its root is read-only", root)
    st = status_of(pause)
    ok(set(st["Uid"].split()) == {"65534"} and int(st["CapEff"], 16) == int(st["CapPrm"], 16) == int(st["CapBnd"], 16) == 0 and
       st["Seccomp"] == "2" and st["NoNewPrivs"] == "1", f"{engine}: it is nobody, without capabilities, under seccomp", st)
    fds = {os.readlink(f"/proc/{pause}/fd/{n}") for n in os.listdir(f"/proc/{pause}/fd")}
    ok(fds <= {"/dev/null", "/memfd:crisp-empty (deleted)"}, f"{engine}: it holds nothing open", fds)

    # What is given to its user as standard input is not the node's.
    null = os.stat("/dev/null")
    pod = node.run(f"stdin-{engine}", engine)
    ctr = node.started(pod, "stdin", "sleep", "100000", security={"run_as_user": {"value": 1234}})
    said = node.exec(ctr, "sh", "-c", "chmod 600 /proc/self/fd/0 /proc/1/fd/0; chmod 600 /dev/null; cat; echo end")
    ok(said.stdout == b"end\n" and (now := os.stat("/dev/null")).st_mode == null.st_mode and now.st_uid != 1234,
       f"{engine}: a user can't take /dev/null from the node", (said, null, os.stat("/dev/null")))

    # A privileged container may do all that root may, by its own devices; the pause process gives it nothing more.
    pod = node.run(f"privileged-{engine}", engine, namespaces=SHARED, security={"privileged": True})
    ctr = node.started(pod, "privileged", "sleep", "100000", namespaces=SHARED, security={"privileged": True})
    said = node.exec(ctr, "sh", "-c", TRY)
    ok(said.stdout == b"tried\n", f"{engine}, privileged: nor through the pause process", said.stdout.decode(errors="replace"))
    caps_in = node.exec(ctr, "sh", "-c", "while read a b; do [ $a != CapEff: ] || echo $b; done < /proc/self/status").stdout.decode().strip()
    ours = status_of("self")["CapBnd"].strip()
    ok(caps_in == ours, f"{engine}, privileged: it has all capabilities that the daemon has", (caps_in, ours))

    # Were there a way, it would be found.
    pod = node.run(f"control-{engine}", engine, namespaces=HOSTS, security={"privileged": True})
    ctr = node.started(pod, "control", "sleep", "100000", namespaces=HOSTS, security={"privileged": True})
    said = node.exec(ctr, "sh", "-c", TRY.replace("/proc/[0-9]*", f"/proc/{os.getpid()}", 1)).stdout.decode()
    ok("/root: there\nof the host\n" in said and "/root: written\n" in said and os.path.exists(f"{HOME}/made"),
       f"{engine}, privileged with the host's pids: that one does reach it", said)
    os.unlink(f"{HOME}/made")
    os.unlink(secret)
for p in node.pods():
    node.down(p)
ok(node.pods() == set() and node.stop() == 0, "the end")
done()

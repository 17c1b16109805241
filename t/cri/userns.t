#!/usr/bin/python3
# Pods with a user namespace of their own: whose is what, inside and on the node; what goes wrong.
import os, re, signal, subprocess, sys

import grpc

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from node import HOME, IMAGE, Node, done, ok, say, until

FIRST, SECOND, LENGTH = 200000, 300000, 65536


def userns(host, length=LENGTH):
    one = [{"container_id": 0, "host_id": host, "length": length}]
    return {"mode": "POD", "uids": one, "gids": one}


def spaces(host, **more):
    return {"network": "POD", "pid": "CONTAINER", "ipc": "POD", "userns_options": userns(host), **more}


def volume(where, source, host=None, **more):
    one = [{"container_id": 0, "host_id": host, "length": LENGTH}]
    maps = {"uidMappings": one, "gidMappings": one} if host is not None else {}
    return {"container_path": where, "host_path": source, **maps, **more}


def owner(path):
    st = os.lstat(path)
    return st.st_uid, st.st_gid


def sh(ctr, script):
    said = node.exec(ctr, "sh", "-c", script)
    return (said.stdout + said.stderr).decode(errors="replace").strip()


def ids_of(pid):
    with open(f"/proc/{pid}/status") as f:
        st = dict(line.rstrip("\n").split(":\t", 1) for line in f)
    return int(st["Uid"].split()[0]), int(st["Gid"].split()[0])


node = Node().start().load()
for engine in "crun", "runc":	# what is made with the first such pod stays
    warm = node.run(f"warm-{engine}", engine, namespaces=spaces(FIRST, pid="POD"))
    node.started(warm, "warm", "sleep", "1000", namespaces=spaces(FIRST, pid="POD"), mounts=[volume("/v", HOME, FIRST)])
    node.down(warm)
ok(not (said := node.snapshot()), "the snapshot", said)

for engine in "crun", "runc":
    mapped, plain, secret = f"{HOME}/mapped-{engine}", f"{HOME}/plain-{engine}", f"{HOME}/secret-{engine}"
    for path in mapped, plain:
        os.mkdir(path)
        os.chmod(path, 0o755)
    with open(f"{mapped}/of-root", "w") as f:
        f.write("root's\n")
    with open(secret, "w") as f:
        f.write("of the host\n")
    os.chmod(secret, 0o600)

    pod = node.run(f"one-{engine}", engine, namespaces=spaces(FIRST))
    ctr = node.started(pod, "main", "sleep", "100000", namespaces=spaces(FIRST),
                       mounts=[volume("/mapped", mapped, FIRST), volume("/plain", plain), volume("/secret", secret)])
    status = node.call("PodSandboxStatus", pod_sandbox_id=pod).status
    options = status.linux.namespaces.options.userns_options
    ok(options.mode == 0 and options.uids[0].host_id == FIRST and options.gids[0].length == LENGTH,
       f"{engine}: the pod's status tells its mappings", options)
    ok(ids_of(node.pid(ctr)) == (FIRST, FIRST), f"{engine}: root inside is {FIRST} outside", ids_of(node.pid(ctr)))
    ok(sh(ctr, "cat /proc/self/uid_map /proc/self/gid_map").split() == ["0", str(FIRST), str(LENGTH)] * 2,
       f"{engine}: the maps", sh(ctr, "cat /proc/self/uid_map"))
    ok(sh(ctr, "ls -ln /bin/busybox /etc/hosts /etc/hostname /etc/resolv.conf | while read a b u g c; do echo $u $g; done").split() == ["0"] * 8,
       f"{engine}: the image's and the pod's files are root's inside", sh(ctr, "ls -ln /bin/busybox /etc/"))
    say(engine, sh(ctr, "ls -lnd / /dev/shm /mapped /plain /secret /mapped/of-root"))
    sh(ctr, "echo new > /mapped/new; echo x > /file; echo y >> /etc/hosts; echo z > /dev/shm/z; mkdir /dir")
    ok(os.path.exists(f"{mapped}/new") and owner(f"{mapped}/new") == (0, 0),
       f"{engine}: what root writes into a mapped volume is root's on the node")
    ok(sh(ctr, "cat /mapped/of-root; ls -n /mapped/of-root").split()[0] == "root's", f"{engine}: and it reads what root has there")
    ok("denied" in sh(ctr, "echo new > /plain/new") and not os.path.exists(f"{plain}/new"),
       f"{engine}: it can't write to root's folder that is not mapped")
    ok("denied" in sh(ctr, "cat /secret"), f"{engine}: nor read a secret of the host's root", sh(ctr, "cat /secret"))

    # Volumes and files of each kind.
    with open(f"{mapped}/termination", "w") as f:
        pass
    os.makedirs(f"{mapped}/ro")
    outside = f"{HOME}/out-{engine}"
    os.mkdir(outside)
    os.symlink(outside, f"{mapped}/link")
    log = node.started(pod, "volumes", "sh", "-c", "echo to stdout; echo to stderr >&2; exec sleep 100000", namespaces=spaces(FIRST),
                       security={"readonly_rootfs": True, "no_new_privs": True, "seccomp": {"profile_type": "RuntimeDefault"}},
                       mounts=[volume("/dev/termination-log", f"{mapped}/termination", FIRST), volume("/ro", f"{mapped}/ro", FIRST, readonly=True),
                               volume("/rro", f"{mapped}/ro", FIRST, readonly=True, recursive_read_only=True),
                               volume("/link", f"{mapped}/link", FIRST), volume("/opt", f"{mapped}/ro", FIRST, mount_options=["noexec", "nosuid", "nodev"])])
    sh(log, "echo done > /dev/termination-log; echo y > /link/y")
    with open(f"{mapped}/termination") as f:
        ok(f.read() == "done\n", f"{engine}: the termination log, a mapped file, can be written")
    ok(os.path.exists(f"{outside}/y") and owner(f"{outside}/y") == (0, 0), f"{engine}: a mapped volume behind a symlink")
    said = sh(log, "for p in /ro /rro / /etc; do echo x > $p/x; done")
    ok(said.lower().count("read-only") == 4, f"{engine}: read-only volumes and root stay so", said)
    said = sh(log, "while read a b c d e f g; do [ $e != /opt ] || echo $f; done < /proc/self/mountinfo")
    ok(all(o in said.split(",") for o in ("noexec", "nosuid", "nodev")), f"{engine}: options of a mapped mount", said)
    with open(f"{node.logs}/one-{engine}/volumes.log") as f:
        ok("stdout F to stdout" in (text := f.read()) and "stderr F to stderr" in text, f"{engine}: its log", text)
    said = sh(ctr, "echo 1 > /proc/sys/kernel/panic; mount -t tmpfs t /tmp; ls /proc/1/root/ | wc -l; kill -0 1 && echo own")
    ok("own" in said and said.lower().count("denied") + said.lower().count("read-only") >= 2, f"{engine}: the node's settings are out of reach", said)
    said = sh(ctr, "chmod 000 /dev/null; chown 5 /dev/null /dev/zero; for fd in /proc/self/fd/0 /proc/1/fd/0; do chown 0 $fd; chmod 000 $fd; done")
    ok(owner("/dev/null")[0] < FIRST and os.stat("/dev/null").st_mode & 0o777 == 0o666, f"{engine}: it can't touch the node's devices", said)

    # All that a privileged one has is in its namespace.
    power = spaces(SECOND)
    priv = node.run(f"privileged-{engine}", engine, namespaces=power, security={"privileged": True})
    root = node.started(priv, "root", "sleep", "100000", namespaces=power, security={"privileged": True}, mounts=[volume("/secret", secret)])
    said = sh(root, "mkdir /tmp/m && mount -t tmpfs t /tmp/m && echo mounted; cat /secret; echo 0 > /proc/sys/vm/drop_caches; echo end")
    ok("mounted" in said and "of the host" not in said and said.lower().count("denied") == 2,
       f"{engine}: a privileged container is root of its namespace, not of the node", said)
    node.down(priv)

    # Sysctls of each kind, a terminal.
    tuned = node.run(f"tuned-{engine}", engine, namespaces=spaces(FIRST), linux={
        "cgroup_parent": f"{node.cgroup}/pods/tuned-{engine}", "security_context": {"namespace_options": spaces(FIRST)},
        "sysctls": {"net.ipv4.ip_forward": "1", "kernel.shmmax": "654321", "net.ipv4.conf.eth0.forwarding": "0"}})
    tty = node.started(tuned, "tty", "sh", "-c", "echo hello; exec sleep 100000", namespaces=spaces(FIRST), tty=True, stdin=True)
    said = sh(tty, "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax /proc/sys/net/ipv4/conf/eth0/forwarding")
    ok(said.split() == ["1", "654321", "0"], f"{engine}: sysctls", said)
    ok("hello" in (text := node.log_of(tty)), f"{engine}: a terminal", text)
    node.down(tuned)

    # What is said no to.
    maps = {"container_id": 0, "host_id": FIRST, "length": 5}
    for what, namespaces, words in (
            ("the host's network", spaces(FIRST, network="NODE"), "network NODE"),
            ("the host's pids", spaces(FIRST, pid="NODE"), "pid NODE"),
            ("two mappings", spaces(FIRST, userns_options={"mode": "POD", "uids": [maps, maps], "gids": [maps]}), "uids: has 2 mappings"),
            ("no mapping of 0", spaces(FIRST, userns_options={"mode": "POD", "uids": [maps], "gids": [{**maps, "container_id": 1}]}),
             "gids[0].container_id 1")):
        code, said = node.refused("RunPodSandbox", config=node.pod_config("refused", namespaces=namespaces), runtime_handler=engine)
        ok(code == "INVALID_ARGUMENT" and words in said, f"{engine}: {what} is refused", said)
    code, said = node.refused("CreateContainer", **node.create_request(pod, "proc", "true", namespaces=spaces(FIRST),
                                                                       mounts=[volume("/p", "/proc", FIRST)]))
    ok("map the ids of /proc" in said, f"{engine}: a volume whose file system can't be mapped is refused", said)

    # Another pod, with other ids.
    other = node.run(f"two-{engine}", engine, namespaces=spaces(SECOND))
    ctr2 = node.started(other, "main", "sleep", "100000", namespaces=spaces(SECOND), mounts=[volume("/mapped", mapped, SECOND)])
    ok(ids_of(node.pid(ctr2)) == (SECOND, SECOND), f"{engine}: a second pod has its own ids", ids_of(node.pid(ctr2)))
    ok(sh(ctr2, "cat /mapped/new") == "new", f"{engine}: both see the mapped volume as their own", sh(ctr2, "cat /mapped/new"))

    # Users and groups of the container's own.
    user = node.started(pod, "user", "sleep", "100000", namespaces=spaces(FIRST),
                        security={"run_as_user": {"value": 1000}, "run_as_group": {"value": 2000}, "supplemental_groups": [3000]})
    ok(ids_of(node.pid(user)) == (FIRST + 1000, FIRST + 2000), f"{engine}: user 1000 is {FIRST + 1000} outside", ids_of(node.pid(user)))
    ok(sh(user, "id -u; id -g; id -G").split() == ["1000", "2000", "2000", "3000"], f"{engine}: user and groups", sh(user, "id"))
    sh(user, "echo out > /dev/stdout")
    code, words = node.refused("CreateContainer", **node.create_request(
        pod, "nobody", "true", namespaces=spaces(FIRST), security={"run_as_user": {"value": 70000}}))
    ok(code == "INVALID_ARGUMENT" and "user 70000" in words, f"{engine}: a user beyond the map is refused", words)

    # One pid namespace for all.
    shared = spaces(SECOND, pid="POD")
    pids = node.run(f"pids-{engine}", engine, namespaces=shared)
    first = node.started(pids, "first", "sleep", "100000", namespaces=shared)
    second = node.started(pids, "second", "sleep", "100001", namespaces=shared)
    ok("100000" in sh(second, "cat /proc/[0-9]*/cmdline"), f"{engine}: containers of one pid namespace see each other")
    for p in pod, other, pids:
        node.down(p)
    ok(owner("/dev/null")[0] < FIRST, f"{engine}: the node's /dev/null is whose it was", owner("/dev/null"))

# Killed at each row: what was half made is gone, and another one can be made.
ROWS = [("run pod", step) for step in ("make namespaces", "attach network", "write files", "create pause", "make ready")] + \
       [("create", step) for step in ("prepare", "write spec", "engine create", "make created")]
for engine in "crun", "runc":
    shared = spaces(FIRST, pid="POD")
    lost = []
    for table, step in ROWS:
        pod = node.run(f"kept-{engine}", engine, namespaces=shared) if table == "create" else None
        core = node.core()
        node.arm(f"kill {table}/{step}")
        try:	# the library may send a call to the next core by itself
            pod = pod or node.run(f"killed-{engine}", engine, namespaces=shared)
            node.started(pod, "killed", "sleep", "100000", namespaces=shared, mounts=[volume("/v", mapped, FIRST)])
        except Exception as e:
            pass
        if node.core(core) == core:
            lost.append(f"{table}/{step}: the core was not killed")
        try:
            pod = pod or node.run(f"killed-{engine}", engine, namespaces=shared)
        except grpc.RpcError as e:
            lost.append(f"{table}/{step}: {e.details()}\n{node.last_words()}")
            break
        ctr = node.started(pod, "again", "sleep", "100000", namespaces=shared, mounts=[volume("/v", mapped, FIRST)])
        if ids_of(node.pid(ctr)) != (FIRST, FIRST) or sh(ctr, "cat /v/of-root") != "root's":
            lost.append(f"{table}/{step}: {ids_of(node.pid(ctr))} {sh(ctr, 'ls -ln /v')}")
        for p in node.pods():
            node.down(p)
    ok(not lost, f"{engine}: the core killed at {len(ROWS)} rows", "\n".join(lost))

# A core that dies, and a keeper with it: the namespaces are found again.
def kill_both():
    node.keeper.send_signal(signal.SIGSTOP)
    core = node.core()
    for pid in core, node.keeper.pid:
        os.kill(pid, signal.SIGKILL)
    node.keeper.wait()
    until(lambda: not os.path.exists(f"/proc/{core}"), "the core's end, and with it its lock's")
    node.start()
    node.here.channel = None	# the old one would find the old core dead


pod = node.run("kept", "crun", namespaces=spaces(FIRST))
ctr = node.started(pod, "main", "sleep", "100000", namespaces=spaces(FIRST))
before = os.readlink(f"/proc/{node.pid(ctr)}/ns/user")
kill_both()
ok(node.state_of(ctr) == "CONTAINER_RUNNING", "a container outlives core and keeper", node.state_of(ctr))
second = node.started(pod, "second", "sleep", "100000", namespaces=spaces(FIRST))
ok(os.readlink(f"/proc/{node.pid(second)}/ns/user") == before, "the next one joins the same user namespace")
for c in ctr, second:
    node.call("StopContainer", container_id=c, timeout=0)
    node.call("RemoveContainer", container_id=c)
kill_both()
third = node.started(pod, "third", "sleep", "100000", namespaces=spaces(FIRST))
ok(os.readlink(f"/proc/{node.pid(third)}/ns/user") == before and "0" == sh(third, "id -u"),
   "also when no process was left in it: its network knows it", os.readlink(f"/proc/{node.pid(third)}/ns/user"))
owned = subprocess.run(["lsns", "-n", "-o", "TYPE,ONS", "-p", str(node.pid(third))], capture_output=True, text=True).stdout
ok(all(word[1] == re.sub(r"\D", "", before) for line in owned.splitlines() if (word := line.split())[0] in ("net", "ipc", "uts", "mnt", "pid")),
   "and owns all that was made anew", owned)
node.down(pod)
said = node.leaks()
ok(not said, "nothing is left", said)

# The test at the start: not believed when it fails, not done twice, harmless when the core dies over it.
def announced():
    def ask():
        try:
            return node.call("Status").runtime_handlers
        except grpc.RpcError:	# of the core that was killed
            return None
    return {h.name: h.features.user_namespaces for h in until(ask, "the node's status")}


ok(announced() == {"": True, "crun": True, "runc": True}, "both engines are announced", announced())
proofs = [f"{node.state}/engines/{engine}/userns-works" for engine in ("crun", "runc")]
tested = open(node.log).read().count("userns-test")
os.kill(core := node.core(), signal.SIGKILL)
node.core(core)
ok(announced()["crun"] and open(node.log).read().count("userns-test") == tested, "a core that follows believes the proof")
for path in proofs:
    os.unlink(path)
node.arm("fail test user namespaces/look")
os.kill(core := node.core(), signal.SIGKILL)
node.core(core)
got = announced()
ok(sorted(got[n] for n in ("crun", "runc")) == [False, True], "one whose test fails is not announced", got)
bad = next(n for n in ("crun", "runc") if not got[n])
code, said = node.refused("RunPodSandbox", config=node.pod_config("no", namespaces=spaces(FIRST)), runtime_handler=bad)
ok(code == "INVALID_ARGUMENT" and "failed on demand" in said, "and refuses such pods, saying why", said)
node.keeper.send_signal(signal.SIGHUP)
ok(until(lambda: announced()[bad], "a second test"), "SIGHUP has it tested again")
steps = ["make namespaces", "make files", "write bundle", "delete old", "engine create", "engine start", "look", "engine delete", "drop namespaces"]
for step in steps:
    for path in proofs:
        os.unlink(path)
    node.arm(f"kill test user namespaces/{step}")
    os.kill(core := node.core(), signal.SIGKILL)
    got = until(lambda: all((a := announced()).values()) and a, f"an announcement after a kill at {step}")
    until(lambda: all(map(os.path.exists, proofs)), "the proofs")
ok(True, f"killed at {len(steps)} steps of it, a core tests again")
said = node.leaks()
ok(not said, "and nothing of the tests is left", said)
ok(node.pods() == set() and node.stop() == 0, "the end")
done()

#!/usr/bin/python3
# Pods with a user namespace of their own: whose is what, inside and on the node.
import os, sys

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
NULL = owner("/dev/null")

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
    ok(owner("/dev/null") == NULL, f"{engine}: the node's /dev/null is whose it was", owner("/dev/null"))
said = node.leaks()
ok(not said, "nothing is left", said)
ok(node.pods() == set() and node.stop() == 0, "the end")
done()

#!/usr/bin/python3
# Seccomp profiles on crun, whose programs are made once for each profile and given to the next containers.
import json, os, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from node import HOME, Node, done, ok

PROFILE = f"{HOME}/no-mkdir.json"
NOTE = "run.oci.seccomp_bpf_data"
with open(PROFILE, "w") as f:
    json.dump({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}, f)
DEFAULT = {"seccomp": {"profile_type": "RuntimeDefault"}}
LOCAL = {"seccomp": {"profile_type": "Localhost", "localhost_ref": PROFILE}}


def made(name, security):
    """(id, whether its program was given to the runtime)"""
    ctr = node.started(pod, name, "sleep", "1000", security=security)
    with open(f"{node.state}/containers/{ctr}/config.json") as f:
        return ctr, NOTE in json.load(f)["annotations"]


def mode(ctr):
    """Of its first process and of an exec: mode and number of filters."""
    words = "cat /proc/1/status; cat /proc/self/status"
    return [line.split()[1] for line in node.exec(ctr, "sh", "-c", words).stdout.decode().splitlines() if line.startswith("Seccomp")]


def may_mkdir(ctr):
    return node.exec(ctr, "mkdir", "/tmp/x").exit_code == 0


node = Node({"crun": {"engine": "crun"}, "runc": {"engine": "runc"}}).start().load()
pod = node.run("warm-runc", "runc")
node.started(pod, "warm", "sleep", "1000")
node.down(pod)
ok(node.snapshot() == "", "what there is")
pod = node.run("pod", "crun")
first, given = made("first", DEFAULT)
ok(not given and mode(first) == ["2", "1", "2", "1"], "the first container's profile is compiled", (given, mode(first)))
second, given = made("second", DEFAULT)
ok(given and mode(second) == ["2", "1", "2", "1"], "the second one's is there, for its execs too", (given, mode(second)))
a, given = made("a", LOCAL)
ok(not given and not may_mkdir(a), "another profile is another program")
b, given = made("b", LOCAL)
ok(given and not may_mkdir(b), "which holds for its next container", given)
c, given = made("c", DEFAULT)
ok(given and may_mkdir(c), "and for no other", given)
d, given = made("d", {})
ok(not given and mode(d) == ["0", "0", "0", "0"], "no profile, no program", mode(d))
with open(PROFILE, "w") as f:
    json.dump({"defaultAction": "SCMP_ACT_ALLOW"}, f)
e, given = made("e", LOCAL)
ok(not given and may_mkdir(e), "a profile that has changed is another one", given)
broken = node.call("CreateContainer", **node.create_request(pod, "f", "/no/such", security=DEFAULT)).container_id
ok("/no/such" in node.refused("StartContainer", container_id=broken)[1], "one that can't be made")
node.down(pod)
pod = node.run("runc", "runc")
made("first", DEFAULT)
c, given = made("second", DEFAULT)
ok(not given and mode(c)[0] == "2", "runc makes its own", given)
node.down(pod)
left = node.leaks()
ok(left == "", "nothing is left", left)
ok(node.stop() == 0, "the end")
done()

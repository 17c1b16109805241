#!/usr/bin/env python3
# AppArmor: which profile a container gets, what the runtime's own denies, and what is refused.
import os, sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)) + "/../../cri")
from node import *

DENY = "crisp-vm-deny-write"
subprocess.run(["apparmor_parser", "-r", "-T"], check=True, text=True, input=(
    f"profile {DENY} flags=(attach_disconnected) {{ file, capability, network, signal, deny /tmp/** w, }}\n"))
node = Node()
node.start().load()
pod = node.run("pod")
RUNTIME = "crisp-default (enforce)"


def profile(**security):
    """The profile of a new container's main process and of an exec in it."""
    ctr = node.started(pod, f"c{profile.n}", "sleep", "1000000", security=security)
    profile.n += 1
    with open(f"/proc/{node.pid(ctr)}/attr/current") as f:
        return ctr, f.read().strip("\n\0"), node.exec(ctr, "cat", "/proc/self/attr/current").stdout.decode().strip("\n\0")


profile.n = 0


def field(kind, name=""):
    return {"profile_type": kind, "localhost_ref": name}


for what, want, security in (
        ("none", RUNTIME, {}),
        ("RuntimeDefault", RUNTIME, {"apparmor": field("RuntimeDefault")}),
        ("runtime/default", RUNTIME, {"apparmor_profile": "runtime/default"}),
        ("Unconfined", "unconfined", {"apparmor": field("Unconfined")}),
        ("unconfined", "unconfined", {"apparmor_profile": "unconfined"}),
        ("Localhost", f"{DENY} (enforce)", {"apparmor": field("Localhost", DENY)}),
        ("Localhost with localhost/", f"{DENY} (enforce)", {"apparmor": field("Localhost", f"localhost/{DENY}")}),
        ("localhost/NAME", f"{DENY} (enforce)", {"apparmor_profile": f"localhost/{DENY}"}),
        ("the new field before the old", f"{DENY} (enforce)",
         {"apparmor": field("Localhost", DENY), "apparmor_profile": "localhost/no-such"})):
    ctr, main, inside = profile(**security)
    ok((main, inside) == (want, want), f"asked for {what}: {want}", (main, inside))

r = node.exec(ctr, "touch", "/tmp/x")
ok(r.exit_code != 0 and b"ermission denied" in r.stderr, "a profile of the node's is enforced", r)

privileged = node.run("privileged", security={"privileged": True})
ctr = node.started(privileged, "p", "sleep", "1000000", security={"privileged": True})
with open(f"/proc/{node.pid(ctr)}/attr/current") as f:
    ok(f.read().strip("\n\0") == "unconfined", "a privileged container is unconfined")

for security, words in (({"apparmor": field("Localhost", "no-such")},
                         'linux.security_context.apparmor.localhost_ref "no-such": no such AppArmor profile is loaded'),
                        ({"apparmor_profile": "localhost/no-such"},
                         'apparmor_profile "localhost/no-such": no such AppArmor profile'),
                        ({"apparmor_profile": "no-such"}, "expected localhost/NAME"),
                        ({"apparmor": field("Localhost", "localhost/")}, "names no profile")):
    code, said = node.refused("CreateContainer", **node.create_request(pod, "bad", "sleep", "1", security=security))
    ok(code == "INVALID_ARGUMENT" and words in said, f"refused: {said}", code)

# What only the profile forbids: nothing is masked, and every capability is there.
open_ = {"capabilities": {"add_capabilities": ["ALL"]}, "masked_paths": ["/nowhere"], "readonly_paths": ["/nowhere"],
         "seccomp": {"profile_type": "Unconfined"}}
for name, more, forbidden in ("confined", {}, True), ("free", {"apparmor": field("Unconfined")}, False):
    ctr = node.started(pod, name, "sleep", "1000000", security={**open_, **more})
    for what, words in (("a mount", ["mount", "-t", "tmpfs", "x", "/tmp"]),
                        ("a setting of the node", ["sh", "-c", "x=$(cat /proc/sys/vm/swappiness) && echo $x > /proc/sys/vm/swappiness"])):
        r = node.exec(ctr, *words)
        ok((r.exit_code != 0) == forbidden, f"{name}: {what} is {'denied' if forbidden else 'allowed'}", r)
    other = node.exec(ctr, "sh", "-c", "sleep 100 & kill $! && echo sent")
    ok(other.stdout == b"sent\n", f"{name}: signals among its own processes", other)
    node.call("StopContainer", container_id=ctr, timeout=0)

# -- a core that comes later finds the profile --
core = node.core()
os.kill(core, signal.SIGKILL)
node.core(core)
ctr, main, inside = profile()
ok((main, inside) == (RUNTIME, RUNTIME), "after the core's death, too", (main, inside))
for p in node.pods():
    node.down(p)
ok(node.stop() == 0, "crispd leaves")
done()

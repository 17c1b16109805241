#!/usr/bin/python3
# What a sandbox of gVisor leaves behind, whoever is killed when: runsc in the middle of each of its commands,
# the core then, the sentry, a gofer, all of them.  A pod can be removed, and nothing of it is left.
import os, signal, sys, threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import grpc
from node import Node, alive, cmdline, component, done, ok, processes, until

node = Node({"gvisor": {"engine": "gvisor", "options": {"path": os.environ.get("RUNSC") or component("gvisor_runsc", "runsc")}}}).start().load()
ROOT = f"{node.state}/engines/gvisor/root"


def left():
    """Files and processes of runsc's."""
    return os.listdir(ROOT) + [cmdline(p)[:1] for p in processes(f"--root={ROOT}")]


def runsc(verb, *words):
    """Commands under way."""
    return [p for p in processes(f"--root={ROOT}", *words) if cmdline(p)[:1] == ["runsc"] and verb in cmdline(p)]


def nothing_left(name):
    for pod in node.pods():
        node.down(pod)
    ok(until(lambda: not left(), f"the end of {left()}"), f"{name}: nothing is left")


def asked(method, **request):
    """A call that may end as it likes."""
    def run():
        try:
            node.begin(method, **request).result()
        except grpc.RpcError:
            pass
        node.channel().close()
    t = threading.Thread(target=run)
    t.start()
    return t


def killed_in(verb, who, method, *words, **request):
    """In the midst of a command of runsc's it, or the core, is killed.  Was there such a command?"""
    t = asked(method, **request)
    found = until(lambda: runsc(verb, *words) or not t.is_alive(), f"runsc {verb}")
    if found is not True and who == "core":
        node.kill_core()
    elif found is not True:
        for p in found:
            os.kill(p, signal.SIGKILL)
    t.join()
    return found is not True


def run_pod(name):
    return {"config": node.pod_config(name), "runtime_handler": "gvisor"}


def pod_of(n, name):
    pod = node.run(name, "gvisor")
    return pod, [node.started(pod, f"c{i}", "sleep", "100000") for i in range(n)]


def sentry(pod):
    return next(p for p in processes("runsc-sandbox", pod) if alive(p))


def gofer(ctr):
    return next(p for p in processes("runsc-gofer", ctr) if alive(p))


node.down(pod_of(1, "warm")[0])
ok(node.note(f"{node.state}/engines") == "", "what there is")
nothing_left("a pod")

def caught(name, attempt):
    """Some commands are over too soon to be met."""
    ok(any(attempt(i) for i in range(20)), name)


for who in "core", "runsc":
    for verb in "create", "start":
        name = f"{who} killed in {verb} of a sandbox"
        caught(name, lambda i: killed_in(verb, who, "RunPodSandbox", **run_pod(f"{who}-{verb}-{i}")))
        nothing_left(name)

    pod = node.run(f"{who}-ctr", "gvisor")
    name = f"{who} killed in create of a container"
    caught(name, lambda i: killed_in("create", who, "CreateContainer", **node.create_request(pod, f"a{i}", "sleep", "100000")))
    name = f"{who} killed in start of a container"
    caught(name, lambda i: killed_in("start", who, "StartContainer", ctr := node.create(pod, f"b{i}", "true"), container_id=ctr))
    nothing_left(name)

    name = f"{who} killed in delete of a container"
    pod, ctrs = pod_of(1, f"{who}-delete")
    caught(name, lambda i: killed_in("delete", who, "RemoveContainer", ctr := node.started(pod, f"d{i}", "true"), container_id=ctr))
    ok(node.exec(ctrs[0], "echo", "there").stdout == b"there\n", f"{name}: another runs on")
    name = f"{who} killed in delete of a sandbox"
    caught(name, lambda i: killed_in("delete", who, "StopPodSandbox", pod := pod_of(1, f"{who}-stop-{i}")[0], pod_sandbox_id=pod))
    nothing_left(name)

for who in "the sentry", "a gofer", "both":
    for gone in False, True:
        name = f"{who} killed{', and the core' if gone else ''}"
        pod, ctrs = pod_of(4, f"{who.split()[-1]}-{gone}")
        pids = ([gofer(ctrs[0])] if who != "the sentry" else []) + ([sentry(pod)] if who != "a gofer" else [])
        if gone:
            os.kill(node.core(), signal.SIGSTOP)
        for p in pids:
            os.kill(p, signal.SIGKILL)
        if gone:
            node.kill_core()
        node.wait_exit(ctrs[0])
        if who == "a gofer":	# the container goes before the pod
            node.call("RemoveContainer", container_id=ctrs[0])
            ok(not [n for n in os.listdir(ROOT) if ctrs[0] in n], f"{name}: of the container nothing is left", os.listdir(ROOT))
        else:
            node.not_ready(pod)
        nothing_left(name)

# containers of a dead sandbox are deleted side by side: each runsc looks at the others
for i in range(3):
    pod, _ = pod_of(6, f"many-{i}")
    os.kill(sentry(pod), signal.SIGKILL)
    nothing_left(f"six containers of a dead sandbox, {i}")

found = node.leaks()
ok(found == "", "and nothing on the host", found)
ok(node.stop() == 0, "the end")
done()

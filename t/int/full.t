#!/usr/bin/env python3
# The state's file system is full: what needs a record is refused, all else goes on, the next core
# starts, and what has ended meanwhile is known to it once there is room again.
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import *

begin()
d = Daemon()
os.makedirs(d.state)
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=711", "small", d.state], check=True)
subprocess.run(["mount", "--make-shared", d.state], check=True)
d.start().load()
d.snapshot()
pod = d.run("p")
goes = d.started(pod, "goes", "after", "1000", "42")
stays, stopped = d.started(pod, "stays", "deaf"), d.started(pod, "stopped", "deaf")


def fill():
    with open(f"{d.state}/fill", "wb", buffering=0) as f:
        try:
            while f.write(bytes(4096)):
                pass
        except OSError:
            pass


def full(method, request):
    f = d.refused(method, request)
    ok("No space left on device" in f.words, f"full: {method} is refused, and says why", f)


fill()
before = d.pods(), d.ctrs().keys()
full("RunPodSandbox", {"config": d.pod_config("q"), "runtime_handler": "cli"})
full("CreateContainer", d.create_request(pod, "c", "deaf"))
full("UpdateContainerResources", {"container_id": stays, "linux": {"cpu_shares": 77}})
ok((d.pods(), d.ctrs().keys()) == before, "and nothing of it is left")
d.call("StopContainer", {"container_id": stopped, "timeout": 0})
c = d.wait_exit(goes)
ok((c["exit_code"], d.ctr(stopped)["exit_code"]) == (42, 137), "what ends is told", c)
said = open(d.log).read().count("could not be written")
ok(1 <= said <= 3, "the log says it once for each", said)
os.unlink(f"{d.state}/fill")
until(lambda: "written at last" in open(d.log).read() and json.load(open(f"{d.state}/containers/{goes}/record.json"))["exit_code"] == 42,
      "the records to be written")
d.kill_core()
ok((d.ctr(goes)["exit_code"], d.ctr(stopped)["exit_code"]) == (42, 137), "and when there is room, by the next core as well")

fill()
d.kill_core()
ok(d.ctr(stays)["state"] == "CONTAINER_RUNNING" and d.ctr(goes)["exit_code"] == 42, "a core starts on a full disk")
d.call("StopPodSandbox", {"pod_sandbox_id": pod})
d.call("RemovePodSandbox", {"pod_sandbox_id": pod})
ok(not d.pods() and not d.ctrs(), "and a pod is stopped and removed on it")
os.unlink(f"{d.state}/fill")
pod = d.run("later")
ok(d.started(pod, "c", "deaf"), "when there is room again another runs")
d.call("RemovePodSandbox", {"pod_sandbox_id": pod})
left = d.leaks()
ok(not left, "nothing is left", left)
ok(d.stop() == 0, "SIGTERM: exit code 0")
subprocess.run(["umount", "-l", d.state])
done()

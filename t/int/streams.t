#!/usr/bin/env python3
# The streamed lists: 1,000 items to a slow reader, each once and as it was when the stream began,
# whatever happens meanwhile; equal to the lists; kill -9 of the core in the midst of one.
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import *

ITEMS = int(os.environ.get("ITEMS", 1000))
begin()
d = Daemon().start().load()
d.snapshot()
LISTS = {	# stream -> its field, the list, its field
    "StreamPodSandboxes": ("pod_sandboxes", "ListPodSandbox", "items"),
    "StreamContainers": ("containers", "ListContainers", "containers"),
    "StreamImages": ("images", "ListImages", "images"),
    "StreamContainerStats": ("container_stats", "ListContainerStats", "stats"),
    "StreamPodSandboxStats": ("pod_sandbox_stats", "ListPodSandboxStats", "stats"),
    "StreamPodSandboxMetrics": ("pod_sandbox_metrics", "ListPodSandboxMetrics", "pod_metrics"),
}


def streamed(method, request=None):
    field = LISTS[method][0]
    messages = d.stream(method, request).rest()
    return [item for m in messages for item in m[field]], messages


def without_numbers(items):
    """Of what is measured anew each time only who it is of."""
    return [i["attributes"] if "attributes" in i else i.get("pod_sandbox_id") if "metrics" in i else i for i in items]


ok(streamed("StreamPodSandboxes") == ([], []), "a stream of nothing has no message")
config = {"labels": {"k": "v"}, "annotations": {"x": "y" * 2000}, "hostname": "",
          "linux": {"cgroup_parent": f"{d.cgroup}/many", "security_context": {
              "namespace_options": {"network": "NODE", "pid": "CONTAINER", "ipc": "NODE"}}}}
under_way = []
for i in range(ITEMS):
    under_way.append(d.begin("RunPodSandbox", {"config": d.pod_config(f"p{i}", **config), "runtime_handler": "cli"}))
    if len(under_way) == 16:
        under_way.pop(0).answer()
for c in under_way:
    c.answer()
ids = list(d.pods())
ctr = d.started(ids[0], "c", "deaf")
ok(len(ids) == ITEMS, f"{ITEMS} pods", len(ids))

for stream, (field, method, listed) in LISTS.items():
    items, messages = streamed(stream)
    whole = d.call(method)[listed]
    ok(without_numbers(items) == without_numbers(whole) and items, f"{stream} has what {method} has", (len(items), len(whole)))
    if len(items) >= ITEMS and stream != "StreamPodSandboxMetrics":	# hardly any, without network
        ok(len(messages) > 3 and all(m[field] for m in messages), "in several messages, none empty", len(messages))
ok([i["id"] for i in streamed("StreamPodSandboxes", {"filter": {"id": ids[5]}})[0]] == [ids[5]], "with a filter")
ok(streamed("StreamPodSandboxes", {"filter": {"label_selector": {"k": "w"}}})[0] == [], "that nothing fits")

# -- a slow reader --

s = d.stream("StreamPodSandboxes")
got = [s.next()]
for pod in ids[-50:]:
    d.call("RemovePodSandbox", {"pod_sandbox_id": pod})
for pod in ids[-100:-50]:
    d.call("StopPodSandbox", {"pod_sandbox_id": pod})
late = d.run("late")
ok(d.answers(), "others are served meanwhile")
got += s.rest()
items = [i for m in got for i in m["pod_sandboxes"]]
ok([i["id"] for i in items] == ids and all(i["state"] == "SANDBOX_READY" for i in items),
   "a slow one has all as they were when it began", (len(items), len(set(i["id"] for i in items))))
ok(len(d.pods()) == ITEMS - 49, "which they are no more", len(d.pods()))

# -- readers that leave, and the core's death --

for method in LISTS:
    s = d.stream(method)
    if method != "StreamImages":
        s.next()
    s.leave()
ok(d.answers(), "readers may leave in the midst")
streams = [d.stream(method) for method in ("StreamPodSandboxes", "StreamPodSandboxStats")]
for s in streams:
    s.next()
d.kill_core()
ends = []
for s in streams:
    try:
        ends.append(f"{len(s.rest())} messages and a good end")
    except Failure as f:
        ends.append("failed")
ok(ends == ["failed", "failed"], "a stream that the core's death has cut is no whole one", ends)
ok(len(streamed("StreamPodSandboxes")[0]) == ITEMS - 49, "the next core has them all")

calls = []
for pod in d.pods():
    calls.append(d.begin("RemovePodSandbox", {"pod_sandbox_id": pod}))
    if len(calls) == 16:
        calls.pop(0).answer()
for c in calls:
    c.answer()
leaks = d.leaks()
ok(not leaks, "nothing is left", leaks)
ok(d.stop() == 0, "crispd leaves")
done()

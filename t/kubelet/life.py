"""What is asked of the node as a whole: restarts under running pods, many pods at once, images that fill a disk."""
from checks import *


def busy_pod(name, script, **spec):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
            "spec": {"terminationGracePeriodSeconds": 1, "automountServiceAccountToken": False,
                     "nodeName": NAME, "tolerations": [{"operator": "Exists"}],
                     "volumes": [{"name": "notes", "hostPath": {"path": "/run/notes", "type": "DirectoryOrCreate"}}],
                     "containers": [{"name": "main", "image": IMAGE, "command": ["sh", "-c", script],
                                     "volumeMounts": [{"name": "notes", "mountPath": "/notes"}]}], **spec}}


def add_all(k, pods, seconds=300):
    """Ask for all; the seconds until the kubelet says that all run."""
    at = time.monotonic()
    for pod in pods:
        k.add(pod)

    def all_run():
        have = k.pods()
        states = [have.get(p["metadata"]["name"], {}).get("status", {}).get("containerStatuses", []) for p in pods]
        return all(s and all("running" in c["state"] for c in s) for s in states)
    until(all_run, f"{len(pods)} pods to run", seconds, 0.2)
    return time.monotonic() - at


def remove_all(k, pods, seconds=300):
    at = time.monotonic()
    for pod in pods:
        k.delete(pod["metadata"]["name"])
    until(lambda: not k.pods() and not k.crisp.ctl("ps", "-q"), f"{len(pods)} pods to be gone", seconds, 0.2)
    return time.monotonic() - at


def lines_of(k, name):
    """The numbers that a pod's container has written; logs are read from the disk, who rotates them is up."""
    folder = glob.glob(f"/var/log/pods/default_{k.full_name(name)}_*/main")[0]
    return [int(line.split()[3]) for line in text_of(f"{folder}/0.log").splitlines() if len(line.split()) == 4]


def restarts(k):
    """20 pods: 14 go on counting through every gap, two end with their code in each."""
    stay = [busy_pod(f"stay-{n}", "n=0; while :; do echo $n; n=$((n + 1)); usleep 100000; done") for n in range(14)]
    end = [busy_pod(f"end-{n}", f"until test -e /notes/end-{n}; do usleep 20000; done; exit {40 + n}", restartPolicy="Never")
           for n in range(6)]
    add_all(k, stay + end)
    ids = {p["metadata"]["name"]: container_id(k, p["metadata"]["name"]) for p in stay + end}

    def gap(what, first, leave, come_back):
        leave()
        for n in (first, first + 1):
            with open(f"/run/notes/end-{n}", "w"):
                pass
        time.sleep(1)	# they poll for it
        come_back()
        for n in (first, first + 1):
            s = exited(k, f"end-{n}", seconds=60)
            ok(s["exitCode"] == 40 + n and s["reason"] == "Error", f"{what}: an end in the gap has its code {40 + n}", s)
        time.sleep(6)	# the kubelet looks at each pod
        now = {name: states(k, name)["main"] for name in ids}
        ok(all(s["restartCount"] == 0 and s["containerID"].endswith(ids[name]) for name, s in now.items()),
           f"{what}: no container is restarted", {n: s for n, s in now.items() if s["restartCount"] or not s["containerID"].endswith(ids[n])})
        was = {p["metadata"]["name"]: len(lines_of(k, p["metadata"]["name"])) for p in stay}
        ok(try_until(lambda: all(len(lines_of(k, n)) > c for n, c in was.items()), 10), f"{what}: all go on writing")

    gap("kubelet restarted", 0, k.stop, k.start)
    gap("crisp restarted", 2, k.crisp.stop, k.crisp.start)

    gap("crisp's core killed", 4, k.crisp.kill_core, lambda: until(lambda: k.crisp.ctl("pods"), "an answer"))
    for pod in stay:
        numbers = lines_of(k, pod["metadata"]["name"])
        if sorted(set(numbers)) != list(range(len(set(numbers)))):
            ok(False, f"{pod['metadata']['name']}: no line is lost", numbers)
            break
    else:
        ok(True, "no line of any is lost")
    remove_all(k, stay + end)


def kills(k):
    """The core is killed again and again while 20 pods come, and while they go."""
    pods = [busy_pod(f"kill-{n}", "exec sleep 10000") for n in range(20)]
    for pod in pods:
        k.add(pod)

    def ctrs():
        return [c for pod in k.pods().values() for c in pod["status"].get("containerStatuses", [])]

    def that_run():
        return sum("running" in c["state"] for c in ctrs())
    for goal in 1, 5, 9, 13, 17:
        until(lambda: that_run() >= goal, f"{goal} pods to run", 120)
        k.crisp.kill_core()
    ok(try_until(lambda: that_run() == len(pods), 120), "the core killed five times while pods come: all run", ctrs())
    # A start that was interrupted has failed, which the kubelet counts.
    say("starts that were interrupted:", sum(c["restartCount"] for c in ctrs()))
    for pod in pods:
        k.delete(pod["metadata"]["name"])
    for goal in 18, 12, 6:
        until(lambda: len(k.crisp.ctl("ps", "-q").splitlines()) <= goal, f"all but {goal} containers to end", 120)
        k.crisp.kill_core()
    until(lambda: not k.pods() and not k.crisp.ctl("ps", "-q"), "the pods to be gone", 120)
    ok(True, "and three times while they go: all are gone")


def ours(crisp):
    """Pids of crisp's own processes that stay: keeper, core, front."""
    return [int(p) for p in filter(str.isdigit, os.listdir("/proc"))
            if re.match(r"\S*crisp(d|-\w+)$", text_of(f"/proc/{p}/cmdline").split("\0")[0])]


def cpu_and_memory(crisp):
    """(seconds with those of its reaped children, PSS in KiB) of crisp's own processes."""
    seconds = pss = 0
    for pid in ours(crisp):
        fields = text_of(f"/proc/{pid}/stat").rsplit(")", 1)[-1].split()
        if fields:
            seconds += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        if m := re.search(r"^Pss: +(\d+)", text_of(f"/proc/{pid}/smaps_rollup"), re.M):
            pss += int(m[1])
    return seconds, pss


def crowd(k, count, steady):
    """Many pods at once, and what they cost while nothing happens."""
    before = k.failures()
    pods = [busy_pod(f"many-{n}", "exec sleep 10000") for n in range(count)]
    took = add_all(k, pods)
    say(f"{count} pods at once, all running in {took:.1f} s")
    ok(took < 120, f"{count} pods run at once")
    cpu, _ = cpu_and_memory(k.crisp)
    time.sleep(steady)
    after, pss = cpu_and_memory(k.crisp)
    say(f"{count} pods for {steady} s: crisp takes {100 * (after - cpu) / steady:.2f} % of a CPU, {pss} KiB PSS")
    ok(all(states_run(p) for p in k.pods().values()), "all still run, none was restarted")
    errors = {n: c - before.get(n, 0) for n, c in k.failures().items() if c != before.get(n, 0)}
    ok(not errors, "no call to the runtime failed (kubelet_runtime_operations_errors_total)", errors)
    say(f"all {count} gone in {remove_all(k, pods):.1f} s")
    # A kubelet may ask about what another of its threads has just removed.
    errors = {n: c - before.get(n, 0) for n, c in k.failures().items()
              if c != before.get(n, 0) and n not in ("podsandbox_status", "container_status")}
    ok(not errors, "nor while they went", errors)


def states_run(pod):
    return all("running" in c["state"] and not c["restartCount"] for c in pod["status"]["containerStatuses"])


def images_fill_the_disk(k):
    """A pod runs; images that nobody uses fill the disk: the kubelet removes them and leaves the pod alone."""
    user = busy_pod("user", "exec sleep 10000")
    # The kubelet leaves an image alone that it has not seen before, and would evict the pod then.
    user["spec"]["priorityClassName"] = "system-node-critical"
    k.add(user)
    running(k, "user")
    names = [f"localhost/ballast:{n}" for n in range(4)]
    for name in names:
        k.crisp.load(name, size=200 << 20)
    listed = k.crisp.ctl("images")
    ok(all(n in listed for n in names), "images fill the disk", listed)
    ok(try_until(lambda: not any(n in k.crisp.ctl("images") for n in names), 90), "the kubelet removes the images that nobody uses",
       k.crisp.ctl("images"))
    ok("localhost/busybox" in k.crisp.ctl("images") and phase(k, "user") == "Running", "the one in use stays, and so does its pod",
       k.pod("user")["status"])
    disk = os.statvfs(k.crisp.root)
    ok(try_until(lambda: os.statvfs(k.crisp.root).f_bavail / disk.f_blocks > 0.5, 30), "the disk has its space back")
    log = text_of(f"{HOME}/logs/kubelet.log").rpartition("Removing image to free bytes")[2]
    ok("must evict" not in log, "at the next look it has: no pod needs to be evicted", log)
    remove_all(k, [user])


# Those that each version knows, of the ones that make it ask the runtime for more.
GATES = {"1.34": ["PodAndContainerStatsFromCRI", "EventedPLEG"],
         "1.37": ["PodAndContainerStatsFromCRI", "EventedPLEG", "CRIListStreaming"]}
# Of the container and of the pod: what dashboards and autoscalers read.  What a device has moved is told once it has moved some.
CONTAINER_METRICS = """cpu_usage_seconds_total cpu_user_seconds_total cpu_system_seconds_total memory_working_set_bytes memory_usage_bytes
memory_rss memory_cache memory_failcnt fs_usage_bytes processes threads file_descriptors
last_seen start_time_seconds oom_events_total spec_cpu_shares spec_cpu_period spec_memory_limit_bytes""".split()
POD_METRICS = [f"network_{way}_{what}_total" for way in ("receive", "transmit")
               for what in ("bytes", "packets", "errors", "packets_dropped")]
FALLBACKS = re.compile(r"all back|alling back|fallback|Unimplemented|must be updated to support|Evented PLEG: [Ff]ailed")


def gates(k):
    """The kubelet takes statistics, events and lists from the runtime's newest calls, and never goes back to the old way."""
    k.stop()
    seen = len(text_of(f"{HOME}/logs/kubelet.log"))
    names = GATES[k.version.rpartition(".")[0]]
    k.config["featureGates"] = {name: True for name in names}
    k.start()
    pods = [busy_pod("stats", "while :; do :; done & exec sleep 10000"),
            busy_pod("ends", "until test -e /notes/gate; do usleep 20000; done; exit 5", restartPolicy="Never")]
    add_all(k, pods)

    def summary():
        for pod in json.loads(k.get("stats/summary"))["pods"]:
            if pod["podRef"]["name"] == k.full_name("stats") and pod.get("cpu", {}).get("usageNanoCores") and pod["containers"]:
                return pod
    pod = try_until(summary, 60) or {}
    ctr = (pod.get("containers") or [{}])[0]
    got = {"pod's CPU": pod.get("cpu", {}).get("usageCoreNanoSeconds"), "pod's memory": pod.get("memory", {}).get("workingSetBytes"),
           "pod's network": "rxBytes" in json.dumps(pod.get("network")),
           "pod's processes": pod.get("process_stats", {}).get("process_count"), "pod's disk": pod.get("ephemeral-storage", {}).get("usedBytes"),
           "container's CPU": ctr.get("cpu", {}).get("usageNanoCores"), "container's memory": ctr.get("memory", {}).get("workingSetBytes"),
           "container's disk": ctr.get("rootfs", {}).get("usedBytes"), "container's log": ctr.get("logs", {}).get("usedBytes") is not None}
    ok(all(got.values()), "/stats/summary is complete", (got, pod))
    metrics = k.get("metrics/cadvisor")
    for name, text in ("summary", json.dumps(pod)), ("cadvisor", metrics):
        with open(f"{HOME}/logs/{name}.log", "w") as f:
            f.write(text)

    def has(name, container):
        return any(f'pod="{k.full_name("stats")}"' in line and f'container="{container}"' in line
                   for line in metrics.splitlines() if line.startswith(f"container_{name}{{"))
    missing = [n for n in CONTAINER_METRICS if not has(n, "main")] + [n for n in POD_METRICS if not has(n, "") and not has(n, "POD")]
    ok(not missing, "/metrics/cadvisor is complete", missing)
    say(len(set(re.findall(r"^(container_\w+)\{", metrics, re.M))), "names in /metrics/cadvisor")
    with open("/run/notes/gate", "w"):
        at = time.monotonic()
    s = exited(k, "ends", seconds=30)	# a relist comes every 300 s only
    ok(s["exitCode"] == 5, f"an end is told by its event (after {time.monotonic() - at:.1f} s)", s)
    log = [line for line in text_of(f"{HOME}/logs/kubelet.log")[seen:].splitlines() if FALLBACKS.search(line)]
    ok(not log, f"no fallback with {', '.join(names)}", "\n".join(log))
    remove_all(k, pods)

"""What must be true of each pod of pods/: one function a pod, named after it, given the node and the pod's name.
A check says its points with ok(); AssertionError, also from until(), is a failed one."""
import datetime

from node import *

checks = {}


def check(function):
    checks[function.__name__.replace("_", "-")] = function
    return function


# -- what is asked of a pod --

def phase(k, name):
    return ((k.pod(name) or {}).get("status") or {}).get("phase")


def states(k, name):
    """{container: its status}, the init ones too."""
    status = (k.pod(name) or {}).get("status") or {}
    return {c["name"]: c for c in status.get("initContainerStatuses", []) + status.get("containerStatuses", [])}


def running(k, name, seconds=120):
    def all_run():
        pod = k.pod(name)
        ctrs = (pod or {}).get("status", {}).get("containerStatuses", [])
        return len(ctrs) == len((pod or {}).get("spec", {}).get("containers", [1])) and all("running" in c["state"] for c in ctrs) and pod
    try:
        return until(all_run, f"{name} to run", seconds)
    except AssertionError:
        raise AssertionError(f"{name} does not run: {json.dumps((k.pod(name) or {}).get('status'))}")


def ended(k, name, seconds=120):
    """The pod has come to its end: its phase."""
    try:
        return until(lambda: (p := phase(k, name)) in ("Succeeded", "Failed") and p, f"{name} to end", seconds)
    except AssertionError:
        raise AssertionError(f"{name} does not end: {json.dumps((k.pod(name) or {}).get('status'))}")


def exit_of(k, name, container="main"):
    """{} while it runs, and until a kubelet that has just begun has looked."""
    return states(k, name).get(container, {}).get("state", {}).get("terminated") or {}


def starts_of(k, name):
    """When, by crisp's log, the containers of this pod were made."""
    made = re.findall(r"^ts=(\S+) .*msg=container ctr=(\w+) pod=(\w+) from=creating to=created ", text_of(k.crisp.log), re.M)
    last = container_id(k, name)
    pods = [pod for _, ctr, pod in made if ctr == last]
    return [datetime.datetime.fromisoformat(at).timestamp() for at, _, pod in made if pod in pods]


def exited(k, name, container="main", seconds=60):
    return until(lambda: exit_of(k, name, container), f"{container} of {name} to end", seconds)


PULL_FAILED = ("ErrImagePull", "RegistryUnavailable", "ImagePullBackOff")


def waiting(k, name, *reasons, seconds=90):
    """The waiting state of the main container once it has one of these reasons."""
    def look():
        w = states(k, name).get("main", {}).get("state", {}).get("waiting") or {}
        return w.get("reason") in reasons and w
    try:
        return until(look, f"{name} to wait for {reasons}", seconds)
    except AssertionError:
        raise AssertionError(f"{name} does not wait for {reasons}: {json.dumps((k.pod(name) or {}).get('status'))}")


def ready(k, name):
    return states(k, name).get("main", {}).get("ready", False)


def ready_follows(k, name, spoil, repair, what):
    until(lambda: ready(k, name), f"{name} to be ready", 60)
    k.sh(name, spoil)
    until(lambda: not ready(k, name), f"{name} not to be ready", 30)
    if repair:
        k.sh(name, repair)
        until(lambda: ready(k, name), f"{name} to be ready again", 30)
    ok(states(k, name)["main"]["restartCount"] == 0, f"{what}: ready follows the probe, and nothing is restarted")


def container_id(k, name, container="main"):
    return states(k, name)[container]["containerID"].split("://")[1]


def pid_of(k, name, container="main"):
    return int(re.search(r'"pid": (\d+)', k.crisp.ctl("inspect", container_id(k, name, container)))[1])


def cgroup_file(k, name, controller, file, container="main"):
    """A file of a container's cgroup, found from its process: of the pod's with container None."""
    for line in text_of(f"/proc/{pid_of(k, name, container or 'main')}/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return text_of(f"/sys/fs/cgroup/{controller}{path if container else os.path.dirname(path)}/{file}").strip()
    return f"no {controller}"


def events(k, name):
    if not k.api:
        return ""
    items = k.api.get(f"namespaces/default/events?fieldSelector=involvedObject.name={name}")["items"]
    return "\n".join(f"{e['reason']}: {e['message']}" for e in items)


def try_until(what, seconds):
    try:
        return until(what, "", seconds)
    except AssertionError:
        return False


def uid_of(k, name):
    """As cgroups and folders have it."""
    metadata = k.pod(name)["metadata"]
    return metadata["uid"] if k.api else metadata["annotations"]["kubernetes.io/config.hash"]


def status_field(k, name, field, container="main"):
    for line in text_of(f"/proc/{pid_of(k, name, container)}/status").splitlines():
        if line.startswith(field + ":"):
            return line.split(":")[1].strip()


# -- the life of containers --

@check
def init_order(k, name):
    ok(ended(k, name) == "Succeeded" and k.log(name).split() == ["first", "second", "third"],
       "init containers run in their order, then the main one", k.log(name))
    ok(all(s["restartCount"] == 0 for s in states(k, name).values()), "init containers ran once each", states(k, name))


@check
def sidecar(k, name):
    ok(ended(k, name) == "Succeeded" and k.log(name) == "side is up\n", "a sidecar is up before the main container", k.log(name))
    side, main = exited(k, name, "side"), exit_of(k, name)
    ok(side["exitCode"] == 0 and k.log(name, "side") == "ended\n" and side["finishedAt"] >= main["finishedAt"],
       "and is told to end after it", (side, main))


@check
def restart_always(k, name):
    waiting(k, name, "CrashLoopBackOff")
    starts = until(lambda: (found := starts_of(k, name)) and len(found) >= 3 and found, "two restarts", 90)
    s = states(k, name)["main"]
    last = s.get("lastState", {}).get("terminated") or s["state"].get("terminated")
    ok(last["exitCode"] == 3 and last["reason"] == "Error", "it is restarted, and its last code is told", s)
    first, second = starts[1] - starts[0], starts[2] - starts[1]
    ok(second > first, f"it is backed off from: restarted after {first:.1f} s, then after {second:.1f} s")


@check
def restart_onfailure(k, name):
    ok(ended(k, name) == "Succeeded" and states(k, name)["main"]["restartCount"] == 1, "OnFailure: once more and no more",
       states(k, name))


@check
def restart_never(k, name):
    ended(k, name)
    codes = [exit_of(k, name, c).get("exitCode") for c in ("main", "other")]
    ok(phase(k, name) == "Failed" and codes == [7, 255], "Never: exit codes", states(k, name))
    answer = k.api.kubectl("exec", name, "--", "id") if k.api else k.run(name, "id", wrong=True)
    ok("completed" in answer or "not found" in answer, "a command in a container that has exited: said so", answer)
    say(name, "|", answer.strip())


@check
def probe_exec(k, name):
    until(lambda: states(k, name).get("main", {}).get("restartCount") == 1, "a restart by the liveness probe", 60)
    s = running(k, name)["status"]["containerStatuses"][0]
    ok(s["lastState"]["terminated"]["exitCode"] == 137, "liveness by exec: killed and started anew", s)


@check
def probe_slow(k, name):
    running(k, name)
    time.sleep(4)

    def sleepers():
        return [p for p in filter(str.isdigit, os.listdir("/proc")) if text_of(f"/proc/{p}/cmdline") == "sleep\0" + "778\0"]
    few = try_until(lambda: len(sleepers()) <= 1, 10)	# one may be under way
    ok(few and not ready(k, name), "a probe by exec that times out fails, and leaves no process",
       [text_of(f"/proc/{p}/stat") for p in sleepers()])


@check
def probe_http(k, name):
    running(k, name)
    ready_follows(k, name, "mv /www/ready /www/away", "mv /www/away /www/ready", "http")


@check
def probe_tcp(k, name):
    running(k, name)
    ready_follows(k, name, "kill $(cat /tmp/pid)", None, "tcp")


@check
def probe_grpc(k, name):
    running(k, name)
    ready_follows(k, name, "touch /tmp/ill", "rm /tmp/ill", "grpc")


@check
def hooks(k, name):
    running(k, name)
    until(lambda: text_of("/run/notes/hooks") == "post\n", "the postStart hook")
    k.delete(name)
    until(lambda: k.gone(name), f"{name} to be gone")
    ok(text_of("/run/notes/hooks").split() == ["post", "pre", "term"], "hooks: postStart, preStop and only then TERM",
       text_of("/run/notes/hooks"))


@check
def hook_fails(k, name):
    ended(k, name, 60)
    message = events(k, name)
    ok(exit_of(k, name)["exitCode"] == 137 and (not k.api or "FailedPostStartHook" in message),
       "a postStart hook that fails ends its container", (states(k, name), message))


@check
def grace(k, name):
    running(k, name)
    at = time.monotonic()
    k.delete(name)
    until(lambda: k.gone(name), f"{name} to be gone", 30)
    took = time.monotonic() - at
    ok(3 <= took < 12 * tap.SLOW, f"a process that ignores TERM has its grace of 3 s (gone after {took:.1f} s)")


@check
def last_words(k, name):
    ended(k, name)
    said = {c: exit_of(k, name, c).get("message") for c in ("file", "other", "log", "none")}
    ok(said == {"file": "from the file", "other": "from elsewhere", "log": "from the log\n", "none": None},
       "termination messages: file, other file, log on error, none", said)


@check
def oom(k, name):
    main = exited(k, name)
    ok(main["reason"] == "OOMKilled" and main["exitCode"] == 137 and "20971520" in main["message"], "out of memory in the main process: OOMKilled", main)
    until(lambda: "child" in k.log(name, "child"), "the child's end", 30)
    ok("child 137\n" in k.log(name, "child") and "running" in states(k, name)["child"]["state"],
       "out of memory in a child: the parent goes on", (k.log(name, "child"), states(k, name)["child"]))
    says(k, name, "OOMKilled", "raise resources.limits.memory")


# -- resources --

@check
def limits(k, name):
    running(k, name)
    got = [cgroup_file(k, name, c, f) for c, f in (("cpu", "cpu.cfs_quota_us"), ("cpu", "cpu.cfs_period_us"),
                                                    ("cpu", "cpu.shares"), ("memory", "memory.limit_in_bytes"))]
    ok(got == ["25000", "100000", "102", "67108864"], "limits are in the container's cgroup", got)
    got = [cgroup_file(k, name, "cpu", "cpu.shares", "equal"), cgroup_file(k, name, "cpu", "cpu.cfs_quota_us", "equal")]
    ok(got == ["2", "-1"], "no limits are none", got)
    path = next(l.split(":", 2)[2] for l in text_of(f"/proc/{pid_of(k, name)}/cgroup").splitlines() if ":memory:" in l)
    uid = uid_of(k, name)
    ok(path.startswith(f"{CGROUP}/kubepods/burstable/pod{uid}/"), "the cgroup is below the kubelet's", path)
    adj = text_of(f"/proc/{pid_of(k, name)}/oom_score_adj").strip()
    ok(2 <= int(adj) < 1000, f"a burstable pod's oom_score_adj is {adj}")


@check
def guaranteed(k, name):
    running(k, name)
    ok(k.pod(name)["status"]["qosClass"] == "Guaranteed", "a guaranteed pod runs, though this host may not lower oom_score_adj")


@check
def resize(k, name):
    running(k, name)
    before = container_id(k, name)

    def to(cpu, memory):
        k.api.patch(f"namespaces/default/pods/{name}/resize", {"spec": {"containers": [{"name": "main", "resources": {
            "requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}}]}})

    def is_there(cpu, memory):
        until(lambda: states(k, name)["main"].get("resources", {}).get("limits") == {"cpu": cpu, "memory": memory} and
              not any(c["type"].startswith("PodResize") for c in k.pod(name)["status"]["conditions"]), f"a resize to {cpu}, {memory}", 60)
    k.api.patch(f"namespaces/default/pods/{name}/resize", {"spec": {"containers": [{"name": "main", "resources": {
        "requests": {"cpu": "200m", "memory": "48Mi"}, "limits": {"cpu": "400m", "memory": "96Mi"}}}]}})
    is_there("400m", "96Mi")
    got = [cgroup_file(k, name, "cpu", "cpu.cfs_quota_us"), cgroup_file(k, name, "cpu", "cpu.shares"),
           cgroup_file(k, name, "memory", "memory.limit_in_bytes")]
    ok(got == ["40000", "204", "100663296"], "resized upward in place", got)
    k.api.patch(f"namespaces/default/pods/{name}/resize", {"spec": {"containers": [{"name": "main", "resources": {
        "requests": {"cpu": "50m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "40Mi"}}}]}})
    is_there("100m", "40Mi")
    got = [cgroup_file(k, name, "cpu", "cpu.cfs_quota_us"), cgroup_file(k, name, "cpu", "cpu.shares"),
           cgroup_file(k, name, "memory", "memory.limit_in_bytes")]
    ok(got == ["10000", "51", "41943040"], "and downward", got)
    ok(container_id(k, name) == before and states(k, name)["main"]["restartCount"] == 0, "without a restart")


# -- volumes --

@check
def volumes(k, name):
    pod = running(k, name)
    ok(k.sh(name, "cat /shared/inner/most/greeting /by-name/greeting", "other") == "hello\nhello\n",
       "emptyDir shared by containers, subPath and subPathExpr")
    mount = k.sh(name, "grep /memory /proc/mounts; df -k /memory | tail -1")
    ok("tmpfs" in mount and "8192" in mount, "emptyDir in memory, of its size", mount)
    k.sh(name, "echo from the pod > /folder/file; echo x > /memory/x")
    ok(text_of("/run/notes/file") == "from the pod\n", "hostPath: what the pod writes is on the host")
    ok("Read-only" in k.run(name, "sh", "-c", "echo x > /folder-ro/x 2>&1; cat /folder-ro/file", wrong=True), "read-only hostPath")
    ok("Debian" in k.sh(name, "cat /os-release"), "hostPath of a file")
    ok(os.path.isdir("/run/made-by-the-runtime"), "a hostPath that was not there")
    ok(k.sh(name, "cat /downward/labels /downward/limit") .startswith('colour="blue"') and
       k.sh(name, "cat /downward/limit") == "67108864", "downward volume", k.sh(name, "cat /downward/*"))
    env = k.sh(name, "echo $POD_IP $POD_NAME").split()
    ok(env == [pod["status"]["podIP"], k.full_name(name)] and k.sh(name, "hostname").strip() == k.full_name(name),
       "downward variables, the pod's address and host name", env)
    hosts = k.sh(name, "cat /etc/hosts")
    ok(pod["status"]["podIP"] in hosts and "Kubernetes-managed" in hosts, "/etc/hosts is the kubelet's")


@check
def read_only(k, name):
    running(k, name)
    said = [k.sh(name, "echo x > /deep/x 2>&1; echo x > /deep/inner/x 2>&1; true", c).count("Read-only") for c in ("main", "other")]
    ok(said == [2, 1], "read-only, and recursively: also what is mounted in the volume", said)


@check
def configs(k, name):
    running(k, name)
    ok(k.sh(name, "echo $PASSWORD $colour") == "s3cret green\n", "variables from a Secret and a ConfigMap")
    ok(k.sh(name, "cat /settings/colour /settings/file.txt /one; stat -c %a -L /hidden/password") == "greenfirst\nfirst\n400\n",
       "both as volumes, one by subPath", k.sh(name, "ls -lL /settings /hidden"))
    ok(k.sh(name, "cat /all/colour /all/password /all/deep/note") == "greens3crettwo words" and k.sh(name, "cat /all/token").count(".") == 2,
       "projected, with a token")
    k.api.patch("namespaces/default/configmaps/settings", {"data": {"colour": "red"}})
    until(lambda: k.sh(name, "cat /settings/colour") == "red", "the volume to follow its ConfigMap", 120, 1)
    ok(True, "a changed ConfigMap comes to the volume")


# -- who may what --

@check
def users(k, name):
    running(k, name)
    who = k.sh(name, "id")
    ok(all(x in who for x in ("uid=1000", "gid=3000", "2000", "4000", "5000")),
       "user, group, the volume's group, supplemental ones, and those of the image", who)
    ok("uid=65534" in k.sh(name, "id", "other"), "a container's own user")
    ok(k.sh(name, "stat -c %u:%g /disk/mine") == "1000:2000\n", "fsGroup owns what is made in the volume")
    ok("Read-only" in k.run(name, "sh", "-c", "echo x > /tmp/x 2>&1; true", wrong=True), "the root is read-only")
    ok(status_field(k, name, "NoNewPrivs") == "1" and status_field(k, name, "NoNewPrivs", "other") == "0",
       "allowPrivilegeEscalation: false is no_new_privs")


@check
def strict_groups(k, name):
    running(k, name)
    who = k.sh(name, "id")
    ok("4000" not in who and "5000" in who, "supplementalGroupsPolicy: Strict leaves the image's groups out", who)
    user = states(k, name)["main"].get("user", {}).get("linux")
    ok(user and user["uid"] == 1000 and user["gid"] == 3000 and sorted(user["supplementalGroups"]) == [3000, 5000],
       "and the status tells who it runs as", user)


@check
def userns(k, name):
    running(k, name)
    for container, user in ("main", 0), ("other", 1000):
        real = int(status_field(k, name, "Uid", container).split()[0])
        ok(real >= 65536 and real % 65536 == user, f"hostUsers: false: user {user} is {real} on the node")
    ok(k.sh(name, "stat -c %u:%g /disk/mine /memory/mine") == "0:2000\n0:2000\n", "whose volumes are its own",
       k.sh(name, "ls -ln /disk /memory"))
    uid = uid_of(k, name)
    mine = os.stat(f"/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/disk/mine")
    ok((mine.st_uid, mine.st_gid) == (0, 2000), "and on the disk as without", mine)


@check
def nonroot(k, name):
    w = waiting(k, name, "CreateContainerConfigError")
    ok("run as root" in w["message"], "runAsNonRoot: the image's root is refused", w)


@check
def confined(k, name):
    running(k, name)
    got = {c: status_field(k, name, "Seccomp", c) for c in ("main", "own", "open", "privileged")}
    ok(got == {"main": "2", "own": "2", "open": "0", "privileged": "0"}, "seccomp: RuntimeDefault, Localhost, Unconfined, privileged", got)
    ok("not permitted" in k.run(name, "sh", "-c", "mkdir /tmp/x 2>&1; true", container="own"), "a profile of the node's is in force")
    ok("not permitted" not in k.run(name, "sh", "-c", "mkdir /tmp/x 2>&1; true"), "and only in its container")
    caps = int(status_field(k, name, "CapEff", "caps"), 16)
    ok(caps == 1 << 10 | 1 << 25, "capabilities: all dropped, two added", hex(caps))
    ok(int(status_field(k, name, "CapEff", "privileged"), 16) > int(status_field(k, name, "CapEff"), 16), "privileged has more of them")
    ok(k.sh(name, "touch /proc/sys/kernel/domainname 2>&1; mount -t tmpfs t /mnt 2>&1 || mkdir -p /m && mount -t tmpfs t /m && echo fine",
            "privileged").endswith("fine\n"), "privileged may mount")


@check
def sysctls(k, name):
    running(k, name)
    got = k.sh(name, "cd /proc/sys; cat net/ipv4/ip_unprivileged_port_start kernel/shm_rmid_forced net/core/somaxconn kernel/msgmax").split()
    ok(got == ["80", "1", "300", "65536"], "sysctls, the safe ones and the allowed", got)
    ok(text_of("/proc/sys/kernel/msgmax").strip() != "65536", "the node's own is as it was")


def namespace(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{kind}")


@check
def host_network(k, name):
    pod = running(k, name)
    ok(namespace(pid_of(k, name), "net") == namespace("self", "net"), "hostNetwork is the node's network")
    ok(ADDRESS in k.sh(name, "ip addr") and k.sh(name, "hostname").strip() == NAME, "with its address and name")
    ok(not k.api or pod["status"]["podIP"] == ADDRESS, "and the pod's address is the node's", pod["status"].get("podIP"))


@check
def host_pid(k, name):
    running(k, name)
    pid = pid_of(k, name)
    ok([namespace(pid, n) for n in ("pid", "ipc")] == [namespace("self", n) for n in ("pid", "ipc")], "hostPID and hostIPC are the node's")
    ok("crispd" in k.sh(name, "ps"), "it sees the node's processes")
    k.delete(name)
    until(lambda: k.gone(name), f"{name} to be gone")
    ok(not [p for p in filter(str.isdigit, os.listdir("/proc")) if text_of(f"/proc/{p}/cmdline") == "sleep\0" + "779\0"],
       "and its child ends with it, though no pid namespace does")


@check
def share_pid(k, name):
    running(k, name)
    seen = k.sh(name, "ps")
    ok("sleep 1001" in seen and "sleep 1002" in seen and "sleep 1001" in k.sh(name, "ps", "other"),
       "shareProcessNamespace: each sees the other", seen)
    ok(k.sh(name, "tr '\\0' ' ' < /proc/1/cmdline").split()[:1] != ["sleep"], "pid 1 is neither", seen)


@check
def host_port(k, name):
    running(k, name)
    page = until(lambda: answers(f"http://{ADDRESS}:18080/"), "the host's port", 20)
    ok(page == b"by host port\n", "hostPort leads to the pod", page)
    k.delete(name)
    until(lambda: k.gone(name), f"{name} to be gone")
    ok(not answers(f"http://{ADDRESS}:18080/", 2), "and no longer once it is gone")


def answers(url, timeout=5):
    try:
        return fetch(url, timeout=timeout)
    except OSError:
        return None


# -- handlers, and what users read when things go wrong --

def by_handler(k, name, handler):
    running(k, name)
    engine = re.search(r'"engine": "(\w+)"', k.crisp.ctl("inspect", container_id(k, name)))[1]
    ok(k.log(name) == f"on {handler}\n" and engine == handler, f"RuntimeClass {handler}", engine)


@check
def handler_crun(k, name):
    by_handler(k, name, "crun")


@check
def handler_runc(k, name):
    by_handler(k, name, "runc")


@check
def handler_gvisor(k, name):
    by_handler(k, name, "gvisor")
    ok("gVisor" in k.sh(name, "dmesg"), "gvisor has a kernel of its own", k.sh(name, "dmesg"))


@check
def handler_shimv2(k, name):
    by_handler(k, name, "shimv2")
    ok(k.sh(name, "echo $((6 * 7))") == "42\n", "shimv2: a command in it")


def says(k, name, *words):
    """kubectl describe says all of these; without an API server the container's status does."""
    def look():
        text = k.api.kubectl("describe", "pod", name) if k.api else json.dumps(states(k, name), indent=1)
        return all(w in text for w in words) and text
    what = f"{name}: its description says {', '.join(words)}"
    try:
        text = until(look, what, 60, 1)
    except AssertionError:
        text = k.api.kubectl("describe", "pod", name) if k.api else json.dumps(states(k, name), indent=1)
        return ok(False, what, "\n".join(text.splitlines()[-30:]))
    line = [line.strip() for line in text.splitlines() if words[-1] in line][-1]
    say(name, "|", re.sub(r"  +", "  ", line)[:500])
    return ok(True, what)


@check
def handler_unknown(k, name):
    says(k, name, "FailedCreatePodSandBox", 'runtime_handler "nobody"', "which has crun", "let the RuntimeClass name one of these")
    ok(not k.crisp.ctl("pods").count(name), "no sandbox is left of an unknown handler", k.crisp.ctl("pods"))


@check
def bad_command(k, name):
    waiting(k, name, "RunContainerError", "CrashLoopBackOff")
    says(k, name, "/bin/no-such-program", "see to the container's command")
    for handler in k.handlers[1:]:	# each in its own words
        k.add({"metadata": {"name": f"{name}-{handler}"}, "spec": {**k.pod(name)["spec"], "runtimeClassName": handler}})
    for handler in k.handlers[1:]:
        says(k, f"{name}-{handler}", "/bin/no-such-program", "see to the container's command")


@check
def bad_job(k, name):
    ended(k, name)
    main = exit_of(k, name)
    ok((phase(k, name), main.get("exitCode"), main.get("reason")) == ("Failed", 128, "StartError") and "see to the container's command" in main["message"],
       "a command that is not there fails a job", main)


@check
def bad_image(k, name):
    waiting(k, name, *PULL_FAILED)
    says(k, name, "127.0.0.1:5000/no-such-image:1", "see to the image's name and tag")


@check
def refused_pull(k, name):
    waiting(k, name, *PULL_FAILED)
    says(k, name, "127.0.0.1:1", "connect", "see to the registry's name and port")


@check
def pull_denied(k, name):
    waiting(k, name, *PULL_FAILED)
    says(k, name, "127.0.0.1:5001", "unauthorized", "imagePullSecrets")


@check
def pull_secret(k, name):
    running(k, name)
    ok(states(k, name)["main"]["image"] == "127.0.0.1:5001/hidden:1", "pulled with a password from a Secret")


@check
def pulled(k, name):
    running(k, name)
    s = states(k, name)["main"]
    ok(s["imageID"].endswith("@sha256:" + s["imageID"][-64:]) and s["image"] == "127.0.0.1:5000/busybox:1",
       "pulled from a registry: image and imageID", s)


# -- logs and disk --

@check
def loud(k, name):
    running(k, name)
    uid = uid_of(k, name)
    folder = glob.glob(f"/var/log/pods/default_{k.full_name(name)}_{uid}/main")[0]
    until(lambda: subprocess.run(f"cd {folder} && zgrep -q ' 180000$' *", shell=True).returncode == 0, "the last line", 120, 0.5)
    until(lambda: os.path.getsize(f"{folder}/0.log") < 1 << 20 and not glob.glob(f"{folder}/*.tmp"), "the last rotation", 30, 0.5)
    files = sorted(os.listdir(folder))
    numbers = []
    for file in sorted(f for f in files if f != "0.log" and not f.endswith(".tmp")) + ["0.log"]:
        with (gzip.open if file.endswith(".gz") else open)(f"{folder}/{file}", "rt") as f:
            numbers += [int(line.split()[3]) for line in f]
    ok(len(files) >= 3 and any(f.endswith(".gz") for f in files), "the log is rotated and old ones are packed", files)
    ok(numbers == list(range(numbers[0], 180001)), f"of {len(numbers)} lines that are kept none is lost or twice", (files, numbers[:1], numbers[-1:]))
    k.sh(name, "echo after > /proc/1/fd/1")
    until(lambda: "after" in text_of(f"{folder}/0.log"), "a line after the rotation")
    ok(True, "it goes on in the new file")


@check
def hungry(k, name):
    until(lambda: phase(k, name) == "Failed", f"{name} to be evicted", 120, 0.5)
    status = k.pod(name)["status"]
    ok(status.get("reason") == "Evicted" and "ephemeral" in status["message"], "more on disk than ephemeral-storage allows: evicted", status)

#!/usr/bin/env python3
# The newest kubelet on crisp, on a node of today: cgroup v2, systemd's slices and scopes, AppArmor.  Static pods, a
# third of t/kubelet's and two more, by their checks there; what a check there says of cgroup v1 is said anew here.
import os, sys, traceback
sys.dont_write_bytecode = True
GUEST = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, f"{GUEST}/../../kubelet")
os.environ["CRISP_NODE_TAG"] = "kubelet"	# no namespaces: the whole machine is the test's
import node, tap
node.CGROUP = "crisp.slice"
ordinary_until = node.until
node.until = lambda what, why="", seconds=60, pause=0.1: ordinary_until(what, why, seconds * tap.SLOW, pause * tap.SLOW)
from checks import *

CHOSEN = """limits guaranteed oom users strict-groups nonroot confined sysctls init-order sidecar probe-exec probe-http
    hooks grace last-words volumes share-pid host-pid restart-never apparmor apparmor-unknown""".split()
DENY = "crisp-vm-deny-write"
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


# -- the node --

def prepare():
    os.makedirs(f"{HOME}/logs")
    os.makedirs("/var/lib/kubelet/seccomp")
    with open("/var/lib/kubelet/seccomp/no-mkdir.json", "w") as f:
        json.dump({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}, f)
    run("apparmor_parser", "-r", "-T", text=True, input=
        f"profile {DENY} flags=(attach_disconnected) {{ file, capability, network, signal, deny /tmp/** w, }}\n")
    run("hostname", NAME)
    with open("/etc/hosts", "w") as f:
        f.write(f"127.0.0.1 localhost\n{ADDRESS} {NAME}\n")
    for words in ("link add uplink type veth peer name uplinkp", "link set uplinkp up", f"addr add {ADDRESS}/24 dev uplink",
                  "link set uplink up", "route add default via 192.168.77.1 dev uplink"):
        run("ip", *words.split())


def read_pod(path):
    pod = yaml.safe_load(text_of(path))
    pod["metadata"]["namespace"] = "default"
    spec = pod["spec"]
    spec.setdefault("terminationGracePeriodSeconds", 2)
    spec.setdefault("automountServiceAccountToken", False)
    for ctr in spec["containers"] + spec.get("initContainers", []):
        for probe in filter(None, map(ctr.get, PROBES)):	# a program takes longer here than a second
            probe["timeoutSeconds"] = 3 * tap.SLOW
    return pod


# -- cgroups --

def cgroup_of(k, name, container="main"):
    return text_of(f"/proc/{pid_of(k, name, container)}/cgroup").split("::", 1)[1].strip()


def scope_of(k, name, container="main"):
    """(the scope's path, the pod's slice); an engine may have its container one step below the scope."""
    path = cgroup_of(k, name, container)
    scope = path[:path.index(".scope") + len(".scope")]
    return scope, os.path.dirname(scope)


def values(path, *files):
    return [text_of(f"/sys/fs/cgroup{path}/{f}").strip() for f in files]


def slice_name(k, name, qos):
    uid = k.pod(name)["metadata"]["annotations"]["kubernetes.io/config.hash"].replace("-", "_")
    kind = f"kubepods-{qos}" if qos else "kubepods"
    return f"/kubepods.slice/{f'{kind}.slice/' if qos else ''}{kind}-pod{uid}.slice"


@check
def limits(k, name):
    running(k, name)
    scope, pods = scope_of(k, name)
    ok(pods == slice_name(k, name, "burstable"), "a burstable pod is in its slice", pods)
    ok(scope == f"{pods}/crisp-{container_id(k, name)}.scope", "its container in a scope", scope)
    got = values(cgroup_of(k, name), "memory.max", "cpu.max", "cpu.weight")
    ok(got[:2] == ["67108864", "25000 100000"] and 2 <= int(got[2]) <= 20, "limits are in the container's cgroup", got)
    got = values(cgroup_of(k, name, "equal"), "memory.max", "cpu.max", "cpu.weight", "pids.max")
    ok(got == ["max", "max 100000", "1", "max"], "no limits are none", got)
    adj = int(text_of(f"/proc/{pid_of(k, name)}/oom_score_adj"))
    ok(2 <= adj < 1000, f"a burstable pod's oom_score_adj is {adj}")
    run("systemctl", "daemon-reload")
    got = values(cgroup_of(k, name), "memory.max", "cpu.max")
    ok(got == ["67108864", "25000 100000"], "they survive a daemon-reload", got)
    unit = subprocess.run(["systemctl", "show", "-P", "ActiveState", os.path.basename(scope)], capture_output=True, text=True)
    ok(unit.stdout == "active\n", "systemd knows the scope", unit)


@check
def guaranteed(k, name):
    running(k, name)
    scope, pods = scope_of(k, name)
    ok(pods == slice_name(k, name, ""), "a guaranteed pod is in its slice, right below the kubelet's", pods)
    got = values(pods, "memory.max", "cpu.max")
    ok(got == ["33554432", "10000 100000"], "with the pod's limits", got)
    adj = text_of(f"/proc/{pid_of(k, name)}/oom_score_adj").strip()
    ok(adj == "-997", "its processes are the last that the kernel takes", adj)
    ok(values("/kubepods.slice/kubepods-besteffort.slice", "cpu.weight") == ["1"] and
       int(values("/kubepods.slice/kubepods-burstable.slice", "cpu.weight")[0]) > 1, "besteffort pods have the least of the CPU")


oom_of_one = checks["oom"]


@check
def oom(k, name):
    """On v2 a kubelet has memory.oom.group set unless it is told otherwise."""
    for ctr in "main", "child":
        s = exited(k, name, ctr)
        ok(s["reason"] == "OOMKilled" and s["exitCode"] == 137, f"out of memory in {ctr}: all of the container's processes go", s)
    ok("child" not in k.log(name, "child"), "also the parent of the one")


@check
def apparmor(k, name):
    running(k, name)
    got = {c: text_of(f"/proc/{pid_of(k, name, c)}/attr/current").strip("\n\0") for c in ("main", "open", "own")}
    ok(got == {"main": "crisp-default (enforce)", "open": "unconfined", "own": f"{DENY} (enforce)"},
       "AppArmor: RuntimeDefault, Unconfined, Localhost", got)
    ok("denied" in k.sh(name, "touch /tmp/x 2>&1; true", "own"), "a profile of the node's is in force")


@check
def apparmor_unknown(k, name):
    w = waiting(k, name, "CreateContainerError")
    ok("no-such" in w["message"] and "no such AppArmor profile is loaded" in w["message"], "a profile that is not there: by name", w)
    say(name, "|", w["message"])


# -- the run --

def left():
    """Slices of pods and scopes of containers."""
    return glob.glob("/sys/fs/cgroup/kubepods.slice/**/*-pod*.slice", recursive=True) + \
        glob.glob("/sys/fs/cgroup/**/crisp-*.scope", recursive=True)


def remove_all(k):
    for name in k.pods():
        k.delete(name)
    ok(try_until(lambda: not k.pods(), 60), "all pods can be deleted", list(k.pods()))
    ok(try_until(lambda: not k.crisp.ctl("pods", "-q"), 60), "the kubelet collects every sandbox", k.crisp.ctl("pods"))
    ok(try_until(lambda: not left(), 30), "no slice and no scope is left", left())


def look(k, pods):
    for pod in pods:
        k.add(pod)
    say(len(pods), "pods are asked for")
    for pod in pods:
        name = pod["metadata"]["name"]
        try:
            checks[name](k, name)
        except Exception as e:
            ok(False, f"{name}: its check", f"{type(e).__name__}: {e}")


def main():
    prepare()
    crisp = Crisp().start()
    crisp.load(IMAGE, files=["/job/health"])
    ok(crisp.ctl("pods") is not None, "crisp is there")
    k = Kubelet("/job/kubelet", crisp, cgroupDriver="systemd", cgroupRoot="/").start()
    say(subprocess.run(["/job/kubelet", "--version"], capture_output=True, text=True).stdout.strip(), "is healthy")
    places = {name: next(p for p in (f"{GUEST}/pods/{name}.yaml", f"{HERE}/pods/{name}.yaml") if os.path.exists(p)) for name in CHOSEN}
    pods = [read_pod(places[name]) for name in CHOSEN]
    # A few at a time: the machine is slow.
    for few in (pods[i:i + 7] for i in range(0, len(pods), 7)):
        look(k, few)
        remove_all(k)
    say("calls that failed:", k.failures())
    say("a kubelet that has single processes killed")
    k.stop()
    k.config["singleProcessOOMKill"] = True
    k.start()
    checks["oom"] = oom_of_one
    look(k, [read_pod(places["oom"])])
    remove_all(k)
    ok(not k.failures(), "of its calls to the runtime none has failed", k.failures())
    k.stop()
    ok(crisp.stop() == 0, "crispd leaves")


try:
    main()
except Exception:
    ok(False, "the test comes to its end", traceback.format_exc())
    for name in "crisp", "kubelet":
        say(f"{name}:", node.last_words(name, 15).replace("\n", "\n# "))
tap.done()

#!/usr/bin/env python3
"""run.py static|cluster VERSION [POD...]: a kubelet of that version on crisp; TAP.

static: no API server, pods are files.  cluster: with an API server, etcd and kubectl.
With PODs only their checks are run; "restarts", "kills", "crowd" (PODS=60, STEADY=30 seconds), "images" and
"gates" are named likewise.  KEEP=DIR keeps the logs."""
import sys, traceback

sys.dont_write_bytecode = True
from checks import *
from clients import *
from life import *

CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "crisp-test")
EVERYTHING = [{"operator": "Exists"}]


def needs(*components):
    run(f"{HERE}/components.sh", *components)


def registries():
    """An open one and one that wants a password, each with an image."""
    hashed = run("perl", "-e", 'print crypt("pass", q{$2y$05$abcdefghijklmnopqrstuu})', capture_output=True, text=True).stdout
    with open(f"{HOME}/htpasswd", "w") as f:
        f.write(f"user:{hashed}\n")
    for port, image, more, word in (5000, "busybox:1", {}, []), \
            (5001, "hidden:1", {"auth": {"htpasswd": {"realm": "test", "path": f"{HOME}/htpasswd"}}}, ["--dest-creds=user:pass"]):
        with open(f"{HOME}/registry-{port}.yaml", "w") as f:
            yaml.dump({"version": 0.1, "storage": {"filesystem": {"rootdirectory": f"{HOME}/registry-{port}"}},
                       "http": {"addr": f"127.0.0.1:{port}"}, "log": {"level": "error"}, **more}, f)
        service(f"registry-{port}", "docker-registry", "serve", f"{HOME}/registry-{port}.yaml")
        until(lambda: answers(f"http://127.0.0.1:{port}/", 2) is not None, "the registry", 20)
        archive = make_image(image)
        run("skopeo", "copy", "-q", "--insecure-policy", "--dest-tls-verify=false", *word, f"docker-archive:{archive}",
            f"docker://127.0.0.1:{port}/{image}")
        os.unlink(archive)


def read_pods(wanted, api):
    """{name: (pod, what must be there before it)}"""
    pods = {}
    for path in sorted(glob.glob(f"{HERE}/pods/*.yaml")):
        text = text_of(path)
        *others, pod = yaml.safe_load_all(text)
        name = pod["metadata"]["name"]
        if (wanted and name not in wanted) or (not api and "\n# api\n" in "\n" + text):
            continue
        spec = pod["spec"]
        spec.setdefault("terminationGracePeriodSeconds", 2)
        spec.setdefault("automountServiceAccountToken", False)
        if api:
            spec.update(nodeName=NAME, tolerations=EVERYTHING)
        pod["metadata"]["namespace"] = "default"
        pods[name] = pod, others
    return pods


def check_pods(k, pods):
    """All at once, as after a node's reboot; then look at each."""
    for name, (pod, others) in pods.items():
        try:
            for other in others:
                if other["kind"] == "RuntimeClass":
                    k.api.post("runtimeclasses", other, "/apis/node.k8s.io/v1")
                else:
                    k.api.post(f"namespaces/default/{other['kind'].lower()}s", other)
            k.add(pod)
        except AssertionError as e:
            ok(False, f"{name} is taken", e)
    say(len(pods), "pods are asked for")
    for name in pods:
        try:
            checks[name](k, name)
        except Exception as e:
            ok(False, f"{name}: its check", f"{type(e).__name__}: {e}")


def remove_pods(k):
    """Each pod goes, and no trace of any stays with crisp once the kubelet has collected the dead sandboxes."""
    for name in k.pods():
        k.delete(name)
    ok(try_until(lambda: not k.pods(), 90), "all pods can be deleted", list(k.pods()))
    ok(try_until(lambda: not k.crisp.ctl("pods", "-q"), 150), "the kubelet collects every sandbox", k.crisp.ctl("pods"))
    for image in set(k.crisp.ctl("images", "-q").split()) - {k.crisp.image}:
        k.crisp.ctl("rmi", image)
    leaks = k.crisp.leaks(30)
    ok(not leaks, "nothing of them is left", leaks)


def main(kind, version, *wanted):
    api = kind == "cluster"
    needs(f"kubelet-{version}", "health", *([f"cluster-{version}", "etcd-3.6.5", "runsc"] if api else []))
    isolate()
    try:
        test(api, version, wanted)
    except BaseException as e:
        if not isinstance(e, SystemExit):
            ok(False, f"the test comes to its end", traceback.format_exc())
    done()


def warm_up(k):
    """What lives as long as the node: cgroups of the kubelet, the bridge, folders of the handlers, what a shared pid namespace needs."""
    (shares, _), = read_pods(["share-pid"], k.api).values()
    pods = [{**shares, "metadata": {**shares["metadata"], "name": "warm"}}]
    for handler in k.handlers if k.api else ():
        k.api.post("runtimeclasses", {"metadata": {"name": handler}, "handler": handler}, "/apis/node.k8s.io/v1")
        pods.append(busy_pod(f"warm-{handler}", "exec sleep 1000", runtimeClassName=handler))
    add_all(k, pods)
    k.crisp.stop()	# one that has been started anew under a pod has a process and a socket more
    k.crisp.start()
    remove_all(k, pods)
    until(lambda: not k.crisp.ctl("pods", "-q"), "the first pods to be collected", 180)


def furnish():
    """What pods find on the node."""
    os.makedirs("/var/lib/kubelet/seccomp")
    with open("/var/lib/kubelet/seccomp/no-mkdir.json", "w") as f:
        json.dump({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}, f)
    os.makedirs("/run/deep/inner")
    run("mount", "-t", "tmpfs", "inner", "/run/deep/inner")


def test(api, version, wanted):
    furnish()
    registries()
    handlers = {"crun": {"engine": "crun"}}
    if api:	# only there is a RuntimeClass
        handlers.update(runc={"engine": "runc"}, shimv2={"engine": "shimv2"},
                        gvisor={"engine": "gvisor", "options": {"path": f"{CACHE}/runsc-20250205/runsc"}})
    crisp = Crisp(engines={"default": "crun", "handlers": handlers},
                  registries={"plain_http": ["127.0.0.1:5000", "127.0.0.1:5001", "127.0.0.1:1"]}).start()
    crisp.load(IMAGE, files=[f"{CACHE}/health/health"])
    crisp.image = crisp.ctl("images", "-q").strip()
    cluster = None
    if api:
        cluster = Cluster(f"{CACHE}/cluster-{version}", f"{CACHE}/etcd-3.6.5/etcd").start()
        say("the API server answers")
    k = Kubelet(f"{CACHE}/kubelet-{version}/kubelet", crisp, cluster).start()
    k.version, k.handlers = version, list(handlers)
    say("the kubelet is healthy")
    if api:
        ok(try_until(cluster.node_ready, 60), "the node is ready", cluster.kubectl("describe", "node", NAME))
    warm_up(k)
    before = k.failures()
    crisp.snapshot()
    say("the leak check begins")
    pods = read_pods(wanted, api)
    if pods:
        check_pods(k, pods)
        remove_pods(k)
    stages = {"restarts": restarts, "kills": kills, "crowd": lambda k: crowd(k, int(os.environ.get("PODS", 60)), int(os.environ.get("STEADY", 30)))}
    if api:
        stages.update(gates=gates, images=images_fill_the_disk)
    stages = {name: stage for name, stage in stages.items() if not wanted or name in wanted}
    for name, stage in stages.items():
        say(name)
        try:
            stage(k)
        except Exception:
            ok(False, f"{name}: its check", traceback.format_exc())
    if stages:
        remove_pods(k)
    say("calls that failed:", {n: c - before.get(n, 0) for n, c in k.failures().items()})
    k.stop()
    ok(crisp.stop() == 0, "crispd leaves")


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in ("static", "cluster"):
        sys.exit(__doc__)
    main(*sys.argv[1:])

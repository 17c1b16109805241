#!/usr/bin/python3
# The engine kata, with a shim that speaks as Kata's does but has no machine in it (kata_shim.py): what
# it is asked, what it is told, what becomes of its answers.  With a /dev of the test's own, in which is
# what a host needs for virtual machines, or isn't.
import base64, glob, json, os, shutil, signal, socket, subprocess, sys, time

if os.environ.get("KATA_T") != "inside":
    os.execvpe("unshare", ["unshare", "-m", *sys.argv], {**os.environ, "KATA_T": "inside"})
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from node import HOME, TOP, Node, cmdline, cri, done, ok, processes, until

MIB = 1 << 20
KATA = f"{HOME}/kata"
SHIM = f"{KATA}/containerd-shim-kata-v2"


def make_shim():
    os.mkdir(KATA)
    shutil.copy(f"{TOP}/t/cri/kata_shim.py", SHIM)
    os.chmod(SHIM, 0o755)
    with open(f"{TOP}/proto/shim.proto") as f:
        lines = [line for line in f if "protobuf-c" not in line and "pb_c_file" not in line]
    with open(f"{KATA}/shim_of_test.proto", "w") as f:
        f.writelines(lines)
    subprocess.run(["protoc", f"-I{KATA}", f"--python_out={KATA}", f"{KATA}/shim_of_test.proto"], check=True)
    for name, hypervisor in ("qemu", "qemu"), ("clh", "clh"):
        with open(f"{KATA}/{name}.toml", "w") as f:
            f.write(f"# for a test\n[hypervisor.{hypervisor}]\n")


def own_dev():
    """A /dev over the host's, without what machines need."""
    top = f"{HOME}/dev"
    for part in "", "/upper", "/work", "/all":
        os.mkdir(top + part)
    subprocess.run(["mount", "-t", "tmpfs", "dev", top], check=True)
    for part in "/upper", "/work", "/all":
        os.mkdir(top + part)
    subprocess.run(["mount", "-t", "overlay", "-o", f"lowerdir=/dev,upperdir={top}/upper,workdir={top}/work", "dev",
                    f"{top}/all"], check=True)
    for part in "pts", "shm":
        subprocess.run(["mount", "--rbind", f"/dev/{part}", f"{top}/all/{part}"], check=True)
    subprocess.run(["mount", "--rbind", f"{top}/all", "/dev"], check=True)
    for name in "kvm", "vhost-vsock", "log":
        if os.path.exists(f"/dev/{name}"):
            os.unlink(f"/dev/{name}")


def asked(what, id=None):
    """What the shim was asked, as it wrote it down."""
    with open(f"{KATA}/asked") as f:
        notes = [json.loads(line) for line in f]
    return [n for n in notes if n["what"] == what and (id is None or id in (n.get("id"), n.get("bundle", "").split("/")[-1]))]


def machines():
    return [int(p) for p in os.listdir("/proc") if p.isdigit() and cmdline(p)[:2] == ["sleep", "1000000"]]


def shims():
    return processes("-namespace", SHIM)


def refusal(handler):
    return node.refused("RunPodSandbox", config=node.pod_config(f"no-{handler}"), runtime_handler=handler)[1]


make_shim()
own_dev()
options = {"path": SHIM, "config_path": f"{KATA}/qemu.toml"}
node = Node({"crun": {"engine": "crun"},
             "kata": {"engine": "kata", "options": options},
             "pull": {"engine": "kata", "options": {**options, "guest_pull": True}},
             "clh": {"engine": "kata", "options": {**options, "config_path": f"{KATA}/clh.toml"}},
             "lost": {"engine": "kata", "options": {**options, "config_path": "/no/such.toml"}},
             "block": {"engine": "kata", "options": {**options, "rootfs": "block"}},
             "wrong": {"engine": "shimv2", "options": {"guest_pull": True}}})

# -- what the host must have --
node.start()
words = refusal("kata")
ok(all(w in words for w in ("this host lacks", "/dev/kvm", "/dev/vhost-vsock (modprobe vhost_vsock)", "/dev/log")),
   "without anything: what is missing is named", words)
words = refusal("clh")
ok("/dev/kvm" in words and "vsock" not in words, "cloud-hypervisor needs no vsock of the host's", words)
ok("the file of option config_path" in refusal("lost"), "a configuration that isn't there", refusal("lost"))
ok('unknown option "rootfs"' in refusal("block"), "a root on a block device is not to be had: images are folders", refusal("block"))
ok("is for the engine kata" in refusal("wrong"), "guest pull is nothing for other shims", refusal("wrong"))
ok(node.stop() == 0, "once more")
open("/dev/kvm", "w").close()
open("/dev/vhost-vsock", "w").close()
node.start()
until(node.answers, "an answer of the new one")
words = refusal("kata")
ok("/dev/log" in words and "/dev/kvm" not in words and "vsock" not in words, "only a syslog socket is missing", words)
ok(node.stop() == 0, "once more")
syslog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
syslog.bind("/dev/log")
node.start().load()
until(node.answers, "an answer of the new one")
ready = {h.name for h in node.call("Status").runtime_handlers}
ok({"kata", "pull", "clh"} <= ready and "lost" not in ready, "with all of it handlers are ready", ready)

# -- a pod --
node.down(node.run("warm", "kata"))
node.down(node.run("warm-pull", "pull"))
before = node.note(KATA)
ok(before == "", "what there is", before)
os.unlink(f"{KATA}/asked")
config = node.pod_config("pod")
config["linux"]["resources"] = {"cpu_period": 100000, "cpu_quota": 150000, "cpu_shares": 512, "memory_limit_in_bytes": 256 * MIB}
pod = node.call("RunPodSandbox", config=config, runtime_handler="kata").pod_sandbox_id
start = asked("start")[0]
spec, notes = start["spec"], start["spec"]["annotations"]
cri_note = lambda name: notes.get(f"io.kubernetes.cri.{name}")
ok(start["argv"][-3:] == ["-id", pod, "start"] and start["bundle"].endswith(pod), "the shim is started in the pod's bundle", start["argv"])
ok(start["mounts"] == os.readlink("/proc/self/ns/mnt"), "and stays in the host's mount namespace, to leave it by itself", start["mounts"])
ok((cri_note("container-type"), cri_note("sandbox-id")) == ("sandbox", pod), "its spec is that of a sandbox", notes)
ok((cri_note("sandbox-cpu-period"), cri_note("sandbox-cpu-quota"), cri_note("sandbox-cpu-shares"), cri_note("sandbox-memory")) ==
   ("100000", "150000", "512", str(256 * MIB)), "it says how large the machine has to be", notes)
ok((cri_note("sandbox-name"), cri_note("sandbox-namespace"), cri_note("sandbox-uid")) == ("pod", "ns", "uid-pod"), "and whose it is", notes)
ok("cpu" not in spec["linux"].get("resources", {}), "the first process's share is not the machine's", spec["linux"].get("resources"))
net = [ns.get("path") for ns in spec["linux"]["namespaces"] if ns["type"] == "network"]
ok(len(net) == 1 and net[0].startswith(f"/run/netns/{node.netns_prefix}") and os.path.exists(net[0]),
   "the network is named by a path that holds as long as the pod", net)
create = asked("Create", pod)[0]
ok(create["service"] == "containerd.task.v2.Task" and create["options"]["type_url"] == "runtimeoptions.v1.Options" and
   f"{KATA}/qemu.toml" in create["options"]["value"], "it is told where its configuration is", create)
ok(len(machines()) == 1 and asked("Start", pod), "the machine runs", machines())

# -- containers --
a = node.started(pod, "a", "run")
b = node.started(pod, "b", "exit", "7")
st = node.wait_exit(b)
ok((st.exit_code, st.reason, node.log_of(b)) == (7, "Error", "exit 7\n"), "a container's output and its exit code come from the guest", st)
ok(len(shims()) == 1 and len(asked("start")) == 3, "all of a pod are in one shim, which is asked for each", shims())
spec = asked("start", a)[0]["spec"]
ok((spec["annotations"]["io.kubernetes.cri.container-type"], spec["annotations"]["io.kubernetes.cri.sandbox-id"]) == ("container", pod) and
   spec["annotations"]["io.kubernetes.cri.container-name"] == "a", "they are known as the pod's", spec["annotations"])
ok([m["type"] for m in spec["mounts"] if m["destination"] == "/dev/shm"] == ["tmpfs"], "/dev/shm is the guest's", spec["mounts"])
rootfs = asked("Create", a)[0]["rootfs"]
ok([m["type"] for m in rootfs] == ["overlay"] and any(o.startswith("lowerdir=") for o in rootfs[0]["options"]) and
   node.state not in open("/proc/mounts").read().replace(f" {node.memory} ", ""), "the root is handed over unmounted", rootfs)
got = node.exec(a, "exit", "5")
ok((got.exit_code, got.stdout) == (5, b"exit 5\n"), "exec", got)
ok(asked("Exec", a) and [n["exec_id"] for n in asked("Delete", a)] == [asked("Exec", a)[0]["exec_id"]], "which is forgotten when it has ended")
stats = node.call("ContainerStats", container_id=a).stats
ok((stats.cpu.usage_core_nano_seconds.value, stats.memory.working_set_bytes.value) == (1234567000, 60 * MIB), "stats are the guest's", stats)
node.call("UpdateContainerResources", container_id=a, linux={"memory_limit_in_bytes": 64 * MIB, "cpu_quota": 50000, "cpu_period": 100000})
update = asked("Update", a)[0]["resources"]
resources = json.loads(update["value"])
ok(update["type_url"].endswith("/LinuxResources") and resources["memory"]["limit"] == 64 * MIB and resources["cpu"]["quota"] == 50000,
   "update", update)
o = node.started(pod, "o", "oom")
st = node.wait_exit(o)
ok((st.exit_code, st.reason) == (137, "OOMKilled"), "out of memory, as an event tells", st)
node.call("StopContainer", container_id=a, timeout=5)
ok(node.status(a).exit_code == 128 + 15 and asked("Kill", a)[0]["signal"] == 15, "a stop", node.status(a))

k = node.started(pod, "k", "keep")
node.call("StopContainer", container_id=k, timeout=5)
node.call("RemoveContainer", container_id=k)
ok(len(asked("delete")) == 1 and k in asked("delete")[0]["argv"], "what the shim won't delete its program does", asked("delete"))

# -- the core dies --
c, d = node.started(pod, "c", "run"), node.started(pod, "d", "run")
core = node.core()
os.kill(core, signal.SIGSTOP)
sys.path.insert(0, KATA)
import shim_of_test_pb2 as pb
with socket.socket(socket.AF_UNIX) as s:	# what ends it is the guest's affair
    s.connect(glob.glob(f"{KATA}/*.sock")[0])
    rq = pb.Request(service="containerd.task.v2.Task", method="Kill", payload=pb.KillRequest(id=d, signal=3).SerializeToString())
    data = rq.SerializeToString()
    s.sendall(len(data).to_bytes(4, "big") + (1).to_bytes(4, "big") + b"\1\0" + data)
    s.recv(10)
node.kill_core()
ok(node.wait_exit(d).exit_code == 128 + 3, "an exit while no core lived has its code", node.status(d))
ok(node.state_of(c) == "CONTAINER_RUNNING" and node.exec(c, "exit", "6").exit_code == 6, "the others run on")
node.down(pod)
ok(asked("Shutdown") and until(lambda: not shims() and not machines(), "their end"), "the last one shuts the machine down")
ok(asked("Delete", pod) and asked("Delete", c), "all were deleted")

# -- the shim dies --
pod = node.run("dies", "kata")
a = node.started(pod, "a", "run")
began = time.monotonic()
os.kill(shims()[0], signal.SIGKILL)
node.not_ready(pod)
ok(time.monotonic() - began < 2, "a dead shim is noticed at once", time.monotonic() - began)
st = node.wait_exit(a)
ok((st.exit_code, st.reason) == (255, "Unknown"), "how its containers ended is not known", st)
ok({n["argv"][n["argv"].index("-id") + 1] for n in asked("delete")} == {pod, a, k}, "its clean-up is called for each", asked("delete"))
ok(until(lambda: not machines(), "its end"), "a machine that outlives even that is killed")
node.down(pod)
pod = node.run("both", "kata")
a = node.started(pod, "a", "run")
os.kill(node.core(), signal.SIGSTOP)
os.kill(shims()[0], signal.SIGKILL)
node.kill_core()
node.not_ready(pod)
ok(node.wait_exit(a).exit_code in (255, 137) and until(lambda: not machines(), "its end"), "a shim that died together with the core", node.status(a))
node.down(pod)

# -- images that the guest pulls --
pod = node.run("pull", "pull")
a = node.started(pod, "a", "run")


def volume(id):
    mount, = asked("Create", id)[0]["rootfs"]
    option, = mount["options"]
    key, _, value = option.partition("=")
    return mount["type"], key, json.loads(base64.b64decode(value + "=" * (-len(value) % 4)))


kind, key, value = volume(a)
name = asked("start", a)[0]["spec"]["annotations"]["io.kubernetes.cri.image-name"]
ok((kind, key) == ("fuse.nydus-overlayfs", "io.katacontainers.volume") and value["volume_type"] == "image_guest_pull",
   "the guest is told to pull", (kind, key, value))
ok(value["source"] == name and name == node.status(a).image_ref, "the image by its name and digest", (value, name, node.status(a).image_ref))
ok(volume(pod)[2]["source"] == "pause", "and its own for the pod's first process", volume(pod))
node.down(pod)

# -- an annotation of the pod has no power over the machine --
config = node.pod_config("power", annotations={"io.katacontainers.config.hypervisor.path": "/bin/sh", "io.kubernetes.cri.sandbox-memory": "1"})
pod = node.call("RunPodSandbox", config=config, runtime_handler="kata").pod_sandbox_id
notes = asked("start", pod)[0]["spec"]["annotations"]
ok(not any(k.startswith("io.katacontainers.") for k in notes) and "io.kubernetes.cri.sandbox-memory" not in notes,
   "a pod's annotations have no power over its machine", notes)
node.down(pod)
left = node.leaks()
ok(left == "" and not shims() and not machines(), "nothing is left", left)
if os.environ.get("KEEP_LOG"):
    shutil.copy(node.log, os.environ["KEEP_LOG"])
ok(node.stop() == 0, "the end")
done()

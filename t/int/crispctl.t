#!/usr/bin/env python3
# crispctl against a CRI server that only pretends (t/int/cri_stub.c): what is asked, what is
# shown, and every exit code.
import json, os, pty, re, subprocess, sys, tempfile

BUILD = os.environ.get("BUILD", "build")
os.chdir(os.path.dirname(os.path.abspath(__file__)) + "/../..")
sys.path.insert(0, "t")
from tap import done, ok
CTL = os.path.abspath(f"{BUILD}/crispctl")
tmp = tempfile.TemporaryDirectory(prefix="crispctl-t.")
SOCK = f"{tmp.name}/s"
POD_A, WEB = "aaaa" + "1" * 60, "c0ffee" + "0" * 58


def stub(*args):
    p = subprocess.Popen([f"{BUILD}/t/int/cri_stub", SOCK, f"{tmp.name}/log", *args],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "ready\n"
    return p


def ctl(*args, **kw):
    return subprocess.run([CTL, "--socket", SOCK, *args], capture_output=True, text=True, timeout=60, **kw)


def asked():
    """The requests since the last look, as (method, fields)."""
    path = f"{tmp.name}/log"
    lines = open(path).read().splitlines()
    os.truncate(path, 0)
    return [(l.split(" ", 1)[0], json.loads(l.split(" ", 1)[1])) for l in lines]


def write(name, text):
    with open(f"{tmp.name}/{name}", "w") as f:
        f.write(text)
    return f"{tmp.name}/{name}"


def said(r, code, out=None, err=None):
    return r.returncode == code and (out is None or re.search(out, r.stdout, re.M)) and \
        (err is None or re.search(err, r.stderr, re.M))


def check(name, r, code, out=None, err=None):
    ok(said(r, code, out, err), name, r)


server = stub()

# -- lists
r = ctl("pods")
rows = r.stdout.splitlines()
check("pods: a row each, with its address", r, 0, r"^aaaa11111111 +default +shop +Ready +3m .* 10\.88\.0\.2$")
ok("\033" not in r.stdout and "?[31mred" in r.stdout, "a name can't steer the terminal", r)
ok(len({l.index(h) for l, h in zip(rows, ("STATE", "Ready", "NotReady"))}) == 1, "columns are aligned", r)
check("pods -q: whole ids", ctl("pods", "-q"), 0, f"^{POD_A}$")
r = ctl("-o", "json", "pods")
ok(json.loads(r.stdout)["items"][0]["metadata"] ==
   {"name": "shop", "uid": "u", "namespace": "default", "attempt": 0}, "pods as JSON", r)
ok(json.loads(r.stdout)["items"][0]["labels"] == {"app": "shop"}, "maps are objects", r)
r = ctl("ps")
ok(said(r, 0, r"^c0ffee000000 +shop +web +localhost/shop:1 +Running") and "job" not in r.stdout,
   "ps: the running, with their image's name", r)
check("ps -a: exit codes", ctl("ps", "-a"), 0, r"job .* Exited +\d+s +3 Error$")
r = ctl("ps", "-a", "shop")
ok("dead" not in r.stdout and "job" in r.stdout, "ps POD", r)
check("images: a row a name", ctl("images"), 0, r"^localhost/shop:2 +1234567890ab +2\.3MB +pinned$")
check("stats: CPU over an interval", ctl("stats"), 0, r"^c0ffee000000 +shop +web +50\.0% +12\.3MB")
check("status: not ready is an error", ctl("status"), 1, r"^NetworkReady +no +Broken")
check("version's words", ctl("status"), 1, r"^stub 9, CRI v1$")

# -- names
check("inspect by name", ctl("inspect", "shop"), 0, '"ip": "10.88.0.2"')
check("inspect by prefix", ctl("inspect", "c0ffee0"), 0, '"pid": 12345678901')
check("inspect POD/NAME", ctl("inspect", "shop/web"), 0, WEB)
check("of one name the running one is meant", ctl("inspect", "web"), 0, WEB)
check("info that is text stays text", ctl("inspect", POD_A), 0, '"plain": "text"')
check("an image", ctl("inspect", "localhost/shop:1"), 0, '"id": "sha256:1234')
check("an ambiguous prefix, whatever runs", ctl("stop", "aaa"), 1, err='"aaa" may be any of 2')
check("nothing of that name", ctl("inspect", "nowhere"), 4, err='no pod, container or image is called "nowhere"')
check("an empty name", ctl("stop", ""), 4)

# -- changes
asked()
check("stop a container", ctl("stop", "-t", "7", "web"), 0, WEB)
ok(asked() == [("StopContainer", {"containerId": WEB, "timeout": "7"})], "its grace is told")
check("stop a pod", ctl("stop", "shop"), 0, POD_A)
ok(asked() == [("StopPodSandbox", {"podSandboxId": POD_A})], "by its id")
check("rm refuses what runs", ctl("rm", "web"), 1, err="is running: stop it first, or rm -f")
check("rm refuses a pod that is up", ctl("rm", "shop"), 1, err="pod shop is up")
ok(asked() == [], "and asks nothing")
check("rm -f", ctl("rm", "-f", "web"), 0, WEB)
ok([m for m, _ in asked()] == ["RemoveContainer"], "removes")
check("rm of what is down", ctl("rm", "aaab"), 0)
ok([m for m, _ in asked()] == ["StopPodSandbox", "RemovePodSandbox"], "stops, then removes")
check("rmi", ctl("rmi", "localhost/shop:1"), 0, "^sha256:1234")
check("rmi of nothing", ctl("rmi", "nowhere"), 4)
asked()

# -- exec
r = ctl("exec", "web", "--", "sh", "-c", "7")
ok((r.returncode, r.stdout, r.stderr) == (7, "out\n", "err\n"), "exec: output and exit code", r)
ok(asked()[0][1] == {"containerId": WEB, "cmd": ["sh", "-c", "7"], "timeout": "0"}, "exec: the words as they are")
check("a pod stands for its running container", ctl("exec", "shop", "true", "0"), 0, "out")
r = ctl("exec", "web", "big", "0")
ok(len(r.stdout) == 5 << 20, "exec: 5 MiB come whole", len(r.stdout))
asked()
check("exec: a timeout is an error", ctl("--timeout", "2s", "exec", "web", "slow"), 1,
      err=r"took 100% of the time \(DeadlineExceeded\)")
ok(asked()[0][1]["timeout"] == "2", "exec: --timeout is told")
check("exec without a command", ctl("exec", "web", "--"), 2, err="crispctl exec --help")

# -- images
r = ctl("pull", "one", "two")
check("pull prints ids", r, 0, "^sha256:1234")
ok([m for m, _ in asked()] == ["Pull", "Pull"] and r.stderr == "", "pull: crisp's service, no bar without a terminal", r)
check("a pull that fails", ctl("pull", "broken"), 1, err=r'the registry is "away" \(Unavailable\)')
asked()
ctl("pull", "--creds", "u:p:w", "one")
auth = asked()[0][1]["auth"]
ok((auth["username"], auth["password"]) == ("u", "p:w"), "pull: a user and a password with a colon")
check("load", ctl("load", "--name", "x", tmp.name), 0, "^sha256:1234")
ok(asked() == [("Load", {"path": os.path.realpath(tmp.name), "name": "x"})], "load: an absolute path")
check("load of nothing", ctl("load", "/nonexistent"), 4, err="/nonexistent: No such file")
ok(json.loads(ctl("dump").stdout) == {"ops": [], "text": "a:{b,c}"}, "dump")


def on_terminal(*args):
    """stderr on a terminal: what is drawn there."""
    main, side = pty.openpty()
    r = subprocess.run([CTL, "--socket", SOCK, *args], stdout=subprocess.PIPE, stderr=side, timeout=60)
    os.close(side)
    drawn = b""
    try:
        while chunk := os.read(main, 65536):
            drawn += chunk
    except OSError:
        pass
    os.close(main)
    return r.returncode, drawn.decode()


code, drawn = on_terminal("pull", "one")
ok(code == 0 and re.search(r"pull one +fetch +\[.*\] .* / 1\.0MB +\d/2 layers", drawn) and
   drawn.endswith("\r\033[K"), "pull: a bar on a terminal, wiped at the end", repr(drawn))

# -- run
POD = """apiVersion: v1
kind: Pod
metadata: {name: two, namespace: n, labels: {a: b}, annotations: {c: d}}
spec:
  hostNetwork: true
  runtimeClassName: runc
  containers:
  - name: one
    image: missing
    command: [sh, -c]
    args: ["echo $X"]
    env: [{name: X, value: "1"}]
    tty: true
    ports: [{containerPort: 53, hostPort: 5353, protocol: UDP}]
  - {name: %s, image: x, workingDir: /w, securityContext: {privileged: true, runAsUser: 7}}
"""
asked()
server.stdin.close()
server.wait()
server = stub()      # which has pulled nothing yet
check("run a manifest", ctl("run", write("pod.yaml", POD % "other")), 0, f"^{POD_A}$")
got = asked()
ok([m for m, _ in got] == ["Pull", "RunPodSandbox", "CreateContainer", "StartContainer", "CreateContainer",
                           "StartContainer"], "pull, run, create, start", got)
pod, one, other = got[1][1]["config"], got[2][1]["config"], got[4][1]["config"]
ok(got[1][1]["runtimeHandler"] == "runc" and pod["metadata"]["name"] == "two" and
   pod["metadata"]["namespace"] == "n" and pod["metadata"]["uid"], "its name and handler", pod)
ok(pod["labels"]["a"] == "b" and pod["annotations"] == {"c": "d"}, "labels and annotations", pod)
sc = pod["linux"]["securityContext"]
ok(sc["namespaceOptions"]["network"] == "NODE" and pod["hostname"] == "" and
   sc["namespaceOptions"]["pid"] == "CONTAINER" and sc["privileged"], "the host's network, privileged", sc)
ok(pod["portMappings"] == [{"protocol": "UDP", "containerPort": 53, "hostPort": 5353, "hostIp": ""}], "ports", pod)
ok(one["command"] == ["sh", "-c"] and one["args"] == ["echo $X"] and one["tty"] and
   one["envs"] == [{"key": "X", "value": "MQ=="}], "a container", one)
ok(one["image"]["image"].startswith("sha256:") and one["image"]["userSpecifiedImage"] == "missing" and
   one["logPath"] == "one/0.log", "its image and log", one)
ok(other["linux"]["securityContext"]["runAsUser"] == {"value": "7"} and other["workingDir"] == "/w", "another", other)
logs = pod["logDirectory"]
ok(logs.startswith("/var/log/pods/n_two_") and os.path.isdir(f"{logs}/one"), "the log's folder is made", logs)
subprocess.run(["rm", "-r", logs])
check("what fails takes the pod back", ctl("run", write("pod.yaml", POD % "late")), 1,
      err=r"container late: StartContainer: it would not start \(Internal\)")
got = asked()
ok([m for m, _ in got][-2:] == ["StopPodSandbox", "RemovePodSandbox"] and
   not os.path.exists(got[0][1]["config"]["logDirectory"]), "with its logs", got)
check("an image that is nowhere to be had", ctl("run", "--image", "broken"), 1, err="Pull: the registry")
ok([m for m, _ in asked()] == ["Pull"], "makes no pod")
check("run by flags", ctl("run", "-i", "x", "-n", "f", "-r", "crun", "-e", "A=b=c", "-p", "80:8080/udp", "--", "a", "-b"), 0)
got = asked()
ok(got[1][1]["config"]["command"] == ["a", "-b"] and got[1][1]["config"]["envs"][0]["value"] == "Yj1j" and
   got[0][1]["config"]["portMappings"][0]["hostPort"] == 80, "flags are honoured", got)
subprocess.run(["rm", "-r", got[0][1]["config"]["logDirectory"]])
for text, words in (("kind: Job\nmetadata: {name: a}\nspec: {}", r":1: kind: \"Job\" is not supported"),
                    ("metadata: {name: a}\nspec:\n  volumes: []", r":3: spec: \"volumes\" is not supported here"),
                    ("metadata: {name: a}\nspec:\n  contianers: []", r"did you mean \"containers\""),
                    ("metadata: {name: A}\nspec: {containers: [{name: a, image: b}]}", r"no name for a pod"),
                    ("metadata: {name: a}\nspec: {containers: []}", "no containers"),
                    ("metadata: {name: a, namespace: ../x}\nspec: {containers: [{name: a, image: b}]}", "slash"),
                    ("metadata: {name: a}\nspec: {containers: [{name: a, image: b}, {name: a, image: c}]}", "two containers"),
                    ("metadata: {name: a}\nspec: {containers: [{name: a}]}", "an image is missing"),
                    ("spec: {}", "metadata.name is missing"),
                    ("metadata: {name: a}\nspec: {containers: [{name: a, image: b, tty: 1}]}", "tty: expected true or false"),
                    ("a", "expected a mapping")):
    check(f"refused: {words}", ctl("run", write("bad.yaml", text)), 1, err=words)
ok(asked() == [], "and nothing is asked")

# -- logs
T = "2026-01-02T03:04:05.678901234Z"
log = write("web.log", f"{T} stdout F one\n{T} stderr F two\n{T} stdout P thr\n{T} stdout F ee\n{T} stdout F \nrubbish\n")
r = ctl("logs", "web")
ok((r.stdout, r.stderr) == ("one\nthree\n\nrubbish\n", "two\n"), "logs: streams apart, partial lines joined", r)
check("logs -t", ctl("logs", "-t", "web"), 0, f"^{T} three$")
ok(ctl("logs", "-n", "2", "web").stdout == "\nrubbish\n", "logs --tail")
ok(ctl("logs", "-n", "0", "web").stdout == "", "logs --tail 0")
check("no log", ctl("logs", "job"), 4, err="has no log")
f = subprocess.Popen([CTL, "--socket", SOCK, "logs", "-f", "-n", "0", "web"], stdout=subprocess.PIPE, text=True)
with open(log, "a") as out:      # it may not be watching yet: --tail 0 is where it begins, so wait for it
    while "inotify" not in subprocess.run(["ls", "-l", f"/proc/{f.pid}/fd"], capture_output=True, text=True).stdout:
        pass
    out.write(f"{T} stdout F four\n")
ok(f.stdout.readline() == "four\n", "logs -f: what comes")
os.rename(log, log + ".1")
with open(log + ".1", "a") as out:
    out.write(f"{T} stdout F five\n")
write("web.log", f"{T} stdout F six\n")
ok((f.stdout.readline(), f.stdout.readline()) == ("five\n", "six\n"), "logs -f: over a rotation")
write("over", "")
ok(f.wait(20) == 0 and f.stdout.read() == "", "logs -f ends with the container")
os.unlink(f"{tmp.name}/over")
r = subprocess.run(f"{CTL} --socket {SOCK} logs -f web | head -n 1", shell=True, capture_output=True, timeout=20)
ok(r.stdout == b"six\n", "logs -f ends with its reader", r)

# -- usage
check("no command", ctl(), 2, err="usage: crispctl")
check("an unknown command", ctl("sp"), 2, err=r'unknown command "sp", did you mean "ps"\?')
check("an unknown option", ctl("ps", "--lal"), 2, err="unknown option --lal; see crispctl ps --help")
check("a missing value", ctl("stop", "-t"), 2, err="option -t needs a value")
check("a bad number", ctl("stop", "-t", "x", "web"), 2, err="expected a number")
check("a bad format", ctl("-o", "xml", "ps"), 2, err="expected table or json")
check("a bad time", ctl("--timeout", "5 parsecs", "ps"), 2, err="expected a time")
for cmd in re.findall(r"^  (\w+) ", ctl("--help").stdout, re.M):
    check(f"{cmd} --help", ctl(cmd, "--help"), 0, f"^usage: crispctl {cmd}")

# -- config check
check("config check", ctl("config", "check", "--config", write("c.yaml", "log: {level: debug}")), 0, "level: debug")
check("config check of nonsense", ctl("config", "check", "--config", write("c.yaml", "\nlgo: 1")), 2,
      err=r'c.yaml:2: unknown key "lgo", did you mean "log"\?')
check("config check --set", ctl("config", "check", "--config", write("c.yaml", ""), "--set", "stream.port=70000"), 2,
      err="--set stream.port=70000: stream.port")
ok(json.loads(ctl("-o", "json", "config", "check", "--config", write("c.yaml", "")).stdout)["engines"]["default"] == "crun",
   "config check as JSON")
shown = json.loads(ctl("-o", "json", "config", "check", "--config", write("c.yaml", "")).stdout)
leaves = {f"{k}.{s}" if isinstance(v, dict) else k for k, v in shown.items() for s in (v if isinstance(v, dict) else [0])}
unsaid = [k for k in leaves if f"| `{k}` |" not in open("docs/configuration.md").read()]
ok(len(leaves) > 20 and not unsaid, "docs/configuration.md names every key", unsaid)

# -- a server that is no crisp, and none at all
server.stdin.close()
server.wait()
server = stub("plain")
asked()
check("pull by the CRI's call", ctl("pull", "one"), 0, "^sha256:1234")
ok([m for m, _ in asked()] == ["PullImage"], "once")
check("load needs a crisp", ctl("load", tmp.name), 1, err="it is no crisp")
check("dump needs a crisp", ctl("dump"), 1, err="Unimplemented")
server.stdin.close()
server.wait()
check("nobody is there", ctl("ps"), 1, err="no runtime answers")
garbage = subprocess.Popen(["python3", "-c", f"""
import socket
s = socket.socket(socket.AF_UNIX); s.bind("{tmp.name}/g"); s.listen(); print("ready", flush=True)
for i in range(2):
    c, _ = s.accept(); c.sendall(b"HTTP/1.1 400 Bad Request\\r\\n\\r\\n" * i); c.recv(9999) if i else 0; c.close()
"""], stdout=subprocess.PIPE)
garbage.stdout.readline()
check("a server that hangs up", subprocess.run([CTL, "-s", f"{tmp.name}/g", "ps"], capture_output=True, text=True), 1)
check("a server that speaks something else", subprocess.run([CTL, "-s", f"unix://{tmp.name}/g", "ps"],
                                                           capture_output=True, text=True), 1)
garbage.wait()
done()

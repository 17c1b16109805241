#!/usr/bin/env python3
# What is no request: rubbish on the socket, half frames, messages too large, broken messages, too
# many connections.  Each is answered or dropped, and the daemon goes on serving.
import os, socket, struct, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import *

begin()
d = Daemon().start().load()
d.answers()
d.snapshot()
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def serves(name):
    r = d.answers()
    ok(r and r["runtime_name"] == "crisp", name)


def connect():
    s = socket.socket(socket.AF_UNIX)
    s.connect(d.socket)
    s.settimeout(WAIT)
    return s


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def headers(*pairs):
    """HPACK without compression."""
    out = b""
    for name, value in pairs:
        for text in (name, value):
            data = text.encode()
            out += (b"\0" if text is name else b"") + bytes([len(data)]) + data
    return out


def read_all(s):
    """Everything up to the end of the connection, or of stream 1."""
    data = b""
    try:
        while True:
            while len(data) >= 9:
                size = int.from_bytes(data[:3], "big")
                if len(data) < 9 + size:
                    break
                kind, flags, body = data[3], data[4], data[9:9 + size]
                data = data[9 + size:]
                yield kind, flags, body
            more = s.recv(65536)
            if not more:
                return
            data += more
    except (ConnectionError, socket.timeout):
        return


# -- rubbish --

for name, data in (("rubbish", os.urandom(4096)), ("zeros", bytes(4096)), ("HTTP/1", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
                   ("rubbish after a preface", PREFACE + os.urandom(65536)),
                   ("a frame larger than allowed", PREFACE + frame(4, 0, 0) + struct.pack(">I", 1 << 23)[1:] + b"\0\0\0\0\0\1" + bytes(70000)),
                   ("data on a stream that is not open", PREFACE + frame(4, 0, 0) + frame(0, 1, 7, b"xxxxx")),
                   ("headers on stream 0", PREFACE + frame(4, 0, 0) + frame(1, 5, 0, b"\x82")),
                   ("broken HPACK", PREFACE + frame(4, 0, 0) + frame(1, 5, 1, b"\xff\xff\xff\xff\xff\xff\xff")),
                   ("a window of nothing", PREFACE + frame(4, 0, 0) + frame(8, 0, 0, bytes(4)))):
    s = connect()
    try:
        s.sendall(data)
        for _ in read_all(s):
            pass
        closed = True
    except ConnectionError:
        closed = True
    except socket.timeout:
        closed = False
    s.close()
    ok(closed, f"{name}: the connection is closed")
serves("and others are served")

# -- halves --

whole = PREFACE + frame(4, 0, 0) + frame(1, 4, 1, headers((":method", "POST"), (":scheme", "http"), (":path", "/runtime.v1.RuntimeService/Version"),
                                                          (":authority", "x"), ("content-type", "application/grpc"), ("te", "trailers")))
whole += frame(0, 1, 1, bytes(5))
for n in range(0, len(whole), 7):
    s = connect()
    s.sendall(whole[:n])
    s.close()
serves("a request cut off anywhere is forgotten")
half = [connect() for _ in range(20)]
for s in half:
    s.sendall(whole[:-3])
serves("half requests that stay open keep nobody")
for s in half:
    s.close()

# -- large --

f = d.refused("PodSandboxStatus", {"pod_sandbox_id": "x" * (17 << 20)})
ok("ResourceExhausted" in f.words, "17 MiB: ResourceExhausted", f)
f = d.refused("PodSandboxStatus", {"pod_sandbox_id": "x" * (15 << 20)})
ok(f.code == "ENOENT" and len(f.words) < 5000, "15 MiB: an answer, of a decent length", (f.code, len(f.words)))
f = d.refused("RunPodSandbox", {"config": d.pod_config("big", annotations={"k": "v" * (8 << 20)}), "runtime_handler": "cli"})
ok(f.code == "OK", "8 MiB of annotations are kept", f)
for pod, p in d.pods().items():
    ok(len(p["annotations"]["k"]) == 8 << 20, "and told")
    d.kill_core()
    ok(len(d.pods()[pod]["annotations"]["k"]) == 8 << 20, "also by the next core")
d.remove_all()
serves("others are served")

# -- messages that are none --

def raw(method, message, *timeout):
    """The grpc-status and the words of a call with these bytes as its message."""
    p = subprocess.run([f"{BUILD}/t/int/grpc_raw", d.socket, f"/runtime.v1.RuntimeService/{method}", *timeout],
                       input=message, capture_output=True)
    code, _, words = p.stdout.decode(errors="replace").strip().partition(" ")
    return int(code), words


INVALID, NOT_FOUND, UNIMPLEMENTED = 3, 5, 12

f = raw("Version", b"\xff\xff\xff\xff")
ok(f[0] == INVALID, "bytes that are no message", f)
f = raw("RunPodSandbox", pack("RunPodSandboxRequest", {"config": d.pod_config("x")})[:-5])
ok(f[0] == INVALID, "a message that is cut off", f)
bad = d.pod_config("x", labels={"k": "@@@@"})
f = raw("RunPodSandbox", pack("RunPodSandboxRequest", {"config": bad}).replace(b"@@@@", b"a\xff\xfeb"))
ok(f[0] == INVALID, "a label that is no UTF-8", f)
f = raw("RunPodSandbox", pack("RunPodSandboxRequest", {"config": bad}).replace(b"@@@@", b"a\0b "))
ok(f[0] == INVALID, "a label with a NUL inside", f)
MAP = [{"container_id": 0, "host_id": 100000, "length": 65536}]
f = d.refused("RunPodSandbox", {"config": d.pod_config("user", linux={"security_context": {"namespace_options": {
    "userns_options": {"mode": "POD", "uids": MAP, "gids": MAP}}}}), "runtime_handler": "cli"})
ok("userns_options" in f.words and '"cli" has no user namespaces here: its engine has none' in f.words,
   "a user namespace of an engine that has none", f)
features = [h.get("features", {}) for h in d.call("Status", {})["runtime_handlers"]]
ok(features and not any(h.get("user_namespaces") for h in features), "and the node's status announces none", features)
deep = b""
for _ in range(100000):
    if len(deep) > 60000:
        break
    deep = b"\x0a" + varint(len(deep)) + deep
f = raw("RunPodSandbox", deep)
ok(f[0] in (0, INVALID), "a message nested ever deeper", f)
f = raw("NoSuchMethod", b"")
ok(f[0] == UNIMPLEMENTED and "NoSuchMethod" in f[1], "a method that there is not", f)
for text in "x", "1", "-1m", "99999999999S", "1mm":
    f = raw("Version", b"", text)
    ok(f[0] != -1, f"a grpc-timeout of \"{text}\" is answered", f)
ok(not d.pods(), "nothing was made")
serves("others are served")

# -- callers that have left before they are heard: a call and its cancel in one packet --

def call_and_cancel(stream, method, request):
    service = "ImageService" if "Image" in method else "RuntimeService"
    head = headers((":method", "POST"), (":scheme", "http"), (":authority", "localhost"),
                   (":path", f"/runtime.v1.{service}/{method}"), ("te", "trailers"), ("content-type", "application/grpc"))
    message = pack(METHODS[method][0], request)
    return frame(1, 4, stream, head) + frame(0, 1, stream, b"\0" + struct.pack(">I", len(message)) + message) + \
        frame(3, 0, stream, struct.pack(">I", 8))


core = d.core()
pod = d.run("left")
ctr = d.started(pod, "c", "deaf")
for id in ctr, "nobody":
    known = {"container_id": id, "pod_sandbox_id": pod if id == ctr else id, "cmd": ["none"], "stdout": True, "timeout": 1,
             "runtime_handler": "cli", "image": {"image": IMAGE}}
    s, data = connect(), PREFACE + frame(4, 0, 0)
    for i, method in enumerate(METHODS):
        if method not in ("RemoveImage", "StopPodSandbox", "RemovePodSandbox", "StopContainer", "RemoveContainer"):
            request = {k: v for k, v in known.items() if k in MESSAGES[METHODS[method][0]]}
            if method == "RunPodSandbox":
                request["config"] = d.pod_config("left-too")
            data += call_and_cancel(2 * i + 1, method, request)
    s.sendall(data)
    serves(f"every method, and none waits for its answer ({'known' if id == ctr else 'unknown'} ids)")
    s.close()
ok(d.core() == core and d.ctr(ctr)["state"] == "CONTAINER_RUNNING", "the core lives")
for pod in d.pods():
    d.call("RemovePodSandbox", {"pod_sandbox_id": pod})

# -- many --

many = [connect() for _ in range(500)]
for s in many:
    s.sendall(PREFACE + frame(4, 0, 0))
serves("500 connections")
pod = d.run("among-many")
ctr = d.started(pod, "c", "deaf")
ok(d.ctr(ctr)["state"] == "CONTAINER_RUNNING", "and a pod runs")
d.call("RemovePodSandbox", {"pod_sandbox_id": pod})
for s in many:
    s.close()
calls = [d.begin("Version") for _ in range(50)]
ok(all(c.answer()["version"] == "0.1.0" for c in calls), "50 calls at once")
left = d.leaks()
ok(not left, "nothing is left", left)
ok(d.stop() == 0, "SIGTERM: exit code 0")
done()

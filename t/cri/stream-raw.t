#!/usr/bin/env python3
# The streaming server and clients that no good client is: bad requests, used URLs, readers and
# processes that stand still, clients and cores that go away.
import os, re, signal, socket, struct, sys, zlib
sys.dont_write_bytecode = True
from daemon import *

FAST = "while :; do echo 0123456789012345678901234567890123456789012345678901234567890123456789; done"


def url(method, **request):
    text = " ".join(f"{k}: {json.dumps(v)}" if not isinstance(v, list) else " ".join(f"{k}: {json.dumps(w)}" for w in v)
                    for k, v in request.items())
    found = re.search(r'url: "http://([\d.]+):(\d+)(/\S+)"', rpc(method, text))
    return (found[1], int(found[2])), found[3]


def refused(method, text):
    try:
        return "accepted: " + rpc(method, text)
    except RuntimeError as e:
        return str(e)


def connect(where):
    s = socket.create_connection(where[0], 10)
    s.settimeout(20)
    return s


def ask(where, *headers, method="POST", path=None):
    s = connect(where)
    s.sendall(f"{method} {path or where[1]} HTTP/1.1\r\nHost: x\r\n".encode() +
              b"".join(h.encode() + b"\r\n" for h in headers) + b"\r\n")
    return s


SPDY = "Connection: Upgrade", "Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io"
WS = "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="


def head(s):
    got = b""
    while b"\r\n\r\n" not in got and (piece := s.recv(1)):
        got += piece
    return got.decode()


def rest(s):
    got = bytearray()
    try:
        while piece := s.recv(65536):
            got += piece
    except ConnectionResetError:
        pass
    return bytes(got)


def code(s):
    return int(head(s).split()[1])


def spdy(where, *streams):
    """A connection with these streams open: stream n has the id 2 n + 1."""
    s = ask(where, *SPDY)
    if code(s) != 101:
        raise RuntimeError("no upgrade")
    deflate = zlib.compressobj(0, zlib.DEFLATED, 15, 8, 0, DICTIONARY)
    for n, name in enumerate(streams):
        block = struct.pack(">II", 1, 10) + b"streamtype" + struct.pack(">I", len(name)) + name.encode()
        packed = struct.pack(">IIH", 2 * n + 1, 0, 0) + deflate.compress(block) + deflate.flush(zlib.Z_SYNC_FLUSH)
        s.sendall(struct.pack(">HHI", 0x8003, 1, len(packed)) + packed)
    return s


def data(stream, what, fin=0):
    return struct.pack(">II", stream, fin << 24 | len(what)) + what


def frames(raw):
    """What each stream got."""
    got, at = {}, 0
    while len(raw) - at >= 8:
        first, second = struct.unpack_from(">II", raw, at)
        n = second & 0xffffff
        if not first >> 31:
            got.setdefault(first, bytearray()).extend(raw[at + 8:at + 8 + n])
        at += 8 + n
    return {stream: bytes(said) for stream, said in got.items()}


def dictionary():
    text = open("core/stream/dictionary.h").read()
    out = b"".join(struct.pack(">I", len(w)) + w.encode() for w in re.findall(r'WORD\("[^"]*", "([^"]*)"\)', text))
    return out + "".join(re.findall(r'^\t"([^"]*)";?$', text, re.M)).encode()


def rss(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read())[1])


def sockets(pid):
    def is_one(fd):
        try:
            return os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:")
        except FileNotFoundError:   # closed since it was listed
            return False
    return sum(is_one(fd) for fd in os.listdir(f"/proc/{pid}/fd"))


DICTIONARY = dictionary()
begin()
keeper_pid = process().pid
ctl("run", "-n", "a", "-i", IMAGE, "--", "sh", "-c", "sleep 1000")
ctl("run", "-n", "fast", "-i", IMAGE, "--", "sh", "-c", FAST)
ids = {c["metadata"]["name"]: c["id"] for c in json.loads(ctl("-o", "json", "ps"))["containers"]}
a = ids["a"]

# -- requests --
for text, word in (('container_id: "%s" stdout: true' % a, "cmd"), ('container_id: "%s" cmd: "x"' % a, "at least one"),
                   ('cmd: "x" stdout: true', "container_id"), ('container_id: "nope" cmd: "x" stdout: true', "no such"),
                   ('container_id: "%s" cmd: "x" tty: true stderr: true' % a, "stderr")):
    said = refused("Exec", text)
    ok(word in said and "accepted" not in said, f"Exec is refused: {word}", said)
for text, word in (('pod_sandbox_id: "nope"', "no such"), ('port: 80', "pod_sandbox_id"), ('pod_sandbox_id: "nope" port: 0', "no such")):
    said = refused("PortForward", text)
    ok(word in said and "accepted" not in said, f"PortForward is refused: {word}", said)
execs = {"container_id": a, "cmd": ["sh", "-c", "exit 0"], "stdout": True}
where = url("Exec", **execs)
before = sockets(core_of(keeper_pid))
ok(code(ask(where, *SPDY, path="/exec/AAAAAAAAAAAAAAAAAAAAAA")) == 404, "a token that nobody has: 404")
ok(code(ask(where, *SPDY, path=where[1].replace("exec", "attach"))) == 404, "a token for something else: 404")
ok(code(ask(where, *SPDY, method="DELETE")) == 405, "DELETE: 405")
s = spdy(where, "error", "stdout")
ok(b'"Success"' in frames(rest(s)).get(1, b""), "a good one after these")
ok(code(ask(where, *SPDY)) == 404, "a URL is good for one use")
ok(code(ask(url("Exec", **execs), "X: y")) == 400, "no upgrade: 400")
ok(code(ask(url("Exec", **execs), *SPDY[:2])) == 400, "no protocol version: 400")
s = ask(url("Exec", **execs), *SPDY[:2], "X-Stream-Protocol-Version: v9.channel.k8s.io")
said = head(s)
ok(" 403 " in said and "X-Accepted-Stream-Protocol-Versions: v4" in said, "a version that nobody speaks: 403, and which are", said)
ok(code(ask(url("Exec", **execs), *WS, "Sec-WebSocket-Protocol: v9.channel.k8s.io")) == 403, "nor over WebSocket")
ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head(ask(url("Exec", **execs), *WS)), "WebSocket's handshake is RFC 6455's example")
s = connect(where)
s.sendall(b"\x16\x03\x01garbage\r\n\r\n")
ok(code(s) == 400, "TLS, or garbage: 400")
s = connect(where)
s.sendall(b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 17000)
ok(code(s) == 400, "a head of 17 kB: 400")
s = ask(url("Exec", **execs), *SPDY)
head(s)
s.sendall(b"\x80\x02" + os.urandom(4000))
ok(rest(s) is not None, "garbage after the upgrade: the connection is closed")
many = [url("Exec", **execs) for _ in range(3)]
half = [connect(where) for _ in range(50)]
for s in half:
    s.sendall(b"POST /exec/")
    s.close()
ok(until(lambda: sockets(core_of(keeper_pid)) == before), "no connection is left", (sockets(core_of(keeper_pid)), before))

# -- who stands still --
core = core_of(keeper_pid)
was = rss(core)
slow = spdy(url("Exec", container_id=a, cmd=["sh", "-c", FAST], stdout=True), "error", "stdout")
flood = spdy(url("Exec", container_id=a, cmd=["sleep", "1000"], stdin=True, stdout=True), "error", "stdin", "stdout")
sent = 0
flood.settimeout(2)
try:
    while sent < 64 << 20:
        sent += flood.send(data(3, b"x" * 65000))
except TimeoutError:
    pass
ok(sent < 16 << 20, f"a process that doesn't read stops its client, after {sent} bytes")
SANITIZED = "asan" in BUILD     # its heap keeps what was freed: no measure
ok(SANITIZED or rss(core) - was < 8192, f"the core has grown by {rss(core) - was} kB, not by what both had to say")
attached = spdy(url("Attach", container_id=ids["fast"], stdout=True), "error", "stdout")
log = json.loads(ctl("inspect", "fast/fast"))["status"]["logPath"]
at = os.path.getsize(log)
ok(until(lambda: os.path.getsize(log) > at + (48 << 20), 60), "an attached client that doesn't read holds up neither container nor log")
said = frames(rest(attached))
ok(b"too slowly" in said.get(1, b""), "it is cut off and told why", said.get(1))
ok(SANITIZED or until(lambda: rss(core) - was < 24 << 10), f"the core has {rss(core) - was} kB more")

# -- who goes away --
def runs(word):
    return [p for p in os.listdir("/proc") if p.isdigit() and word in cmdline(int(p))]


def cmdline(pid):
    try:
        return open(f"/proc/{pid}/cmdline", "rb").read().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


flood.close()
slow.close()
gone = spdy(url("Exec", container_id=a, cmd=["sh", "-c", "cat; sleep 4321"], stdin=True, stdout=True), "error", "stdin", "stdout")
ok(until(lambda: runs("sleep 4321") or runs("cat; sleep")), "an exec runs")
gone.close()
ok(until(lambda: any("sleep" in cmdline(int(p)).split()[0] for p in runs("sleep 4321") if cmdline(int(p)))),
   "its client leaves: its stdin is at its end, and it runs on")
running = spdy(url("Exec", container_id=a, cmd=["sleep", "8765"], stdout=True), "error", "stdout")
ok(until(lambda: runs("sleep 8765")), "another exec runs")
kill_core(keeper_pid)
ok(rest(running) is not None, "the core dies: its client hears the end")
ok(until(lambda: not runs("sleep 8765")), "and the next core ends the exec that nobody listens to")
s = spdy(url("Exec", container_id=a, cmd=["sh", "-c", "exit 3"], stdout=True), "error", "stdout")
ok(b'"ExitCode","message":"3"' in frames(rest(s)).get(1, b""), "the next one serves")
for pod in json.loads(ctl("-o", "json", "pods"))["items"]:
    ctl("rm", "-f", pod["id"])
ok(until(lambda: not runs("sleep 4321")), "no exec outlives its container")
done()

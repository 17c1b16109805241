#!/usr/bin/env python3
# Pulling, importing, keeping and removing images: the image store through t/int/image_tool.c, against
# a real docker-registry fed by skopeo, and against a registry of this test's own that misbehaves.
# Root alone.
import base64, fcntl, gzip, hashlib, http.server, io, json, os, re, shutil, signal, socket, ssl, struct
import subprocess, sys, tarfile, tempfile, threading, time, urllib.parse

if os.geteuid() != 0:
    print("1..0 # SKIP needs root")
    sys.exit(0)
os.chdir(os.path.dirname(os.path.abspath(__file__)) + "/../..")
sys.path.insert(0, "t")
from tap import done, ok
BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
TOOL, LIBEXEC = f"{BUILD}/t/int/image_tool", f"{BUILD}/libexec"
tmp = tempfile.mkdtemp(prefix="crisp-image-t.")
ROOT = f"{tmp}/root"


def command(*args, opts=(), root=None):
    return [TOOL, "--root", root or ROOT, "--libexec", LIBEXEC, "--plain", FAKE, "--plain", STORAGE,
            "--plain", REAL, "--plain", LOCKED, *opts, *args]


def tool(*args, opts=(), root=None, stdin=subprocess.DEVNULL):
    r = subprocess.run(command(*args, opts=opts, root=root), stdin=stdin, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, timeout=120)
    bad = [line for line in r.stderr.splitlines() if "ERROR" in line or "runtime error" in line]
    return r.stdout + "\n".join(bad)


def left():
    found = set()
    for folder, dirs, files in os.walk(f"{ROOT}/images"):
        found.update(os.path.join(folder, f) for f in files + dirs)
        if folder.endswith("/fs"):
            dirs.clear()
    return found


# -- images made by hand --

def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer(entries):
    """entries: (name, content or None for a directory, {attributes})"""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as t:
        for name, content, *more in entries:
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            info.mode = 0o755 if content is None else 0o644
            for key, value in (more[0] if more else {}).items():
                setattr(info, key, value)
            info.size = len(content or b"")
            t.addfile(info, io.BytesIO(content or b""))
    return out.getvalue()


OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"


class Image:
    def __init__(self, layers, pack=True, note="", edit_config=None, edit_manifest=None):
        self.blobs = {}
        blobs = [gzip.compress(l, 1, mtime=0) if pack else l for l in layers]
        config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [sha(l) for l in layers]},
                  "config": {"Env": ["PATH=/bin", "NOTE=" + note], "Cmd": ["sh"], "User": "7:8", "WorkingDir": "/w"}}
        if edit_config:
            edit_config(config)
        config = json.dumps(config).encode()
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": self.add(config, OCI_CONFIG),
                    "layers": [self.add(b, OCI_LAYER + ("+gzip" if pack else "")) for b in blobs]}
        if edit_manifest:
            edit_manifest(manifest)
        self.id, self.layers = sha(config), blobs
        self.manifest = json.dumps(manifest).encode()
        self.digest = sha(self.manifest)
        self.top, self.top_type = self.manifest, OCI_MANIFEST
        self.blobs[self.digest] = self.manifest

    def add(self, data, kind):
        self.blobs[sha(data)] = data
        return {"mediaType": kind, "digest": sha(data), "size": len(data)}

    def wrap(self, others=()):
        """Put an index above it."""
        this = dict(self.add(self.top, self.top_type), platform={"os": "linux", "architecture": "amd64"})
        self.top, self.top_type = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX,
                                              "manifests": [*others, this]}).encode(), OCI_INDEX
        self.digest = sha(self.top)
        self.blobs[self.digest] = self.top
        return self

    def layout(self, path, name=None):
        os.makedirs(f"{path}/blobs/sha256", exist_ok=True)
        for digest, data in self.blobs.items():
            with open(f"{path}/blobs/sha256/{digest[7:]}", "wb") as f:
                f.write(data)
        note = {"annotations": {"org.opencontainers.image.ref.name": name}} if name else {}
        index = {"schemaVersion": 2, "manifests": [dict(self.add(self.top, self.top_type), **note)]}
        with open(f"{path}/index.json", "w") as f:
            json.dump(index, f)
        with open(f"{path}/oci-layout", "w") as f:
            f.write('{"imageLayoutVersion": "1.0.0"}')
        return path


# -- a registry that misbehaves: the first part of a repository's name says how --

seen = []           # (port, method, path, Authorization, Range)
counts = {}
images = {}         # "repo:tag" -> Image
stalled = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", kind="application/json", headers=(), length=None, cut=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.close_connection = True

    def fail(self, status, code, headers=()):
        self.answer(status, json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}).encode(),
                    headers=headers)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        seen.append((self.server.server_port, "POST", self.path, body, None))
        form = urllib.parse.parse_qs(body)
        good = form.get("grant_type") == ["refresh_token"] and form.get("refresh_token") == ["refresh-me"]
        self.answer(200 if good else 401, json.dumps({"access_token": "good"}).encode())

    def do_GET(self):
        auth = self.headers.get("Authorization")
        seen.append((self.server.server_port, "GET", self.path, auth, self.headers.get("Range")))
        path = self.path.split("?")[0]
        if path == "/token":
            return self.token(auth)
        if path.startswith("/storage/"):
            if auth:
                return self.answer(400, b"two ways to authenticate")
            return self.answer(200, self.blob("sha256:" + path[9:]), "application/octet-stream")
        m = re.match(r"/v2/(.+)/(manifests|blobs)/([^/]+)$", path)
        if not m:
            return self.fail(404, "NAME_UNKNOWN")
        repo, kind, ref = m.groups()
        how = repo.split("/")[0]
        if how == "down":
            return self.answer(503, b"")
        if how == "busy" and counts.setdefault(path, 0) < 2:
            counts[path] += 1
            return self.answer(429, b"", headers=[("Retry-After", "0")])
        if how == "bearer" and auth != "Bearer good":
            return self.fail(401, "UNAUTHORIZED", [("WWW-Authenticate", 'Basic realm="x", Bearer realm="http://%s/token",'
                             'service="fake, really",scope="repository:%s:pull"' % (FAKE, repo))])
        if how == "basic" and auth != "Basic " + base64.b64encode(b"user:pa:ss").decode():
            return self.fail(401, "UNAUTHORIZED", [("WWW-Authenticate", 'Basic realm="x"')])
        if how == "forbidden":
            return self.fail(403, "DENIED")
        if kind == "manifests":
            return self.manifest(how, repo, ref)
        return self.layer(how, ref)

    def token(self, auth):
        if auth == "Basic " + base64.b64encode(b"user:pa:ss").decode():
            return self.answer(200, b'{"token": "good"}')
        self.answer(200 if auth is None else 401, b'{"token": "anonymous"}')

    def blob(self, digest):
        for im in images.values():
            if digest in im.blobs:
                return im.blobs[digest]

    def manifest(self, how, repo, ref):
        im = images.get(f"{repo}:{ref}")
        if im:
            kind = "application/vnd.docker.distribution.manifest.v2+json" if how == "mistyped" else im.top_type
            return self.answer(200, im.top, kind + "; charset=utf-8", [("Docker-Content-Digest", im.digest)])
        data = self.blob(ref)
        if not data:
            return self.fail(404, "MANIFEST_UNKNOWN")
        self.answer(200, data + b" " if how == "wrongmanifest" else data, json.loads(data).get("mediaType", OCI_MANIFEST))

    def layer(self, how, digest):
        data = self.blob(digest)
        if not data:
            return self.fail(404, "BLOB_UNKNOWN")
        octets = "application/octet-stream"
        if len(data) < 2000:        # configurations behave
            return self.answer(200, data, octets)
        if how == "redirect" or (how == "bearer" and "redirect" in self.path):
            return self.answer(307, headers=[("Location", f"http://{STORAGE}/storage/{digest[7:]}?signed=1")])
        if how in ("cut", "norange"):
            start = int(re.match(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-")).group(1))
            first = counts.setdefault(self.path, 0) == 0
            counts[self.path] += 1
            if how == "norange":
                return self.answer(200, data, octets, cut=len(data) * 2 // 3 if first else None)
            rest = data[start:]
            headers = [("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")] if start else []
            return self.answer(206 if start else 200, rest, octets, headers, cut=len(data) // 3)
        if how == "corrupt":
            data = data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]
        if how == "long":
            data += b"more"
        if how == "short":
            if self.headers.get("Range"):
                return self.answer(416, b"")
            return self.answer(200, data[:-100], octets)
        if how == "stall":
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:1500])
            self.wfile.flush()
            stalled.wait(60)
            return None
        self.answer(200, data, octets)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args):      # a client that leaves in the middle
        pass


def serve():
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


fake, storage = serve(), serve()
FAKE, STORAGE = f"127.0.0.1:{fake.server_port}", f"127.0.0.1:{storage.server_port}"
REAL, LOCKED = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
DEAD = f"127.0.0.1:{free_port()}"
noise = os.urandom(300000)
base = layer([("bin", None), ("bin/tool", noise), ("etc", None, {"mode": 0o700, "uid": 5}), ("etc/one", b"1"),
              ("etc/two", b"2"), ("tmp", None, {"mode": 0o1777})])
upper = layer([("etc/three", b"3"), ("bin/.wh.tool", b""), ("new", None), ("new/.wh..wh..opq", b"")])
normal = Image([base, upper])


def pull_fails(repo, code, words, name, opts=(), ref=None, image=normal):
    images[f"{repo}:t"] = image
    before = left()
    out = tool("pull", f"{FAKE}/{repo}:t" if ref is None else ref, opts=opts)
    good = out.startswith(f"error {code}: ") and all(w in out for w in words) and left() == before
    ok(good, f"{name}: {out.splitlines()[0] if out else 'nothing'}", out + str(left() - before))


def pull_works(repo, name, opts=(), image=normal, ref=None):
    images[f"{repo}:t"] = image
    out = tool("pull", ref or f"{FAKE}/{repo}:t", "then", "remove", image.id, opts=opts)
    ok(f"ok {image.id}" in out and "ok removed" in out, name, out)


def test_confinement():
    os.mkdir(f"{tmp}/play")
    r = subprocess.run([f"{LIBEXEC}/crisp-pull", "confine-check", f"{tmp}/play"], stdout=subprocess.PIPE, text=True)
    lines = r.stdout.splitlines()
    for line in lines:
        m = re.match(r"(not )?ok \d+ - (.*)", line)
        if m:
            ok(not m.group(1), m.group(2))
    ok(r.returncode == 0 and lines[-1] == f"1..{len(lines) - 2}" and len(lines) > 40, "the confinement check ran whole")


def status_of(pid):
    with open(f"/proc/{pid}/status") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(x) for x in f.read().split()]


def wait_for(what, seconds=20):
    for _ in range(seconds * 50):
        try:
            value = what()
        except (OSError, IndexError):
            value = None
        if value:
            return value
        time.sleep(0.02)
    return None


def start_stalled(name):
    """A pull that hangs in its layer: (tool, crisp-pull, fetcher, unpacker)."""
    images["stall/x:t"] = normal
    p = subprocess.Popen(command("pull", f"{FAKE}/stall/x:t", opts=["--stall", "30000"]), stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True)

    def both():
        pull = children(p.pid)[0]
        kids = children(pull)
        return len(kids) >= 2 and all(status_of(k)["Seccomp"] == "2" for k in kids) and (pull, *kids[:2])
    return (p, *(wait_for(both) or (0, 0, 0)))


def test_live_workers():
    p, pull, fetcher, unpacker = start_stalled("live")
    f, u = status_of(fetcher), status_of(unpacker)
    ok(f["Uid"].split() == ["65534"] * 4 and int(f["CapEff"], 16) == 0 and f["NoNewPrivs"] == "1",
       "the running fetcher is nobody, without capabilities")
    ok(int(u["CapEff"], 16) == int(u["CapPrm"], 16) == 0x8800001b and int(u["CapBnd"], 16) == 0 and u["NoNewPrivs"] == "1",
       "the running unpacker has its six capabilities", u["CapEff"])
    where = os.readlink(f"/proc/{unpacker}/root")
    ok(where.startswith(f"{ROOT}/images/tmp/") and where.endswith("/fs"), "and its layer's folder as root", where)
    links = sorted(os.readlink(f"/proc/{unpacker}/fd/{n}") for n in os.listdir(f"/proc/{unpacker}/fd"))
    ok(sum(l.startswith("socket") for l in links) == 0 and len(links) <= 6, "and no socket", links)
    os.kill(unpacker, signal.SIGKILL)
    out = p.communicate()[0]
    ok("error EIO" in out and "unpacker died (signal 9)" in out, "an unpacker that dies fails the pull", out)
    p, pull, fetcher, unpacker = start_stalled("fetcher")
    os.kill(fetcher, signal.SIGKILL)
    out = p.communicate()[0]
    ok("error EIO" in out and "the fetcher died" in out, "a fetcher that dies fails the pull", out)
    p, pull, fetcher, unpacker = start_stalled("crisp-pull")
    os.kill(pull, signal.SIGKILL)
    out = p.communicate()[0]
    ok("error EIO" in out and "killed by signal 9" in out, "crisp-pull that dies fails the pull", out)
    ok(wait_for(lambda: not os.path.exists(f"/proc/{unpacker}") or status_of(unpacker)["State"][0] == "Z"),
       "its unpacker does not outlive it")
    p, pull, fetcher, unpacker = start_stalled("daemon")
    p.kill()
    p.communicate()
    ok(wait_for(lambda: not os.path.exists(f"/proc/{pull}")), "a worker leaves when its daemon has died")
    ok(os.listdir(f"{ROOT}/images/tmp") != [], "and what it had made is still there")
    tool("list")
    ok(os.listdir(f"{ROOT}/images/tmp") == [] and os.listdir(f"{ROOT}/images/layers") == [], "until the next start")
    stalled.set()
    stalled.clear()


def test_own_registry():
    pull_works("plain/x", "a pull of an OCI image")
    pull_works("plain/plaintar", "layers that are not compressed", image=Image([base], pack=False))
    pull_works("plain/index", "an index, nested", image=Image([base, upper], note="i").wrap(
        [{"mediaType": OCI_MANIFEST, "digest": sha(b"no"), "size": 2, "platform": {"os": "linux", "architecture": "s390x"}},
         {"mediaType": OCI_MANIFEST, "digest": sha(b"no"), "size": 2, "platform": {"os": "unknown", "architecture": "unknown"}}
         ]).wrap())
    pull_works("plain/empty", "an image without layers", image=Image([]))
    pull_works("plain/same", "a layer that is there twice", image=Image([base, upper, base]))
    pull_works("busy/x", "429 is tried again")
    pull_works("cut/x", "a transfer that breaks goes on where it was")
    ok(any(r[4] and "/cut/" in r[2] for r in seen), "with Range")
    pull_works("norange/x", "also where Range is ignored")
    pull_works("redirect/x", "blobs from another server")
    pull_fails("plain/x", "ENOENT", ["not found", "MANIFEST_UNKNOWN", f"{FAKE}/plain/x:other"], "404", ref=f"{FAKE}/plain/x:other")
    pull_fails("forbidden/x", "EACCES", ["forbidden", "403"], "403")
    pull_fails("down/x", "EIO", ["error EIO: RegistryUnavailable: pull "], "503")
    pull_fails("plain/x", "EIO", ["error EIO: RegistryUnavailable: pull ", DEAD], "nobody listens", ref=f"{DEAD}/x",
               opts=["--plain", DEAD])
    pull_fails("plain/x", "EIO", ["error EIO: RegistryUnavailable: pull "], "a name that is none", ref="no-such.invalid/x")
    pull_fails("corrupt/x", "EBADMSG", ["digest mismatch", "expected", "got"], "a layer with a wrong bit")
    pull_fails("long/x", "EBADMSG", ["longer"], "a layer that is too long")
    pull_fails("short/x", "EBADMSG", ["truncated", "got", "bytes"], "a layer that is too short")
    pull_fails("stall/x", "ETIMEDOUT", ["sent nothing"], "a registry that falls silent", opts=["--stall", "1000"])
    stalled.set()
    stalled.clear()
    pull_fails("wrongmanifest/x", "EBADMSG", ["manifest", "digest mismatch"], "a manifest with a wrong digest",
               ref=f"{FAKE}/wrongmanifest/x@{normal.digest}")
    pull_fails("mistyped/x", "EINVAL", ["mediaType"], "a manifest served as another type")
    old = Image([base])
    old.top = b'{"schemaVersion": 1, "name": "x", "fsLayers": []}'
    old.digest = sha(old.top)
    pull_fails("plain/schema1", "EINVAL", ["schema 1"], "Docker schema 1", image=old)
    pull_fails("plain/diffs", "EINVAL", ["diff_ids"], "too few diff IDs", image=Image(
        [base], edit_config=lambda c: c["rootfs"]["diff_ids"].clear()))
    pull_fails("plain/diff", "EBADMSG", ["unpacked layer", "expected"], "a wrong diff ID", image=Image(
        [base], edit_config=lambda c: c["rootfs"]["diff_ids"].__setitem__(0, sha(b"?"))))
    pull_fails("plain/arch", "ENOENT", ["linux/amd64", "linux/s390x"], "an index without this machine", image=foreign())
    pull_fails("plain/junk", "EINVAL", ["manifest", "JSON"], "a manifest that is no JSON", image=junk())
    pull_fails("plain/type", "EINVAL", ["unknown type"], "a layer of an unknown type", image=Image(
        [base], edit_manifest=lambda m: m["layers"][0].update(mediaType="application/x-what")))
    pull_fails("plain/artifact", "EINVAL", ["no image"], "an artifact", image=Image(
        [base], edit_manifest=lambda m: m["config"].update(mediaType="application/vnd.helm.config.v1+json")))
    evil = layer([("ok", b"x"), ("link", b"")])
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        info = tarfile.TarInfo("shadow")
        info.type, info.linkname = tarfile.LNKTYPE, "/etc/shadow"
        t.addfile(info)
    pull_fails("plain/evil", "EBADMSG", ["hard link", "/etc/shadow"], "a hard link to /etc/shadow",
               image=Image([evil, out.getvalue()]))
    for bad in ("UPPER", "x@sha256:12", "a//b", ""):
        pull_fails("plain/x", "EINVAL", ["image reference"], f"the reference \"{bad}\"", ref=bad)


def foreign():
    im = Image([base])
    im.top, im.top_type = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": sha(b"no"), "size": 2,
         "platform": {"os": "linux", "architecture": "s390x"}}]}).encode(), OCI_INDEX
    im.digest = sha(im.top)
    return im


def junk():
    im = Image([base])
    im.top = b"<html>welcome to the hotel's network</html>"
    im.digest = sha(im.top)
    return im


def test_auth():
    user = ["--user", "user", "--password", "pa:ss"]
    pull_works("bearer/x", "bearer with a password", user)
    pull_works("bearer/y", "bearer with an identity token", ["--identity", "refresh-me"])
    pull_works("bearer/z", "a token that is given", ["--token", "good"])
    pull_fails("bearer/x", "EACCES", ["unauthorized"], "bearer without credentials")
    pull_fails("bearer/x", "EACCES", ["token server", "401"], "bearer with a wrong password", ["--user", "user", "--password", "x"])
    pull_fails("bearer/x", "EACCES", ["token"], "a token that is refused", ["--token", "bad"])
    pull_works("basic/x", "basic", user)
    pull_fails("basic/x", "EACCES", ["asks for credentials", "imagePullSecrets"], "basic without credentials")
    pull_fails("basic/x", "EACCES", ["unauthorized"], "basic with a wrong password", ["--user", "user", "--password", "x"])
    pull_works("basic/x", "credentials that name this server", user + ["--server", f"http://{FAKE}/v1/"])
    pull_fails("basic/x", "EACCES", ["asks for credentials"], "credentials for another server are not sent",
               user + ["--server", "other.example"])
    del seen[:]
    pull_works("bearer/redirect/x", "a redirect with credentials", user)
    ok({r[3] for r in seen if r[0] == storage.server_port} == {None}, "credentials stay with their server",
       [r for r in seen if r[0] == storage.server_port])
    scope = [urllib.parse.parse_qs(r[2].split("?")[1]) for r in seen if r[2].startswith("/token")]
    ok(scope and scope[0]["scope"] == ["repository:bearer/redirect/x:pull"] and scope[0]["service"] == ["fake, really"],
       "the token is asked for this repository", scope)
    secret = base64.b64encode(b"user:pa:ss").decode()
    for keys, works in (({FAKE: {"auth": secret}}, True), ({f"http://{FAKE}/v1/": {"auth": secret}}, True),
                        ({FAKE: {"auth": "bm86bm8="}, f"{FAKE}/basic": {"auth": secret}}, True),
                        ({f"{FAKE}/other": {"auth": secret}}, False), ({"x.example": {"auth": secret}}, False)):
        with open(f"{tmp}/auth.json", "w") as f:
            json.dump({"auths": keys}, f)
        run = pull_works if works else lambda *a: pull_fails(a[0], "EACCES", ["credentials"], *a[1:])
        run("basic/f", f"the auth file: {list(keys)}", ["--auth-file", f"{tmp}/auth.json"])
    images["basic/x:t"] = normal
    out = tool("pull", f"{FAKE}/basic/x:t", opts=user)
    out += tool("pull", f"{FAKE}/basic/x:t")
    ok(f"ok {normal.id}" in out and "error EACCES" in out, "a present image still wants the credentials", out)
    tool("remove", normal.id)


def test_mirrors():
    images["plain/m:t"] = normal
    del seen[:]
    out = tool("pull", f"{DEAD}/plain/m:t", "then", "find", f"{DEAD}/plain/m:t", "then", "remove", normal.id,
               opts=["--mirror", f"{DEAD}=http://{FAKE}/"])
    ok(f"ok {normal.id}" in out and f"tag {DEAD}/plain/m:t" in out, "from a mirror, under its own name", out)
    ok(all(f"ns={urllib.parse.quote(DEAD, safe='')}" in r[2] for r in seen if r[2].startswith("/v2/")),
       "which is told whose mirror it is", seen)
    out = tool("pull", f"{FAKE}/plain/m:t", "then", "remove", normal.id, opts=["--mirror", f"{FAKE}=http://{DEAD}"])
    ok(f"ok {normal.id}" in out, "a dead mirror is passed over", out)
    del seen[:]
    images["basic/m:t"] = normal
    out = tool("pull", f"{DEAD}/basic/m:t", opts=["--mirror", f"{DEAD}=http://{FAKE}", "--user", "user", "--password", "pa:ss"])
    ok(out.startswith("error") and all(r[3] is None for r in seen), "a pod's credentials are not for mirrors", out)


def test_tls():
    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=tmp, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", "key.pem", "-out", "cert.pem",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    server = serve()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{tmp}/cert.pem", f"{tmp}/key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    port = server.server_port
    images["plain/tls:t"] = normal
    ref = f"localhost:{port}/plain/tls:t"
    pull_fails("plain/tls", "EPROTO", ["certificate"], "a certificate that nobody vouches for", ref=ref)
    pull_fails("plain/tls", "EPROTO", ["registries.plain_http"], "TLS to a server without",
               ref=f"localhost:{fake.server_port}/plain/tls:t")
    trusted = f"mount --bind {tmp}/cert.pem /etc/ssl/certs/ca-certificates.crt && exec \"$@\""

    def tool_trusting(*args, opts=()):
        return subprocess.run(["unshare", "-m", "sh", "-c", trusted, "sh", *command(*args, opts=opts)],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=120).stdout
    out = tool_trusting("pull", ref, "then", "remove", ref)
    ok(f"ok {normal.id}" in out, "TLS, by a name that is resolved", out)
    # The certificate is good, the name is not the one that was asked for.
    out = tool_trusting("pull", f"127.0.0.1:{port}/plain/tls:t")
    ok(out.startswith("error EPROTO"), f"refused: {out.splitlines()[0]}", out)
    del seen[:]
    images["redirect/tls:t"] = normal
    out = tool_trusting("pull", f"localhost:{port}/redirect/tls:t")
    ok(out.startswith("error") and not any(r[2].startswith("/storage") for r in seen),
       f"from TLS no redirect leads to plain HTTP: {out.splitlines()[0]}", out)


def layers_of(out):
    return [l.split()[1] for l in out.splitlines() if l.startswith(" layer ")]


def test_content():
    images["plain/c:t"] = normal
    out = tool("pull", f"{FAKE}/plain/c:t", "then", "find", normal.id)
    low, high = layers_of(out)
    st = os.lstat(f"{high}/bin/tool")
    ok(st.st_rdev == 0 and st.st_mode & 0o170000 == 0o020000, "a whiteout is a 0:0 device")
    ok(os.getxattr(f"{high}/new", "trusted.overlay.opaque") == b"y", "an opaque directory is marked")
    st = os.stat(f"{high}/etc")
    ok(st.st_mode & 0o7777 == 0o700 and st.st_uid == 5, "an implied directory looks as it does below", oct(st.st_mode))
    ok(open(f"{low}/bin/tool", "rb").read() == noise and os.stat(f"{low}/tmp").st_mode & 0o7777 == 0o1777, "the files are right")
    ok(" cmd sh" in out and " env PATH=/bin" in out and " user 7:8" in out, "the configuration is read", out)
    ok(json.loads(tool("config", normal.id).splitlines()[0])["config"]["WorkingDir"] == "/w", "and kept whole")
    # The upper layer took attributes from the lower one: above another it is another.
    other = layer([("etc", None, {"mode": 0o711}), ("etc/one", b"x")])
    images["plain/d:t"] = second = Image([other, upper])
    out = tool("pull", f"{FAKE}/plain/d:t", "then", "find", second.id)
    ok(layers_of(out)[1] != high and os.stat(f"{layers_of(out)[1]}/etc").st_mode & 0o777 == 0o711,
       "a layer with implied directories is not shared above another", out)
    images["plain/e:t"] = third = Image([base, upper], note="third")
    del seen[:]
    out = tool("pull", f"{FAKE}/plain/e:t", "then", "find", third.id)
    ok(layers_of(out) == [low, high] and sum("/blobs/" in r[2] for r in seen) == 1, "layers that are there are not fetched", out)
    # Overlaid as a container would have it.
    if subprocess.run(["mount", "-t", "overlay", "crisp-image-t", "-o", f"lowerdir={high}:{low}", f"{tmp}/play"],
                      stderr=subprocess.DEVNULL).returncode == 0:
        names = sorted(os.listdir(f"{tmp}/play/etc")), sorted(os.listdir(f"{tmp}/play/bin"))
        subprocess.run(["umount", f"{tmp}/play"])
        ok(names == (["one", "three", "two"], []), "mounted, the layers are the image", names)
    else:
        ok(True, "mounted, the layers are the image # SKIP no overlay here")
    for im in (normal, second, third):
        tool("remove", im.id)
    ok(os.listdir(f"{ROOT}/images/layers") == [] and os.listdir(f"{ROOT}/images/config") == [], "all gone again",
       os.listdir(f"{ROOT}/images/layers"))


def test_names():
    images["plain/n:t"] = images["plain/n:u"] = images["plain/n:latest"] = normal
    n = f"{FAKE}/plain/n"
    out = tool("pull", f"{n}:t", "then", "pull", f"{n}:u", "then", "list", "then", "pull", n, "then", "find", n)
    ok(out.count("image sha256") == 2 and f" tag {n}:t\n tag {n}:u\n digest {n}@{normal.digest}\n" in out,
       "two names, one image", out)
    ok(f" tag {n}:latest" in out, "no tag means latest", out)
    for ref in (normal.id, normal.id[7:], normal.id[7:19], f"{n}:t", f"{n}@{normal.digest}", f"{n}:zz@{normal.digest}"):
        ok(tool("find", ref).startswith(f"image {normal.id}"), f"found as {ref}")
    for ref in (normal.id[7:18], "sha256:" + "0" * 64, f"{n}:v", "busybox", f"{n}@{sha(b'')}", "%%"):
        ok(tool("find", ref).startswith("none"), f"not found as {ref}")
    images["plain/n:t"] = moved = Image([base], note="moved")
    out = tool("pull", f"{n}:t", "then", "find", normal.id, "then", "find", f"{n}:t")
    first, second = out.split("image sha256")[1:]
    ok(f"tag {n}:t\n" not in first and f"tag {n}:u" in first and f"tag {n}:t\n" in second, "a tag moves", out)
    out = tool("list")
    ok(out.count("image sha256") == 2 and f" tag {n}:u" in out, "all of it is there after a restart", out)
    out = tool("remove", f"{n}:u", "then", "list", "then", "remove", f"{n}:u", "then", "remove", "no/such")
    ok(normal.id not in out and moved.id in out and out.count("ok removed") == 3, "one name removes all; twice is fine", out)
    tool("remove", moved.id)
    out = tool("pull", f"{n}@{normal.digest}", "then", "find", normal.id, "then", "remove", normal.id)
    ok(f" digest {n}@{normal.digest}" in out and " tag " not in out, "a pull by digest names no tag", out)
    out = tool("pull", f"{n}:u", "then", "list", "then", "remove", normal.id, opts=["--pinned", "*/plain/n:*"])
    ok("pinned" in out, "pinned by pattern", out)


def test_holds():
    images["plain/h:t"] = normal
    n = f"{FAKE}/plain/h:t"
    out = tool("pull", n, "then", "hold", n, "then", "remove", n, "then", "settle", "then", "list", "then", "held", normal.id,
               "then", "fs")
    ok(out.count("image sha256") == 1 and "MISSING" not in out and len(layers_of(out)) == 2, "a held image keeps its layers", out)
    out = tool("held", normal.id, "then", "list")
    ok("MISSING" not in out and out.startswith("image"), "a removed image is there at start for those who hold it", out)
    out = tool("list", "then", "fs")
    ok("image sha256" not in out and re.search(r"^fs 0 0 ", out, re.M) and os.listdir(f"{ROOT}/images/layers") == [],
       "and goes when nobody does", out)
    out = tool("pull", n, "then", "hold", n, "then", "remove", n, "then", "pull", n, "then", "find", n, "then",
               "release", normal.id, "then", "settle", "then", "find", n, "then", "remove", n)
    ok(out.count("image sha256") == 2 and "MISSING" not in out, "a removed image comes back by a pull", out)
    out = tool("pull", n, "then", "hold", n, "then", "remove", n, "then", "release", normal.id, "then", "settle", "then", "fs")
    ok(re.search(r"^fs 0 0 ", out, re.M), "the last release frees the layers", out)


def test_joining():
    images["plain/j:t"] = normal
    n = f"{FAKE}/plain/j:t"
    del seen[:]
    out = tool("pull-many", "5", n, "then", "percent")
    ok(out.count(f"ok {normal.id}") == 5 and "percent 100" in out, "five callers are served", out)
    ok(sum("/manifests/" in r[2] for r in seen) == 1, "by one worker")
    tool("remove", n)
    images["plain/k:t"] = other = Image([base], note="k")
    out = tool("race", n, f"{FAKE}/plain/k:t", "then", "settle", "then", "list", "then", "remove", normal.id, "then",
               "remove", other.id)
    shared = [l for l in layers_of(out) if layers_of(out).count(l) == 2]
    ok(len(layers_of(out)) == 3 and len(shared) == 2, "two pulls at once share what both brought", out)
    images["stall/x:t"] = normal
    out = tool("cancel", f"{FAKE}/stall/x:t", opts=["--stall", "30000"])
    stalled.set()
    stalled.clear()
    ok(out.startswith("ok left") and "error" not in out and os.listdir(f"{ROOT}/images/tmp") == [],
       "the last caller to leave ends the worker, and nothing is left", out)


def test_restart():
    images["plain/r:t"] = normal
    n = f"{FAKE}/plain/r:t"
    out = tool("pull", n, "then", "find", n)
    low, high = layers_of(out)
    with open(f"{ROOT}/images/log", "ab") as f:
        f.write(b'0badc0de {"torn')
    os.makedirs(f"{ROOT}/images/layers/00000000000000ff/fs/x")
    os.makedirs(f"{ROOT}/images/tmp/9/layer-0/fs")
    deep = f"{ROOT}/images/trash/deep"
    os.makedirs(deep)
    here = os.open(deep, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    out = tool("find", n)
    ok(out.startswith(f"image {normal.id}") and "MISSING" not in out, "a torn log loses nothing else", out)
    ok(len(os.listdir(f"{ROOT}/images/layers")) == 2 and os.listdir(f"{ROOT}/images/tmp") == [] and
       os.listdir(f"{ROOT}/images/trash") == [], "what no record names is swept, however deep")
    shutil.rmtree(os.path.dirname(high))
    out = tool("find", n, "then", "pull", n, "then", "find", n)
    ok(out.startswith("none") and out.count("image sha256") == 1 and "MISSING" not in out,
       "an image that lacks a layer is not there, and is pulled whole again", out)
    ok(not {low, high} & set(layers_of(out)), "numbers are not used twice", out)
    tool("remove", n)


def power_cut(disk, at, wait):
    """Pull, lose the power as soon as the pull is done (or once all is settled), and mount again."""
    p = subprocess.Popen(command("pull", f"{FAKE}/plain/p:t", root=at), stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True)
    first = p.stdout.readline()
    if wait:
        p.stdout.read()
        p.wait()
    fd = os.open(at, os.O_RDONLY)
    fcntl.ioctl(fd, 0x8004587d, struct.pack("I", 2))     # EXT4_IOC_SHUTDOWN, without flushing the log
    os.close(fd)
    p.kill()
    p.stdout.close()
    p.wait()
    wait_for(lambda: subprocess.run(["umount", at], stderr=subprocess.DEVNULL).returncode == 0)
    subprocess.run(["mount", "-o", "loop", disk, at], check=True)
    return first


def whole(out):
    dirs = layers_of(out)
    return len(dirs) == 2 and open(f"{dirs[0]}/bin/tool", "rb").read() == noise and open(f"{dirs[1]}/etc/three").read() == "3"


def test_power_cut():
    images["plain/p:t"] = normal
    disk, at = f"{tmp}/disk", f"{tmp}/at"
    os.mkdir(at)
    with open(disk, "wb") as f:
        f.truncate(200 << 20)
    if not shutil.which("mkfs.ext4") or subprocess.run(
            ["sh", "-c", f"mkfs.ext4 -q {disk} && mount -o loop {disk} {at}"], stderr=subprocess.DEVNULL).returncode:
        ok(True, "power cuts # SKIP no ext4 on a loop device")
        return
    try:
        ok(power_cut(disk, at, True).startswith("ok "), "a pull, then the power goes")
        out = tool("find", normal.id, root=at)
        ok(whole(out), "what was settled is whole", out)
        tool("remove", normal.id, root=at)
        good = True
        for _ in range(5):
            power_cut(disk, at, False)
            out = tool("find", normal.id, root=at)
            good = good and (out.startswith("none") or whole(out))
            again = tool("pull", f"{FAKE}/plain/p:t", "then", "find", normal.id, root=at)
            good = good and whole(again)
            tool("remove", normal.id, root=at)
        ok(good, "a cut right after a pull: the image is whole or not there, and can be pulled", out + again)
        ok(os.listdir(f"{at}/images/layers") == [], "and nothing is left of it")
    finally:
        subprocess.run(["umount", at])


def test_import():
    images_dir = normal.layout(f"{tmp}/layout", "example.com/imported:1")
    out = tool("load", images_dir, "then", "find", "example.com/imported:1")
    ok(f"ok {normal.id}" in out and f" digest example.com/imported@{normal.digest}" in out and len(layers_of(out)) == 2,
       "an OCI layout", out)
    tool("remove", normal.id)
    subprocess.run(["tar", "-C", f"{tmp}/layout", "-cf", f"{tmp}/layout.tar", "."], check=True)
    out = tool("load", f"{tmp}/layout.tar", "then", "find", "example.com/imported:1", "then", "remove", normal.id)
    ok(f"ok {normal.id}" in out and "MISSING" not in out, "an OCI layout in a tar", out)
    with open(f"{tmp}/docker.tar", "wb") as f, tarfile.open(fileobj=f, mode="w") as t:
        def put(name, data, link=None):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if link:
                info.type, info.linkname, info.size = tarfile.SYMTYPE, link, 0
            t.addfile(info, io.BytesIO(data))
        config = normal.blobs[normal.id]
        put("a/layer.tar", base)
        put("b/layer.tar", b"", "../c/layer.tar")
        put("c/layer.tar", upper)
        put("config.json", config)
        put("manifest.json", json.dumps([{"Config": "config.json", "RepoTags": ["old:1", "old:2"],
                                          "Layers": ["a/layer.tar", "b/layer.tar"]}]).encode())
    out = tool("load", f"{tmp}/docker.tar", "then", "find", "old:2", "then", "remove", normal.id)
    ok(f"ok {normal.id}" in out and " tag docker.io/library/old:1" in out, "a docker archive", out)
    cat = subprocess.Popen(["cat", f"{tmp}/docker.tar"], stdout=subprocess.PIPE)
    out = tool("load-fd", "x", "then", "remove", normal.id, stdin=cat.stdout)
    ok(f"ok {normal.id}" in out, "a docker archive through a pipe", out)
    nameless = Image([base], note="nameless")
    nameless.layout(f"{tmp}/nameless")
    out = tool("load", f"{tmp}/nameless", "given:3", "then", "find", "given:3", "then", "remove", nameless.id)
    ok(" tag docker.io/library/given:3" in out, "a name for what has none", out)
    before = left()
    for what, words in ((f"{tmp}/play", "index.json"), (f"{BUILD}/libexec/crisp-pull", "not a tar"), (f"{tmp}/none", "No such file")):
        out = tool("load", what)
        ok(out.startswith("error") and words in out, f"refused: {out.splitlines()[0]}", out)
    blob = f"{tmp}/layout/blobs/sha256/{sha(normal.layers[0])[7:]}"
    with open(blob, "r+b") as f:
        f.seek(500)
        f.write(b"\0\0\0\0")
    out = tool("load", f"{tmp}/layout")
    ok("error EBADMSG" in out and "digest mismatch" in out, f"refused: {out.splitlines()[0]}", out)
    os.unlink(blob)
    os.symlink("/etc/shadow", blob)
    out = tool("load", f"{tmp}/layout")
    ok("error" in out and "root:" not in out, f"a link out of the layout leads nowhere: {out.splitlines()[0]}", out)
    ok(left() == before, "and nothing is left", left() - before)


# -- a real one --

def start_registry(address, extra):
    data = f"{tmp}/{extra or 'open'}"
    auth = f"auth: {{htpasswd: {{realm: r, path: {tmp}/htpasswd}}}}\n" if extra else ""
    with open(f"{data}.yml", "w") as f:
        f.write(f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {data}}}}}\n"
                f"http: {{addr: {address}}}\n{auth}")
    p = subprocess.Popen(["docker-registry", "serve", f"{data}.yml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    host, port = address.split(":")
    wait_for(lambda: not socket.socket().connect_ex((host, int(port))))
    return p


def push(layout, to, *more):
    return subprocess.run(["skopeo", "copy", "-q", "--dest-tls-verify=false", *more, f"oci:{layout}", f"docker://{to}"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_real_registry():
    if not shutil.which("docker-registry") or not shutil.which("skopeo"):
        ok(True, "a real registry # SKIP docker-registry or skopeo is missing")
        return
    hashed = subprocess.run(["perl", "-e", 'print crypt("pass", q{$2y$05$abcdefghijklmnopqrstuu})'],
                            stdout=subprocess.PIPE, text=True).stdout
    with open(f"{tmp}/htpasswd", "w") as f:
        f.write(f"user:{hashed}\n")
    servers = [start_registry(REAL, ""), start_registry(LOCKED, "locked")]
    try:
        real_pulls()
    finally:
        for p in servers:
            p.terminate()
            p.wait()


def real_pulls():
    plain = Image([base, upper], pack=False)
    for name in ("t", "latest"):
        r = push(plain.layout(f"{tmp}/plain"), f"{REAL}/real/gzip:{name}")
        ok(r.returncode == 0, f"skopeo pushes :{name}", r.stdout)
    # Other content: skopeo remembers which blobs it has compressed how.
    other = Image([layer([("bin", None), ("bin/tool", noise[::-1])]), upper[:-512]], pack=False)
    push(other.layout(f"{tmp}/other"), f"{REAL}/real/zstd:t", "--dest-compress-format", "zstd")
    push(f"{tmp}/plain", f"{REAL}/real/docker:t", "-f", "v2s2")
    out = tool("pull", f"{REAL}/real/gzip:t", "then", "list")
    ok(len(layers_of(out)) == 2 and f"tag {REAL}/real/gzip:t" in out, "by tag", out)
    digest = re.search(r"digest \S+@(\S+)", out).group(1)
    ident = re.search(r"image (\S+)", out).group(1)
    ok(open(f"{layers_of(out)[0]}/bin/tool", "rb").read() == noise, "what was pushed")
    out = tool("pull", f"{REAL}/real/gzip", "then", "list", "then", "remove", ident)
    ok(out.count("image sha256") == 1 and " tag " in out and f"tag {REAL}/real/gzip:latest" in out, "without a tag; two names of one image", out)
    out = tool("pull", f"{REAL}/real/gzip@{digest}", "then", "list", "then", "remove", ident)
    ok(f"digest {REAL}/real/gzip@{digest}" in out and " tag " not in out, "by digest", out)
    kinds = subprocess.run(["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{REAL}/real/zstd:t"],
                           stdout=subprocess.PIPE, text=True).stdout
    out = tool("pull", f"{REAL}/real/zstd:t", "then", "list", "then", "remove", f"{REAL}/real/zstd:t")
    ok(len(layers_of(out)) == 2 and "zstd" in kinds, "layers in zstd", kinds + out)
    out = tool("pull", f"{REAL}/real/docker:t", "then", "list", "then", "remove", f"{REAL}/real/docker:t")
    ok(len(layers_of(out)) == 2, "a Docker schema 2 manifest", out)
    before = left()
    for ref, code, words in ((f"{REAL}/real/gzip:none", "ENOENT", "manifest unknown"), (f"{REAL}/real/none:t", "ENOENT", "not found"),
                             (f"{REAL}/real/gzip@{sha(b'x')}", "ENOENT", "manifest unknown"), (f"{LOCKED}/x:t", "EACCES", "credentials")):
        out = tool("pull", ref)
        ok(out.startswith(f"error {code}: ") and words in out, f"refused: {out.splitlines()[0]}", out)
    push(f"{tmp}/plain", f"{LOCKED}/real/x:t", "--dest-creds", "user:pass")
    out = tool("pull", f"{LOCKED}/real/x:t", opts=["--user", "user", "--password", "wrong"])
    ok(out.startswith("error EACCES") and "401" in out, f"refused: {out.splitlines()[0]}", out)
    ok(left() == before, "nothing is left of these", left() - before)
    out = tool("pull", f"{LOCKED}/real/x:t", "then", "list", "then", "remove", f"{LOCKED}/real/x:t",
               opts=["--user", "user", "--password", "pass"])
    ok(len(layers_of(out)) == 2, "with the password it comes", out)
    damage_blobs(f"{tmp}/open/docker/registry/v2/blobs/sha256", before)


def damage_blobs(store, before):
    def biggest():
        files = [os.path.join(d, f) for d, _, fs in os.walk(store) for f in fs]
        return sorted((f for f in files if open(f, "rb").read(2) == b"\x1f\x8b"), key=os.path.getsize)[-1]
    blob = biggest()
    whole = open(blob, "rb").read()
    with open(blob, "wb") as f:
        f.write(whole[:5000] + b"????" + whole[5004:])
    out = tool("pull", f"{REAL}/real/gzip:t")
    ok(out.startswith("error EBADMSG") and "digest mismatch" in out and "expected" in out, f"refused: {out.splitlines()[0]}", out)
    with open(blob, "wb") as f:
        f.write(whole[:len(whole) // 2])
    out = tool("pull", f"{REAL}/real/gzip:t")
    ok(out.startswith("error E") and "truncated: got" in out, f"refused: {out.splitlines()[0]}", out)
    ok(left() == before, "nothing is left of these", left() - before)


try:
    tool("list")
    test_confinement()
    test_own_registry()
    test_auth()
    test_mirrors()
    test_tls()
    test_content()
    test_names()
    test_holds()
    test_joining()
    test_restart()
    test_power_cut()
    test_import()
    test_live_workers()
    test_real_registry()
finally:
    stalled.set()
    shutil.rmtree(tmp, ignore_errors=True)
done()

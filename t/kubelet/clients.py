"""What people do to pods by kubectl: logs, exec, attach, port-forward, cp, debug.  Each over WebSocket, and over SPDY
as older clients do."""
import fcntl, pty, select, struct, termios

from checks import *

WAYS = {"WebSocket": {}, "SPDY": {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}}
PATIENCE = 60	# seconds that one command may take


def by(k, *words, given=b"", **env):
    """(exit code, output, errors) of kubectl that reads these bytes."""
    r = subprocess.run(k.api.kubectl_words(*words), input=given, capture_output=True, timeout=PATIENCE, env={**os.environ, **env})
    return r.returncode, r.stdout, r.stderr.decode(errors="replace")


class Beside:
    """A kubectl that goes on beside the test; what it has said so far is in .said."""
    def __init__(self, k, *words, terminal=None, **env):
        """terminal: (rows, columns) of one that it shall have."""
        self.said, self.input = b"", None
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        if terminal:
            self.end, far = pty.openpty()
            fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", *terminal, 0, 0))
            options = dict.fromkeys(options, far)
        self.process = subprocess.Popen(k.api.kubectl_words(*words), env={**os.environ, "TERM": "linux", **env}, **options)
        if terminal:
            os.close(far)
            self.input = self.end
        else:
            self.end, self.input = self.process.stdout.fileno(), self.process.stdin.fileno()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def answers(self, line, *answers):
        """Does it, once it is there, answer a line that may be typed more than once?"""
        for _ in range(20):
            self.type(line)
            if all(self.until(a, 1) for a in answers):
                return True
        return False

    def resize(self, rows, columns):
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)	# nobody is the terminal's foreground here

    def type(self, text):
        os.write(self.input, text)

    def ends(self):
        """It has nothing more to type."""
        self.process.stdin.close()

    def read(self):
        """Some more; False at the end."""
        if not select.select([self.end], [], [], 0.1)[0]:
            return True
        try:
            more = os.read(self.end, 1 << 16)
        except OSError:	# a terminal that nobody holds any more
            more = b""
        self.said += more
        return bool(more)

    def until(self, word, seconds=PATIENCE):
        """Has it said this?"""
        end = time.monotonic() + seconds
        while word not in self.said and time.monotonic() < end and self.read():
            pass
        return word in self.said

    def leaves(self, seconds=PATIENCE):
        """Its exit code, once it has left by itself."""
        end = time.monotonic() + seconds
        while self.read() and time.monotonic() < end:
            pass
        return self.process.wait(max(1, end - time.monotonic()))


# -- exec, port-forward, cp, debug: on one pod --

@check
def visited(k, name):
    running(k, name)
    for way, env in WAYS.items():
        run_commands(k, name, way, env)
        type_commands(k, name, way, env)
        forward(k, name, way, env)
    copy_files(k, name)
    debug(k, name)


def run_commands(k, name, way, env):
    code, out, err = by(k, "exec", name, "--", "sh", "-c", "echo out; echo err >&2; exit 7", **env)
    ok((code, out) == (7, b"out\n") and err.startswith("err\n"), f"exec by {way}: output, errors, exit code", (code, out, err))
    given = os.urandom(1 << 20)
    code, out, err = by(k, "exec", "-i", name, "--", "cat", given=given, **env)
    ok(code == 0 and out == given, f"exec by {way}: a MiB goes in and comes back", (code, len(out), err))
    code, out, err = by(k, "exec", "-i", name, "--", "sh", "-c", "head -c 5; exit 3", given=given, **env)
    ok(code == 3 and out == given[:5], f"exec by {way}: of a process that doesn't read all of it", (code, out, err))
    code, out, err = by(k, "exec", name, "--", "/no/such/program", **env)
    ok(code and "/no/such/program" in err, f"exec by {way}: a program that is not there is named", (code, out, err))
    say(name, "|", err.strip()[-300:])


def type_commands(k, name, way, env):
    with Beside(k, "exec", "-it", name, "--", "sh", terminal=(33, 101), **env) as shell:
        ok(shell.answers(b"stty size; test -t 0 && echo a $((6 * 7)) tty\n", b"33 101", b"a 42 tty"),
           f"exec -t by {way}: a terminal, as large as the caller's", shell.said)
        shell.resize(44, 123)
        ok(shell.answers(b"stty size\n", b"44 123"), f"exec -t by {way}: and as it is made larger", shell.said)
        shell.type(b"sleep 1003\n")
        until(lambda: "sleep 1003" in k.sh(name, "ps"), "what ^C is for")
        shell.type(b"\3exit 9\n")
        code = shell.leaves()
        ok(code == 9, f"exec -t by {way}: ^C ends what runs, exit its shell", (code, shell.said))


def forward(k, name, way, env):
    with Beside(k, "port-forward", name, ":8080", ":8081", **env) as forwarding:
        if not ok(forwarding.until(b"-> 8080") and forwarding.until(b"-> 8081"), f"port-forward by {way} begins", forwarding.said):
            return
        port, closed = re.findall(rb"127.0.0.1:(\d+) ->", forwarding.said)
        pages = [answers(f"http://127.0.0.1:{int(port)}/") for _ in range(5)]
        ok(pages == [b"by its port\n"] * 5, f"port-forward by {way}: the pod's port answers", pages)
        answers(f"http://127.0.0.1:{int(closed)}/")
        ok(forwarding.until(b"8081: ") or forwarding.until(b"refused"), f"port-forward by {way}: a port that nobody listens on: said so",
           forwarding.said)
        say(name, "|", forwarding.said.decode(errors="replace").splitlines()[-1][:300])


def copy_files(k, name):
    there, back = f"{HOME}/there", f"{HOME}/back"
    with open(there, "wb") as f:
        f.write(os.urandom(3 << 20))
    first = by(k, "cp", there, f"{name}:/tmp/there")
    second = by(k, "cp", f"{name}:/tmp/there", back)
    same = os.path.exists(back) and open(there, "rb").read() == open(back, "rb").read()
    ok(same, "cp: 3 MiB there and back", (first, second))


def debug(k, name):
    code, out, err = by(k, "debug", name, f"--image={IMAGE}", "--image-pull-policy=Never", "--container=looker", "--target=main",
                        "--", "sh", "-c", "ps; ls /proc/1/root/www; exec sleep 1000")
    if not ok(code == 0, "debug adds a container", (out, err)):
        return

    def looks():
        found = k.pod(name)["status"].get("ephemeralContainerStatuses") or [{}]
        return "running" in found[0].get("state", {})
    until(looks, "the debug container to run")
    seen = until(lambda: (log := k.log(name, "looker")).endswith("index.html\n") and log, "what it sees")
    ok("sleep 1002" in seen, "debug: it sees the processes of its target, and their files", seen)
    ok(states(k, name)["main"]["restartCount"] == 0, "debug: which goes on")


# -- attach --

@check
def attached(k, name):
    running(k, name)
    for way, env in WAYS.items():
        with Beside(k, "attach", "-i", name, "-c", "main", **env) as line:
            line.type(b"one\n")
            ok(line.until(b"got one"), f"attach by {way}: a line goes in, the answer comes out", line.said)
        with Beside(k, "attach", "-it", name, "-c", "screen", terminal=(35, 99), **env) as screen:
            ok(screen.answers(b"stty size; echo a $((6 * 7))\n", b"a 42", b"35 99"), f"attach -t by {way}: a terminal, as large as the caller's", screen.said)
    ok(all(s["restartCount"] == 0 and "running" in s["state"] for s in states(k, name).values()), "attach: the container outlives its callers",
       states(k, name))
    with Beside(k, "attach", "-i", name, "-c", "once") as line:
        line.type(b"all of it\n")
        line.ends()
        ok(line.until(b"got all of it\nend of input\n"), "attach: with stdinOnce the caller's end is the container's", line.said)


# -- logs --

@check
def writes(k, name):
    running(k, name)
    with Beside(k, "logs", "-f", name) as follower:
        ok(follower.until(b"line 99\n"), "logs -f: what there is", follower.said[-200:])
        k.sh(name, "touch /tmp/go")
        code = follower.leaves()
        ok(code == 0 and follower.said == b"".join(b"line %d\n" % n for n in range(1, 201)),
           "logs -f: and what comes, to the container's end", (code, len(follower.said), follower.said[-100:]))
    until(lambda: states(k, name)["main"]["restartCount"] == 1, "its restart", 60)
    running(k, name)
    previous = by(k, "logs", "--previous", "--tail=1", name)
    ok(previous == (0, b"line 200\n", ""), "logs --previous: of the life before", previous)
    until(lambda: by(k, "logs", "--tail=2", name)[1] == b"line 98\nline 99\n", "the lines of this life")
    code, out, err = by(k, "logs", "--timestamps", "--limit-bytes=200", name)
    ok(re.match(rb"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d) line 1\n", out), "logs --timestamps", (out, err))

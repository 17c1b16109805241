#!/usr/bin/env python3
# The tests themselves can fail: the runner counts what goes wrong, the sanitizers find what is
# planted.
import os, re, shutil, subprocess, sys, tempfile

os.chdir(os.path.dirname(os.path.abspath(__file__)) + "/../..")
sys.path.insert(0, "t")
from tap import done, ok
BUILD = os.environ.get("BUILD", "build")


top = tempfile.mkdtemp(dir="t", prefix="tests.")


def runner(*scripts):
    """Last line and exit code of the runner over these shell scripts."""
    names = []
    for i, script in enumerate(scripts):
        names.append(f"dev:{top}/{i}")
        with open(f"{top}/{i}", "w") as f:
            f.write(script)
    r = subprocess.run(["perl", "t/run.pl", *names], capture_output=True, text=True,
                       env={**os.environ, "TEST_TIMEOUT": "1"})
    return r.stdout.splitlines()[-1], r.returncode


def counts(name, want, code, *scripts):
    got = runner(*scripts)
    ok(got == (want, code), name, f"got {got}")


try:
    good = "echo ok 1 - a; echo ok 2 - b; echo 1..2\n"
    counts("what passes is counted by points", "4 passed, 0 failed", 0, good, good)
    counts("what fails, too", "3 passed, 1 failed", 1, good, "echo ok 1 - a; echo not ok 2 - b; echo 1..2; exit 1\n")
    counts("a program that is killed is a failure", "3 passed, 1 failed", 1, good, "echo ok 1 - a; kill -9 $$\n")
    counts("as is one that exits with an error", "3 passed, 1 failed", 1, good, "echo ok 1 - a; echo 1..1; exit 3\n")
    counts("one that hangs", "3 passed, 1 failed", 1, good, "echo ok 1 - a; echo 1..1; sleep 30\n")
    counts("one that ends too early", "3 passed, 1 failed", 1, good, "echo ok 1 - a; echo 1..2\n")
    counts("one that says nothing", "2 passed, 1 failed", 1, good, "exit 0\n")
    counts("what is skipped is neither", "1 passed, 0 failed", 0, "echo ok 1 - a; echo 'ok 2 # SKIP no'; echo 1..2\n")
    counts("a whole file that is skipped", "2 passed, 0 failed", 0, good, "echo '1..0 # SKIP not here'\n")
    counts("nothing at all is no success", "0 passed, 0 failed", 1, "echo '1..0 # SKIP not here'\n")

    def engines(text):
        with open(f"{top}/x.c", "w") as f:
            f.write(text)
        return subprocess.run(["tools/check-engines", os.path.abspath(f"{top}/x.c")], capture_output=True, text=True)

    ok(engines("int truncate(func); /* encrunched */\n").returncode == 0, "no engine is named where none is")
    for text in 'if (!strcmp(name, "runc"))', "/* as gVisor does */", "kata_start();", "x = CRUN;":
        ok(engines(f"\n{text}\n").returncode == 1 and "x.c:2:" in engines(f"\n{text}\n").stdout, f"one is found in {text}")

    sanitized = "asan" in BUILD
    for fault, says in (("none", ""), ("leak", "LeakSanitizer"), ("overflow", "heap-buffer-overflow"),
                        ("undefined", "signed integer overflow")):
        if fault != "none" and not sanitized:
            ok(True, f"a planted {fault} # SKIP this variant has no sanitizers")
            continue
        r = subprocess.run([f"{BUILD}/t/int/planted", fault], capture_output=True, text=True)
        if fault == "none":
            ok(r.returncode == 0, "without a fault all is well", r.stderr)
        else:
            ok(r.returncode != 0 and says in r.stderr, f"a planted {fault} ends the program and is named", r.stderr)
finally:
    shutil.rmtree(top)
done()

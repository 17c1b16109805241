"""load_trace.py STATE ROOT LOGS NETNS-PREFIX < strace -yy: what a core may do on its loop's thread.

Says each thing that is not allowed, once, and exits 1; 0 when there is none."""
import collections, os, re, sys

STATE, ROOT, LOGS, NETNS = sys.argv[1:]
# Where it may open something: below these...
BELOW = {
    STATE: "records, bundles, pid files of engines",
    ROOT: "the index of images, writable layers",
    LOGS: "the log directories that the requests name",
    "/sys/fs/cgroup": "cgroups",
    "/proc": "start times of processes, namespaces",
}
# ... and these themselves.
ALONE = {
    "/dev/null": "the stdin of a program that it starts",
}
OPENS = {"open", "openat", "openat2", "creat"}
TALKS = {"connect", "bind", "sendto"}		# to its clients and its keeper, on unix sockets

bad, seen = collections.Counter(), collections.Counter()


def whole(args):
    m = re.match(r'(?:(?:AT_FDCWD|\d+)<(.*?)>, )?"(.*?)"', args)
    return os.path.normpath(os.path.join(m[1] or "/", m[2])) if m else None


def may_open(path):
    return path in ALONE or path.startswith(NETNS) or any(path == d or path.startswith(d + "/") for d in BELOW)


for line in sys.stdin:
    m = re.match(r"(\w+)\((.*)", line)
    if not m:
        continue
    name, args = m[1], m[2]
    seen[name] += 1
    if name in OPENS:
        path = whole(args)
        if not path or not may_open(path):
            bad[f"opens {path or args}"] += 1
        elif path.endswith("/record.json.tmp"):
            seen["record"] += 1
    elif name in TALKS:
        if "AF_UNIX" not in args and not re.match(r"\d+<UNIX", args):
            bad[f"talks: {line.strip()}"] += 1
    else:
        bad[f"calls {line.strip()}"] += 1
for what, n in bad.most_common(20):
    print(f"{what} ({n} times)")
if not seen["record"]:
    print("no record is written: this is no trace of a core at work")
print(", ".join(f"{n} {name}" for name, n in sorted(seen.items())))
sys.exit(1 if bad or not seen["record"] else 0)

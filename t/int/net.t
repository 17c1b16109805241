#!/usr/bin/env python3
# The bridge network through the core's side of it (t/int/net_drive.c), in network and mount
# namespaces of the test's own: the node is this namespace, the world another one behind it, pods
# further ones.  Root alone.
import json, os, random, signal, subprocess, sys, tempfile, time

if os.geteuid() != 0:
    print("1..0 # SKIP needs root")
    sys.exit(0)
if "CRISP_NET_TEST" not in os.environ:
    os.environ["CRISP_NET_TEST"] = "1"
    os.execvp("unshare", ["unshare", "-n", "-m", sys.executable, os.path.abspath(__file__)])

os.chdir(os.path.dirname(os.path.abspath(__file__)) + "/../..")
sys.path.insert(0, "t")
import tap
from tap import done, ok
BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
DRIVE, TALK = f"{BUILD}/t/int/net_drive", f"{BUILD}/t/int/net_talk"
BRIDGE = f"{BUILD}/libexec/crisp-bridge"
OPTIONS = {"bridge": "crnt0", "subnets": ["10.213.0.0/16"], "nft_table": "crnt"}
tmp = tempfile.mkdtemp(prefix="crisp-net-t.")
running = []


def sh(*args, check=True):
    r = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if check and r.returncode != 0:
        raise SystemExit(f"not ok - {args}: {r.stdout}")
    return r.stdout.strip()


def pod_id(n):
    return f"{n:08x}" + "c" * 56


class Drive:
    """A core with one network plugin."""

    def __init__(self, options=OPTIONS, plugin="bridge", env=None):
        self.p = subprocess.Popen([DRIVE, BUILD, f"{tmp}/state", plugin, json.dumps(options)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=open(f"{tmp}/log", "ab"), text=True, bufsize=1)
        running.append(self.p)

    def tell(self, *words):
        self.p.stdin.write(" ".join(map(str, words)) + "\n")
        self.p.stdin.flush()

    def line(self):
        signal.alarm(60)
        text = self.p.stdout.readline().rstrip("\n")
        signal.alarm(0)
        return text

    def result(self):
        word = self.line().split(" ", 3)
        return {"id": word[0], "ret": int(word[1]), "us": int(word[2]), "text": word[3] if len(word) > 3 else "",
                "ip": word[3].split(" ")[0] if len(word) > 3 else "",
                "state": word[3].split(" ")[1] if len(word) > 3 and " " in word[3] else "-"}

    def attach(self, n, *ports, name=None, netns=None):
        self.tell("attach", pod_id(n), name or f"pod{n}", netns or f"/run/netns/p{n}", *ports)
        return self.result()

    def detach(self, n, state="-", netns=None):
        self.tell("detach", pod_id(n), netns or f"/run/netns/p{n}", state)
        return self.result()

    def settle(self):
        """A pod that comes after gc, and goes."""
        if not os.path.exists("/run/netns/settle"):
            sh("ip", "netns", "add", "settle")
        self.attach(0xffff, netns="/run/netns/settle")
        self.detach(0xffff)
        wait_links(len([v for v in veths() if not v.startswith("veth0000ffff")]))

    def end(self):
        self.p.stdin.close()
        if self.p.wait() != 0:
            ok(False, "the core ends well", self.p.returncode)
        running.remove(self.p)

    def kill(self):
        self.p.kill()
        self.p.wait()
        running.remove(self.p)


def netns(n):
    sh("ip", "netns", "add", f"p{n}")


def inside(ns, *args):
    return args if ns is None else ("ip", "netns", "exec", ns) + args


def serve(ns, name, port):
    p = subprocess.Popen(inside(ns, TALK, "serve", name, str(port)), stdout=subprocess.PIPE, text=True)
    running.append(p)
    p.stdout.readline()
    return p


def ask(ns, proto, ip, port, source=0):
    return sh(*inside(ns, TALK, "ask", proto, ip, str(port), str(source)), check=False)


def ping(ns, ip):
    return sh(*inside(ns, "ping", "-c1", "-W2", ip), check=False).find(" 0% packet loss") > 0


def veths(bridge=OPTIONS["bridge"]):
    text = "Dump"
    while "Dump" in text:       # "was interrupted": links have changed meanwhile
        text = sh("ip", "-j", "link", "show", "type", "veth", check=False)
    return [l["ifname"] for l in json.loads(text or "[]") if l.get("master") == bridge]


def wait_links(n, *bridge):
    """Links go after the detach, with a sweep."""
    end = time.monotonic() + 10
    while len(veths(*bridge)) != n and time.monotonic() < end:
        time.sleep(0.01)
    return veths(*bridge)


def elements():
    found = []
    for name in ("ports", "ports_ip"):
        j = json.loads(sh("nft", "-j", "list", "map", "inet", OPTIONS["nft_table"], name))
        for item in j["nftables"]:
            for e in item.get("map", {}).get("elem", []):
                found.append(".".join(str(x) for x in e[0]["concat"]) + ">" + ".".join(str(x) for x in e[1]["concat"]))
    return sorted(found)


def rules():
    """The table without the elements of its maps."""
    text = sh("nft", "-s", "list", "table", "inet", OPTIONS["nft_table"])
    return text


def set_up_node():
    sh("mount", "-t", "tmpfs", "none", "/run")
    sh("ip", "link", "set", "lo", "up")
    sh("ip", "netns", "add", "world")
    sh("ip", "link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", "world")
    sh("ip", "addr", "add", "192.0.2.1/24", "dev", "up0")
    sh("ip", "link", "set", "up0", "up")
    sh(*inside("world", "ip", "addr", "add", "192.0.2.2/24", "dev", "eth0"))
    sh(*inside("world", "ip", "link", "set", "eth0", "up"))
    sh(*inside("world", "ip", "link", "set", "lo", "up"))


def test_pods(d):
    """Two pods, the node, the world; host ports from everywhere."""
    for n in (1, 2):
        netns(n)
    a = d.attach(1, "tcp:8080:80", "udp:8080:80", "tcp:127.0.0.1:8081:80", "tcp:192.0.2.1:8082:80")
    ok(a["ret"] == 0 and a["ip"].startswith("10.213.0."), f"attach: {a['ip']} in {a['us']} us", a)
    b = d.attach(2)
    ok(b["ret"] == 0 and b["ip"] != a["ip"], f"attach another: {b['ip']} in {b['us']} us", b)
    serve("p1", "one", 80)
    serve("p2", "two", 80)
    serve("world", "world", 80)
    serve(None, "node", 7000)
    knob = "/proc/sys/net/bridge/bridge-nf-call-iptables"
    for value in ("0", "1") if os.path.exists(knob) else ():
        open(knob, "w").write(value)
        test_talk(a, b, f", bridge-nf-call-iptables={value}")
    if not os.path.exists(knob):
        test_talk(a, b, "")
    sh(*inside("p1", "ip", "route", "del", "local", "127.0.0.1", "table", "local"))
    sh(*inside("p1", "ip", "route", "del", "local", "127.0.0.0/8", "table", "local"))
    sh(*inside("p1", "ip", "route", "add", "127.0.0.1/32", "via", "10.213.0.1", "src", a["ip"]))
    sh(*inside("p1", "sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1"))
    sh("nft", "add table ip probe; add chain ip probe in { type filter hook input priority 0; };"
       f'add rule ip probe in iifname "{OPTIONS["bridge"]}" ip daddr 127.0.0.0/8 counter')
    ask("p1", "udp", "127.0.0.1", 7000)
    seen = sh("nft", "list", "table", "ip", "probe")
    ok("packets 0" in seen, "a pod doesn't reach the node's loopback", seen)
    sh("nft", "delete", "table", "ip", "probe")
    return a, b


def test_talk(a, b, how):
    ip = a["ip"]
    ok(ping("p1", b["ip"]) and ping("p2", ip), "pods ping each other" + how)
    ok(ping("p1", "127.0.0.1"), "the loopback is up" + how)
    ok(ask("p2", "tcp", ip, 80) == f"one {b['ip']}", "TCP between pods, addresses as they are" + how)
    ok(ask("p1", "tcp", "10.213.0.1", 7000) == f"node {ip}", "a pod reaches the node" + how)
    ok(ask(None, "tcp", ip, 80) == "one 10.213.0.1", "the node reaches a pod" + how)
    ok(ask("p1", "tcp", "192.0.2.2", 80) == "world 192.0.2.1", "a pod reaches the world, masqueraded" + how)
    ok(ask("p1", "udp", "192.0.2.2", 80) == "world 192.0.2.1", "and by UDP" + how)
    for proto in ("tcp", "udp"):
        for ns, at, words in (("world", "192.0.2.1", "the world"), (None, "127.0.0.1", "127.0.0.1"),
                              (None, "192.0.2.1", "the node by its address"), ("p2", "192.0.2.1", "another pod"),
                              ("p2", "10.213.0.1", "another pod by the gateway"), ("p1", "192.0.2.1", "the pod itself"),
                              ("p1", "10.213.0.1", "the pod itself by the gateway")):
            answer = ask(ns, proto, at, 8080)
            ok(answer.startswith("one "), f"host port {proto} from {words}{how}", answer)
        ok(ask("world", proto, "192.0.2.1", 8080) == "one 192.0.2.2", f"the world's address is kept{how}")
    ok(ask(None, "tcp", "127.0.0.1", 8081).startswith("one "), "host IP 127.0.0.1 from there" + how)
    ok(not ask("world", "tcp", "192.0.2.1", 8081).startswith("one"), "and not from the world" + how)
    ok(ask("world", "tcp", "192.0.2.1", 8082) == "one 192.0.2.2", "host IP of the node from the world" + how)
    ok(not ask(None, "tcp", "127.0.0.1", 8082).startswith("one"), "and not from 127.0.0.1" + how)
    ok(not ask("world", "tcp", ip, 80).startswith("one"), "the world has no route to pods (the test's own premise)" + how)


def test_conflicts(d, a):
    netns(3)
    r = d.attach(3, "tcp:8080:81", name="late")
    ok(r["ret"] == -98 and "8080/tcp" in r["text"] and "test/pod1" in r["text"], f"a taken port: {r['text']}", r)
    r = d.attach(3, "tcp:127.0.0.1:8080:81")
    ok(r["ret"] == -98, f"also on one address: {r['text']}", r)
    r = d.attach(3, "tcp:192.0.2.1:8081:81")
    ok(r["ret"] == 0, "the same port on another address is another port", r)
    r = d.detach(3, r["state"])
    r = d.attach(3, "sctp:8080:81")
    ok(r["ret"] == 0, "and so is another protocol", r)
    r = d.detach(3, r["state"])
    r = d.attach(3, "tcp:9000:81", "tcp:9000:82")
    ok(r["ret"] == -22 and "9000/tcp is mapped twice" in r["text"], f"one port twice: {r['text']}", r)
    r = d.attach(3, "tcp:fe80-1:9000:82")
    ok(r["ret"] == -22 and "fe80-1" in r["text"], f"a bad host IP: {r['text']}", r)
    r = d.attach(1)
    ok(r["ret"] == -17, f"the same pod again: {r['text']}", r)
    r = d.attach(4, netns="/run/netns/none")
    ok(r["ret"] == -2 and "/run/netns/none" in r["text"], f"no namespace: {r['text']}", r)
    ok(len(wait_links(2)) == 2 and len(elements()) == 4, "none of this has left anything", (veths(), elements()))


def test_stale_udp(d, a):
    """A peer that never falls silent, as the pod behind a UDP port goes and another comes."""
    netns(5)
    netns(6)
    first = d.attach(5, "udp:5353:53")
    p = serve("p5", "first", 53)
    ok(ask("world", "udp", "192.0.2.1", 5353, 4000).startswith("first"), "UDP port, first pod")
    p.kill()
    d.detach(5, first["state"])
    ok(not ask("world", "udp", "192.0.2.1", 5353, 4000).startswith("first"), "nobody, between two pods")
    second = d.attach(6, "udp:5353:53")
    p = serve("p6", "second", 53)
    ok(ask("world", "udp", "192.0.2.1", 5353, 4000) == "second 192.0.2.2", "UDP port, second pod, same peer")
    p.kill()
    d.detach(6, second["state"])


def test_recovery(d, a, b):
    """Another core takes over: addresses and ports are still known, the dead are swept."""
    netns(7)
    dead = d.attach(7, "tcp:7777:77")
    d.kill()
    d = Drive()
    d.tell("adopt", pod_id(1), a["state"])
    d.tell("adopt", pod_id(2), b["state"])
    d.tell("gc", pod_id(1), pod_id(2))
    d.settle()
    ok(len(veths()) == 2, "gc has removed the dead pod's link", veths())
    ok(len(elements()) == 4 and not any("7777" in e for e in elements()), "and its port", elements())
    ok(ask("world", "tcp", "192.0.2.1", 8080) == "one 192.0.2.2", "the living are untouched")
    netns(8)
    r = d.attach(8, "tcp:8080:80")
    ok(r["ret"] == -98 and "test/pod1" in r["text"], "an adopted port is taken", r)
    r = d.attach(8, "tcp:7777:80")
    ok(r["ret"] == 0 and r["ip"] not in (a["ip"], b["ip"]), f"an adopted address isn't given again: {r['ip']}", r)
    ip = r["ip"]
    d.detach(8, r["state"])
    r = d.attach(8)
    ok(r["ret"] == 0 and r["ip"] != ip, "an address just let go isn't given again", r)
    d.detach(8, r["state"])

    sh("nft", "flush", "ruleset")
    r = d.attach(8)
    d.settle()
    ok(len(elements()) == 4, "somebody flushed all tables: the next pod brings them back", elements())
    ok(ask("world", "tcp", "192.0.2.1", 8080) == "one 192.0.2.2", "host ports work again")
    d.detach(8, r["state"])
    return d


def test_firewall(d, a, b):
    """A node whose iptables drop what they don't know, as Docker leaves them."""
    sh("nft", "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority filter; policy drop; };"
       "add rule ip filter FORWARD ip saddr 198.51.100.1 drop")
    ok(not ask("p1", "tcp", "192.0.2.2", 80).startswith("world"), "the firewall drops (the test's own premise)")
    for i in range(2):
        d.tell("gc", pod_id(1), pod_id(2))
        d.settle()
    ok(ask("p1", "tcp", "192.0.2.2", 80) == "world 192.0.2.1", "a pod reaches the world through a closed firewall")
    ok(ask("world", "tcp", "192.0.2.1", 8080) == "one 192.0.2.2", "and the world its host port")
    ok(sh("nft", "list", "chain", "ip", "filter", "FORWARD").count("crnt0") == 4, "by two rules, once")


def test_gone(d):
    """Namespaces that go before the detach, detaches of what never was."""
    netns(9)
    r = d.attach(9, "tcp:9999:80")
    sh("ip", "netns", "del", "p9")
    x = d.detach(9, r["state"])
    ok(x["ret"] == 0 and not any("9999" in e for e in elements()), "detach without the namespace", x)
    ok(d.detach(9, r["state"])["ret"] == 0, "again")
    ok(d.detach(9)["ret"] == 0, "again, without a state")
    netns(9)
    d.tell("attach", pod_id(9), "pod9", "/run/netns/p9", "tcp:9999:80")
    d.tell("cancel", pod_id(9))
    r = d.result()
    ok(r["ret"] in (0, -125), f"cancelled: {r['text']}", r)
    d.detach(9)
    ok(len(wait_links(2)) == 2 and len(elements()) == 4, "and nothing is left of it", (veths(), elements()))


def test_killed_worker(a, b):
    """crisp-bridge, killed at many points of an attach; gc leaves nothing."""
    request = {"op": "attach", "bridge": "crnt0", "table": "crnt", "subnets": ["10.213.0.0/16"],
               "gateways": ["10.213.0.1/16"], "gateway": "10.213.0.1", "ensure": True,
               "addrs": ["10.213.77.7/16"], "ports": [["tcp", None, 7070, "10.213.77.7", 80]]}
    killed = finished = 0
    for i in range(25):
        netns(100 + i)
        request["veth"] = f"veth{i:011x}"
        request["ports"][0][2] = 7070 + i
        with open(f"/run/netns/p{100 + i}") as ns:
            # fd 3 for the program, from this process
            fd = os.dup2(ns.fileno(), 3) if ns.fileno() != 3 else 3
            p = subprocess.Popen([BRIDGE], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=(3,))
        p.stdin.write(json.dumps(request).encode())
        p.stdin.close()
        time.sleep(i * 0.0004)      # a point of its life, not an event to wait for
        p.kill()
        killed += p.wait() != 0
        finished += p.returncode == 0
    ok(killed > 0, f"{killed} were killed under way, {finished} had finished")
    d = Drive()
    d.tell("adopt", pod_id(1), a["state"])
    d.tell("adopt", pod_id(2), b["state"])
    d.tell("gc", pod_id(1), pod_id(2))
    d.settle()
    ok(len(veths()) == 2 and len(elements()) == 4, "gc leaves the living alone", (veths(), elements()))
    for i in range(25):
        sh("ip", "netns", "del", f"p{100 + i}")
    return d


def test_many(d, n=100):
    for i in range(n):
        netns(1000 + i)
    began = time.monotonic()
    for i in range(n):
        d.tell("attach", pod_id(1000 + i), f"pod{1000 + i}", f"/run/netns/p{1000 + i}", f"tcp:{20000 + i}:80")
    up = [d.result() for i in range(n)]
    took = time.monotonic() - began
    ok(all(r["ret"] == 0 for r in up) and len({r["ip"] for r in up}) == n, f"{n} attaches at once in {took * 1000:.0f} ms",
       [r for r in up if r["ret"]][:3])
    ok(len(veths()) == n + 2 and len(elements()) == n + 4, "each with a link and a port")
    began = time.monotonic()
    for r in up:
        d.tell("detach", r["id"], "-", r["state"])
    down = [d.result() for i in range(n)]
    took = time.monotonic() - began
    ok(all(r["ret"] == 0 for r in down), f"{n} detaches at once in {took * 1000:.0f} ms")
    ok(len(elements()) == 4, "their ports are free at once")
    began = time.monotonic()
    ok(len(wait_links(2)) == 2, f"their links are gone {(time.monotonic() - began) * 1000:.0f} ms later")
    times = []
    for i in range(30):
        r = d.attach(1000 + i)
        times.append(r["us"])
        d.detach(1000 + i, r["state"])
    times.sort()
    print(f"# attach alone, without ports: median {times[15]} us, min {times[0]} us")
    times, down = [], []
    for i in range(30):
        r = d.attach(1000 + i, "tcp:20000:80")
        times.append(r["us"])
        down.append(d.detach(1000 + i, r["state"])["us"])
    times.sort()
    down.sort()
    print(f"# attach alone, with a port: median {times[15]} us; detach: median {down[15]} us")


def test_storm(d, seed=1, n=120):
    """Attach, cancel, detach and gc of many pods, not waiting for each other."""
    rand = random.Random(seed)
    live, asked, sent = [], 0, {}
    for i in range(n):
        p = 2000 + i
        d.tell("attach", pod_id(p), f"pod{p}", f"/run/netns/p{1000 + i % 100}x{i // 100}", f"tcp:{21000 + i % 60}:80")
        live.append(p)
        asked += 1
        while live and rand.random() < 0.5:
            p = rand.choice(live)
            what = rand.randrange(4)
            if what == 0:
                d.tell("cancel", pod_id(p))
            elif what == 1:
                d.tell("gc", *[pod_id(x) for x in [1, 2] + live])
            else:
                d.tell("detach", pod_id(p), "-", "-")
                live.remove(p)
                asked += 1
        if rand.random() < 0.3:
            time.sleep(rand.random() * 0.01)
    for p in live:
        d.tell("detach", pod_id(p), "-", "-")
        asked += 1
    got = [d.result() for i in range(asked)]
    codes = {}
    for r in got:
        codes[r["ret"]] = codes.get(r["ret"], 0) + 1
    ok(set(codes) <= {0, -98, -125, -17, -16}, f"{asked} operations in a storm, all answered: {codes}",
       [r for r in got if r["ret"] not in (0, -98, -125, -17)][:3])
    d.tell("gc", pod_id(1), pod_id(2))
    d.settle()
    ok(len(wait_links(2)) == 2 and len(elements()) == 4, "and nothing is left", (veths(), elements()))
    d.tell("ready")
    ok(d.line().strip() == "ready", "no answer too many")


def test_small():
    """A subnet that runs full, and options that are no good."""
    d = Drive({"bridge": "crnt1", "subnets": ["10.214.0.0/29"], "nft_table": "crnt1"})
    got = [d.attach(1000 + i) for i in range(6)]
    ok([r["ret"] for r in got] == [0] * 5 + [-28] and "10.214.0.0/29" in got[5]["text"],
       f"a full subnet: {got[5]['text']}", got)
    d.detach(1002, got[2]["state"])
    end = time.monotonic() + 10
    r = d.attach(1005)
    while r["ret"] == -28 and time.monotonic() < end:
        time.sleep(0.01)
        r = d.attach(1005)
    ok(r["ret"] == 0 and r["ip"] == got[2]["ip"], "and the one that is let go is given, once its link is gone", r)
    d.end()
    sh(BRIDGE, "cleanup", "crnt1", "crnt1")
    d = Drive({"bridge": "crnt1", "subnets": ["10.214.0.0/30", "10.215.0.0/30"], "nft_table": "crnt1"})
    got = [d.attach(1010 + i) for i in range(3)]
    ok([r["ret"] for r in got] == [0, 0, -28], "a second subnet goes on where the first is full", got)
    ok(ping("p1010", got[1]["ip"]), "and both are one network")
    d.end()
    sh(BRIDGE, "cleanup", "crnt1", "crnt1")
    for options, words in (({"bridge": "a/b"}, "option bridge"), ({"subnets": ["10.0.0.1/16"]}, "10.0.0.1/16"),
                           ({"subnets": []}, "option subnets"), ({"brigde": "x"}, 'unknown option "brigde"'),
                           ({"subnets": ["10.0.0.0/16", "10.0.1.0/24"]}, "overlaps")):
        d = Drive(options)
        d.attach(1)
        d.tell("ready")
        text = d.line()
        ok(text.startswith("unready network bridge:") and words in text, f"options {json.dumps(options)}: {text}")
        d.end()
    d = Drive({}, plugin="none")
    netns(50)
    r = d.attach(50)
    ok(r["ret"] == 0 and ping("p50", "127.0.0.1"), "none: the loopback is up", r)
    r = d.attach(50, "tcp:1:1")
    ok(r["ret"] == -38 and "host ports need a network" in r["text"], f"none: {r['text']}", r)
    d.end()


def main():
    set_up_node()
    d = Drive()
    d.tell("gc")
    d.settle()
    d.tell("ready")
    ok(d.line().strip() == "ready", "ready")
    before = rules()
    a, b = test_pods(d)
    test_conflicts(d, a)
    test_stale_udp(d, a)
    d = test_recovery(d, a, b)
    test_firewall(d, a, b)
    test_gone(d)
    d.end()
    d = test_killed_worker(a, b)
    test_many(d)
    for i in range(120):
        sh("ip", "netns", "add", f"p{1000 + i % 100}x{i // 100}")
    test_storm(d)
    for n, r in ((1, a), (2, b)):
        d.detach(n, r["state"])
    ok(wait_links(0) == [] and rules() == before, "all pods gone: the table is as it was before the first", rules())
    d.end()
    test_small()
    sh(BRIDGE, "cleanup", "crnt0", "crnt")
    left = sh("nft", "list", "ruleset")
    ok("crnt" not in left and "198.51.100.1" in left, "cleanup leaves no table, and no rule in others'", left)
    ok("crnt" not in sh("ip", "-o", "link"), "and no bridge")
    sh(BRIDGE, "cleanup", "crnt0", "crnt")
    ok(True, "cleanup of nothing is fine")


try:
    main()
finally:
    for p in running:
        p.kill()
    if tap.failed:
        print("# " + open(f"{tmp}/log").read().replace("\n", "\n# "))
    subprocess.run(["rm", "-rf", tmp])
done()

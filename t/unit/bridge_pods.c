/* What the bridge plugin decides in memory: addresses, host ports, what it keeps of a pod. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "netplug/bridge/pods.h"
#include "t/tap.h"

static struct crisp_net_port port(uint32_t protocol, const char *ip, uint16_t host, uint16_t pod)
{
	return (struct crisp_net_port){ .size = sizeof(struct crisp_net_port), .protocol = protocol,
					.host_ip = ip, .host_port = host, .container_port = pod };
}

static int attach(struct pods *ps, unsigned n, const char *name, const struct crisp_net_port *ports,
		  uint32_t n_ports, struct pod **out, char msg[200])
{
	char id[65];
	snprintf(id, sizeof(id), "%064x", n);
	memmove(id, id + 54, 10);	/* what differs comes first */
	memset(id + 10, 'a', 54);
	struct crisp_net_attach_args a = { .size = sizeof(a), .pod_id = id, .name = name, .ns = "ns",
					   .ports = ports, .n_ports = n_ports };
	msg[0] = 0;
	return pods_new(ps, &a, out, msg, 200);
}

static void test_ipam(void)
{
	struct ipam m = { 0 };
	const char *why;
	static const char *const bad[] = { "", "10.0.0.0", "10.0.0.0/", "10.0.0.0/31", "10.0.0.0/8", "10.0.0.1/24",
					   "10.0.0.0/24x", "10.0.0.0/-1", "300.0.0.0/24", "::/64", "10.0.0/24" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ok(ipam_add(&m, bad[i], &why) == -EINVAL && why, "no subnet: \"%s\"", bad[i]);
	ok(ipam_add(&m, "10.1.0.0/29", &why) == 0, "a subnet of 8");
	ok(strcmp(m.subnets[0].gateway, "10.1.0.1") == 0, "gateway %s", m.subnets[0].gateway);
	ok(ipam_add(&m, "10.1.0.0/28", &why) == -EINVAL && strstr(why, "overlaps"), "overlap above");
	ok(ipam_add(&m, "10.1.0.4/30", &why) == -EINVAL && strstr(why, "overlaps"), "overlap below");

	uint32_t base = 0x0a010000, got[5];
	for (int i = 0; i < 5; i++)
		got[i] = ipam_take(&m);
	ok(got[0] == base + 2 && got[4] == base + 6, "five addresses, neither network, gateway nor broadcast");
	ok(ipam_take(&m) == 0, "then it is full");
	ipam_release(&m, got[1]);
	ipam_release(&m, got[3]);
	ok(ipam_take(&m) == got[1] && ipam_take(&m) == got[3], "what is let go is given again");
	ipam_release(&m, got[3]);
	ipam_release(&m, got[0]);
	ok(ipam_take(&m) == got[0], "but the one let go longest ago first: the round goes on");
	ok(!ipam_claim(&m, got[0]), "a taken address can't be claimed");
	ok(ipam_claim(&m, got[3]), "a free one can");
	ok(!ipam_claim(&m, base + 8) && !ipam_claim(&m, base - 1), "one outside can't");
	ok(ipam_add(&m, "10.2.0.0/30", &why) == 0 && ipam_take(&m) == 0x0a020002, "the next subnet has room");
	ok(ipam_take(&m) == 0, "all full");
	ipam_free(&m);
}

static void test_ports(void)
{
	struct pods ps = { 0 };
	const char *why;
	char msg[200];
	struct pod *p, *q;
	ipam_add(&ps.ipam, "10.1.0.0/24", &why);
	struct crisp_net_port a[] = { port(CRISP_NET_TCP, NULL, 80, 8080), port(CRISP_NET_UDP, "10.0.0.1", 53, 53) };
	ok(attach(&ps, 1, "one", a, 2, &p, msg) == 0, "a pod with two ports");
	static const struct { uint32_t protocol; const char *ip; uint16_t host; int ret; const char *words; } tries[] = {
		{ CRISP_NET_TCP, NULL, 80, -EADDRINUSE, "80/tcp is taken by pod ns/one" },
		{ CRISP_NET_TCP, "", 80, -EADDRINUSE, "80/tcp" },
		{ CRISP_NET_TCP, "0.0.0.0", 80, -EADDRINUSE, "80/tcp" },
		{ CRISP_NET_TCP, "::", 80, -EADDRINUSE, "80/tcp" },
		{ CRISP_NET_TCP, "127.0.0.1", 80, -EADDRINUSE, "127.0.0.1:80/tcp" },
		{ CRISP_NET_UDP, NULL, 53, -EADDRINUSE, "53/udp" },
		{ CRISP_NET_UDP, "10.0.0.1", 53, -EADDRINUSE, "10.0.0.1:53/udp" },
		{ CRISP_NET_UDP, "10.0.0.2", 53, 0, "" },
		{ CRISP_NET_UDP, NULL, 80, 0, "" },
		{ CRISP_NET_SCTP, NULL, 80, 0, "" },
		{ CRISP_NET_TCP, "fe80::1", 81, -EINVAL, "fe80::1" },
		{ CRISP_NET_TCP, "10.0.0.1; drop", 81, -EINVAL, "10.0.0.1; drop" },
		{ 3, NULL, 81, -EINVAL, "protocol 3" },
	};
	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		struct crisp_net_port t = port(tries[i].protocol, tries[i].ip, tries[i].host, 1);
		int ret = attach(&ps, 2, "two", &t, 1, &q, msg);
		ok(ret == tries[i].ret && strstr(msg, tries[i].words), "port %u %s %u: %d %s", tries[i].protocol,
		   tries[i].ip ? tries[i].ip : "-", tries[i].host, ret, msg);
		if (ret == 0)
			pods_forget(&ps, q);
	}
	struct crisp_net_port twice[] = { port(0, NULL, 90, 1), port(0, "10.0.0.1", 90, 2) };
	ok(attach(&ps, 2, "two", twice, 2, &q, msg) == -EINVAL && strstr(msg, "mapped twice"), "%s", msg);
	ok(attach(&ps, 1, "one", NULL, 0, &q, msg) == -EEXIST, "the same pod: %s", msg);
	p->state = POD_STATE_LEAVING;
	pod_drop_ports(p);
	ok(attach(&ps, 1, "one", a, 2, &q, msg) == 0 && q != p && q->ip != p->ip, "attached anew while it leaves");
	ok(pod_has_predecessor(q) && !pod_has_predecessor(p) && pods_find(&ps, q->id) == q, "the new one is the one meant");
	ok(ps.n == 2, "nothing else has stayed");
	pods_free(&ps);
}

static void test_state(void)
{
	struct pods ps = { 0 }, other = { 0 };
	const char *why;
	char msg[200];
	struct pod *p, *q;
	ipam_add(&ps.ipam, "10.1.0.0/24", &why);
	ipam_add(&other.ipam, "10.1.0.0/24", &why);
	struct crisp_net_port a[] = { port(CRISP_NET_SCTP, "10.0.0.1", 80, 8080), port(CRISP_NET_UDP, NULL, 53, 54) };
	attach(&ps, 7, "a \"b\"", a, 2, &p, msg);
	char *state = pod_state_text(p);
	ok(pods_recall(&other, p->id, state, &q) == 0, "recalled from %s", state);
	ok(q->ip == p->ip && q->holds_ip && q->serial == 1 && strcmp(q->label, p->label) == 0 && q->n_ports == 2 &&
	   memcmp(q->ports, p->ports, 2 * sizeof(*q->ports)) == 0, "as it was");
	ok(strcmp(q->veth, p->veth) == 0 && strlen(q->veth) == 15, "with the same link, %s", q->veth);
	ok(pods_recall(&other, p->id, state, &p) == 0 && p == q && other.n == 1, "twice is once");
	struct pod *next;
	attach(&other, 8, "next", NULL, 0, &next, msg);
	ok(next->ip == q->ip + 1 && next->serial == 2, "the round goes on after it");

	for (size_t cut = 1; cut < strlen(state); cut++) {
		char *part = strndup(state, cut);
		struct pods none = { 0 };
		if (pods_recall(&none, q->id, part, &p) != -EINVAL || none.n)
			ok(false, "a cut state is refused: %s", part);
		free(part);
	}
	free(state);
	static const char *const bad[] = { "null", "[]", "{}", "{\"ip\":5}", "{\"ip\":\"x\"}",
		"{\"ip\":\"10.1.0.9\",\"ports\":[5]}", "{\"ip\":\"10.1.0.9\",\"ports\":[[\"tcp\",null,80]]}",
		"{\"ip\":\"10.1.0.9\",\"ports\":[[\"icmp\",null,80,80]]}",
		"{\"ip\":\"10.1.0.9\",\"ports\":[[\"tcp\",\"drop\",80,80]]}" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ok(pods_recall(&ps, "ffffffffffffff", bad[i], &p) == -EINVAL, "a bad state is refused: %s", bad[i]);
	ok(pods_recall(&ps, "../../etc", NULL, &p) == -EINVAL && pods_recall(&ps, "abc", "", &p) == -EINVAL, "so is a bad id");
	ok(pods_recall(&ps, "ffffffffffffff", NULL, &p) == 0 && !p->ip && !p->n_ports, "an id alone will do");
	pods_free(&ps);
	pods_free(&other);
}

int main(void)
{
	test_ipam();
	test_ports();
	test_state();
	return done();
}

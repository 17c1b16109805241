/*
 * crisp-bridge: what the bridge plugin asks the kernel for, one request a process.
 *
 *	crisp-bridge			a request as JSON on stdin, the answer as JSON on stdout; the
 *					pod's network namespace, if any, is file descriptor 3
 *	crisp-bridge cleanup BRIDGE TABLE	remove all that this bridge has on the node
 *
 *	{"op": "attach"|"release"|"sweep"|"gc", "bridge", "table", "subnets": ["10.88.0.0/16"],
 *	 "gateways": ["10.88.0.1/16"], "ports": [PORT...],
 *	 attach:	"ensure": bool, "veth", "addrs": ["10.88.0.5/16"], "gateway": "10.88.0.1"
 *	 release:	take the ports from the pod
 *	 sweep:		"dead": [veth...], remove them
 *	 gc:		"live": {veth: true...}; ports are those of all pods }
 *	PORT: ["tcp", "10.1.1.1" or null, host port, "10.88.0.5", pod port]
 *	-> {"made": bool} or {"errno": N, "msg"}
 *
 * made: the table was missing, and holds this pod's ports alone now.
 *
 * Every operation may be killed at any point and repeated.  The process gives up all rights but to
 * administer networks and to enter a namespace.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cap-ng.h>

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/pool.h"
#include "netplug/bridge/work/flows.h"
#include "netplug/bridge/work/link.h"
#include "netplug/bridge/work/ports.h"
#include "netplug/bridge/work/rules.h"

enum { POD_NETNS = 3, REQUEST_MAX = 8 << 20, ADDRS_MAX = 4, SUBNETS_MAX = 16 };

struct work {
	struct pool *pool;
	const struct json *request;
	struct link_sock *links;	/* of the node */
	struct rules *rules;		/* NULL until needed: half of the cost of a start */
	struct rules_net net;
	struct link_addr gateways[SUBNETS_MAX], addrs[ADDRS_MAX];
	size_t n_addrs;
	struct in_addr gateway;
	struct port *ports;
	size_t n_ports;
	const char *veth;
	bool made;
};

/* -- reading the request -- */

static int read_strings(struct work *w, const char *name, const char *const **out, size_t *n, size_t max,
			struct err *e)
{
	const struct json *j = json_get(w->request, name);
	*n = json_len(j);
	if (*n > max)
		return err_set(e, EINVAL, "%s: %zu are too many", name, *n);
	const char **to = pool_alloc(w->pool, (*n + 1) * sizeof(*to));
	for (size_t i = 0; i < *n; i++)
		if (!(to[i] = json_str(json_at(j, i))))
			return err_set(e, EINVAL, "%s: not a string", name);
	*out = to;
	return 0;
}

static int read_addrs(struct work *w, const char *name, struct link_addr *out, size_t max, size_t *n,
		      struct err *e)
{
	const char *const *texts;
	int ret = read_strings(w, name, &texts, n, max, e);
	for (size_t i = 0; i < *n && ret == 0; i++)
		ret = link_addr_parse(texts[i], &out[i], e);
	return ret;
}

static int read_ports(struct work *w, struct err *e)
{
	const struct json *j = json_get(w->request, "ports");
	w->n_ports = json_len(j);
	w->ports = pool_alloc(w->pool, (w->n_ports + 1) * sizeof(*w->ports));
	for (size_t i = 0; i < w->n_ports; i++) {
		const struct json *p = json_at(j, i);
		struct in_addr a;
		struct port *to = &w->ports[i];
		to->proto = json_str(json_at(p, 0));
		to->host_ip = json_str(json_at(p, 1));
		to->host_port = (unsigned)json_int(json_at(p, 2), 0) & 0xffff;
		to->to_ip = json_str(json_at(p, 3));
		to->to_port = (unsigned)json_int(json_at(p, 4), 0) & 0xffff;
		/* This becomes text of a command: let nothing else through. */
		if (!to->proto || strspn(to->proto, "cdpstu") != strlen(to->proto) || !to->host_port ||
		    !to->to_port || (to->host_ip && inet_pton(AF_INET, to->host_ip, &a) != 1) ||
		    !to->to_ip || inet_pton(AF_INET, to->to_ip, &a) != 1)
			return err_set(e, EINVAL, "ports: item %zu is bad", i);
	}
	return 0;
}

static int check_name(const char *what, const char *s, size_t max, struct err *e)
{
	size_t n = s ? strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") : 0;
	if (!n || s[n] || n > max || s[0] == '-')
		return err_set(e, EINVAL, "%s: \"%.40s\" is no good name", what, s ? s : "");
	return 0;
}

static int read_request(struct work *w, struct err *e)
{
	struct buf text = { 0 };
	ssize_t got;
	while (text.len <= REQUEST_MAX && (got = read(0, buf_room(&text, 4096), 4096)) > 0)
		text.len += (size_t)got;
	int ret = text.len > REQUEST_MAX ? err_set(e, EFBIG, "too long") :
		  json_parse(w->pool, text.data, text.len, &w->request, e);
	buf_free(&text);
	if (ret < 0)
		return err_wrap(e, ret, "read the request");
	w->net.bridge = json_str(json_get(w->request, "bridge"));
	w->net.table = json_str(json_get(w->request, "table"));
	w->veth = json_str(json_get(w->request, "veth"));
	size_t n_gateways;
	ret = check_name("bridge", w->net.bridge, 15, e);
	if (ret == 0)
		ret = check_name("table", w->net.table, 31, e);
	if (ret == 0)
		ret = read_strings(w, "subnets", &w->net.subnets, &w->net.n_subnets, SUBNETS_MAX, e);
	if (ret == 0)
		ret = read_addrs(w, "gateways", w->gateways, SUBNETS_MAX, &n_gateways, e);
	if (ret == 0)
		ret = read_addrs(w, "addrs", w->addrs, ADDRS_MAX, &w->n_addrs, e);
	if (ret == 0)
		ret = read_ports(w, e);
	if (ret == 0 && n_gateways != w->net.n_subnets)
		ret = err_set(e, EINVAL, "subnets and gateways differ in number");
	struct link_addr unused;
	for (size_t i = 0; i < w->net.n_subnets && ret == 0; i++)
		ret = link_addr_parse(w->net.subnets[i], &unused, e);
	return ret;
}

/* -- the node -- */

static int need_rules(struct work *w, struct err *e)
{
	if (!w->rules)
		w->rules = rules_new(w->pool, e);
	return w->rules ? 0 : -e->code;
}

/* A read-only /proc/sys is fine as long as it says what it should. */
static int set_sysctl(const char *path, struct err *e)
{
	struct buf now = { 0 };
	int ret = file_read(AT_FDCWD, path, 16, &now, e);
	bool set = ret == 0 && now.len && now.data[0] == '1';
	buf_free(&now);
	return ret < 0 || set ? ret : file_poke(AT_FDCWD, path, "1", e);
}

static int ensure_node(struct work *w, struct err *e)
{
	int ret = link_ensure_bridge(w->links, w->net.bridge, w->gateways, w->net.n_subnets, e);
	if (ret == 0)
		ret = set_sysctl("/proc/sys/net/ipv4/ip_forward", e);
	if (ret == 0)
		ret = set_sysctl(pool_printf(w->pool, "/proc/sys/net/ipv4/conf/%s/route_localnet",
					     w->net.bridge), e);
	return ret;
}

/* Somebody may have flushed all tables since the last pod. */
static int ensure_table(struct work *w, struct err *e)
{
	bool present = false;
	int ret = rules_present(w->pool, w->net.table, &present, e);
	if (ret < 0 || present)
		return ret;
	ret = need_rules(w, e);
	if (ret == 0)
		ret = rules_ensure(w->rules, &w->net, &w->made, e);
	return ret < 0 ? ret : rules_pass_firewall(w->rules, w->net.bridge, e);
}

/* -- attach -- */

static int set_up_inside(struct work *w, struct err *e)
{
	struct link_sock *s = link_sock_new(w->pool, e);
	return s ? link_set_up_pod(s, w->addrs, w->n_addrs, w->gateway, e) : -e->code;
}

static int set_up_pod(struct work *w, struct err *e)
{
	auto_close int node = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (node < 0 || setns(POD_NETNS, CLONE_NEWNET) < 0)
		return err_sys(e, "enter the pod's network namespace");
	int ret = set_up_inside(w, e);
	if (setns(node, CLONE_NEWNET) < 0)
		return err_sys(e, "leave the pod's network namespace");
	return ret;
}

static int add_ports(struct work *w, struct err *e)
{
	if (!w->n_ports)
		return 0;
	int ret = ports_add(w->pool, w->net.table, w->ports, w->n_ports, e);
	/* A peer that has sent all the while has a flow that leads nowhere. */
	return ret == 0 ? flows_forget(w->pool, w->ports, w->n_ports, FLOWS_TO_PORTS, e) : ret;
}

/* Two things may be wrong: the bridge was taken away behind our back, or the pod's link is there
 * from an attach that was killed. */
static int add_pod(struct work *w, struct err *e)
{
	int ret = link_add_pod(w->links, w->veth, w->net.bridge, POD_NETNS, w->addrs[0].ip, e);
	if (ret != -ENODEV && ret != -EEXIST)
		return ret;
	err_clear(e);
	ret = ret == -ENODEV ? ensure_node(w, e) : link_remove(w->links, &w->veth, 1, e);
	return ret < 0 ? ret : link_add_pod(w->links, w->veth, w->net.bridge, POD_NETNS, w->addrs[0].ip, e);
}

/* Once the link is gone or nobody is behind it: the flows would come back else. */
static int release_ports(struct work *w, struct err *e)
{
	if (!w->n_ports)
		return 0;
	int ret = ports_remove(w->pool, w->net.table, w->ports, w->n_ports, e);
	return ret == 0 ? flows_forget(w->pool, w->ports, w->n_ports, FLOWS_TO_PODS, e) : ret;
}

static int attach(struct work *w, struct err *e)
{
	const char *gateway = json_str(json_get(w->request, "gateway"));
	if (!w->n_addrs || !w->net.n_subnets || !gateway || inet_pton(AF_INET, gateway, &w->gateway) != 1)
		return err_set(e, EINVAL, "addrs, gateway and subnets are needed");
	int ret = json_bool(json_get(w->request, "ensure"), true) ? ensure_node(w, e) : 0;
	if (ret == 0)
		ret = ensure_table(w, e);
	if (ret < 0)
		return ret;
	ret = add_pod(w, e);
	if (ret == 0)
		ret = set_up_pod(w, e);
	if (ret == 0)
		ret = add_ports(w, e);
	if (ret < 0) {
		struct err ignored = { 0 };
		link_remove(w->links, &w->veth, 1, &ignored);
		release_ports(w, &ignored);
	}
	return ret;
}

/* -- sweep and gc -- */

struct dead {
	struct pool *pool;
	const struct json *live;
	const char **names;
	size_t n, cap;
};

/* Our names alone: others may have put a port of theirs into the bridge. */
static bool is_ours(const char *name)
{
	return strncmp(name, "veth", 4) == 0 && strlen(name) == 15 &&
	       strspn(name + 4, "0123456789abcdef") == 11;
}

static void handle_port(void *data, const char *name)
{
	struct dead *d = data;
	if (!is_ours(name) || json_get(d->live, name))
		return;
	if (d->n == d->cap) {
		const char **more = pool_alloc(d->pool, (d->cap * 2 + 16) * sizeof(*more));
		if (d->n)
			memcpy(more, d->names, d->n * sizeof(*more));
		d->names = more;
		d->cap = d->cap * 2 + 16;
	}
	d->names[d->n++] = pool_strdup(d->pool, name);
}

static int remove_dead(struct work *w, const struct json *live, struct err *e)
{
	struct dead d = { .pool = w->pool, .live = live };
	int ret = link_each_port(w->links, w->net.bridge, handle_port, &d, e);
	return ret < 0 ? ret : link_remove(w->links, d.names, d.n, e);
}

static int sweep(struct work *w, struct err *e)
{
	const char *const *names;
	size_t n;
	int ret = read_strings(w, "dead", &names, &n, REQUEST_MAX, e);
	for (size_t i = 0; i < n && ret == 0; i++)
		if (!is_ours(names[i]))
			ret = err_set(e, EINVAL, "dead: \"%.20s\" is no link of ours", names[i]);
	return ret < 0 ? ret : link_remove(w->links, names, n, e);
}

static int gc(struct work *w, struct err *e)
{
	if (!w->net.n_subnets)
		return err_set(e, EINVAL, "subnets are needed");
	int ret = ensure_node(w, e);
	if (ret == 0)
		ret = remove_dead(w, json_get(w->request, "live"), e);
	if (ret == 0)
		ret = need_rules(w, e);
	if (ret == 0)
		ret = rules_rebuild(w->rules, &w->net, w->ports, w->n_ports, e);
	return ret < 0 ? ret : rules_pass_firewall(w->rules, w->net.bridge, e);
}

static int cleanup(struct work *w, struct err *e)
{
	int ret = check_name("bridge", w->net.bridge, 15, e);
	if (ret == 0)
		ret = check_name("table", w->net.table, 31, e);
	if (ret == 0)
		ret = remove_dead(w, NULL, e);
	if (ret == 0)
		ret = link_remove(w->links, &w->net.bridge, 1, e);
	if (ret == 0)
		ret = need_rules(w, e);
	return ret < 0 ? ret : rules_drop(w->rules, w->net.table, w->net.bridge, e);
}

/* -- */

static int confine(struct err *e)
{
	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_updatev(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_NET_ADMIN, CAP_SYS_ADMIN, -1) < 0 ||
	    capng_apply(CAPNG_SELECT_CAPS) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(e, EPERM, "give up capabilities");
	return 0;
}

static int serve(struct work *w, struct err *e)
{
	static const struct { const char *op; int (*run)(struct work *w, struct err *e); bool veth; } ops[] = {
		{ "attach", attach, true }, { "release", release_ports, false }, { "sweep", sweep, false },
		{ "gc", gc, false },
	};
	int ret = read_request(w, e);
	if (ret < 0)
		return ret;
	const char *op = json_str(json_get(w->request, "op"));
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		if (!op || strcmp(op, ops[i].op) != 0)
			continue;
		if (ops[i].veth && (!w->veth || !is_ours(w->veth)))
			return err_set(e, EINVAL, "veth is missing or bad");
		return ops[i].run(w, e);
	}
	return err_set(e, EINVAL, "unknown op \"%.20s\"", op ? op : "");
}

static void answer(struct work *w, int ret, const struct err *e)
{
	struct json_out *o = json_out(w->pool);
	json_object(o);
	if (ret < 0) {
		json_member_int(o, "errno", -ret);
		json_member_str(o, "msg", err_text(e));
	} else {
		json_member_bool(o, "made", w->made);
	}
	json_end_object(o);
	size_t len;
	const char *text = json_text(o, &len);
	file_write_all(1, text, len);
}

int main(int argc, char **argv)
{
	struct err e = { 0 };
	struct work w = { .pool = pool_new(NULL, "work") };
	bool by_hand = argc == 4 && strcmp(argv[1], "cleanup") == 0;
	if (argc != 1 && !by_hand) {
		fprintf(stderr, "usage: crisp-bridge [cleanup BRIDGE TABLE]\n");
		return 2;
	}
	int ret = confine(&e);
	if (ret == 0 && !(w.links = link_sock_new(w.pool, &e)))
		ret = -e.code;
	if (by_hand) {
		w.net = (struct rules_net){ .bridge = argv[2], .table = argv[3] };
		ret = ret < 0 ? ret : cleanup(&w, &e);
		if (ret < 0)
			fprintf(stderr, "crisp-bridge: %s\n", err_text(&e));
	} else {
		ret = ret < 0 ? ret : serve(&w, &e);
		answer(&w, ret, &e);
	}
	pool_destroy(w.pool);
	return by_hand && ret < 0;
}

/*
 * Network plugins as the model calls them, see the header.
 *
 *	        file loaded, open() took the options
 *	LOADING ------------------------------------> OPEN
 *	   \----------------------------------------> FAILED
 *
 * A call made while LOADING is queued; so is an adopt.  A call's life:
 *
 *	QUEUED --> GIVEN --> ENDED          done() came, or the plugin refused
 *	             |
 *	             +--> GIVING_UP --> ENDED   deadline or cancel: the plugin has 5 s to say how
 *	                                        it ended, then we answer in its place
 *
 * ENDED calls tell their caller at the end of the pass: never from inside.
 */
#include "core/plug/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/list.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/base/utf8.h"
#include "core/loop/loop.h"
#include "core/plug/module.h"
#include "core/plug/nethost.h"
#include "netplug/netplug.h"

enum { TIMEOUT_MS = 60000, GRACE_MS = 5000, MSG_MAX = 300 };

enum net_state { NET_STATE_LOADING, NET_STATE_OPEN, NET_STATE_FAILED };

struct net_plug {
	struct pool_res res;
	struct loop *loop;
	struct pool *pool;
	struct pool *calls;		/* their parent */
	struct nethost *host;
	const char *name, *options;
	enum net_state state;
	const struct crisp_net_ops *ops;
	struct crisp_net *inst;
	struct err why;			/* when not OPEN */
	char reason[MSG_MAX];
	struct list queue, adopts;	/* while LOADING */
	struct loop_defer settled;
	void (*settled_cb)(void *data);
	void *settled_data;
};

struct adopt {
	struct list link;
	const char *pod_id, *state;
};

enum call_op { CALL_OP_ATTACH, CALL_OP_DETACH, CALL_OP_GC };
static const char *const op_names[] = {
	[CALL_OP_ATTACH] = "attach", [CALL_OP_DETACH] = "detach", [CALL_OP_GC] = "gc",
};

enum call_state { CALL_STATE_QUEUED, CALL_STATE_GIVEN, CALL_STATE_GIVING_UP, CALL_STATE_ENDED };

/* To the plugin this is a struct crisp_net_req. */
struct net_call {
	struct pool_res res;
	struct list link;		/* QUEUED: in the plug's queue; with the plugin: in `given` */
	struct net_plug *net;
	struct pool *pool;
	enum call_op op;
	enum call_state state;
	union {
		struct crisp_net_attach_args attach;
		struct crisp_net_pod_args pod;
		struct crisp_net_gc_args gc;
	} args;
	uint64_t timeout_ms;
	struct loop_timer deadline;
	struct loop_defer tell;
	int give_up;			/* GIVING_UP: -ETIMEDOUT or -ECANCELED */
	int ret;
	struct err err;
	struct net_result result;
	net_cb *cb;
	void *data;
};

/* All requests that some plugin holds.  done() comes with nothing but the request, and a plugin
 * may err: what isn't listed here is not followed. */
static struct list given = LIST_INIT(given);

/* -- the end of a call -- */

static void handle_tell(struct loop_defer *d)
{
	struct net_call *c = d->data;
	c->cb(c->data, c->ret, c->ret ? NULL : &c->result, &c->err);
	pool_destroy(c->pool);
}

static void release_call(struct pool_res *r)
{
	struct net_call *c = container_of(r, struct net_call, res);
	list_del(&c->link);
	loop_defer_cancel(&c->tell);
}

/* ret < 0: the words are in c->err. */
static void call_end(struct net_call *c, int ret)
{
	c->state = CALL_STATE_ENDED;
	c->ret = err_wrap(&c->err, ret, "network %s: %s", c->net->name, op_names[c->op]);
	list_del(&c->link);
	loop_timer_stop(&c->deadline);
	loop_defer(c->net->loop, &c->tell, handle_tell, c);
}

/* What a plugin says may be anything: one line of UTF-8, not too long. */
static void call_fail(struct net_call *c, int code, const char *msg)
{
	char line[MSG_MAX];
	snprintf(line, sizeof(line), "%s", msg && msg[0] ? msg : strerror(code));
	for (char *p = line; *p; p++)
		if ((unsigned char)*p < ' ')
			*p = ' ';
	call_end(c, err_set(&c->err, code, "%s", utf8_clean(c->pool, line, strlen(line))));
}

static int take_addr(struct net_call *c, const struct crisp_net_addr *a, const char **out)
{
	const char *cidr = CRISP_NET_HAS(a, cidr) && a->cidr ? a->cidr : "";
	char *ip = pool_strndup(c->pool, cidr, strcspn(cidr, "/"));
	unsigned char bytes[16];
	if (inet_pton(strchr(ip, ':') ? AF_INET6 : AF_INET, ip, bytes) != 1)
		return err_set(&c->err, EPROTO, "the plugin returned a bad address, %.60s",
			       utf8_clean(c->pool, cidr, strlen(cidr)));
	*out = ip;
	return 0;
}

/* Copy what an attach has got.  addrs is walked by the writer's size of an element. */
static int take_result(struct net_call *c, const struct crisp_net_result *r)
{
	if (c->op != CALL_OP_ATTACH)
		return 0;
	uint32_t n = CRISP_NET_HAS(r, n_addrs) && r->addrs ? r->n_addrs : 0;
	if (n > CRISP_NET_ADDRS_MAX)
		return err_set(&c->err, EPROTO, "the plugin returned %u addresses, %u are allowed", n,
			       CRISP_NET_ADDRS_MAX);
	c->result.ips = pool_alloc(c->pool, (n + 1) * sizeof(*c->result.ips));
	const char *at = (const char *)r->addrs;
	for (uint32_t i = 0; i < n; i++) {
		const struct crisp_net_addr *a = (const void *)at;
		int ret = take_addr(c, a, &c->result.ips[i]);
		if (ret < 0)
			return ret;
		at += a->size;
	}
	c->result.n_ips = n;
	const char *state = CRISP_NET_HAS(r, state) ? r->state : NULL;
	if (state && strnlen(state, CRISP_NET_STATE_MAX + 1) > CRISP_NET_STATE_MAX)
		return err_set(&c->err, EPROTO, "the plugin returned a state of more than %u bytes",
			       CRISP_NET_STATE_MAX);
	c->result.state = pool_strdup(c->pool, state);
	return 0;
}

static struct net_call *given_find(const void *req)
{
	struct net_call *c;
	list_for_each(c, &given, link)
		if (c == req)
			return c;
	return NULL;
}

static void handle_done(struct crisp_net_req *req, const struct crisp_net_result *r)
{
	struct net_call *c = given_find(req);
	if (!c) {
		log_warn("a network plugin has answered a request that isn't open");
		return;
	}
	if (r->err == 0) {
		call_end(c, take_result(c, r));
		return;
	}
	const char *msg = CRISP_NET_HAS(r, msg) ? r->msg : NULL;
	if (c->give_up == -ETIMEDOUT)
		msg = pool_printf(c->pool, "no answer in %llu ms%s%s", (unsigned long long)c->timeout_ms,
				  msg && msg[0] ? ": " : "", msg ? msg : "");
	call_fail(c, c->give_up ? -c->give_up : r->err < 0 ? -r->err : EIO, msg);
}

/* -- giving up -- */

static void handle_grace(struct loop_timer *t)
{
	struct net_call *c = t->data;
	log_warn("a network plugin doesn't give up a request", "network", c->net->name, "op",
		 op_names[c->op]);
	call_fail(c, -c->give_up, c->give_up == -ETIMEDOUT ? "no answer in time" : "cancelled");
}

static void give_up(struct net_call *c, int why)
{
	c->give_up = why;
	if (c->state == CALL_STATE_QUEUED) {
		call_fail(c, -why, "the plugin is still being loaded");
		return;
	}
	c->state = CALL_STATE_GIVING_UP;
	loop_timer_stop(&c->deadline);
	loop_timer_start(&c->deadline, c->net->loop, c->pool, GRACE_MS, 0, handle_grace, c);
	if (CRISP_NET_CAN(c->net->ops, cancel))
		c->net->ops->cancel(c->net->inst, (struct crisp_net_req *)c);
}

static void handle_deadline(struct loop_timer *t)
{
	give_up(t->data, -ETIMEDOUT);
}

void net_call_cancel(struct net_call *c)
{
	if (c->state == CALL_STATE_QUEUED || c->state == CALL_STATE_GIVEN)
		give_up(c, -ECANCELED);
}

/* -- giving a call to the plugin -- */

static int open_netns(struct net_call *c, const char *path)
{
	if (!path || !path[0])
		return -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : pool_fd(c->pool, fd)->fd;
}

static int give_attach(struct net_call *c)
{
	struct crisp_net_attach_args *a = &c->args.attach;
	if (!CRISP_NET_CAN(c->net->ops, attach))
		return err_set(&c->err, ENOSYS, "the plugin has no such operation");
	a->netns_fd = open_netns(c, a->netns_path);
	if (a->netns_fd < 0)
		return err_set(&c->err, -a->netns_fd, "open network namespace %s: %s",
			       a->netns_path ? a->netns_path : "", strerror(-a->netns_fd));
	return c->net->ops->attach(c->net->inst, (struct crisp_net_req *)c, a);
}

static int give_detach(struct net_call *c)
{
	struct crisp_net_pod_args *a = &c->args.pod;
	if (!CRISP_NET_CAN(c->net->ops, detach))
		return err_set(&c->err, ENOSYS, "the plugin has no such operation");
	a->netns_fd = open_netns(c, a->netns_path);	/* gone is fine */
	return c->net->ops->detach(c->net->inst, (struct crisp_net_req *)c, a);
}

static int give_gc(struct net_call *c)
{
	return c->net->ops->gc(c->net->inst, (struct crisp_net_req *)c, &c->args.gc);
}

static void call_give(struct net_call *c)
{
	static int (*const give[])(struct net_call *c) = {
		[CALL_OP_ATTACH] = give_attach, [CALL_OP_DETACH] = give_detach, [CALL_OP_GC] = give_gc,
	};
	if (c->op == CALL_OP_GC && !CRISP_NET_CAN(c->net->ops, gc)) {
		call_end(c, 0);
		return;
	}
	c->state = CALL_STATE_GIVEN;
	list_del(&c->link);
	list_append(&given, &c->link);
	int ret = give[c->op](c);
	if (c->state != CALL_STATE_GIVEN || ret >= 0)
		return;		/* accepted; perhaps done already */
	if (c->err.code)
		call_end(c, ret);
	else
		call_fail(c, -ret, "the plugin refused the request");
}

/* A network that never worked in this process has made nothing: without a state there is nothing
 * to undo. */
static void call_without_plugin(struct net_call *c)
{
	if (c->op == CALL_OP_GC || (c->op == CALL_OP_DETACH && !c->args.pod.state))
		call_end(c, 0);
	else
		call_end(c, err_set(&c->err, EHOSTDOWN, "%s", err_text(&c->net->why)));
}

static struct net_call *call_new(struct net_plug *n, enum call_op op, uint64_t timeout_ms, net_cb *cb,
				 void *data)
{
	struct pool *pool = pool_new(n->calls, "net call");
	struct net_call *c = pool_new_struct(pool, struct net_call);
	c->net = n;
	c->pool = pool;
	c->op = op;
	c->timeout_ms = timeout_ms ? timeout_ms : TIMEOUT_MS;
	c->cb = cb;
	c->data = data;
	list_init(&c->link);
	pool_res_add(pool, &c->res, release_call);
	loop_timer_start(&c->deadline, n->loop, pool, c->timeout_ms, 0, handle_deadline, c);
	return c;
}

static int64_t call_deadline_ns(const struct net_call *c)
{
	return clock_mono_ns() + (int64_t)c->timeout_ms * 1000000;
}

static struct net_call *call_start(struct net_call *c)
{
	switch (c->net->state) {
	case NET_STATE_LOADING:
		list_append(&c->net->queue, &c->link);
		break;
	case NET_STATE_OPEN:
		call_give(c);
		break;
	case NET_STATE_FAILED:
		call_without_plugin(c);
		break;
	}
	return c;
}

/* -- what the model calls -- */

struct net_call *net_plug_attach(struct net_plug *n, const struct net_attach *a, uint64_t timeout_ms,
				 net_cb *cb, void *data)
{
	struct net_call *c = call_new(n, CALL_OP_ATTACH, timeout_ms, cb, data);
	struct crisp_net_port *ports = pool_alloc(c->pool, (a->n_ports + 1) * sizeof(*ports));
	uint32_t n_ports = 0;
	for (size_t i = 0; i < a->n_ports; i++)
		if (a->ports[i].host_port)
			ports[n_ports++] = (struct crisp_net_port){
				.size = sizeof(*ports),
				.protocol = (uint32_t)a->ports[i].protocol,
				.container_port = a->ports[i].container_port,
				.host_port = a->ports[i].host_port,
				.host_ip = pool_strdup(c->pool, a->ports[i].host_ip),
			};
	c->args.attach = (struct crisp_net_attach_args){
		.size = sizeof(c->args.attach),
		.deadline_ns = call_deadline_ns(c),
		.pod_id = pool_strdup(c->pool, a->pod_id),
		.name = pool_strdup(c->pool, a->name),
		.ns = pool_strdup(c->pool, a->ns),
		.uid = pool_strdup(c->pool, a->uid),
		.netns_path = pool_strdup(c->pool, a->netns_path),
		.n_ports = n_ports,
		.ports = ports,
		.ingress_bps = a->ingress_bps,
		.egress_bps = a->egress_bps,
	};
	return call_start(c);
}

struct net_call *net_plug_detach(struct net_plug *n, const char *pod_id, const char *netns_path,
				 const char *state, uint64_t timeout_ms, net_cb *cb, void *data)
{
	struct net_call *c = call_new(n, CALL_OP_DETACH, timeout_ms, cb, data);
	c->args.pod = (struct crisp_net_pod_args){
		.size = sizeof(c->args.pod),
		.deadline_ns = call_deadline_ns(c),
		.pod_id = pool_strdup(c->pool, pod_id),
		.netns_path = pool_strdup(c->pool, netns_path),
		.state = pool_strdup(c->pool, state),
	};
	return call_start(c);
}

static void handle_gc(void *data, int ret, const struct net_result *r, const struct err *e)
{
	if (ret < 0)
		log_warn("what dead pods have left in the network could not be removed", "err", err_text(e));
}

void net_plug_gc(struct net_plug *n, const char *const *live, size_t n_live)
{
	struct net_call *c = call_new(n, CALL_OP_GC, 0, handle_gc, NULL);
	const char **ids = pool_alloc(c->pool, (n_live + 1) * sizeof(*ids));
	for (size_t i = 0; i < n_live; i++)
		ids[i] = pool_strdup(c->pool, live[i]);
	c->args.gc = (struct crisp_net_gc_args){
		.size = sizeof(c->args.gc),
		.deadline_ns = call_deadline_ns(c),
		.live = ids,
		.n_live = (uint32_t)n_live,
	};
	call_start(c);
}

static void adopt_now(struct net_plug *n, const char *pod_id, const char *state)
{
	int ret = CRISP_NET_CAN(n->ops, adopt) ? n->ops->adopt(n->inst, pod_id, state ? state : "") : 0;
	if (ret < 0)
		log_warn("the network doesn't know a pod's state", "network", n->name, "pod", pod_id,
			 "err", strerror(-ret));
}

void net_plug_adopt(struct net_plug *n, const char *pod_id, const char *state)
{
	if (n->state == NET_STATE_OPEN) {
		adopt_now(n, pod_id, state);
	} else if (n->state == NET_STATE_LOADING) {
		struct adopt *a = pool_new_struct(n->pool, struct adopt);
		a->pod_id = pool_strdup(n->pool, pod_id);
		a->state = pool_strdup(n->pool, state);
		list_append(&n->adopts, &a->link);
	}
}

bool net_plug_ready(struct net_plug *n, const char **reason)
{
	const char *why = NULL;
	int ret = 0;
	if (n->state != NET_STATE_OPEN)
		why = err_text(&n->why);
	else if (CRISP_NET_CAN(n->ops, status))
		ret = n->ops->status(n->inst, &why);
	bool ready = n->state == NET_STATE_OPEN && ret == 0;
	if (!ready)
		snprintf(n->reason, sizeof(n->reason), "network %s: %s", n->name, why ? why : strerror(-ret));
	*reason = ready ? NULL : n->reason;
	return ready;
}

static void handle_settled(struct loop_defer *d)
{
	struct net_plug *n = d->data;
	void (*cb)(void *data) = n->settled_cb;
	n->settled_cb = NULL;
	if (cb)
		cb(n->settled_data);
}

void net_plug_when_settled(struct net_plug *n, void (*cb)(void *data), void *data)
{
	n->settled_cb = cb;
	n->settled_data = data;
	if (n->state != NET_STATE_LOADING)
		loop_defer(n->loop, &n->settled, handle_settled, n);
}

const char *net_plug_name(const struct net_plug *n)
{
	return n->name;
}

/* -- loading -- */

static int open_plugin(struct net_plug *n, const struct crisp_netplug *so, struct err *e)
{
	char msg[MSG_MAX] = "";
	const struct crisp_net_ops *ops = so->ops;
	if (!ops || !CRISP_NET_CAN(ops, open) || !CRISP_NET_CAN(ops, close))
		return err_set(e, EPROTO, "the plugin lacks open or close");
	int ret = ops->open(nethost_abi(n->host), n->options, &n->inst, msg, sizeof(msg));
	if (ret < 0)
		return err_set(e, -ret, "%s", msg[0] ? msg : strerror(-ret));
	n->ops = ops;
	return 0;
}

static void handle_module(void *data, const void *desc, const struct err *e)
{
	struct net_plug *n = data;
	err_clear(&n->why);
	int ret = desc ? open_plugin(n, desc, &n->why) : err_set(&n->why, EHOSTDOWN, "%s", err_text(e));
	n->state = ret < 0 ? NET_STATE_FAILED : NET_STATE_OPEN;
	if (ret < 0)
		log_error("the network can't be used", "network", n->name, "err", err_text(&n->why));
	struct adopt *a;
	list_for_each(a, &n->adopts, link)
		if (n->state == NET_STATE_OPEN)
			adopt_now(n, a->pod_id, a->state);
	list_init(&n->adopts);
	for (struct list *at; (at = list_pop(&n->queue));)
		call_start(container_of(at, struct net_call, link));
	loop_defer(n->loop, &n->settled, handle_settled, n);
}

/* Before the pools of calls, jobs and timers go: they are older. */
static void release_net(struct pool_res *r)
{
	struct net_plug *n = container_of(r, struct net_plug, res);
	struct net_call *c;
	list_for_each(c, &given, link)
		if (c->net == n)
			list_del(&c->link);
	loop_defer_cancel(&n->settled);
	if (n->state == NET_STATE_OPEN)
		n->ops->close(n->inst);
}

struct net_plug *net_plug_new(struct loop *l, struct pool *p, struct spawner *s,
			      const char *netplug_dir, const char *libexec_dir, const char *state_dir,
			      const char *plugin, const char *options_json)
{
	static const struct module_kind kind = {
		.symbol = "crisp_netplug_v0",
		.magic = CRISP_NETPLUG_MAGIC,
		.major = CRISP_NETPLUG_MAJOR,
		.min_size = sizeof(struct crisp_netplug),
	};
	struct pool *pool = pool_new(p, "network");
	struct net_plug *n = pool_new_struct(pool, struct net_plug);
	n->loop = l;
	n->pool = pool;
	n->name = pool_strdup(pool, plugin);
	n->options = pool_strdup(pool, options_json && options_json[0] ? options_json : "{}");
	list_init(&n->queue);
	list_init(&n->adopts);
	n->calls = pool_new(pool, "net calls");
	n->host = nethost_new(l, pool_new(pool, "net host"), s, plugin, libexec_dir, state_dir, handle_done);
	pool_res_add(pool, &n->res, release_net);
	err_set(&n->why, EAGAIN, "the plugin is being loaded");
	struct err e = { 0 };
	if (module_name_check(plugin, &e) < 0 || file_mkdirs(state_dir, 0700, &e) < 0)
		handle_module(n, NULL, &e);
	else
		module_load(s, pool, libexec_dir, netplug_dir, plugin, &kind, 0, handle_module, n);
	return n;
}

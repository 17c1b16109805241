/*
 * bridge: pods on a Linux bridge of the node, without anything to install or configure.
 *
 * Options: {"bridge": "crisp0", "subnets": ["10.88.0.0/16"], "nft_table": "crisp"}, all may be
 * missing.  Names are this daemon's own: two daemons on a node need two of each.
 *
 * Here is what is decided (addresses, who has which port), from memory, at once; crisp-bridge does
 * what is to be done.  A pod has one job at a time: a detach that comes during an attach kills its
 * job and follows it.  gc has the node to itself: it removes what it doesn't know, so nothing may
 * begin before it has ended.
 *
 * To remove a link takes the kernel 10 ms and more, however many are removed at once.  So a detach
 * ends when the ports are free, and the link goes with the next sweep, together with those of all
 * pods that have left meanwhile.  The address stays taken until then.
 */
#include "netplug/bridge/bridge.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* -- ends -- */

static void request_free(struct request *r)
{
	if (r->netns_fd >= 0)
		close(r->netns_fd);
	for (uint32_t i = 0; i < r->n_live; i++)
		free(r->live[i]);
	free(r->live);
	free(r);
}

static void answer(struct crisp_net *n, struct crisp_net_req *req, int err, const char *msg)
{
	struct crisp_net_result res = { .size = sizeof(res), .err = err, .msg = err ? msg : NULL };
	n->host->done(req, &res);
}

static void answer_attached(struct request *r)
{
	struct pod *p = r->pod;
	char cidr[IPAM_TEXT + 4], ip[IPAM_TEXT];
	struct ipam_subnet *s = ipam_find(&r->net->pods.ipam, p->ip);
	pod_write_ip(p->ip, ip);
	snprintf(cidr, sizeof(cidr), "%s/%u", ip, s->prefix);
	char *state = pod_state_text(p);
	const struct crisp_net_addr addr = {
		.size = sizeof(addr), .cidr = cidr, .gateway = s->gateway, .ifname = "eth0",
	};
	const struct crisp_net_result res = {
		.size = sizeof(res), .addrs = &addr, .n_addrs = 1, .state = state,
	};
	r->net->host->done(r->req, &res);
	free(state);
}

/* -- running and queueing -- */

static void handle_exit(void *data, const struct crisp_net_exit *x);

static int request_run(struct request *r)
{
	yajl_gen g = wire_request(r);
	const unsigned char *text;
	size_t len;
	yajl_gen_get_buf(g, &text, &len);
	const struct crisp_net_plan plan = {
		.size = sizeof(plan),
		.path = "crisp-bridge",
		.argv = (const char *const[]){ "crisp-bridge", NULL },
		.fds = &(struct crisp_net_spawn_fd){ r->netns_fd, 3 },
		.n_fds = r->netns_fd >= 0,
		.out_max = ANSWER_MAX,
		.err_max = ANSWER_MAX,
		.input = text,
		.input_len = len,
		.deadline_ns = r->deadline_ns,
	};
	r->job = r->net->host->spawn(r->net->host, &plan, handle_exit, r);
	yajl_gen_free(g);
	return r->job ? 0 : -EINVAL;
}

static struct request *request_new(struct crisp_net *n, struct crisp_net_req *req, enum request_kind kind,
				   struct pod *pod, int netns_fd, int64_t deadline_ns)
{
	struct request *r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	*r = (struct request){ .net = n, .req = req, .kind = kind, .pod = pod, .deadline_ns = deadline_ns };
	r->netns_fd = netns_fd > 0 ? fcntl(netns_fd, F_DUPFD_CLOEXEC, 3) : -1;
	return r;
}

static void enqueue(struct request *r)
{
	struct request **at = &r->net->queue;
	while (*at)
		at = &(*at)->next;
	r->next = NULL;
	*at = r;
}

static bool must_wait(const struct request *r)
{
	return r->net->gc || (r->pod && pod_has_predecessor(r->pod));
}

/* Run now, or after gc or the sweep.  0 or -errno, then r is gone. */
static int request_begin(struct request *r)
{
	if (r->kind != REQUEST_GC)
		r->pod->running = r;
	if (must_wait(r)) {
		enqueue(r);
		return 0;
	}
	if (r->kind == REQUEST_GC)
		r->net->gc = r;
	int ret = request_run(r);
	if (ret == 0)
		return 0;
	if (r->kind == REQUEST_GC)
		r->net->gc = NULL;
	else
		r->pod->running = NULL;
	request_free(r);
	return ret;
}

static void settle_attach(struct request *r, struct outcome *o);
static void settle_detach(struct request *r, struct outcome *o);
static void settle_sweep(struct request *r, struct outcome *o);
static void settle_gc(struct request *r, struct outcome *o);

static void run_waiting(struct request *r)
{
	struct crisp_net *n = r->net;
	struct crisp_net_req *req = r->req;
	struct pod *p = r->pod;
	p->waiting = NULL;
	p->state = POD_STATE_DETACHING;
	int ret = request_begin(r);
	if (ret == 0)
		return;
	p->state = POD_STATE_LEFT;
	answer(n, req, ret, "crisp-bridge could not be started");
}

/* The one end of each request that was accepted. */
static void request_end(struct request *r, struct outcome *o)
{
	static void (*const settle[])(struct request *r, struct outcome *o) = {
		[REQUEST_ATTACH] = settle_attach, [REQUEST_DETACH] = settle_detach,
		[REQUEST_SWEEP] = settle_sweep, [REQUEST_GC] = settle_gc,
	};
	struct pod *p = r->pod;
	struct request *then = p ? p->waiting : NULL;
	if (p)
		p->running = NULL;
	if (r->cancelled && o->err)
		o->err = -ECANCELED;
	settle[r->kind](r, o);
	request_free(r);
	if (then)
		run_waiting(then);
}

static void run_queue(struct crisp_net *n)
{
	struct request *r = n->queue;
	n->queue = NULL;
	for (struct request *next; r; r = next) {
		next = r->next;
		struct outcome o = { .err = -EIO, .msg = "crisp-bridge could not be started" };
		if (must_wait(r))
			enqueue(r);
		else if (r->kind == REQUEST_GC && (n->gc = r) && request_run(r) < 0) {
			n->gc = NULL;
			request_end(r, &o);
		} else if (r->kind != REQUEST_GC && request_run(r) < 0) {
			request_end(r, &o);
		}
	}
}

static void handle_exit(void *data, const struct crisp_net_exit *x)
{
	struct request *r = data;
	struct crisp_net *n = r->net;
	bool awaited = r->kind == REQUEST_GC || r->kind == REQUEST_SWEEP;
	struct outcome o = wire_outcome(x);
	if (r->kind == REQUEST_GC)
		n->gc = NULL;
	request_end(r, &o);
	if (awaited)
		run_queue(n);
}

/* -- ends of operations -- */

static void begin_own_gc(struct crisp_net *n);

static bool others_have_ports(const struct crisp_net *n, const struct pod *but)
{
	for (const struct pod *p = n->pods.first; p; p = p->next)
		if (p != but && p->n_ports)
			return true;
	return false;
}

static void settle_attach(struct request *r, struct outcome *o)
{
	struct crisp_net *n = r->net;
	struct pod *p = r->pod;
	p->state = o->err ? POD_STATE_LEFT : POD_STATE_ATTACHED;
	if (o->err) {
		answer(n, r->req, o->err, o->msg);
		return;
	}
	n->ensured = true;
	n->trouble[0] = 0;
	answer_attached(r);
	if (o->made && others_have_ports(n, p)) {
		n->host->log(n->host, CRISP_NET_LOG_WARN, "the nftables table was gone: all host ports are "
			     "set up anew", (const char *const[]){ "table", n->table, NULL });
		begin_own_gc(n);
	}
}

static void begin_sweep(struct crisp_net *n)
{
	if (n->sweep)
		return;		/* the next one begins at its end */
	n->sweep = request_new(n, NULL, REQUEST_SWEEP, NULL, -1, n->host->now_ns(n->host) + SWEEP_NS);
	if (!n->sweep || request_run(n->sweep) == 0)
		return;
	request_free(n->sweep);
	n->sweep = NULL;
}

static void leave(struct crisp_net *n, struct pod *p)
{
	p->state = POD_STATE_LEAVING;
	pod_drop_ports(p);
	begin_sweep(n);
}

static void settle_detach(struct request *r, struct outcome *o)
{
	answer(r->net, r->req, o->err, o->msg);
	if (o->err == 0)
		leave(r->net, r->pod);
	else
		r->pod->state = POD_STATE_LEFT;
}

/* After a failure the next detach or gc tries again. */
static void settle_sweep(struct request *r, struct outcome *o)
{
	struct crisp_net *n = r->net;
	bool more = false;
	n->sweep = NULL;
	for (struct pod *p = n->pods.first, *next; p; p = next) {
		next = p->next;
		if (p->state == POD_STATE_LEAVING && p->swept && o->err == 0)
			pods_forget(&n->pods, p);
		else if (p->state == POD_STATE_LEAVING)
			more = true;
	}
	if (o->err)
		n->host->log(n->host, CRISP_NET_LOG_WARN, "the links of pods that have left stay",
			     (const char *const[]){ "err", o->msg, NULL });
	else if (more)
		begin_sweep(n);
}

static void settle_gc(struct request *r, struct outcome *o)
{
	struct crisp_net *n = r->net;
	n->ensured |= o->err == 0;
	snprintf(n->trouble, sizeof(n->trouble), "%s", o->err ? o->msg : "");
	for (struct pod *p = n->pods.first, *next; o->err == 0 && p; p = next) {
		next = p->next;
		if (p->doomed && !p->running)
			pods_forget(&n->pods, p);
	}
	if (r->req)
		answer(n, r->req, o->err, o->msg);
	else if (o->err)
		n->host->log(n->host, CRISP_NET_LOG_ERROR, "host ports could not be set up anew",
			     (const char *const[]){ "err", o->msg, NULL });
}

/* -- operations -- */

static int bridge_attach(struct crisp_net *n, struct crisp_net_req *req,
			 const struct crisp_net_attach_args *a)
{
	char msg[MSG_SIZE] = "";
	struct pod *p;
	if (a->flags || a->netns_fd <= 0 || !a->pod_id)
		return -EINVAL;
	int ret = pods_new(&n->pods, a, &p, msg, sizeof(msg));
	if (ret < 0) {
		answer(n, req, ret, msg);
		return 0;
	}
	struct request *r = request_new(n, req, REQUEST_ATTACH, p, a->netns_fd, a->deadline_ns);
	ret = r ? request_begin(r) : -ENOMEM;
	if (ret < 0)
		pods_forget(&n->pods, p);
	return ret;
}

static int bridge_detach(struct crisp_net *n, struct crisp_net_req *req, const struct crisp_net_pod_args *a)
{
	struct pod *p;
	if (a->flags || !a->pod_id || pods_recall(&n->pods, a->pod_id, a->state, &p) < 0)
		return -EINVAL;
	if (p->waiting)
		return -EBUSY;
	if (!p->running && !p->n_ports) {
		leave(n, p);
		answer(n, req, 0, NULL);
		return 0;
	}
	struct request *r = request_new(n, req, REQUEST_DETACH, p, -1, a->deadline_ns);
	if (!r)
		return -ENOMEM;
	p->state = POD_STATE_DETACHING;
	if (!p->running)
		return request_begin(r);
	p->waiting = r;
	if (p->running->job)
		n->host->job_kill(p->running->job);
	return 0;
}

/* Takes ids, and those that they are. */
static int gc_begin(struct crisp_net *n, struct crisp_net_req *req, char **ids, uint32_t n_ids,
		    int64_t deadline_ns)
{
	struct request *r = request_new(n, req, REQUEST_GC, NULL, -1, deadline_ns);
	if (!r || !ids) {
		free(r);
		free(ids);
		return -ENOMEM;
	}
	qsort(ids, n_ids, sizeof(*ids), wire_compare_ids);
	r->live = ids;
	r->n_live = n_ids;
	return request_begin(r);
}

static int bridge_gc(struct crisp_net *n, struct crisp_net_req *req, const struct crisp_net_gc_args *a)
{
	char **ids = calloc((size_t)a->n_live + 1, sizeof(*ids));
	for (uint32_t i = 0; ids && i < a->n_live; i++)
		ids[i] = strdup(a->live[i]);
	return gc_begin(n, req, ids, a->n_live, a->deadline_ns);
}

/* With all pods live: the table as it should be. */
static void begin_own_gc(struct crisp_net *n)
{
	char **ids = calloc(n->pods.n + 1, sizeof(*ids));
	uint32_t n_ids = 0;
	for (const struct pod *p = n->pods.first; ids && p; p = p->next)
		ids[n_ids++] = strdup(p->id);
	gc_begin(n, NULL, ids, n_ids, 0);
}

static int bridge_adopt(struct crisp_net *n, const char *pod_id, const char *state)
{
	struct pod *p;
	return state && state[0] ? pods_recall(&n->pods, pod_id, state, &p) : 0;
}

static struct request *find_request(struct crisp_net *n, const struct crisp_net_req *req)
{
	if (n->gc && n->gc->req == req)
		return n->gc;
	for (struct request *r = n->queue; r; r = r->next)
		if (r->req == req)
			return r;
	for (struct pod *p = n->pods.first; p; p = p->next) {
		if (p->running && p->running->req == req)
			return p->running;
		if (p->waiting && p->waiting->req == req)
			return p->waiting;
	}
	return NULL;
}

/* What has no job yet ends here; gc, which the rest waits for, is soon at its end anyway. */
static void bridge_cancel(struct crisp_net *n, struct crisp_net_req *req)
{
	struct request *r = find_request(n, req);
	if (!r)
		return;
	r->cancelled = true;
	if (r->job) {
		n->host->job_kill(r->job);
		return;
	}
	if (r->pod && r->pod->waiting == r) {
		r->pod->waiting = NULL;
		answer(n, req, -ECANCELED, "");
		request_free(r);
		return;
	}
	struct request **at = &n->queue;
	while (*at && *at != r)
		at = &(*at)->next;
	if (*at)
		*at = r->next;
	struct outcome o = { .err = -ECANCELED };
	request_end(r, &o);
}

static int bridge_status(struct crisp_net *n, const char **reason)
{
	*reason = n->trouble;
	return n->trouble[0] ? -EIO : 0;
}

static void bridge_close(struct crisp_net *n)
{
	for (struct request *r = n->queue, *next; r; r = next) {
		next = r->next;
		if (r->pod)
			r->pod->running = NULL;
		request_free(r);
	}
	if (n->gc)
		request_free(n->gc);
	if (n->sweep)
		request_free(n->sweep);
	for (struct pod *p = n->pods.first; p; p = p->next) {
		if (p->running)
			request_free(p->running);
		if (p->waiting)
			request_free(p->waiting);
	}
	pods_free(&n->pods);
	free(n);
}

static int bridge_open(const struct crisp_net_host *h, const char *options_json, struct crisp_net **out,
		       char *msg, uint32_t msg_cap)
{
	struct crisp_net *n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->host = h;
	int ret = options_read(n, options_json, msg, msg_cap);
	if (ret < 0)
		bridge_close(n);
	else
		*out = n;
	return ret;
}

const struct crisp_netplug *crisp_netplug_v0(void)
{
	static const struct crisp_net_ops ops = {
		.size = sizeof(ops),
		.open = bridge_open,
		.close = bridge_close,
		.status = bridge_status,
		.adopt = bridge_adopt,
		.attach = bridge_attach,
		.detach = bridge_detach,
		.gc = bridge_gc,
		.cancel = bridge_cancel,
	};
	static const struct crisp_netplug plug = {
		.magic = CRISP_NETPLUG_MAGIC,
		.size = sizeof(plug),
		.major = CRISP_NETPLUG_MAJOR,
		.minor = CRISP_NETPLUG_MINOR,
		.name = "bridge",
		.version = "0.1",
		.ops = &ops,
	};
	return &plug;
}

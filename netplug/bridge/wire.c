/*
 * What crisp-bridge is asked and what it answers, as JSON; work/worker.c has the other end and says
 * what the members mean.
 */
#include "netplug/bridge/bridge.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <yajl/yajl_tree.h>

static void put_node(struct crisp_net *n, yajl_gen g, const char *op)
{
	char cidr[IPAM_TEXT + 4];
	const struct { const char *key, *value; } texts[] = {
		{ "op", op }, { "bridge", n->bridge }, { "table", n->table },
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		pod_put_str(g, texts[i].key);
		pod_put_str(g, texts[i].value);
	}
	pod_put_str(g, "subnets");
	yajl_gen_array_open(g);
	for (size_t i = 0; i < n->pods.ipam.n; i++)
		pod_put_str(g, n->pods.ipam.subnets[i].text);
	yajl_gen_array_close(g);
	pod_put_str(g, "gateways");
	yajl_gen_array_open(g);
	for (size_t i = 0; i < n->pods.ipam.n; i++) {
		snprintf(cidr, sizeof(cidr), "%s/%u", n->pods.ipam.subnets[i].gateway,
			 n->pods.ipam.subnets[i].prefix);
		pod_put_str(g, cidr);
	}
	yajl_gen_array_close(g);
}

static void put_pod(struct request *r, yajl_gen g)
{
	const struct pod *p = r->pod;
	char text[IPAM_TEXT + 4];
	pod_put_str(g, "veth");
	pod_put_str(g, p->veth);
	pod_put_str(g, "ports");
	yajl_gen_array_open(g);
	pod_put_ports(p, g);
	yajl_gen_array_close(g);
	if (r->kind != REQUEST_ATTACH)
		return;
	const struct ipam_subnet *s = ipam_find(&r->net->pods.ipam, p->ip);
	pod_put_str(g, "addrs");
	yajl_gen_array_open(g);
	pod_write_ip(p->ip, text);
	snprintf(text + strlen(text), 4, "/%u", s->prefix);
	pod_put_str(g, text);
	yajl_gen_array_close(g);
	pod_put_str(g, "gateway");
	pod_put_str(g, s->gateway);
	pod_put_str(g, "ensure");
	yajl_gen_bool(g, !r->net->ensured);
}

int wire_compare_ids(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_live(const struct request *gc, const char *id)
{
	return bsearch(&id, gc->live, gc->n_live, sizeof(*gc->live), wire_compare_ids) != NULL;
}

/* A pod with a job under way lives as far as gc goes; the ports of one that leaves don't. */
static void put_live(struct request *gc, yajl_gen g)
{
	char veth[VETH_NAME];
	for (struct pod *p = gc->net->pods.first; p; p = p->next)
		p->doomed = !p->running && (p->state == POD_STATE_LEAVING || !is_live(gc, p->id));
	pod_put_str(g, "live");
	yajl_gen_map_open(g);
	for (uint32_t i = 0; i < gc->n_live; i++) {
		if (pod_veth_name(gc->live[i], veth) < 0)
			continue;
		pod_put_str(g, veth);
		yajl_gen_bool(g, 1);
	}
	for (const struct pod *p = gc->net->pods.first; p; p = p->next) {
		if (!p->running)
			continue;
		pod_put_str(g, p->veth);
		yajl_gen_bool(g, 1);
	}
	yajl_gen_map_close(g);
	pod_put_str(g, "ports");
	yajl_gen_array_open(g);
	for (const struct pod *p = gc->net->pods.first; p; p = p->next)
		if (!p->doomed && p->state != POD_STATE_DETACHING)
			pod_put_ports(p, g);
	yajl_gen_array_close(g);
}

static void put_dead(struct request *r, yajl_gen g)
{
	pod_put_str(g, "dead");
	yajl_gen_array_open(g);
	for (struct pod *p = r->net->pods.first; p; p = p->next) {
		p->swept = p->state == POD_STATE_LEAVING;
		if (p->swept)
			pod_put_str(g, p->veth);
	}
	yajl_gen_array_close(g);
}

yajl_gen wire_request(struct request *r)
{
	static const struct { const char *op; void (*put)(struct request *r, yajl_gen g); } ops[] = {
		[REQUEST_ATTACH] = { "attach", put_pod }, [REQUEST_DETACH] = { "release", put_pod },
		[REQUEST_SWEEP] = { "sweep", put_dead }, [REQUEST_GC] = { "gc", put_live },
	};
	yajl_gen g = yajl_gen_alloc(NULL);
	yajl_gen_map_open(g);
	put_node(r->net, g, ops[r->kind].op);
	ops[r->kind].put(r, g);
	yajl_gen_map_close(g);
	return g;
}

static void read_answer(const struct crisp_net_exit *x, struct outcome *o)
{
	yajl_val v = x->wait_status == 0 ? yajl_tree_parse(x->out, NULL, 0) : NULL;
	yajl_val code = yajl_tree_get(v, (const char *[]){ "errno", NULL }, yajl_t_number);
	yajl_val msg = yajl_tree_get(v, (const char *[]){ "msg", NULL }, yajl_t_string);
	if (code && YAJL_IS_INTEGER(code)) {
		o->err = -(int)YAJL_GET_INTEGER(code);
		snprintf(o->msg, sizeof(o->msg), "%s", msg ? YAJL_GET_STRING(msg) : "");
	} else if (!YAJL_IS_OBJECT(v)) {
		o->err = -EIO;
		snprintf(o->msg, sizeof(o->msg), "crisp-bridge ended with %s %d: %.200s",
			 WIFSIGNALED(x->wait_status) ? "signal" : "code",
			 WIFSIGNALED(x->wait_status) ? WTERMSIG(x->wait_status) : WEXITSTATUS(x->wait_status),
			 x->err_out);
	}
	o->made = yajl_tree_get(v, (const char *[]){ "made", NULL }, yajl_t_true) != NULL;
	yajl_tree_free(v);
}

struct outcome wire_outcome(const struct crisp_net_exit *x)
{
	struct outcome o = { .err = x->err };
	if (x->err == 0)
		read_answer(x, &o);
	else
		snprintf(o.msg, sizeof(o.msg), "%s", x->msg ? x->msg : "");
	return o;
}

/*
 * fake: a network for tests, with delays and failures by script and no kernel behind it.
 *
 * Options (all may be missing):
 *	delay_ms	of each attach and detach; 0: done() comes from inside the call
 *	subnet		"10.99": the first half of the addresses
 *	unready		a reason: status says so, attach is refused with it
 *	rules		[{op: attach|detach|gc, pod: NAME, skip: N, times: N, errno: N, msg: TEXT, hang: true}]
 *			The first rule that fits an operation decides how it fails: with errno and
 *			msg, or (hang) not before it is cancelled.  pod is the Kubernetes name and fits attach
 *			alone; skip lets as many pass first, times wears the rule out after as many.
 *
 * What is attached lies as an empty file, named by the pod's id, in the folder "attached" of the
 * state directory.  It outlives a killed host as links and rules would; so a test sees leaks with ls.
 */
#include "netplug/netplug.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <yajl/yajl_tree.h>

enum { RULES_MAX = 16, TEXT_MAX = 128 };

struct rule {
	char op[16], pod[TEXT_MAX], msg[TEXT_MAX];
	int code;
	unsigned skip, times;	/* times 0: for ever */
	bool hang, worn;
};

struct crisp_net {
	const struct crisp_net_host *host;
	uint64_t delay_ms;
	char subnet[16], unready[TEXT_MAX];
	struct rule rules[RULES_MAX];
	unsigned n_rules;
	uint32_t next;			/* second half of the next address */
	int attached;			/* the folder */
	struct request *requests;	/* waiting for a timer or for cancel */
};

struct request {
	struct request *next;
	struct crisp_net *net;
	struct crisp_net_req *req;
	struct crisp_net_timer *timer;	/* NULL: hangs */
	int err;
	char msg[TEXT_MAX];
	char pod_id[TEXT_MAX];
	bool attach;
};

/* -- options -- */

static const char *text_of(yajl_val v, const char *name)
{
	yajl_val t = yajl_tree_get(v, (const char *[]){ name, NULL }, yajl_t_string);
	return t ? YAJL_GET_STRING(t) : "";
}

static long long number_of(yajl_val v, const char *name)
{
	yajl_val t = yajl_tree_get(v, (const char *[]){ name, NULL }, yajl_t_number);
	return t && YAJL_IS_INTEGER(t) ? YAJL_GET_INTEGER(t) : 0;
}

static void read_rule(struct rule *r, yajl_val v)
{
	snprintf(r->op, sizeof(r->op), "%s", text_of(v, "op"));
	snprintf(r->pod, sizeof(r->pod), "%s", text_of(v, "pod"));
	snprintf(r->msg, sizeof(r->msg), "%s", text_of(v, "msg"));
	r->code = (int)number_of(v, "errno");
	if (r->code <= 0)
		r->code = EIO;
	r->skip = (unsigned)number_of(v, "skip");
	r->times = (unsigned)number_of(v, "times");
	r->hang = yajl_tree_get(v, (const char *[]){ "hang", NULL }, yajl_t_true) != NULL;
}

static int read_options(struct crisp_net *n, const char *json, char *msg, uint32_t cap)
{
	static const char *const known[] = { "delay_ms", "subnet", "unready", "rules", NULL };
	yajl_val o = yajl_tree_parse(json, msg, cap);
	if (!YAJL_IS_OBJECT(o)) {
		yajl_tree_free(o);
		return -EINVAL;
	}
	for (size_t i = 0; i < o->u.object.len; i++) {
		const char *const *k = known;
		while (*k && strcmp(*k, o->u.object.keys[i]) != 0)
			k++;
		if (!*k) {
			snprintf(msg, cap, "unknown option \"%s\"", o->u.object.keys[i]);
			yajl_tree_free(o);
			return -EINVAL;
		}
	}
	n->delay_ms = (uint64_t)number_of(o, "delay_ms");
	snprintf(n->unready, sizeof(n->unready), "%s", text_of(o, "unready"));
	snprintf(n->subnet, sizeof(n->subnet), "%s", text_of(o, "subnet"));
	if (!n->subnet[0])
		strcpy(n->subnet, "10.99");
	yajl_val rules = yajl_tree_get(o, (const char *[]){ "rules", NULL }, yajl_t_array);
	for (size_t i = 0; rules && i < rules->u.array.len && n->n_rules < RULES_MAX; i++)
		read_rule(&n->rules[n->n_rules++], rules->u.array.values[i]);
	yajl_tree_free(o);
	return 0;
}

static struct rule *rule_for(struct crisp_net *n, const char *op, const char *pod)
{
	for (unsigned i = 0; i < n->n_rules; i++) {
		struct rule *r = &n->rules[i];
		if (r->worn || strcmp(r->op, op) != 0 || (r->pod[0] && (!pod || strcmp(r->pod, pod) != 0)))
			continue;
		if (r->skip) {
			r->skip--;
			continue;
		}
		if (r->times && --r->times == 0)
			r->worn = true;
		return r;
	}
	return NULL;
}

/* -- requests -- */

static void forget(struct request *r)
{
	struct request **at = &r->net->requests;
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	free(r);
}

static void finish_attach(struct request *r)
{
	struct crisp_net *n = r->net;
	char cidr[64], gateway[64], state[96];
	n->next = n->next % 0xfffe + 1;
	if ((n->next & 0xff) == 0 || n->next == 1)
		n->next++;	/* .0 looks odd, .0.1 is the gateway */
	snprintf(cidr, sizeof(cidr), "%s.%u.%u/16", n->subnet, n->next >> 8, n->next & 0xff);
	snprintf(gateway, sizeof(gateway), "%s.0.1", n->subnet);
	snprintf(state, sizeof(state), "{\"n\":%u}", n->next);
	int fd = openat(n->attached, r->pod_id, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	struct crisp_net_result res = { .size = sizeof(res) };
	const struct crisp_net_addr addr = {
		.size = sizeof(addr), .cidr = cidr, .gateway = gateway, .ifname = "eth0",
	};
	if (fd < 0) {
		res.err = -errno;
		res.msg = "mark the pod as attached";
	} else {
		close(fd);
		res.addrs = &addr;
		res.n_addrs = 1;
		res.state = state;
	}
	n->host->done(r->req, &res);
}

static void finish(struct request *r)
{
	struct crisp_net_result res = { .size = sizeof(res), .err = r->err, .msg = r->msg };
	if (r->err) {
		r->net->host->done(r->req, &res);
	} else if (r->attach) {
		finish_attach(r);
	} else {
		unlinkat(r->net->attached, r->pod_id, 0);	/* never attached is fine */
		r->net->host->done(r->req, &res);
	}
	forget(r);
}

static void handle_timer(void *data)
{
	finish(data);
}

static int begin(struct crisp_net *n, struct crisp_net_req *req, const char *op, const char *pod_id,
		 const char *pod)
{
	if (!pod_id[0] || strchr(pod_id, '/') || strlen(pod_id) >= TEXT_MAX)
		return -EINVAL;
	struct request *r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	*r = (struct request){ .next = n->requests, .net = n, .req = req, .attach = op[0] == 'a' };
	strcpy(r->pod_id, pod_id);
	n->requests = r;
	struct rule *rule = rule_for(n, op, pod);
	if (rule) {
		r->err = -rule->code;
		strcpy(r->msg, rule->msg);
	}
	if (rule && rule->hang)
		return 0;
	if (n->delay_ms)
		r->timer = n->host->timer(n->host, n->delay_ms, handle_timer, r);
	else
		finish(r);
	return 0;
}

/* -- operations -- */

static int fake_open(const struct crisp_net_host *h, const char *options_json, struct crisp_net **out,
		     char *msg, uint32_t msg_cap)
{
	struct crisp_net *n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->host = h;
	n->attached = -1;
	int ret = read_options(n, options_json, msg, msg_cap);
	char path[4096];
	snprintf(path, sizeof(path), "%s/attached", h->state_dir);
	if (ret == 0 && ((mkdir(path, 0700) < 0 && errno != EEXIST) ||
			 (n->attached = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)) {
		ret = -errno;
		snprintf(msg, msg_cap, "make %s: %s", path, strerror(errno));
	}
	if (ret < 0)
		free(n);
	else
		*out = n;
	return ret;
}

static void fake_close(struct crisp_net *n)
{
	for (struct request *r = n->requests, *next; r; r = next) {
		next = r->next;
		free(r);
	}
	close(n->attached);
	free(n);
}

static int fake_status(struct crisp_net *n, const char **reason)
{
	*reason = n->unready;
	return n->unready[0] ? -EAGAIN : 0;
}

static int fake_adopt(struct crisp_net *n, const char *pod_id, const char *state)
{
	unsigned at;
	if (sscanf(state, "{\"n\":%u}", &at) != 1)
		return -EINVAL;
	if (at > n->next)
		n->next = at;
	return 0;
}

static int fake_attach(struct crisp_net *n, struct crisp_net_req *req,
		       const struct crisp_net_attach_args *a)
{
	if (n->unready[0]) {
		struct crisp_net_result res = { .size = sizeof(res), .err = -EAGAIN, .msg = n->unready };
		n->host->done(req, &res);
		return 0;
	}
	return begin(n, req, "attach", a->pod_id, a->name);
}

static int fake_detach(struct crisp_net *n, struct crisp_net_req *req, const struct crisp_net_pod_args *a)
{
	return begin(n, req, "detach", a->pod_id, NULL);
}

static bool lives(const struct crisp_net_gc_args *a, const char *id)
{
	for (uint32_t i = 0; i < a->n_live; i++)
		if (strcmp(a->live[i], id) == 0)
			return true;
	return false;
}

static bool under_way(const struct crisp_net *n, const char *id)
{
	for (const struct request *r = n->requests; r; r = r->next)
		if (strcmp(r->pod_id, id) == 0)
			return true;
	return false;
}

static int fake_gc(struct crisp_net *n, struct crisp_net_req *req, const struct crisp_net_gc_args *a)
{
	struct rule *rule = rule_for(n, "gc", NULL);
	struct crisp_net_result res = { .size = sizeof(res) };
	if (rule) {
		res.err = -rule->code;
		res.msg = rule->msg;
	}
	DIR *d = rule ? NULL : fdopendir(openat(n->attached, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	for (struct dirent *e; d && (e = readdir(d));)
		if (e->d_name[0] != '.' && !lives(a, e->d_name) && !under_way(n, e->d_name))
			unlinkat(n->attached, e->d_name, 0);
	if (d)
		closedir(d);
	n->host->done(req, &res);
	return 0;
}

static void fake_cancel(struct crisp_net *n, struct crisp_net_req *req)
{
	struct request *r = n->requests;
	while (r && r->req != req)
		r = r->next;
	if (!r)
		return;
	if (r->timer)
		n->host->untimer(r->timer);
	r->err = -ECANCELED;
	r->msg[0] = 0;
	finish(r);
}

const struct crisp_netplug *crisp_netplug_v0(void)
{
	static const struct crisp_net_ops ops = {
		.size = sizeof(ops),
		.open = fake_open,
		.close = fake_close,
		.status = fake_status,
		.adopt = fake_adopt,
		.attach = fake_attach,
		.detach = fake_detach,
		.gc = fake_gc,
		.cancel = fake_cancel,
	};
	static const struct crisp_netplug plug = {
		.magic = CRISP_NETPLUG_MAGIC,
		.size = sizeof(plug),
		.major = CRISP_NETPLUG_MAJOR,
		.minor = CRISP_NETPLUG_MINOR,
		.name = "fake",
		.version = "0.1",
		.ops = &ops,
	};
	return &plug;
}

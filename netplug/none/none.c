/*
 * none: a pod with nothing but its loopback.  The smallest complete network plugin, made to be
 * copied: options, a request that a helper program fulfils, cancelling it.
 *
 * Even to set the loopback up may wait long for a lock of the kernel's, so it is done by
 * crisp-lo, which gets the namespace as file descriptor 3.
 */
#include "netplug/netplug.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

struct crisp_net {
	const struct crisp_net_host *host;
	struct request *requests;	/* under way */
};

struct request {
	struct request *next;
	struct crisp_net *net;
	struct crisp_net_req *req;
	struct crisp_net_job *job;
};

static int none_open(const struct crisp_net_host *h, const char *options_json, struct crisp_net **out,
		     char *msg, uint32_t msg_cap)
{
	if (strcmp(options_json, "{}") != 0) {
		snprintf(msg, msg_cap, "options are given, but there are none: %s", options_json);
		return -EINVAL;
	}
	struct crisp_net *n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->host = h;
	*out = n;
	return 0;
}

static void none_close(struct crisp_net *n)
{
	for (struct request *r = n->requests, *next; r; r = next) {
		next = r->next;
		free(r);
	}
	free(n);
}

static void forget(struct request *r)
{
	struct request **at = &r->net->requests;
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	free(r);
}

static void handle_exit(void *data, const struct crisp_net_exit *x)
{
	struct request *r = data;
	struct crisp_net_result res = { .size = sizeof(res), .err = x->err, .msg = x->msg };
	if (x->err == 0 && x->wait_status != 0) {
		res.err = -EIO;
		res.msg = x->err_out;
	}
	r->net->host->done(r->req, &res);
	forget(r);
}

static int none_attach(struct crisp_net *n, struct crisp_net_req *req,
		       const struct crisp_net_attach_args *a)
{
	if (a->n_ports || a->ingress_bps || a->egress_bps) {
		struct crisp_net_result res = { .size = sizeof(res), .err = -ENOSYS };
		res.msg = a->n_ports ? "host ports need a network" : "a bandwidth limit needs a network";
		n->host->done(req, &res);
		return 0;
	}
	struct request *r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	const struct crisp_net_plan plan = {
		.size = sizeof(plan),
		.path = "crisp-lo",
		.argv = (const char *const[]){ "crisp-lo", NULL },
		.fds = &(struct crisp_net_spawn_fd){ a->netns_fd, 3 },
		.n_fds = 1,
		.err_max = 200,
		.deadline_ns = a->deadline_ns,
	};
	*r = (struct request){ .next = n->requests, .net = n, .req = req };
	n->requests = r;
	r->job = n->host->spawn(n->host, &plan, handle_exit, r);
	if (!r->job) {
		forget(r);
		return -EINVAL;
	}
	return 0;
}

/* The loopback dies with its namespace. */
static int none_detach(struct crisp_net *n, struct crisp_net_req *req, const struct crisp_net_pod_args *a)
{
	struct crisp_net_result res = { .size = sizeof(res) };
	n->host->done(req, &res);
	return 0;
}

static void none_cancel(struct crisp_net *n, struct crisp_net_req *req)
{
	for (struct request *r = n->requests; r; r = r->next)
		if (r->req == req)
			n->host->job_kill(r->job);
}

const struct crisp_netplug *crisp_netplug_v0(void)
{
	static const struct crisp_net_ops ops = {
		.size = sizeof(ops),
		.open = none_open,
		.close = none_close,
		.attach = none_attach,
		.detach = none_detach,
		.cancel = none_cancel,
	};
	static const struct crisp_netplug plug = {
		.magic = CRISP_NETPLUG_MAGIC,
		.size = sizeof(plug),
		.major = CRISP_NETPLUG_MAJOR,
		.minor = CRISP_NETPLUG_MINOR,
		.name = "none",
		.version = "0.1",
		.ops = &ops,
	};
	return &plug;
}

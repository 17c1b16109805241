/* ContainerStats, PodSandboxStats and their lists: one cached sample serves all callers. */
#include <string.h>

#include "core/base/pool.h"
#include "core/cri/gather.h"
#include "core/cri/usage.h"

/* -- containers -- */

static void reply_container(struct gather *g)
{
	struct grpc_call *call = gather_call(g);
	struct container *c = gather_nth_container(g, 0);
	Cri__ContainerStatsResponse resp = CRI__CONTAINER_STATS_RESPONSE__INIT;
	if (c)	/* one that has gone meanwhile has none */
		resp.stats = usage_container(grpc_pool(call), c);
	grpc_reply(call, &resp.base);
}

RPC(cri_container_stats)
{
	const Cri__ContainerStatsRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	struct container *c = model_container(cri->model, rq->container_id);
	if (!c || c->state == CONTAINER_STATE_CREATING) {
		rpc_not_found(call, "container_id", rq->container_id, "container");
		return;
	}
	struct gather *g = gather_new(call, reply_container);
	gather_container(g, c);
	gather_start(g);
}

static bool matches(const struct container *c, const Cri__ContainerStatsFilter *f)
{
	if (!gather_has_usage(c))
		return false;
	if (!f)
		return true;
	if (f->id[0] && strncmp(c->id, f->id, strlen(f->id)))
		return false;
	if (f->pod_sandbox_id[0] && strncmp(c->pod->id, f->pod_sandbox_id, strlen(f->pod_sandbox_id)))
		return false;
	return rpc_labels_match((void *)c->config->labels, c->config->n_labels, (void *)f->label_selector,
				f->n_label_selector);
}

static void reply_containers(struct gather *g)
{
	struct grpc_call *call = gather_call(g);
	struct pool *pool = grpc_pool(call);
	size_t n = 0;
	void **list = pool_alloc(pool, (gather_containers(g) + 1) * sizeof(*list));
	for (size_t i = 0; i < gather_containers(g); i++) {
		struct container *c = gather_nth_container(g, i);
		if (c && gather_has_usage(c))
			list[n++] = usage_container(pool, c);
	}
	rpc_reply_list(call, list, n);
}

RPC(cri_list_container_stats)
{
	const Cri__ListContainerStatsRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	struct gather *g = gather_new(call, reply_containers);
	struct container *c;
	list_for_each(c, &cri->model->container_list, link)
		if (matches(c, rq->filter))
			gather_container(g, c);
	gather_start(g);
}

/* -- pods -- */

static void reply_pod(struct gather *g)
{
	struct grpc_call *call = gather_call(g);
	struct pod *p = gather_nth_pod(g, 0);
	Cri__PodSandboxStatsResponse resp = CRI__POD_SANDBOX_STATS_RESPONSE__INIT;
	if (p)
		resp.stats = usage_pod(grpc_pool(call), p);
	grpc_reply(call, &resp.base);
}

RPC(cri_pod_sandbox_stats)
{
	const Cri__PodSandboxStatsRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	struct pod *p = model_pod(cri->model, rq->pod_sandbox_id);
	if (!p || p->state == POD_STATE_STARTING) {
		rpc_not_found(call, "pod_sandbox_id", rq->pod_sandbox_id, "pod");
		return;
	}
	struct gather *g = gather_new(call, reply_pod);
	gather_pod(g, p);
	gather_start(g);
}

/* Only pods that are up use something. */
static bool pod_matches(const struct pod *p, const Cri__PodSandboxStatsFilter *f)
{
	if (p->state != POD_STATE_READY)
		return false;
	if (!f)
		return true;
	if (f->id[0] && strncmp(p->id, f->id, strlen(f->id)))
		return false;
	return rpc_labels_match((void *)p->config->labels, p->config->n_labels, (void *)f->label_selector,
				f->n_label_selector);
}

static void reply_pods(struct gather *g)
{
	struct grpc_call *call = gather_call(g);
	struct pool *pool = grpc_pool(call);
	size_t n = 0;
	void **list = pool_alloc(pool, (gather_pods(g) + 1) * sizeof(*list));
	for (size_t i = 0; i < gather_pods(g); i++) {
		struct pod *p = gather_nth_pod(g, i);
		if (p && p->state == POD_STATE_READY)
			list[n++] = usage_pod(pool, p);
	}
	rpc_reply_list(call, list, n);
}

RPC(cri_list_pod_sandbox_stats)
{
	const Cri__ListPodSandboxStatsRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	struct gather *g = gather_new(call, reply_pods);
	struct pod *p;
	list_for_each(p, &cri->model->pod_list, link)
		if (pod_matches(p, rq->filter))
			gather_pod(g, p);
	gather_start(g);
}

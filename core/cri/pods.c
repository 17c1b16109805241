/* The pod sandbox methods. */
#include <string.h>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/cri/objects.h"
#include "core/cri/rpc.h"
#include "core/loop/loop.h"
#include "core/plug/plug.h"

static void reply_run(struct rpc *r, const char *id)
{
	Cri__RunPodSandboxResponse resp = CRI__RUN_POD_SANDBOX_RESPONSE__INIT;
	resp.pod_sandbox_id = (char *)(uintptr_t)id;
	grpc_reply(r->call, &resp.base);
}

/* One that waits until its handler, which was not ready, has been looked at. */
struct run {
	struct grpc_call *call;
	const Cri__PodSandboxConfig *config;
	const char *handler;
	struct pool *pool;		/* of the look */
	struct loop_timer patience;
};

static void run_pod(struct grpc_call *call, const Cri__PodSandboxConfig *config, const char *handler)
{
	struct cri *cri = grpc_user(call);
	model_run_pod(cri->model, config, handler, rpc_wait(call, reply_run));
}

static void handle_looked(void *data)
{
	struct run *r = data;
	loop_timer_stop(&r->patience);
	run_pod(r->call, r->config, r->handler);
}

/* Look and patience go with the call. */
static void handle_left(struct grpc_call *call, void *data)
{
}

/* The caller reads what is known rather than nothing. */
static void handle_impatient(struct loop_timer *t)
{
	struct run *r = t->data;
	pool_destroy(r->pool);
	run_pod(r->call, r->config, r->handler);
}

RPC(cri_run_pod_sandbox)
{
	const Cri__RunPodSandboxRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	if (!rq->config) {
		grpc_fail_code(call, GRPC_INVALID_ARGUMENT, "config: is missing");
		return;
	}
	struct plug_handler *h = model_handler(cri->model, rq->config, rq->runtime_handler);
	if (!h || h->ready) {
		run_pod(call, rq->config, rq->runtime_handler);
		return;
	}
	struct run *r = pool_new_struct(grpc_pool(call), struct run);
	*r = (struct run){ .call = call, .config = rq->config, .handler = rq->runtime_handler,
			   .pool = pool_new(grpc_pool(call), "look") };
	if (!plug_handler_look(h, r->pool, handle_looked, r)) {
		run_pod(call, rq->config, rq->runtime_handler);
		return;
	}
	grpc_on_cancel(call, handle_left, NULL);
	int64_t left = grpc_time_left_ms(call);
	if (left >= 0)
		loop_timer_start(&r->patience, grpc_loop(call), grpc_pool(call), (uint64_t)left * 4 / 5, 0,
				 handle_impatient, r);
}

static void reply_empty(struct rpc *r, const char *id)
{
	rpc_reply_empty(r->call);
}

RPC(cri_stop_pod_sandbox)
{
	const Cri__StopPodSandboxRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	model_stop_pod(cri->model, rq->pod_sandbox_id, rpc_wait(call, reply_empty));
}

RPC(cri_remove_pod_sandbox)
{
	const Cri__RemovePodSandboxRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	model_remove_pod(cri->model, rq->pod_sandbox_id, rpc_wait(call, reply_empty));
}

RPC(cri_update_pod_sandbox_resources)
{
	const Cri__UpdatePodSandboxResourcesRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	model_resize_pod(cri->model, rq->pod_sandbox_id, rq->resources, rq->overhead, rpc_wait(call, reply_empty));
}

/* -- status -- */

/* The options of its handler that it was made with. */
static void put_policy(struct json_out *o, struct pool *pool, const struct pod *p)
{
	const struct json *j;
	if (json_parse(pool, p->policy_json, strlen(p->policy_json), &j, NULL) < 0 || !json_len(j))
		return;
	json_key(o, "handlerOptions");
	json_put(o, j);
}

static const char *verbose_pod(struct pool *pool, const struct pod *p)
{
	struct json_out *o = json_out(pool);
	json_object(o);
	json_member_str(o, "handler", p->handler_name);
	json_member_str(o, "engine", p->engine);
	if (p->asked_handler) {
		json_member_str(o, "askedHandler", p->asked_handler);
		json_member_str(o, "movedBecause", p->moved_why);
	}
	json_member_bool(o, "handlerChanged", p->handler->old);
	put_policy(o, pool, p);
	json_member_str(o, "netns", p->netns_pin);
	json_member_str(o, "cgroupParent", p->cgroup_parent);
	json_member_int(o, "pausePid", p->pause_pid);
	json_member_int(o, "memory", (int64_t)pool_size(p->pool));
	json_member_str(o, "operation", p->op ? p->op->table->name : NULL);
	json_end_object(o);
	return json_text(o, NULL);
}

RPC(cri_pod_sandbox_status)
{
	const Cri__PodSandboxStatusRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	struct pool *pool = grpc_pool(call);
	struct pod *p = model_pod(cri->model, rq->pod_sandbox_id);
	if (!p || p->state == POD_STATE_STARTING) {
		rpc_not_found(call, "pod_sandbox_id", rq->pod_sandbox_id, "pod");
		return;
	}
	Cri__PodSandboxStatusResponse resp = CRI__POD_SANDBOX_STATUS_RESPONSE__INIT;
	resp.status = object_pod_status(pool, p);
	resp.containers_statuses = object_container_statuses(pool, p, &resp.n_containers_statuses);
	resp.timestamp = clock_real_ns();
	if (rq->verbose) {
		resp.n_info = 1;
		resp.info = rpc_info(pool, &cri__pod_sandbox_status_response__info_entry__descriptor,
				     verbose_pod(pool, p));
	}
	grpc_reply(call, &resp.base);
}

/* -- list -- */

static bool pod_matches(const struct pod *p, const Cri__PodSandboxFilter *f)
{
	if (p->state == POD_STATE_STARTING)
		return false;	/* its id is not out yet */
	if (!f)
		return true;
	if (f->id[0] && strncmp(p->id, f->id, strlen(f->id)))
		return false;
	if (f->state && f->state->state != rpc_pod_state(p))
		return false;
	return rpc_labels_match((void *)p->config->labels, p->config->n_labels, (void *)f->label_selector,
				f->n_label_selector);
}

RPC(cri_list_pod_sandbox)
{
	const Cri__ListPodSandboxRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	struct pool *pool = grpc_pool(call);
	void **items = pool_alloc(pool, (cri->model->pods.len + 1) * sizeof(*items));
	size_t n = 0;
	struct pod *p;
	list_for_each(p, &cri->model->pod_list, link) {
		if (!pod_matches(p, rq->filter))
			continue;
		Cri__PodSandbox *it = pool_new_struct(pool, Cri__PodSandbox);
		*it = (Cri__PodSandbox)CRI__POD_SANDBOX__INIT;
		it->id = p->id;
		it->metadata = p->config->metadata;
		it->state = rpc_pod_state(p);
		it->created_at = p->created_ns;
		it->n_labels = p->config->n_labels;
		it->labels = (void *)p->config->labels;
		it->n_annotations = p->config->n_annotations;
		it->annotations = (void *)p->config->annotations;
		it->runtime_handler = (char *)(uintptr_t)p->handler_name;
		items[n++] = it;
	}
	rpc_reply_list(call, items, n);
}

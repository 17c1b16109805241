/* The container methods. */
#include <string.h>

#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/cri/objects.h"
#include "core/cri/rpc.h"
#include "core/image/image.h"
#include "core/oci/oci.h"

static void reply_create(struct rpc *r, const char *id)
{
	Cri__CreateContainerResponse resp = CRI__CREATE_CONTAINER_RESPONSE__INIT;
	resp.container_id = (char *)(uintptr_t)id;
	grpc_reply(r->call, &resp.base);
}

RPC(cri_create_container)
{
	const Cri__CreateContainerRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	if (!rq->config) {
		grpc_fail_code(call, GRPC_INVALID_ARGUMENT, "config: is missing");
		return;
	}
	model_create(cri->model, rq->pod_sandbox_id, rq->config, rpc_wait(call, reply_create));
}

static void reply_empty(struct rpc *r, const char *id)
{
	rpc_reply_empty(r->call);
}

RPC(cri_start_container)
{
	const Cri__StartContainerRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	model_start(cri->model, rq->container_id, rpc_wait(call, reply_empty));
}

RPC(cri_stop_container)
{
	const Cri__StopContainerRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	model_stop(cri->model, rq->container_id, rq->timeout, rpc_wait(call, reply_empty));
}

RPC(cri_remove_container)
{
	const Cri__RemoveContainerRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	model_remove(cri->model, rq->container_id, rpc_wait(call, reply_empty));
}

RPC(cri_update_container_resources)
{
	const Cri__UpdateContainerResourcesRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	if (!rq->linux) {
		grpc_fail_code(call, GRPC_INVALID_ARGUMENT, "linux: is missing");
		return;
	}
	model_update(cri->model, rq->container_id, rq->linux, rpc_wait(call, reply_empty));
}

RPC(cri_reopen_container_log)
{
	const Cri__ReopenContainerLogRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	struct err e = { 0 };
	if (model_reopen_log(cri->model, rq->container_id, &e) < 0)
		grpc_fail(call, &e);
	else
		rpc_reply_empty(call);
}

/* -- exec -- */

static void handle_exec_left(struct grpc_call *call, void *data)
{
	model_exec_leave(data);
}

static void handle_exec_done(void *data, int ret, const struct exec_result *r, const struct err *e)
{
	struct grpc_call *call = data;
	if (ret < 0) {
		grpc_fail(call, e);
		return;
	}
	Cri__ExecSyncResponse resp = CRI__EXEC_SYNC_RESPONSE__INIT;
	resp.stdout = (ProtobufCBinaryData){ r->out.len, (uint8_t *)r->out.data };
	resp.stderr = (ProtobufCBinaryData){ r->err.len, (uint8_t *)r->err.data };
	resp.exit_code = r->exit_code;
	grpc_reply(call, &resp.base);
}

RPC(cri_exec_sync)
{
	const Cri__ExecSyncRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	const char **cmd = pool_alloc(grpc_pool(call), (rq->n_cmd + 1) * sizeof(*cmd));
	for (size_t i = 0; i < rq->n_cmd; i++)
		cmd[i] = rq->cmd[i];
	struct exec *x = model_exec_sync(cri->model, rq->container_id, cmd, rq->timeout, handle_exec_done, call);
	grpc_on_cancel(call, handle_exec_left, x);
}

/* -- status -- */

static const char *verbose_container(struct pool *pool, const struct container *c)
{
	struct json_out *o = json_out(pool);
	json_object(o);
	json_member_str(o, "sandboxID", c->pod->id);
	json_member_int(o, "pid", c->pid);
	json_member_str(o, "cgroup", c->cgroup);
	json_member_str(o, "engine", c->pod->engine);
	json_member_int(o, "memory", (int64_t)pool_size(c->pool));
	json_member_str(o, "operation", c->op ? c->op->table->name : NULL);
	json_end_object(o);
	return json_text(o, NULL);
}

static struct container *find(struct grpc_call *call, const char *id)
{
	struct cri *cri = grpc_user(call);
	struct container *c = model_container(cri->model, id);
	if (c && c->state != CONTAINER_STATE_CREATING)
		return c;
	rpc_not_found(call, "container_id", id, "container");
	return NULL;
}

RPC(cri_container_status)
{
	const Cri__ContainerStatusRequest *rq = (const void *)request;
	struct container *c = find(call, rq->container_id);
	if (!c)
		return;
	Cri__ContainerStatusResponse resp = CRI__CONTAINER_STATUS_RESPONSE__INIT;
	resp.status = object_container_status(grpc_pool(call), c);
	if (rq->verbose) {
		resp.n_info = 1;
		resp.info = rpc_info(grpc_pool(call), &cri__container_status_response__info_entry__descriptor,
				     verbose_container(grpc_pool(call), c));
	}
	grpc_reply(call, &resp.base);
}

/* -- list -- */

static bool container_matches(const struct container *c, const Cri__ContainerFilter *f)
{
	if (c->state == CONTAINER_STATE_CREATING)
		return false;	/* its id is not out yet */
	if (!f)
		return true;
	if (f->id[0] && strncmp(c->id, f->id, strlen(f->id)))
		return false;
	if (f->pod_sandbox_id[0] && strncmp(c->pod->id, f->pod_sandbox_id, strlen(f->pod_sandbox_id)))
		return false;
	if (f->state && f->state->state != rpc_container_state(c))
		return false;
	return rpc_labels_match((void *)c->config->labels, c->config->n_labels, (void *)f->label_selector,
				f->n_label_selector);
}

RPC(cri_list_containers)
{
	const Cri__ListContainersRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	struct pool *pool = grpc_pool(call);
	void **list = pool_alloc(pool, (cri->model->containers.len + 1) * sizeof(*list));
	size_t n = 0;
	struct container *c;
	list_for_each(c, &cri->model->container_list, link) {
		if (!container_matches(c, rq->filter))
			continue;
		Cri__Container *it = pool_new_struct(pool, Cri__Container);
		*it = (Cri__Container)CRI__CONTAINER__INIT;
		it->id = c->id;
		it->pod_sandbox_id = c->pod->id;
		it->metadata = c->config->metadata;
		it->image = c->config->image;
		it->image_ref = (char *)(uintptr_t)c->image_ref;
		it->image_id = (char *)(uintptr_t)c->image_id;
		it->state = rpc_container_state(c);
		it->created_at = c->created_ns;
		it->n_labels = c->config->n_labels;
		it->labels = (void *)c->config->labels;
		it->n_annotations = c->config->n_annotations;
		it->annotations = (void *)c->config->annotations;
		list[n++] = it;
	}
	rpc_reply_list(call, list, n);
}

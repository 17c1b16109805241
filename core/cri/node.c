/* crisp.v1.Node: what crispctl needs beyond the CRI. */
#include <errno.h>

#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/cri/rpc.h"
#include "core/image/image.h"
#include "core/op/op.h"
#include "core/plug/plug.h"
#include "proto/node.pb-c.h"

/* -- progress: one that the reader is too slow for is left out, the last one never -- */

struct transfer {
	struct grpc_call *call;
	struct image_pull *pull;
	bool stalled;
	bool loading;
};

static void handle_writable(struct grpc_call *call, void *data)
{
	struct transfer *t = data;
	t->stalled = false;
}

static void send_pull(struct transfer *t, const struct image_progress *pr, const char *id)
{
	Node__PullProgress msg = NODE__PULL_PROGRESS__INIT;
	msg.done = pr->done;
	msg.total = pr->total;
	msg.layers_done = pr->layers_done;
	msg.layers = pr->layers;
	msg.stage = (char *)(uintptr_t)pr->stage;
	msg.image_id = (char *)(uintptr_t)id;
	t->stalled = !grpc_send(t->call, &msg.base);
}

static void send_load(struct transfer *t, const struct image_progress *pr, const char *id)
{
	Node__LoadProgress msg = NODE__LOAD_PROGRESS__INIT;
	char *ids[] = { (char *)(uintptr_t)id };
	msg.done = pr->done;
	msg.total = pr->total;
	msg.layers_done = pr->layers_done;
	msg.layers = pr->layers;
	msg.stage = (char *)(uintptr_t)pr->stage;
	msg.n_image_ids = id[0] ? 1 : 0;
	msg.image_ids = ids;
	t->stalled = !grpc_send(t->call, &msg.base);
}

static void handle_progress(void *data, const struct image_progress *pr)
{
	struct transfer *t = data;
	if (!t->stalled)
		(t->loading ? send_load : send_pull)(t, pr, "");
}

static void handle_end(void *data, int ret, const char *image_id, const struct err *e)
{
	struct transfer *t = data;
	if (ret < 0) {
		grpc_fail(t->call, e);
		return;
	}
	struct image_progress end = { .stage = "done" };
	(t->loading ? send_load : send_pull)(t, &end, image_id);
	grpc_finish(t->call);
}

static void handle_left(struct grpc_call *call, void *data)
{
	struct transfer *t = data;
	image_pull_leave(t->pull);
}

static struct transfer *transfer_new(struct grpc_call *call, bool loading)
{
	struct transfer *t = pool_new_struct(grpc_pool(call), struct transfer);
	t->call = call;
	t->loading = loading;
	grpc_on_writable(call, handle_writable, t);
	grpc_on_cancel(call, handle_left, t);
	return t;
}

RPC(node_pull)
{
	const Node__PullRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	if (!rq->image[0]) {
		grpc_fail_code(call, GRPC_INVALID_ARGUMENT, "image: is empty, expected a reference");
		return;
	}
	struct image_auth auth = { 0 };
	if (rq->auth)
		auth = (struct image_auth){ rpc_given(rq->auth->username), rpc_given(rq->auth->password),
					    rpc_given(rq->auth->auth), rpc_given(rq->auth->server_address),
					    rpc_given(rq->auth->identity_token), rpc_given(rq->auth->registry_token) };
	struct transfer *t = transfer_new(call, false);
	t->pull = image_pull(cri->images, rq->image, rq->auth ? &auth : NULL, handle_progress, handle_end, t);
}

RPC(node_load)
{
	const Node__LoadRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	if (rq->path[0] != '/') {
		grpc_fail_code(call, GRPC_INVALID_ARGUMENT, "path: expected an absolute path");
		return;
	}
	struct transfer *t = transfer_new(call, true);
	t->pull = image_load(cri->images, -1, rq->path, rpc_given(rq->name), handle_progress, handle_end, t);
}

/* -- dump -- */

static void dump_ops(struct json_out *o)
{
	struct op *op;
	json_array(o);
	list_for_each(op, op_all(), link) {
		json_object(o);
		json_member_str(o, "operation", op->table->name);
		json_member_str(o, "id", op->subject);
		json_member_str(o, "step", op_step_name(op));
		json_member_bool(o, "undoing", op->state == OP_STATE_UNDOING);
		json_end_object(o);
	}
	json_end_array(o);
}

static void dump_pods(struct json_out *o, struct model *m)
{
	struct pod *p;
	json_array(o);
	list_for_each(p, &m->pod_list, link) {
		json_object(o);
		json_member_str(o, "id", p->id);
		json_member_str(o, "name", p->config->metadata->name);
		json_member_str(o, "handler", p->handler_name);
		json_member_int(o, "memory", (int64_t)pool_size(p->pool));
		json_end_object(o);
	}
	json_end_array(o);
}

RPC(node_dump)
{
	struct cri *cri = grpc_user(call);
	struct json_out *o = json_out(grpc_pool(call));
	json_object(o);
	json_member_str(o, "version", cri->version);
	json_member_int(o, "loopLagP50Us", (int64_t)loop_lag_us(cri->loop, 0.5));
	json_member_int(o, "loopLagP99Us", (int64_t)loop_lag_us(cri->loop, 0.99));
	json_member_int(o, "loopPasses", (int64_t)loop_passes(cri->loop));
	json_member_int(o, "memory", (int64_t)pool_size(cri->model->pool));
	json_key(o, "operations");
	dump_ops(o);
	json_key(o, "pods");
	dump_pods(o, cri->model);
	json_key(o, "handlers");
	plug_dump(cri->plug, o);
	json_end_object(o);
	Node__DumpResponse resp = NODE__DUMP_RESPONSE__INIT;
	resp.json = (char *)(uintptr_t)json_text(o, NULL);
	grpc_reply(call, &resp.base);
}

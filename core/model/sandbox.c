/* Engines with a sandbox of their own (a guest kernel): it is made with the pod. */
#include <errno.h>

#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/model/model_int.h"
#include "core/plug/plug.h"
#include "core/store/store.h"

static void handle_created(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	struct op *op = data;
	struct pod *p = op->data;
	struct err mine = { 0 };
	if (ret == 0 && res->state_len) {
		ret = store_write(p->model->g.store, STORE_POD, p->id, "engine.state", res->state,
				  res->state_len, &mine);
		e = &mine;
	}
	step_wake(op, ret, e);
}

int step_create_sandbox(struct op *op)
{
	struct pod *p = op->data;
	if (!plug_can(p->handler, CRISP_CAP_SANDBOX_OWN))
		return 0;
	struct crisp_stdio stdio = { .size = sizeof(stdio) };
	struct crisp_sandbox_create_args args = {
		.size = sizeof(args), .id = p->id, .stdio = &stdio, .netns_path = p->netns_pin,
		.cgroup_path = p->cgroup_parent, .config_json = "{}",
	};
	p->sandbox_made = true;
	record_note_pod(p);
	return step_engine(op, plug_sandbox_create(p->handler, &args, ENGINE_TIMEOUT_MS, handle_created, op));
}

static void handle_deleted(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	struct op *op = data;
	struct pod *p = op->data;
	if (ret == -ENOENT)
		ret = 0;
	if (ret == 0)
		p->sandbox_made = false;
	step_wake(op, ret, e);
}

int step_delete_sandbox(struct op *op)
{
	struct pod *p = op->data;
	if (!p->sandbox_made)
		return 0;
	return step_engine(op, plug_sandbox_delete(p->handler, p->id, true, ENGINE_TIMEOUT_MS, handle_deleted, op));
}

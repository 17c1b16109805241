/* UpdateContainerResources: in effect, or an error and nothing changed. */
#include <errno.h>

#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/model/model_int.h"
#include "core/oci/oci.h"
#include "core/plug/plug.h"
#include "core/store/store.h"

struct update {
	struct op op;
	Cri__LinuxContainerResources *merged;	/* in op.pool */
	bool first;				/* the guest had no limits before */
};

static struct update *update_of(struct op *op)
{
	return container_of(op, struct update, op);
}

static Cri__LinuxContainerResources *current(const struct container *c)
{
	return c->config->linux ? c->config->linux->resources : NULL;
}

static void handle_updated(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	step_wake(data, ret, e);
}

static int engine_update(struct op *op, const Cri__LinuxContainerResources *r, struct err *e)
{
	struct container *c = op->data;
	const char *json;
	size_t len;
	if (guest_has_limits(c->pod))
		return guest_apply_limits(op, c->pod, c, r);
	int ret = oci_resources_json(op->pool, c->model->g.host, r, &json, &len, e);
	if (ret < 0)
		return ret;
	struct crisp_update_args args = { .size = sizeof(args), .id = c->id, .resources_json = json };
	return step_engine(op, plug_update(c->pod->handler, c->pod->id, &args, engine_timeout_ms(op),
					   handle_updated, op));
}

static int apply(struct op *op)
{
	return engine_update(op, update_of(op)->merged, &op->err);
}

/* An engine may have set half of it. */
static int apply_old(struct op *op)
{
	struct container *c = op->data;
	if (guest_has_limits(c->pod) && update_of(op)->first)
		return guest_lift_limits(op, c->pod);
	if (!c->alive || !current(c))
		return 0;
	return engine_update(op, current(c), &op->undo_err);
}

/* The config in memory is rewritten with the new limits, and so is config.pb. */
static int keep_limits(struct op *op)
{
	struct container *c = op->data;
	Cri__LinuxContainerConfig empty = CRI__LINUX_CONTAINER_CONFIG__INIT;
	Cri__ContainerConfig config = *c->config;
	Cri__LinuxContainerConfig lc = config.linux ? *config.linux : empty;
	lc.resources = update_of(op)->merged;
	config.linux = &lc;
	size_t len;
	void *data = pb_pack(op->pool, &config, &len);
	int ret = store_write(c->model->g.store, STORE_CONTAINER, c->id, "config.pb", data, len, &op->err);
	if (ret < 0)
		return ret;
	/* Old values stay in the container's pool: updates are rare. */
	Cri__LinuxContainerConfig *mine = c->config->linux;
	if (!mine) {
		mine = pool_new_struct(c->pool, Cri__LinuxContainerConfig);
		*mine = empty;
		c->config->linux = mine;
	}
	mine->resources = pb_copy(c->pool, update_of(op)->merged);
	return 0;
}

static const struct op_step update_steps[] = {
	{ "engine update", apply, apply_old },
	{ "keep limits", keep_limits, NULL },
	{ "guest's limits", step_guest_limits, NULL },	/* another update may have known the old ones of this */
	{ 0 }
};

static void update_done(struct op *op, int ret)
{
	struct container *c = op->data;
	c->op = NULL;
	loop_destroy_later(op->loop, op->pool);
	record_note_container(c);
}

static const struct op_table update_table = { "update", update_steps, NULL, update_done };

/* Limits of a guest are the host's own to write, and soon written; half of it is not worth taking back. */
void container_give_up_update(struct container *c, const char *why)
{
	if (c->op && c->op->table == &update_table && !guest_has_limits(c->pod))
		op_cancel(c->op, ECANCELED, why);
}

void model_update(struct model *m, const char *id, const Cri__LinuxContainerResources *r, struct model_wait *w)
{
	struct err e = { 0 };
	struct container *c = model_container(m, id);
	if (!c)
		err_set(&e, ENOENT, "container_id \"%s\": no such container", id);
	else if ((c->state != CONTAINER_STATE_RUNNING && c->state != CONTAINER_STATE_CREATED) || c->op)
		err_set(&e, EBUSY, "container_id %s: the container is %s%s%s, neither created nor running", c->id,
			container_state_name(c->state), c->op ? ", under way is " : "",
			c->op ? c->op->table->name : "");
	else
		oci_check_resources(m->g.host, r, "linux", &e);
	if (e.code)
		return wait_fail(w, id, &e);
	struct pool *pool = pool_new(c->pool, "update");
	struct update *u = pool_new_struct(pool, struct update);
	u->merged = pb_copy(pool, oci_resources_merge(pool, current(c), r));
	if (guest_has_limits(c->pod) && guest_check_limits(pool, c, r, u->merged, &e) < 0) {
		pool_destroy(pool);
		return wait_fail(w, id, &e);
	}
	u->first = !c->pod->guest_limited;
	c->op = &u->op;
	op_start(c->op, &update_table, m->g.loop, pool, c, c->id, OP_TIMEOUT_MS);
	wait_op(w, c->op, c->id);
}

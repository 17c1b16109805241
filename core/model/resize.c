/*
 * UpdatePodSandboxResources: the pod's own numbers.  Its cgroup is the kubelet's, which has changed
 * it already.  What is left to do is to tell an engine whose sandbox has a size, and to keep the
 * numbers for whoever asks the pod's configuration.
 */
#include <errno.h>

#include "core/base/pool.h"
#include "core/model/model_int.h"
#include "core/oci/oci.h"
#include "core/plug/plug.h"
#include "core/store/store.h"

struct resize {
	struct op op;
	Cri__LinuxContainerResources *resources, *overhead;	/* merged, in op.pool */
};

static struct resize *resize_of(struct op *op)
{
	return container_of(op, struct resize, op);
}

static Cri__LinuxContainerResources *merge(struct pool *pool, const Cri__LinuxContainerResources *old,
					   const Cri__LinuxContainerResources *update)
{
	Cri__LinuxContainerResources none = CRI__LINUX_CONTAINER_RESOURCES__INIT;
	return pb_copy(pool, oci_resources_merge(pool, old, update ? update : &none));
}

static void handle_updated(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	step_wake(data, ret, e);
}

static int engine_update(struct op *op, const Cri__LinuxContainerResources *r, struct err *e)
{
	struct pod *p = op->data;
	const char *json;
	size_t len;
	if (!p->sandbox_made || !plug_has(p->handler, PLUG_OP_SANDBOX_UPDATE))
		return 0;
	int ret = oci_resources_json(op->pool, p->model->g.host, r, &json, &len, e);
	if (ret < 0)
		return ret;
	struct crisp_update_args args = { .size = sizeof(args), .id = p->id, .resources_json = json };
	return step_engine(op, plug_call(p->handler, PLUG_OP_SANDBOX_UPDATE, &args, p->id, engine_timeout_ms(op),
					 handle_updated, op));
}

static int apply(struct op *op)
{
	return engine_update(op, resize_of(op)->resources, &op->err);
}

static int apply_old(struct op *op)
{
	struct pod *p = op->data;
	const Cri__LinuxPodSandboxConfig *lc = p->config->linux;
	return lc && lc->resources ? engine_update(op, lc->resources, &op->undo_err) : 0;
}

/* As for containers: config.pb first, then memory.  Old numbers stay in the pod's pool. */
static int keep_numbers(struct op *op)
{
	struct pod *p = op->data;
	struct resize *rs = resize_of(op);
	Cri__LinuxPodSandboxConfig empty = CRI__LINUX_POD_SANDBOX_CONFIG__INIT;
	Cri__PodSandboxConfig config = *p->config;
	Cri__LinuxPodSandboxConfig lc = config.linux ? *config.linux : empty;
	lc.resources = rs->resources;
	lc.overhead = rs->overhead;
	config.linux = &lc;
	size_t len;
	void *data = pb_pack(op->pool, &config, &len);
	int ret = store_write(p->model->g.store, STORE_POD, p->id, "config.pb", data, len, &op->err);
	if (ret < 0)
		return ret;
	if (!p->config->linux) {
		p->config->linux = pool_new_struct(p->pool, Cri__LinuxPodSandboxConfig);
		*p->config->linux = empty;
	}
	p->config->linux->resources = pb_copy(p->pool, rs->resources);
	p->config->linux->overhead = pb_copy(p->pool, rs->overhead);
	return 0;
}

/* What the pod takes beside its containers may be another now. */
static int apply_guest(struct op *op)
{
	struct pod *p = op->data;
	return p->guest_limited ? guest_apply_limits(op, p, NULL, NULL) : 0;
}

static const struct op_step resize_steps[] = {
	{ "engine update", apply, apply_old },
	{ "keep numbers", keep_numbers, NULL },
	{ "guest's limits", apply_guest, NULL },
	{ 0 }
};

static void resize_done(struct op *op, int ret)
{
	struct pod *p = op->data;
	p->op = NULL;
	loop_destroy_later(op->loop, op->pool);
	record_note_pod(p);
}

static const struct op_table resize_table = { "resize pod", resize_steps, NULL, resize_done };

/* As for containers; a guest's limits are written to their end. */
void pod_give_up_resize(struct pod *p, const char *why)
{
	if (p->op && p->op->table == &resize_table && !p->guest_limited)
		op_cancel(p->op, ECANCELED, why);
}

static int check(struct model *m, struct pod *p, const char *id, const Cri__LinuxContainerResources *resources,
		 const Cri__LinuxContainerResources *overhead, struct err *e)
{
	if (!p || p->state == POD_STATE_STARTING)
		return err_set(e, ENOENT, "pod_sandbox_id \"%s\": no such pod", id);
	if (p->state != POD_STATE_READY || p->op)
		return err_set(e, EBUSY, "pod_sandbox_id %s: the pod is %s, not ready", p->id,
			       p->op ? p->op->table->name : pod_state_name(p->state));
	int ret = resources ? oci_check_resources(m->g.host, resources, "resources", e) : 0;
	return ret < 0 || !overhead ? ret : oci_check_resources(m->g.host, overhead, "overhead", e);
}

void model_resize_pod(struct model *m, const char *id, const Cri__LinuxContainerResources *resources,
		      const Cri__LinuxContainerResources *overhead, struct model_wait *w)
{
	struct err e = { 0 };
	struct pod *p = model_pod(m, id);
	if (check(m, p, id, resources, overhead, &e) < 0)
		return wait_fail(w, id, &e);
	const Cri__LinuxPodSandboxConfig *lc = p->config->linux;
	struct pool *pool = pool_new(p->pool, "resize");
	struct resize *rs = pool_new_struct(pool, struct resize);
	rs->resources = merge(pool, lc ? lc->resources : NULL, resources);
	rs->overhead = merge(pool, lc ? lc->overhead : NULL, overhead);
	p->op = &rs->op;
	op_start(p->op, &resize_table, m->g.loop, pool, p, p->id, OP_TIMEOUT_MS);
	wait_op(w, p->op, p->id);
}

/* The cgroup that a pod's containers are in: which, what is made above it, and its removal. */
#include <string.h>

#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/cgroup/slice.h"
#include "core/model/model_int.h"
#include "core/spawn/spawn.h"

const char *pod_cgroup_parent(struct pod *p)
{
	const char *given = p->config->linux ? p->config->linux->cgroup_parent : "";
	const char *ours = cgroups_parent(p->model->g.cgroups), *path;
	if (given[0] && slice_is(given) && slice_path(p->pool, given, &path, NULL) == 0)
		return path;
	if (given[0])
		return pool_strdup(p->pool, given);
	return slice_is(ours) ? slice_of_pod(p->pool, ours, p->id) : pool_printf(p->pool, "%s/%s", ours, p->id);
}

char *pod_cgroup_leaf(struct pool *p, const struct pod *pod)
{
	return cgroup_leaf(p, pod->cgroup_parent, pod->id);
}

/* The parents of the pod's containers: all above any leaf in cgroup_parent. */
int step_make_cgroup(struct op *op)
{
	struct pod *p = op->data;
	struct cgroups *cg = p->model->g.cgroups;
	const char *leaf = pod_cgroup_leaf(op->pool, p);
	int ret = cgroup_plan_parents(cg, p->pool, leaf, &p->cgroup_made, &op->err);
	if (ret < 0)
		return ret;
	cgroup_oom_kills(cg, p->cgroup_parent, &p->oom_known);
	record_note_pod(p);	/* or nobody would know whose they are, if we died before the next step */
	return cgroup_make_parents(cg, p->pool, leaf, &p->cgroup_made, &op->err);
}

/* Does another pod live in that slice or below?  One that comes while systemctl has been started for
 * it finds that it is stopped long before its own first container. */
static bool slice_in_use(void *data, const char *path)
{
	struct op *op = data;
	const struct pod *p = op->data, *other;
	size_t n = strlen(path);
	list_for_each(other, &p->model->pod_list, link) {
		const char *parent = other->cgroup_parent;
		if (other != p && !strncmp(parent, path, n) && (!parent[n] || parent[n] == '/'))
			return true;
	}
	return false;
}

/* A slice that stays is a blemish, no reason to keep the pod. */
static void handle_slices_stopped(void *data, struct spawn_result *r)
{
	struct op *op = data;
	struct pod *p = op->data;
	struct err e = { 0 };
	if (spawn_check(r, "systemctl", &e) < 0)
		log_warn("a slice stays", "pod", p->id, "error", err_text(&e));
	slices_stopped(p->model->g.cgroups, pod_cgroup_leaf(op->pool, p), p->cgroup_made);
	op_wake(op, 0);
}

int step_remove_cgroup(struct op *op)
{
	struct pod *p = op->data;
	struct model *m = p->model;
	const char *leaf = pod_cgroup_leaf(op->pool, p);
	struct err *e = op->state == OP_STATE_UNDOING ? &op->undo_err : &op->err;
	int ret = cgroup_remove_made(m->g.cgroups, leaf, p->cgroup_made, e);
	if (ret < 0 || !slice_is(p->cgroup_parent))
		return ret;
	struct spawn *sp = slices_stop(m->g.cgroups, m->g.spawner, op->pool, leaf, p->cgroup_made, slice_in_use,
				       handle_slices_stopped, op);
	return sp ? step_spawn(op, sp) : 0;
}

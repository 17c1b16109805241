/*
 * Limits in a pod that is one guest, of an engine that can't change those of its containers.
 *
 * No container has a cgroup of its own there; what the kernel can hold is the sandbox as a whole, in the
 * leaf cgroup of the pod.  So the first update of a container puts there what all of the pod's containers
 * may have together, beside the pod's overhead, and from then on it follows each start and update.  What has
 * no limit for one of them has none for all: an update that asks for it would have no effect, and is
 * refused.
 */
#include <errno.h>
#include <inttypes.h>

#include "core/base/buf.h"
#include "core/base/pool.h"
#include "core/cgroup/cgroup.h"
#include "core/model/model_int.h"
#include "core/oci/oci.h"
#include "core/plug/plug.h"
#include "core/sandboxfs/sandboxfs.h"

enum { PERIOD_US = 100000, SHARES_UNSET = 1024 };

enum part { PART_MEMORY, PART_SWAP, PART_QUOTA, PART_CPUS, PART_MEMS, PARTS };

/* Of all containers. */
struct total {
	int64_t memory, swap, quota, shares;
	const char *cpus, *mems;
	const char *without[PARTS];	/* the name of one that has no such limit; NULL: all have */
};

bool guest_has_limits(const struct pod *p)
{
	return plug_can(p->handler, CRISP_CAP_SANDBOX_OWN | CRISP_CAP_SANDBOX_NEEDS_ROOTFS) &&
	       !plug_has(p->handler, PLUG_OP_UPDATE);
}

static int64_t plus(int64_t a, int64_t b)
{
	return a > INT64_MAX - b ? INT64_MAX : a + b;
}

static void add_number(struct total *t, enum part part, int64_t *sum, int64_t value, const char *name)
{
	if (value > 0)
		*sum = plus(*sum, value);
	else
		t->without[part] = name;
}

static void add_set(struct total *t, enum part part, struct pool *pool, const char **sum, const char *set,
		    const char *name)
{
	if (!set || !*set)
		t->without[part] = name;
	else
		*sum = *sum ? pool_printf(pool, "%s,%s", *sum, set) : set;
}

static int64_t quota_of(const Cri__LinuxContainerResources *r)
{
	int64_t period = r->cpu_period > 0 ? r->cpu_period : PERIOD_US;
	if (r->cpu_quota <= 0)
		return 0;
	return r->cpu_quota > INT64_MAX / PERIOD_US ? INT64_MAX : r->cpu_quota * PERIOD_US / period;
}

static void add(struct total *t, struct pool *pool, const char *name, const Cri__LinuxContainerResources *r)
{
	static const Cri__LinuxContainerResources none = CRI__LINUX_CONTAINER_RESOURCES__INIT;
	if (!r)
		r = &none;
	int64_t swap = r->memory_swap_limit_in_bytes ? r->memory_swap_limit_in_bytes : r->memory_limit_in_bytes;
	add_number(t, PART_MEMORY, &t->memory, r->memory_limit_in_bytes, name);
	add_number(t, PART_SWAP, &t->swap, swap, name);
	add_number(t, PART_QUOTA, &t->quota, quota_of(r), name);
	t->shares = plus(t->shares, r->cpu_shares > 0 ? r->cpu_shares : SHARES_UNSET);
	add_set(t, PART_CPUS, pool, &t->cpus, r->cpuset_cpus, name);
	add_set(t, PART_MEMS, pool, &t->mems, r->cpuset_mems, name);
}

/* With r as the limits of c; c NULL: as they all are. */
static struct total sum_up(struct pool *pool, const struct pod *p, const struct container *c,
			   const Cri__LinuxContainerResources *r)
{
	struct total t = { 0 };
	const struct container *other;
	list_for_each(other, &p->containers, in_pod) {
		if (other == c)
			add(&t, pool, c->name, r);
		else if (other->state == CONTAINER_STATE_CREATED || other->state == CONTAINER_STATE_RUNNING)
			add(&t, pool, other->config->metadata->name,
			    other->config->linux ? other->config->linux->resources : NULL);
	}
	struct pod_overhead over = pod_overhead(p);
	t.memory = plus(t.memory, over.memory > 0 ? over.memory : 0);
	t.swap = plus(t.swap, over.memory > 0 ? over.memory : 0);
	t.quota = plus(t.quota, over.cpu_quota > 0 ? over.cpu_quota : 0);
	return t;
}

/* -- may it be so? -- */

static bool cgroup_value(struct pod *p, const char *leaf, const char *file, const char *key, uint64_t *out)
{
	struct buf text = { 0 };
	bool good = cgroup_read(p->model->g.cgroups, "memory", leaf, file, &text) == 0 &&
		    (key ? cgroup_field(&text, key, out) : cgroup_number(&text, out));
	buf_free(&text);
	return good;
}

/* What can't be freed for a lower limit; 0: not known. */
static uint64_t in_use(struct pool *pool, struct pod *p)
{
	bool v2 = cgroup_controller_v2(p->model->g.cgroups, "memory");
	const char *leaf = pod_cgroup_leaf(pool, p);
	uint64_t all, files;
	if (!cgroup_value(p, leaf, v2 ? "memory.current" : "memory.usage_in_bytes", NULL, &all) ||
	    !cgroup_value(p, leaf, "memory.stat", v2 ? "inactive_file" : "total_inactive_file", &files))
		return 0;
	return all > files ? all - files : 0;
}

static int no_effect(struct err *e, const char *field, const char *without)
{
	return err_set(e, EBUSY, "linux.%s: would have no effect: the pod's containers are limited together, and %s has no "
		       "such limit", field, without);
}

static int check_kinds(const struct container *c, const Cri__LinuxContainerResources *r, struct err *e)
{
	const Cri__LinuxContainerResources *old = c->config->linux ? c->config->linux->resources : NULL;
	if (r->oom_score_adj && r->oom_score_adj != (old ? old->oom_score_adj : 0))
		return err_set(e, ENOSYS, "linux.oom_score_adj: can't be changed in a guest");
	if (r->n_unified)
		return err_set(e, ENOSYS, "linux.unified \"%s\": a container of a guest has no cgroup", r->unified[0]->key);
	for (size_t i = 0; i < r->n_hugepage_limits; i++)
		if (r->hugepage_limits[i]->limit)
			return err_set(e, ENOSYS, "linux.hugepage_limits[%zu] \"%s\": a container of a guest has no cgroup", i,
				       r->hugepage_limits[i]->page_size);
	return 0;
}

int guest_check_limits(struct pool *pool, const struct container *c, const Cri__LinuxContainerResources *asked,
		       const Cri__LinuxContainerResources *merged, struct err *e)
{
	struct pod *p = c->pod;
	struct total t = sum_up(pool, p, c, merged);
	int ret = check_kinds(c, asked, e);
	if (ret < 0)
		return ret;
	if (!p->sandbox_made || !cgroup_exists(p->model->g.cgroups, pod_cgroup_leaf(pool, p)))
		return err_set(e, ENOSYS, "linux: the pod's guest is in no cgroup here that could have limits");
	if (asked->memory_limit_in_bytes > 0 && t.without[PART_MEMORY])
		return no_effect(e, "memory_limit_in_bytes", t.without[PART_MEMORY]);
	if (asked->memory_swap_limit_in_bytes > 0 && t.without[PART_SWAP])
		return no_effect(e, "memory_swap_limit_in_bytes", t.without[PART_SWAP]);
	if (asked->cpu_quota > 0 && t.without[PART_QUOTA])
		return no_effect(e, "cpu_quota", t.without[PART_QUOTA]);
	if (asked->cpuset_cpus && *asked->cpuset_cpus && t.without[PART_CPUS])
		return no_effect(e, "cpuset_cpus", t.without[PART_CPUS]);
	if (asked->cpuset_mems && *asked->cpuset_mems && t.without[PART_MEMS])
		return no_effect(e, "cpuset_mems", t.without[PART_MEMS]);
	uint64_t used = in_use(pool, p);
	if (!t.without[PART_MEMORY] && used > (uint64_t)t.memory)
		return err_set(e, EBUSY, "linux.memory_limit_in_bytes %" PRId64 ": the pod's containers would have %" PRId64
			       " bytes together, and its guest uses %" PRIu64, merged->memory_limit_in_bytes, t.memory, used);
	return 0;
}

/* -- so be it -- */

static void handle_written(void *data, int ret, const struct err *e)
{
	step_wake(data, ret, e);
}

static int write_limits(struct op *op, struct pod *p, const struct cgroup_wish *wish)
{
	struct model *m = p->model;
	const char *writes[CGROUP_WRITES_MAX];
	size_t n = cgroup_limit_writes(m->g.cgroups, op->pool, pod_cgroup_leaf(op->pool, p), wish, writes);
	return step_spawn(op, sandboxfs_limit(m->g.sandboxfs, op->pool, writes, n, ENGINE_TIMEOUT_MS, handle_written, op));
}

int guest_apply_limits(struct op *op, struct pod *p, const struct container *c, const Cri__LinuxContainerResources *r)
{
	struct total t = sum_up(op->pool, p, c, r);
	struct cgroup_wish wish = {
		.cpu_shares = t.shares,
		.cpu_quota = t.without[PART_QUOTA] ? 0 : t.quota,
		.memory = t.without[PART_MEMORY] ? 0 : t.memory,
		.memory_swap = !p->model->g.host->swap_accounting ? -1 : t.without[PART_SWAP] ? 0 : t.swap,
		.cpus = t.without[PART_CPUS] ? "" : t.cpus,
		.mems = t.without[PART_MEMS] ? "" : t.mems,
	};
	p->guest_limited = true;
	record_note_pod(p);
	return write_limits(op, p, &wish);
}

int guest_lift_limits(struct op *op, struct pod *p)
{
	struct cgroup_wish wish = { .cpu_shares = SHARES_UNSET, .cpus = "", .mems = "",
				    .memory_swap = p->model->g.host->swap_accounting ? 0 : -1 };
	p->guest_limited = false;
	record_note_pod(p);
	return write_limits(op, p, &wish);
}

int step_guest_limits(struct op *op)
{
	const struct container *c = op->data;
	const Cri__LinuxContainerConfig *lc = c->config->linux;
	if (!c->pod->guest_limited)
		return 0;
	return guest_apply_limits(op, c->pod, c, lc ? lc->resources : NULL);
}

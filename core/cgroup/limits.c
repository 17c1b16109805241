/* Which files of a cgroup say what its limits are, v1 and v2. */
#include <inttypes.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/pool.h"
#include "core/cgroup/cgroup.h"

enum { PERIOD_US = 100000, SHARES_MIN = 2, SHARES_MAX = 262144, WEIGHT_MAX = 10000 };

struct writes {
	struct cgroups *cg;
	struct pool *pool;
	const char *path;
	const char **out;
	size_t n;
};

static void put(struct writes *w, const char *controller, const char *file, const char *value)
{
	w->out[w->n++] = pool_printf(w->pool, "%s/%s", cgroup_dir(w->cg, w->pool, controller, w->path), file);
	w->out[w->n++] = value;
}

static const char *number(struct writes *w, int64_t n, const char *none)
{
	return n > 0 ? pool_printf(w->pool, "%" PRId64, n) : none;
}

/* Where there is no such file there is no limit to take off. */
static bool has(struct writes *w, const char *controller, const char *file)
{
	struct buf text = { 0 };
	bool there = cgroup_read(w->cg, controller, w->path, file, &text) == 0;
	buf_free(&text);
	return there;
}

static void put_cpu(struct writes *w, const struct cgroup_wish *l)
{
	int64_t shares = l->cpu_shares < SHARES_MIN ? SHARES_MIN : l->cpu_shares > SHARES_MAX ? SHARES_MAX : l->cpu_shares;
	if (cgroup_controller_v2(w->cg, "cpu")) {
		int64_t weight = 1 + (shares - SHARES_MIN) * (WEIGHT_MAX - 1) / (SHARES_MAX - SHARES_MIN);
		if (l->cpu_quota > 0 || has(w, "cpu", "cpu.max"))
			put(w, "cpu", "cpu.max", pool_printf(w->pool, "%s %d", number(w, l->cpu_quota, "max"), PERIOD_US));
		if (l->cpu_shares > 0 && has(w, "cpu", "cpu.weight"))
			put(w, "cpu", "cpu.weight", number(w, weight, "1"));
		return;
	}
	if (l->cpu_quota > 0)
		put(w, "cpu", "cpu.cfs_period_us", number(w, PERIOD_US, ""));
	if (l->cpu_quota > 0 || has(w, "cpu", "cpu.cfs_quota_us"))
		put(w, "cpu", "cpu.cfs_quota_us", number(w, l->cpu_quota, "-1"));
	if (l->cpu_shares > 0 && has(w, "cpu", "cpu.shares"))
		put(w, "cpu", "cpu.shares", number(w, shares, ""));
}

/* On v1 each of the two bounds the other: whoever writes tries again what fails at first. */
static void put_memory(struct writes *w, const struct cgroup_wish *l)
{
	bool v2 = cgroup_controller_v2(w->cg, "memory");
	int64_t swap = l->memory_swap;
	const char *file = v2 ? "memory.max" : "memory.limit_in_bytes";
	if (l->memory > 0 || has(w, "memory", file))
		put(w, "memory", file, number(w, l->memory, v2 ? "max" : "-1"));
	if (swap < 0 || (!swap && !has(w, "memory", v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes")))
		return;
	if (!v2)
		put(w, "memory", "memory.memsw.limit_in_bytes", number(w, swap, "-1"));
	else if (swap > 0 && swap <= l->memory)
		put(w, "memory", "memory.swap.max", "0");
	else
		put(w, "memory", "memory.swap.max", number(w, swap ? swap - l->memory : 0, "max"));
}

/* None of its own: in v1, where that can't be said, those of its parent. */
static void put_set(struct writes *w, const char *file, const char *set)
{
	struct buf text = { 0 };
	const char *slash = strrchr(w->path, '/');
	bool v2 = cgroup_controller_v2(w->cg, "cpuset");
	if (!*set && !has(w, "cpuset", file))
		return;
	if (!*set && !v2) {
		const char *parent = slash > w->path ? pool_strndup(w->pool, w->path, (size_t)(slash - w->path)) : "/";
		if (cgroup_read(w->cg, "cpuset", parent, file, &text) == 0 && text.len)
			set = pool_strndup(w->pool, text.data, strcspn(text.data, "\n"));
		buf_free(&text);
	}
	if (*set || v2)
		put(w, "cpuset", file, *set ? set : "\n");
}

size_t cgroup_limit_writes(struct cgroups *cg, struct pool *p, const char *path, const struct cgroup_wish *l,
			   const char **out)
{
	char buf[CGROUP_PATH_MAX];
	struct writes w = { .cg = cg, .pool = p, .path = pool_strdup(p, cgroup_inner(cg, path, buf)), .out = out };
	put_memory(&w, l);
	put_cpu(&w, l);
	if (l->cpus)
		put_set(&w, "cpuset.cpus", l->cpus);
	if (l->mems)
		put_set(&w, "cpuset.mems", l->mems);
	return w.n;
}

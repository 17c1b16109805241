/*
 * What writable layers hold, and what processes have open.  It takes a walk, so it is measured
 * beside, for all containers in one run, and as seldom as it is costly: not again before USAGE_EASE
 * times as long has passed.  In between those alone are measured that never were.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/cgroup/cgroup.h"
#include "core/config/config.h"
#include "core/model/model_int.h"
#include "core/sandboxfs/sandboxfs.h"
#include "core/spawn/spawn.h"

enum { USAGE_FRESH_MS = 10000, USAGE_EASE = 20, USAGE_TIMEOUT_MS = 600000, LINE = 112 };

struct measure {
	struct model *m;
	struct pool *pool;
	const char **ids;
	size_t n;
	bool all;
	int64_t began_ns;
};

static void take_container(struct container *c, char **at)
{
	c->rw_bytes = strtoull(*at, at, 10);
	c->rw_inodes = strtoull(*at, at, 10);
	c->fds = strtoull(*at, at, 10);
	c->sockets = strtoull(*at, at, 10);
	c->nofile = strtoull(*at, at, 10);
	c->rw_at_ns = clock_real_ns();
}

static void take_layers(struct model *m, char **at)
{
	m->layers.bytes = strtoull(*at, at, 10);
	m->layers.inodes = strtoull(*at, at, 10);
	m->layers.inodes_free = strtoull(*at, at, 10);
	m->layers.major = (unsigned)strtoul(*at, at, 10);
	m->layers.minor = (unsigned)strtoul(*at, at, 10);
}

static void tell_waiters(struct model *m)
{
	struct list *at;
	while ((at = list_pop(&m->measure_waiters))) {
		struct sample_wait *w = container_of(at, struct sample_wait, link);
		w->cb(w->data);
	}
}

static void handle_measured(void *data, struct spawn_result *r)
{
	struct measure *ms = data;
	struct model *m = ms->m;
	struct err e = { 0 };
	int64_t now = clock_mono_ns(), wait = (now - ms->began_ns) * USAGE_EASE;
	if (wait < (int64_t)USAGE_FRESH_MS * 1000000)
		wait = (int64_t)USAGE_FRESH_MS * 1000000;
	/* A failure of the few would else be repeated at each call. */
	bool good = spawn_check(r, "measure writable layers", &e) == 0 && r->out.len;
	if (ms->all || !good)
		m->usage_next_ns = now + wait;
	m->measure_failed = !good;
	m->measuring = false;
	if (!good)
		log_warn("usage", "error", err_text(&e));
	char *at = good ? r->out.data : NULL;
	if (at)
		take_layers(m, &at);
	for (size_t i = 0; i < ms->n && at && *at; i++) {
		struct map_node *n = map_get(&m->containers, ms->ids[i]);
		struct container gone;
		take_container(n ? container_of(n, struct container, by_id) : &gone, &at);
	}
	tell_waiters(m);
	loop_destroy_later(m->g.loop, ms->pool);
}

static bool is_wanted(const struct container *c, bool all)
{
	return c->state != CONTAINER_STATE_CREATING && (all || !c->rw_at_ns);
}

/* Those to measure now: all, if it is time. */
static void choose(struct measure *ms)
{
	struct model *m = ms->m;
	struct container *c;
	ms->ids = pool_alloc(ms->pool, (m->containers.len + 1) * sizeof(*ms->ids));
	ms->all = clock_mono_ns() >= m->usage_next_ns;
	if (!ms->all && m->measure_failed)
		return;
	list_for_each(c, &m->container_list, link)
		if (is_wanted(c, ms->all))
			ms->ids[ms->n++] = c->id;
}

static const char **command(struct measure *ms)
{
	const char **argv = pool_alloc(ms->pool, (2 * ms->n + 4) * sizeof(*argv));
	size_t n = 0;
	argv[n++] = "crisp-work";
	argv[n++] = "usage";
	argv[n++] = pool_printf(ms->pool, "%s/rw", ms->m->g.config->root);
	for (size_t i = 0; i < ms->n; i++) {
		struct container *c = model_container(ms->m, ms->ids[i]);
		ms->ids[i] = pool_strdup(ms->pool, c->id);
		argv[n++] = pool_printf(ms->pool, "%s/upper", container_rw_dir(ms->pool, c));
		argv[n++] = cgroup_dir(ms->m->g.cgroups, ms->pool, "pids", c->cgroup);
	}
	return argv;
}

void model_measure(struct model *m)
{
	if (m->measuring)
		return;
	struct pool *pool = pool_new(m->pool, "usage");
	struct measure *ms = pool_new_struct(pool, struct measure);
	*ms = (struct measure){ .m = m, .pool = pool, .began_ns = clock_mono_ns() };
	choose(ms);
	if (!ms->n) {
		pool_destroy(pool);
		return;
	}
	m->measuring = true;
	struct spawn_plan plan = SPAWN_PLAN_INIT;
	plan.path = sandboxfs_work_path(m->g.sandboxfs);
	plan.argv = command(ms);
	plan.out_max = LINE * (ms->n + 1);
	plan.err_max = 1024;
	plan.timeout_ms = USAGE_TIMEOUT_MS;
	spawn_start(m->g.spawner, pool, &plan, handle_measured, ms);
}

bool model_measure_wait(struct model *m, struct sample_wait *w, void (*cb)(void *data), void *data)
{
	*w = (struct sample_wait){ .cb = cb, .data = data };
	list_init(&w->link);
	if (m->measuring)
		list_append(&m->measure_waiters, &w->link);
	return m->measuring;
}

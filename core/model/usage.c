/*
 * What writable layers hold.  It takes a walk, so it is measured beside, for all containers in
 * one run, and as seldom as it is costly: not again before USAGE_EASE times as long has passed.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/model/model_int.h"
#include "core/sandboxfs/sandboxfs.h"
#include "core/spawn/spawn.h"

enum { USAGE_FRESH_MS = 10000, USAGE_EASE = 20, USAGE_TIMEOUT_MS = 600000, LINE = 48 };

struct measure {
	struct model *m;
	struct pool *pool;
	const char **ids;
	size_t n;
	int64_t began_ns;
};

static void handle_measured(void *data, struct spawn_result *r)
{
	struct measure *ms = data;
	struct model *m = ms->m;
	struct err e = { 0 };
	int64_t now = clock_mono_ns(), wait = (now - ms->began_ns) * USAGE_EASE;
	if (wait < (int64_t)USAGE_FRESH_MS * 1000000)
		wait = (int64_t)USAGE_FRESH_MS * 1000000;
	m->usage_next_ns = now + wait;
	m->measuring = false;
	if (spawn_check(r, "measure writable layers", &e) < 0)
		log_warn("usage", "error", err_text(&e));
	char *at = r->out.data;
	for (size_t i = 0; i < ms->n && at && *at && !e.code; i++) {
		uint64_t bytes = strtoull(at, &at, 10), inodes = strtoull(at, &at, 10);
		struct map_node *n = map_get(&m->containers, ms->ids[i]);
		if (!n)
			continue;
		struct container *c = container_of(n, struct container, by_id);
		c->rw_bytes = bytes;
		c->rw_inodes = inodes;
		c->rw_at_ns = clock_real_ns();
	}
	loop_destroy_later(m->g.loop, ms->pool);
}

void model_measure(struct model *m)
{
	if (m->measuring || clock_mono_ns() < m->usage_next_ns || !m->containers.len)
		return;
	struct pool *pool = pool_new(m->pool, "usage");
	struct measure *ms = pool_new_struct(pool, struct measure);
	*ms = (struct measure){ .m = m, .pool = pool, .began_ns = clock_mono_ns() };
	ms->ids = pool_alloc(pool, (m->containers.len + 1) * sizeof(*ms->ids));
	const char **argv = pool_alloc(pool, (m->containers.len + 3) * sizeof(*argv));
	argv[0] = "crisp-work";
	argv[1] = "usage";
	struct container *c;
	list_for_each(c, &m->container_list, link) {
		ms->ids[ms->n] = pool_strdup(pool, c->id);
		argv[2 + ms->n++] = pool_printf(pool, "%s/upper", container_rw_dir(pool, c));
	}
	m->measuring = true;
	struct spawn_plan plan = SPAWN_PLAN_INIT;
	plan.path = sandboxfs_work_path(m->g.sandboxfs);
	plan.argv = argv;
	plan.out_max = LINE * ms->n;
	plan.err_max = 1024;
	plan.timeout_ms = USAGE_TIMEOUT_MS;
	spawn_start(m->g.spawner, pool, &plan, handle_measured, ms);
}

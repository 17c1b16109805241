/*
 * What a container uses: from its cgroup at once, or from an engine whose containers have none of
 * their own on the host.  The engine is asked once for all who want to know, and not again for as
 * long as a sample is fresh.
 */
#include <string.h>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/model/model_int.h"
#include "core/plug/plug.h"

enum { SAMPLE_TIMEOUT_MS = 3000 };	/* one that hangs must not hold up a list */

struct sampling {
	struct model *model;
	struct pool *pool;
	const char *id;			/* the container may go meanwhile */
};

static void tell(struct container *c)
{
	struct list *at;
	c->sampling = false;
	while ((at = list_pop(&c->sample_waiters))) {
		struct sample_wait *w = container_of(at, struct sample_wait, link);
		w->cb(w->data);
	}
}

void sample_forget(struct container *c)
{
	tell(c);
}

static void take_number(const struct json *j, uint64_t *to, bool *has)
{
	int64_t n = json_int(j, -1);
	*has = n >= 0;
	*to = *has ? (uint64_t)n : 0;
}

static void take_memory(struct stats_sample *s, const struct json *memory)
{
	bool has;
	uint64_t inactive, limit;
	take_number(json_path(memory, "usage", "usage", NULL), &s->memory_usage, &s->has_memory);
	take_number(json_path(memory, "raw", "inactive_file", NULL), &inactive, &has);
	take_number(json_path(memory, "raw", "rss", NULL), &s->rss, &has);
	take_number(json_path(memory, "raw", "pgfault", NULL), &s->page_faults, &has);
	take_number(json_path(memory, "raw", "pgmajfault", NULL), &s->major_page_faults, &has);
	take_number(json_path(memory, "usage", "limit", NULL), &limit, &has);
	s->working_set = s->memory_usage > inactive ? s->memory_usage - inactive : 0;
	s->has_available = s->has_memory && has && limit && limit < 1ull << 60;
	if (s->has_available)
		s->available = limit > s->working_set ? limit - s->working_set : 0;
}

static void take_sample(struct stats_sample *s, const struct json *j)
{
	struct stats_sample new = { .timestamp_ns = clock_real_ns(), .mono_ns = clock_mono_ns() };
	take_number(json_path(j, "cpu", "usage", "total", NULL), &new.cpu_usage_ns, &new.has_cpu);
	take_number(json_path(j, "pids", "current", NULL), &new.pids, &new.has_pids);
	take_memory(&new, json_get(j, "memory"));
	if (new.has_cpu && s->has_cpu && new.cpu_usage_ns >= s->cpu_usage_ns) {
		new.has_nano_cores = true;
		new.nano_cores = (uint64_t)((double)(new.cpu_usage_ns - s->cpu_usage_ns) * 1e9 /
					    (double)(new.mono_ns - s->mono_ns));
	}
	*s = new;
}

static void handle_stats(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	struct sampling *sg = data;
	struct container *c = model_container(sg->model, sg->id);
	const struct json *j = NULL;
	if (ret == 0 && c && json_parse(sg->pool, res->data ? res->data : "", res->data_len, &j, NULL) == 0)
		take_sample(&c->stats, j);
	else if (ret < 0 && c && c->state == CONTAINER_STATE_RUNNING)
		log_debug("no statistics of a container", "ctr", c->id, "error", err_text(e));
	if (c)
		tell(c);
	pool_destroy(sg->pool);
}

static void ask_engine(struct container *c)
{
	struct pool *pool = pool_new(c->model->pool, "sampling");
	struct sampling *sg = pool_new_struct(pool, struct sampling);
	struct crisp_args args = { .size = sizeof(args), .id = c->id };
	*sg = (struct sampling){ c->model, pool, pool_strdup(pool, c->id) };
	c->sampling = true;
	plug_call(c->pod->handler, PLUG_OP_STATS, &args, c->pod->id, SAMPLE_TIMEOUT_MS, handle_stats, sg);
}

bool model_has_cgroup(const struct container *c)
{
	const struct plug_handler *h = c->pod->handler;
	return !h || plug_can(h, CRISP_CAP_STATS_HOST_CGROUP) || !plug_has(h, PLUG_OP_STATS);
}

static bool is_fresh(const struct stats_sample *s)
{
	return s->timestamp_ns && clock_mono_ns() - s->mono_ns < (int64_t)STATS_FRESH_MS * 1000000;
}

bool model_sample(struct container *c, struct sample_wait *w, void (*cb)(void *data), void *data)
{
	*w = (struct sample_wait){ .cb = cb, .data = data };
	list_init(&w->link);
	if (c->state != CONTAINER_STATE_RUNNING && c->state != CONTAINER_STATE_CREATED)
		return false;
	if (model_has_cgroup(c)) {
		stats_read(c->model->g.cgroups, c->cgroup, &c->stats, NULL);
		return false;
	}
	if (c->state != CONTAINER_STATE_RUNNING || is_fresh(&c->stats))
		return false;
	list_append(&c->sample_waiters, &w->link);
	if (!c->sampling)
		ask_engine(c);
	return true;
}

/* What its containers use as far as is known, for an engine that has no cgroup of the pod here. */
static void sum_up(struct pod *p)
{
	struct stats_sample sum = { .timestamp_ns = clock_real_ns(), .mono_ns = clock_mono_ns() };
	struct container *c;
	list_for_each(c, &p->containers, in_pod) {
		const struct stats_sample *s = &c->stats;
		if (c->state != CONTAINER_STATE_RUNNING)
			continue;
		sum.has_cpu |= s->has_cpu;
		sum.has_nano_cores |= s->has_nano_cores;
		sum.has_memory |= s->has_memory;
		sum.has_pids |= s->has_pids;
		sum.cpu_usage_ns += s->cpu_usage_ns;
		sum.nano_cores += s->nano_cores;
		sum.memory_usage += s->memory_usage;
		sum.working_set += s->working_set;
		sum.rss += s->rss;
		sum.page_faults += s->page_faults;
		sum.major_page_faults += s->major_page_faults;
		sum.pids += s->pids;
	}
	p->processes = sum.pids;
	p->stats = sum;
}

void model_sample_leave(struct sample_wait *w)
{
	list_del(&w->link);
}

void model_sample_pod(struct pod *p)
{
	struct cgroups *cg = p->model->g.cgroups;
	int64_t last = p->stats.mono_ns;
	if (p->state != POD_STATE_READY)
		return;
	if (stats_read(cg, p->cgroup_parent, &p->stats, NULL) < 0)
		sum_up(p);
	else if (p->stats.mono_ns != last)
		p->processes = cgroup_processes(cg, "pids", p->cgroup_parent);
}

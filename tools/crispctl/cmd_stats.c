/* crispctl stats: one look at what the containers use. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/base/pool.h"
#include "tools/crispctl/crispctl.h"
#include "tools/crispctl/find.h"
#include "tools/crispctl/show.h"
#include "tools/crispctl/table.h"

enum { INTERVAL_MS = 1000 };

static int list(struct ctl *c, Cri__ListContainerStatsResponse **out, struct err *e)
{
	Cri__ListContainerStatsRequest req = CRI__LIST_CONTAINER_STATS_REQUEST__INIT;
	return CTL_CALL(c, CTL_RUNTIME, ListContainerStats, list_container_stats, &req, out, e);
}

static const Cri__ContainerStats *by_id(const Cri__ListContainerStatsResponse *r, const char *id)
{
	for (size_t i = 0; i < r->n_stats; i++)
		if (r->stats[i]->attributes && !strcmp(r->stats[i]->attributes->id, id))
			return r->stats[i];
	return NULL;
}

/* A rate needs two looks; the time between them is the server's own. */
static const char *cpu_percent(struct pool *p, const Cri__ContainerStats *was,
			       const Cri__ContainerStats *now)
{
	if (!was || !was->cpu || !now->cpu || !was->cpu->usage_core_nano_seconds ||
	    !now->cpu->usage_core_nano_seconds || now->cpu->timestamp <= was->cpu->timestamp)
		return NULL;
	double used = (double)now->cpu->usage_core_nano_seconds->value -
		      (double)was->cpu->usage_core_nano_seconds->value;
	return pool_printf(p, "%.1f%%", 100 * used / (now->cpu->timestamp - was->cpu->timestamp));
}

static const char *bytes(struct pool *p, const Cri__UInt64Value *v)
{
	return v ? show_bytes(p, v->value) : NULL;
}

static void put_row(struct table *t, const struct find *f, const Cri__ContainerStats *was,
		    const Cri__ContainerStats *now)
{
	struct pool *p = f->ctl->pool;
	const char *pod_id = "";
	for (size_t i = 0; i < f->containers->n_containers; i++)
		if (!strcmp(f->containers->containers[i]->id, now->attributes->id))
			pod_id = f->containers->containers[i]->pod_sandbox_id;
	table_cell(t, show_id(p, now->attributes->id));
	table_cell(t, find_pod_name(f, pod_id));
	table_cell(t, now->attributes->metadata ? now->attributes->metadata->name : NULL);
	table_cell(t, cpu_percent(p, was, now));
	table_cell(t, now->memory ? bytes(p, now->memory->working_set_bytes) : NULL);
	table_cell(t, now->writable_layer ? bytes(p, now->writable_layer->used_bytes) : NULL);
}

static int run(struct ctl *c, int argc, char **argv, struct err *e)
{
	static const char *const heads[] = { "CONTAINER", "POD",  "NAME", "CPU",
					     "MEMORY",	  "DISK", NULL };
	int opt = ctl_getopt(c, argc, argv, ":h", NULL, e);
	if (opt != -1)
		return CTL_GETOPT_RET(opt);
	if (optind < argc)
		return ctl_usage(c, e, "unexpected \"%s\"", argv[optind]);
	Cri__ListContainerStatsResponse *was, *now;
	struct find f;
	int ret = list(c, &was, e);
	if (ret == 0 && c->json) {
		ctl_print_message(c, &was->base);
		return 0;
	}
	if (ret == 0)
		ret = find_load(c, &f, e);
	if (ret < 0)
		return ret;
	if (was->n_stats)
		nanosleep(&(struct timespec){ .tv_sec = INTERVAL_MS / 1000 }, NULL);
	ret = list(c, &now, e);
	if (ret < 0)
		return ret;
	struct table *t = table_new(c->pool, heads);
	for (size_t i = 0; i < now->n_stats; i++)
		if (now->stats[i]->attributes)
			put_row(t, &f, by_id(was, now->stats[i]->attributes->id), now->stats[i]);
	table_print(t, stdout);
	return 0;
}

const struct command cmd_stats = {
	.name = "stats",
	.args = "",
	.summary = "Show what each container uses of CPU (over one second), memory and disk",
	.run = run,
};

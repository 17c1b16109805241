/* crispctl stats: one look at what the containers use, or the pods. */
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
static const char *cpu_percent(struct pool *p, const Cri__CpuUsage *was, const Cri__CpuUsage *now)
{
	if (!was || !now || !was->usage_core_nano_seconds || !now->usage_core_nano_seconds ||
	    now->timestamp <= was->timestamp)
		return NULL;
	double used = (double)now->usage_core_nano_seconds->value - (double)was->usage_core_nano_seconds->value;
	return pool_printf(p, "%.1f%%", 100 * used / (now->timestamp - was->timestamp));
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
	table_cell(t, cpu_percent(p, was ? was->cpu : NULL, now->cpu));
	table_cell(t, now->memory ? bytes(p, now->memory->working_set_bytes) : NULL);
	table_cell(t, now->writable_layer ? bytes(p, now->writable_layer->used_bytes) : NULL);
}

/* -- pods -- */

static int list_pods(struct ctl *c, Cri__ListPodSandboxStatsResponse **out, struct err *e)
{
	Cri__ListPodSandboxStatsRequest req = CRI__LIST_POD_SANDBOX_STATS_REQUEST__INIT;
	return CTL_CALL(c, CTL_RUNTIME, ListPodSandboxStats, list_pod_sandbox_stats, &req, out, e);
}

static const Cri__LinuxPodSandboxStats *pod_by_id(const Cri__ListPodSandboxStatsResponse *r, const char *id)
{
	for (size_t i = 0; i < r->n_stats; i++)
		if (r->stats[i]->attributes && !strcmp(r->stats[i]->attributes->id, id))
			return r->stats[i]->linux;
	return NULL;
}

static void put_pod(struct table *t, struct pool *p, const Cri__LinuxPodSandboxStats *was,
		    const Cri__PodSandboxStats *now)
{
	static const Cri__LinuxPodSandboxStats nothing = CRI__LINUX_POD_SANDBOX_STATS__INIT;
	const Cri__LinuxPodSandboxStats *st = now->linux ? now->linux : &nothing;
	const Cri__NetworkInterfaceUsage *net = st->network ? st->network->default_interface : NULL;
	const Cri__UInt64Value *processes = st->process ? st->process->process_count : NULL;
	table_cell(t, show_id(p, now->attributes->id));
	table_cell(t, now->attributes->metadata ? now->attributes->metadata->name : NULL);
	table_cell(t, cpu_percent(p, was ? was->cpu : NULL, st->cpu));
	table_cell(t, st->memory ? bytes(p, st->memory->working_set_bytes) : NULL);
	table_cell(t, net ? bytes(p, net->rx_bytes) : NULL);
	table_cell(t, net ? bytes(p, net->tx_bytes) : NULL);
	table_cell(t, processes ? pool_printf(p, "%llu", (unsigned long long)processes->value) : NULL);
}

static int run_pods(struct ctl *c, struct err *e)
{
	static const char *const heads[] = { "POD", "NAME", "CPU", "MEMORY", "RECEIVED", "SENT", "PROCESSES", NULL };
	Cri__ListPodSandboxStatsResponse *was, *now;
	int ret = list_pods(c, &was, e);
	if (ret == 0 && c->json) {
		ctl_print_message(c, &was->base);
		return 0;
	}
	if (ret == 0 && was->n_stats)
		nanosleep(&(struct timespec){ .tv_sec = INTERVAL_MS / 1000 }, NULL);
	if (ret == 0)
		ret = list_pods(c, &now, e);
	if (ret < 0)
		return ret;
	struct table *t = table_new(c->pool, heads);
	for (size_t i = 0; i < now->n_stats; i++)
		if (now->stats[i]->attributes)
			put_pod(t, c->pool, pod_by_id(was, now->stats[i]->attributes->id), now->stats[i]);
	table_print(t, stdout);
	return 0;
}

static int run(struct ctl *c, int argc, char **argv, struct err *e)
{
	static const char *const heads[] = { "CONTAINER", "POD",  "NAME", "CPU",
					     "MEMORY",	  "DISK", NULL };
	static const struct option longs[] = { { "pods", no_argument, NULL, 'p' },
					       { "help", no_argument, NULL, 'h' }, { 0 } };
	bool pods = false;
	int opt;
	while ((opt = ctl_getopt(c, argc, argv, ":ph", longs, e)) != -1) {
		if (opt != 'p')
			return CTL_GETOPT_RET(opt);
		pods = true;
	}
	if (optind < argc)
		return ctl_usage(c, e, "unexpected \"%s\"", argv[optind]);
	if (pods)
		return run_pods(c, e);
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
	.args = "[-p]",
	.summary = "Show what each container uses of CPU (over one second), memory and disk",
	.help = "  -p, --pods   each pod instead: CPU, memory, network, processes\n",
	.run = run,
};

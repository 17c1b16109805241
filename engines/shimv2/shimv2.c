/* The ABI's table of shimv2 and kata, the instance, its acts. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engines/shimv2/shimv2.h"

/* -- acts -- */

struct act *act_new(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args)
{
	struct act *a = calloc(1, sizeof(*a));
	if (!a)
		abort();
	a->inst = i;
	a->req = r;
	a->deadline_ns = args->deadline_ns;
	a->id = strdup(args->id ? args->id : "");
	a->exec_id = args->exec_id && *args->exec_id ? strdup(args->exec_id) : NULL;
	a->flags = args->flags;
	a->next = i->acts;
	i->acts = a;
	return a;
}

void act_free(struct act *a)
{
	struct act **at = &a->inst->acts;
	while (*at != a)
		at = &(*at)->next;
	*at = a->next;
	free(a->payload);
	free(a->exec_id);
	free(a->id);
	free(a);
}

void act_done(struct act *a, const struct crisp_result *r)
{
	a->inst->host->done(a->req, r);
	act_free(a);
}

void act_end(struct act *a, int err, const char *msg)
{
	act_done(a, &(struct crisp_result){ .size = sizeof(struct crisp_result), .err = err, .msg = msg });
}

/* -- the instance -- */

static void shim_close(struct crisp_instance *i)
{
	cleans_free(i);
	starts_free(i);
	while (i->tasks)
		task_free(i->tasks);
	while (i->links)
		link_free(i->links);
	while (i->acts)
		act_free(i->acts);
	events_close(i);
	free(i);
}

static int shim_open(const struct crisp_host *host, const char *options, struct crisp_instance **out,
		     char *msg, uint32_t cap)
{
	struct crisp_instance *i = calloc(1, sizeof(*i));
	if (!i)
		return -ENOMEM;
	i->host = host;
	int ret = shim_options_read(&i->options, options, host->state_dir, msg, cap);
	if (ret == 0)
		ret = events_open(i, msg, cap);
	if (ret < 0) {
		shim_close(i);
		return ret;
	}
	*out = i;
	return 0;
}

const struct crisp_ops shim_ops = {
	.size = sizeof(shim_ops),
	.open = shim_open,
	.close = shim_close,
	.probe = probe_run,
	.prepare_spec = spec_prepare,
	.sandbox_create = life_sandbox_create,
	.sandbox_delete = life_delete,
	.sandbox_attach = life_attach,
	.create = life_create,
	.start = ops_start,
	.kill = ops_kill,
	.del = life_delete,
	.exec = ops_exec,
	.resize = ops_resize,
	.close_stdin = ops_close_stdin,
	.update = ops_update,
	.stats = ops_stats,
	.pids = ops_pids,
	.pause = ops_pause,
	.resume = ops_resume,
	.attach = life_attach,
};

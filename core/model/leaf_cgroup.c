/* The end of a cgroup in which an engine had processes. */
#include <errno.h>
#include <signal.h>

#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/cgroup/cgroup.h"
#include "core/loop/loop.h"
#include "core/model/model_int.h"

enum { TRIES_MAX = 100, RETRY_MS = 20 };

struct leaf {
	struct loop_timer timer;
	struct op *op;
	struct cgroups *cgroups;
	const char *path;
	void (*done)(struct op *op);
	unsigned tries;
};

static void try(struct leaf *l);

static void handle_again(struct loop_timer *t)
{
	try(t->data);
}

/* It goes when the last process in it has been reaped: one that was killed may take a moment to die,
 * and so may what a killed engine had begun. */
static void try(struct leaf *l)
{
	struct err e = { 0 };
	int ret = cgroup_remove_made(l->cgroups, l->path, NULL, &e);
	if (ret == -EBUSY && l->tries++ < TRIES_MAX) {
		cgroup_kill(l->cgroups, l->path, SIGKILL);
		loop_timer_start(&l->timer, l->op->loop, l->op->pool, RETRY_MS, 0, handle_again, l);
		return;
	}
	if (ret < 0)
		log_warn("a cgroup stays", "of", l->op->subject, "error", err_text(&e));
	l->done(l->op);
}

void remove_leaf_cgroup(struct op *op, struct cgroups *cg, const char *path, void (*done)(struct op *op))
{
	struct leaf *l = pool_new_struct(op->pool, struct leaf);
	*l = (struct leaf){ .op = op, .cgroups = cg, .path = path, .done = done };
	op->abort_wait = NULL;	/* what the step has waited for is over, and this soon will be */
	try(l);
}

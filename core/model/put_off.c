/*
 * A command that can't be run.  OCI runtimes look for the program when they create a container, others
 * when they start it, and people know it from the start: the container is there, its start fails with
 * StartError, and restartPolicy decides what follows.  A kubelet would try a failing create again for
 * ever, also that of a job that is never to be restarted.
 *
 *	create refused for the command ─▶ engine's remains deleted ─▶ CREATED without a process
 *	                                         start ─▶ fails with the engine's words ─▶ EXITED
 *	                                         stop, stop of the pod ──────────────────▶ EXITED
 */
#include <errno.h>

#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/model/model_int.h"
#include "core/plug/plug.h"

static void handle_deleted(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	struct op *op = data;
	if (ret == -ECANCELED)
		step_wake(op, ret, e);	/* and all of it is undone */
	else
		container_deleted(op, ret, e);
}

void container_put_off(struct op *op, const struct err *why)
{
	struct container *c = op->data;
	c->cannot_run = pool_strdup(c->pool, err_text(why));
	log_info("the command of a container can't be run: told at its start", "ctr", c->id, "error", c->cannot_run);
	step_engine(op, plug_delete(c->pod->handler, c->pod->id, c->id, true, ENGINE_UNDO_MS, handle_deleted, op));
}

void container_end_put_off(struct container *c)
{
	struct err e = { 0 };
	if (!c->cannot_run || c->state != CONTAINER_STATE_CREATED)
		return;
	err_set(&e, ENOEXEC, "%s", c->cannot_run);
	container_start_failed(c, &e);
}

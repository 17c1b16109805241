/* StartContainer: from CREATED, once.  A start that fails ends the container for good. */
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/model/advice.h"
#include "core/model/model_int.h"
#include "core/plug/plug.h"

static void handle_started(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	struct op *op = data;
	struct container *c = op->data;
	container_drop_start_fds(c);
	if (res->pidfd >= 0)
		close(res->pidfd);	/* create's is the one that is watched */
	if (ret == 0 && c->state == CONTAINER_STATE_CREATED) {
		c->started_ns = clock_real_ns();
		container_set_state(c, CONTAINER_STATE_RUNNING);
	}
	struct err mine = *e;
	if (ret < 0)
		advise_on_command(&mine, c->config->command, c->config->n_command);
	step_wake(op, ret, &mine);
}

static int engine_start(struct op *op)
{
	struct container *c = op->data;
	if (c->cannot_run)
		return err_set(&op->err, ENOEXEC, "%s", c->cannot_run);
	struct crisp_stdio stdio = {
		.size = sizeof(stdio), .flags = c->config->tty ? CRISP_STDIO_TTY : 0,
		.in = c->start_fds[0], .out = c->start_fds[1], .err = c->start_fds[2],
	};
	struct crisp_start_args args = { .size = sizeof(args), .id = c->id };
	if (plug_can(c->pod->handler, CRISP_CAP_START_STDIO)) {
		/* A terminal came with create. */
		int ret = c->config->tty ? 0 : stdio_fill(op->pool, &stdio, &op->err);
		if (ret < 0)
			return ret;
		args.stdio = &stdio;
		args.rootfs = container_rootfs(op->pool, c);
	}
	return step_engine(op, plug_start(c->pod->handler, c->pod->id, &args, pod_create_timeout_ms(c->pod),
					  handle_started, op));
}

/* Whatever came of it, no process may stay. */
static int kill_started(struct op *op)
{
	container_start_failed(op->data, &op->err);
	return 0;
}

static const struct op_step start_steps[] = {
	{ "guest's limits", step_guest_limits, kill_started },
	{ "engine start", engine_start, kill_started },
	{ 0 }
};

static void save(struct op *op, const char *step, bool undoing)
{
	record_note_container(op->data);
}

static void start_done(struct op *op, int ret)
{
	struct container *c = op->data;
	c->op = NULL;
	loop_destroy_later(op->loop, op->pool);
	record_note_container(c);
}

const struct op_table start_table = { "start", start_steps, save, start_done };

void model_start(struct model *m, const char *id, struct model_wait *w)
{
	struct err e = { 0 };
	struct container *c = model_container(m, id);
	if (!c)
		err_set(&e, ENOENT, "container_id \"%s\": no such container", id);
	else if (c->op && c->op->table == &start_table)
		return wait_op(w, c->op, c->id);	/* a retry joins */
	else if (c->state != CONTAINER_STATE_CREATED || c->op)
		err_set(&e, EBUSY, "container_id %s: the container is %s%s%s, not created", c->id,
			container_state_name(c->state), c->op ? ", under way is " : "",
			c->op ? c->op->table->name : "");
	else if (c->pod->state != POD_STATE_READY)
		err_set(&e, EBUSY, "container_id %s: its pod %s is %s, not ready", c->id, c->pod->id,
			pod_state_name(c->pod->state));
	if (e.code)
		return wait_fail(w, id, &e);
	struct pool *pool = pool_new(c->pool, "start");
	c->op = pool_new_struct(pool, struct op);
	op_start(c->op, &start_table, m->g.loop, pool, c, c->id, OP_TIMEOUT_MS);
	wait_op(w, c->op, c->id);
}

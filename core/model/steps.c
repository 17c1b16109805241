/* What the steps of several tables have in common: waiting for others, with a way to cancel. */
#include "core/base/pool.h"
#include "core/model/model_int.h"
#include "core/plug/net.h"
#include "core/plug/plug.h"
#include "core/spawn/spawn.h"

static void abort_engine(struct op *op)
{
	plug_call_cancel(op->wait_data);
}

static void abort_net(struct op *op)
{
	net_call_cancel(op->wait_data);
}

static void abort_spawn(struct op *op)
{
	spawn_cancel(op->wait_data);
}

static int wait_for(struct op *op, void *what, void (*abort_wait)(struct op *op))
{
	op->wait_data = what;
	op->abort_wait = abort_wait;
	return OP_WAIT;
}

int step_engine(struct op *op, struct plug_call *call)
{
	return wait_for(op, call, abort_engine);
}

uint64_t engine_timeout_ms(const struct op *op)
{
	return op->state == OP_STATE_UNDOING ? ENGINE_UNDO_MS : ENGINE_TIMEOUT_MS;
}

int step_net(struct op *op, struct net_call *call)
{
	return wait_for(op, call, abort_net);
}

int step_spawn(struct op *op, struct spawn *sp)
{
	return wait_for(op, sp, abort_spawn);
}

void step_wake(struct op *op, int ret, const struct err *e)
{
	if (ret < 0 && e)
		err_set(op->state == OP_STATE_UNDOING ? &op->undo_err : &op->err, -ret, "%s", err_text(e));
	op_wake(op, ret);
}

void step_work_done(void *data, int ret, const struct err *e)
{
	step_wake(data, ret, e);
}

/*
 * Those who wait for an operation, and those who want another when it has ended: a caller may leave
 * at any time, what it has asked for is done.
 */
#include <errno.h>

#include "core/base/pool.h"
#include "core/model/model_int.h"

enum { START_PATIENCE_MS = 10000 };

void wait_done(struct model_wait *w, const char *id)
{
	w->done(w, 0, id, NULL);
}

void wait_fail(struct model_wait *w, const char *id, struct err *e)
{
	w->done(w, -e->code, id, e);
}

static void handle_op_end(struct op_waiter *ow, int ret, const struct err *e)
{
	struct model_wait *w = container_of(ow, struct model_wait, op);
	if (w->claim && ret == 0)
		*w->claim = false;
	w->claim = NULL;
	w->done(w, ret, w->id, e);
}

void wait_op(struct model_wait *w, struct op *op, const char *id)
{
	if (!op) {
		wait_done(w, id);
		return;
	}
	w->id = id;
	op_join(op, &w->op, handle_op_end, NULL);
}

static void handle_then(struct op_waiter *ow, int ret, const struct err *e)
{
	struct model_wait *w = container_of(ow, struct model_wait, op);
	w->again(w);
}

/*
 * The model's own waiter beside a caller's: it asks for the same, and never leaves.  A start that
 * hangs is given up for it; what else takes its time may be about to do what is asked for.
 */
struct stand_in {
	struct model_wait wait;
	struct op *op;			/* waited for, while the timer runs */
	struct loop_timer patience;
	struct pool_res res;		/* in pool */
	struct pool *pool;
};

static void release_stand_in(struct pool_res *r)
{
	op_leave(&container_of(r, struct stand_in, res)->wait.op);
}

static void handle_stood_in(struct model_wait *w, int ret, const char *id, const struct err *e)
{
	struct stand_in *s = container_of(w, struct stand_in, wait);
	loop_destroy_later(w->model->g.loop, s->pool);
}

static void handle_stand_in_then(struct op_waiter *ow, int ret, const struct err *e)
{
	struct stand_in *s = container_of(ow, struct stand_in, wait.op);
	loop_timer_stop(&s->patience);
	s->wait.again(&s->wait);
}

static void handle_impatient(struct loop_timer *t)
{
	struct stand_in *s = t->data;
	op_cancel(s->op, ECANCELED, "it took too long, and its end is asked for");
}

static bool has_stand_in(const struct op *op, const struct model_wait *w)
{
	for (const struct list *at = op->waiters.next; at != &op->waiters; at = at->next) {
		const struct op_waiter *ow = container_of(at, struct op_waiter, link);
		const struct model_wait *other = container_of(at, struct model_wait, op.link);
		if (ow->cb == handle_stand_in_then && other->again == w->again && other->arg <= w->arg)
			return true;
	}
	return false;
}

static void stand_in_join(struct stand_in *s, struct op *op)
{
	s->op = op;
	op_join(op, &s->wait.op, handle_stand_in_then, NULL);
	if (op->table == &start_table)
		loop_timer_start(&s->patience, op->loop, s->pool, START_PATIENCE_MS, 0, handle_impatient, s);
}

void wait_then(struct model_wait *w, struct op *op, void (*again)(struct model_wait *w))
{
	w->again = again;
	if (w->done == handle_stood_in) {
		stand_in_join(container_of(w, struct stand_in, wait), op);
		return;
	}
	if (!has_stand_in(op, w)) {
		struct pool *pool = pool_new(w->model->pool, "stand-in");
		struct stand_in *s = pool_new_struct(pool, struct stand_in);
		s->pool = pool;
		s->wait = (struct model_wait){ .done = handle_stood_in, .model = w->model, .arg = w->arg,
					       .again = again, .id = pool_strdup(pool, w->id) };
		pool_res_add(pool, &s->res, release_stand_in);
		stand_in_join(s, op);
	}
	op_join(op, &w->op, handle_then, NULL);
}

void model_leave(struct model_wait *w)
{
	op_leave(&w->op);
	if (w->claim)
		*w->claim = true;
	w->claim = NULL;
}

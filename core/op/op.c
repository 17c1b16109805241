/*
 * The driver of step tables, see the header.  It advances in a plain loop: a step that waits
 * leaves it, op_wake() comes back in.  A wake from inside the step's own run is remembered.
 */
#include "core/op/op.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"

static struct list all = LIST_INIT(all);
static op_hook *hook;
static void *hook_data;

struct list *op_all(void)
{
	return &all;
}

void op_set_hook(op_hook *h, void *data)
{
	hook = h;
	hook_data = data;
}

const char *op_step_name(const struct op *op)
{
	const char *name = op->pos >= 0 ? op->table->steps[op->pos].name : NULL;
	return name ? name : "end";
}

static void finish(struct op *op)
{
	int ret = op->err.code ? -op->err.code : 0;
	op->state = OP_STATE_DONE;
	loop_timer_stop(&op->deadline);
	list_del(&op->link);
	pool_res_drop(&op->res);
	log_debug("operation ended", "op", op->table->name, "id", op->subject, "ms",
		  log_num((clock_mono_ns() - op->began_ns) / 1000000), "error",
		  ret ? err_text(&op->err) : NULL);
	struct list waiters = LIST_INIT(waiters), *at;
	while ((at = list_pop(&op->waiters)))
		list_append(&waiters, at);
	op->table->done(op, ret);
	/* op's memory holds to the end of the pass. */
	while ((at = list_pop(&waiters))) {
		struct op_waiter *w = container_of(at, struct op_waiter, link);
		w->cb(w, ret, &op->err);
	}
}

/* Run or undo the row; OP_WAIT only if it is still to be woken. */
static int call(struct op *op, const struct op_step *s, bool undoing)
{
	int (*fn)(struct op *) = undoing ? s->undo : s->run;
	op->stepping = true;
	op->waiting = op->woken = false;
	op->abort_wait = NULL;
	int ret = hook ? hook(op, s->name, undoing, hook_data) : 0;
	if (ret == 0 && fn)
		ret = fn(op);
	op->stepping = false;
	if (ret != OP_WAIT)
		return ret;
	if (op->woken)
		return op->woken_ret;
	op->waiting = true;
	if (op->cancelled && op->state == OP_STATE_RUNNING && op->abort_wait)
		op->abort_wait(op);
	return OP_WAIT;
}

static void begin_undo(struct op *op, int ret)
{
	err_set(&op->err, -ret, "%s", strerror(-ret));
	if (op->pos >= 0)
		err_wrap(&op->err, ret, "%s", op_step_name(op));
	op->state = OP_STATE_UNDOING;
	loop_timer_stop(&op->deadline);
}

static void advance(struct op *op, int ret)
{
	for (;;) {
		if (op->state == OP_STATE_RUNNING) {
			if (ret == 0 && op->cancelled)
				ret = -op->err.code;
			if (ret < 0) {
				begin_undo(op, ret);
				if (op->pos < 0) {	/* cancelled before the first row */
					finish(op);
					return;
				}
			} else {
				op->pos++;
				if (!op->table->steps[op->pos].name) {
					finish(op);
					return;
				}
			}
		} else {
			if (ret < 0)
				log_warn("undo failed", "op", op->table->name, "id", op->subject,
					 "step", op_step_name(op), "error",
					 op->undo_err.code ? err_text(&op->undo_err)
							   : strerror(-ret));
			err_clear(&op->undo_err);
			op->pos--;
			if (op->pos < 0) {
				finish(op);
				return;
			}
		}
		bool undoing = op->state == OP_STATE_UNDOING;
		const struct op_step *s = &op->table->steps[op->pos];
		log_debug(undoing ? "undo" : "step", "op", op->table->name, "id", op->subject,
			  "step", s->name);
		if (op->table->save)
			op->table->save(op, s->name, undoing);
		ret = call(op, s, undoing);
		if (ret == OP_WAIT)
			return;
	}
}

static void handle_deadline(struct loop_timer *t)
{
	struct op *op = t->data;
	op_cancel(op, ETIMEDOUT, "took too long");
}

static void handle_first(struct loop_defer *d)
{
	advance(d->data, 0);
}

static void release(struct pool_res *r)
{
	struct op *op = container_of(r, struct op, res);
	loop_defer_cancel(&op->first);
	list_del(&op->link);
	while (list_pop(&op->waiters))
		;
}

static void init(struct op *op, const struct op_table *t, struct loop *l, struct pool *pool,
		 void *data, const char *subject)
{
	op->table = t;
	op->loop = l;
	op->pool = pool;
	op->data = data;
	op->subject = subject;
	op->began_ns = clock_mono_ns();
	list_init(&op->waiters);
	list_append(&all, &op->link);
	pool_res_add(pool, &op->res, release);
}

void op_start(struct op *op, const struct op_table *t, struct loop *l, struct pool *pool,
	      void *data, const char *subject, uint64_t timeout_ms)
{
	init(op, t, l, pool, data, subject);
	op->state = OP_STATE_RUNNING;
	op->pos = -1;
	if (timeout_ms)
		loop_timer_start(&op->deadline, l, pool, timeout_ms, 0, handle_deadline, op);
	loop_defer(l, &op->first, handle_first, op);
}

void op_unwind(struct op *op, const struct op_table *t, struct loop *l, struct pool *pool,
	       void *data, const char *subject, const char *step)
{
	init(op, t, l, pool, data, subject);
	op->state = OP_STATE_UNDOING;
	err_set(&op->err, ECANCELED, "interrupted by a restart");
	int rows = 0, found = -1;
	for (; t->steps[rows].name; rows++)
		if (step && !strcmp(step, t->steps[rows].name))
			found = rows;
	op->pos = (found >= 0 ? found : rows - 1) + 1;
	loop_defer(l, &op->first, handle_first, op);
}

void op_wake(struct op *op, int ret)
{
	op->abort_wait = NULL;
	if (op->stepping) {
		assert(!op->woken);
		op->woken = true;
		op->woken_ret = ret;
		return;
	}
	assert(op->waiting);
	op->waiting = false;
	advance(op, ret);
}

void op_cancel(struct op *op, int code, const char *why)
{
	if (op->state != OP_STATE_RUNNING || op->cancelled)
		return;
	op->cancelled = true;
	err_set(&op->err, code, "%s", why);
	if (op->waiting && op->abort_wait)
		op->abort_wait(op);
}

void op_join(struct op *op, struct op_waiter *w,
	     void (*cb)(struct op_waiter *w, int ret, const struct err *e), void *data)
{
	w->cb = cb;
	w->data = data;
	list_append(&op->waiters, &w->link);
}

void op_leave(struct op_waiter *w)
{
	if (w->link.next)
		list_del(&w->link);
}

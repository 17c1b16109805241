#pragma once
/*
 * Every row of an operation is made to fail and is cancelled, in each way there is, and looked at
 * what follows:
 *
 *	fail		row k returns an error instead of running
 *	fail late	row k waits, and is woken with an error
 *	cancel		the op is cancelled as row k begins
 *	cancel wait	the op is cancelled while row k waits (or the next row that does)
 *
 * Wanted each time: the rows ran 0..k in order, were undone k..0 in order, each once; the waiter
 * was told once, with that error, which names row k; nothing is left of the subject.
 *
 * A test describes how an operation is begun, on fakes, and calls optest_run().  The table is
 * the real one, done and save included.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/loop/loop.h"
#include "core/op/op.h"
#include "t/tap.h"

struct optest {
	struct loop *loop;
	const struct op_table *table;
	void *ctx;
	struct op *(*begin)(void *ctx);		/* a new subject, its op has been started */
	bool (*whole)(void *ctx);		/* it is there, after an op that succeeded */
	bool (*clean)(void *ctx);		/* nothing is left, after one that failed */
	void (*end)(void *ctx);			/* take away what is left either way; may be NULL */
};

enum optest_mode { OPTEST_NONE, OPTEST_FAIL, OPTEST_FAIL_LATE, OPTEST_CANCEL, OPTEST_CANCEL_WAIT };
static const char *const optest_mode_names[] = {"succeed", "fail", "fail late", "cancel",
						"cancel wait"};

struct optest_run {
	const struct optest *test;
	enum optest_mode mode;
	int at;
	struct op *op;		/* NULL once it is over */
	struct op_waiter waiter;
	struct loop_defer later;
	int told, ret;
	char message[sizeof(((struct err *)0)->msg)];
	char trace[4096];	/* "+0+1+2-2-1-0" */
};

static void optest_handle_later(struct loop_defer *d)
{
	struct optest_run *r = d->data;
	if (!r->op)
		return;
	if (r->mode == OPTEST_FAIL_LATE)
		op_wake(r->op, -EIO);
	else
		op_cancel(r->op, ECANCELED, "optest");
}

static int optest_handle_row(struct op *op, const char *step, bool undoing, void *data)
{
	struct optest_run *r = data;
	size_t len = strlen(r->trace);
	if (op != r->op)	/* some other operation that this one needs */
		return 0;
	snprintf(r->trace + len, sizeof(r->trace) - len, "%c%d", undoing ? '-' : '+', op->pos);
	if (undoing || op->pos != r->at)
		return 0;
	switch (r->mode) {
	case OPTEST_NONE:
		break;
	case OPTEST_FAIL:
		return -EIO;
	case OPTEST_FAIL_LATE:
		loop_defer(op->loop, &r->later, optest_handle_later, r);
		return OP_WAIT;
	case OPTEST_CANCEL:
		op_cancel(op, ECANCELED, "optest");
		break;
	case OPTEST_CANCEL_WAIT:
		loop_defer(op->loop, &r->later, optest_handle_later, r);
		break;
	}
	return 0;
}

static void optest_handle_end(struct op_waiter *w, int ret, const struct err *e)
{
	struct optest_run *r = w->data;
	r->told++;
	r->ret = ret;
	r->op = NULL;
	strcpy(r->message, e->msg);
	loop_stop(r->test->loop);
}

static void optest_handle_timeout(struct loop_timer *t)
{
	struct optest_run *r = t->data;
	printf("not ok - %s: %s at row %d does not end (%s)\n", r->test->table->name,
	       optest_mode_names[r->mode], r->at, r->trace);
	exit(1);
}

/* What the trace must be for an op that turned round at row k. */
static bool optest_trace_is(const char *trace, int k, bool undone)
{
	char want[4096] = "";
	size_t len = 0;
	for (int i = 0; i <= k; i++)
		len += (size_t)snprintf(want + len, sizeof(want) - len, "+%d", i);
	for (int i = k; undone && i >= 0; i--)
		len += (size_t)snprintf(want + len, sizeof(want) - len, "-%d", i);
	return !strcmp(trace, want);
}

/* The highest row that ran. */
static int optest_turn(const char *trace)
{
	int k = -1;
	for (const char *at = trace; (at = strchr(at, '+')); at++)
		k = atoi(at + 1);
	return k;
}

static void optest_one(const struct optest *t, int rows, enum optest_mode mode, int at)
{
	struct optest_run r = { .test = t, .mode = mode, .at = at };
	struct loop_timer watchdog = { 0 };
	struct pool *pool = pool_new(NULL, "optest");
	op_set_hook(optest_handle_row, &r);
	r.op = t->begin(t->ctx);
	op_join(r.op, &r.waiter, optest_handle_end, &r);
	loop_timer_start(&watchdog, t->loop, pool, 30000, 0, optest_handle_timeout, &r);
	loop_run(t->loop);
	loop_defer_cancel(&r.later);
	op_set_hook(NULL, NULL);
	pool_destroy(pool);

	int turn = optest_turn(r.trace);
	bool through = mode == OPTEST_NONE || (mode == OPTEST_CANCEL_WAIT && r.ret == 0);
	int code = mode == OPTEST_FAIL || mode == OPTEST_FAIL_LATE ? -EIO : -ECANCELED;
	bool good = r.told == 1;
	if (through)
		good &= r.ret == 0 && optest_trace_is(r.trace, rows - 1, false) && t->whole(t->ctx);
	else
		good &= r.ret == code &&
			(turn == at || (mode == OPTEST_CANCEL_WAIT && turn > at)) &&
			optest_trace_is(r.trace, turn, true) &&
			strstr(r.message, t->table->steps[turn].name) && t->clean(t->ctx);
	const char *step = at < 0 ? "" : t->table->steps[at].name;
	if (!ok(good, "%s: %s%s%s", t->table->name, optest_mode_names[mode], at < 0 ? "" : " at ",
		step))
		printf("# told %d times, ret %d (%s), rows %s, %s\n", r.told, r.ret, r.message,
		       r.trace,
		       through		  ? "wanted: whole"
		       : t->clean(t->ctx) ? "clean"
					  : "something is left");
	if (t->end)
		t->end(t->ctx);
}

__attribute__((unused)) static void optest_run(const struct optest *t)
{
	int rows = 0;
	while (t->table->steps[rows].name)
		rows++;
	optest_one(t, rows, OPTEST_NONE, -1);
	for (int k = 0; k < rows; k++)
		for (enum optest_mode mode = OPTEST_FAIL; mode <= OPTEST_CANCEL_WAIT; mode++)
			optest_one(t, rows, mode, k);
	optest_one(t, rows, OPTEST_NONE, -1);
}

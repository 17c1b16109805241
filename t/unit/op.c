/* Step tables: the driver's corners, then a table of every kind of row through optest. */
#include "core/op/op.h"

#include <fcntl.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/log.h"
#include "core/op/fault.h"
#include "t/unit/optest.h"

/* -- a subject: what each row has made -- */

struct thing {
	struct pool *pool;
	struct op op;
	struct loop_timer timer;
	bool made[5];
	int unmade_twice, half;
	char saved[64];
	int done, ret;
};

static struct loop *loop;
static struct thing *thing;	/* the last one begun */

static void handle_wake(struct loop_timer *t)
{
	struct op *op = t->data;
	struct thing *th = op->data;
	if (op->state == OP_STATE_RUNNING)
		th->made[op->pos] = true;
	else
		th->made[op->pos] = false;
	op_wake(op, 0);
}

static void handle_abort(struct op *op)
{
	struct thing *th = op->data;
	loop_timer_stop(&th->timer);
	th->half++;
	op_wake(op, -ECANCELED);
}

/* An abort that is answered later, as a killed program does. */
static void handle_slow_abort(struct op *op)
{
	struct thing *th = op->data;
	loop_timer_start(&th->timer, loop, th->pool, 1, 0, handle_wake, op);
}

static int make(struct op *op)
{
	((struct thing *)op->data)->made[op->pos] = true;
	return 0;
}

static int unmake(struct op *op)
{
	((struct thing *)op->data)->made[op->pos] = false;
	return 0;
}

static int make_later(struct op *op)
{
	struct thing *th = op->data;
	op->abort_wait = handle_abort;
	loop_timer_start(&th->timer, loop, th->pool, 1, 0, handle_wake, op);
	return OP_WAIT;
}

static int make_slow(struct op *op)
{
	int ret = make_later(op);
	op->abort_wait = handle_slow_abort;
	return ret;
}

static int unmake_later(struct op *op)
{
	struct thing *th = op->data;
	loop_timer_start(&th->timer, loop, th->pool, 1, 0, handle_wake, op);
	return OP_WAIT;
}

static int unmake_badly(struct op *op)
{
	unmake(op);
	return -EIO;
}

static int make_at_once(struct op *op)
{
	make(op);
	op_wake(op, 0);	/* a service that answers before it returns */
	return OP_WAIT;
}

static int check_only(struct op *op)
{
	return 0;
}

static void save(struct op *op, const char *step, bool undoing)
{
	struct thing *th = op->data;
	snprintf(th->saved, sizeof(th->saved), "%s%s", undoing ? "undo " : "", step);
}

static void handle_done(struct op *op, int ret)
{
	struct thing *th = op->data;
	th->done++;
	th->ret = ret;
}

static const struct op_step steps[] = {
	{ "make", make, unmake },
	{ "make later", make_later, unmake_later },
	{ "check", check_only, NULL },
	{ "make slow", make_slow, unmake_badly },
	{ "make at once", make_at_once, unmake },
	{ 0 }
};
static const struct op_table table = { "try", steps, save, handle_done };

static struct thing *new_thing(void)
{
	struct pool *p = pool_new(NULL, "thing");
	thing = pool_new_struct(p, struct thing);
	thing->pool = p;
	return thing;
}

static struct op *begin(void *ctx)
{
	new_thing();
	op_start(&thing->op, &table, loop, thing->pool, thing, "t1", 0);
	return &thing->op;
}

static int count_made(void)
{
	int n = 0;
	for (int i = 0; i < 5; i++)
		n += thing->made[i];
	return n;
}

static bool whole(void *ctx)
{
	return count_made() == 4 && thing->done == 1;
}

static bool clean(void *ctx)
{
	return count_made() == 0 && thing->done == 1;
}

static void end(void *ctx)
{
	pool_destroy(thing->pool);
}

/* -- corners -- */

static int told;
static struct err told_err;

static void handle_told(struct op_waiter *w, int ret, const struct err *e)
{
	told++;
	told_err = *e;
	loop_stop(loop);
}

static void test_success(void)
{
	struct op_waiter a = { 0 }, b = { 0 }, gone = { 0 };
	struct op *op = begin(NULL);
	told = 0;
	ok(op->pos == -1 && !count_made(), "nothing runs from inside op_start");
	ok(op_all()->next == &op->link, "it is among the ops under way");
	op_leave(&gone);
	op_join(op, &a, handle_told, NULL);
	op_join(op, &gone, handle_told, NULL);
	op_join(op, &b, handle_told, NULL);
	op_leave(&gone);
	op_leave(&gone);
	loop_run(loop);
	ok(told == 2 && !told_err.code, "who waits is told, who left is not");
	ok(thing->done == 1 && !strcmp(thing->saved, "make at once"), "the last row saved: %s",
	   thing->saved);
	ok(list_empty(op_all()), "it is over");
	end(NULL);
}

static void test_cancelled_early(void)
{
	struct op_waiter w = { 0 };
	struct op *op = begin(NULL);
	op_join(op, &w, handle_told, NULL);
	told = 0;
	op_cancel(op, ECANCELED, "changed my mind");
	op_cancel(op, EIO, "again");
	loop_run(loop);
	ok(told == 1 && told_err.code == ECANCELED && strstr(told_err.msg, "changed my mind"),
	   "cancelled before the first row: %s", told_err.msg);
	ok(!count_made() && !thing->saved[0], "no row ran or was undone");
	end(NULL);
}

static int wait_forever(struct op *op)
{
	op->abort_wait = handle_abort;
	return OP_WAIT;
}

static const struct op_step endless_steps[] = {
	{ "make", make, unmake },
	{ "hang", wait_forever, NULL },
	{ 0 }
};
static const struct op_table endless = { "hang", endless_steps, NULL, handle_done };

static void test_deadline(void)
{
	struct op_waiter w = { 0 };
	new_thing();
	op_start(&thing->op, &endless, loop, thing->pool, thing, "t2", 20);
	op_join(&thing->op, &w, handle_told, NULL);
	told = 0;
	loop_run(loop);
	ok(told == 1 && told_err.code == ETIMEDOUT && strstr(told_err.msg, "hang"),
	   "the deadline: %s", told_err.msg);
	ok(!count_made() && thing->half == 1, "undone, the wait aborted once");
	end(NULL);
}

static void handle_stop(struct loop_timer *t)
{
	loop_stop(loop);
}

static void test_pool_dies(void)
{
	struct pool *p = pool_new(NULL, "test");
	struct loop_timer stop = { 0 };
	struct op_waiter w = { 0 };
	new_thing();
	op_start(&thing->op, &endless, loop, thing->pool, thing, "t3", 60000);
	op_join(&thing->op, &w, handle_told, NULL);
	told = 0;
	loop_timer_start(&stop, loop, p, 20, 0, handle_stop, NULL);
	loop_run(loop);
	ok(!strcmp(op_step_name(&thing->op), "hang"), "it hangs where it says");
	pool_destroy(thing->pool);
	ok(list_empty(op_all()) && !told, "an op whose pool goes is forgotten, nobody is told");
	op_leave(&w);
	begin(NULL);	/* never reached its first row */
	pool_destroy(thing->pool);
	loop_timer_start(&stop, loop, p, 1, 0, handle_stop, NULL);
	loop_run(loop);
	ok(true, "also one that has not begun");
	pool_destroy(p);
}

static void unwind(const char *step)
{
	struct op_waiter w = { 0 };
	new_thing();
	memset(thing->made, 1, sizeof(thing->made));
	thing->made[2] = false;	/* makes nothing */
	op_unwind(&thing->op, &table, loop, thing->pool, thing, "t4", step);
	op_join(&thing->op, &w, handle_told, NULL);
	told = 0;
	loop_run(loop);
}

static void test_unwind(void)
{
	unwind("make later");
	ok(told == 1 && told_err.code, "unwinding ends with an error: %s", told_err.msg);
	ok(count_made() == 2 && !thing->made[0] && !thing->made[1], "from the named row up");
	ok(!strcmp(thing->saved, "undo make"), "each is saved: %s", thing->saved);
	end(NULL);
	unwind("a row that is gone");
	ok(!count_made(), "an unknown name unwinds the whole table");
	end(NULL);
	unwind(NULL);
	ok(!count_made(), "as does none");
	end(NULL);
}

static void arm(const char *path, const char *text)
{
	struct err e = { 0 };
	file_replace(AT_FDCWD, path, text, strlen(text), 0600, &e);
}

static int run_once(void)
{
	struct op_waiter w = { 0 };
	op_join(begin(NULL), &w, handle_told, NULL);
	told = 0;
	loop_run(loop);
	int made = count_made();
	end(NULL);
	return made;
}

static void test_faults(void)
{
	char path[] = "/tmp/op-fault.XXXXXX";
	close(mkstemp(path));
	log_set_level(LOG_LEVEL_ERROR);
	op_fault_install(path);
	arm(path, "fail try/check\n");
	ok(run_once() == 0 && told_err.code == EIO && strstr(told_err.msg, "check"),
	   "fail on demand: %s", told_err.msg);
	ok(access(path, F_OK) < 0, "once");
	ok(run_once() == 4, "unarmed, it goes through");
	arm(path, "cancel try/make slow\n");
	ok(run_once() == 0 && told_err.code == ECANCELED, "cancel on demand");
	arm(path, "fail other/make\n");
	ok(run_once() == 4 && access(path, F_OK) == 0, "another table's fault stays armed");
	unlink(path);
	op_set_hook(NULL, NULL);
	log_set_level(LOG_LEVEL_INFO);
}

int main(void)
{
	struct pool *p = pool_new(NULL, "root");
	loop = loop_new(p);
	test_success();
	test_cancelled_early();
	test_deadline();
	test_pool_dies();
	test_unwind();
	test_faults();
	log_set_level(LOG_LEVEL_ERROR);	/* the undo that fails is meant to */
	optest_run(&(struct optest){ loop, &table, NULL, begin, whole, clean, end });
	pool_destroy(p);
	return done();
}

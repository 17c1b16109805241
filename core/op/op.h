#pragma once
/*
 * Multi-step operations as tables.
 *
 *	static const struct op_step run_pod_steps[] = {
 *		{ "reserve name", reserve_name, release_name },
 *		{ "make netns",   make_netns,   remove_netns },
 *		{ 0 }
 *	};
 *
 * Read a table down for what happens, up for how it is taken back.
 *
 *	         start                    last step returned 0
 *	  (new) ------> RUNNING ---------------------------------> DONE (ret 0)
 *	                  |  error, cancel, deadline
 *	                  v
 *	               UNDOING ------------ row 0 undone ---------> DONE (ret < 0)
 *
 * run returns 0, -errno (words in op->err) or OP_WAIT.  A run that waits has set
 * op->abort_wait and sees to it that op_wake() is called exactly once, also after
 * abort_wait (at once or later).  undo runs from the failed row itself up to row 0, may wait
 * in the same way, accepts a half-done or never-begun row, and takes back only what this op
 * made.  An error in undo is logged and does not stop it.
 *
 * An op whose pool is destroyed under it just stops: nothing is undone, nobody is told.
 *
 * save, if any, is called before each row runs (undoing = false) or is undone (true): the
 * record keeps the step's name, and after a crash op_unwind() begins at that row.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/base/list.h"
#include "core/loop/loop.h"

struct op;

enum { OP_WAIT = 1 };

struct op_step {
	const char *name;
	int (*run)(struct op *op);
	int (*undo)(struct op *op);	/* NULL: nothing to take back */
};

struct op_table {
	const char *name;		/* "run pod", as logged and saved */
	const struct op_step *steps;	/* ends with a row without a name */
	void (*save)(struct op *op, const char *step, bool undoing);	/* may be NULL */
	/* The end, after which op and its pool belong to the callee: destroy them with
	 * loop_destroy_later(), never at once: the waiters are told next. */
	void (*done)(struct op *op, int ret);
};

enum op_state { OP_STATE_RUNNING, OP_STATE_UNDOING, OP_STATE_DONE };

struct op {
	struct pool_res res;
	const struct op_table *table;
	enum op_state state;
	int pos;			/* row in the table */
	struct loop *loop;
	struct pool *pool;		/* dies with the op */
	void *data;			/* the subject: pod, container, pull */
	const char *subject;		/* its id, for the log */
	struct err err;			/* of run; first cause wins */
	void (*abort_wait)(struct op *op);	/* set by a step that waits; cleared by op_wake */
	void *wait_data;		/* the waiting step's */
	int64_t began_ns;		/* CLOCK_MONOTONIC */

	/* the driver's own */
	bool waiting, stepping, woken, cancelled;
	int woken_ret;
	struct err undo_err;
	struct loop_timer deadline;
	struct loop_defer first;
	struct list waiters;
	struct list link;		/* in the list of all ops */
};

struct op_waiter {
	struct list link;
	void (*cb)(struct op_waiter *w, int ret, const struct err *e);
	void *data;
};

/* Start op (zeroed memory in pool) at row 0.  timeout_ms 0: no deadline.  The first row runs at
 * the end of this loop pass: whoever started it may still join. */
void op_start(struct op *op, const struct op_table *t, struct loop *l, struct pool *pool,
	      void *data, const char *subject, uint64_t timeout_ms);
/* Take back what an earlier process had begun: undo from the row called step (from the last row
 * if the name is unknown or NULL) upwards. */
void op_unwind(struct op *op, const struct op_table *t, struct loop *l, struct pool *pool,
	       void *data, const char *subject, const char *step);
/* The one answer to OP_WAIT: ret 0 or -errno. */
void op_wake(struct op *op, int ret);
/* Stop at the next chance and undo.  Ignored once undoing.  code: errno class of the result. */
void op_cancel(struct op *op, int code, const char *why);

/* Be told of the end.  The waiter is the caller's; op_leave() may be repeated. */
void op_join(struct op *op, struct op_waiter *w,
	     void (*cb)(struct op_waiter *w, int ret, const struct err *e), void *data);
void op_leave(struct op_waiter *w);

/* For tests: called before each row runs (or is undone), with op->pos on it.  0: go on with the
 * row; else this is the row's result.  One hook for all operations; NULL: none. */
typedef int op_hook(struct op *op, const char *step, bool undoing, void *data);
void op_set_hook(op_hook *hook, void *data);

const char *op_step_name(const struct op *op);
/* Every op under way, for the dump. */
struct list *op_all(void);

/*
 * Sections with much at once, and with operations that are given up: creates and execs in a crowd,
 * signals that meet an end, cancels and deadlines at every stage.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/pool.h"
#include "tools/engine-check/check.h"

enum { EXECS = 50, RACES = 20, CANCEL_NS = 1000000000 };

/* More for more of them. */
static uint64_t crowd_ms(void)
{
	return 20000 + 500ull * opt.many;
}

/* -- creates -- */

static void crowd(struct plug_handler *h, const struct pod *p)
{
	unsigned n = opt.many, good = 0, started = 0, ended = 0, deleted = 0;
	struct ctr *c = pool_alloc(bench.pool, n * sizeof(*c));
	struct answer *a = pool_alloc(bench.pool, n * sizeof(*a)), bad = { 0 };
	for (unsigned i = 0; i < n; i++)
		ctr_lay(h, &c[i], p, pool_printf(bench.pool, "many%03u", i), pool_printf(bench.pool, "exit %u", i % 100));
	for (unsigned i = 0; i < n; i++)
		ctr_begin(h, &c[i], crowd_ms(), &a[i]);
	for (unsigned i = 0; i < n; i++) {
		good += bench_await(&a[i]);
		bad = a[i].ret < 0 ? a[i] : bad;
	}
	check(good == n, "%u creates at once all work (%u did%s)", n, good, colon(&bad));
	for (unsigned i = 0; i < n; i++)
		started += a[i].ret == 0 && ctr_start(h, &c[i]).ret == 0;
	for (unsigned i = 0; i < n; i++)
		ended += a[i].ret == 0 && exited_with(bench_end(c[i].id, NULL, END_MS), (int)(i % 100));
	check(started == n && ended == n, "each starts (%u did) and ends with its own exit code (%u did)", started, ended);
	for (unsigned i = 0; i < n; i++)
		bench_begin(h, PLUG_OP_DELETE, &(struct crisp_args){ .id = c[i].id, .flags = CRISP_ARG_FORCE }, crowd_ms(), &a[i]);
	for (unsigned i = 0; i < n; i++)
		deleted += bench_await(&a[i]);
	check(deleted == n, "and is deleted, all at once (%u were)", deleted);
	for (unsigned i = 0; i < n; i++)
		ctr_close(&c[i]);
}

/* -- execs -- */

static void exec_storm(struct plug_handler *h, const struct pod *p)
{
	static struct exec x[EXECS];
	static struct answer a[EXECS];
	struct ctr c;
	const unsigned n = opt.many < EXECS ? opt.many : EXECS;
	unsigned good = 0, said = 0, ended = 0;
	struct answer bad = { 0 };
	if (!plug_has(h, PLUG_OP_EXEC) || !ctr_run(h, &c, p, "storm", LOOP))
		return;
	for (unsigned i = 0; i < n; i++)
		exec_lay(h, &x[i], &c, pool_printf(bench.pool, "x%u", i),
			 &(struct shape){ .sh = pool_printf(bench.pool, "echo I am %u; exit %u", i, i) });
	for (unsigned i = 0; i < n; i++)
		exec_begin(h, &x[i], crowd_ms(), &a[i]);
	for (unsigned i = 0; i < n; i++) {
		good += bench_await(&a[i]);
		bad = a[i].ret < 0 ? a[i] : bad;
		io_given(&x[i].io);
	}
	check(good == n, "%u execs at once all work (%u did%s)", n, good, colon(&bad));
	for (unsigned i = 0; i < n; i++) {
		const char *want = pool_printf(bench.pool, "I am %u\n", i);
		said += a[i].ret == 0 && !strcmp(io_read(&x[i].io, x[i].io.out, want, END_MS), want);
		ended += a[i].ret == 0 && exited_with(bench_end("storm", x[i].exec_id, END_MS), (int)i);
		exec_close(h, &x[i]);
	}
	check(said == n && ended == n, "each says its own words (%u did) and ends with its own code (%u did)", said,
	      ended);
	delete_all(h, &c);
}

/* -- signals that meet an end -- */

static bool is_answer_to_kill(int ret)
{
	return ret == 0 || ret == -ESRCH || ret == -ENOENT || ret == -EBUSY;
}

static void kill_at_the_end(struct plug_handler *h, const struct pod *p)
{
	unsigned right = 0, ended = 0, deleted = 0;
	struct answer bad = { 0 };
	for (unsigned i = 0; i < RACES; i++) {
		struct ctr c;
		const char *id = pool_printf(bench.pool, "race%u", i);
		if (!ctr_lay(h, &c, p, id, "exit 7"))
			return;
		struct answer a = ctr_create(h, &c);
		if (a.ret == 0)
			a = ctr_start(h, &c);
		if (!check(a.ret == 0, "container %s starts%s", id, colon(&a)))
			return;
		bench_wait_ms(i % 5 * 2);
		a = ctr_kill(h, &c, SIGKILL);
		right += is_answer_to_kill(a.ret);
		bad = is_answer_to_kill(a.ret) ? bad : a;
		struct end *e = bench_end(id, NULL, END_MS);
		ended += exited_with(e, 7) || killed_by(e, SIGKILL);
		a = bench_id(h, PLUG_OP_DELETE, id, 0);
		deleted += a.ret == 0 && bench_ends(id, NULL) == 1;
		ctr_close(&c);
	}
	check(right == RACES, "%d kills as their containers end are 0, -ESRCH, -ENOENT or -EBUSY (%u were%s)", RACES, right,
	      colon(&bad));
	check(ended == RACES, "the end of each is told, by itself or by the signal (%u were)", ended);
	check(deleted == RACES, "and told once, and each can be deleted without force (%u could)", deleted);
}

static void kill_late_exec(struct plug_handler *h, const struct pod *p)
{
	struct ctr c;
	struct exec x;
	if (!plug_has(h, PLUG_OP_EXEC) || !plug_has(h, PLUG_OP_KILL) || !ctr_run(h, &c, p, "host-of-late", LOOP))
		return;
	exec_lay(h, &x, &c, "late", &(struct shape){ .sh = "exit 1" });
	struct answer a = exec_run(h, &x);
	check(a.ret == 0 && exited_with(bench_end(c.id, "late", END_MS), 1), "an exec ends%s", colon(&a));
	a = bench_ask(h, PLUG_OP_KILL, &(struct crisp_kill_args){ .id = c.id, .exec_id = "late", .signo = SIGKILL });
	check(is_answer_to_kill(a.ret) || a.ret == -ENOSYS, "a signal to an exec that has ended is 0, -ESRCH, -ENOENT or -ENOSYS "
	      "(%d%s)", a.ret, colon(&a));
	bench_wait_ms(100);
	check(!bench_ends(c.id, NULL), "and doesn't reach its container");
	exec_close(h, &x);
	delete_all(h, &c);
}

void section_many(void)
{
	struct pod p;
	struct plug_handler *h = ready_handler();
	if (!h || !pod_up(h, &p, "pod-many"))
		return;
	crowd(h, &p);
	exec_storm(h, &p);
	kill_at_the_end(h, &p);
	kill_late_exec(h, &p);
	pod_down(h, &p);
	check_nothing_left();
}

/* -- operations that are given up -- */

static const unsigned delays_ms[] = { 0, 1, 5, 25, 100 };
enum { DELAYS = sizeof(delays_ms) / sizeof(delays_ms[0]) };

/* After a while; says whether the engine itself ended it in time. */
static bool cancel(struct plug_call *call, struct answer *a, unsigned ms)
{
	if (ms)
		bench_wait_ms(ms);
	int64_t began = clock_mono_ns();
	if (!a->count)
		plug_call_cancel(call);
	bench_await(a);
	return clock_mono_ns() - began < 5ll * CANCEL_NS && !strstr(a->msg, "didn't answer");
}

static void forget(struct plug_handler *h, struct ctr *c, unsigned *gone, struct answer *bad)
{
	struct answer a = bench_id(h, PLUG_OP_DELETE, c->id, CRISP_ARG_FORCE);
	*gone += a.ret == 0 || a.ret == -ENOENT;
	*bad = a.ret == 0 || a.ret == -ENOENT ? *bad : a;
	left_kill(c);
	ctr_close(c);
}

static void report_cancels(const char *what, unsigned good, unsigned gone, const struct answer *bad)
{
	check(good == DELAYS, "a %s that is cancelled after 0 to 100 ms ends within 5 s, by the engine's word (%u of %d did)",
	      what, good, DELAYS);
	check(gone == DELAYS, "and its container can be deleted by force (%u of %d could%s)", gone, DELAYS, colon(bad));
}

static void cancel_creates(struct plug_handler *h, const struct pod *p)
{
	unsigned good = 0, gone = 0;
	struct answer a, bad = { 0 };
	for (unsigned i = 0; i < DELAYS; i++) {
		struct ctr c;
		if (!ctr_lay(h, &c, p, pool_printf(bench.pool, "cc%u", i), LOOP))
			return;
		good += cancel(ctr_begin(h, &c, crowd_ms(), &a), &a, delays_ms[i]);
		forget(h, &c, &gone, &bad);
	}
	report_cancels("create", good, gone, &bad);
}

static void cancel_starts(struct plug_handler *h, const struct pod *p)
{
	unsigned good = 0, gone = 0;
	struct answer a, bad = { 0 };
	for (unsigned i = 0; i < DELAYS; i++) {
		struct ctr c;
		if (!ctr_lay(h, &c, p, pool_printf(bench.pool, "cs%u", i), LOOP))
			return;
		a = ctr_create(h, &c);
		if (!check(a.ret == 0, "create, for a start to cancel%s", colon(&a)))
			return;
		struct crisp_start_args args = ctr_start_args(h, &c);
		good += cancel(bench_begin(h, PLUG_OP_START, &args, crowd_ms(), &a), &a, delays_ms[i]);
		forget(h, &c, &gone, &bad);
	}
	report_cancels("start", good, gone, &bad);
}

static void cancel_execs(struct plug_handler *h, const struct pod *p)
{
	unsigned good = 0, gone = 0;
	struct answer a, bad = { 0 };
	struct ctr c;
	if (!plug_has(h, PLUG_OP_EXEC) || !ctr_run(h, &c, p, "host-of-cancels", LOOP))
		return;
	for (unsigned i = 0; i < DELAYS; i++) {
		struct exec x;
		exec_lay(h, &x, &c, pool_printf(bench.pool, "ce%u", i), &(struct shape){ .sh = "exit 0" });
		good += cancel(exec_begin(h, &x, crowd_ms(), &a), &a, delays_ms[i]);
		io_close(&x.io);
	}
	check(good == DELAYS, "an exec that is cancelled after 0 to 100 ms ends within 5 s, by the engine's word (%u of %d did)",
	      good, DELAYS);
	check(!bench_ends(c.id, NULL), "and its container goes on");
	forget(h, &c, &gone, &bad);
}

static void cancel_deletes(struct plug_handler *h, const struct pod *p)
{
	unsigned good = 0, gone = 0;
	struct answer a, bad = { 0 };
	for (unsigned i = 0; i < DELAYS; i++) {
		struct ctr c;
		if (!ctr_run(h, &c, p, pool_printf(bench.pool, "cd%u", i), LOOP))
			return;
		struct crisp_args args = { .id = c.id, .flags = CRISP_ARG_FORCE };
		good += cancel(bench_begin(h, PLUG_OP_DELETE, &args, crowd_ms(), &a), &a, delays_ms[i]);
		forget(h, &c, &gone, &bad);
	}
	report_cancels("forced delete", good, gone, &bad);
}

/* The host has answered by then: the engine's own answer is waited for, as nothing else may be left. */
static void miss_deadlines(struct plug_handler *h, const struct pod *p)
{
	static const unsigned ms[] = { 1, 10, 40 };
	unsigned gone = 0;
	struct answer bad = { 0 };
	for (unsigned i = 0; i < 3; i++) {
		struct ctr c;
		struct answer a;
		if (!ctr_lay(h, &c, p, pool_printf(bench.pool, "late%u", i), LOOP))
			return;
		ctr_begin(h, &c, ms[i], &a);
		bench_await(&a);
		forget(h, &c, &gone, &bad);
	}
	check(gone == 3, "creates with 1 to 40 ms of time: each container can be deleted by force (%u of 3 could%s)", gone,
	      colon(&bad));
}

void section_cancels(void)
{
	struct pod p;
	struct plug_handler *h = ready_handler();
	if (!h || !pod_up(h, &p, "pod-cancels"))
		return;
	cancel_creates(h, &p);
	cancel_starts(h, &p);
	cancel_execs(h, &p);
	cancel_deletes(h, &p);
	miss_deadlines(h, &p);
	pod_down(h, &p);
	check_nothing_left();
}

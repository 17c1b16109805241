/* The event loop: timers, io, edges, deferred work, doomed pools, children, lag. */
#include "core/loop/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/loop/slice.h"
#include "t/tap.h"

static struct pool *root;
static struct loop *loop;
static char trace[256];

static void note(const char *s)
{
	size_t n = strlen(trace);
	snprintf(trace + n, sizeof(trace) - n, "%s", s);
}

static bool trace_is(const char *want)
{
	bool good = !strcmp(trace, want);
	if (!good)
		printf("# got \"%s\"\n", trace);
	trace[0] = 0;
	return good;
}

static void handle_stop(struct loop_timer *t)
{
	loop_stop(loop);
}

static void run_for(unsigned ms)
{
	struct loop_timer t = { 0 };
	loop_timer_start(&t, loop, root, ms, 0, handle_stop, NULL);
	loop_run(loop);
	loop_timer_stop(&t);
}

/* -- timers -- */

static void handle_timer(struct loop_timer *t)
{
	note(t->data);
}

static void handle_repeat(struct loop_timer *t)
{
	note("r");
	if (strlen(trace) >= 3)
		loop_timer_stop(t);
}

static void handle_restart(struct loop_timer *t)
{
	note("x");
	if (strlen(trace) < 3)
		loop_timer_start(t, loop, root, 1, 0, handle_restart, NULL);
}

static void test_timers(void)
{
	struct loop_timer a = { 0 }, b = { 0 }, c = { 0 };
	loop_timer_stop(&a);
	loop_timer_start(&a, loop, root, 30, 0, handle_timer, "a");
	loop_timer_start(&b, loop, root, 10, 0, handle_timer, "b");
	loop_timer_start(&c, loop, root, 20, 0, handle_timer, "c");
	loop_timer_stop(&c);
	loop_timer_stop(&c);
	run_for(60);
	ok(trace_is("ba"), "timers fire in their order, stopped ones don't");
	loop_timer_start(&a, loop, root, 1, 1, handle_repeat, NULL);
	run_for(40);
	ok(trace_is("rrr"), "a repeated one stops itself");
	loop_timer_start(&a, loop, root, 1, 0, handle_restart, NULL);
	run_for(40);
	ok(trace_is("xxx"), "a callback starts its own timer again");
	loop_timer_start(&a, loop, root, 500, 0, handle_timer, "late");
	loop_timer_start(&a, loop, root, 1, 0, handle_timer, "early");
	run_for(20);
	ok(trace_is("early"), "a second start replaces the first");
	struct pool *p = pool_new(root, "short");
	struct loop_timer *t = pool_new_struct(p, struct loop_timer);
	loop_timer_start(t, loop, p, 1, 0, handle_timer, "dead");
	pool_destroy(p);
	run_for(20);
	ok(trace_is(""), "a timer goes with its pool");
}

/* -- io -- */

static int fds[2];

static void open_pipe(void)
{
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		abort();
}

static void close_pipe(void)
{
	close(fds[0]);
	if (fds[1] >= 0)
		close(fds[1]);
}

static void handle_read(struct loop_io *io, int events)
{
	char c;
	ssize_t n = read(io->fd, &c, 1);
	note(n == 1 ? (char[]){ c, 0 } : n == 0 ? "EOF" : "?");
	if (n == 0)
		loop_io_stop(io);
}

static void handle_write(struct loop_io *io, int events)
{
	note(events == LOOP_WRITE ? "w" : "?");
	loop_io_set(io, 0);
}

static void test_io(void)
{
	struct loop_io r = { 0 }, w = { 0 };
	loop_io_stop(&r);
	open_pipe();
	loop_io_start(&r, loop, root, fds[0], LOOP_READ, handle_read, NULL);
	loop_io_start(&w, loop, root, fds[1], LOOP_WRITE, handle_write, NULL);
	run_for(10);
	ok(trace_is("w"), "writable, told once since it pauses itself");
	loop_io_set(&r, 0);
	if (write(fds[1], "ab", 2) != 2)
		abort();
	run_for(10);
	ok(trace_is(""), "a paused watcher tells nothing");
	loop_io_set(&r, LOOP_READ);
	run_for(10);
	ok(trace_is("ab"), "resumed, it does");
	loop_io_stop(&w);
	close(fds[1]);
	fds[1] = -1;
	run_for(10);
	ok(trace_is("EOF"), "a hang-up is readable, and the callback may stop its watcher");
	close_pipe();
}

static void handle_edge(struct loop_edge *e, bool hangup)
{
	note(hangup ? "h" : "e");
}

static void handle_edge_stop(struct loop_edge *e, bool hangup)
{
	note("s");
	loop_edge_stop(e->data);
	loop_edge_stop(e);
}

/* How many files the epolls of this process hold. */
static int count_epolled(void)
{
	int n = 0;
	for (int fd = 3; fd < 64; fd++) {
		char name[64];
		struct buf b = { 0 };
		snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
		if (file_read(AT_FDCWD, name, 64 << 10, &b, NULL) == 0) {
			buf_add(&b, "", 1);
			for (char *at = b.data; (at = strstr(at, "tfd:")); at++)
				n++;
		}
		buf_free(&b);
	}
	return n;
}

static void handle_nothing(struct loop_io *io, int events)
{
	note("!");
}

/* The keeper holds what the core watches: a file that the core has closed is open still. */
static void test_io_shared(void)
{
	int ends[2];
	struct loop_io io = { 0 }, same = { 0 };
	if (pipe2(ends, O_CLOEXEC) < 0)
		abort();
	int before = count_epolled(), kept = dup(ends[0]);
	loop_io_start(&io, loop, root, ends[0], LOOP_READ, handle_nothing, NULL);
	loop_io_start(&same, loop, root, ends[0], LOOP_READ, handle_nothing, NULL);
	run_for(5);
	ok(count_epolled() == before + 1, "watched");
	loop_io_stop(&same);
	close(ends[1]);
	run_for(5);
	ok(strlen(trace) > 0, "one watch of two remains");
	loop_io_stop(&io);
	trace[0] = 0;
	close(ends[0]);
	ok(count_epolled() == before, "a file that is held elsewhere is not watched any more");
	close(kept);
}

static void test_edges(void)
{
	struct loop_edge e = { 0 }, other = { 0 };
	loop_edge_stop(&e);
	open_pipe();
	ok(loop_edge_start(&e, loop, root, fds[0], handle_edge, NULL) == 0, "watch by edge");
	if (write(fds[1], "a", 1) != 1)
		abort();
	run_for(20);
	ok(trace_is("e"), "told once though nobody reads");
	if (write(fds[1], "b", 1) != 1)
		abort();
	run_for(20);
	ok(trace_is("e"), "told again when more comes");
	loop_edge_again(&e);
	run_for(20);
	ok(trace_is("e"), "and on demand");
	close(fds[1]);
	fds[1] = -1;
	run_for(20);
	ok(trace_is("h"), "a hang-up is said");
	loop_edge_stop(&e);
	loop_edge_stop(&e);
	close_pipe();
	open_pipe();
	int two[2] = { fds[0], fds[1] };
	open_pipe();
	loop_edge_start(&e, loop, root, fds[0], handle_edge_stop, &other);
	loop_edge_start(&other, loop, root, two[0], handle_edge_stop, &e);
	if (write(fds[1], "a", 1) != 1 || write(two[1], "a", 1) != 1)
		abort();
	run_for(20);
	ok(trace_is("s"), "one that another callback stopped in the same pass tells nothing");
	close_pipe();
	close(two[0]);
	close(two[1]);
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	ok(loop_edge_start(&e, loop, root, file, handle_edge, NULL) == -EPERM,
	   "a plain file is refused");
	close(file);
}

/* -- deferred work -- */

struct step {
	struct loop_defer d;
	struct step *next;
	const char *name;
};

static void handle_defer(struct loop_defer *d)
{
	struct step *s = d->data;
	note(s->name);
	if (s->next)
		loop_defer(loop, &s->next->d, handle_defer, s->next);
}

static void handle_timer_defer(struct loop_timer *t)
{
	struct step *s = t->data;
	loop_defer(loop, &s->d, handle_defer, s);
	loop_defer(loop, &s->d, handle_defer, s);
	note("t");
}

static void test_defer(void)
{
	struct step b = { .name = "b" }, a = { .name = "a", .next = &b }, c = { .name = "c" };
	struct loop_timer t = { 0 };
	loop_defer_cancel(&a.d);
	loop_timer_start(&t, loop, root, 1, 0, handle_timer_defer, &a);
	run_for(20);
	ok(trace_is("tab"), "after the callback, once, and what it defers in the same pass");
	loop_defer(loop, &c.d, handle_defer, &c);
	loop_defer_cancel(&c.d);
	loop_defer_cancel(&c.d);
	run_for(5);
	ok(trace_is(""), "cancelled");
}

struct thing {
	struct pool_res res;
	struct pool *pool;
	struct loop_timer timer;
};

static void release_thing(struct pool_res *r)
{
	note("released");
}

static void handle_end_thing(struct loop_timer *t)
{
	struct thing *th = t->data;
	loop_destroy_later(loop, th->pool);
	loop_destroy_later(loop, th->pool);
	note("cb ");
	t->data = NULL;		/* still there */
}

static struct thing *new_thing(struct pool *parent)
{
	struct pool *p = pool_new(parent, "thing");
	struct thing *th = pool_new_struct(p, struct thing);
	th->pool = p;
	pool_res_add(p, &th->res, release_thing);
	return th;
}

static void test_destroy_later(void)
{
	struct thing *th = new_thing(root);
	loop_timer_start(&th->timer, loop, th->pool, 1, 1, handle_end_thing, th);
	run_for(20);
	ok(trace_is("cb released"), "a callback ends what it lives in, at the end of the pass");
	struct pool *parent = pool_new(root, "parent");
	th = new_thing(parent);
	loop_destroy_later(loop, th->pool);
	pool_destroy(parent);
	ok(trace_is("released"), "a parent's end comes first");
	run_for(5);
	ok(trace_is(""), "and is not repeated");
}

/* -- children -- */

static int child_status;
static int child_ret[2];

static void handle_child(struct loop_child *c)
{
	int again;
	child_ret[0] = loop_child_status(c, false, &again);	/* the zombie is still there */
	child_ret[1] = loop_child_status(c, true, &child_status);
	note(again == child_status ? "exit" : "?");
	loop_child_stop(c);
	loop_stop(loop);
}

static pid_t start_child(struct loop_child *c, int code, int signo)
{
	pid_t pid = fork();
	if (!pid) {
		if (signo)
			kill(getpid(), signo);
		if (code < 0)
			for (;;)
				pause();
		_exit(code);
	}
	loop_child_start(c, loop, root, pid, pidfd_open_pid(pid), handle_child, NULL);
	return pid;
}

static void test_children(void)
{
	struct loop_child c = { 0 };
	pid_t pid = start_child(&c, 42, 0);
	ok(loop_knows_child(loop, pid) && !loop_knows_child(loop, pid + 1),
	   "a child is known by pid");
	loop_run(loop);
	ok(trace_is("exit") && !child_ret[0] && !child_ret[1] && WIFEXITED(child_status) &&
	   WEXITSTATUS(child_status) == 42, "peek, then reap: exit code");
	ok(waitpid(pid, NULL, 0) < 0 && errno == ECHILD && !loop_knows_child(loop, pid),
	   "it is reaped and forgotten");
	start_child(&c, 0, SIGKILL);
	loop_run(loop);
	ok(trace_is("exit") && WIFSIGNALED(child_status) && WTERMSIG(child_status) == SIGKILL,
	   "a signal");
	pid = start_child(&c, -1, 0);
	int status;
	ok(loop_child_status(&c, true, &status) == -EAGAIN, "a running one has no status");
	ok(pidfd_signal(c.pidfd, SIGTERM) == 0, "signal by pidfd");
	loop_run(loop);
	ok(trace_is("exit") && WTERMSIG(child_status) == SIGTERM, "which arrives");
	pid = start_child(&c, -1, 0);
	loop_child_stop(&c);
	loop_child_stop(&c);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	run_for(10);
	ok(trace_is(""), "a forgotten one tells nothing");
	/* Somebody else's: the parent is another process. */
	int p[2];
	if (pipe(p) < 0)
		abort();
	pid_t middle = fork();
	if (!middle) {
		pid_t grand = fork();
		if (!grand) {
			sleep(1);
			_exit(9);
		}
		if (write(p[1], &grand, sizeof(grand)) < 0)
			_exit(1);
		waitpid(grand, NULL, 0);
		_exit(0);
	}
	if (read(p[0], &pid, sizeof(pid)) != sizeof(pid))
		abort();
	close(p[0]);
	close(p[1]);
	loop_child_start(&c, loop, root, pid, pidfd_open_pid(pid), handle_child, NULL);
	loop_run(loop);
	trace[0] = 0;
	ok(child_ret[0] == -ECHILD && child_ret[1] == -ECHILD,
	   "for another's child we are told, and reaping says so");
	waitpid(middle, NULL, 0);
	ok(pidfd_open_pid(middle) == -ESRCH, "no pidfd of what is gone");
}

static void handle_signal(struct loop_signal *s, int signo)
{
	note(signo == SIGUSR1 ? "usr1" : "?");
	loop_stop(loop);
}

static void test_signals(void)
{
	struct pool *p = pool_new(root, "signal");
	struct loop_signal *s = pool_new_struct(p, struct loop_signal);
	loop_signal_start(s, loop, p, SIGUSR1, handle_signal, NULL);
	kill(getpid(), SIGUSR1);
	loop_run(loop);
	ok(trace_is("usr1"), "a signal");
	pool_destroy(p);
}

/* -- slices -- */

static int steps_done, steps_wanted;

static bool slow_step(struct loop_slice *s)
{
	usleep(300);
	return ++steps_done < steps_wanted;
}

static void handle_slice_done(struct loop_slice *s)
{
	note("done");
	loop_destroy_later(loop, s->data);
}

static void test_slices(void)
{
	struct pool *p = pool_new(root, "slice");
	struct loop_slice *s = pool_new_struct(p, struct loop_slice);
	loop_slice_stop(s);
	steps_wanted = 100;
	loop_slice_start(s, loop, p, slow_step, handle_slice_done, p);
	ok(!steps_done, "nothing happens from inside");
	loop_lag_reset(loop);
	while (!trace[0])
		run_for(20);
	ok(steps_done == 100 && trace_is("done"), "100 slow steps are done, the end is told once");
	ok(loop_passes(loop) >= 10, "over many passes: %llu",
	   (unsigned long long)loop_passes(loop));
	p = pool_new(root, "slice");
	s = pool_new_struct(p, struct loop_slice);
	loop_slice_start(s, loop, p, slow_step, handle_slice_done, p);
	pool_destroy(p);
	run_for(20);
	ok(steps_done == 100 && trace_is(""), "a pool's end is the end of its work");
}

/* -- lag -- */

static void handle_slow(struct loop_timer *t)
{
	usleep(30000);
}

static void test_lag(void)
{
	loop_lag_reset(loop);
	ok(loop_lag_us(loop, 0.99) == 0 && !loop_passes(loop), "nothing yet");
	struct loop_timer t = { 0 }, quick = { 0 };
	loop_timer_start(&quick, loop, root, 1, 1, handle_timer, "");
	run_for(60);
	ok(loop_passes(loop) > 1 && loop_lag_us(loop, 0.5) < 30000, "quick passes");
	loop_timer_start(&t, loop, root, 1, 0, handle_slow, NULL);
	run_for(60);
	loop_timer_stop(&quick);
	ok(loop_lag_us(loop, 1) >= 30000, "a slow pass is seen in the maximum");
	ok(loop_lag_us(loop, 0.5) < 30000, "and not the median");
}

int main(void)
{
	root = pool_new(NULL, "root");
	loop = loop_new(root);
	log_set_level(LOG_LEVEL_ERROR);
	test_timers();
	test_io();
	test_io_shared();
	test_edges();
	test_defer();
	test_destroy_later();
	test_children();
	test_signals();
	test_slices();
	test_lag();
	pool_destroy(root);
	return done();
}

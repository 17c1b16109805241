/* The queue, the streams and the deadline of each program; child.c makes the process. */
#include "core/spawn/spawn.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/loop/loop.h"
#include "core/spawn/child.h"

enum {
	SWEEP_MS = 1000,
	SWEEP_BUSY_MS = 20,	/* while programs run: some wait for their victims to be gone */
	HEARD_MS = 500,		/* after a program's end all that it has named is watched */
	SLOW_MS = 2000,
	SLOW_MAX = 64,
	DRAIN_MS = 1000,
	NAMED_MAX = 64
};

/* What a program that has ended may have told: this pid, or with 0 any. */
struct named {
	pid_t pid;
	int64_t at_ns;
};

struct spawner {
	struct pool_res res;
	struct loop *loop;
	struct pool *pool;
	unsigned limit, running, waiting;	/* running: those that hold a slot */
	unsigned slow;				/* those that have given it up */
	struct list queue, started;	/* started: oldest first */
	struct child_ground ground;
	struct loop_timer sweep;
	struct loop_timer next;
	uint64_t sweep_ms;
	pid_t stranger;		/* the oldest unknown zombie, and since when */
	int64_t stranger_ns;
	struct named named[NAMED_MAX];	/* a ring */
	unsigned next_named;
};

enum spawn_state { SPAWN_STATE_QUEUED, SPAWN_STATE_RUNNING, SPAWN_STATE_ENDED };

/* One captured stream. */
struct stream {
	struct loop_io io;
	int fd;
	size_t max;
	struct buf *into;
};

struct spawn {
	struct pool_res res;		/* in the caller's pool */
	struct list link;		/* in the queue, then among the started */
	struct spawner *spawner;
	int64_t asked_ns, started_ns;
	struct pool *pool;		/* own */
	enum spawn_state state;
	struct spawn_plan plan;
	spawn_cb *cb;
	void *data;
	struct spawn_result result;
	struct loop_child child;
	struct loop_timer timeout, deadline, drain, slow;
	struct loop_defer finish;
	struct loop_io input;
	int input_fd;
	size_t input_at;
	struct stream out, err;
	pid_t pid;
	bool exited, is_slow;
};

static void start_waiting(struct spawner *s);
static void sweep_every(struct spawner *s, uint64_t ms);

/* -- copying a plan -- */

static void copy_plan(struct spawn *sp, const struct spawn_plan *plan)
{
	assert(plan->n_fds <= SPAWN_FDS_MAX);
	static const char *const default_env[] = {
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL,
	};
	struct spawn_plan *to = &sp->plan;
	*to = *plan;
	to->path = pool_strdup(sp->pool, plan->path);
	to->argv = pool_strings(sp->pool, plan->argv);
	to->envp = pool_strings(sp->pool, plan->envp ? plan->envp : default_env);
	to->cwd = pool_strdup(sp->pool, plan->cwd);
	struct spawn_fd *fds = pool_alloc(sp->pool, (plan->n_fds + 1) * sizeof(*fds));
	for (size_t i = 0; i < plan->n_fds; i++) {
		/* Queued plans outlive the call: hold a duplicate. */
		int fd = fcntl(plan->fds[i].fd, F_DUPFD_CLOEXEC, 3);
		fds[i] = (struct spawn_fd){ fd, plan->fds[i].target };
		pool_fd(sp->pool, fd);
	}
	to->fds = fds;
	if (plan->exe_fd >= 0) {
		to->exe_fd = fcntl(plan->exe_fd, F_DUPFD_CLOEXEC, 3);
		pool_fd(sp->pool, to->exe_fd);
	}
	if (plan->input)
		to->input = pool_memdup(sp->pool, plan->input, plan->input_len);
}

/* -- streams -- */

static void stream_close(struct stream *s)
{
	if (s->fd < 0)
		return;
	loop_io_stop(&s->io);
	close(s->fd);
	s->fd = -1;
}

static void maybe_finish(struct spawn *sp);

static void handle_output(struct loop_io *io, int events)
{
	struct spawn *sp = io->data;
	struct stream *s = container_of(io, struct stream, io);
	static char scratch[64 << 10];
	ssize_t n = read(s->fd, scratch, sizeof(scratch));
	if (n > 0) {
		size_t room = s->max - s->into->len;
		if (room)
			buf_add(s->into, scratch, (size_t)n < room ? (size_t)n : room);
		return;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	stream_close(s);
	maybe_finish(sp);
}

static int stream_open(struct spawn *sp, struct stream *s, size_t max, struct buf *into,
		       int *child_end)
{
	int fds[2];
	s->fd = -1;
	if (!max) {
		*child_end = -1;
		return 0;
	}
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	fd_set_nonblock(fds[0]);
	s->fd = fds[0];
	s->max = max;
	s->into = into;
	*child_end = fds[1];
	loop_io_start(&s->io, sp->spawner->loop, sp->pool, s->fd, LOOP_READ, handle_output, sp);
	return 0;
}

static void input_close(struct spawn *sp)
{
	if (sp->input_fd < 0)
		return;
	loop_io_stop(&sp->input);
	close(sp->input_fd);
	sp->input_fd = -1;
}

static void handle_input(struct loop_io *io, int events)
{
	struct spawn *sp = io->data;
	const char *at = (const char *)sp->plan.input + sp->input_at;
	ssize_t n = write(sp->input_fd, at, sp->plan.input_len - sp->input_at);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		sp->input_at += (size_t)n;
	if (n < 0 || sp->input_at == sp->plan.input_len)
		input_close(sp);
}

static bool is_recent(const struct named *n)
{
	return n->at_ns && clock_mono_ns() - n->at_ns < (int64_t)HEARD_MS * 1000000;
}

/* One that is pushed out of the ring too early: any, from now on. */
static void note_named(struct spawner *s, pid_t pid)
{
	struct named *n = &s->named[s->next_named++ % NAMED_MAX];
	*n = (struct named){ is_recent(n) ? 0 : pid, clock_mono_ns() };
}

/* -- life of a spawn -- */

static void kill_group(struct spawn *sp)
{
	if (sp->pid > 0 && !sp->exited) {
		kill(-sp->pid, SIGKILL);
		pidfd_signal(sp->child.pidfd, SIGKILL);
	}
}

static void release_slot(struct spawn *sp)
{
	if (sp->state == SPAWN_STATE_QUEUED) {
		list_del(&sp->link);
		sp->spawner->waiting--;
	} else if (sp->state == SPAWN_STATE_RUNNING && !sp->plan.uncounted) {
		list_del(&sp->link);
		sp->spawner->slow -= sp->is_slow;
		sp->spawner->running -= !sp->is_slow;
	}
	sp->state = SPAWN_STATE_ENDED;
	start_waiting(sp->spawner);
}

static void destroy(struct spawn *sp)
{
	stream_close(&sp->out);
	stream_close(&sp->err);
	input_close(sp);
	buf_free(&sp->result.out);
	buf_free(&sp->result.err_out);
	loop_defer_cancel(&sp->finish);
	pool_destroy(sp->pool);
}

static void handle_finish(struct loop_defer *d)
{
	struct spawn *sp = d->data;
	release_slot(sp);
	pool_res_drop(&sp->res);
	sp->cb(sp->data, &sp->result);
	if (sp->plan.names_child && sp->result.named != SPAWN_NAMED_NOBODY)
		note_named(sp->spawner, sp->result.named);
	destroy(sp);
}

static void finish(struct spawn *sp)
{
	loop_timer_stop(&sp->timeout);
	loop_timer_stop(&sp->deadline);
	loop_defer(sp->spawner->loop, &sp->finish, handle_finish, sp);
}

static void maybe_finish(struct spawn *sp)
{
	if (sp->exited && sp->out.fd < 0 && sp->err.fd < 0)
		finish(sp);
}

/* A grandchild may have inherited the pipes: don't wait for it longer than this. */
static void handle_drain(struct loop_timer *t)
{
	struct spawn *sp = t->data;
	stream_close(&sp->out);
	stream_close(&sp->err);
	maybe_finish(sp);
}

static void handle_exit(struct loop_child *c)
{
	struct spawn *sp = c->data;
	if (loop_child_status(c, true, &sp->result.wait_status) < 0)
		sp->result.wait_status = W_EXITCODE(255, 0);
	sp->exited = true;
	loop_child_stop(c);
	loop_timer_stop(&sp->timeout);
	loop_timer_stop(&sp->deadline);
	loop_timer_stop(&sp->slow);
	input_close(sp);
	if (sp->out.fd >= 0 || sp->err.fd >= 0)
		loop_timer_start(&sp->drain, sp->spawner->loop, sp->pool, DRAIN_MS, 0, handle_drain,
				 sp);
	maybe_finish(sp);
}

/* It ends before its time; the reason has been set. */
static void give_up(struct spawn *sp)
{
	if (sp->state == SPAWN_STATE_QUEUED) {
		release_slot(sp);	/* at once: its turn may come in this very pass */
		sp->exited = true;
		finish(sp);
	} else {
		kill_group(sp);
	}
}

static void handle_timeout(struct loop_timer *t)
{
	struct spawn *sp = t->data;
	bool waits = sp->state == SPAWN_STATE_QUEUED;
	int64_t since = waits ? sp->asked_ns : sp->started_ns;
	sp->result.timed_out = true;
	err_set(&sp->result.err, ETIMEDOUT, waits ? "waited %llu ms for its turn" : "no answer in %llu ms",
		(unsigned long long)(clock_mono_ns() - since) / 1000000);
	give_up(sp);
}

/* Whoever takes that long waits for something: its slot is for those who would work.  Else a few
 * that hang would hold up all others until their deadline. */
static void handle_slow(struct loop_timer *t)
{
	struct spawn *sp = t->data;
	struct spawner *s = sp->spawner;
	if (s->slow == SLOW_MAX) {
		loop_timer_start(&sp->slow, s->loop, sp->pool, SLOW_MS, 0, handle_slow, sp);
		return;
	}
	sp->is_slow = true;
	s->slow++;
	s->running--;
	start_waiting(s);
}

static int open_stdio(struct spawn *sp, int std[3])
{
	int input[2] = { -1, -1 };
	if (sp->plan.input && sp->plan.input_len) {
		if (pipe2(input, O_CLOEXEC) < 0)
			return -errno;
		fd_set_nonblock(input[1]);
		sp->input_fd = input[1];
		loop_io_start(&sp->input, sp->spawner->loop, sp->pool, input[1], LOOP_WRITE,
			      handle_input, sp);
	}
	std[0] = input[0];
	int ret = stream_open(sp, &sp->out, sp->plan.out_max, &sp->result.out, &std[1]);
	if (ret == 0)
		ret = stream_open(sp, &sp->err, sp->plan.err_max, &sp->result.err_out, &std[2]);
	for (int i = 0; i < 3 && ret == 0; i++) {
		if (std[i] < 0)
			std[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (std[i] < 0)
			ret = -errno;
	}
	return ret;
}

static void start(struct spawn *sp)
{
	struct spawner *s = sp->spawner;
	list_del(&sp->link);
	if (!sp->plan.uncounted)
		list_append(&s->started, &sp->link);
	sp->started_ns = clock_mono_ns();
	s->waiting--;
	s->running += !sp->plan.uncounted;
	sp->state = SPAWN_STATE_RUNNING;
	int std[3] = { -1, -1, -1 }, pidfd = -1, ret = open_stdio(sp, std);
	if (ret < 0)
		err_set(&sp->result.err, -ret, "set up stdio: %s", strerror(-ret));
	else
		ret = child_start(&s->ground, &sp->plan, std, &sp->pid, &pidfd, &sp->result.err);
	for (int i = 0; i < 3; i++)
		if (std[i] >= 0)
			close(std[i]);
	if (ret < 0) {
		sp->exited = true;
		finish(sp);
		return;
	}
	sp->result.ran = true;
	sweep_every(s, SWEEP_BUSY_MS);
	loop_child_start(&sp->child, s->loop, sp->pool, sp->pid, pidfd, handle_exit, sp);
	if (sp->plan.timeout_ms)
		loop_timer_start(&sp->timeout, s->loop, sp->pool, sp->plan.timeout_ms, 0, handle_timeout, sp);
	if (!sp->plan.uncounted)
		loop_timer_start(&sp->slow, s->loop, sp->pool, SLOW_MS, 0, handle_slow, sp);
}

static struct spawn *next(struct spawner *s)
{
	struct spawn *sp;
	list_for_each(sp, &s->queue, link)
		if (sp->plan.uncounted || s->running < s->limit)
			return sp;
	return NULL;
}

/* One a pass: until its child has exec'd, all else waits. */
static void handle_next(struct loop_timer *t)
{
	struct spawner *s = t->data;
	struct spawn *sp = next(s);
	if (sp)
		start(sp);
	start_waiting(s);
}

static void start_waiting(struct spawner *s)
{
	if (next(s))
		loop_timer_start(&s->next, s->loop, s->pool, 0, 0, handle_next, s);
}

static void release_spawn(struct pool_res *r)
{
	struct spawn *sp = container_of(r, struct spawn, res);
	if (sp->state == SPAWN_STATE_RUNNING && !sp->exited) {
		kill_group(sp);
		waitid(P_PID, (id_t)sp->pid, &(siginfo_t){0}, WEXITED); /* SIGKILLed: soon */
	}
	release_slot(sp);
	destroy(sp);
}

struct spawn *spawn_start(struct spawner *s, struct pool *p, const struct spawn_plan *plan,
			  spawn_cb *cb, void *data)
{
	struct pool *own = pool_new(NULL, "spawn");
	struct spawn *sp = pool_new_struct(own, struct spawn);
	sp->pool = own;
	sp->spawner = s;
	sp->cb = cb;
	sp->data = data;
	sp->input_fd = sp->out.fd = sp->err.fd = -1;
	copy_plan(sp, plan);
	list_append(&s->queue, &sp->link);
	s->waiting++;
	pool_res_add(p, &sp->res, release_spawn);
	sp->asked_ns = clock_mono_ns();
	if (plan->deadline_ns) {
		int64_t left = plan->deadline_ns - sp->asked_ns;
		loop_timer_start(&sp->deadline, s->loop, own, left > 1000000 ? (uint64_t)left / 1000000 : 1, 0,
				 handle_timeout, sp);
	}
	start_waiting(s);
	return sp;
}

void spawn_cancel(struct spawn *sp)
{
	if (sp->state == SPAWN_STATE_ENDED || sp->result.cancelled)
		return;
	sp->result.cancelled = true;
	err_set(&sp->result.err, ECANCELED, "cancelled");
	give_up(sp);
}

pid_t spawn_pid(const struct spawn *sp)
{
	return sp->pid;
}

unsigned spawner_running(const struct spawner *s)
{
	return s->running;
}

unsigned spawner_waiting(const struct spawner *s)
{
	return s->waiting;
}

int spawn_check(const struct spawn_result *r, const char *what, struct err *e)
{
	if (r->err.code)
		return err_set(e, r->err.code, "%s: %s", what, r->err.msg);
	if (WIFEXITED(r->wait_status) && WEXITSTATUS(r->wait_status) == 0)
		return 0;
	size_t end = r->err_out.len;
	while (end && strchr("\n\r ", r->err_out.data[end - 1]))
		end--;
	size_t at = end;
	while (at && r->err_out.data[at - 1] != '\n')
		at--;
	char how[48];
	if (WIFSIGNALED(r->wait_status))
		snprintf(how, sizeof(how), "killed by signal %d", WTERMSIG(r->wait_status));
	else
		snprintf(how, sizeof(how), "exit code %d", WEXITSTATUS(r->wait_status));
	if (end > at)
		return err_set(e, EIO, "%s: %.*s (%s)", what, (int)(end - at), r->err_out.data + at,
			       how);
	return err_set(e, EIO, "%s: %s", what, how);
}

/*
 * Strangers: as subreaper we inherit what the engines leave behind.  A pid namespace can't end
 * while a zombie of it is unreaped, and a program that kills waits until its victim is gone.  But
 * a zombie that nobody watches may be the one that a program under way is about to name: it is
 * reaped once all such that ran when it was first seen have ended, and been heard.
 */
static bool may_be_named(const struct spawner *s)
{
	struct spawn *sp;
	for (const struct named *n = s->named; n < s->named + NAMED_MAX; n++)
		if (is_recent(n) && (!n->pid || n->pid == s->stranger))
			return true;
	list_for_each(sp, &s->started, link)
		if (sp->plan.names_child && sp->started_ns <= s->stranger_ns)
			return true;
	return false;
}

/*
 * To find one the kernel goes through all children, which are a thousand on a full node: not for
 * nothing.  SIGCHLD is blocked, so that one stays pending until it is asked for; children of a
 * process belong to all its spawners.
 */
static bool deaths_look;	/* a zombie may be there */

static sigset_t deaths_set(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	return set;
}

static void deaths_begin(void)
{
	sigset_t set = deaths_set();
	sigprocmask(SIG_BLOCK, &set, NULL);
	deaths_look = true;
}

static bool deaths_came(void)
{
	sigset_t set = deaths_set();
	return sigtimedwait(&set, NULL, &(struct timespec){ 0 }) == SIGCHLD;
}

static void handle_sweep(struct loop_timer *t)
{
	struct spawner *s = t->data;
	if (list_empty(&s->started))
		sweep_every(s, SWEEP_MS);
	deaths_look |= deaths_came();
	while (deaths_look) {
		siginfo_t si = { 0 };
		if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) < 0 || !si.si_pid) {
			deaths_look = false;
			return;
		}
		if (loop_knows_child(s->loop, si.si_pid))
			return;	/* its own watcher comes next */
		if (s->stranger != si.si_pid) {
			s->stranger = si.si_pid;
			s->stranger_ns = clock_mono_ns();
		}
		if (may_be_named(s))
			return;
		waitid(P_PID, (id_t)si.si_pid, &si, WEXITED | WNOHANG);
	}
}

static void sweep_every(struct spawner *s, uint64_t ms)
{
	if (s->sweep_ms == ms)
		return;
	s->sweep_ms = ms;
	loop_timer_start(&s->sweep, s->loop, s->pool, ms, ms, handle_sweep, s);
}

static void release_spawner(struct pool_res *r)
{
	struct spawner *s = container_of(r, struct spawner, res);
	loop_timer_stop(&s->next);
	child_ground_finish(&s->ground);
}

struct spawner *spawner_new(struct loop *l, struct pool *p, unsigned limit, const int *home_procs,
			    size_t n_home_procs)
{
	struct spawner *s = pool_new_struct(p, struct spawner);
	s->loop = l;
	s->pool = p;
	s->limit = limit;
	deaths_begin();
	child_ground_init(&s->ground, home_procs, n_home_procs);
	list_init(&s->queue);
	list_init(&s->started);
	pool_res_add(p, &s->res, release_spawner);
	sweep_every(s, SWEEP_MS);
	return s;
}

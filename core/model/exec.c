/*
 * ExecSync and Exec.  Not a step table but a small state machine around a byte pump:
 *
 *	STARTING --engine has the pid--> RUNNING --exit--> ENDED
 *	    \------- refused ---------------------------/
 *
 * The answer comes when the process exits, not when its pipes close: a grandchild may hold them.
 * The deadline, and a caller that leaves, kill the process and its session; whoever has to see
 * to that, the answer comes at most DEATH_MS later.  An engine that is given FIFOs copies what the
 * process writes: there the answer waits a moment for their end.  The engine is told to forget an
 * exec that it has started, once it has ended.
 *
 * An Exec differs in where its output goes (to a client, piece by piece), in having stdin and
 * perhaps a tty, and in running on when its client leaves.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/keep/keep.h"
#include "core/model/console.h"
#include "core/model/model_int.h"
#include "core/oci/oci.h"
#include "core/plug/plug.h"
#include "core/store/store.h"

enum { DRAIN_MS = 2000, DEATH_MS = 5000 };

struct output {
	struct loop_io io;
	int fd;
	struct buf *into;
};

struct exec {
	struct list link;		/* in container.execs */
	struct container *c;		/* NULL when there was none */
	struct model *model;
	struct pool *pool;
	char id[65];
	struct plug_handler *handler;
	const char *pod_id, *ctr_id;	/* ours: the container may go first */
	exec_cb *done;			/* of an ExecSync; NULL once answered or left */
	void *data;
	struct exec_result result;
	bool streams;			/* an Exec, so: */
	struct live live;
	struct live_want want;
	unsigned width, height;		/* as asked for before it has started */
	struct console *console;	/* under tty */
	struct output out, err;		/* out: the pty's master under tty */
	struct fifos fifos;
	struct loop_timer drain;	/* ended, output still on its way */
	int drain_status;
	struct plug_call *call;		/* while STARTING */
	struct loop_child child;
	struct loop_timer deadline;
	pid_t pid;
	bool started, kept, kill_when_started, ended, container_ended;
	bool refused;			/* it never began; refuse tells */
	struct err why;			/* timed out or left */
	struct loop_defer refuse;
};

/* -- the end -- */

static void keep_exec(struct exec *x, int pidfd)
{
	if (pidfd < 0 && !x->kept)
		return;
	char key[KEEP_KEY_MAX + 1];
	snprintf(key, sizeof(key), "exec/%s", x->id);
	if (pidfd >= 0)
		keep_put(x->model->g.keep, key, pidfd);
	else
		keep_drop(x->model->g.keep, key);
	x->kept = pidfd >= 0;
}

static void output_close(struct output *o)
{
	if (o->fd < 0)
		return;
	loop_io_stop(&o->io);
	close(o->fd);
	o->fd = -1;
}

static void handle_forgotten(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	if (ret < 0 && ret != -ENOENT)
		log_warn("an engine could not forget an exec", "error", err_text(e));
}

static void exec_end(struct exec *x, int ret, const struct err *e)
{
	if (x->ended)
		return;
	x->ended = true;
	if (x->started && plug_has(x->handler, PLUG_OP_EXEC_DELETE))
		plug_exec_delete(x->handler, x->pod_id, x->ctr_id, x->id, ENGINE_TIMEOUT_MS, handle_forgotten, NULL);
	list_del(&x->link);
	loop_timer_stop(&x->deadline);
	loop_timer_stop(&x->drain);
	loop_child_stop(&x->child);
	feed_close(&x->live.in);
	output_close(&x->out);
	output_close(&x->err);
	keep_exec(x, -1);
	fifos_unlink(&x->fifos);
	if (x->fifos.in_fd >= 0)
		close(x->fifos.in_fd);
	if (x->done)
		x->done(x->data, ret, &x->result, e);
	x->done = NULL;
	if (x->live.user)
		x->live.user->ended(x->live.data, ret, x->result.exit_code, e);
	x->live.user = NULL;
	buf_free(&x->result.out);
	buf_free(&x->result.err);
	loop_destroy_later(x->model->g.loop, x->pool);
}

static bool was_killed(int wait_status)
{
	return WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) == SIGKILL :
					  WEXITSTATUS(wait_status) == 128 + SIGKILL;
}

static void exec_over(struct exec *x, int wait_status)
{
	if (!x->why.code && wait_status < 0)
		err_set(&x->why, EIO, "exec: nobody can tell how the command ended");
	else if (!x->why.code && x->container_ended && was_killed(wait_status))
		err_set(&x->why, EBUSY, "exec: the container has ended");
	x->result.exit_code = WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
	if (x->why.code)
		exec_end(x, -x->why.code, &x->why);
	else
		exec_end(x, 0, NULL);
}

static void handle_killed(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	if (ret < 0 && ret != -ESRCH && ret != -ENOENT)
		log_warn("an engine could not kill an exec", "error", err_text(e));
}

static void handle_undead(struct loop_timer *t)
{
	struct exec *x = t->data;
	log_warn("an exec was killed and does not end", "exec", x->id, "ctr", x->ctr_id);
	exec_end(x, -x->why.code, &x->why);
}

/* It leads its process group, or is in that of the engine's program which made it and has left; the spawn gave that
 * program a session of its own, so nobody else can be in there. */
void exec_kill_group(pid_t pid)
{
	pid_t group = pid > 1 ? getpgid(pid) : -1;
	if (group > 1 && group != getpgrp())
		kill(-group, SIGKILL);
}

/* x->why says why. */
static void exec_kill(struct exec *x)
{
	x->kill_when_started = true;
	if (x->ended || x->refused)
		return;
	if (x->call) {
		plug_call_cancel(x->call);
		return;
	}
	bool ours = plug_can(x->handler, CRISP_CAP_PID_IS_HOST) || !plug_has(x->handler, PLUG_OP_KILL);
	if (x->child.io.loop && ours) {
		exec_kill_group(x->pid);
		pidfd_signal(x->child.pidfd, SIGKILL);
	} else if (x->started) {
		struct crisp_kill_args args = { .size = sizeof(args), .id = x->ctr_id,
						.exec_id = x->id, .signo = SIGKILL };
		plug_kill(x->handler, x->pod_id, &args, ENGINE_TIMEOUT_MS, handle_killed, NULL);
	}
	loop_timer_start(&x->deadline, x->model->g.loop, x->pool, DEATH_MS, 0, handle_undead, x);
}

/* -- output -- */

static void collect(struct exec *x, struct output *o, const char *bytes, size_t n)
{
	size_t room = EXEC_OUTPUT_MAX - x->result.out.len - x->result.err.len;
	buf_add(o->into, bytes, n < room ? n : room);
}

/* Returns false at the end or when there is nothing more now. */
static bool read_some(struct exec *x, struct output *o)
{
	static char scratch[64 << 10];
	ssize_t n = read(o->fd, scratch, sizeof(scratch));
	if (n < 0 && errno == EINTR)
		return true;
	if (n <= 0) {
		if (n == 0 || errno != EAGAIN)
			output_close(o);
		return false;
	}
	if (!x->streams)
		collect(x, o, scratch, (size_t)n);
	else if (x->live.user)
		x->live.user->output(x->live.data, o == &x->out ? CONLOG_STDOUT : CONLOG_STDERR, scratch, (size_t)n);
	return true;
}

static void drain(struct exec *x, struct output *o)
{
	/* What a pipe holds, not what a grandchild may go on writing. */
	for (int i = 0; i < 32 && o->fd >= 0 && read_some(x, o); i++)
		;
}

static void over_by_engine(struct exec *x)
{
	drain(x, &x->out);
	drain(x, &x->err);
	exec_over(x, x->drain_status);
}

static void handle_drain_over(struct loop_timer *t)
{
	over_by_engine(t->data);
}

static void handle_output(struct loop_io *io, int events)
{
	struct exec *x = io->data;
	read_some(x, container_of(io, struct output, io));
	if (x->drain.loop && x->out.fd < 0 && x->err.fd < 0)
		over_by_engine(x);
}

static void handle_exit(struct loop_child *child)
{
	struct exec *x = child->data;
	int status = W_EXITCODE(255, 0);
	loop_child_status(child, true, &status);
	drain(x, &x->out);
	drain(x, &x->err);
	exec_over(x, status);
}

/* -- the start -- */

static void read_from(struct exec *x, struct output *o, struct buf *into, int fd)
{
	o->fd = fd;
	o->into = into;
	loop_io_start(&o->io, x->model->g.loop, x->pool, o->fd, LOOP_READ, handle_output, x);
}

static void handle_closed(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	pool_destroy(data);
	if (ret < 0 && ret != -ENOENT && ret != -ESRCH)
		log_warn("an engine could not close an exec's stdin", "error", err_text(e));
}

/* An engine with FIFOs holds both ends of stdin.  It has opened them for sure when it has answered to
 * this: until then ours keeps what is in the FIFO, and after that it would keep the process waiting. */
static void tell_input_end(struct exec *x)
{
	if (x->fifos.in_fd < 0)
		return;
	struct pool *pool = pool_new(x->model->pool, "end of an exec's stdin");
	pool_fd(pool, x->fifos.in_fd);
	x->fifos.in_fd = -1;
	if (plug_has(x->handler, PLUG_OP_CLOSE_STDIN))
		plug_close_stdin(x->handler, x->pod_id, x->ctr_id, x->id, ENGINE_TIMEOUT_MS, handle_closed, pool);
	else
		pool_destroy(pool);
}

/* What the client has asked for before there was a process. */
static void catch_up(struct exec *x)
{
	if (x->fifos.out && x->want.tty && x->width)
		live_engine_resize(x->c->pod, x->ctr_id, x->id, x->width, x->height);
	if (x->want.in && !x->want.tty && x->live.in.fd < 0)
		tell_input_end(x);
}

/* Under tty the engine has sent the master by now. */
static int take_console(struct exec *x)
{
	int master = console_take(x->console, &x->why);
	if (master < 0)
		return master;
	read_from(x, &x->out, NULL, master);
	tty_resize(master, x->width, x->height);
	return x->want.in ? feed_open(&x->live.in, &x->live, x->model->g.loop, x->pool, master, &x->why) : 0;
}

static void handle_started(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	struct exec *x = data;
	x->call = NULL;
	if (ret < 0) {
		exec_end(x, x->why.code ? -x->why.code : ret, x->why.code ? &x->why : e);
		return;
	}
	x->started = true;
	if (!x->c) {	/* removed meanwhile, with all that was in it */
		if (res->pidfd >= 0)
			close(res->pidfd);
		exec_end(x, -EBUSY, &x->why);
		return;
	}
	x->pid = res->pid;
	if (x->console && take_console(x) < 0)
		x->kill_when_started = true;
	else if (x->streams)
		catch_up(x);
	if (plug_can(x->handler, CRISP_CAP_EXIT_BY_ENGINE) && res->exit_source != CRISP_EXIT_BY_PID) {
		/* Its pidfd is for the next core, which kills what it can't take up. */
		if (res->pidfd >= 0)
			pool_fd(x->pool, res->pidfd);
		if (res->pidfd >= 0 && plug_can(x->handler, CRISP_CAP_PID_IS_HOST))
			keep_exec(x, res->pidfd);
		if (x->kill_when_started)
			exec_kill(x);
		return;
	}
	int pidfd = res->pidfd >= 0 ? res->pidfd : pidfd_open_pid(res->pid);
	if (pidfd < 0) {
		struct err gone = { 0 };
		err_set(&gone, EIO, "exec: its process is gone at once");
		exec_end(x, -EIO, &gone);
		return;
	}
	keep_exec(x, pidfd);
	loop_child_start(&x->child, x->model->g.loop, x->pool, res->pid, pidfd, handle_exit, x);
	if (x->kill_when_started)
		exec_kill(x);
}

void exec_ended_by_engine(struct container *c, const char *exec_id, int wait_status)
{
	struct exec *x;
	list_for_each(x, &c->execs, link) {
		if (strcmp(x->id, exec_id))
			continue;
		x->drain_status = wait_status;
		if (x->fifos.out && (x->out.fd >= 0 || x->err.fd >= 0))
			loop_timer_start(&x->drain, c->model->g.loop, x->pool, DRAIN_MS, 0, handle_drain_over, x);
		else
			over_by_engine(x);
		return;
	}
}

static void handle_untold(struct loop_timer *t)
{
	struct exec *x = t->data;
	err_set(&x->why, EBUSY, "exec: the container has ended");
	exec_end(x, -x->why.code, &x->why);
}

/* The container has ended, so has every process in it.  One that had done so by itself keeps its
 * exit code, as soon as that is told. */
void execs_killed(struct container *c)
{
	struct exec *x;
	list_for_each(x, &c->execs, link) {
		x->container_ended = true;
		if (x->call) {
			err_set(&x->why, EBUSY, "exec: the container has ended");
			plug_call_cancel(x->call);
		} else if (!x->child.io.loop && !x->drain.loop) {
			loop_timer_start(&x->deadline, x->model->g.loop, x->pool, DRAIN_MS, 0, handle_untold, x);
		}
	}
}

void execs_orphan(struct container *c)
{
	struct exec *x;
	list_for_each(x, &c->execs, link) {
		list_del(&x->link);
		x->c = NULL;
		err_set(&x->why, EBUSY, "exec: the container was removed");
		exec_kill(x);
	}
}

static void handle_deadline(struct loop_timer *t)
{
	struct exec *x = t->data;
	err_set(&x->why, ETIMEDOUT, "exec: the command did not end in time");
	exec_kill(x);
}

static void handle_refuse(struct loop_defer *d)
{
	struct exec *x = d->data;
	exec_end(x, -x->why.code, &x->why);
}

static int open_pipe(struct exec *x, struct output *o, struct buf *into, int *childs)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(&x->why, "make a pipe");
	fd_set_nonblock(fds[0]);
	give_to_user(x->c, fds[1]);
	*childs = fds[1];
	read_from(x, o, into, fds[0]);
	return 0;
}

static int open_input(struct exec *x, int *childs)
{
	int fds[2];
	if (!x->want.in)
		return 0;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(&x->why, "make a pipe");
	fd_set_nonblock(fds[1]);
	give_to_user(x->c, fds[0]);
	*childs = fds[0];
	int ret = feed_open(&x->live.in, &x->live, x->model->g.loop, x->pool, fds[1], &x->why);
	close(fds[1]);
	return ret;
}

static int open_fifos(struct exec *x)
{
	const char *prefix = pool_printf(x->pool, "exec-%s-", x->id);
	int ret = fifos_make(x->pool, container_dir(x->pool, x->c), prefix, x->want.in, x->want.tty, &x->fifos,
			     &x->why);
	if (ret < 0)
		return ret;
	read_from(x, &x->out, &x->result.out, x->fifos.out_fd);
	if (x->fifos.err_fd >= 0)
		read_from(x, &x->err, &x->result.err, x->fifos.err_fd);
	return x->want.in ? feed_open(&x->live.in, &x->live, x->model->g.loop, x->pool, x->fifos.in_fd, &x->why) : 0;
}

/* stdio: what the engine is told. */
static int open_stdio(struct exec *x, struct crisp_stdio *stdio)
{
	int ret;
	if (plug_can(x->handler, CRISP_CAP_STDIO_FIFO)) {
		ret = open_fifos(x);
		stdio->fifo_in = x->fifos.in;
		stdio->fifo_out = x->fifos.out;
		stdio->fifo_err = x->fifos.err;
	} else if (x->want.tty) {
		const char *name = pool_printf(x->pool, "x%.8s", x->id);
		ret = console_listen(x->pool, container_dir(x->pool, x->c), name, &x->console, &x->why);
		stdio->console_socket = ret == 0 ? console_path(x->console) : NULL;
	} else {
		ret = open_input(x, &stdio->in);
		if (ret == 0)
			ret = open_pipe(x, &x->out, &x->result.out, &stdio->out);
		if (ret == 0)
			ret = open_pipe(x, &x->err, &x->result.err, &stdio->err);
	}
	return ret;
}

static int start(struct exec *x, const char *const *cmd, size_t n_cmd)
{
	struct container *c = x->c;
	struct buf config = { 0 };
	const char *json;
	size_t len;
	struct crisp_stdio stdio = { .size = sizeof(stdio), .flags = x->want.tty ? CRISP_STDIO_TTY : 0 };
	int ret = store_read(c->model->g.store, STORE_CONTAINER, c->id, "config.json", &config, &x->why);
	if (ret == 0)
		ret = oci_exec_process(x->pool, config.data, config.len, cmd, n_cmd, x->want.tty, &json, &len, &x->why);
	buf_free(&config);
	if (ret == 0)
		ret = open_stdio(x, &stdio);
	struct crisp_stdio given = stdio;
	if (ret == 0)
		ret = stdio_fill(x->pool, &given, &x->why);
	if (ret == 0) {
		struct crisp_exec_args args = { .size = sizeof(args), .id = c->id, .exec_id = x->id,
						.process_json = json, .stdio = &given };
		x->call = plug_exec(x->handler, x->pod_id, &args, ENGINE_TIMEOUT_MS, handle_started, x);
	}
	const int theirs[] = { stdio.in, stdio.out, stdio.err };
	for (size_t i = 0; i < 3; i++)
		if (theirs[i] > 0)
			close(theirs[i]);
	return ret;
}

static struct exec *exec_new(struct model *m, const char *id)
{
	struct container *c = model_container(m, id);
	struct pool *pool = pool_new(m->pool, "exec");
	struct exec *x = pool_new_struct(pool, struct exec);
	x->pool = pool;
	x->out.fd = x->err.fd = x->live.in.fd = x->fifos.in_fd = -1;
	x->c = c;
	x->model = m;
	if (c) {
		x->handler = c->pod->handler;
		x->pod_id = pool_strdup(pool, c->pod->id);
		x->ctr_id = pool_strdup(pool, c->id);
	}
	list_init(&x->link);
	random_id(x->id);
	return x;
}

static void exec_begin(struct exec *x, const char *id, const char *const *cmd, int64_t timeout_s)
{
	struct loop *loop = x->model->g.loop;
	size_t n_cmd = 0;
	while (cmd[n_cmd])
		n_cmd++;
	model_can_stream(x->model, id, &x->why);
	if (!x->why.code && !n_cmd)
		err_set(&x->why, EINVAL, "cmd: is empty, expected a command");
	if (x->why.code || start(x, cmd, n_cmd) < 0) {
		x->refused = true;
		loop_defer(loop, &x->refuse, handle_refuse, x);
		return;
	}
	list_append(&x->c->execs, &x->link);
	if (timeout_s > 0)
		loop_timer_start(&x->deadline, loop, x->pool, (uint64_t)timeout_s * 1000, 0, handle_deadline, x);
}

struct exec *model_exec_sync(struct model *m, const char *id, const char *const *cmd, int64_t timeout_s,
			     exec_cb *done, void *data)
{
	struct exec *x = exec_new(m, id);
	x->done = done;
	x->data = data;
	exec_begin(x, id, cmd, timeout_s);
	return x;
}

void model_exec_leave(struct exec *x)
{
	x->done = NULL;
	err_set(&x->why, ECANCELED, "exec: the caller has left");
	exec_kill(x);
}

/* -- with a client -- */

static struct exec *exec_of(struct live *l)
{
	return container_of(l, struct exec, live);
}

static void live_exec_write_end(struct live *l)
{
	struct exec *x = exec_of(l);
	if (x->want.tty)
		return;		/* its end is a character */
	feed_close(&l->in);
	if (x->started && !x->ended)
		tell_input_end(x);
}

static void live_exec_resize(struct live *l, unsigned width, unsigned height)
{
	struct exec *x = exec_of(l);
	x->width = width;
	x->height = height;
	if (x->console && x->out.fd >= 0)
		tty_resize(x->out.fd, width, height);
	else if (x->started && !x->ended && x->want.tty && x->c)
		live_engine_resize(x->c->pod, x->ctr_id, x->id, width, height);
}

static void live_exec_hold(struct live *l, bool hold)
{
	struct exec *x = exec_of(l);
	struct output *const outputs[] = { &x->out, &x->err };
	for (size_t i = 0; i < 2; i++)
		if (outputs[i]->fd >= 0)
			loop_io_set(&outputs[i]->io, hold ? 0 : LOOP_READ);
}

/* It runs on; what it writes is dropped, and its stdin is at its end. */
static void live_exec_leave(struct live *l)
{
	live_exec_hold(l, false);
	live_exec_write_end(l);
}

static const struct live_ops exec_ops = {
	.write_end = live_exec_write_end, .resize = live_exec_resize, .hold = live_exec_hold,
	.leave = live_exec_leave,
};

struct live *model_exec(struct model *m, const char *id, const char *const *cmd, const struct live_want *w,
			const struct live_user *user, void *data)
{
	struct exec *x = exec_new(m, id);
	x->streams = true;
	x->want = *w;
	x->live = (struct live){ .ops = &exec_ops, .user = user, .data = data, .in.fd = -1 };
	exec_begin(x, id, cmd, 0);
	return &x->live;
}

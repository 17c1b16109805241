/*
 * The spawn service: a plugin's plan becomes a plan of core/spawn.
 *
 *	plan ---> (sealed copy being made) ---> running ---> ended: log read, pid file read, cb
 *
 * With a rootfs the program is started through `crisp-work enter`, which mounts it in a private
 * copy of the template mount namespace and then becomes the program.  File descriptors from
 * FD_OURS up are the host's: the namespace, the sealed program, mounts.
 *
 * The log is a pipe, not a file: it is read as it is written and only its end is kept, so that a
 * program that floods it costs nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/base/utf8.h"
#include "core/plug/inner.h"
#include "core/plug/seal.h"
#include "core/spawn/spawn.h"

enum {
	FD_OURS = 40,
	FD_NS = FD_OURS,
	FD_NET,
	FD_EXE,
	FD_USERNS,
	FD_MOUNT,			/* and up */
	FD_ERR = 63,			/* for crisp-work's own errors */
	MOUNTS_MAX = FD_ERR - FD_MOUNT,
	FDS_MAX = FD_OURS,
	ARGS_MAX = 1000,
	LOG_KEPT = 16 << 10,
	BLOB_MAX = 16 << 20,
	OUT_MAX = 16 << 20,
};

struct crisp_job {
	struct bond bond;
	struct list link;		/* in host->jobs */
	struct pool_res res;		/* in pool */
	struct host *host;
	struct pool *pool;
	struct crisp_spawn_plan plan;
	crisp_spawn_cb *cb;
	void *data;
	struct spawn *spawn;		/* NULL until it really starts */
	struct loop_defer fail;		/* ends a job that never starts */
	struct err err;			/* why it doesn't */
	struct loop_io log;
	int log_fd;
	struct buf log_text;		/* the end of the log, or of crisp-work's stderr */
};

/* -- the log -- */

/* 0 while there may be more. */
static int log_read(struct crisp_job *j)
{
	char part[4096];
	ssize_t n = read(j->log_fd, part, sizeof(part));
	if (n > 0) {
		buf_add(&j->log_text, part, (size_t)n);
		if (j->log_text.len > 2 * LOG_KEPT)
			buf_consume(&j->log_text, j->log_text.len - LOG_KEPT);
		return 0;
	}
	return n < 0 && errno == EINTR ? 0 : -1;
}

static void handle_log(struct loop_io *io, int events)
{
	struct crisp_job *j = io->data;
	errno = 0;
	if (log_read(j) < 0 && errno != EAGAIN)
		loop_io_stop(io);
}

static void log_close(struct crisp_job *j)
{
	if (j->log_fd < 0)
		return;
	/* Bounded: a grandchild may go on writing. */
	for (int i = 0; i < 32 && log_read(j) == 0; i++)
		;
	loop_io_stop(&j->log);
	close(j->log_fd);
	j->log_fd = -1;
}

/* *fd: the write end for the child. */
static int log_open(struct crisp_job *j, struct pool *p, int *fd)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(&j->err, "pipe for the log");
	fd_set_nonblock(fds[0]);
	j->log_fd = fds[0];
	loop_io_start(&j->log, j->host->handler->plug->loop, j->pool, fds[0], LOOP_READ, handle_log,
		      j);
	*fd = pool_fd(p, fds[1])->fd;
	return 0;
}

static bool is_error(const char *level)
{
	return level &&
	       (!strcmp(level, "error") || !strcmp(level, "fatal") || !strcmp(level, "panic"));
}

static bool readable(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] < ' ' && s[i] != '\t')
			return false;
	return n && utf8_valid(s, n) == n;
}

/* What the last line says that tells of an error, or the last one that is readable but no JSON:
 * crisp-work's own, or a program's that keeps to no format. */
static const char *last_error(struct crisp_job *j, struct pool *p)
{
	const char *plain = NULL;
	size_t end = j->log_text.len;
	while (end) {
		size_t at = end;
		while (at && j->log_text.data[at - 1] != '\n')
			at--;
		const char *text = j->log_text.data + at;
		const struct json *line = NULL;
		if (end > at)
			json_parse(p, text, end - at, &line, NULL);
		if (is_error(json_str(json_get(line, "level"))) && json_str(json_get(line, "msg")))
			return json_str(json_get(line, "msg"));
		if (!line && !plain && readable(text, end - at))
			plain = pool_strndup(p, text, end - at);
		end = at ? at - 1 : 0;
	}
	return plain;
}

/* -- the end -- */

static void release_job(struct pool_res *r)
{
	struct crisp_job *j = container_of(r, struct crisp_job, res);
	log_close(j);
	buf_free(&j->log_text);
	loop_defer_cancel(&j->fail);
	bond_del(&j->bond);
	list_del(&j->link);
}

static void read_pid_file(struct crisp_job *j, struct crisp_spawn_result *r)
{
	struct buf text = { 0 };
	if (file_read(AT_FDCWD, j->plan.pid_file, 64, &text, NULL) == 0) {
		char *end;
		long pid = strtol(text.data ? text.data : "", &end, 10);
		if (pid > 1 && pid <= 1 << 30 && (!*end || *end == '\n'))
			r->pid = (int32_t)pid;
	}
	buf_free(&text);
	unlink(j->plan.pid_file);
	if (r->pid) {
		r->pidfd = pidfd_open_pid(r->pid);
		if (r->pidfd < 0)
			r->pidfd = -1;
	}
}

static void job_end(struct crisp_job *j, struct crisp_spawn_result *r)
{
	r->size = sizeof(*r);
	struct host *host = j->host;
	struct host_span span = host_enter(host, j->bond.call);
	crisp_spawn_cb *cb = j->cb;
	void *data = j->data;
	bond_del(&j->bond);
	cb(data, r);
	host_leave(&span, "the end of a program");
	pool_destroy(j->pool);
}

static void handle_fail(struct loop_defer *d)
{
	struct crisp_job *j = d->data;
	struct crisp_spawn_result r = {
		.err = -j->err.code, .msg = j->err.msg, .pidfd = -1, .out = "", .err_out = ""
	};
	job_end(j, &r);
}

static void fail(struct crisp_job *j)
{
	loop_defer(j->host->handler->plug->loop, &j->fail, handle_fail, j);
}

/* Is the program not there to be run? */
static bool is_missing(int code)
{
	return code == ENOENT || code == EACCES || code == ENOTDIR || code == ENOEXEC;
}

static void handle_ended(void *data, struct spawn_result *sr)
{
	struct crisp_job *j = data;
	struct crisp_spawn_result r = { .pidfd = -1, .wait_status = sr->wait_status };
	j->spawn = NULL;
	log_close(j);
	if (sr->err.code) {
		r.err = -sr->err.code;
		r.msg = sr->err.msg;
		if (!sr->ran && is_missing(sr->err.code))
			handler_suspect(j->host->handler);
	}
	r.out = sr->out.data ? sr->out.data : "";
	r.out_len = (uint32_t)sr->out.len;
	r.err_out = sr->err_out.data ? sr->err_out.data : "";
	r.err_len = (uint32_t)sr->err_out.len;
	r.last_error = last_error(j, j->pool);
	if (j->plan.pid_file)
		read_pid_file(j, &r);
	if (!j->plan.out_max)
		sr->named = r.pid ? r.pid : SPAWN_NAMED_NOBODY;
	job_end(j, &r);
}

/* -- the start -- */

struct argv {
	const char **at;
	size_t n;
};

static void arg(struct argv *a, const char *s)
{
	a->at[a->n++] = s;
}

static const char *option(const struct crisp_mount *m, const char *name)
{
	size_t n = strlen(name);
	for (size_t i = 0; m->options && m->options[i]; i++)
		if (!strncmp(m->options[i], name, n) && m->options[i][n] == '=')
			return m->options[i] + n + 1;
	return NULL;
}

static const char *joined_options(struct pool *p, const struct crisp_mount *m)
{
	const char *all = "";
	for (size_t i = 0; m->options && m->options[i]; i++)
		all = pool_printf(p, "%s%s%s", all, *all ? "," : "", m->options[i]);
	return all;
}

/* The words by which crisp-work mounts m. */
static int mount_args(struct crisp_job *j, const struct crisp_mount *m, struct argv *a,
		      struct spawn_plan *sp, struct spawn_fd *fds, int *n_mounts)
{
	if (m->fd > 0) {
		if (*n_mounts == MOUNTS_MAX)
			return err_set(&j->err, EINVAL, "rootfs has more than %d mounts",
				       MOUNTS_MAX);
		int target = FD_MOUNT + (*n_mounts)++;
		fds[sp->n_fds++] = (struct spawn_fd){ m->fd, target };
		arg(a, "--fdmount");
		arg(a, pool_printf(j->pool, "%d", target));
		arg(a, m->target);
		return 0;
	}
	if (m->type && !strcmp(m->type, "bind") && m->source) {
		arg(a, m->userns > 0 ? "--mapped-bind" : "--bind");
		arg(a, m->source);
		arg(a, m->target);
		arg(a, joined_options(j->pool, m));
		return 0;
	}
	const char *lower = option(m, "lowerdir"), *upper = option(m, "upperdir"),
		   *work = option(m, "workdir");
	if (!m->type || strcmp(m->type, "overlay") || !lower || !upper || !work)
		return err_set(&j->err, ENOSYS,
			       "rootfs mount of type \"%s\" at %s can't be made here",
			       m->type ? m->type : "", m->target);
	arg(a, m->userns > 0 ? "--mapped-overlay" : "--overlay");
	arg(a, m->target);
	arg(a, lower);
	arg(a, upper);
	arg(a, work);
	return 0;
}

/* Have crisp-work enter the template namespace, mount, and become the program. */
static int wrap(struct crisp_job *j, struct spawn_plan *sp, struct spawn_fd *fds, int log_fd)
{
	const struct crisp_rootfs *root = j->plan.rootfs;
	struct plug *pl = j->host->handler->plug;
	size_t n_argv = 0, n_mounts = 0, n_covers = 0;
	while (j->plan.argv[n_argv])
		n_argv++;
	while (root && root->mounts && root->mounts[n_mounts])
		n_mounts++;
	while (j->plan.covers && j->plan.covers[n_covers])
		n_covers++;
	size_t n_words = n_argv + n_mounts * 6 + n_covers * 2 + 28;
	struct argv a = { .at = pool_alloc(j->pool, n_words * sizeof(char *)) };
	arg(&a, "crisp-work");
	arg(&a, "enter");
	arg(&a, pool_printf(j->pool, "%d", FD_NS));
	fds[sp->n_fds++] = (struct spawn_fd){ pl->opt.mntns_fd, FD_NS };
	if (log_fd >= 0) { /* stderr may be the container's: its words go where the program's go */
		arg(&a, "--errfd");
		arg(&a, pool_printf(j->pool, "%d", FD_ERR));
		fds[sp->n_fds++] = (struct spawn_fd){ log_fd, FD_ERR };
	}
	if (j->plan.cwd) {
		arg(&a, "--chdir");
		arg(&a, j->plan.cwd);
	}
	if (j->plan.netns_path) {
		int net = open(j->plan.netns_path, O_RDONLY | O_CLOEXEC);
		if (net < 0)
			return err_sys(&j->err, "open the network namespace %s", j->plan.netns_path);
		fds[sp->n_fds++] = (struct spawn_fd){ pool_fd(j->pool, net)->fd, FD_NET };
		arg(&a, "--netns");
		arg(&a, pool_printf(j->pool, "%d", FD_NET));
	}
	for (size_t i = 0; i < n_covers; i++) {
		arg(&a, "--cover");
		arg(&a, j->plan.covers[i]);
	}
	arg(&a, "--argv0");
	arg(&a, j->plan.argv[0]);
	/* Every mapped mount of a rootfs is mapped by the same. */
	int fd_mounts = 0, userns = n_mounts ? root->mounts[0]->userns : -1;
	if (userns > 0) {
		arg(&a, "--userns");
		arg(&a, pool_printf(j->pool, "%d", FD_USERNS));
		fds[sp->n_fds++] = (struct spawn_fd){ userns, FD_USERNS };
	}
	for (size_t i = 0; i < n_mounts; i++) {
		int ret = mount_args(j, root->mounts[i], &a, sp, fds, &fd_mounts);
		if (ret < 0)
			return ret;
	}
	arg(&a, "--");
	if (sp->exe_fd >= 0) {
		fds[sp->n_fds++] = (struct spawn_fd){ sp->exe_fd, FD_EXE };
		arg(&a, pool_printf(j->pool, "/proc/self/fd/%d", FD_EXE));
	} else {
		arg(&a, j->plan.path);
	}
	for (size_t i = 1; i < n_argv; i++)
		arg(&a, j->plan.argv[i]);
	sp->exe_fd = -1;
	sp->path = pool_printf(j->pool, "%s/crisp-work", pl->opt.libexec_dir);
	sp->argv = a.at;
	return 0;
}

static int blob_fd(struct crisp_job *j, struct pool *p, const struct crisp_spawn_blob *b)
{
	int fd = memfd_create("crisp-blob", MFD_CLOEXEC);
	if (fd < 0)
		return err_sys(&j->err, "memfd");
	pool_fd(p, fd);
	int ret = file_write_all(fd, b->data, b->len);
	if (ret < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return err_set(&j->err, ret ? -ret : errno, "write %llu bytes to a memfd",
			       (unsigned long long)b->len);
	return fd;
}

static int begin(struct crisp_job *j, int exe_fd, struct pool *tmp)
{
	const struct crisp_spawn_plan *plan = &j->plan;
	struct plug *pl = j->host->handler->plug;
	struct spawn_fd fds[FDS_MAX + MOUNTS_MAX + 5];
	struct spawn_plan sp = SPAWN_PLAN_INIT;
	for (uint32_t i = 0; i < plan->n_fds; i++)
		fds[sp.n_fds++] = (struct spawn_fd){ plan->fds[i].fd, plan->fds[i].target };
	for (uint32_t i = 0; i < plan->n_blobs; i++) {
		int fd = blob_fd(j, tmp, &plan->blobs[i]);
		if (fd < 0)
			return fd;
		fds[sp.n_fds++] = (struct spawn_fd){ fd, plan->blobs[i].target };
	}
	bool ns = plan->netns_path || (plan->covers && plan->covers[0]);
	bool apart = (plan->rootfs || ns) && pl->opt.mntns_fd >= 0;
	int log_fd = -1;
	if ((plan->log_target > 0 || apart) && log_open(j, tmp, &log_fd) < 0)
		return -j->err.code;
	if (plan->log_target > 0)
		fds[sp.n_fds++] = (struct spawn_fd){ log_fd, plan->log_target };
	sp.exe_fd = exe_fd;
	sp.path = plan->path;
	sp.argv = plan->argv;
	sp.envp = plan->envp;
	sp.cwd = plan->cwd;
	sp.leave_cgroup = plan->flags & CRISP_SPAWN_STAY;
	/* where a pid may be told; one that waits for an end tells of that */
	sp.names_child = plan->pid_file || (plan->out_max && !(plan->flags & CRISP_SPAWN_WAITS));
	sp.fds = fds;
	sp.input = plan->input;
	sp.input_len = plan->input_len;
	sp.out_max = plan->out_max;
	sp.err_max = plan->err_max;
	sp.deadline_ns = plan->deadline_ns;
	if (apart) {
		int ret = wrap(j, &sp, fds, log_fd);
		if (ret < 0)
			return ret;
	} else if (ns || (plan->rootfs && plan->rootfs->mounts && plan->rootfs->mounts[0])) {
		return err_set(&j->err, ENOSYS,
			       "there is no mount namespace to run it in");
	}
	if (plan->pid_file && unlink(plan->pid_file) < 0 && errno != ENOENT)
		return err_sys(&j->err, "remove old pid file %s", plan->pid_file);
	j->spawn = spawn_start(pl->spawner, j->pool, &sp, handle_ended, j);
	return 0;
}

static void start(struct crisp_job *j, int exe_fd)
{
	struct pool *tmp = pool_new(j->pool, "job start");
	if (begin(j, exe_fd, tmp) < 0)
		fail(j);
	pool_destroy(tmp);	/* spawn_start has its own copies */
}

static void handle_sealed(void *data, int fd, const struct err *e)
{
	struct crisp_job *j = data;
	if (j->err.code)
		return;		/* killed meanwhile */
	if (e->code) {
		if (is_missing(e->code))
			handler_suspect(j->host->handler);
		j->err = *e;
		fail(j);
		return;
	}
	start(j, fd);
}

/* -- copying a plan -- */

static void copy_plan(struct crisp_job *j, const struct crisp_spawn_plan *plan)
{
	struct pool *p = j->pool;
	struct crisp_spawn_plan *to = &j->plan;
	memcpy(to, plan, plan->size < sizeof(*plan) ? plan->size : sizeof(*plan));
	to->path = pool_strdup(p, to->path);
	to->argv = pool_strings(p, to->argv);
	to->envp = to->envp ? pool_strings(p, to->envp) : NULL;
	to->cwd = pool_strdup(p, to->cwd);
	struct crisp_spawn_fd *fds = pool_memdup(p, to->fds, to->n_fds * sizeof(*fds));
	for (uint32_t i = 0; i < to->n_fds; i++)
		fds[i].fd = pool_fd(p, fcntl(fds[i].fd, F_DUPFD_CLOEXEC, 3))->fd;
	to->fds = fds;
	struct crisp_spawn_blob *blobs = pool_memdup(p, to->blobs, to->n_blobs * sizeof(*blobs));
	for (uint32_t i = 0; i < to->n_blobs; i++)
		blobs[i].data = pool_memdup(p, blobs[i].data, blobs[i].len);
	to->blobs = blobs;
	to->input = to->input ? pool_memdup(p, to->input, to->input_len) : NULL;
	to->pid_file = pool_strdup(p, to->pid_file);
	to->rootfs = args_copy_rootfs(p, to->rootfs);
	to->netns_path = pool_strdup(p, to->netns_path);
	to->covers = to->covers ? pool_strings(p, to->covers) : NULL;
}

static int check_target(int32_t target, int32_t least, uint64_t *seen, struct err *e)
{
	if (target < least || target >= FD_OURS)
		return err_set(e, EINVAL, "file descriptor %d is not in %d..%d", target, least,
			       FD_OURS - 1);
	if (*seen & 1ull << target)
		return err_set(e, EINVAL, "file descriptor %d is given twice", target);
	*seen |= 1ull << target;
	return 0;
}

static int check_plan(const struct crisp_spawn_plan *p, struct err *e)
{
	if (!CRISP_HAS(p, err_max) || !p->path || p->path[0] != '/' || !p->argv || !p->argv[0])
		return err_set(e, EINVAL, "no absolute path, or no arguments");
	if (p->flags & ~(CRISP_SPAWN_SEAL | CRISP_SPAWN_STAY | CRISP_SPAWN_WAITS))
		return err_set(e, EINVAL, "unknown flags 0x%x", p->flags);
	if (p->n_fds > FDS_MAX || p->n_blobs > FDS_MAX)
		return err_set(e, EINVAL, "%u file descriptors and %u blobs are too many", p->n_fds,
			       p->n_blobs);
	size_t n = 0;
	while (p->argv[n])
		n++;
	if (n > ARGS_MAX || p->input_len > BLOB_MAX || p->out_max > OUT_MAX || p->err_max > OUT_MAX)
		return err_set(e, EINVAL, "arguments, input or captured output are too large");
	uint64_t seen = 0;
	for (uint32_t i = 0; i < p->n_fds; i++)
		if (check_target(p->fds[i].target, 0, &seen, e) < 0)
			return -EINVAL;
	for (uint32_t i = 0; i < p->n_blobs; i++)
		if (p->blobs[i].len > BLOB_MAX || check_target(p->blobs[i].target, 3, &seen, e) < 0)
			return err_set(e, EINVAL, "a blob of %llu bytes is too large",
				       (unsigned long long)p->blobs[i].len);
	if (CRISP_HAS(p, log_target) && p->log_target > 0)
		return check_target(p->log_target, 3, &seen, e);
	return 0;
}

struct crisp_job *job_spawn(const struct crisp_host *abi, const struct crisp_spawn_plan *plan,
			    crisp_spawn_cb *cb, void *data)
{
	struct host *host = (struct host *)(uintptr_t)abi; /* abi is its first member, and ours */
	struct plug *pl = host->handler->plug;
	struct err e = { 0 };
	if (check_plan(plan, &e) < 0) {
		log_warn("an engine's plan of a program is bad", "handler", host->handler->pub.name,
			 "err", e.msg);
		return NULL;
	}
	struct pool *p = pool_new(host->pool, "job");
	struct crisp_job *j = pool_new_struct(p, struct crisp_job);
	j->pool = p;
	j->host = host;
	j->cb = cb;
	j->data = data;
	j->log_fd = -1;
	copy_plan(j, plan);
	bond_init(&j->bond, host->current);
	list_append(&host->jobs, &j->link);
	pool_res_add(p, &j->res, release_job);
	if (plan->flags & CRISP_SPAWN_SEAL)
		seal_get(pl->seals, p, j->plan.path, handle_sealed, j);
	else
		start(j, -1);
	return j;
}

void job_kill(struct crisp_job *j)
{
	if (j->spawn) {
		spawn_cancel(j->spawn);
	} else {
		err_set(&j->err, ECANCELED, "cancelled");
		fail(j);
	}
}

bool jobs_kill_of(struct host *host, struct plug_call *c)
{
	struct crisp_job *j;
	bool any = false;
	list_for_each(j, &host->jobs, link)
		if (j->bond.call == c) {
			any = true;
			job_kill(j);
		}
	return any;
}

unsigned jobs_count(const struct host *host)
{
	unsigned n = 0;
	for (const struct list *at = host->jobs.next; at != &host->jobs; at = at->next)
		n++;
	return n;
}

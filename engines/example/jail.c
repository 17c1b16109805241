/*
 * jail: an engine to learn from.  A container is a process in namespaces of its own, made by a
 * program of ours, jail-run, with nothing but system calls; there is no runtime behind it.
 *
 * It shows how an engine runs programs (create, exec), lets a process go (start), watches a file
 * descriptor (delete waits for a death), and finds its containers again (attach).  What it does not
 * do is listed in README.md: it is no wall against a hostile image.
 *
 *	STATE_DIR/ID		there is such a container
 *	STATE_DIR/ID.go		a FIFO: who is created reads it and runs when it is written to
 *	STATE_DIR/ID.pid	for the host, while jail-run runs; stays when the host dies over it
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <yajl/yajl_tree.h>

#include <crisp/engine.h>

#ifndef HELPER
#define HELPER "/usr/lib/crisp/libexec/jail-run"
#endif

enum { PATH_LEN = 1024, LOG_FD = 3, PROCESS_FD = 4 };

/* A container whose process is known: of this host, or attached. */
struct ctr {
	struct ctr *next;
	char id[256];
	int32_t pid;
	int pidfd;			/* ours; -1: it is gone */
};

struct crisp_instance {
	const struct crisp_host *host;
	char helper[PATH_LEN];
	struct ctr *ctrs;
	struct op *ops;			/* under way, so that close() can free them */
	unsigned n_pid_files;
};

/* An operation under way. */
struct op {
	struct op *next;
	struct crisp_instance *inst;
	struct crisp_req *req;
	char id[256], pid_file[PATH_LEN];
	struct crisp_watch *watch;
};

/* -- operations: one op each, and one end -- */

static struct op *op_new(struct crisp_instance *i, struct crisp_req *r, const char *id)
{
	struct op *op = calloc(1, sizeof(*op));
	if (!op)
		return NULL;
	op->inst = i;
	op->req = r;
	snprintf(op->id, sizeof(op->id), "%s", id ? id : "");
	op->next = i->ops;
	i->ops = op;
	return op;
}

static void op_free(struct op *op)
{
	struct op **at = &op->inst->ops;
	while (*at != op)
		at = &(*at)->next;
	*at = op->next;
	op->inst->host->unwatch(op->watch);
	free(op);
}

static void op_done(struct op *op, const struct crisp_result *res)
{
	op->inst->host->done(op->req, res);
	op_free(op);
}

/* For what is decided at once. */
static int answer(struct crisp_instance *i, struct crisp_req *r, int err, const char *msg)
{
	struct crisp_result res = { .size = sizeof(res), .err = err, .msg = msg };
	i->host->done(r, &res);
	return 0;
}

/* -- containers -- */

static struct ctr *ctr_find(struct crisp_instance *i, const char *id)
{
	struct ctr *c = i->ctrs;
	while (c && strcmp(c->id, id))
		c = c->next;
	return c;
}

static void ctr_forget(struct crisp_instance *i, const char *id)
{
	for (struct ctr **at = &i->ctrs; *at; at = &(*at)->next)
		if (!strcmp((*at)->id, id)) {
			struct ctr *c = *at;
			*at = c->next;
			if (c->pidfd >= 0)
				close(c->pidfd);
			free(c);
			return;
		}
}

/* pidfd is taken. */
static void ctr_know(struct crisp_instance *i, const char *id, int32_t pid, int pidfd)
{
	ctr_forget(i, id);
	struct ctr *c = calloc(1, sizeof(*c));
	if (!c) {
		if (pidfd >= 0)
			close(pidfd);
		return;
	}
	snprintf(c->id, sizeof(c->id), "%s", id);
	c->pid = pid;
	c->pidfd = pidfd;
	c->next = i->ctrs;
	i->ctrs = c;
}

static bool ctr_runs(const struct ctr *c)
{
	struct pollfd p = { .fd = c ? c->pidfd : -1, .events = POLLIN };
	return c && c->pidfd >= 0 && poll(&p, 1, 0) == 0;
}

/* STATE_DIR/ID + ending, in path; NULL when it is too long for a path. */
static const char *file_of(const struct crisp_instance *i, const char *id, const char *ending, char path[PATH_LEN])
{
	int n = snprintf(path, PATH_LEN, "%s/%s%s", i->host->state_dir, id, ending);
	return n > 0 && n < PATH_LEN ? path : NULL;
}

static bool exists(const struct crisp_instance *i, const char *id, const char *ending)
{
	char path[PATH_LEN];
	struct stat st;
	return file_of(i, id, ending, path) && stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

static void remove_files(const struct crisp_instance *i, const char *id)
{
	static const char *const endings[] = { "", ".go", ".pid" };
	char path[PATH_LEN];
	for (int n = 0; n < 3; n++)
		if (file_of(i, id, endings[n], path))
			unlink(path);
}

/* -- running jail-run -- */

/* 0, or what went wrong with the words in msg. */
static int judge(const struct crisp_spawn_result *r, char *msg, size_t cap)
{
	if (!r->err && WIFEXITED(r->wait_status) && WEXITSTATUS(r->wait_status) == 0)
		return 0;
	snprintf(msg, cap, "%s", r->last_error ? r->last_error : r->err ? r->msg : "jail-run failed");
	return r->err == -ETIMEDOUT || r->err == -ECANCELED ? r->err : -EIO;
}

static void handle_made(void *data, const struct crisp_spawn_result *r)
{
	struct op *op = data;
	char msg[400] = "";
	struct crisp_result res = { .size = sizeof(res), .msg = msg };
	res.err = judge(r, msg, sizeof(msg));
	if (!res.err && r->pidfd < 0) {
		res.err = -EIO;
		snprintf(msg, sizeof(msg), "the process was gone at once");
	}
	if (!res.err) {	/* the host gets the pidfd, a duplicate is ours */
		res.pid = r->pid;
		res.pidfd = r->pidfd;
		if (!strstr(op->pid_file, ".exec-"))
			ctr_know(op->inst, op->id, r->pid, fcntl(r->pidfd, F_DUPFD_CLOEXEC, 3));
	} else {
		if (r->pidfd > 0)
			close(r->pidfd);
		if (!strstr(op->pid_file, ".exec-"))
			remove_files(op->inst, op->id);
	}
	op_done(op, &res);
}

static void plan_stdio(struct crisp_spawn_plan *plan, struct crisp_spawn_fd fds[3], const struct crisp_stdio *s)
{
	int32_t given[3] = { s ? s->in : 0, s ? s->out : 0, s ? s->err : 0 };
	for (int n = 0; n < 3; n++)
		if (given[n] > 0)
			fds[plan->n_fds++] = (struct crisp_spawn_fd){ given[n], n };
	plan->fds = fds;
}

static int jail_create(struct crisp_instance *i, struct crisp_req *r, const struct crisp_create_args *a)
{
	char path[PATH_LEN], go[PATH_LEN];
	struct crisp_spawn_fd fds[3];
	if (!a->bundle || !file_of(i, a->id, "", path) || !file_of(i, a->id, ".go", go))
		return -EINVAL;
	if (a->stdio && a->stdio->flags & CRISP_STDIO_TTY)
		return answer(i, r, -ENOSYS, "jail has no terminals");
	if (exists(i, a->id, ""))
		return answer(i, r, -EEXIST, "there is a container of this id");
	struct op *op = op_new(i, r, a->id);
	if (!op || !file_of(i, a->id, ".pid", op->pid_file))
		return -ENOMEM;
	struct crisp_spawn_plan plan = {
		.size = sizeof(plan),
		.flags = CRISP_SPAWN_SEAL | CRISP_SPAWN_STAY,
		.path = i->helper,
		.argv = (const char *const[]){ "jail-run", "create", a->bundle, path, go, op->pid_file, NULL },
		.log_target = LOG_FD,
		.deadline_ns = a->deadline_ns,
		.pid_file = op->pid_file,
		.rootfs = a->rootfs,
	};
	plan_stdio(&plan, fds, a->stdio);
	if (i->host->spawn(i->host, &plan, handle_made, op))
		return 0;
	op_free(op);
	return -EINVAL;
}

static int jail_exec(struct crisp_instance *i, struct crisp_req *r, const struct crisp_exec_args *a)
{
	struct ctr *c = ctr_find(i, a->id);
	struct crisp_spawn_fd fds[3];
	char pid[16];
	if (!a->process_json)
		return -EINVAL;
	if (!ctr_runs(c))
		return answer(i, r, exists(i, a->id, "") ? -ESRCH : -ENOENT, "no such container runs");
	if (a->stdio && a->stdio->flags & CRISP_STDIO_TTY)
		return answer(i, r, -ENOSYS, "jail has no terminals");
	struct op *op = op_new(i, r, a->id);
	if (!op)
		return -ENOMEM;
	snprintf(op->pid_file, sizeof(op->pid_file), "%.900s/.exec-%u", i->host->state_dir, i->n_pid_files++);
	snprintf(pid, sizeof(pid), "%d", c->pid);
	struct crisp_spawn_blob process = { a->process_json, strlen(a->process_json), PROCESS_FD, 0 };
	struct crisp_spawn_plan plan = {
		.size = sizeof(plan),
		.flags = CRISP_SPAWN_SEAL | CRISP_SPAWN_STAY,
		.path = i->helper,
		.argv = (const char *const[]){ "jail-run", "exec", pid, op->pid_file, NULL },
		.blobs = &process,
		.n_blobs = 1,
		.log_target = LOG_FD,
		.deadline_ns = a->deadline_ns,
		.pid_file = op->pid_file,
	};
	plan_stdio(&plan, fds, a->stdio);
	if (i->host->spawn(i->host, &plan, handle_made, op))
		return 0;
	op_free(op);
	return -EINVAL;
}

/* -- start: a byte into the FIFO, which is gone then -- */

static int jail_start(struct crisp_instance *i, struct crisp_req *r, const struct crisp_start_args *a)
{
	char go[PATH_LEN];
	if (!file_of(i, a->id, ".go", go) || !exists(i, a->id, ""))
		return answer(i, r, -ENOENT, "no such container");
	if (!exists(i, a->id, ".go"))
		return answer(i, r, -EBUSY, "it has been started already");
	int fd = open(go, O_WRONLY | O_NONBLOCK | O_CLOEXEC);	/* ENXIO: nobody waits for it */
	if (fd < 0 || write(fd, "", 1) != 1) {
		if (fd >= 0)
			close(fd);
		return answer(i, r, -ESRCH, "its process is gone");
	}
	close(fd);
	unlink(go);
	return answer(i, r, 0, NULL);
}

/* -- delete -- */

static void handle_dead(void *data, uint32_t events)
{
	struct op *op = data;
	struct crisp_result res = { .size = sizeof(res) };
	ctr_forget(op->inst, op->id);
	remove_files(op->inst, op->id);
	op_done(op, &res);
	(void)events;
}

static int jail_delete(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *a)
{
	struct ctr *c = ctr_find(i, a->id);
	bool force = a->flags & CRISP_ARG_FORCE;
	if (!exists(i, a->id, "")) {
		if (force)
			remove_files(i, a->id);
		return answer(i, r, force ? 0 : -ENOENT, "no such container");
	}
	if (!ctr_runs(c)) {
		ctr_forget(i, a->id);
		remove_files(i, a->id);
		return answer(i, r, 0, NULL);
	}
	if (!force)
		return answer(i, r, -EBUSY, "it runs");
	struct op *op = op_new(i, r, a->id);
	if (!op)
		return -ENOMEM;
	syscall(SYS_pidfd_send_signal, c->pidfd, SIGKILL, NULL, 0);
	op->watch = i->host->watch_fd(i->host, c->pidfd, CRISP_IO_READ, handle_dead, op);
	return 0;
}

/* -- attach: the host knows the pid, we know whether there is such a container -- */

static int jail_attach(struct crisp_instance *i, struct crisp_req *r, const struct crisp_attach_args *a)
{
	struct crisp_result res = { .size = sizeof(res), .wait_status = -1 };
	if (!exists(i, a->id, ""))
		return answer(i, r, -ENOENT, "no such container");
	int fd = a->pid > 1 ? (int)syscall(SYS_pidfd_open, a->pid, 0) : -1;
	res.pid = fd < 0 ? 0 : a->pid;
	res.status = fd < 0 ? CRISP_STATUS_STOPPED : exists(i, a->id, ".go") ? CRISP_STATUS_CREATED : CRISP_STATUS_RUNNING;
	if (fd >= 0)
		ctr_know(i, a->id, a->pid, fd);
	i->host->done(r, &res);
	return 0;
}

/* -- the instance -- */

static void handle_probed(void *data, const struct crisp_spawn_result *r)
{
	struct op *op = data;
	char msg[400] = "", version[32];
	struct crisp_result res = { .size = sizeof(res), .msg = msg };
	res.err = judge(r, msg, sizeof(msg));
	snprintf(version, sizeof(version), "%.*s", (int)strcspn(r->out, "\n"), r->out);
	res.version = res.err ? NULL : version;
	op_done(op, &res);
}

static int jail_probe(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *a)
{
	struct op *op = op_new(i, r, NULL);
	if (!op)
		return -ENOMEM;
	struct crisp_spawn_plan plan = {
		.size = sizeof(plan),
		.path = i->helper,
		.argv = (const char *const[]){ "jail-run", "version", NULL },
		.out_max = 100,
		.deadline_ns = a->deadline_ns,
	};
	if (i->host->spawn(i->host, &plan, handle_probed, op))
		return 0;
	op_free(op);
	return -EINVAL;
}

static int read_options(struct crisp_instance *i, const char *json, char *msg, uint32_t cap)
{
	yajl_val v = yajl_tree_parse(json, NULL, 0);
	int ret = YAJL_IS_OBJECT(v) ? 0 : -EINVAL;
	if (ret < 0)
		snprintf(msg, cap, "the options are no JSON object");
	for (size_t n = 0; ret == 0 && n < v->u.object.len; n++) {
		const char *value = YAJL_GET_STRING(v->u.object.values[n]);
		if (strcmp(v->u.object.keys[n], "helper")) {
			snprintf(msg, cap, "unknown option \"%.100s\"", v->u.object.keys[n]);
			ret = -EINVAL;
		} else if (!value || value[0] != '/' || strlen(value) >= sizeof(i->helper)) {
			snprintf(msg, cap, "option \"helper\": an absolute path is expected");
			ret = -EINVAL;
		} else {
			snprintf(i->helper, sizeof(i->helper), "%s", value);
		}
	}
	yajl_tree_free(v);
	return ret;
}

static int jail_open(const struct crisp_host *host, const char *options, struct crisp_instance **out, char *msg,
		     uint32_t cap)
{
	struct crisp_instance *i = calloc(1, sizeof(*i));
	if (!i)
		return -ENOMEM;
	i->host = host;
	snprintf(i->helper, sizeof(i->helper), "%s", HELPER);
	int ret = read_options(i, options, msg, cap);
	if (ret < 0)
		free(i);
	else
		*out = i;
	return ret;
}

/* The containers go on without us. */
static void jail_close(struct crisp_instance *i)
{
	while (i->ops)
		op_free(i->ops);
	while (i->ctrs)
		ctr_forget(i, i->ctrs->id);
	free(i);
}

static const struct crisp_ops ops = {
	.size = sizeof(ops),
	.open = jail_open,
	.close = jail_close,
	.probe = jail_probe,
	.create = jail_create,
	.start = jail_start,
	.del = jail_delete,
	.exec = jail_exec,
	.attach = jail_attach,
	/* no kill: the host has the pid and signals it by itself */
};

static const struct crisp_engine engine = {
	.magic = CRISP_ENGINE_MAGIC,
	.size = sizeof(engine),
	.major = CRISP_ENGINE_MAJOR,
	.minor = CRISP_ENGINE_MINOR,
	.caps = CRISP_CAP_EXIT_BY_PID | CRISP_CAP_STDIO_FD | CRISP_CAP_ROOTFS_MOUNTED | CRISP_CAP_PID_IS_HOST |
		CRISP_CAP_NETNS_BY_PATH | CRISP_CAP_STATS_HOST_CGROUP,
	.requires = CRISP_HOST_SPAWN | CRISP_HOST_ROOTFS,
	.name = "jail",
	.version = "1.0",
	.ops = &ops,
	.options_schema_json = "{\"helper\":\"string: the program jail-run\"}",
};

const struct crisp_engine *crisp_engine_v1(void)
{
	return &engine;
}

/* Archetypes cli and serial: a container is a process, made by crisp-fake as crun makes one. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engines/fake/fake.h"

static int signal_ctr(struct ctr *c, int signo)
{
	if (c->pidfd > 0)
		return syscall(SYS_pidfd_send_signal, c->pidfd, signo, NULL, 0) < 0 ? -errno : 0;
	return kill(c->pid, signo) < 0 ? -errno : 0;
}

static bool alive(struct ctr *c)
{
	struct pollfd p = { .fd = c->pidfd, .events = POLLIN };
	return c->pidfd > 0 ? poll(&p, 1, 0) == 0 : kill(c->pid, 0) == 0;
}

/* With what it has started; a new process may not lead a group yet. */
static int signal_all(struct ctr *c, int signo)
{
	kill(-c->pid, signo);
	return signal_ctr(c, signo);
}

/* Its execs and whatever it has left go when it does, as with a pid namespace. */
static void handle_gone(void *data, uint32_t events)
{
	struct ctr *c = data;
	c->inst->host->unwatch(c->watch);
	c->watch = NULL;
	kill(-c->pid, SIGKILL);
	for (struct ctr *x = c->inst->ctrs; x; x = x->next)
		if (x->exec_id && !strcmp(x->id, c->id))
			signal_all(x, SIGKILL);
	(void)events;
}

static void watch_end(struct ctr *c)
{
	const struct crisp_host *h = c->inst->host;
	if (c->pidfd > 0 && !c->exec_id)
		c->watch = h->watch_fd(h, c->pidfd, CRISP_IO_READ, handle_gone, c);
}

static void handle_made(void *data, const struct crisp_spawn_result *r)
{
	struct act *a = data;
	a->job = NULL;
	if (r->err || r->wait_status || !r->pid) {
		const char *why = r->last_error ? r->last_error
				  : r->msg	? r->msg
						: "crisp-fake failed";
		if (r->pidfd > 0)
			close(r->pidfd);
		act_fail(a, r->err ? r->err : -EIO, why);
		return;
	}
	struct ctr *c = ctr_add(a->inst, a->id, a->exec_id, a->sandbox, r->pid, fcntl(r->pidfd, F_DUPFD_CLOEXEC, 3));
	c->cgroup = a->cgroup;
	a->cgroup = NULL;
	c->started = a->op == FAKE_EXEC;
	watch_end(c);
	char state[16];	/* for attach, should the core not know the pid */
	int len = a->op == FAKE_CREATE ? snprintf(state, sizeof(state), "%d", r->pid) : 0;
	act_done(a, &(struct crisp_result){ .size = sizeof(struct crisp_result),
					     .pid = r->pid,
					     .pidfd = r->pidfd,
					     .state = state,
					     .state_len = (uint32_t)len });
}

void path_of_pid(const struct act *a, char *path, size_t cap)
{
	snprintf(path, cap, "%s/pid-%s", a->inst->host->state_dir, a->exec_id ? a->exec_id : a->id);
}

/* What an earlier core was making when it died: its pid is still where it was to be read. */
static void kill_half_made(struct act *a)
{
	char path[600];
	int pid = 0;
	path_of_pid(a, path, sizeof(path));
	FILE *f = fopen(path, "re");
	if (f && fscanf(f, "%d", &pid) == 1 && pid > 1)
		kill(pid, SIGKILL);
	if (f)
		fclose(f);
	unlink(path);
	act_ok(a);
}

/* Make a process that waits for SIGUSR1 (create) or runs at once (exec). */
static void make(struct act *a)
{
	const struct crisp_host *h = a->inst->host;
	const char *words[WORDS_MAX];
	char pid_file[600];
	struct ctr *container = ctr_find(a->inst, a->id, NULL);
	if (container && container->cgroup)
		a->cgroup = strdup(container->cgroup);
	path_of_pid(a, pid_file, sizeof(pid_file));
	const char *before[10] = { "crisp-fake",
				   "run",
				   a->op == FAKE_EXEC ? "now" : "wait",
				   pid_file,
				   a->console_socket ? a->console_socket : "",
				   a->cgroup ? a->cgroup : "" };
	struct crisp_spawn_fd fds[3];
	struct crisp_spawn_plan plan = {
		.size = sizeof(plan),
		.path = a->inst->program,
		.argv = act_words(a, words, before),
		.fds = fds,
		.log_target = 3,
		.deadline_ns = h->now_ns(h) + 20000000000,
		.pid_file = pid_file,
		.rootfs = a->rootfs,
	};
	int own[3] = { a->in, a->out, a->err };
	for (int i = 0; i < 3; i++)
		if (own[i] > 0)
			fds[plan.n_fds++] = (struct crisp_spawn_fd){ own[i], i };
	a->job = h->spawn(h, &plan, handle_made, a);
	if (!a->job)
		act_fail(a, -EINVAL, "the host refused the program");
}

static void delete(struct act *a, struct ctr *c)
{
	if (alive(c) && c->started && !(a->flags & CRISP_ARG_FORCE)) {
		act_fail(a, -EBUSY, "container is running");
		return;
	}
	signal_ctr(c, SIGKILL);
	handle_gone(c, 0);
	ctr_remove(a->inst, c);
	act_ok(a);
}

/* Has it had its SIGUSR1?  From then on it ignores that. */
static bool was_started(int pid)
{
	char path[40], line[128];
	unsigned long long ignored = 0;
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f) && sscanf(line, "SigIgn: %llx", &ignored) != 1)
		;
	if (f)
		fclose(f);
	return ignored >> (SIGUSR1 - 1) & 1;
}

static void attach(struct act *a, struct ctr *c)
{
	int pidfd = a->pid > 1 ? (int)syscall(SYS_pidfd_open, a->pid, 0) : -1;
	if (!c && pidfd < 0) {
		act_fail(a, -ENOENT, "no such container");
		return;
	}
	if (c && pidfd >= 0)
		close(pidfd);
	if (!c) {
		c = ctr_add(a->inst, a->id, a->exec_id, a->sandbox, a->pid, pidfd);
		c->started = was_started(a->pid);
		watch_end(c);
	}
	struct crisp_result r = {
		.size = sizeof(r),
		.pid = c->pid,
		.status = !alive(c) ? CRISP_STATUS_STOPPED : c->started ? CRISP_STATUS_RUNNING : CRISP_STATUS_CREATED,
		.wait_status = -1,
	};
	act_done(a, &r);
}

static void with_ctr(struct act *a, struct ctr *c)
{
	int ret = 0;
	switch (a->op) {
	case FAKE_START:
		ret = c->started ? -EBUSY : signal_ctr(c, SIGUSR1);
		c->started = true;
		break;
	case FAKE_KILL:
		ret = alive(c) ? signal_ctr(c, a->signo) : -ESRCH;
		break;
	case FAKE_DELETE:
		delete(a, c);
		return;
	case FAKE_EXEC_DELETE:
		ctr_remove(a->inst, c);
		break;
	case FAKE_STATS:
		act_done_stats(a, c->pid);
		return;
	case FAKE_PIDS: {
		char text[40];
		int n = snprintf(text, sizeof(text), "[%d]", c->pid);
		act_done(a, &(struct crisp_result){ .size = sizeof(struct crisp_result),
						     .data = text,
						     .data_len = (uint32_t)n });
		return;
	}
	case FAKE_PAUSE:
	case FAKE_RESUME:
		ret = signal_all(c, a->op == FAKE_PAUSE ? SIGSTOP : SIGCONT);
		break;
	default:
		break;		/* update: nothing to see */
	}
	if (ret < 0)
		act_fail(a, ret, ret == -EBUSY ? "container has been started" : "process has gone");
	else
		act_ok(a);
}

void process_act(struct act *a)
{
	struct ctr *c = ctr_find(a->inst, a->id, a->exec_id);
	if (a->op == FAKE_ATTACH)
		attach(a, c);
	else if (a->op == FAKE_CREATE && c)
		act_fail(a, -EEXIST, "container exists");
	else if (a->op == FAKE_CREATE || (a->op == FAKE_EXEC && ctr_find(a->inst, a->id, NULL)))
		make(a);
	else if (a->op == FAKE_DELETE && !c && a->flags & CRISP_ARG_FORCE)
		kill_half_made(a);
	else if (!c)
		act_fail(a, -ENOENT, "no such container");
	else
		with_ctr(a, c);
}

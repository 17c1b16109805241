/*
 * Tasks: the containers and sandboxes that shims have.
 *
 *	CREATING --Create--> LIVE --Wait--> ENDED --Delete--> (freed)
 *	    \                  \             /
 *	     +--- the shim is dead ---------+---> LOST --`delete`--> GONE --> (freed)
 *
 * A shim that dies leaves its containers running.  Nobody can tell any more how they end, so they
 * are killed by the clean-up command of the shim's program before their end is told: whoever is
 * told that a container has ended starts another one in its place.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engines/shimv2/shimv2.h"

enum { GONE_MS = 800, STATUS_LOST = -1 };

/* A further process in a container. */
struct exec {
	struct exec *next;
	struct task *task;
	char *id;
	int wait_status;
	int64_t exited_at_ns;
};

int wait_status_of(uint32_t exit_status)
{
	/* A signal is in there as 128 and its number; either way the exit code comes out right. */
	return W_EXITCODE((int)(exit_status & 0xff), 0);
}

int64_t time_ns(const Shim__Timestamp *t)
{
	return t && t->seconds > 0 ? t->seconds * 1000000000 + t->nanos : 0;
}

/* -- objects -- */

struct task *task_find(struct crisp_instance *i, const char *id)
{
	for (struct task *t = i->tasks; t; t = t->next)
		if (!strcmp(t->id, id))
			return t;
	return NULL;
}

bool task_is_sandbox(const struct task *t)
{
	return !strcmp(t->id, t->sandbox);
}

struct task *task_new(struct crisp_instance *i, const char *id, const char *sandbox, const char *bundle)
{
	struct task *t = calloc(1, sizeof(*t));
	if (!t)
		abort();
	t->inst = i;
	t->id = strdup(id);
	t->sandbox = strdup(sandbox);
	t->bundle = strdup(bundle);
	t->wait_status = STATUS_LOST;
	t->log_fd = -1;
	t->next = i->tasks;
	i->tasks = t;
	return t;
}

void task_join(struct task *t, struct link *l)
{
	t->link = l;
	l->tasks++;
}

void task_part(struct task *t)
{
	if (!t->link)
		return;
	link_forget(t->link, t);
	for (struct exec *x = t->execs; x; x = x->next)
		link_forget(t->link, x);
	t->link->tasks--;
	t->link = NULL;
}

static void exec_free(struct exec *x)
{
	struct exec **at = &x->task->execs;
	while (*at != x)
		at = &(*at)->next;
	*at = x->next;
	free(x->id);
	free(x);
}

static void log_key(const struct task *t, char key[101])
{
	snprintf(key, 101, "log-%.96s", t->id);
}

static void close_log(struct task *t)
{
	char key[101];
	if (t->log_fd < 0)
		return;
	t->inst->host->unwatch(t->log);
	close(t->log_fd);
	t->log_fd = -1;
	log_key(t, key);
	t->inst->host->drop_fd(t->inst->host, key);
}

void task_free(struct task *t)
{
	const struct crisp_host *h = t->inst->host;
	struct task **at = &t->inst->tasks;
	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	task_part(t);
	while (t->execs)
		exec_free(t->execs);
	h->untimer(t->gone);
	close_log(t);
	free(t->id);
	free(t->sandbox);
	free(t->bundle);
	free(t);
}

void task_await(struct task *t, struct act *a, void (*then)(struct act *a))
{
	a->then = then;
	a->next_waiting = t->waiting;
	t->waiting = a;
}

void task_wake(struct task *t)
{
	struct act *list = t->waiting;
	t->waiting = NULL;
	while (list) {
		struct act *a = list;
		list = a->next_waiting;
		a->then(a);	/* may free the task: not looked at any more */
	}
}

/* -- on disk -- */

void task_save(struct task *t)
{
	char text[2 * SHIM_PATH_MAX + 400];
	int n = snprintf(text, sizeof(text), "%s\n%s\n%d\n%s\n%d\n%" PRIu64, t->sandbox, t->bundle,
			 t->link ? t->link->version : 0, t->link ? t->link->address : "", t->process.pid,
			 t->process.start);
	if (n < (int)sizeof(text))
		t->inst->host->state_put(t->inst->host, t->id, text, (uint32_t)n);
}

int task_saved(struct crisp_instance *i, const char *id, struct saved *s)
{
	char text[2 * SHIM_PATH_MAX + 401], *at = text;
	int n = i->host->state_get(i->host, id, text, sizeof(text) - 1);
	if (n < 0)
		return n;
	text[n] = 0;
	const char *sandbox = strsep(&at, "\n"), *bundle = strsep(&at, "\n"), *version = strsep(&at, "\n"),
		   *address = strsep(&at, "\n"), *pid = strsep(&at, "\n");
	if (!address)
		return -EINVAL;
	s->version = atoi(version);
	snprintf(s->sandbox, sizeof(s->sandbox), "%s", sandbox);
	snprintf(s->bundle, sizeof(s->bundle), "%s", bundle);
	snprintf(s->address, sizeof(s->address), "%s", address);
	s->process = (struct process){ .pid = pid ? atoi(pid) : 0, .start = at ? strtoull(at, NULL, 10) : 0 };
	return 0;
}

/* -- the log of a shim -- */

static void handle_log(void *data, uint32_t events)
{
	struct task *t = data;
	char text[2048];
	ssize_t n = read(t->log_fd, text, sizeof(text) - 1);
	if (n <= 0)
		return;
	text[n] = 0;
	for (char *at = text, *line; (line = strsep(&at, "\n"));)
		if (*line)
			t->inst->host->log(t->inst->host, CRISP_LOG_DEBUG, "a shim says",
					   (const char *const[]){ "id", t->id, "line", line, NULL });
}

/* Open both ways: it has no end, and the shim never writes to nobody.  A copy stays with the
 * keeper for the time without a core. */
void task_open_log(struct task *t, bool fresh)
{
	const struct crisp_host *h = t->inst->host;
	char key[101], path[SHIM_PATH_MAX + 8];
	log_key(t, key);
	snprintf(path, sizeof(path), "%s/log", t->bundle);
	t->log_fd = fresh ? -ENOENT : h->kept_fd(h, key);
	if (fresh)
		mkfifo(path, 0600);
	if (t->log_fd < 0)
		t->log_fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (t->log_fd < 0) {
		t->log_fd = -1;
		return;
	}
	h->keep_fd(h, key, t->log_fd);
	t->log = h->watch_fd(h, t->log_fd, CRISP_IO_READ, handle_log, t);
}

/* -- the end of a sandbox -- */

static struct task *sandbox_of(struct crisp_instance *i, const char *sandbox)
{
	struct task *t = task_find(i, sandbox);
	return t && task_is_sandbox(t) ? t : NULL;
}

static void tell_gone(struct task *sandbox)
{
	const struct crisp_host *h = sandbox->inst->host;
	h->untimer(sandbox->gone);
	sandbox->gone = NULL;
	sandbox->fell = false;
	h->sandbox_gone(h, sandbox->id, sandbox->link ? "its first process has ended" : "its shim is dead");
}

static void handle_gone_late(void *data)
{
	struct task *t = data;
	t->gone = NULL;
	tell_gone(t);
}

/* Its containers' ends come first, so that they are told for what they were. */
static void check_gone(struct crisp_instance *i, const char *sandbox)
{
	struct task *s = sandbox_of(i, sandbox);
	if (!s || !s->fell)
		return;
	for (struct task *t = i->tasks; t; t = t->next)
		if (!strcmp(t->sandbox, sandbox) && (t->state == TASK_LIVE || t->state == TASK_LOST))
			return;
	tell_gone(s);
}

static void await_gone(struct task *sandbox)
{
	const struct crisp_host *h = sandbox->inst->host;
	sandbox->fell = true;
	if (!sandbox->gone)
		sandbox->gone = h->timer(h, GONE_MS, handle_gone_late, sandbox);
}

static void handle_killed(void *data, const struct reply *r)
{
	/* Its end is what counts. */
}

void task_kill(struct task *t)
{
	Shim__KillRequest rq = SHIM__KILL_REQUEST__INIT;
	rq.id = t->id;
	rq.signal = SIGKILL;
	rq.all = true;
	link_send(t->link, "Kill", &rq.base, 0, handle_killed, t);
}

static void kill_others(struct task *sandbox)
{
	for (struct task *t = sandbox->inst->tasks; t; t = t->next)
		if (t != sandbox && !strcmp(t->sandbox, sandbox->id) && t->state == TASK_LIVE)
			task_kill(t);
}

/* -- the end of a task -- */

static void over(struct task *t, int wait_status, int64_t at_ns)
{
	const struct crisp_host *h = t->inst->host;
	char *sandbox = strdup(t->sandbox);
	struct crisp_instance *i = t->inst;
	t->wait_status = wait_status;
	t->exited_at_ns = at_ns;
	t->state = TASK_ENDED;
	if (!task_is_sandbox(t)) {
		h->exited(h, t->id, NULL, wait_status, at_ns);
	} else if (!t->deleting) {
		await_gone(t);
		kill_others(t);
	}
	task_wake(t);
	check_gone(i, sandbox);
	free(sandbox);
}

static void handle_ended(void *data, const struct reply *r)
{
	struct task *t = data;
	if (r->code == -EHOSTDOWN || t->state != TASK_LIVE)
		return;
	Shim__WaitResponse *w = r->code ? NULL : (void *)protobuf_c_message_unpack(&shim__wait_response__descriptor,
										    NULL, r->len, r->data);
	if (w)
		over(t, wait_status_of(w->exit_status), time_ns(w->exited_at));
	else
		over(t, STATUS_LOST, 0);
	if (w)
		protobuf_c_message_free_unpacked(&w->base, NULL);
}

void task_wait(struct task *t)
{
	Shim__ProcessRequest rq = SHIM__PROCESS_REQUEST__INIT;
	t->state = TASK_LIVE;
	rq.id = t->id;
	link_send(t->link, "Wait", &rq.base, 0, handle_ended, t);
}

/* -- execs -- */

static void handle_exec_deleted(void *data, const struct reply *r)
{
	struct exec *x = data;
	const struct crisp_host *h = x->task->inst->host;
	h->exited(h, x->task->id, x->id, x->wait_status, x->exited_at_ns);
	exec_free(x);
}

static void handle_exec_ended(void *data, const struct reply *r)
{
	struct exec *x = data;
	Shim__WaitResponse *w = r->code ? NULL : (void *)protobuf_c_message_unpack(&shim__wait_response__descriptor,
										    NULL, r->len, r->data);
	if (r->code == -EHOSTDOWN) {
		x->task->inst->host->exited(x->task->inst->host, x->task->id, x->id, STATUS_LOST, 0);
		exec_free(x);
		return;
	}
	x->wait_status = w ? wait_status_of(w->exit_status) : W_EXITCODE(255, 0);
	x->exited_at_ns = w ? time_ns(w->exited_at) : 0;
	if (w)
		protobuf_c_message_free_unpacked(&w->base, NULL);
	Shim__ProcessRequest rq = SHIM__PROCESS_REQUEST__INIT;
	rq.id = x->task->id;
	rq.exec_id = x->id;
	link_send(x->task->link, "Delete", &rq.base, 0, handle_exec_deleted, x);
}

void exec_wait(struct task *t, const char *exec_id)
{
	struct exec *x = calloc(1, sizeof(*x));
	if (!x)
		abort();
	*x = (struct exec){ .next = t->execs, .task = t, .id = strdup(exec_id) };
	t->execs = x;
	Shim__ProcessRequest rq = SHIM__PROCESS_REQUEST__INIT;
	rq.id = t->id;
	rq.exec_id = x->id;
	link_send(t->link, "Wait", &rq.base, 0, handle_exec_ended, x);
}

/* -- a shim is dead -- */

static void handle_unmade(void *data)
{
	struct task *t = data;
	struct crisp_instance *i = t->inst;
	char *sandbox = strdup(t->sandbox);
	t->state = TASK_GONE;
	if (t->fell && !task_is_sandbox(t)) {
		t->fell = false;
		i->host->exited(i->host, t->id, NULL, STATUS_LOST, 0);
	}
	task_wake(t);
	check_gone(i, sandbox);
	free(sandbox);
}

/* The sandbox's process is all of the pod: only its own end is to take it along. */
void task_fall(struct task *t)
{
	struct process left = t->process;
	struct saved s;
	if (!task_is_sandbox(t) && task_saved(t->inst, t->sandbox, &s) == 0 && s.process.pid == left.pid)
		left = (struct process){ 0 };
	t->state = TASK_LOST;
	clean_up(t->inst, t->id, t->bundle, left, handle_unmade, t);
}

void tasks_lost(struct crisp_instance *i, struct link *l)
{
	for (struct task *t = i->tasks; t; t = t->next) {
		if (t->link != l)
			continue;
		task_part(t);
		if (t->state == TASK_LIVE && task_is_sandbox(t) && !t->deleting)
			await_gone(t);
		else if (t->state == TASK_LIVE)
			t->fell = true;
		if (t->state != TASK_LOST && t->state != TASK_GONE)	/* else it is under way already */
			task_fall(t);
	}
}

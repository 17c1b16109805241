/*
 * What is known of sandboxes and their containers, and how their ends become known.
 *
 *	the sentry ends		its pidfd; with it end all containers that run in it
 *	a container ends	the control socket answers a Wait; where there is none to be reached,
 *				a `runsc wait` ends
 *
 * A container whose gofer dies is killed by the sentry: that is an end like any other.
 */
#include "engines/gvisor/gvisor.h"
#include "engines/share/process.h"

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

enum { RETRY_MS = 500, OUT_MAX = 4096, KILLED = SIGKILL /* as a wait status */ };

/* -- processes -- */

static bool has_ended(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	return poll(&p, 1, 0) == 1;
}

bool box_alive(struct box *b)
{
	return !b->gone && !has_ended(b->pidfd);
}

/* -- containers -- */

struct ctr *ctr_find(struct crisp_instance *i, const char *id)
{
	for (struct box *b = i->boxes; b; b = b->next)
		for (struct ctr *c = b->ctrs; c; c = c->next)
			if (!strcmp(c->id, id))
				return c;
	return NULL;
}

struct ctr *ctr_new(struct box *b, const char *id)
{
	struct ctr *c = calloc(1, sizeof(*c));
	if (!c)
		abort();
	c->box = b;
	snprintf(c->id, sizeof(c->id), "%s", id);
	c->next = b->ctrs;
	b->ctrs = c;
	return c;
}

static void stop_waiting(struct ctr *c)
{
	const struct crisp_host *h = c->box->inst->host;
	urpc_drop(c->wait);
	h->untimer(c->retry);
	c->wait = NULL;
	c->retry = NULL;
}

void ctr_free(struct ctr *c)
{
	struct ctr **at = &c->box->ctrs;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	stop_waiting(c);
	if (c->job)
		c->box->inst->host->job_kill(c->job);
	free(c);
}

void ctr_exited(struct ctr *c, int32_t wait_status)
{
	stop_waiting(c);
	if (c->state == CTR_EXITED)
		return;
	c->state = CTR_EXITED;
	c->box->inst->host->exited(c->box->inst->host, c->id, NULL, wait_status, 0);
}

static void handle_retry(void *data)
{
	struct ctr *c = data;
	c->retry = NULL;
	ctr_watch(c);
}

/* Nobody could say; as long as the sandbox lives, ask again. */
static void ask_later(struct ctr *c, const char *words)
{
	const struct crisp_host *h = c->box->inst->host;
	if (!box_alive(c->box))
		return;		/* its end tells */
	h->log(h, CRISP_LOG_WARN, "no answer about a container's end", (const char *const[]){
		"ctr", c->id, "error", words, NULL });
	c->retry = h->timer(h, RETRY_MS, handle_retry, c);
}

/* A program outlives a container that is forgotten. */
struct wait_job {
	struct crisp_instance *inst;
	char id[ID_LEN];
};

static void handle_job(void *data, const struct crisp_spawn_result *r)
{
	struct wait_job *w = data;
	struct ctr *c = ctr_find(w->inst, w->id);
	free(w);
	if (!c || !c->job)
		return;
	c->job = NULL;
	yajl_val v = r->err ? NULL : yajl_tree_parse(r->out, NULL, 0);
	int64_t code = json_number(json_member(v, "exitStatus"), -1);
	yajl_tree_free(v);
	if (code >= 0 && box_alive(c->box))
		ctr_exited(c, W_EXITCODE((int)code & 255, 0));
	else
		ask_later(c, r->err ? r->msg : "runsc wait failed");
}

static void wait_by_job(struct ctr *c)
{
	struct command cmd;
	struct wait_job *w = calloc(1, sizeof(*w));
	if (!w)
		abort();
	w->inst = c->box->inst;
	snprintf(w->id, sizeof(w->id), "%s", c->id);
	command_init(&cmd, w->inst, NULL, c->box);
	cmd.plan.flags |= CRISP_SPAWN_WAITS;
	cmd.plan.out_max = OUT_MAX;
	command_arg(&cmd, "wait");
	command_arg(&cmd, c->id);
	c->job = command_run(&cmd, handle_job, w);
	if (!c->job) {
		free(w);
		ask_later(c, "runsc can't be run");
	}
}

static void handle_answer(void *data, int err, yajl_val result, const char *words)
{
	struct ctr *c = data;
	int64_t status = json_number(result, -1);
	c->wait = NULL;
	if (err == 0 && status >= 0)
		ctr_exited(c, (int32_t)status);
	else if (box_alive(c->box))
		wait_by_job(c);
}

void ctr_watch(struct ctr *c)
{
	struct box *b = c->box;
	char arg[ID_LEN + 4];
	c->state = CTR_RUNNING;
	snprintf(arg, sizeof(arg), "\"%s\"", c->id);
	if (!box_alive(b))
		return;
	c->wait = urpc_call(b->inst->host, b->socket, "containerManager.Wait", arg, -1, handle_answer, c);
	if (!c->wait)
		wait_by_job(c);
}

/* -- further processes -- */

struct proc *proc_find(struct box *b, const char *id, const char *exec_id)
{
	for (struct proc *p = b->procs; p; p = p->next)
		if (!strcmp(p->id, id) && !strcmp(p->exec_id, exec_id))
			return p;
	return NULL;
}

void proc_add(struct box *b, const char *id, const char *exec_id, int32_t guest_pid)
{
	struct proc *p = calloc(1, sizeof(*p));
	if (!p)
		abort();
	p->guest_pid = guest_pid;
	snprintf(p->id, sizeof(p->id), "%s", id);
	snprintf(p->exec_id, sizeof(p->exec_id), "%s", exec_id);
	p->next = b->procs;
	b->procs = p;
}

void proc_forget(struct box *b, const char *id, const char *exec_id)
{
	struct proc *p = proc_find(b, id, exec_id), **at = &b->procs;
	while (p && *at != p)
		at = &(*at)->next;
	if (p)
		*at = p->next;
	free(p);
}

/* -- sandboxes -- */

struct box *box_find(struct crisp_instance *i, const char *id)
{
	struct box *b = i->boxes;
	while (b && strcmp(b->id, id))
		b = b->next;
	return b;
}

/* Under what name the sentry's pidfd is kept. */
static const char *keep_key(const char *id, char key[ID_LEN + 8])
{
	snprintf(key, ID_LEN + 8, "box-%s", id);
	return key;
}

void box_drop_fd(struct crisp_instance *i, const char *id)
{
	char key[ID_LEN + 8];
	i->host->drop_fd(i->host, keep_key(id, key));
}

static void stop_watching(struct box *b)
{
	b->inst->host->unwatch(b->watch);
	b->watch = NULL;
	box_drop_fd(b->inst, b->id);
}

/* The sentry has ended by itself, and so has all that ran in it. */
static void handle_end(void *data, uint32_t events)
{
	struct box *b = data;
	const struct crisp_host *h = b->inst->host;
	char reason[100];
	/* An answer may lie there already: that container has ended before. */
	for (struct ctr *c = b->ctrs; c; c = c->next)
		if (c->wait)
			urpc_look(c->wait);
	stop_watching(b);
	b->gone = true;
	for (struct ctr *c = b->ctrs; c; c = c->next)
		ctr_exited(c, KILLED);
	snprintf(reason, sizeof(reason), "its sentry, process %d, has ended", b->pid);
	h->sandbox_gone(h, b->id, reason);
}

struct box *box_new(struct crisp_instance *i, const char *id, int32_t pid, int pidfd, const char *netns,
		    const char *network)
{
	struct box *b = calloc(1, sizeof(*b));
	char key[ID_LEN + 8];
	if (!b)
		abort();
	b->inst = i;
	b->pid = pid;
	b->pidfd = pidfd;
	b->start = process_start(pid);
	snprintf(b->id, sizeof(b->id), "%s", id);
	snprintf(b->netns, sizeof(b->netns), "%s", netns ? netns : "");
	snprintf(b->network, sizeof(b->network), "%s", network);
	if (strcmp(i->options.urpc, "off"))
		files_socket(i, id, b->socket);
	b->next = i->boxes;
	i->boxes = b;
	i->host->keep_fd(i->host, keep_key(id, key), pidfd);
	b->watch = i->host->watch_fd(i->host, pidfd, CRISP_IO_READ, handle_end, b);
	return b;
}

void box_state(const struct box *b, char *buf, size_t cap)
{
	snprintf(buf, cap, "{\"pid\":%d,\"start\":%llu,\"netns\":\"%s\",\"network\":\"%s\"}", b->pid,
		 (unsigned long long)b->start, b->netns, b->network);
}

/* The sentry: by the fd that was kept, or by its number, if it is still the one. */
static int sentry_fd(struct crisp_instance *i, const char *id, int32_t pid, uint64_t start)
{
	char key[ID_LEN + 8];
	int fd = i->host->kept_fd(i->host, keep_key(id, key));
	if (fd >= 0)
		return fd;
	if (pid <= 1 || !start || process_start(pid) != start)
		return -1;
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

struct box *box_restore(struct crisp_instance *i, const char *id, const char *state, size_t len)
{
	char text[2 * PATH_LEN];
	snprintf(text, sizeof(text), "%.*s", (int)len, state ? state : "");
	yajl_val v = yajl_tree_parse(text, NULL, 0);
	int32_t pid = (int32_t)json_number(json_member(v, "pid"), 0);
	uint64_t start = (uint64_t)json_number(json_member(v, "start"), 0);
	const char *netns = YAJL_GET_STRING(json_member(v, "netns"));
	const char *network = YAJL_GET_STRING(json_member(v, "network"));
	int fd = sentry_fd(i, id, pid, start);
	struct box *b = NULL;
	if (fd >= 0 && !has_ended(fd))
		b = box_new(i, id, pid, fd, netns, network ? network : i->options.network);
	else if (fd >= 0)
		close(fd);
	yajl_tree_free(v);
	return b;
}

void box_kill(struct box *b)
{
	if (!b->gone)
		stop_watching(b);
	b->gone = true;
	syscall(SYS_pidfd_send_signal, b->pidfd, SIGKILL, NULL, 0);
	for (struct ctr *c = b->ctrs; c; c = c->next) {
		stop_waiting(c);
		ctr_exited(c, KILLED);
	}
}

void box_free(struct box *b)
{
	struct box **at = &b->inst->boxes;
	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	while (b->ctrs)
		ctr_free(b->ctrs);
	while (b->procs)
		proc_forget(b, b->procs->id, b->procs->exec_id);
	b->inst->host->unwatch(b->watch);
	close(b->pidfd);
	free(b);
}

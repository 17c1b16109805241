/*
 * Archetypes sandbox and tty: a pod is a process (crisp-fake box) that runs its containers and is
 * asked over a unix socket, one message each way: fields with BOX_SEP between them, the first one a
 * tag.  The sandbox's own news have tag 0: 0, exit, ID, EXEC_ID, WAIT_STATUS, AT_NS.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engines/fake/fake.h"
#include "engines/fake/run.h"

enum { FIELDS_MAX = 8 };

struct box {
	struct box *next;
	struct crisp_instance *inst;
	char *id;
	int fd;			/* -1: it is dead */
	struct crisp_watch *watch;
	unsigned last_tag;
	bool stopped, going;		/* it was told to leave */
};

static struct box *box_find(struct crisp_instance *i, const char *id)
{
	for (struct box *b = i->boxes; b && id; b = b->next)
		if (!strcmp(b->id, id))
			return b;
	return NULL;
}

static void box_shut(struct box *b)
{
	if (b->fd < 0)
		return;
	b->inst->host->unwatch(b->watch);
	close(b->fd);
	b->fd = -1;
}

static void box_free(struct box *b)
{
	struct box **at = &b->inst->boxes;
	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	box_shut(b);
	free(b->id);
	free(b);
}

void box_close(struct crisp_instance *i)
{
	while (i->boxes)
		box_free(i->boxes);
}

static void socket_path(struct crisp_instance *i, const char *id, char *path, size_t cap)
{
	/* Ids are long, a socket's path is short; what the tests make differs early. */
	snprintf(path, cap, "%s/b-%.24s", i->host->state_dir, id);
}

/* -- what it says -- */

static struct act *act_of(struct box *b, unsigned tag)
{
	for (struct act *a = b->inst->acts; a; a = a->next)
		if (a->box == b && a->tag == tag)
			return a;
	return NULL;
}

static void handle_died(struct box *b)
{
	struct crisp_instance *i = b->inst;
	struct act *a;
	box_shut(b);
	for (unsigned tag = 1; tag <= b->last_tag; tag++)
		if ((a = act_of(b, tag))) {
			a->box = NULL;
			if (b->going)
				act_ok(a);
			else
				act_fail(a, -EHOSTDOWN, "the sandbox died");
		}
	if (b->going) {
		char path[128];
		socket_path(i, b->id, path, sizeof(path));
		unlink(path);
		box_free(b);
	} else {
		for (struct ctr *c = i->ctrs; c; c = c->next)
			if (!c->ended && c->sandbox && !strcmp(c->sandbox, b->id)) {
				c->ended = true;
				i->host->exited(i->host, c->id, c->exec_id, SIGKILL, 0);
			}
		i->host->sandbox_gone(i->host, b->id, "the fake sandbox died");
	}
}

/* "STATUS PID WAIT_STATUS AT_NS", for create, start, exec and state. */
static void answer(struct act *a, const char *text)
{
	struct crisp_result r = { .size = sizeof(r), .wait_status = -1 };
	long long at = 0;
	int pid = 0;
	sscanf(text, "%u %d %d %lld", &r.status, &pid, &r.wait_status, &at);
	r.guest_pid = (uint32_t)pid;
	r.exited_at_ns = at;
	if (a->op == FAKE_STATS) {
		act_done_stats(a, pid);
		return;
	}
	if (a->op == FAKE_PIDS) {
		r.data = "[]";
		r.data_len = 2;
	}
	if ((a->op == FAKE_CREATE || a->op == FAKE_EXEC || a->op == FAKE_ATTACH) &&
	    !ctr_find(a->inst, a->id, a->exec_id))
		ctr_add(a->inst, a->id, a->exec_id, a->sandbox, 0, 0);
	struct ctr *c = ctr_find(a->inst, a->id, a->exec_id);
	if (c && a->op == FAKE_ATTACH)
		c->ended = r.status == CRISP_STATUS_STOPPED;
	if (c && (a->op == FAKE_DELETE || a->op == FAKE_EXEC_DELETE))
		ctr_remove(a->inst, c);
	act_done(a, &r);
}

static void handle_message(struct box *b, char *text)
{
	char *field[FIELDS_MAX] = { 0 };
	size_t n = 0;
	for (char *at = text; at && n < FIELDS_MAX; n++)
		field[n] = strsep(&at, BOX_SEP);
	unsigned tag = (unsigned)strtoul(field[0], NULL, 10);
	const struct crisp_host *h = b->inst->host;
	if (!tag && n >= 6) {
		struct ctr *c = ctr_find(b->inst, field[2], field[3]);
		if (c)
			c->ended = true;
		h->exited(h, field[2], field[3][0] ? field[3] : NULL,
			  (int32_t)strtol(field[4], NULL, 10), strtoll(field[5], NULL, 10));
		return;
	}
	struct act *a = act_of(b, tag);
	if (!a || n < 3)
		return;
	int err = (int)strtol(field[1], NULL, 10);
	a->box = NULL;
	if (err)
		act_fail(a, err, field[2]);
	else
		answer(a, field[2]);
}

static void handle_readable(void *data, uint32_t events)
{
	struct box *b = data;
	static char text[BOX_MESSAGE_MAX + 1];
	ssize_t n = recv(b->fd, text, BOX_MESSAGE_MAX, MSG_DONTWAIT);
	if (n > 0) {
		text[n] = 0;
		handle_message(b, text);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		handle_died(b);
	}
}

static struct box *box_connect(struct crisp_instance *i, const char *id)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	socket_path(i, id, to.sun_path, sizeof(to.sun_path));
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), room = 2 * BOX_MESSAGE_MAX;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	struct box *b = calloc(1, sizeof(*b));
	if (!b)
		abort();
	b->next = i->boxes;
	b->inst = i;
	b->id = strdup(id);
	b->fd = fd;
	b->watch = i->host->watch_fd(i->host, fd, CRISP_IO_READ, handle_readable, b);
	i->boxes = b;
	return b;
}

/* -- what it is asked -- */

/* text: the fields after tag and verb.  What a's fds are goes along. */
static void ask(struct act *a, struct box *b, const char *verb, const char *text)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(3 * sizeof(int))];
	} control = { 0 };
	int own[3] = { a->in, a->out, a->err }, fds[3], n_fds = 0, which = 0;
	for (int i = 0; i < 3; i++)
		if (own[i] > 0) {
			fds[n_fds++] = own[i];
			which |= 1 << i;
		}
	char *message = NULL;
	a->box = b;
	a->tag = ++b->last_tag;
	int len = asprintf(&message, "%u" BOX_SEP "%s" BOX_SEP "%s" BOX_SEP "%s" BOX_SEP "%d" BOX_SEP "%s", a->tag, verb, a->id,
			   a->exec_id ? a->exec_id : "", which, text);
	struct iovec iov = { message, len > 0 ? (size_t)len : 0 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (n_fds) {
		control.head = (struct cmsghdr){ .cmsg_len = CMSG_LEN((size_t)n_fds * sizeof(int)),
						  .cmsg_level = SOL_SOCKET,
						  .cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(&control.head), fds, (size_t)n_fds * sizeof(int));
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE((size_t)n_fds * sizeof(int));
	}
	ssize_t sent = len > BOX_MESSAGE_MAX ? -1 : sendmsg(b->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	free(message);
	if (sent < 0) {
		a->box = NULL;
		act_fail(a, -EHOSTDOWN, "the sandbox doesn't take the request");
	}
}

/* terminal, its size, FIFOs and the words of a process */
static void ask_process(struct act *a, struct box *b, const char *verb)
{
	const char *none[] = { NULL }, *words[WORDS_MAX];
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	fprintf(f, "%d" BOX_SEP "%u" BOX_SEP "%u", a->terminal, a->width, a->height);
	const char *const paths[] = { a->fifo_in, a->fifo_out, a->fifo_err, a->console_socket };
	for (int i = 0; i < 4; i++)
		fprintf(f, BOX_SEP "%s", paths[i] ? paths[i] : "");
	for (const char *const *w = act_words(a, words, none); *w; w++)
		fprintf(f, BOX_SEP "%s", *w);
	fclose(f);
	ask(a, b, verb, text);
	free(text);
}

static void ask_simple(struct act *a, struct box *b)
{
	char text[64] = "";
	if (a->op == FAKE_KILL)
		snprintf(text, sizeof(text), "%d" BOX_SEP "%d", a->signo, !!(a->flags & CRISP_ARG_ALL));
	else if (a->op == FAKE_DELETE)
		snprintf(text, sizeof(text), "%d", !!(a->flags & CRISP_ARG_FORCE));
	else if (a->op == FAKE_RESIZE)
		snprintf(text, sizeof(text), "%u" BOX_SEP "%u", a->width, a->height);
	ask(a, b, fake_op_names[a->op], text);
}

/* -- the sandbox itself -- */

static void handle_made(void *data, const struct crisp_spawn_result *r)
{
	struct act *a = data;
	a->job = NULL;
	struct box *b = !r->err && !r->wait_status && r->pid ? box_connect(a->inst, a->id) : NULL;
	if (!b) {
		if (r->pidfd > 0)
			close(r->pidfd);
		act_fail(a, r->err ? r->err : -EIO,
			 r->last_error ? r->last_error : "the sandbox didn't start");
		return;
	}
	act_done(a, &(struct crisp_result){ .size = sizeof(struct crisp_result),
					     .pid = r->pid,
					     .pidfd = r->pidfd });
}

static void make(struct act *a)
{
	const struct crisp_host *h = a->inst->host;
	char path[128], pid_file[600];
	socket_path(a->inst, a->id, path, sizeof(path));
	path_of_pid(a, pid_file, sizeof(pid_file));
	struct crisp_spawn_plan plan = {
		.size = sizeof(plan),
		.flags = CRISP_SPAWN_STAY,
		.path = a->inst->program,
		.argv = (const char *const[]){ "crisp-fake", "box", path, pid_file, NULL },
		.log_target = 3,
		.deadline_ns = h->now_ns(h) + 20000000000,
		.pid_file = pid_file,
	};
	if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
		act_fail(a, -ENAMETOOLONG, "the state directory's path is too long for a socket");
		return;
	}
	a->job = h->spawn(h, &plan, handle_made, a);
	if (!a->job)
		act_fail(a, -EINVAL, "the host refused the program");
}

static void sandbox_act(struct act *a, struct box *b)
{
	char path[128], pid_file[600];
	socket_path(a->inst, a->id, path, sizeof(path));
	path_of_pid(a, pid_file, sizeof(pid_file));
	if (a->op == FAKE_SANDBOX_DELETE)
		unlink(pid_file);	/* of an earlier core that did not come to read it */
	if (a->op == FAKE_SANDBOX_CREATE && b) {
		act_fail(a, -EEXIST, "sandbox exists");
	} else if (a->op == FAKE_SANDBOX_CREATE) {
		make(a);
	} else if (a->op == FAKE_SANDBOX_ATTACH) {
		if (b || (b = box_connect(a->inst, a->id)))
			act_done(a, &(struct crisp_result){ .size = sizeof(struct crisp_result),
							     .pid = a->pid,
							     .status = CRISP_STATUS_RUNNING });
		else
			act_fail(a, -ENOENT, "no such sandbox");
	} else if (!b && a->op == FAKE_SANDBOX_DELETE && (b = box_connect(a->inst, a->id))) {
		sandbox_act(a, b);	/* made by an earlier core and never adopted */
	} else if (!b) {
		unlink(path);
		if (a->flags & CRISP_ARG_FORCE)
			act_ok(a);
		else
			act_fail(a, -ENOENT, "no such sandbox");
	} else if (a->op == FAKE_SANDBOX_STOP) {
		b->stopped = true;
		if (b->fd < 0)
			act_ok(a);
		else
			ask_simple(a, b);
	} else if (b->fd >= 0 && !b->stopped && !(a->flags & CRISP_ARG_FORCE)) {
		act_fail(a, -EBUSY, "sandbox is running");
	} else if (b->fd >= 0 && !b->going) {
		b->going = true;	/* its end is the answer */
		ask_simple(a, b);
	} else {
		unlink(path);
		box_free(b);
		act_ok(a);
	}
}

void box_act(struct act *a)
{
	struct crisp_instance *i = a->inst;
	if (a->op == FAKE_SANDBOX_CREATE || a->op == FAKE_SANDBOX_STOP ||
	    a->op == FAKE_SANDBOX_DELETE || a->op == FAKE_SANDBOX_ATTACH) {
		sandbox_act(a, box_find(i, a->id));
		return;
	}
	struct ctr *c = ctr_find(i, a->id, a->op == FAKE_EXEC ? NULL : a->exec_id);
	struct box *b = box_find(i, c ? c->sandbox : a->sandbox);
	if (a->op == FAKE_EXEC && c && c->sandbox)
		a->sandbox = strdup(c->sandbox);
	if (!b || b->fd < 0) {
		if (a->op == FAKE_DELETE && (c || a->flags & CRISP_ARG_FORCE)) {
			if (c)
				ctr_remove(i, c);
			act_ok(a);
		} else {
			act_fail(a, b ? -EHOSTDOWN : -ENOENT,
				 b ? "the sandbox is dead" : "no such container");
		}
		return;
	}
	if (a->op == FAKE_CREATE || a->op == FAKE_EXEC)
		ask_process(a, b, fake_op_names[a->op]);
	else
		ask_simple(a, b);
}

/*
 * What a shim that is no more has left of a task: unmade in three steps, each of which does what
 * the one before may not have done.
 *
 *	delete		the command of the shim's program that is there for this
 *	runtime		gVisor's shim forgets which runtime it had, and where: so that one is asked, by
 *			the note that the shim has left in the bundle
 *	kill		the process that the task had on the host, if it is still the same one
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engines/share/process.h"
#include "engines/shimv2/shimv2.h"

enum { NOTE_MAX = 64 << 10, RUNTIME_MS = 20000, DEATH_MS = 5000, ERR_MAX = 2000 };

struct clean {
	struct clean *next;
	struct crisp_instance *inst;
	char *id, *bundle;
	struct process left;
	int pidfd;		/* of left, when it has been killed; -1: none */
	struct crisp_watch *watch;
	struct crisp_timer *timer;
	clean_cb *cb;
	void *data;
};

static void clean_free(struct clean *c)
{
	const struct crisp_host *h = c->inst->host;
	struct clean **at = &c->inst->cleans;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	if (c->watch)
		h->unwatch(c->watch);
	if (c->timer)
		h->untimer(c->timer);
	if (c->pidfd >= 0)
		close(c->pidfd);
	free(c->id);
	free(c->bundle);
	free(c);
}

void cleans_free(struct crisp_instance *i)
{
	while (i->cleans)
		clean_free(i->cleans);
}

static void over(struct clean *c)
{
	clean_cb *cb = c->cb;
	void *data = c->data;
	clean_free(c);
	cb(data);
}

static void complain(const struct clean *c, const char *what, const char *why)
{
	c->inst->host->log(c->inst->host, CRISP_LOG_WARN, what,
			   (const char *const[]){ "id", c->id, "error", why, NULL });
}

/* -- kill -- */

struct process process_of(int32_t pid)
{
	return (struct process){ .pid = pid, .start = pid > 1 ? process_start(pid) : 0 };
}

static void handle_dead(void *data, uint32_t events)
{
	over(data);
}

static void handle_deathless(void *data)
{
	struct clean *c = data;
	c->timer = NULL;
	complain(c, "a process that a shim has left doesn't die", "killed in vain");
	over(c);
}

static void kill_left(struct clean *c)
{
	const struct crisp_host *h = c->inst->host;
	int fd = c->left.start ? (int)syscall(SYS_pidfd_open, c->left.pid, 0) : -1;
	if (fd >= 0)
		c->pidfd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (fd >= 0)
		close(fd);
	if (c->pidfd < 0 || process_start(c->left.pid) != c->left.start ||
	    syscall(SYS_pidfd_send_signal, c->pidfd, SIGKILL, NULL, 0) < 0) {
		over(c);
		return;
	}
	c->watch = h->watch_fd(h, c->pidfd, CRISP_IO_READ, handle_dead, c);
	c->timer = h->timer(h, DEATH_MS, handle_deathless, c);
}

/* -- runtime -- */

static yajl_val read_note(const char *bundle)
{
	char path[SHIM_PATH_MAX + 16];
	snprintf(path, sizeof(path), "%s/state.json", bundle);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char *text = fd < 0 ? NULL : malloc(NOTE_MAX);
	ssize_t n = text ? read(fd, text, NOTE_MAX - 1) : -1;
	if (n >= 0)
		text[n] = 0;
	yajl_val note = n > 0 ? yajl_tree_parse(text, NULL, 0) : NULL;
	free(text);
	if (fd >= 0)
		close(fd);
	return note;
}

static const char *note_text(yajl_val note, const char *name)
{
	const char *path[] = { "options", name, NULL };
	yajl_val v = yajl_tree_get(note, path, yajl_t_string);
	return v ? YAJL_GET_STRING(v) : "";
}

static void handle_runtime(void *data, const struct crisp_spawn_result *r)
{
	struct clean *c = data;
	if (r->err || r->wait_status)
		complain(c, "a runtime's clean-up failed", r->err ? r->msg : r->err_out);
	kill_left(c);
}

/* What its runtime still has of it is deleted; false: it has none of its own. */
static bool ask_runtime(struct clean *c)
{
	const struct crisp_host *h = c->inst->host;
	char found[SHIM_PATH_MAX], root[SHIM_PATH_MAX + 64];
	yajl_val note = read_note(c->bundle);
	const char *name = note_text(note, "binaryName"), *where = note_text(note, "root");
	const char *const names[] = { *name ? name : "runsc", NULL };
	const char *program = note ? options_program("", names, found) : NULL;
	snprintf(root, sizeof(root), "--root=%.1000s/" SHIM_NAMESPACE, *where ? where : "/run/containerd/runsc");
	const char *const argv[] = { program, root, "delete", "--force", c->id, NULL };
	bool asked = program && h->spawn(h, &(struct crisp_spawn_plan){
		.size = sizeof(struct crisp_spawn_plan), .path = program, .argv = argv, .err_max = ERR_MAX,
		.deadline_ns = h->now_ns(h) + RUNTIME_MS * 1000000ll,
	}, handle_runtime, c);
	yajl_tree_free(note);
	return asked;
}

/* -- delete -- */

static void handle_deleted(void *data)
{
	struct clean *c = data;
	if (!ask_runtime(c))
		kill_left(c);
}

void clean_up(struct crisp_instance *i, const char *id, const char *bundle, struct process left, clean_cb *cb,
	      void *data)
{
	struct clean *c = calloc(1, sizeof(*c));
	if (!c)
		abort();
	*c = (struct clean){ .next = i->cleans, .inst = i, .id = strdup(id), .bundle = strdup(bundle),
			     .left = left, .pidfd = -1, .cb = cb, .data = data };
	i->cleans = c;
	shim_delete(i, id, bundle, handle_deleted, c);
}

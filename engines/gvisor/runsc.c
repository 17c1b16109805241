/*
 * Command lines of runsc, and what it has to say.
 *
 * Its log is a file of its own for each command: the processes that it leaves behind inherit the
 * name, so it can't be a descriptor.  stdout and stderr of create, start and exec are the
 * container's.
 */
#include "engines/gvisor/gvisor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ERR_MAX = 2000, LOG_TAIL = 8192 };

/* -- acts -- */

struct act *act_new(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args)
{
	struct act *a = calloc(1, sizeof(*a));
	if (!a)
		abort();
	a->inst = i;
	a->req = r;
	a->deadline_ns = args->deadline_ns;
	a->flags = args->flags;
	a->pidfd = -1;
	snprintf(a->id, sizeof(a->id), "%s", args->id ? args->id : "");
	snprintf(a->exec_id, sizeof(a->exec_id), "%s", args->exec_id ? args->exec_id : "");
	snprintf(a->files, sizeof(a->files), "%s/tmp/%d-%p-%u", i->host->state_dir, getpid(), (void *)i, i->n_files++);
	a->next = i->acts;
	i->acts = a;
	return a;
}

void act_free(struct act *a)
{
	static const char *const kinds[] = { "log", "pid", "guest", "process" };
	struct act **at = &a->inst->acts;
	while (*at != a)
		at = &(*at)->next;
	*at = a->next;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		char path[PATH_LEN + 16];
		snprintf(path, sizeof(path), "%s.%s", a->files, kinds[i]);
		unlink(path);
	}
	if (a->pidfd >= 0)
		close(a->pidfd);
	free(a->netns);
	free(a);
}

void act_done(struct act *a, struct crisp_result *r)
{
	r->size = sizeof(*r);
	a->inst->host->done(a->req, r);
	act_free(a);
}

void act_end(struct act *a, int err, const char *msg)
{
	act_done(a, &(struct crisp_result){ .err = err, .msg = msg });
}

/* -- commands -- */

void command_arg(struct command *c, const char *word)
{
	if (c->n < RUNSC_ARGS_MAX - 1)
		c->argv[c->n++] = word;
	c->argv[c->n] = NULL;
}

/* The flags that stand before the command. */
static void global_flags(struct command *c, const char *network)
{
	const struct options *o = &c->inst->options;
	command_arg(c, "runsc");
	snprintf(c->root, sizeof(c->root), "--root=%s", o->root);
	command_arg(c, c->root);
	if (c->act) {
		command_arg(c, c->log);
		command_arg(c, "--log-format=json");
	}
	if (o->platform) {
		snprintf(c->platform, sizeof(c->platform), "--platform=%s", o->platform);
		command_arg(c, c->platform);
	}
	snprintf(c->network, sizeof(c->network), "--network=%s", network);
	command_arg(c, c->network);
	if (o->debug) {
		snprintf(c->debug, sizeof(c->debug), "--debug-log=%s/debug/", c->inst->host->state_dir);
		command_arg(c, "--debug");
		command_arg(c, c->debug);
	}
	for (size_t i = 0; o->flags[i]; i++)
		command_arg(c, o->flags[i]);
}

void command_init(struct command *c, struct crisp_instance *i, struct act *a, const struct box *b)
{
	*c = (struct command){ .inst = i, .act = a };
	c->plan = (struct crisp_spawn_plan){
		.size = sizeof(c->plan),
		.flags = CRISP_SPAWN_SEAL,
		.argv = c->argv,
		.fds = c->fds,
		.err_max = ERR_MAX,
		.deadline_ns = a ? a->deadline_ns : 0,
	};
	if (b && !b->gone && !b->socket[0] && b->netns[0])
		c->plan.netns_path = b->netns;
	if (a)
		snprintf(c->log, sizeof(c->log), "--log=%.*s.log", PATH_LEN - 16, a->files);
	global_flags(c, b ? b->network : i->options.network);
}

struct crisp_job *command_run(struct command *c, crisp_spawn_cb *cb, void *data)
{
	struct crisp_instance *i = c->inst;
	c->plan.path = gvisor_program(&i->options, c->program);
	struct crisp_job *j = c->plan.path ? i->host->spawn(i->host, &c->plan, cb, data) : NULL;
	if (!j && c->act)
		act_end(c->act, -EIO, c->plan.path ? "the host refused the command" :
			"the program runsc is in none of the usual folders");
	return j;
}

void command_want_pid(struct command *c)
{
	snprintf(c->pid_file, sizeof(c->pid_file), "--pid-file=%.*s.pid", PATH_LEN - 32, c->act->files);
	command_arg(c, c->pid_file);
	c->plan.pid_file = strchr(c->pid_file, '=') + 1;
}

void command_want_stdio(struct command *c, const struct crisp_stdio *s)
{
	if (s && s->flags & CRISP_STDIO_TTY)
		return;
	c->plan.err_max = 0;
	int fds[3] = { s ? s->in : 0, s ? s->out : 0, s ? s->err : 0 };
	for (int i = 0; i < 3; i++)
		if (fds[i] > 0)
			c->fds[c->plan.n_fds++] = (struct crisp_spawn_fd){ fds[i], i };
}

int command_simple(struct crisp_instance *i, struct crisp_req *r, const void *args, const char *verb,
		   crisp_spawn_cb *cb)
{
	struct command c;
	struct act *a = act_new(i, r, args);
	struct ctr *ctr = ctr_find(i, a->id);
	struct box *b = ctr ? ctr->box : box_find(i, a->id);
	command_init(&c, i, a, b);
	command_arg(&c, verb);
	command_arg(&c, a->id);
	command_run(&c, cb, a);
	return 0;
}

/* -- what it says -- */

/* The words of the last error in the log. */
static bool log_words(const struct act *a, char msg[MSG_LEN])
{
	char path[PATH_LEN + 16], text[LOG_TAIL + 1];
	snprintf(path, sizeof(path), "%s.log", a->files);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	off_t size = lseek(fd, 0, SEEK_END);
	ssize_t n = pread(fd, text, LOG_TAIL, size > LOG_TAIL ? size - LOG_TAIL : 0);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	bool found = false;
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		yajl_val v = yajl_tree_parse(line, NULL, 0);
		const char *level = YAJL_GET_STRING(json_member(v, "level"));
		const char *words = YAJL_GET_STRING(json_member(v, "msg"));
		if (level && words && (!strcmp(level, "error") || !strcmp(level, "fatal"))) {
			snprintf(msg, MSG_LEN, "%.400s", words);
			found = true;
		}
		yajl_tree_free(v);
	}
	return found;
}

/* The last line of its stderr. */
static const char *last_line(const char *text, char *buf, size_t cap)
{
	size_t end = strlen(text);
	while (end && (unsigned char)text[end - 1] <= ' ')
		end--;
	size_t at = end;
	while (at && text[at - 1] != '\n')
		at--;
	snprintf(buf, cap, "%.*s", (int)(end - at), text + at);
	for (char *c = buf; *c; c++)
		if ((unsigned char)*c < ' ')
			return "";
	return buf;
}

int runsc_judge(struct act *a, const struct crisp_spawn_result *r)
{
	char line[300];
	if (r->err) {
		bool ours = r->err == -ETIMEDOUT || r->err == -ECANCELED;
		snprintf(a->msg, MSG_LEN, "%s%s", ours ? "" : "runsc can't be run: ", r->msg);
		return ours ? r->err : -EIO;
	}
	if (WIFEXITED(r->wait_status) && WEXITSTATUS(r->wait_status) == 0)
		return 0;
	if (log_words(a, a->msg))
		return -EIO;
	const char *words = last_line(r->err_out, line, sizeof(line));
	if (*words)
		snprintf(a->msg, MSG_LEN, "%s", words);
	else if (WIFSIGNALED(r->wait_status))
		snprintf(a->msg, MSG_LEN, "runsc was killed by signal %d", WTERMSIG(r->wait_status));
	else
		snprintf(a->msg, MSG_LEN, "runsc ended with exit code %d", WEXITSTATUS(r->wait_status));
	return -EIO;
}

bool says_missing(const char *msg)
{
	return strstr(msg, "does not exist") || strstr(msg, "not found") || strstr(msg, "no such file");
}

bool says_ended(const char *msg)
{
	return strstr(msg, "no such process") || strstr(msg, "not running") || strstr(msg, "is stopped") ||
	       strstr(msg, "has exited") || strstr(msg, "'stopped'") || strstr(msg, "\"stopped\"");
}

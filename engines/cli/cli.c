/*
 * An OCI runtime as an engine: each operation is one run of its command line.
 *
 * What runc and crun have in common is relied on: absolute paths; errors as JSON lines in --log;
 * a pid file for create and exec, whose process becomes a child of the host when the command ends;
 * exec always detached, since the exit code of one in the foreground is ambiguous.  stdout and
 * stderr of create and exec belong to the container and are never waited for.
 *
 * What they tell differently (killing what has ended, pausing twice) is settled by asking for the
 * state afterwards.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <yajl/yajl_tree.h>

#include "engines/cli/cli.h"

enum {
	LOG_FD = 3,
	PROCESS_FD = 4,
	ARGS_MAX = 24,
	ERR_MAX = 2000,
	OUT_MAX = 1 << 20,
	MSG_MAX = 500
};

struct crisp_instance {
	const struct crisp_host *host;
	struct cli_options options;
	struct filters filters;
	struct act *acts;
	unsigned n_pid_files;
};

/* One operation under way. */
struct act {
	struct act *next;
	struct crisp_instance *inst;
	struct crisp_req *req;
	int64_t deadline_ns;
	char *id;
	bool plain;			/* id is a name, or there is none */
	uint32_t flags;
	int err;			/* what an `ask` for the state decides about */
	char msg[MSG_MAX];
	const char *good;		/* the state in which it is a success after all... */
	bool gone;			/* ...or -ESRCH */
	char pid_file[CLI_PATH_MAX + 64];
};

/* A command line under construction. */
struct command {
	struct act *act;
	struct crisp_spawn_plan plan;
	const char *argv[ARGS_MAX];
	size_t n;
	struct crisp_spawn_fd fds[3];
	char program[CLI_PATH_MAX], log[32], process[32];
};

/* -- acts -- */

/* It becomes the name of a folder, and a word of a command line that runs as root: crun takes "/" for the
 * folder of its container, and deletes what is in it. */
static bool is_name(const char *id)
{
	size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");
	return n && !id[n] && *id != '-' && strcmp(id, ".") && strcmp(id, "..");
}

static struct act *act_new(struct crisp_instance *i, struct crisp_req *r,
			   const struct crisp_args *args)
{
	struct act *a = calloc(1, sizeof(*a));
	if (!a)
		abort();
	a->inst = i;
	a->req = r;
	a->deadline_ns = args->deadline_ns;
	a->id = strdup(args->id ? args->id : "");
	a->plain = !args->id || is_name(args->id);
	a->flags = args->flags;
	a->next = i->acts;
	i->acts = a;
	return a;
}

static void act_free(struct act *a)
{
	struct act **at = &a->inst->acts;
	while (*at != a)
		at = &(*at)->next;
	*at = a->next;
	free(a->id);
	free(a);
}

static void act_done(struct act *a, const struct crisp_result *r)
{
	a->inst->host->done(a->req, r);
	act_free(a);
}

static void act_end(struct act *a, int err, const char *msg)
{
	act_done(a, &(struct crisp_result){
			    .size = sizeof(struct crisp_result), .err = err, .msg = msg });
}

/* -- commands -- */

static void arg(struct command *c, const char *word)
{
	c->argv[c->n++] = word;
	c->argv[c->n] = NULL;
}

static void command_init(struct command *c, struct act *a)
{
	*c = (struct command){ .act = a };
	c->plan = (struct crisp_spawn_plan){
		.size = sizeof(c->plan),
		.flags = CRISP_SPAWN_SEAL,
		.argv = c->argv,
		.fds = c->fds,
		.err_max = ERR_MAX,
		.log_target = LOG_FD,
		.deadline_ns = a->deadline_ns,
	};
	snprintf(c->log, sizeof(c->log), "/proc/self/fd/%d", LOG_FD);
	arg(c, cli_profile.name);
	arg(c, "--root");
	arg(c, a->inst->options.root);
	arg(c, "--log");
	arg(c, c->log);
	arg(c, "--log-format");
	arg(c, "json");
}

static void command_run(struct command *c, crisp_spawn_cb *cb)
{
	struct crisp_instance *i = c->act->inst;
	if (!c->act->plain) {
		act_end(c->act, -EINVAL, "the id is no name");
		return;
	}
	c->plan.path = cli_program(&i->options, c->program);
	if (!c->plan.path) {
		char msg[200];
		snprintf(msg, sizeof(msg), "the program %s is in none of the usual folders",
			 cli_profile.name);
		act_end(c->act, -EIO, msg);
	} else if (!i->host->spawn(i->host, &c->plan, cb, c->act)) {
		act_end(c->act, -EINVAL, "the host refused the command");
	}
}

static void want_pid(struct command *c)
{
	struct act *a = c->act;
	snprintf(a->pid_file, sizeof(a->pid_file), "%s/pid-%d-%u", a->inst->host->state_dir, (int)getpid(),
		 a->inst->n_pid_files++);
	arg(c, "--pid-file");
	arg(c, a->pid_file);
	c->plan.pid_file = a->pid_file;
}

static void want_stdio(struct command *c, const struct crisp_stdio *s)
{
	bool tty = s && s->flags & CRISP_STDIO_TTY;
	if (tty) {
		arg(c, "--console-socket");
		arg(c, s->console_socket);
	} else {
		c->plan.err_max = 0;
	}
	int fds[3] = { s ? s->in : 0, s ? s->out : 0, s && !tty ? s->err : 0 };	/* what it says may be captured */
	for (int i = 0; i < 3; i++)
		if (fds[i] > 0)
			c->fds[c->plan.n_fds++] = (struct crisp_spawn_fd){ fds[i], i };
}

/* -- how a command ended -- */

/* UTF-8 without control characters. */
static bool is_text(const char *text, size_t n)
{
	const unsigned char *s = (const unsigned char *)text;
	for (size_t i = 0; i < n; i++) {
		int more = s[i] < 0x80 ? 0 : s[i] < 0xc2 ? -1 : s[i] < 0xe0 ? 1 : s[i] < 0xf0 ? 2 : s[i] < 0xf5 ? 3 : -1;
		if ((s[i] < ' ' && s[i] != '\t') || more < 0)
			return false;
		for (; more; more--)
			if (++i >= n || (s[i] & 0xc0) != 0x80)
				return false;
	}
	return true;
}

/* The last line of what it has said on stderr; "" if that is no text. */
static const char *last_line(const char *text, char *buf, size_t cap)
{
	size_t end = strlen(text);
	while (end && (unsigned char)text[end - 1] <= ' ')
		end--;
	size_t at = end;
	while (at && text[at - 1] != '\n')
		at--;
	if (!is_text(text + at, end - at))
		return "";
	snprintf(buf, cap, "%.*s", (int)(end - at), text + at);
	return buf;
}

/* 0, or an error class with words in msg.  That the program can't be run is never -ENOENT: that
 * would say that the container isn't there. */
static int judge(const struct crisp_spawn_result *r, char msg[MSG_MAX])
{
	char line[300], how[60];
	if (r->err == -ETIMEDOUT || r->err == -ECANCELED) {
		snprintf(msg, MSG_MAX, "%s", r->msg);
		return r->err;
	}
	if (r->err) {
		snprintf(msg, MSG_MAX, "%s can't be run: %s", cli_profile.name, r->msg);
		return -EIO;
	}
	if (WIFEXITED(r->wait_status) && WEXITSTATUS(r->wait_status) == 0)
		return 0;
	if (WIFSIGNALED(r->wait_status))
		snprintf(how, sizeof(how), "%s was killed by signal %d", cli_profile.name,
			 WTERMSIG(r->wait_status));
	else
		snprintf(how, sizeof(how), "%s ended with exit code %d", cli_profile.name,
			 WEXITSTATUS(r->wait_status));
	const char *words =
		r->last_error ? r->last_error : last_line(r->err_out, line, sizeof(line));
	if (*words && WIFEXITED(r->wait_status))
		snprintf(msg, MSG_MAX, "%.400s", words);
	else
		snprintf(msg, MSG_MAX, "%s%s%.300s", how, *words ? ": " : "", words);
	return -EIO;
}

/* Does the runtime keep a record of it? */
static bool known(const struct act *a)
{
	char path[CLI_PATH_MAX + 300];
	if (!*a->id || !a->plain)
		return false;	/* that would be another folder */
	snprintf(path, sizeof(path), "%s/%s", a->inst->options.root, a->id);
	return access(path, F_OK) == 0;
}

static yajl_val get(yajl_val v, const char *name)
{
	for (size_t i = 0; YAJL_IS_OBJECT(v) && i < v->u.object.len; i++)
		if (!strcmp(v->u.object.keys[i], name))
			return v->u.object.values[i];
	return NULL;
}

/* The state as `state` prints it; *pid 0 when it has none. */
static uint32_t read_state(const char *text, int32_t *pid)
{
	static const struct { const char *name; uint32_t status; } names[] = {
		{ "created", CRISP_STATUS_CREATED }, { "running", CRISP_STATUS_RUNNING },
		{ "paused", CRISP_STATUS_PAUSED }, { "stopped", CRISP_STATUS_STOPPED },
	};
	yajl_val root = yajl_tree_parse(text, NULL, 0), status = get(root, "status"),
		 number = get(root, "pid");
	const char *word = YAJL_IS_STRING(status) ? status->u.string : "";
	uint32_t found = CRISP_STATUS_UNKNOWN;
	for (size_t i = 0; i < 4; i++)
		if (!strcmp(word, names[i].name))
			found = names[i].status;
	*pid = YAJL_IS_INTEGER(number) ? (int32_t)YAJL_GET_INTEGER(number) : 0;
	yajl_tree_free(root);
	return found;
}

static void run_state(struct act *a, crisp_spawn_cb *cb)
{
	struct command c;
	command_init(&c, a);
	arg(&c, "state");
	arg(&c, a->id);
	c.plan.out_max = OUT_MAX;
	command_run(&c, cb);
}

/* An operation has failed: was it already as wanted? */
static void handle_second_look(void *data, const struct crisp_spawn_result *r)
{
	struct act *a = data;
	char ignored[MSG_MAX];
	int32_t pid;
	uint32_t now = judge(r, ignored) == 0 ? read_state(r->out, &pid) : CRISP_STATUS_UNKNOWN;
	static const char *const names[] = { "", "created", "running", "paused", "stopped" };
	if (a->good && now && !strcmp(names[now], a->good))
		act_end(a, a->gone ? -ESRCH : 0, a->gone ? "the container has ended" : NULL);
	else
		act_end(a, a->err, a->msg);
}

static void handle_plain(void *data, const struct crisp_spawn_result *r)
{
	struct act *a = data;
	a->err = judge(r, a->msg);
	if (!a->err) {
		act_end(a, 0, NULL);
		return;
	}
	bool spoke = a->err == -EIO && !r->err;
	if (spoke && !known(a))
		act_end(a, -ENOENT, a->msg);
	else if (spoke && a->good)
		run_state(a, handle_second_look);
	else
		act_end(a, a->err, a->msg);
}

static void handle_pid(void *data, const struct crisp_spawn_result *r)
{
	struct act *a = data;
	int err = judge(r, a->msg);
	if (!err && !r->pid) {
		err = -EIO;
		snprintf(a->msg, sizeof(a->msg), "%s ended without an error, but wrote no pid",
			 cli_profile.name);
	}
	if (err && r->pidfd > 0)
		close(r->pidfd);
	act_done(a, &(struct crisp_result){
		.size = sizeof(struct crisp_result),
		.err = err,
		.msg = a->msg,
		.pid = err ? 0 : r->pid,
		.pidfd = err ? -1 : r->pidfd,
	});
}

static void handle_delete_refused(void *data, const struct crisp_spawn_result *r)
{
	struct act *a = data;
	char ignored[MSG_MAX];
	int32_t pid;
	uint32_t now = judge(r, ignored) == 0 ? read_state(r->out, &pid) : CRISP_STATUS_UNKNOWN;
	act_end(a, now == CRISP_STATUS_RUNNING || now == CRISP_STATUS_PAUSED ? -EBUSY : -EIO,
		a->msg);
}

/* The runtime's record of one that it has not deleted: nobody would ever ask for it again. */
static void drop_record(const struct act *a)
{
	char path[CLI_PATH_MAX + 300];
	snprintf(path, sizeof(path), "%s/%s", a->inst->options.root, a->id);
	DIR *d = opendir(path);
	struct dirent *ent;
	while (d && (ent = readdir(d)))
		if (ent->d_name[0] != '.' && unlinkat(dirfd(d), ent->d_name, 0) < 0)
			unlinkat(dirfd(d), ent->d_name, AT_REMOVEDIR);
	if (d)
		closedir(d);
	rmdir(path);
}

static void handle_deleted(void *data, const struct crisp_spawn_result *r)
{
	struct act *a = data;
	int err = judge(r, a->msg);
	/* Cancelled, it will be asked for again. */
	if (a->flags & CRISP_ARG_FORCE && *a->id && err != -ECANCELED && known(a)) {
		if (!err) {
			err = -EIO;
			snprintf(a->msg, sizeof(a->msg), "%s ended without an error, but kept its record",
				 cli_profile.name);
		}
		drop_record(a);
		act_end(a, err, a->msg);
		return;
	}
	if (err == -EIO && !r->err && !known(a))
		err = a->flags & CRISP_ARG_FORCE ? 0 : -ENOENT;
	if (err == -EIO && !r->err && !(a->flags & CRISP_ARG_FORCE))
		run_state(a, handle_delete_refused);
	else
		act_end(a, err, a->msg);
}

/* -- operations -- */

/* Pid files of a host that has died before it could read them; its commands are dead as well. */
static void sweep_pid_files(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *ent;
	int host;
	while (d && (ent = readdir(d)))
		if (sscanf(ent->d_name, "pid-%d-", &host) == 1 && host != getpid())
			unlinkat(dirfd(d), ent->d_name, 0);
	if (d)
		closedir(d);
}

static int cli_open(const struct crisp_host *host, const char *options, struct crisp_instance **out,
		    char *msg, uint32_t cap)
{
	struct crisp_instance *i = calloc(1, sizeof(*i));
	if (!i)
		return -ENOMEM;
	i->host = host;
	int ret = cli_options_read(&i->options, options, host->state_dir, msg, cap);
	if (ret < 0) {
		free(i);
		return ret;
	}
	sweep_pid_files(host->state_dir);
	*out = i;
	return 0;
}

static void cli_close(struct crisp_instance *i)
{
	while (i->acts)
		act_free(i->acts);
	filters_free(&i->filters);
	free(i);
}

/* "crun version 1.8.1" somewhere on the first line. */
static const char *find_version(const char *text, char version[64])
{
	size_t line = strcspn(text, "\n");
	const char *at = strstr(text, "version ");
	if (strncmp(text, cli_profile.name, strlen(cli_profile.name)) || !at ||
	    (size_t)(at - text) > line)
		return NULL;
	at += strlen("version ");
	size_t n = strcspn(at, " \n");
	snprintf(version, 64, "%.*s", (int)n, at);
	return *version >= '0' && *version <= '9' ? version : NULL;
}

static void handle_probed(void *data, const struct crisp_spawn_result *r)
{
	struct act *a = data;
	char version[64];
	int err = judge(r, a->msg);
	if (!err && !find_version(r->out, version)) {
		err = -EIO;
		char line[100];
		snprintf(a->msg, sizeof(a->msg), "%s --version says no version, but \"%s\"",
			 cli_profile.name, last_line(r->out, line, sizeof(line)));
	}
	if (err) {
		act_end(a, err, a->msg);
		return;
	}
	unsigned major = 0, minor = 0;
	sscanf(version, "%u.%u", &major, &minor);
	bool rro = major > cli_profile.rro_major ||
		   (major == cli_profile.rro_major && minor >= cli_profile.rro_minor);
	act_done(a, &(struct crisp_result){
		.size = sizeof(struct crisp_result),
		.caps = rro ? CLI_CAPS : CLI_CAPS & ~CRISP_CAP_RRO_MOUNTS,
		.version = version,
	});
}

static int cli_probe(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args)
{
	struct command c;
	command_init(&c, act_new(i, r, args));
	arg(&c, "--version");
	c.plan.out_max = ERR_MAX;
	command_run(&c, handle_probed);
	return 0;
}

/* Only where the runtime can do with less than the spec says. */
static int cli_prepare_spec(struct crisp_instance *i, struct crisp_req *r,
			    const struct crisp_spec_args *args)
{
	struct crisp_result res = { .size = sizeof(res) };
	char *changed = NULL;
	if (cli_profile.filter_note && args->spec_json)
		changed = filters_apply(&i->filters, args->id ? args->id : "", args->spec_json);
	res.data = changed;
	res.data_len = changed ? (uint32_t)strlen(changed) : 0;
	i->host->done(r, &res);
	free(changed);
	return 0;
}

static void handle_created(void *data, const struct crisp_spawn_result *r)
{
	struct act *a = data;
	char path[2 * CLI_PATH_MAX];
	if (cli_profile.filter_file && !r->err && !r->wait_status) {
		snprintf(path, sizeof(path), "%s/%s/%s", a->inst->options.root, a->id,
			 cli_profile.filter_file);
		filters_learn(&a->inst->filters, a->id, path);
	}
	handle_pid(data, r);
}

static int cli_create(struct crisp_instance *i, struct crisp_req *r,
		      const struct crisp_create_args *args)
{
	struct command c;
	command_init(&c, act_new(i, r, (const struct crisp_args *)args));
	c.plan.rootfs = args->rootfs;
	/* "SLICE:PREFIX:NAME" is for systemd.  The program keeps in mind who made the cgroup. */
	if (args->cgroup_path && *args->cgroup_path && *args->cgroup_path != '/')
		arg(&c, "--systemd-cgroup");
	arg(&c, "create");
	arg(&c, "--bundle");
	arg(&c, args->bundle);
	want_pid(&c);
	want_stdio(&c, args->stdio);
	arg(&c, c.act->id);
	command_run(&c, handle_created);
	return 0;
}

static int cli_exec(struct crisp_instance *i, struct crisp_req *r,
		    const struct crisp_exec_args *args)
{
	struct command c;
	if (!args->process_json)
		return -EINVAL;
	struct crisp_spawn_blob process = { args->process_json, strlen(args->process_json),
					    PROCESS_FD, 0 };
	command_init(&c, act_new(i, r, (const struct crisp_args *)args));
	c.plan.blobs = &process;
	c.plan.n_blobs = 1;
	snprintf(c.process, sizeof(c.process), "/proc/self/fd/%d", PROCESS_FD);
	arg(&c, "exec");
	arg(&c, "--process");
	arg(&c, c.process);
	arg(&c, "--detach");
	want_pid(&c);
	want_stdio(&c, args->stdio);
	arg(&c, c.act->id);
	command_run(&c, handle_pid);
	return 0;
}

/* `VERB ID`.  good: the state in which a failure is none. */
static int simple(struct crisp_instance *i, struct crisp_req *r, const void *args, const char *verb,
		  const char *good)
{
	struct command c;
	command_init(&c, act_new(i, r, args));
	c.act->good = good;
	arg(&c, verb);
	arg(&c, c.act->id);
	command_run(&c, handle_plain);
	return 0;
}

static int cli_start(struct crisp_instance *i, struct crisp_req *r,
		     const struct crisp_start_args *args)
{
	return simple(i, r, args, "start", NULL);
}

static int cli_pause(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args)
{
	return simple(i, r, args, "pause", "paused");
}

static int cli_resume(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args)
{
	return simple(i, r, args, "resume", "running");
}

static int cli_delete(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args)
{
	struct command c;
	command_init(&c, act_new(i, r, args));
	arg(&c, "delete");
	if (args->flags & CRISP_ARG_FORCE)
		arg(&c, "--force");
	arg(&c, c.act->id);
	command_run(&c, handle_deleted);
	return 0;
}

static int cli_kill(struct crisp_instance *i, struct crisp_req *r,
		    const struct crisp_kill_args *args)
{
	struct command c;
	char signo[16];
	if (args->exec_id && *args->exec_id)
		return -ENOSYS;		/* its pid is the host's to signal */
	command_init(&c, act_new(i, r, (const struct crisp_args *)args));
	c.act->good = "stopped";
	c.act->gone = true;
	snprintf(signo, sizeof(signo), "%d", args->signo);
	arg(&c, "kill");
	if (args->flags & CRISP_ARG_ALL)
		arg(&c, "--all");
	arg(&c, c.act->id);
	arg(&c, signo);
	command_run(&c, handle_plain);
	return 0;
}

static int cli_update(struct crisp_instance *i, struct crisp_req *r,
		      const struct crisp_update_args *args)
{
	struct command c;
	if (!args->resources_json)
		return -EINVAL;
	command_init(&c, act_new(i, r, (const struct crisp_args *)args));
	arg(&c, "update");
	arg(&c, "--resources");
	arg(&c, "-");
	arg(&c, c.act->id);
	c.plan.input = args->resources_json;
	c.plan.input_len = strlen(args->resources_json);
	command_run(&c, handle_plain);
	return 0;
}

static void handle_pids(void *data, const struct crisp_spawn_result *r)
{
	struct act *a = data;
	int err = judge(r, a->msg);
	if (err == -EIO && !r->err && !known(a))
		err = -ENOENT;
	yajl_val list = err ? NULL : yajl_tree_parse(r->out, NULL, 0);
	if (!err && !YAJL_IS_ARRAY(list)) {
		err = -EIO;
		snprintf(a->msg, sizeof(a->msg), "%s printed no list of processes",
			 cli_profile.name);
	}
	yajl_tree_free(list);
	act_done(a, &(struct crisp_result){
		.size = sizeof(struct crisp_result), .err = err, .msg = a->msg,
		.data = r->out, .data_len = r->out_len,
	});
}

static int cli_pids(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args)
{
	struct command c;
	command_init(&c, act_new(i, r, args));
	c.plan.out_max = OUT_MAX;
	arg(&c, "ps");
	arg(&c, "--format");
	arg(&c, "json");
	arg(&c, c.act->id);
	command_run(&c, handle_pids);
	return 0;
}

static void handle_attached(void *data, const struct crisp_spawn_result *r)
{
	struct act *a = data;
	struct crisp_result res = { .size = sizeof(res), .wait_status = -1 };
	res.err = judge(r, a->msg);
	if (!res.err)
		res.status = read_state(r->out, &res.pid);
	else if (res.err == -EIO && !r->err && !known(a))
		res.err = -ENOENT;
	if (!res.err && res.status == CRISP_STATUS_UNKNOWN) {
		res.err = -EIO;
		snprintf(a->msg, sizeof(a->msg), "%s printed no state", cli_profile.name);
	}
	if (res.status == CRISP_STATUS_STOPPED)
		res.pid = 0;
	res.msg = a->msg;
	act_done(a, &res);
}

/* A recorded pid is enough to go on with: a node full of containers needs no thousand commands. */
static int cli_attach(struct crisp_instance *i, struct crisp_req *r,
		      const struct crisp_attach_args *args)
{
	struct act *a = act_new(i, r, (const struct crisp_args *)args);
	if (!known(a)) {
		act_end(a, -ENOENT, "the runtime has no record of it");
	} else if (args->pid > 1) {
		bool gone = kill(args->pid, 0) < 0 && errno == ESRCH;
		act_done(a, &(struct crisp_result){
			.size = sizeof(struct crisp_result),
			.status = gone ? CRISP_STATUS_STOPPED : CRISP_STATUS_UNKNOWN,
			.pid = gone ? 0 : args->pid,
			.wait_status = -1,
		});
	} else {
		run_state(a, handle_attached);
	}
	return 0;
}

const struct crisp_ops cli_ops = {
	.size = sizeof(cli_ops),
	.open = cli_open,
	.close = cli_close,
	.probe = cli_probe,
	.prepare_spec = cli_prepare_spec,
	.create = cli_create,
	.start = cli_start,
	.kill = cli_kill,
	.del = cli_delete,
	.exec = cli_exec,
	.update = cli_update,
	.pids = cli_pids,
	.pause = cli_pause,
	.resume = cli_resume,
	.attach = cli_attach,
};

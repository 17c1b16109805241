/*
 * fake: an engine for tests, with the four shapes that real ones have and a script of delays and
 * failures.
 *
 * Options (all may be missing):
 *	archetype	"cli"	a container is a process of the host, as with runc and crun
 *			"serial"	the same, and only one operation at a time in a pod
 *			"sandbox"	a pod is a program of its own that runs the containers,
 *					tells their exits and takes their stdio at start, as
 *					with gVisor
 *			"tty"	the same with FIFOs for stdio and a terminal of the engine's own,
 *				as with a shim
 *	rules		[{op, id, skip, times, delay_ms, block_ms, errno, msg, refuse, hang, twice, lose, deadly}]
 *			Every rule that fits applies: id (of the container) may be missing, skip
 *			lets as many pass first, times wears it out.  refuse fails at once instead
 *			of by done(); hang answers to cancel alone; twice answers twice; lose says
 *			that it is done and does nothing; block_ms holds up the loop; deadly is a
 *			file, and whoever asks for an id that it names is killed.
 *	delay_ms {OP: N}, fail {OP: TEXT}, hang [OP], twice [OP]	short forms
 *	exit_code, exit_after_ms	containers end by themselves
 *	mount		true: mount the rootfs that create is given, as a real engine needs it
 *	program		crisp-fake; found beside the plugin otherwise
 *
 * What a container does is said by its command, see run.c.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <yajl/yajl_tree.h>

#include "engines/fake/fake.h"

static const struct crisp_engine engine;

static void probe(struct act *a);

/* -- containers -- */

static bool same(const char *a, const char *b)
{
	return !strcmp(a ? a : "", b ? b : "");
}

static char *copy(const char *s)
{
	return s && *s ? strdup(s) : NULL;
}

struct ctr *ctr_find(struct crisp_instance *i, const char *id, const char *exec_id)
{
	for (struct ctr *c = i->ctrs; c; c = c->next)
		if (!strcmp(c->id, id) && same(c->exec_id, exec_id))
			return c;
	return NULL;
}

struct ctr *ctr_add(struct crisp_instance *i, const char *id, const char *exec_id,
		    const char *sandbox, int pid, int pidfd)
{
	struct ctr *c = calloc(1, sizeof(*c));
	if (!c)
		abort();
	*c = (struct ctr){ .next = i->ctrs,
			    .inst = i,
			    .id = strdup(id),
			    .exec_id = copy(exec_id),
			    .sandbox = copy(sandbox),
			    .pid = pid,
			    .pidfd = pidfd };
	i->ctrs = c;
	return c;
}

void ctr_remove(struct crisp_instance *i, struct ctr *c)
{
	struct ctr **at = &i->ctrs;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->inst->host->unwatch(c->watch);
	if (c->pidfd > 0)
		close(c->pidfd);
	free(c->id);
	free(c->exec_id);
	free(c->sandbox);
	free(c->cgroup);
	free(c);
}

/* -- acts -- */

static void act_free(struct act *a)
{
	for (struct act **at = &a->inst->acts; *at; at = &(*at)->next)
		if (*at == a) {
			*at = a->next;
			break;
		}
	int fds[] = { a->in, a->out, a->err };
	for (int i = 0; i < 3; i++)
		if (fds[i] > 0)
			close(fds[i]);
	for (char **w = a->argv; *w; w++)
		free(*w);
	for (char **w = a->env; *w; w++)
		free(*w);
	free(a->id);
	free(a->exec_id);
	free(a->sandbox);
	free(a->bundle);
	free(a->cgroup);
	free(a->console_socket);
	free(a->fifo_in);
	free(a->fifo_out);
	free(a->fifo_err);
	free(a);
}

void act_done(struct act *a, const struct crisp_result *r)
{
	const struct crisp_host *h = a->inst->host;
	h->done(a->req, r);
	if (a->rule.twice)
		h->done(a->req, r);
	h->untimer(a->timer);
	act_free(a);
}

void act_fail(struct act *a, int err, const char *msg)
{
	act_done(a, &(struct crisp_result){
			    .size = sizeof(struct crisp_result), .err = err, .msg = msg });
}

void act_ok(struct act *a)
{
	act_done(a, &(struct crisp_result){ .size = sizeof(struct crisp_result) });
}

/* What its first process has used so far; nothing when that is gone. */
void act_done_stats(struct act *a, int pid)
{
	clockid_t clock;
	struct timespec used;
	char text[80] = "{}";
	if (pid > 0 && clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &used) == 0)
		snprintf(text, sizeof(text), "{\"cpu\":{\"usage\":{\"total\":%lld}}}",
			 used.tv_sec * 1000000000ll + used.tv_nsec);
	act_done(a, &(struct crisp_result){
			    .size = sizeof(struct crisp_result), .data = text, .data_len = (uint32_t)strlen(text) });
}

static int dup_fd(int fd)
{
	return fd > 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : 0;
}

static void take_stdio(struct act *a, const struct crisp_stdio *s)
{
	if (!s)
		return;
	a->in = dup_fd(s->in);
	a->out = dup_fd(s->out);
	a->err = dup_fd(s->err);
	a->terminal |= s->flags & CRISP_STDIO_TTY;
	a->console_socket = copy(s->console_socket);
	a->fifo_in = copy(s->fifo_in);
	a->fifo_out = copy(s->fifo_out);
	a->fifo_err = copy(s->fifo_err);
	a->width = s->width;
	a->height = s->height;
}

static void act_run(struct act *a)
{
	if (a->rule.code)
		act_fail(a, -a->rule.code, a->rule.msg);
	else if (a->rule.lose)
		act_ok(a);
	else if (a->op == FAKE_PROBE)
		probe(a);
	else if (a->inst->boxed)
		box_act(a);
	else
		process_act(a);
}

static void handle_delay(void *data)
{
	struct act *a = data;
	a->timer = NULL;
	act_run(a);
}

static struct act *act_new(struct crisp_instance *i, struct crisp_req *r, enum fake_op op,
			   const struct crisp_args *args)
{
	struct act *a = calloc(1, sizeof(*a));
	if (!a)
		abort();
	a->inst = i;
	a->req = r;
	a->op = op;
	a->id = strdup(args->id ? args->id : "");
	a->exec_id = copy(args->exec_id);
	a->flags = args->flags;
	a->rule = script_apply(&i->script, op, args->id);
	a->next = i->acts;
	i->acts = a;
	return a;
}

static int act_start(struct act *a)
{
	const struct rule *r = &a->rule;
	if (r->die)
		raise(SIGKILL);
	if (r->block_ms)
		nanosleep(&(struct timespec){ r->block_ms / 1000,
					       (long)(r->block_ms % 1000) * 1000000 },
			  NULL);
	if (r->refuse && r->code) {
		int code = r->code;
		act_free(a);
		return -code;
	}
	if (r->hang)
		return 0;
	if (r->delay_ms)
		a->timer = a->inst->host->timer(a->inst->host, r->delay_ms, handle_delay, a);
	else
		act_run(a);
	return 0;
}

const char *const *act_words(struct act *a, const char **room, const char *const *before)
{
	static __thread char code[16], ms[16];
	size_t n = 0;
	while (*before)
		room[n++] = *before++;
	if (a->inst->has_exit && a->op != FAKE_EXEC) {
		snprintf(code, sizeof(code), "%d", a->inst->exit_code);
		snprintf(ms, sizeof(ms), "%u", a->inst->exit_after_ms);
		room[n++] = "after";
		room[n++] = ms;
		room[n++] = code;
	} else {
		if (a->env[0])
			room[n++] = "env";
		for (char **w = a->env; *w; w++)
			room[n++] = *w;
		for (char **w = a->argv; *w; w++)
			room[n++] = *w;
	}
	room[n] = NULL;
	return room;
}

/* -- the slots -- */

static int fake_open(const struct crisp_host *host, const char *options,
		     struct crisp_instance **out, char *msg, uint32_t cap)
{
	Dl_info here;
	struct crisp_instance *i = calloc(1, sizeof(*i));
	if (!i)
		return -ENOMEM;
	i->host = host;
	if (dladdr(&engine, &here) && strrchr(here.dli_fname, '/'))
		snprintf(i->program, sizeof(i->program), "%.*s/../libexec/crisp-fake",
			 (int)(strrchr(here.dli_fname, '/') - here.dli_fname), here.dli_fname);
	int ret = script_read(i, options, msg, cap);
	if (ret == 0 && i->program[0] != '/') {
		char cwd[256];
		char *rel = strdup(i->program);
		if (getcwd(cwd, sizeof(cwd)))
			snprintf(i->program, sizeof(i->program), "%s/%s", cwd, rel);
		free(rel);
	}
	if (ret < 0) {
		free(i);
		return ret;
	}
	*out = i;
	return 0;
}

static void fake_close(struct crisp_instance *i)
{
	while (i->acts)
		act_free(i->acts);
	box_close(i);
	while (i->ctrs)
		ctr_remove(i, i->ctrs);
	free(i);
}

#define SIMPLE(name, OP)                                                                           \
	static int fake_##name(struct crisp_instance *i, struct crisp_req *r,                      \
			       const struct crisp_args *args)                                      \
	{                                                                                          \
		return act_start(act_new(i, r, OP, args));                                         \
	}
SIMPLE(probe, FAKE_PROBE)
SIMPLE(sandbox_stop, FAKE_SANDBOX_STOP)
SIMPLE(sandbox_delete, FAKE_SANDBOX_DELETE)
SIMPLE(delete, FAKE_DELETE)
SIMPLE(exec_delete, FAKE_EXEC_DELETE)
SIMPLE(close_stdin, FAKE_CLOSE_STDIN)
SIMPLE(stats, FAKE_STATS)
SIMPLE(pids, FAKE_PIDS)
SIMPLE(pause, FAKE_PAUSE)
SIMPLE(resume, FAKE_RESUME)

/* The head that all arguments share. */
static const struct crisp_args *head(const void *args)
{
	return args;
}

static int fake_sandbox_create(struct crisp_instance *i, struct crisp_req *r,
			       const struct crisp_sandbox_create_args *args)
{
	return act_start(act_new(i, r, FAKE_SANDBOX_CREATE, head(args)));
}

static int attach(struct crisp_instance *i, struct crisp_req *r, enum fake_op op,
		  const struct crisp_attach_args *args)
{
	struct act *a = act_new(i, r, op, head(args));
	a->sandbox = copy(args->sandbox_id);
	a->pid = args->pid;
	if (!a->pid && args->state_len && args->state_len < 16)
		a->pid = (int)strtol(strndupa(args->state, args->state_len), NULL, 10);
	return act_start(a);
}

static int fake_sandbox_attach(struct crisp_instance *i, struct crisp_req *r,
			       const struct crisp_attach_args *args)
{
	return attach(i, r, FAKE_SANDBOX_ATTACH, args);
}

static int fake_attach(struct crisp_instance *i, struct crisp_req *r,
		       const struct crisp_attach_args *args)
{
	return attach(i, r, FAKE_ATTACH, args);
}

static int fake_create(struct crisp_instance *i, struct crisp_req *r,
		       const struct crisp_create_args *args)
{
	struct act *a = act_new(i, r, FAKE_CREATE, head(args));
	a->sandbox = copy(args->sandbox_id);
	a->bundle = copy(args->bundle);
	a->cgroup = copy(args->cgroup_path);
	/* A container without a command waits for its end; there is nothing below /no. */
	if (args_of_bundle(args->bundle ? args->bundle : "", a->argv, a->env, &a->terminal) < 0) {
		a->rule.code = EINVAL;
		snprintf(a->rule.msg, sizeof(a->rule.msg), "config.json can't be read");
	} else if (a->argv[0] && !strncmp(a->argv[0], "/no/", 4)) {
		a->rule.code = EINVAL;
		snprintf(a->rule.msg, sizeof(a->rule.msg), "%.100s: there is no such program", a->argv[0]);
	}
	take_stdio(a, args->stdio);
	a->rootfs = i->mount ? args->rootfs : NULL;
	if (a->rootfs && a->rule.delay_ms)
		a->rootfs = NULL;	/* it doesn't live that long */
	return act_start(a);
}

static int fake_start(struct crisp_instance *i, struct crisp_req *r,
		      const struct crisp_start_args *args)
{
	struct act *a = act_new(i, r, FAKE_START, head(args));
	take_stdio(a, args->stdio);
	return act_start(a);
}

static int fake_kill(struct crisp_instance *i, struct crisp_req *r,
		     const struct crisp_kill_args *args)
{
	struct act *a = act_new(i, r, FAKE_KILL, head(args));
	a->signo = args->signo;
	return act_start(a);
}

static int fake_exec(struct crisp_instance *i, struct crisp_req *r,
		     const struct crisp_exec_args *args)
{
	struct act *a = act_new(i, r, FAKE_EXEC, head(args));
	if (args_of_process(args->process_json, a->argv, a->env, &a->terminal) < 0 || !a->argv[0]) {
		a->rule.code = EINVAL;
		snprintf(a->rule.msg, sizeof(a->rule.msg), "process has no args");
	}
	take_stdio(a, args->stdio);
	return act_start(a);
}

static int fake_resize(struct crisp_instance *i, struct crisp_req *r,
		       const struct crisp_resize_args *args)
{
	struct act *a = act_new(i, r, FAKE_RESIZE, head(args));
	a->width = args->width;
	a->height = args->height;
	return act_start(a);
}

static int fake_update(struct crisp_instance *i, struct crisp_req *r,
		       const struct crisp_update_args *args)
{
	struct act *a = act_new(i, r, FAKE_UPDATE, head(args));
	yajl_val v = args->resources_json ? yajl_tree_parse(args->resources_json, NULL, 0) : NULL;
	if (args->resources_json && !v) {
		a->rule.code = EINVAL;
		snprintf(a->rule.msg, sizeof(a->rule.msg), "the limits are no JSON");
	}
	yajl_tree_free(v);
	return act_start(a);
}

static void fake_cancel(struct crisp_instance *i, struct crisp_req *r)
{
	struct act *a = i->acts;
	while (a && a->req != r)
		a = a->next;
	if (!a)
		return;
	if (a->job)
		i->host->job_kill(a->job);	/* its end is the act's */
	else
		act_fail(a, -ECANCELED, "cancelled");
}

/* -- the four archetypes, told apart by the handler's options: caps are narrowed by probe -- */

#define CLI_CAPS                                                                                   \
	(CRISP_CAP_EXIT_BY_PID | CRISP_CAP_STDIO_FD | CRISP_CAP_TTY_CONSOLE_SOCKET |               \
	 CRISP_CAP_ROOTFS_MOUNTED | CRISP_CAP_STATS_HOST_CGROUP | CRISP_CAP_PID_IS_HOST |          \
	 CRISP_CAP_SHARED_PIDNS | CRISP_CAP_RRO_MOUNTS)
#define BOX_CAPS                                                                                   \
	(CRISP_CAP_EXIT_BY_ENGINE | CRISP_CAP_SANDBOX_OWN | CRISP_CAP_ROOTFS_MOUNTED |             \
	 CRISP_CAP_SURVIVES_RESTART)
#define SANDBOX_CAPS                                                                               \
	(BOX_CAPS | CRISP_CAP_STDIO_FD | CRISP_CAP_START_STDIO | CRISP_CAP_TTY_CONSOLE_SOCKET)
#define TTY_CAPS (BOX_CAPS | CRISP_CAP_STDIO_FIFO | CRISP_CAP_TTY_ENGINE)

static void probe(struct act *a)
{
	const struct crisp_instance *i = a->inst;
	uint64_t caps = !i->boxed ? CLI_CAPS : i->tty ? TTY_CAPS : SANDBOX_CAPS;
	act_done(a, &(struct crisp_result){
		.size = sizeof(struct crisp_result),
		.caps = caps | (i->serial ? CRISP_CAP_SERIALIZE_SANDBOX : 0),
		.version = "1.0",
	});
}

static const struct crisp_ops ops = {
	.size = sizeof(ops),
	.open = fake_open,
	.close = fake_close,
	.probe = fake_probe,
	.sandbox_create = fake_sandbox_create,
	.sandbox_stop = fake_sandbox_stop,
	.sandbox_delete = fake_sandbox_delete,
	.sandbox_attach = fake_sandbox_attach,
	.create = fake_create,
	.start = fake_start,
	.kill = fake_kill,
	.del = fake_delete,
	.exec = fake_exec,
	.exec_delete = fake_exec_delete,
	.resize = fake_resize,
	.close_stdin = fake_close_stdin,
	.update = fake_update,
	.stats = fake_stats,
	.pids = fake_pids,
	.pause = fake_pause,
	.resume = fake_resume,
	.attach = fake_attach,
	.cancel = fake_cancel,
};

static const struct crisp_engine engine = {
	.magic = CRISP_ENGINE_MAGIC,
	.size = sizeof(engine),
	.major = CRISP_ENGINE_MAJOR,
	.minor = CRISP_ENGINE_MINOR,
	.caps = CLI_CAPS | SANDBOX_CAPS | TTY_CAPS | CRISP_CAP_SERIALIZE_SANDBOX,
	.requires = CRISP_HOST_SPAWN,
	.name = "fake",
	.version = "0.1",
	.ops = &ops,
	.annotation_prefixes = (const char *const[]){ "fake.engine.", NULL },
};

const struct crisp_engine *crisp_engine_v1(void)
{
	return &engine;
}

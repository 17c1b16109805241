/* The core around an engine, and calls that are waited for. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/plug/inner.h"
#include "core/plug/module.h"
#include "core/sandboxfs/sandboxfs.h"
#include "core/spawn/spawn.h"
#include "tools/engine-check/check.h"

enum { PROGRAMS = 8, OWED_MS = 6000, CALL_MS = 15000,
       FDS_MAX = sizeof(((struct fds *)0)->at) / sizeof(char *) };

struct bench bench;

static const struct module_kind engine_kind = {
	.symbol = "crisp_engine_v1",
	.magic = CRISP_ENGINE_MAGIC,
	.major = CRISP_ENGINE_MAJOR,
	.min_size = offsetof(struct crisp_engine, options_schema_json) + sizeof(char *),
};

/* -- the loop -- */

static void handle_expired(struct loop_timer *t)
{
	*(bool *)t->data = true;
	loop_stop(bench.loop);
}

bool bench_run(uint64_t ms)
{
	struct pool *p = pool_new(bench.pool, "stretch");
	struct loop_timer *t = pool_new_struct(p, struct loop_timer);
	bool expired = false;
	loop_timer_start(t, bench.loop, p, ms, 0, handle_expired, &expired);
	loop_run(bench.loop);
	pool_destroy(p);
	return !expired;
}

void bench_wait_ms(uint64_t ms)
{
	int64_t end = clock_mono_ns() + (int64_t)ms * 1000000;
	for (int64_t left; (left = (end - clock_mono_ns()) / 1000000) > 0;)
		bench_run((uint64_t)left);
}

/* -- ends -- */

static struct end *ends;
static unsigned watched;		/* processes whose end isn't known yet */

struct watch {
	struct loop_child child;
	struct end *end;
};

static struct end *find_end(const char *id, const char *exec_id)
{
	for (struct end *e = ends; e; e = e->next)
		if (!strcmp(e->id, id) && !strcmp(e->exec_id, exec_id ? exec_id : ""))
			return e;
	return NULL;
}

static struct end *get_end(const char *id, const char *exec_id)
{
	struct end *e = find_end(id, exec_id);
	if (e)
		return e;
	e = pool_new_struct(bench.pool, struct end);
	snprintf(e->id, sizeof(e->id), "%s", id);
	snprintf(e->exec_id, sizeof(e->exec_id), "%s", exec_id ? exec_id : "");
	e->next = ends;
	ends = e;
	return e;
}

static void handle_ended(struct loop_child *c)
{
	struct watch *w = container_of(c, struct watch, child);
	w->end->known = loop_child_status(c, true, &w->end->wait_status) == 0;
	w->end->count++;
	watched--;
	loop_child_stop(c);
	loop_stop(bench.loop);
}

void bench_watch(const char *id, const char *exec_id, int32_t pid, int pidfd)
{
	struct watch *w = pool_new_struct(bench.pool, struct watch);
	w->end = get_end(id, exec_id);
	watched++;
	loop_child_start(&w->child, bench.loop, bench.pool, pid, pidfd, handle_ended, NULL);
}

static void handle_exited(void *data, const char *id, const char *exec_id, int wait_status, int64_t at_ns)
{
	struct end *e = get_end(id, exec_id);
	e->count++;
	e->known = true;
	e->wait_status = wait_status;
	loop_stop(bench.loop);
}

static void handle_gone(void *data, const char *id, const char *reason)
{
	bench.gone++;
	loop_stop(bench.loop);
}

struct end *bench_end(const char *id, const char *exec_id, uint64_t ms)
{
	int64_t until = clock_mono_ns() + (int64_t)ms * 1000000;
	struct end *e;
	while (!(e = find_end(id, exec_id)) || !e->count) {
		int64_t left = (until - clock_mono_ns()) / 1000000;
		if (left <= 0)
			return NULL;
		bench_run((uint64_t)left);
	}
	return e;
}

unsigned bench_ends(const char *id, const char *exec_id)
{
	struct end *e = find_end(id, exec_id);
	return e ? (unsigned)e->count : 0;
}

/* -- calls -- */

struct asked {
	struct answer *to;
	const struct plug_handler *handler;
	enum plug_op op;
	const char *id, *exec_id;
};

static bool names_process(const struct asked *a, const struct crisp_result *r)
{
	if (a->op != PLUG_OP_CREATE && a->op != PLUG_OP_EXEC)
		return false;
	return r->exit_source == CRISP_EXIT_BY_PID ||
	       (!r->exit_source && !plug_can(a->handler, CRISP_CAP_EXIT_BY_ENGINE));
}

static void handle_answer(void *data, int ret, const struct crisp_result *r, const struct err *e)
{
	struct asked *a = data;
	struct answer *to = a->to;
	to->count++;
	to->ret = ret;
	to->pid = r->pid;
	to->status = r->status;
	to->exit_source = r->exit_source;
	to->wait_status = r->wait_status;
	snprintf(to->msg, sizeof(to->msg), "%s", ret < 0 ? err_text(e) : "");
	to->data = r->data ? pool_strndup(bench.pool, r->data, r->data_len) : pool_strdup(bench.pool, "");
	to->data_len = r->data_len;
	/* At once, as the core does: else it would be reaped as somebody's orphan. */
	if (r->pidfd >= 0 && names_process(a, r))
		bench_watch(a->id, a->exec_id, r->pid, r->pidfd);
	else if (r->pidfd >= 0)
		close(r->pidfd);
	if (r->fd >= 0)
		close(r->fd);
	loop_stop(bench.loop);
}

struct plug_call *bench_begin(struct plug_handler *h, enum plug_op op, const void *args, uint64_t ms, struct answer *to)
{
	const struct crisp_args *head = args;
	struct asked *a = pool_new_struct(bench.pool, struct asked);
	*to = (struct answer){ .data = pool_strdup(bench.pool, "") };
	*a = (struct asked){ .to = to, .handler = h, .op = op, .id = pool_strdup(bench.pool, head->id ? head->id : ""),
			     .exec_id = pool_strdup(bench.pool, head->exec_id) };
	return plug_call(h, op, args, NULL, ms, handle_answer, a);
}

/* Whoever has lost one answer will lose more: no need to wait for each. */
static void give_up(void)
{
	int64_t until = clock_mono_ns() + OWED_MS * 1000000ll;
	while (spy_owed() && clock_mono_ns() < until)
		bench_run(100);
	if (!spy_owed())
		return;
	spy_blame_owed();
	note("the section ends here");
	rules_report(bench.section);
	_exit(0);
}

bool bench_await(struct answer *a)
{
	while (!a->count)
		bench_run(CALL_MS);	/* the core answers at the deadline at the latest */
	if (a->ret == -ETIMEDOUT)
		give_up();
	return a->ret == 0;
}

struct answer bench_ask(struct plug_handler *h, enum plug_op op, const void *args)
{
	struct answer a;
	bench_begin(h, op, args, CALL_MS, &a);
	bench_await(&a);
	return a;
}

struct answer bench_id(struct plug_handler *h, enum plug_op op, const char *id, uint32_t flags)
{
	return bench_ask(h, op, &(struct crisp_args){ .id = id, .flags = flags });
}

/* -- plugs -- */

static const struct plug_events events = { .exited = handle_exited, .sandbox_gone = handle_gone };
static const struct crisp_engine *engine;

struct loaded {
	const struct crisp_engine *engine;
	struct err *err;
	bool done;
};

static void handle_loaded(void *data, const void *desc, const struct err *e)
{
	struct loaded *l = data;
	l->engine = desc;
	l->done = true;
	*l->err = *e;
	loop_stop(bench.loop);
}

const struct crisp_engine *bench_engine(struct err *e)
{
	struct loaded l = { .err = e };
	if (module_name_check(opt.name, e) < 0)
		return NULL;
	module_load(bench.spawner, bench.pool, opt.libexec, opt.dir, opt.name, &engine_kind, 0, handle_loaded, &l);
	while (!l.done)
		bench_run(CALL_MS);
	engine = l.engine;
	return engine;
}

void bench_plug(void)
{
	struct plug_options o = {
		.engine_dir = opt.dir, .libexec_dir = opt.libexec, .state_dir = opt.home,
		.mntns_fd = bench.template_ns,
	};
	bench.plug_pool = pool_new(bench.pool, "a host");
	bench.plug = plug_new(bench.loop, bench.plug_pool, bench.spawner, NULL, &o, &events, NULL);
	/* Loaded already, with the spy before it. */
	struct module *m = pool_new_struct(bench.plug->pool, struct module);
	m->plug = bench.plug;
	m->name = opt.name;
	m->engine = spy_on(engine);
	list_append(&bench.plug->modules, &m->link);
}

void bench_unplug(void)
{
	int64_t until = clock_mono_ns() + OWED_MS * 1000000ll;
	while (spy_owed() && clock_mono_ns() < until)
		bench_run(100);
	spy_blame_owed();
	pool_destroy(bench.plug_pool);
	bench.plug_pool = NULL;
	/* What was killed has yet to die. */
	for (int i = 0; i < 40 && spawner_running(bench.spawner) + spawner_waiting(bench.spawner) + watched; i++)
		bench_run(50);
}

/* Nobody may call back any more: what was under way is looked at no further. */
void bench_close_now(void)
{
	pool_destroy(bench.plug_pool);
	bench.plug_pool = NULL;
	for (int i = 0; i < 40 && spawner_running(bench.spawner) + spawner_waiting(bench.spawner); i++)
		bench_run(50);
}

static void handle_settled(void *data)
{
	*(bool *)data = true;
	loop_stop(bench.loop);
}

struct plug_handler *bench_handler(const char *name, const char *options)
{
	bool settled = false;
	struct plug_handler *h = plug_handler_add(bench.plug, name, opt.name, options);
	plug_when_settled(bench.plug, handle_settled, &settled);
	while (!settled)
		bench_run(CALL_MS);
	return h;
}

/* -- everything -- */

static void handle_template(void *data, int ret, int mntns, const struct err *e)
{
	bench.template_ns = ret < 0 ? -1 : mntns;
	*(struct err *)data = *e;
	loop_stop(bench.loop);
}

bool bench_open(void)
{
	struct err e = { 0 };
	signal(SIGPIPE, SIG_IGN);	/* as the core has it: a program may end before its input */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	log_set_level(LOG_LEVEL_ERROR);
	bench.pool = pool_new(NULL, "bench");
	bench.loop = loop_new(bench.pool);
	bench.spawner = spawner_new(bench.loop, bench.pool, PROGRAMS, NULL, 0);
	bench.template_ns = -1;
	const char *netns = pool_printf(bench.pool, "%s/netns", opt.home);
	if (file_mkdirs(netns, 0755, &e) == 0 && opt.rootfs) {
		bench.fs = sandboxfs_new(bench.loop, bench.pool, bench.spawner, opt.libexec, opt.home, netns, "check-");
		sandboxfs_template(bench.fs, bench.pool, handle_template, &e);
		bench_run(CALL_MS);
	}
	if (e.code)
		check(false, "the host can be set up: %s", err_text(&e));
	return !e.code;
}

/* -- file descriptors -- */

void fds_list(struct fds *f)
{
	memset(f, 0, sizeof(*f));
	DIR *d = opendir("/proc/self/fd");
	struct dirent *ent;
	while (d && (ent = readdir(d))) {
		char link[300] = "";
		int fd = atoi(ent->d_name);
		if (ent->d_name[0] == '.' || fd == dirfd(d) || fd >= FDS_MAX)
			continue;
		if (readlinkat(dirfd(d), ent->d_name, link, sizeof(link) - 1) > 0)
			f->at[fd] = strdup(link);
	}
	if (d)
		closedir(d);
}

void fds_compare(const struct fds *before, const struct fds *now)
{
	for (int fd = 0; fd < FDS_MAX; fd++)
		if (now->at[fd] && (!before->at[fd] || strcmp(before->at[fd], now->at[fd])))
			rule_broken(RULE_FDS, "%d -> %s is open after close", fd, now->at[fd]);
}

#pragma once
/*
 * Engines in a test: a loop, a spawner and the plugins of this build, and calls that are waited
 * for.  One bench a program; everything dies with bench.pool.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/loop/loop.h"
#include "core/plug/plug.h"
#include "core/spawn/spawn.h"
#include "t/tap.h"

struct answer {
	int count;		/* must become 1 */
	int ret, pid, pidfd;
	uint32_t status;
	int wait_status;
	struct err err;
	char data[200];
};

struct told {
	int exits, gone, wait_status;
	char id[80], exec_id[80];
};

struct bench {
	struct pool *pool;
	struct loop *loop;
	struct spawner *spawner;
	struct plug *plug;
	char build[400], dir[64];
	struct told told;
	bool expired;
};

static struct bench bench;

static inline void bench_exited(void *data, const char *id, const char *exec_id, int wait_status,
				int64_t at_ns)
{
	(void)data, (void)at_ns;
	bench.told.exits++;
	bench.told.wait_status = wait_status;
	snprintf(bench.told.id, sizeof(bench.told.id), "%s", id);
	snprintf(bench.told.exec_id, sizeof(bench.told.exec_id), "%s", exec_id ? exec_id : "");
	loop_stop(bench.loop);
}

static inline void bench_gone(void *data, const char *id, const char *reason)
{
	(void)data, (void)id, (void)reason;
	bench.told.gone++;
	loop_stop(bench.loop);
}

static const struct plug_events bench_events = { .exited = bench_exited,
						 .sandbox_gone = bench_gone };

/* A plug on engine_dir (NULL: this build's). */
static inline void bench_plug(const char *engine_dir)
{
	struct plug_options o = { .mntns_fd = -1 };
	o.engine_dir = engine_dir ? engine_dir : pool_printf(bench.pool, "%s/engines", bench.build);
	o.libexec_dir = pool_printf(bench.pool, "%s/libexec", bench.build);
	o.state_dir = bench.dir;
	bench.plug = plug_new(bench.loop, bench.pool, bench.spawner, NULL, &o, &bench_events, NULL);
}

static inline void bench_open(void)
{
	ssize_t n = readlink("/proc/self/exe", bench.build, sizeof(bench.build) - 1);
	for (int i = 0; i < 3 && n > 0; i++)	/* up from BUILD/t/unit/NAME */
		*strrchr(bench.build, '/') = 0;
	strcpy(bench.dir, "/tmp/crisp-test.XXXXXX");
	if (!mkdtemp(bench.dir))
		abort();
	signal(SIGPIPE, SIG_IGN);	/* as the core has it: a program may end before its input */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	log_set_level(LOG_LEVEL_ERROR);
	bench.pool = pool_new(NULL, "bench");
	bench.loop = loop_new(bench.pool);
	bench.spawner = spawner_new(bench.loop, bench.pool, 8, NULL, 0);
}

static inline void bench_close(void)
{
	pool_destroy(bench.pool);
	struct err e = { 0 };
	if (file_remove_tree(AT_FDCWD, bench.dir, &e) < 0)
		printf("# %s\n", err_text(&e));
}

static inline void bench_expire(struct loop_timer *t)
{
	bench.expired = true;
	loop_stop(t->loop);
}

/* One stretch of the loop, until something stops it; false after 20 s. */
static inline bool bench_run(void)
{
	struct loop_timer *t = pool_new_struct(bench.pool, struct loop_timer);
	bench.expired = false;
	loop_timer_start(t, bench.loop, bench.pool, 20000, 0, bench_expire, NULL);
	loop_run(bench.loop);
	loop_timer_stop(t);
	return !bench.expired;
}

/* A process that an engine has named: watched from that moment, as the core does it, else it would
 * be reaped as an orphan. */
struct bench_child {
	struct loop_child watch;
	struct bench_child *next;
	int pidfd, wait_status;
	bool ended;
};
static struct bench_child *bench_children;

static inline void bench_ended(struct loop_child *w)
{
	struct bench_child *c = container_of(w, struct bench_child, watch);
	if (loop_child_status(w, true, &c->wait_status) < 0)
		c->wait_status = -ECHILD;
	c->ended = true;
	loop_child_stop(w);
	loop_stop(bench.loop);
}

static inline void bench_watch(pid_t pid, int pidfd)
{
	struct bench_child *c = pool_new_struct(bench.pool, struct bench_child);
	c->pidfd = pidfd;
	c->next = bench_children;
	bench_children = c;
	loop_child_start(&c->watch, bench.loop, bench.pool, pid, pidfd, bench_ended, NULL);
}

static inline void bench_answer(void *data, int ret, const struct crisp_result *r,
				const struct err *e)
{
	struct answer *a = data;
	a->count++;
	a->ret = ret;
	a->pid = r->pid;
	a->pidfd = r->pidfd;
	if (r->pidfd >= 0)
		bench_watch(r->pid, r->pidfd);
	a->status = r->status;
	a->wait_status = r->wait_status;
	a->err = *e;
	snprintf(a->data, sizeof(a->data), "%.*s", (int)r->data_len,
		 r->data ? (const char *)r->data : "");
	loop_stop(bench.loop);
}

static inline void bench_await(struct answer *a)
{
	while (!a->count && bench_run())
		;
	if (!a->count)
		printf("# nobody answered\n");
}

static inline void bench_settled(void *data)
{
	*(bool *)data = true;
	loop_stop(bench.loop);
}

static inline struct plug_handler *bench_handler(const char *name, const char *engine,
						 const char *options)
{
	bool settled = false;
	struct plug_handler *h = plug_handler_add(bench.plug, name, engine, options);
	plug_when_settled(bench.plug, bench_settled, &settled);
	while (!settled && bench_run())
		;
	return h;
}

/* Start op on args and wait for its answer. */
static inline struct answer bench_ask_in(struct plug_handler *h, enum plug_op op, const void *args,
					 const char *pod, uint64_t timeout_ms)
{
	struct answer a = { 0 };
	plug_call(h, op, args, pod, timeout_ms, bench_answer, &a);
	bench_await(&a);
	return a;
}

static inline struct answer bench_ask(struct plug_handler *h, enum plug_op op, const void *args)
{
	return bench_ask_in(h, op, args, NULL, 10000);
}

static inline struct answer bench_simple(struct plug_handler *h, enum plug_op op, const char *id,
					 uint32_t flags)
{
	return bench_ask(h, op, &(struct crisp_args){ .id = id, .flags = flags });
}

static inline struct answer bench_kill(struct plug_handler *h, const char *id, int signo)
{
	return bench_ask(h, PLUG_OP_KILL, &(struct crisp_kill_args){ .id = id, .signo = signo });
}

static inline void bench_tick(struct loop_timer *t)
{
	loop_stop(t->loop);
}

/* The end of a process that an answer has named, by its pidfd there. */
static inline int bench_wait(int pidfd)
{
	struct bench_child *c = bench_children;
	while (c && c->pidfd != pidfd)
		c = c->next;
	while (c && !c->ended && bench_run())
		;
	return !c ? -EBADF : c->ended ? c->wait_status : -ETIMEDOUT;
}

/* Let what was killed die; false if something still runs after 5 s. */
static inline bool bench_idle(void)
{
	struct loop_timer *t = pool_new_struct(bench.pool, struct loop_timer);
	loop_timer_start(t, bench.loop, bench.pool, 5, 5, bench_tick, NULL);
	for (int i = 0; i < 10000 && spawner_running(bench.spawner) + spawner_waiting(bench.spawner);
	     i++)
		loop_run(bench.loop);
	loop_timer_stop(t);
	return spawner_running(bench.spawner) + spawner_waiting(bench.spawner) == 0;
}

/* BUNDLE/config.json with this process.args, for the fake engine. */
static inline const char *bench_bundle(const char *id, const char *args_json)
{
	struct err e = { 0 };
	const char *dir = pool_printf(bench.pool, "%s/bundle-%s", bench.dir, id);
	const char *text = pool_printf(bench.pool, "{\"process\":{\"args\":%s}}", args_json);
	file_mkdirs(dir, 0700, &e);
	file_replace(AT_FDCWD, pool_printf(bench.pool, "%s/config.json", dir), text, strlen(text),
		     0600, &e);
	return dir;
}

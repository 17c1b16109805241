/* Sections with real containers, one after the other: their life, their ends, what is done to them. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/loop/loop.h"
#include "tools/engine-check/check.h"


bool killed_by(const struct end *e, int signo)
{
	return e && (!e->known || (WIFSIGNALED(e->wait_status) && WTERMSIG(e->wait_status) == signo) ||
		     (WIFEXITED(e->wait_status) && WEXITSTATUS(e->wait_status) == 128 + signo));
}

bool exited_with(const struct end *e, int code)
{
	return e && e->known && WIFEXITED(e->wait_status) && WEXITSTATUS(e->wait_status) == code;
}

const char *end_words(const struct end *e)
{
	return !e ? "nothing was told" : !e->known ? "nobody knows how" :
	       pool_printf(bench.pool, "wait status 0x%x", e->wait_status);
}

const char *colon(const struct answer *a)
{
	return *a->msg ? pool_printf(bench.pool, ": %s", a->msg) : "";
}

void delete_all(struct plug_handler *h, struct ctr *c)
{
	struct answer a = bench_id(h, PLUG_OP_DELETE, c->id, CRISP_ARG_FORCE);
	check(a.ret == 0, "container %s is deleted by force%s", c->id, colon(&a));
	bench_end(c->id, NULL, plug_can(h, CRISP_CAP_EXIT_BY_ENGINE) || !c->pid ? 0 : END_MS);
	ctr_close(c);
}

struct plug_handler *ready_handler(void)
{
	struct plug_handler *h = bench_handler("check", opt.json);
	return check(h->ready, "the engine is ready%s%s", h->ready ? "" : ": ", h->reason) ? h : NULL;
}

/* Of what runs in a guest its own processes on the host tell nothing: a network may be led there in many ways. */
static void check_network(struct plug_handler *h, const struct pod *p, const struct ctr *c)
{
	struct stat inside, pods;
	if (!plug_can(h, CRISP_CAP_NETNS_BY_PATH) || !plug_can(h, CRISP_CAP_PID_IS_HOST))
		return;
	bool known = stat(pool_printf(bench.pool, "/proc/%d/ns/net", c->pid), &inside) == 0 && fstat(p->netns_fd, &pods) == 0;
	check(known && inside.st_ino == pods.st_ino, "with NETNS_BY_PATH it is in the network of its pod");
}

/* -- one life -- */

static void refuse_gone(struct plug_handler *h, struct ctr *c)
{
	struct answer a = bench_id(h, PLUG_OP_DELETE, c->id, 0);
	check(a.ret == -ENOENT, "deleting it again is -ENOENT (%d%s)", a.ret, colon(&a));
	a = bench_id(h, PLUG_OP_DELETE, c->id, CRISP_ARG_FORCE);
	check(a.ret == 0 || a.ret == -ENOENT, "by force it is 0 or -ENOENT (%d%s)", a.ret, colon(&a));
	a = bench_ask(h, PLUG_OP_START, &(struct crisp_start_args){ .id = c->id });
	check(a.ret < 0, "starting what is gone fails%s", colon(&a));
	if (plug_has(h, PLUG_OP_KILL)) {
		a = ctr_kill(h, c, SIGTERM);
		check(a.ret == -ENOENT || a.ret == -ESRCH, "killing what is gone is -ENOENT (%d%s)", a.ret, colon(&a));
	}
	if (plug_has(h, PLUG_OP_EXEC)) {
		a = bench_ask(h, PLUG_OP_EXEC, &(struct crisp_exec_args){ .id = c->id, .exec_id = "e",
			      .process_json = "{\"cwd\":\"/\",\"args\":[\"/bin/true\"],\"user\":{\"uid\":0,\"gid\":0}}" });
		check(a.ret < 0, "exec in what is gone fails%s", colon(&a));
	}
}

static void one_life(struct plug_handler *h, struct pod *p)
{
	struct ctr c;
	if (!ctr_lay(h, &c, p, "life", "echo hello; exit 42"))
		return;
	struct answer a = ctr_create(h, &c);
	if (!check(a.ret == 0, "create%s", colon(&a))) {
		ctr_close(&c);
		return;
	}
	bool by_pid = !plug_can(h, CRISP_CAP_EXIT_BY_ENGINE) || a.exit_source == CRISP_EXIT_BY_PID;
	if (by_pid)
		check(a.pid > 1, "create names a process whose end is the container's");
	check_network(h, p, &c);
	check(!*ctr_output(&c, NULL, 100) && !bench_ends("life", NULL), "nothing runs before start");
	struct ctr again = c;
	again.io = (struct io){ .stdio = { .size = sizeof(again.io.stdio) } };
	a = ctr_create(h, &again);
	check(a.ret < 0, "the same id again is refused%s", colon(&a));
	a = ctr_start(h, &c);
	check(a.ret == 0, "start, after that attempt%s", colon(&a));
	check(!strcmp(ctr_output(&c, "hello\n", END_MS), "hello\n"), "its output arrives whole");
	struct end *e = bench_end("life", NULL, END_MS);
	check(exited_with(e, 42), "its exit code is told: 42 (%s)", end_words(e));
	if (plug_has(h, PLUG_OP_KILL)) {
		a = ctr_kill(h, &c, SIGTERM);
		check(a.ret == -ESRCH || a.ret == 0, "killing what has ended is -ESRCH or 0 (%d%s)", a.ret, colon(&a));
	}
	a = bench_ask(h, PLUG_OP_START, &(struct crisp_start_args){ .id = "life" });
	check(a.ret < 0, "starting what has ended fails%s", colon(&a));
	a = bench_id(h, PLUG_OP_DELETE, "life", 0);
	check(a.ret == 0, "delete%s", colon(&a));
	refuse_gone(h, &c);
	bench_wait_ms(100);
	check(bench_ends("life", NULL) == 1, "its end is told once");
	ctr_close(&c);
}

static void violent_ends(struct plug_handler *h, struct pod *p)
{
	struct ctr c;
	if (ctr_run(h, &c, p, "killed", "echo up; " LOOP)) {
		ctr_output(&c, "up\n", END_MS);
		struct answer a = bench_id(h, PLUG_OP_DELETE, "killed", 0);
		check(a.ret < 0, "deleting what runs is refused without force%s", colon(&a));
		check(!bench_ends("killed", NULL), "and it goes on");
		a = ctr_kill(h, &c, SIGKILL);
		check(a.ret == 0, "kill%s", colon(&a));
		check(killed_by(bench_end("killed", NULL, END_MS), SIGKILL), "its end by signal 9 is told");
		a = bench_id(h, PLUG_OP_DELETE, "killed", 0);
		check(a.ret == 0, "delete%s", colon(&a));
		ctr_close(&c);
	}
	if (ctr_lay(h, &c, p, "early", "echo never")) {
		struct answer a = ctr_create(h, &c);
		check(a.ret == 0, "another is created%s", colon(&a));
		a = ctr_kill(h, &c, SIGKILL);
		check(a.ret == 0, "and killed before its start%s", colon(&a));
		check(bench_end("early", NULL, END_MS), "its end is told");
		delete_all(h, &c);
	}
	if (ctr_run(h, &c, p, "forced", LOOP)) {
		delete_all(h, &c);
		check(killed_by(bench_end("forced", NULL, END_MS), SIGKILL) ||
			      plug_can(h, CRISP_CAP_EXIT_BY_ENGINE),
		      "force has killed what ran");
	}
}

void section_life(void)
{
	struct pod p;
	struct plug_handler *h = ready_handler();
	if (!h || !pod_up(h, &p, "pod-life"))
		return;
	one_life(h, &p);
	violent_ends(h, &p);
	pod_down(h, &p);
	check_nothing_left();
}

/* -- what is done to one that runs -- */

static void check_execs(struct plug_handler *h, struct ctr *c)
{
	struct exec x;
	exec_lay(h, &x, c, "e1", &(struct shape){ .sh = "echo from exec; exit 9" });
	struct answer a = exec_run(h, &x);
	if (!check(a.ret == 0, "exec%s", colon(&a)))
		return;
	check(!strcmp(io_read(&x.io, x.io.out, NULL, END_MS), "from exec\n"), "its output arrives");
	struct end *e = bench_end(c->id, "e1", END_MS);
	check(exited_with(e, 9), "its exit code is told: 9 (%s)", end_words(e));
	io_close(&x.io);
	if (plug_has(h, PLUG_OP_EXEC_DELETE)) {
		struct crisp_args args = { .id = c->id, .exec_id = "e1" };
		a = bench_ask(h, PLUG_OP_EXEC_DELETE, &args);
		check(a.ret == 0, "exec_delete%s", colon(&a));
	}
	static const char *const nothing[] = { "/no/such/program", NULL };
	exec_lay(h, &x, c, "e2", &(struct shape){ .args = nothing });
	a = exec_run(h, &x);
	check(a.ret < 0 && !bench_ends(c->id, "e2"), "exec of no program is an error and no exit%s", colon(&a));
	exec_close(h, &x);
	exec_lay(h, &x, c, "e3", &(struct shape){ .sh = "exit 127" });
	a = exec_run(h, &x);
	check(a.ret == 0 && exited_with(bench_end(c->id, "e3", END_MS), 127),
	      "an exec that ends with 127 is an exit and no error%s", colon(&a));
	exec_close(h, &x);
	check(!bench_ends(c->id, NULL), "the container is none the worse");
}

/* Where the sandbox is all that can be paused, it has to be resumed before anything else is asked. */
static void check_pause(struct plug_handler *h)
{
	struct pod p;
	struct ctr c;
	if (!pod_up(h, &p, "pod-pause") || !ctr_run(h, &c, &p, "ticking", "while :; do echo tick; sleep 0.02; done"))
		return;
	check(*ctr_output(&c, "tick", END_MS), "it ticks");
	for (int i = 0; i < 2; i++) {
		struct answer a = bench_id(h, PLUG_OP_PAUSE, c.id, 0);
		check(a.ret == 0, "pause%s%s", i ? ", of what is paused" : "", colon(&a));
	}
	ctr_output(&c, NULL, 100);
	check(!*ctr_output(&c, NULL, 300), "what is paused does nothing");
	for (int i = 0; i < 2; i++) {
		struct answer a = bench_id(h, PLUG_OP_RESUME, c.id, 0);
		check(a.ret == 0, "resume%s%s", i ? ", of what runs" : "", colon(&a));
	}
	check(*ctr_output(&c, "tick", END_MS), "what is resumed goes on");
	if (plug_can(h, CRISP_CAP_PID_IS_HOST)) {
		struct answer a = bench_id(h, PLUG_OP_PAUSE, c.id, 0);
		check(a.ret == 0, "pause once more, for a forced delete of what is paused%s", colon(&a));
	}
	delete_all(h, &c);
	pod_down(h, &p);
}

/* data is JSON of this kind. */
static void check_json(const struct answer *a, const char *what, bool array)
{
	const struct json *j = NULL;
	struct err e = { 0 };
	check(a->ret == 0 && json_parse(bench.pool, a->data, a->data_len, &j, &e) == 0 &&
		      (array ? json_is_array(j) : json_is_object(j)),
	      "%s gives a JSON %s%s%s", what, array ? "array" : "object", colon(a), e.code ? e.msg : "");
}

/* The CPU time in the last statistics; -1: they don't say. */
static int64_t cpu_time(struct plug_handler *h, const char *id)
{
	const struct json *j = NULL;
	struct answer a = bench_id(h, PLUG_OP_STATS, id, 0);
	if (a.ret < 0 || json_parse(bench.pool, a.data, a.data_len, &j, NULL) < 0)
		return -1;
	return json_int(json_path(j, "cpu", "usage", "total", NULL), -1);
}

static void check_stats(struct plug_handler *h, const char *id)
{
	struct answer a = bench_id(h, PLUG_OP_STATS, id, 0);
	check_json(&a, "stats", false);
	int64_t before = cpu_time(h, id);
	bench_wait_ms(300);	/* in which it forks a few times */
	int64_t after = cpu_time(h, id);
	check(before >= 0 && after >= before && after > 0,
	      "its CPU time is told, and never less than before (%" PRId64 ", then %" PRId64 " ns)", before, after);
}

void section_processes(void)
{
	struct pod p;
	struct ctr c;
	struct plug_handler *h = ready_handler();
	if (!h || !pod_up(h, &p, "pod-proc"))
		return;
	if (ctr_run(h, &c, &p, "proc", "echo up; " LOOP)) {
		ctr_output(&c, "up\n", END_MS);
		if (plug_has(h, PLUG_OP_EXEC))
			check_execs(h, &c);
		struct crisp_update_args up = { .id = "proc", .resources_json = "{\"cpu\":{\"shares\":512}}" };
		if (plug_has(h, PLUG_OP_UPDATE)) {
			struct answer a = bench_ask(h, PLUG_OP_UPDATE, &up);
			check(a.ret == 0 || a.ret == -ENOSYS, "update%s", colon(&a));
		}
		if (plug_has(h, PLUG_OP_STATS))
			check_stats(h, "proc");
		if (plug_has(h, PLUG_OP_PIDS)) {
			struct answer a = bench_id(h, PLUG_OP_PIDS, "proc", 0);
			check_json(&a, "pids", true);
		}
		check(!bench_ends("proc", NULL), "it still runs");
		delete_all(h, &c);
	}
	if (plug_has(h, PLUG_OP_PAUSE) && plug_has(h, PLUG_OP_RESUME))
		check_pause(h);
	pod_down(h, &p);
	check_nothing_left();
}

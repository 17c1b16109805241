/*
 * Two sections that belong together: a host that is killed, with containers in every state and
 * operations under way, and the host that comes after it.
 *
 *	waiting		created, not started
 *	running		until somebody makes the file that it waits for
 *	paused		where the engine can, and doesn't pause the whole pod by it
 *	ended		with 9, before the host is killed
 *	leaves		with 8, while no host lives
 *	making, deleting, executing	the host dies over the operation
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/pool.h"
#include "core/loop/loop.h"
#include "tools/engine-check/check.h"

enum { MOURNING_MS = 1500 };

static const char pod_id[] = "pod-late";

/* Inside the container; engines without a root of its own have it on the host. */
static const char *go_file(void)
{
	return pool_printf(bench.pool, "/tmp/%s", strrchr(opt.home, '/') + 1);
}

/* -- what the first host knew, for the second -- */

static const char *notes(void)
{
	return pool_printf(bench.pool, "%s/pids", opt.home);
}

static void keep_pid(const char *id, int32_t pid)
{
	FILE *f = fopen(notes(), "ae");
	if (!f)
		return;
	fprintf(f, "%s %d\n", id, pid);
	fclose(f);
}

/* -1: it never came to be. */
static int32_t kept_pid(const char *id)
{
	char name[64];
	int pid, found = -1;
	FILE *f = fopen(notes(), "re");
	while (f && fscanf(f, "%63s %d", name, &pid) == 2)
		if (!strcmp(name, id))
			found = pid;
	if (f)
		fclose(f);
	return found;
}

/* -- the first host -- */

static void put_in_states(struct plug_handler *h, const struct pod *p)
{
	struct ctr c;
	if (ctr_lay(h, &c, p, "waiting", "exit 7") && check(ctr_create(h, &c).ret == 0, "a container is created"))
		keep_pid("waiting", c.pid);
	if (ctr_run(h, &c, p, "running",
		    pool_printf(bench.pool, "echo up; while [ ! -e %s ]; do sleep 0.05; done; exit 42", go_file()))) {
		ctr_output(&c, "up\n", END_MS);
		keep_pid("running", c.pid);
	}
	bool pauses = plug_has(h, PLUG_OP_PAUSE) && plug_has(h, PLUG_OP_RESUME) && plug_can(h, CRISP_CAP_PID_IS_HOST);
	if (pauses && ctr_run(h, &c, p, "paused", "echo up; " LOOP) &&
	    *ctr_output(&c, "up\n", END_MS) && check(bench_id(h, PLUG_OP_PAUSE, "paused", 0).ret == 0, "one is paused"))
		keep_pid("paused", c.pid);
	if (ctr_run(h, &c, p, "ended", "exit 9") && check(exited_with(bench_end("ended", NULL, END_MS), 9), "one has ended"))
		keep_pid("ended", c.pid);
	if (ctr_run(h, &c, p, "executing", LOOP))
		keep_pid("executing", c.pid);
	if (ctr_run(h, &c, p, "deleting", LOOP))
		keep_pid("deleting", c.pid);
}

/* Their answers come when nobody is there. */
static void begin_more(struct plug_handler *h, const struct pod *p)
{
	static struct answer a[3];
	static struct ctr making, executing = { .id = "executing" };
	static struct exec x;
	struct ctr c;
	if (ctr_run(h, &c, p, "leaves", "sleep 0.4; exit 8"))
		keep_pid("leaves", c.pid);
	if (plug_has(h, PLUG_OP_EXEC)) {
		exec_lay(h, &x, &executing, "x", &(struct shape){ .sh = LOOP });
		exec_begin(h, &x, END_MS, &a[0]);
	}
	bench_begin(h, PLUG_OP_DELETE, &(struct crisp_args){ .id = "deleting", .flags = CRISP_ARG_FORCE }, END_MS, &a[1]);
	if (ctr_lay(h, &making, p, "making", LOOP)) {
		keep_pid("making", 0);
		ctr_begin(h, &making, END_MS, &a[2]);
	}
	bench_wait_ms(4);
}

void section_before_death(void)
{
	struct pod p;
	struct plug_handler *h = ready_handler();
	if (!h || !pod_up(h, &p, pod_id))
		_exit(0);
	keep_pid(pod_id, p.pid);
	put_in_states(h, &p);
	rules_report("before the host dies");
	begin_more(h, &p);
	kill(getpid(), SIGKILL);
}

/* -- the second -- */

static struct answer attach(struct plug_handler *h, const char *id)
{
	int32_t pid = kept_pid(id);
	struct crisp_attach_args args = { .id = id, .sandbox_id = pod_id, .pid = pid > 0 ? pid : 0 };
	return bench_ask(h, PLUG_OP_ATTACH, &args);
}

/* An engine whose exits are the host's to see may leave the state to it. */
static bool is_state(const struct plug_handler *h, const struct answer *a, uint32_t status)
{
	return a->ret == 0 &&
	       (a->status == status || (!plug_can(h, CRISP_CAP_EXIT_BY_ENGINE) && a->status == CRISP_STATUS_UNKNOWN));
}

static void watch_found(struct plug_handler *h, const char *id)
{
	int32_t pid = kept_pid(id);
	int fd = plug_can(h, CRISP_CAP_EXIT_BY_ENGINE) || pid <= 1 ? -1 : pidfd_open_pid(pid);
	if (fd >= 0)
		bench_watch(id, NULL, pid, fd);
}

/* How it ended is kept by who promises that. */
static void find_ended(struct plug_handler *h, const char *id, int code)
{
	struct answer a = attach(h, id);
	struct end *e = a.ret == 0 && a.status != CRISP_STATUS_STOPPED && plug_can(h, CRISP_CAP_EXIT_BY_ENGINE) ?
		bench_end(id, NULL, END_MS) : NULL;
	check(a.ret == -ENOENT || is_state(h, &a, CRISP_STATUS_STOPPED) || e,
	      "attach: that \"%s\" has ended is known (%d, status %u%s)", id, a.ret, a.status, colon(&a));
	if (!plug_can(h, CRISP_CAP_SURVIVES_RESTART))
		return;
	int status = e && e->known ? e->wait_status : a.status == CRISP_STATUS_STOPPED ? a.wait_status : -1;
	check(status == code << 8, "with SURVIVES_RESTART its exit code is kept: %d (wait status 0x%x)", code, status);
}

static void find_all(struct plug_handler *h)
{
	struct answer a = attach(h, "running");
	check(is_state(h, &a, CRISP_STATUS_RUNNING), "attach: what runs is found (%d, status %u%s)", a.ret, a.status, colon(&a));
	watch_found(h, "running");
	a = attach(h, "running");
	check(is_state(h, &a, CRISP_STATUS_RUNNING) || a.ret == -EEXIST, "attach, once more, does no harm (%d, status %u%s)",
	      a.ret, a.status, colon(&a));
	a = attach(h, "waiting");
	check(is_state(h, &a, CRISP_STATUS_CREATED), "attach: what is created is found (%d, status %u%s)", a.ret, a.status,
	      colon(&a));
	if (kept_pid("paused") >= 0) {
		a = attach(h, "paused");
		check(is_state(h, &a, CRISP_STATUS_PAUSED) || is_state(h, &a, CRISP_STATUS_RUNNING),
		      "attach: what is paused is found (%d, status %u%s)", a.ret, a.status, colon(&a));
		watch_found(h, "paused");
		a = bench_id(h, PLUG_OP_RESUME, "paused", 0);
		check(a.ret == 0, "and can be resumed%s", colon(&a));
	}
	find_ended(h, "ended", 9);
	find_ended(h, "leaves", 8);
	static const char *const under_way[] = { "making", "deleting", "executing" };
	for (int i = 0; i < 3; i++) {
		a = attach(h, under_way[i]);
		check(a.ret != -ETIMEDOUT, "attach: what was %s when the host died is answered for (%d%s)", under_way[i], a.ret,
		      colon(&a));
	}
	a = attach(h, "nobody");
	check(a.ret == -ENOENT, "attach: what never was is -ENOENT (%d%s)", a.ret, colon(&a));
	check(!bench_ends("running", NULL), "no end is told of what runs");
}

/* Its end is told by the new host. */
static void end_running(struct plug_handler *h)
{
	struct ctr c = { .id = "running", .pod = pod_id, .pid = kept_pid("running") };
	if (plug_has(h, PLUG_OP_EXEC) && plug_can(h, CRISP_CAP_SURVIVES_RESTART)) {
		struct exec x;
		exec_lay(h, &x, &c, "go", &(struct shape){ .sh = pool_printf(bench.pool, "echo >%s", go_file()) });
		struct answer a = exec_run(h, &x);
		check(a.ret == 0, "exec in what was found%s", colon(&a));
		io_close(&x.io);
		if (check(exited_with(bench_end("running", NULL, END_MS), 42), "its exit code is told: 42"))
			return;
	}
	struct answer a = ctr_kill(h, &c, SIGKILL);
	check(a.ret == 0, "it can be killed%s", colon(&a));
	check(killed_by(bench_end("running", NULL, END_MS), SIGKILL), "its end is told");
}

void section_after_death(void)
{
	static const char *const all[] = { "running", "waiting", "paused", "ended", "leaves", "making", "deleting", "executing" };
	if (kept_pid("running") < 0)
		return;
	bench_wait_ms(MOURNING_MS);
	struct pod p = { .id = pod_id };
	struct plug_handler *h = ready_handler();
	if (!h)
		return;
	if (plug_can(h, CRISP_CAP_SANDBOX_OWN)) {
		struct answer a = bench_ask(h, PLUG_OP_SANDBOX_ATTACH, &(struct crisp_attach_args){ .id = p.id, .pid = kept_pid(pod_id) });
		check(a.ret == 0, "sandbox_attach: the sandbox is found%s", colon(&a));
		a = bench_ask(h, PLUG_OP_SANDBOX_ATTACH, &(struct crisp_attach_args){ .id = "nobody" });
		check(a.ret == -ENOENT, "sandbox_attach: what never was is -ENOENT (%d%s)", a.ret, colon(&a));
	}
	if (plug_has(h, PLUG_OP_ATTACH)) {
		find_all(h);
		end_running(h);
	}
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		left_note(all[i]);
		struct answer a = bench_id(h, PLUG_OP_DELETE, all[i], CRISP_ARG_FORCE);
		check(a.ret == 0 || a.ret == -ENOENT, "\"%s\" can be deleted by force (%d%s)", all[i], a.ret, colon(&a));
		left_kill(&(struct ctr){ .cgroup = pool_printf(bench.pool, "%s/%s/%s", opt.cgroup, pod_id, all[i]) });
	}
	pod_down(h, &p);
	unlink(go_file());
	check_nothing_left();
}

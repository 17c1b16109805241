/* A section about engines with sandboxes of their own: several containers, its stop, its death. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/pool.h"
#include "tools/engine-check/check.h"

/* -- in an orderly way -- */

static void one_ends(struct plug_handler *h)
{
	struct pod p;
	struct ctr one, two;
	if (!pod_up(h, &p, "pod-box"))
		return;
	if (ctr_run(h, &one, &p, "one", "echo up; " LOOP) && ctr_run(h, &two, &p, "two", "exit 3")) {
		check(exited_with(bench_end("two", NULL, END_MS), 3), "one of two ends");
		ctr_output(&one, "up\n", END_MS);
		check(!bench_ends("one", NULL) && !bench.gone, "the other and the sandbox go on");
		struct answer a = bench_id(h, PLUG_OP_SANDBOX_DELETE, p.id, 0);
		check(a.ret < 0, "a sandbox that runs isn't deleted without force%s", colon(&a));
		delete_all(h, &two);
		delete_all(h, &one);
	}
	pod_down(h, &p);
	struct answer a = bench_id(h, PLUG_OP_SANDBOX_DELETE, p.id, CRISP_ARG_FORCE);
	check(a.ret == 0 || a.ret == -ENOENT, "deleting it again is 0 or -ENOENT (%d%s)", a.ret, colon(&a));
	check(!bench.gone, "its orderly end is no sandbox_gone()");
}

static void all_stop(struct plug_handler *h)
{
	struct pod p;
	struct ctr one, two;
	if (!plug_has(h, PLUG_OP_SANDBOX_STOP) || !pod_up(h, &p, "pod-stopped"))
		return;
	if (ctr_run(h, &one, &p, "stopped1", LOOP) && ctr_run(h, &two, &p, "stopped2", LOOP)) {
		struct answer a = bench_id(h, PLUG_OP_SANDBOX_STOP, p.id, 0);
		check(a.ret == 0, "sandbox_stop%s", colon(&a));
		check(bench_end("stopped1", NULL, END_MS) && bench_end("stopped2", NULL, END_MS),
		      "it ends all that runs in it, and tells of each");
		check(!bench.gone, "and is no sandbox_gone()");
		delete_all(h, &one);
		delete_all(h, &two);
		a = bench_id(h, PLUG_OP_SANDBOX_DELETE, p.id, 0);
		check(a.ret == 0, "what is stopped is deleted without force%s", colon(&a));
	}
	pod_down(h, &p);
}

static void crowd_of_pods(struct plug_handler *h)
{
	enum { PODS = 4 };
	static struct pod p[PODS];
	unsigned good = 0;
	for (int i = 0; i < PODS; i++) {
		pod_make(h, &p[i], pool_printf(bench.pool, "pod-n%d", i));
		good += p[i].ret == 0;
	}
	check(good == PODS, "%d sandboxes beside each other (%u were made)", PODS, good);
	for (int i = 0; i < PODS; i++)
		pod_down(h, &p[i]);
}

/* -- by force -- */

/* Whoever asks about what was in a dead sandbox gets an error, and soon. */
static void ask_the_dead(struct plug_handler *h, struct ctr *c)
{
	int64_t began = clock_mono_ns();
	if (plug_has(h, PLUG_OP_EXEC)) {
		struct exec x;
		exec_lay(h, &x, c, "late", &(struct shape){ .sh = "exit 0" });
		struct answer a = exec_run(h, &x);
		check(a.ret < 0, "exec in a dead sandbox fails%s", colon(&a));
		exec_close(h, &x);
	}
	if (plug_has(h, PLUG_OP_KILL)) {
		struct answer a = ctr_kill(h, c, SIGTERM);
		check(a.ret < 0, "kill in a dead sandbox fails%s", colon(&a));
	}
	check(clock_mono_ns() - began < 5000000000ll, "and soon: within 5 s");
}

static void dies(struct plug_handler *h)
{
	struct pod p;
	struct ctr c, made;
	if (!pod_up(h, &p, "pod-dead"))
		return;
	bool up = p.pid > 1 && ctr_run(h, &c, &p, "in-dead", LOOP) && ctr_lay(h, &made, &p, "made-in-dead", LOOP) &&
		  check(ctr_create(h, &made).ret == 0, "another container is created");
	if (up) {
		kill(p.pid, SIGKILL);
		for (int i = 0; i < 100 && !bench.gone; i++)
			bench_wait_ms(50);
		check(bench.gone == 1, "the death of its process, by signal 9, is told by sandbox_gone() within 5 s");
		check(bench_end("in-dead", NULL, END_MS), "the end of what ran in it is told");
		ask_the_dead(h, &c);
		delete_all(h, &c);
		delete_all(h, &made);
	} else {
		note("sandbox_create named no process: its death is not looked at");
	}
	unsigned gone = bench.gone;
	pod_down(h, &p);
	bench_wait_ms(300);
	check(bench.gone == gone, "sandbox_gone() comes once");
}

void section_sandbox(void)
{
	struct plug_handler *h = ready_handler();
	if (!h || !plug_can(h, CRISP_CAP_SANDBOX_OWN)) {
		note("the engine has no sandboxes of its own");
		return;
	}
	struct answer a = bench_id(h, PLUG_OP_SANDBOX_DELETE, "nobody", 0);
	check(a.ret == -ENOENT, "deleting a sandbox that never was is -ENOENT (%d%s)", a.ret, colon(&a));
	one_ends(h);
	all_stop(h);
	crowd_of_pods(h);
	dies(h);
	check_nothing_left();
}

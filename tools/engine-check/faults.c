/*
 * A section in which programs fail: what the plugin asks the host to run is refused, can't be
 * started, dies, or lies.  And one in which the instance is closed in the midst of operations.
 * What a program has left that was cut off is the host's to end, as far as it is in the
 * container's cgroup.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "core/base/pool.h"
#include "tools/engine-check/check.h"

enum { SPAWNS_MAX = 6 };

static const char *const fault_names[] = {
	[FAULT_REFUSED] = "is refused by the host",
	[FAULT_MISSING] = "can't be started",
	[FAULT_KILLED] = "is killed",
	[FAULT_LIES] = "does nothing and ends well",
};

static bool is_gone(const struct answer *a)
{
	return a->ret == 0 || a->ret == -ENOENT;
}

static void delete_after(struct plug_handler *h, struct ctr *c, const char *what)
{
	spy_fault(FAULT_NONE, 0);
	struct answer a = bench_id(h, PLUG_OP_DELETE, c->id, CRISP_ARG_FORCE);
	check(is_gone(&a), "%s: a forced delete takes the rest (%d%s)", what, a.ret, colon(&a));
	left_kill(c);
	ctr_close(c);
}

/* The nth program of a create; false when there is no nth. */
static bool create_with(struct plug_handler *h, const struct pod *p, enum fault f, unsigned nth)
{
	struct ctr c;
	const char *what = pool_printf(bench.pool, "create, its program %u %s", nth + 1, fault_names[f]);
	if (!ctr_lay(h, &c, p, pool_printf(bench.pool, "f%d-%u", f, nth), LOOP))
		return false;
	spy_fault(f, nth);
	struct answer a = ctr_create(h, &c);
	bool hit = spy_fault_hit();
	bool named = plug_can(h, CRISP_CAP_EXIT_BY_ENGINE) || a.pid > 1;
	if (hit)
		check(a.ret < 0 || named, "%s: it fails, or names a process (%d%s)", what, a.ret, colon(&a));
	delete_after(h, &c, what);
	return hit;
}

static void start_with(struct plug_handler *h, const struct pod *p, enum fault f)
{
	struct ctr c;
	const char *what = pool_printf(bench.pool, "start, its program %s", fault_names[f]);
	if (!ctr_lay(h, &c, p, pool_printf(bench.pool, "s%d", f), LOOP))
		return;
	struct answer a = ctr_create(h, &c);
	check(a.ret == 0, "create%s", colon(&a));
	spy_fault(f, 0);
	a = ctr_start(h, &c);
	if (spy_fault_hit())
		check(a.ret < 0 || f == FAULT_LIES, "%s: it fails (%d%s)", what, a.ret, colon(&a));
	delete_after(h, &c, what);
}

static void exec_with(struct plug_handler *h, struct ctr *c, enum fault f)
{
	struct exec x;
	const char *id = pool_printf(bench.pool, "x%d", f);
	exec_lay(h, &x, c, id, &(struct shape){ .sh = "exit 0" });
	spy_fault(f, 0);
	struct answer a = exec_run(h, &x);
	if (spy_fault_hit()) {
		bench_wait_ms(50);
		check(a.ret < 0 && !bench_ends(c->id, id), "exec, its program %s: it fails, and no end is told (%d%s)",
		      fault_names[f], a.ret, colon(&a));
	}
	spy_fault(FAULT_NONE, 0);
	exec_close(h, &x);
}

static void delete_with(struct plug_handler *h, const struct pod *p, enum fault f)
{
	struct ctr c;
	const char *what = pool_printf(bench.pool, "forced delete, its program %s", fault_names[f]);
	if (!ctr_run(h, &c, p, pool_printf(bench.pool, "d%d", f), LOOP))
		return;
	ctr_kill(h, &c, SIGKILL);	/* as the core, which asks when all is dead */
	bench_end(c.id, NULL, END_MS);
	spy_fault(f, 0);
	struct answer a = bench_id(h, PLUG_OP_DELETE, c.id, CRISP_ARG_FORCE);
	bool hit = spy_fault_hit();
	if (hit)
		note("%s: %d%s", what, a.ret, colon(&a));
	delete_after(h, &c, what);
}

static void probe_with(struct plug_handler *h, enum fault f)
{
	if (!plug_has(h, PLUG_OP_PROBE))
		return;
	spy_fault(f, 0);
	struct answer a = bench_ask(h, PLUG_OP_PROBE, &(struct crisp_args){ 0 });
	if (spy_fault_hit() && f <= FAULT_MISSING)
		check(a.ret < 0, "probe, its program %s: the engine doesn't work here, and says so (%d%s)", fault_names[f],
		      a.ret, colon(&a));
	spy_fault(FAULT_NONE, 0);
}

static void sandbox_with(struct plug_handler *h, enum fault f)
{
	struct pod p;
	if (!plug_can(h, CRISP_CAP_SANDBOX_OWN))
		return;
	spy_fault(f, 0);
	pod_make(h, &p, pool_printf(bench.pool, "pod-f%d", f));
	bool hit = spy_fault_hit();
	spy_fault(FAULT_NONE, 0);
	if (hit && p.ret == 0 && plug_has(h, PLUG_OP_SANDBOX_ATTACH))	/* it may know another way */
		p.ret = bench_ask(h, PLUG_OP_SANDBOX_ATTACH, &(struct crisp_attach_args){ .id = p.id, .pid = p.pid }).ret ?
			-EIO : 1;
	if (hit)
		check(p.ret < 0 || p.ret == 1, "create sandbox, its program %s: it fails, or there is one (%d)", fault_names[f],
		      p.ret);
	pod_down(h, &p);
}

void section_faults(void)
{
	struct pod p;
	struct ctr c;
	struct plug_handler *h = ready_handler();
	if (!h || !pod_up(h, &p, "pod-faults"))
		return;
	bool execs = plug_has(h, PLUG_OP_EXEC) && ctr_run(h, &c, &p, "host-of-faults", LOOP);
	for (enum fault f = FAULT_REFUSED; f <= FAULT_LIES; f++) {
		probe_with(h, f);
		for (unsigned n = 0; n < SPAWNS_MAX && create_with(h, &p, f, n); n++)
			;
		start_with(h, &p, f);
		if (execs)
			exec_with(h, &c, f);
		delete_with(h, &p, f);
		sandbox_with(h, f);
	}
	if (execs) {
		check(!bench_ends(c.id, NULL), "a container beside all that goes on");
		delete_all(h, &c);
	}
	pod_down(h, &p);
	check_nothing_left();
}

/* -- closed -- */

/* A new host comes after one whose instance was closed with operations under way. */
static struct plug_handler *close_now(const struct pod *p)
{
	bench_close_now();
	bench_plug();
	struct plug_handler *h = ready_handler();
	if (h && plug_can(h, CRISP_CAP_SANDBOX_OWN)) {
		struct answer a = bench_ask(h, PLUG_OP_SANDBOX_ATTACH, &(struct crisp_attach_args){ .id = p->id, .pid = p->pid });
		check(a.ret == 0, "the next instance finds the sandbox%s", colon(&a));
	}
	return h;
}

static struct plug_handler *take_up(struct plug_handler *h, struct ctr *c, const struct pod *p)
{
	struct crisp_attach_args args = { .id = c->id, .sandbox_id = p->id, .pid = c->pid };
	if (plug_has(h, PLUG_OP_ATTACH))
		bench_ask(h, PLUG_OP_ATTACH, &args);
	return h;
}

void section_closed(void)
{
	static const unsigned ms[] = { 0, 3, 30 };
	static struct answer unanswered[12];
	struct pod p;
	struct ctr c, run;
	struct exec x;
	unsigned n = 0;
	struct plug_handler *h = ready_handler();
	if (!h || !pod_up(h, &p, "pod-closed"))
		return;
	for (unsigned i = 0; i < 3 && h; i++) {
		const char *who = pool_printf(bench.pool, "closed%u", i), *other = pool_printf(bench.pool, "going%u", i);
		if (!ctr_lay(h, &c, &p, who, LOOP) || !ctr_run(h, &run, &p, other, LOOP))
			return;
		ctr_begin(h, &c, END_MS, &unanswered[n++]);
		if (plug_has(h, PLUG_OP_EXEC)) {
			exec_lay(h, &x, &run, "x", &(struct shape){ .sh = "exit 0" });
			exec_begin(h, &x, END_MS, &unanswered[n++]);
		}
		bench_begin(h, PLUG_OP_DELETE, &(struct crisp_args){ .id = other, .flags = CRISP_ARG_FORCE }, END_MS,
			    &unanswered[n++]);
		if (ms[i])
			bench_wait_ms(ms[i]);
		if (plug_has(h, PLUG_OP_EXEC))
			io_close(&x.io);
		h = close_now(&p);
		if (!h)
			return;
		const char *what = pool_printf(bench.pool, "closed %u ms into create, exec and delete", ms[i]);
		delete_after(take_up(h, &c, &p), &c, what);
		delete_after(take_up(h, &run, &p), &run, what);
	}
	pod_down(h, &p);
	check_nothing_left();
}

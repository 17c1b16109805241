/*
 * StopPodSandbox and RemovePodSandbox: the containers at once and all together, then what the
 * pod itself is made of.  Both may be asked for any number of times, and take up where an
 * earlier try has failed.
 */
#include <errno.h>
#include <signal.h>

#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/model/model_int.h"
#include "core/store/store.h"

/* A step that waits for several things: each ends once, the step with the last. */
struct gather {
	struct op *op;
	unsigned left;
	struct err err;
	bool aborted;
	struct list parts;
};

struct part {
	struct list link;
	struct gather *gather;
	struct exit_wait exit;
	bool exited;
	struct op_waiter end;
	struct plug_call *call;		/* a kill that has not been answered: until then pt must live */
};

static struct part *gather_part(struct gather *g)
{
	struct part *pt = pool_new_struct(g->op->pool, struct part);
	pt->gather = g;
	list_append(&g->parts, &pt->link);
	g->left++;
	return pt;
}

static void part_over(struct part *pt, int ret, const struct err *e)
{
	struct gather *g = pt->gather;
	if (ret < 0 && e)
		err_set(&g->err, -ret, "%s", err_text(e));
	list_del(&pt->link);
	if (--g->left == 0 && g->op->abort_wait)
		step_wake(g->op, g->err.code ? -g->err.code : 0, &g->err);
}

/* What can be left is left, what can't is waited for. */
static void abort_gather(struct op *op)
{
	struct gather *g = op->wait_data;
	struct part *pt;
	g->aborted = true;
	err_set(&g->err, ECANCELED, "cancelled");
	list_for_each(pt, &g->parts, link) {
		exit_wait_leave(&pt->exit);
		op_leave(&pt->end);
		if (pt->call)
			plug_call_cancel(pt->call);
		else
			part_over(pt, 0, NULL);
	}
}

static void handle_part_exit(struct exit_wait *w)
{
	struct part *pt = w->data;
	pt->exited = true;
	if (!pt->call)
		part_over(pt, 0, NULL);
}

/* An engine that can't kill it must not keep the pod: its sandbox goes next. */
static void handle_part_killed(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	struct part *pt = data;
	pt->call = NULL;
	if (kill_failed(ret))
		log_warn("an engine could not kill a container", "pod", pt->gather->op->subject, "error",
			 err_text(e));
	else if (!pt->exited && !pt->gather->aborted)
		return;
	exit_wait_leave(&pt->exit);
	part_over(pt, 0, NULL);
}

static void handle_part_end(struct op_waiter *w, int ret, const struct err *e)
{
	part_over(w->data, ret, e);
}

static void handle_part_end_any(struct op_waiter *w, int ret, const struct err *e)
{
	part_over(w->data, 0, NULL);
}

static int gather_wait(struct gather *g)
{
	if (!g->left)
		return g->err.code ? err_set(&g->op->err, g->err.code, "%s", g->err.msg) : 0;
	g->op->wait_data = g;
	g->op->abort_wait = abort_gather;
	return OP_WAIT;
}

static struct gather *gather_new(struct op *op)
{
	struct gather *g = pool_new_struct(op->pool, struct gather);
	g->op = op;
	list_init(&g->parts);
	return g;
}

/* -- steps -- */

static int kill_containers(struct op *op)
{
	struct pod *p = op->data;
	struct gather *g = gather_new(op);
	struct container *c;
	if (p->state != POD_STATE_NOTREADY)
		pod_set_state(p, POD_STATE_STOPPING);
	list_for_each(c, &p->containers, in_pod) {
		struct part *pt;
		container_give_up_update(c, "the pod was stopped");
		if (c->op && c->op->table == &start_table)
			op_cancel(c->op, ECANCELED, "the pod was stopped");
		if (c->op && c->op->table == &create_table) {
			pt = gather_part(g);
			op_join(c->op, &pt->end, handle_part_end_any, pt);
			op_cancel(c->op, ECANCELED, "the pod was stopped");
		} else if (c->alive) {
			pt = gather_part(g);
			pt->call = container_kill(c, SIGKILL, true, handle_part_killed, pt);
			exit_wait(c, &pt->exit, handle_part_exit, pt);
		} else {
			container_end_put_off(c);
		}
	}
	return gather_wait(g);
}

static int make_notready(struct op *op)
{
	pod_set_state(op->data, POD_STATE_NOTREADY);
	return 0;
}

/* Those that are under another operation are removed when that has ended. */
static int wait_idle(struct op *op)
{
	struct pod *p = op->data;
	struct gather *g = gather_new(op);
	struct container *c;
	list_for_each(c, &p->containers, in_pod) {
		if (c->op && c->op->table != &remove_table) {
			struct part *pt = gather_part(g);
			op_join(c->op, &pt->end, handle_part_end_any, pt);
		}
	}
	return gather_wait(g);
}

static int remove_containers(struct op *op)
{
	struct pod *p = op->data;
	struct gather *g = gather_new(op);
	struct container *c;
	list_for_each(c, &p->containers, in_pod) {
		struct part *pt = gather_part(g);
		op_join(c->op ? c->op : remove_begin(c), &pt->end, handle_part_end, pt);
	}
	return gather_wait(g);
}

static int check_empty(struct op *op)
{
	struct pod *p = op->data;
	if (!list_empty(&p->containers))
		return err_set(&op->err, EBUSY, "a container was created meanwhile");
	return 0;
}

static int drop_record(struct op *op)
{
	struct pod *p = op->data;
	return store_remove(p->model->g.store, STORE_POD, p->id, &op->err);
}

#define STOP_ROWS                                                                                  \
	{ "kill containers", kill_containers, NULL },                                              \
	{ "delete sandbox", step_delete_sandbox, NULL },                                           \
	{ "kill pause", step_kill_pause, NULL },                                                   \
	{ "delete pause", step_delete_pause, NULL },                                               \
	{ "detach network", step_detach_network, NULL },                                           \
	{ "unmake namespaces", step_unmake_namespaces, NULL },                                     \
	{ "make notready", make_notready, NULL }

static const struct op_step stop_pod_steps[] = {
	STOP_ROWS,
	{ 0 }
};

static const struct op_step remove_pod_steps[] = {
	STOP_ROWS,
	{ "wait for operations", wait_idle, NULL },
	{ "remove containers", remove_containers, NULL },
	{ "check empty", check_empty, NULL },
	{ "remove cgroup", step_remove_cgroup, NULL },
	{ "drop record", drop_record, NULL },
	{ 0 }
};

static void save(struct op *op, const char *step, bool undoing)
{
	record_note_pod(op->data);
}

static void stop_pod_done(struct op *op, int ret)
{
	struct pod *p = op->data;
	p->op = NULL;
	loop_destroy_later(op->loop, op->pool);
	record_note_pod(p);
	if (ret < 0)
		log_warn("pod could not be stopped", "pod", p->id, "error", err_text(&op->err));
}

static void remove_pod_done(struct op *op, int ret)
{
	struct pod *p = op->data;
	p->op = NULL;
	loop_destroy_later(op->loop, op->pool);
	if (ret < 0) {
		record_note_pod(p);
		log_warn("pod could not be removed", "pod", p->id, "error", err_text(&op->err));
		return;
	}
	log_info("pod removed", "pod", p->id, "name", p->config->metadata->name);
	pod_forget(p);
}

const struct op_table stop_pod_table = { "stop pod", stop_pod_steps, save, stop_pod_done };
const struct op_table remove_pod_table = { "remove pod", remove_pod_steps, save, remove_pod_done };

/* -- requests -- */

static struct op *begin(struct pod *p, const struct op_table *t)
{
	struct pool *pool = pool_new(p->model->pool, t->name);
	p->op = pool_new_struct(pool, struct op);
	op_start(p->op, t, p->model->g.loop, pool, p, p->id, OP_TIMEOUT_MS);
	return p->op;
}

struct op *stop_pod_begin(struct pod *p)
{
	return begin(p, &stop_pod_table);
}

struct op *remove_pod_begin(struct pod *p)
{
	return begin(p, &remove_pod_table);
}

static void stop_again(struct model_wait *w)
{
	model_stop_pod(w->model, w->id, w);
}

void model_stop_pod(struct model *m, const char *id, struct model_wait *w)
{
	struct pod *p = model_pod(m, id);
	if (!p)
		return wait_done(w, id);
	w->model = m;
	w->id = p->id;
	if (p->op && p->op->table == &stop_pod_table)
		return wait_op(w, p->op, p->id);
	pod_give_up_resize(p, "the pod was stopped");
	if (p->op) {
		if (p->op->table == &run_pod_table)
			op_cancel(p->op, ECANCELED, "the pod was stopped");
		return wait_then(w, p->op, stop_again);
	}
	if (p->state == POD_STATE_NOTREADY && !p->attached && !p->pause_made && !p->sandbox_made &&
	    !p->namespaces_made && list_empty(&p->containers))
		return wait_done(w, p->id);
	wait_op(w, stop_pod_begin(p), p->id);
}

static void remove_again(struct model_wait *w)
{
	model_remove_pod(w->model, w->id, w);
}

void model_remove_pod(struct model *m, const char *id, struct model_wait *w)
{
	struct pod *p = model_pod(m, id);
	if (!p)
		return wait_done(w, id);
	w->model = m;
	w->id = p->id;
	if (p->op && p->op->table == &remove_pod_table)
		return wait_op(w, p->op, p->id);
	pod_give_up_resize(p, "the pod was removed");
	if (p->op) {
		if (p->op->table == &run_pod_table)
			op_cancel(p->op, ECANCELED, "the pod was removed");
		return wait_then(w, p->op, remove_again);
	}
	wait_op(w, remove_pod_begin(p), p->id);
}

/*
 * StopContainer and RemoveContainer.  A stop is over when the process is gone, whatever an engine
 * says; a second stop with a shorter timeout shortens the first.
 */
#include <errno.h>
#include <signal.h>

#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/model/model_int.h"
#include "core/plug/plug.h"
#include "core/store/store.h"

enum { DEATH_TIMEOUT_MS = 100000, UNDO_DEATH_MS = 10000 };

struct stop {
	struct op op;
	int64_t until_ns;	/* CLOCK_MONOTONIC: then SIGKILL */
	struct loop_timer timer;
	struct exit_wait exit;
};

static struct stop *stop_of(struct op *op)
{
	return container_of(op, struct stop, op);
}

static int64_t ms_left(int64_t until_ns)
{
	int64_t ns = until_ns - clock_mono_ns();
	return ns > 0 ? ns / 1000000 + 1 : 0;
}

/* -- steps -- */

static int send_signal(struct op *op)
{
	struct container *c = op->data;
	/* One that never ran has nothing to end in good order. */
	if (c->alive && c->state == CONTAINER_STATE_RUNNING && ms_left(stop_of(op)->until_ns))
		container_signal(c, c->stop_signal, false);
	return 0;
}

static void wait_over(struct op *op)
{
	loop_timer_stop(&stop_of(op)->timer);
	exit_wait_leave(&stop_of(op)->exit);
	op_wake(op, 0);
}

static void handle_end(struct exit_wait *w)
{
	wait_over(w->data);
}

static void handle_grace_over(struct loop_timer *t)
{
	wait_over(t->data);
}

static void abort_wait(struct op *op)
{
	loop_timer_stop(&stop_of(op)->timer);
	exit_wait_leave(&stop_of(op)->exit);
	op_wake(op, -ECANCELED);
}

static int wait_grace(struct op *op)
{
	struct container *c = op->data;
	struct stop *s = stop_of(op);
	int64_t left = ms_left(s->until_ns);
	if (!left || c->state != CONTAINER_STATE_RUNNING || !c->alive)
		return 0;
	op->abort_wait = abort_wait;
	loop_timer_start(&s->timer, op->loop, op->pool, (uint64_t)left, 0, handle_grace_over, op);
	exit_wait(c, &s->exit, handle_end, op);
	return OP_WAIT;
}

static void handle_killed(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	step_wake(data, kill_failed(ret) ? ret : 0, e);
}

static int kill_all(struct op *op)
{
	struct container *c = op->data;
	container_end_put_off(c);
	struct plug_call *call = c->alive ? container_kill(c, SIGKILL, true, handle_killed, op) : NULL;
	return call ? step_engine(op, call) : 0;
}

static int wait_death(struct op *op)
{
	struct container *c = op->data;
	if (!c->alive)
		return 0;
	op->abort_wait = abort_wait;
	exit_wait(c, &stop_of(op)->exit, handle_end, op);
	return OP_WAIT;
}

static void deleted(struct op *op)
{
	struct container *c = op->data;
	c->made = false;
	op_wake(op, 0);
}

void container_deleted(struct op *op, int ret, const struct err *e)
{
	struct container *c = op->data;
	/* Its processes are gone; what the engine still believes must not keep the container. */
	if (ret < 0 && ret != -ENOENT)
		log_warn("the engine could not delete a container", "ctr", c->id, "error", err_text(e));
	remove_leaf_cgroup(op, c->model->g.cgroups, c->cgroup, deleted);
}

static void handle_deleted(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	container_deleted(data, ret, e);
}

static int engine_delete(struct op *op)
{
	struct container *c = op->data;
	return step_engine(op, plug_delete(c->pod->handler, c->pod->id, c->id, true, engine_timeout_ms(op),
					   handle_deleted, op));
}

/* A process of ours that is to die before its engine is told to forget it. */
struct last_kill {
	struct exit_wait exit;
	struct loop_timer timer;
	struct op *op;
};

static void last_kill_over(struct last_kill *k)
{
	loop_timer_stop(&k->timer);
	exit_wait_leave(&k->exit);
	engine_delete(k->op);
}

static void handle_dead(struct exit_wait *w)
{
	last_kill_over(w->data);
}

static void handle_undead(struct loop_timer *t)
{
	struct last_kill *k = t->data;
	struct container *c = k->op->data;
	log_warn("a process was killed and does not end", "ctr", c->id, "pid", log_num(c->pid));
	last_kill_over(k);
}

int step_delete_container(struct op *op)
{
	struct container *c = op->data;
	if (!c->made)
		return 0;
	if (!c->alive || !c->child.io.loop)
		return engine_delete(op);
	/* A create is taken back.  The engine need not know of the process, or not delete it. */
	struct last_kill *k = pool_new_struct(op->pool, struct last_kill);
	k->op = op;
	container_signal(c, SIGKILL, true);
	loop_timer_start(&k->timer, op->loop, op->pool, UNDO_DEATH_MS, 0, handle_undead, k);
	exit_wait(c, &k->exit, handle_dead, k);
	return OP_WAIT;
}

static int drop_fds(struct op *op)
{
	container_drop_fds(op->data);
	return 0;
}

static int drop_record(struct op *op)
{
	struct container *c = op->data;
	return store_remove(c->model->g.store, STORE_CONTAINER, c->id, &op->err);
}

static const struct op_step stop_steps[] = {
	{ "send signal", send_signal, NULL },
	{ "wait for its end", wait_grace, NULL },
	{ "kill", kill_all, NULL },
	{ "wait for its death", wait_death, NULL },
	{ 0 }
};

/* Nothing of this is taken back: a removal that fails is asked for again. */
static const struct op_step remove_steps[] = {
	{ "kill", kill_all, NULL },
	{ "wait for its death", wait_death, NULL },
	{ "engine delete", step_delete_container, NULL },
	{ "drop fds", drop_fds, NULL },
	{ "remove writable layer", step_remove_rw, NULL },
	{ "release image", step_release_image, NULL },
	{ "drop record", drop_record, NULL },
	{ 0 }
};

static void save(struct op *op, const char *step, bool undoing)
{
	record_note_container(op->data);
}

static void stop_done(struct op *op, int ret)
{
	struct container *c = op->data;
	c->op = NULL;
	loop_destroy_later(op->loop, op->pool);
	record_note_container(c);
}

static void remove_done(struct op *op, int ret)
{
	struct container *c = op->data;
	c->op = NULL;
	loop_destroy_later(op->loop, op->pool);
	if (ret < 0) {
		log_warn("container could not be removed", "ctr", c->id, "error", err_text(&op->err));
		record_note_container(c);
		return;
	}
	log_info("container removed", "ctr", c->id, "pod", c->pod->id);
	container_forget(c);
}

const struct op_table stop_table = { "stop", stop_steps, save, stop_done };
const struct op_table remove_table = { "remove", remove_steps, save, remove_done };

/* -- requests -- */

static struct op *begin(struct container *c, const struct op_table *t, int64_t until_ns, uint64_t deadline_ms)
{
	struct pool *pool = pool_new(c->pool, t->name);
	struct stop *s = pool_new_struct(pool, struct stop);
	s->until_ns = until_ns;
	c->op = &s->op;
	op_start(c->op, t, c->model->g.loop, pool, c, c->id, deadline_ms);
	return c->op;
}

struct op *remove_begin(struct container *c)
{
	return begin(c, &remove_table, 0, DEATH_TIMEOUT_MS);
}

static void shorten(struct container *c, int64_t until_ns)
{
	struct stop *s = stop_of(c->op);
	if (until_ns >= s->until_ns)
		return;
	s->until_ns = until_ns;
	if (s->timer.loop)
		loop_timer_start(&s->timer, c->op->loop, c->op->pool, (uint64_t)ms_left(until_ns), 0,
				 handle_grace_over, c->op);
}

static void stop_again(struct model_wait *w)
{
	model_stop(w->model, w->id, w->arg, w);
}

void model_stop(struct model *m, const char *id, int64_t timeout_s, struct model_wait *w)
{
	struct container *c = model_container(m, id);
	if (!c || c->state == CONTAINER_STATE_EXITED)
		return wait_done(w, id);
	if (timeout_s < 0)
		timeout_s = 0;
	if (timeout_s > 10 * 365 * 86400ll)
		timeout_s = 10 * 365 * 86400ll;
	int64_t until = clock_mono_ns() + timeout_s * 1000000000;
	if (c->op && c->op->table == &stop_table) {
		shorten(c, until);
		return wait_op(w, c->op, c->id);
	}
	container_give_up_update(c, "the container was stopped");
	if (c->op) {
		w->model = m;
		w->id = c->id;
		w->arg = timeout_s;
		if (c->op->table == &create_table)
			op_cancel(c->op, ECANCELED, "the container was stopped");
		return wait_then(w, c->op, stop_again);
	}
	wait_op(w, begin(c, &stop_table, until, (uint64_t)timeout_s * 1000 + DEATH_TIMEOUT_MS), c->id);
}

static void remove_again(struct model_wait *w)
{
	model_remove(w->model, w->id, w);
}

void model_remove(struct model *m, const char *id, struct model_wait *w)
{
	struct container *c = model_container(m, id);
	if (!c)
		return wait_done(w, id);
	if (c->op && c->op->table == &remove_table)
		return wait_op(w, c->op, c->id);
	container_give_up_update(c, "the container was removed");
	if (c->op) {
		w->model = m;
		w->id = c->id;
		if (c->op->table == &create_table)
			op_cancel(c->op, ECANCELED, "the container was removed");
		else if (c->op->table == &stop_table)
			shorten(c, 0);
		return wait_then(w, c->op, remove_again);
	}
	wait_op(w, remove_begin(c), c->id);
}

/*
 * A new core takes up what the last one left:
 *
 *	load      records; one that can't be read or keeps killing the core (suspects.h) is set aside
 *	adopt     pidfds, pipes and namespaces, by their keys, from the keeper
 *	ask       the engines, what they still have: first of sandboxes, then of containers (all at once,
 *		  unless cores have died of it)
 *	unwind    operations under way: what makes is undone, what takes down is begun again; the
 *		  socket waits for the former alone
 *	sweep     pins, writable layers and kept fds that no record names
 *
 * Processes that were ours belong to the keeper now; it tells their exits, also those of before.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/config/config.h"
#include "core/image/image.h"
#include "core/keep/keep.h"
#include "core/model/model_int.h"
#include "core/model/suspects.h"
#include "core/plug/net.h"
#include "core/plug/plug.h"
#include "core/sandboxfs/sandboxfs.h"
#include "core/store/store.h"

struct recovery {
	struct model *m;
	struct pool *pool;
	void (*done)(void *data);
	void *data;
	unsigned left;			/* of this phase: what is under way, and one for ourselves */
	int phase;
	struct list pods, containers;	/* struct loaded */
	struct list asks;		/* struct pending: engines to be asked, of this phase */
	bool ask_one_by_one;
	struct list gone;		/* struct pending: sandboxes that engines know no more */
	struct list aside;		/* aside.c: the records that are set aside */
	struct suspects *suspects;
};

struct pending {
	struct recovery *r;
	struct op_waiter end;
	struct container *c;
	struct pod *pod;
	bool starting;			/* c: the record says that a start was under way */
	struct list link;		/* in recovery.asks, then, a pod, in recovery.gone */
	const char *why;
};

static void one_over(struct recovery *r);
static void ask_next(struct recovery *r);

/* -- adopt -- */

static int take(struct model *m, const char *kind, const char *id, const char *what)
{
	char key[KEEP_KEY_MAX + 1];
	snprintf(key, sizeof(key), "%s/%s/%s", kind, id, what);
	return keep_take(m->g.keep, key);
}

static void adopt_pause(struct pod *p)
{
	int pidfd = take(p->model, "pod", p->id, "pid");
	pid_t pid = p->pause_pid;
	if (pidfd < 0 && pid && p->pause_start && pid_start_time(pid) == p->pause_start)
		pidfd = pidfd_open_pid(pid);	/* no keeper has it, but it is the one */
	if (pidfd >= 0) {
		pause_watch(p, pid, pidfd);
	} else if (pid) {
		p->pause_pid = 0;
		if (p->state == POD_STATE_READY)
			pod_set_state(p, POD_STATE_NOTREADY);
	}
}

static void adopt_pod(struct pod *p)
{
	struct model *m = p->model;
	p->net_fd = take(m, "pod", p->id, "net");
	p->netdev_fd = take(m, "pod", p->id, "netdev");
	p->ipc_fd = take(m, "pod", p->id, "ipc");
	p->uts_fd = take(m, "pod", p->id, "uts");
	p->shm_fd = take(m, "pod", p->id, "shm");
	p->user_fd = take(m, "pod", p->id, "user");
	char *leaf = pod_cgroup_leaf(p->pool, p);
	cgroup_adopt_made(m->g.cgroups, leaf, p->cgroup_made);
	if (p->attached)
		net_plug_adopt(m->g.net, p->id, p->net_state);
	adopt_pause(p);
	if (p->handler->old)
		log_warn("the handler of a pod is not configured any more, or not so", "pod", p->id,
			 "handler", p->handler_name);
}

static void adopt_process(struct container *c)
{
	int pidfd = take(c->model, "ctr", c->id, "pid");
	pid_t pid = c->pid;
	c->pid = 0;
	if (pidfd < 0 && pid && c->pid_start && pid_start_time(pid) == c->pid_start)
		pidfd = pidfd_open_pid(pid);	/* no keeper has it, but it is the one */
	if (pidfd >= 0) {
		container_watch(c, pid, pidfd);
	} else if (c->state != CONTAINER_STATE_EXITED && c->by_engine) {
		container_watch_by_engine(c, pid);	/* and the engine is asked next */
	} else if (pid && c->state != CONTAINER_STATE_EXITED && c->state != CONTAINER_STATE_CREATING) {
		/* Neither we nor the keeper have it: a process of that number need not be the one. */
		c->alive = true;
		container_exited(c, -1, clock_real_ns());
	}
}

static void adopt_output(struct container *c)
{
	struct err e = { 0 };
	int out = take(c->model, "ctr", c->id, "out"), err = take(c->model, "ctr", c->id, "err");
	c->stdin_fd = take(c->model, "ctr", c->id, "in");
	static const char *const start[] = { "start-in", "start-out", "start-err" };
	for (int i = 0; i < 3; i++)
		c->start_fds[i] = take(c->model, "ctr", c->id, start[i]);
	if (out < 0 && err < 0)
		return;
	if (container_open_log(c, out, err, &e) < 0)
		log_error("the log of a container could not be taken up", "ctr", c->id, "error", err_text(&e));
}

static void adopt_container(struct container *c)
{
	if (image_hold(c->model->g.images, c->image_id) == 0)
		c->held = true;
	else
		log_warn("the image of a container is gone", "ctr", c->id, "image", c->image_id);
	adopt_output(c);
	adopt_process(c);
}

/* -- unwind -- */

static void handle_pending(struct op_waiter *w, int ret, const struct err *e)
{
	struct pending *pd = container_of(w, struct pending, end);
	one_over(pd->r);
}

static void await(struct recovery *r, struct op *op)
{
	struct pending *pd = pool_new_struct(r->pool, struct pending);
	pd->r = r;
	r->left++;
	op_join(op, &pd->end, handle_pending, NULL);
}

/* makes: it is undone, and the socket waits for that.  NULL: nothing to be done. */
static struct op *take_up_pod(struct pod *p, const struct record_op *op, bool *makes)
{
	*makes = !strcmp(op->op, run_pod_table.name);
	log_info("taking up an operation", "op", op->op, "step", op->step, "pod", p->id);
	if (*makes)
		return run_pod_unwind(p, op->step);
	if (!strcmp(op->op, remove_pod_table.name))
		return remove_pod_begin(p);
	if (!strcmp(op->op, stop_pod_table.name))
		return stop_pod_begin(p);
	log_warn("an operation of this name is not known", "op", op->op, "pod", p->id);
	return NULL;
}

/* Does the engine have it still?  A start that was cut short may have been done or not. */
static void handle_asked(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	struct pending *pd = data;
	struct container *c = pd->c;
	if (ret == 0 && res->pidfd >= 0)
		close(res->pidfd);
	if (ret == 0 && res->status == CRISP_STATUS_RUNNING && c->state == CONTAINER_STATE_CREATED && pd->starting) {
		c->started_ns = clock_real_ns();
		container_set_state(c, CONTAINER_STATE_RUNNING);
	}
	if (ret < 0)
		log_warn("the engine does not know a container any more", "ctr", c->id, "error", err_text(e));
	/* Exits that the engine itself has kept for us. */
	if (c->alive && !c->child.io.loop && (ret == -ENOENT || res->status == CRISP_STATUS_STOPPED))
		model_engine_exit(c->model, c->id, NULL, ret == 0 ? res->wait_status : -1,
				  res->exited_at_ns ? res->exited_at_ns : clock_real_ns());
	record_note_container(c);
	if (pd->r->ask_one_by_one)
		ask_next(pd->r);
	one_over(pd->r);
}

static void ask_engine(struct pending *pd)
{
	struct container *c = pd->c;
	struct buf state = { 0 };
	struct err e = { 0 };
	store_read(c->model->g.store, STORE_CONTAINER, c->id, "engine.state", &state, &e);
	/* A pid would be answer enough, were it not for a start that may have been done or not. */
	struct crisp_attach_args args = { .size = sizeof(args), .id = c->id, .sandbox_id = c->pod->id,
					  .pid = pd->starting ? 0 : c->pid, .state = state.data,
					  .state_len = (uint32_t)state.len };
	plug_attach(c->pod->handler, &args, ENGINE_TIMEOUT_MS, handle_asked, pd);
	buf_free(&state);
}

static void handle_sandbox_asked(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	struct pending *pd = data;
	/* One that does not answer may still be there.  Of one that is gone the engine may still
	 * have containers, or has to make an end of them: these are asked before. */
	if (ret == -ENOENT) {
		pd->why = pool_strdup(pd->r->pool, err_text(e));
		list_append(&pd->r->gone, &pd->link);
	} else if (ret < 0) {
		log_error("an engine does not say whether a sandbox lives", "pod", pd->pod->id, "error", err_text(e));
	}
	if (ret == 0 && res->pidfd >= 0)
		close(res->pidfd);
	if (pd->r->ask_one_by_one)
		ask_next(pd->r);
	one_over(pd->r);
}

static void ask_engine_sandbox(struct pending *pd)
{
	struct pod *p = pd->pod;
	struct buf state = { 0 };
	struct err e = { 0 };
	store_read(p->model->g.store, STORE_POD, p->id, "engine.state", &state, &e);
	struct crisp_attach_args args = { .size = sizeof(args), .id = p->id, .sandbox_id = p->id,
					  .state = state.data, .state_len = (uint32_t)state.len };
	plug_sandbox_attach(p->handler, &args, ENGINE_TIMEOUT_MS, handle_sandbox_asked, pd);
	buf_free(&state);
}

static void ask_later(struct recovery *r, struct pod *p, struct container *c, bool starting)
{
	struct pending *pd = pool_new_struct(r->pool, struct pending);
	*pd = (struct pending){ .r = r, .pod = p, .c = c, .starting = starting };
	list_append(&r->asks, &pd->link);
	r->left++;
}

/* All that are left; or one, and the others follow when it has been answered for. */
static void ask_next(struct recovery *r)
{
	struct list *at;
	while ((at = list_pop(&r->asks))) {
		struct pending *pd = container_of(at, struct pending, link);
		if (r->ask_one_by_one)
			suspects_begin(r->suspects, SUSPECT_ASK, pd->c ? pd->c->id : pd->pod->id);
		(pd->c ? ask_engine : ask_engine_sandbox)(pd);
		if (r->ask_one_by_one)
			return;
	}
}

static void ask_all(struct recovery *r)
{
	r->ask_one_by_one = suspects_one_by_one(r->suspects, SUSPECT_ASK);
	if (r->ask_one_by_one)
		log_warn("engines are asked for one thing at a time: cores have died of it");
	else if (!list_empty(&r->asks))
		suspects_begin(r->suspects, SUSPECT_ASK, NULL);
	ask_next(r);
}

static struct op *take_up_container(struct container *c, const struct record_op *op, bool *makes)
{
	*makes = !strcmp(op->op, create_table.name);
	log_info("taking up an operation", "op", op->op, "step", op->step, "ctr", c->id);
	if (*makes)
		return create_unwind(c, op->step);
	if (!strcmp(op->op, remove_table.name))
		return remove_begin(c);
	record_note_container(c);	/* a start, stop or update: its caller asks again */
	return NULL;
}

/* -- load -- */

struct loaded {
	struct list link;
	struct pod *pod;
	struct container *container;
	struct record_op op;
};

/* The socket waits for the end of what it has running. */
static void set_aside(struct recovery *r, enum store_kind kind, const char *id, bool legible, struct err *e)
{
	await(r, aside_begin(r->m, r->pool, &r->aside, kind, id, legible, err_text(e)));
}

/* A record without its config was never begun. */
static bool is_begun(struct recovery *r, enum store_kind kind, const char *id)
{
	char *dir = store_dir(r->pool, r->m->g.store, kind, id);
	struct err e = { 0 };
	if (access(pool_printf(r->pool, "%s/record.json", dir), F_OK) == 0)
		return true;
	store_remove(r->m->g.store, kind, id, &e);
	return false;
}

static void load_one(struct recovery *r, enum store_kind kind, const char *id, struct list *into)
{
	struct err e = { 0 };
	struct loaded *l = pool_new_struct(r->pool, struct loaded);
	if (!is_begun(r, kind, id))
		return;
	bool legible = true;
	int ret = suspects_trust(r->suspects, id, &legible, &e);
	if (ret == 0)
		ret = kind == STORE_POD ? record_load_pod(r->m, id, &l->pod, &l->op, &e) :
					  record_load_container(r->m, id, &l->container, &l->op, &e);
	if (ret < 0) {
		set_aside(r, kind, id, legible, &e);
		return;
	}
	list_append(into, &l->link);
	if (kind == STORE_POD) {
		pod_enter(l->pod);
		adopt_pod(l->pod);
	} else {
		container_enter(l->container);
		adopt_container(l->container);
	}
}

static void load_kind(struct recovery *r, enum store_kind kind, struct list *into)
{
	const char **ids;
	struct err e = { 0 };
	if (store_list(r->pool, r->m->g.store, kind, &ids, &e) < 0) {
		log_error("records can't be listed", "error", err_text(&e));
		return;
	}
	for (size_t i = 0; ids[i]; i++)
		load_one(r, kind, ids[i], into);
}

/* -- order -- */

static int by_age_pod(const void *a, const void *b)
{
	const struct pod *x = *(struct pod *const *)a, *y = *(struct pod *const *)b;
	return x->created_ns < y->created_ns ? -1 : x->created_ns > y->created_ns;
}

static int by_age_container(const void *a, const void *b)
{
	const struct container *x = *(struct container *const *)a, *y = *(struct container *const *)b;
	return x->created_ns < y->created_ns ? -1 : x->created_ns > y->created_ns;
}

/* Oldest first, as it was before. */
static void restore_order(struct recovery *r)
{
	struct model *m = r->m;
	size_t n = 0;
	struct pod **pods = pool_alloc(r->pool, (m->pods.len + 1) * sizeof(*pods)), *p;
	list_for_each(p, &m->pod_list, link)
		pods[n++] = p;
	qsort(pods, n, sizeof(*pods), by_age_pod);
	for (size_t i = 0; i < n; i++) {
		list_del(&pods[i]->link);
		list_append(&m->pod_list, &pods[i]->link);
	}
	n = 0;
	struct container **list = pool_alloc(r->pool, (m->containers.len + 1) * sizeof(*list)), *c;
	list_for_each(c, &m->container_list, link)
		list[n++] = c;
	qsort(list, n, sizeof(*list), by_age_container);
	for (size_t i = 0; i < n; i++) {
		list_del(&list[i]->link);
		list_append(&m->container_list, &list[i]->link);
	}
}

/* -- sweep -- */

static void handle_swept(void *data, int ret, const struct err *e)
{
	if (ret < 0)
		log_warn("sweep", "error", err_text(e));
}

static void sweep_pins(struct recovery *r)
{
	struct model *m = r->m;
	const char *const *ids;
	struct err e = { 0 };
	if (sandboxfs_pins(m->g.sandboxfs, r->pool, &ids, &e) < 0)
		return;
	for (size_t i = 0; ids[i]; i++) {
		if (map_get(&m->pods, ids[i]))
			continue;
		log_warn("a network namespace of no pod", "id", ids[i]);
		sandboxfs_unpin(m->g.sandboxfs, m->pool, sandboxfs_pin_path(m->g.sandboxfs, r->pool, ids[i]),
				handle_swept, NULL);
	}
}

static void sweep_layers(struct recovery *r)
{
	struct model *m = r->m;
	char *rw = pool_printf(r->pool, "%s/rw", m->g.config->root);
	auto_closedir DIR *d = opendir(rw);
	struct dirent *ent;
	while (d && (ent = readdir(d))) {
		if (!strcmp(ent->d_name, ".") || !strcmp(ent->d_name, "..") ||
		    map_get(&m->containers, ent->d_name))
			continue;
		const char *path = pool_printf(r->pool, "%s/%s", rw, ent->d_name);
		sandboxfs_remove_trees(m->g.sandboxfs, m->pool, &path, 1, handle_swept, NULL);
	}
}

static void kill_execs(struct model *m)
{
	for (size_t i = 0; keep_unclaimed(m->g.keep, i);) {
		const char *key = keep_unclaimed(m->g.keep, i);
		if (strncmp(key, "exec/", 5)) {
			i++;
			continue;
		}
		char copy[KEEP_KEY_MAX + 1];
		snprintf(copy, sizeof(copy), "%s", key);
		int fd = keep_take(m->g.keep, copy);
		exec_kill_group(pidfd_pid(fd));
		pidfd_signal(fd, SIGKILL);
		close(fd);
		keep_drop(m->g.keep, copy);
	}
}

static void sweep(struct recovery *r)
{
	struct model *m = r->m;
	size_t n = 0;
	const char **live = pool_alloc(r->pool, (m->pods.len + 1) * sizeof(*live));
	struct pod *p;
	list_for_each(p, &m->pod_list, link)
		if (p->attached)
			live[n++] = p->id;
	net_plug_gc(m->g.net, live, n);
	sweep_pins(r);
	sweep_layers(r);
	aside_sweep(m, &r->aside);
	image_store_sweep(m->g.images);
	keep_drop_unclaimed(m->g.keep);
}

/* -- phases -- */

static void handle_regained(void *data)
{
	one_over(data);
}

static void ask_sandboxes(struct recovery *r)
{
	struct loaded *l;
	struct pod *p;
	list_for_each(p, &r->m->pod_list, link)
		r->left += pod_regain_ns(p, r->pool, handle_regained, r);
	list_for_each(l, &r->pods, link)
		if (l->pod->sandbox_made)
			ask_later(r, l->pod, NULL, false);
	ask_all(r);
}

static void ask_containers(struct recovery *r)
{
	struct loaded *l;
	list_for_each(l, &r->containers, link) {
		const char *op = l->op.op;
		if (l->container->alive && (!op || strcmp(op, create_table.name)))
			ask_later(r, NULL, l->container, op && !strcmp(op, start_table.name));
	}
	ask_all(r);
}

static void bury_sandboxes(struct recovery *r)
{
	struct pending *pd;
	suspects_over(r->suspects, SUSPECT_ASK);
	list_for_each(pd, &r->gone, link)
		model_sandbox_gone(r->m, pd->pod->id, pd->why);
}

/* What is under way of the operations taken up; longer than the recovery, which leaves removals to
 * themselves. */
struct unwinding {
	struct recovery *r;
	struct suspects *suspects;
	struct pool *pool;
	struct loop *loop;
	unsigned left;
	struct list todo;		/* struct loaded: those whose turn comes when the last has ended */
	bool one_by_one;
};

struct unwound {
	struct op_waiter end;
	struct unwinding *u;
};

static void take_up(struct unwinding *u);

static void unwinding_over(struct unwinding *u)
{
	suspects_over(u->suspects, SUSPECT_UNWIND);
	loop_destroy_later(u->loop, u->pool);
}

static void handle_unwound(struct op_waiter *w, int ret, const struct err *e)
{
	struct unwinding *u = container_of(w, struct unwound, end)->u;
	if (u->one_by_one) {
		take_up(u);
		one_over(u->r);
	}
	if (!--u->left)
		unwinding_over(u);
}

static void take_up_one(struct unwinding *u, struct loaded *l)
{
	bool makes;
	if (u->one_by_one)
		suspects_begin(u->suspects, SUSPECT_UNWIND, l->pod ? l->pod->id : l->container->id);
	struct op *op = l->pod ? take_up_pod(l->pod, &l->op, &makes) : take_up_container(l->container, &l->op, &makes);
	if (!op)
		return;
	struct unwound *w = pool_new_struct(op->pool, struct unwound);
	w->u = u;
	u->left++;
	op_join(op, &w->end, handle_unwound, NULL);
	if (u->one_by_one)
		u->r->left++;
	else if (makes)
		await(u->r, op);
}

static void take_up(struct unwinding *u)
{
	struct list *at;
	unsigned before = u->left;
	while ((!u->one_by_one || u->left == before) && (at = list_pop(&u->todo)))
		take_up_one(u, container_of(at, struct loaded, link));
}

/* Nobody asks for the others any more. */
static void collect(struct unwinding *u, struct list *all)
{
	struct list *at;
	while ((at = list_pop(all)))
		if (container_of(at, struct loaded, link)->op.op)
			list_append(&u->todo, at);
}

static void unwind(struct recovery *r)
{
	struct pool *pool = pool_new(r->m->pool, "unwinding");
	struct unwinding *u = pool_new_struct(pool, struct unwinding);
	*u = (struct unwinding){ .r = r, .pool = pool, .loop = r->m->g.loop, .left = 1 };
	u->suspects = suspects_read(pool, r->m->g.config->state);
	u->one_by_one = suspects_one_by_one(u->suspects, SUSPECT_UNWIND);
	list_init(&u->todo);
	collect(u, &r->containers);
	collect(u, &r->pods);
	if (u->one_by_one)
		log_warn("operations are taken up one at a time: cores have died of it");
	else if (!list_empty(&u->todo))
		suspects_begin(u->suspects, SUSPECT_UNWIND, NULL);
	take_up(u);
	if (!--u->left)
		unwinding_over(u);
}

static void finish(struct recovery *r)
{
	sweep(r);
	r->m->recovery = NULL;
	loop_destroy_later(r->m->g.loop, r->pool);
	r->done(r->data);
}

static void one_over(struct recovery *r)
{
	static void (*const phases[])(struct recovery *) = {
		ask_sandboxes, ask_containers, bury_sandboxes, unwind,
	};
	if (--r->left)
		return;
	if (r->phase == sizeof(phases) / sizeof(*phases)) {
		finish(r);
		return;
	}
	r->left = 1;
	phases[r->phase++](r);
	one_over(r);
}

static void handle_keeper_exit(void *data, pid_t pid, int wait_status)
{
	keeper_exit(data, pid, wait_status);
}

/* Also the handlers that only pods of before have are known by now. */
static void handle_settled(void *data)
{
	struct recovery *r = data;
	load_kind(r, STORE_CONTAINER, &r->containers);
	restore_order(r);
	/* Not before: an exit of nobody's would be told to the keeper as known. */
	keep_on_exit(r->m->g.keep, handle_keeper_exit, r->m);
	suspects_over(r->suspects, SUSPECT_LOAD);
	one_over(r);
}

void model_recover(struct model *m, void (*done)(void *data), void *data)
{
	struct pool *pool = pool_new(m->pool, "recovery");
	struct recovery *r = pool_new_struct(pool, struct recovery);
	*r = (struct recovery){ .m = m, .pool = pool, .done = done, .data = data, .left = 1 };
	list_init(&r->pods);
	list_init(&r->containers);
	list_init(&r->asks);
	list_init(&r->gone);
	list_init(&r->aside);
	m->recovery = r;
	r->suspects = suspects_read(pool, m->g.config->state);
	kill_execs(m);
	load_kind(r, STORE_POD, &r->pods);
	plug_when_settled(m->g.plug, handle_settled, r);
}

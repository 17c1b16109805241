/*
 * A record that is set aside: no later core reads it, and whoever asked for the pod gets another one
 * of that name.  So what the old one had running must end first: two of a kind might write to one
 * volume.
 *
 *	what runs	by the pidfd that the keeper holds, else by the pid in the record
 *	its cgroup	as the record says, else that of the process, if it is named after us
 *	its engine	as the pod's record says, else each: none need know of the thing any more
 *
 * The rest (network, namespaces, layers, fds) goes as does all that no record names: see the sweep.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/cgroup/cgroup.h"
#include "core/cgroup/slice.h"
#include "core/keep/keep.h"
#include "core/model/model_int.h"
#include "core/plug/plug.h"
#include "core/store/store.h"

struct aside {
	struct op op;
	struct list link;		/* in the list of those set aside before */
	struct model *model;
	enum store_kind kind;
	const char *id, *pod_id;	/* pod_id: NULL if not known */
	const char *cgroup;		/* of its processes; NULL: not known */
	const char *cgroup_made;	/* a pod: what above that is ours; NULL: not known, or nothing */
	struct plug_handler *handler;	/* NULL: not known, then all are asked to delete it */
	size_t asked;			/* of those */
	pid_t pid;			/* of the record; 0: none */
	uint64_t pid_start;
	int pidfd;
};

static struct aside *aside_of(struct op *op)
{
	return container_of(op, struct aside, op);
}

/* -- what is known of it -- */

static struct plug_handler *handler_of_pod(struct list *before, struct model *m, const char *pod_id)
{
	struct pod *p = pod_id ? model_pod(m, pod_id) : NULL;
	struct aside *other;
	if (p)
		return p->handler;
	list_for_each(other, before, link)
		if (pod_id && !strcmp(other->id, pod_id))
			return other->handler;
	return NULL;
}

static void read_pod(struct aside *a, const struct json *j)
{
	const char *parent = json_str(json_get(j, "cgroup_parent"));
	if (parent)
		a->cgroup = cgroup_leaf(a->op.pool, parent, a->id);
	a->cgroup_made = pool_strdup(a->op.pool, json_str(json_get(j, "cgroup_made")));
	a->pid = (pid_t)json_int(json_get(j, "pause_pid"), 0);
	a->pid_start = (uint64_t)json_int(json_get(j, "pause_start"), 0);
	a->handler = plug_handler_get(a->model->g.plug, json_str(json_get(j, "handler")));
}

static void read_container(struct aside *a, const struct json *j)
{
	a->cgroup = pool_strdup(a->op.pool, json_str(json_get(j, "cgroup")));
	a->pod_id = pool_strdup(a->op.pool, json_str(json_get(j, "pod")));
	a->pid = (pid_t)json_int(json_get(j, "pid"), 0);
	a->pid_start = (uint64_t)json_int(json_get(j, "pid_start"), 0);
}

static void read_record(struct aside *a)
{
	struct buf b = { 0 };
	struct err e = { 0 };
	const struct json *j;
	if (store_read(a->model->g.store, a->kind, a->id, "record.json", &b, &e) == 0 &&
	    json_parse(a->op.pool, b.data, b.len, &j, &e) == 0)
		(a->kind == STORE_POD ? read_pod : read_container)(a, j);
	buf_free(&b);
}

/* The first path in /proc/PID/cgroup with a component that is named after id, up to there. */
static const char *cgroup_named(struct pool *pool, char *text, const char *id)
{
	char *at = strstr(text, id), *path = at;
	if (!at)
		return NULL;
	at[strcspn(at, "/\n")] = 0;
	while (path > text && path[-1] != '\n' && path[-1] != ':')
		path--;
	return *path == '/' ? pool_strdup(pool, path) : NULL;
}

static const char *cgroup_of(struct pool *pool, int pidfd, const char *id)
{
	char path[64];
	struct buf b = { 0 };
	const char *found = NULL;
	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pidfd_pid(pidfd));
	if (file_read(AT_FDCWD, path, 64 << 10, &b, NULL) == 0 && b.len)
		found = cgroup_named(pool, b.data, id);
	buf_free(&b);
	return found;
}

static void find_process(struct aside *a)
{
	char key[KEEP_KEY_MAX + 1];
	snprintf(key, sizeof(key), "%s/%s/pid", a->kind == STORE_POD ? "pod" : "ctr", a->id);
	a->pidfd = keep_take(a->model->g.keep, key);
	keep_drop(a->model->g.keep, key);
	if (a->pidfd < 0 && a->pid > 0 && a->pid_start && pid_start_time(a->pid) == a->pid_start)
		a->pidfd = pidfd_open_pid(a->pid);
	if (a->pidfd < 0)
		return;
	pool_fd(a->op.pool, a->pidfd);
	if (!a->cgroup)
		a->cgroup = cgroup_of(a->op.pool, a->pidfd, a->id);
}

/* -- steps -- */

static void emptied(struct op *op)
{
	struct aside *a = aside_of(op);
	if (!cgroup_empty(a->model->g.cgroups, a->cgroup))
		log_error("what was set aside was killed and still runs: look why its processes do not die", "id", a->id,
			  "cgroup", a->cgroup);
	op_wake(op, 0);
}

static int end_processes(struct op *op)
{
	struct aside *a = aside_of(op);
	if (a->pidfd >= 0)
		pidfd_signal(a->pidfd, SIGKILL);
	if (!a->cgroup)
		return 0;
	remove_leaf_cgroup(op, a->model->g.cgroups, a->cgroup, emptied);
	return OP_WAIT;
}

static void handle_settled(void *data)
{
	op_wake(data, 0);
}

static int await_engines(struct op *op)
{
	plug_when_settled(aside_of(op)->model->g.plug, handle_settled, op);
	return OP_WAIT;
}

static int delete_next(struct aside *a);

static void handle_deleted(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	struct aside *a = aside_of(data);
	if (ret < 0 && ret != -ENOENT && ret != -ENOSYS)
		log_error("an engine may still have what was set aside: see with the engine's own tools", "id", a->id,
			  "error", err_text(e));
	if (a->handler || delete_next(a) != OP_WAIT)
		op_wake(data, 0);
}

static int delete_by(struct aside *a, struct plug_handler *h)
{
	bool sandbox = a->kind == STORE_POD && plug_can(h, CRISP_CAP_SANDBOX_OWN);
	return step_engine(&a->op, sandbox ? plug_sandbox_delete(h, a->id, true, ENGINE_UNDO_MS, handle_deleted, &a->op) :
					     plug_delete(h, a->pod_id, a->id, true, ENGINE_UNDO_MS, handle_deleted, &a->op));
}

/* All that could have made it, one after the other. */
static int delete_next(struct aside *a)
{
	struct plug_handler *h;
	while ((h = plug_handler_at(a->model->g.plug, a->asked)) && !h->ready)
		a->asked++;
	a->asked++;
	return h ? delete_by(a, h) : 0;
}

static int engine_delete(struct op *op)
{
	struct aside *a = aside_of(op);
	return a->handler ? delete_by(a, a->handler) : delete_next(a);
}

static const struct op_step aside_steps[] = {
	{ "end processes", end_processes, NULL },
	{ "await engines", await_engines, NULL },
	{ "engine delete", engine_delete, NULL },
	{ 0 }
};

static void aside_done(struct op *op, int ret)
{
	/* Its memory is the recovery's: containers look for their pod's handler here. */
}

static const struct op_table aside_table = { "set aside", aside_steps, NULL, aside_done };

struct op *aside_begin(struct model *m, struct pool *pool, struct list *before, enum store_kind kind, const char *id,
		       bool legible, const char *why)
{
	struct aside *a = pool_new_struct(pool, struct aside);
	struct err e = { 0 };
	*a = (struct aside){ .model = m, .kind = kind, .id = pool_strdup(pool, id), .pidfd = -1 };
	a->op.pool = pool;
	if (legible)
		read_record(a);
	if (kind == STORE_CONTAINER)
		a->handler = handler_of_pod(before, m, a->pod_id);
	find_process(a);
	log_error("a record is set aside, and what it has running is killed", kind == STORE_POD ? "pod" : "ctr", id,
		  "error", why, "of_pod", a->pod_id, "pid", a->pidfd < 0 ? NULL : log_num(pidfd_pid(a->pidfd)),
		  "cgroup", a->cgroup, "handler", a->handler ? a->handler->name : NULL);
	if (store_set_aside(m->g.store, kind, id, &e) < 0)
		log_error("a record could not be set aside", "id", id, "error", err_text(&e));
	list_append(before, &a->link);
	op_start(&a->op, &aside_table, m->g.loop, pool, a, a->id, 0);
	return &a->op;
}

void aside_sweep(struct model *m, struct list *all)
{
	struct aside *a;
	list_for_each(a, all, link) {
		struct err e = { 0 };
		if (a->cgroup_made && cgroup_remove_made(m->g.cgroups, a->cgroup, a->cgroup_made, &e) < 0)
			log_warn("a cgroup stays", "of", a->id, "error", err_text(&e));
	}
}

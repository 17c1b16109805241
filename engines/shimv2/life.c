/*
 * Operations that make and unmake tasks, and find them again after a restart of the core.
 *
 *	create	(start the shim, connect), Create, and for a sandbox Start
 *	delete	(kill, wait for the end), Delete; after the last one of a shim: Shutdown
 *	attach	connect, State
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engines/shimv2/shimv2.h"

static void act_reply(struct act *a, const struct reply *r)
{
	act_end(a, reply_errno(r), r->msg);
}

/* -- create -- */

enum { MOUNTS_MAX = 64 };

struct mounts {
	Shim__Mount list[MOUNTS_MAX], *at[MOUNTS_MAX];
	size_t n;
	char *pull, *pull_options[1];
};

static Shim__Mount *mounts_add(struct mounts *m, const char *type, const char *source)
{
	Shim__Mount *to = m->at[m->n] = &m->list[m->n];
	m->n++;
	*to = (Shim__Mount)SHIM__MOUNT__INIT;
	to->type = (char *)(uintptr_t)type;
	to->source = (char *)(uintptr_t)source;
	return to;
}

/* As they come, unmounted: what kind a shim can take is its affair.  What is mounted by fd is in the
 * shim's namespace already. */
static void take_mounts(struct mounts *m, const struct crisp_rootfs *root)
{
	for (size_t i = 0; root && root->mounts && root->mounts[i] && m->n < MOUNTS_MAX; i++) {
		const struct crisp_mount *from = root->mounts[i];
		if (from->fd > 0)
			continue;
		Shim__Mount *to = mounts_add(m, from->type, from->source);
		to->options = (char **)(uintptr_t)from->options;
		while (to->options && to->options[to->n_options])
			to->n_options++;
	}
}

/* The guest makes the root by itself; that of the pod's own process it has. */
static void take_image(struct mounts *m, const char *image_ref)
{
	m->pull = m->pull_options[0] = guest_pull_option(image_ref && *image_ref ? image_ref : "pause");
	Shim__Mount *to = mounts_add(m, "fuse.nydus-overlayfs", "none");
	to->options = m->pull_options;
	to->n_options = 1;
}

static void pack_create(struct act *a, const struct task *t, const struct crisp_rootfs *root,
			const struct crisp_stdio *io)
{
	Shim__CreateTaskRequest rq = SHIM__CREATE_TASK_REQUEST__INIT;
	struct mounts mounts = { 0 };
	char found[SHIM_PATH_MAX];
	const char *program = shim_program(&a->inst->options, found);
	size_t any_len = 0;
	uint8_t *any = program ? shim_options_any(&a->inst->options, program, &any_len) : NULL;
	if (a->inst->options.guest_pull)
		take_image(&mounts, root ? root->image_ref : NULL);
	else
		take_mounts(&mounts, root);
	rq.id = t->id;
	rq.bundle = t->bundle;
	rq.rootfs = mounts.at;
	rq.n_rootfs = mounts.n;
	if (io) {
		rq.terminal = io->flags & CRISP_STDIO_TTY;
		rq.stdin = (char *)(uintptr_t)(io->fifo_in ? io->fifo_in : "");
		rq.stdout = (char *)(uintptr_t)(io->fifo_out ? io->fifo_out : "");
		rq.stderr = (char *)(uintptr_t)(io->fifo_err ? io->fifo_err : "");
	}
	if (any)
		rq.options = (void *)protobuf_c_message_unpack(&shim__any__descriptor, NULL, any_len, any);
	a->payload_len = protobuf_c_message_get_packed_size(&rq.base);
	a->payload = malloc(a->payload_len + 1);
	if (!a->payload)
		abort();
	protobuf_c_message_pack(&rq.base, a->payload);
	if (rq.options)
		protobuf_c_message_free_unpacked(&rq.options->base, NULL);
	free(any);
	free(mounts.pull);
}

/* What there is of it is for a delete to remove. */
static void create_failed(struct act *a, int err, const char *msg)
{
	struct task *t = a->task;
	if (t->state == TASK_CREATING)
		t->state = t->link ? TASK_ENDED : TASK_GONE;
	task_wake(t);
	act_end(a, err, msg);
}

static void create_done(struct act *a)
{
	act_done(a, &(struct crisp_result){
		.size = sizeof(struct crisp_result), .pid = a->task->process.pid, .exit_source = CRISP_EXIT_BY_ENGINE,
	});
}

static void handle_sandbox_started(void *data, const struct reply *r)
{
	struct act *a = data;
	struct task *t = a->task;
	if (r->code) {
		create_failed(a, reply_errno(r), r->msg);
		return;
	}
	task_wait(t);
	task_wake(t);
	create_done(a);
}

static void handle_created(void *data, const struct reply *r)
{
	struct act *a = data;
	struct task *t = a->task;
	Shim__PidResponse *p = r->code ? NULL : (void *)protobuf_c_message_unpack(&shim__pid_response__descriptor,
										   NULL, r->len, r->data);
	if (!p) {
		create_failed(a, r->code ? reply_errno(r) : -EIO, r->code ? r->msg : "the reply can't be read");
		return;
	}
	t->process = process_of((int32_t)p->pid);
	task_save(t);
	protobuf_c_message_free_unpacked(&p->base, NULL);
	if (task_is_sandbox(t)) {
		Shim__ProcessRequest rq = SHIM__PROCESS_REQUEST__INIT;
		rq.id = t->id;
		link_send(t->link, "Start", &rq.base, a->deadline_ns, handle_sandbox_started, a);
		return;
	}
	task_wait(t);
	task_wake(t);
	create_done(a);
}

static void call_create(struct act *a, struct link *l)
{
	task_join(a->task, l);
	task_save(a->task);
	link_call(l, "Create", a->payload, a->payload_len, a->deadline_ns, handle_created, a);
}

static void handle_up(void *data, int err, const char *msg, const char *address, int version)
{
	struct act *a = data;
	char words[SHIM_MSG_MAX];
	if (err) {
		create_failed(a, err, msg);
		return;
	}
	struct link *l = link_get(a->inst, address, version);
	if (l) {
		call_create(a, l);
		return;
	}
	err = -errno;
	snprintf(words, sizeof(words), "connect to the shim at %.200s: %s", address, strerror(-err));
	create_failed(a, -EHOSTDOWN, words);
}

static int create(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args, const char *sandbox,
		  const char *bundle, const struct crisp_rootfs *root, const struct crisp_stdio *io)
{
	struct task *s = task_find(i, sandbox);
	if (!bundle || strlen(bundle) + 8 > SHIM_PATH_MAX || strlen(sandbox) > 255)
		return -EINVAL;
	if (task_find(i, args->id))
		return -EEXIST;
	struct act *a = act_new(i, r, args);
	struct task *t = a->task = task_new(i, args->id, sandbox, bundle);
	task_open_log(t, true);
	task_save(t);
	pack_create(a, t, root, io);
	/* A shim of the newer generation has all of a pod; an older one says where by its start. */
	if (s && s->link && s->link->fd >= 0 && s->link->version >= 3)
		call_create(a, s->link);
	else
		shim_start(i, t->id, t->bundle, root, a->deadline_ns, handle_up, a);
	return 0;
}

int life_create(struct crisp_instance *i, struct crisp_req *r, const struct crisp_create_args *args)
{
	return create(i, r, (const struct crisp_args *)args, args->sandbox_id, args->bundle, args->rootfs, args->stdio);
}

/* Without its stdio: nobody reads what a sandbox's first process says. */
int life_sandbox_create(struct crisp_instance *i, struct crisp_req *r, const struct crisp_sandbox_create_args *args)
{
	return create(i, r, (const struct crisp_args *)args, args->id, args->bundle, args->rootfs, NULL);
}

/* -- delete -- */

static void delete_on(struct act *a);

static void handle_left(struct act *a)
{
	act_end(a, 0, NULL);
}

/* Nothing is left of it. */
static void delete_over(struct act *a)
{
	struct task *t = a->task;
	struct link *l = t->link;
	a->task = NULL;
	task_free(t);
	if (l && !l->tasks) {
		a->then = handle_left;
		link_leave(l, a->id, a);
	} else {
		act_end(a, 0, NULL);
	}
}

static void delete_without_shim(struct act *a)
{
	task_await(a->task, a, delete_on);
	task_fall(a->task);
}

/* A shim may refuse to delete what it has made half: then its program is to clean up. */
static void handle_deleted(void *data, const struct reply *r)
{
	struct act *a = data;
	int err = reply_errno(r);
	if (!err || err == -ENOENT)
		delete_over(a);
	else if (err == -EHOSTDOWN)
		task_await(a->task, a, delete_on);
	else if (err != -ETIMEDOUT && a->flags & CRISP_ARG_FORCE)
		delete_without_shim(a);
	else
		act_reply(a, r);
}

/* One that a former core had begun may be in the shim or not. */
static void handle_killed(void *data, const struct reply *r)
{
	struct act *a = data;
	struct task *t = a->task;
	if (reply_errno(r) == -ENOENT && t->state == TASK_LIVE && !t->process.pid)
		t->state = TASK_ENDED;
	if (t->state == TASK_LIVE)
		task_await(t, a, delete_on);
	else
		delete_on(a);
}

static void delete_running(struct act *a)
{
	Shim__KillRequest rq = SHIM__KILL_REQUEST__INIT;
	rq.id = a->task->id;
	rq.signal = SIGKILL;
	rq.all = true;
	link_send(a->task->link, "Kill", &rq.base, a->deadline_ns, handle_killed, a);
}

static void delete_on(struct act *a)
{
	struct task *t = a->task;
	Shim__ProcessRequest rq = SHIM__PROCESS_REQUEST__INIT;
	t->deleting = true;
	switch (t->state) {
	case TASK_CREATING:
	case TASK_LOST:
		task_await(t, a, delete_on);
		break;
	case TASK_LIVE:
		if (a->flags & CRISP_ARG_FORCE)
			delete_running(a);
		else
			act_end(a, -EBUSY, "it runs");
		break;
	case TASK_ENDED:
		rq.id = t->id;
		link_send(t->link, "Delete", &rq.base, a->deadline_ns, handle_deleted, a);
		break;
	case TASK_GONE:
		delete_over(a);
		break;
	}
}

/* The shim that a former core had to do with, for a delete. */
static void handle_found(void *data, int err, const char *msg, const char *address, int version)
{
	struct act *a = data;
	struct task *t = a->task;
	struct link *l = err ? NULL : link_get(a->inst, address, version);
	if (l) {
		task_join(t, l);
		task_wait(t);
		delete_on(a);
	} else {
		task_await(t, a, delete_on);
		task_fall(t);
	}
}

int life_delete(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args)
{
	struct task *t = task_find(i, args->id);
	struct saved s;
	if (!t && task_saved(i, args->id, &s) < 0)
		return -ENOENT;
	struct act *a = act_new(i, r, args);
	if (t) {
		a->task = t;
		delete_on(a);
		return 0;
	}
	t = a->task = task_new(i, args->id, s.sandbox, s.bundle);
	t->process = s.process;
	t->deleting = true;
	task_open_log(t, !s.address[0]);
	if (s.address[0])
		handle_found(a, 0, NULL, s.address, s.version);
	else
		shim_start(i, t->id, t->bundle, NULL, a->deadline_ns, handle_found, a);
	return 0;
}

/* -- attach -- */

static void attach_gone(struct act *a)
{
	act_end(a, -ENOENT, "its shim is dead");
}

static uint32_t status_of(int status)
{
	switch (status) {
	case SHIM__TASK_STATUS__CREATED: return CRISP_STATUS_CREATED;
	case SHIM__TASK_STATUS__RUNNING: return CRISP_STATUS_RUNNING;
	case SHIM__TASK_STATUS__PAUSED: case SHIM__TASK_STATUS__PAUSING: return CRISP_STATUS_PAUSED;
	case SHIM__TASK_STATUS__STOPPED: return CRISP_STATUS_STOPPED;
	default: return CRISP_STATUS_UNKNOWN;
	}
}

static void attached(struct act *a, const Shim__StateResponse *st)
{
	struct task *t = a->task;
	struct crisp_result res = { .size = sizeof(res), .status = status_of(st->status), .wait_status = -1,
				    .exit_source = CRISP_EXIT_BY_ENGINE };
	t->process = process_of((int32_t)st->pid);
	if (res.status == CRISP_STATUS_STOPPED) {
		t->state = TASK_ENDED;
		res.wait_status = wait_status_of(st->exit_status);
		res.exited_at_ns = time_ns(st->exited_at);
	} else {
		struct task *s = task_find(a->inst, t->sandbox);
		res.pid = t->process.pid;
		task_wait(t);
		if (s && s->state == TASK_ENDED)
			task_kill(t);	/* nobody was there to do so at once */
	}
	task_wake(t);
	if (res.status == CRISP_STATUS_STOPPED && task_is_sandbox(t))
		act_end(a, -ENOENT, "its first process has ended");
	else
		act_done(a, &res);
}

static void handle_state(void *data, const struct reply *r)
{
	struct act *a = data;
	struct task *t = a->task;
	int err = reply_errno(r);
	Shim__StateResponse *st = err ? NULL : (void *)protobuf_c_message_unpack(&shim__state_response__descriptor,
										  NULL, r->len, r->data);
	if (st) {
		attached(a, st);
		protobuf_c_message_free_unpacked(&st->base, NULL);
	} else if (err == -EHOSTDOWN) {
		task_await(t, a, attach_gone);	/* the shim died just now */
	} else {
		if (t->state == TASK_CREATING)
			t->state = TASK_ENDED;
		task_wake(t);
		act_end(a, err ? err : -EIO, err ? r->msg : "the shim's reply can't be read");
	}
}

int life_attach(struct crisp_instance *i, struct crisp_req *r, const struct crisp_attach_args *args)
{
	struct saved s;
	if (task_find(i, args->id))
		return -EEXIST;
	if (task_saved(i, args->id, &s) < 0 || !s.address[0])
		return -ENOENT;
	struct act *a = act_new(i, r, (const struct crisp_args *)args);
	struct task *t = a->task = task_new(i, args->id, s.sandbox, s.bundle);
	t->process = s.process;
	task_open_log(t, false);
	struct link *l = link_get(i, s.address, s.version);
	if (!l) {
		task_await(t, a, attach_gone);
		task_fall(t);
		return 0;
	}
	Shim__ProcessRequest rq = SHIM__PROCESS_REQUEST__INIT;
	rq.id = t->id;
	task_join(t, l);
	link_send(l, "State", &rq.base, a->deadline_ns, handle_state, a);
	return 0;
}

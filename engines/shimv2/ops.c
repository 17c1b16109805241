/* Operations on a task that is there: one call to its shim each. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engines/shimv2/shimv2.h"

#define TYPE_PROCESS "types.containerd.io/opencontainers/runtime-spec/1/Process"
#define TYPE_RESOURCES "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"

static char *text(const char *s)
{
	return (char *)(uintptr_t)(s ? s : "");
}

/* An act on a living task; otherwise it has been answered, and NULL. */
static struct act *begin(struct crisp_instance *i, struct crisp_req *r, const void *args)
{
	struct act *a = act_new(i, r, args);
	struct task *t = task_find(i, a->id);
	if (!t) {
		act_end(a, -ENOENT, "no such container");
	} else if (!t->link || t->link->fd < 0) {
		act_end(a, -EHOSTDOWN, "its shim is dead");
	} else {
		a->task = t;
		return a;
	}
	return NULL;
}

static void handle_plain(void *data, const struct reply *r)
{
	struct act *a = data;
	act_end(a, reply_errno(r), r->code ? r->msg : NULL);
}

static int send_id(struct act *a, const char *method, reply_cb *cb)
{
	Shim__ProcessRequest rq = SHIM__PROCESS_REQUEST__INIT;
	rq.id = a->id;
	rq.exec_id = text(a->exec_id);
	link_send(a->task->link, method, &rq.base, a->deadline_ns, cb, a);
	return 0;
}

static int send_act(struct act *a, const char *method, const ProtobufCMessage *m, reply_cb *cb)
{
	link_send(a->task->link, method, m, a->deadline_ns, cb, a);
	return 0;
}

/* -- start -- */

static int32_t pid_of(const struct reply *r)
{
	Shim__PidResponse *p = (void *)protobuf_c_message_unpack(&shim__pid_response__descriptor, NULL, r->len,
								 r->data);
	int32_t pid = p ? (int32_t)p->pid : 0;
	if (p)
		protobuf_c_message_free_unpacked(&p->base, NULL);
	return pid;
}

static void handle_started(void *data, const struct reply *r)
{
	struct act *a = data;
	act_done(a, &(struct crisp_result){
		.size = sizeof(struct crisp_result), .err = reply_errno(r), .msg = r->msg,
		.pid = r->code ? 0 : pid_of(r), .exit_source = CRISP_EXIT_BY_ENGINE,
	});
}

int ops_start(struct crisp_instance *i, struct crisp_req *r, const struct crisp_start_args *args)
{
	struct act *a = begin(i, r, args);
	return a ? send_id(a, "Start", handle_started) : 0;
}

/* -- kill -- */

static void handle_killed(void *data, const struct reply *r)
{
	struct act *a = data;
	int err = reply_errno(r);
	act_end(a, err == -ENOENT ? -ESRCH : err, r->code ? r->msg : NULL);
}

int ops_kill(struct crisp_instance *i, struct crisp_req *r, const struct crisp_kill_args *args)
{
	struct act *a = begin(i, r, args);
	if (!a)
		return 0;
	if (a->task->state == TASK_ENDED) {
		act_end(a, -ESRCH, "it has ended");
		return 0;
	}
	Shim__KillRequest rq = SHIM__KILL_REQUEST__INIT;
	rq.id = a->id;
	rq.exec_id = text(a->exec_id);
	rq.signal = (uint32_t)args->signo;
	rq.all = args->flags & CRISP_ARG_ALL;
	return send_act(a, "Kill", &rq.base, handle_killed);
}

/* -- exec -- */

/* It could not be started: what has been prepared goes. */
static void handle_exec_refused(void *data, const struct reply *r)
{
	struct act *a = data;
	act_end(a, -EIO, a->payload ? (const char *)a->payload : "exec failed");
}

static void handle_exec_started(void *data, const struct reply *r)
{
	struct act *a = data;
	struct task *t = task_find(a->inst, a->id);
	if (r->code == 0 && t && t->link) {
		exec_wait(t, a->exec_id);
		handle_started(a, r);
	} else if (t && t->link && r->code != -EHOSTDOWN) {
		a->payload = (uint8_t *)strdup(r->msg);
		send_id(a, "Delete", handle_exec_refused);
	} else {
		act_end(a, -EHOSTDOWN, r->msg);
	}
}

static void handle_exec_made(void *data, const struct reply *r)
{
	struct act *a = data;
	struct task *t = task_find(a->inst, a->id);
	if (r->code || !t || !t->link)
		act_end(a, r->code ? reply_errno(r) : -EHOSTDOWN, r->msg);
	else
		send_id(a, "Start", handle_exec_started);
}

int ops_exec(struct crisp_instance *i, struct crisp_req *r, const struct crisp_exec_args *args)
{
	if (!args->process_json || !args->exec_id)
		return -EINVAL;
	struct act *a = begin(i, r, args);
	if (!a)
		return 0;
	Shim__ExecProcessRequest rq = SHIM__EXEC_PROCESS_REQUEST__INIT;
	Shim__Any spec = SHIM__ANY__INIT;
	const struct crisp_stdio *io = args->stdio;
	spec.type_url = text(TYPE_PROCESS);
	spec.value = (ProtobufCBinaryData){ strlen(args->process_json), (uint8_t *)text(args->process_json) };
	rq.id = a->id;
	rq.exec_id = a->exec_id;
	rq.terminal = io && io->flags & CRISP_STDIO_TTY;
	rq.stdin = text(io ? io->fifo_in : NULL);
	rq.stdout = text(io ? io->fifo_out : NULL);
	rq.stderr = text(io && !rq.terminal ? io->fifo_err : NULL);
	rq.spec = &spec;
	return send_act(a, "Exec", &rq.base, handle_exec_made);
}

/* -- the rest -- */

int ops_resize(struct crisp_instance *i, struct crisp_req *r, const struct crisp_resize_args *args)
{
	struct act *a = begin(i, r, args);
	if (!a)
		return 0;
	Shim__ResizePtyRequest rq = SHIM__RESIZE_PTY_REQUEST__INIT;
	rq.id = a->id;
	rq.exec_id = text(a->exec_id);
	rq.width = args->width;
	rq.height = args->height;
	return send_act(a, "ResizePty", &rq.base, handle_plain);
}

int ops_close_stdin(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args)
{
	struct act *a = begin(i, r, args);
	if (!a)
		return 0;
	Shim__CloseIORequest rq = SHIM__CLOSE_IOREQUEST__INIT;
	rq.id = a->id;
	rq.exec_id = text(a->exec_id);
	rq.stdin = true;
	return send_act(a, "CloseIO", &rq.base, handle_plain);
}

int ops_update(struct crisp_instance *i, struct crisp_req *r, const struct crisp_update_args *args)
{
	if (!args->resources_json)
		return -EINVAL;
	struct act *a = begin(i, r, args);
	if (!a)
		return 0;
	Shim__UpdateTaskRequest rq = SHIM__UPDATE_TASK_REQUEST__INIT;
	Shim__Any any = SHIM__ANY__INIT;
	any.type_url = text(TYPE_RESOURCES);
	any.value = (ProtobufCBinaryData){ strlen(args->resources_json), (uint8_t *)text(args->resources_json) };
	rq.id = a->id;
	rq.resources = &any;
	return send_act(a, "Update", &rq.base, handle_plain);
}

static void handle_stats(void *data, const struct reply *r)
{
	struct act *a = data;
	char *json = r->code ? NULL : stats_json(r);
	act_done(a, &(struct crisp_result){
		.size = sizeof(struct crisp_result), .err = r->code ? reply_errno(r) : json ? 0 : -EIO,
		.msg = r->code ? r->msg : "the shim's metrics can't be read",
		.data = json, .data_len = json ? (uint32_t)strlen(json) : 0,
	});
	free(json);
}

int ops_stats(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args)
{
	struct act *a = begin(i, r, args);
	return a ? send_id(a, "Stats", handle_stats) : 0;
}

static void handle_pids(void *data, const struct reply *r)
{
	struct act *a = data;
	Shim__PidsResponse *p = r->code ? NULL : (void *)protobuf_c_message_unpack(&shim__pids_response__descriptor,
										    NULL, r->len, r->data);
	char *json = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&json, &len);
	if (!f)
		abort();
	fputc('[', f);
	for (size_t i = 0; p && i < p->n_processes; i++)
		fprintf(f, "%s%u", i ? "," : "", p->processes[i]->pid);
	fputc(']', f);
	fclose(f);
	act_done(a, &(struct crisp_result){
		.size = sizeof(struct crisp_result), .err = r->code ? reply_errno(r) : p ? 0 : -EIO,
		.msg = r->code ? r->msg : "the shim's reply can't be read",
		.data = json, .data_len = (uint32_t)len,
	});
	free(json);
	if (p)
		protobuf_c_message_free_unpacked(&p->base, NULL);
}

int ops_pids(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args)
{
	struct act *a = begin(i, r, args);
	return a ? send_id(a, "Pids", handle_pids) : 0;
}

/* -- pause and resume: shims refuse what has been done already -- */

static bool has_status(const struct reply *r, Shim__TaskStatus wanted)
{
	Shim__StateResponse *st = r->code ? NULL : (void *)protobuf_c_message_unpack(&shim__state_response__descriptor,
										      NULL, r->len, r->data);
	bool has = st && st->status == wanted;
	if (st)
		protobuf_c_message_free_unpacked(&st->base, NULL);
	return has;
}

static void end_unless(struct act *a, bool good)
{
	act_end(a, good ? 0 : -EIO, good ? NULL : (const char *)a->payload);
}

static void handle_is_paused(void *data, const struct reply *r)
{
	end_unless(data, has_status(r, SHIM__TASK_STATUS__PAUSED));
}

static void handle_is_running(void *data, const struct reply *r)
{
	end_unless(data, has_status(r, SHIM__TASK_STATUS__RUNNING));
}

/* Refused for its state?  Then that is what counts. */
static void look_twice(struct act *a, const struct reply *r, reply_cb *cb)
{
	int err = reply_errno(r);
	struct task *t = task_find(a->inst, a->id);
	if (!err || err == -EHOSTDOWN || err == -ETIMEDOUT || err == -ENOENT || !t || !t->link) {
		act_end(a, err, r->code ? r->msg : NULL);
		return;
	}
	a->payload = (uint8_t *)strdup(r->msg);
	send_id(a, "State", cb);
}

static void handle_paused(void *data, const struct reply *r)
{
	look_twice(data, r, handle_is_paused);
}

static void handle_resumed(void *data, const struct reply *r)
{
	look_twice(data, r, handle_is_running);
}

int ops_pause(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args)
{
	struct act *a = begin(i, r, args);
	return a ? send_id(a, "Pause", handle_paused) : 0;
}

int ops_resume(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args)
{
	struct act *a = begin(i, r, args);
	return a ? send_id(a, "Resume", handle_resumed) : 0;
}

/*
 * The process behind a shared pid namespace: crisp-pause, run through the engine in an empty
 * read-only rootfs of its own, under the pod's id.  It is the namespace's init, so when it dies
 * the kernel ends every container of the pod.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/cgroup/slice.h"
#include "core/config/config.h"
#include "core/keep/keep.h"
#include "core/model/model_int.h"
#include "core/oci/oci.h"
#include "core/plug/plug.h"
#include "core/store/store.h"
#include "engines/engine.h"

static void handle_pause_exit(struct loop_child *child)
{
	struct pod *p = child->data;
	int status;
	loop_child_status(child, true, &status);
	keep_ack_exit(p->model->g.keep, p->pause_pid);
	loop_child_stop(child);
	p->pause_pid = 0;
	if (p->state == POD_STATE_READY) {
		log_warn("the pod's pause process ended by itself", "pod", p->id);
		pod_set_state(p, POD_STATE_NOTREADY);
	}
	record_note_pod(p);
	if (p->pause_exit)
		p->pause_exit(p);
}

void pause_watch(struct pod *p, pid_t pid, int pidfd)
{
	pod_keep_fd(p, "pid", pidfd);
	p->pause_pid = pid;
	p->pause_start = pid_start_time(pid);
	loop_child_start(&p->pause, p->model->g.loop, p->pool, pid, pidfd, handle_pause_exit, p);
}

static void handle_created(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	struct op *op = data;
	struct pod *p = op->data;
	struct err mine = { 0 };
	if (ret == 0) {
		int pidfd = res->pidfd >= 0 ? res->pidfd : pidfd_open_pid(res->pid);
		if (pidfd < 0) {
			ret = err_set(&mine, -pidfd, "the pause process is gone at once");
			e = &mine;
		} else {
			pause_watch(p, res->pid, pidfd);
		}
	}
	step_wake(op, ret, e);
}

/* The rootfs is the same empty one for all pods. */
static int make_rootfs(const char *rootfs, struct err *e)
{
	static const char *const dirs[] = { "dev", "proc", "sys" };
	int ret = file_mkdirs(rootfs, 0755, e);
	auto_close int dir = ret < 0 ? -1 : open(rootfs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < 3 && ret == 0; i++)
		if (mkdirat(dir, dirs[i], 0555) < 0 && errno != EEXIST)
			ret = err_sys(e, "make %s/%s", rootfs, dirs[i]);
	auto_close int file = ret < 0 ? -1 : openat(dir, "pause", O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
	if (ret == 0 && file < 0)
		ret = err_sys(e, "make %s/pause", rootfs);
	return ret;
}

int pause_write_bundle(struct pool *pool, struct pod *p, struct pause_bundle *b, struct err *e)
{
	size_t len;
	b->dir = pool_printf(pool, "%s/%s", pod_dir(pool, p), p->id);
	b->rootfs = pool_printf(pool, "%s/pause-rootfs", p->model->g.config->state);
	struct oci_pause in = {
		.pod_id = p->id,
		.rootfs = b->rootfs,
		.pause = pool_printf(pool, "%s/crisp-pause", p->model->g.config->libexec_dir),
		.cgroup_path = cgroup_oci_path(pool, pod_cgroup_leaf(pool, p)),
		.netns = fd_path(pool, p->net_fd),	/* no pin is where engines run */
		.ipcns = fd_path(pool, p->ipc_fd),
		.utsns = fd_path(pool, p->uts_fd),
		.userns = fd_path(pool, p->user_fd),
		.map = p->map,
		.annotations = pod_annotations(pool, p, NULL),
	};
	int ret = make_rootfs(b->rootfs, e);
	if (ret == 0)
		ret = file_mkdirs(b->dir, 0700, e);
	if (ret == 0)
		ret = oci_pause_spec(pool, p->model->g.host, &in, &b->spec, &len, e);
	if (ret == 0)
		ret = file_replace(AT_FDCWD, pool_printf(pool, "%s/config.json", b->dir), b->spec, len, 0600, e);
	return ret;
}

int step_create_pause(struct op *op)
{
	struct pod *p = op->data;
	if (!p->shared_pid)
		return 0;
	struct pause_bundle b;
	int ret = pause_write_bundle(op->pool, p, &b, &op->err);
	if (ret < 0)
		return ret;
	static const struct crisp_mount *const no_mounts[] = { NULL };
	struct crisp_rootfs root = { .size = sizeof(root), .path = b.rootfs, .mounts = no_mounts };
	struct crisp_stdio stdio = { .size = sizeof(stdio) };
	ret = stdio_fill(op->pool, &stdio, &op->err);
	if (ret < 0)
		return ret;
	struct crisp_create_args args = {
		.size = sizeof(args), .id = p->id, .sandbox_id = p->id, .bundle = b.dir, .rootfs = &root,
		.stdio = &stdio,
		.cgroup_path = cgroup_oci_path(op->pool, pod_cgroup_leaf(op->pool, p)),
	};
	p->pause_made = true;
	record_note_pod(p);
	return step_engine(op, plug_create(p->handler, &args, pod_create_timeout_ms(p), handle_created, op));
}

static void handle_step(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	if (res->pidfd >= 0)
		close(res->pidfd);	/* create's is the one that is watched */
	step_wake(data, ret, e);
}

int step_start_pause(struct op *op)
{
	struct pod *p = op->data;
	if (!p->shared_pid)
		return 0;
	struct crisp_start_args args = { .size = sizeof(args), .id = p->id };
	return step_engine(op, plug_start(p->handler, p->id, &args, pod_create_timeout_ms(p), handle_step, op));
}

/* -- its end -- */

static void handle_gone(struct pod *p)
{
	p->pause_exit = NULL;
	op_wake(p->pause_op, 0);
}

static void abort_gone(struct op *op)
{
	struct pod *p = op->data;
	p->pause_exit = NULL;
	op_wake(op, -ECANCELED);
}

static void kill_pause(struct pod *p, struct op *op, void (*gone)(struct pod *p))
{
	pidfd_signal(p->pause.pidfd, SIGKILL);
	p->pause_exit = gone;
	p->pause_op = op;
}

int step_kill_pause(struct op *op)
{
	struct pod *p = op->data;
	if (!p->pause.io.loop)
		return 0;
	kill_pause(p, op, handle_gone);
	op->abort_wait = abort_gone;
	return OP_WAIT;
}

static void deleted(struct op *op)
{
	struct pod *p = op->data;
	pod_keep_fd(p, "pid", -1);
	p->pause_made = false;
	op_wake(op, 0);
}

static void handle_deleted(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	struct op *op = data;
	struct pod *p = op->data;
	/* It is dead; what the engine still knows of it must not keep the pod from going. */
	if (ret < 0 && ret != -ENOENT)
		log_warn("the engine could not delete the pause container", "pod", p->id, "error", err_text(e));
	remove_leaf_cgroup(op, p->model->g.cgroups, pod_cgroup_leaf(op->pool, p), deleted);
}

int step_delete_pause(struct op *op)
{
	struct pod *p = op->data;
	if (!p->pause_made)
		return 0;
	return step_engine(op, plug_delete(p->handler, p->id, p->id, true, engine_timeout_ms(op), handle_deleted, op));
}

static void handle_half_made_gone(struct pod *p)
{
	struct op *op = p->pause_op;
	p->pause_exit = NULL;
	if (step_delete_pause(op) != OP_WAIT)
		op_wake(op, 0);
}

/* The engine need not know of the process, or not delete it. */
int step_undo_pause(struct op *op)
{
	struct pod *p = op->data;
	if (!p->pause.io.loop)
		return step_delete_pause(op);
	kill_pause(p, op, handle_half_made_gone);
	return OP_WAIT;
}

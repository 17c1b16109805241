/*
 * Engines with a sandbox of their own (a guest kernel, a shim for the pod): it is made with the
 * pod.  One that makes it from a bundle gets that of crisp-pause.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/config/config.h"
#include "core/model/model_int.h"
#include "core/oci/oci.h"
#include "core/plug/plug.h"
#include "core/sandboxfs/sandboxfs.h"
#include "core/store/store.h"

static bool wants_bundle(const struct pod *p)
{
	return plug_can(p->handler, CRISP_CAP_SANDBOX_OWN | CRISP_CAP_SANDBOX_NEEDS_ROOTFS);
}

static const char *bundle_dir(struct pool *pool, const struct pod *p)
{
	/* Named by its id: shims look for it so. */
	return pool_printf(pool, "%s/%s", pod_dir(pool, p), p->id);
}

static void handle_spec(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	struct op *op = data;
	struct pod *p = op->data;
	struct err mine = { 0 };
	if (ret == 0 && res->data_len) {
		ret = file_replace(AT_FDCWD, pool_printf(op->pool, "%s/config.json", bundle_dir(op->pool, p)),
				   res->data, res->data_len, 0600, &mine);
		e = &mine;
	}
	step_wake(op, ret, e);
}

int step_prepare_sandbox(struct op *op)
{
	struct pod *p = op->data;
	struct pause_bundle b;
	if (!wants_bundle(p))
		return 0;
	/* Engines put what a sandbox itself has to say there. */
	int ret = p->config->log_directory[0] ? file_mkdirs(p->config->log_directory, 0755, &op->err) : 0;
	if (ret == 0)
		ret = pause_write_bundle(op->pool, p, &b, &op->err);
	if (ret < 0 || !plug_has(p->handler, PLUG_OP_PREPARE_SPEC))
		return ret;
	struct crisp_spec_args args = { .size = sizeof(args), .id = p->id, .spec_json = b.spec,
					.facts_json = facts_json(op->pool, p, NULL) };
	return step_engine(op, plug_call(p->handler, PLUG_OP_PREPARE_SPEC, &args, p->id, ENGINE_TIMEOUT_MS,
					 handle_spec, op));
}

static void handle_created(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	struct op *op = data;
	struct pod *p = op->data;
	struct err mine = { 0 };
	if (ret == 0)
		p->sandbox_pid = res->pid;
	if (ret == 0 && res->pidfd >= 0)
		close(res->pidfd);	/* the engine watches it */
	if (ret == 0 && res->state_len) {
		ret = store_write(p->model->g.store, STORE_POD, p->id, "engine.state", res->state,
				  res->state_len, &mine);
		e = &mine;
	}
	step_wake(op, ret, e);
}

static const char *resources(struct op *op, const struct pod *p)
{
	const Cri__LinuxPodSandboxConfig *lc = p->config->linux;
	const char *json;
	size_t len;
	if (!lc || !lc->resources ||
	    oci_resources_json(op->pool, p->model->g.host, lc->resources, &json, &len, &op->err) < 0)
		return NULL;
	return json;
}

int step_create_sandbox(struct op *op)
{
	struct pod *p = op->data;
	if (!plug_can(p->handler, CRISP_CAP_SANDBOX_OWN))
		return 0;
	/* The pod's /dev/shm has to be where the engine's own processes are: they outlive this call. */
	const char *mnt = sandboxfs_mnt_dir(p->model->g.sandboxfs);
	struct crisp_mount shm = {
		.size = sizeof(shm), .type = "tmpfs", .source = "shm",
		.target = pool_printf(op->pool, "%s/shm", mnt), .fd = p->shm_fd,
	};
	const struct crisp_mount *mounts[] = { p->shm_fd < 0 ? NULL : &shm, NULL };
	struct crisp_rootfs root = {
		.size = sizeof(root), .mounts = mounts,
		.path = pool_printf(op->pool, "%s/pause-rootfs", p->model->g.config->state),
	};
	struct crisp_stdio stdio = { .size = sizeof(stdio) };
	struct crisp_sandbox_create_args args = {
		.size = sizeof(args), .id = p->id, .stdio = &stdio, .netns_path = p->netns_pin,
		.bundle = wants_bundle(p) ? bundle_dir(op->pool, p) : NULL,
		.rootfs = wants_bundle(p) ? &root : NULL,
		.cgroup_path = p->cgroup_parent, .config_json = facts_json(op->pool, p, NULL),
		.resources_json = resources(op, p),
	};
	if (op->err.code || stdio_fill(op->pool, &stdio, &op->err) < 0)
		return -op->err.code;
	p->sandbox_made = true;
	record_note_pod(p);
	return step_engine(op, plug_sandbox_create(p->handler, &args, pod_create_timeout_ms(p), handle_created, op));
}

static void deleted(struct op *op)
{
	struct pod *p = op->data;
	p->sandbox_made = false;
	p->sandbox_pid = 0;
	containers_gone(p);
	op_wake(op, 0);
}

static void handle_deleted(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	struct op *op = data;
	struct pod *p = op->data;
	if (ret < 0 && ret != -ENOENT)
		step_wake(op, ret, e);
	else if (wants_bundle(p))
		remove_leaf_cgroup(op, p->model->g.cgroups, pod_cgroup_leaf(op->pool, p), deleted);
	else
		deleted(op);
}

int step_delete_sandbox(struct op *op)
{
	struct pod *p = op->data;
	if (!p->sandbox_made)
		return 0;
	return step_engine(op, plug_sandbox_delete(p->handler, p->id, true, engine_timeout_ms(op), handle_deleted, op));
}

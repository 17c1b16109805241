/*
 * Does a container in a user namespace work here, with this engine?  Kernels, file systems, versions
 * of engines and the way to the state directory all have a say, so one is made: crisp-pause, on an
 * overlay in the root directory, with a mapped volume, in namespaces like a pod's.  What it finds
 * is looked at, and it goes again.  A proof is good for the state directory's life.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/cgroup/slice.h"
#include "core/config/config.h"
#include "core/image/image.h"
#include "core/keep/keep.h"
#include "core/model/model_int.h"
#include "core/oci/oci.h"
#include "core/plug/plug.h"
#include "core/sandboxfs/sandboxfs.h"

/* How long a test may take, also beside all the pods of a node that has just booted, and how long the
 * way up waits for it. */
enum { TEST_MS = 60000, PATIENCE_MS = 3000, PROOF_MAX = 64 << 10, NOTE_MAX = 4096 };

static const struct idmap test_map = { 1u << 30, 65536, 1u << 30, 65536 };
static const char test_id[] = "userns-test";	/* each handler's engine has ids of its own */

struct userns_test {
	struct op op;
	struct model *model;
	struct plug_handler *handler;
	struct sandbox_fds ns;
	const char *dir, *pin, *cgroup, *cgroup_made;
	const char *old_cgroup;		/* of a core that died over its test; NULL: none */
	struct crisp_mount mounts[2];
	const struct crisp_mount *mount_list[3];
	struct crisp_rootfs rootfs;
	struct loop_child child;
	pid_t pid;
	bool ns_made, created;
};

static struct userns_test *test_of(struct op *op)
{
	return op->data;
}

/* -- namespaces -- */

static void handle_ns(void *data, int ret, const struct sandbox_fds *fds, const struct err *e)
{
	struct op *op = data;
	if (ret == 0)
		test_of(op)->ns = *fds;
	step_wake(op, ret, e);
}

static int make_ns(struct op *op)
{
	struct userns_test *t = test_of(op);
	struct sandbox_ns ns = { .pin = t->pin, .ipc = true, .uts = true, .map = &test_map, .user = -1 };
	t->ns_made = true;
	return step_spawn(op, sandboxfs_make_ns(t->model->g.sandboxfs, op->pool, &ns, TEST_MS, handle_ns, op));
}

static int drop_ns(struct op *op)
{
	struct userns_test *t = test_of(op);
	int *const fds[] = { &t->ns.net, &t->ns.netdev, &t->ns.ipc, &t->ns.uts, &t->ns.shm, &t->ns.user };
	for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
	if (!t->ns_made)
		return 0;
	t->ns_made = false;
	return step_spawn(op, sandboxfs_unpin(t->model->g.sandboxfs, op->pool, t->pin, step_work_done, op));
}

/* -- files -- */

static int make_files(struct op *op)
{
	static const char *const dirs[] = { "image/layer/dev", "image/layer/proc", "image/layer/sys", "image/layer/volume",
					    "upper", "work", "volume" };
	struct userns_test *t = test_of(op);
	int ret = 0;
	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs) && ret == 0; i++)
		ret = file_mkdirs(pool_printf(op->pool, "%s/%s", t->dir, dirs[i]), 0755, &op->err);
	const char *upper = pool_printf(op->pool, "%s/upper", t->dir);
	if (ret == 0 && chown(upper, test_map.uid, test_map.gid) < 0)
		ret = err_sys(&op->err, "give %s to user %u", upper, test_map.uid);
	for (size_t i = 0; i < 2 && ret == 0; i++)
		ret = file_replace(AT_FDCWD, pool_printf(op->pool, "%s/image/layer/%s", t->dir, i ? "pause" : "file"), "",
				   0, 0755, &op->err);
	return ret;
}

static void handle_removed(void *data, int ret, const struct err *e)
{
	if (ret < 0)
		log_warn("files of a test stay until the next start", "error", err_text(e));
}

static int remove_files(struct op *op)
{
	struct userns_test *t = test_of(op);
	sandboxfs_remove_trees(t->model->g.sandboxfs, t->model->pool, &t->dir, 1, handle_removed, NULL);
	return 0;
}

/* -- the bundle -- */

static Cri__Mount mount_of(const char *to, bool mapped, Cri__IDMapping **map)
{
	Cri__Mount m = CRI__MOUNT__INIT;
	m.container_path = (char *)(uintptr_t)to;
	m.readonly = !mapped;
	m.n_uidmappings = m.n_gidmappings = mapped;
	m.uidmappings = m.gidmappings = map;
	return m;
}

/* As a container of the CRI would have it. */
static int put_spec(struct userns_test *t, struct op *op, const char **json, size_t *len)
{
	struct pool *p = op->pool;
	const char *mnt = sandboxfs_mnt_dir(t->model->g.sandboxfs);
	Cri__IDMapping map = CRI__IDMAPPING__INIT, *maps[] = { &map };
	map.host_id = test_map.uid;
	map.length = test_map.n_uids;
	Cri__UserNamespace user = CRI__USER_NAMESPACE__INIT;
	user.n_uids = user.n_gids = 1;
	user.uids = user.gids = maps;
	Cri__NamespaceOption ns = CRI__NAMESPACE_OPTION__INIT;
	ns.pid = CRI__NAMESPACE_MODE__CONTAINER;
	ns.userns_options = &user;
	Cri__LinuxSandboxSecurityContext security = CRI__LINUX_SANDBOX_SECURITY_CONTEXT__INIT;
	security.namespace_options = &ns;
	Cri__LinuxPodSandboxConfig linux_config = CRI__LINUX_POD_SANDBOX_CONFIG__INIT;
	linux_config.security_context = &security;
	Cri__PodSandboxConfig pod = CRI__POD_SANDBOX_CONFIG__INIT;
	pod.linux = &linux_config;
	Cri__Mount program = mount_of("/pause", false, NULL), volume = mount_of("/volume", true, maps);
	Cri__Mount *mounts[] = { &program, &volume };
	char *command[] = { (char *)(uintptr_t)"/pause" };
	Cri__ContainerConfig ctr = CRI__CONTAINER_CONFIG__INIT;
	ctr.n_mounts = 2;
	ctr.mounts = mounts;
	ctr.n_command = 1;
	ctr.command = command;
	struct oci_mount sources[] = {
		{ .source = pool_printf(p, "%s/crisp-pause", t->model->g.config->libexec_dir) },
		{ .source = t->mounts[1].target, .is_dir = true },
	};
	const struct oci_prepared prep = { .home = "/", .mounts = sources, .n_mounts = 2 };
	const struct image_config image = { 0 };
	const struct oci_input in = {
		.pod_id = test_id, .ctr_id = test_id, .pod = &pod, .ctr = &ctr, .image = &image, .prep = &prep,
		.rootfs = pool_printf(p, "%s/rootfs", mnt), .cgroup_path = cgroup_oci_path(p, t->cgroup),
		.netns = fd_path(p, t->ns.net), .ipcns = fd_path(p, t->ns.ipc), .utsns = fd_path(p, t->ns.uts),
		.userns = fd_path(p, t->ns.user),
	};
	return oci_container_spec(p, t->model->g.host, &in, json, len, &op->err);
}

static void describe_rootfs(struct userns_test *t, struct pool *p)
{
	const char *mnt = sandboxfs_mnt_dir(t->model->g.sandboxfs), **options = pool_alloc(p, 4 * sizeof(*options));
	options[0] = pool_printf(p, "lowerdir=%s/image/layer", t->dir);
	options[1] = pool_printf(p, "upperdir=%s/upper", t->dir);
	options[2] = pool_printf(p, "workdir=%s/work", t->dir);
	t->mounts[0] = (struct crisp_mount){
		.size = sizeof(t->mounts[0]), .type = "overlay", .source = "overlay",
		.target = pool_printf(p, "%s/rootfs", mnt), .options = options, .userns = t->ns.user,
	};
	t->mounts[1] = (struct crisp_mount){
		.size = sizeof(t->mounts[1]), .type = "bind", .source = pool_printf(p, "%s/volume", t->dir),
		.target = pool_printf(p, "%s/volumes/1", mnt), .userns = t->ns.user,
	};
	t->mount_list[0] = &t->mounts[0];
	t->mount_list[1] = &t->mounts[1];
	t->rootfs = (struct crisp_rootfs){ .size = sizeof(t->rootfs), .path = t->mounts[0].target,
					   .mounts = t->mount_list };
}

static int write_bundle(struct op *op)
{
	struct userns_test *t = test_of(op);
	const char *json;
	size_t len;
	describe_rootfs(t, op->pool);
	int ret = put_spec(t, op, &json, &len);
	return ret < 0 ? ret : file_replace(AT_FDCWD, pool_printf(op->pool, "%s/config.json", t->dir), json, len, 0600,
					    &op->err);
}

/* -- its cgroup: a scope's name is new each time, so it is noted for whoever comes after us -- */

static const char *note_path(struct op *op)
{
	struct userns_test *t = test_of(op);
	return pool_printf(op->pool, "%s/engines/%s/userns-test", t->model->g.config->state, t->handler->name);
}

static int note_cgroup(struct op *op)
{
	const char *path = test_of(op)->cgroup;
	return file_replace(AT_FDCWD, note_path(op), path, strlen(path), 0600, &op->err);
}

static void read_note(struct op *op)
{
	struct userns_test *t = test_of(op);
	const char *parent = cgroups_parent(t->model->g.cgroups);
	size_t n = strlen(parent);
	struct buf b = { 0 };
	if (file_read(AT_FDCWD, note_path(op), NOTE_MAX, &b, NULL) == 0 && b.len > n && !memcmp(b.data, parent, n) &&
	    b.data[n] == '/')
		t->old_cgroup = pool_strndup(op->pool, b.data, b.len);
	buf_free(&b);
}

/* -- the container -- */

static void handle_exit(struct loop_child *c)
{
	struct userns_test *t = c->data;
	int status;
	loop_child_status(c, true, &status);
	keep_ack_exit(t->model->g.keep, t->pid);
	loop_child_stop(c);
}

static void handle_created(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	struct op *op = data;
	struct userns_test *t = test_of(op);
	struct err mine = { 0 };
	if (ret == 0) {
		int pidfd = res->pidfd >= 0 ? res->pidfd : pidfd_open_pid(res->pid);
		t->pid = res->pid;
		if (pidfd < 0)
			ret = err_set(&mine, -pidfd, "the new process is gone at once");
		else
			loop_child_start(&t->child, op->loop, op->pool, res->pid, pidfd, handle_exit, t);
		if (ret < 0)
			e = &mine;
	}
	step_wake(op, ret, e);
}

static int create(struct op *op)
{
	struct userns_test *t = test_of(op);
	int ret = cgroup_make_parents(t->model->g.cgroups, op->pool, t->cgroup, &t->cgroup_made, &op->err);
	struct crisp_stdio stdio = { .size = sizeof(stdio) };
	if (ret == 0)
		ret = note_cgroup(op);
	if (ret == 0)
		ret = stdio_fill(op->pool, &stdio, &op->err);
	if (ret < 0)
		return ret;
	struct crisp_create_args args = {
		.size = sizeof(args), .id = test_id, .sandbox_id = test_id, .bundle = t->dir, .rootfs = &t->rootfs,
		.stdio = &stdio, .cgroup_path = cgroup_oci_path(op->pool, t->cgroup),
	};
	return step_engine(op, plug_create(t->handler, &args, TEST_MS, handle_created, op));
}

static void handle_started(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	if (res->pidfd >= 0)
		close(res->pidfd);
	step_wake(data, ret, e);
}

static int start(struct op *op)
{
	struct crisp_start_args args = { .size = sizeof(args), .id = test_id };
	return step_engine(op, plug_start(test_of(op)->handler, test_id, &args, TEST_MS, handle_started, op));
}

/* Is this file there the root's of the namespace? */
static int check_owner(struct op *op, const char *path)
{
	struct stat st;
	const char *full = pool_printf(op->pool, "/proc/%d/root%s", (int)test_of(op)->pid, path);
	if (stat(full, &st) < 0)
		return err_sys(&op->err, "look at %s in the container", path);
	if (st.st_uid != test_map.uid || st.st_gid != test_map.gid)
		return err_set(&op->err, ENOTSUP, "%s in the container belongs to %u:%u, not to its root %u:%u", path,
			       st.st_uid, st.st_gid, test_map.uid, test_map.gid);
	return 0;
}

static int look(struct op *op)
{
	struct userns_test *t = test_of(op);
	struct stat made, joined;
	const char *path = pool_printf(op->pool, "/proc/%d/ns/user", (int)t->pid);
	if (fstat(t->ns.user, &made) < 0 || stat(path, &joined) < 0)
		return err_sys(&op->err, "look at the container's user namespace");
	if (made.st_ino != joined.st_ino)
		return err_set(&op->err, ENOTSUP, "the container is not in the user namespace that was made for it");
	int ret = check_owner(op, "/file");
	return ret < 0 ? ret : check_owner(op, "/volume");
}

static void leaf_gone(struct op *op)
{
	struct userns_test *t = test_of(op);
	cgroup_remove_made(t->model->g.cgroups, t->cgroup, t->cgroup_made, NULL);	/* its parents */
	op_wake(op, 0);
}

/* An engine that was killed in its create may know nothing of the process that it has begun. */
static void handle_deleted(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	struct op *op = data;
	struct userns_test *t = test_of(op);
	remove_leaf_cgroup(op, t->model->g.cgroups, t->cgroup, leaf_gone);
}

static int del(struct op *op)
{
	struct userns_test *t = test_of(op);
	return step_engine(op, plug_delete(t->handler, test_id, test_id, true, TEST_MS, handle_deleted, op));
}

static void old_gone(struct op *op)
{
	op_wake(op, 0);
}

static void handle_old_deleted(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	struct op *op = data;
	struct userns_test *t = test_of(op);
	if (t->old_cgroup)
		remove_leaf_cgroup(op, t->model->g.cgroups, t->old_cgroup, old_gone);
	else
		op_wake(op, 0);
}

static int delete_old(struct op *op)
{
	struct userns_test *t = test_of(op);
	read_note(op);
	return step_engine(op, plug_delete(t->handler, test_id, test_id, true, TEST_MS, handle_old_deleted, op));
}

static const struct op_step test_steps[] = {
	{ "make namespaces", make_ns, drop_ns },
	{ "make files", make_files, remove_files },
	{ "write bundle", write_bundle, NULL },
	{ "delete old", delete_old, NULL },
	{ "engine create", create, del },
	{ "engine start", start, NULL },
	{ "look", look, NULL },
	{ "engine delete", del, NULL },
	{ "remove files", remove_files, NULL },
	{ "drop namespaces", drop_ns, NULL },
	{ 0 }
};

/* -- the verdict -- */

/* One call of model_test_userns(). */
struct userns_round {
	struct model *model;
	struct pool *pool;
	unsigned left;			/* tests under way, and the call itself */
	void (*done)(void *data);	/* NULL: told */
	void *data;
	struct loop_timer patience;
};

struct userns_end {
	struct op_waiter end;
	struct userns_round *round;
};

static const char *proof_path(struct pool *p, struct model *m, const struct plug_handler *h)
{
	return pool_printf(p, "%s/engines/%s/userns-works", m->g.config->state, h->name);
}

/* For which engine it holds. */
static const char *proof_text(struct pool *p, const struct plug_handler *h)
{
	return pool_printf(p, "%s %s %s\n", h->engine, h->version, h->options);
}

static bool is_proven(struct pool *p, struct model *m, const struct plug_handler *h)
{
	struct buf b = { 0 };
	const char *want = proof_text(p, h);
	bool is = file_read(AT_FDCWD, proof_path(p, m, h), PROOF_MAX, &b, NULL) == 0 && b.len == strlen(want) &&
		  !memcmp(b.data, want, b.len);
	buf_free(&b);
	return is;
}

static void test_done(struct op *op, int ret)
{
	struct userns_test *t = test_of(op);
	struct plug_handler *h = t->handler;
	const char *text = proof_text(op->pool, h);
	struct err e = { 0 };
	plug_handler_userns(h, ret == 0, err_text(&op->err));
	if (ret < 0)
		log_warn("no user namespaces", "handler", h->name, "error", err_text(&op->err));
	else if (file_replace(AT_FDCWD, proof_path(op->pool, t->model, h), text, strlen(text), 0600, &e) < 0)
		log_warn("user namespaces will be tested again", "handler", h->name, "error", err_text(&e));
	loop_destroy_later(op->loop, op->pool);
}

static const struct op_table test_table = { "test user namespaces", test_steps, NULL, test_done };

static struct op *begin(struct model *m, struct plug_handler *h)
{
	struct pool *pool = pool_new(m->pool, "user namespace test");
	struct userns_test *t = pool_new_struct(pool, struct userns_test);
	char id[65];
	random_id(id);
	id[16] = 0;	/* what an earlier core has left has other names, and is swept */
	t->model = m;
	t->handler = h;
	t->ns = (struct sandbox_fds){ .net = -1, .netdev = -1, .ipc = -1, .uts = -1, .shm = -1, .user = -1 };
	t->dir = pool_printf(pool, "%s/rw/.test-%s", m->g.config->root, id);
	t->pin = sandboxfs_pin_path(m->g.sandboxfs, pool, pool_printf(pool, "test-%s", id));
	/* The name of a scope is the whole node's.  One that is left is systemd's to remove. */
	const char *parent = cgroups_parent(m->g.cgroups);
	t->cgroup = cgroup_leaf(pool, parent, pool_printf(pool, "%s-%s", slice_is(parent) ? id : test_id, h->name));
	op_start(&t->op, &test_table, m->g.loop, pool, t, h->name, TEST_MS);
	return &t->op;
}

static void tell(struct userns_round *r)
{
	void (*done)(void *data) = r->done;
	r->done = NULL;
	loop_timer_stop(&r->patience);
	if (done)
		done(r->data);
}

static void one_over(struct userns_round *r)
{
	if (--r->left)
		return;
	loop_destroy_later(r->model->g.loop, r->pool);
	tell(r);
}

static void handle_end(struct op_waiter *w, int ret, const struct err *e)
{
	one_over(container_of(w, struct userns_end, end)->round);
}

static void handle_impatience(struct loop_timer *t)
{
	tell(t->data);
}

void model_test_userns(struct model *m, void (*done)(void *data), void *data)
{
	struct pool *pool = pool_new(m->pool, "user namespace tests");
	struct userns_round *r = pool_new_struct(pool, struct userns_round);
	*r = (struct userns_round){ .model = m, .pool = pool, .left = 1, .done = done, .data = data };
	struct plug_handler *h;
	for (size_t i = 0; (h = plug_handler_at(m->g.plug, i)); i++) {
		if (!plug_handler_userns_due(h))
			continue;
		if (is_proven(pool, m, h)) {
			plug_handler_userns(h, true, "");
			continue;
		}
		struct userns_end *end = pool_new_struct(pool, struct userns_end);
		end->round = r;
		r->left++;
		op_join(begin(m, h), &end->end, handle_end, NULL);
	}
	if (done)
		loop_timer_start(&r->patience, m->g.loop, pool, PATIENCE_MS, 0, handle_impatience, r);
	one_over(r);
}

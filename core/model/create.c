/*
 * CreateContainer: rootfs, spec, log, and the engine's create.  The overlay itself is mounted by
 * the one spawn that needs it, in a mount namespace of its own; here is only said where its
 * layers are.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/cgroup/slice.h"
#include "core/config/config.h"
#include "core/image/image.h"
#include "core/model/advice.h"
#include "core/model/console.h"
#include "core/model/model_int.h"
#include "core/oci/oci.h"
#include "core/plug/plug.h"
#include "core/sandboxfs/sandboxfs.h"
#include "core/spawn/spawn.h"
#include "core/store/store.h"
#include "engines/engine.h"

enum { PREPARE_OUT_MAX = 4 << 20 };

/* The operation, and what its steps hand on. */
struct create {
	struct op op;
	struct oci_prepared prepared;
	const char *spec;
	int child_in, child_out, child_err;	/* ends for the container; -1: none */
	struct fifos fifos;			/* instead, where the engine opens paths */
	struct console *console;		/* under tty */
};

static struct create *create_of(struct op *op)
{
	return container_of(op, struct create, op);
}

/* -- record, image -- */

static int drop_record(struct op *op)
{
	struct container *c = op->data;
	return store_remove(c->model->g.store, STORE_CONTAINER, c->id, &op->undo_err);
}

static int hold_image(struct op *op)
{
	struct container *c = op->data;
	int ret = image_hold(c->model->g.images, c->image_id);
	if (ret < 0)
		return err_set(&op->err, -ret, "image %s is gone", c->image_id);
	c->held = true;
	return 0;
}

int step_release_image(struct op *op)
{
	struct container *c = op->data;
	if (c->held)
		image_release(c->model->g.images, c->image_id);
	c->held = false;
	return 0;
}

/* -- what only the disk can tell -- */

static void take_prepared(struct container *c, const struct oci_prepared *pr)
{
	c->uid = pr->uid;
	c->gid = pr->gid;
	c->n_groups = pr->n_groups;
	c->groups = pool_memdup(c->pool, pr->groups, pr->n_groups * sizeof(*pr->groups));
	c->mount_sources = pool_alloc(c->pool, (pr->n_mounts + 1) * sizeof(*c->mount_sources));
	for (size_t i = 0; i < pr->n_mounts; i++) {
		c->mount_sources[i] = pool_strdup(c->pool, pr->mounts[i].source);
		if (pr->mounts[i].made)
			log_info("made the missing source of a mount", "ctr", c->id, "source",
				 pr->mounts[i].source);
	}
}

static void handle_prepared(void *data, struct spawn_result *r)
{
	struct op *op = data;
	struct container *c = op->data;
	struct create *cr = create_of(op);
	struct err e = { 0 };
	int ret = r->err.code || r->wait_status ? spawn_check(r, "crisp-work", &e) : 0;
	/* The worker's own words name the field; its name and exit code would only be in the way. */
	if (ret < 0 && r->ran && !r->timed_out && !r->cancelled && r->err_out.len) {
		r->err_out.data[strcspn(r->err_out.data, "\n")] = 0;
		e = (struct err){ 0 };
		ret = err_set(&e, EINVAL, "%s", r->err_out.data);
	}
	if (ret == 0)
		ret = oci_prepare_parse(op->pool, c->config, r->out.data, r->out.len, &cr->prepared, &e);
	if (ret == 0)
		take_prepared(c, &cr->prepared);
	step_wake(op, ret, &e);
}

static const struct image *image_of(const struct container *c)
{
	return image_held(c->model->g.images, c->image_id);
}

static int prepare(struct op *op)
{
	struct container *c = op->data;
	const struct image *im = image_of(c);
	const char *rw = container_rw_dir(op->pool, c), *json;
	struct oci_layers layers = {
		.dirs = im->layers, .n = im->n_layers,
		.upper = pool_printf(op->pool, "%s/upper", rw), .work = pool_printf(op->pool, "%s/work", rw),
	};
	size_t len;
	int ret = oci_prepare_request(op->pool, c->pod->config, c->config, &im->config, &layers,
				      !c->pod->policy.no_host_devices, &json, &len, &op->err);
	if (ret < 0)
		return ret;
	struct spawn_plan plan = SPAWN_PLAN_INIT;
	plan.path = sandboxfs_work_path(c->model->g.sandboxfs);
	plan.argv = (const char *const[]){ "crisp-work", "prepare", NULL };
	plan.input = json;
	plan.input_len = len;
	plan.out_max = PREPARE_OUT_MAX;
	plan.err_max = 4096;
	plan.timeout_ms = WORK_TIMEOUT_MS;
	return step_spawn(op, spawn_start(c->model->g.spawner, op->pool, &plan, handle_prepared, op));
}

static void handle_rw_removed(void *data, int ret, const struct err *e)
{
	if (ret < 0)
		log_warn("a writable layer stays until the next start", "error", err_text(e));
}

/* Out of sight at once, under a name with a dot; nobody waits for the files to go one by one. */
int step_remove_rw(struct op *op)
{
	struct container *c = op->data;
	struct model *m = c->model;
	const char *dir = container_rw_dir(op->pool, c);
	const char *doomed = pool_printf(op->pool, "%s/rw/.%s", m->g.config->root, c->id);
	rmdir(pool_printf(op->pool, "%s/%s", sandboxfs_mnt_dir(m->g.sandboxfs), c->id));
	if (rename(dir, doomed) < 0)
		return errno == ENOENT ? 0 : err_sys(op->state == OP_STATE_UNDOING ? &op->undo_err : &op->err,
						     "move %s away", dir);
	sandboxfs_remove_trees(m->g.sandboxfs, m->pool, &doomed, 1, handle_rw_removed, NULL);
	return 0;
}

/* -- the spec -- */

static int pid_path(struct pool *pool, struct container *c, const struct oci_ns *ns, const char **path,
		    struct err *e)
{
	*path = NULL;
	if (ns->pid == OCI_NS_POD) {
		pid_t pid = c->pod->pause_pid ? c->pod->pause_pid : c->pod->sandbox_pid;
		if (pid)
			*path = pool_printf(pool, "/proc/%d/ns/pid", (int)pid);
		return 0;
	}
	if (ns->pid != OCI_NS_TARGET)
		return 0;
	struct container *t = model_container(c->model, ns->target_id);
	if (!t || t->pod != c->pod || t->state != CONTAINER_STATE_RUNNING)
		return err_set(e, EINVAL, "linux.security_context.namespace_options.target_id \"%s\": "
			       "not a running container of this pod", ns->target_id);
	*path = pool_printf(pool, "/proc/%d/ns/pid", t->pid);
	return 0;
}

/*
 * Engines that live as long as the pod see the roots of all its containers, so each has a place of
 * its own; it lies where mounts stay private.  They look for it at rootfs in the bundle.
 */
static bool own_root(const struct container *c)
{
	return plug_can(c->pod->handler, CRISP_CAP_ROOTFS_MOUNTS);
}

char *container_root(struct pool *p, const struct container *c)
{
	return pool_printf(p, "%s/%s", sandboxfs_mnt_dir(c->model->g.sandboxfs), own_root(c) ? c->id : "rootfs");
}

static int make_root(struct op *op)
{
	struct container *c = op->data;
	if (!own_root(c))
		return 0;
	const char *root = container_root(op->pool, c);
	int ret = file_mkdirs(root, 0711, &op->err);
	if (ret < 0)
		return ret;
	const char *link = pool_printf(op->pool, "%s/rootfs", container_dir(op->pool, c));
	return symlink(root, link) < 0 && errno != EEXIST ? err_sys(&op->err, "link %s", link) : 0;
}

/* Do we make this mount, and leave the engine but a bind of it?  With mapped ids, so that any engine
 * has such; and options in a user namespace, where engines have been seen to forget them. */
static bool is_ours(const struct container *c, const Cri__Mount *m)
{
	return m->n_uidmappings || (c->pod->map.n_uids && m->n_mount_options);
}

/* Where the i-th mount of the config is found by an engine then. */
static const char *our_source(struct pool *pool, const struct container *c, size_t i)
{
	return pool_printf(pool, "%s/volumes/%zu", sandboxfs_mnt_dir(c->model->g.sandboxfs), i);
}

static void use_our_sources(struct pool *pool, const struct container *c, struct oci_prepared *pr)
{
	for (size_t i = 0; i < pr->n_mounts; i++)
		if (is_ours(c, c->config->mounts[i]))
			pr->mounts[i].source = our_source(pool, c, i);
}

static int write_spec(struct op *op)
{
	struct container *c = op->data;
	struct pod *p = c->pod;
	const struct image *im = image_of(c);
	const char *dir = pod_dir(op->pool, p), *mnt = sandboxfs_mnt_dir(c->model->g.sandboxfs);
	struct oci_ns ns;
	oci_ns_of(p->config, c->config, &ns);
	struct oci_input in = {
		.pod_id = p->id, .ctr_id = c->id, .pod = p->config, .ctr = c->config,
		.image = &im->config, .image_name = c->config->image->image,
		.prep = &create_of(op)->prepared,
		.rootfs = container_root(op->pool, c),
		.cgroup_path = cgroup_oci_path(op->pool, c->cgroup),
		.netns = fd_path(op->pool, p->net_fd),	/* no pin is where engines run */
		.ipcns = fd_path(op->pool, p->ipc_fd),
		.utsns = fd_path(op->pool, p->uts_fd),
		.userns = fd_path(op->pool, p->user_fd),
		.annotations = pod_annotations(op->pool, p, c),
		.no_host_devices = p->policy.no_host_devices,
		.hostname = p->config->hostname,
		.resolv_conf = pool_printf(op->pool, "%s/resolv.conf", dir),
		.hosts = pool_printf(op->pool, "%s/hosts", dir),
		.hostname_file = pool_printf(op->pool, "%s/hostname", dir),
		.shm = p->shm_fd < 0 ? NULL : pool_printf(op->pool, "%s/shm", mnt),
	};
	const char *json = NULL;
	size_t len;
	use_our_sources(op->pool, c, &create_of(op)->prepared);
	int ret = pid_path(op->pool, c, &ns, &in.pidns, &op->err);
	if (ret == 0)
		ret = oci_container_spec(op->pool, c->model->g.host, &in, &json, &len, &op->err);
	if (ret == 0 && p->policy.spec_json)
		ret = oci_spec_below(op->pool, p->policy.spec_json, &json, &len, &op->err);
	if (ret == 0)
		ret = store_write(c->model->g.store, STORE_CONTAINER, c->id, "config.json", json, len, &op->err);
	create_of(op)->spec = json;
	return ret;
}

/* -- the engine's touch on the spec -- */

static void handle_spec(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	struct op *op = data;
	struct container *c = op->data;
	struct err mine = { 0 };
	if (ret == 0 && res->data_len) {
		ret = store_write(c->model->g.store, STORE_CONTAINER, c->id, "config.json", res->data,
				  res->data_len, &mine);
		e = &mine;
	}
	step_wake(op, ret, e);
}

static int prepare_spec(struct op *op)
{
	struct container *c = op->data;
	struct create *cr = create_of(op);
	if (!plug_has(c->pod->handler, PLUG_OP_PREPARE_SPEC))
		return 0;
	struct crisp_spec_args args = { .size = sizeof(args), .id = c->id, .spec_json = cr->spec,
					.facts_json = facts_json(op->pool, c->pod, c) };
	return step_engine(op, plug_call(c->pod->handler, PLUG_OP_PREPARE_SPEC, &args, c->pod->id,
					 ENGINE_TIMEOUT_MS, handle_spec, op));
}

/* -- output -- */

/* A pipe: our end is kept, the child's end is closed with the op. */
static int open_pipe(struct op *op, int *ours, int *childs, bool child_reads)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(&op->err, "make a pipe");
	*childs = fds[child_reads ? 0 : 1];
	*ours = fds[child_reads ? 1 : 0];
	give_to_user(op->data, *childs);
	fd_set_nonblock(*ours);
	pool_fd(op->pool, *childs);
	return 0;
}

/* The FIFOs lie in the container's folder and go with it. */
static int open_fifos(struct op *op, int *out, int *err)
{
	struct container *c = op->data;
	struct create *cr = create_of(op);
	int ret = fifos_make(op->pool, container_dir(op->pool, c), "fifo-", c->config->stdin, c->config->tty,
			     &cr->fifos, &op->err);
	c->stdin_fd = cr->fifos.in_fd;
	*out = cr->fifos.out_fd;
	*err = cr->fifos.err_fd;
	return ret;
}

static int open_output(struct op *op)
{
	struct container *c = op->data;
	struct create *cr = create_of(op);
	bool fifos = plug_can(c->pod->handler, CRISP_CAP_STDIO_FIFO);
	if (c->config->tty && !fifos)
		return console_listen(op->pool, container_dir(op->pool, c), "tty", &cr->console, &op->err);
	int out = -1, err = -1, ret = fifos ? open_fifos(op, &out, &err) : 0;
	if (!fifos && c->config->stdin)
		ret = open_pipe(op, &c->stdin_fd, &cr->child_in, true);
	if (!fifos && ret == 0)
		ret = open_pipe(op, &out, &cr->child_out, false);
	if (!fifos && ret == 0)
		ret = open_pipe(op, &err, &cr->child_err, false);
	if (ret < 0) {
		if (out >= 0)
			close(out);
		return ret;
	}
	container_keep_fd(c, "out", out);
	if (err >= 0)
		container_keep_fd(c, "err", err);
	if (c->stdin_fd >= 0)
		container_keep_fd(c, "in", c->stdin_fd);
	if (plug_can(c->pod->handler, CRISP_CAP_START_STDIO))
		container_keep_start_fds(c, (const int[3]){ cr->child_in, cr->child_out, cr->child_err });
	return container_open_log(c, out, err, &op->err);
}

static int close_output(struct op *op)
{
	container_drop_fds(op->data);
	return 0;
}

/* -- the engine -- */

/* Under tty the engine has sent the master by now. */
static int take_console(struct container *c, struct create *cr, struct err *e)
{
	if (!cr->console)
		return 0;
	int master = console_take(cr->console, e);
	if (master < 0)
		return master;
	container_keep_fd(c, "out", master);
	return container_open_log(c, master, -1, e);
}

static int watch(struct container *c, const struct crisp_result *res, struct err *e)
{
	bool by_engine = res->exit_source == CRISP_EXIT_BY_ENGINE ||
			 (!res->exit_source && plug_can(c->pod->handler, CRISP_CAP_EXIT_BY_ENGINE));
	if (res->state_len && store_write(c->model->g.store, STORE_CONTAINER, c->id, "engine.state", res->state,
					  res->state_len, e) < 0)
		return -e->code;
	if (by_engine) {
		if (res->pidfd >= 0)
			close(res->pidfd);
		container_watch_by_engine(c, res->pid);
		return 0;
	}
	int pidfd = res->pidfd >= 0 ? res->pidfd : pidfd_open_pid(res->pid);
	if (pidfd < 0)
		return err_set(e, -pidfd, "the new process is gone at once");
	container_watch(c, res->pid, pidfd);
	return 0;
}

static void handle_created(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	struct op *op = data;
	struct container *c = op->data;
	struct err mine = { 0 };
	if (ret == 0) {
		ret = watch(c, res, &mine);
		if (ret == 0)
			ret = take_console(c, create_of(op), &mine);
	} else {
		mine = *e;
		if (advise_on_command(&mine, c->config->command, c->config->n_command) && mine.code == EIO) {
			container_put_off(op, &mine);
			return;
		}
	}
	step_wake(op, ret, &mine);
}

/* overlay options: lowerdir topmost first */
static const char *const *overlay_options(struct pool *pool, const struct container *c, const struct image *im)
{
	struct buf lower = { 0 };
	for (size_t i = im->n_layers; i-- > 0;)
		buf_printf(&lower, "%s%s", lower.len ? ":" : "", im->layers[i]);
	const char **o = pool_alloc(pool, 4 * sizeof(*o));
	const char *rw = container_rw_dir(pool, c);
	o[0] = pool_printf(pool, "lowerdir=%s", lower.data ? lower.data : "");
	o[1] = pool_printf(pool, "upperdir=%s/upper", rw);
	o[2] = pool_printf(pool, "workdir=%s/work", rw);
	buf_free(&lower);
	return o;
}

static struct crisp_mount our_mount(struct pool *pool, const struct container *c, size_t i)
{
	const Cri__Mount *m = c->config->mounts[i];
	const char **options = pool_alloc(pool, (m->n_mount_options + 1) * sizeof(*options));
	for (size_t k = 0; k < m->n_mount_options; k++)
		options[k] = m->mount_options[k];
	return (struct crisp_mount){
		.size = sizeof(struct crisp_mount), .type = "bind", .source = c->mount_sources[i],
		.target = our_source(pool, c, i), .options = options,
		.userns = m->n_uidmappings ? c->pod->user_fd : -1,
	};
}

const struct crisp_rootfs *container_rootfs(struct pool *pool, const struct container *c)
{
	const char *mnt = sandboxfs_mnt_dir(c->model->g.sandboxfs);
	const char *path = container_root(pool, c);
	size_t n = 0, n_volumes = c->config->n_mounts;
	int userns = c->pod->user_fd;
	struct crisp_mount *m = pool_alloc(pool, (n_volumes + 2) * sizeof(*m));
	m[n++] = (struct crisp_mount){
		.size = sizeof(*m), .type = "overlay", .source = "overlay", .target = path,
		.options = overlay_options(pool, c, image_of(c)), .userns = userns,
	};
	if (c->pod->shm_fd >= 0)
		m[n++] = (struct crisp_mount){
			.size = sizeof(*m), .type = "tmpfs", .source = "shm",
			.target = pool_printf(pool, "%s/shm", mnt), .fd = c->pod->shm_fd,
		};
	for (size_t i = 0; i < n_volumes; i++)
		if (is_ours(c, c->config->mounts[i]))
			m[n++] = our_mount(pool, c, i);
	const struct crisp_mount **mounts = pool_alloc(pool, (n + 1) * sizeof(*mounts));
	for (size_t i = 0; i < n; i++)
		mounts[i] = &m[i];
	mounts[n] = NULL;
	struct crisp_rootfs *root = pool_new_struct(pool, struct crisp_rootfs);
	*root = (struct crisp_rootfs){ .size = sizeof(*root), .path = path, .mounts = mounts,
				       .image_ref = c->image_ref };
	return root;
}

static int engine_create(struct op *op)
{
	struct container *c = op->data;
	struct pod *p = c->pod;
	struct create *cr = create_of(op);
	struct crisp_stdio stdio = {
		.size = sizeof(stdio), .flags = c->config->tty ? CRISP_STDIO_TTY : 0,
		.in = cr->child_in, .out = cr->child_out, .err = cr->child_err,
		.console_socket = cr->console ? console_path(cr->console) : NULL,
		.fifo_in = cr->fifos.in, .fifo_out = cr->fifos.out, .fifo_err = cr->fifos.err,
	};
	int ret = stdio_fill(op->pool, &stdio, &op->err);
	if (ret < 0)
		return ret;
	struct crisp_create_args args = {
		.size = sizeof(args), .id = c->id, .sandbox_id = p->id,
		.bundle = container_dir(op->pool, c), .rootfs = container_rootfs(op->pool, c), .stdio = &stdio,
		.cgroup_path = cgroup_oci_path(op->pool, c->cgroup),
	};
	c->made = true;
	record_note_container(c);	/* a delete is owed from here on */
	return step_engine(op, plug_create(p->handler, &args, pod_create_timeout_ms(p), handle_created, op));
}

static int make_created(struct op *op)
{
	struct container *c = op->data;
	if (c->pod->state != POD_STATE_READY)
		return err_set(&op->err, EBUSY, "pod %s is %s", c->pod->id, pod_state_name(c->pod->state));
	if (!c->alive && !c->cannot_run)
		return err_set(&op->err, EIO, "its process ended before it could be started");
	cgroup_oom_kills(c->model->g.cgroups, c->cgroup, &c->oom_before);
	container_set_state(c, CONTAINER_STATE_CREATED);
	return 0;
}

/* Read down for what happens, up for how it is taken back. */
static const struct op_step create_steps[] = {
	{ "keep record", NULL, drop_record },
	{ "hold image", hold_image, step_release_image },
	{ "prepare", prepare, step_remove_rw },
	{ "make root", make_root, NULL },
	{ "write spec", write_spec, NULL },
	{ "prepare spec", prepare_spec, NULL },
	{ "open output", open_output, close_output },
	{ "engine create", engine_create, step_delete_container },
	{ "make created", make_created, NULL },
	{ 0 }
};

static void save(struct op *op, const char *step, bool undoing)
{
	record_note_container(op->data);
}

static void handle_claimed(struct loop_defer *d)
{
	record_note_container(d->data);
}

static void create_done(struct op *op, int ret)
{
	struct container *c = op->data;
	c->op = NULL;
	loop_destroy_later(op->loop, op->pool);
	if (ret < 0) {
		log_warn("container could not be created", "ctr", c->id, "pod", c->pod->id, "name",
			 c->config->metadata->name, "error", err_text(&op->err));
		container_forget(c);
		return;
	}
	/* Should the core die before its caller is answered, the next to ask gets it. */
	c->unclaimed = true;
	record_note_container(c);
	loop_defer(op->loop, &c->claimed, handle_claimed, c);
}

const struct op_table create_table = { "create", create_steps, save, create_done };

/* -- the request -- */

static void answer_again(struct container *c, struct model_wait *w)
{
	struct err e = { 0 };
	if (c->op && c->op->table == &create_table) {
		w->claim = &c->unclaimed;
	wait_op(w, c->op, c->id);
	} else if (c->unclaimed) {
		c->unclaimed = false;
		record_note_container(c);
		wait_done(w, c->id);
	} else {
		err_set(&e, EEXIST, "config.metadata: container \"%s\" (attempt %u) exists already in pod %s, its id is %s",
			c->config->metadata->name, c->config->metadata->attempt, c->pod->id, c->id);
		wait_fail(w, c->id, &e);
	}
}

static int keep_config(struct container *c, struct err *e)
{
	struct store *s = c->model->g.store;
	struct pool *tmp = pool_new(NULL, "config");
	size_t len;
	void *data = pb_pack(tmp, c->config, &len);
	int ret = store_make(s, STORE_CONTAINER, c->id, e);
	if (ret == 0)
		ret = store_write(s, STORE_CONTAINER, c->id, "config.pb", data, len, e);
	pool_destroy(tmp);
	return ret;
}

char *container_rw_dir(struct pool *p, const struct container *c)
{
	return pool_printf(p, "%s/rw/%s", c->model->g.config->root, c->id);
}

static struct container *make_container(struct pod *p, const Cri__ContainerConfig *config, const struct image *im,
					int stop_signal)
{
	char id[65];
	random_id(id);
	struct container *c = container_new(p, id);
	c->config = pb_copy(c->pool, config);
	c->image_id = pool_strdup(c->pool, im->id);
	c->image_ref = pool_strdup(c->pool, im->n_repo_digests ? im->repo_digests[0] : im->id);
	c->created_ns = clock_real_ns();
	c->cgroup = cgroup_leaf(c->pool, p->cgroup_parent, id);
	c->log_path = container_log_path(c->pool, p, c->config);
	c->stop_signal = stop_signal;
	container_enter(c);
	return c;
}

static struct op *new_op(struct container *c)
{
	struct pool *pool = pool_new(c->pool, "create");
	struct create *cr = pool_new_struct(pool, struct create);
	cr->child_in = cr->child_out = cr->child_err = -1;
	cr->op.pool = pool;
	return &cr->op;
}

struct op *create_unwind(struct container *c, const char *step)
{
	c->op = new_op(c);
	op_unwind(c->op, &create_table, c->model->g.loop, c->op->pool, c, c->id, step);
	return c->op;
}

void model_create(struct model *m, const char *pod_id, const Cri__ContainerConfig *config, struct model_wait *w)
{
	struct err e = { 0 };
	struct pod *p = model_pod(m, pod_id);
	if (!p) {
		err_set(&e, ENOENT, "pod_sandbox_id \"%s\": no such pod", pod_id);
		wait_fail(w, NULL, &e);
		return;
	}
	if (oci_check_container(m->g.host, p->config, config, p->handler->rro, &e) < 0) {
		/* "RROUnsupported...": the kubelet knows the word with the code Unknown alone. */
		if (e.code == ENOTSUP)
			e.code = EIO;
		wait_fail(w, NULL, &e);
		return;
	}
	struct pool *tmp = pool_new(NULL, "key");
	struct map_node *n = map_get(&m->container_names, container_key(tmp, p, config->metadata));
	pool_destroy(tmp);
	if (n) {
		answer_again(container_of(n, struct container, by_name), w);
		return;
	}
	const struct image *im = image_find(m->g.images, config->image->image);
	int stop_signal = im ? oci_stop_signal(config, im->config.stop_signal, &e) : 0;
	if (p->state != POD_STATE_READY || p->op)
		err_set(&e, EBUSY, "pod_sandbox_id %s: the pod is %s, not ready", p->id,
			p->op ? p->op->table->name : pod_state_name(p->state));
	else if (!im)
		err_set(&e, ENOENT, "config.image.image \"%s\": no such image on this node", config->image->image);
	if (e.code) {
		wait_fail(w, NULL, &e);
		return;
	}
	struct container *c = make_container(p, config, im, stop_signal);
	if (keep_config(c, &e) < 0) {
		store_remove(m->g.store, STORE_CONTAINER, c->id, NULL);
		container_forget(c);
		wait_fail(w, NULL, &e);
		return;
	}
	c->op = new_op(c);
	op_start(c->op, &create_table, m->g.loop, c->op->pool, c, c->id, OP_TIMEOUT_MS);
	w->claim = &c->unclaimed;
	wait_op(w, c->op, c->id);
}

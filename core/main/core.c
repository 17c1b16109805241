/*
 * The core's life: take over from the keeper, stand everything up, recover, listen, serve,
 * leave.
 *
 *	take over ▶ ground ▶ template namespace ▶ handlers settle ▶ AppArmor ▶ recover ▶ test engines ▶ listen ▶ ready
 */
#include "core/main/core.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/cgroup/cgroup.h"
#include "core/config/config.h"
#include "core/cri/cri.h"
#include "core/image/image.h"
#include "core/keep/keep.h"
#include "core/keep/wire.h"
#include "core/loop/loop.h"
#include "core/main/apparmor.h"
#include "core/main/holder.h"
#include "core/main/lean.h"
#include "core/main/notify.h"
#include "core/main/reload.h"
#include "core/main/precedence.h"
#include "core/model/model.h"
#include "core/oci/oci.h"
#include "core/op/fault.h"
#include "core/plug/net.h"
#include "core/plug/plug.h"
#include "core/sandboxfs/sandboxfs.h"
#include "core/sock/sock.h"
#include "core/spawn/spawn.h"
#include "core/store/store.h"
#include "core/stream/stream.h"

enum { HELPERS_WAIT_MS = 5000, LEAVE_MS = 2000, TRIM_MS = 20000, MMAP_BYTES = 128 << 10 };

struct core {
	const struct core_args *args;
	struct pool *pool;
	const struct config *config;	/* in force: of args, with the handlers of the last reload */
	struct pool *config_pool;	/* of the last reload; NULL: there was none */
	struct loop *loop;
	struct model_ground g;
	struct model *model;
	struct grpc_server *server;
	struct stream_server *streams;
	struct cri cri;
	struct oci_host host;
	int ready_fd, code;
	bool holds;			/* the state is ours, and so is the holder's socket */
	bool recovered, again;
	struct loop_signal sigterm, sigint, sighup, sigusr2;
	int listen_fd;			/* of an earlier core; -1: none */
	struct loop_defer test_again;
	struct loop_timer leaving, trim;
};

static void give_up(struct core *c, const struct err *e)
{
	log_error("can't start", "error", err_text(e));
	c->code = c->config ? 1 : 2;
	loop_stop(c->loop);
}

/* -- signals -- */

static void handle_left(struct loop_timer *t)
{
	struct core *c = t->data;
	grpc_server_close(c->server);
	loop_stop(c->loop);
}

/* SIGUSR2: the core alone, for the sake of a new binary; clients wait in the socket's queue. */
static void handle_leave(struct loop_signal *s, int signo)
{
	struct core *c = s->data;
	c->again = signo == SIGUSR2 && keep_pid(c->g.keep);
	if (!c->again)
		notify_systemd("STOPPING=1");
	if (!c->server) {
		loop_stop(c->loop);
		return;
	}
	grpc_server_shutdown(c->server);
	cri_end(&c->cri);
	if (!c->again) {
		unlink(c->config->socket);
		keep_drop(c->g.keep, KEEP_KEY_SOCKET);
	}
	if (!grpc_server_connections(c->server)) {
		loop_stop(c->loop);
		return;
	}
	/* Calls under way may end; what takes longer is taken up by the next core. */
	loop_timer_start(&c->leaving, c->loop, c->pool, LEAVE_MS, 0, handle_left, c);
}

static void handle_test_again(struct loop_defer *d)
{
	struct core *c = d->data;
	model_test_userns(c->model, NULL, NULL);
}

/* A handler has become ready, or an operator has put right what kept one from it. */
static void test_again(struct core *c)
{
	if (c->server)
		loop_defer(c->loop, &c->test_again, handle_test_again, c);
}

static void reload(struct core *c, struct pool *p, const struct config *fresh)
{
	struct pool *was = c->config_pool;
	c->config = config_reloaded(p, c->config, fresh);
	c->config_pool = p;
	c->cri.config = c->config;
	log_set_level((enum log_level)c->config->log_level);
	config_keep(c->g.keep, p, c->config);
	model_reload(c->model, c->config);
	handlers_apply(c->g.plug, c->config);
	test_again(c);
	if (was)
		pool_destroy(was);
}

/* One that comes before handlers are there is of no use: they are the file's. */
static void handle_reload(struct loop_signal *s, int signo)
{
	struct core *c = s->data;
	const struct core_args *a = c->args;
	struct pool *p = pool_new(c->pool, "reload");
	struct config *fresh;
	struct err e = { 0 };
	if (!c->model) {
		pool_destroy(p);
		return;
	}
	if (config_load(p, a->config_file, a->sets, a->n_sets, a->exe_dir, &fresh, &e) < 0) {
		log_error("the configuration stays as it was", "error", err_text(&e));
	} else {
		reload(c, p, fresh);
		return;
	}
	pool_destroy(p);
}

/* -- the keeper -- */

/* Everything is on disk at any time, as for a crash. */
static void handle_keeper_lost(void *data)
{
	struct core *c = data;
	struct err e = { 0 };
	const char *keeper = pool_printf(c->pool, "%s/crisp-keeper", c->config->libexec_dir);
	if (c->g.cgroups)
		cgroups_exit_helpers(c->g.cgroups);
	precedence_give_back();
	keep_revive(c->g.keep, keeper, c->args->keeper_argv, &e);
	precedence_take();
	log_error("going on without a keeper", "error", err_text(&e));
}

/* A core that takes up from one that died goes on with the configuration of that one, whatever has
 * been written into the file since: only a start and a reload take it from there. */
static int take_config(struct core *c, struct err *e)
{
	struct err why = { 0 };
	struct pool *p = pool_new(c->pool, "config");
	const struct config *kept = config_kept(c->g.keep, p, c->args->exe_dir, &why);
	if (kept) {
		c->config = kept;	/* p lasts: each reload borrows from it */
		log_set_level((enum log_level)kept->log_level);
		return 0;
	}
	pool_destroy(p);
	if (why.code)
		log_error("the configuration in force is lost, the file's is taken", "error", err_text(&why));
	if (!c->config)
		return err_set(e, EINVAL, "%s", c->args->config_error);
	config_keep(c->g.keep, c->pool, c->config);
	return 0;
}

static int take_over(struct core *c, struct err *e)
{
	const struct core_args *a = c->args;
	if (a->keep_sock < 0) {
		c->g.keep = keep_none(c->loop, c->pool);
	} else {
		int ret = keep_open(c->loop, c->pool, a->keep_sock, &c->g.keep, e);
		if (ret < 0)
			return ret;
	}
	keep_on_lost(c->g.keep, handle_keeper_lost, c);
	/* Only the first core has inherited it: that number is another fd by now.  Or a new
	 * crispd has given it to a keeper of before. */
	c->ready_fd = keep_generation(c->g.keep) ? keep_take(c->g.keep, KEEP_KEY_READY) :
						   a->ready_fd;
	if (c->ready_fd >= 0)
		fd_set_cloexec(c->ready_fd, 1);
	return take_config(c, e);
}

/* One crisp a state directory.  The lock belongs to the open file, which the keeper holds too. */
static int lock_state(struct core *c, struct err *e)
{
	const char *state = c->config->state, *path = pool_printf(c->pool, "%s/lock", state);
	int ret = file_mkdirs(state, 0711, e);
	int fd = keep_take(c->g.keep, KEEP_KEY_LOCK);
	if (fd >= 0)
		pool_fd(c->pool, fd);
	if (ret < 0 || fd >= 0)
		return ret;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(e, "open %s", path);
	pool_fd(c->pool, fd);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? err_set(e, EBUSY, "another crisp is using %s", state) :
					      err_sys(e, "lock %s", path);
	keep_put(c->g.keep, KEEP_KEY_LOCK, fd);
	return 0;
}

static char *holder_path(const struct core *c)
{
	return pool_printf(c->pool, "%s/" KEEP_HOLDER_SOCKET, c->config->state);
}

/* Where the next crispd asks the keeper.  The socket is the keeper's to read. */
static int open_holder(struct core *c, struct err *e)
{
	const char *path = holder_path(c);
	int fd = keep_take(c->g.keep, KEEP_KEY_HOLDER);
	c->holds = true;
	if (fd >= 0)
		pool_fd(c->pool, fd);
	if (fd >= 0 && access(path, F_OK) == 0)
		return 0;
	fd = holder_listen(path, e);
	if (fd < 0)
		return fd;
	pool_fd(c->pool, fd);
	keep_put(c->g.keep, KEEP_KEY_HOLDER, fd);
	return 0;
}

/* -- the ground -- */

static void handle_engine_exit(void *data, const char *id, const char *exec_id, int wait_status, int64_t at_ns)
{
	struct core *c = data;
	model_engine_exit(c->model, id, exec_id, wait_status, at_ns);
}

static void handle_engine_oom(void *data, const char *id)
{
	struct core *c = data;
	model_engine_oom(c->model, id);
}

static void handle_sandbox_gone(void *data, const char *id, const char *reason)
{
	struct core *c = data;
	model_sandbox_gone(c->model, id, reason);
}

static void handle_handler(void *data, const char *name)
{
	test_again(data);
}

static int open_images(struct core *c, struct err *e)
{
	const struct config *cf = c->config;
	struct image_mirror *mirrors = pool_alloc(c->pool, (cf->n_mirrors + 1) * sizeof(*mirrors));
	for (size_t i = 0; i < cf->n_mirrors; i++)
		mirrors[i] = (struct image_mirror){ cf->mirrors[i].host, cf->mirrors[i].urls };
	struct image_options o = {
		.root = cf->root, .libexec_dir = cf->libexec_dir, .plain_http = cf->plain_http,
		.mirrors = mirrors, .n_mirrors = cf->n_mirrors, .auth_file = cf->auth_file,
		.pinned = cf->pinned,
	};
	return image_store_open(c->loop, c->pool, c->g.spawner, &o, &c->g.images, e);
}

static void open_plugins(struct core *c)
{
	static const struct plug_events events = {
		.exited = handle_engine_exit, .oom = handle_engine_oom, .sandbox_gone = handle_sandbox_gone,
		.handler = handle_handler,
	};
	const struct config *cf = c->config;
	struct plug_options po = { .engine_dir = cf->engine_dir, .libexec_dir = cf->libexec_dir,
				   .state_dir = cf->state, .mntns_fd = -1 };
	c->g.plug = plug_new(c->loop, c->pool, c->g.spawner, c->g.keep, &po, &events, c);
	c->g.net = net_plug_new(c->loop, c->pool, c->g.spawner, cf->netplug_dir, cf->libexec_dir,
				pool_printf(c->pool, "%s/net", cf->state), cf->network_plugin,
				cf->network_options_json);
}

static int open_ground(struct core *c, struct err *e)
{
	const struct config *cf = c->config;
	if (!strcmp(cf->images_store, "erofs"))
		return err_set(e, ENOSYS, "images.store: erofs is not supported yet, expected dir or auto");
	if (access(cf->registries_dir, F_OK) == 0)
		log_warn("registries.dir is not read yet: use registries.mirrors and plain_http", "dir",
			 cf->registries_dir);
	int ret = cgroups_open(c->pool, cf->cgroup_parent, &c->g.cgroups, e);
	if (ret == 0)
		ret = cgroups_kill_helpers(c->g.cgroups, HELPERS_WAIT_MS, e);
	if (ret == 0)
		ret = cgroups_enter_helpers(c->g.cgroups, e);
	if (ret < 0)
		return ret;
	precedence_take();
	size_t n;
	const int *procs = cgroups_home_procs(c->g.cgroups, &n);
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	c->g.spawner = spawner_new(c->loop, c->pool, (unsigned)(cpus < 1 ? 2 : 2 * cpus), procs, n);
	c->g.sandboxfs = sandboxfs_new(c->loop, c->pool, c->g.spawner, cf->libexec_dir, cf->state, cf->netns_dir,
				       cf->netns_prefix);
	ret = store_open(c->pool, cf->state, &c->g.store, e);
	if (ret == 0)
		ret = file_mkdirs(pool_printf(c->pool, "%s/rw", cf->root), 0711, e);
	if (ret == 0)
		ret = open_images(c, e);
	if (ret < 0)
		return ret;
	oci_host_probe(c->pool, &c->host);
	c->host.cgroup_v2 = cgroups_v2(c->g.cgroups);
	c->host.systemd_cgroups = cgroups_systemd(c->g.cgroups);
	log_info("cgroups", "driver", cf->cgroup_driver, "parent", cgroups_parent(c->g.cgroups), "version",
		 c->host.cgroup_v2 ? "2" : "1");
	c->g.host = &c->host;
	c->g.config = cf;
	c->g.loop = c->loop;
	open_plugins(c);
	c->model = model_new(pool_new(c->pool, "model"), &c->g);
	return 0;
}

/* -- the way up -- */

static void listen_now(void *data)
{
	struct core *c = data;
	struct err e = { 0 };
	const struct config *cf = c->config;
	int fd = c->listen_fd;
	if (fd >= 0 && !sock_is_at(fd, cf->socket)) {
		close(fd);
		fd = -1;
	}
	if (fd < 0)
		fd = sock_listen(cf->socket, 0660, &e);
	if (fd < 0) {
		give_up(c, &e);
		return;
	}
	keep_put(c->g.keep, KEEP_KEY_SOCKET, fd);
	const struct stream_ground streams = { c->loop, c->model, c->g.sandboxfs, c->pool };
	if (stream_server_open(c->pool, &streams, cf->stream_address, cf->stream_port, &c->streams, &e) < 0) {
		give_up(c, &e);
		return;
	}
	c->cri = (struct cri){ .model = c->model, .images = c->g.images, .plug = c->g.plug, .net = c->g.net,
			       .streams = c->streams, .loop = c->loop, .config = c->config,
			       .version = CRISP_VERSION };
	cri_begin(&c->cri, c->pool);
	c->server = grpc_server_new(c->loop, c->pool, fd, cri_methods, &c->cri);
	lean_after_start();
	loop_lag_reset(c->loop);
	log_info("ready", "socket", cf->socket, "pods", log_num((long long)c->model->pods.len));
	notify_ready_fd(&c->ready_fd);
	keep_drop(c->g.keep, KEEP_KEY_READY);
	notify_systemd("READY=1");
}

/* Whoever asks for the node's status is told what it can, from the first time on. */
static void handle_recovered(void *data)
{
	struct core *c = data;
	c->recovered = true;
	model_test_userns(c->model, listen_now, c);
}

static void handle_profiles(void *data)
{
	struct core *c = data;
	model_recover(c->model, handle_recovered, c);
}

static void handle_network_settled(void *data)
{
	struct core *c = data;
	apparmor_load(c->g.spawner, c->pool, &c->host, !keep_generation(c->g.keep), handle_profiles, c);
}

static void handle_engines_settled(void *data)
{
	struct core *c = data;
	net_plug_when_settled(c->g.net, handle_network_settled, c);
}

static void use_template(struct core *c, int mntns)
{
	keep_put(c->g.keep, "mntns", mntns);
	pool_fd(c->pool, mntns);
	plug_set_mntns(c->g.plug, mntns);
	handlers_apply(c->g.plug, c->config);
	plug_when_settled(c->g.plug, handle_engines_settled, c);
}

static void handle_template(void *data, int ret, int mntns, const struct err *e)
{
	struct core *c = data;
	if (ret < 0)
		give_up(c, e);
	else
		use_template(c, mntns);
}

static void start(struct core *c)
{
	struct err e = { 0 };
	if (take_over(c, &e) < 0 || lock_state(c, &e) < 0 || open_holder(c, &e) < 0 ||
	    open_ground(c, &e) < 0) {
		give_up(c, &e);
		return;
	}
	c->listen_fd = keep_take(c->g.keep, KEEP_KEY_SOCKET);
	int mntns = keep_take(c->g.keep, "mntns");
	if (mntns >= 0)
		use_template(c, mntns);
	else
		sandboxfs_template(c->g.sandboxfs, c->pool, handle_template, c);
}

/* A node that has had a busy minute goes back to its size: large buffers are mapped, what is
 * free at the heap's end is given back, and the holes are once a while. */
static void handle_trim(struct loop_timer *t)
{
	malloc_trim(0);
}

static void tune_malloc(struct core *c)
{
	mallopt(M_MMAP_THRESHOLD, MMAP_BYTES);
	mallopt(M_TRIM_THRESHOLD, MMAP_BYTES);
	loop_timer_start(&c->trim, c->loop, c->pool, TRIM_MS, TRIM_MS, handle_trim, c);
}

/* -- the way down -- */

/* Without pods nothing that is kept is worth a process.  Before the recovery nobody knows. */
static bool must_rest(const struct core *c)
{
	return keep_lasting(c->g.keep) && (!c->recovered || c->model->pods.len);
}

/* What still runs for us ends now: a keeper must neither wait for it nor be found beside it. */
static void rest(struct core *c)
{
	const char *dir = c->config->libexec_dir;
	struct err e = { 0 };
	if (c->g.cgroups && cgroups_kill_helpers(c->g.cgroups, HELPERS_WAIT_MS, &e) < 0)
		log_warn("a helper runs on", "error", err_text(&e));
	log_info("containers run on, and a keeper with them");
	precedence_give_back();
	keep_rest(c->g.keep, pool_printf(c->pool, "%s/crisp-keeper", dir), c->args->keeper_argv,
		  c->code);
}

static void end(struct core *c)
{
	config_drop(c->g.keep);
	if (c->again) {
		keep_again(c->g.keep);
		return;
	}
	if (must_rest(c)) {
		rest(c);
		return;
	}
	if (c->holds)
		unlink(holder_path(c));
	keep_quit(c->g.keep, c->code);
	if (c->g.cgroups)
		cgroups_leave(c->g.cgroups);
}

int core_main(const struct core_args *a)
{
	struct core c = { .args = a, .pool = pool_new(a->pool, "core"), .config = a->config };
	signal(SIGPIPE, SIG_IGN);
	umask(0022);
	const char *fault = getenv("CRISP_OP_FAULT");	/* tests alone set it */
	if (fault && *fault)
		op_fault_install(fault);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	c.loop = loop_new(c.pool);
	tune_malloc(&c);
	loop_signal_start(&c.sigterm, c.loop, c.pool, SIGTERM, handle_leave, &c);
	loop_signal_start(&c.sigint, c.loop, c.pool, SIGINT, handle_leave, &c);
	loop_signal_start(&c.sighup, c.loop, c.pool, SIGHUP, handle_reload, &c);
	loop_signal_start(&c.sigusr2, c.loop, c.pool, SIGUSR2, handle_leave, &c);
	start(&c);
	loop_run(c.loop);
	if (c.g.keep && c.config)	/* else its keeper is none the wiser */
		end(&c);
	pool_destroy(c.pool);
	return c.code;
}

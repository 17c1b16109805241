/*
 * Pods, containers and execs.  A container's root is an overlay over the author's rootfs, so that
 * this stays as it is.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/pool.h"
#include "core/loop/loop.h"
#include "core/sandboxfs/sandboxfs.h"
#include "tools/engine-check/check.h"

enum { NS_MS = 10000, CREATE_MS = 15000 };

static const char *dir_of(const char *name)
{
	struct err e = { 0 };
	const char *path = pool_printf(bench.pool, "%s/%s", opt.home, name);
	if (file_mkdirs(path, 0755, &e) < 0)
		note("%s", err_text(&e));
	return path;
}

/* -- pods -- */

static void handle_ns(void *data, int ret, const struct sandbox_fds *fds, const struct err *e)
{
	struct pod *p = data;
	p->netns_fd = ret < 0 ? -1 : fds->net;
	if (ret < 0)
		check(false, "there is a network namespace for a pod: %s", err_text(e));
	const int others[] = { fds->ipc, fds->uts, fds->shm, fds->user, fds->netdev };
	for (size_t i = 0; ret == 0 && i < sizeof(others) / sizeof(others[0]); i++)
		if (others[i] > 0)
			close(others[i]);
	loop_stop(bench.loop);
}

static bool has_netns(struct plug_handler *h)
{
	return plug_can(h, CRISP_CAP_SANDBOX_OWN) || plug_can(h, CRISP_CAP_NETNS_BY_PATH);
}

static void make_netns(struct pod *p)
{
	struct sandbox_ns ns = { .pin = sandboxfs_pin_path(bench.fs, bench.pool, p->id) };
	sandboxfs_make_ns(bench.fs, bench.pool, &ns, NS_MS, handle_ns, p);
	bench_run(NS_MS);
	p->netns = p->netns_fd > 0 ? ns.pin : NULL;
}

void pod_make(struct plug_handler *h, struct pod *p, const char *id)
{
	static const char *const sleeper[] = { "/bin/sleep", "1000000", NULL };
	*p = (struct pod){ .id = id };
	if (has_netns(h))
		make_netns(p);
	if (!plug_can(h, CRISP_CAP_SANDBOX_OWN))
		return;
	const char *dir = dir_of(id);	/* shims look for a bundle of that name */
	const char *cgroup = pool_printf(bench.pool, "%s/%s", opt.cgroup, id);
	struct crisp_rootfs root = { .size = sizeof(root), .path = opt.rootfs };
	struct crisp_stdio stdio = { .size = sizeof(stdio) };
	struct crisp_sandbox_create_args args = {
		.id = id, .stdio = &stdio, .netns_path = p->netns, .cgroup_path = cgroup,
		.config_json = spec_facts(p, "sandbox", id), .resources_json = "{}",
	};
	if (plug_can(h, CRISP_CAP_SANDBOX_NEEDS_ROOTFS)) {
		if (!spec_write(h, p, dir, "sandbox", id, opt.rootfs, pool_printf(bench.pool, "%s/pause", cgroup),
				&(struct shape){ .args = sleeper })) {
			p->ret = -EINVAL;
			return;
		}
		args.bundle = dir;
		args.rootfs = &root;
	}
	left_note(id);
	struct answer a = bench_ask(h, PLUG_OP_SANDBOX_CREATE, &args);
	p->pid = a.pid;
	p->ret = a.ret;
	snprintf(p->msg, sizeof(p->msg), "%s", a.msg);
}

bool pod_up(struct plug_handler *h, struct pod *p, const char *id)
{
	pod_make(h, p, id);
	if (!plug_can(h, CRISP_CAP_SANDBOX_OWN))
		return true;
	return check(p->ret == 0, "a sandbox is made%s%s", *p->msg ? ": " : "", p->msg);
}

static void handle_unpinned(void *data, int ret, const struct err *e)
{
	loop_stop(bench.loop);
}

void pod_down(struct plug_handler *h, struct pod *p)
{
	if (plug_can(h, CRISP_CAP_SANDBOX_OWN)) {
		struct answer a = bench_id(h, PLUG_OP_SANDBOX_DELETE, p->id, CRISP_ARG_FORCE);
		check(a.ret == 0 || (p->ret < 0 && a.ret == -ENOENT), "a sandbox is deleted%s", colon(&a));
	}
	if (!has_netns(h))
		return;
	if (p->netns_fd > 0)
		close(p->netns_fd);
	sandboxfs_unpin(bench.fs, bench.pool, sandboxfs_pin_path(bench.fs, bench.pool, p->id), handle_unpinned, NULL);
	bench_run(NS_MS);
}

/* -- containers -- */

static void lay_root(struct plug_handler *h, struct ctr *c)
{
	const char *mnt = sandboxfs_mnt_dir(bench.fs);
	bool own = plug_can(h, CRISP_CAP_ROOTFS_MOUNTS);
	const char *target = pool_printf(bench.pool, "%s/%s", mnt, own ? c->id : "rootfs");
	file_mkdirs(target, 0755, NULL);
	if (own && symlink(target, pool_printf(bench.pool, "%s/rootfs", c->bundle)) < 0 && errno != EEXIST)
		note("link to the rootfs: %s", strerror(errno));
	const char **options = pool_alloc(bench.pool, 4 * sizeof(*options));
	options[0] = pool_printf(bench.pool, "lowerdir=%s", opt.rootfs);
	options[1] = pool_printf(bench.pool, "upperdir=%s", dir_of(pool_printf(bench.pool, "rw/%s/upper", c->id)));
	options[2] = pool_printf(bench.pool, "workdir=%s", dir_of(pool_printf(bench.pool, "rw/%s/work", c->id)));
	c->overlay = (struct crisp_mount){ .size = sizeof(c->overlay), .type = "overlay", .source = "overlay",
					   .target = target, .options = options, .fd = -1 };
	c->mounts[0] = &c->overlay;
	c->root = (struct crisp_rootfs){ .size = sizeof(c->root), .path = target, .mounts = c->mounts };
}

bool ctr_lay_as(struct plug_handler *h, struct ctr *c, const struct pod *p, const char *id, const struct shape *s)
{
	*c = (struct ctr){ .id = id, .pod = p->id };
	c->bundle = dir_of(id);
	c->cgroup = pool_printf(bench.pool, "%s/%s/%s", opt.cgroup, p->id, id);
	lay_root(h, c);
	left_note(id);
	if (!spec_write(h, p, c->bundle, "container", id, c->root.path, c->cgroup, s))
		return false;
	io_open(h, &c->io, c->bundle, "", s->in, s->tty);
	return true;
}

bool ctr_lay(struct plug_handler *h, struct ctr *c, const struct pod *p, const char *id, const char *sh)
{
	return ctr_lay_as(h, c, p, id, &(struct shape){ .sh = sh });
}

struct plug_call *ctr_begin(struct plug_handler *h, struct ctr *c, uint64_t ms, struct answer *a)
{
	struct crisp_create_args args = {
		.id = c->id, .sandbox_id = c->pod, .bundle = c->bundle, .rootfs = &c->root, .stdio = &c->io.stdio,
		.cgroup_path = c->cgroup,
	};
	return bench_begin(h, PLUG_OP_CREATE, &args, ms, a);
}

struct answer ctr_create(struct plug_handler *h, struct ctr *c)
{
	struct answer a;
	ctr_begin(h, c, CREATE_MS, &a);
	bench_await(&a);
	c->pid = a.pid;
	if (!plug_can(h, CRISP_CAP_START_STDIO))
		io_given(&c->io);
	return a;
}

struct crisp_start_args ctr_start_args(struct plug_handler *h, const struct ctr *c)
{
	struct crisp_start_args args = { .id = c->id };
	if (plug_can(h, CRISP_CAP_START_STDIO)) {
		args.stdio = &c->io.stdio;
		args.rootfs = &c->root;
	}
	return args;
}

struct answer ctr_start(struct plug_handler *h, struct ctr *c)
{
	struct crisp_start_args args = ctr_start_args(h, c);
	struct answer a = bench_ask(h, PLUG_OP_START, &args);
	io_given(&c->io);
	return a;
}

bool ctr_run_as(struct plug_handler *h, struct ctr *c, const struct pod *p, const char *id, const struct shape *s)
{
	if (!ctr_lay_as(h, c, p, id, s))
		return false;
	struct answer a = ctr_create(h, c);
	bool console = a.ret < 0 || io_console(&c->io);
	if (a.ret == 0)
		a = ctr_start(h, c);
	if (a.ret < 0)
		ctr_close(c);
	if (!console)
		return check(false, "container %s: its tty's master has come when create is done", id);
	return check(a.ret == 0, "container %s runs%s", id, colon(&a));
}

bool ctr_run(struct plug_handler *h, struct ctr *c, const struct pod *p, const char *id, const char *sh)
{
	return ctr_run_as(h, c, p, id, &(struct shape){ .sh = sh });
}

const char *ctr_output(struct ctr *c, const char *want, uint64_t ms)
{
	return io_read(&c->io, c->io.out, want, ms);
}

void ctr_close(struct ctr *c)
{
	io_close(&c->io);
}

struct answer ctr_kill(struct plug_handler *h, const struct ctr *c, int signo)
{
	struct crisp_kill_args args = { .id = c->id, .signo = signo };
	if (plug_has(h, PLUG_OP_KILL))
		return bench_ask(h, PLUG_OP_KILL, &args);
	struct answer a = { .count = 1, .data = pool_strdup(bench.pool, "") };
	a.ret = c->pid > 0 && kill(c->pid, signo) == 0 ? 0 : -ESRCH;
	return a;
}

/* -- execs -- */

void exec_lay(struct plug_handler *h, struct exec *x, const struct ctr *c, const char *exec_id, const struct shape *s)
{
	*x = (struct exec){ .id = c->id, .exec_id = exec_id, .json = spec_process(s) };
	io_open(h, &x->io, dir_of(c->id), exec_id, s->in, s->tty);
}

struct plug_call *exec_begin(struct plug_handler *h, struct exec *x, uint64_t ms, struct answer *a)
{
	struct crisp_exec_args args = { .id = x->id, .exec_id = x->exec_id, .stdio = &x->io.stdio,
					.process_json = x->json };
	return bench_begin(h, PLUG_OP_EXEC, &args, ms, a);
}

struct answer exec_run(struct plug_handler *h, struct exec *x)
{
	struct answer a;
	exec_begin(h, x, CREATE_MS, &a);
	bench_await(&a);
	io_given(&x->io);
	if (a.ret == 0 && !io_console(&x->io))
		check(false, "exec %s: its tty's master has come when exec is done", x->exec_id);
	return a;
}

void exec_close(struct plug_handler *h, struct exec *x)
{
	io_close(&x->io);
	struct crisp_args args = { .id = x->id, .exec_id = x->exec_id };
	if (plug_has(h, PLUG_OP_EXEC_DELETE))
		bench_ask(h, PLUG_OP_EXEC_DELETE, &args);
}

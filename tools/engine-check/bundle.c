/*
 * What a container is made from: an overlay over the author's rootfs, so that this stays as it is;
 * a config.json as the core would write it, small; stdio in the form that the engine's bits ask for.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/loop/loop.h"
#include "core/sandboxfs/sandboxfs.h"
#include "tools/engine-check/check.h"

enum { NS_MS = 10000, FILE_MAX = 64 << 20 };

static const char *dir_of(const char *name)
{
	struct err e = { 0 };
	const char *path = pool_printf(bench.pool, "%s/%s", opt.home, name);
	if (file_mkdirs(path, 0755, &e) < 0)
		note("%s", err_text(&e));
	return path;
}

/* -- the spec -- */

static void put_mount(struct json_out *o, const char *target, const char *type, const char *const *options)
{
	json_object(o);
	json_member_str(o, "destination", target);
	json_member_str(o, "type", type);
	json_member_str(o, "source", type);
	json_key(o, "options");
	json_array(o);
	for (; options && *options; options++)
		json_put_str(o, *options);
	json_end_array(o);
	json_end_object(o);
}

static void put_process(struct json_out *o, const char *const *args)
{
	json_key(o, "process");
	json_object(o);
	json_member_bool(o, "terminal", false);
	json_key(o, "user");
	json_object(o);
	json_member_int(o, "uid", 0);
	json_member_int(o, "gid", 0);
	json_end_object(o);
	json_member_str(o, "cwd", "/");
	json_key(o, "args");
	json_array(o);
	for (; *args; args++)
		json_put_str(o, *args);
	json_end_array(o);
	json_key(o, "env");
	json_array(o);
	json_put_str(o, "PATH=/bin:/sbin:/usr/bin");
	json_end_array(o);
	json_end_object(o);
}

static void put_namespaces(struct json_out *o, const struct pod *p)
{
	static const char *const kinds[] = { "pid", "mount", "ipc", "uts" };
	json_key(o, "namespaces");
	json_array(o);
	for (size_t i = 0; i < 4; i++) {
		json_object(o);
		json_member_str(o, "type", kinds[i]);
		json_end_object(o);
	}
	if (p && p->netns_fd > 0) {
		json_object(o);
		json_member_str(o, "type", "network");
		json_member_str(o, "path", pool_printf(bench.pool, "/proc/%d/fd/%d", getpid(), p->netns_fd));
		json_end_object(o);
	}
	json_end_array(o);
}

static void put_annotations(struct json_out *o, const char *type, const char *pod, const char *id)
{
	json_key(o, "annotations");
	json_object(o);
	json_member_str(o, "io.kubernetes.cri.container-type", type);
	json_member_str(o, "io.kubernetes.cri.sandbox-id", pod);
	json_member_str(o, "io.kubernetes.cri.sandbox-name", pod);
	json_member_str(o, "io.kubernetes.cri.sandbox-namespace", "default");
	json_member_str(o, "io.kubernetes.cri.container-name", id);
	json_end_object(o);
}

static const char *make_spec(const struct pod *p, const char *type, const char *id, const char *root,
			     const char *cgroup, const char *const *args)
{
	static const char *const pts[] = { "newinstance", "ptmxmode=0666", "nosuid", "noexec", NULL };
	static const char *const dev[] = { "nosuid", "mode=755", NULL };
	struct json_out *o = json_out(bench.pool);
	json_object(o);
	json_member_str(o, "ociVersion", "1.0.2");
	json_member_str(o, "hostname", "check");
	json_key(o, "root");
	json_object(o);
	json_member_str(o, "path", root);
	json_end_object(o);
	put_process(o, args);
	json_key(o, "mounts");
	json_array(o);
	put_mount(o, "/proc", "proc", NULL);
	put_mount(o, "/dev", "tmpfs", dev);
	put_mount(o, "/dev/pts", "devpts", pts);
	json_end_array(o);
	put_annotations(o, type, p->id, id);
	json_key(o, "linux");
	json_object(o);
	json_member_str(o, "cgroupsPath", cgroup);
	json_key(o, "resources");
	json_object(o);
	json_key(o, "devices");
	json_array(o);
	json_object(o);
	json_member_bool(o, "allow", true);
	json_member_str(o, "access", "rwm");
	json_end_object(o);
	json_end_array(o);
	json_end_object(o);
	put_namespaces(o, p);
	json_end_object(o);
	json_end_object(o);
	return json_text(o, NULL);
}

static const char *make_facts(const struct pod *p, const char *type, const char *id)
{
	struct json_out *o = json_out(bench.pool);
	json_object(o);
	json_member_str(o, "sandboxId", p->id);
	json_member_str(o, "containerType", type);
	json_member_str(o, "name", id);
	json_member_str(o, "podName", p->id);
	json_member_str(o, "podNamespace", "default");
	json_member_str(o, "podUid", p->id);
	json_member_str(o, "hostname", "check");
	if (p->netns)
		json_member_str(o, "netnsPath", p->netns);
	json_end_object(o);
	return json_text(o, NULL);
}

/* Write it, with the engine's last touch. */
static bool write_spec(struct plug_handler *h, const struct pod *p, const char *dir, const char *type, const char *id,
		       const char *spec)
{
	struct err e = { 0 };
	if (plug_has(h, PLUG_OP_PREPARE_SPEC)) {
		struct answer a = bench_ask(h, PLUG_OP_PREPARE_SPEC,
					    &(struct crisp_spec_args){ .id = id, .spec_json = spec,
								       .facts_json = make_facts(p, type, id) });
		if (a.ret < 0)
			return check(false, "prepare_spec takes a spec: %s", a.msg);
		const struct json *j;
		if (a.data_len && json_parse(bench.pool, a.data, a.data_len, &j, &e) < 0)
			return check(false, "prepare_spec gives JSON: %s", err_text(&e));
		if (a.data_len)
			spec = a.data;
	}
	if (file_replace(AT_FDCWD, pool_printf(bench.pool, "%s/config.json", dir), spec, strlen(spec), 0600, &e) < 0)
		return check(false, "a spec can be written: %s", err_text(&e));
	return true;
}

/* -- pods -- */

static void handle_ns(void *data, int ret, const struct sandbox_fds *fds, const struct err *e)
{
	struct pod *p = data;
	p->netns_fd = ret < 0 ? -1 : fds->net;
	if (ret < 0)
		note("no network namespace: %s", err_text(e));
	const int others[] = { fds->ipc, fds->uts, fds->shm, fds->user, fds->netdev };
	for (size_t i = 0; ret == 0 && i < sizeof(others) / sizeof(others[0]); i++)
		if (others[i] > 0)
			close(others[i]);
	loop_stop(bench.loop);
}

bool pod_up(struct plug_handler *h, struct pod *p, const char *id)
{
	static const char *const sleeper[] = { "/bin/sleep", "1000000", NULL };
	*p = (struct pod){ .id = id };
	if (!plug_can(h, CRISP_CAP_SANDBOX_OWN))
		return true;
	struct sandbox_ns ns = { .pin = sandboxfs_pin_path(bench.fs, bench.pool, id) };
	sandboxfs_make_ns(bench.fs, bench.pool, &ns, NS_MS, handle_ns, p);
	bench_run(NS_MS);
	p->netns = p->netns_fd > 0 ? ns.pin : NULL;
	const char *dir = dir_of(id);	/* shims look for a bundle of that name */
	const char *cgroup = pool_printf(bench.pool, "%s/%s", opt.cgroup, id);
	struct crisp_rootfs root = { .size = sizeof(root), .path = opt.rootfs };
	struct crisp_stdio stdio = { .size = sizeof(stdio) };
	struct crisp_sandbox_create_args args = {
		.id = id, .stdio = &stdio, .netns_path = p->netns, .cgroup_path = cgroup,
		.config_json = make_facts(p, "sandbox", id), .resources_json = "{}",
	};
	if (plug_can(h, CRISP_CAP_SANDBOX_NEEDS_ROOTFS)) {
		if (!write_spec(h, p, dir, "sandbox", id,
				make_spec(p, "sandbox", id, opt.rootfs,
					  pool_printf(bench.pool, "%s/pause", cgroup), sleeper)))
			return false;
		args.bundle = dir;
		args.rootfs = &root;
	}
	struct answer a = bench_ask(h, PLUG_OP_SANDBOX_CREATE, &args);
	return check(a.ret == 0, "a sandbox is made%s%s", *a.msg ? ": " : "", a.msg);
}

static void handle_unpinned(void *data, int ret, const struct err *e)
{
	loop_stop(bench.loop);
}

void pod_down(struct plug_handler *h, struct pod *p)
{
	if (!plug_can(h, CRISP_CAP_SANDBOX_OWN))
		return;
	struct answer a = bench_id(h, PLUG_OP_SANDBOX_DELETE, p->id, CRISP_ARG_FORCE);
	check(a.ret == 0, "a sandbox is deleted%s%s", *a.msg ? ": " : "", a.msg);
	if (p->netns_fd > 0)
		close(p->netns_fd);
	sandboxfs_unpin(bench.fs, bench.pool, sandboxfs_pin_path(bench.fs, bench.pool, p->id), handle_unpinned, NULL);
	bench_run(NS_MS);
}

/* -- stdio -- */

static void lay_pipes(struct ctr *c)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		abort();
	c->out = fds[0];
	c->childs[0] = fds[1];
	c->childs[1] = fcntl(fds[1], F_DUPFD_CLOEXEC, 3);
	c->stdio = (struct crisp_stdio){ .size = sizeof(c->stdio), .out = c->childs[0], .err = c->childs[1] };
}

static const char *lay_fifo(const struct ctr *c, const char *name)
{
	const char *path = pool_printf(bench.pool, "%s/%s", c->bundle, name);
	unlink(path);
	if (mkfifo(path, 0600) < 0)
		note("fifo %s: %s", path, strerror(errno));
	return path;
}

static void lay_fifos(struct ctr *c, const char *exec_id)
{
	c->stdio = (struct crisp_stdio){
		.size = sizeof(c->stdio),
		.fifo_out = lay_fifo(c, pool_printf(bench.pool, "out-%s", exec_id)),
		.fifo_err = lay_fifo(c, pool_printf(bench.pool, "err-%s", exec_id)),
	};
	c->out = open(c->stdio.fifo_out, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	c->childs[0] = open(c->stdio.fifo_err, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	c->childs[1] = 0;
}

static void close_childs(struct ctr *c)
{
	for (int i = 0; i < 2; i++)
		if (c->childs[i] > 0 && !c->stdio.fifo_out) {
			close(c->childs[i]);
			c->childs[i] = 0;
		}
}

const char *ctr_output(struct ctr *c, const char *want, uint64_t ms)
{
	struct buf text = { 0 };
	int64_t until = clock_mono_ns() + (int64_t)ms * 1000000;
	while (!text.len || !want || !memmem(text.data, text.len, want, strlen(want))) {
		char part[4096];
		struct pollfd p = { .fd = c->out, .events = POLLIN };
		int64_t left = (until - clock_mono_ns()) / 1000000;
		if (left <= 0)
			break;
		if (poll(&p, 1, 0) == 0) {
			bench_run(left < 20 ? (uint64_t)left : 20);
			continue;
		}
		ssize_t n = read(c->out, part, sizeof(part));
		if (n > 0)
			buf_add(&text, part, (size_t)n);
		else if (n == 0 && c->stdio.fifo_out && !text.len)
			bench_run(20);	/* nobody has opened it yet */
		else if (n == 0)
			break;
	}
	const char *out = pool_strndup(bench.pool, text.data ? text.data : "", text.len);
	buf_free(&text);
	return out;
}

void ctr_close(struct ctr *c)
{
	if (c->out > 0)
		close(c->out);
	for (int i = 0; i < 2; i++)
		if (c->childs[i] > 0)
			close(c->childs[i]);
	c->out = c->childs[0] = c->childs[1] = 0;
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

bool ctr_lay(struct plug_handler *h, struct ctr *c, const struct pod *p, const char *id, const char *sh)
{
	const char *const args[] = { "/bin/sh", "-c", sh, NULL };
	*c = (struct ctr){ .id = id, .pod = p->id };
	c->bundle = dir_of(id);
	c->cgroup = pool_printf(bench.pool, "%s/%s/%s", opt.cgroup, p->id, id);
	lay_root(h, c);
	if (!write_spec(h, p, c->bundle, "container", id, make_spec(p, "container", id, c->root.path, c->cgroup, args)))
		return false;
	if (plug_can(h, CRISP_CAP_STDIO_FIFO))
		lay_fifos(c, "");
	else
		lay_pipes(c);
	return true;
}

struct answer ctr_create(struct plug_handler *h, struct ctr *c)
{
	struct crisp_create_args args = {
		.id = c->id, .sandbox_id = c->pod, .bundle = c->bundle, .rootfs = &c->root, .stdio = &c->stdio,
		.cgroup_path = c->cgroup,
	};
	struct answer a = bench_ask(h, PLUG_OP_CREATE, &args);
	c->pid = a.pid;
	if (!plug_can(h, CRISP_CAP_START_STDIO))
		close_childs(c);
	return a;
}

struct answer ctr_start(struct plug_handler *h, struct ctr *c)
{
	struct crisp_start_args args = { .id = c->id };
	if (plug_can(h, CRISP_CAP_START_STDIO)) {
		args.stdio = &c->stdio;
		args.rootfs = &c->root;
	}
	struct answer a = bench_ask(h, PLUG_OP_START, &args);
	close_childs(c);
	return a;
}

bool ctr_run(struct plug_handler *h, struct ctr *c, const struct pod *p, const char *id, const char *sh)
{
	if (!ctr_lay(h, c, p, id, sh))
		return false;
	struct answer a = ctr_create(h, c);
	if (a.ret == 0)
		a = ctr_start(h, c);
	if (a.ret < 0)
		ctr_close(c);
	return check(a.ret == 0, "container %s runs%s%s", id, *a.msg ? ": " : "", a.msg);
}

struct answer ctr_exec(struct plug_handler *h, struct ctr *c, const char *exec_id, const char *args_json)
{
	struct ctr io = { .bundle = c->bundle };
	if (plug_can(h, CRISP_CAP_STDIO_FIFO))
		lay_fifos(&io, exec_id);
	else
		lay_pipes(&io);
	struct crisp_exec_args args = {
		.id = c->id, .exec_id = exec_id, .stdio = &io.stdio,
		.process_json = pool_printf(bench.pool, "{\"cwd\":\"/\",\"user\":{\"uid\":0,\"gid\":0},"
					    "\"env\":[\"PATH=/bin:/sbin:/usr/bin\"],\"args\":%s}", args_json),
	};
	struct answer a = bench_ask(h, PLUG_OP_EXEC, &args);
	close_childs(&io);
	if (a.ret == 0)
		a.data = (char *)(uintptr_t)ctr_output(&io, NULL, 1000);
	ctr_close(&io);
	return a;
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

/* -- what is left -- */

static bool has_processes(const char *path)
{
	struct buf text = { 0 };
	file_read(AT_FDCWD, path, FILE_MAX, &text, NULL);
	bool any = text.len > 0;
	buf_free(&text);
	return any;
}

/* Remove the folder of cgroups and all below; says whether somebody was in one. */
static bool sweep_cgroup(const char *path)
{
	bool any = has_processes(pool_printf(bench.pool, "%s/cgroup.procs", path));
	DIR *d = opendir(path);
	struct dirent *ent;
	while (d && (ent = readdir(d)))
		if (ent->d_type == DT_DIR && ent->d_name[0] != '.')
			any |= sweep_cgroup(pool_printf(bench.pool, "%s/%s", path, ent->d_name));
	if (d)
		closedir(d);
	rmdir(path);
	return any;
}

static bool sweep_cgroups(void)
{
	bool any = sweep_cgroup(pool_printf(bench.pool, "/sys/fs/cgroup%s", opt.cgroup));
	DIR *d = opendir("/sys/fs/cgroup");
	struct dirent *ent;
	while (d && (ent = readdir(d)))
		if (ent->d_name[0] != '.')
			any |= sweep_cgroup(pool_printf(bench.pool, "/sys/fs/cgroup/%s%s", ent->d_name, opt.cgroup));
	if (d)
		closedir(d);
	return any;
}

void check_nothing_left(void)
{
	struct buf mounts = { 0 };
	bool any = true;
	for (int i = 0; i < 40 && (any = sweep_cgroups()); i++)
		bench_wait_ms(50);
	check(!any, "no process of a container is left");
	file_read(AT_FDCWD, "/proc/self/mountinfo", FILE_MAX, &mounts, NULL);
	const char *rw = pool_printf(bench.pool, "%s/mnt/", opt.home);
	check(mounts.data && !strstr(mounts.data, rw), "no mount is left");
	buf_free(&mounts);
}

/* The pins' and the template's mounts. */
void bundle_clean_up(void)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/netns", opt.home);
	while (umount2(path, MNT_DETACH) == 0)
		;
	snprintf(path, sizeof(path), "%s/mnt", opt.home);
	while (umount2(path, MNT_DETACH) == 0)
		;
}

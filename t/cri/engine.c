/*
 * crun and runc as engines, without the rest of the house: a real container through its life, and
 * programs that are missing, hang, die or talk rubbish at each operation.
 *
 *	engine BUSYBOX CGROUP_PARENT
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "core/base/buf.h"
#include "core/sandboxfs/sandboxfs.h"
#include "t/plug.h"

static const char *busybox, *cgroup_parent, *rootfs;
static char cgroup[300];

static void make_rootfs(void)
{
	static const char *const dirs[] = { "bin", "proc", "dev", "tmp" };
	struct err e = { 0 };
	struct buf program = { 0 };
	rootfs = pool_printf(bench.pool, "%s/rootfs", bench.dir);
	for (size_t i = 0; i < 4; i++)
		file_mkdirs(pool_printf(bench.pool, "%s/%s", rootfs, dirs[i]), 0755, &e);
	file_read(AT_FDCWD, busybox, 32 << 20, &program, &e);
	file_replace(AT_FDCWD, pool_printf(bench.pool, "%s/bin/sh", rootfs), program.data,
		     program.len, 0755, &e);
	buf_free(&program);
	ok(e.code == 0, "a rootfs %s", e.msg);
}

/* A bundle whose process runs this shell text. */
static const char *bundle(const char *id, const char *sh, bool tty)
{
	struct err e = { 0 };
	const char *dir = pool_printf(bench.pool, "%s/%s", bench.dir, id);
	snprintf(cgroup, sizeof(cgroup), "%s/%s", cgroup_parent, id);
	const char *text = pool_printf(
		bench.pool,
		"{\"ociVersion\":\"1.0.2\",\"hostname\":\"x\",\"root\":{\"path\":\"%s\"},"
		"\"process\":{\"terminal\":%s,\"user\":{\"uid\":0,\"gid\":0},\"cwd\":\"/\","
		"\"args\":[\"/bin/sh\",\"-c\",\"%s\"],\"env\":[\"PATH=/bin\"]},"
		"\"mounts\":[{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
		"{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\"},"
		"{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\","
		"\"options\":[\"newinstance\",\"ptmxmode=0666\"]}],"
		"\"linux\":{\"cgroupsPath\":\"%s\",\"resources\":{\"devices\":[{\"allow\":true,"
		"\"access\":\"rwm\"}]},"
		"\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"mount\"},{\"type\":\"ipc\"},{"
		"\"type\":\"uts\"}]}}",
		rootfs, tty ? "true" : "false", sh, cgroup);
	file_mkdirs(dir, 0700, &e);
	file_replace(AT_FDCWD, pool_printf(bench.pool, "%s/config.json", dir), text, strlen(text),
		     0600, &e);
	return dir;
}

static struct answer start(struct plug_handler *h, const char *id)
{
	return bench_ask(h, PLUG_OP_START, &(struct crisp_start_args){ .id = id });
}

static struct answer exec(struct plug_handler *h, const char *id, const char *args)
{
	const char *json =
		pool_printf(bench.pool,
			    "{\"cwd\":\"/\",\"user\":{\"uid\":0,\"gid\":0},\"env\":[\"PATH=/"
			    "bin\"],\"args\":%s}",
			    args);
	return bench_ask(
		h, PLUG_OP_EXEC,
		&(struct crisp_exec_args){ .id = id, .exec_id = "e", .process_json = json });
}

static void test_life(struct plug_handler *h)
{
	const char *n = h->name;
	int out[2];
	if (pipe2(out, O_CLOEXEC) < 0)
		abort();
	struct crisp_stdio io = { .size = sizeof(io), .out = out[1], .err = out[1] };
	struct crisp_create_args c = { .id = "life",
				       .stdio = &io,
				       .bundle = bundle("life", "echo hello; exit 42", false) };
	struct answer a = bench_ask(h, PLUG_OP_CREATE, &c);
	close(out[1]);
	ok(a.ret == 0 && a.pid > 1 && a.pidfd > 0, "%s: created %s", n, a.err.msg);
	c.stdio = NULL;
	struct answer x = bench_ask(h, PLUG_OP_CREATE, &c);
	ok(x.ret < 0, "%s: a duplicate: %s", n, x.err.msg);
	x = bench_ask(h, PLUG_OP_ATTACH, &(struct crisp_attach_args){ .id = "life" });
	ok(x.ret == 0 && x.status == CRISP_STATUS_CREATED && x.pid == a.pid,
	   "%s: attach asks for the state", n);
	x = bench_ask(h, PLUG_OP_ATTACH, &(struct crisp_attach_args){ .id = "life", .pid = a.pid });
	ok(x.ret == 0 && x.pid == a.pid, "%s: attach by a recorded pid", n);
	x = start(h, "life");
	ok(x.ret == 0, "%s: started %s", n, x.err.msg);
	char text[32] = "";
	ok(bench_wait(a.pidfd) == W_EXITCODE(42, 0), "%s: exit 42 comes to us, its parent", n);
	ok(read(out[0], text, 31) == 6 && !strcmp(text, "hello\n"), "%s: said %s", n, text);
	close(out[0]);
	x = bench_kill(h, "life", SIGTERM);
	ok(x.ret == -ESRCH, "%s: killing what has ended: %s", n, x.err.msg);
	x = bench_simple(h, PLUG_OP_DELETE, "life", 0);
	ok(x.ret == 0, "%s: deleted %s", n, x.err.msg);
	x = bench_simple(h, PLUG_OP_DELETE, "life", 0);
	ok(x.ret == -ENOENT, "%s: twice is not found: %s", n, x.err.msg);
	x = bench_simple(h, PLUG_OP_DELETE, "life", CRISP_ARG_FORCE);
	ok(x.ret == 0, "%s: with force it is fine %s", n, x.err.msg);
	x = start(h, "life");
	ok(x.ret == -ENOENT, "%s: starting nothing: %s", n, x.err.msg);
	x = bench_ask(h, PLUG_OP_ATTACH, &(struct crisp_attach_args){ .id = "life", .pid = 1 });
	ok(x.ret == -ENOENT, "%s: attach to nothing", n);
}

static void test_running(struct plug_handler *h)
{
	const char *n = h->name;
	struct crisp_create_args c = { .id = "run", .bundle = bundle("run", "sleep 1000", false) };
	struct answer a = bench_ask(h, PLUG_OP_CREATE, &c);
	ok(a.ret == 0 && start(h, "run").ret == 0, "%s: runs %s", n, a.err.msg);
	struct answer x = exec(h, "run", "[\"/bin/sh\",\"-c\",\"exit 9\"]");
	ok(x.ret == 0 && bench_wait(x.pidfd) == W_EXITCODE(9, 0), "%s: exec, exit 9 %s", n,
	   x.err.msg);
	x = exec(h, "run", "[\"/no/such\"]");
	ok(x.ret == -EIO && x.pidfd == -1 && strstr(x.err.msg, "exec:"), "%s: exec of nothing: %s",
	   n, x.err.msg);
	x = bench_simple(h, PLUG_OP_PIDS, "run", 0);
	ok(x.ret == 0 && strchr(x.data, '['), "%s: pids %s", n, x.data);
	x = bench_ask(h, PLUG_OP_UPDATE,
		      &(struct crisp_update_args){
			      .id = "run", .resources_json = "{\"memory\":{\"limit\":67108864}}" });
	ok(x.ret == 0, "%s: update %s", n, x.err.msg);
	x = bench_ask(h, PLUG_OP_UPDATE,
		      &(struct crisp_update_args){ .id = "run", .resources_json = "rubbish" });
	ok(x.ret < 0, "%s: update with rubbish: %s", n, x.err.msg);
	for (int i = 0; i < 2; i++) {
		x = bench_simple(h, PLUG_OP_PAUSE, "run", 0);
		ok(x.ret == 0, "%s: paused, %d %s", n, i, x.err.msg);
	}
	for (int i = 0; i < 2; i++) {
		x = bench_simple(h, PLUG_OP_RESUME, "run", 0);
		ok(x.ret == 0, "%s: resumed, %d %s", n, i, x.err.msg);
	}
	x = bench_simple(h, PLUG_OP_DELETE, "run", 0);
	ok(x.ret == -EBUSY, "%s: not while it runs: %s", n, x.err.msg);
	x = bench_ask(h, PLUG_OP_KILL,
		      &(struct crisp_kill_args){
			      .id = "run", .signo = SIGKILL, .flags = CRISP_ARG_ALL });
	ok(x.ret == 0 && bench_wait(a.pidfd) == SIGKILL, "%s: kill all %s", n, x.err.msg);
	x = bench_simple(h, PLUG_OP_DELETE, "run", CRISP_ARG_FORCE);
	ok(x.ret == 0, "%s: deleted %s", n, x.err.msg);
	c.id = "bad";
	c.bundle = bench.dir;
	x = bench_ask(h, PLUG_OP_CREATE, &c);
	ok(x.ret < 0 && x.pidfd == -1, "%s: a bundle without config: %s", n, x.err.msg);
}

static int listen_at(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 4) < 0)
		abort();
	return fd;
}

static int receive_master(int listener)
{
	char byte[64], control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { byte, sizeof(byte) };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	int fd = -1, peer = accept(listener, NULL, NULL);
	if (peer >= 0 && recvmsg(peer, &m, MSG_CMSG_CLOEXEC) > 0 && CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
	close(peer);
	return fd;
}

static void test_tty(struct plug_handler *h)
{
	const char *n = h->name, *path = pool_printf(bench.pool, "%s/%s.tty", bench.dir, n);
	int listener = listen_at(path);
	struct crisp_stdio io = { .size = sizeof(io),
				  .flags = CRISP_STDIO_TTY,
				  .console_socket = path };
	struct crisp_create_args c = { .id = "tty",
				       .stdio = &io,
				       .bundle = bundle("tty", "stty size", true) };
	struct answer a = bench_ask(h, PLUG_OP_CREATE, &c);
	int master = a.ret == 0 ? receive_master(listener) : -1;
	ok(a.ret == 0 && master >= 0, "%s: the terminal has come %s", n, a.err.msg);
	ioctl(master, TIOCSWINSZ, &(struct winsize){ .ws_row = 33, .ws_col = 77 });
	start(h, "tty");
	bench_wait(a.pidfd);
	char text[64] = "";
	struct pollfd p = { .fd = master, .events = POLLIN };
	ok(poll(&p, 1, 2000) == 1 && read(master, text, 63) > 0 && !strncmp(text, "33 77", 5),
	   "%s: its size is %.5s", n, text);
	close(master);
	close(listener);
	bench_simple(h, PLUG_OP_DELETE, "tty", CRISP_ARG_FORCE);
}

/* -- a rootfs that exists for the engine alone -- */

static int template_ns = -1;

static void handle_template(void *data, int ret, int mntns, const struct err *e)
{
	template_ns = mntns;
	ok(ret == 0, "a template mount namespace %s", ret < 0 ? err_text(e) : "");
	loop_stop(bench.loop);
}

static bool host_sees(const char *path)
{
	struct buf mounts = { 0 };
	file_read(AT_FDCWD, "/proc/self/mountinfo", 64 << 20, &mounts, NULL);
	bool seen = mounts.data && strstr(mounts.data, path);
	buf_free(&mounts);
	return seen;
}

static const char *make_dir(const char *name)
{
	const char *dir = pool_printf(bench.pool, "%s/%s", bench.dir, name);
	file_mkdirs(dir, 0755, NULL);
	return dir;
}

static void test_rootfs(struct plug_handler *h, struct sandboxfs *fs)
{
	const char *n = h->name, *lower = rootfs;
	const char *upper = make_dir(pool_printf(bench.pool, "upper-%s", n)),
		   *work = make_dir(pool_printf(bench.pool, "work-%s", n));
	const char *target = pool_printf(bench.pool, "%s/%s/rootfs", sandboxfs_mnt_dir(fs), n);
	struct crisp_mount overlay = {
		.size = sizeof(overlay),
		.type = "overlay",
		.source = "overlay",
		.target = target,
		.options =
			(const char *const[]){ pool_printf(bench.pool, "lowerdir=%s", lower),
						pool_printf(bench.pool, "upperdir=%s", upper),
						pool_printf(bench.pool, "workdir=%s", work), NULL },
	};
	struct crisp_rootfs root = { .size = sizeof(root),
				     .path = target,
				     .mounts = (const struct crisp_mount *const[]){ &overlay,
										     NULL } };
	rootfs = target;
	struct crisp_create_args c = { .id = "root",
				       .rootfs = &root,
				       .bundle = bundle("root", "echo x >/made; ls / >/dev/null",
							false) };
	plug_set_mntns(bench.plug, template_ns);
	struct answer a = bench_ask(h, PLUG_OP_CREATE, &c);
	ok(a.ret == 0, "%s: created on an overlay %s", n, a.err.msg);
	ok(!host_sees(target), "%s: which the host doesn't see", n);
	start(h, "root");
	ok(bench_wait(a.pidfd) == 0, "%s: it runs there", n);
	ok(access(pool_printf(bench.pool, "%s/made", upper), F_OK) == 0,
	   "%s: and has written to the upper layer", n);
	ok(bench_simple(h, PLUG_OP_DELETE, "root", 0).ret == 0, "%s: deleted", n);
	overlay.options = (const char *const[]){ "lowerdir=/no/such", overlay.options[1],
						  overlay.options[2], NULL };
	a = bench_ask(h, PLUG_OP_CREATE, &c);
	ok(a.ret == -EIO && strstr(a.err.msg, "/no/such"), "%s: a layer that is missing: %s", n,
	   a.err.msg);
	overlay.type = "zfs";
	a = bench_ask(h, PLUG_OP_CREATE, &c);
	ok(a.ret < 0 && strstr(a.err.msg, "zfs"), "%s: a mount that can't be made: %s", n,
	   a.err.msg);
	plug_set_mntns(bench.plug, -1);
	rootfs = lower;
}

/* -- programs that misbehave -- */

/* Nobody of ours is left, but for the dead. */
static bool nobody_left(void)
{
	for (int i = 0; i < 200; i++) {
		pid_t pid = waitpid(-1, NULL, WNOHANG);
		if (pid < 0)
			return true;
		if (!pid)
			poll(NULL, 0, 10);
	}
	return false;
}

static void test_bad(const char *engine, const char *kind, const char *script, int want,
		     const char *says)
{
	/* Those first whose success is more than exit code 0. */
	static const enum plug_op all[] = {
		PLUG_OP_PROBE,	PLUG_OP_CREATE, PLUG_OP_EXEC,	PLUG_OP_PIDS,
		PLUG_OP_ATTACH, PLUG_OP_START,	PLUG_OP_KILL,	PLUG_OP_DELETE,
		PLUG_OP_UPDATE, PLUG_OP_PAUSE,	PLUG_OP_RESUME,
	};
	struct err e = { 0 };
	const char *path = pool_printf(bench.pool, "%s/%s-%s", bench.dir, engine, kind);
	const char *name = pool_printf(bench.pool, "%s-%s", engine, kind);
	if (script)
		file_replace(AT_FDCWD, path, script, strlen(script), 0755, &e);
	/* It has a record of the container, so that "not found" would be wrong. */
	file_mkdirs(pool_printf(bench.pool, "%s/engines/%s/root/x", bench.dir, name), 0700, &e);
	struct plug_handler *h =
		bench_handler(name, engine, pool_printf(bench.pool, "{\"path\":\"%s\"}", path));
	ok(!h->ready && h->state == PLUG_STATE_UNREADY, "%s: unready: %s", name, h->reason);
	for (size_t i = 0; i < (strcmp(kind, "liar") ? sizeof(all) / sizeof(all[0]) : 5); i++) {
		union {
			struct crisp_args head;
			struct crisp_create_args create;
			struct crisp_exec_args exec;
			struct crisp_update_args update;
			struct crisp_attach_args attach;
		} args = { .head = { .id = "x" } };
		if (all[i] == PLUG_OP_CREATE)
			args.create.bundle = bench.dir;
		else if (all[i] == PLUG_OP_EXEC)
			args.exec.process_json = "{}";
		else if (all[i] == PLUG_OP_UPDATE)
			args.update.resources_json = "{}";
		int64_t began = clock_mono_ns();
		struct answer a = bench_ask_in(h, all[i], &args, NULL, 500);
		int64_t ms = (clock_mono_ns() - began) / 1000000;
		ok(a.count == 1 && a.ret == want && strstr(a.err.msg, says) && ms < 1500,
		   "%s: %s (%d)", name, a.err.msg, a.ret);
	}
	ok(bench_idle() && nobody_left(), "%s: no program is left", name);
}

int main(int argc, char **argv)
{
	static const char *const engines[] = { "crun", "runc" };
	if (argc != 3)
		return 2;
	busybox = argv[1];
	cgroup_parent = argv[2];
	bench_open();
	bench_plug(NULL);
	make_rootfs();
	struct sandboxfs *fs = sandboxfs_new(bench.loop, bench.pool, bench.spawner,
					     pool_printf(bench.pool, "%s/libexec", bench.build),
					     bench.dir, make_dir("netns"), "t-");
	sandboxfs_template(fs, bench.pool, handle_template, NULL);
	bench_run();
	for (int i = 0; i < 2; i++) {
		struct plug_handler *h = bench_handler(engines[i], engines[i], NULL);
		ok(h->ready && *h->version, "%s: ready, version %s %s", h->name, h->version,
		   h->reason);
		test_life(h);
		test_running(h);
		test_tty(h);
		test_rootfs(h, fs);
		test_bad(engines[i], "missing", NULL, -EIO, "No such file");
		test_bad(engines[i], "hang", "#!/bin/sh\nsleep 1000 & wait\n", -ETIMEDOUT,
			 "no answer in");
		test_bad(engines[i], "dead", "#!/bin/sh\nkill -9 $$\n", -EIO, "killed by signal 9");
		test_bad(engines[i], "mad",
			 "#!/bin/sh\nhead -c 300000 /dev/zero | tr '\\0' '\\377' | tee "
			 "/proc/self/fd/3\nexit 7\n",
			 -EIO, "exit code 7");
		test_bad(engines[i], "liar",
			 "#!/bin/sh\necho rubbish >/proc/self/fd/3\necho rubbish\n", -EIO, "n");
	}
	close(template_ns);
	umount2(pool_printf(bench.pool, "%s/netns", bench.dir), MNT_DETACH);	/* the pins' mount */
	bench_close();
	return done();
}

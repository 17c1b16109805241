/* Sandboxes' files, sysctls, pins, and workers that do as they like. */
#include "core/sandboxfs/sandboxfs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/pool.h"
#include "core/loop/loop.h"
#include "core/sandboxfs/reply.h"
#include "core/sandboxfs/sysctl.h"
#include "core/spawn/spawn.h"
#include "t/tap.h"

static char dir[] = "/tmp/crisp-sandboxfs.XXXXXX";
static struct pool *pool;
static struct loop *loop;

static const char *path(const char *name)
{
	return pool_printf(pool, "%s/%s", dir, name);
}

static const char *content(const char *name)
{
	struct buf b = { 0 };
	if (file_read(AT_FDCWD, path(name), 1 << 20, &b, NULL) < 0)
		return "(none)";
	const char *text = pool_strndup(pool, b.len ? b.data : "", b.len);
	buf_free(&b);
	return text;
}

static void test_sysctls(void)
{
	static const struct { const char *key; enum sysctl_kind kind; } cases[] = {
		{ "kernel.shmmax", SYSCTL_KIND_IPC },
		{ "kernel/shmmax", SYSCTL_KIND_IPC },
		{ "kernel.shmmaxx", SYSCTL_KIND_NONE },
		{ "fs.mqueue.msg_max", SYSCTL_KIND_IPC },
		{ "kernel.domainname", SYSCTL_KIND_UTS },
		{ "kernel.hostname", SYSCTL_KIND_NONE },
		{ "net.ipv4.ip_forward", SYSCTL_KIND_NET },
		{ "net.ipv4.conf.all.forwarding", SYSCTL_KIND_NET },
		{ "net.ipv4.conf.eth0.forwarding", SYSCTL_KIND_NET_LATE },
		{ "net/ipv4/conf/eth0.100/forwarding", SYSCTL_KIND_NET_LATE },
		{ "net.ipv4.neigh.lo.ucast_solicit", SYSCTL_KIND_NET },
		{ "kernel.panic", SYSCTL_KIND_NONE },
		{ "vm.swappiness", SYSCTL_KIND_NONE },
		{ "net/../kernel/panic", SYSCTL_KIND_NONE },
		{ "net/ipv4/..", SYSCTL_KIND_NONE },
		{ "net.", SYSCTL_KIND_NONE },
		{ "net.ipv4.a b", SYSCTL_KIND_NONE },
		{ "net", SYSCTL_KIND_NONE },
		{ "", SYSCTL_KIND_NONE },
		{ "/net/ipv4/ip_forward", SYSCTL_KIND_NONE },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		ok(sysctl_kind(cases[i].key) == cases[i].kind, "kind of \"%s\"", cases[i].key);
	struct err e = { 0 };
	ok(sysctl_check("net.ipv4.ip_forward", true, true, false, &e) == -EINVAL &&
	   strstr(e.msg, "network") && strstr(e.msg, "net.ipv4.ip_forward"),
	   "on the host's network: %s", e.msg);
	ok(sysctl_check("kernel.shmmax", true, false, false, NULL) == 0, "of an own ipc namespace");

	const char *late[] = { "net.ipv4.ip_forward", "1", "net.ipv4.conf.eth0.mtu", "1", NULL };
	const char *early[] = { "net.ipv4.ip_forward", "1", NULL };
	struct sandbox_ns ns = { .pin = "/x", .sysctls = late };
	ok(sandboxfs_has_late_sysctls(&ns) && sandboxfs_check_sysctls(&ns, NULL) == 0,
	   "late ones are seen");
	ns.sysctls = early;
	ok(!sandboxfs_has_late_sysctls(&ns), "and not seen where there are none");
	ns.pin = NULL;
	ok(sandboxfs_check_sysctls(&ns, NULL) == -EINVAL, "refused without a netns");
	ns.sysctls = NULL;
	ok(sandboxfs_check_sysctls(&ns, NULL) == 0, "none are fine");
}

static void test_files(void)
{
	const char *servers[] = { "10.0.0.1", "fd00::1" }, *searches[] = { "a.local", "b" };
	const char *options[] = { "ndots:5" };
	struct sandbox_dns dns = { servers, searches, options, 2, 2, 1 };
	struct err e = { 0 };
	ok(sandboxfs_write_files(dir, "pod-1", &dns, "10.1.0.2\tpod-1", NULL, &e) == 0, "write: %s",
	   err_text(&e));
	ok(!strcmp(content("resolv.conf"), "search a.local b\nnameserver 10.0.0.1\n"
		   "nameserver fd00::1\noptions ndots:5\n"), "resolv.conf");
	ok(!strcmp(content("hostname"), "pod-1\n"), "hostname");
	const char *hosts = content("hosts");
	size_t n = strlen(hosts);
	ok(n >= 16 && !strcmp(hosts + n - 16, "\n10.1.0.2\tpod-1\n"),
	   "hosts ends with the pod's own line");
	struct buf host = { 0 };
	file_read(AT_FDCWD, "/etc/hosts", 1 << 20, &host, NULL);
	ok(!host.len || !strncmp(hosts, host.data, host.len - 1), "before it are the host's");
	buf_free(&host);
	ok(sandboxfs_write_files(dir, NULL, NULL, NULL, NULL, &e) == 0, "write without anything");
	char name[65] = "";
	gethostname(name, sizeof(name) - 1);
	ok(!strcmp(content("hostname"), pool_printf(pool, "%s\n", name)), "the host's name");
	file_read(AT_FDCWD, "/etc/resolv.conf", 1 << 20, &host, NULL);
	ok(!strcmp(content("resolv.conf"), host.len ? host.data : ""), "the host's resolv.conf");
	buf_free(&host);
	searches[1] = "b\nnameserver 6.6.6.6";
	ok(sandboxfs_write_files(dir, "h", &dns, NULL, NULL, &e) == -EINVAL &&
	   strstr(e.msg, "searches[1]"),
	   "no line is smuggled in: %s", e.msg);
	err_clear(&e);
	ok(sandboxfs_write_files(path("missing"), "h", NULL, NULL, NULL, &e) == -ENOENT, "no folder: %s",
	   e.msg);
}

static void test_reply(void)
{
	int pair[2], fds[REPLY_FDS_MAX];
	char letters[REPLY_FDS_MAX + 1];
	struct err e = { 0 };
	ok(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0, "a socket");
	ok(reply_receive(pair[0], letters, fds, NULL) == -EPROTO, "nothing was handed over");
	int send[2] = { pair[0], pair[1] };
	ok(reply_send(pair[1], "ab", send, &e) == 0 &&
	   reply_receive(pair[0], letters, fds, &e) == 0 && !strcmp(letters, "ab") &&
	   (fcntl(fds[1], F_GETFD) & FD_CLOEXEC), "two fds: %s", err_text(&e));
	close(fds[0]);
	close(fds[1]);
	ok(reply_send(pair[1], "", NULL, &e) == 0 &&
	   reply_receive(pair[0], letters, fds, &e) == 0 && !letters[0], "no fds");
	ok(write(pair[1], "abc", 3) == 3 && reply_receive(pair[0], letters, fds, &e) == -EPROTO,
	   "letters without fds");
	close(pair[1]);
	ok(reply_receive(pair[0], letters, fds, NULL) == -EPROTO, "the end");
	close(pair[0]);
}

/* -- workers -- */

static int got_ret, calls;
static struct err got_err;
static struct sandbox_fds got_fds;

static void handle_ns(void *data, int ret, const struct sandbox_fds *fds, const struct err *e)
{
	(void)data;
	calls++;
	got_ret = ret;
	got_err = *e;
	got_fds = *fds;
	loop_stop(loop);
}

static void handle_done(void *data, int ret, const struct err *e)
{
	handle_ns(data, ret, &(struct sandbox_fds){ -1, -1, -1, -1, -1, -1 }, e);
}

static void script(const char *text)
{
	int fd = open(path("crisp-work"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	dprintf(fd, "#!/bin/sh\n%s\n", text);
	close(fd);
}

static void test_workers(struct sandboxfs *fs)
{
	const char *sysctls[] = { "kernel.shmmax", "7", "net.ipv4.conf.eth0.mtu", "8",
				  "net.ipv4.ip_forward", "9", NULL };
	struct sandbox_ns ns = { .pin = "/pin", .ipc = true, .uts = true, .shm = true,
				 .hostname = "h", .sysctls = sysctls };
	script("echo \"$@\" > ${0%/*}/args; echo noise >&2; echo \"no such luck\" >&2; exit 1");
	sandboxfs_make_ns(fs, pool, &ns, 10000, handle_ns, NULL);
	ok(calls == 0, "no answer from inside the call");
	loop_run(loop);
	ok(calls == 1 && got_ret == -EIO && strstr(got_err.msg, "no such luck") &&
	   got_fds.net == -1,
	   "a worker that fails: %s", got_err.msg);
	ok(!strcmp(content("args"), "ns --net /pin --ipc --uts --hostname h --shm 67108864 "
		   "--sysctl kernel.shmmax=7 --sysctl net.ipv4.ip_forward=9\n"),
	   "what it was told: %s", content("args"));
	script("exit 0");
	sandboxfs_make_ns(fs, pool, &ns, 10000, handle_ns, NULL);
	loop_run(loop);
	ok(got_ret == -EPROTO, "one that hands nothing over: %s", got_err.msg);
	sandboxfs_unpin(fs, pool, "/pin", handle_done, NULL);
	loop_run(loop);
	ok(got_ret == 0, "one that needs not: %s", err_text(&got_err));
	script("exec sleep 60");
	sandboxfs_make_ns(fs, pool, &ns, 50, handle_ns, NULL);
	loop_run(loop);
	ok(got_ret == -ETIMEDOUT, "one that hangs: %s", got_err.msg);
	spawn_cancel(sandboxfs_make_ns(fs, pool, &ns, 0, handle_ns, NULL));
	loop_run(loop);
	ok(got_ret == -ECANCELED, "one that is cancelled: %s", got_err.msg);
	struct pool *short_lived = pool_new(pool, "short");
	int before = calls;
	sandboxfs_late_sysctls(fs, short_lived, &ns, -1, 0, handle_done, NULL);
	pool_destroy(short_lived);
	script("echo \"$@\" > ${0%/*}/args");
	sandboxfs_late_sysctls(fs, pool, &ns, -1, 0, handle_done, NULL);
	loop_run(loop);
	ok(calls == before + 1, "a pool that goes takes its worker along, unheard");
	ok(!strcmp(content("args"), "sysctl /pin net.ipv4.conf.eth0.mtu=8\n"), "late sysctls");
}

static void make_file(const char *name)
{
	close(open(path(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

static void test_pins(struct sandboxfs *fs)
{
	const char *const *ids;
	ok(sandboxfs_pins(fs, pool, &ids, NULL) == 0 && !ids[0], "no folder of pins, no pins");
	mkdir(path("netns"), 0755);
	const char *names[] = { "crisp-one", "other", "crisp-" };
	for (int i = 0; i < 3; i++)
		make_file(pool_printf(pool, "netns/%s", names[i]));
	ok(sandboxfs_pins(fs, pool, &ids, NULL) == 0 && ids[0] && !strcmp(ids[0], "one") && !ids[1],
	   "pins of our prefix, by id");
	for (int i = 0; i < 200; i++)
		make_file(pool_printf(pool, "netns/crisp-%d", i));
	size_t n = 0;
	sandboxfs_pins(fs, pool, &ids, NULL);
	while (ids[n])
		n++;
	ok(n == 201, "many pins");
	ok(!strcmp(sandboxfs_pin_path(fs, pool, "x"), path("netns/crisp-x")), "the path of a pin");
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	pool = pool_new(NULL, "test");
	loop = loop_new(pool);
	struct spawner *s = spawner_new(loop, pool, 4, NULL, 0);
	struct sandboxfs *fs = sandboxfs_new(loop, pool, s, dir, dir, path("netns"), "crisp-");
	test_sysctls();
	test_files();
	test_reply();
	test_workers(fs);
	test_pins(fs);
	file_remove_tree(AT_FDCWD, dir, NULL);
	pool_destroy(pool);
	return done();
}

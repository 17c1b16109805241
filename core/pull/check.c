/*
 * The confinement check, see the header.  Each role is entered in a child, which then tries what a
 * taken-over worker would try.  Listeners are opened before, so that a refused connection can only
 * be the confinement's doing.
 */
#include "core/pull/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/pull/confine.h"

struct scene {
	int dir, abi;			/* abi: of Landlock; inside, it can't be asked for */
	uint16_t allowed, forbidden;	/* ports that somebody listens on */
	int listeners[2];
	pid_t parent;
};

static int count, failed;

static void say(const char *role, const char *what, bool good)
{
	int why = errno;
	printf("%sok %d - %s: %s", good ? "" : "not ", ++count, role, what);
	printf(good ? "\n" : " (%s)\n", strerror(why));
	fflush(stdout);
	failed += !good;
}

static int listen_somewhere(uint16_t *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, n) < 0 || listen(fd, 8) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &n) < 0)
		return -1;
	*port = ntohs(a.sin_port);
	return fd;
}

static bool can_connect(uint16_t port)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(port),
	};
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
}

static bool can_open(const char *path, int flags)
{
	auto_close int fd = open(path, flags | O_CLOEXEC, 0600);
	return fd >= 0;
}

static bool can_exec(void)
{
	char *argv[] = { "true", NULL }, *envp[] = { NULL };
	execve("/bin/true", argv, envp); /* on success this check is over, and counted short */
	return false;
}

static bool can_fork(void)
{
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (!pid)
		_exit(0);
	return pid > 0;
}

static bool can_leave_root(void)
{
	return chroot(".") == 0 || unshare(CLONE_NEWUSER) == 0 || unshare(CLONE_NEWNS) == 0;
}

static void try_common(const struct scene *s, const char *role)
{
	say(role, "cannot execute a program", !can_exec());
	say(role, "cannot start a process", !can_fork());
	say(role, "cannot read /etc/shadow", !can_open("/etc/shadow", O_RDONLY));
	say(role, "cannot write /etc", !can_open("/etc/crisp-was-here", O_WRONLY | O_CREAT));
	say(role, "cannot write /tmp", !can_open("/tmp/crisp-was-here", O_WRONLY | O_CREAT));
	say(role, "cannot read the supervisor's memory", !can_open("/proc/self/mem", O_RDWR));
	say(role, "cannot signal the supervisor", kill(s->parent, 0) < 0);
	say(role, "cannot trace the supervisor", ptrace(PTRACE_ATTACH, s->parent, 0, 0) < 0);
	say(role, "cannot mount", mount("none", "/", "tmpfs", 0, NULL) < 0);
	say(role, "cannot change its root or namespaces", !can_leave_root());
	say(role, "cannot connect where it has no business", !can_connect(s->forbidden));
}

static void try_unpack(const struct scene *s)
{
	struct err e = { 0 };
	static const char role[] = "unpack";
	if (confine_unpack(s->dir, &e) < 0) {
		say(role, e.msg, false);
		return;
	}
	say(role, "writes in its folder", can_open("/file", O_WRONLY | O_CREAT));
	say(role, "makes a whiteout", mknodat(AT_FDCWD, "/gone", S_IFCHR, makedev(0, 0)) == 0);
	say(role, "gives files away", fchownat(AT_FDCWD, "/file", 1000, 1000, 0) == 0);
	say(role, "cannot climb out of its folder",
	    !can_open("../../../../../../../../etc/passwd", O_RDONLY));
	say(role, "cannot open a socket",
	    socket(AF_INET, SOCK_STREAM, 0) < 0 && socket(AF_UNIX, SOCK_DGRAM, 0) < 0);
	say(role, "cannot make memory executable",
	    mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
		    MAP_FAILED);
	try_common(s, role);
}

static void try_load(const struct scene *s)
{
	struct err e = { 0 };
	static const char role[] = "load";
	if (confine_load(s->dir, &e) < 0) {
		say(role, e.msg, false);
		return;
	}
	say(role, "reads its source", can_open("/file", O_RDONLY));
	say(role, "cannot write its source", !can_open("/file", O_WRONLY));
	say(role, "cannot open a socket", socket(AF_INET, SOCK_STREAM, 0) < 0);
	try_common(s, role);
}

static void try_fetch(const struct scene *s)
{
	struct err e = { 0 };
	static const char role[] = "fetch";
	if (confine_fetch(&s->allowed, 1, &e) < 0) {
		say(role, e.msg, false);
		return;
	}
	say(role, "is nobody", getuid() == 65534 && geteuid() == 65534 && getgid() == 65534);
	say(role, "connects to a registry's port", can_connect(s->allowed));
	say(role, "reads what resolving names takes", can_open("/etc/hosts", O_RDONLY));
	say(role, "cannot read other files", !can_open("/etc/passwd", O_RDONLY) || !s->abi);
	say(role, "cannot open a unix socket", socket(AF_UNIX, SOCK_STREAM, 0) < 0);
	say(role, "cannot open a raw socket", socket(AF_PACKET, SOCK_RAW, 0) < 0);
	if (s->abi < 4) {
		printf("# no Landlock for the network in this kernel: ports are not limited\n");
		return;
	}
	try_common(s, role);
}

/* The child's results come back through its exit code and the shared page. */
static void in_child(const struct scene *s, void (*try)(const struct scene *s), const char *role,
		     int want)
{
	int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = 0, before = count;
	if (shared == MAP_FAILED)
		return;
	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		try(s);
		shared[0] = count;
		shared[1] = failed;
		_exit(0);
	}
	waitpid(pid, &status, 0);
	count = shared[0] ? shared[0] : count;
	failed = shared[1] > failed ? shared[1] : failed;
	/* One that became another program, or was killed, has not finished its list. */
	say(role, "went through its whole list", status == 0 && count - before >= want);
	munmap(shared, 4096);
}

int check_confinement(const char *dir)
{
	struct scene s = { .parent = getpid(), .abi = confine_landlock_abi() };
	s.dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	s.listeners[0] = listen_somewhere(&s.allowed);
	s.listeners[1] = listen_somewhere(&s.forbidden);
	if (s.dir < 0 || s.listeners[0] < 0 || s.listeners[1] < 0) {
		perror(dir);
		return 1;
	}
	printf("# Landlock ABI %d\n", s.abi);
	say("check", "unconfined, the other port can be reached", can_connect(s.forbidden));
	in_child(&s, try_unpack, "unpack", 17);
	in_child(&s, try_load, "load", 14);
	in_child(&s, try_fetch, "fetch", s.abi < 4 ? 6 : 17);
	printf("1..%d\n", count);
	return failed != 0;
}

/*
 * A user namespace for a pod.  Whatever makes a namespace inside of a user namespace has to live in
 * there, and has no rights outside any more; so a child does it, and is left again for its
 * /proc/PID/ns as soon as this process has followed into all but the user namespace.
 */
#include "core/work/userns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/idmap.h"

/* In the child: tell how it went, then wait until nobody needs us. */
static void __attribute__((noreturn)) hold(int sock, int in, int flags)
{
	int code = 0;
	char c;
	if (in >= 0 ? setns(in, CLONE_NEWUSER) < 0 || unshare(flags) < 0 : unshare(CLONE_NEWUSER | flags) < 0)
		code = errno;
	if (write(sock, &code, sizeof(code)) == sizeof(code))
		while (read(sock, &c, 1) < 0 && errno == EINTR)
			;
	_exit(0);
}

static int write_map(pid_t pid, const char *file, uint32_t host, uint32_t n, struct err *e)
{
	char path[64], text[48];
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	snprintf(text, sizeof(text), "0 %u %u\n", host, n);
	return file_poke(AT_FDCWD, path, text, e);
}

static int open_ns(pid_t pid, const char *name, struct err *e)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "open %s", path) : fd;
}

static int follow(pid_t pid, int flags, struct err *e)
{
	static const struct { int flag; const char *name; } kinds[] = {
		{ CLONE_NEWNET, "net" }, { CLONE_NEWIPC, "ipc" }, { CLONE_NEWUTS, "uts" },
	};
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (!(flags & kinds[i].flag))
			continue;
		auto_close int fd = open_ns(pid, kinds[i].name, e);
		if (fd < 0)
			return fd;
		if (setns(fd, kinds[i].flag) < 0)
			return err_sys(e, "enter the new %s namespace", kinds[i].name);
	}
	return 0;
}

static int wait_ready(int sock, struct err *e)
{
	int code;
	ssize_t n = read(sock, &code, sizeof(code));
	if (n != sizeof(code))
		return err_set(e, EIO, "make a user namespace: its process is gone");
	return code ? err_set(e, code, "make a user namespace: %s", strerror(code)) : 0;
}

static int take_over(pid_t pid, int sock, const struct idmap *map, bool fresh, int flags, struct err *e)
{
	int ret = wait_ready(sock, e);
	if (ret == 0 && fresh)
		ret = write_map(pid, "uid_map", map->uid, map->n_uids, e);
	if (ret == 0 && fresh)
		ret = write_map(pid, "gid_map", map->gid, map->n_gids, e);
	if (ret == 0)
		ret = follow(pid, flags, e);
	return ret < 0 ? ret : open_ns(pid, "user", e);
}

int userns_enter(const struct idmap *map, const char *in, int flags, struct err *e)
{
	auto_close int user = in ? open(in, O_RDONLY | O_CLOEXEC) : -1;
	if (in && user < 0)
		return err_sys(e, "open the user namespace %s", in);
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "make a socket pair");
	pid_t pid = fork();
	if (pid == 0) {
		close(pair[0]);
		hold(pair[1], user, flags);
	}
	close(pair[1]);
	int fd = pid < 0 ? err_sys(e, "fork") : take_over(pid, pair[0], map, !in, flags, e);
	close(pair[0]);
	if (pid > 0)
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	return fd;
}

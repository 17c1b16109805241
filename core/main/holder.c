/* Asking the keeper of before, see the header.  The messages are in core/keep/wire.h. */
#include "core/main/holder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/pool.h"
#include "core/config/config.h"
#include "core/keep/wire.h"
#include "core/main/core.h"

enum { BACKLOG = 8, ANSWER_MS = 30000, TRIES = 3, ERRORS_MAX = 3 };

/* -- the socket -- */

static int put_path(struct sockaddr_un *sa, const char *path, struct err *e)
{
	sa->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(sa->sun_path))
		return err_set(e, ENAMETOOLONG, "socket path %s: at most %zu bytes are possible",
			       path, sizeof(sa->sun_path) - 1);
	strcpy(sa->sun_path, path);
	return 0;
}

int holder_listen(const char *path, struct err *e)
{
	struct sockaddr_un sa = { 0 };
	int ret = put_path(&sa, path, e);
	if (ret < 0)
		return ret;
	if (unlink(path) < 0 && errno != ENOENT)
		return err_sys(e, "remove %s", path);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_sys(e, "socket");
	/* The mode of the unbound socket is what bind gives the file. */
	if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    listen(fd, BACKLOG) < 0) {
		ret = err_sys(e, "listen on %s", path);
		close(fd);
		return ret;
	}
	return fd;
}

/* -1: nobody listens there. */
static int connect_to(const char *path)
{
	struct sockaddr_un sa = { 0 };
	struct err e = { 0 };
	if (put_path(&sa, path, &e) < 0)
		return -1;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* -- asking -- */

/* Errors show as a missing answer. */
static void send_word(int sock, uint32_t type, const char *key, int fd)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct keep_msg m = { .type = type };
	struct iovec iov = { &m, sizeof(m) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
	snprintf(m.key, sizeof(m.key), "%s", key);
	if (fd >= 0) {
		h.msg_control = control;
		h.msg_controllen = sizeof(control);
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		*c = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	sendmsg(sock, &h, MSG_NOSIGNAL);
}

static uint32_t write_strings(int fd, char *const *strings, size_t *bytes)
{
	uint32_t n = 0;
	for (; strings[n]; n++) {
		size_t len = strlen(strings[n]) + 1;
		file_write_all(fd, strings[n], len);
		*bytes += len;
	}
	return n;
}

/* A memfd with struct keep_args and what follows it. */
static int write_args(const struct core_args *a, const char *keeper, struct err *e)
{
	struct keep_args head = { 0 };
	size_t bytes = sizeof(head);
	int fd = memfd_create("crisp-args", MFD_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "memfd");
	file_write_all(fd, &head, sizeof(head));
	head.n_args = write_strings(fd, (char *[]){ (char *)(uintptr_t)keeper, NULL }, &bytes);
	head.n_args += write_strings(fd, a->keeper_argv, &bytes);
	head.n_env = write_strings(fd, environ, &bytes);
	struct stat st;
	if (bytes > KEEP_ARGS_BYTES || head.n_args > KEEP_ARGS_MAX || head.n_env > KEEP_ENV_MAX ||
	    fstat(fd, &st) < 0 || (size_t)st.st_size != bytes ||
	    pwrite(fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head)) {
		close(fd);
		return err_set(e, E2BIG, "arguments and environment are too long to be passed on");
	}
	return fd;
}

static int ask(int sock, const struct core_args *a, const char *keeper, struct err *e)
{
	auto_close int args = write_args(a, keeper, e);
	auto_close int cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (args < 0)
		return args;
	send_word(sock, KEEP_MSG_FRONT_FD, "args", args);
	if (cwd >= 0)
		send_word(sock, KEEP_MSG_FRONT_FD, "cwd", cwd);
	send_word(sock, KEEP_MSG_FRONT_FD, "in", STDIN_FILENO);
	send_word(sock, KEEP_MSG_FRONT_FD, "out", STDOUT_FILENO);
	send_word(sock, KEEP_MSG_FRONT_FD, "err", STDERR_FILENO);
	if (a->ready_fd >= 0)
		send_word(sock, KEEP_MSG_FRONT_FD, KEEP_KEY_READY, a->ready_fd);
	send_word(sock, KEEP_MSG_FRONT_GO, "", -1);
	return 0;
}

/* False: it has gone without one, or there is none in time (-ETIMEDOUT in e). */
static bool read_answer(int sock, struct keep_msg *m, struct err *e)
{
	struct pollfd p = { sock, POLLIN, 0 };
	if (poll(&p, 1, ANSWER_MS) <= 0) {
		err_set(e, ETIMEDOUT, "no answer for %d s", ANSWER_MS / 1000);
		return false;
	}
	/* That words of ours stay unread comes as an error, before the words that are for us. */
	for (int i = 0; i < ERRORS_MAX; i++) {
		ssize_t n = recv(sock, m, sizeof(*m), 0);
		if (n >= 0)
			return n == (ssize_t)sizeof(*m);
	}
	return false;
}

/* -- being its front -- */

/* They wait for crisp-front to pass them on. */
static void block_signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static int be_front(int sock, const char *program, int ready_fd)
{
	char number[16];
	snprintf(number, sizeof(number), "%d", sock);
	if (ready_fd >= 0)	/* the keeper has it: its reader may wait for the end */
		fd_set_cloexec(ready_fd, 1);
	fcntl(sock, F_SETFD, 0);
	execl(program, program, number, (char *)NULL);
	fprintf(stderr, "crispd: can't execute %s: %m\n", program);
	return 1;
}

static int complain(const char *path, const struct err *e)
{
	fprintf(stderr, "crispd: the keeper that listens on %s: %s\n", path, err_text(e));
	return 1;
}

int holder_take_over(const struct core_args *a)
{
	const struct config *cf = a->config;
	const char *path = pool_printf(a->pool, "%s/" KEEP_HOLDER_SOCKET, cf->state);
	const char *keeper = pool_printf(a->pool, "%s/crisp-keeper", cf->libexec_dir);
	const char *front = pool_printf(a->pool, "%s/crisp-front", cf->libexec_dir);
	for (int i = 0; i < TRIES; i++) {
		struct err e = { 0 };
		struct keep_msg m = { 0 };
		int sock = connect_to(path);
		if (sock < 0)
			return -1;
		pool_fd(a->pool, sock);
		block_signals();
		if (ask(sock, a, keeper, &e) < 0)
			return complain(path, &e);
		if (!read_answer(sock, &m, &e)) {
			if (e.code)
				return complain(path, &e);
			continue;	/* it was just leaving */
		}
		if (m.type == KEEP_MSG_FRONT_TAKEN)
			return be_front(sock, front, a->ready_fd);
		if (m.type == KEEP_MSG_FRONT_END)
			return m.a;	/* it has said why, on our stderr */
		fprintf(stderr, "crispd: another crisp, with pid %d, is using %s\n", m.a, cf->state);
		return 1;
	}
	return -1;
}

/*
 * The sentry's control socket.  A call is a connection: JSON there, JSON back, no framing.  runsc
 * promises nothing about it, so whoever calls has another way.
 */
#include "engines/gvisor/gvisor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { ANSWER_MAX = 1 << 20 };

struct urpc {
	const struct crisp_host *host;
	int fd;
	struct crisp_watch *watch;
	char *text;
	size_t len, cap;
	urpc_cb *cb;
	void *data;
};

void urpc_drop(struct urpc *u)
{
	if (!u)
		return;
	u->host->unwatch(u->watch);
	close(u->fd);
	free(u->text);
	free(u);
}

static void finish(struct urpc *u, int err, yajl_val result, const char *words)
{
	urpc_cb *cb = u->cb;
	void *data = u->data;
	u->host->unwatch(u->watch);
	u->watch = NULL;
	cb(data, err, result, words);
	urpc_drop(u);
}

/* Is the answer there?  It has no length, but it is an object. */
static bool judge(struct urpc *u)
{
	size_t end = u->len;
	while (end && (unsigned char)u->text[end - 1] <= ' ')
		end--;
	if (!end || u->text[end - 1] != '}')
		return false;
	yajl_val v = yajl_tree_parse(u->text, NULL, 0);
	if (!v)
		return false;
	const char *words = YAJL_GET_STRING(json_member(v, "err"));
	if (YAJL_IS_TRUE(json_member(v, "success")))
		finish(u, 0, json_member(v, "result"), "");
	else
		finish(u, -EIO, NULL, words ? words : "it failed without a word");
	yajl_tree_free(v);
	return true;
}

static void grow(struct urpc *u)
{
	if (u->cap - u->len > 4096)
		return;
	u->cap = u->cap ? 2 * u->cap : 16384;
	u->text = realloc(u->text, u->cap);
	if (!u->text)
		abort();
}

void urpc_look(struct urpc *u)
{
	grow(u);
	ssize_t n = recv(u->fd, u->text + u->len, u->cap - u->len - 1, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || u->len + (size_t)n > ANSWER_MAX) {
		finish(u, -EHOSTDOWN, NULL, "the sandbox closed its control socket");
		return;
	}
	u->len += (size_t)n;
	u->text[u->len] = 0;
	judge(u);
}

static void handle_readable(void *data, uint32_t events)
{
	urpc_look(data);
}

/* A path may be too long for an address, but a folder has a shorter one. */
static int dial(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	char folder[PATH_LEN];
	const char *slash = strrchr(path, '/');
	snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path);
	int dir = open(*folder ? folder : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int n = snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/%s", dir, slash + 1);
	int ret = fd < 0 ? -errno : 0;
	if (ret == 0 && (size_t)n >= sizeof(sa.sun_path))
		ret = -ENAMETOOLONG;
	if (ret == 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		ret = -errno;
	close(dir);
	if (ret < 0 && fd >= 0)
		close(fd);
	return ret < 0 ? ret : fd;
}

static bool send_all(int fd, const char *text, size_t len, int passed)
{
	struct iovec iov = { (void *)(uintptr_t)text, len };
	union { struct cmsghdr head; char room[CMSG_SPACE(sizeof(int))]; } control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (passed >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		*c = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
		memcpy(CMSG_DATA(c), &passed, sizeof(passed));
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len;
}

struct urpc *urpc_call(const struct crisp_host *h, const char *socket, const char *method,
		       const char *arg, int passed, urpc_cb *cb, void *data)
{
	char text[2048];
	int fd = *socket ? dial(socket) : -1;
	if (fd < 0)
		return NULL;
	int n = snprintf(text, sizeof(text), "{\"method\":\"%s\",\"arg\":%s}", method, arg);
	if (n < 0 || (size_t)n >= sizeof(text) || !send_all(fd, text, (size_t)n, passed)) {
		close(fd);
		return NULL;
	}
	struct urpc *u = calloc(1, sizeof(*u));
	if (!u)
		abort();
	*u = (struct urpc){ .host = h, .fd = fd, .cb = cb, .data = data };
	u->watch = h->watch_fd(h, fd, CRISP_IO_READ, handle_readable, u);
	return u;
}

/* Receiving a pty master: see the header. */
#include "core/model/console.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/pool.h"

struct console {
	struct pool_res res;
	char *path;
	int fd;
};

static void release_console(struct pool_res *r)
{
	struct console *c = container_of(r, struct console, res);
	unlink(c->path);
	close(c->fd);
}

int console_listen(struct pool *p, const char *dir, const char *name, struct console **out, struct err *e)
{
	struct console *c = pool_new_struct(p, struct console);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	c->path = pool_printf(p, "%s/%s", dir, name);
	if (strlen(c->path) >= sizeof(addr.sun_path))
		return err_set(e, ENAMETOOLONG, "state directory: %s is too long for a socket", c->path);
	strcpy(addr.sun_path, c->path);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		return err_sys(e, "make a console socket");
	unlink(c->path);
	pool_res_add(p, &c->res, release_console);
	if (bind(c->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(c->fd, 1) < 0)
		return err_sys(e, "listen on %s", c->path);
	*out = c;
	return 0;
}

const char *console_path(const struct console *c)
{
	return c->path;
}

int console_take(struct console *c, struct err *e)
{
	auto_close int conn = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (conn < 0)
		return err_sys(e, "the engine sent no console");
	char data[4096];
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { data, sizeof(data) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space,
			      .msg_controllen = sizeof(control.space) };
	if (recvmsg(conn, &msg, MSG_CMSG_CLOEXEC) < 0)
		return err_sys(e, "receive the console");
	struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
	if (!h || h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS || h->cmsg_len != CMSG_LEN(sizeof(int)))
		return err_set(e, EPROTO, "the engine sent no console");
	int fd;
	memcpy(&fd, CMSG_DATA(h), sizeof(fd));
	fd_set_nonblock(fd);
	return fd;
}

/*
 * Unix stream sockets over the loop, see the header.  A broken write is not reported from
 * sock_flush(), where the caller could not bear to be closed, but by the watcher: the socket
 * is shut down and the next pass reads its end.
 */
#include "core/sock/sock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/log.h"

enum {
	READ_SIZE = 16 << 10,
	READS_A_PASS = 4,	/* of one connection, then the others have their turn */
	ACCEPTS_A_PASS = 64,
	BACKLOG = 128,
	PAUSE_MS = 200,
};

/* -- the listening socket -- */

static int check_stale(const struct sockaddr_un *sa, struct err *e)
{
	struct stat st;
	if (lstat(sa->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : err_sys(e, "stat %s", sa->sun_path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, ENOTSOCK, "%s is there and no socket", sa->sun_path);
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_sys(e, "socket");
	/* EAGAIN is a living server with a full backlog. */
	if (connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0 || errno == EAGAIN)
		return err_set(e, EADDRINUSE, "%s: somebody listens there already", sa->sun_path);
	return errno == ECONNREFUSED || errno == ENOENT ? 0 : err_sys(e, "probe %s", sa->sun_path);
}

static int bind_at(int fd, const struct sockaddr_un *sa, mode_t mode, struct err *e)
{
	if (unlink(sa->sun_path) < 0 && errno != ENOENT)
		return err_sys(e, "remove %s", sa->sun_path);
	/* The mode of the unbound socket, less the umask, is what bind gives the file. */
	if (fchmod(fd, mode) < 0)
		return err_sys(e, "fchmod a socket");
	if (bind(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0)
		return err_sys(e, "bind %s", sa->sun_path);
	if (chmod(sa->sun_path, mode) < 0)
		return err_sys(e, "chmod %s", sa->sun_path);
	if (listen(fd, BACKLOG) < 0)
		return err_sys(e, "listen on %s", sa->sun_path);
	return 0;
}

int sock_listen(const char *path, mode_t mode, struct err *e)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX }, tmp = { .sun_family = AF_UNIX };
	/* Made beside its place and renamed: the path always names a socket that listens. */
	if (!*path || strlen(path) + 1 >= sizeof(sa.sun_path))
		return err_set(e, ENAMETOOLONG, "socket path %s: 1 to %zu bytes are possible", path,
			       sizeof(sa.sun_path) - 2);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	snprintf(tmp.sun_path, sizeof(tmp.sun_path), "%s~", path);
	int ret = check_stale(&sa, e);
	if (ret < 0)
		return ret;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_sys(e, "socket");
	ret = bind_at(fd, &tmp, mode, e);
	if (ret == 0 && rename(tmp.sun_path, path) < 0)
		ret = err_sys(e, "rename %s to %s", tmp.sun_path, path);
	if (ret < 0) {
		unlink(tmp.sun_path);
		close(fd);
		return ret;
	}
	return fd;
}

/* Its name is the one that it was bound to, before the rename. */
bool sock_is_at(int fd, const char *path)
{
	struct sockaddr_un sa = { 0 };
	socklen_t len = sizeof(sa);
	size_t n = strlen(path);
	return getsockname(fd, (struct sockaddr *)&sa, &len) == 0 && n < sizeof(sa.sun_path) - 1 &&
	       !strncmp(sa.sun_path, path, n) && !strcmp(sa.sun_path + n, "~");
}

static void handle_pause_over(struct loop_timer *t)
{
	struct sock_listener *sl = t->data;
	loop_io_set(&sl->io, LOOP_READ);
}

static void handle_connect(struct loop_io *io, int events)
{
	struct sock_listener *sl = io->data;
	for (int i = 0; i < ACCEPTS_A_PASS && sl->fd->fd >= 0; i++) {
		int fd = accept4(sl->fd->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			sl->accepted(sl, fd);
			continue;
		}
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		if (errno != EAGAIN) {
			/* The connection stays in the backlog: without a pause this would spin. */
			log_warn("accept failed", "err", strerror(errno));
			loop_io_set(&sl->io, 0);
			loop_timer_start(&sl->pause, sl->io.loop, sl->pool, PAUSE_MS, 0,
					 handle_pause_over, sl);
		}
		return;
	}
}

void sock_listener_start(struct sock_listener *sl, struct loop *l, struct pool *p, int fd,
			 void (*accepted)(struct sock_listener *sl, int fd), void *data)
{
	fd_set_nonblock(fd);
	sl->pool = p;
	sl->fd = pool_fd(p, fd);
	sl->accepted = accepted;
	sl->data = data;
	loop_io_start(&sl->io, l, p, fd, LOOP_READ, handle_connect, sl);
}

void sock_listener_stop(struct sock_listener *sl)
{
	loop_io_stop(&sl->io);
	loop_timer_stop(&sl->pause);
	pool_fd_close(sl->fd);
}

/* -- a connection -- */

static void close_with(struct sock *s, int code)
{
	struct err why = { 0 };
	if (code)
		err_set(&why, code, "%s", strerror(code));
	sock_stop(s);
	s->handler->closed(s, &why);
}

static void read_some(struct sock *s)
{
	char bytes[READ_SIZE];
	for (int i = 0; i < READS_A_PASS && s->fd->fd >= 0 && !s->held; i++) {
		ssize_t n = recv(s->fd->fd, bytes, sizeof(bytes), 0);
		if (n > 0)
			s->handler->received(s, bytes, (size_t)n);
		else if (n == 0 || (errno != EAGAIN && errno != EINTR))
			return close_with(s, n == 0 || errno == ECONNRESET ? 0 : errno);
		if (n < (ssize_t)sizeof(bytes))
			return;
	}
}

static void handle_io(struct loop_io *io, int events)
{
	struct sock *s = io->data;
	if (events & LOOP_READ)
		read_some(s);
	if (!(events & LOOP_WRITE) || s->fd->fd < 0)
		return;
	sock_flush(s, false);
	if (!sock_queued(s))
		s->handler->drained(s);
}

static void release_out(struct pool_res *r)
{
	buf_free(&container_of(r, struct sock, out_res)->out);
}

void sock_start(struct sock *s, struct loop *l, struct pool *p, int fd,
		const struct sock_handler *h, void *data)
{
	s->handler = h;
	s->data = data;
	pool_res_add(p, &s->out_res, release_out);
	s->fd = pool_fd(p, fd);
	loop_io_start(&s->io, l, p, fd, LOOP_READ, handle_io, s);
}

void sock_stop(struct sock *s)
{
	loop_io_stop(&s->io);
	pool_fd_close(s->fd);
	buf_free(&s->out);
	s->sent = 0;
}

void sock_add(struct sock *s, const void *bytes, size_t n)
{
	/* For a peer that never takes all of it: what was sent goes once it is the larger part. */
	if (s->sent > sock_queued(s)) {
		buf_consume(&s->out, s->sent);
		s->sent = 0;
	}
	buf_add(&s->out, bytes, n);
}

size_t sock_queued(const struct sock *s)
{
	return s->out.len - s->sent;
}

void sock_flush(struct sock *s, bool more)
{
	while (sock_queued(s) && s->fd->fd >= 0) {
		ssize_t n = send(s->fd->fd, s->out.data + s->sent, sock_queued(s), MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			s->sent = s->out.len;
			shutdown(s->fd->fd, SHUT_RDWR);
		}
		if (n < 0)
			break;
		s->sent += (size_t)n;
	}
	if (!sock_queued(s)) {
		buf_free(&s->out);
		s->sent = 0;
	}
	if (s->io.loop)
		loop_io_set(&s->io, (s->held ? 0 : LOOP_READ) | (more || sock_queued(s) ? LOOP_WRITE : 0));
}

void sock_hold(struct sock *s, bool hold)
{
	if (s->held == hold)
		return;
	s->held = hold;
	if (s->io.loop)
		loop_io_set(&s->io, (hold ? 0 : LOOP_READ) | (s->io.events & LOOP_WRITE));
}

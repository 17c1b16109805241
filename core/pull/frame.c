/* Frames: see the header. */
#include "core/pull/frame.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/file.h"

enum { HEAD = 5, FILL = 64 << 10 };

int frame_write(int fd, char type, const void *data, size_t len)
{
	char head[HEAD] = { type };
	uint32_t n = (uint32_t)len;
	if (len > FRAME_MAX)
		return -EMSGSIZE;
	memcpy(head + 1, &n, sizeof(n));
	int ret = file_write_all(fd, head, sizeof(head));
	return ret < 0 ? ret : file_write_all(fd, data, len);
}

int frame_write_err(int fd, const struct err *e)
{
	char both[sizeof(struct frame_error) + sizeof(e->msg)];
	struct frame_error f = { e->code ? e->code : EIO };
	size_t n = strlen(err_text(e));
	memcpy(both, &f, sizeof(f));
	memcpy(both + sizeof(f), err_text(e), n);
	return frame_write(fd, 'E', both, sizeof(f) + n);
}

int frame_fill(int fd, struct buf *b)
{
	ssize_t n = read(fd, buf_room(b, FILL), FILL);
	if (n < 0)
		return -errno;
	b->len += (size_t)n;
	b->data[b->len] = 0;
	return (int)n;
}

int frame_next(const struct buf *b, size_t *at, struct frame *out)
{
	uint32_t n;
	if (b->len - *at < HEAD)
		return 0;
	memcpy(&n, b->data + *at + 1, sizeof(n));
	if (n > FRAME_MAX)
		return -EMSGSIZE;
	if (b->len - *at - HEAD < n)
		return 0;
	*out = (struct frame){ b->data[*at], b->data + *at + HEAD, n };
	*at += HEAD + n;
	return 1;
}

int frame_send_fd(int sock, uint32_t number, int fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .space = { 0 } };
	struct iovec iov = { &number, sizeof(number) };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.space, .msg_controllen = sizeof(control.space),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	return sendmsg(sock, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int frame_recv_fd(int sock, uint32_t *number, int *fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .space = { 0 } };
	struct iovec iov = { number, sizeof(*number) };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.space, .msg_controllen = sizeof(control.space),
	};
	ssize_t n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	if (n <= 0)
		return n < 0 ? -errno : 0;
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (n != sizeof(*number) || !c || c->cmsg_type != SCM_RIGHTS)
		return -EPROTO;
	memcpy(fd, CMSG_DATA(c), sizeof(int));
	return 1;
}

/* Fds over a socket, see the header. */
#include "core/sandboxfs/reply.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int reply_send(int sock, const char *letters, const int *fds, struct err *e)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(REPLY_FDS_MAX * sizeof(int))] = { 0 };
	size_t n = strlen(letters);
	/* A message of no bytes would look like the end. */
	struct iovec iov = { (void *)(size_t)(n ? letters : "-"), n ? n : 1 };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (n) {
		h.msg_control = control;
		h.msg_controllen = CMSG_SPACE(n * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	}
	if (sendmsg(sock, &h, MSG_NOSIGNAL) < 0)
		return err_sys(e, "hand over \"%s\"", letters);
	return 0;
}

int reply_receive(int sock, char letters[REPLY_FDS_MAX + 1], int fds[REPLY_FDS_MAX], struct err *e)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(REPLY_FDS_MAX * sizeof(int))];
	struct iovec iov = { letters, REPLY_FDS_MAX };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(sock, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0 && errno == EAGAIN)
		return err_set(e, EPROTO, "the worker has handed over nothing");
	if (n < 0)
		return err_sys(e, "take what the worker hands over");
	letters[n] = 0;
	if (!strcmp(letters, "-"))
		letters[0] = 0;
	size_t got = 0, want = strlen(letters);
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		got = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(c), got * sizeof(int));
	}
	if (n > 0 && got == want)
		return 0;
	for (size_t i = 0; i < got; i++)
		close(fds[i]);
	return err_set(e, EPROTO, "the worker has handed over %zu fds instead of %zu", got, want);
}

/* Talking over a SOCK_SEQPACKET socket without libc, see the header. */
#define BARE_PART
#include "core/base/bare.h"
#include "core/keeper/talk.h"

#include <asm/errno.h>

enum {
	SOL_SOCKET = 1,
	SCM_RIGHTS = 1,
	MSG_DONTWAIT = 0x40,
	MSG_NOSIGNAL = 0x4000,
	MSG_CMSG_CLOEXEC = 0x40000000,
};

struct iovec {
	void *base;
	size_t len;
};

struct msghdr {
	void *name;
	int namelen;
	struct iovec *iov;
	size_t iovlen;
	void *control;
	size_t controllen;
	unsigned flags;
};

/* A control message with one fd, laid out as CMSG_SPACE(sizeof(int)) has it. */
struct fd_control {
	size_t len;
	int level, type, fd, pad;
};

/* -- text -- */

size_t length(const char *s)
{
	size_t n = 0;
	while (s[n])
		n++;
	return n;
}

bool equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

char *put_text(char *to, const char *s)
{
	while (*s)
		*to++ = *s++;
	return to;
}

char *put_number(char *to, int n)
{
	char digits[12];
	int len = 0;
	do
		digits[len++] = (char)('0' + n % 10);
	while (n /= 10);
	while (len)
		*to++ = digits[--len];
	return to;
}

void say(const char *msg, const char *name, int value)
{
	char line[160], *end = put_text(line, "level=warn msg=\"");
	end = put_text(end, msg);
	end = put_text(end, "\" ");
	end = put_text(end, name);
	end = put_text(end, "=");
	end = put_number(end, value);
	end = put_text(end, "\n");
	bare(write, 2, line, end - line);
}

int parse_number(const char *s)
{
	int n = 0;
	for (; *s >= '0' && *s <= '9' && n < 1 << 24; s++)
		n = n * 10 + (*s - '0');
	return *s ? -1 : n;
}

/* -- messages -- */

bool talk_send(int sock, const struct keep_msg *m, int fd)
{
	struct iovec iov = { (void *)(uintptr_t)m, sizeof(*m) };
	struct fd_control control = {
		sizeof(control) - sizeof(int), SOL_SOCKET, SCM_RIGHTS, fd, 0,
	};
	struct msghdr h = { .iov = &iov, .iovlen = 1 };
	if (fd >= 0) {
		h.control = &control;
		h.controllen = sizeof(control);
	}
	return bare(sendmsg, sock, &h, MSG_DONTWAIT | MSG_NOSIGNAL) == (long)sizeof(*m);
}

bool talk_numbers(int sock, uint32_t type, int a, int b)
{
	struct keep_msg m = { .type = type, .a = a, .b = b };
	return talk_send(sock, &m, -1);
}

int talk_receive(int sock, struct keep_msg *m, int *fd)
{
	int errors = 0;
	*fd = -1;
	for (;;) {
		struct iovec iov = { m, sizeof(*m) };
		struct fd_control control;
		struct msghdr h = { .iov = &iov, .iovlen = 1, .control = &control,
				    .controllen = sizeof(control) };
		long n = bare(recvmsg, sock, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n == -EAGAIN)
			return TALK_NONE;
		/* ECONNRESET is told once, if they died with words of ours unread; their own
		 * words are still to be had after it. */
		if (n == 0 || (n < 0 && ++errors > 3))
			return TALK_END;
		if (n < 0)
			continue;
		if (h.controllen >= sizeof(control) - sizeof(int) && control.type == SCM_RIGHTS)
			*fd = control.fd;
		m->key[sizeof(m->key) - 1] = 0;
		if (n == (long)sizeof(*m))
			return TALK_MESSAGE;
		if (*fd >= 0)
			bare(close, *fd);
		*fd = -1;
	}
}

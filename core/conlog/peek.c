/* Peeking at pipes: see the header. */
#include "core/conlog/peek.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static unsigned users;
static int to = -1, from = -1, null = -1;

int peek_open(struct err *e)
{
	if (users++)
		return 0;
	int fds[2];
	null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (null < 0) {
		users = 0;
		return err_sys(e, "open /dev/null");
	}
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0) {
		err_sys(e, "make a pipe to peek with");
		peek_close();
		return -e->code;
	}
	from = fds[0];
	to = fds[1];
	return 0;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void peek_close(void)
{
	assert(users > 0);
	if (--users)
		return;
	close_fd(&null);
	close_fd(&from);
	close_fd(&to);
}

ssize_t peek_read(int fd, char buf[PEEK_MAX])
{
	ssize_t n = tee(fd, to, PEEK_MAX, SPLICE_F_NONBLOCK);
	if (n <= 0)
		return n < 0 ? -errno : 0;
	for (ssize_t got = 0; got < n;) {
		ssize_t r = read(from, buf + got, (size_t)(n - got));
		assert(r > 0);	/* what tee has said is there */
		got += r;
	}
	return n;
}

int peek_consume(int fd, size_t n)
{
	while (n) {
		ssize_t r = splice(fd, NULL, null, NULL, n, SPLICE_F_NONBLOCK);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? -errno : -EIO;
		n -= (size_t)r;
	}
	return 0;
}

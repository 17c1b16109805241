/*
 * dial: a connection to a port of the pod, from within its network namespace, where loopback is the
 * pod's own.  The socket is handed over connected.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/sandboxfs/reply.h"
#include "core/work/job.h"

static int dial(const struct sockaddr *at, socklen_t len)
{
	int fd = socket(at->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, at, len) == 0)
		return fd;
	int code = errno;
	if (fd >= 0)
		close(fd);
	return -code;
}

static int enter(const char *netns, struct err *e)
{
	if (!strcmp(netns, "-"))
		return 0;	/* the host's */
	auto_close int fd = open(netns, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open %s", netns);
	return setns(fd, CLONE_NEWNET) < 0 ? err_sys(e, "enter the netns %s", netns) : 0;
}

int job_dial(int argc, char **argv, struct err *e)
{
	int port = argc == 3 ? job_number(argv[2]) : -1;
	if (port < 1 || port > 65535)
		return job_usage(e, "expected a netns and a port");
	int ret = enter(argv[1], e);
	if (ret < 0)
		return ret;
	const struct sockaddr_in v4 = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	const struct sockaddr_in6 v6 = {
		.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = IN6ADDR_LOOPBACK_INIT,
	};
	int fd = dial((const struct sockaddr *)&v4, sizeof(v4));
	int other = fd < 0 ? dial((const struct sockaddr *)&v6, sizeof(v6)) : -1;
	if (fd < 0 && other < 0)
		return err_set(e, -fd, "connect to localhost:%d in the pod: %s", port, strerror(-fd));
	fd = fd < 0 ? other : fd;
	fd_set_nonblock(fd);
	return reply_send(REPLY_FD, "c", &fd, e);
}

/*
 * dial: a connection to a port of the pod, from within its network namespace, where loopback is the
 * pod's own; and if nobody listens there, to the addresses that are given, from the host: a guest has
 * its loopback for itself.  The socket is handed over connected.
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

enum { ADDRESSES_MAX = 8 };

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* A socket stays in the network namespace in which it was made. */
struct place {
	union address at;
	int fd;
};

static int connect_to(struct place *p)
{
	socklen_t len = p->at.any.sa_family == AF_INET ? sizeof(p->at.v4) : sizeof(p->at.v6);
	if (p->fd >= 0 && connect(p->fd, &p->at.any, len) == 0)
		return p->fd;
	int code = errno;
	if (p->fd >= 0)
		close(p->fd);
	return -code;
}

static void open_place(struct place *p)
{
	p->fd = socket(p->at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int read_address(const char *text, uint16_t port, union address *out, struct err *e)
{
	*out = (union address){ .v4 = { .sin_family = AF_INET, .sin_port = htons(port) } };
	if (inet_pton(AF_INET, text, &out->v4.sin_addr) == 1)
		return 0;
	*out = (union address){ .v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) } };
	if (inet_pton(AF_INET6, text, &out->v6.sin6_addr) == 1)
		return 0;
	return job_usage(e, "expected IP addresses");
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
	struct place places[2 + ADDRESSES_MAX];
	int port = argc >= 3 && argc <= 3 + ADDRESSES_MAX ? job_number(argv[2]) : -1, n = argc - 1;
	if (port < 1 || port > 65535)
		return job_usage(e, "expected a netns, a port and at most 8 addresses");
	read_address("127.0.0.1", (uint16_t)port, &places[0].at, e);
	read_address("::1", (uint16_t)port, &places[1].at, e);
	for (int i = 2; i < n; i++) {
		int ret = read_address(argv[i + 1], (uint16_t)port, &places[i].at, e);
		if (ret < 0)
			return ret;
		open_place(&places[i]);
	}
	int ret = enter(argv[1], e);
	if (ret < 0)
		return ret;
	open_place(&places[0]);
	open_place(&places[1]);
	int first = 0;
	for (int i = 0; i < n; i++) {
		int fd = connect_to(&places[i]);
		if (fd >= 0) {
			fd_set_nonblock(fd);
			return reply_send(REPLY_FD, "c", &fd, e);
		}
		first = first ? first : -fd;
	}
	return err_set(e, first, "connect to localhost:%d in the pod: %s", port, strerror(first));
}

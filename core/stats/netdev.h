#pragma once
/*
 * What went through the interfaces of a network namespace.
 *
 * /proc/net/dev shows the namespace of whoever opens it, and an open one goes on showing that,
 * whoever reads it.  So a helper opens it inside once, and the core reads the counters of a pod
 * from its fd: it enters no namespace, takes no lock of the network's, and needs no process that
 * lives in there.
 */
#include <stddef.h>
#include <stdint.h>

struct netdev {
	char name[16];
	struct netdev_way {
		uint64_t bytes, packets, errors, dropped;
	} rx, tx;
};

enum { NETDEV_MAX = 32 };	/* interfaces that are told of */

/* From the text of the file.  The number of interfaces, at most max; lo is left out. */
size_t netdev_parse(const char *text, struct netdev *out, size_t max);
/* From an open one; 0 also when it cannot be read. */
size_t netdev_read(int fd, struct netdev *out, size_t max);
/* The one that the pod's address is on: eth0, or else the first. */
const struct netdev *netdev_default(const struct netdev *list, size_t n);

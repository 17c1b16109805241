#pragma once
/*
 * Host ports as elements of the maps of the bridge's table (see rules.h), added and removed by
 * themselves: whatever else the node has in nftables, and however much, is not looked at.
 */
#include <stddef.h>

#include "core/base/err.h"

struct pool;

struct port {
	const char *proto;	/* "tcp", "udp", "sctp" */
	const char *host_ip;	/* NULL: any */
	unsigned host_port;
	const char *to_ip;
	unsigned to_port;
};

/* All or none.  -EEXIST: another pod has one of the ports; -ENOENT: there is no such table. */
int ports_add(struct pool *p, const char *table, const struct port *ports, size_t n, struct err *e);
/* What isn't there, or leads to another pod, is left alone. */
int ports_remove(struct pool *p, const char *table, const struct port *ports, size_t n, struct err *e);

#pragma once
/*
 * Links, addresses and routes over rtnetlink.  Every call is one request and its answer; all of
 * them wait for a lock of the kernel's, so they are for the worker alone.
 *
 * A bridge of ours has a fixed MAC (else it changes with its ports, and pods forget their
 * gateway) and the gateways' addresses.  A pod's veth is called by its pod and born as a port of
 * the bridge: there is no half-made one to be found by other means.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <netinet/in.h>

#include "core/base/err.h"

struct link_sock;
struct pool;

/* An IPv4 address with the length of its prefix. */
struct link_addr {
	struct in_addr ip;
	unsigned prefix;
};

/* "10.88.0.5/16" -> 0 or -EINVAL. */
int link_addr_parse(const char *cidr, struct link_addr *out, struct err *e);

/* Talks to the network namespace that the process is in now, also after it has left. */
struct link_sock *link_sock_new(struct pool *p, struct err *e);

/* Make the bridge, or what is missing of it. */
int link_ensure_bridge(struct link_sock *s, const char *name, const struct link_addr *gateways,
		       size_t n, struct err *e);
/* A veth: one end (host) here, a port of the bridge, up; the other one in the namespace of
 * netns_fd, called eth0, down, with a MAC that follows from ip.  -EEXIST: there is such a link. */
int link_add_pod(struct link_sock *s, const char *host, const char *bridge, int netns_fd,
		 struct in_addr ip, struct err *e);
/* Missing is fine.  All at once: each removal waits for the kernel's readers (10 ms and more), many
 * together wait no longer than one. */
int link_remove(struct link_sock *s, const char *const *names, size_t n, struct err *e);
/* Call cb with each port of the bridge, perhaps more than once; a missing bridge has none. */
int link_each_port(struct link_sock *s, const char *bridge, void (*cb)(void *data, const char *name),
		   void *data, struct err *e);

/* In the pod: the loopback and eth0 up, the addresses, the default route. */
int link_set_up_pod(struct link_sock *s, const struct link_addr *addrs, size_t n,
		    struct in_addr gateway, struct err *e);

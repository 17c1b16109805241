#pragma once
/*
 * The pods of one bridge, in memory: address, host ports, veth.
 *
 *	(new) --> ATTACHING --> ATTACHED --> DETACHING --> LEAVING --> (forgotten)
 *	              \                         /
 *	               +------> LEFT <---------+   it failed: what it holds stays held until a
 *	                                           detach succeeds, or gc says that it is dead
 *
 * To the host, a LEAVING pod is detached: its ports are free.  Its link and address are not yet.
 *
 * A pod's state, as the host keeps it:
 *	{"v":1,"pod":"default/web","ip":"10.88.0.5","serial":7,"ports":[["tcp",null,8080,80]]}
 * serial numbers the addresses given, so that after a restart the round goes on where it was.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "netplug/bridge/ipam.h"
#include "netplug/netplug.h"

#include <yajl/yajl_gen.h>

enum { POD_ID_MAX = 64, POD_LABEL_MAX = 320, POD_PORTS_MAX = 512, VETH_NAME = 16 };

enum pod_state {
	POD_STATE_ATTACHING, POD_STATE_ATTACHED, POD_STATE_DETACHING, POD_STATE_LEAVING, POD_STATE_LEFT
};

struct pod_port {
	uint32_t protocol;		/* CRISP_NET_TCP... */
	uint16_t host_port, container_port;
	uint32_t host_ip;		/* host order; 0: any */
};

struct request;

struct pod {
	struct pod *next;
	enum pod_state state;
	char id[POD_ID_MAX + 1];
	char label[POD_LABEL_MAX];	/* "default/web" */
	char veth[VETH_NAME];
	uint32_t ip;			/* host order; 0: not known */
	bool holds_ip;			/* it is ours to release */
	uint64_t serial;
	struct pod_port *ports;
	size_t n_ports;
	bool doomed;			/* to the gc under way: not live */
	bool swept;			/* by the sweep under way */
	struct request *running;	/* its one job under way */
	struct request *waiting;	/* a detach that comes after it */
};

struct pods {
	struct pod *first;		/* newest first */
	size_t n;
	struct ipam ipam;
	uint64_t serial;
};

/* The newest of this id. */
struct pod *pods_find(const struct pods *ps, const char *id);
/* Attached again while it was still LEAVING: there are two of the id. */
bool pod_has_predecessor(const struct pod *p);
/* Make a pod with an address and its ports, ATTACHING.  -EEXIST, -ENOSPC, -EADDRINUSE, -EINVAL, -ENOSYS. */
int pods_new(struct pods *ps, const struct crisp_net_attach_args *a, struct pod **out, char *msg,
	     size_t msg_size);
/* Make one from what the host has kept, or (state "" or NULL) from its id alone; the one in
 * memory, if there is one.  -EINVAL: bad id or state. */
int pods_recall(struct pods *ps, const char *id, const char *state, struct pod **out);
void pods_forget(struct pods *ps, struct pod *p);
void pod_drop_ports(struct pod *p);
void pods_free(struct pods *ps);

/* "veth" and the beginning of the id: what an operator sees. */
int pod_veth_name(const char *id, char out[VETH_NAME]);
const char *pod_protocol(uint32_t protocol);
void pod_write_ip(uint32_t ip, char out[IPAM_TEXT]);
/* Malloced; NULL without memory. */
char *pod_state_text(const struct pod *p);
/* The ports as crisp-bridge wants them: items of an open array. */
void pod_put_ports(const struct pod *p, yajl_gen g);
void pod_put_str(yajl_gen g, const char *s);

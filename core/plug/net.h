#pragma once
/*
 * The node's network, as the model sees it: one network plugin with its options, loaded by name,
 * and calls to it that have a deadline and end exactly once.
 *
 * A plugin that can't be loaded, refuses its options or isn't ready leaves a net_plug that says
 * why; calls to it fail with that reason.
 *
 *	attach ---- cb(0, result) -----------------> keep result->state in the pod's record
 *	       \--- cb(-errno) --> detach, all the same: a plugin may have died half-way
 *
 * After a restart: net_plug_adopt() for each pod in the records, then net_plug_gc() with all of
 * them, then calls.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

struct loop;
struct pool;
struct spawner;
struct net_plug;
struct net_call;

struct net_result {
	const char **ips;	/* "10.88.0.5", the primary one first */
	size_t n_ips;
	const char *state;	/* the plugin's, to be kept and handed back; NULL: none */
};

struct net_port {
	int protocol;		/* 0 tcp 1 udp 2 sctp */
	uint16_t container_port, host_port;	/* a mapping with host_port 0 is left out */
	const char *host_ip;	/* NULL or "": every address of the node */
};

struct net_attach {
	const char *pod_id, *name, *ns, *uid, *netns_path;
	const struct net_port *ports;
	size_t n_ports;
	uint64_t ingress_bps, egress_bps;	/* 0: no limit */
};

/* Never fails: a network that can't work is unready and says why.  state_dir is the plugin's own
 * and is made when missing; options_json may be NULL.  All of it is copied. */
struct net_plug *net_plug_new(struct loop *l, struct pool *p, struct spawner *s,
			      const char *netplug_dir, const char *libexec_dir,
			      const char *state_dir, const char *plugin, const char *options_json);
/* From memory.  reason is valid until the next call; NULL when ready. */
bool net_plug_ready(struct net_plug *n, const char **reason);
/* Call cb once, when the plugin has been loaded or has failed to (at the end of this pass if that was
 * before).  One caller; a second one takes its place. */
void net_plug_when_settled(struct net_plug *n, void (*cb)(void *data), void *data);
const char *net_plug_name(const struct net_plug *n);

/* A pod that an earlier core had attached; state may be NULL. */
void net_plug_adopt(struct net_plug *n, const char *pod_id, const char *state);

/* Exactly once, never inside the starting call, not at all once the net_plug's pool is gone.
 * ret 0: r is set, for the length of the call (empty for a detach).  -ECANCELED and -ETIMEDOUT are
 * ours, the rest is the plugin's; e always has words then. */
typedef void net_cb(void *data, int ret, const struct net_result *r, const struct err *e);

/* timeout_ms 0: 60 s.  The handle is good until cb has been called. */
struct net_call *net_plug_attach(struct net_plug *n, const struct net_attach *a,
				 uint64_t timeout_ms, net_cb *cb, void *data);
/* netns_path and state may be NULL: whatever there is of the pod goes. */
struct net_call *net_plug_detach(struct net_plug *n, const char *pod_id, const char *netns_path,
				 const char *state, uint64_t timeout_ms, net_cb *cb, void *data);
/* Remove what no live pod owns, in the background; failure is logged. */
void net_plug_gc(struct net_plug *n, const char *const *live, size_t n_live);
/* cb still comes: with -ECANCELED, or with the result when that was quicker. */
void net_call_cancel(struct net_call *c);

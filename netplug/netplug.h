/*
 * The ABI of network plugins, version 0.1: this file is all that a plugin needs.
 *
 * A network plugin gives a pod's network namespace its interfaces and addresses and takes them
 * away again.  It is one shared object, NAME.so in the network plugin directory, that exports
 * one symbol, crisp_netplug_v0(), and links nothing of the host: what it needs of the host is
 * in struct crisp_net_host.  netplug/none is the smallest complete one, made to be copied.
 *
 * Words
 *	host		the runtime's core, one thread, one loop; every call in either direction
 *			happens on that thread
 *	instance	what open() returns: one configured network.  Instances share nothing
 *	request		the host's token for one asynchronous operation; one done() each
 *	state		text that the plugin returns when it has attached a pod.  The host keeps it
 *			in the pod's record and hands it back to detach, check and, after a restart,
 *			adopt: a plugin needs no files of its own
 *
 * Rules
 *  1. Nothing blocks for more than a millisecond, forks, waits, or starts threads; signals,
 *     environment, cwd and umask are the host's.  What blocks (netlink under the kernel's lock,
 *     nftables, other programs) is done by a helper program that host->spawn() runs.
 *  2. An operation is asynchronous if it takes a request.  It is completed by exactly one
 *     host->done(), which may come from inside the call.
 *  3. Strings are NUL-terminated UTF-8.  What the host passes is valid during the call, what the
 *     plugin passes is valid during its own call; the receiver copies.  A file descriptor that is
 *     passed is borrowed: dup it to keep it.
 *  4. Every struct begins with the size that its writer knew.  Structs only grow at the end; a
 *     reader takes what is missing as zero.  Unknown flags are ignored unless said otherwise.
 *  5. NULL in the table of operations says that the plugin has no such operation.
 *  6. Errors are 0 or a negative errno, with words that name the value at fault.
 *	-EINVAL bad options or arguments	-EADDRINUSE a host port is taken
 *	-ENOSPC no address left			-ENOSYS the plugin can't do this
 *	-ECANCELED after cancel()		-EIO anything else that failed
 *  7. The number in the symbol is the major version; while it is 0 a minor version may break.
 */
#ifndef CRISP_NETPLUG_H
#define CRISP_NETPLUG_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CRISP_NETPLUG_MAGIC 0x504e5243u /* "CRNP" */
#define CRISP_NETPLUG_MAJOR 0
#define CRISP_NETPLUG_MINOR 1

struct crisp_net_req;	/* the host's */
struct crisp_net_run;	/* the host's: a helper program under way */
struct crisp_net_alarm;	/* the host's: a timer */

/* -- what the plugin may ask of the host -- */

enum { CRISP_NET_LOG_DEBUG, CRISP_NET_LOG_INFO, CRISP_NET_LOG_WARN, CRISP_NET_LOG_ERROR };

struct crisp_net_fd {
	int32_t fd;	/* borrowed */
	int32_t target;	/* its number in the program, from 3 up, below 64 */
};

/* A helper program.  It gets its own process group and is killed with it at the deadline. */
struct crisp_net_plan {
	uint32_t size;
	uint32_t flags;			/* 0 */
	const char *path;		/* absolute, or a name below the host's libexec directory */
	const char *const *argv;	/* ends with NULL */
	const char *const *envp;	/* ends with NULL; NULL: PATH alone */
	const void *input;		/* its stdin; NULL: empty */
	uint64_t input_len;
	const struct crisp_net_fd *fds;
	uint32_t n_fds;
	uint32_t output_max;		/* captured bytes of stdout; the rest is dropped */
	uint64_t timeout_ms;		/* 0: 60 s */
};

struct crisp_net_exit {
	uint32_t size;
	int32_t err;			/* 0: it ran and exited with 0; -ETIMEDOUT; -ECANCELED; -EIO:
					   it failed; or what kept it from starting */
	const char *msg;		/* words for err, with the last line of its stderr */
	const char *output;		/* captured stdout, NUL-terminated, also when err is not 0 */
	uint64_t output_len;
};

struct crisp_net_addr {
	uint32_t size;
	uint32_t flags;			/* 0 */
	const char *cidr;		/* "10.88.0.5/16"; the first one is the pod's primary address */
	const char *gateway;		/* NULL: none */
	const char *ifname;		/* the interface in the pod that has it */
};

struct crisp_net_result {
	uint32_t size;
	int32_t err;
	const char *msg;		/* words for err, NULL without */
	const struct crisp_net_addr *addrs;	/* attach: what the pod has got */
	uint32_t n_addrs;
	uint32_t reserved;
	const char *state;		/* attach: see above; at most 64 KiB; NULL: none */
};

struct crisp_net_host {
	uint32_t size;
	uint32_t minor;			/* of the header that the host was built with */
	void *ctx;			/* the first argument of everything below */

	void (*done)(void *ctx, struct crisp_net_req *req, const struct crisp_net_result *res);
	void (*log)(void *ctx, uint32_t level, const char *pod_id /* NULL: none */, const char *msg);
	/* Run a helper program.  cb comes exactly once, never from inside spawn(), and not at all
	 * once close() was called (the program is killed then). */
	struct crisp_net_run *(*spawn)(void *ctx, const struct crisp_net_plan *plan,
				       void (*cb)(void *data, const struct crisp_net_exit *x), void *data);
	void (*spawn_cancel)(void *ctx, struct crisp_net_run *run);	/* kill it; cb still comes */
	/* Call cb once after ms; not after close().  The handle dies with the call of cb or with
	 * untimer(). */
	struct crisp_net_alarm *(*timer)(void *ctx, uint64_t ms, void (*cb)(void *data), void *data);
	void (*untimer)(void *ctx, struct crisp_net_alarm *a);
	const char *state_dir;		/* a directory of this instance's own; emptied by a reboot */
};

/* -- what the host asks of the plugin -- */

enum { CRISP_NET_TCP = 0, CRISP_NET_UDP = 1, CRISP_NET_SCTP = 2 };

struct crisp_net_port {
	uint32_t size;
	uint32_t protocol;		/* CRISP_NET_TCP... */
	uint16_t container_port, host_port;	/* both 1..65535 */
	uint32_t reserved;
	const char *host_ip;		/* NULL: every address of the node */
};

struct crisp_net_args {
	uint32_t size;
	uint32_t flags;			/* 0 */
	const char *pod_id;		/* [0-9a-f]{64} */
	const char *name, *ns, *uid;	/* of the Kubernetes pod */
	const char *netns_path;		/* mounted in the host's view */
	int32_t netns_fd;		/* the same, opened */
	uint32_t n_ports;
	const struct crisp_net_port *ports;
	uint64_t ingress_bps, egress_bps;	/* bits per second, seen from the pod; 0: no limit */
};

struct crisp_net_live {
	uint32_t size;
	uint32_t reserved;
	const char *pod_id;
	const char *state;		/* NULL: none was returned */
};

struct crisp_net_ops {
	uint32_t size;
	uint32_t reserved;

	/* Synchronous.  Make an instance from its options, a JSON object; NULL when they are bad,
	 * with words in msg.  host outlives the instance. */
	void *(*open)(const struct crisp_net_host *host, const char *options, char *msg, size_t msg_size);
	/* Synchronous.  Drop the instance and what it has under way; no done() from here on.  Pods
	 * keep their network. */
	void (*close)(void *inst);
	/* Synchronous, from memory.  0 when pods can be attached; else -errno and the reason. */
	int32_t (*status)(void *inst, const char **reason);

	/* Connect a namespace that holds nothing but a loopback that is down.  On failure nothing
	 * may stay. */
	void (*attach)(void *inst, const struct crisp_net_args *args, struct crisp_net_req *req);
	/* Undo an attach, whole or half made, or never begun: all that is success, and so is a
	 * namespace that is gone.  netns_path and state may be NULL. */
	void (*detach)(void *inst, const char *pod_id, const char *netns_path, const char *state,
		       struct crisp_net_req *req);
	/* Is what attach has made still there?  May be NULL. */
	void (*check)(void *inst, const char *pod_id, const char *netns_path, const char *state,
		      struct crisp_net_req *req);
	/* Synchronous.  At start, for each pod that an earlier process had attached.  May be NULL. */
	void (*adopt)(void *inst, const char *pod_id, const char *state);
	/* These pods are all that live: remove whatever else this instance has made.  Pods whose
	 * attach is under way live too.  May be NULL. */
	void (*gc)(void *inst, const struct crisp_net_live *live, uint32_t n, struct crisp_net_req *req);
	/* Synchronous.  Hurry the request to its end: done() within 5 s, with -ECANCELED unless it
	 * ends otherwise.  A cancelled attach leaves nothing; after a done() that says it failed the
	 * host calls detach all the same.  May be NULL where nothing takes long. */
	void (*cancel)(void *inst, struct crisp_net_req *req);
};

struct crisp_netplug {
	uint32_t magic, size;
	uint16_t major, minor;
	uint32_t flags;			/* 0 */
	const char *name, *version;
	const struct crisp_net_ops *ops;
};

/* The only exported symbol. */
__attribute__((visibility("default"))) const struct crisp_netplug *crisp_netplug_v0(void);

#ifdef __cplusplus
}
#endif

#endif

/*
 * The ABI of crisp's network plugins, version 0.x: what a plugin that connects pods has to offer.
 *
 * A plugin is a shared object NAME.so ([a-z0-9_-]+) in the network plugin directory.  It exports
 * one symbol, crisp_netplug_v0(), links nothing of crisp and needs no other header.  Its rules
 * are those of the engine ABI; netplug/none is the smallest complete plugin, made to be copied.
 *
 *	host		crisp's core.  It owns the network namespaces, the pods' records, deadlines
 *			and recovery.
 *	plugin		this shared object.  It gives a namespace its interfaces and addresses and
 *			takes them away again.
 *	instance	one configured network, made by open(); a plugin has no global state.
 *	state		text that attach returns.  The host keeps it in the pod's record and hands
 *			it back to detach, check and, after a restart, adopt: a plugin that counts
 *			on it needs no files of its own, and nothing it owns can leak.
 *
 * THE RULES
 *
 *  1. One thread: all operations and all callbacks come on the host's loop, and the plugin calls
 *     the host on it alone.  A call lasts at most 1 ms.  The plugin makes no threads, doesn't
 *     fork, exec, wait, chdir or umask, touches no signal handler and no environment, writes to
 *     neither stdout nor stderr.  What may block (netlink waits for a lock of the whole kernel)
 *     is a program, run by host->spawn().
 *  2. Operations marked A are asynchronous: the slot returns 0 (accepted: host->done() follows
 *     exactly once, later or from inside the call) or -errno (refused: no done()).  Those marked
 *     S answer at once.  A NULL slot says that the operation doesn't exist.
 *  3. Memory that the host passes lives until the call returns; what a plugin passes to the host
 *     needs to live until that call returns.  Memory is never freed on the other side.  Strings
 *     are UTF-8, NUL-terminated; NULL and "" both mean "not given".
 *  4. File descriptors in arguments are borrowed (dup to keep).  0 and negative mean "none".
 *  5. Every struct begins with its size as its writer knows it.  A struct only ever grows at its
 *     end; a missing tail reads as zeros.  Reserved bits are 0; an unknown bit in `flags` of a
 *     request is refused with -EINVAL.  CRISP_NET_HAS(p, member): did the writer know it?
 *  6. Integers have fixed width; deadline_ns is on CLOCK_MONOTONIC.
 *
 * ERRORS are negative errno values, of these classes; the words go into crisp_net_result.msg:
 *	-EINVAL bad options or arguments	-EADDRINUSE a host port is taken: by whom
 *	-ENOSPC no address left: where		-ENOSYS not supported
 *	-ETIMEDOUT the deadline has passed	-ECANCELED by cancel()
 *	-EIO anything else that failed
 * The words name the cause and the value at fault alone: the host puts plugin, operation and pod
 * before it.
 *
 * VERSIONS.  The major is in the symbol's name; the minor grows when something is appended.
 * 0.x may still change between minors; 1.0 will freeze it.
 */
#ifndef CRISP_NETPLUG_H
#define CRISP_NETPLUG_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CRISP_NETPLUG_MAGIC 0x3154454eu	/* "NET1" */
#define CRISP_NETPLUG_MAJOR 0
#define CRISP_NETPLUG_MINOR 1

#define CRISP_NET_HAS(p, member)                                                                   \
	((p)->size >= offsetof(__typeof__(*(p)), member) + sizeof((p)->member))
#define CRISP_NET_CAN(p, slot) (CRISP_NET_HAS(p, slot) && (p)->slot)

struct crisp_net;	/* the plugin's: an instance */
struct crisp_net_req;	/* the host's: an accepted operation, until done() */
struct crisp_net_job;	/* the host's: a running program */
struct crisp_net_timer;	/* the host's */

/* ------------------------------------------------------------------ values passed to operations */

#define CRISP_NET_TCP	0u
#define CRISP_NET_UDP	1u
#define CRISP_NET_SCTP	2u

/* A port of the node that leads to one of the pod. */
struct crisp_net_port {
	uint32_t size;
	uint32_t protocol;		/* CRISP_NET_TCP... */
	uint16_t container_port, host_port;	/* neither is 0 */
	uint32_t reserved;
	const char *host_ip;		/* not given: every address of the node */
};

struct crisp_net_attach_args {
	uint32_t size;
	uint32_t flags;			/* 0 */
	int64_t deadline_ns;		/* when the host stops waiting; 0: never */
	const char *pod_id;		/* [0-9a-f]{64} */
	const char *name, *ns, *uid;	/* of the Kubernetes pod */
	const char *netns_path;		/* as the host's mount namespace has it */
	int32_t netns_fd;		/* the same, opened */
	uint32_t n_ports;
	const struct crisp_net_port *ports;
	uint64_t ingress_bps, egress_bps;	/* bits per second as the pod sees it; 0: no limit */
};

/* For detach and check. */
struct crisp_net_pod_args {
	uint32_t size;
	uint32_t flags;			/* 0 */
	int64_t deadline_ns;
	const char *pod_id;
	const char *netns_path;		/* not given: the namespace is gone */
	int32_t netns_fd;		/* none: likewise */
	int32_t reserved;
	const char *state;		/* not given: attach was never seen to succeed */
};

struct crisp_net_gc_args {
	uint32_t size;
	uint32_t flags;			/* 0 */
	int64_t deadline_ns;
	const char *const *live;	/* ids of pods */
	uint32_t n_live;
	uint32_t reserved;
};

struct crisp_net_addr {
	uint32_t size;
	uint32_t flags;			/* 0 */
	const char *cidr;		/* "10.88.0.5/16" */
	const char *gateway;		/* not given: none */
	const char *ifname;		/* of the interface in the pod */
};

/* The end of an operation.  Zero what doesn't apply. */
struct crisp_net_result {
	uint32_t size;
	int32_t err;			/* 0 or -errno */
	const char *msg;		/* why, when err; one line */
	const struct crisp_net_addr *addrs;	/* attach; the first is the pod's primary address */
	uint32_t n_addrs;		/* at most CRISP_NET_ADDRS_MAX */
	uint32_t reserved;
	const char *state;		/* attach; at most CRISP_NET_STATE_MAX bytes */
};
#define CRISP_NET_ADDRS_MAX 16u
#define CRISP_NET_STATE_MAX 65536u

/* ------------------------------------------------------------------------------- host services */

/* An inherited file descriptor: fd (borrowed) becomes number target, 3..59. */
struct crisp_net_spawn_fd {
	int32_t fd, target;
};

/* A program to run.  Copied.  It leads a session of its own and gets SIGKILL, with its process
 * group, at the deadline, and when the job is killed or the instance is closed. */
struct crisp_net_plan {
	uint32_t size;
	uint32_t flags;			/* 0 */
	const char *path;		/* absolute, or a file name in the host's libexec directory */
	const char *const *argv;	/* NULL-terminated */
	const char *const *envp;	/* NULL-terminated; NULL: PATH alone */
	const struct crisp_net_spawn_fd *fds;	/* beside 0 (input), 1 and 2 (captured) */
	uint32_t n_fds;
	uint32_t out_max, err_max;	/* bytes of stdout and stderr to capture; 0: /dev/null */
	uint32_t reserved;
	const void *input;		/* stdin; NULL: /dev/null */
	uint64_t input_len;
	int64_t deadline_ns;		/* 0: none */
};

/* How a program ended; valid during the callback. */
struct crisp_net_exit {
	uint32_t size;
	int32_t err;			/* 0: it ran and ended, see wait_status.  -ETIMEDOUT, -ECANCELED
					   (killed for it); other: it could not be started */
	const char *msg;		/* why, when err; else NULL */
	int32_t wait_status;		/* as of waitpid(2) */
	uint32_t out_len, err_len;
	uint32_t reserved;
	const char *out, *err_out;	/* captured, NUL-terminated; never NULL */
};

typedef void crisp_net_exit_cb(void *data, const struct crisp_net_exit *x);

#define CRISP_NET_LOG_DEBUG	0u
#define CRISP_NET_LOG_INFO	1u
#define CRISP_NET_LOG_WARN	2u
#define CRISP_NET_LOG_ERROR	3u

/* What the host does for a plugin.  The pointer is the instance's own and lives until close()
 * returns; it is the first argument of everything but done(). */
struct crisp_net_host {
	uint32_t size;
	uint16_t major, minor;
	const char *state_dir;		/* a directory of the instance's own, 0700, gone at a reboot */

	/* The one answer to an accepted operation.  A second one is logged and ignored. */
	void (*done)(struct crisp_net_req *r, const struct crisp_net_result *res);

	/* kv: key, value, key, value..., NULL.  NULL: none. */
	void (*log)(const struct crisp_net_host *h, uint32_t level, const char *msg,
		    const char *const *kv);
	int64_t (*now_ns)(const struct crisp_net_host *h);	/* CLOCK_MONOTONIC */

	/* Run a program.  cb comes exactly once, never from inside spawn(), unless the instance is
	 * closed before.  NULL: the plan is bad, and the log says why. */
	struct crisp_net_job *(*spawn)(const struct crisp_net_host *h, const struct crisp_net_plan *plan,
				       crisp_net_exit_cb *cb, void *data);
	/* SIGKILL it; cb follows with -ECANCELED. */
	void (*job_kill)(struct crisp_net_job *job);

	/* Call cb once, after ms.  The handle is void once cb has been called. */
	struct crisp_net_timer *(*timer)(const struct crisp_net_host *h, uint64_t ms,
					 void (*cb)(void *data), void *data);
	void (*untimer)(struct crisp_net_timer *t);
};

/* -------------------------------------------------------------------------------- operations */

struct crisp_net_ops {
	uint32_t size;
	uint32_t flags;			/* 0 */

	/* S.  Make an instance.  options_json is an object ("{}" at least); an unknown option is
	 * -EINVAL, the words (which option, why) go to msg. */
	int (*open)(const struct crisp_net_host *h, const char *options_json, struct crisp_net **out,
		    char *msg, uint32_t msg_cap);
	/* S.  Forget the instance with what is under way: no done() any more.  Pods keep their
	 * network.  Jobs and timers die by the host's hand: don't kill them here. */
	void (*close)(struct crisp_net *n);
	/* S, from memory.  0 when pods can be attached; else -errno and, in *reason, why. */
	int (*status)(struct crisp_net *n, const char **reason);

	/* S.  At start, for each pod that an earlier host had attached: what it holds (addresses,
	 * ports) is taken. */
	int (*adopt)(struct crisp_net *n, const char *pod_id, const char *state);
	/* A.  Connect a namespace that has nothing but a loopback that is down. -> addrs, state.
	 * A failed or cancelled attach leaves nothing, or what detach removes: the host calls it. */
	int (*attach)(struct crisp_net *n, struct crisp_net_req *r, const struct crisp_net_attach_args *a);
	/* A.  Undo an attach: a whole one, a half-made one, or one that never was (all are success,
	 * also with the namespace gone). */
	int (*detach)(struct crisp_net *n, struct crisp_net_req *r, const struct crisp_net_pod_args *a);
	/* A.  Is all that attach has made still there? */
	int (*check)(struct crisp_net *n, struct crisp_net_req *r, const struct crisp_net_pod_args *a);
	/* A.  After adopt, and whenever the host likes.  Only these pods live: remove whatever else
	 * this network has made.  A pod whose attach or detach is under way is left alone. */
	int (*gc)(struct crisp_net *n, struct crisp_net_req *r, const struct crisp_net_gc_args *a);
	/* S.  Give up an accepted operation: done() follows within 5 s, with -ECANCELED or with the
	 * end that it had reached.  After that the host answers in its place. */
	void (*cancel)(struct crisp_net *n, struct crisp_net_req *r);
};

/* What crisp_netplug_v0() returns: constant, lives as long as the plugin is loaded. */
struct crisp_netplug {
	uint32_t magic;			/* CRISP_NETPLUG_MAGIC */
	uint32_t size;
	uint16_t major, minor;		/* CRISP_NETPLUG_MAJOR, CRISP_NETPLUG_MINOR */
	uint32_t flags;			/* 0 */
	const char *name;		/* the plugin's, as its file is called */
	const char *version;
	const struct crisp_net_ops *ops;
};

/* The only exported symbol. */
__attribute__((visibility("default"))) const struct crisp_netplug *crisp_netplug_v0(void);

#ifdef __cplusplus
}
#endif

#endif

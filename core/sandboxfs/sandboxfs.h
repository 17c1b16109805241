#pragma once
/*
 * Namespaces, pins and files of pod sandboxes.  Whatever may block is done by crisp-work, so
 * the calls that take a callback are asynchronous: the callback comes once, never from inside
 * the call, and not at all after the pool is gone.  spawn_cancel() on the handle kills the
 * worker; the callback then says -ECANCELED.
 *
 *	template  a mount namespace like the host's, but without any pod's mounts: engines are
 *	          started in a copy of it (crisp-work enter), so their cost does not grow with
 *	          the number of pods and nothing of theirs can leak into the host
 *	pin       the netns of a pod, bind-mounted at NETNS_DIR/<prefix><id> for CNI's sake
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

struct idmap;
struct loop;
struct pool;
struct sandboxfs;
struct spawn;
struct spawner;

/* The folders are borrowed for p's life.  netns_prefix: how our pins' names begin. */
struct sandboxfs *sandboxfs_new(struct loop *l, struct pool *p, struct spawner *s,
				const char *libexec_dir, const char *state_dir,
				const char *netns_dir, const char *netns_prefix);

const char *sandboxfs_work_path(const struct sandboxfs *fs);	/* LIBEXEC/crisp-work */
/* STATE/mnt: where rootfs mounts go; private, in the template and its copies only. */
const char *sandboxfs_mnt_dir(const struct sandboxfs *fs);
/* p's copy of NETNS_DIR/<prefix><id>. */
const char *sandboxfs_pin_path(const struct sandboxfs *fs, struct pool *p, const char *id);

/* fd: the callee's; -1 on failure. */
typedef void sandbox_fd_cb(void *data, int ret, int fd, const struct err *e);
/* At start-up; keep the fd in the keeper, so that a new core need not make another.  Makes the
 * host's root a shared mount where it is not. */
struct spawn *sandboxfs_template(struct sandboxfs *fs, struct pool *p, sandbox_fd_cb *cb,
				 void *data);

struct sandbox_ns {
	const char *pin;		/* path of the new netns' pin; NULL: the host's network */
	bool ipc, uts;			/* a namespace of its own; false: the host's */
	bool shm;			/* a /dev/shm tmpfs */
	uint64_t shm_size;		/* 0: 64 MiB */
	bool crowded;			/* the node has hundreds of network namespaces */
	const char *hostname;		/* needs uts; NULL: as the host's */
	const char *const *sysctls;	/* key, value, ... NULL; may be NULL */
	/* All but the host's namespaces belong to a user namespace with this map; NULL: the host's. */
	const struct idmap *map;
	int user;			/* with map: that one, which exists already; -1: a new one */
	const char *counters;		/* without a pin: a netns whose counters are wanted; may be NULL */
};

/* Each -1: none.  The callee's, all close-on-exec.  shm is a detached mount: give it to
 * crisp-work enter as an --fdmount. */
struct sandbox_fds {
	int net, ipc, uts, shm, user;
	int netdev;			/* counters of the netns: core/stats/netdev.h reads them */
};

typedef void sandbox_cb(void *data, int ret, const struct sandbox_fds *fds, const struct err *e);
/* -EINVAL names the sysctl that is unknown, not namespaced, or belongs to a namespace that is
 * the host's.  On failure nothing is left behind, but for a worker that was killed: then
 * sandboxfs_unpin() the pin. */
struct spawn *sandboxfs_make_ns(struct sandboxfs *fs, struct pool *p, const struct sandbox_ns *ns,
				uint64_t timeout_ms, sandbox_cb *cb, void *data);
/* The check of sysctls alone, without a worker: 0 or -EINVAL. */
int sandboxfs_check_sysctls(const struct sandbox_ns *ns, struct err *e);
/* Sysctls of interfaces that exist only once the network is attached (net.ipv4.conf.eth0.x) are
 * left out by make_ns.  Are there any in ns? */
bool sandboxfs_has_late_sysctls(const struct sandbox_ns *ns);

typedef void sandbox_done_cb(void *data, int ret, const struct err *e);
/* Writes those of ns.  net: the netns, borrowed; -1: the worker opens ns->pin. */
struct spawn *sandboxfs_late_sysctls(struct sandboxfs *fs, struct pool *p,
				     const struct sandbox_ns *ns, int net, uint64_t timeout_ms,
				     sandbox_done_cb *cb, void *data);
/* A connection to localhost:port in the netns (borrowed; -1: the host's), first by IPv4, and if nobody
 * listens there to one of the n addresses, from the host: non-blocking. */
struct spawn *sandboxfs_dial(struct sandboxfs *fs, struct pool *p, int net, unsigned port,
			     const char *const *addresses, size_t n, uint64_t timeout_ms,
			     sandbox_fd_cb *cb, void *data);
/* Write limits: n times a cgroup's file and its value, in turn. */
struct spawn *sandboxfs_limit(struct sandboxfs *fs, struct pool *p, const char *const *writes, size_t n,
			      uint64_t timeout_ms, sandbox_done_cb *cb, void *data);
/* Unmount (lazily) and unlink; a pin that is not there is fine. */
struct spawn *sandboxfs_unpin(struct sandboxfs *fs, struct pool *p, const char *pin,
			      sandbox_done_cb *cb, void *data);
/* Remove trees (writable layers); missing ones are fine.  No deadline. */
struct spawn *sandboxfs_remove_trees(struct sandboxfs *fs, struct pool *p, const char *const *paths,
				     size_t n, sandbox_done_cb *cb, void *data);

/* The user namespace that the namespace of fd belongs to, -errno if it is one that this process may
 * not see.  The caller's. */
int sandboxfs_owner_of(int ns);

/*
 * What every container of the pod gets bind-mounted: pod_dir/{resolv.conf,hosts,hostname}.
 * pod_dir is below the state directory, on a file system of ours: done at once.
 * dns == NULL: resolv.conf is a copy of the host's.  hosts is a copy of the host's; add_host
 * (may be NULL) "IP\tNAMES" is put at its end.  hostname NULL: a copy of the host's name.
 * owner NULL: they are root's; else those of the root of this user namespace.
 */
struct sandbox_dns {
	const char *const *servers, *const *searches, *const *options;
	size_t n_servers, n_searches, n_options;
};
int sandboxfs_write_files(const char *pod_dir, const char *hostname, const struct sandbox_dns *dns,
			  const char *add_host, const struct idmap *owner, struct err *e);

/* Ids of the pins that exist with our prefix, NULL-terminated, for the sweep. */
int sandboxfs_pins(struct sandboxfs *fs, struct pool *p, const char *const **ids, struct err *e);

#pragma once
/*
 * Pods and containers: what exists, in which state, and the operations on them.
 *
 *	pod         STARTING -> READY -> STOPPING -> NOTREADY -> (removed)
 *	container   CREATING -> CREATED -> RUNNING -> EXITED -> (removed)
 *
 * Everything is answered from memory.  What takes time is a step table (core/op) in the file
 * of its name: run_pod.c, stop_pod.c, create.c, start.c, stop.c; exits are handled in exit.c,
 * exec in exec.c and attach in attach.c (live.h), a restart of the core in recover.c.
 *
 * A caller waits for an operation with a struct model_wait, in its own memory.  It may leave
 * at any time; the operation goes on without it.
 *
 * A create that is asked for again (same pod metadata, or same container metadata in the same
 * pod) joins the one under way.  If that one ended after its first caller had left, the next
 * to ask gets its id, once; else the answer is -EEXIST and names the id.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/idmap.h"
#include "core/base/list.h"
#include "core/base/map.h"
#include "core/cgroup/cgroup.h"
#include "core/config/config.h"
#include "core/loop/loop.h"
#include "core/op/op.h"
#include "core/stats/stats.h"
#include "proto/cri.pb-c.h"

struct cgroups;
struct config;
struct conlog;
struct image_store;
struct keep;
struct net_plug;
struct oci_host;
struct plug;
struct plug_handler;
struct sandboxfs;
struct spawner;
struct store;

/* What the model stands on; all borrowed for its life. */
struct model_ground {
	struct loop *loop;
	struct spawner *spawner;
	struct store *store;
	struct cgroups *cgroups;
	struct sandboxfs *sandboxfs;
	struct image_store *images;
	struct plug *plug;
	struct net_plug *net;
	struct keep *keep;
	const struct config *config;
	const struct oci_host *host;
};

struct container;
struct pod;

/* What becomes of a pod (c is NULL) or of a container of it, as far as lists show them. */
enum model_event {
	MODEL_EVENT_CREATED,
	MODEL_EVENT_STARTED,
	MODEL_EVENT_STOPPED,
	MODEL_EVENT_DELETED,		/* it is out of every list already */
};
typedef void model_event_cb(void *data, enum model_event e, struct pod *p, struct container *c);

struct model {
	struct model_ground g;
	struct pool *pool;
	struct map pods, pod_names, containers, container_names;
	struct list pod_list;		/* oldest first */
	struct list container_list;	/* oldest first */
	bool measure_failed;		/* the last time */
	bool measuring;			/* writable layers, not again before: */
	int64_t usage_next_ns;		/* CLOCK_MONOTONIC */
	struct list measure_waiters;	/* struct sample_wait.link */
	struct {			/* their file system, as measured; bytes 0: never */
		uint64_t bytes, inodes, inodes_free;
		unsigned major, minor;
	} layers;
	struct loop_timer unsaved;	/* runs while a record could not be written */
	struct recovery *recovery;	/* while a restart is being taken up */
	model_event_cb *on_event;
	void *on_event_data;
};

/* The states from the network's CRI names; values are our own. */
enum pod_state { POD_STATE_STARTING, POD_STATE_READY, POD_STATE_STOPPING, POD_STATE_NOTREADY };

struct pod {
	struct map_node by_id, by_name;
	struct list link;		/* in model.pod_list */
	struct model *model;
	struct pool *pool;
	char *id, *name;		/* name: the reservation key */
	Cri__PodSandboxConfig *config;
	struct plug_handler *handler;
	const char *handler_name, *engine;
	const char *asked_handler, *moved_why;	/* it went to its handler's fallback; else NULL */
	struct config_policy policy;	/* of the handler, as it was when the pod was made */
	const char *policy_json;
	enum pod_state state;
	int64_t created_ns;
	struct list containers;		/* struct container.in_pod */

	/* what was made for it, and is to be taken back */
	const char *cgroup_parent;	/* of its containers */
	const char *cgroup_made;	/* first directory of that path that we made, or NULL */
	uint64_t oom_known;		/* OOM kills in there before the pod, and in containers that have ended */
	const char *netns_pin;		/* NULL: the host's network */
	bool namespaces_made;
	int net_fd, ipc_fd, uts_fd, shm_fd, user_fd;	/* -1: none */
	int netdev_fd;			/* the netns' /proc/net/dev, or -1 */
	struct idmap map;		/* of its user namespace; all 0: the host's */
	bool attached;			/* the network was asked to attach it */
	const char **ips;
	size_t n_ips;
	const char *net_state;
	struct stats_sample stats;
	uint64_t processes;		/* as of stats */
	bool shared_pid;
	pid_t pause_pid;		/* of a shared pid namespace; 0: none */
	uint64_t pause_start;		/* with pause_pid: the one process (pid_start_time) */
	struct loop_child pause;
	bool pause_made;		/* known to the engine */
	bool sandbox_made;		/* of an engine that has sandboxes of its own */
	bool guest_limited;		/* its leaf cgroup has limits by now (guest_limits.c) */
	pid_t sandbox_pid;		/* its process on this host; 0: not known */
	void (*pause_exit)(struct pod *p);	/* who waits for its end, for pause_op */
	struct op *pause_op;

	struct op *op;			/* under way, or NULL */
	bool unclaimed;			/* made, but its caller had left */
	bool unsaved;			/* its record is not as it is */
	struct loop_defer claimed;	/* to be recorded once its callers are told */
};

enum container_state {
	CONTAINER_STATE_CREATING,
	CONTAINER_STATE_CREATED,
	CONTAINER_STATE_RUNNING,
	CONTAINER_STATE_EXITED,
};

struct container {
	struct map_node by_id, by_name;
	struct list link, in_pod;
	struct pod *pod;
	struct model *model;
	struct pool *pool;
	char *id, *name;
	Cri__ContainerConfig *config;
	const char *image_id;		/* held while the container exists */
	const char *image_ref;		/* name@digest, or the id */
	enum container_state state;
	int64_t created_ns, started_ns, finished_ns;
	int exit_code;
	const char *reason, *message;	/* of an exit; in pool */
	const char *cannot_run;		/* CREATED without a process: why its start will fail; else NULL */
	const char *cgroup;
	const char *log_path;		/* absolute, or NULL */
	int stop_signal;
	uint32_t uid, gid;		/* what its process got */
	uint32_t *groups;
	size_t n_groups;
	const char **mount_sources;	/* resolved, as config->mounts */

	bool alive;			/* it has a process, whoever watches it */
	bool by_engine;			/* as recorded: the engine watches it */
	pid_t pid;			/* on this host; 0: none, or none of ours */
	uint64_t pid_start;		/* with pid: the one process (pid_start_time) */
	struct loop_child child;	/* where its pid is the container's */
	struct conlog *log;
	struct pool *log_pool;
	int stdin_fd;			/* write end, or -1 */
	int start_fds[3];		/* its own ends, for engines that want them at start; or -1 */
	uint64_t oom_before;		/* OOM kills of the cgroup seen before the start */
	bool oom_told;			/* by the engine */
	struct stats_sample stats;
	bool sampling;			/* the engine has been asked for the next one */
	struct list sample_waiters;	/* struct sample_wait.link */
	uint64_t rw_bytes, rw_inodes;	/* of the writable layer, as measured at rw_at_ns (0: never) */
	uint64_t fds, sockets;		/* of its processes, at the same time */
	uint64_t nofile;		/* soft limit of open files; 0: none, or not known */
	int64_t rw_at_ns;

	bool made;			/* known to the engine */
	bool held;			/* its image is */
	bool unclaimed;
	bool unsaved;			/* as above */
	struct loop_defer claimed;	/* as above */
	struct op *op;
	struct list execs;		/* struct exec.link */
	struct list attaches;		/* struct attach.link */
	struct list exit_waiters;	/* struct exit_wait.link */
	struct loop_timer lost;		/* exit seen, status not yet reported */
	struct loop_timer drain;	/* exit told, output still on its way through FIFOs */
	int drain_status;		/* what was told */
	int64_t drain_ns;
	int64_t lost_ns;		/* since when, CLOCK_MONOTONIC */
};

struct model_wait {
	struct op_waiter op;
	/* Exactly once, unless left; id is the object's. */
	void (*done)(struct model_wait *w, int ret, const char *id, const struct err *e);
	void *data;

	/* the model's own */
	const char *id;
	bool *claim;			/* set when the caller of a create leaves */
	struct model *model;
	void (*again)(struct model_wait *w);
	int64_t arg;
};

struct model *model_new(struct pool *p, const struct model_ground *g);

/* Another configuration, of which new pods' handlers alone are taken (borrowed). */
void model_reload(struct model *m, const struct config *config);

/* Take up what an earlier core left: load, re-adopt, unwind, sweep.  done comes when the socket
 * may open, perhaps at once. */
void model_recover(struct model *m, void (*done)(void *data), void *data);

/*
 * Find out which engines run containers in user namespaces here, by running one with each that
 * claims to and of which it is not known (userns_test.c).  done (may be NULL) comes once, when all
 * is known, or when it takes too long; the rest becomes known later.
 */
void model_test_userns(struct model *m, void (*done)(void *data), void *data);

/* What engines tell. */
void model_engine_exit(struct model *m, const char *id, const char *exec_id, int wait_status, int64_t at_ns);
void model_engine_oom(struct model *m, const char *id);
void model_sandbox_gone(struct model *m, const char *id, const char *reason);

/* From now on cb is told of each event in the midst of it, when the objects are as it leaves them.
 * It must not change the model. */
void model_on_event(struct model *m, model_event_cb *cb, void *data);

/* Lookup by full id or a unique prefix of it.  NULL: none.  Removed ones are none. */
struct pod *model_pod(struct model *m, const char *id);
struct container *model_container(struct model *m, const char *id);

/* The handler that a pod would get, ready or not; NULL: there is none. */
struct plug_handler *model_handler(struct model *m, const Cri__PodSandboxConfig *config, const char *name);

/* Pods: RunPodSandbox, StopPodSandbox, RemovePodSandbox.  Unknown ids are success for the latter. */
void model_run_pod(struct model *m, const Cri__PodSandboxConfig *config, const char *handler,
		   struct model_wait *w);
void model_stop_pod(struct model *m, const char *id, struct model_wait *w);
void model_remove_pod(struct model *m, const char *id, struct model_wait *w);
/* UpdatePodSandboxResources; either may be NULL.  In effect, or an error and nothing changed. */
void model_resize_pod(struct model *m, const char *id, const Cri__LinuxContainerResources *resources,
		      const Cri__LinuxContainerResources *overhead, struct model_wait *w);

/* Containers. */
void model_create(struct model *m, const char *pod_id, const Cri__ContainerConfig *config,
		  struct model_wait *w);
void model_start(struct model *m, const char *id, struct model_wait *w);
void model_stop(struct model *m, const char *id, int64_t timeout_s, struct model_wait *w);
void model_remove(struct model *m, const char *id, struct model_wait *w);
void model_update(struct model *m, const char *id, const Cri__LinuxContainerResources *r,
		  struct model_wait *w);
int model_reopen_log(struct model *m, const char *id, struct err *e);

/* The caller no longer waits.  May be repeated, also after done. */
void model_leave(struct model_wait *w);

/* ExecSync.  done comes exactly once unless left; leaving kills what was started. */
struct exec;
struct exec_result {
	int exit_code;
	struct buf out, err;		/* at most EXEC_OUTPUT_MAX in sum */
};
enum { EXEC_OUTPUT_MAX = (16 << 20) - (64 << 10) };
typedef void exec_cb(void *data, int ret, const struct exec_result *r, const struct err *e);
struct exec *model_exec_sync(struct model *m, const char *id, const char *const *cmd, int64_t timeout_s,
			     exec_cb *done, void *data);
void model_exec_leave(struct exec *x);

/* Measure what writable layers hold and processes have open, in the background, if it is time:
 * somebody wants to know.  Containers that never were measured are at once. */
void model_measure(struct model *m);
/*
 * Bring c->stats up to date (a sample is good for a second; one that does not run keeps its last).
 * True: it takes time, and cb comes once, unless left.  w is the caller's memory; it may be left
 * in any case.
 */
struct sample_wait {
	struct list link;
	void (*cb)(void *data);
	void *data;
};
bool model_has_cgroup(const struct container *c);	/* that says what it uses */
bool model_sample(struct container *c, struct sample_wait *w, void (*cb)(void *data), void *data);
void model_sample_leave(struct sample_wait *w);
/* The same for the end of a measuring.  False: none is under way. */
bool model_measure_wait(struct model *m, struct sample_wait *w, void (*cb)(void *data), void *data);
/* The same of a ready pod as a whole, at once: of its cgroup, or the sum of what its containers'
 * last samples say where there is none. */
void model_sample_pod(struct pod *p);

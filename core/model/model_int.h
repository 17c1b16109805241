#pragma once
/* What the files of the model share among themselves. */
#include "core/model/live.h"
#include "core/model/model.h"
#include "core/plug/plug.h"
#include "core/store/store.h"

/* How long an engine may take for one operation, or to take one back that has failed already, and a
 * whole operation of ours. */
enum { ENGINE_TIMEOUT_MS = 60000, ENGINE_UNDO_MS = 20000, NET_TIMEOUT_MS = 60000, WORK_TIMEOUT_MS = 30000, OP_TIMEOUT_MS = 230000 };

/* -- objects (model.c) -- */

/* Make an object without entering it anywhere; enter makes it visible. */
struct pod *pod_new(struct model *m, const char *id);
void pod_enter(struct pod *p);
/* Out of every list, memory at the end of the pass.  Tears no real thing down. */
void pod_forget(struct pod *p);
void pod_set_state(struct pod *p, enum pod_state state);
const char *pod_state_name(enum pod_state s);
char *pod_key(struct pool *p, const Cri__PodSandboxMetadata *md);

struct container *container_new(struct pod *p, const char *id);
void container_enter(struct container *c);
void container_forget(struct container *c);
void container_set_state(struct container *c, enum container_state state);
const char *container_state_name(enum container_state s);
char *container_key(struct pool *p, const struct pod *pod, const Cri__ContainerMetadata *md);
char *container_log_path(struct pool *p, const struct pod *pod, const Cri__ContainerConfig *config);

/* -- events (event.c) -- */

/* The state has changed from this one; the object is about to be forgotten. */
void event_pod(struct pod *p, enum pod_state from);
void event_pod_gone(struct pod *p);
void event_container(struct container *c, enum container_state from);
void event_container_gone(struct container *c);

/* A shallow error answer for a waiter. */
void wait_fail(struct model_wait *w, const char *id, struct err *e);
void wait_done(struct model_wait *w, const char *id);
/* Follow op (may be NULL: done at once) and answer w at its end. */
void wait_op(struct model_wait *w, struct op *op, const char *id);
/* When op has ended, whatever its result, call again(w): also if the caller has left by then, with
 * a waiter of the model's own.  w->model, id and arg are set. */
void wait_then(struct model_wait *w, struct op *op, void (*again)(struct model_wait *w));

/* Protobuf in pools. */
void *pb_unpack(struct pool *p, const ProtobufCMessageDescriptor *d, const void *data, size_t len);
void *pb_pack(struct pool *p, const void *msg, size_t *len);
void *pb_copy(struct pool *p, const void *msg);

/* -- handlers (handler.c) -- */

struct handler_choice {
	struct plug_handler *handler;
	const struct config_policy *policy;
	const char *asked, *why;	/* another one was asked for, and the pod needs the host; else NULL */
};
/* For a new pod; it is ready.  -EINVAL: no such handler, -EAGAIN: not ready. */
int handler_choose(struct model *m, const Cri__PodSandboxConfig *config, const char *name,
		   struct handler_choice *out, struct err *e);
/* What a pod keeps of its handler for life; text: of a policy, NULL: none. */
void pod_take_handler(struct pod *p, const struct handler_choice *ch);
void pod_take_policy(struct pod *p, const char *text);
uint64_t pod_create_timeout_ms(const struct pod *p);
/* What the pod takes beside its containers: as its runtime class says, else as its handler does. */
struct pod_overhead {
	int64_t memory, cpu_quota;	/* bytes; microseconds in 100 ms */
};
struct pod_overhead pod_overhead(const struct pod *p);
/* Warn of a runtime class that reserves too little. */
void pod_check_overhead(const struct pod *p);
/* What its engine may see of the pod's annotations, and of the container's (NULL: none), which win:
 * key, value, ..., NULL. */
const char *const *pod_annotations(struct pool *pool, const struct pod *p, const struct container *c);

/* -- records (record.c) -- */

/* Write record.json, with the operation under way (p->op, c->op) and its step. */
int record_save_pod(struct pod *p, struct err *e);
int record_save_container(struct container *c, struct err *e);
/* The same where nobody could act on a failure: it is logged, and tried again until it is written. */
void record_note_pod(struct pod *p);
void record_note_container(struct container *c);

/* What a record says beyond the object: the operation that was under way. */
struct record_op {
	const char *op, *step;	/* in the object's pool; NULL: none */
};
int record_load_pod(struct model *m, const char *id, struct pod **out, struct record_op *op, struct err *e);
int record_load_container(struct model *m, const char *id, struct container **out, struct record_op *op,
			  struct err *e);
/* Put a record where no core will look, and end what it has had running (aside.c).  before: those of
 * this recovery, pods first.  legible: it may be read.  pool: longer than the operation. */
struct op *aside_begin(struct model *m, struct pool *pool, struct list *before, enum store_kind kind, const char *id,
		       bool legible, const char *why);
/* When all have ended: what only a pod without containers can be rid of. */
void aside_sweep(struct model *m, struct list *all);

/* -- steps that several tables use -- */

/* A step that waits for an engine, for the network, for a program: OP_WAIT, and cancelling the
 * operation cancels it.  Its callback ends with step_wake(). */
struct net_call;
struct spawn;
int step_engine(struct op *op, struct plug_call *call);
int step_net(struct op *op, struct net_call *call);
int step_spawn(struct op *op, struct spawn *sp);
/* Limits where a pod is one guest whose engine has no update (guest_limits.c): may c have merged, as
 * asked for?  -EBUSY, -ENOSYS name the field.  Then a step that puts what all have together on the
 * sandbox's cgroup, with r as the limits of c (NULL: as they all are). */
bool guest_has_limits(const struct pod *p);
int guest_check_limits(struct pool *pool, const struct container *c, const Cri__LinuxContainerResources *asked,
		       const Cri__LinuxContainerResources *merged, struct err *e);
int guest_apply_limits(struct op *op, struct pod *p, const struct container *c, const Cri__LinuxContainerResources *r);
/* As before the first. */
int guest_lift_limits(struct op *op, struct pod *p);
/* The same for one that comes to a guest that has limits. */
int step_guest_limits(struct op *op);
/* Of an engine's delete or update: shorter where something is taken back. */
uint64_t engine_timeout_ms(const struct op *op);
/* op_wake, with the words of e. */
void step_wake(struct op *op, int ret, const struct err *e);
/* The callback of a crisp-work run that has no result but success. */
void step_work_done(void *data, int ret, const struct err *e);

/* For the callback of a step: removes the cgroup that an engine has had processes in, kills what is
 * left there, and calls done, which wakes the op; after 2 s it stays, with a warning.  path: as long
 * as op. */
struct cgroups;
void remove_leaf_cgroup(struct op *op, struct cgroups *cg, const char *path, void (*done)(struct op *op));

/* Rows of several pod tables (pod_cgroup.c, run_pod.c, pause.c). */
int step_make_cgroup(struct op *op);
int step_remove_cgroup(struct op *op);
int step_detach_network(struct op *op);
int step_unmake_namespaces(struct op *op);
int step_prepare_sandbox(struct op *op);
int step_create_sandbox(struct op *op);
int step_delete_sandbox(struct op *op);
int step_create_pause(struct op *op);
int step_start_pause(struct op *op);
int step_kill_pause(struct op *op);
int step_delete_pause(struct op *op);
int step_undo_pause(struct op *op);

/* -- life -- */

extern const struct op_table run_pod_table, stop_pod_table, remove_pod_table;
extern const struct op_table create_table, start_table, stop_table, remove_table;

/* Begin one from within another, or again after a restart. */
struct op *stop_pod_begin(struct pod *p);
struct op *remove_pod_begin(struct pod *p);
struct op *remove_begin(struct container *c);

/* Watch a container's process (takes pidfd). */
void container_watch(struct container *c, pid_t pid, int pidfd);
void pause_watch(struct pod *p, pid_t pid, int pidfd);
/* It has ended with this wait status (-1: lost). */
void container_exited(struct container *c, int wait_status, int64_t at_ns);
/* The keeper has reaped this one. */
void keeper_exit(struct model *m, pid_t pid, int wait_status);
/* The sandbox was deleted under those that an engine watches: it has killed them, told or not. */
void containers_gone(struct pod *p);
/* The container could not be started. */
void container_start_failed(struct container *c, const struct err *e);
/* For the callback of an engine's delete, whatever it said: takes the leaf cgroup away, then wakes op. */
void container_deleted(struct op *op, int ret, const struct err *e);
/* For the callback of create's step: its command can't be run, which its start will tell.  Wakes op. */
void container_put_off(struct op *op, const struct err *why);
/* For who ends it: an engine may hang over an update. */
void container_give_up_update(struct container *c, const char *why);
/* The same for a pod's. */
void pod_give_up_resize(struct pod *p, const char *why);
/* Such a one is stopped: it will not be started.  Any other: nothing. */
void container_end_put_off(struct container *c);

struct exit_wait {
	struct list link;
	void (*cb)(struct exit_wait *w);
	void *data;
};
/* Told once the container runs no more; at once (from a later pass) if it does not. */
void exit_wait(struct container *c, struct exit_wait *w, void (*cb)(struct exit_wait *w), void *data);
void exit_wait_leave(struct exit_wait *w);

/* The keeper holds a copy under "KIND/ID/WHAT"; fd -1: no more (stdio.c). */
void model_keep_fd(struct model *m, const char *kind, const char *id, const char *what, int fd);
void container_keep_fd(struct container *c, const char *what, int fd);
/* What the container itself reads from and writes to, until an engine that wants it at start has got it. */
void container_keep_start_fds(struct container *c, const int fds[3]);
void container_drop_start_fds(struct container *c);
void container_drop_fds(struct container *c);
void container_close_stdin(struct container *c);
int container_open_log(struct container *c, int out_fd, int err_fd, struct err *e);
void container_close_log(struct container *c);
/* Its root as engines are told of it; the image is held. */
const struct crisp_rootfs *container_rootfs(struct pool *p, const struct container *c);
void pod_drop_fds(struct pod *p);
void pod_keep_fd(struct pod *p, const char *what, int fd);	/* -1 drops it */
/* Of its user namespace; NULL: the host's. */
const struct idmap *pod_map(const struct pod *p);
/* What the pod's configuration asks for; lives in pool. */
struct sandbox_ns pod_wanted_ns(struct pool *pool, const struct pod *p);
/*
 * Find or make the namespaces of a ready pod that no keeper has handed over.  True if that takes
 * time: cb comes then, unless pool is gone.
 */
bool pod_regain_ns(struct pod *p, struct pool *pool, void (*cb)(void *data), void *data);
char *container_rw_dir(struct pool *p, const struct container *c);
char *container_dir(struct pool *p, const struct container *c);
char *pod_dir(struct pool *p, const struct pod *pod);
/* Of a new pod: the request's, which has been checked, or one of its own below ours. */
const char *pod_cgroup_parent(struct pod *p);
/* The cgroup of the pause container; it stands for "any leaf" of the pod. */
char *pod_cgroup_leaf(struct pool *p, const struct pod *pod);
/* "/proc/<us>/fd/N", NULL for -1: how an engine opens a namespace that we hold. */
char *fd_path(struct pool *p, int fd);
/* Signal its process, or all of them; does not wait. */
void container_signal(struct container *c, int signo, bool all);
/* The same, and hear of it where the engine has to do it; NULL: it is done. */
struct plug_call *container_kill(struct container *c, int signo, bool all, plug_cb *cb, void *data);
/* Not for want of a process? */
bool kill_failed(int ret);
/* The facts of prepare_spec and sandbox_create; c NULL: of the pod itself. */
const char *facts_json(struct pool *p, const struct pod *pod, const struct container *c);
/* The bundle of a process in the empty rootfs: crisp-pause. */
struct pause_bundle {
	const char *dir, *rootfs;
	const char *spec;		/* text of its config.json */
};
int pause_write_bundle(struct pool *pool, struct pod *p, struct pause_bundle *b, struct err *e);
/* Where the container's root is mounted, in the engine's mount namespace. */
char *container_root(struct pool *p, const struct container *c);

/*
 * Standard streams that s has not, for whatever starts a process: a file that is empty and stays so, pool's,
 * instead of the node's /dev/null (stdio.c).
 */
int stdio_fill(struct pool *pool, struct crisp_stdio *s, struct err *e);
/* A pipe's end is the user's that will open /dev/stdout; does nothing on the host's ids. */
void give_to_user(const struct container *c, int fd);

/* FIFOs of an engine that opens stdio by path (fifo.c): dir/PREFIX{in,out,err}. */
struct fifos {
	const char *in, *out, *err;	/* paths; NULL: none */
	int in_fd, out_fd, err_fd;	/* our ends, the caller's; -1: none */
};
int fifos_make(struct pool *p, const char *dir, const char *prefix, bool in, bool tty, struct fifos *f,
	       struct err *e);
void fifos_unlink(const struct fifos *f);

/* -- stdio in use (live.c, attach.c, exec.c) -- */

struct live_ops {
	void (*write_end)(struct live *l);
	void (*resize)(struct live *l, unsigned width, unsigned height);
	void (*hold)(struct live *l, bool hold);	/* or NULL */
	void (*leave)(struct live *l);
};
/* Bytes into a pipe or a pty; closed (-1): they are dropped. */
struct feed {
	struct loop_io io;
	struct live *live;
	int fd;
};
struct live {
	const struct live_ops *ops;
	const struct live_user *user;	/* NULL once it has left */
	void *data;
	struct feed in;
};
/* Takes a copy of fd, which is non-blocking. */
int feed_open(struct feed *f, struct live *l, struct loop *loop, struct pool *p, int fd, struct err *e);
void feed_close(struct feed *f);
size_t feed_write(struct feed *f, const char *bytes, size_t n);
void tty_resize(int fd, unsigned width, unsigned height);
void live_engine_resize(struct pod *p, const char *id, const char *exec_id, unsigned width, unsigned height);
void attaches_end(struct container *c);		/* its output is over */

/* The same for a container whose engine has the process. */
void container_watch_by_engine(struct container *c, pid_t pid);
/* The container has ended: so have its execs. */
void execs_killed(struct container *c);
/* SIGKILL to a command's process and to what it has started in its process group. */
void exec_kill_group(pid_t pid);
void sample_forget(struct container *c);
void execs_orphan(struct container *c);	/* the container is forgotten */
void exec_ended_by_engine(struct container *c, const char *exec_id, int wait_status);
/* Undo from a step on, after a restart. */
struct op *run_pod_unwind(struct pod *p, const char *step);
struct op *create_unwind(struct container *c, const char *step);

/* Rows of several container tables (create.c, stop.c). */
int step_release_image(struct op *op);
int step_remove_rw(struct op *op);
int step_delete_container(struct op *op);

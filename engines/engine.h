/*
 * The engine ABI of crisp, version 1: what a plugin that runs containers has to offer.
 *
 * A plugin is a shared object NAME.so ([a-z0-9_-]+) in the engine directory.  It exports one
 * symbol, crisp_engine_v1(), links nothing of crisp and needs no other header.  `engine-check`
 * says whether it keeps to what is written here; docs/engines.md begins with an empty file.
 *
 *	host		crisp's core.  It owns ids, the OCI spec, rootfs and mounts, namespaces,
 *			cgroup paths, stdio, logs, deadlines, state and recovery.
 *	plugin		this shared object.  It translates operations for an engine (crun, ...).
 *	handler		a configured name -> (plugin, options).  Each gets an instance of its own,
 *			so a plugin has no global state.
 *	sandbox		a pod.  Engines that run a pod in one guest make it in sandbox_create.
 *	container	what runs config.json; `id` everywhere.  Ids are [a-zA-Z0-9_.-]{1,255}, and
 *			neither "." nor "..": who makes a path or a word of a command line of one
 *			sees to that as well, since some runtimes delete "/" when told to.
 *	exec		a further process in a container, named by (id, exec_id).
 *
 * THE RULES
 *
 *  1. One thread: all operations and all callbacks come on the host's loop, and the plugin calls
 *     the host on it alone.  A call lasts at most 1 ms; one longer than 10 ms is named in the log.
 *     The plugin makes no threads, doesn't fork, exec, wait, chdir or umask, touches no signal
 *     handler and no environment, writes to neither stdout nor stderr.  What may block is a
 *     program, run by host->spawn().
 *  2. Operations are asynchronous: the slot returns 0 (accepted: host->done() follows exactly
 *     once, later or from inside the call) or -errno (refused: no done()).  A NULL slot says that
 *     the operation doesn't exist; the host then answers "unsupported" or uses its own way.
 *  3. Memory that the host passes lives until the call returns, unless it says otherwise; what a
 *     plugin passes to the host needs to live until that call returns.  Memory is never freed on
 *     the other side.  Strings are UTF-8, NUL-terminated; NULL and "" both mean "not given".
 *  4. File descriptors in arguments are borrowed (dup to keep); those in results are given away.
 *     0 and negative numbers both mean "none".
 *  5. Every struct (but crisp_spawn_fd and crisp_spawn_blob) begins with its size as its writer
 *     knows it.  A struct only ever grows at its end; a missing tail reads as zeros, an unknown
 *     tail is passed over.  What is in this file and isn't marked with a minor is of 1.0, and may
 *     be read without asking; for the rest CRISP_HAS(p, member) asks whether the writer knew it.
 *     Reserved members and bits are 0.  The host sets no bit of a minor later than the plugin's;
 *     a plugin that meets one it doesn't know may refuse with -EINVAL.
 *  6. Integers have fixed width.  Times are nanoseconds: *_at_ns on CLOCK_REALTIME, deadline_ns
 *     on CLOCK_MONOTONIC.  Sizes are bytes, signals and wait statuses as Linux numbers them.
 *  7. At any moment the host may be gone without a word (kill -9): what must outlive it is the
 *     plugin's to write down (state) or to give away (keep_fd), and attach() finds it again.
 *
 * ERRORS are negative errno values, of these classes; the words go into crisp_result.msg:
 *	-ENOENT no such container, exec or sandbox	-EEXIST it exists already
 *	-ENOSYS not supported				-EINVAL bad spec, options or argument
 *	-EAGAIN try again				-ETIMEDOUT the deadline has passed
 *	-ECANCELED by cancel()				-EBUSY wrong state for this
 *	-ESRCH the process has gone			-EHOSTDOWN the sandbox or the shim is dead
 *	-EIO the engine failed (the words are its own)
 * An error in the words of the engine names the cause alone: the host puts handler, operation and
 * container before it.
 *
 * VERSIONS.  The major is in the symbol's name and changes never: another one would be another
 * symbol beside it.  The minor grows when something is appended: a member at the end of a struct,
 * a slot at the end of the table, a bit.  So an old plugin runs in a new host, for ever, and a new
 * plugin in an old host, which doesn't see what it doesn't know.  The host refuses a plugin of
 * another major, and one whose `requires` names a host feature that it lacks.
 */
#ifndef CRISP_ENGINE_H
#define CRISP_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CRISP_ENGINE_MAGIC 0x31474e45u	/* "ENG1" */
#define CRISP_ENGINE_MAJOR 1
#define CRISP_ENGINE_MINOR 0

/* Does *p, by its own size, have this member?  And is a slot there to be called? */
#define CRISP_HAS(p, member)                                                                       \
	((p)->size >= offsetof(__typeof__(*(p)), member) + sizeof((p)->member))
#define CRISP_CAN(p, slot) (CRISP_HAS(p, slot) && (p)->slot)

struct crisp_instance;	/* the plugin's, one for each handler */
struct crisp_req;	/* the host's: an accepted operation, until done() */
struct crisp_job;	/* the host's: a running program */
struct crisp_watch;	/* the host's: a watched file descriptor */
struct crisp_timer;	/* the host's: a timer or a deferred call */

/*
 * What the engine does and how: semantics, not presence (presence is a slot that isn't NULL).
 * The host ignores bits that it doesn't know.
 */

/* the result's pid is reaped by the host: its exit is the container's */
#define CRISP_CAP_EXIT_BY_PID		(1ull << 0)
/* the plugin tells exits by host->exited() */
#define CRISP_CAP_EXIT_BY_ENGINE	(1ull << 1)
/* sandbox_create before the first container of a pod */
#define CRISP_CAP_SANDBOX_OWN		(1ull << 2)
/* sandbox_create needs a bundle with a rootfs */
#define CRISP_CAP_SANDBOX_NEEDS_ROOTFS	(1ull << 3)
/* stdio are file descriptors, given to create */
#define CRISP_CAP_STDIO_FD		(1ull << 4)
/* stdio are paths of FIFOs that the host has made */
#define CRISP_CAP_STDIO_FIFO		(1ull << 5)
/* stdio goes to start (again) */
#define CRISP_CAP_START_STDIO		(1ull << 6)
/* the engine sends the pty's master to console_socket */
#define CRISP_CAP_TTY_CONSOLE_SOCKET	(1ull << 7)
/* the pty is the engine's: bytes by FIFO, size by resize() */
#define CRISP_CAP_TTY_ENGINE		(1ull << 8)
/* the rootfs is a mounted directory (crisp_spawn_plan.rootfs) */
#define CRISP_CAP_ROOTFS_MOUNTED	(1ull << 9)
/* the engine mounts crisp_rootfs.mounts itself */
#define CRISP_CAP_ROOTFS_MOUNTS		(1ull << 10)
/* the guest pulls the image by its name */
#define CRISP_CAP_ROOTFS_IMAGE_REF	(1ull << 11)
/* the container's cgroup on the host tells its usage */
#define CRISP_CAP_STATS_HOST_CGROUP	(1ull << 12)
/* pid is the container's init: /proc and setns work */
#define CRISP_CAP_PID_IS_HOST		(1ull << 13)
/* joins the namespace named in the spec */
#define CRISP_CAP_NETNS_BY_PATH		(1ull << 14)
/* takes addresses out of the netns: set up anew after a crash */
#define CRISP_CAP_NETNS_CONSUMED	(1ull << 15)
/* the containers of a pod may share a pid namespace */
#define CRISP_CAP_SHARED_PIDNS		(1ull << 16)
/* user namespaces, as the spec says */
#define CRISP_CAP_USERNS		(1ull << 17)
/* mounts with uidMappings and gidMappings */
#define CRISP_CAP_IDMAP_MOUNTS		(1ull << 18)
/* recursive read-only mounts */
#define CRISP_CAP_RRO_MOUNTS		(1ull << 19)
/* update() reaches what runs */
#define CRISP_CAP_HOTPLUG_RESOURCES	(1ull << 20)
/* one operation at a time in a pod: the host queues */
#define CRISP_CAP_SERIALIZE_SANDBOX	(1ull << 21)
/* a process of the engine's own keeps exits while no core lives */
#define CRISP_CAP_SURVIVES_RESTART	(1ull << 22)
/* checkpoint and restore work here */
#define CRISP_CAP_CHECKPOINT		(1ull << 23)
/* wants the pod's resources in sandbox_create */
#define CRISP_CAP_NEEDS_SIZING		(1ull << 24)

/* How the exit of a container or exec becomes known: crisp_result.exit_source. */
#define CRISP_EXIT_BY_CAPS	0u	/* as the capability bits say */
#define CRISP_EXIT_BY_PID	1u
#define CRISP_EXIT_BY_ENGINE	2u

/* State of a container or sandbox: crisp_result.status. */
#define CRISP_STATUS_UNKNOWN	0u
#define CRISP_STATUS_CREATED	1u
#define CRISP_STATUS_RUNNING	2u
#define CRISP_STATUS_PAUSED	3u
#define CRISP_STATUS_STOPPED	4u

/* ------------------------------------------------------------------ values passed to operations */

/* One mount of a rootfs. */
struct crisp_mount {
	uint32_t size;
	uint32_t flags;			/* 0 */
	const char *type;		/* "overlay", "bind", "erofs"...; as mount(8) knows it */
	const char *source;		/* device, directory, or a word */
	const char *target;		/* absolute */
	const char *const *options;	/* NULL-terminated, "lowerdir=/a:/b"; NULL: none */
	/* a detached mount (open_tree(2)) to be moved to target; none: use type */
	int32_t fd;
	/* a user namespace by whose map the ids of what is mounted are to be seen (of an overlay: those
	 * of its layers), the same for all that have one; none: as they are on disk */
	int32_t userns;
};

/* Where the container's root comes from.  A plugin with ROOTFS_MOUNTED hands it on, unread, to
 * the one spawn that needs it (crisp_spawn_plan.rootfs). */
struct crisp_rootfs {
	uint32_t size;
	uint32_t flags;			/* 0 */
	const char *path;		/* root.path of config.json, absolute */
	/* in order; NULL-terminated; NULL: path is mounted already */
	const struct crisp_mount *const *mounts;
	const char *image_ref;		/* name of the image with its digest */
};

#define CRISP_STDIO_TTY		(1u << 0)

/* The standard streams of a process.  Which members count is said by the capability bits. */
struct crisp_stdio {
	uint32_t size;
	uint32_t flags;			/* CRISP_STDIO_TTY */
	int32_t in, out, err;		/* none: /dev/null; with a tty: for the engine's own program */
	int32_t reserved;
	/* unix socket on which the host awaits the pty's master; to be sent before done() */
	const char *console_socket;
	const char *fifo_in, *fifo_out, *fifo_err;	/* FIFOs, opened by the host for its side */
	uint32_t width, height;		/* of the tty at the start; 0: not known */
};

/*
 * Arguments.  Each begins with the same six members (the host sets size and deadline_ns):
 *	flags		CRISP_ARG_* that the operation names
 *	deadline_ns	when the host stops waiting, CLOCK_MONOTONIC; 0: never
 *	id		the container, or the sandbox for sandbox_*
 *	exec_id		NULL: the container's own process
 */
#define CRISP_ARG_FORCE		(1u << 0)	/* delete: kill what runs */
#define CRISP_ARG_ALL		(1u << 1)	/* kill: every process of the container */
#define CRISP_ARG_LEAVE_RUNNING	(1u << 2)	/* checkpoint */

#define CRISP_ARGS_HEAD                                                                            \
	uint32_t size;                                                                             \
	uint32_t flags;                                                                            \
	int64_t deadline_ns;                                                                       \
	const char *id;                                                                            \
	const char *exec_id

/* For operations that need no more: start without stdio, delete, pids, pause, sandbox_stop... */
struct crisp_args {
	CRISP_ARGS_HEAD;
};

struct crisp_sandbox_create_args {
	CRISP_ARGS_HEAD;
	const char *bundle;		/* with SANDBOX_NEEDS_ROOTFS: directory of config.json */
	const struct crisp_rootfs *rootfs;	/* its path is mounted; its mounts are of the pod, for
						   the namespace in which the engine's own processes stay */
	const struct crisp_stdio *stdio;
	const char *netns_path;		/* NULL: the host's network */
	const char *cgroup_path;	/* of the pod */
	const char *config_json;	/* the facts of prepare_spec, without a container */
	const char *resources_json;	/* OCI LinuxResources of the pod, when known */
};

struct crisp_create_args {
	CRISP_ARGS_HEAD;
	const char *sandbox_id;		/* the pod */
	const char *bundle;		/* absolute directory that holds config.json */
	const struct crisp_rootfs *rootfs;
	const struct crisp_stdio *stdio;
	const char *cgroup_path;	/* as in config.json: a path below the hierarchies' roots, or
					   "SLICE:PREFIX:NAME" for a scope that systemd shall make */
	const char *checkpoint_dir;	/* restore: where the checkpoint lies */
};

struct crisp_start_args {
	CRISP_ARGS_HEAD;
	const struct crisp_stdio *stdio;	/* with START_STDIO */
	const struct crisp_rootfs *rootfs;	/* with START_STDIO: as create had it */
};

struct crisp_kill_args {
	CRISP_ARGS_HEAD;
	int32_t signo;
	int32_t reserved;
};

struct crisp_exec_args {
	CRISP_ARGS_HEAD;
	const char *process_json;	/* OCI process */
	const struct crisp_stdio *stdio;
};

struct crisp_resize_args {
	CRISP_ARGS_HEAD;
	uint32_t width, height;
};

struct crisp_update_args {
	CRISP_ARGS_HEAD;
	const char *resources_json;	/* OCI LinuxResources */
	const char *annotations_json;
};

struct crisp_checkpoint_args {
	CRISP_ARGS_HEAD;
	const char *dir;
	const char *options_json;
};

/* After a restart of the host: is it still there?  state is the last blob that the plugin gave. */
struct crisp_attach_args {
	CRISP_ARGS_HEAD;
	const char *sandbox_id;
	const void *state;
	uint32_t state_len;
	int32_t pid;			/* the host's record of it; 0: none */
};

struct crisp_port_args {
	CRISP_ARGS_HEAD;		/* id: the sandbox */
	uint32_t port;
	uint32_t reserved;
};

struct crisp_spec_args {
	CRISP_ARGS_HEAD;
	/*
	 * {"sandboxId", "containerType": "sandbox"|"container", "name", "podName", "podNamespace",
	 *  "podUid", "hostname", "image", "imageRef" (to pull it by: its name with its digest),
	 *  "logDirectory", "annotations": {}, "netnsPath" (where all of the host sees the pod's
	 *  network), "sandboxResources": {"cpuPeriod", "cpuQuota", "cpuShares", "memory",
	 *  "overheadCpuQuota", "overheadMemory"}}
	 * Members may be missing, more may come.
	 */
	const char *facts_json;
	const char *spec_json;		/* the OCI config as the host would write it */
};

/*
 * The end of an operation.  Zero what doesn't apply.
 */
struct crisp_result {
	uint32_t size;
	int32_t err;			/* 0 or -errno */
	/* why, when err; one line without the names of operation and id */
	const char *msg;
	int32_t pid;			/* of the container, exec or sandbox on the host; 0: none */
	int32_t pidfd;			/* of pid, given away; none: the host opens it at once */
	uint32_t exit_source;		/* CRISP_EXIT_* */
	uint32_t status;		/* CRISP_STATUS_*: attach, sandbox_attach */
	uint32_t guest_pid;		/* inside the engine's sandbox, for the status only */
	int32_t wait_status;		/* attach, STOPPED: as of waitpid(2); -1: unknown */
	int64_t exited_at_ns;		/* attach, STOPPED; 0: unknown */
	const void *state;		/* blob that the host keeps on disk for attach */
	uint32_t state_len;		/* at most CRISP_STATE_MAX */
	uint32_t data_len;
	/* stats, pids, probe, diagnose, prepare_spec: JSON, see the slot */
	const void *data;
	int32_t fd;			/* port_forward: a connected socket, given away */
	int32_t reserved;
	/* probe: the bits that hold here; 0: those of struct crisp_engine */
	uint64_t caps;
	const char *version;		/* probe: of the engine's program, "1.8.1" */
};
#define CRISP_STATE_MAX 65536u

/* ------------------------------------------------------------------------------- host services */

/* An inherited file descriptor: fd (borrowed) becomes number target, 0..39. */
struct crisp_spawn_fd {
	int32_t fd, target;
};

/* Bytes that the program finds, readable and seekable, as file descriptor target, 3..39. */
struct crisp_spawn_blob {
	const void *data;
	uint64_t len;
	int32_t target;
	int32_t reserved;
};

/* run path from a sealed copy in memory, shared by all spawns */
#define CRISP_SPAWN_SEAL	(1u << 0)
/* what it leaves running is meant to outlive the core (a shim, a sandbox): else it dies with the
 * core's programs, as the program itself does in any case */
#define CRISP_SPAWN_STAY	(1u << 1)
/* it lives long and mostly waits: not one of the few programs that may run at once */
#define CRISP_SPAWN_WAITS	(1u << 2)

/*
 * A program to run.  Copied; all of it may go when spawn() returns.  The child is a child of the
 * host (its orphans become the host's too), leads a session of its own, and gets SIGKILL, with
 * its process group, at the deadline and when the job is killed.
 */
struct crisp_spawn_plan {
	uint32_t size;
	uint32_t flags;			/* CRISP_SPAWN_* */
	const char *path;		/* absolute */
	const char *const *argv;	/* NULL-terminated */
	const char *const *envp;	/* NULL-terminated; NULL: PATH alone */
	const char *cwd;		/* NULL: "/" */
	const struct crisp_spawn_fd *fds;	/* 0, 1, 2 not named here: /dev/null or captured */
	uint32_t n_fds, n_blobs;
	const struct crisp_spawn_blob *blobs;
	const void *input;		/* stdin; NULL: /dev/null, or what fds say */
	uint64_t input_len;
	uint32_t out_max, err_max;	/* bytes of stdout and stderr to capture; 0: /dev/null */
	/* none, or 3..39: a pipe that takes JSON lines {"level","msg"}.  The program opens it as
	 * /proc/self/fd/N. */
	int32_t log_target;
	uint32_t reserved;
	int64_t deadline_ns;		/* CLOCK_MONOTONIC; 0: none */
	/* absolute: removed before, read and removed after.  NULL: none */
	const char *pid_file;
	/* Mounted for this program alone, in a mount namespace of its own.  NULL: the host's. */
	const struct crisp_rootfs *rootfs;
	/* The network namespace to run in, as the host sees its file; NULL: the host's. */
	const char *netns_path;
	/* Folders below /proc or /sys over which it finds an empty tmpfs; NULL-terminated.  NULL: none. */
	const char *const *covers;
};

/* How a program ended; valid during the callback. */
struct crisp_spawn_result {
	uint32_t size;
	/* 0: it ran and ended, see wait_status.  -ETIMEDOUT, -ECANCELED: killed for it.  Other: it
	 * could not be started. */
	int32_t err;
	const char *msg;		/* why, when err; else NULL */
	int32_t wait_status;		/* as of waitpid(2) */
	int32_t pid;			/* from pid_file; 0: there was none */
	int32_t pidfd;			/* of that pid, yours; none: it is gone */
	uint32_t out_len, err_len;
	uint32_t reserved;
	const char *out, *err_out;	/* captured, NUL-terminated; never NULL */
	/* msg of the last line of level error (or worse) in the log; NULL: none */
	const char *last_error;
};

typedef void crisp_spawn_cb(void *data, const struct crisp_spawn_result *r);

#define CRISP_LOG_DEBUG	0u
#define CRISP_LOG_INFO	1u
#define CRISP_LOG_WARN	2u
#define CRISP_LOG_ERROR	3u

#define CRISP_IO_READ	1u
#define CRISP_IO_WRITE	2u

/* Features of a host, for crisp_engine.requires. */
#define CRISP_HOST_SPAWN	(1ull << 0)
#define CRISP_HOST_ROOTFS	(1ull << 1)	/* crisp_spawn_plan.rootfs works */
#define CRISP_HOST_KEEP		(1ull << 2)	/* keep_fd outlives the core */
#define CRISP_HOST_SPAWN_NS	(1ull << 3)	/* .netns_path, .covers and CRISP_SPAWN_WAITS do */

/*
 * What the host does for a plugin.  The pointer is the instance's own and lives until close()
 * returns; it is the first argument of everything but done().
 */
struct crisp_host {
	uint32_t size;
	uint16_t major, minor;
	uint64_t features;
	const char *handler;		/* name of the handler */
	/* a directory of the handler's own, 0700, gone at a reboot */
	const char *state_dir;

	/* The one answer to an accepted operation.  A second one is logged and ignored. */
	void (*done)(struct crisp_req *req, const struct crisp_result *res);

	/* A container (exec_id NULL) or exec has ended; wait_status as of waitpid(2).  With
	 * EXIT_BY_ENGINE, once for each.  Where stdio are FIFOs, the host goes on reading until nobody
	 * has them open to write any more, at most for 2 s. */
	void (*exited)(const struct crisp_host *h, const char *id, const char *exec_id,
		       int32_t wait_status, int64_t at_ns);
	/* The kernel killed something in it for lack of memory; before exited(). */
	void (*oom)(const struct crisp_host *h, const char *id);
	/* The sandbox has died by itself, once.  The host asks nothing more of it but delete. */
	void (*sandbox_gone)(const struct crisp_host *h, const char *id, const char *reason);

	/* kv: key, value, key, value..., NULL.  NULL: none. */
	void (*log)(const struct crisp_host *h, uint32_t level, const char *msg,
		    const char *const *kv);
	int64_t (*now_ns)(const struct crisp_host *h);	/* CLOCK_MONOTONIC */

	/* Run a program.  cb comes exactly once, never from inside spawn(), unless the instance is
	 * closed before.  NULL: the plan is bad, and the log says why. */
	struct crisp_job *(*spawn)(const struct crisp_host *h, const struct crisp_spawn_plan *plan,
				   crisp_spawn_cb *cb, void *data);
	/* SIGKILL it; cb follows with -ECANCELED. */
	void (*job_kill)(struct crisp_job *job);

	/* Watch fd (yours; unwatch before you close it).  cb may unwatch. */
	struct crisp_watch *(*watch_fd)(const struct crisp_host *h, int32_t fd, uint32_t events,
					void (*cb)(void *data, uint32_t events), void *data);
	void (*watch_set)(struct crisp_watch *w, uint32_t events);	/* 0 pauses */
	void (*unwatch)(struct crisp_watch *w);

	/* Call cb once, after ms; or at the end of this pass of the loop.  The handle is void once
	 * cb has been called. */
	struct crisp_timer *(*timer)(const struct crisp_host *h, uint64_t ms,
				     void (*cb)(void *data), void *data);
	struct crisp_timer *(*defer)(const struct crisp_host *h, void (*cb)(void *data),
				     void *data);
	void (*untimer)(struct crisp_timer *t);

	/* Keep a duplicate of fd under a key ([a-zA-Z0-9_.-], at most 100 bytes) that is the
	 * instance's own; it outlives the core.  kept_fd gives a new duplicate, yours, or -ENOENT.
	 * drop_fd forgets it. */
	int (*keep_fd)(const struct crisp_host *h, const char *key, int32_t fd);
	int (*kept_fd)(const struct crisp_host *h, const char *key);
	int (*drop_fd)(const struct crisp_host *h, const char *key);

	/* A file descriptor (borrowed, good for this pass of the loop) of the program at path,
	 * copied into sealed memory, shared and made anew when the file has changed.  -errno;
	 * -EAGAIN: it is being made.  CRISP_SPAWN_SEAL waits for it by itself. */
	int (*seal_exe)(const struct crisp_host *h, const char *path);

	/* Replace, read, or (len 0) remove the small blob of this id, kept on disk and handed to
	 * attach.  crisp_result.state does the same.  state_get gives its length, or -ENOENT, or
	 * -ERANGE when cap is too small. */
	int (*state_put)(const struct crisp_host *h, const char *id, const void *data,
			 uint32_t len);
	int (*state_get)(const struct crisp_host *h, const char *id, void *buf, uint32_t cap);

	/* Further services by name and version, "ttrpc/1"; NULL: this host has none such. */
	const void *(*iface)(const struct crisp_host *h, const char *name);
};

/* -------------------------------------------------------------------------------- operations */

/*
 * The slots.  S: answers at once.  A: as rule 2 says.  `->` names the members of crisp_result that
 * count.  open, close, create, start and del must be there, with SANDBOX_OWN also sandbox_create
 * and sandbox_delete.  A host need not have a use for every slot.
 */
struct crisp_ops {
	uint32_t size;
	uint32_t flags;			/* 0 */

	/* S.  Make the instance of a handler.  options_json is an object ("{}" at least); an
	 * unknown option is -EINVAL, the words (which option, why) go to msg.  Looks at nothing
	 * that may hang: whether the engine works is for probe() to say. */
	int (*open)(const struct crisp_host *host, const char *options_json,
		    struct crisp_instance **out, char *msg, uint32_t msg_cap);
	/* S.  The end of the instance, not of its containers: they go on, and attach() of a later
	 * instance finds them.  Free what it has; operations that are still under way are
	 * forgotten and need no done().  Programs, timers and watches end with it: none of their
	 * callbacks comes any more, and the plugin calls nothing of this host again. */
	void (*close)(struct crisp_instance *i);

	/* A.  Does the engine work here?  -> version, caps, data = OCI features JSON when there is
	 * one.  An error makes the handler unready with msg as the reason. */
	int (*probe)(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *a);
	/* A.  The last touch on a spec before it is written.  -> data = the changed spec; none:
	 * it stays as it is. */
	int (*prepare_spec)(struct crisp_instance *i, struct crisp_req *r,
			    const struct crisp_spec_args *a);

	/* A.  With SANDBOX_OWN.  create -> pid, state; a failed one leaves nothing behind, or what
	 * delete with FORCE removes.  stop ends all that runs in it and leaves what can be asked
	 * about; delete with FORCE takes all, also what runs, and without it a running sandbox is
	 * -EBUSY; a missing one is -ENOENT (with FORCE an engine may say 0).  attach -> status,
	 * pid, or -ENOENT.  A sandbox that ends otherwise is told by host->sandbox_gone(), after
	 * the ends of its containers. */
	int (*sandbox_create)(struct crisp_instance *i, struct crisp_req *r,
			      const struct crisp_sandbox_create_args *a);
	int (*sandbox_stop)(struct crisp_instance *i, struct crisp_req *r,
			    const struct crisp_args *a);
	int (*sandbox_delete)(struct crisp_instance *i, struct crisp_req *r,
			      const struct crisp_args *a);
	int (*sandbox_attach)(struct crisp_instance *i, struct crisp_req *r,
			      const struct crisp_attach_args *a);
	/* -> data = OCI-style stats JSON, of all that the sandbox uses */
	int (*sandbox_stats)(struct crisp_instance *i, struct crisp_req *r,
			     const struct crisp_args *a);
	/* New limits for the sandbox as a whole. */
	int (*sandbox_update)(struct crisp_instance *i, struct crisp_req *r,
			      const struct crisp_update_args *a);

	/* A.  Make the container, its process not yet running -> pid, exit_source, state.  An id
	 * that exists is -EEXIST (or -EIO in the engine's words), and the one that is there stays
	 * as it was.  A failed create leaves nothing behind, or what delete with FORCE removes. */
	int (*create)(struct crisp_instance *i, struct crisp_req *r,
		      const struct crisp_create_args *a);
	/* A.  Let it run -> pid, if it has changed.  It may have ended before done() comes.  What
	 * runs or has ended already is -EBUSY or -EIO. */
	int (*start)(struct crisp_instance *i, struct crisp_req *r,
		     const struct crisp_start_args *a);
	/* A.  Send signo to the container's first process, to that of exec_id, or with ALL to every
	 * process of the container.  One that is created and not started can be killed.  -ESRCH
	 * when it has ended (0 from engines that can't tell), -ENOENT when there is none, -EINVAL
	 * for a number that is no signal, -ENOSYS for an exec_id where the host has its pid.  NULL
	 * with PID_IS_HOST: the host signals the pid by itself. */
	int (*kill)(struct crisp_instance *i, struct crisp_req *r, const struct crisp_kill_args *a);
	/* A.  Remove what has ended; what runs is -EBUSY (or -EIO in the engine's words), with FORCE
	 * it is killed and removed.  -ENOENT when there is none (with FORCE an engine may say 0).
	 * After a delete with FORCE, whatever it answered but -ECANCELED, the host asks no more about
	 * the container and drops its state.  Of an operation that was cut off (cancel, deadline, the
	 * host's death) processes may be left in cgroup_path: those the host ends by itself.  Named
	 * so because C++ has taken the word. */
	int (*del)(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *a);
	/* A.  Run a further process in a container that runs (-EBUSY, -ESRCH or -ENOENT in another),
	 * under an exec_id that is new there -> pid, exit_source.  done() comes when it runs, and its
	 * end is told after that: by the pid, or by host->exited() with its exec_id.  A program that
	 * can't be executed is -EINVAL or -EIO with words, and never an exit. */
	int (*exec)(struct crisp_instance *i, struct crisp_req *r, const struct crisp_exec_args *a);
	/* A.  Forget an exec that has ended.  NULL: nothing to forget. */
	int (*exec_delete)(struct crisp_instance *i, struct crisp_req *r,
			   const struct crisp_args *a);
	/* A.  With TTY_ENGINE: the new size of the terminal, in characters. */
	int (*resize)(struct crisp_instance *i, struct crisp_req *r,
		      const struct crisp_resize_args *a);
	/* A.  With STDIO_FIFO: nothing more will be written to fifo_in; the process is to see its
	 * end. */
	int (*close_stdin)(struct crisp_instance *i, struct crisp_req *r,
			   const struct crisp_args *a);
	/* A.  New limits for a container; members that are missing stay as they are.  NULL with
	 * SANDBOX_NEEDS_ROOTFS: the host puts what the containers have together on the cgroup that the
	 * sandbox's bundle names. */
	int (*update)(struct crisp_instance *i, struct crisp_req *r,
		      const struct crisp_update_args *a);
	/* A.  -> data = OCI-style stats JSON: {"cpu": {"usage": {"total" (ns)}}, "memory": {"usage":
	 * {"usage", "limit"}, "raw": {"inactive_file", "rss", "pgfault", "pgmajfault"}}, "pids":
	 * {"current"}}.  The CPU time is there and never falls; others may be missing, more may come.
	 * NULL with STATS_HOST_CGROUP. */
	int (*stats)(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *a);
	/* A.  -> data = JSON array of the pids, on the host, of all processes of the container; []
	 * where they have none there. */
	int (*pids)(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *a);
	/* A.  Pausing what is paused is 0, and so is resuming what runs.  Where only the sandbox can
	 * be paused as a whole, it is, and nothing else is asked of it until it is resumed; with
	 * PID_IS_HOST a paused container can be killed and deleted by force. */
	int (*pause)(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *a);
	int (*resume)(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *a);
	/* A.  With CHECKPOINT.  restore is a create whose checkpoint_dir is given. */
	int (*checkpoint)(struct crisp_instance *i, struct crisp_req *r,
			  const struct crisp_checkpoint_args *a);
	int (*restore)(struct crisp_instance *i, struct crisp_req *r,
		       const struct crisp_create_args *a);
	/* A.  A new host meets an old container -> status (UNKNOWN: as its record says), pid,
	 * wait_status; -ENOENT.  sandbox_attach comes before those of the pod's containers.  With
	 * EXIT_BY_ENGINE its end is told from here on: by status STOPPED, or later by exited().
	 * NULL: the host goes by its record of the pid. */
	int (*attach)(struct crisp_instance *i, struct crisp_req *r,
		      const struct crisp_attach_args *a);
	/* A.  Connect to a TCP port on the sandbox's own loopback -> fd.  Asked when nobody answers in
	 * the netns, nor with SANDBOX_OWN at the pod's addresses.  The host passes no half close to it.
	 * -ENOSYS: there is no way after all. */
	int (*port_forward)(struct crisp_instance *i, struct crisp_req *r,
			    const struct crisp_port_args *a);
	/* S.  Give up an accepted operation: done() follows within 5 s, with -ECANCELED or with the
	 * end that it had reached.  After that the host answers in its place.  NULL: the host kills
	 * the programs that the operation has started (each ends with -ECANCELED). */
	void (*cancel)(struct crisp_instance *i, struct crisp_req *r);
	/* A.  id NULL: the instance.  -> data = JSON for a person to read. */
	int (*diagnose)(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *a);
};

/* What crisp_engine_v1() returns: constant, lives as long as the plugin is loaded. */
struct crisp_engine {
	uint32_t magic;			/* CRISP_ENGINE_MAGIC */
	uint32_t size;
	uint16_t major, minor;		/* CRISP_ENGINE_MAJOR, CRISP_ENGINE_MINOR */
	uint32_t flags;			/* 0 */
	uint64_t caps;			/* CRISP_CAP_*; probe() may narrow them */
	uint64_t requires;		/* CRISP_HOST_*: open() is not called without them */
	const char *name;		/* the plugin's, as its file is called */
	const char *version;		/* of the plugin */
	const struct crisp_ops *ops;
	/* Annotations of pods that have power over this engine, "run.oci.": dropped unless allowed.
	 * NULL-terminated. */
	const char *const *annotation_prefixes;
	/* {"path": "string", ...} for the operator; may be NULL */
	const char *options_schema_json;
};

/* The only exported symbol; build the rest with -fvisibility=hidden. */
__attribute__((visibility("default")))
const struct crisp_engine *crisp_engine_v1(void);

#ifdef __cplusplus
}
#endif

#endif

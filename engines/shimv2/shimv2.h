#pragma once
/*
 * Inside the engines shimv2 and kata: one body for both, told apart by a profile.  A shim is a
 * program of containerd's runtime v2: it runs the containers of a pod and serves the Task service
 * on a unix socket, over ttrpc.
 *
 *	shimv2.c	the ABI's table
 *	probe.c		does the shim work here, and what can it do?
 *	options.c	the handler's options
 *	spec.c		the last touch on a spec: what shims read in annotations
 *	start.c		`start` and `delete`, the two commands of a shim's program
 *	clean.c		what a dead shim has left
 *	link.c		ttrpc: a connection to a shim, the calls under way on it
 *	task.c		containers and sandboxes as the shims have them; what happens to a lost shim's
 *	life.c		operations that make and unmake tasks, and find them again
 *	ops.c		operations on a task that is there
 *	events.c	the socket on which shims tell what happens
 *	stats.c		metrics to JSON
 *	guest.c		what a host needs for virtual machines; images that they pull
 *	shim.c, kata.c	the profiles, each with the symbol of its plugin
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engines/engine.h"
#include "engines/share/json.h"
#include "engines/share/options.h"
#include "proto/shim.pb-c.h"

enum { SHIM_PATH_MAX = OPTION_PATH_MAX, SHIM_MSG_MAX = 400 };

#define SHIM_NAMESPACE "crisp"

struct shim_profile {
	const char *name;
	bool guest;		/* what the shim runs is a virtual machine */
	const char *const *programs;	/* as options_program() wants them */
};
extern const struct shim_profile shim_profile;	/* the plugin's own, in shim.c or kata.c */
extern const struct crisp_ops shim_ops;

#define SHIM_CAPS                                                                                  \
	(CRISP_CAP_EXIT_BY_ENGINE | CRISP_CAP_SANDBOX_OWN | CRISP_CAP_SANDBOX_NEEDS_ROOTFS |       \
	 CRISP_CAP_STDIO_FIFO | CRISP_CAP_TTY_ENGINE | CRISP_CAP_ROOTFS_MOUNTS |                   \
	 CRISP_CAP_NETNS_BY_PATH | CRISP_CAP_SHARED_PIDNS | CRISP_CAP_HOTPLUG_RESOURCES |          \
	 CRISP_CAP_SURVIVES_RESTART)
/* Of shims that run containers as processes of the host. */
#define SHIM_CAPS_HOST (CRISP_CAP_PID_IS_HOST | CRISP_CAP_STATS_HOST_CGROUP)

#define SHIM_OPTIONS                                                                               \
	"{\"path\":\"string: the shim's program; found in the usual folders\","                    \
	"\"binary_name\":\"string: the OCI runtime that a runc shim runs\","                       \
	"\"root\":\"string: where that one keeps its state\","                                     \
	"\"systemd_cgroup\":\"bool: cgroups through systemd\","                                    \
	"\"config_path\":\"string: configuration file of the runtime\","                           \
	"\"start\":\"string: auto, legacy or bootstrap: how the shim is started\","                \
	"\"guest_pull\":\"bool: kata: images are pulled by the guest\"}"

/* -- options.c -- */

#define START_AUTO "auto"
#define START_LEGACY "legacy"
#define START_BOOTSTRAP "bootstrap"

struct shim_options {
	char path[SHIM_PATH_MAX];	/* "": look for it */
	char binary_name[SHIM_PATH_MAX], root[SHIM_PATH_MAX], config_path[SHIM_PATH_MAX];
	bool systemd_cgroup, guest_pull;
	const char *start;	/* START_* */
};
/* 0 or -EINVAL with words. */
int shim_options_read(struct shim_options *o, const char *json, const char *state_dir, char *msg,
		      uint32_t cap);
/* The program, in found or o->path; NULL when it is nowhere. */
const char *shim_program(const struct shim_options *o, char found[SHIM_PATH_MAX]);
/* Its containers are processes of the host: it is a runc shim. */
bool shim_is_host(const char *program);
/* The Any of CreateTaskRequest, packed; NULL: none.  The caller frees. */
uint8_t *shim_options_any(const struct shim_options *o, const char *program, size_t *len);

/* -- guest.c -- */

/* Does this host have what virtual machines need?  -ENODEV: msg says what is missing. */
int guest_check(const struct shim_options *o, char msg[SHIM_MSG_MAX]);
/* The option of a rootfs that says: the guest pulls this image.  To be freed. */
char *guest_pull_option(const char *image_ref);

/* -- the instance -- */

struct crisp_instance {
	const struct crisp_host *host;
	struct shim_options options;
	struct link *links;
	struct task *tasks;
	struct act *acts;
	struct start *starts;
	struct clean *cleans;
	struct events *events;
	/* which start the program takes: for this file, as it was then */
	struct { uint64_t dev, ino, mtime_ns; bool legacy, known; } generation;
};

/* An operation under way. */
struct act {
	struct act *next;
	struct crisp_instance *inst;
	struct crisp_req *req;
	int64_t deadline_ns;
	char *id, *exec_id;	/* exec_id NULL: the container itself */
	uint32_t flags;
	struct task *task;
	struct act *next_waiting;	/* for the end of its task, or of a link */
	void (*then)(struct act *a);	/* what it waits to do */
	uint8_t *payload;	/* of the call to come */
	size_t payload_len;
};
struct act *act_new(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args);
void act_done(struct act *a, const struct crisp_result *r);
void act_end(struct act *a, int err, const char *msg);
void act_free(struct act *a);

/* -- link.c -- */

/*
 * code: 0, the reply is there; positive: a status of ttrpc (that is, of gRPC); negative: -errno
 * (-EHOSTDOWN: the connection is lost; -ETIMEDOUT).  msg is never NULL.
 */
struct reply {
	int code;
	const char *msg;
	const uint8_t *data;
	size_t len;
};
typedef void reply_cb(void *data, const struct reply *r);

struct link {
	struct link *next;
	struct crisp_instance *inst;
	char *address;
	int fd;			/* -1: lost */
	int version;		/* of the Task service */
	bool proven;		/* it has answered for this version */
	bool leaving;		/* it was told to shut down */
	bool stays;		/* and has answered, so far without doing so */
	unsigned tasks;		/* that live in it */
	struct crisp_watch *watch;
	struct crisp_timer *later;	/* tells the loss, or gives up waiting for it */
	uint32_t last_id;
	struct call *calls;
	struct act *leavers;	/* acts that wait for the loss */
	uint8_t *in, *out;
	size_t in_len, out_len, in_cap, out_cap;
};
/* The link to address, shared; NULL and errno when nobody listens. */
struct link *link_get(struct crisp_instance *i, const char *address, int version);
void link_free(struct link *l);		/* without a callback to anybody */
/* Call Task.METHOD.  deadline_ns 0: none.  cb comes once, never from inside, unless the link is
 * freed.  The payload is copied. */
void link_call(struct link *l, const char *method, const void *payload, size_t len, int64_t deadline_ns,
	       reply_cb *cb, void *data);
/* The same with a message that is to be packed. */
void link_send(struct link *l, const char *method, const ProtobufCMessage *m, int64_t deadline_ns,
	       reply_cb *cb, void *data);
/* Whoever asked with this data isn't there any more. */
void link_forget(struct link *l, const void *data);
/* No task is left in it: shut it down; a (may be NULL) goes on with then() when it has gone, or
 * after a while. */
void link_leave(struct link *l, const char *id, struct act *a);
/* -errno for the code of a reply. */
int reply_errno(const struct reply *r);

/* Frames, for both ends of a connection. */
enum { FRAME_HEAD = 10, FRAME_MAX = 4 << 20, FRAME_REQUEST = 1, FRAME_RESPONSE = 2 };
void frame_head(uint8_t head[FRAME_HEAD], uint32_t len, uint32_t stream, uint8_t type);
struct frame {
	uint32_t stream;
	uint8_t type;
	const uint8_t *data;
	uint32_t len;
};
/* The first frame in data: its whole length, 0 when more is needed, -EPROTO. */
int frame_parse(const uint8_t *data, size_t len, struct frame *f);
int unix_address(const char *address, void *sockaddr_un, unsigned *len);

/* -- start.c -- */

/* How a shim came up: address and version of the Task service; err with words otherwise. */
typedef void start_cb(void *data, int err, const char *msg, const char *address, int version);
/* Run `start` for id in bundle.  root: its mounts by fd are made for the shim's own namespace; may
 * be NULL.  cb comes once, never from inside. */
void shim_start(struct crisp_instance *i, const char *id, const char *bundle, const struct crisp_rootfs *root,
		int64_t deadline_ns, start_cb *cb, void *data);
/* Run `delete`: kills and unmakes what a shim that is no more has left.  A failure is logged. */
typedef void clean_cb(void *data);
void shim_delete(struct crisp_instance *i, const char *id, const char *bundle, clean_cb *cb, void *data);
void starts_free(struct crisp_instance *i);

/* -- clean.c -- */

/* A process of the host; start 0: none. */
struct process {
	int32_t pid;
	uint64_t start;
};
struct process process_of(int32_t pid);
/* Unmake what the dead shim of id has left; left is killed if it outlives that.  cb comes once, never
 * from inside. */
void clean_up(struct crisp_instance *i, const char *id, const char *bundle, struct process left, clean_cb *cb,
	      void *data);
void cleans_free(struct crisp_instance *i);

/* -- task.c -- */

enum task_state {
	TASK_CREATING,		/* Create is under way */
	TASK_LIVE,		/* Wait is under way */
	TASK_ENDED,		/* its exit is known; the shim still has it */
	TASK_LOST,		/* its shim is gone; `delete` is under way */
	TASK_GONE,		/* nothing is left of it */
};

struct task {
	struct task *next;
	struct crisp_instance *inst;
	char *id, *sandbox, *bundle;	/* sandbox: the pod; the same as id for the pod's own */
	struct link *link;		/* NULL when LOST or GONE */
	enum task_state state;
	struct process process;		/* on the host; a guest's containers all have the sandbox's */
	int wait_status;
	int64_t exited_at_ns;
	bool deleting;			/* its end is nothing to tell */
	bool fell;			/* LOST while it was LIVE, or a sandbox that has ended by itself */
	struct crisp_timer *gone;	/* tells that the sandbox is gone, at the latest */
	struct exec *execs;
	struct act *waiting;		/* for its end, or the end of its creation */
	int log_fd;			/* our end of the shim's log, -1: none */
	struct crisp_watch *log;
};
struct task *task_find(struct crisp_instance *i, const char *id);
struct task *task_new(struct crisp_instance *i, const char *id, const char *sandbox, const char *bundle);
void task_free(struct task *t);
bool task_is_sandbox(const struct task *t);
/* Put it on a link, or take it off. */
void task_join(struct task *t, struct link *l);
void task_part(struct task *t);
/* What a core to come has to know; the address is empty as long as the shim is not up. */
void task_save(struct task *t);
struct saved {
	char sandbox[256], bundle[SHIM_PATH_MAX], address[SHIM_PATH_MAX];
	int version;
	struct process process;
};
int task_saved(struct crisp_instance *i, const char *id, struct saved *s);
/* Its shim is dead, or of no use: unmake what it has left, then it is GONE. */
void task_fall(struct task *t);
/* Ask for its end: it is LIVE. */
void task_wait(struct task *t);
/* Kill all that is in it; its end is told by Wait. */
void task_kill(struct task *t);
/* A process beside the container's own has begun; forgets itself when it has ended. */
void exec_wait(struct task *t, const char *exec_id);
/* a->then() when the state changes. */
void task_await(struct task *t, struct act *a, void (*then)(struct act *a));
void task_wake(struct task *t);
/* The FIFO "log" that a shim opens in its bundle; what it says is logged.  fresh: make it. */
void task_open_log(struct task *t, bool fresh);
/* The link is lost: what has become of its tasks? */
void tasks_lost(struct crisp_instance *i, struct link *l);

int wait_status_of(uint32_t exit_status);
int64_t time_ns(const Shim__Timestamp *t);

/* -- life.c, ops.c, spec.c, probe.c, events.c, stats.c -- */

typedef int op_fn(struct crisp_instance *, struct crisp_req *, const struct crisp_args *);
op_fn life_delete, probe_run;
int life_sandbox_create(struct crisp_instance *, struct crisp_req *, const struct crisp_sandbox_create_args *);
int life_create(struct crisp_instance *, struct crisp_req *, const struct crisp_create_args *);
int life_attach(struct crisp_instance *, struct crisp_req *, const struct crisp_attach_args *);

op_fn ops_close_stdin, ops_stats, ops_pids, ops_pause, ops_resume;
int ops_start(struct crisp_instance *, struct crisp_req *, const struct crisp_start_args *);
int ops_kill(struct crisp_instance *, struct crisp_req *, const struct crisp_kill_args *);
int ops_exec(struct crisp_instance *, struct crisp_req *, const struct crisp_exec_args *);
int ops_resize(struct crisp_instance *, struct crisp_req *, const struct crisp_resize_args *);
int ops_update(struct crisp_instance *, struct crisp_req *, const struct crisp_update_args *);

int spec_prepare(struct crisp_instance *, struct crisp_req *, const struct crisp_spec_args *);

/* -errno with words.  The path is that of events_path(). */
int events_open(struct crisp_instance *i, char *msg, uint32_t cap);
void events_close(struct crisp_instance *i);
void events_path(const struct crisp_instance *i, char path[SHIM_PATH_MAX]);

/* JSON text of a StatsResponse, to be freed; NULL: not understood. */
char *stats_json(const struct reply *r);

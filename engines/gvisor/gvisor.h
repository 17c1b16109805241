#pragma once
/*
 * Inside the engine gvisor: pods in gVisor's sandboxes, through runsc.
 *
 *	sentry		the sandbox's process: the guest kernel of one pod, and all that runs in it
 *	gofer		a process for each container that serves its files to the sentry
 *	socket		the sentry's control socket; a file for newer runscs, for older ones an abstract
 *			name in the pod's network namespace, which only a program in there can reach
 *	release		the day a runsc was made (20221219), as its version says; 0: not told
 *
 *	gvisor.c	the ABI's table and the operations of sandboxes and containers
 *	exec.c		further processes
 *	signal.c	signals, statistics: what goes over the socket where there is one
 *	box.c		what is known of sandboxes and their containers; their ends
 *	runsc.c		command lines, and what they have to say
 *	files.c		what runsc keeps on disk
 *	urpc.c		the control socket
 *	spec.c		our touch on config.json
 *	options.c	the handler's options
 */
#include <stdbool.h>
#include <stdint.h>

#include "engines/engine.h"
#include "engines/share/json.h"
#include "engines/share/options.h"

enum { PATH_LEN = OPTION_PATH_MAX, MSG_LEN = 500, ID_LEN = 256, FLAGS_MAX = 32 };

/* -- options.c -- */

struct options {
	char path[PATH_LEN];		/* "": look for it */
	char root[PATH_LEN];
	const char *platform;		/* NULL: runsc's own choice */
	const char *network;		/* "sandbox", "host", "none" */
	const char *urpc;		/* "auto", "off" */
	char *flags[FLAGS_MAX + 1];	/* further ones, "--overlay2=none"; NULL-terminated */
	bool debug;
};

#define GVISOR_OPTIONS                                                                             \
	"{\"path\":\"string: the program; found in the usual folders\","                           \
	"\"root\":\"string: where it keeps its state\","                                           \
	"\"platform\":\"string: systrap, ptrace, kvm; runsc's own choice\","                       \
	"\"network\":\"string: sandbox (gVisor's own stack), host, none\","                        \
	"\"urpc\":\"string: auto (talk to the control socket where there is one) or off\","        \
	"\"flags\":\"array of strings: further flags of runsc, as --overlay2=none\","              \
	"\"debug\":\"bool: debug logs in the handler's state directory\"}"

/* 0 or -errno with words. */
int gvisor_options_read(struct options *o, const char *json, const char *state_dir, char *msg, uint32_t cap);
void gvisor_options_finish(struct options *o);
/* runsc, in found or o->path; NULL when it is nowhere. */
const char *gvisor_program(const struct options *o, char found[PATH_LEN]);

/* -- box.c -- */

struct crisp_instance {
	const struct crisp_host *host;
	struct options options;
	struct act *acts;
	struct box *boxes;
	unsigned n_files;
	unsigned release;
	bool caps_told;			/* that some are left out */
};

enum ctr_state { CTR_CREATED, CTR_RUNNING, CTR_EXITED };

/* A container; its end is awaited by one of wait, job, retry while it runs. */
struct ctr {
	struct ctr *next;
	struct box *box;
	enum ctr_state state;
	struct urpc *wait;
	struct crisp_job *job;
	struct crisp_timer *retry;
	char id[ID_LEN];
};

/* A further process of a container. */
struct proc {
	struct proc *next;
	int32_t guest_pid;
	char id[ID_LEN], exec_id[ID_LEN];
};

/* A sandbox. */
struct box {
	struct box *next;
	struct crisp_instance *inst;
	char id[ID_LEN];
	int32_t pid;
	int pidfd;
	uint64_t start;			/* of pid, as in /proc/PID/stat: which one it is */
	struct crisp_watch *watch;
	bool gone;
	char netns[PATH_LEN];		/* "": the host's */
	char network[16];
	char socket[PATH_LEN];		/* ""; not to be reached from here */
	struct ctr *ctrs;
	struct proc *procs;
};

struct box *box_find(struct crisp_instance *i, const char *id);
/* Takes pidfd and watches it.  netns may be NULL. */
struct box *box_new(struct crisp_instance *i, const char *id, int32_t pid, int pidfd, const char *netns,
		    const char *network);
/* As box_state had it; NULL: it is gone, or the text isn't ours. */
struct box *box_restore(struct crisp_instance *i, const char *id, const char *state, size_t len);
void box_state(const struct box *b, char *buf, size_t cap);
bool box_alive(struct box *b);
/* Kill it.  The ends of its containers are told, its own is not. */
void box_kill(struct box *b);
void box_free(struct box *b);
/* Of a sandbox that may be unknown here: the fd that an earlier core has kept. */
void box_drop_fd(struct crisp_instance *i, const char *id);

struct ctr *ctr_find(struct crisp_instance *i, const char *id);
struct ctr *ctr_new(struct box *b, const char *id);
/* It runs: its end will be told. */
void ctr_watch(struct ctr *c);
void ctr_exited(struct ctr *c, int32_t wait_status);
void ctr_free(struct ctr *c);

struct proc *proc_find(struct box *b, const char *id, const char *exec_id);
void proc_add(struct box *b, const char *id, const char *exec_id, int32_t guest_pid);
void proc_forget(struct box *b, const char *id, const char *exec_id);

/* -- runsc.c -- */

/* One operation under way. */
struct act {
	struct act *next;
	struct crisp_instance *inst;
	struct crisp_req *req;
	int64_t deadline_ns;
	uint32_t flags;
	char id[ID_LEN], exec_id[ID_LEN], box[ID_LEN];
	char files[PATH_LEN];		/* of its own: this and .log, .pid, .guest, .process */
	char msg[MSG_LEN];
	/* sandbox_create, between its two commands */
	char *netns;
	const char *network;
	int32_t pid;
	int pidfd;
	int32_t signo, guest_pid;	/* kill */
};

struct act *act_new(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args);
void act_free(struct act *a);
/* done(), and free it. */
void act_done(struct act *a, struct crisp_result *r);
void act_end(struct act *a, int err, const char *msg);

enum { RUNSC_ARGS_MAX = 24 + FLAGS_MAX };

/* A command line under construction.  Its files are the act's. */
struct command {
	struct crisp_instance *inst;
	struct act *act;		/* NULL: a wait */
	struct crisp_spawn_plan plan;
	const char *argv[RUNSC_ARGS_MAX];
	size_t n;
	struct crisp_spawn_fd fds[3];
	char program[PATH_LEN], log[PATH_LEN], pid_file[PATH_LEN], root[PATH_LEN + 16],
		debug[PATH_LEN + 16], platform[64], network[32];
};

/* box (may be NULL) says where it has to run. */
void command_init(struct command *c, struct crisp_instance *i, struct act *a, const struct box *b);
void command_arg(struct command *c, const char *word);
/* NULL: the act (if there is one) has been ended. */
struct crisp_job *command_run(struct command *c, crisp_spawn_cb *cb, void *data);
void command_want_pid(struct command *c);
void command_want_stdio(struct command *c, const struct crisp_stdio *s);
/* VERB ID; cb gets the act. */
int command_simple(struct crisp_instance *i, struct crisp_req *r, const void *args, const char *verb,
		   crisp_spawn_cb *cb);
/* 0 or an error class, with the words in a->msg. */
int runsc_judge(struct act *a, const struct crisp_spawn_result *r);
/* Does msg say that there is no such container, or that its process has ended? */
bool says_missing(const char *msg);
bool says_ended(const char *msg);

/* -- files.c -- */

/* The sandbox that a container's files name; "": it has none. */
void files_sandbox_of(struct crisp_instance *i, const char *ctr, char box[ID_LEN]);
/* runsc has deleted the container (or the sandbox, ctr == box): whatever it has left goes, and with a
 * sandbox that has ended what its other containers have left. */
void files_forget(struct crisp_instance *i, const char *ctr, const char *box);
/* Where the sandbox's control socket is.  False, and "": it has none that is a file. */
bool files_socket(struct crisp_instance *i, const char *box, char path[PATH_LEN]);

/* -- spec.c -- */

/* An OCI process without the capabilities that this runsc doesn't know, to be freed; NULL: it has none. */
char *gvisor_process_spec(struct crisp_instance *i, const char *process_json);

/* -- urpc.c -- */

/* err: 0, -EIO with the sentry's words, -EHOSTDOWN when the connection broke.  result is NULL
 * with an error. */
typedef void urpc_cb(void *data, int err, yajl_val result, const char *words);
/* arg is JSON; fd is sent along (none: -1).  cb comes once, never from inside, unless dropped.
 * NULL: the socket can't be reached. */
struct urpc *urpc_call(const struct crisp_host *h, const char *socket, const char *method,
		       const char *arg, int fd, urpc_cb *cb, void *data);
void urpc_drop(struct urpc *u);
/* Look for the answer at once; it may be gone afterwards. */
void urpc_look(struct urpc *u);

/* -- the slots of other files -- */

int gvisor_exec(struct crisp_instance *i, struct crisp_req *r, const struct crisp_exec_args *args);
int gvisor_exec_delete(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args);
int gvisor_kill(struct crisp_instance *i, struct crisp_req *r, const struct crisp_kill_args *args);
int gvisor_stats(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args);
int gvisor_port_forward(struct crisp_instance *i, struct crisp_req *r, const struct crisp_port_args *args);
int gvisor_prepare_spec(struct crisp_instance *i, struct crisp_req *r, const struct crisp_spec_args *args);

#pragma once
/*
 * Inside the fake engine.
 *
 *	fake.c		the ABI: options, script, one `act` for each operation
 *	script.c	what the options say must happen to an operation
 *	process.c	archetypes cli and serial: a container is a process of the host
 *	box.c		archetypes sandbox and tty: a pod is a crisp-fake of its own
 *	run.c		crisp-fake, the program behind both
 */
#include <stdbool.h>
#include <stdint.h>

#include "engines/engine.h"

enum fake_op {
	FAKE_PROBE,
	FAKE_SANDBOX_CREATE, FAKE_SANDBOX_STOP, FAKE_SANDBOX_DELETE, FAKE_SANDBOX_ATTACH,
	FAKE_CREATE, FAKE_START, FAKE_KILL, FAKE_DELETE, FAKE_EXEC, FAKE_EXEC_DELETE, FAKE_RESIZE,
	FAKE_CLOSE_STDIN, FAKE_UPDATE, FAKE_STATS, FAKE_PIDS, FAKE_PAUSE, FAKE_RESUME, FAKE_ATTACH,
	FAKE_OP_COUNT,
};
extern const char *const fake_op_names[FAKE_OP_COUNT];

enum { RULES_MAX = 64, TEXT_MAX = 160, ARGV_MAX = 64, ENV_MAX = 40 };

/* What happens to an operation. */
struct rule {
	int op;				/* enum fake_op */
	char id[TEXT_MAX];		/* "": any */
	unsigned skip, times;		/* leave as many alone, then as often; 0: for ever */
	unsigned delay_ms, block_ms;
	int code;			/* errno; 0: it works */
	bool refuse, hang, twice, lose, die, spent;
	char deadly[100];		/* a file that names ids; "": none */
	char msg[TEXT_MAX];
};

struct script {
	struct rule rules[RULES_MAX];
	unsigned n;
};

struct ctr {
	struct ctr *next;
	char *id, *exec_id, *sandbox, *cgroup;	/* exec_id NULL: a container */
	int pid, pidfd;			/* pidfd 0: unknown */
	bool started, ended;		/* ended: of a sandbox's, and told */
	struct crisp_instance *inst;
	struct crisp_watch *watch;	/* on pidfd; of a container, whose execs end with it */
};

struct box;

struct crisp_instance {
	const struct crisp_host *host;
	struct script script;
	char program[512];		/* crisp-fake */
	bool boxed, serial, tty;	/* archetype */
	bool mount;			/* have the rootfs mounted for create */
	bool has_exit;			/* containers end by themselves */
	int exit_code;
	unsigned exit_after_ms;
	struct ctr *ctrs;
	struct box *boxes;
	struct act *acts;
};

/* One operation under way: a copy of whatever its arguments were. */
struct act {
	struct act *next;
	struct crisp_instance *inst;
	struct crisp_req *req;
	enum fake_op op;
	struct rule rule;		/* all that applies, merged */
	char *id, *exec_id, *sandbox, *bundle, *cgroup;
	char *argv[ARGV_MAX + 1], *env[ENV_MAX + 1];	/* of create and exec */
	bool terminal;
	int in, out, err;		/* ours; 0: none */
	char *console_socket, *fifo_in, *fifo_out, *fifo_err;
	const struct crisp_rootfs *rootfs;	/* only while the operation's call lasts */
	uint32_t flags, width, height;
	int signo, pid;
	struct crisp_timer *timer;
	struct crisp_job *job;
	struct box *box;		/* asked, under this tag */
	unsigned tag;
};

/* script.c */
int script_read(struct crisp_instance *i, const char *options, char *msg, uint32_t msg_cap);
/* Merge the rules that apply to op now, and wear them out. */
struct rule script_apply(struct script *s, enum fake_op op, const char *id);
/* process.args of config.json in bundle (none: 0 all the same), or of process JSON; into argv, at
 * most ARGV_MAX; process.env without PATH into env. */
int args_of_bundle(const char *bundle, char **argv, char **env, bool *terminal);
int args_of_process(const char *json, char **argv, char **env, bool *terminal);

/* fake.c: the end of an act.  err < 0 with words, or a result. */
void act_done(struct act *a, const struct crisp_result *r);
void act_done_stats(struct act *a, int pid);
void act_fail(struct act *a, int err, const char *msg);
void act_ok(struct act *a);

struct ctr *ctr_find(struct crisp_instance *i, const char *id, const char *exec_id);
struct ctr *ctr_add(struct crisp_instance *i, const char *id, const char *exec_id,
		    const char *sandbox, int pid, int pidfd);
void ctr_remove(struct crisp_instance *i, struct ctr *c);
/* What crisp-fake runs for this container: argv, or what the options say; room is for WORDS_MAX. */
enum { WORDS_MAX = ARGV_MAX + ENV_MAX + 16 };
const char *const *act_words(struct act *a, const char **room, const char *const *before);

/* Where crisp-fake writes the pid of what it makes. */
void path_of_pid(const struct act *a, char *path, size_t cap);
void process_act(struct act *a);
void box_act(struct act *a);
void box_close(struct crisp_instance *i);

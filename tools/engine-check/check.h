#pragma once
/*
 * Inside engine-check.
 *
 *	main.c		the command line; runs each section in a process of its own, counts what they say
 *	fence.c		keeps the machine from harm
 *	report.c	what a section says
 *	file.c		the plugin's file and its tables, without running anything of it
 *	spy.c		stands between the core and the plugin, and sees which rule is broken
 *	bench.c		the core's plugs, loop and spawner; calls that are waited for; ends of processes
 *	spec.c		config.json
 *	io.c		the streams of a process
 *	bundle.c	pods, containers, execs: what they are made from, and making them
 *	left.c		what they have left behind
 *	life.c		sections with real containers, one after the other
 *	streams.c	section with their streams: input, floods, terminals
 *	crowd.c		sections with much at once, and with operations that are given up
 *	faults.c	sections where programs fail, or the instance is closed in the midst
 *	sandbox.c	section about sandboxes
 *	death.c		sections before and after the death of the host
 *	hostile.c	sections with nonsense
 *
 * A section runs in a child, so that a plugin that crashes ends that section alone, and that a host
 * can be killed and another one come after it.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/plug/plug.h"

struct pool;

/* From the command line. */
struct options {
	const char *plugin;		/* absolute path of NAME.so */
	const char *dir, *name;		/* its two halves */
	const char *json;		/* the handler's options */
	const char *rootfs;		/* absolute; NULL: no section with containers */
	const char *libexec;
	const char *home;		/* a folder of this run, which goes with it */
	const char *cgroup;		/* parent of the containers' cgroups */
	unsigned many;			/* creates at once */
};
extern struct options opt;

/* -- fence.c -- */

/* From here on, this process and its children can write to nothing of the host but the kernel's own file
 * systems, /run, /tmp, opt.home and opt.rootfs. */
int fence(struct err *e);
/* Back among the host's mounts, when nothing of the plugin runs any more. */
int unfence(struct err *e);

/* -- report.c -- */

/* One line of the report; returns good. */
bool check(bool good, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A remark that decides nothing. */
void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void report_to(int fd);

/* -- spy.c -- */

/* What an author promises; see THE RULES in engines/engine.h. */
enum rule {
	RULE_ANSWERS,
	RULE_RESULTS,
	RULE_QUICK,
	RULE_THREADS,
	RULE_FORKS,
	RULE_PROCESS,
	RULE_QUIET,
	RULE_CLOSED,
	RULE_FDS,
	RULE_COUNT,
};
void rule_broken(enum rule rule, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* One line for each rule, with what has broken it. */
void rules_report(const char *section);

/* The same engine, seen through the spy. */
const struct crisp_engine *spy_on(const struct crisp_engine *engine);
/* From here on stdout and stderr go to this file, and are watched. */
void spy_capture(int fd);
/* What becomes of a program that the plugin asks for: the nth from now on, and no other. */
enum fault { FAULT_NONE, FAULT_REFUSED, FAULT_MISSING, FAULT_KILLED, FAULT_LIES };
void spy_fault(enum fault fault, unsigned nth);
bool spy_fault_hit(void);
/* Structs from now on as a newer host would have them: larger, with things that nobody knows. */
void spy_be_newer(bool newer);
/* Operations that were accepted, in instances that are open, and not completed. */
unsigned spy_owed(void);
/* The same by name, as broken rules. */
void spy_blame_owed(void);

/* -- bench.c -- */

struct answer {
	int count;			/* becomes 1 */
	int ret;
	int32_t pid;
	uint32_t status, exit_source;
	int wait_status;
	char msg[400];
	char *data;			/* in the bench's pool, "" when there is none */
	size_t data_len;
};

/* How a process ended. */
struct end {
	struct end *next;
	char id[256], exec_id[64];	/* exec_id "": the container */
	int count;			/* how often it was told */
	int wait_status;
	bool known;			/* the status is: somebody could still ask for it */
};

struct bench {
	struct pool *pool;
	struct loop *loop;
	struct spawner *spawner;
	struct sandboxfs *fs;
	int template_ns;
	struct plug *plug;
	struct pool *plug_pool;
	unsigned gone;			/* sandboxes that have died by themselves */
	const char *section;		/* which one this is */
};
extern struct bench bench;

/* Everything of the core's that an engine needs; false when it can't be had, which is said. */
bool bench_open(void);
/* The loaded plugin, not yet looked at; NULL when it can't be loaded: e says why. */
const struct crisp_engine *bench_engine(struct err *e);
/* Plug it in; after bench_unplug() again.  The bench then has one plug more. */
void bench_plug(void);
/* Close all instances of the current plug; what they owe is waited for before. */
void bench_unplug(void);
/* The same at once, with operations under way: nobody will be answered. */
void bench_close_now(void);
/* Another handler of the engine, settled. */
struct plug_handler *bench_handler(const char *name, const char *options);
/* The loop runs until something stops it; false after ms. */
bool bench_run(uint64_t ms);
void bench_wait_ms(uint64_t ms);

struct plug_call *bench_begin(struct plug_handler *h, enum plug_op op, const void *args, uint64_t ms,
			      struct answer *a);
bool bench_await(struct answer *a);
struct answer bench_ask(struct plug_handler *h, enum plug_op op, const void *args);
/* With an id alone. */
struct answer bench_id(struct plug_handler *h, enum plug_op op, const char *id, uint32_t flags);

/* NULL when it isn't told within ms. */
struct end *bench_end(const char *id, const char *exec_id, uint64_t ms);
unsigned bench_ends(const char *id, const char *exec_id);
/* Watch a process that an attach has named. */
void bench_watch(const char *id, const char *exec_id, int32_t pid, int pidfd);

/* Open file descriptors, for rule_fds. */
struct fds {
	char *at[8192];
};
void fds_list(struct fds *f);
/* Breaks RULE_FDS for each that is in now and not in before. */
void fds_compare(const struct fds *before, const struct fds *now);

/* -- io.c -- */

struct console;

/* The streams of one process, in the form that the engine's bits ask for. */
struct io {
	struct crisp_stdio stdio;	/* what the engine is given */
	struct pool *pool;
	int in, out, err;		/* ours, non-blocking; 0: none.  Of a tty in and out, its master or FIFOs */
	int childs[3];			/* the process's, until the engine has them; 0: none */
	struct console *console;
};
/* name tells the FIFOs in dir apart. */
void io_open(struct plug_handler *h, struct io *io, const char *dir, const char *name, bool in, bool tty);
/* The engine has what it needs. */
void io_given(struct io *io);
/* Where the engine sends a tty's master: has it? */
bool io_console(struct io *io);
void io_close(struct io *io);
/* What comes on fd, until want is in it, its end, or ms. */
const char *io_read(const struct io *io, int fd, const char *want, uint64_t ms);
/* The same, counted and not kept. */
size_t io_drain(const struct io *io, int fd, uint64_t ms);
/* Write all of it while reading what comes back into got (pool's, room for len); how much that was. */
size_t io_echo(const struct io *io, const char *data, size_t len, char *got, uint64_t ms);
bool io_write(const struct io *io, const char *text);

/* -- bundle.c -- */

/* What a process is to be. */
struct shape {
	const char *sh;			/* for a shell to do */
	const char *const *args;	/* or these words */
	const char *env;		/* one variable more; NULL: none */
	const char *root;		/* for the spec; NULL: where the rootfs is */
	bool tty, in;
};

/* A pod: its network namespace where the engine has sandboxes. */
struct pod {
	const char *id, *netns;
	int netns_fd;
	int32_t pid;			/* of its sandbox; 0: there is none, or nobody says */
	int ret;			/* of its making, with words in msg */
	char msg[400];
};
/* One that fails can be told; pod_up() has it work. */
void pod_make(struct plug_handler *h, struct pod *p, const char *id);
bool pod_up(struct plug_handler *h, struct pod *p, const char *id);
void pod_down(struct plug_handler *h, struct pod *p);

/* A container in the making. */
struct ctr {
	const char *id, *pod;
	const char *bundle;
	struct crisp_rootfs root;
	const struct crisp_mount *mounts[2];
	struct crisp_mount overlay;
	const char *cgroup;
	int32_t pid;			/* as create has told it */
	struct io io;
};
/* A bundle with all that goes with it; the spec has had the engine's last touch. */
bool ctr_lay_as(struct plug_handler *h, struct ctr *c, const struct pod *p, const char *id, const struct shape *s);
bool ctr_lay(struct plug_handler *h, struct ctr *c, const struct pod *p, const char *id, const char *sh);
struct plug_call *ctr_begin(struct plug_handler *h, struct ctr *c, uint64_t ms, struct answer *a);
struct answer ctr_create(struct plug_handler *h, struct ctr *c);
struct crisp_start_args ctr_start_args(struct plug_handler *h, const struct ctr *c);
struct answer ctr_start(struct plug_handler *h, struct ctr *c);
/* All three. */
bool ctr_run_as(struct plug_handler *h, struct ctr *c, const struct pod *p, const char *id, const struct shape *s);
bool ctr_run(struct plug_handler *h, struct ctr *c, const struct pod *p, const char *id, const char *sh);
/* What it has said within ms, until it says want. */
const char *ctr_output(struct ctr *c, const char *want, uint64_t ms);
struct answer ctr_kill(struct plug_handler *h, const struct ctr *c, int signo);
void ctr_close(struct ctr *c);

/* A further process in one. */
struct exec {
	const char *id, *exec_id;
	const char *json;
	struct io io;
};
void exec_lay(struct plug_handler *h, struct exec *x, const struct ctr *c, const char *exec_id, const struct shape *s);
struct plug_call *exec_begin(struct plug_handler *h, struct exec *x, uint64_t ms, struct answer *a);
struct answer exec_run(struct plug_handler *h, struct exec *x);
/* Forget it: the engine too, where it remembers. */
void exec_close(struct plug_handler *h, struct exec *x);
/* Both streams' end: nothing more will be written to in. */
void end_input(struct plug_handler *h, struct io *io, const char *id, const char *exec_id);

/* -- spec.c -- */

/* DIR/config.json, with the engine's last touch; type is "sandbox" or "container". */
bool spec_write(struct plug_handler *h, const struct pod *p, const char *dir, const char *type, const char *id,
		const char *root, const char *cgroup, const struct shape *s);
const char *spec_facts(const struct pod *p, const char *type, const char *id);
const char *spec_process(const struct shape *s);

/* -- left.c -- */

/* From here on nothing may be left of a container with this id. */
void left_note(const char *id);
/* As the core does when it has cut an operation off: end what is in the container's cgroup. */
void left_kill(const struct ctr *c);
/* What containers of this run have left on the host: processes, mounts, files. */
void check_nothing_left(void);
void left_clean_up(void);

/* -- words and judgements that sections share; life.c -- */

enum { END_MS = 10000 };
#define LOOP "while :; do sleep 0.05; done"

/* ": WORDS" of an answer, or nothing. */
const char *colon(const struct answer *a);
/* A process that was killed by signo, as engines tell it that have no wait status. */
bool killed_by(const struct end *e, int signo);
bool exited_with(const struct end *e, int code);
/* How it ended, for the reader of a report. */
const char *end_words(const struct end *e);
/* By force, which has to work. */
void delete_all(struct plug_handler *h, struct ctr *c);
/* A section's handler, once the engine is ready; else NULL, and that is said. */
struct plug_handler *ready_handler(void);

/* -- sections -- */

void section_file(void);
void section_instances(void);
void section_life(void);
void section_processes(void);
void section_streams(void);
void section_terminals(void);
void section_many(void);
void section_cancels(void);
void section_faults(void);
void section_closed(void);
void section_sandbox(void);
void section_nonsense(void);
void section_newer(void);
/* In a row: containers of a host that is killed, and the host that comes after it. */
void section_before_death(void);
void section_after_death(void);

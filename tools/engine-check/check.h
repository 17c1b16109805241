#pragma once
/*
 * Inside engine-check.
 *
 *	main.c		the command line; runs each section in a process of its own, counts what they say
 *	report.c	what a section says
 *	file.c		the plugin's file and its tables, without running anything of it
 *	spy.c		stands between the core and the plugin, and sees which rule is broken
 *	bench.c		the core's plugs, loop and spawner; calls that are waited for; ends of processes
 *	bundle.c	rootfs, config.json, stdio: what a container is made from
 *	life.c		sections with real containers
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
};
extern struct options opt;

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
	char *at[1024];
};
void fds_list(struct fds *f);
/* Breaks RULE_FDS for each that is in now and not in before. */
void fds_compare(const struct fds *before, const struct fds *now);

/* -- bundle.c -- */

/* A container in the making. */
struct ctr {
	const char *id, *pod;
	const char *bundle;
	struct crisp_rootfs root;
	struct crisp_stdio stdio;
	const struct crisp_mount *mounts[2];
	struct crisp_mount overlay;
	const char *cgroup;
	int32_t pid;			/* as create has told it */
	int out;			/* ours, what it says comes here */
	int childs[2];			/* 0: none */
};

/* A pod: its network namespace where the engine has sandboxes. */
struct pod {
	const char *id, *netns;
	int netns_fd;
};
bool pod_up(struct plug_handler *h, struct pod *p, const char *id);
void pod_down(struct plug_handler *h, struct pod *p);

/* A bundle whose process runs sh in a shell, and what goes with it; the spec has had the engine's
 * last touch. */
bool ctr_lay(struct plug_handler *h, struct ctr *c, const struct pod *p, const char *id, const char *sh);
struct answer ctr_create(struct plug_handler *h, struct ctr *c);
struct answer ctr_start(struct plug_handler *h, struct ctr *c);
/* All three. */
bool ctr_run(struct plug_handler *h, struct ctr *c, const struct pod *p, const char *id, const char *sh);
/* What it has said within ms, until it says want. */
const char *ctr_output(struct ctr *c, const char *want, uint64_t ms);
struct answer ctr_exec(struct plug_handler *h, struct ctr *c, const char *exec_id, const char *args_json);
struct answer ctr_kill(struct plug_handler *h, const struct ctr *c, int signo);
void ctr_close(struct ctr *c);
/* What containers of this run have left on the host: processes, mounts. */
void check_nothing_left(void);
void bundle_clean_up(void);

/* -- sections -- */

void section_file(void);
void section_instances(void);
void section_life(void);
void section_processes(void);
void section_many(void);
void section_sandbox(void);
void section_nonsense(void);
void section_newer(void);
/* Three in a row: containers of a host that is killed, and the host that comes after it. */
void section_before_death(void);
void section_after_death(void);

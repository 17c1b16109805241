#pragma once
/*
 * The cgroup file systems of this host: v1, v2 or both at once (hybrid).
 *
 *	hierarchy	one mounted cgroup tree; v2 has one, v1 one for each group of controllers
 *	path		a cgroup, the same in each hierarchy: "/kubepods/pod1/4f..."
 *	leaf		the container's cgroup, made by the engine
 *	parents		all above the leaf; the missing ones are made here
 *	made		text for the record that says which parents are ours
 *	home		the cgroup that the core was started in
 *	helpers		<parent>/helpers: the cgroup of the core, and so of the programs that it runs
 *	driver		who makes cgroups: cgroupfs, that is the engine and this folder, or systemd, by
 *			order of the engine (core/cgroup/slice.h).  systemd wants nobody else to make any
 *			but below what it has delegated, so the helpers are in <home>/helpers then
 *
 * Only cgroupfs is touched, which answers from memory: all of this may be called in the loop,
 * unless it says that it waits.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

struct buf;
struct cgroups;
struct pool;

/* parent, from the configuration: "/crisp" for cgroupfs, "crisp.slice" for systemd.  Makes the
 * helpers' cgroup, and the parent but for systemd.
 * -ENOENT: no cgroup file system is mounted.  -ENOTSUP: the host is not one for systemd's driver. */
int cgroups_open(struct pool *p, const char *parent, struct cgroups **out, struct err *e);
bool cgroups_v2(const struct cgroups *cg);	/* v2 alone, no v1 controllers */
bool cgroups_systemd(const struct cgroups *cg);	/* the driver */
const char *cgroups_parent(const struct cgroups *cg);	/* its path */
/* At start: SIGKILL the programs that a dead core has left and wait until they are gone, at
 * most wait_ms.  Waits.  -ETIMEDOUT names a pid that does not die. */
int cgroups_kill_helpers(struct cgroups *cg, int wait_ms, struct err *e);
/* Then: enter the helpers' cgroup; what the core starts is born in it.  It is in one hierarchy,
 * that every engine moves its containers out of. */
int cgroups_enter_helpers(struct cgroups *cg, struct err *e);
/* Go home again: before this process becomes a keeper, which no new core may kill. */
void cgroups_exit_helpers(struct cgroups *cg);
/* fds of the files that take a process home, for spawner_new(); they live as long as cg. */
const int *cgroups_home_procs(const struct cgroups *cg, size_t *n);
/* At the end: go home, kill what the core has left running, remove the helpers' cgroup and parent,
 * if they are empty.  Waits, at most a second. */
void cgroups_leave(struct cgroups *cg);

/*
 * Make what is missing above the leaf `path` in every hierarchy (v1 cpusets get their parent's
 * cpus, v2 ones the controllers).  *made (in p) tells for the record what is ours, NULL if
 * nothing is; parents that an earlier call has made for another leaf are in it, too.
 * On error what this call made is gone again.
 * Slices are not made: systemd does it with the first scope.  Missing ones are ours all the same.
 */
int cgroup_make_parents(struct cgroups *cg, struct pool *p, const char *path, const char **made,
			struct err *e);
/* What that would say, before anything is made: for the record of who may die in between. */
int cgroup_plan_parents(struct cgroups *cg, struct pool *p, const char *path, const char **made,
			struct err *e);
/* At start, for each record: these are still ours. */
void cgroup_adopt_made(struct cgroups *cg, const char *path, const char *made);
/* Remove the leaf with all below it, then those parents that `made` (may be NULL) says are ours
 * and that are empty now; slices are for slices_stop().  Missing ones are fine.  -EBUSY: there are processes in the leaf. */
int cgroup_remove_made(struct cgroups *cg, const char *path, const char *made, struct err *e);

bool cgroup_exists(struct cgroups *cg, const char *path);	/* in some hierarchy */
/* No living process in it or below it, in any hierarchy; a missing cgroup is empty. */
bool cgroup_empty(struct cgroups *cg, const char *path);
/* Signal every process in it and below it; with SIGKILL also frozen ones, and ones that fork
 * meanwhile.  Does not wait.  The number of processes found or -errno. */
int cgroup_kill(struct cgroups *cg, const char *path, int signo);
/* Pids in it and below it; at most max are stored, the number of all is returned. */
size_t cgroup_pids(struct cgroups *cg, const char *path, int *pids, size_t max);
/* How many processes are in it and below it: read in one hierarchy, that of controller. */
size_t cgroup_processes(struct cgroups *cg, const char *controller, const char *path);

/* Processes that the kernel has killed in it for lack of memory.  -ENOENT: it is gone, or has
 * no memory controller. */
int cgroup_oom_kills(struct cgroups *cg, const char *path, uint64_t *n);

/*
 * The cgroup that holds the limits and processes of that leaf, written to buf or path itself: an engine
 * may make one below a scope, "container", and set its limits there.
 */
enum { CGROUP_PATH_MAX = 4096 };
const char *cgroup_inner(struct cgroups *cg, const char *path, char buf[CGROUP_PATH_MAX]);

/* What holds now, read back.  A field that could not be read is unset (-1 or ""). */
struct cgroup_limits {
	int64_t cpu_shares;		/* v2: from cpu.weight by the old linear rule */
	int64_t cpu_period, cpu_quota;	/* us; a quota of -1 is also "no limit" */
	int64_t memory, memory_swap;	/* bytes; 0: no limit; swap as in OCI: memory + swap */
	int64_t pids;			/* 0: no limit */
	char cpus[128], mems[64];
};
int cgroup_read_limits(struct cgroups *cg, const char *path, struct cgroup_limits *out);

/* Limits that a cgroup shall have. */
struct cgroup_wish {
	int64_t cpu_shares;		/* 0: as they are */
	int64_t cpu_quota;		/* us in 100 ms; 0: no limit */
	int64_t memory;			/* bytes; 0: no limit */
	int64_t memory_swap;		/* memory + swap; 0: no limit, -1: as it is (swap is not accounted) */
	const char *cpus, *mems;	/* "": those of its parent; NULL: as they are */
};
enum { CGROUP_WRITES_MAX = 16 };
/* What is to be written: file, value, file, value... to out (at least CGROUP_WRITES_MAX); how many of
 * both.  Whoever writes may have to wait, and tries again what fails at first. */
size_t cgroup_limit_writes(struct cgroups *cg, struct pool *p, const char *path, const struct cgroup_wish *l,
			   const char **out);

/* Append one of its files, 8 KiB at most.  controller: "memory", "cpu", ...: picks the hierarchy;
 * NULL: v2. -ENOENT when the hierarchy, the cgroup or the file is not there. */
int cgroup_read(struct cgroups *cg, const char *controller, const char *path, const char *file,
		struct buf *out);
/* The directory of a cgroup as a child of this process can open it, whatever is mounted where; in p. */
char *cgroup_dir(struct cgroups *cg, struct pool *p, const char *controller, const char *path);
/* The number after key in a file of "key number" lines; false if there is none. */
bool cgroup_field(const struct buf *text, const char *key, uint64_t *out);
/* The number at the start of such a file; "max" is UINT64_MAX. */
bool cgroup_number(const struct buf *text, uint64_t *out);
/* The hierarchy of that controller is v2 (so its files have the v2 names). */
bool cgroup_controller_v2(const struct cgroups *cg, const char *controller);

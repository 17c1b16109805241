#pragma once
/*
 * Short-lived programs, run asynchronously.
 *
 * A spawn_plan says everything about the child; spawn_start() copies what it needs.  The
 * child is vforked and exec'd at once: no code of ours runs in a copy of the core.  What
 * needs more than a plan can say (namespaces, mounts) is a job for crisp-work, which is
 * itself started by a plan.
 *
 * At most `limit` programs run at once, the rest wait in order; one that runs for more than two
 * seconds is not counted any more (it waits for something), so that programs which hang don't hold
 * up the others.  timeout_ms counts from the real start; deadline_ns is for who is asked for an
 * answer by then, and comes to one that waits for its turn as well.  At either, on spawn_cancel()
 * and when the pool dies the child's whole process group gets SIGKILL.  The callback comes exactly
 * once, never from inside spawn_start(), and not at all after the pool is gone.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/buf.h"
#include "core/base/err.h"

struct loop;
struct pool;
struct spawner;
struct spawn;

/*
 * SIGCHLD is blocked from here on, and waited for by nobody else.
 *
 * home_procs: fds of the cgroup.procs files (one a hierarchy) that a child moves to which must not
 * end with the core; borrowed for the spawner's life.  All others are born in the core's own
 * cgroup and stay there: a move takes a grace period of RCU, milliseconds in which the core would
 * wait for the child's exec.
 */
struct spawner *spawner_new(struct loop *l, struct pool *p, unsigned limit, const int *home_procs,
			    size_t n_home_procs);

enum { SPAWN_FDS_MAX = 64 };

struct spawn_fd {
	int fd;		/* borrowed; closed in neither process by us */
	int target;	/* its number in the child, 0..63; targets are distinct */
};

struct spawn_plan {
	int exe_fd;			/* >= 0: execute this open file (a sealed memfd); else path */
	const char *path;		/* absolute */
	const char *const *argv;	/* NULL-terminated */
	const char *const *envp;	/* NULL-terminated; NULL: PATH alone */
	const char *cwd;		/* NULL: "/" */
	const struct spawn_fd *fds;	/* beyond these the child has 0 (/dev/null) and 1, 2 (captured,
					   or /dev/null where the capture limit is 0) */
	size_t n_fds;
	const void *input;		/* stdin, copied; NULL: /dev/null */
	size_t input_len;
	size_t out_max, err_max;	/* bytes captured of 1 and 2; the rest is read and dropped */
	bool leave_cgroup;		/* to home_procs: what it leaves running outlives the core, it doesn't */
	bool uncounted;			/* outside the limit: it lives long and mostly waits (a pull); the
					   caller bounds how many there are */
	bool names_child;		/* it may tell of a process that becomes a child of ours: no
					   unknown zombie is reaped until the caller has heard it */
	int oom_score_adj;		/* as in proc(5); -1001: 0 (a helper is killed before the core) */
	uint64_t timeout_ms;		/* to run; 0: any */
	int64_t deadline_ns;		/* CLOCK_MONOTONIC; 0: none */
};
#define SPAWN_PLAN_INIT { .exe_fd = -1, .oom_score_adj = -1001 }

enum { SPAWN_NAMED_NOBODY = -1 };

struct spawn_result {
	int wait_status;	/* as of waitpid(2), when ran */
	bool ran;		/* false: it was not started, see err */
	bool timed_out;
	bool cancelled;
	struct buf out, err_out;	/* captured; valid during the callback */
	pid_t named;		/* with names_child the callback may say: of no other pid was told than this,
				   or of none */
	struct err err;		/* set when !ran, timed_out or cancelled */
};

typedef void spawn_cb(void *data, struct spawn_result *r);

/* Never fails at once: a plan that can't be run is reported through the callback.  The handle
 * lives until the callback has returned. */
struct spawn *spawn_start(struct spawner *s, struct pool *p, const struct spawn_plan *plan,
			  spawn_cb *cb, void *data);
/* Kill it; the callback still comes, with cancelled set. */
void spawn_cancel(struct spawn *sp);
pid_t spawn_pid(const struct spawn *sp);	/* 0 while it waits for its turn */

unsigned spawner_running(const struct spawner *s);
unsigned spawner_waiting(const struct spawner *s);

/* 0 if the program ran and exited with 0; else -ETIMEDOUT, -ECANCELED, -EIO (it failed; the
 * last line of its stderr is in the message) or what kept it from starting. */
int spawn_check(const struct spawn_result *r, const char *what, struct err *e);

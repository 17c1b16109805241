#pragma once
/*
 * The one event loop, over libev.
 *
 *	watcher   loop_io, loop_edge, loop_timer: memory of the caller, stopped with their pool
 *	child     a process of ours (or adopted by us as subreaper), watched by pidfd
 *	defer     a callback at the end of this loop pass
 *	lag       how long one pass keeps the loop from its next poll
 *
 * All callbacks run on the loop's thread.  A callback may stop or restart its own watcher.
 * To destroy the pool that a running callback lives in, use loop_destroy_later().
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/pool.h"

struct loop;

struct loop *loop_new(struct pool *p);	/* aborts when the kernel has no epoll for us */
void loop_run(struct loop *l);	/* until loop_stop(); may be run again */
void loop_stop(struct loop *l);
bool loop_stopping(const struct loop *l);

enum { LOOP_READ = 1, LOOP_WRITE = 2 };

struct loop_io {
	struct pool_res res;
	struct loop *loop;
	void (*cb)(struct loop_io *io, int events);
	void *data;	/* the caller's */
	int fd, events;
	_Alignas(8) char ev[48];	/* struct ev_io */
};

/* Watch fd (borrowed) for events.  Errors and hang-ups count as all the events asked for. */
void loop_io_start(struct loop_io *io, struct loop *l, struct pool *p, int fd, int events,
		   void (*cb)(struct loop_io *io, int events), void *data);
void loop_io_set(struct loop_io *io, int events);	/* 0 pauses */
/* Before the fd is closed.  May be repeated, also before start. */
void loop_io_stop(struct loop_io *io);

/*
 * A readable fd by edge: cb is called after each change, not for as long as there is something
 * to read, so bytes may be left where they are.  hangup: nobody can write any more.
 */
struct loop_edge {
	struct pool_res res;
	struct loop *loop;
	void (*cb)(struct loop_edge *e, bool hangup);
	void *data;
	int fd;
};

/* fd is borrowed.  -errno when it can't be watched (-EPERM: a plain file). */
int loop_edge_start(struct loop_edge *e, struct loop *l, struct pool *p, int fd,
		    void (*cb)(struct loop_edge *e, bool hangup), void *data);
/* If it is readable or hung up now, call cb in the next pass. */
void loop_edge_again(struct loop_edge *e);
void loop_edge_stop(struct loop_edge *e);	/* may be repeated, also before start */

struct loop_timer {
	struct pool_res res;
	struct loop *loop;
	void (*cb)(struct loop_timer *t);
	void *data;
	_Alignas(8) char ev[48];	/* struct ev_timer */
};

/* Fire once after ms, then each repeat_ms when that is not 0. */
void loop_timer_start(struct loop_timer *t, struct loop *l, struct pool *p, uint64_t ms,
		      uint64_t repeat_ms, void (*cb)(struct loop_timer *t), void *data);
void loop_timer_stop(struct loop_timer *t);	/* may be repeated, also before start */

struct loop_signal {
	struct pool_res res;
	struct loop *loop;
	void (*cb)(struct loop_signal *s, int signo);
	void *data;
	_Alignas(8) char ev[48];	/* struct ev_signal */
};
void loop_signal_start(struct loop_signal *s, struct loop *l, struct pool *p, int signo,
		       void (*cb)(struct loop_signal *s, int signo), void *data);

struct loop_defer {
	struct list link;	/* zero-initialised or list_init()ed before the first use */
	void (*cb)(struct loop_defer *d);
	void *data;
};
/* Call cb at the end of this pass, before the next poll.  A second call before then is one call. */
void loop_defer(struct loop *l, struct loop_defer *d, void (*cb)(struct loop_defer *d), void *data);
void loop_defer_cancel(struct loop_defer *d);	/* may be repeated */

/* Destroy p at the end of this pass.  May be repeated, and p's parent may go first. */
void loop_destroy_later(struct loop *l, struct pool *p);

/*
 * A process, by pidfd.  At exit cb gets called with the zombie still there: look at what
 * vanishes with it (records, cgroup), then call loop_child_reap().  For a process that is no
 * child of ours (its parent is the keeper) cb is called too, and reap says -ECHILD.
 */
struct loop_child {
	struct loop_io io;
	struct list link;	/* among the loop's children */
	pid_t pid;
	int pidfd;	/* owned: closed with the pool or by loop_child_stop */
	void (*cb)(struct loop_child *c);
	void *data;
};
/* Takes pidfd. */
void loop_child_start(struct loop_child *c, struct loop *l, struct pool *p, pid_t pid, int pidfd,
		      void (*cb)(struct loop_child *c), void *data);
/* Peek at (reap = false) or take (reap = true) the wait status as of waitpid(2).
 * 0, -ECHILD (not ours, or somebody reaped it), -EAGAIN (still running). */
int loop_child_status(struct loop_child *c, bool reap, int *wait_status);
void loop_child_stop(struct loop_child *c);	/* forget it, running or not; may be repeated */

/* Is some loop_child watching this pid? */
bool loop_knows_child(const struct loop *l, pid_t pid);

int pidfd_open_pid(pid_t pid);	/* fd (cloexec) or -errno */
/* The wait status of a process that somebody else has reaped (Linux >= 6.15): 0, -ESRCH while it
 * is not known, or what the kernel said. */
int pidfd_exit_status(int pidfd, int *wait_status);
/* Start time of a process in clock ticks since boot: with the pid it names one process for good.
 * 0 when there is none. */
uint64_t pid_start_time(pid_t pid);
pid_t pidfd_pid(int pidfd);	/* -1 once it is gone */
int pidfd_signal(int pidfd, int signo);	/* 0 or -errno; -ESRCH once it is gone */

/* Loop lag: time spent in the callbacks of one pass.  Percentile q in 0..1, in microseconds,
 * over all passes since the last loop_lag_reset(). */
uint64_t loop_lag_us(const struct loop *l, double q);
uint64_t loop_passes(const struct loop *l);
void loop_lag_reset(struct loop *l);

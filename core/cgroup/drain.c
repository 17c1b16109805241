/*
 * Emptying a cgroup, see the header.
 *
 *	kill all -> watch at most WATCHED of them by pidfd -> all of those gone -> kill all ...
 *
 * until nobody is listed any more: on v1 the kernel tells nothing when a cgroup empties.
 */
#include "core/cgroup/drain.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/pool.h"
#include "core/cgroup/cgroup.h"
#include "core/loop/loop.h"

enum { WATCHED = 32 };

struct watched {
	struct cgroup_drain *drain;
	struct loop_io io;
	int pid, pidfd;
};

struct cgroup_drain {
	struct pool_res res;
	struct pool *pool;
	struct cgroups *cg;
	struct loop *loop;
	const char *path;
	struct watched all[WATCHED];
	unsigned waiting;
	struct loop_timer deadline;
	struct loop_defer step;
	void (*cb)(void *data, int ret, const struct err *e);
	void *data;
};

static void release(struct pool_res *r)
{
	struct cgroup_drain *d = container_of(r, struct cgroup_drain, res);
	loop_defer_cancel(&d->step);
	for (int i = 0; i < WATCHED; i++)
		if (d->all[i].pidfd >= 0)
			close(d->all[i].pidfd);
}

static void finish(struct cgroup_drain *d, int ret, const struct err *e)
{
	void (*cb)(void *, int, const struct err *) = d->cb;
	void *data = d->data;
	loop_timer_stop(&d->deadline);
	loop_defer_cancel(&d->step);
	for (int i = 0; i < WATCHED; i++)
		loop_io_stop(&d->all[i].io);
	loop_destroy_later(d->loop, d->pool);
	cb(data, ret, e);
}

static void handle_step(struct loop_defer *defer);

static void handle_gone(struct loop_io *io, int events)
{
	struct watched *w = io->data;
	struct cgroup_drain *d = w->drain;
	loop_io_stop(io);
	close(w->pidfd);
	w->pidfd = -1;
	if (!--d->waiting)
		loop_defer(d->loop, &d->step, handle_step, d);
}

static int watch(struct cgroup_drain *d, int pid)
{
	struct watched *w = &d->all[d->waiting];
	w->pidfd = pidfd_open_pid(pid);
	if (w->pidfd < 0)
		return w->pidfd == -ESRCH ? 0 : w->pidfd;
	w->pid = pid;
	loop_io_start(&w->io, d->loop, d->pool, w->pidfd, LOOP_READ, handle_gone, w);
	d->waiting++;
	return 0;
}

static void handle_step(struct loop_defer *defer)
{
	struct cgroup_drain *d = defer->data;
	int pids[WATCHED], ret = 0;
	struct err e = { 0 };
	while (ret == 0 && !d->waiting) {
		cgroup_kill(d->cg, d->path, SIGKILL);
		size_t n = cgroup_pids(d->cg, d->path, pids, WATCHED);
		if (!n) {
			finish(d, 0, &e);
			return;
		}
		for (size_t i = 0; i < n && i < WATCHED && ret == 0; i++)
			ret = watch(d, pids[i]);
	}
	if (ret < 0 && !d->waiting) {
		err_set(&e, -ret, "empty cgroup %s: watch a process: %s", d->path, strerror(-ret));
		finish(d, ret, &e);
	}
}

/* "pid 12 (dd) in nfs_wait_bit_killable" */
static void describe(char *to, size_t size, int pid)
{
	char name[64];
	struct buf comm = { 0 }, wchan = { 0 };
	snprintf(name, sizeof(name), "/proc/%d/comm", pid);
	file_read(AT_FDCWD, name, 4096, &comm, NULL);
	snprintf(name, sizeof(name), "/proc/%d/wchan", pid);
	file_read(AT_FDCWD, name, 4096, &wchan, NULL);
	snprintf(to, size, "pid %d (%.*s) in %s", pid, comm.len ? (int)strcspn(comm.data, "\n") : 1,
		 comm.len ? comm.data : "?", wchan.len ? wchan.data : "?");
	buf_free(&comm);
	buf_free(&wchan);
}

static void handle_deadline(struct loop_timer *t)
{
	struct cgroup_drain *d = t->data;
	struct err e = { 0 };
	char who[256] = "";
	for (int i = 0; i < WATCHED && !*who; i++)
		if (d->all[i].pidfd >= 0)
			describe(who, sizeof(who), d->all[i].pid);
	err_set(&e, ETIMEDOUT, "cgroup %s is not empty: %s does not die", d->path, who);
	finish(d, -ETIMEDOUT, &e);
}

struct cgroup_drain *cgroup_drain_start(struct cgroups *cg, struct loop *l, struct pool *p,
					const char *path, uint64_t timeout_ms,
					void (*cb)(void *data, int ret, const struct err *e),
					void *data)
{
	struct pool *own = pool_new(p, "cgroup drain");
	struct cgroup_drain *d = pool_new_struct(own, struct cgroup_drain);
	d->pool = own;
	d->cg = cg;
	d->loop = l;
	d->path = pool_strdup(own, path);
	d->cb = cb;
	d->data = data;
	for (int i = 0; i < WATCHED; i++)
		d->all[i] = (struct watched){ .drain = d, .pidfd = -1 };
	pool_res_add(own, &d->res, release);
	loop_timer_start(&d->deadline, l, own, timeout_ms, 0, handle_deadline, d);
	loop_defer(l, &d->step, handle_step, d);
	return d;
}

void cgroup_drain_cancel(struct cgroup_drain *d)
{
	if (d)
		pool_destroy(d->pool);
}

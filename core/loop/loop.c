/*
 * The event loop over libev, see the header.  Made with ev_loop_new: the default loop would
 * reap every child behind our back.  Lag is kept as a histogram of powers of 2^(1/4) us.
 */
#include "core/loop/loop.h"

#include <assert.h>
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/log.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

enum { LAG_BUCKETS = 128, SLOW_PASS_MS = 50, EDGES_A_PASS = 64 };

struct doomed { /* lives in the pool itself: whoever destroys it first takes the entry along */
	struct pool_res res;
	struct list link;
	struct pool *pool;
};

struct loop {
	struct pool_res res;
	struct ev_loop *ev;
	int ev_fd;		/* libev's epoll; -1: not known */
	uint8_t *watches;	/* of each fd, how many there are */
	size_t n_watches;
	ev_prepare prepare;
	ev_check check;
	int edge_fd;		/* an epoll of its own, watched by libev, which knows no edges */
	ev_io edge_io;
	struct list deferred;
	struct list doomed;
	struct list children;
	int64_t woke_ns;
	uint64_t passes, lag[LAG_BUCKETS];
	bool stopping;
};

_Static_assert(sizeof(ev_io) <= sizeof(((struct loop_io *)0)->ev), "ev_io");
_Static_assert(sizeof(ev_timer) <= sizeof(((struct loop_timer *)0)->ev), "ev_timer");
_Static_assert(sizeof(ev_signal) <= sizeof(((struct loop_signal *)0)->ev), "ev_signal");

static void handle_edges(struct ev_loop *ev, ev_io *w, int revents);

/* -- a pass -- */

static void run_deferred(struct loop *l)
{
	for (;;) {
		struct list *at;
		while ((at = list_pop(&l->deferred))) {
			struct loop_defer *d = container_of(at, struct loop_defer, link);
			d->cb(d);
		}
		at = list_pop(&l->doomed);
		if (!at)
			return;
		pool_destroy(container_of(at, struct doomed, link)->pool);
	}
}

/* Four buckets each time the lag doubles. */
static int lag_bucket(uint64_t us)
{
	if (us < 4)
		return (int)us;
	int doubled = 61 - __builtin_clzll(us);	/* how often, since 4 */
	return 4 * doubled + (int)(us >> doubled);
}

static uint64_t lag_least(int bucket)
{
	return bucket < 4 ? (uint64_t)bucket : (uint64_t)(4 + bucket % 4) << (bucket / 4 - 1);
}

static void note_lag(struct loop *l)
{
	if (!l->woke_ns)
		return;
	int64_t us = (clock_mono_ns() - l->woke_ns) / 1000;
	l->woke_ns = 0;
	int bucket = lag_bucket((uint64_t)us);
	l->lag[bucket < LAG_BUCKETS ? bucket : LAG_BUCKETS - 1]++;
	l->passes++;
	if (us > SLOW_PASS_MS * 1000)
		log_warn("the loop was held up", "ms", log_num(us / 1000));
}

static void handle_prepare(struct ev_loop *ev, ev_prepare *w, int revents)
{
	(void)ev, (void)revents;
	struct loop *l = w->data;
	run_deferred(l);
	note_lag(l);
	if (l->stopping)
		ev_break(l->ev, EVBREAK_ALL);
}

static void handle_check(struct ev_loop *ev, ev_check *w, int revents)
{
	(void)ev, (void)revents;
	struct loop *l = w->data;
	l->woke_ns = clock_mono_ns();
}

static void release_loop(struct pool_res *r)
{
	struct loop *l = container_of(r, struct loop, res);
	run_deferred(l);
	ev_loop_destroy(l->ev);
	close(l->edge_fd);
	free(l->watches);
}

/* libev makes its epoll before anything else, so it has the lowest number that is free. */
static struct ev_loop *new_ev_loop(int other, int *ev_fd)
{
	int next = epoll_create1(EPOLL_CLOEXEC);
	close(next);
	struct ev_loop *ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV | EVFLAG_NOSIGMASK);
	/* An epoll says that it does not hold the other one; another kind of file says EINVAL. */
	bool found = ev && epoll_ctl(next, EPOLL_CTL_DEL, other, NULL) < 0 && errno == ENOENT;
	*ev_fd = found ? next : -1;
	return ev;
}

struct loop *loop_new(struct pool *p)
{
	struct loop *l = pool_new_struct(p, struct loop);
	l->edge_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->edge_fd < 0)
		abort();
	l->ev = new_ev_loop(l->edge_fd, &l->ev_fd);
	if (!l->ev)
		abort();
	list_init(&l->deferred);
	list_init(&l->doomed);
	list_init(&l->children);
	ev_prepare_init(&l->prepare, handle_prepare);
	ev_check_init(&l->check, handle_check);
	ev_set_priority(&l->check, EV_MAXPRI);
	l->prepare.data = l->check.data = l;
	ev_prepare_start(l->ev, &l->prepare);
	ev_check_start(l->ev, &l->check);
	ev_unref(l->ev);
	ev_unref(l->ev);
	ev_io_init(&l->edge_io, handle_edges, l->edge_fd, EV_READ);
	l->edge_io.data = l;
	ev_io_start(l->ev, &l->edge_io);
	ev_unref(l->ev);
	pool_res_add(p, &l->res, release_loop);
	return l;
}

void loop_run(struct loop *l)
{
	/* A loop with nothing to watch still waits: it is stopped, it never just ends. */
	ev_ref(l->ev);
	ev_run(l->ev, 0);
	ev_unref(l->ev);
	run_deferred(l);
	l->stopping = false;
}

void loop_stop(struct loop *l)
{
	l->stopping = true;
}

bool loop_stopping(const struct loop *l)
{
	return l->stopping;
}

/* -- watchers -- */

static void handle_io(struct ev_loop *ev, ev_io *w, int revents)
{
	(void)ev;
	struct loop_io *io = w->data;
	io->cb(io, (revents & EV_READ ? LOOP_READ : 0) | (revents & EV_WRITE ? LOOP_WRITE : 0));
}

static void release_io(struct pool_res *r)
{
	loop_io_stop(container_of(r, struct loop_io, res));
}

static int ev_events(int events)
{
	return (events & LOOP_READ ? EV_READ : 0) | (events & LOOP_WRITE ? EV_WRITE : 0);
}

static void count_watch(struct loop *l, int fd)
{
	if ((size_t)fd >= l->n_watches) {
		size_t n = ((size_t)fd + 256) & ~(size_t)255;
		l->watches = realloc(l->watches, n);
		if (!l->watches)
			abort();
		memset(l->watches + l->n_watches, 0, n - l->n_watches);
		l->n_watches = n;
	}
	l->watches[fd]++;
}

/*
 * libev leaves it to close() to take an fd out of its epoll.  But where another process holds the
 * same open file, as the keeper does, the kernel goes on reporting it, and libev's answer to an
 * event that it can't place is to make a new epoll of all that it watches: 2,000 calls with 1,000
 * pods, at the end of each container.
 */
static void forget_watch(struct loop *l, int fd)
{
	if (--l->watches[fd] == 0 && l->ev_fd >= 0)
		epoll_ctl(l->ev_fd, EPOLL_CTL_DEL, fd, NULL);
}

void loop_io_start(struct loop_io *io, struct loop *l, struct pool *p, int fd, int events,
		   void (*cb)(struct loop_io *io, int events), void *data)
{
	ev_io *w = (ev_io *)io->ev;
	io->loop = l;
	io->cb = cb;
	io->data = data;
	io->fd = fd;
	io->events = events;
	ev_io_init(w, handle_io, fd, ev_events(events));
	w->data = io;
	count_watch(l, fd);
	if (events)
		ev_io_start(l->ev, w);
	pool_res_add(p, &io->res, release_io);
}

void loop_io_set(struct loop_io *io, int events)
{
	ev_io *w = (ev_io *)io->ev;
	if (events == io->events)
		return;
	io->events = events;
	ev_io_stop(io->loop->ev, w);
	ev_io_set(w, io->fd, ev_events(events));
	if (events)
		ev_io_start(io->loop->ev, w);
}

void loop_io_stop(struct loop_io *io)
{
	if (!io->loop)
		return;
	ev_io_stop(io->loop->ev, (ev_io *)io->ev);
	forget_watch(io->loop, io->fd);
	pool_res_drop(&io->res);
	io->loop = NULL;
}

/* -- edges -- */

/* One event at a time: a callback may stop the very watcher that a second one would name. */
static void handle_edges(struct ev_loop *ev, ev_io *w, int revents)
{
	(void)ev, (void)revents;
	struct loop *l = w->data;
	struct epoll_event event;
	for (int i = 0; i < EDGES_A_PASS && epoll_wait(l->edge_fd, &event, 1, 0) == 1; i++) {
		struct loop_edge *e = event.data.ptr;
		e->cb(e, event.events & (EPOLLHUP | EPOLLERR));
	}
}

static void release_edge(struct pool_res *r)
{
	loop_edge_stop(container_of(r, struct loop_edge, res));
}

int loop_edge_start(struct loop_edge *e, struct loop *l, struct pool *p, int fd,
		    void (*cb)(struct loop_edge *e, bool hangup), void *data)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.ptr = e };
	if (epoll_ctl(l->edge_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	e->loop = l;
	e->cb = cb;
	e->data = data;
	e->fd = fd;
	pool_res_add(p, &e->res, release_edge);
	return 0;
}

void loop_edge_again(struct loop_edge *e)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.ptr = e };
	int ret = epoll_ctl(e->loop->edge_fd, EPOLL_CTL_MOD, e->fd, &event);
	assert(ret == 0);
	(void)ret;
}

void loop_edge_stop(struct loop_edge *e)
{
	if (!e->loop)
		return;
	/* By hand: the open file may live on in another process. */
	epoll_ctl(e->loop->edge_fd, EPOLL_CTL_DEL, e->fd, NULL);
	pool_res_drop(&e->res);
	e->loop = NULL;
}

static void handle_timer(struct ev_loop *ev, ev_timer *w, int revents)
{
	(void)ev, (void)revents;
	struct loop_timer *t = w->data;
	if (!ev_is_active(w))
		loop_timer_stop(t);
	t->cb(t);
}

static void release_timer(struct pool_res *r)
{
	loop_timer_stop(container_of(r, struct loop_timer, res));
}

void loop_timer_start(struct loop_timer *t, struct loop *l, struct pool *p, uint64_t ms,
		      uint64_t repeat_ms, void (*cb)(struct loop_timer *t), void *data)
{
	ev_timer *w = (ev_timer *)t->ev;
	loop_timer_stop(t);
	t->loop = l;
	t->cb = cb;
	t->data = data;
	ev_now_update(l->ev);
	ev_timer_init(w, handle_timer, (double)ms / 1000, (double)repeat_ms / 1000);
	w->data = t;
	ev_timer_start(l->ev, w);
	pool_res_add(p, &t->res, release_timer);
}

void loop_timer_stop(struct loop_timer *t)
{
	if (!t->loop)
		return;
	ev_timer_stop(t->loop->ev, (ev_timer *)t->ev);
	pool_res_drop(&t->res);
	t->loop = NULL;
}

static void handle_signal(struct ev_loop *ev, ev_signal *w, int revents)
{
	(void)ev, (void)revents;
	struct loop_signal *s = w->data;
	s->cb(s, w->signum);
}

static void release_signal(struct pool_res *r)
{
	struct loop_signal *s = container_of(r, struct loop_signal, res);
	ev_signal_stop(s->loop->ev, (ev_signal *)s->ev);
}

void loop_signal_start(struct loop_signal *s, struct loop *l, struct pool *p, int signo,
		       void (*cb)(struct loop_signal *s, int signo), void *data)
{
	ev_signal *w = (ev_signal *)s->ev;
	s->loop = l;
	s->cb = cb;
	s->data = data;
	ev_signal_init(w, handle_signal, signo);
	w->data = s;
	ev_signal_start(l->ev, w);
	pool_res_add(p, &s->res, release_signal);
}

/* -- deferred work -- */

void loop_defer(struct loop *l, struct loop_defer *d, void (*cb)(struct loop_defer *d), void *data)
{
	d->cb = cb;
	d->data = data;
	if (!d->link.next)
		list_init(&d->link);
	if (list_empty(&d->link))
		list_append(&l->deferred, &d->link);
}

void loop_defer_cancel(struct loop_defer *d)
{
	if (d->link.next)
		list_del(&d->link);
}

static void release_doomed(struct pool_res *r)
{
	list_del(&container_of(r, struct doomed, res)->link);
}

void loop_destroy_later(struct loop *l, struct pool *p)
{
	struct doomed *d;
	list_for_each(d, &l->doomed, link)
		if (d->pool == p)
			return;
	d = pool_new_struct(p, struct doomed);
	d->pool = p;
	list_append(&l->doomed, &d->link);
	pool_res_add(p, &d->res, release_doomed);
}

/* -- children -- */

int pidfd_open_pid(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	return fd < 0 ? -errno : fd;
}

/* linux/pidfd.h of 6.15, which the headers of today's distributions lack. */
struct pidfd_info_v1 {
	uint64_t mask, cgroupid;
	uint32_t pid, tgid, ppid, ids[8];
	int32_t exit_code;
};
#define PIDFD_GET_INFO_V1 _IOWR(0xFF, 11, struct pidfd_info_v1)
enum { PIDFD_INFO_EXIT_BIT = 1 << 3 };
_Static_assert(sizeof(struct pidfd_info_v1) == 64, "pidfd_info");

int pidfd_exit_status(int pidfd, int *wait_status)
{
	struct pidfd_info_v1 info = { .mask = PIDFD_INFO_EXIT_BIT };
	if (ioctl(pidfd, PIDFD_GET_INFO_V1, &info) < 0)
		return -errno;
	if (!(info.mask & PIDFD_INFO_EXIT_BIT))
		return -ESRCH;
	*wait_status = info.exit_code;
	return 0;
}

uint64_t pid_start_time(pid_t pid)
{
	char path[32], text[1024];
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = 0;
	/* "pid (comm) S ...": comm may hold anything, the last ')' ends it; field 22. */
	char *at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at + 1, NULL, 10) : 0;
}

pid_t pidfd_pid(int pidfd)
{
	char path[64], text[1024];
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = 0;
	const char *line = strstr(text, "\nPid:");
	return line ? atoi(line + 5) : -1;
}

int pidfd_signal(int pidfd, int signo)
{
	return syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, 0) < 0 ? -errno : 0;
}

static void handle_child(struct loop_io *io, int events)
{
	(void)events;
	struct loop_child *c = io->data;
	loop_io_set(&c->io, 0);	/* a pidfd stays readable */
	c->cb(c);
}

static void release_child_fd(struct pool_res *r)
{
	loop_child_stop(container_of(container_of(r, struct loop_io, res), struct loop_child, io));
}

void loop_child_start(struct loop_child *c, struct loop *l, struct pool *p, pid_t pid, int pidfd,
		      void (*cb)(struct loop_child *c), void *data)
{
	c->pid = pid;
	c->pidfd = pidfd;
	c->cb = cb;
	c->data = data;
	list_append(&l->children, &c->link);
	loop_io_start(&c->io, l, p, pidfd, LOOP_READ, handle_child, c);
	c->io.res.release = release_child_fd;
}

int loop_child_status(struct loop_child *c, bool reap, int *wait_status)
{
	siginfo_t si = { 0 };
	if (waitid(P_PIDFD, (id_t)c->pidfd, &si, WEXITED | WNOHANG | (reap ? 0 : WNOWAIT)) < 0)
		return -errno;
	if (!si.si_pid)
		return -EAGAIN;
	*wait_status = si.si_code == CLD_EXITED ? W_EXITCODE(si.si_status, 0) :
		       si.si_status | (si.si_code == CLD_DUMPED ? WCOREFLAG : 0);
	return 0;
}

void loop_child_stop(struct loop_child *c)
{
	if (!c->io.loop)
		return;
	loop_io_stop(&c->io);
	list_del(&c->link);
	close(c->pidfd);
	c->pidfd = -1;
}

bool loop_knows_child(const struct loop *l, pid_t pid)
{
	struct loop_child *c;
	list_for_each(c, &l->children, link)
		if (c->pid == pid)
			return true;
	return false;
}

/* -- lag -- */

uint64_t loop_lag_us(const struct loop *l, double q)
{
	uint64_t want = (uint64_t)((double)l->passes * q), seen = 0;
	for (int i = 0; i < LAG_BUCKETS; i++) {
		seen += l->lag[i];
		if (seen > want || (seen == l->passes && seen))
			return lag_least(i + 1);
	}
	return 0;
}

uint64_t loop_passes(const struct loop *l)
{
	return l->passes;
}

void loop_lag_reset(struct loop *l)
{
	memset(l->lag, 0, sizeof(l->lag));
	l->passes = 0;
}

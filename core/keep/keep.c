/*
 * The core's side of the keeper, see the headers.  The table here mirrors the keeper's: key ->
 * the core's own fd of that number, with the device and inode that it had, so that
 * keep_revive() can tell a number that has been closed and used again since.
 */
#include "core/keep/keep.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/map.h"
#include "core/keep/wire.h"
#include "core/loop/loop.h"

enum { HAND_OVER_MS = 10000, SEND_MS = 2000 };

_Static_assert(sizeof(((struct keep_msg *)0)->key) == KEEP_KEY_MAX + 1, "key");

struct kept {
	struct map_node node;
	struct list link;	/* in all */
	char key[KEEP_KEY_MAX + 1];
	int fd;
	bool unclaimed;		/* of the hand-over, still ours */
	dev_t dev;
	ino_t ino;
};

struct exit_note {
	struct list link;
	pid_t pid;
	int status;
};

struct keep {
	struct pool_res res;
	struct loop *loop;
	struct pool *pool;
	int sock;		/* -1: no keeper (any more) */
	struct loop_io io;
	pid_t pid;
	unsigned generation;
	bool rests;		/* the keeper can rest by itself */
	struct map by_key;
	struct list all;
	struct list exits;	/* came before anybody listened */
	struct loop_defer tell_exits, tell_lost;
	void (*on_exit)(void *data, pid_t pid, int wait_status);
	void *on_exit_data;
	void (*on_lost)(void *data);
	void *on_lost_data;
};

/* -- the table -- */

static struct kept *kept_find(const struct keep *k, const char *key)
{
	struct map_node *n = map_get(&k->by_key, key);
	return n ? container_of(n, struct kept, node) : NULL;
}

static void kept_free(struct keep *k, struct kept *it)
{
	if (it->unclaimed)
		close(it->fd);
	map_del(&k->by_key, &it->node);
	list_del(&it->link);
	free(it);
}

static void kept_add(struct keep *k, const char *key, int fd, bool unclaimed)
{
	struct kept *it = kept_find(k, key);
	if (it)
		kept_free(k, it);
	it = calloc(1, sizeof(*it));
	if (!it)
		abort();
	snprintf(it->key, sizeof(it->key), "%s", key);
	it->fd = fd;
	it->unclaimed = unclaimed;
	struct stat st;
	if (fstat(fd, &st) == 0) {
		it->dev = st.st_dev;
		it->ino = st.st_ino;
	}
	list_append(&k->all, &it->link);
	map_put(&k->by_key, &it->node, it->key);
}

/* -- talking -- */

static void handle_lost(struct loop_defer *d)
{
	struct keep *k = d->data;
	if (k->on_lost)
		k->on_lost(k->on_lost_data);
}

static void lose(struct keep *k, const char *why)
{
	if (k->sock < 0)
		return;
	log_error("the keeper is gone", "why", why);
	loop_io_stop(&k->io);
	close(k->sock);
	k->sock = -1;
	k->pid = 0;
	loop_defer(k->loop, &k->tell_lost, handle_lost, k);
}

static void put_fd(struct msghdr *h, int fd)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(h);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
}

/* The keeper reads at once, so a full socket is a matter of microseconds, or it is stuck. */
static void send_msg(struct keep *k, const struct keep_msg *m, int fd)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { (void *)(uintptr_t)m, sizeof(*m) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (fd >= 0) {
		h.msg_control = control;
		h.msg_controllen = sizeof(control);
		put_fd(&h, fd);
	}
	while (k->sock >= 0) {
		if (sendmsg(k->sock, &h, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
			return;
		struct pollfd p = { k->sock, POLLOUT, 0 };
		if (errno == EAGAIN && poll(&p, 1, SEND_MS) == 0)
			lose(k, "it does not read");
		else if (errno == ETOOMANYREFS)
			poll(NULL, 0, 1); /* too many fds under way: it is about to read them */
		else if (errno != EAGAIN && errno != EINTR)
			lose(k, strerror(errno));
	}
}

/* 1 a message, 0 none now, -errno.  *fd is the caller's. */
static int recv_msg(int sock, struct keep_msg *m, int *fd)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { m, sizeof(*m) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof(control) };
	*fd = -1;
	ssize_t n = recvmsg(sock, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(c), sizeof(int));
	m->key[KEEP_KEY_MAX] = 0;
	if (n == (ssize_t)sizeof(*m))
		return 1;
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	return n == 0 ? -EPIPE : -EPROTO;
}

/* -- exits -- */

static void handle_exits(struct loop_defer *d)
{
	struct keep *k = d->data;
	struct list *at;
	while (k->on_exit && (at = list_pop(&k->exits))) {
		struct exit_note *x = container_of(at, struct exit_note, link);
		pid_t pid = x->pid;
		int status = x->status;
		free(x);
		k->on_exit(k->on_exit_data, pid, status);
	}
}

static void note_exit(struct keep *k, pid_t pid, int status)
{
	struct exit_note *x = calloc(1, sizeof(*x));
	if (!x)
		abort();
	x->pid = pid;
	x->status = status;
	list_append(&k->exits, &x->link);
	if (k->on_exit)
		loop_defer(k->loop, &k->tell_exits, handle_exits, k);
}

/* True at the end of the hand-over. */
static bool take_msg(struct keep *k, const struct keep_msg *m, int fd)
{
	switch (m->type) {
	case KEEP_MSG_HELLO:
		k->pid = m->a;
		k->generation = (unsigned)m->b;
		k->rests = !strcmp(m->key, "rests");
		break;
	case KEEP_MSG_FD:
		if (fd >= 0) {
			kept_add(k, m->key, fd, true);
			return false;
		}
		break;
	case KEEP_MSG_EXIT:
		note_exit(k, m->a, m->b);
		break;
	case KEEP_MSG_READY:
		return true;
	}
	if (fd >= 0)
		close(fd);
	return false;
}

static void handle_keeper(struct loop_io *io, int events)
{
	struct keep *k = io->data;
	struct keep_msg m;
	int fd, ret;
	while (k->sock >= 0 && (ret = recv_msg(k->sock, &m, &fd)) != 0) {
		if (ret < 0)
			lose(k, ret == -EPIPE ? "it has ended" : strerror(-ret));
		else
			take_msg(k, &m, fd);
	}
}

/* -- opening -- */

static int read_hand_over(struct keep *k, struct err *e)
{
	int64_t end = clock_mono_ns() + HAND_OVER_MS * 1000000LL;
	for (;;) {
		struct keep_msg m;
		int fd, ret = recv_msg(k->sock, &m, &fd);
		if (ret < 0)
			return err_set(e, -ret, "take over from the keeper: %s", strerror(-ret));
		if (ret > 0 && take_msg(k, &m, fd))
			return 0;
		if (ret > 0)
			continue;
		int64_t ms = (end - clock_mono_ns()) / 1000000;
		struct pollfd p = { k->sock, POLLIN, 0 };
		if (ms <= 0 || poll(&p, 1, (int)ms) == 0)
			return err_set(e, ETIMEDOUT, "take over from the keeper: nothing for %d ms",
				       HAND_OVER_MS);
	}
}

static void release_keep(struct pool_res *r)
{
	struct keep *k = container_of(r, struct keep, res);
	struct kept *it;
	struct exit_note *x;
	list_for_each(it, &k->all, link)
		kept_free(k, it);
	list_for_each(x, &k->exits, link)
		free(x);
	map_free(&k->by_key);
	loop_defer_cancel(&k->tell_exits);
	loop_defer_cancel(&k->tell_lost);
	if (k->sock >= 0) {
		loop_io_stop(&k->io);
		close(k->sock);
	}
}

struct keep *keep_none(struct loop *l, struct pool *p)
{
	struct keep *k = pool_new_struct(p, struct keep);
	k->loop = l;
	k->pool = p;
	k->sock = -1;
	list_init(&k->all);
	list_init(&k->exits);
	pool_res_add(p, &k->res, release_keep);
	return k;
}

int keep_open(struct loop *l, struct pool *p, int sock, struct keep **out, struct err *e)
{
	struct keep *k = keep_none(l, p);
	k->sock = sock;
	fd_set_cloexec(sock, 1);
	int ret = read_hand_over(k, e);
	if (ret < 0) {
		close(sock);
		k->sock = -1;
		return ret;
	}
	loop_io_start(&k->io, l, p, sock, LOOP_READ, handle_keeper, k);
	*out = k;
	return 0;
}

/* -- fds -- */

static struct keep_msg key_msg(uint32_t type, const char *key)
{
	struct keep_msg m = { .type = type };
	assert(strlen(key) <= KEEP_KEY_MAX);
	memcpy(m.key, key, strlen(key));
	return m;
}

void keep_put(struct keep *k, const char *key, int fd)
{
	struct keep_msg m = key_msg(KEEP_MSG_PUT, key);
	kept_add(k, key, fd, false);
	send_msg(k, &m, fd);
}

void keep_drop(struct keep *k, const char *key)
{
	struct kept *it = kept_find(k, key);
	if (!it)
		return;
	struct keep_msg m = key_msg(KEEP_MSG_DROP, key);
	kept_free(k, it);
	send_msg(k, &m, -1);
}

int keep_take(struct keep *k, const char *key)
{
	struct kept *it = kept_find(k, key);
	if (!it || !it->unclaimed)
		return -1;
	it->unclaimed = false;
	return it->fd;
}

const char *keep_unclaimed(const struct keep *k, size_t i)
{
	struct kept *it;
	list_for_each(it, &k->all, link)
		if (it->unclaimed && i-- == 0)
			return it->key;
	return NULL;
}

void keep_drop_unclaimed(struct keep *k)
{
	struct kept *it;
	list_for_each(it, &k->all, link) {
		if (!it->unclaimed)
			continue;
		struct keep_msg m = key_msg(KEEP_MSG_DROP, it->key);
		kept_free(k, it);
		send_msg(k, &m, -1);
	}
}

/* -- the rest -- */

void keep_on_exit(struct keep *k, void (*cb)(void *data, pid_t pid, int wait_status), void *data)
{
	k->on_exit = cb;
	k->on_exit_data = data;
	if (!list_empty(&k->exits))
		loop_defer(k->loop, &k->tell_exits, handle_exits, k);
}

void keep_ack_exit(struct keep *k, pid_t pid)
{
	struct keep_msg m = { .type = KEEP_MSG_ACK, .a = pid };
	send_msg(k, &m, -1);
}

pid_t keep_pid(const struct keep *k)
{
	return k->pid;
}

unsigned keep_generation(const struct keep *k)
{
	return k->generation;
}

void keep_on_lost(struct keep *k, void (*cb)(void *data), void *data)
{
	k->on_lost = cb;
	k->on_lost_data = data;
}

bool keep_lasting(const struct keep *k)
{
	struct kept *it;
	list_for_each(it, &k->all, link)
		if (strchr(it->key, '/'))
			return true;
	return false;
}

void keep_quit(struct keep *k, int code)
{
	struct keep_msg m = { .type = KEEP_MSG_QUIT, .a = code };
	send_msg(k, &m, -1);
}

void keep_again(struct keep *k)
{
	struct keep_msg m = { .type = KEEP_MSG_AGAIN };
	send_msg(k, &m, -1);
}

/* -- becoming a keeper -- */

static bool still_open(const struct kept *it)
{
	struct stat st;
	return fstat(it->fd, &st) == 0 && st.st_dev == it->dev && st.st_ino == it->ino;
}

static int write_table(struct keep *k, int memfd, struct err *e)
{
	struct kept *it;
	list_for_each(it, &k->all, link) {
		if (!still_open(it)) {
			log_warn("an fd is lost with the keeper", "key", it->key);
			continue;
		}
		struct keep_entry entry = { .fd = it->fd };
		memcpy(entry.key, it->key, sizeof(entry.key));
		int ret = file_write_all(memfd, &entry, sizeof(entry));
		if (ret < 0)
			return err_set(e, -ret, "write the table of fds: %s", strerror(-ret));
	}
	lseek(memfd, 0, SEEK_SET);
	return 0;
}

static void let_through(struct keep *k, int memfd, int on)
{
	struct kept *it;
	fd_set_cloexec(memfd, !on);
	list_for_each(it, &k->all, link)
		if (still_open(it))
			fd_set_cloexec(it->fd, !on);
}

/* options: NULL at the end. */
static int exec_keeper(struct keep *k, const char *keeper, char *const options[],
		       char *const argv[], struct err *e)
{
	size_t n = 0, n_options = 0, at = 0;
	while (argv[n])
		n++;
	while (options[n_options])
		n_options++;
	char number[16];
	auto_free char **args = calloc(n + n_options + 4, sizeof(*args));
	auto_close int memfd = memfd_create("crisp-kept", MFD_CLOEXEC);
	if (!args || memfd < 0)
		return err_sys(e, "make the table of fds");
	int ret = write_table(k, memfd, e);
	if (ret < 0)
		return ret;
	snprintf(number, sizeof(number), "%d", memfd);
	args[at++] = (char *)(uintptr_t)keeper;
	args[at++] = (char[]){ "--adopt" };
	args[at++] = number;
	memcpy(args + at, options, n_options * sizeof(*args));
	memcpy(args + at + n_options, argv, n * sizeof(*args));
	/* The children stay ours, and with them the duty to reap. */
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	let_through(k, memfd, 1);
	execv(keeper, args);
	ret = err_sys(e, "execute %s", keeper);
	let_through(k, memfd, 0);
	return ret;
}

/* Whatever a plugin has forgotten to mark must not stay in the keeper for ever. */
static void mark_all(void)
{
	syscall(SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC);	/* Linux 5.11 */
}

int keep_revive(struct keep *k, const char *keeper, char *const argv[], struct err *e)
{
	mark_all();
	return exec_keeper(k, keeper, (char *[]){ NULL }, argv, e);
}

void keep_rest(struct keep *k, const char *keeper, char *const argv[], int code)
{
	char sock[16], number[16];
	struct err e = { 0 };
	struct keep_msg m = { .type = KEEP_MSG_REST, .a = code };
	if (!k->rests && k->sock >= 0) {
		mark_all();
		snprintf(sock, sizeof(sock), "%d", k->sock);
		snprintf(number, sizeof(number), "%d", code);
		fd_set_cloexec(k->sock, 0);
		exec_keeper(k, keeper, (char *[]){ (char[]){ "--rest" }, sock, number, NULL }, argv,
			    &e);
		log_error("the keeper has to hold what runs on, by a child", "error", err_text(&e));
		fd_set_cloexec(k->sock, 1);
	}
	send_msg(k, &m, -1);
}

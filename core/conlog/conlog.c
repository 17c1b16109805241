/*
 * From a container's stdout and stderr to its log and its taps, see the header.
 *
 * One stream, for pipes:
 *
 *	      edge: more bytes                     hold timer, or the writers are gone
 *	IDLE ------------------> whole lines out, ----------------------------------> tail out as P,
 *	                         tail left in the pipe                                consumed
 *
 * The tail is left where it is, so the pipe stays readable: that is why it is watched by edge,
 * and why the length of what the taps have had already is counted.  It is not left for ever:
 * a reader of the log wants to see a prompt, and the pipe may be full without holding a line
 * (its size is the container's to change), with a writer waiting for us.
 *
 * A core killed between write and consume leaves bytes that the next one writes again; killed
 * within the consuming splice (page by page, microseconds) what is repeated may begin amid a line.
 *
 * A pty can't be peeked.  Each read is written at once, an unfinished line as P, so that a core
 * that is killed loses one read at most; only a CR that may be half a CR LF is kept back.
 */
#include "core/conlog/conlog.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/conlog/logfile.h"
#include "core/conlog/peek.h"
#include "core/loop/loop.h"

enum { HOLD_MS = 1000, TTY_DRAIN_MAX = 1 << 20 };

struct stream {
	struct conlog *log;
	enum conlog_stream which;
	int fd;			/* -1: at its end */
	size_t tapped;		/* bytes at the head of the pipe that the taps have had */
	bool cr;		/* tty: a CR is kept back */
	struct loop_edge edge;	/* pipes */
	struct loop_io io;	/* tty */
	struct loop_timer hold;
};

struct conlog {
	struct pool_res res;
	struct loop *loop;
	struct pool *pool;
	bool tty, finished;
	struct logfile file;
	struct stream streams[2];
	struct list taps;
	void (*end_cb)(struct conlog *c, void *data);
	void *end_data;
	struct loop_defer end;
};

static const char *const names[] = { [CONLOG_STDOUT] = "stdout", [CONLOG_STDERR] = "stderr" };
static char batch[1 + PEEK_MAX];	/* one byte in front for a CR that was kept back */

static void tap_all(struct conlog *c, enum conlog_stream which, const char *data, size_t len)
{
	struct conlog_tap *t;
	list_for_each(t, &c->taps, link)
		t->cb(t, which, data, len);
}

/* -- the end -- */

static void handle_end(struct loop_defer *d)
{
	struct conlog *c = d->data;
	if (c->end_cb)
		c->end_cb(c, c->end_data);
}

static void close_stream(struct stream *s)
{
	loop_edge_stop(&s->edge);
	loop_io_stop(&s->io);
	loop_timer_stop(&s->hold);
	close(s->fd);
	s->fd = -1;
}

static void end_stream(struct stream *s)
{
	struct conlog *c = s->log;
	close_stream(s);
	tap_all(c, s->which, NULL, 0);
	if (conlog_ended(c))
		loop_defer(c->loop, &c->end, handle_end, c);
}

/* -- lines -- */

/* Put the lines in data into the log; flush: also one that has no end yet.  The number of
 * bytes that were used. */
static size_t put_lines(struct stream *s, const char *data, size_t n, bool flush)
{
	struct logfile *f = &s->log->file;
	const char *name = names[s->which];
	size_t at = 0;
	while (at < n) {
		const char *line = data + at, *nl = memchr(line, '\n', n - at);
		size_t len = nl ? (size_t)(nl - line) : n - at, text = len;
		if (nl && s->log->tty && len && line[len - 1] == '\r')
			text--;
		if (text > LOGFILE_CHUNK) {
			logfile_put(f, name, false, line, LOGFILE_CHUNK);
			at += LOGFILE_CHUNK;
		} else if (nl) {
			logfile_put(f, name, true, line, text);
			at += len + 1;
		} else if (flush) {
			logfile_put(f, name, false, line, len);
			at += len;
		} else {
			break;
		}
	}
	logfile_flush(f);
	return at;
}

/* -- pipes -- */

static void handle_hold(struct loop_timer *t);

/* Peek, write, consume.  Bytes consumed, or 0 at the end, or -errno. */
static ssize_t pump(struct stream *s, bool flush_tail, size_t *tail)
{
	ssize_t n = peek_read(s->fd, batch);
	if (n <= 0)
		return n;
	if ((size_t)n > s->tapped) {
		tap_all(s->log, s->which, batch + s->tapped, (size_t)n - s->tapped);
		s->tapped = (size_t)n;
	}
	size_t used = put_lines(s, batch, (size_t)n, flush_tail);
	int ret = peek_consume(s->fd, used);
	if (ret < 0)
		return ret;
	s->tapped -= used;
	*tail = (size_t)n - used;
	return *tail && !used ? -EAGAIN : (ssize_t)used;
}

static bool holds_more(struct stream *s, size_t tail)
{
	int n = 0;
	return ioctl(s->fd, FIONREAD, &n) == 0 && (size_t)n > tail;
}

static void pump_on(struct stream *s, bool hangup, bool flush_tail)
{
	size_t tail = 0;
	ssize_t n = pump(s, flush_tail, &tail);
	if (n == -EAGAIN && tail && hangup)
		n = pump(s, true, &tail);	/* nothing can follow */
	/* 0 without a hang-up: a FIFO that nobody has opened yet. */
	if ((n == 0 && hangup) || (n < 0 && n != -EAGAIN)) {
		if (n < 0)
			log_error("output of a container can't be read", "path", s->log->file.path,
				  "stream", names[s->which], "error", strerror((int)-n));
		end_stream(s);
		return;
	}
	if (!tail)
		loop_timer_stop(&s->hold);
	else if (n > 0 || !s->hold.loop)
		loop_timer_start(&s->hold, s->log->loop, s->log->pool, HOLD_MS, 0, handle_hold, s);
	if (n > 0 && (hangup || holds_more(s, tail)))
		loop_edge_again(&s->edge);
}

static void handle_edge(struct loop_edge *e, bool hangup)
{
	pump_on(e->data, hangup, false);
}

static void handle_hold(struct loop_timer *t)
{
	pump_on(t->data, false, true);
}

/* At most what fits into the pipe: it all was there when the process died. */
static void drain_pipe(struct stream *s)
{
	int size = fcntl(s->fd, F_GETPIPE_SZ);
	size_t tail = 0;
	for (ssize_t left = size, n; left > 0; left -= n) {
		n = pump(s, false, &tail);
		if (n == -EAGAIN && tail)
			n = pump(s, true, &tail);
		if (n <= 0)
			return;
	}
}

/* -- a pty -- */

/* One read.  As of read(2), with -errno. */
static ssize_t pump_tty(struct stream *s)
{
	ssize_t n = read(s->fd, batch + 1, PEEK_MAX);
	if (n <= 0)
		return n < 0 ? -errno : 0;
	tap_all(s->log, s->which, batch + 1, (size_t)n);
	batch[0] = '\r';
	const char *data = batch + !s->cr;
	size_t len = (size_t)n + s->cr;
	s->cr = data[len - 1] == '\r';
	put_lines(s, data, len - s->cr, true);
	return n;
}

static void end_tty(struct stream *s)
{
	if (s->cr)
		put_lines(s, "\r", 1, true);
	s->cr = false;
}

static void handle_tty(struct loop_io *io, int events)
{
	struct stream *s = io->data;
	ssize_t n = pump_tty(s);
	if (n > 0 || n == -EAGAIN || n == -EINTR)
		return;
	end_tty(s);	/* EIO: nobody has the other side open */
	end_stream(s);
}

static void drain_tty(struct stream *s)
{
	for (size_t total = 0; total < TTY_DRAIN_MAX;) {
		ssize_t n = pump_tty(s);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			break;
		total += (size_t)n;
	}
	end_tty(s);
}

/* -- life -- */

static void release(struct pool_res *r)
{
	struct conlog *c = container_of(r, struct conlog, res);
	for (int i = 0; i < 2; i++)
		if (c->streams[i].fd >= 0)
			close_stream(&c->streams[i]);
	loop_defer_cancel(&c->end);
	struct conlog_tap *t;
	list_for_each(t, &c->taps, link)
		conlog_tap_del(t);
	logfile_close(&c->file);
	peek_close();
}

static int start_stream(struct conlog *c, struct stream *s, struct err *e)
{
	if (s->fd < 0)
		return 0;
	fd_set_nonblock(s->fd);
	if (c->tty) {
		loop_io_start(&s->io, c->loop, c->pool, s->fd, LOOP_READ, handle_tty, s);
		return 0;
	}
	struct stat st;
	if (fstat(s->fd, &st) < 0 || !S_ISFIFO(st.st_mode))
		return err_set(e, EINVAL, "%s of the container is not a pipe", names[s->which]);
	int ret = loop_edge_start(&s->edge, c->loop, c->pool, s->fd, handle_edge, s);
	return ret < 0 ? err_set(e, -ret, "watch %s of the container: %s", names[s->which],
				 strerror(-ret))
		       : 0;
}

int conlog_open(struct loop *l, struct pool *p, const char *path, int out_fd, int err_fd, bool tty,
		struct conlog **out, struct err *e)
{
	int ret = peek_open(e);
	if (ret < 0) {
		close(out_fd);
		close(err_fd);
		return ret;
	}
	struct pool *own = pool_new(p, "conlog");
	struct conlog *c = pool_new_struct(own, struct conlog);
	c->loop = l;
	c->pool = own;
	c->tty = tty;
	c->file.fd = -1;
	list_init(&c->taps);
	list_init(&c->end.link);
	c->streams[0] = (struct stream){ .log = c, .which = CONLOG_STDOUT, .fd = out_fd };
	c->streams[1] = (struct stream){ .log = c, .which = CONLOG_STDERR, .fd = err_fd };
	pool_res_add(own, &c->res, release);
	ret = logfile_open(&c->file, path && *path ? pool_strdup(own, path) : NULL, e);
	for (int i = 0; i < 2 && ret == 0; i++)
		ret = start_stream(c, &c->streams[i], e);
	if (ret < 0) {
		pool_destroy(own);
		return ret;
	}
	*out = c;
	return 0;
}

void conlog_on_end(struct conlog *c, void (*cb)(struct conlog *c, void *data), void *data)
{
	c->end_cb = cb;
	c->end_data = data;
	if (conlog_ended(c) && !c->finished)
		loop_defer(c->loop, &c->end, handle_end, c);
}

bool conlog_ended(const struct conlog *c)
{
	return c->streams[0].fd < 0 && c->streams[1].fd < 0;
}

int conlog_reopen(struct conlog *c, struct err *e)
{
	return logfile_reopen(&c->file, e);
}

void conlog_finish(struct conlog *c)
{
	for (int i = 0; i < 2; i++) {
		struct stream *s = &c->streams[i];
		if (s->fd < 0)
			continue;
		if (c->tty)
			drain_tty(s);
		else
			drain_pipe(s);
		close_stream(s);
		tap_all(c, s->which, NULL, 0);
	}
	loop_defer_cancel(&c->end);
	c->finished = true;
	logfile_close(&c->file);
}

int conlog_tty_fd(const struct conlog *c)
{
	return c->tty ? c->streams[0].fd : -1;
}

unsigned long long conlog_dropped(const struct conlog *c)
{
	return c->file.dropped;
}

/* -- taps -- */

void conlog_tap_add(struct conlog *c, struct conlog_tap *t,
		    void (*cb)(struct conlog_tap *t, enum conlog_stream stream, const char *data,
			       size_t len),
		    void *data)
{
	t->cb = cb;
	t->data = data;
	list_append(&c->taps, &t->link);
}

void conlog_tap_del(struct conlog_tap *t)
{
	if (t->link.next)
		list_del(&t->link);
}

#pragma once
/*
 * A container's output: pipe ends or a pty master, into a CRI log file and to whoever is
 * attached.
 *
 *	record	one line of the log: time, stream, P or F, at most 16 KiB of content
 *	tail	the beginning of a line whose newline has not come yet
 *	tap	somebody attached, who gets the raw bytes
 *
 * Pipes are peeked (tee), written, then consumed.  A core that is killed in between leaves
 * the bytes in the pipe and the next one writes them again: nothing is lost, at most one batch
 * (64 KiB) is repeated.  No state is kept beside the pipe: a tail stays in it, and of a line
 * that has begun in the log as P records the reader joins the rest whoever wrote it.
 *
 * The container never waits for the log: what can't be written (ENOSPC) is dropped, said once.
 */
#include <stdbool.h>
#include <stddef.h>

#include "core/base/err.h"
#include "core/base/list.h"

struct conlog;
struct loop;
struct pool;

enum conlog_stream { CONLOG_STDOUT, CONLOG_STDERR };

/*
 * Start.  Takes the fds, also when it fails.  path NULL or "": the output is discarded (taps
 * still get it).  The file is made with mode 0640, its missing folders with 0755; one that is
 * there is appended to.  err_fd is -1 under tty, where out_fd is the pty master: all is stdout.
 * Either fd may be -1: that stream has ended.
 */
int conlog_open(struct loop *l, struct pool *p, const char *path, int out_fd, int err_fd, bool tty,
		struct conlog **out, struct err *e);

/* Told once, from the loop, when both streams are at their end.  Not after conlog_finish(). */
void conlog_on_end(struct conlog *c, void (*cb)(struct conlog *c, void *data), void *data);
bool conlog_ended(const struct conlog *c);

/* After a rotation: open the path anew and go on there, between two records.  On error nothing
 * was made and the old file stays in use.  Without a path it does nothing. */
int conlog_reopen(struct conlog *c, struct err *e);

/* The process is dead: write what the pipes hold now, without waiting for others who have
 * inherited them, and close everything.  May be repeated.  Taps are told of the end. */
void conlog_finish(struct conlog *c);

/* The pty master (borrowed, non-blocking) for input and resize; -1 without tty or once closed. */
int conlog_tty_fd(const struct conlog *c);

/* Bytes of output that could not be written, since conlog_open(). */
unsigned long long conlog_dropped(const struct conlog *c);

/*
 * A tap is the caller's memory.  cb gets each piece of output once, as it comes, not held back
 * for its newline, and data == NULL once a stream has ended.  It must not block: a slow reader
 * is its own affair.  It may remove itself.  conlog_tap_del() may be repeated.
 */
struct conlog_tap {
	struct list link;
	void (*cb)(struct conlog_tap *t, enum conlog_stream stream, const char *data, size_t len);
	void *data;
};
void conlog_tap_add(struct conlog *c, struct conlog_tap *t,
		    void (*cb)(struct conlog_tap *t, enum conlog_stream stream, const char *data,
			       size_t len),
		    void *data);
void conlog_tap_del(struct conlog_tap *t);

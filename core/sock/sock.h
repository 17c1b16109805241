#pragma once
/*
 * Stream sockets, non-blocking: a listener, and connections with buffered output.
 *
 * Input has no buffer: what was read is handed on at once.  Output is written at sock_flush()
 * and what the peer does not take is kept; the writer looks at sock_queued() and stops adding,
 * `drained` tells it to go on.  So an idle connection costs its struct and nothing else.
 */
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/loop/loop.h"

/* Make a listening socket at path, replacing the stale file of a dead server: fd or -errno;
 * -EADDRINUSE when somebody still listens there.  At no time may more than `mode` connect. */
int sock_listen(const char *path, mode_t mode, struct err *e);
/* Has fd been made by sock_listen() for that path? */
bool sock_is_at(int fd, const char *path);

struct sock_listener {
	struct loop_io io;
	struct loop_timer pause;	/* out of descriptors: try again in a moment */
	struct pool *pool;
	struct pool_fd *fd;
	void (*accepted)(struct sock_listener *sl, int fd);	/* takes fd: non-blocking, cloexec */
	void *data;
};

/* Listen on fd (taken, made non-blocking) until sock_listener_stop() or the pool's end. */
void sock_listener_start(struct sock_listener *sl, struct loop *l, struct pool *p, int fd,
			 void (*accepted)(struct sock_listener *sl, int fd), void *data);
void sock_listener_stop(struct sock_listener *sl);	/* closes the fd; may be repeated */

struct sock;

struct sock_handler {
	void (*received)(struct sock *s, const void *bytes, size_t n);
	void (*drained)(struct sock *s);	/* nothing is queued any more */
	/* The peer has closed (why->code 0) or the connection broke.  Called once, never from
	 * within a sock_ function; the callee destroys the pool later. */
	void (*closed)(struct sock *s, const struct err *why);
};

struct sock {
	struct loop_io io;
	const struct sock_handler *handler;
	struct pool_fd *fd;
	struct buf out;
	size_t sent;			/* of out */
	bool held;
	struct pool_res out_res;
	void *data;
};

/* Take fd.  s is the caller's memory, closed with p. */
void sock_start(struct sock *s, struct loop *l, struct pool *p, int fd,
		const struct sock_handler *h, void *data);
/* Close at once; what is queued is lost, no callback comes any more.  May be repeated. */
void sock_stop(struct sock *s);

void sock_add(struct sock *s, const void *bytes, size_t n);	/* queue; the caller bounds it */
/* Write what the peer takes, keep the rest.  more: the writer has more to add, so call `drained`
 * in a later pass even when nothing stays queued. */
void sock_flush(struct sock *s, bool more);
size_t sock_queued(const struct sock *s);
void sock_hold(struct sock *s, bool hold);	/* read nothing until it is let go */

#pragma once
/*
 * An upgraded connection that carries several byte streams.
 *
 *	wire		the connection; spdy.c and ws.c make them
 *	wire_stream	one stream, opened by the client or, over WebSocket, by the subprotocol
 *	user		remote.c or forward.c
 *
 * Nothing here fails: what is sent to a client that has gone is dropped, and `gone` follows.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/list.h"

struct loop;
struct pool;
struct wire;

enum wire_role {
	WIRE_ROLE_ERROR,
	WIRE_ROLE_STDIN,
	WIRE_ROLE_STDOUT,
	WIRE_ROLE_STDERR,
	WIRE_ROLE_RESIZE,
	WIRE_ROLE_DATA,		/* of a port; its errors have WIRE_ROLE_ERROR */
	WIRE_ROLE_COUNT
};

struct wire_stream {
	struct list link;	/* in wire.streams */
	struct pool *pool;	/* own */
	struct wire *wire;
	uint32_t id;
	enum wire_role role;
	unsigned port;		/* of a port-forward */
	char pair[64];		/* which data stream and which error stream belong together */
	bool ours_ended, theirs_ended;
	void *data;		/* the user's; NULL at first */
};

/* None is called from within a wire_ function. */
struct wire_user {
	void (*opened)(struct wire_stream *s);
	void (*received)(struct wire_stream *s, const void *bytes, size_t n);
	void (*ended)(struct wire_stream *s);	/* the client's half; once */
	void (*drained)(struct wire *w);	/* nothing is queued any more */
	void (*gone)(struct wire *w);		/* the connection, once; not after wire_finish() */
};

struct wire_ops {
	void (*send)(struct wire_stream *s, const void *bytes, size_t n);
	void (*end)(struct wire_stream *s);
	void (*goodbye)(struct wire *w);	/* before the connection is closed */
	void (*forget)(struct wire_stream *s);	/* or NULL */
};

struct wire_pipe {	/* where a wire's bytes go: a connection, or another wire's message */
	void (*send)(void *to, const void *bytes, size_t n);
	void (*hold)(void *to, bool hold);
	size_t (*queued)(void *to);
	void (*close)(void *to);	/* once what is queued has gone */
	void *to;
};

struct wire {
	const struct wire_ops *ops;
	const struct wire_user *user;	/* NULL before the upgrade and after the end */
	void *data;			/* the user's */
	struct loop *loop;
	struct pool *pool;
	struct wire_pipe pipe;
	struct list streams;
	unsigned n_streams;
	int version;			/* of remotecommand: 1 to 5 */
};

void wire_init(struct wire *w, struct loop *l, struct pool *p, const struct wire_ops *ops,
	       const struct wire_pipe *pipe, int version);
struct wire_stream *wire_stream_new(struct wire *w, uint32_t id);
void wire_send(struct wire_stream *s, const void *bytes, size_t n);
void wire_end(struct wire_stream *s);		/* our half; may be repeated */
void wire_forget(struct wire_stream *s);	/* its user has done with it; the memory goes after the pass */
void wire_finish(struct wire *w);		/* all of it; the pool goes once the bytes have */
size_t wire_queued(const struct wire *w);
void wire_hold(struct wire *w, bool hold);	/* read nothing from the client for now */

/* What the transports tell. */
void wire_received(struct wire_stream *s, const void *bytes, size_t n);
void wire_their_end(struct wire_stream *s);
void wire_drained(struct wire *w);
void wire_gone(struct wire *w);

#pragma once
/*
 * The server's side of WebSocket (RFC 6455), and Kubernetes' way to carry several streams over it:
 * the first byte of a message is its channel.
 *
 *	exec, attach   0 stdin, 1 stdout, 2 stderr, 3 error, 4 resize; v5: 255 N ends channel N
 *	port-forward   2 i data and 2 i + 1 errors of the i-th port; the first message of each, ours,
 *	               is the port in two bytes, the lower first
 *	tunnel         SPDY frames in binary messages
 */
#include <stdbool.h>

#include "core/base/err.h"
#include "core/stream/ticket.h"
#include "core/stream/wire.h"

struct ws_protocol {
	const char *name;	/* the subprotocol; "": none was asked for */
	int version;		/* of remotecommand */
	bool text;		/* base64 in text messages */
};
/* The best that the client offers (NULL: it offers none) for what it has a ticket for; NULL: none. */
const struct ws_protocol *ws_protocol(const char *offer, enum ticket_kind kind);

/* key: of Sec-WebSocket-Key; accept: 29 bytes, what proves that we understood. */
void ws_accept(const char *key, char *accept);

struct ws;
struct ws *ws_new(struct loop *l, struct pool *p, const struct wire_pipe *pipe, const struct ws_protocol *pr,
		  const struct ticket *t);
struct wire *ws_wire(struct ws *w);
/* The user is there: open the streams of the ticket. */
void ws_begin(struct ws *w);
/* -EPROTO: of no use any more; -EPIPE: the client has said goodbye. */
int ws_receive(struct ws *w, const void *bytes, size_t n, struct err *e);

#pragma once
/*
 * The server's side of SPDY/3.1, as far as kubectl's and the kubelet's libraries speak it: streams
 * opened by the client, no flow control of its own, headers compressed.
 */
#include "core/base/err.h"
#include "core/stream/wire.h"

/* Its streams have no user before wire.user is set. */
struct wire *spdy_new(struct loop *l, struct pool *p, const struct wire_pipe *pipe, int version);
/* -EPROTO: the connection is of no use any more. */
int spdy_receive(struct wire *w, const void *bytes, size_t n, struct err *e);

#pragma once
/*
 * A gRPC client that waits: one HTTP/2 connection on a unix socket, one call at a time.
 *
 *	unary       client_call()
 *	streaming   client_begin(), client_next() until 0 or an error
 *
 * A failed call gives -errno by the table in client.c (NotFound is -ENOENT, Unimplemented
 * -ENOSYS, DeadlineExceeded -ETIMEDOUT) and the server's words.  Works with any CRI server.
 */
#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

struct client;
struct err;
struct pool;

/* Connect.  path may begin with unix://.  Everything the client gives out lives in p. */
int client_open(struct pool *p, const char *path, struct client **out, struct err *e);

/* For the calls that follow; 0: no deadline.  It is told to the server as well. */
void client_set_timeout(struct client *c, uint64_t ms);
uint64_t client_timeout(const struct client *c);
/* Messages that come from now on live in p instead: for streams that never end. */
void client_set_pool(struct client *c, struct pool *p);
/* Called about ten times a second while a call waits; NULL ends that. */
void client_set_tick(struct client *c, void (*tick)(void *data), void *data);

/* path is "/package.Service/Method". */
int client_call(struct client *c, const char *path, const ProtobufCMessage *request,
		const ProtobufCMessageDescriptor *type, ProtobufCMessage **out, struct err *e);

int client_begin(struct client *c, const char *path, const ProtobufCMessage *request,
		 struct err *e);
/* 1: a message, 0: the stream ended well, < 0: it failed. */
int client_next(struct client *c, const ProtobufCMessageDescriptor *type, ProtobufCMessage **out,
		struct err *e);

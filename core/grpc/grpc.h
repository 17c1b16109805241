#pragma once
/*
 * gRPC, the server side: a listening socket, a method table, calls.
 *
 *	call      one request on its way to its one answer; has a pool that dies with it
 *	unary     one message in, one out: grpc_reply*() or grpc_fail*()
 *	streaming one message in, many out: grpc_send()..., then grpc_finish() or grpc_fail*()
 *	answered  after reply, finish or fail the handle is dead for the caller
 *	cancelled client reset, connection gone, deadline hit: on_cancel runs, then the handle is
 *	          dead just the same
 *
 * A handler gets a request that is whole, parsed, and whose strings are valid UTF-8 without
 * NUL.  It may answer at once, or later from the loop: then it must have called
 * grpc_on_cancel() before it returns (asserted), since nothing else tells it that the handle
 * dies.  Nothing here calls back from inside a function that the handler has called, except
 * where said.
 */
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct grpc_call;
struct grpc_server;
struct loop;
struct pool;

/* The codes of gRPC. */
enum grpc_code {
	GRPC_OK = 0,
	GRPC_CANCELLED = 1,
	GRPC_UNKNOWN = 2,
	GRPC_INVALID_ARGUMENT = 3,
	GRPC_DEADLINE_EXCEEDED = 4,
	GRPC_NOT_FOUND = 5,
	GRPC_ALREADY_EXISTS = 6,
	GRPC_PERMISSION_DENIED = 7,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_FAILED_PRECONDITION = 9,
	GRPC_ABORTED = 10,
	GRPC_OUT_OF_RANGE = 11,
	GRPC_UNIMPLEMENTED = 12,
	GRPC_INTERNAL = 13,
	GRPC_UNAVAILABLE = 14,
	GRPC_DATA_LOSS = 15,
	GRPC_UNAUTHENTICATED = 16,
};

enum {
	GRPC_MESSAGE_MAX = 16 << 20,	/* bytes of one message, in or out */
	GRPC_QUEUE_HIGH = 256 << 10,	/* queued output of a call above which grpc_send says false */
	GRPC_QUEUE_LOW = 64 << 10,	/* ... and at which on_writable is called */
};

struct grpc_method {
	const char *service, *name;	/* "runtime.v1.RuntimeService", "Version" */
	const ProtobufCMessageDescriptor *request, *response;
	bool streaming;			/* many messages out */
	/* NULL: Unimplemented, naming the method.  request lives in the call's pool; cast it to
	 * the type that goes with the descriptor. */
	void (*handler)(struct grpc_call *call, const ProtobufCMessage *request);
};

/* Serve on listen_fd (taken; a listening unix socket).  methods ends with a NULL service and is
 * borrowed.  Everything lives in p; destroying p drops all connections without on_cancel. */
struct grpc_server *grpc_server_new(struct loop *l, struct pool *p, int listen_fd,
				    const struct grpc_method *methods, void *user);
/* Stop listening, GOAWAY to all.  Calls under way may end; each connection closes after its
 * last.  May be repeated. */
void grpc_server_shutdown(struct grpc_server *s);
/* Drop all connections now; on_cancel is called for what runs.  From the loop, not from within a
 * callback of a call.  For the end of the process, after a shutdown that had its time. */
void grpc_server_close(struct grpc_server *s);
/* How long a new connection may be silent; HTTP2_PREFACE_MS until it is set. */
void grpc_server_set_preface_ms(struct grpc_server *s, uint64_t ms);
/* Open connections, for the dump and for a patient shutdown. */
size_t grpc_server_connections(const struct grpc_server *s);

struct pool *grpc_pool(struct grpc_call *call);	/* the request is here; dies with the call */
void *grpc_user(struct grpc_call *call);	/* of grpc_server_new */
struct loop *grpc_loop(struct grpc_call *call);
const struct grpc_method *grpc_call_method(const struct grpc_call *call);
/* Milliseconds to the client's deadline (0 when it has passed), -1 without one. */
int64_t grpc_time_left_ms(const struct grpc_call *call);
/* What the caller of this call wants to hear: it was reset, its connection is gone, or its
 * deadline was hit (which is answered for you).  After cb returns the handle and its pool are
 * dead.  Not called once answered.  cb NULL: forget it. */
void grpc_on_cancel(struct grpc_call *call, void (*cb)(struct grpc_call *call, void *data), void *data);

/* Answer a unary call.  The response is packed before this returns; its strings are made
 * valid UTF-8 on the way (a copy is: the message itself is left alone).  More than
 * GRPC_MESSAGE_MAX becomes ResourceExhausted. */
void grpc_reply(struct grpc_call *call, const ProtobufCMessage *response);
/* The same with bytes that are packed already and known to hold valid strings. */
void grpc_reply_packed(struct grpc_call *call, const void *bytes, size_t len);
/* The errno class of e gives the code (grpc/status.h has the table), its text the message. */
void grpc_fail(struct grpc_call *call, const struct err *e);
void grpc_fail_code(struct grpc_call *call, int code, const char *msg);

/* Queue one message of a streaming call.  false: pause until on_writable, more than
 * GRPC_QUEUE_HIGH is queued (the message is, too).  A caller that goes on regardless is
 * stopped at GRPC_MESSAGE_MAX of queued bytes: the call is reset, the client sees
 * ResourceExhausted, on_cancel is called at the end of the loop pass, and whatever is sent
 * until then is dropped. */
bool grpc_send(struct grpc_call *call, const ProtobufCMessage *message);
/* The same with bytes that grpc_pack has made of a message of the method's type. */
bool grpc_send_packed(struct grpc_call *call, const void *bytes, size_t len);
/* Pack m now, for calls that send it later or more than once: the bytes are p's, with strings
 * that are valid UTF-8.  NULL when it is too large for a message. */
void *grpc_pack(struct pool *p, const ProtobufCMessage *m, size_t *len, struct err *e);
/* Account n bytes as held by this call, until it ends: what waits to be sent and is not yet
 * queued.  false: too much is held already, answer with an error. */
bool grpc_hold(struct grpc_call *call, size_t n);
/* Send the response headers before there is a message: a client that waits for them knows that
 * a stream has begun. */
void grpc_begin(struct grpc_call *call);
/* cb is called from the loop each time the queue has fallen to GRPC_QUEUE_LOW after grpc_send
 * had said false. */
void grpc_on_writable(struct grpc_call *call, void (*cb)(struct grpc_call *call, void *data), void *data);
void grpc_finish(struct grpc_call *call);

#pragma once
/*
 * A blocking gRPC client for tests, that also does what a good client would not: cut a message
 * into tiny frames, stop reading, stop in the midst of a frame.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/list.h"

struct client {
	int fd;			/* -1 when the server has closed */
	void *session;		/* nghttp2_session */
	struct list calls;
	int pings;		/* answered */
	bool goaway;
	bool holding;		/* no WINDOW_UPDATE is sent for what arrives */
	size_t arrived;		/* bytes of DATA */
};

struct client_call {
	struct list link;
	int32_t id;
	bool closed;
	uint32_t reset;		/* HTTP/2 error code of the close */
	int http_status;
	int code;		/* grpc-status, -1 when none came */
	char message[4096];	/* grpc-message, still percent-encoded */
	int data_frames;
	struct buf in;		/* body as it came, prefixes and all */
	struct buf out;		/* what is sent */
	size_t sent, chunk;
	bool open_end;		/* END_STREAM is never sent */
};

struct client_options {
	const char *method, *content_type, *timeout, *extra, *extra_value;
	size_t chunk;		/* DATA frames of at most so much, 0: as they come */
	bool raw;		/* body is sent as it is, without a prefix */
	bool open_end;
};

/* window 0: the protocol's 65535. */
struct client *client_open(const char *path, uint32_t window);
void client_close(struct client *c);	/* with all calls */
struct client_call *client_call(struct client *c, const char *path, const void *body, size_t len,
				const struct client_options *o);
void client_reset(struct client *c, struct client_call *call, uint32_t code);
void client_ping(struct client *c);
void client_resume(struct client *c);	/* give back the window held; stop holding */

/* Read and write until *flag is true (0: just what is there now) or ms have gone; false then, or
 * when the connection has ended. */
bool client_run(struct client *c, const bool *flag, int ms);
/* One call from begin to end. */
struct client_call *client_ask(struct client *c, const char *path, const void *body, size_t len,
			       const struct client_options *o);
/* The n-th message of a body; NULL when it has not come whole. */
const void *client_message(const struct client_call *call, size_t n, size_t *len);

int client_connect(const char *path);	/* just the socket */
/* Does the server close this fd within ms? */
bool client_sees_close(int fd, int ms);

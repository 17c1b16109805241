#pragma once
/*
 * HTTP/2, the server side, over nghttp2: one session per connection, a pool per stream.
 *
 *	server      listens, counts connections and the bytes held for them
 *	connection  a socket and its session; invisible above
 *	stream      one request and its response
 *	held        bytes kept in memory for streams, in and out: bounded per connection and per
 *	            server, so that no client can make the process grow
 *
 *	client                        stream                          handler
 *	HEADERS       ------------->  made, pool                      request
 *	DATA          ------------->                                  data ...
 *	END_STREAM    ------------->                                  end
 *	              <-------------  http2_headers, http2_send...
 *	              <-------------  http2_end
 *	RST, close, all sent ------>  pool destroyed                  gone
 *
 * The functions below queue; bytes go out at the end of the loop pass.  They may be called
 * from any handler callback, and do not call back themselves.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http2_server;
struct http2_stream;
struct loop;
struct pool;

enum {
	HTTP2_STREAMS_MAX = 1000,		/* under way in a connection */
	HTTP2_CONNECTIONS_MAX = 1024,		/* what comes above is closed at once */
	HTTP2_PREFACE_MS = 10000,		/* to the client's first SETTINGS */
	HTTP2_STREAM_WINDOW = 1 << 20,
	HTTP2_CONNECTION_WINDOW = 4 << 20,
	HTTP2_VALUE_MAX = 1024,			/* of a header that is kept */
	HTTP2_CONNECTION_HELD_MAX = 64 << 20,
	HTTP2_SERVER_HELD_MAX = 256 << 20,
};

/* RFC 9113, section 7: those that we send. */
enum http2_error {
	HTTP2_NO_ERROR = 0,
	HTTP2_INTERNAL_ERROR = 2,
	HTTP2_CANCEL = 8,
	HTTP2_ENHANCE_YOUR_CALM = 11,
};

struct http2_header {
	const char *name, *value;	/* name in lower case */
};

struct http2_handler {
	/* Request headers that http2_header() will be asked for; ends with NULL.  All else is
	 * dropped as it comes. */
	const char *const *keep;
	void (*request)(struct http2_stream *s, void *user);	/* all headers are in */
	void (*data)(struct http2_stream *s, const void *bytes, size_t n);
	void (*end)(struct http2_stream *s);		/* the client has said all */
	/* Queued output has fallen to `low` (http2_watch_queue).  Called in the midst of
	 * writing: the callee may send more. */
	void (*drained)(struct http2_stream *s);
	void (*gone)(struct http2_stream *s);		/* last call; the pool dies when it returns */
};

/* listen_fd is taken; h is borrowed. */
struct http2_server *http2_server_new(struct loop *l, struct pool *p, int listen_fd,
				      const struct http2_handler *h, void *user);
void http2_server_shutdown(struct http2_server *s);	/* no new ones; GOAWAY to all */
/* Drop all connections now, with `gone` for their streams.  Not from within a handler. */
void http2_server_close(struct http2_server *s);
/* For connections to come; HTTP2_PREFACE_MS until it is set. */
void http2_server_set_preface_ms(struct http2_server *s, uint64_t ms);
size_t http2_server_connections(const struct http2_server *s);

struct pool *http2_pool(struct http2_stream *s);
void http2_set_data(struct http2_stream *s, void *data);
void *http2_data(const struct http2_stream *s);
/* A kept header's value; NULL when it did not come.  Values above HTTP2_VALUE_MAX are cut. */
const char *http2_header(const struct http2_stream *s, const char *name);

/* Response headers; last: nothing follows them. */
void http2_respond(struct http2_stream *s, const struct http2_header *h, size_t n, bool last);
/* Room for n more bytes of body, and their going out.  NULL: more than may be held. */
void *http2_room(struct http2_stream *s, size_t n);
void http2_send(struct http2_stream *s, size_t n);	/* n bytes were written into the room */
size_t http2_queued(const struct http2_stream *s);
/* Call `drained` once, when no more than low bytes are queued. */
void http2_watch_queue(struct http2_stream *s, size_t low);
/* Trailers, after what is queued. */
void http2_end(struct http2_stream *s, const struct http2_header *h, size_t n);
/* Drop what is queued and reset; `gone` follows at the end of the pass. */
void http2_reset(struct http2_stream *s, enum http2_error code);

/* Account n more bytes of this stream's input as held; false (and nothing changes) when that is
 * too much.  The stream's end lets go of all. */
bool http2_hold(struct http2_stream *s, size_t n);

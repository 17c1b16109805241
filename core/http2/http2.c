/*
 * HTTP/2 over nghttp2, see the header.
 *
 * nghttp2 must not be asked for output from within its callbacks, and handlers run there: so
 * all output waits for pump(), deferred to the end of the loop pass, where it is also
 * coalesced.  pump() asks for no more than OUT_MAX while the peer does not read; together
 * with the peer's windows this is what holds a stream's bytes back in its own queue, where
 * its writer can see them.
 */
#include "core/http2/http2.h"

#include <assert.h>
#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/log.h"
#include "core/loop/loop.h"
#include "core/sock/sock.h"

enum {
	OUT_MAX = 64 << 10,	/* of a connection's frames, waiting in memory for its peer */
	KEEP_MAX = 8,
	HEADER_LIST_MAX = 16 << 10,	/* advice to the client; nghttp2 refuses above 64 KiB */
	COMPACT_AT = 64 << 10,
	MAX_NV = 8,
};

struct http2_server {
	struct loop *loop;
	struct pool *pool;
	const struct http2_handler *handler;
	void *user;
	struct sock_listener listener;
	struct list connections;
	size_t count, held;
	uint64_t preface_ms;
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;
	struct pool_res res;
	bool full;			/* and that has been said */
	bool stopping;
};

struct connection {
	struct http2_server *server;
	struct list link;
	struct pool *pool;
	struct sock sock;
	nghttp2_session *session;
	struct pool_res res;		/* the session, and what must not fire any more */
	struct loop_defer pump;
	struct loop_timer preface;
	struct list streams;
	size_t held;
	uint64_t pumped;		/* the pass that pump() ran in last, + 1 */
	bool closed;
};

struct http2_stream {
	struct connection *conn;
	struct list link;
	struct pool *pool;
	int32_t id;
	bool begun;		/* the handler knows it */
	bool responded;
	bool starved;		/* nghttp2 waits for http2_send or http2_end */
	bool ended;		/* trailers are set */
	bool reset;
	bool watching;
	size_t low;
	size_t held;		/* of input */
	struct buf out;
	size_t sent;		/* of out */
	struct pool_res out_res;
	struct http2_header *trailers;
	size_t ntrailers;
	void *data;
	const char *values[KEEP_MAX];
};

/* A call into nghttp2 that fails only for want of memory, or because it gave the stream up. */
static void may_fail(int ret)
{
	if (ret == NGHTTP2_ERR_NOMEM)
		abort();
}

/* ... only for want of memory, or by our own bug. */
static void must(int ret)
{
	may_fail(ret);
	assert(ret == 0);
}

/* -- what is held -- */

static bool may_hold(const struct connection *c, size_t n)
{
	return n <= HTTP2_CONNECTION_HELD_MAX && c->held + n <= HTTP2_CONNECTION_HELD_MAX &&
	       c->server->held + n <= HTTP2_SERVER_HELD_MAX;
}

static void hold(struct connection *c, size_t n)
{
	c->held += n;
	c->server->held += n;
}

static void let_go(struct connection *c, size_t n)
{
	c->held -= n;
	c->server->held -= n;
}

bool http2_hold(struct http2_stream *s, size_t n)
{
	if (!may_hold(s->conn, n))
		return false;
	hold(s->conn, n);
	s->held += n;
	return true;
}

/* -- streams -- */

static void release_out(struct pool_res *r)
{
	buf_free(&container_of(r, struct http2_stream, out_res)->out);
}

static struct http2_stream *stream_new(struct connection *c, int32_t id)
{
	struct pool *p = pool_new(c->pool, "stream");
	struct http2_stream *s = pool_new_struct(p, struct http2_stream);
	s->conn = c;
	s->pool = p;
	s->id = id;
	pool_res_add(p, &s->out_res, release_out);
	list_append(&c->streams, &s->link);
	must(nghttp2_session_set_stream_user_data(c->session, id, s));
	return s;
}

static void drop_queue(struct http2_stream *s)
{
	let_go(s->conn, http2_queued(s));
	buf_free(&s->out);
	s->sent = 0;
}

static void stream_gone(struct http2_stream *s)
{
	struct connection *c = s->conn;
	list_del(&s->link);
	if (s->begun)
		c->server->handler->gone(s);
	drop_queue(s);
	let_go(c, s->held);
	pool_destroy(s->pool);
}

struct pool *http2_pool(struct http2_stream *s)
{
	return s->pool;
}

void http2_set_data(struct http2_stream *s, void *data)
{
	s->data = data;
}

void *http2_data(const struct http2_stream *s)
{
	return s->data;
}

/* Index of a header among those to keep, or -1. */
static int keep_index(const struct http2_handler *h, const char *name, size_t len)
{
	for (int i = 0; i < KEEP_MAX && h->keep[i]; i++)
		if (strlen(h->keep[i]) == len && !memcmp(h->keep[i], name, len))
			return i;
	return -1;
}

const char *http2_header(const struct http2_stream *s, const char *name)
{
	int i = keep_index(s->conn->server->handler, name, strlen(name));
	assert(i >= 0);
	return s->values[i];
}

static void pump_later(struct connection *c);

static size_t make_nv(nghttp2_nv *nv, const struct http2_header *h, size_t n)
{
	assert(n <= MAX_NV);
	for (size_t i = 0; i < n; i++)
		nv[i] = (nghttp2_nv){ .name = (uint8_t *)h[i].name, .namelen = strlen(h[i].name),
				      .value = (uint8_t *)h[i].value, .valuelen = strlen(h[i].value) };
	return n;
}

/* nghttp2 wants up to len bytes of the body, as far as the windows allow. */
static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *to, size_t len,
			 uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct http2_stream *s = source->ptr;
	size_t n = http2_queued(s) < len ? http2_queued(s) : len;
	if (n)
		memcpy(to, s->out.data + s->sent, n);
	s->sent += n;
	let_go(s->conn, n);
	if (!http2_queued(s))
		drop_queue(s);
	if (s->watching && http2_queued(s) <= s->low) {
		s->watching = false;
		s->conn->server->handler->drained(s);
	}
	if (http2_queued(s))
		return (ssize_t)n;
	if (s->ended) {
		nghttp2_nv nv[MAX_NV];
		*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
		may_fail(nghttp2_submit_trailer(session, id, nv, make_nv(nv, s->trailers, s->ntrailers)));
		return (ssize_t)n;
	}
	if (n)
		return (ssize_t)n;
	s->starved = true;
	return NGHTTP2_ERR_DEFERRED;
}

void http2_respond(struct http2_stream *s, const struct http2_header *h, size_t n, bool last)
{
	assert(!s->responded);
	s->responded = true;
	if (s->reset)
		return;
	nghttp2_nv nv[MAX_NV];
	nghttp2_data_provider body = { .source.ptr = s, .read_callback = read_body };
	may_fail(nghttp2_submit_response(s->conn->session, s->id, nv, make_nv(nv, h, n),
					 last ? NULL : &body));
	pump_later(s->conn);
}

static void wake(struct http2_stream *s)
{
	if (s->starved && !s->reset) {
		s->starved = false;
		may_fail(nghttp2_session_resume_data(s->conn->session, s->id));
	}
	pump_later(s->conn);
}

void *http2_room(struct http2_stream *s, size_t n)
{
	if (!may_hold(s->conn, n))
		return NULL;
	if (s->sent >= COMPACT_AT && s->sent >= s->out.len / 2) {
		buf_consume(&s->out, s->sent);
		s->sent = 0;
	}
	return buf_room(&s->out, n);
}

void http2_send(struct http2_stream *s, size_t n)
{
	assert(s->responded && !s->ended);
	s->out.len += n;
	hold(s->conn, n);
	if (s->reset)
		drop_queue(s);
	wake(s);
}

size_t http2_queued(const struct http2_stream *s)
{
	return s->out.len - s->sent;
}

void http2_watch_queue(struct http2_stream *s, size_t low)
{
	s->low = low;
	s->watching = true;
}

void http2_end(struct http2_stream *s, const struct http2_header *h, size_t n)
{
	assert(s->responded && !s->ended);
	s->ended = true;
	s->ntrailers = n;
	s->trailers = pool_alloc(s->pool, n * sizeof(*h));
	for (size_t i = 0; i < n; i++)
		s->trailers[i] = (struct http2_header){ pool_strdup(s->pool, h[i].name),
							pool_strdup(s->pool, h[i].value) };
	wake(s);
}

void http2_reset(struct http2_stream *s, enum http2_error code)
{
	if (s->reset)
		return;
	s->reset = true;
	s->watching = false;
	drop_queue(s);
	may_fail(nghttp2_submit_rst_stream(s->conn->session, NGHTTP2_FLAG_NONE, s->id, code));
	pump_later(s->conn);
}

/* -- what nghttp2 tells -- */

static int handle_begin_headers(nghttp2_session *session, const nghttp2_frame *f, void *user)
{
	if (f->hd.type == NGHTTP2_HEADERS && f->headers.cat == NGHTTP2_HCAT_REQUEST)
		stream_new(user, f->hd.stream_id);
	return 0;
}

static int handle_header(nghttp2_session *session, const nghttp2_frame *f, const uint8_t *name,
			 size_t namelen, const uint8_t *value, size_t len, uint8_t flags, void *user)
{
	struct http2_stream *s = nghttp2_session_get_stream_user_data(session, f->hd.stream_id);
	if (!s || s->begun)	/* trailers of the client's say nothing to us */
		return 0;
	int i = keep_index(s->conn->server->handler, (const char *)name, namelen);
	if (i >= 0 && !s->values[i])
		s->values[i] = pool_strndup(s->pool, (const char *)value,
					    len < HTTP2_VALUE_MAX ? len : HTTP2_VALUE_MAX);
	return 0;
}

static int handle_frame(nghttp2_session *session, const nghttp2_frame *f, void *user)
{
	struct connection *c = user;
	const struct http2_handler *h = c->server->handler;
	if (f->hd.type == NGHTTP2_SETTINGS)
		loop_timer_stop(&c->preface);
	if (f->hd.type != NGHTTP2_HEADERS && f->hd.type != NGHTTP2_DATA)
		return 0;
	struct http2_stream *s = nghttp2_session_get_stream_user_data(session, f->hd.stream_id);
	if (!s)
		return 0;
	if (!s->begun) {
		s->begun = true;
		h->request(s, c->server->user);
	}
	if (f->hd.flags & NGHTTP2_FLAG_END_STREAM && !s->reset)
		h->end(s);
	return 0;
}

static int handle_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
		       size_t n, void *user)
{
	struct http2_stream *s = nghttp2_session_get_stream_user_data(session, id);
	if (s && !s->reset)
		s->conn->server->handler->data(s, bytes, n);
	return 0;
}

/* The response is out and the client is still talking: it may stop (RFC 9113, 8.1). */
static int handle_frame_sent(nghttp2_session *session, const nghttp2_frame *f, void *user)
{
	if ((f->hd.type == NGHTTP2_HEADERS || f->hd.type == NGHTTP2_DATA) &&
	    f->hd.flags & NGHTTP2_FLAG_END_STREAM &&
	    nghttp2_session_get_stream_remote_close(session, f->hd.stream_id) == 0)
		may_fail(nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, f->hd.stream_id,
						   NGHTTP2_NO_ERROR));
	return 0;
}

static int handle_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	struct http2_stream *s = nghttp2_session_get_stream_user_data(session, id);
	if (s)
		stream_gone(s);
	return 0;
}

/* -- connections -- */

static void connection_close(struct connection *c)
{
	if (c->closed)
		return;
	c->closed = true;
	while (!list_empty(&c->streams))
		stream_gone(container_of(c->streams.next, struct http2_stream, link));
	loop_defer_cancel(&c->pump);
	loop_timer_stop(&c->preface);
	sock_stop(&c->sock);
	list_del(&c->link);
	c->server->count--;
	loop_destroy_later(c->server->loop, c->pool);
}

/* Hand over to the socket what the session has to say, as much as may wait there.  Once a pass:
 * a fast reader and an endless writer would otherwise feed each other without a poll between. */
static void pump(struct loop_defer *d)
{
	struct connection *c = d->data;
	uint64_t pass = loop_passes(c->server->loop) + 1;
	bool more = true;
	if (c->pumped == pass)
		return sock_flush(&c->sock, true);
	c->pumped = pass;
	while (more && sock_queued(&c->sock) < OUT_MAX) {
		const uint8_t *bytes;
		ssize_t n = nghttp2_session_mem_send(c->session, &bytes);
		if (n < 0)
			return connection_close(c);
		if (n > 0)
			sock_add(&c->sock, bytes, (size_t)n);
		more = n > 0;
	}
	sock_flush(&c->sock, more);
	if (!nghttp2_session_want_read(c->session) && !nghttp2_session_want_write(c->session) &&
	    !sock_queued(&c->sock))
		connection_close(c);
}

static void pump_later(struct connection *c)
{
	if (!c->closed)
		loop_defer(c->server->loop, &c->pump, pump, c);
}

static void handle_received(struct sock *sock, const void *bytes, size_t n)
{
	struct connection *c = sock->data;
	ssize_t ret = nghttp2_session_mem_recv(c->session, bytes, n);
	if (ret < 0) {
		log_debug("connection dropped", "err", nghttp2_strerror((int)ret));
		return connection_close(c);
	}
	pump_later(c);
}

static void handle_drained(struct sock *sock)
{
	pump_later(sock->data);
}

static void handle_closed(struct sock *sock, const struct err *why)
{
	if (why->code)
		log_debug("connection broke", "err", err_text(why));
	connection_close(sock->data);
}

static const struct sock_handler sock_handler = {
	.received = handle_received,
	.drained = handle_drained,
	.closed = handle_closed,
};

static void handle_silence(struct loop_timer *t)
{
	log_debug("connection dropped", "err", "no HTTP/2 preface in time");
	connection_close(t->data);
}

static void release_connection(struct pool_res *r)
{
	struct connection *c = container_of(r, struct connection, res);
	loop_defer_cancel(&c->pump);
	nghttp2_session_del(c->session);
}

static void greet(struct connection *c)
{
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, HTTP2_STREAMS_MAX },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, HTTP2_STREAM_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADER_LIST_MAX },
	};
	must(nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings,
				     sizeof(settings) / sizeof(*settings)));
	must(nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0,
						   HTTP2_CONNECTION_WINDOW));
	pump_later(c);
}

static void handle_accepted(struct sock_listener *sl, int fd)
{
	struct http2_server *hs = sl->data;
	if (hs->count >= HTTP2_CONNECTIONS_MAX) {
		if (!hs->full)
			log_warn("too many connections, new ones are closed", "max",
				 log_num(HTTP2_CONNECTIONS_MAX));
		hs->full = true;
		close(fd);
		return;
	}
	hs->full = false;
	struct pool *p = pool_new(hs->pool, "connection");
	struct connection *c = pool_new_struct(p, struct connection);
	c->server = hs;
	c->pool = p;
	list_init(&c->streams);
	must(nghttp2_session_server_new2(&c->session, hs->callbacks, c, hs->option));
	pool_res_add(p, &c->res, release_connection);
	list_append(&hs->connections, &c->link);
	hs->count++;
	sock_start(&c->sock, hs->loop, p, fd, &sock_handler, c);
	loop_timer_start(&c->preface, hs->loop, p, hs->preface_ms, 0, handle_silence, c);
	greet(c);
}

/* -- the server -- */

static void release_server(struct pool_res *r)
{
	struct http2_server *hs = container_of(r, struct http2_server, res);
	nghttp2_session_callbacks_del(hs->callbacks);
	nghttp2_option_del(hs->option);
}

static void set_callbacks(nghttp2_session_callbacks *cb)
{
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, handle_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, handle_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, handle_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, handle_data);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, handle_frame_sent);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, handle_stream_close);
}

struct http2_server *http2_server_new(struct loop *l, struct pool *p, int listen_fd,
				      const struct http2_handler *h, void *user)
{
	struct http2_server *hs = pool_new_struct(p, struct http2_server);
	hs->loop = l;
	hs->pool = p;
	hs->handler = h;
	hs->user = user;
	hs->preface_ms = HTTP2_PREFACE_MS;
	list_init(&hs->connections);
	must(nghttp2_session_callbacks_new(&hs->callbacks));
	set_callbacks(hs->callbacks);
	must(nghttp2_option_new(&hs->option));
	/* Memory for what a unix socket has no use of: old streams for priorities, and a table
	 * to say the same response headers shorter. */
	nghttp2_option_set_no_closed_streams(hs->option, 1);
	nghttp2_option_set_max_deflate_dynamic_table_size(hs->option, 0);
	pool_res_add(p, &hs->res, release_server);
	sock_listener_start(&hs->listener, l, p, listen_fd, handle_accepted, hs);
	return hs;
}

void http2_server_shutdown(struct http2_server *hs)
{
	if (hs->stopping)
		return;
	hs->stopping = true;
	sock_listener_stop(&hs->listener);
	struct connection *c;
	list_for_each(c, &hs->connections, link) {
		must(nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE,
					   nghttp2_session_get_last_proc_stream_id(c->session),
					   NGHTTP2_NO_ERROR, NULL, 0));
		pump_later(c);
	}
}

void http2_server_close(struct http2_server *hs)
{
	hs->stopping = true;
	sock_listener_stop(&hs->listener);
	while (!list_empty(&hs->connections))
		connection_close(container_of(hs->connections.next, struct connection, link));
}

void http2_server_set_preface_ms(struct http2_server *hs, uint64_t ms)
{
	hs->preface_ms = ms;
}

size_t http2_server_connections(const struct http2_server *hs)
{
	return hs->count;
}

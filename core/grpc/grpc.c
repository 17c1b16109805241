/*
 * gRPC calls on HTTP/2 streams, see the header.
 *
 *	          headers            whole, checked           reply, finish, fail
 *	stream ----------> READING ----------------> RUNNING --------------------> ANSWERED
 *	                      |                         |                             ^
 *	                      | bad request             | reset, lost: on_cancel,     |
 *	                      +-------------------------|---- and the stream is gone  |
 *	                             fail               | deadline: on_cancel, fail   |
 *	                                                +-----------------------------+
 *
 * A request that does not parse is InvalidArgument, where gRPC for Go says Internal: the bytes
 * are the caller's, and Internal would send the operator after a fault of this daemon.
 */
#include "core/grpc/grpc.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/grpc/frame.h"
#include "core/grpc/message.h"
#include "core/grpc/status.h"
#include "core/http2/http2.h"
#include "core/loop/loop.h"

struct grpc_server {
	struct loop *loop;
	struct http2_server *http2;
	const struct grpc_method *methods;
	void *user;
};

enum call_state { CALL_STATE_READING, CALL_STATE_RUNNING, CALL_STATE_ANSWERED };

struct grpc_call {
	struct grpc_server *server;
	struct http2_stream *stream;
	const struct grpc_method *method;	/* NULL until routed */
	enum call_state state;
	bool responded;			/* response headers are out */
	bool broken;			/* sent too much; on_cancel is due */
	bool paused;			/* grpc_send said false */
	struct frame in;
	struct pool_res res;
	struct loop_defer later;	/* on_cancel of a broken call, or on_writable */
	struct loop_timer timer;
	int64_t began_ns, deadline_ns;	/* monotonic; deadline 0: none */
	void (*on_cancel)(struct grpc_call *call, void *data);
	void *cancel_data;
	void (*on_writable)(struct grpc_call *call, void *data);
	void *writable_data;
};

static const char *const kept_headers[] = {
	":method", ":path", "content-type", "grpc-timeout", NULL
};

/* -- what a handler asks -- */

struct pool *grpc_pool(struct grpc_call *c)
{
	return http2_pool(c->stream);
}

void *grpc_user(struct grpc_call *c)
{
	return c->server->user;
}

struct loop *grpc_loop(struct grpc_call *c)
{
	return c->server->loop;
}

const struct grpc_method *grpc_call_method(const struct grpc_call *c)
{
	return c->method;
}

int64_t grpc_time_left_ms(const struct grpc_call *c)
{
	if (!c->deadline_ns)
		return -1;
	int64_t left = c->deadline_ns - clock_mono_ns();
	return left > 0 ? (left + 999999) / 1000000 : 0;
}

void grpc_on_cancel(struct grpc_call *c, void (*cb)(struct grpc_call *call, void *data), void *data)
{
	c->on_cancel = cb;
	c->cancel_data = data;
}

void grpc_on_writable(struct grpc_call *c, void (*cb)(struct grpc_call *call, void *data), void *data)
{
	c->on_writable = cb;
	c->writable_data = data;
}

/* -- the end of a call -- */

static void log_answer(const struct grpc_call *c, int code, const char *msg)
{
	if (log_level() != LOG_LEVEL_DEBUG)
		return;
	log_debug("call answered", "method", c->method ? c->method->name : NULL, "code",
		  status_name(code), "err", code ? msg : NULL, "us",
		  log_num((clock_mono_ns() - c->began_ns) / 1000));
}

/* From here on nothing calls the handler back. */
static void set_answered(struct grpc_call *c, int code, const char *msg)
{
	assert(c->state != CALL_STATE_ANSWERED);
	c->state = CALL_STATE_ANSWERED;
	loop_timer_stop(&c->timer);
	loop_defer_cancel(&c->later);
	frame_free(&c->in);
	log_answer(c, code, msg);
}

/* Tell the handler that its handle dies; at most once. */
static void call_off(struct grpc_call *c, int code, const char *why)
{
	bool running = c->state == CALL_STATE_RUNNING;
	if (c->state == CALL_STATE_ANSWERED)
		return;
	set_answered(c, code, why);
	if (running && c->on_cancel)
		c->on_cancel(c, c->cancel_data);
}

/* Status on the wire: trailers, or all in one when nothing was sent before. */
static void send_status(struct grpc_call *c, int code, const char *msg, const char *http_status)
{
	char number[12];
	snprintf(number, sizeof(number), "%d", code);
	struct http2_header h[] = {
		{ ":status", http_status },
		{ "content-type", "application/grpc" },
		{ "grpc-status", number },
		{ "grpc-message", code ? status_message(grpc_pool(c), msg) : "" },
	};
	size_t n = code ? 4 : 3;
	if (c->responded)
		http2_end(c->stream, h + 2, n - 2);
	else
		http2_respond(c->stream, h, n, true);
	c->responded = true;
}

static void finish(struct grpc_call *c, int code, const char *msg)
{
	bool broken = c->broken;
	set_answered(c, code, msg);
	if (!broken)
		send_status(c, code, msg, "200");
}

void grpc_fail_code(struct grpc_call *c, int code, const char *msg)
{
	finish(c, code, msg);
}

void grpc_fail(struct grpc_call *c, const struct err *e)
{
	finish(c, status_code(e->code), err_text(e));
}

void grpc_finish(struct grpc_call *c)
{
	finish(c, GRPC_OK, "");
}

/* -- messages out -- */

static int check_size(size_t len, struct err *e)
{
	if (len > GRPC_MESSAGE_MAX)
		return err_set(e, E2BIG, "response of %zu bytes: the limit is %d", len, GRPC_MESSAGE_MAX);
	return 0;
}

static void respond(struct grpc_call *c)
{
	static const struct http2_header h[] = {
		{ ":status", "200" }, { "content-type", "application/grpc" }
	};
	if (!c->responded)
		http2_respond(c->stream, h, 2, false);
	c->responded = true;
}

/* Room for a message behind its prefix.  Headers go out only once there is room: a failure is
 * all in one then, and needs no window to be sent. */
static unsigned char *start_message(struct grpc_call *c, size_t len, struct err *e)
{
	unsigned char *room = http2_room(c->stream, FRAME_PREFIX + len);
	if (!room) {
		err_set(e, ENOMEM, "too much output is waiting for its readers");
		return NULL;
	}
	respond(c);
	frame_prefix(room, (uint32_t)len);
	return room + FRAME_PREFIX;
}

/* Pack m into the stream's room, with strings that are UTF-8. */
static int put_message(struct grpc_call *c, const ProtobufCMessage *m, size_t len, struct err *e)
{
	assert(m->descriptor == c->method->response);
	unsigned char *room = start_message(c, len, e);
	if (!room)
		return -ENOMEM;
	protobuf_c_message_pack(m, room);
	if (message_check(m->descriptor, room, len, NULL) < 0) {
		/* Rare: mend a copy, as the message may share its strings with the model. */
		ProtobufCMessage *copy;
		size_t used;
		int ret = message_unpack(m->descriptor, grpc_pool(c), room, len, &copy, &used, e);
		if (ret < 0)
			return ret;
		message_clean(grpc_pool(c), copy);
		len = protobuf_c_message_get_packed_size(copy);
		ret = check_size(len, e);
		if (ret < 0)
			return ret;
		room = start_message(c, len, e);
		if (!room)
			return -ENOMEM;
		protobuf_c_message_pack(copy, room);
	}
	http2_send(c->stream, FRAME_PREFIX + len);
	return 0;
}

static int put_bytes(struct grpc_call *c, const void *bytes, size_t len, struct err *e)
{
	unsigned char *room = start_message(c, len, e);
	if (!room)
		return -ENOMEM;
	if (len)
		memcpy(room, bytes, len);
	http2_send(c->stream, FRAME_PREFIX + len);
	return 0;
}

void grpc_reply(struct grpc_call *c, const ProtobufCMessage *response)
{
	struct err e = { 0 };
	size_t len = protobuf_c_message_get_packed_size(response);
	assert(c->state == CALL_STATE_RUNNING && !c->method->streaming);
	if (check_size(len, &e) < 0 || put_message(c, response, len, &e) < 0)
		return grpc_fail(c, &e);
	finish(c, GRPC_OK, "");
}

void grpc_reply_packed(struct grpc_call *c, const void *bytes, size_t len)
{
	struct err e = { 0 };
	assert(c->state == CALL_STATE_RUNNING && !c->method->streaming);
	if (check_size(len, &e) < 0 || put_bytes(c, bytes, len, &e) < 0)
		return grpc_fail(c, &e);
	finish(c, GRPC_OK, "");
}

static void handle_later(struct loop_defer *d)
{
	struct grpc_call *c = d->data;
	if (c->broken)
		return call_off(c, GRPC_RESOURCE_EXHAUSTED, "too much was sent");
	if (c->state == CALL_STATE_RUNNING && c->on_writable)
		c->on_writable(c, c->writable_data);
}

/* The client gets its status now, the handler is told at the end of the pass. */
static bool break_off(struct grpc_call *c, const struct err *e)
{
	c->broken = true;
	if (http2_queued(c->stream))	/* nobody reads: a status would wait behind all that */
		http2_reset(c->stream, HTTP2_ENHANCE_YOUR_CALM);
	else
		send_status(c, status_code(e->code), err_text(e), "200");
	loop_defer(c->server->loop, &c->later, handle_later, c);
	return false;
}

static int check_queue(struct grpc_call *c, size_t len, struct err *e)
{
	size_t queued = http2_queued(c->stream);
	int ret = check_size(len, e);
	if (ret == 0 && queued && queued + len > GRPC_MESSAGE_MAX)
		ret = err_set(e, E2BIG, "%zu bytes wait for a reader", queued);
	return ret;
}

static bool sent(struct grpc_call *c)
{
	if (http2_queued(c->stream) <= GRPC_QUEUE_HIGH)
		return true;
	c->paused = true;
	http2_watch_queue(c->stream, GRPC_QUEUE_LOW);
	return false;
}

bool grpc_send(struct grpc_call *c, const ProtobufCMessage *message)
{
	struct err e = { 0 };
	assert(c->state == CALL_STATE_RUNNING && c->method->streaming);
	if (c->broken)
		return false;
	size_t len = protobuf_c_message_get_packed_size(message);
	if (check_queue(c, len, &e) < 0 || put_message(c, message, len, &e) < 0)
		return break_off(c, &e);
	return sent(c);
}

bool grpc_send_packed(struct grpc_call *c, const void *bytes, size_t len)
{
	struct err e = { 0 };
	assert(c->state == CALL_STATE_RUNNING && c->method->streaming);
	if (c->broken)
		return false;
	if (check_queue(c, len, &e) < 0 || put_bytes(c, bytes, len, &e) < 0)
		return break_off(c, &e);
	return sent(c);
}

void *grpc_pack(struct pool *p, const ProtobufCMessage *m, size_t *len, struct err *e)
{
	ProtobufCMessage *copy;
	size_t used;
	*len = protobuf_c_message_get_packed_size(m);
	if (check_size(*len, e) < 0)
		return NULL;
	unsigned char *bytes = pool_alloc(p, *len + 1);
	protobuf_c_message_pack(m, bytes);
	if (message_check(m->descriptor, bytes, *len, NULL) == 0)
		return bytes;
	if (message_unpack(m->descriptor, p, bytes, *len, &copy, &used, e) < 0)
		return NULL;
	message_clean(p, copy);
	*len = protobuf_c_message_get_packed_size(copy);
	if (check_size(*len, e) < 0)
		return NULL;
	bytes = pool_alloc(p, *len + 1);
	protobuf_c_message_pack(copy, bytes);
	return bytes;
}

bool grpc_hold(struct grpc_call *c, size_t n)
{
	return http2_hold(c->stream, n);
}

void grpc_begin(struct grpc_call *c)
{
	assert(c->state == CALL_STATE_RUNNING && c->method->streaming);
	if (!c->broken)
		respond(c);
}

static void handle_drained(struct http2_stream *s)
{
	struct grpc_call *c = http2_data(s);
	if (!c->paused || c->broken || c->state != CALL_STATE_RUNNING)
		return;
	c->paused = false;
	loop_defer(c->server->loop, &c->later, handle_later, c);
}

/* -- requests in -- */

static void handle_deadline(struct loop_timer *t)
{
	struct grpc_call *c = t->data;
	bool broken = c->broken;
	call_off(c, GRPC_DEADLINE_EXCEEDED, "deadline exceeded");
	if (!broken)
		send_status(c, GRPC_DEADLINE_EXCEEDED, "deadline exceeded", "200");
}

static void start_deadline(struct grpc_call *c, int64_t ms)
{
	c->deadline_ns = c->began_ns + ms * 1000000;
	if (ms <= 0)
		return finish(c, GRPC_DEADLINE_EXCEEDED, "the deadline had passed on arrival");
	loop_timer_start(&c->timer, c->server->loop, grpc_pool(c), (uint64_t)ms, 0, handle_deadline, c);
}

/* "application/grpc", "+proto" and parameters after it. */
static bool is_grpc(const char *type)
{
	static const char grpc[] = "application/grpc";
	if (!type || strncmp(type, grpc, sizeof(grpc) - 1))
		return false;
	type += sizeof(grpc) - 1;
	if (!strncmp(type, "+proto", 6))
		type += 6;
	return !*type || *type == ';';
}

static void refuse(struct grpc_call *c, const char *http_status, const char *msg)
{
	set_answered(c, GRPC_UNKNOWN, msg);
	send_status(c, GRPC_UNKNOWN, msg, http_status);
}

/* Does path say "/service/..."?  Gives the method's part. */
static const char *match_service(const char *path, const char *service)
{
	size_t n = strlen(service);
	return path[0] == '/' && !strncmp(path + 1, service, n) && path[1 + n] == '/' ? path + n + 2 : NULL;
}

static const struct grpc_method *find_method(struct grpc_call *c, const char *path, struct err *e)
{
	bool known = false;
	for (const struct grpc_method *m = c->server->methods; m->service; m++) {
		const char *name = match_service(path, m->service);
		known |= name != NULL;
		if (!name || strcmp(name, m->name))
			continue;
		if (m->handler)
			return m;
		err_set(e, ENOSYS, "%s/%s is not implemented", m->service, m->name);
		return NULL;
	}
	err_set(e, ENOSYS, "unknown %s: %.200s", known ? "method" : "service", path);
	return NULL;
}

static void release_call(struct pool_res *r)
{
	struct grpc_call *c = container_of(r, struct grpc_call, res);
	loop_defer_cancel(&c->later);
	frame_free(&c->in);
}

static void handle_request(struct http2_stream *s, void *user)
{
	struct grpc_call *c = pool_new_struct(http2_pool(s), struct grpc_call);
	http2_set_data(s, c);
	c->server = user;
	c->stream = s;
	c->began_ns = clock_mono_ns();
	pool_res_add(http2_pool(s), &c->res, release_call);
	const char *http_method = http2_header(s, ":method"), *path = http2_header(s, ":path");
	const char *timeout = http2_header(s, "grpc-timeout");
	struct err e = { 0 };
	int64_t ms = 0;
	if (!http_method || strcmp(http_method, "POST"))
		return refuse(c, "405", "gRPC wants POST");
	if (!is_grpc(http2_header(s, "content-type")))
		return refuse(c, "415", "content-type is not application/grpc");
	if (timeout && status_timeout(timeout, &ms) < 0) {
		err_set(&e, EINVAL, "grpc-timeout: %.20s is none", timeout);
		return grpc_fail(c, &e);
	}
	c->method = find_method(c, path ? path : "", &e);
	if (!c->method)
		return grpc_fail(c, &e);
	if (timeout)
		start_deadline(c, ms);
}

static void handle_data(struct http2_stream *s, const void *bytes, size_t n)
{
	struct grpc_call *c = http2_data(s);
	struct err e = { 0 };
	if (c->state == CALL_STATE_ANSWERED)
		return;
	if (!http2_hold(s, n))
		err_set(&e, ENOMEM, "too many bytes of requests are held");
	if (e.code || frame_take(&c->in, bytes, n, &e) < 0)
		grpc_fail(c, &e);
}

static int parse_request(struct grpc_call *c, ProtobufCMessage **request, struct err *e)
{
	const struct buf *body = &c->in.body;
	size_t used;
	if (!frame_whole(&c->in))
		return err_set(e, EINVAL, "the request ended before its message did");
	int ret = message_check(c->method->request, body->data, body->len, e);
	if (ret == 0)
		ret = message_unpack(c->method->request, grpc_pool(c), body->data, body->len, request,
				     &used, e);
	if (ret == 0 && !http2_hold(c->stream, used))
		ret = err_set(e, ENOMEM, "too many bytes of requests are held");
	return ret;
}

static void handle_end(struct http2_stream *s)
{
	struct grpc_call *c = http2_data(s);
	struct err e = { 0 };
	ProtobufCMessage *request;
	if (c->state != CALL_STATE_READING)
		return;
	if (parse_request(c, &request, &e) < 0)
		return grpc_fail(c, &e);
	frame_free(&c->in);
	c->state = CALL_STATE_RUNNING;
	c->method->handler(c, request);
	assert(c->state == CALL_STATE_ANSWERED || c->on_cancel);
}

static void handle_gone(struct http2_stream *s)
{
	call_off(http2_data(s), GRPC_CANCELLED, "reset by the client, or its connection is gone");
}

static const struct http2_handler http2_handler = {
	.keep = kept_headers,
	.request = handle_request,
	.data = handle_data,
	.end = handle_end,
	.drained = handle_drained,
	.gone = handle_gone,
};

/* -- the server -- */

struct grpc_server *grpc_server_new(struct loop *l, struct pool *p, int listen_fd,
				    const struct grpc_method *methods, void *user)
{
	struct grpc_server *s = pool_new_struct(p, struct grpc_server);
	s->loop = l;
	s->methods = methods;
	s->user = user;
	s->http2 = http2_server_new(l, p, listen_fd, &http2_handler, s);
	return s;
}

void grpc_server_shutdown(struct grpc_server *s)
{
	http2_server_shutdown(s->http2);
}

void grpc_server_close(struct grpc_server *s)
{
	http2_server_close(s->http2);
}

void grpc_server_set_preface_ms(struct grpc_server *s, uint64_t ms)
{
	http2_server_set_preface_ms(s->http2, ms);
}

size_t grpc_server_connections(const struct grpc_server *s)
{
	return http2_server_connections(s->http2);
}

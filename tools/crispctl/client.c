/*
 * gRPC over nghttp2, blocking.  nghttp2 holds the connection's state; this file moves bytes
 * between it and the socket until the one call under way has what it waits for.
 */
#include "tools/crispctl/client.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/pool.h"

enum {
	PREFIX = 5,			/* compressed flag, length in 4 bytes */
	MESSAGE_MAX = 64 << 20,		/* above the 16 MiB that the CRI allows */
	WINDOW = 4 << 20,
	TICK_MS = 100,
};

struct client {
	struct pool_res res;
	struct pool *pool;
	ProtobufCAllocator alloc;
	nghttp2_session *session;
	int fd;
	const char *path;
	uint64_t timeout_ms;
	void (*tick)(void *data);
	void *tick_data;

	/* the call under way */
	const char *method;
	int32_t stream;
	bool closed;			/* the stream has ended */
	uint32_t h2_error;
	int64_t deadline_ns;		/* 0: none */
	struct buf out;			/* request, prefix and all */
	size_t sent;
	struct buf in;			/* answer, prefixes and all */
	int http_status;
	int grpc_status;		/* -1 until trailers say it */
	char grpc_message[4096];
};

/* The codes of gRPC by number. */
static const struct {
	const char *name;
	int code;
} statuses[] = {
	{ "OK", 0 },
	{ "Cancelled", ECANCELED },
	{ "Unknown", EIO },
	{ "InvalidArgument", EINVAL },
	{ "DeadlineExceeded", ETIMEDOUT },
	{ "NotFound", ENOENT },
	{ "AlreadyExists", EEXIST },
	{ "PermissionDenied", EACCES },
	{ "ResourceExhausted", EDQUOT },
	{ "FailedPrecondition", EBUSY },
	{ "Aborted", EAGAIN },
	{ "OutOfRange", ERANGE },
	{ "Unimplemented", ENOSYS },
	{ "Internal", EIO },
	{ "Unavailable", EHOSTDOWN },
	{ "DataLoss", EIO },
	{ "Unauthenticated", EPERM },
};

static int hex(char c)
{
	return c >= '0' && c <= '9'		    ? c - '0'
	       : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
						    : -1;
}

/* grpc-message is percent-encoded. */
static void decode_percent(char *out, size_t cap, const uint8_t *s, size_t n)
{
	size_t at = 0;
	for (size_t i = 0; i < n && at + 1 < cap; i++) {
		char c = s[i];
		if (c == '%' && i + 2 < n && hex(s[i + 1]) >= 0 && hex(s[i + 2]) >= 0) {
			c = hex(s[i + 1]) << 4 | hex(s[i + 2]);
			i += 2;
		}
		out[at++] = c == '\n' ? ' ' : c;
	}
	out[at] = 0;
}

static int small_number(const uint8_t *s, size_t n)
{
	int v = 0;
	for (size_t i = 0; i < n && i < 4; i++)
		if (s[i] >= '0' && s[i] <= '9')
			v = v * 10 + s[i] - '0';
	return v;
}

static int handle_header(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *name,
			 size_t nlen, const uint8_t *value, size_t vlen, uint8_t flags, void *data)
{
	struct client *c = data;
	if (f->hd.stream_id != c->stream)
		return 0;
	if (nlen == 7 && !memcmp(name, ":status", 7))
		c->http_status = small_number(value, vlen);
	else if (nlen == 11 && !memcmp(name, "grpc-status", 11))
		c->grpc_status = small_number(value, vlen);
	else if (nlen == 12 && !memcmp(name, "grpc-message", 12))
		decode_percent(c->grpc_message, sizeof(c->grpc_message), value, vlen);
	return 0;
}

static int handle_data(nghttp2_session *s, uint8_t flags, int32_t stream, const uint8_t *bytes,
		       size_t n, void *data)
{
	struct client *c = data;
	if (stream != c->stream)
		return 0;
	if (c->in.len + n > MESSAGE_MAX)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	buf_add(&c->in, bytes, n);
	return 0;
}

static int handle_close(nghttp2_session *s, int32_t stream, uint32_t error, void *data)
{
	struct client *c = data;
	if (stream == c->stream) {
		c->closed = true;
		c->h2_error = error;
	}
	return 0;
}

static ssize_t read_request(nghttp2_session *s, int32_t stream, uint8_t *bytes, size_t n,
			    uint32_t *flags, nghttp2_data_source *source, void *data)
{
	struct client *c = data;
	if (n > c->out.len - c->sent)
		n = c->out.len - c->sent;
	memcpy(bytes, c->out.data + c->sent, n);
	c->sent += n;
	if (c->sent == c->out.len)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return n;
}

static void *alloc_in_pool(void *data, size_t n)
{
	return pool_alloc(data, n);
}

static void free_in_pool(void *data, void *p)
{
}

static void release(struct pool_res *r)
{
	struct client *c = container_of(r, struct client, res);
	nghttp2_session_del(c->session);
	buf_free(&c->in);
	buf_free(&c->out);
	close(c->fd);
}

static int dial(const char *path, struct err *e)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(a.sun_path))
		return err_set(e, EINVAL, "--socket %s is too long", path);
	strcpy(a.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(e, "open a socket");
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		bool quiet = errno == ENOENT || errno == ECONNREFUSED;
		/* Nobody there is another thing than "no such container". */
		int ret = quiet ? err_set(e, EHOSTDOWN,
					  "no runtime answers on %s: %s (--socket names another)",
					  path, strerror(errno))
				: err_sys(e, "connect to %s", path);
		close(fd);
		return ret;
	}
	fd_set_nonblock(fd);
	return fd;
}

static void start_session(struct client *c)
{
	nghttp2_session_callbacks *cb;
	if (nghttp2_session_callbacks_new(&cb))
		abort();
	nghttp2_session_callbacks_set_on_header_callback(cb, handle_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, handle_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, handle_close);
	if (nghttp2_session_client_new(&c->session, cb, c))
		abort();
	nghttp2_session_callbacks_del(cb);
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW },
	};
	nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, 2);
	nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, WINDOW);
}

int client_open(struct pool *p, const char *path, struct client **out, struct err *e)
{
	if (!strncmp(path, "unix://", 7))
		path += 7;
	int fd = dial(path, e);
	if (fd < 0)
		return fd;
	struct client *c = pool_new_struct(p, struct client);
	c->pool = p;
	c->fd = fd;
	c->path = pool_strdup(p, path);
	c->alloc = (ProtobufCAllocator){ alloc_in_pool, free_in_pool, p };
	start_session(c);
	pool_res_add(p, &c->res, release);
	*out = c;
	return 0;
}

void client_set_timeout(struct client *c, uint64_t ms)
{
	c->timeout_ms = ms;
}

uint64_t client_timeout(const struct client *c)
{
	return c->timeout_ms;
}

void client_set_tick(struct client *c, void (*tick)(void *data), void *data)
{
	c->tick = tick;
	c->tick_data = data;
}

static int flush(struct client *c, struct err *e)
{
	for (;;) {
		const uint8_t *bytes;
		ssize_t n = nghttp2_session_mem_send(c->session, &bytes);
		if (n < 0)
			return err_set(e, EPROTO, "HTTP/2: %s", nghttp2_strerror(n));
		if (n == 0)
			return 0;
		while (n > 0) {
			ssize_t done = send(c->fd, bytes, n, MSG_NOSIGNAL);
			if (done < 0 && errno == EAGAIN) {
				poll(&(struct pollfd){ c->fd, POLLOUT, 0 }, 1, TICK_MS);
				if (c->deadline_ns && clock_mono_ns() > c->deadline_ns)
					return err_set(e, ETIMEDOUT,
						       "%s: the runtime reads nothing", c->method);
				continue;
			}
			if (done < 0)
				return err_sys(e, "send to %s", c->path);
			bytes += done;
			n -= done;
		}
	}
}

static int fill(struct client *c, struct err *e)
{
	uint8_t bytes[65536];
	ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0)
		return err_sys(e, "receive from %s", c->path);
	if (n == 0)
		return err_set(e, ECONNRESET, "%s: the runtime closed the connection", c->method);
	ssize_t used = nghttp2_session_mem_recv(c->session, bytes, n);
	if (used < 0)
		return err_set(e, EPROTO, "%s: not HTTP/2: %s", c->path, nghttp2_strerror(used));
	return 0;
}

/* Wait for bytes, a tick or the deadline. */
static int wait_socket(struct client *c, struct err *e)
{
	int wait_ms = c->tick ? TICK_MS : 1000;
	if (c->deadline_ns) {
		int64_t left = c->deadline_ns - clock_mono_ns();
		if (left <= 0)
			return err_set(e, ETIMEDOUT, "%s: no answer within %llu ms", c->method,
				       (unsigned long long)c->timeout_ms);
		if (left / 1000000 + 1 < wait_ms)
			wait_ms = left / 1000000 + 1;
	}
	int n = poll(&(struct pollfd){ c->fd, POLLIN, 0 }, 1, wait_ms);
	if (n < 0 && errno != EINTR)
		return err_sys(e, "poll");
	if (c->tick)
		c->tick(c->tick_data);
	return n > 0 ? fill(c, e) : 0;
}

static size_t message_len(const struct client *c)
{
	const uint8_t *b = (const uint8_t *)c->in.data;
	return (size_t)b[1] << 24 | b[2] << 16 | b[3] << 8 | b[4];
}

static bool has_message(const struct client *c)
{
	return c->in.len >= PREFIX && c->in.len - PREFIX >= message_len(c);
}

static void pack_request(struct client *c, const ProtobufCMessage *m)
{
	size_t n = protobuf_c_message_get_packed_size(m);
	uint8_t prefix[PREFIX] = { 0, n >> 24, n >> 16, n >> 8, n };
	c->out.len = 0;
	buf_add(&c->out, prefix, PREFIX);
	protobuf_c_message_pack(m, (uint8_t *)buf_room(&c->out, n));
	c->out.len += n;
	c->sent = 0;
}

#define HEADER(n, v) { (uint8_t *)(n), (uint8_t *)(v), strlen(n), strlen(v), NGHTTP2_NV_FLAG_NONE }

int client_begin(struct client *c, const char *path, const ProtobufCMessage *request, struct err *e)
{
	char timeout[32];
	/* At most eight digits: seconds when milliseconds would not fit. */
	if (c->timeout_ms < 100000000)
		snprintf(timeout, sizeof(timeout), "%llum", (unsigned long long)c->timeout_ms);
	else
		snprintf(timeout, sizeof(timeout), "%lluS",
			 (unsigned long long)c->timeout_ms / 1000 % 100000000);
	nghttp2_nv headers[] = {
		HEADER(":method", "POST"),	   HEADER(":scheme", "http"),
		HEADER(":path", path),		   HEADER(":authority", "localhost"),
		HEADER("te", "trailers"),	   HEADER("content-type", "application/grpc"),
		HEADER("user-agent", "crispctl"), HEADER("grpc-timeout", timeout),
	};
	size_t n = sizeof(headers) / sizeof(*headers) - (c->timeout_ms == 0);
	nghttp2_data_provider body = { .read_callback = read_request };
	if (c->stream && !c->closed)	/* an earlier stream was left half-read */
		nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, c->stream, NGHTTP2_CANCEL);
	pack_request(c, request);
	c->method = strrchr(path, '/') + 1;
	c->closed = false;
	c->in.len = 0;
	c->http_status = 0;
	c->grpc_status = -1;
	c->grpc_message[0] = 0;
	c->deadline_ns = c->timeout_ms ? clock_mono_ns() + (int64_t)c->timeout_ms * 1000000 : 0;
	c->stream = nghttp2_submit_request(c->session, NULL, headers, n, &body, NULL);
	if (c->stream < 0)
		return err_set(e, EPROTO, "%s: %s", c->method, nghttp2_strerror(c->stream));
	return 0;
}

static int ended(struct client *c, struct err *e)
{
	int st = c->grpc_status;
	if (st == 0 && c->in.len == 0)
		return 0;
	if (st == 0)
		return err_set(e, EPROTO, "%s: the answer ends within a message", c->method);
	if (st > 0 && (size_t)st < sizeof(statuses) / sizeof(*statuses))
		return err_set(e, statuses[st].code, "%s: %s (%s)", c->method,
			       c->grpc_message[0] ? c->grpc_message : "no reason given",
			       statuses[st].name);
	if (c->http_status && c->http_status != 200)
		return err_set(e, EPROTO, "%s: HTTP status %d", c->method, c->http_status);
	return err_set(e, EPROTO, "%s: the stream was reset: %s", c->method,
		       nghttp2_http2_strerror(c->h2_error));
}

static int take_message(struct client *c, const ProtobufCMessageDescriptor *type,
			ProtobufCMessage **out, struct err *e)
{
	size_t n = message_len(c);
	if (c->in.data[0])
		return err_set(e, EPROTO, "%s: the answer is compressed", c->method);
	*out = protobuf_c_message_unpack(type, &c->alloc, n, (const uint8_t *)c->in.data + PREFIX);
	if (!*out)
		return err_set(e, EPROTO, "%s: the answer is no %s", c->method, type->short_name);
	buf_consume(&c->in, PREFIX + n);
	return 1;
}

void client_set_pool(struct client *c, struct pool *p)
{
	c->alloc.allocator_data = p;
}

int client_next(struct client *c, const ProtobufCMessageDescriptor *type, ProtobufCMessage **out,
		struct err *e)
{
	for (;;) {
		if (has_message(c))
			return take_message(c, type, out, e);
		if (c->closed)
			return ended(c, e);
		int ret = flush(c, e);
		if (ret == 0 && !c->closed)
			ret = wait_socket(c, e);
		if (ret < 0)
			return ret;
	}
}

int client_call(struct client *c, const char *path, const ProtobufCMessage *request,
		const ProtobufCMessageDescriptor *type, ProtobufCMessage **out, struct err *e)
{
	ProtobufCMessage *again;
	int ret = client_begin(c, path, request, e);
	if (ret == 0)
		ret = client_next(c, type, out, e);
	if (ret == 0)
		return err_set(e, EPROTO, "%s: an empty answer", c->method);
	if (ret == 1)
		ret = client_next(c, type, &again, e);
	return ret == 1 ? err_set(e, EPROTO, "%s: two answers", c->method) : ret;
}

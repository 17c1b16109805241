/* The test's gRPC client, see the header. */
#include "t/grpc_client.h"

#include <assert.h>
#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

int client_connect(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static int handle_header(nghttp2_session *session, const nghttp2_frame *f, const uint8_t *name,
			 size_t namelen, const uint8_t *value, size_t len, uint8_t flags, void *user)
{
	struct client_call *call = nghttp2_session_get_stream_user_data(session, f->hd.stream_id);
	if (!call)
		return 0;
	if (!strcmp((const char *)name, ":status"))
		call->http_status = atoi((const char *)value);
	if (!strcmp((const char *)name, "grpc-status"))
		call->code = atoi((const char *)value);
	if (!strcmp((const char *)name, "grpc-message"))
		snprintf(call->message, sizeof(call->message), "%s", (const char *)value);
	return 0;
}

static int handle_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
		       size_t n, void *user)
{
	struct client *c = user;
	struct client_call *call = nghttp2_session_get_stream_user_data(session, id);
	c->arrived += n;
	if (call) {
		buf_add(&call->in, bytes, n);
		call->data_frames++;
	}
	if (!c->holding)
		nghttp2_session_consume(session, id, n);
	return 0;
}

static int handle_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	struct client_call *call = nghttp2_session_get_stream_user_data(session, id);
	if (call) {
		call->closed = true;
		call->reset = code;
	}
	return 0;
}

static int handle_frame(nghttp2_session *session, const nghttp2_frame *f, void *user)
{
	struct client *c = user;
	c->pings += f->hd.type == NGHTTP2_PING && f->hd.flags & NGHTTP2_FLAG_ACK;
	c->goaway |= f->hd.type == NGHTTP2_GOAWAY;
	return 0;
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *to, size_t len,
			 uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct client_call *call = source->ptr;
	size_t n = call->out.len - call->sent;
	n = n < len ? n : len;
	if (call->chunk && n > call->chunk)
		n = call->chunk;
	if (n)
		memcpy(to, call->out.data + call->sent, n);
	call->sent += n;
	if (call->sent < call->out.len)
		return (ssize_t)n;
	if (!call->open_end)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	else if (!n)
		return NGHTTP2_ERR_DEFERRED;
	return (ssize_t)n;
}

struct client *client_open(const char *path, uint32_t window)
{
	struct client *c = calloc(1, sizeof(*c));
	list_init(&c->calls);
	c->fd = client_connect(path);
	nghttp2_session_callbacks *cb;
	nghttp2_option *option;
	nghttp2_session_callbacks_new(&cb);
	nghttp2_option_new(&option);
	nghttp2_option_set_no_auto_window_update(option, 1);
	nghttp2_session_callbacks_set_on_header_callback(cb, handle_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, handle_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, handle_close);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, handle_frame);
	nghttp2_session *session;
	nghttp2_session_client_new2(&session, cb, c, option);
	nghttp2_option_del(option);
	nghttp2_session_callbacks_del(cb);
	c->session = session;
	nghttp2_settings_entry s = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window ? window : 65535 };
	nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, &s, 1);
	if (window > 65535)
		nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, (int32_t)window);
	return c;
}

void client_close(struct client *c)
{
	struct client_call *call;
	nghttp2_session_del(c->session);
	list_for_each(call, &c->calls, link) {
		buf_free(&call->in);
		buf_free(&call->out);
		free(call);
	}
	if (c->fd >= 0)
		close(c->fd);
	free(c);
}

static nghttp2_nv nv(const char *name, const char *value)
{
	return (nghttp2_nv){ .name = (uint8_t *)name, .namelen = strlen(name),
			     .value = (uint8_t *)value, .valuelen = strlen(value) };
}

struct client_call *client_call(struct client *c, const char *path, const void *body, size_t len,
				const struct client_options *o)
{
	static const struct client_options none;
	struct client_call *call = calloc(1, sizeof(*call));
	o = o ? o : &none;
	call->code = -1;
	call->chunk = o->chunk;
	call->open_end = o->open_end;
	if (!o->raw) {
		unsigned char prefix[5] = { 0, (unsigned char)(len >> 24), (unsigned char)(len >> 16),
					    (unsigned char)(len >> 8), (unsigned char)len };
		buf_add(&call->out, prefix, sizeof(prefix));
	}
	buf_add(&call->out, body, len);
	nghttp2_nv h[8] = {
		nv(":method", o->method ? o->method : "POST"),
		nv(":scheme", "http"),
		nv(":path", path),
		nv(":authority", "localhost"),
		nv("content-type", o->content_type ? o->content_type : "application/grpc"),
		nv("te", "trailers"),
	};
	size_t n = 6;
	if (o->timeout)
		h[n++] = nv("grpc-timeout", o->timeout);
	if (o->extra)
		h[n++] = nv(o->extra, o->extra_value);
	nghttp2_data_provider provider = { .source.ptr = call, .read_callback = read_body };
	call->id = nghttp2_submit_request(c->session, NULL, h, n, &provider, call);
	assert(call->id > 0);
	list_append(&c->calls, &call->link);
	return call;
}

void client_reset(struct client *c, struct client_call *call, uint32_t code)
{
	nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, call->id, code);
}

void client_ping(struct client *c)
{
	nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, NULL);
}

void client_resume(struct client *c)
{
	struct client_call *call;
	c->holding = false;
	list_for_each(call, &c->calls, link)
		if (!call->closed && call->in.len)
			nghttp2_session_consume(c->session, call->id, call->in.len);
}

static void write_out(struct client *c)
{
	const uint8_t *bytes;
	ssize_t n;
	while (c->fd >= 0 && (n = nghttp2_session_mem_send(c->session, &bytes)) > 0) {
		for (ssize_t done = 0; done < n;) {
			ssize_t k = send(c->fd, bytes + done, (size_t)(n - done), MSG_NOSIGNAL);
			if (k < 0)
				return;	/* the reader will see the end */
			done += k;
		}
	}
}

static bool read_in(struct client *c)
{
	uint8_t bytes[16384];
	ssize_t n = recv(c->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return true;
	if (n > 0 && nghttp2_session_mem_recv(c->session, bytes, (size_t)n) == n)
		return true;
	close(c->fd);
	c->fd = -1;
	return false;
}

static int64_t now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

bool client_run(struct client *c, const bool *flag, int ms)
{
	int64_t end = now_ms() + ms;
	for (;;) {
		write_out(c);
		if (flag && *flag)
			return true;
		int64_t left = end - now_ms();
		if (c->fd < 0 || left < 0)
			return false;
		struct pollfd p = { .fd = c->fd, .events = POLLIN };
		if (poll(&p, 1, (int)left) <= 0 || !read_in(c))
			return flag && *flag;
	}
}

struct client_call *client_ask(struct client *c, const char *path, const void *body, size_t len,
			       const struct client_options *o)
{
	struct client_call *call = client_call(c, path, body, len, o);
	client_run(c, &call->closed, 20000);
	return call;
}

const void *client_message(const struct client_call *call, size_t n, size_t *len)
{
	size_t at = 0;
	for (;;) {
		if (call->in.len - at < 5)
			return NULL;
		const unsigned char *p = (const unsigned char *)call->in.data + at;
		*len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
		if (call->in.len - at - 5 < *len)
			return NULL;
		if (!n--)
			return p + 5;
		at += 5 + *len;
	}
}

bool client_sees_close(int fd, int ms)
{
	char bytes[4096];
	int64_t end = now_ms() + ms;
	for (;;) {
		int64_t left = end - now_ms();
		struct pollfd p = { .fd = fd, .events = POLLIN };
		if (left < 0 || poll(&p, 1, (int)left) <= 0)
			return false;
		ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return true;
	}
}

/* WebSocket over wslay: see the header. */
#include "core/stream/ws.h"

#include <errno.h>
#include <sha1.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wslay/wslay.h>

#include "core/base/buf.h"
#include "core/base/pool.h"
#include "core/stream/base64.h"
#include "core/stream/http.h"
#include "core/stream/spdy.h"

enum {
	MESSAGE_MAX = 1 << 20,
	CHANNEL_END = 255,	/* v5 */
	CHANNELS_MAX = 256,
};

struct ws {
	struct wire wire;	/* of channels */
	struct wire *tunnel;	/* instead */
	struct pool_res res;
	const struct ws_protocol *protocol;
	const struct ticket *ticket;
	wslay_event_context_ptr ctx;
	const uint8_t *in;	/* what wslay may read now */
	size_t in_len;
	struct wire_stream *channels[CHANNELS_MAX];
	bool closed;
	struct err why;
};

/* -- the handshake -- */

static const struct ws_protocol remote_protocols[] = {
	{ "v5.channel.k8s.io", 5, false },
	{ "v4.channel.k8s.io", 4, false },
	{ "v4.base64.channel.k8s.io", 4, true },
	{ "channel.k8s.io", 1, false },
	{ "base64.channel.k8s.io", 1, true },
	{ "", 1, false },
	{ 0 },
};
static const char tunnel_name[] = "SPDY/3.1+portforward.k8s.io";
static const struct ws_protocol port_protocols[] = {
	{ tunnel_name, 4, false },
	{ "v4.channel.k8s.io", 4, false },
	{ "v4.base64.channel.k8s.io", 4, true },
	{ "", 4, false },
	{ 0 },
};

const struct ws_protocol *ws_protocol(const char *offer, enum ticket_kind kind)
{
	const struct ws_protocol *p = kind == TICKET_KIND_PORTS ? port_protocols : remote_protocols;
	for (; p->name; p++)
		if (offer && *offer ? http_has_word(offer, p->name) : !*p->name)
			return p;
	return NULL;
}

void ws_accept(const char *key, char *accept)
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	uint8_t digest[SHA1_DIGEST_LENGTH];
	SHA1_CTX ctx;
	SHA1Init(&ctx);
	SHA1Update(&ctx, (const uint8_t *)key, strlen(key));
	SHA1Update(&ctx, (const uint8_t *)guid, strlen(guid));
	SHA1Final(digest, &ctx);
	base64(digest, sizeof(digest), accept);
}

/* -- to the client -- */

static void queue(struct ws *w, uint8_t opcode, const void *bytes, size_t n)
{
	struct wslay_event_msg m = { .opcode = opcode, .msg = bytes, .msg_length = n };
	wslay_event_queue_msg(w->ctx, &m);
	wslay_event_send(w->ctx);
}

static ssize_t handle_send(wslay_event_context_ptr ctx, const uint8_t *bytes, size_t n, int flags, void *user)
{
	struct ws *w = user;
	(void)ctx, (void)flags;
	w->wire.pipe.send(w->wire.pipe.to, bytes, n);
	return (ssize_t)n;
}

static void ws_send(struct wire_stream *st, const void *bytes, size_t n)
{
	struct ws *w = container_of(st->wire, struct ws, wire);
	struct buf m = { 0 };
	if (w->protocol->text) {
		char digit = (char)('0' + st->id);
		buf_add(&m, &digit, 1);
		base64(bytes, n, buf_room(&m, base64_len(n) + 1));
		m.len += base64_len(n);
	} else {
		char channel = (char)st->id;
		buf_add(&m, &channel, 1);
		buf_add(&m, bytes, n);
	}
	queue(w, w->protocol->text ? WSLAY_TEXT_FRAME : WSLAY_BINARY_FRAME, m.data, m.len);
	buf_free(&m);
}

/* A channel has no end of its own from our side: the connection's is. */
static void ws_end(struct wire_stream *st)
{
	(void)st;
}

static void say_goodbye(struct ws *w)
{
	wslay_event_queue_close(w->ctx, WSLAY_CODE_NORMAL_CLOSURE, NULL, 0);
	wslay_event_send(w->ctx);
}

static void ws_goodbye(struct wire *wire)
{
	say_goodbye(container_of(wire, struct ws, wire));
}

static void ws_forget(struct wire_stream *st)
{
	container_of(st->wire, struct ws, wire)->channels[st->id] = NULL;
}

static const struct wire_ops ws_ops = {
	.send = ws_send, .end = ws_end, .goodbye = ws_goodbye, .forget = ws_forget,
};

/* -- a SPDY connection in the messages -- */

static void tunnel_send(void *to, const void *bytes, size_t n)
{
	if (n)
		queue(to, WSLAY_BINARY_FRAME, bytes, n);
}

static void tunnel_hold(void *to, bool hold)
{
	wire_hold(&((struct ws *)to)->wire, hold);
}

static size_t tunnel_queued(void *to)
{
	return wire_queued(&((struct ws *)to)->wire);
}

static void tunnel_close(void *to)
{
	struct ws *w = to;
	say_goodbye(w);
	w->wire.pipe.close(w->wire.pipe.to);
}

/* -- from the client -- */

static void take_channel(struct ws *w, const uint8_t *m, size_t n)
{
	unsigned id = w->protocol->text ? (unsigned)(m[0] - '0') : m[0];
	if (w->protocol->version == 5 && id == CHANNEL_END) {
		if (n == 2 && w->channels[m[1]])
			wire_their_end(w->channels[m[1]]);
		return;
	}
	if (id >= CHANNELS_MAX || !w->channels[id])
		return;		/* as other servers do: nobody listens to it */
	if (!w->protocol->text) {
		wire_received(w->channels[id], m + 1, n - 1);
		return;
	}
	struct buf plain = { 0 };
	ssize_t len = base64_read((const char *)m + 1, n - 1, buf_room(&plain, n));
	if (len < 0)
		err_set(&w->why, EPROTO, "websocket: a message is not base64");
	else
		wire_received(w->channels[id], plain.data, (size_t)len);
	buf_free(&plain);
}

static void handle_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *arg, void *user)
{
	struct ws *w = user;
	(void)ctx;
	if (arg->opcode == WSLAY_CONNECTION_CLOSE)
		w->closed = true;
	if (wslay_is_ctrl_frame(arg->opcode) || w->why.code || w->closed || !arg->msg_length)
		return;
	if (w->tunnel)
		spdy_receive(w->tunnel, arg->msg, arg->msg_length, &w->why);
	else
		take_channel(w, arg->msg, arg->msg_length);
}

static ssize_t handle_read(wslay_event_context_ptr ctx, uint8_t *into, size_t n, int flags, void *user)
{
	struct ws *w = user;
	(void)flags;
	if (!w->in_len) {
		wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
		return -1;
	}
	n = n < w->in_len ? n : w->in_len;
	memcpy(into, w->in, n);
	w->in += n;
	w->in_len -= n;
	return (ssize_t)n;
}

int ws_receive(struct ws *w, const void *bytes, size_t n, struct err *e)
{
	w->in = bytes;
	w->in_len = n;
	int ret = wslay_event_recv(w->ctx);
	wslay_event_send(w->ctx);	/* pongs, and the answer to a goodbye */
	if (ret < 0)
		return err_set(e, EPROTO, "websocket: broken frames");
	if (w->why.code) {
		*e = w->why;
		return -EPROTO;
	}
	/* wslay reads no more once it has refused something. */
	if (w->closed || !wslay_event_get_read_enabled(w->ctx))
		return err_set(e, EPIPE, "websocket: closed");
	return 0;
}

/* -- the begin -- */

static struct wire_stream *open_channel(struct ws *w, unsigned id, enum wire_role role)
{
	struct wire_stream *st = wire_stream_new(&w->wire, id);
	st->role = role;
	w->channels[id] = st;
	return st;
}

static void open_remote(struct ws *w, const struct live_want *want)
{
	const struct { bool wanted; enum wire_role role; } channels[] = {
		{ want->in, WIRE_ROLE_STDIN }, { want->out, WIRE_ROLE_STDOUT }, { want->err, WIRE_ROLE_STDERR },
		{ true, WIRE_ROLE_ERROR }, { want->tty, WIRE_ROLE_RESIZE },
	};
	for (unsigned i = 0; i < 5; i++)
		if (channels[i].wanted)
			open_channel(w, i, channels[i].role);
	/* An empty message says that we are there. */
	ws_send(w->channels[want->out ? 1 : want->err ? 2 : 3], NULL, 0);
	for (unsigned i = 0; i < 5; i++)
		if (w->channels[i] && w->wire.user)
			w->wire.user->opened(w->channels[i]);
}

static void open_port(struct ws *w, size_t i, unsigned port)
{
	const uint8_t bytes[] = { (uint8_t)port, (uint8_t)(port >> 8) };
	for (unsigned k = 0; k < 2; k++) {
		struct wire_stream *st = open_channel(w, (unsigned)(2 * i + k), k ? WIRE_ROLE_ERROR : WIRE_ROLE_DATA);
		st->port = port;
		snprintf(st->pair, sizeof(st->pair), "%zu", i);
		ws_send(st, bytes, sizeof(bytes));
	}
	for (unsigned k = 0; k < 2; k++)
		if (w->wire.user)
			w->wire.user->opened(w->channels[2 * i + k]);
}

void ws_begin(struct ws *w)
{
	if (w->tunnel)
		return;
	if (w->ticket->kind != TICKET_KIND_PORTS)
		open_remote(w, &w->ticket->want);
	for (size_t i = 0; w->ticket->kind == TICKET_KIND_PORTS && i < w->ticket->n_ports; i++)
		open_port(w, i, w->ticket->ports[i]);
}

struct wire *ws_wire(struct ws *w)
{
	return w->tunnel ? w->tunnel : &w->wire;
}

static void release_ws(struct pool_res *r)
{
	wslay_event_context_free(container_of(r, struct ws, res)->ctx);
}

struct ws *ws_new(struct loop *l, struct pool *p, const struct wire_pipe *pipe, const struct ws_protocol *pr,
		  const struct ticket *t)
{
	static const struct wslay_event_callbacks callbacks = {
		.recv_callback = handle_read, .send_callback = handle_send,
		.on_msg_recv_callback = handle_message,
	};
	struct ws *w = pool_new_struct(p, struct ws);
	w->protocol = pr;
	w->ticket = t;
	wire_init(&w->wire, l, p, &ws_ops, pipe, pr->version);
	if (wslay_event_context_server_init(&w->ctx, &callbacks, w) < 0)
		abort();	/* out of memory */
	wslay_event_config_set_max_recv_msg_length(w->ctx, MESSAGE_MAX);
	pool_res_add(p, &w->res, release_ws);
	const struct wire_pipe through = { tunnel_send, tunnel_hold, tunnel_queued, tunnel_close, w };
	if (pr->name == tunnel_name)
		w->tunnel = spdy_new(l, p, &through, pr->version);
	return w;
}

/*
 * Fuzz target: what a client sends to the streaming server.  The first byte says which reader gets
 * the rest: 0 a request's head, 1 SPDY, 2 WebSocket's channels, 3 SPDY in WebSocket; the second how
 * large the pieces are that it comes in.  A user that answers, ends and forgets streams is above.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/pool.h"
#include "core/loop/loop.h"
#include "core/stream/http.h"
#include "core/stream/spdy.h"
#include "core/stream/ws.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static struct loop *loop;
static size_t n_sent;
static int n_open;

static void take(void *to, const void *bytes, size_t n)
{
	n_sent += n;
}

static void hold(void *to, bool on)
{
}

static size_t queued(void *to)
{
	return 0;
}

static void close_pipe(void *to)
{
}

static void handle_opened(struct wire_stream *s)
{
	n_open++;
	if (s->port % 7 == 3) {
		wire_end(s);
		wire_forget(s);
		n_open--;
	}
}

static void handle_received(struct wire_stream *s, const void *bytes, size_t n)
{
	assert(n && !s->theirs_ended);
	wire_send(s, bytes, n);
}

static void handle_ended(struct wire_stream *s)
{
	wire_end(s);
}

static void handle_nothing(struct wire *w)
{
}

static const struct wire_user user = {
	.opened = handle_opened, .received = handle_received, .ended = handle_ended, .drained = handle_nothing,
	.gone = handle_nothing,
};

static void feed(struct wire *w, struct ws *ws, const uint8_t *bytes, size_t n, size_t piece)
{
	struct err e = { 0 };
	int ret = 0;
	while (n && ret == 0) {
		size_t k = piece < n ? piece : n;
		ret = ws ? ws_receive(ws, bytes, k, &e) : spdy_receive(w, bytes, k, &e);
		bytes += k;
		n -= k;
	}
	assert(ret == 0 || err_text(&e)[0]);
	wire_finish(w);
}

static void read_head(struct pool *p, const uint8_t *bytes, size_t n)
{
	struct http_head *h;
	struct err e = { 0 };
	size_t len = http_head_len((const char *)bytes, n);
	if (!len || http_head_parse(p, (const char *)bytes, len, &h, &e) < 0)
		return;
	const char *offer = http_header(h, "Sec-WebSocket-Protocol");
	assert(strlen(http_method(h)) < 32 && strlen(http_path(h)) < n);
	ws_protocol(offer, TICKET_KIND_EXEC);
	ws_protocol(offer, TICKET_KIND_PORTS);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static struct pool *root;
	const struct wire_pipe pipe = { take, hold, queued, close_pipe, NULL };
	if (!root) {
		root = pool_new(NULL, "fuzz");
		loop = loop_new(root);
	}
	if (n < 2)
		return 0;
	struct pool *p = pool_new(root, "input");
	unsigned ports[] = { 80, 8080 };
	const struct ticket t = {
		.kind = bytes[0] == 3 ? TICKET_KIND_PORTS : TICKET_KIND_EXEC, .want = { true, true, true, true },
		.ports = ports, .n_ports = 2,
	};
	struct ws *ws = NULL;
	if (bytes[0] == 2 || bytes[0] == 3)
		ws = ws_new(loop, p, &pipe,
			    ws_protocol(bytes[0] == 3 ? "SPDY/3.1+portforward.k8s.io" :
					bytes[1] % 2 ? "v5.channel.k8s.io" : "v4.base64.channel.k8s.io", t.kind), &t);
	struct wire *w = ws ? ws_wire(ws) : bytes[0] == 1 ? spdy_new(loop, p, &pipe, 4) : NULL;
	if (w) {
		w->user = &user;
		if (ws)
			ws_begin(ws);
		feed(w, ws, bytes + 2, n - 2, 1 + bytes[1]);
	} else {
		read_head(p, bytes + 2, n - 2);
	}
	pool_destroy(p);
	return 0;
}

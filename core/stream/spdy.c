/*
 * SPDY/3.1 frames.  All numbers are big-endian.
 *
 *	control  1 version(15) type(16) flags(8) length(24)  payload
 *	data     0 stream(31)           flags(8) length(24)  bytes
 *
 * A data frame is handed on as it comes, a control frame once it is there whole.  A block of
 * headers is a count, then for each a name and a value with their lengths, compressed by zlib with
 * the protocol's dictionary; one inflater and one deflater last as long as the connection.
 */
#include "core/stream/spdy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

#include "core/base/buf.h"
#include "core/base/pool.h"
#include "core/stream/dictionary.h"

enum {
	FRAME_HEAD = 8,
	CONTROL_MAX = 16 << 10,		/* of a control frame's payload */
	HEADERS_MAX = 16 << 10,		/* inflated */
	STREAMS_MAX = 1024,		/* at once */
	WINDOW_BITS = 11,		/* of our deflater: it has the dictionary to find, no more */
	MEM_LEVEL = 1,
	VERSION = 3,
	FLAG_FIN = 1,

	TYPE_SYN_STREAM = 1,
	TYPE_SYN_REPLY = 2,
	TYPE_RST_STREAM = 3,
	TYPE_PING = 6,
	TYPE_GOAWAY = 7,

	RST_INVALID_STREAM = 2,
	RST_REFUSED_STREAM = 3,
	RST_CANCEL = 5,
};

struct spdy {
	struct wire wire;
	struct pool_res res;
	z_stream inflate, deflate;
	struct buf in;			/* of a frame's head and a control frame's payload */
	uint32_t last_id;

	/* the data frame that is on its way */
	size_t left;
	struct wire_stream *into;	/* NULL: dropped */
	bool fin;
};

static struct spdy *spdy_of(struct wire *w)
{
	return container_of(w, struct spdy, wire);
}

static uint32_t get32(const void *p)
{
	const uint8_t *b = p;
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static void put32(uint8_t *p, uint32_t n)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(n >> (24 - 8 * i));
}

static void emit(struct spdy *s, const void *bytes, size_t n)
{
	s->wire.pipe.send(s->wire.pipe.to, bytes, n);
}

static void send_control(struct spdy *s, unsigned type, unsigned flags, const void *payload, size_t n)
{
	uint8_t head[FRAME_HEAD];
	put32(head, 0x80000000u | VERSION << 16 | type);
	put32(head + 4, flags << 24 | (uint32_t)n);
	emit(s, head, sizeof(head));
	emit(s, payload, n);
}

static void send_reset(struct spdy *s, uint32_t id, uint32_t status)
{
	uint8_t payload[8];
	put32(payload, id);
	put32(payload + 4, status);
	send_control(s, TYPE_RST_STREAM, 0, payload, sizeof(payload));
}

static void send_data(struct wire_stream *st, const void *bytes, size_t n, bool fin)
{
	uint8_t head[FRAME_HEAD];
	put32(head, st->id);
	put32(head + 4, (fin ? (uint32_t)FLAG_FIN << 24 : 0) | (uint32_t)n);
	emit(spdy_of(st->wire), head, sizeof(head));
	emit(spdy_of(st->wire), bytes, n);
}

/* -- headers -- */

/* An answer without headers: a count of 0. */
static void send_reply(struct spdy *s, uint32_t id)
{
	static const uint8_t none[4];
	uint8_t payload[256];
	put32(payload, id);
	s->deflate.next_in = (uint8_t *)(uintptr_t)none;
	s->deflate.avail_in = sizeof(none);
	s->deflate.next_out = payload + 4;
	s->deflate.avail_out = sizeof(payload) - 4;
	deflate(&s->deflate, Z_SYNC_FLUSH);
	send_control(s, TYPE_SYN_REPLY, 0, payload, sizeof(payload) - s->deflate.avail_out);
}

static int inflate_headers(struct spdy *s, const uint8_t *bytes, size_t n, uint8_t *out, size_t *len,
			   struct err *e)
{
	z_stream *z = &s->inflate;
	z->next_in = (uint8_t *)(uintptr_t)bytes;
	z->avail_in = (unsigned)n;
	z->next_out = out;
	z->avail_out = HEADERS_MAX;
	int ret = inflate(z, Z_SYNC_FLUSH);
	if (ret == Z_NEED_DICT) {
		ret = inflateSetDictionary(z, spdy_dictionary, sizeof(spdy_dictionary));
		if (ret == Z_OK)
			ret = inflate(z, Z_SYNC_FLUSH);
	}
	if ((ret != Z_OK && ret != Z_BUF_ERROR) || z->avail_in)
		return err_set(e, EPROTO, "spdy: a block of headers is broken or over %d bytes", HEADERS_MAX);
	*len = HEADERS_MAX - z->avail_out;
	return 0;
}

struct text {
	const char *s;
	size_t n;
};

static int take_text(const uint8_t **at, size_t *left, struct text *t, struct err *e)
{
	if (*left < 4 || get32(*at) > *left - 4)
		return err_set(e, EPROTO, "spdy: a header is cut off");
	t->n = get32(*at);
	t->s = (const char *)*at + 4;
	*at += 4 + t->n;
	*left -= 4 + t->n;
	return 0;
}

static bool text_is(const struct text *t, const char *s)
{
	return t->n == strlen(s) && !strncasecmp(t->s, s, t->n);
}

static const char *const role_names[WIRE_ROLE_COUNT] = { "error", "stdin", "stdout", "stderr", "resize", "data" };

static int take_header(struct wire_stream *st, const struct text *name, const struct text *value, struct err *e)
{
	if (text_is(name, "streamtype")) {
		for (st->role = 0; st->role < WIRE_ROLE_COUNT; st->role++)
			if (text_is(value, role_names[st->role]))
				return 0;
		return err_set(e, EINVAL, "streamtype \"%.*s\": unknown", (int)value->n, value->s);
	}
	if (text_is(name, "port"))
		st->port = value->n <= 5 ? (unsigned)strtoul(strndupa(value->s, value->n), NULL, 10) : 0;
	else if (text_is(name, "requestid"))
		snprintf(st->pair, sizeof(st->pair), "%.*s", (int)value->n, value->s);
	return 0;
}

/* -EINVAL: this stream is of no use; -EPROTO: nothing is. */
static int read_headers(struct spdy *s, struct wire_stream *st, const uint8_t *bytes, size_t n, struct err *e)
{
	uint8_t plain[HEADERS_MAX];
	const uint8_t *at = plain;
	size_t left = 0;
	int ret = inflate_headers(s, bytes, n, plain, &left, e);
	if (ret < 0)
		return ret;
	if (left < 4)
		return err_set(e, EPROTO, "spdy: a block of headers is cut off");
	uint32_t count = get32(at);
	at += 4;
	left -= 4;
	st->role = WIRE_ROLE_COUNT;
	for (uint32_t i = 0; i < count && ret == 0; i++) {
		struct text name, value;
		if (take_text(&at, &left, &name, e) < 0 || take_text(&at, &left, &value, e) < 0)
			return -EPROTO;
		ret = take_header(st, &name, &value, e);
	}
	if (ret == 0 && st->role == WIRE_ROLE_COUNT)
		ret = err_set(e, EINVAL, "streamtype: is missing");
	return ret;
}

/* -- what the client says -- */

static struct wire_stream *find(struct spdy *s, uint32_t id)
{
	struct wire_stream *st;
	list_for_each(st, &s->wire.streams, link)
		if (st->id == id)
			return st;
	return NULL;
}

static int take_syn_stream(struct spdy *s, unsigned flags, const uint8_t *p, size_t n, struct err *e)
{
	if (n < 10)
		return err_set(e, EPROTO, "spdy: SYN_STREAM of %zu bytes", n);
	uint32_t id = get32(p) & 0x7fffffff;
	if (id % 2 == 0 || id <= s->last_id)
		return err_set(e, EPROTO, "spdy: stream %u after %u", id, s->last_id);
	s->last_id = id;
	struct wire_stream *st = wire_stream_new(&s->wire, id);
	int ret = read_headers(s, st, p + 10, n - 10, e);
	if (ret == -EPROTO)
		return ret;
	if (ret < 0 || s->wire.n_streams > STREAMS_MAX) {
		send_reset(s, id, RST_REFUSED_STREAM);
		wire_forget(st);
		return 0;
	}
	send_reply(s, id);
	if (s->wire.user)
		s->wire.user->opened(st);
	if (flags & FLAG_FIN)
		wire_their_end(st);
	return 0;
}

static int take_reset(struct spdy *s, const uint8_t *p, size_t n, struct err *e)
{
	if (n < 8)
		return err_set(e, EPROTO, "spdy: RST_STREAM of %zu bytes", n);
	struct wire_stream *st = find(s, get32(p) & 0x7fffffff);
	if (!st)
		return 0;
	st->ours_ended = true;	/* nobody listens */
	wire_their_end(st);
	return 0;
}

static int take_control(struct spdy *s, const uint8_t *frame, size_t n, struct err *e)
{
	unsigned type = get32(frame) & 0xffff, flags = frame[4];
	const uint8_t *payload = frame + FRAME_HEAD;
	if ((get32(frame) >> 16 & 0x7fff) != VERSION)
		return err_set(e, EPROTO, "spdy: version %u", get32(frame) >> 16 & 0x7fff);
	switch (type) {
	case TYPE_SYN_STREAM:
		return take_syn_stream(s, flags, payload, n, e);
	case TYPE_RST_STREAM:
		return take_reset(s, payload, n, e);
	case TYPE_PING:
		if (n == 4 && get32(payload) % 2)
			send_control(s, TYPE_PING, 0, payload, n);
		return 0;
	default:	/* settings, windows, the client's GOAWAY: nothing depends on them */
		return 0;
	}
}

/* The head of a data frame is there. */
static void begin_data(struct spdy *s, const uint8_t *head, size_t len)
{
	uint32_t id = get32(head);
	s->into = find(s, id);
	s->left = len;
	s->fin = head[4] & FLAG_FIN;
	if (!s->into)
		send_reset(s, id, RST_INVALID_STREAM);
}

static void take_data(struct spdy *s, const uint8_t **at, size_t *n)
{
	size_t piece = s->left < *n ? s->left : *n;
	if (s->into)
		wire_received(s->into, *at, piece);
	*at += piece;
	*n -= piece;
	s->left -= piece;
}

static void end_data(struct spdy *s)
{
	if (s->into && s->fin)
		wire_their_end(s->into);
	s->into = NULL;
	s->fin = false;
}

/* Bytes of `from` until `in` has `want`; true then. */
static bool fill(struct buf *in, size_t want, const uint8_t **from, size_t *n)
{
	size_t piece = want > in->len ? want - in->len : 0;
	piece = piece < *n ? piece : *n;
	buf_add(in, *from, piece);
	*from += piece;
	*n -= piece;
	return in->len >= want;
}

int spdy_receive(struct wire *w, const void *bytes, size_t n, struct err *e)
{
	struct spdy *s = spdy_of(w);
	const uint8_t *at = bytes;
	while (n) {
		if (s->left) {
			take_data(s, &at, &n);
			if (!s->left)
				end_data(s);
			continue;
		}
		if (!fill(&s->in, FRAME_HEAD, &at, &n))
			break;
		const uint8_t *head = (const uint8_t *)s->in.data;
		size_t len = get32(head + 4) & 0xffffff;
		if (!(head[0] & 0x80)) {
			begin_data(s, head, len);
			buf_free(&s->in);
			if (!len)
				end_data(s);
			continue;
		}
		if (len > CONTROL_MAX)
			return err_set(e, EPROTO, "spdy: a control frame of %zu bytes, at most %d are taken", len,
				       CONTROL_MAX);
		if (!fill(&s->in, FRAME_HEAD + len, &at, &n))
			break;
		int ret = take_control(s, (const uint8_t *)s->in.data, len, e);
		buf_free(&s->in);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* -- the wire -- */

static void spdy_send(struct wire_stream *st, const void *bytes, size_t n)
{
	send_data(st, bytes, n, false);
}

static void spdy_end(struct wire_stream *st)
{
	send_data(st, NULL, 0, true);
}

static void spdy_goodbye(struct wire *w)
{
	struct spdy *s = spdy_of(w);
	struct wire_stream *st;
	uint8_t payload[8] = { 0 };
	list_for_each(st, &w->streams, link)
		if (!st->ours_ended || !st->theirs_ended)
			send_reset(s, st->id, RST_CANCEL);
	put32(payload, s->last_id);
	send_control(s, TYPE_GOAWAY, 0, payload, sizeof(payload));
}

static void spdy_forget(struct wire_stream *st)
{
	struct spdy *s = spdy_of(st->wire);
	if (s->into == st)
		s->into = NULL;
}

static const struct wire_ops spdy_ops = {
	.send = spdy_send, .end = spdy_end, .goodbye = spdy_goodbye, .forget = spdy_forget,
};

static void release_spdy(struct pool_res *r)
{
	struct spdy *s = container_of(r, struct spdy, res);
	inflateEnd(&s->inflate);
	deflateEnd(&s->deflate);
	buf_free(&s->in);
}

struct wire *spdy_new(struct loop *l, struct pool *p, const struct wire_pipe *pipe, int version)
{
	struct spdy *s = pool_new_struct(p, struct spdy);
	wire_init(&s->wire, l, p, &spdy_ops, pipe, version);
	if (inflateInit(&s->inflate) != Z_OK ||
	    deflateInit2(&s->deflate, Z_DEFAULT_COMPRESSION, Z_DEFLATED, WINDOW_BITS, MEM_LEVEL,
			 Z_DEFAULT_STRATEGY) != Z_OK)
		abort();	/* out of memory */
	deflateSetDictionary(&s->deflate, spdy_dictionary, sizeof(spdy_dictionary));
	pool_res_add(p, &s->res, release_spdy);
	return &s->wire;
}

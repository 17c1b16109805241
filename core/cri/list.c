/*
 * Lists: whole in one message, or in a stream of several.
 *
 * A stream is packed at once, so that all of it is of one moment whatever happens while it is
 * read, and queued a message at a time as its reader takes them.  What is packed and waits counts
 * as held by its call.
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>

#include "core/base/pool.h"
#include "core/cri/rpc.h"

enum { CHUNK_MAX = 64 << 10 };	/* bytes of items in a message, unless one item has more */

/* What a handler reads of either request. */
#define SAME_FILTER(list, stream) \
	_Static_assert(offsetof(Cri__##list##Request, filter) == offsetof(Cri__##stream##Request, filter) && \
		       sizeof(Cri__##list##Request) == sizeof(Cri__##stream##Request), #stream)
SAME_FILTER(ListPodSandbox, StreamPodSandboxes);
SAME_FILTER(ListContainers, StreamContainers);
SAME_FILTER(ListContainerStats, StreamContainerStats);
SAME_FILTER(ListPodSandboxStats, StreamPodSandboxStats);
SAME_FILTER(ListImages, StreamImages);

/* What all these responses are. */
struct list_message {
	ProtobufCMessage base;
	size_t n;
	void *const *items;
};

struct chunk {
	void *bytes;
	size_t len;
};

struct list_stream {
	struct grpc_call *call;
	struct chunk *chunks;
	size_t n, at;
};

static void make_message(struct list_message *m, struct grpc_call *call, void *const *items, size_t n)
{
	const ProtobufCMessageDescriptor *d = grpc_call_method(call)->response;
	assert(d->n_fields == 1 && d->fields[0].label == PROTOBUF_C_LABEL_REPEATED &&
	       d->sizeof_message == sizeof(*m));
	*m = (struct list_message){ .base.descriptor = d, .n = n, .items = items };
}

/* How many of the items go into the next message: at least one. */
static size_t count_chunk(void *const *items, size_t n)
{
	size_t k = 0, bytes = 0;
	while (k < n && (k == 0 || bytes < CHUNK_MAX))
		bytes += protobuf_c_message_get_packed_size(items[k++]);
	return k;
}

static int pack_all(struct list_stream *s, void *const *items, size_t n, struct err *e)
{
	struct pool *pool = grpc_pool(s->call);
	s->chunks = pool_alloc(pool, (n + 1) * sizeof(*s->chunks));
	for (size_t at = 0, k; at < n; at += k) {
		struct list_message m;
		struct chunk *c = &s->chunks[s->n++];
		k = count_chunk(items + at, n - at);
		make_message(&m, s->call, items + at, k);
		c->bytes = grpc_pack(pool, &m.base, &c->len, e);
		if (!c->bytes)
			return -e->code;
		if (!grpc_hold(s->call, c->len))
			return err_set(e, ENOMEM, "too much output is waiting for its readers");
	}
	return 0;
}

static void handle_writable(struct grpc_call *call, void *data)
{
	struct list_stream *s = data;
	while (s->at < s->n) {
		const struct chunk *c = &s->chunks[s->at++];
		if (!grpc_send_packed(call, c->bytes, c->len))
			return;
	}
	grpc_finish(call);
}

/* Everything is in the call's pool. */
static void handle_left(struct grpc_call *call, void *data)
{
}

static void stream(struct grpc_call *call, void *const *items, size_t n)
{
	struct list_stream *s = pool_new_struct(grpc_pool(call), struct list_stream);
	struct err e = { 0 };
	s->call = call;
	if (pack_all(s, items, n, &e) < 0) {
		grpc_fail(call, &e);
		return;
	}
	grpc_on_cancel(call, handle_left, s);
	grpc_on_writable(call, handle_writable, s);
	handle_writable(call, s);
}

void rpc_reply_list(struct grpc_call *call, void *const *items, size_t n)
{
	struct list_message m;
	if (grpc_call_method(call)->streaming) {
		stream(call, items, n);
		return;
	}
	make_message(&m, call, items, n);
	grpc_reply(call, &m.base);
}

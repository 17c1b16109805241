/* What all wires have in common: see the header. */
#include "core/stream/wire.h"

#include "core/base/pool.h"
#include "core/loop/loop.h"

void wire_init(struct wire *w, struct loop *l, struct pool *p, const struct wire_ops *ops,
	       const struct wire_pipe *pipe, int version)
{
	w->ops = ops;
	w->loop = l;
	w->pool = p;
	w->pipe = *pipe;
	w->version = version;
	list_init(&w->streams);
}

struct wire_stream *wire_stream_new(struct wire *w, uint32_t id)
{
	struct pool *own = pool_new(w->pool, "stream");
	struct wire_stream *s = pool_new_struct(own, struct wire_stream);
	s->pool = own;
	s->wire = w;
	s->id = id;
	list_append(&w->streams, &s->link);
	w->n_streams++;
	return s;
}

void wire_forget(struct wire_stream *s)
{
	struct wire *w = s->wire;
	if (w->ops->forget)
		w->ops->forget(s);
	list_del(&s->link);
	w->n_streams--;
	s->theirs_ended = s->ours_ended = true;
	loop_destroy_later(w->loop, s->pool);
}

void wire_send(struct wire_stream *s, const void *bytes, size_t n)
{
	if (!s->ours_ended)
		s->wire->ops->send(s, bytes, n);
}

void wire_end(struct wire_stream *s)
{
	if (s->ours_ended)
		return;
	s->wire->ops->end(s);
	s->ours_ended = true;
}

void wire_finish(struct wire *w)
{
	w->user = NULL;
	w->ops->goodbye(w);
	w->pipe.close(w->pipe.to);
}

size_t wire_queued(const struct wire *w)
{
	return w->pipe.queued(w->pipe.to);
}

void wire_hold(struct wire *w, bool hold)
{
	w->pipe.hold(w->pipe.to, hold);
}

void wire_received(struct wire_stream *s, const void *bytes, size_t n)
{
	if (n && s->wire->user && !s->theirs_ended)
		s->wire->user->received(s, bytes, n);
}

void wire_their_end(struct wire_stream *s)
{
	if (s->theirs_ended)
		return;
	s->theirs_ended = true;
	if (s->wire->user)
		s->wire->user->ended(s);
}

void wire_drained(struct wire *w)
{
	if (w->user)
		w->user->drained(w);
}

void wire_gone(struct wire *w)
{
	const struct wire_user *user = w->user;
	w->user = NULL;
	if (user)
		user->gone(w);
}

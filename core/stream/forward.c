/*
 * Ports of a pod over a wire.
 *
 *	pair    a data stream, an error stream, one connection into the pod's network
 *
 *	WAITING ──both streams are open──▶ DIALLING ──▶ OPEN ──both halves have ended──▶ gone
 *
 * A helper makes the connection, in the pod's network namespace or, where a guest answers to the pod's
 * addresses, to one of those, and hands its socket over.  If nobody answers there, an engine may have a
 * way of its own, to what listens on a guest's loopback alone.  What went wrong is said on the error
 * stream.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/pool.h"
#include "core/loop/loop.h"
#include "core/model/model.h"
#include "core/plug/plug.h"
#include "core/sandboxfs/sandboxfs.h"
#include "core/stream/session.h"

enum {
	PIECE = 64 << 10,
	HIGH = 256 << 10,	/* queued for the client: the pods' sides wait */
	PENDING_MAX = 1 << 20,	/* for one connection of the pod: the client waits */
	OPEN_MS = 30000,	/* for the second stream of a pair */
	DIAL_MS = 30000,
	PAIRS_MAX = 256,
};

struct forward {
	const struct stream_ground *g;
	struct wire *wire;
	const struct ticket *ticket;
	struct list pairs;
	unsigned n_pairs;
	bool held;		/* the pods' sides wait for the client */
};

/* What an engine was asked: until it answers this lives on, also without a pair. */
struct ask {
	struct pool *pool;
	struct pair *pair;		/* NULL: it is gone */
	const char *why;		/* it could not be had without */
	struct plug_call *call;
};

struct pair {
	struct pool_res res;
	struct list link;
	struct pool *pool;
	struct forward *in;
	char name[sizeof(((struct wire_stream *)0)->pair)];
	unsigned port;
	struct wire_stream *data, *error;
	struct loop_timer patience;
	struct ask *ask;	/* while the engine connects */
	int fd;			/* -1 until it is there */
	struct loop_io io;
	struct buf pending;	/* for the pod */
	bool pod_ended, shut;
	bool over;		/* it goes with this pass of the loop */
	bool by_engine;
};

static struct forward *forward_of(const struct wire *w)
{
	return w->data;
}

/* -- the end of a pair -- */

static void pair_drop(struct pair *p)
{
	struct wire_stream *const streams[] = { p->data, p->error };
	for (size_t i = 0; i < 2; i++) {
		if (!streams[i])
			continue;
		wire_end(streams[i]);
		wire_forget(streams[i]);
	}
	p->data = p->error = NULL;
	p->over = true;
	list_del(&p->link);
	p->in->n_pairs--;
	loop_io_stop(&p->io);
	loop_timer_stop(&p->patience);
	loop_destroy_later(p->in->g->loop, p->pool);
}

static void pair_fail(struct pair *p, const char *text)
{
	if (p->error)
		wire_send(p->error, text, strlen(text));
	pair_drop(p);
}

static void release_pair(struct pool_res *r)
{
	struct pair *p = container_of(r, struct pair, res);
	if (p->ask) {
		p->ask->pair = NULL;
		plug_call_cancel(p->ask->call);
	}
	if (p->fd >= 0)
		close(p->fd);
	buf_free(&p->pending);
}

/* -- between pod and client -- */

static void watch(struct pair *p)
{
	bool reads = !p->pod_ended && !p->in->held;
	loop_io_set(&p->io, (reads ? LOOP_READ : 0) | (p->pending.len ? LOOP_WRITE : 0));
}

/* False: the pair is gone. */
static bool push(struct pair *p)
{
	while (p->pending.len) {
		ssize_t n = send(p->fd, p->pending.data, p->pending.len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			pair_fail(p, pool_printf(p->pool, "port %u: %s", p->port, strerror(errno)));
			return false;
		}
		buf_consume(&p->pending, (size_t)n);
	}
	if (p->pending.len)
		return true;
	buf_free(&p->pending);
	if (p->data->theirs_ended && !p->shut) {
		/* An engine's connection may end as a whole with one half, and the answer be lost. */
		if (!p->by_engine)
			shutdown(p->fd, SHUT_WR);
		p->shut = true;
	}
	if (!p->shut || !p->pod_ended)
		return true;
	pair_drop(p);
	return false;
}

static void pull(struct pair *p)
{
	static char bytes[PIECE];
	ssize_t n = recv(p->fd, bytes, sizeof(bytes), 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		wire_send(p->data, bytes, (size_t)n);
		return;
	}
	p->pod_ended = true;
	wire_end(p->data);
}

static void hold_pods(struct forward *f, bool hold)
{
	struct pair *p;
	f->held = hold;
	list_for_each(p, &f->pairs, link)
		if (p->io.loop)
			watch(p);
}

/* The client waits while one of its pods has too much to swallow. */
static void hold_client(struct forward *f)
{
	struct pair *p;
	bool full = false;
	list_for_each(p, &f->pairs, link)
		full |= p->pending.len > PENDING_MAX;
	wire_hold(f->wire, full);
}

/* After anything that came or went: push what waits, and see who has to wait. */
static void go_on(struct pair *p)
{
	struct forward *f = p->in;
	if (p->fd >= 0 && push(p))
		watch(p);
	hold_client(f);
}

static void handle_io(struct loop_io *io, int events)
{
	struct pair *p = io->data;
	struct forward *f = p->in;
	if (events & LOOP_READ && !p->pod_ended && !f->held)
		pull(p);
	if (!f->held && wire_queued(f->wire) > HIGH)
		hold_pods(f, true);
	go_on(p);
}

static void connected(struct pair *p, int fd)
{
	p->fd = fd;
	loop_io_start(&p->io, p->in->g->loop, p->pool, fd, 0, handle_io, p);
	go_on(p);
}

static void handle_engine(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	struct ask *a = data;
	struct pair *p = a->pair;
	if (p)
		p->ask = NULL;
	if (p && !p->over && ret == 0 && res->fd >= 0) {
		fd_set_nonblock(res->fd);
		p->by_engine = true;
		connected(p, res->fd);
	} else if (res->fd >= 0) {
		close(res->fd);
	} else if (p && !p->over) {
		pair_fail(p, ret == -ENOSYS ? a->why : pool_printf(a->pool, "%s; %s", a->why, err_text(e)));
	}
	pool_destroy(a->pool);
}

static void ask_engine(struct pair *p, const struct pod *pod, const struct err *why)
{
	struct pool *pool = pool_new(p->in->g->pool, "port forward");
	struct crisp_port_args args = { .size = sizeof(args), .id = pod->id, .port = p->port };
	struct ask *a = pool_new_struct(pool, struct ask);
	a->pool = pool;
	a->pair = p;
	a->why = pool_strdup(pool, err_text(why));
	a->call = plug_call(pod->handler, PLUG_OP_PORT_FORWARD, &args, pod->id, DIAL_MS, handle_engine, a);
	p->ask = a;
}

/* NULL: it isn't ready any more, and the pair is gone. */
static const struct pod *pod_of(struct pair *p)
{
	const struct pod *pod = model_pod(p->in->g->model, p->in->ticket->id);
	if (pod && pod->state == POD_STATE_READY)
		return pod;
	pair_fail(p, "the pod is not ready any more");
	return NULL;
}

static void handle_dialled(void *data, int ret, int fd, const struct err *e)
{
	struct pair *p = data;
	if (p->over) {
		if (ret == 0)
			close(fd);
		return;
	}
	if (ret == 0) {
		connected(p, fd);
		return;
	}
	const struct pod *pod = pod_of(p);
	if (pod && plug_has(pod->handler, PLUG_OP_PORT_FORWARD))
		ask_engine(p, pod, e);
	else if (pod)
		pair_fail(p, err_text(e));
}

static void dial(struct pair *p)
{
	const struct stream_ground *g = p->in->g;
	const struct pod *pod = pod_of(p);
	loop_timer_stop(&p->patience);
	if (!pod)
		return;
	bool guest = plug_can(pod->handler, CRISP_CAP_SANDBOX_OWN);
	sandboxfs_dial(g->sandboxfs, p->pool, pod->net_fd, p->port, pod->ips, guest ? pod->n_ips : 0, DIAL_MS,
		       handle_dialled, p);
}

/* -- the client -- */

static struct pair *find(struct forward *f, const char *name)
{
	struct pair *p;
	list_for_each(p, &f->pairs, link)
		if (!strcmp(p->name, name))
			return p;
	return NULL;
}

static void handle_impatient(struct loop_timer *t)
{
	pair_fail(t->data, "the second stream of the pair has not come in time");
}

static struct pair *pair_new(struct forward *f, const char *name, unsigned port)
{
	struct pool *pool = pool_new(f->wire->pool, "pair");
	struct pair *p = pool_new_struct(pool, struct pair);
	p->pool = pool;
	p->in = f;
	p->port = port;
	p->fd = -1;
	snprintf(p->name, sizeof(p->name), "%s", name);
	pool_res_add(pool, &p->res, release_pair);
	list_append(&f->pairs, &p->link);
	f->n_pairs++;
	loop_timer_start(&p->patience, f->g->loop, pool, OPEN_MS, 0, handle_impatient, p);
	return p;
}

static void refuse(struct wire_stream *s, const char *why)
{
	if (s->role == WIRE_ROLE_ERROR)
		wire_send(s, why, strlen(why));
	wire_end(s);
	wire_forget(s);
}

static void handle_opened(struct wire_stream *s)
{
	struct forward *f = forward_of(s->wire);
	if ((s->role != WIRE_ROLE_DATA && s->role != WIRE_ROLE_ERROR) || s->port < 1 || s->port > 65535) {
		refuse(s, "expected a stream of type data or error with a port from 1 to 65535");
		return;
	}
	/* Old clients open the error stream and then, as the next, the data stream. */
	if (!s->pair[0])
		snprintf(s->pair, sizeof(s->pair), "%u", s->role == WIRE_ROLE_ERROR ? s->id : s->id - 2);
	struct pair *p = find(f, s->pair);
	if (!p && f->n_pairs == PAIRS_MAX) {
		refuse(s, "too many connections at once");
		return;
	}
	if (!p)
		p = pair_new(f, s->pair, s->port);
	struct wire_stream **slot = s->role == WIRE_ROLE_DATA ? &p->data : &p->error;
	if (*slot || p->port != s->port) {
		refuse(s, "the pair has such a stream already, or another port");
		return;
	}
	*slot = s;
	s->data = p;
	if (p->data && p->error)
		dial(p);
}

static void handle_received(struct wire_stream *s, const void *bytes, size_t n)
{
	struct pair *p = s->data;
	if (!p || s != p->data)
		return;
	buf_add(&p->pending, bytes, n);
	go_on(p);
}

static void handle_ended(struct wire_stream *s)
{
	struct pair *p = s->data;
	if (p && s == p->data)
		go_on(p);
}

static void handle_drained(struct wire *w)
{
	if (forward_of(w)->held)
		hold_pods(forward_of(w), false);
}

static void handle_gone(struct wire *w)
{
	struct forward *f = forward_of(w);
	struct pair *p;
	list_for_each(p, &f->pairs, link)
		pair_drop(p);
}

static const struct wire_user forward_user = {
	.opened = handle_opened, .received = handle_received, .ended = handle_ended, .drained = handle_drained,
	.gone = handle_gone,
};

void forward_begin(const struct stream_ground *g, struct wire *w, const struct ticket *t)
{
	struct forward *f = pool_new_struct(w->pool, struct forward);
	f->g = g;
	f->wire = w;
	f->ticket = t;
	list_init(&f->pairs);
	w->user = &forward_user;
	w->data = f;
}

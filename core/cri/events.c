/*
 * GetContainerEvents: every change of a pod or container, to every reader, in order and once.
 *
 *	log      packed events that some reader has still to take, oldest first; at most LOG_MAX bytes
 *	reader   a call; `next` is where in the log it stands, NULL: it has taken all
 *	own      events of one reader alone, that go before those of the log
 *
 * An event is packed in the midst of the change, so that its snapshot is the state right after
 * that.  A reader that stalls holds the log back until that is full.  Then the reader is lost:
 * what it has not taken is dropped, but for the deletions, which go into its own, since nothing
 * will ever say again that something is gone.  When it reads again it is brought up to date: by
 * those deletions, then by an event for each pod and container that there is (created, started or
 * stopped, as its state is), then by the log as before.  So it misses steps in between and no
 * outcome.  One whose deletions fill GONE_MAX is ended, with DATA_LOSS: it has to list anew.
 */
#include "core/base/file.h"
#include "core/base/list.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/cri/objects.h"
#include "core/cri/rpc.h"

enum { LOG_MAX = 4 << 20, GONE_MAX = 4 << 20, READERS_MAX = 16 };

struct event {
	struct list link;
	struct pool *pool;
	void *bytes;
	size_t len;
	bool deletion;
};

struct reader {
	struct list link;
	struct events *hub;
	struct grpc_call *call;
	struct event *next;
	bool paused, lost;
	struct list own;
	size_t own_len;
};

struct events {
	struct cri *cri;
	struct pool *pool;
	struct list log, readers;
	size_t log_len, n_readers;
};

/* -- events -- */

static void event_free(struct event *ev)
{
	list_del(&ev->link);
	pool_destroy(ev->pool);
}

/* NULL: too large for a message, which no pod that can be listed is. */
static struct event *event_new(struct pool *parent, enum model_event kind, const struct pod *p,
			       const struct container *c)
{
	static const Cri__ContainerEventType types[] = {
		[MODEL_EVENT_CREATED] = CRI__CONTAINER_EVENT_TYPE__CONTAINER_CREATED_EVENT,
		[MODEL_EVENT_STARTED] = CRI__CONTAINER_EVENT_TYPE__CONTAINER_STARTED_EVENT,
		[MODEL_EVENT_STOPPED] = CRI__CONTAINER_EVENT_TYPE__CONTAINER_STOPPED_EVENT,
		[MODEL_EVENT_DELETED] = CRI__CONTAINER_EVENT_TYPE__CONTAINER_DELETED_EVENT,
	};
	struct pool *pool = pool_new(parent, "event"), *tmp = pool_new(NULL, "event");
	struct event *ev = pool_new_struct(pool, struct event);
	struct err e = { 0 };
	Cri__ContainerEventResponse m = CRI__CONTAINER_EVENT_RESPONSE__INIT;
	m.container_id = c ? c->id : p->id;
	m.container_event_type = types[kind];
	m.created_at = clock_real_ns();
	m.pod_sandbox_status = object_pod_status(tmp, p);
	m.containers_statuses = object_container_statuses(tmp, p, &m.n_containers_statuses);
	ev->pool = pool;
	ev->deletion = kind == MODEL_EVENT_DELETED;
	ev->bytes = grpc_pack(pool, &m.base, &ev->len, &e);
	pool_destroy(tmp);
	list_init(&ev->link);
	if (ev->bytes)
		return ev;
	log_warn("an event cannot be told", "pod", p->id, "error", err_text(&e));
	pool_destroy(pool);
	return NULL;
}

static struct event *event_after(const struct events *hub, const struct event *ev)
{
	return ev->link.next == &hub->log ? NULL : container_of(ev->link.next, struct event, link);
}

/* -- readers -- */

static void reader_leave(struct reader *r)
{
	list_del(&r->link);
	r->hub->n_readers--;
}

static void keep_own(struct reader *r, struct event *ev)
{
	if (!ev)
		return;
	list_append(&r->own, &ev->link);
	r->own_len += ev->len;
}

/* A copy, as the log's goes. */
static void keep_deletion(struct reader *r, const struct event *ev)
{
	struct pool *pool = pool_new(grpc_pool(r->call), "event");
	struct event *mine = pool_new_struct(pool, struct event);
	*mine = *ev;
	mine->pool = pool;
	mine->bytes = pool_memdup(pool, ev->bytes, ev->len);
	keep_own(r, mine);
}

static void lose(struct reader *r)
{
	struct event *ev;
	list_for_each(ev, &r->own, link)
		if (!ev->deletion) {
			r->own_len -= ev->len;
			event_free(ev);
		}
	for (ev = r->next; ev; ev = event_after(r->hub, ev))
		if (ev->deletion)
			keep_deletion(r, ev);
	r->next = NULL;
	r->lost = true;
}

static enum model_event kind_of(const struct container *c)
{
	return c->state == CONTAINER_STATE_CREATED ? MODEL_EVENT_CREATED :
	       c->state == CONTAINER_STATE_RUNNING ? MODEL_EVENT_STARTED : MODEL_EVENT_STOPPED;
}

/* All of one moment, as a list would be. */
static void bring_up_to_date(struct reader *r)
{
	struct pool *pool = grpc_pool(r->call);
	struct pod *p;
	struct container *c;
	list_for_each(p, &r->hub->cri->model->pod_list, link) {
		if (p->state == POD_STATE_STARTING)
			continue;
		bool up = p->state == POD_STATE_READY;
		keep_own(r, event_new(pool, up ? MODEL_EVENT_STARTED : MODEL_EVENT_STOPPED, p, NULL));
		list_for_each(c, &p->containers, in_pod)
			if (c->state != CONTAINER_STATE_CREATING)
				keep_own(r, event_new(pool, kind_of(c), p, c));
	}
	r->lost = false;
}

static void pump(struct reader *r)
{
	while (!r->paused && !list_empty(&r->own)) {
		struct event *ev = container_of(r->own.next, struct event, link);
		r->paused = !grpc_send_packed(r->call, ev->bytes, ev->len);
		r->own_len -= ev->len;
		event_free(ev);
	}
	while (!r->paused && r->next) {
		r->paused = !grpc_send_packed(r->call, r->next->bytes, r->next->len);
		r->next = event_after(r->hub, r->next);
	}
}

/* -- the log -- */

static bool is_needed(const struct events *hub, const struct event *ev)
{
	const struct reader *r;
	list_for_each(r, &hub->readers, link)
		if (r->next == ev)
			return true;
	return false;
}

/* No reader stands before the oldest, so what none stands at is done with. */
static void trim(struct events *hub)
{
	while (!list_empty(&hub->log)) {
		struct event *ev = container_of(hub->log.next, struct event, link);
		if (is_needed(hub, ev)) {
			if (hub->log_len <= LOG_MAX)
				return;
			struct reader *r;
			list_for_each(r, &hub->readers, link)
				if (r->next == ev)
					lose(r);
		}
		hub->log_len -= ev->len;
		event_free(ev);
	}
}

static void end_hopeless(struct events *hub)
{
	struct list *at, *next;
	for (at = hub->readers.next; at != &hub->readers; at = next) {
		struct reader *r = container_of(at, struct reader, link);
		next = at->next;
		if (!r->lost || r->own_len <= GONE_MAX)
			continue;
		reader_leave(r);
		grpc_fail_code(r->call, GRPC_DATA_LOSS, "events were not read for too long: list anew");
	}
}

static void handle_event(void *data, enum model_event kind, struct pod *p, struct container *c)
{
	struct events *hub = data;
	struct reader *r;
	struct event *ev = hub->n_readers ? event_new(hub->pool, kind, p, c) : NULL;
	if (!ev)
		return;
	list_append(&hub->log, &ev->link);
	hub->log_len += ev->len;
	list_for_each(r, &hub->readers, link) {
		if (r->lost && ev->deletion)
			keep_deletion(r, ev);
		if (!r->lost && !r->next)
			r->next = ev;
		pump(r);
	}
	trim(hub);
	end_hopeless(hub);
}

/* -- calls -- */

static void handle_writable(struct grpc_call *call, void *data)
{
	struct reader *r = data;
	r->paused = false;
	if (r->lost)
		bring_up_to_date(r);
	pump(r);
	trim(r->hub);
}

static void handle_left(struct grpc_call *call, void *data)
{
	struct reader *r = data;
	reader_leave(r);
	trim(r->hub);
}

RPC(cri_get_container_events)
{
	struct cri *cri = grpc_user(call);
	struct events *hub = cri->events;
	if (hub->n_readers == READERS_MAX) {
		grpc_fail_code(call, GRPC_RESOURCE_EXHAUSTED, "too many readers of events");
		return;
	}
	struct reader *r = pool_new_struct(grpc_pool(call), struct reader);
	r->hub = hub;
	r->call = call;
	list_init(&r->own);
	list_append(&hub->readers, &r->link);
	hub->n_readers++;
	grpc_on_cancel(call, handle_left, r);
	grpc_on_writable(call, handle_writable, r);
	grpc_begin(call);
}

void cri_begin(struct cri *cri, struct pool *p)
{
	struct events *hub = pool_new_struct(p, struct events);
	hub->cri = cri;
	hub->pool = p;
	list_init(&hub->log);
	list_init(&hub->readers);
	cri->events = hub;
	model_on_event(cri->model, handle_event, hub);
}

void cri_end(struct cri *cri)
{
	struct events *hub = cri->events;
	while (!list_empty(&hub->readers)) {
		struct reader *r = container_of(hub->readers.next, struct reader, link);
		reader_leave(r);
		grpc_fail_code(r->call, GRPC_UNAVAILABLE, "the daemon leaves");
	}
	trim(hub);
}

/* Samples of many, see the header. */
#include "core/cri/gather.h"

#include <string.h>

#include "core/base/pool.h"
#include "core/loop/slice.h"

enum { WALK_WAIT_MS = 1000 };

struct names {
	const char **ids;	/* pods and containers may go between two slices */
	size_t n, cap;
};

struct gather {
	struct loop_slice slice;
	struct grpc_call *call;
	struct model *model;
	void (*done)(struct gather *g);
	struct names pods, containers;
	struct sample_wait *waits;	/* of the containers */
	size_t at, left;		/* left: that engines have to tell, and one for ourselves */
	bool walks;
	struct sample_wait walk;
	struct loop_timer patience;	/* with the walk */
};

static void add(struct gather *g, struct names *l, const char *id)
{
	struct pool *pool = grpc_pool(g->call);
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 16;
		const char **more = pool_alloc(pool, l->cap * sizeof(*more));
		if (l->n)
			memcpy(more, l->ids, l->n * sizeof(*more));
		l->ids = more;
	}
	l->ids[l->n++] = pool_strdup(pool, id);
}

bool gather_has_usage(const struct container *c)
{
	return c->state == CONTAINER_STATE_CREATED || c->state == CONTAINER_STATE_RUNNING;
}

void gather_container(struct gather *g, struct container *c)
{
	add(g, &g->containers, c->id);
}

void gather_pod(struct gather *g, struct pod *p)
{
	struct container *c;
	add(g, &g->pods, p->id);
	list_for_each(c, &p->containers, in_pod)
		if (gather_has_usage(c))
			add(g, &g->containers, c->id);
}

static void handle_sampled(void *data)
{
	struct gather *g = data;
	if (--g->left == 0)
		g->done(g);
}

static void handle_walked(void *data)
{
	struct gather *g = data;
	loop_timer_stop(&g->patience);
	handle_sampled(g);
}

static void handle_impatience(struct loop_timer *t)
{
	struct gather *g = t->data;
	model_sample_leave(&g->walk);
	handle_sampled(g);
}

static void wait_for_walk(struct gather *g)
{
	bool missing = false;
	for (size_t i = 0; i < g->containers.n && !missing; i++) {
		struct container *c = gather_nth_container(g, i);
		missing = c && !c->rw_at_ns;
	}
	if (!missing || !model_measure_wait(g->model, &g->walk, handle_walked, g))
		return;
	g->left++;
	loop_timer_start(&g->patience, grpc_loop(g->call), grpc_pool(g->call), WALK_WAIT_MS, 0,
			 handle_impatience, g);
}

static bool sample_next(struct loop_slice *s)
{
	struct gather *g = s->data;
	size_t i = g->at++, n = g->containers.n;
	struct container *c = i < n ? gather_nth_container(g, i) : NULL;
	struct pod *p = i >= n && i - n < g->pods.n ? gather_nth_pod(g, i - n) : NULL;
	if (c && model_sample(c, &g->waits[i], handle_sampled, g))
		g->left++;
	if (p)
		model_sample_pod(p);
	return g->at < n + g->pods.n;
}

static void handle_all_asked(struct loop_slice *s)
{
	handle_sampled(s->data);
}

static void handle_left(struct grpc_call *call, void *data)
{
	struct gather *g = data;
	loop_slice_stop(&g->slice);
	loop_timer_stop(&g->patience);
	if (g->walk.cb)
		model_sample_leave(&g->walk);
	for (size_t i = 0; i < g->containers.n && i < g->at; i++)
		if (g->waits[i].cb)
			model_sample_leave(&g->waits[i]);
}

struct gather *gather_new(struct grpc_call *call, void (*done)(struct gather *g))
{
	struct cri *cri = grpc_user(call);
	struct gather *g = pool_new_struct(grpc_pool(call), struct gather);
	g->call = call;
	g->model = cri->model;
	g->done = done;
	model_measure(cri->model);
	return g;
}

void gather_walks(struct gather *g)
{
	g->walks = true;
}

void gather_start(struct gather *g)
{
	struct pool *pool = grpc_pool(g->call);
	size_t size = (g->containers.n + 1) * sizeof(*g->waits);
	g->waits = pool_alloc(pool, size);
	memset(g->waits, 0, size);
	g->left = 1;
	if (g->walks)
		wait_for_walk(g);
	grpc_on_cancel(g->call, handle_left, g);
	loop_slice_start(&g->slice, grpc_loop(g->call), pool, sample_next, handle_all_asked, g);
}

struct grpc_call *gather_call(const struct gather *g)
{
	return g->call;
}

size_t gather_pods(const struct gather *g)
{
	return g->pods.n;
}

struct pod *gather_nth_pod(const struct gather *g, size_t n)
{
	return model_pod(g->model, g->pods.ids[n]);
}

size_t gather_containers(const struct gather *g)
{
	return g->containers.n;
}

struct container *gather_nth_container(const struct gather *g, size_t n)
{
	return model_container(g->model, g->containers.ids[n]);
}

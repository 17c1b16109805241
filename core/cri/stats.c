/* ContainerStats and its list: one cached sample serves all callers. */
#include <errno.h>
#include <string.h>

#include "core/base/pool.h"
#include "core/config/config.h"
#include "core/cri/rpc.h"
#include "core/loop/slice.h"

static Cri__UInt64Value *number(struct pool *p, bool have, uint64_t value)
{
	if (!have)
		return NULL;
	Cri__UInt64Value *v = pool_new_struct(p, Cri__UInt64Value);
	*v = (Cri__UInt64Value)CRI__UINT64_VALUE__INIT;
	v->value = value;
	return v;
}

static Cri__CpuUsage *cpu_of(struct pool *p, const struct stats_sample *s)
{
	Cri__CpuUsage *u = pool_new_struct(p, Cri__CpuUsage);
	*u = (Cri__CpuUsage)CRI__CPU_USAGE__INIT;
	u->timestamp = s->timestamp_ns;
	u->usage_core_nano_seconds = number(p, s->has_cpu, s->cpu_usage_ns);
	u->usage_nano_cores = number(p, s->has_nano_cores, s->nano_cores);
	return u;
}

static Cri__MemoryUsage *memory_of(struct pool *p, const struct stats_sample *s)
{
	Cri__MemoryUsage *u = pool_new_struct(p, Cri__MemoryUsage);
	*u = (Cri__MemoryUsage)CRI__MEMORY_USAGE__INIT;
	u->timestamp = s->timestamp_ns;
	u->working_set_bytes = number(p, s->has_memory, s->working_set);
	u->available_bytes = number(p, s->has_available, s->available);
	u->usage_bytes = number(p, s->has_memory, s->memory_usage);
	u->rss_bytes = number(p, s->has_memory, s->rss);
	u->page_faults = number(p, s->has_memory, s->page_faults);
	u->major_page_faults = number(p, s->has_memory, s->major_page_faults);
	return u;
}

static Cri__SwapUsage *swap_of(struct pool *p, const struct stats_sample *s)
{
	if (!s->has_swap)
		return NULL;
	Cri__SwapUsage *u = pool_new_struct(p, Cri__SwapUsage);
	*u = (Cri__SwapUsage)CRI__SWAP_USAGE__INIT;
	u->timestamp = s->timestamp_ns;
	u->swap_usage_bytes = number(p, true, s->swap_usage);
	u->swap_available_bytes = number(p, s->has_swap_available, s->swap_available);
	return u;
}

static Cri__FilesystemUsage *layer_of(struct pool *p, const struct container *c)
{
	if (!c->rw_at_ns)
		return NULL;
	Cri__FilesystemUsage *u = pool_new_struct(p, Cri__FilesystemUsage);
	*u = (Cri__FilesystemUsage)CRI__FILESYSTEM_USAGE__INIT;
	u->timestamp = c->rw_at_ns;
	u->fs_id = pool_new_struct(p, Cri__FilesystemIdentifier);
	*u->fs_id = (Cri__FilesystemIdentifier)CRI__FILESYSTEM_IDENTIFIER__INIT;
	u->fs_id->mountpoint = pool_printf(p, "%s/rw", c->model->g.config->root);
	u->used_bytes = number(p, true, c->rw_bytes);
	u->inodes_used = number(p, true, c->rw_inodes);
	return u;
}

/* From the last sample. */
static Cri__ContainerStats *stats_of(struct pool *p, struct container *c)
{
	Cri__ContainerStats *st = pool_new_struct(p, Cri__ContainerStats);
	*st = (Cri__ContainerStats)CRI__CONTAINER_STATS__INIT;
	st->attributes = pool_new_struct(p, Cri__ContainerAttributes);
	*st->attributes = (Cri__ContainerAttributes)CRI__CONTAINER_ATTRIBUTES__INIT;
	st->attributes->id = c->id;
	st->attributes->metadata = c->config->metadata;
	st->attributes->n_labels = c->config->n_labels;
	st->attributes->labels = (void *)c->config->labels;
	st->attributes->n_annotations = c->config->n_annotations;
	st->attributes->annotations = (void *)c->config->annotations;
	if (!c->stats.timestamp_ns)
		return st;	/* never ran: who it is, without numbers */
	st->cpu = cpu_of(p, &c->stats);
	st->memory = memory_of(p, &c->stats);
	st->swap = swap_of(p, &c->stats);
	st->writable_layer = layer_of(p, c);
	return st;
}

struct one_stats {
	struct grpc_call *call;
	const char *id;
	struct sample_wait wait;
};

static void reply_one(void *data)
{
	struct one_stats *o = data;
	struct cri *cri = grpc_user(o->call);
	struct container *c = model_container(cri->model, o->id);
	Cri__ContainerStatsResponse resp = CRI__CONTAINER_STATS_RESPONSE__INIT;
	if (c)	/* one that has gone meanwhile has none */
		resp.stats = stats_of(grpc_pool(o->call), c);
	grpc_reply(o->call, &resp.base);
}

static void handle_one_left(struct grpc_call *call, void *data)
{
	struct one_stats *o = data;
	model_sample_leave(&o->wait);
}

RPC(cri_container_stats)
{
	const Cri__ContainerStatsRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	model_measure(cri->model);
	struct container *c = model_container(cri->model, rq->container_id);
	if (!c || c->state == CONTAINER_STATE_CREATING) {
		struct err e = { 0 };
		err_set(&e, ENOENT, "container_id \"%s\": no such container", rq->container_id);
		grpc_fail(call, &e);
		return;
	}
	struct one_stats *o = pool_new_struct(grpc_pool(call), struct one_stats);
	o->call = call;
	o->id = pool_strdup(grpc_pool(call), c->id);
	if (!model_sample(c, &o->wait, reply_one, o))
		reply_one(o);
	else
		grpc_on_cancel(call, handle_one_left, o);
}

static bool matches(const struct container *c, const Cri__ContainerStatsFilter *f)
{
	if (c->state == CONTAINER_STATE_CREATING || c->state == CONTAINER_STATE_EXITED)
		return false;
	if (!f)
		return true;
	if (f->id[0] && strncmp(c->id, f->id, strlen(f->id)))
		return false;
	if (f->pod_sandbox_id[0] && strncmp(c->pod->id, f->pod_sandbox_id, strlen(f->pod_sandbox_id)))
		return false;
	return rpc_labels_match((void *)c->config->labels, c->config->n_labels, (void *)f->label_selector,
				f->n_label_selector);
}

/* A list reads several files for each container, which for a full node takes far longer than
 * the loop may be held up: first the samples are brought up to date in slices, then the list is
 * made from memory. */
struct list_stats {
	struct loop_slice slice;
	struct grpc_call *call;
	const Cri__ContainerStatsFilter *filter;
	const char **ids;	/* containers may go between two slices */
	struct sample_wait *waits;
	size_t n, at, left;	/* left: that engines have to tell, and one for ourselves */
};

static void reply_list(struct list_stats *l);

static void handle_sampled(void *data)
{
	struct list_stats *l = data;
	if (--l->left == 0)
		reply_list(l);
}

static bool sample_next(struct loop_slice *s)
{
	struct list_stats *l = s->data;
	struct cri *cri = grpc_user(l->call);
	size_t i = l->at++;
	struct container *c = i < l->n ? model_container(cri->model, l->ids[i]) : NULL;
	if (c && model_sample(c, &l->waits[i], handle_sampled, l))
		l->left++;
	return l->at < l->n;
}

static void handle_all_asked(struct loop_slice *s)
{
	handle_sampled(s->data);
}

static void reply_list(struct list_stats *l)
{
	struct cri *cri = grpc_user(l->call);
	struct pool *pool = grpc_pool(l->call);
	Cri__ListContainerStatsResponse resp = CRI__LIST_CONTAINER_STATS_RESPONSE__INIT;
	resp.stats = pool_alloc(pool, (l->n + 1) * sizeof(*resp.stats));
	for (size_t i = 0; i < l->n; i++) {
		struct container *c = model_container(cri->model, l->ids[i]);
		if (c && matches(c, l->filter))
			resp.stats[resp.n_stats++] = stats_of(pool, c);
	}
	grpc_reply(l->call, &resp.base);
}

static void handle_list_left(struct grpc_call *call, void *data)
{
	struct list_stats *l = data;
	loop_slice_stop(&l->slice);
	for (size_t i = 0; i < l->n && i < l->at; i++)
		if (l->waits[i].cb)
			model_sample_leave(&l->waits[i]);
}

RPC(cri_list_container_stats)
{
	const Cri__ListContainerStatsRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	model_measure(cri->model);
	struct pool *pool = grpc_pool(call);
	struct list_stats *l = pool_new_struct(pool, struct list_stats);
	l->call = call;
	l->filter = rq->filter;
	l->ids = pool_alloc(pool, (cri->model->containers.len + 1) * sizeof(*l->ids));
	struct container *c;
	list_for_each(c, &cri->model->container_list, link)
		if (matches(c, rq->filter))
			l->ids[l->n++] = pool_strdup(pool, c->id);
	l->waits = pool_alloc(pool, (l->n + 1) * sizeof(*l->waits));
	memset(l->waits, 0, (l->n + 1) * sizeof(*l->waits));
	l->left = 1;
	grpc_on_cancel(call, handle_list_left, l);
	loop_slice_start(&l->slice, cri->loop, pool, sample_next, handle_all_asked, l);
}

/* The objects of the model: making, finding, naming, forgetting.  No operation is here. */
#include "core/model/model.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/conlog/conlog.h"
#include "core/model/model_int.h"
#include "core/oci/oci.h"
#include "core/store/store.h"

static const char *const pod_states[] = {
	[POD_STATE_STARTING] = "starting",
	[POD_STATE_READY] = "ready",
	[POD_STATE_STOPPING] = "stopping",
	[POD_STATE_NOTREADY] = "notready",
};

static const char *const container_states[] = {
	[CONTAINER_STATE_CREATING] = "creating",
	[CONTAINER_STATE_CREATED] = "created",
	[CONTAINER_STATE_RUNNING] = "running",
	[CONTAINER_STATE_EXITED] = "exited",
};

void model_reload(struct model *m, const struct config *config)
{
	m->g.config = config;
}

const char *pod_state_name(enum pod_state s)
{
	return pod_states[s];
}

const char *container_state_name(enum container_state s)
{
	return container_states[s];
}

static void release_maps(struct pool_res *r);

struct model_maps {
	struct pool_res res;
	struct model *model;
};

static void release_maps(struct pool_res *r)
{
	struct model *m = container_of(r, struct model_maps, res)->model;
	map_free(&m->pods);
	map_free(&m->pod_names);
	map_free(&m->containers);
	map_free(&m->container_names);
}

struct model *model_new(struct pool *p, const struct model_ground *g)
{
	struct model *m = pool_new_struct(p, struct model);
	m->g = *g;
	m->pool = p;
	list_init(&m->pod_list);
	list_init(&m->container_list);
	list_init(&m->measure_waiters);
	struct model_maps *maps = pool_new_struct(p, struct model_maps);
	maps->model = m;
	pool_res_add(p, &maps->res, release_maps);
	return m;
}

/* -- pods -- */

char *pod_key(struct pool *p, const Cri__PodSandboxMetadata *md)
{
	/* With lengths: whatever they consist of, two pods never share a key. */
	return pool_printf(p, "%zu.%zu/%s/%s/%s/%u", strlen(md->uid), strlen(md->namespace_), md->uid, md->namespace_,
			   md->name, md->attempt);
}

struct pod *pod_new(struct model *m, const char *id)
{
	struct pool *pool = pool_new(m->pool, "pod");
	struct pod *p = pool_new_struct(pool, struct pod);
	p->model = m;
	p->pool = pool;
	p->id = pool_strdup(pool, id);
	p->net_fd = p->netdev_fd = p->ipc_fd = p->uts_fd = p->shm_fd = p->user_fd = -1;
	list_init(&p->link);
	list_init(&p->containers);
	return p;
}

void pod_enter(struct pod *p)
{
	struct model *m = p->model;
	p->name = pod_key(p->pool, p->config->metadata);
	oci_userns_of(p->config, &p->map);
	map_put(&m->pods, &p->by_id, p->id);
	if (!map_get(&m->pod_names, p->name))
		map_put(&m->pod_names, &p->by_name, p->name);
	list_append(&m->pod_list, &p->link);
}

void pod_drop_fds(struct pod *p)
{
	int *fds[] = { &p->net_fd, &p->netdev_fd, &p->ipc_fd, &p->uts_fd, &p->shm_fd, &p->user_fd };
	for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

void pod_forget(struct pod *p)
{
	map_del(&p->model->pods, &p->by_id);
	map_del(&p->model->pod_names, &p->by_name);
	list_del(&p->link);
	event_pod_gone(p);
	loop_child_stop(&p->pause);
	loop_defer_cancel(&p->claimed);
	pod_drop_fds(p);
	loop_destroy_later(p->model->g.loop, p->pool);
}

void pod_set_state(struct pod *p, enum pod_state state)
{
	if (p->state == state)
		return;
	log_info("pod", "pod", p->id, "from", pod_states[p->state], "to", pod_states[state], "name",
		 p->config->metadata->name, "namespace", p->config->metadata->namespace_);
	enum pod_state from = p->state;
	p->state = state;
	event_pod(p, from);
}

struct pod *model_pod(struct model *m, const char *id)
{
	int many;
	struct map_node *n = map_get(&m->pods, id);
	if (!n && strlen(id) >= 4)
		n = map_prefix(&m->pods, id, &many);
	return n ? container_of(n, struct pod, by_id) : NULL;
}

char *pod_dir(struct pool *p, const struct pod *pod)
{
	return store_dir(p, pod->model->g.store, STORE_POD, pod->id);
}

char *fd_path(struct pool *p, int fd)
{
	return fd < 0 ? NULL : pool_printf(p, "/proc/%d/fd/%d", (int)getpid(), fd);
}

/* -- containers -- */

char *container_key(struct pool *p, const struct pod *pod, const Cri__ContainerMetadata *md)
{
	return pool_printf(p, "%s/%s/%u", pod->id, md->name, md->attempt);
}

char *container_log_path(struct pool *p, const struct pod *pod, const Cri__ContainerConfig *config)
{
	if (!config->log_path[0] || !pod->config->log_directory[0])
		return NULL;
	return pool_printf(p, "%s/%s", pod->config->log_directory, config->log_path);
}

struct container *container_new(struct pod *p, const char *id)
{
	struct pool *pool = pool_new(p->pool, "container");
	struct container *c = pool_new_struct(pool, struct container);
	c->pod = p;
	c->model = p->model;
	c->pool = pool;
	c->id = pool_strdup(pool, id);
	c->stdin_fd = -1;
	for (int i = 0; i < 3; i++)
		c->start_fds[i] = -1;
	list_init(&c->link);
	list_init(&c->in_pod);
	list_init(&c->execs);
	list_init(&c->attaches);
	list_init(&c->exit_waiters);
	list_init(&c->sample_waiters);
	return c;
}

void container_enter(struct container *c)
{
	struct model *m = c->model;
	c->name = container_key(c->pool, c->pod, c->config->metadata);
	map_put(&m->containers, &c->by_id, c->id);
	if (!map_get(&m->container_names, c->name))
		map_put(&m->container_names, &c->by_name, c->name);
	list_append(&m->container_list, &c->link);
	list_append(&c->pod->containers, &c->in_pod);
}

void container_close_log(struct container *c)
{
	attaches_end(c);
	if (c->log_pool)
		loop_destroy_later(c->model->g.loop, c->log_pool);
	c->log_pool = NULL;
	c->log = NULL;
}

void container_forget(struct container *c)
{
	map_del(&c->model->containers, &c->by_id);
	map_del(&c->model->container_names, &c->by_name);
	list_del(&c->link);
	list_del(&c->in_pod);
	event_container_gone(c);
	loop_timer_stop(&c->lost);
	loop_child_stop(&c->child);
	loop_defer_cancel(&c->claimed);
	execs_orphan(c);
	sample_forget(c);
	container_close_log(c);
	if (c->stdin_fd >= 0)
		close(c->stdin_fd);
	c->stdin_fd = -1;
	for (int i = 0; i < 3; i++) {
		if (c->start_fds[i] >= 0)
			close(c->start_fds[i]);
		c->start_fds[i] = -1;
	}
	loop_destroy_later(c->model->g.loop, c->pool);
}

void container_set_state(struct container *c, enum container_state state)
{
	if (c->state == state)
		return;
	log_info("container", "ctr", c->id, "pod", c->pod->id, "from", container_states[c->state], "to",
		 container_states[state], "name", c->config->metadata->name, "pid",
		 c->pid ? log_num(c->pid) : NULL);
	enum container_state from = c->state;
	c->state = state;
	event_container(c, from);
}

struct container *model_container(struct model *m, const char *id)
{
	int many;
	struct map_node *n = map_get(&m->containers, id);
	if (!n && strlen(id) >= 4)
		n = map_prefix(&m->containers, id, &many);
	return n ? container_of(n, struct container, by_id) : NULL;
}

char *container_dir(struct pool *p, const struct container *c)
{
	return store_dir(p, c->model->g.store, STORE_CONTAINER, c->id);
}

int model_reopen_log(struct model *m, const char *id, struct err *e)
{
	struct container *c = model_container(m, id);
	if (!c)
		return err_set(e, ENOENT, "container_id \"%s\": no such container", id);
	if (c->state != CONTAINER_STATE_RUNNING || !c->log)
		return err_set(e, EBUSY, "container %s is %s: its log is reopened only while it runs", id,
			       container_states[c->state]);
	return conlog_reopen(c->log, e);
}

/* -- protobuf in pools -- */

static void *alloc_in_pool(void *pool, size_t n)
{
	return pool_alloc(pool, n);
}

static void leave_to_pool(void *pool, void *mem)
{
}

void *pb_unpack(struct pool *p, const ProtobufCMessageDescriptor *d, const void *data, size_t len)
{
	ProtobufCAllocator a = { alloc_in_pool, leave_to_pool, p };
	return protobuf_c_message_unpack(d, &a, len, data);
}

void *pb_pack(struct pool *p, const void *msg, size_t *len)
{
	void *data = pool_alloc(p, protobuf_c_message_get_packed_size(msg) + 1);
	*len = protobuf_c_message_pack(msg, data);
	return data;
}

void *pb_copy(struct pool *p, const void *msg)
{
	struct pool *tmp = pool_new(NULL, "copy");
	size_t len;
	void *data = pb_pack(tmp, msg, &len);
	void *copy = pb_unpack(p, ((const ProtobufCMessage *)msg)->descriptor, data, len);
	pool_destroy(tmp);
	return copy;
}

/* What the handlers share: waiting for the model, labels, states. */
#include "core/cri/rpc.h"

#include <errno.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/pool.h"

static void handle_left(struct grpc_call *call, void *data)
{
	struct rpc *r = data;
	model_leave(&r->wait);
}

static void handle_done(struct model_wait *w, int ret, const char *id, const struct err *e)
{
	struct rpc *r = container_of(w, struct rpc, wait);
	if (ret < 0)
		grpc_fail(r->call, e);
	else
		r->reply(r, id);
}

struct model_wait *rpc_wait(struct grpc_call *call, void (*reply)(struct rpc *r, const char *id))
{
	struct rpc *r = pool_new_struct(grpc_pool(call), struct rpc);
	r->call = call;
	r->cri = grpc_user(call);
	r->reply = reply;
	r->wait.done = handle_done;
	grpc_on_cancel(call, handle_left, r);
	return &r->wait;
}

void rpc_reply_empty(struct grpc_call *call)
{
	grpc_reply_packed(call, "", 0);
}

void rpc_not_found(struct grpc_call *call, const char *field, const char *id, const char *what)
{
	struct err e = { 0 };
	err_set(&e, ENOENT, "%s \"%s\": no such %s", field, id, what);
	grpc_fail(call, &e);
}

const char *rpc_given(const char *s)
{
	return s[0] ? s : NULL;
}

Cri__UInt64Value *rpc_number(struct pool *p, bool known, uint64_t value)
{
	if (!known)
		return NULL;
	Cri__UInt64Value *v = pool_new_struct(p, Cri__UInt64Value);
	*v = (Cri__UInt64Value)CRI__UINT64_VALUE__INIT;
	v->value = value;
	return v;
}

static void *alloc_in_pool(void *pool, size_t n)
{
	return pool_alloc(pool, n);
}

static void leave_to_pool(void *pool, void *mem)
{
}

void *rpc_copy(struct pool *p, const ProtobufCMessage *m)
{
	ProtobufCAllocator in_pool = { alloc_in_pool, leave_to_pool, p };
	struct buf bytes = { 0 };
	size_t n = protobuf_c_message_get_packed_size(m);
	protobuf_c_message_pack(m, (uint8_t *)buf_room(&bytes, n));
	void *copy = protobuf_c_message_unpack(m->descriptor, &in_pool, n, (uint8_t *)bytes.data);
	buf_free(&bytes);
	return copy;
}

static const char *value_of(void *const *have, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++) {
		const struct rpc_entry *e = have[i];
		if (!strcmp(e->key, key))
			return e->value;
	}
	return NULL;
}

bool rpc_labels_match(void *const *have, size_t n_have, void *const *want, size_t n_want)
{
	for (size_t i = 0; i < n_want; i++) {
		const struct rpc_entry *e = want[i];
		const char *value = value_of(have, n_have, e->key);
		if (!value || strcmp(value, e->value))
			return false;
	}
	return true;
}

void *rpc_info(struct pool *p, const ProtobufCMessageDescriptor *entry, const char *json)
{
	struct rpc_entry *e = pool_alloc(p, entry->sizeof_message), **list = pool_alloc(p, sizeof(*list));
	e->base.descriptor = entry;
	e->key = pool_strdup(p, "info");
	e->value = pool_strdup(p, json);
	list[0] = e;
	return list;
}

Cri__PodSandboxState rpc_pod_state(const struct pod *p)
{
	return p->state == POD_STATE_READY ? CRI__POD_SANDBOX_STATE__SANDBOX_READY :
					     CRI__POD_SANDBOX_STATE__SANDBOX_NOTREADY;
}

Cri__ContainerState rpc_container_state(const struct container *c)
{
	static const Cri__ContainerState states[] = {
		[CONTAINER_STATE_CREATING] = CRI__CONTAINER_STATE__CONTAINER_CREATED,
		[CONTAINER_STATE_CREATED] = CRI__CONTAINER_STATE__CONTAINER_CREATED,
		[CONTAINER_STATE_RUNNING] = CRI__CONTAINER_STATE__CONTAINER_RUNNING,
		[CONTAINER_STATE_EXITED] = CRI__CONTAINER_STATE__CONTAINER_EXITED,
	};
	return states[c->state];
}

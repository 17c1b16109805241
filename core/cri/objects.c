/* Statuses of pods and containers, see the header. */
#include "core/cri/objects.h"

#include "core/base/pool.h"
#include "core/oci/oci.h"

static Cri__PodSandboxNetworkStatus *network_of(struct pool *pool, const struct pod *p)
{
	Cri__PodSandboxNetworkStatus *n = pool_new_struct(pool, Cri__PodSandboxNetworkStatus);
	*n = (Cri__PodSandboxNetworkStatus)CRI__POD_SANDBOX_NETWORK_STATUS__INIT;
	if (!p->n_ips || p->state == POD_STATE_NOTREADY)
		return n;
	n->ip = (char *)(uintptr_t)p->ips[0];
	n->n_additional_ips = p->n_ips - 1;
	n->additional_ips = pool_alloc(pool, p->n_ips * sizeof(*n->additional_ips));
	for (size_t i = 1; i < p->n_ips; i++) {
		Cri__PodIP *ip = pool_new_struct(pool, Cri__PodIP);
		*ip = (Cri__PodIP)CRI__POD_IP__INIT;
		ip->ip = (char *)(uintptr_t)p->ips[i];
		n->additional_ips[i - 1] = ip;
	}
	return n;
}

/* The options as they came: the kubelet compares them. */
static Cri__LinuxPodSandboxStatus *linux_of(struct pool *pool, const struct pod *p)
{
	Cri__LinuxPodSandboxStatus *s = pool_new_struct(pool, Cri__LinuxPodSandboxStatus);
	*s = (Cri__LinuxPodSandboxStatus)CRI__LINUX_POD_SANDBOX_STATUS__INIT;
	s->namespaces = pool_new_struct(pool, Cri__Namespace);
	*s->namespaces = (Cri__Namespace)CRI__NAMESPACE__INIT;
	const Cri__LinuxPodSandboxConfig *lc = p->config->linux;
	if (lc && lc->security_context && lc->security_context->namespace_options) {
		s->namespaces->options = lc->security_context->namespace_options;
	} else {
		s->namespaces->options = pool_new_struct(pool, Cri__NamespaceOption);
		*s->namespaces->options = (Cri__NamespaceOption)CRI__NAMESPACE_OPTION__INIT;
	}
	return s;
}

Cri__PodSandboxStatus *object_pod_status(struct pool *pool, const struct pod *p)
{
	Cri__PodSandboxStatus *st = pool_new_struct(pool, Cri__PodSandboxStatus);
	*st = (Cri__PodSandboxStatus)CRI__POD_SANDBOX_STATUS__INIT;
	st->id = p->id;
	st->metadata = p->config->metadata;
	st->state = rpc_pod_state(p);
	st->created_at = p->created_ns;
	st->network = network_of(pool, p);
	st->linux = linux_of(pool, p);
	st->n_labels = p->config->n_labels;
	st->labels = (void *)p->config->labels;
	st->n_annotations = p->config->n_annotations;
	st->annotations = (void *)p->config->annotations;
	st->runtime_handler = (char *)(uintptr_t)p->handler_name;
	return st;
}

/* -- containers -- */

static Cri__ContainerUser *user_of(struct pool *pool, const struct container *c)
{
	Cri__ContainerUser *u = pool_new_struct(pool, Cri__ContainerUser);
	*u = (Cri__ContainerUser)CRI__CONTAINER_USER__INIT;
	u->linux = pool_new_struct(pool, Cri__LinuxContainerUser);
	*u->linux = (Cri__LinuxContainerUser)CRI__LINUX_CONTAINER_USER__INIT;
	u->linux->uid = c->uid;
	u->linux->gid = c->gid;
	u->linux->n_supplemental_groups = c->n_groups;
	u->linux->supplemental_groups = pool_alloc(pool, (c->n_groups + 1) * sizeof(int64_t));
	for (size_t i = 0; i < c->n_groups; i++)
		u->linux->supplemental_groups[i] = c->groups[i];
	return u;
}

static Cri__ContainerResources *resources_of(struct pool *pool, const struct container *c)
{
	if (!c->config->linux || !c->config->linux->resources)
		return NULL;
	Cri__ContainerResources *r = pool_new_struct(pool, Cri__ContainerResources);
	*r = (Cri__ContainerResources)CRI__CONTAINER_RESOURCES__INIT;
	r->linux = c->config->linux->resources;
	return r;
}

/* The kubelet creates by the image's id and tells the pod's own word beside it: users want to read that. */
static Cri__ImageSpec *image_of(struct pool *pool, const struct container *c)
{
	Cri__ImageSpec *asked = c->config->image;
	if (!asked->user_specified_image[0])
		return asked;
	Cri__ImageSpec *image = pool_new_struct(pool, Cri__ImageSpec);
	*image = *asked;
	image->image = asked->user_specified_image;
	return image;
}

Cri__ContainerStatus *object_container_status(struct pool *pool, const struct container *c)
{
	Cri__ContainerStatus *st = pool_new_struct(pool, Cri__ContainerStatus);
	*st = (Cri__ContainerStatus)CRI__CONTAINER_STATUS__INIT;
	const Cri__ContainerConfig *cf = c->config;
	st->id = c->id;
	st->metadata = cf->metadata;
	st->state = rpc_container_state(c);
	st->created_at = c->created_ns;
	st->started_at = c->started_ns;
	st->image = image_of(pool, c);
	st->image_ref = (char *)(uintptr_t)c->image_ref;
	st->image_id = (char *)(uintptr_t)c->image_id;
	if (c->state == CONTAINER_STATE_EXITED) {
		st->finished_at = c->finished_ns;
		st->exit_code = c->exit_code;
		st->reason = (char *)(uintptr_t)(c->reason ? c->reason : "");
		st->message = (char *)(uintptr_t)(c->message ? c->message : "");
	}
	st->n_labels = cf->n_labels;
	st->labels = (void *)cf->labels;
	st->n_annotations = cf->n_annotations;
	st->annotations = (void *)cf->annotations;
	st->n_mounts = cf->n_mounts;
	st->mounts = cf->mounts;
	st->log_path = (char *)(uintptr_t)(c->log_path ? c->log_path : "");
	st->resources = resources_of(pool, c);
	st->user = user_of(pool, c);
	st->stop_signal = oci_signal_cri(c->stop_signal);
	return st;
}

Cri__ContainerStatus **object_container_statuses(struct pool *pool, const struct pod *p, size_t *n)
{
	size_t all = 0;
	struct container *c;
	list_for_each(c, &p->containers, in_pod)
		all++;
	Cri__ContainerStatus **list = pool_alloc(pool, (all + 1) * sizeof(*list));
	*n = 0;
	list_for_each(c, &p->containers, in_pod)
		if (c->state != CONTAINER_STATE_CREATING)
			list[(*n)++] = object_container_status(pool, c);
	return list;
}

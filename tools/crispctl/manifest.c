/* The CRI's messages for a pod, with what a kubelet would set. */
#include "tools/crispctl/manifest.h"

#include <errno.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/pool.h"
#include "tools/crispctl/message.h"
#include "tools/crispctl/podlog.h"

enum { CONTAINERS_MAX = 64, NAME_LEN_MAX = 63 };

/* Names become file names and host names. */
static bool is_name(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-");
	return n > 0 && n <= NAME_LEN_MAX && !s[n] && s[0] != '-' && s[n - 1] != '-';
}

int manifest_begin(struct pool *p, const char *name, struct manifest *m, struct err *e)
{
	char uid[65];
	if (!is_name(name))
		return err_set(e, EINVAL, "\"%s\" is no name for a pod: a-z, 0-9 and -, at most %d",
			       name, NAME_LEN_MAX);
	*m = (struct manifest){ .pool = p, .handler = "" };
	m->containers = pool_alloc(p, CONTAINERS_MAX * sizeof(*m->containers));
	random_id(uid);
	uid[32] = 0;
	m->pod = MESSAGE_NEW(p, pod_sandbox_config);
	m->pod->metadata = MESSAGE_NEW(p, pod_sandbox_metadata);
	m->pod->metadata->name = pool_strdup(p, name);
	m->pod->metadata->namespace_ = "default";
	m->pod->metadata->uid = pool_strdup(p, uid);
	m->pod->hostname = m->pod->metadata->name;
	m->pod->linux = MESSAGE_NEW(p, linux_pod_sandbox_config);
	Cri__LinuxSandboxSecurityContext *sc = MESSAGE_NEW(p, linux_sandbox_security_context);
	sc->namespace_options = MESSAGE_NEW(p, namespace_option);
	sc->namespace_options->pid = CRI__NAMESPACE_MODE__CONTAINER;
	sc->seccomp = MESSAGE_NEW(p, security_profile);	/* the runtime's default */
	m->pod->linux->security_context = sc;
	return 0;
}

int manifest_add(struct manifest *m, const char *name, const char *image,
		 struct manifest_container **out, struct err *e)
{
	struct pool *p = m->pool;
	if (!is_name(name))
		return err_set(e, EINVAL,
			       "\"%s\" is no name for a container: a-z, 0-9 and -, at most %d",
			       name, NAME_LEN_MAX);
	if (m->n_containers == CONTAINERS_MAX)
		return err_set(e, EINVAL, "more than %d containers", CONTAINERS_MAX);
	for (size_t i = 0; i < m->n_containers; i++)
		if (!strcmp(m->containers[i].config->metadata->name, name))
			return err_set(e, EINVAL, "two containers are called \"%s\"", name);
	Cri__ContainerConfig *c = MESSAGE_NEW(p, container_config);
	c->metadata = MESSAGE_NEW(p, container_metadata);
	c->metadata->name = pool_strdup(p, name);
	c->image = MESSAGE_NEW(p, image_spec);
	c->image->image = pool_strdup(p, image);
	c->image->user_specified_image = c->image->image;
	c->log_path = pool_printf(p, "%s/0.log", name);
	c->linux = MESSAGE_NEW(p, linux_container_config);
	c->linux->resources = MESSAGE_NEW(p, linux_container_resources);
	Cri__LinuxContainerSecurityContext *sc = MESSAGE_NEW(p, linux_container_security_context);
	sc->seccomp = m->pod->linux->security_context->seccomp;
	c->linux->security_context = sc;
	*out = &m->containers[m->n_containers++];
	**out = (struct manifest_container){ .config = c };
	return 0;
}

void manifest_env(struct manifest *m, struct manifest_container *c, const char *name,
		  const char *value)
{
	Cri__KeyValue *kv = MESSAGE_NEW(m->pool, key_value);
	kv->key = pool_strdup(m->pool, name);
	kv->value.data = (uint8_t *)pool_strdup(m->pool, value);
	kv->value.len = strlen(value);
	message_append(m->pool, c->config, "envs", kv);
}

void manifest_host_network(struct manifest *m)
{
	m->pod->linux->security_context->namespace_options->network = CRI__NAMESPACE_MODE__NODE;
	m->pod->hostname = "";
}

static void put_labels(struct manifest *m, void *to)
{
	const Cri__PodSandboxMetadata *md = m->pod->metadata;
	message_put(m->pool, to, "labels", "io.kubernetes.pod.name", md->name);
	message_put(m->pool, to, "labels", "io.kubernetes.pod.namespace", md->namespace_);
	message_put(m->pool, to, "labels", "io.kubernetes.pod.uid", md->uid);
}

void manifest_finish(struct manifest *m)
{
	Cri__LinuxSandboxSecurityContext *sc = m->pod->linux->security_context;
	put_labels(m, m->pod);
	message_put(m->pool, m->pod, "labels", PODLOG_LABEL, "true");
	m->pod->log_directory = (char *)podlog_dir(m->pool, m->pod->metadata);
	for (size_t i = 0; i < m->n_containers; i++) {
		Cri__ContainerConfig *c = m->containers[i].config;
		put_labels(m, c);
		message_put(m->pool, c, "labels", "io.kubernetes.container.name",
			    c->metadata->name);
		c->linux->security_context->namespace_options = sc->namespace_options;
		if (c->linux->security_context->privileged)
			sc->privileged = true;
	}
}

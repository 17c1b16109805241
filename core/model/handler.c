/*
 * The handler of a pod: which one it gets, and what of that one's options acts on it.
 */
#include <errno.h>
#include <string.h>

#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/config/config.h"
#include "core/model/model_int.h"
#include "core/oci/oci.h"
#include "core/plug/plug.h"

/* What the pod wants of the host that a sandbox of its own can't give; NULL: nothing. */
static const char *needs_host(const Cri__PodSandboxConfig *config)
{
	struct oci_ns ns;
	oci_ns_of(config, NULL, &ns);
	return oci_pod_privileged(config)  ? "privileged" :
	       ns.net == OCI_NS_NODE	    ? "hostNetwork" :
	       ns.pid == OCI_NS_NODE	    ? "hostPID" :
	       ns.ipc == OCI_NS_NODE	    ? "hostIPC" :
					      NULL;
}

static int no_such_handler(const struct model *m, const char *name, struct err *e)
{
	const struct config *c = m->g.config;
	struct buf names = { 0 };
	for (size_t i = 0; i < c->n_handlers; i++)
		buf_printf(&names, "%s%s", i ? ", " : "", c->handlers[i].name);
	int ret = err_set(e, EINVAL, "runtime_handler \"%s\": no such handler on this node, which has %s: let the "
			  "RuntimeClass name one of these, or add it to engines.handlers", name, names.data);
	buf_free(&names);
	return ret;
}

/* The handler asked for, or the one that it names for pods that want the host: why, else NULL. */
static const struct config_handler *pick(const struct config *cf, const struct config_handler *asked,
					 const Cri__PodSandboxConfig *config, const char **why)
{
	const struct config_handler *got = asked;
	*why = asked->fallback ? needs_host(config) : NULL;
	for (size_t i = 0; *why && got->fallback && i < cf->n_handlers; i++)
		got = config_handler(cf, got->fallback);	/* checked: it is there */
	return got;
}

struct plug_handler *model_handler(struct model *m, const Cri__PodSandboxConfig *config, const char *name)
{
	const struct config_handler *asked = config_handler(m->g.config, name);
	const char *why;
	return asked ? plug_handler_get(m->g.plug, pick(m->g.config, asked, config, &why)->name) : NULL;
}

int handler_choose(struct model *m, const Cri__PodSandboxConfig *config, const char *name,
		   struct handler_choice *out, struct err *e)
{
	const struct config *cf = m->g.config;
	const struct config_handler *asked = config_handler(cf, name);
	const char *why;
	*out = (struct handler_choice){ 0 };
	if (!asked)
		return no_such_handler(m, name, e);
	const struct config_handler *got = pick(cf, asked, config, &why);
	out->handler = plug_handler_get(m->g.plug, got->name);
	out->policy = &got->policy;
	if (got != asked) {
		out->asked = asked->name;
		out->why = why;
	}
	if (!out->handler)
		return no_such_handler(m, got->name, e);
	if (out->handler->ready)
		return 0;
	if (out->asked)
		return err_set(e, EAGAIN, "runtime_handler \"%s\": the pod needs the host (%s), and \"%s\", its fallback, "
			       "is not ready: %s", asked->name, why, got->name, out->handler->reason);
	return err_set(e, EAGAIN, "runtime_handler \"%s\": not ready: %s", got->name, out->handler->reason);
}

/* The choice's names and policy are the configuration's, which may be gone with the next reload. */
void pod_take_handler(struct pod *p, const struct handler_choice *ch)
{
	p->handler = ch->handler;
	plug_handler_hold(p->handler, p->pool);
	p->handler_name = pool_strdup(p->pool, ch->handler->name);
	p->engine = pool_strdup(p->pool, ch->handler->engine);
	p->asked_handler = pool_strdup(p->pool, ch->asked);
	p->moved_why = pool_strdup(p->pool, ch->why);
	pod_take_policy(p, config_policy_json(p->pool, ch->policy));
	if (ch->asked)
		log_info("a pod that needs the host goes to another handler", "pod", p->id, "asked", ch->asked,
			 "handler", p->handler_name, "why", ch->why);
}

void pod_take_policy(struct pod *p, const char *text)
{
	struct err e = { 0 };
	p->policy_json = text && *text ? text : "{}";
	if (config_policy_parse(p->pool, p->policy_json, &p->policy, &e) < 0) {
		log_warn("the recorded options of a pod's handler can't be read; it has none", "pod", p->id,
			 "error", err_text(&e));
		p->policy = (struct config_policy){ 0 };
	}
}

/* -- what the options do -- */

uint64_t pod_create_timeout_ms(const struct pod *p)
{
	return p->policy.create_timeout_ms ? p->policy.create_timeout_ms : ENGINE_TIMEOUT_MS;
}

struct pod_overhead pod_overhead(const struct pod *p)
{
	enum { PERIOD_US = 100000 };
	const Cri__LinuxPodSandboxConfig *lc = p->config->linux;
	const Cri__LinuxContainerResources *r = lc ? lc->overhead : NULL;
	if (r && (r->memory_limit_in_bytes || r->cpu_quota))
		return (struct pod_overhead){ r->memory_limit_in_bytes, r->cpu_quota };
	return (struct pod_overhead){ p->policy.overhead_memory, p->policy.overhead_cpu * PERIOD_US / 1000 };
}

void pod_check_overhead(const struct pod *p)
{
	struct pod_overhead o = pod_overhead(p);
	if (o.memory < p->policy.overhead_memory)
		log_warn("the pod's runtime class reserves less than its handler takes", "pod", p->id, "handler",
			 p->handler_name, "bytes", log_num(o.memory), "takes", log_num(p->policy.overhead_memory));
}

struct pairs {
	const char **at;
	size_t n;
};

static void set_pair(struct pairs *l, const char *key, const char *value)
{
	size_t i = 0;
	while (i < l->n && strcmp(l->at[i], key))
		i += 2;
	l->at[i] = key;
	l->at[i + 1] = value;
	if (i == l->n)
		l->n += 2;
}

const char *const *pod_annotations(struct pool *pool, const struct pod *p, const struct container *c)
{
	size_t n_pod = p->config->n_annotations, n_ctr = c ? c->config->n_annotations : 0;
	struct pairs l = { .at = pool_alloc(pool, (2 * (n_pod + n_ctr) + 1) * sizeof(*l.at)) };
	for (size_t i = 0; i < n_pod; i++) {
		const Cri__PodSandboxConfig__AnnotationsEntry *a = p->config->annotations[i];
		if (config_policy_allows(&p->policy, a->key))
			set_pair(&l, a->key, a->value);
	}
	for (size_t i = 0; i < n_ctr; i++) {
		const Cri__ContainerConfig__AnnotationsEntry *a = c->config->annotations[i];
		if (config_policy_allows(&p->policy, a->key))
			set_pair(&l, a->key, a->value);
	}
	l.at[l.n] = NULL;
	return l.at;
}

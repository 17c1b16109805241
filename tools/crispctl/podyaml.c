/* manifest_load: a Kubernetes Pod's YAML, the part that is honoured. */
#include <errno.h>
#include <string.h>

#include "core/base/err.h"
#include "core/base/near.h"
#include "core/base/pool.h"
#include "core/config/tree.h"
#include "tools/crispctl/manifest.h"
#include "tools/crispctl/message.h"

struct reader {
	struct manifest *m;
	struct err *e;
};

/* Every key of a map must be one of names, which end with NULL. */
static int check_keys(struct reader *r, const struct tree *t, const char *what,
		      const char *const *names)
{
	size_t n = 0;
	while (names[n])
		n++;
	if (t->kind != TREE_MAP)
		return tree_err(t, r->e, "%s: expected a mapping, not %s", what,
				tree_kind_name(t->kind));
	for (size_t i = 0; i < t->n; i++) {
		const struct tree_member *m = &t->members[i];
		size_t k = 0;
		while (k < n && strcmp(names[k], m->key))
			k++;
		if (k < n)
			continue;
		const char *near = near_name(m->key, names, n);
		struct tree at = { .file = t->file, .line = m->line };
		return tree_err(&at, r->e, "%s: \"%s\" is not supported here%s%s%s", what, m->key,
				near ? ", did you mean \"" : "", near ? near : "",
				near ? "\"?" : "");
	}
	return 0;
}

/* *out is left alone when the key is absent. */
static int get_str(struct reader *r, const struct tree *map, const char *key, const char **out)
{
	const struct tree *v = tree_get(map, key);
	if (!v)
		return 0;
	if (!tree_str(v))
		return tree_err(v, r->e, "%s: expected a string, not %s", key,
				tree_kind_name(v->kind));
	*out = v->text;
	return 0;
}

static int get_bool(struct reader *r, const struct tree *map, const char *key,
		    protobuf_c_boolean *out)
{
	const struct tree *v = tree_get(map, key);
	if (!v)
		return 0;
	if (v->kind != TREE_BOOL)
		return tree_err(v, r->e, "%s: expected true or false, not %s", key,
				tree_kind_name(v->kind));
	*out = tree_is_true(v);
	return 0;
}

static int get_int(struct reader *r, const struct tree *map, const char *key, int64_t max,
		   int64_t *out)
{
	const struct tree *v = tree_get(map, key);
	if (v && (tree_int(v, out) < 0 || *out < 0 || *out > max))
		return tree_err(v, r->e, "%s: expected a number from 0 to %lld", key,
				(long long)max);
	return 0;
}

static int get_word(struct reader *r, const struct tree *map, const char *key,
		    const char *const *words, int *out)
{
	const char *s = NULL;
	int ret = get_str(r, map, key, &s);
	if (ret < 0 || !s)
		return ret;
	for (int i = 0; words[i]; i++) {
		if (!strcmp(words[i], s)) {
			*out = i;
			return 0;
		}
	}
	return tree_err(tree_get(map, key), r->e, "%s: \"%s\" is not supported, expected %s%s", key,
			s, words[0], words[1] ? " or another of its kind" : "");
}

static const struct tree *list_of(const struct tree *map, const char *key, size_t *n)
{
	const struct tree *v = tree_get(map, key);
	*n = v && v->kind == TREE_LIST ? v->n : 0;
	return v;
}

static int need_list(struct reader *r, const struct tree *v, const char *key)
{
	if (v && v->kind != TREE_LIST)
		return tree_err(v, r->e, "%s: expected a list, not %s", key,
				tree_kind_name(v->kind));
	return 0;
}

static int read_strings(struct reader *r, const struct tree *map, const char *key, void *message,
			const char *field)
{
	size_t n;
	const struct tree *list = list_of(map, key, &n);
	int ret = need_list(r, list, key);
	for (size_t i = 0; ret == 0 && i < n; i++) {
		const struct tree *v = list->members[i].value;
		if (!tree_str(v))
			return tree_err(v, r->e, "%s: expected strings, not %s", key,
					tree_kind_name(v->kind));
		message_append(r->m->pool, message, field, v->text);
	}
	return ret;
}

static int read_map(struct reader *r, const struct tree *map, const char *key, void *message)
{
	const struct tree *t = tree_get(map, key);
	if (!t)
		return 0;
	if (t->kind != TREE_MAP)
		return tree_err(t, r->e, "%s: expected a mapping, not %s", key,
				tree_kind_name(t->kind));
	for (size_t i = 0; i < t->n; i++) {
		if (!tree_str(t->members[i].value))
			return tree_err(t->members[i].value, r->e, "%s.%s: expected a string", key,
					t->members[i].key);
		message_put(r->m->pool, message, key, t->members[i].key, t->members[i].value->text);
	}
	return 0;
}

static int read_env(struct reader *r, const struct tree *t, struct manifest_container *c)
{
	static const char *const keys[] = { "name", "value", NULL };
	size_t n;
	const struct tree *list = list_of(t, "env", &n);
	int ret = need_list(r, list, "env");
	for (size_t i = 0; ret == 0 && i < n; i++) {
		const struct tree *v = list->members[i].value;
		const char *name = NULL, *value = "";
		ret = check_keys(r, v, "env", keys);
		if (ret == 0)
			ret = get_str(r, v, "name", &name);
		if (ret == 0)
			ret = get_str(r, v, "value", &value);
		if (ret == 0 && (!name || !*name || strchr(name, '=')))
			ret = tree_err(v, r->e, "env: a name is missing");
		if (ret == 0)
			manifest_env(r->m, c, name, value);
	}
	return ret;
}

static int read_ports(struct reader *r, const struct tree *t)
{
	static const char *const keys[] = { "name",   "containerPort", "hostPort",
					    "hostIP", "protocol",      NULL };
	static const char *const protocols[] = { "TCP", "UDP", "SCTP", NULL };
	size_t n;
	const struct tree *list = list_of(t, "ports", &n);
	int ret = need_list(r, list, "ports");
	for (size_t i = 0; ret == 0 && i < n; i++) {
		const struct tree *v = list->members[i].value;
		Cri__PortMapping *port = MESSAGE_NEW(r->m->pool, port_mapping);
		int64_t inside = 0, outside = 0;
		int protocol = 0;
		ret = check_keys(r, v, "ports", keys);
		if (ret == 0)
			ret = get_int(r, v, "containerPort", 65535, &inside);
		if (ret == 0)
			ret = get_int(r, v, "hostPort", 65535, &outside);
		if (ret == 0)
			ret = get_str(r, v, "hostIP", (const char **)&port->host_ip);
		if (ret == 0)
			ret = get_word(r, v, "protocol", protocols, &protocol);
		if (ret == 0 && inside == 0)
			ret = tree_err(v, r->e, "ports: containerPort is missing");
		port->container_port = inside;
		port->host_port = outside;
		port->protocol = protocol;
		message_append(r->m->pool, r->m->pod, "port_mappings", port);
	}
	return ret;
}

static int read_security(struct reader *r, const struct tree *t,
			 Cri__LinuxContainerSecurityContext *sc)
{
	static const char *const keys[] = { "privileged", "runAsUser", "readOnlyRootFilesystem",
					    NULL };
	int64_t user = -1;
	if (!t)
		return 0;
	int ret = check_keys(r, t, "securityContext", keys);
	if (ret == 0)
		ret = get_bool(r, t, "privileged", &sc->privileged);
	if (ret == 0)
		ret = get_bool(r, t, "readOnlyRootFilesystem", &sc->readonly_rootfs);
	if (ret == 0)
		ret = get_int(r, t, "runAsUser", INT32_MAX, &user);
	if (ret == 0 && user >= 0) {
		sc->run_as_user = MESSAGE_NEW(r->m->pool, int64_value);
		sc->run_as_user->value = user;
	}
	return ret;
}

static int read_container(struct reader *r, const struct tree *t)
{
	static const char *const keys[] = {
		"name",	 "image",      "imagePullPolicy", "command",	     "args", "env", "tty",
		"stdin", "workingDir", "ports",		  "securityContext", NULL
	};
	static const char *const policies[] = { "IfNotPresent", "Always", "Never", NULL };
	const char *name = NULL, *image = NULL;
	struct manifest_container *c;
	int ret = check_keys(r, t, "containers", keys), policy = 0;
	if (ret == 0)
		ret = get_str(r, t, "name", &name);
	if (ret == 0)
		ret = get_str(r, t, "image", &image);
	if (ret == 0 && (!name || !image))
		return tree_err(t, r->e, "containers: %s is missing", name ? "an image" : "a name");
	if (ret == 0)
		ret = err_wrap(r->e, manifest_add(r->m, name, image, &c, r->e), "%s:%d", t->file,
			       t->line);
	if (ret < 0)
		return ret;
	ret = read_strings(r, t, "command", c->config, "command");
	if (ret == 0)
		ret = read_strings(r, t, "args", c->config, "args");
	if (ret == 0)
		ret = read_env(r, t, c);
	if (ret == 0)
		ret = get_bool(r, t, "tty", &c->config->tty);
	if (ret == 0)
		ret = get_bool(r, t, "stdin", &c->config->stdin);
	if (ret == 0)
		ret = get_str(r, t, "workingDir", (const char **)&c->config->working_dir);
	if (ret == 0)
		ret = get_word(r, t, "imagePullPolicy", policies, &policy);
	if (ret == 0)
		ret = read_ports(r, t);
	if (ret == 0)
		ret = read_security(r, tree_get(t, "securityContext"),
				    c->config->linux->security_context);
	c->pull = policy;
	return ret;
}

static int read_metadata(struct reader *r, const struct tree *t)
{
	static const char *const keys[] = { "name",   "namespace",   "uid",
					    "labels", "annotations", NULL };
	Cri__PodSandboxMetadata *md = r->m->pod->metadata;
	int ret = check_keys(r, t, "metadata", keys);
	if (ret == 0)
		ret = get_str(r, t, "namespace", (const char **)&md->namespace_);
	if (ret == 0)
		ret = get_str(r, t, "uid", (const char **)&md->uid);
	if (ret == 0)
		ret = read_map(r, t, "labels", r->m->pod);
	if (ret == 0)
		ret = read_map(r, t, "annotations", r->m->pod);
	if (ret == 0 && (strchr(md->namespace_, '/') || strchr(md->uid, '/')))
		ret = tree_err(t, r->e, "metadata: a namespace or uid holds a slash");
	return ret;
}

static int read_spec(struct reader *r, const struct tree *t)
{
	static const char *const keys[] = {
		"containers", "hostNetwork",	  "hostPID",	   "hostIPC",
		"hostname",   "runtimeClassName", "restartPolicy", "shareProcessNamespace",
		NULL
	};
	static const char *const restarts[] = { "Never", NULL };
	Cri__NamespaceOption *ns = r->m->pod->linux->security_context->namespace_options;
	protobuf_c_boolean network = 0, pid = 0, ipc = 0, share = 0;
	int ret = check_keys(r, t, "spec", keys), restart = 0;
	if (ret == 0)
		ret = get_bool(r, t, "hostNetwork", &network);
	if (ret == 0)
		ret = get_bool(r, t, "hostPID", &pid);
	if (ret == 0)
		ret = get_bool(r, t, "hostIPC", &ipc);
	if (ret == 0)
		ret = get_bool(r, t, "shareProcessNamespace", &share);
	if (ret == 0)
		ret = get_str(r, t, "hostname", (const char **)&r->m->pod->hostname);
	if (ret == 0)
		ret = get_str(r, t, "runtimeClassName", &r->m->handler);
	if (ret == 0)
		ret = get_word(r, t, "restartPolicy", restarts, &restart);
	size_t n;
	const struct tree *list = list_of(t, "containers", &n);
	if (ret == 0)
		ret = need_list(r, list, "containers");
	for (size_t i = 0; ret == 0 && i < n; i++)
		ret = read_container(r, list->members[i].value);
	if (network)
		manifest_host_network(r->m);
	ns->pid = pid ? CRI__NAMESPACE_MODE__NODE : share ? CRI__NAMESPACE_MODE__POD : ns->pid;
	ns->ipc = ipc ? CRI__NAMESPACE_MODE__NODE : ns->ipc;
	if (ret == 0 && n == 0)
		ret = tree_err(t, r->e, "spec: no containers");
	return ret;
}

int manifest_load(struct pool *p, const char *file, struct manifest *m, struct err *e)
{
	static const char *const keys[] = { "apiVersion", "kind", "metadata", "spec", NULL };
	static const char *const kinds[] = { "Pod", NULL };
	struct reader r = { .m = m, .e = e };
	struct tree *t;
	const char *name = NULL;
	int kind = 0;
	int ret = tree_load(p, file, &t, e);
	if (ret == 0)
		ret = check_keys(&r, t, "the manifest", keys);
	if (ret < 0)
		return ret;
	const struct tree *metadata = tree_get(t, "metadata"), *spec = tree_get(t, "spec");
	ret = get_str(&r, metadata, "name", &name);
	if (ret == 0)
		ret = get_word(&r, t, "kind", kinds, &kind);
	if (ret == 0 && (!name || !spec))
		return tree_err(t, e, "%s is missing", name ? "spec" : "metadata.name");
	if (ret == 0)
		ret = err_wrap(e, manifest_begin(p, name, m, e), "%s:%d", file, metadata->line);
	if (ret == 0)
		ret = read_metadata(&r, metadata);
	if (ret == 0)
		ret = read_spec(&r, spec);
	if (ret == 0)
		manifest_finish(m);
	return ret;
}

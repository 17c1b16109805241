/*
 * Is this container's configuration one that we can honour in full?  As check.c, field by field.
 *
 * Texts that end in config.json must be UTF-8: JSON can't carry other bytes, and an engine would
 * put something else in their place.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/utf8.h"
#include "core/oci/caps.h"
#include "core/oci/check.h"
#include "core/oci/view.h"

enum { MAX_ARG = 128 * 1024, MAX_MOUNTS = 4096, MAX_DEVICES = 1024 };

/* An argument may hold anything that JSON can carry. */
static int check_args(char **list, size_t n, const char *field, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		size_t len = strnlen(list[i], MAX_ARG + 1);
		if (len > MAX_ARG)
			return err_set(e, EINVAL, "%s[%zu]: is longer than %d bytes", field, i, MAX_ARG);
		if (utf8_valid(list[i], len) != len)
			return err_set(e, EINVAL, "%s[%zu]: is not UTF-8, which an OCI configuration can't carry",
				       field, i);
	}
	return 0;
}

static int check_envs(const Cri__ContainerConfig *c, struct err *e)
{
	for (size_t i = 0; i < c->n_envs; i++) {
		const char *key = c->envs[i]->key;
		const ProtobufCBinaryData *v = &c->envs[i]->value;
		int ret = check_text_at(key, "envs", i, e);
		if (ret < 0)
			return ret;
		if (!view_set(key) || strchr(key, '='))
			return err_set(e, EINVAL, "envs[%zu].key \"%s\": is no name", i, key ? key : "");
		if (v->len > MAX_ARG)
			return err_set(e, EINVAL, "envs[%zu] \"%.100s\": is longer than %d bytes", i, key, MAX_ARG);
		if (v->len && memchr(v->data, 0, v->len))
			return err_set(e, EINVAL, "envs[%zu] \"%.100s\": the value has a NUL byte", i, key);
		if (v->len && utf8_valid((const char *)v->data, v->len) != v->len)
			return err_set(e, EINVAL,
				       "envs[%zu] \"%.100s\": the value is not UTF-8, which an OCI configuration "
				       "can't carry", i, key);
	}
	return 0;
}

static int check_mount_options(const Cri__Mount *m, size_t i, struct err *e)
{
	for (size_t k = 0; k < m->n_mount_options; k++) {
		const char *o = m->mount_options[k];
		if (strcmp(o, "noexec") && strcmp(o, "nodev") && strcmp(o, "nosuid"))
			return err_set(e, EINVAL,
				       "mounts[%zu].mount_options[%zu] \"%.100s\": only noexec, nodev and nosuid are "
				       "possible", i, k, o);
	}
	return 0;
}

static int check_recursive(const Cri__Mount *m, size_t i, bool rro, struct err *e)
{
	if (!m->recursive_read_only)
		return 0;
	if (!m->readonly)
		return err_set(e, EINVAL, "mounts[%zu].recursive_read_only: needs readonly", i);
	if (m->propagation != CRI__MOUNT_PROPAGATION__PROPAGATION_PRIVATE)
		return err_set(e, EINVAL, "mounts[%zu].recursive_read_only: needs PROPAGATION_PRIVATE", i);
	if (!rro)
		return err_set(e, ENOTSUP,
			       "RROUnsupported: mounts[%zu].recursive_read_only: neither this node nor its engine can", i);
	return 0;
}

static int check_propagation(const Cri__Mount *m, size_t i, bool privileged, bool userns, struct err *e)
{
	switch ((int)m->propagation) {
	case CRI__MOUNT_PROPAGATION__PROPAGATION_PRIVATE:
	case CRI__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER:
		return 0;
	case CRI__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL:
		if (!privileged)
			return err_set(e, EINVAL,
				       "mounts[%zu].propagation BIDIRECTIONAL: is for privileged containers only", i);
		/* the kernel cuts that way off */
		if (userns)
			return err_set(e, EINVAL,
				       "mounts[%zu].propagation BIDIRECTIONAL: what is mounted in a user namespace never "
				       "reaches the node", i);
		return 0;
	default:
		return err_set(e, EINVAL, "mounts[%zu].propagation %d: no such propagation", i, (int)m->propagation);
	}
}

/* "/", "//" and "/a/.." are the root. */
static bool is_root(const char *path)
{
	int depth = 0;
	for (const char *at = path; *at; at += *at == '/') {
		size_t n = strcspn(at, "/");
		if (n == 2 && !memcmp(at, "..", 2))
			depth -= depth > 0;
		else if (n && !(n == 1 && *at == '.'))
			depth++;
		at += n;
	}
	return !depth;
}

/* An id-mapped mount: with the pod's own mappings, both, or not at all. */
static int check_mappings(const Cri__Mount *m, size_t i, const struct idmap *map, struct err *e)
{
	char field[64];
	if (!m->n_uidmappings && !m->n_gidmappings)
		return 0;
	if (!map->n_uids)
		return err_set(e, EINVAL, "mounts[%zu].%s: the pod has no user namespace of its own", i,
			       m->n_uidmappings ? "uidMappings" : "gidMappings");
	snprintf(field, sizeof(field), "mounts[%zu].uidMappings", i);
	int ret = check_same_map(m->uidmappings, m->n_uidmappings, map->uid, map->n_uids, field, e);
	snprintf(field, sizeof(field), "mounts[%zu].gidMappings", i);
	return ret ? ret : check_same_map(m->gidmappings, m->n_gidmappings, map->gid, map->n_gids, field, e);
}

static int check_mount(const struct oci_host *h, const Cri__Mount *m, size_t i, bool rro, bool privileged,
		       const struct idmap *map, struct err *e)
{
	int ret = check_text_at(m->container_path, "mounts", i, e);
	if (!ret)
		ret = check_text_at(m->host_path, "mounts", i, e);
	if (ret < 0)
		return ret;
	if (!view_set(m->container_path) || is_root(m->container_path))
		return err_set(e, EINVAL, "mounts[%zu].container_path \"%s\": is no place for a mount", i,
			       m->container_path ? m->container_path : "");
	if (m->image && view_set(m->image->image))
		return err_set(e, ENOSYS, "mounts[%zu].image \"%.200s\": image volumes are not supported yet", i,
			       m->image->image);
	if (view_set(m->image_sub_path))
		return err_set(e, EINVAL, "mounts[%zu].image_sub_path \"%.200s\": without an image", i,
			       m->image_sub_path);
	if (!view_set(m->host_path) || *m->host_path != '/')
		return err_set(e, EINVAL, "mounts[%zu].host_path \"%s\": is not an absolute path", i,
			       m->host_path ? m->host_path : "");
	if (m->selinux_relabel && h->selinux)
		return err_set(e, ENOSYS, "mounts[%zu].selinux_relabel: SELinux labels are not supported yet", i);
	ret = check_mappings(m, i, map, e);
	if (!ret)
		ret = check_propagation(m, i, privileged, map->n_uids, e);
	if (!ret)
		ret = check_recursive(m, i, rro, e);
	return ret ? ret : check_mount_options(m, i, e);
}

static int check_devices(const Cri__ContainerConfig *c, struct err *e)
{
	if (c->n_devices > MAX_DEVICES)
		return err_set(e, EINVAL, "devices: more than %d", MAX_DEVICES);
	for (size_t i = 0; i < c->n_devices; i++) {
		const Cri__Device *d = c->devices[i];
		int ret = check_text_at(d->container_path, "devices", i, e);
		if (!ret)
			ret = check_text_at(d->host_path, "devices", i, e);
		if (ret < 0)
			return ret;
		if (!view_set(d->host_path) || *d->host_path != '/')
			return err_set(e, EINVAL, "devices[%zu].host_path \"%s\": is not an absolute path", i,
				       d->host_path ? d->host_path : "");
		if (view_set(d->container_path) && *d->container_path != '/')
			return err_set(e, EINVAL, "devices[%zu].container_path \"%s\": is not an absolute path", i,
				       d->container_path);
		if (d->permissions && d->permissions[strspn(d->permissions, "rwm")])
			return err_set(e, EINVAL, "devices[%zu].permissions \"%.20s\": only r, w and m are possible",
				       i, d->permissions);
	}
	if (c->n_cdi_devices)
		return err_set(e, ENOSYS, "CDI_devices[0].name \"%.200s\": CDI devices are not supported yet",
			       c->cdi_devices[0]->name);
	return 0;
}

/* None, or the same as the pod's. */
static int check_own_userns(const Cri__PodSandboxConfig *pod, const Cri__UserNamespace *u, struct err *e)
{
	static const char field[] = "linux.security_context.namespace_options.userns_options";
	struct idmap map;
	int ret = check_userns(u, field, e);
	if (!u || ret < 0)
		return ret;
	oci_userns_of(pod, &map);
	if ((u->mode == CRI__NAMESPACE_MODE__POD) != !!map.n_uids)
		return err_set(e, EINVAL, "%s.mode %s: the pod %s a user namespace of its own", field,
			       map.n_uids ? "NODE" : "POD", map.n_uids ? "has" : "has not");
	if (!map.n_uids)
		return 0;
	ret = check_same_map(u->uids, u->n_uids, map.uid, map.n_uids,
			     "linux.security_context.namespace_options.userns_options.uids", e);
	return ret ? ret : check_same_map(u->gids, u->n_gids, map.gid, map.n_gids,
					  "linux.security_context.namespace_options.userns_options.gids", e);
}

/* The container's own wishes must be possible in its pod.  Zero values are "as the pod". */
static int check_namespaces(const Cri__PodSandboxConfig *pod, const Cri__NamespaceOption *n, struct err *e)
{
	static const char field[] = "linux.security_context.namespace_options";
	if (!n)
		return 0;
	struct oci_ns of_pod;
	oci_ns_of(pod, NULL, &of_pod);
	if (n->network != CRI__NAMESPACE_MODE__POD && n->network != CRI__NAMESPACE_MODE__NODE)
		return err_set(e, EINVAL, "%s.network %d: only POD and NODE are possible", field, (int)n->network);
	if (n->network == CRI__NAMESPACE_MODE__NODE && of_pod.net != OCI_NS_NODE)
		return err_set(e, EINVAL, "%s.network NODE: the pod has a network of its own", field);
	if (n->ipc != CRI__NAMESPACE_MODE__POD && n->ipc != CRI__NAMESPACE_MODE__NODE)
		return err_set(e, EINVAL, "%s.ipc %d: only POD and NODE are possible", field, (int)n->ipc);
	if (n->ipc == CRI__NAMESPACE_MODE__NODE && of_pod.ipc != OCI_NS_NODE)
		return err_set(e, EINVAL, "%s.ipc NODE: the pod has an ipc namespace of its own", field);
	if ((int)n->pid < CRI__NAMESPACE_MODE__POD || n->pid > CRI__NAMESPACE_MODE__TARGET)
		return err_set(e, EINVAL, "%s.pid %d: no such mode", field, (int)n->pid);
	if (n->pid == CRI__NAMESPACE_MODE__NODE && of_pod.pid != OCI_NS_NODE)
		return err_set(e, EINVAL, "%s.pid NODE: the pod is not in the host's pid namespace", field);
	if ((n->pid == CRI__NAMESPACE_MODE__TARGET) != view_set(n->target_id))
		return err_set(e, EINVAL, "%s.target_id \"%.100s\": goes with pid TARGET, and only with it", field,
			       n->target_id ? n->target_id : "");
	return check_own_userns(pod, n->userns_options, e);
}

static int check_paths(char **list, size_t n, const char *field, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		int ret = check_text_at(list[i], field, i, e);
		if (ret < 0)
			return ret;
		if (*list[i] != '/')
			return err_set(e, EINVAL, "%s[%zu] \"%s\": is not an absolute path", field, i, list[i]);
	}
	return 0;
}

static int check_user(const Cri__LinuxContainerSecurityContext *s, struct err *e)
{
	int ret = check_uid(s->run_as_user, "linux.security_context.run_as_user", e);
	if (!ret)
		ret = check_uid(s->run_as_group, "linux.security_context.run_as_group", e);
	if (!ret)
		ret = check_text(s->run_as_username, "linux.security_context.run_as_username", e);
	if (ret < 0)
		return ret;
	if (s->run_as_user && view_set(s->run_as_username))
		return err_set(e, EINVAL, "linux.security_context.run_as_username \"%s\": along with run_as_user %lld",
			       s->run_as_username, (long long)s->run_as_user->value);
	if (s->run_as_group && !s->run_as_user && !view_set(s->run_as_username))
		return err_set(e, EINVAL,
			       "linux.security_context.run_as_group %lld: without run_as_user or run_as_username",
			       (long long)s->run_as_group->value);
	ret = check_groups(s->supplemental_groups, s->n_supplemental_groups,
			   "linux.security_context.supplemental_groups", e);
	return ret ? ret : check_policy(s->supplemental_groups_policy,
					"linux.security_context.supplemental_groups_policy", e);
}

/* The fields before SecurityProfile; they count only where the new ones are absent. */
static int check_deprecated(const struct oci_host *h, const Cri__ContainerConfig *ctr, struct err *e)
{
	const Cri__LinuxContainerSecurityContext *s = view_security(ctr);
	const char *path;
	if (!s->seccomp) {
		enum view_seccomp kind = view_seccomp(ctr, &path);
		if (kind == VIEW_SECCOMP_BAD || (kind == VIEW_SECCOMP_FILE && *path != '/'))
			return err_set(e, EINVAL, "linux.security_context.seccomp_profile_path \"%.200s\": is no profile",
				       view_old_seccomp(s));
	}
	static const char field[] = "linux.security_context.apparmor_profile";
	if (s->apparmor)
		return 0;
	enum view_apparmor kind = view_apparmor(ctr, &path);
	if (kind == VIEW_APPARMOR_BAD)
		return err_set(e, EINVAL, "%s \"%.200s\": is no profile, expected localhost/NAME", field,
			       view_old_apparmor(s));
	return kind == VIEW_APPARMOR_NAMED ? check_apparmor_name(h, view_old_apparmor(s), field, e) : 0;
}

static int check_security(const struct oci_host *h, const Cri__PodSandboxConfig *pod,
			  const Cri__ContainerConfig *ctr, struct err *e)
{
	const Cri__LinuxContainerSecurityContext *s = view_security(ctr);
	struct caps caps;
	if (!s)
		return 0;
	if (s->privileged && !oci_pod_privileged(pod))
		return err_set(e, EINVAL, "linux.security_context.privileged: the pod is not privileged");
	int ret = caps_of(h, ctr, &caps, e);
	if (!ret)
		ret = check_namespaces(pod, s->namespace_options, e);
	if (!ret)
		ret = check_selinux(h, s->selinux_options, "linux.security_context.selinux_options", e);
	if (!ret)
		ret = check_user(s, e);
	if (!ret)
		ret = check_paths(s->masked_paths, s->n_masked_paths, "linux.security_context.masked_paths", e);
	if (!ret)
		ret = check_paths(s->readonly_paths, s->n_readonly_paths, "linux.security_context.readonly_paths", e);
	/* a privileged container has no profiles, whatever is asked */
	if (!ret && !s->privileged)
		ret = check_seccomp(h, s->seccomp, "linux.security_context.seccomp", e);
	if (!ret && !s->privileged)
		ret = check_apparmor(h, s->apparmor, "linux.security_context.apparmor", e);
	return ret ? ret : check_deprecated(h, ctr, e);
}

static int check_log_path(const char *path, struct err *e)
{
	if (!view_set(path))
		return 0;
	if (*path == '/')
		return err_set(e, EINVAL, "log_path \"%.200s\": has to be relative to the pod's log_directory", path);
	for (const char *at = path; *at; at += *at == '/') {
		size_t n = strcspn(at, "/");
		if (n == 2 && !memcmp(at, "..", 2))
			return err_set(e, EINVAL, "log_path \"%.200s\": has a \"..\"", path);
		at += n;
	}
	return check_text(path, "log_path", e);
}

static int check_head(const Cri__ContainerConfig *c, struct err *e)
{
	if (!c->metadata || !view_set(c->metadata->name))
		return err_set(e, EINVAL, "metadata%s: is missing", c->metadata ? ".name" : "");
	int ret = check_text(c->metadata->name, "metadata.name", e);
	if (ret < 0)
		return ret;
	if (!c->image || !view_set(c->image->image))
		return err_set(e, EINVAL, "image%s: is missing", c->image ? ".image" : "");
	ret = check_text(c->image->image, "image.image", e);
	if (!ret)
		ret = check_args(c->command, c->n_command, "command", e);
	if (!ret)
		ret = check_args(c->args, c->n_args, "args", e);
	if (!ret)
		ret = check_text(c->working_dir, "working_dir", e);
	return ret ? ret : check_envs(c, e);
}

int oci_check_container(const struct oci_host *h, const Cri__PodSandboxConfig *pod,
			const Cri__ContainerConfig *ctr, bool rro, struct err *e)
{
	bool privileged = oci_ctr_privileged(ctr);
	struct idmap map;
	oci_userns_of(pod, &map);
	int ret = check_head(ctr, e);
	if (!ret && ctr->n_mounts > MAX_MOUNTS)
		ret = err_set(e, EINVAL, "mounts: more than %d", MAX_MOUNTS);
	/* first, so that a container that may not be privileged is told so, not about its mounts */
	if (!ret)
		ret = check_security(h, pod, ctr, e);
	for (size_t i = 0; !ret && i < ctr->n_mounts; i++)
		ret = check_mount(h, ctr->mounts[i], i, rro, privileged, &map, e);
	if (!ret)
		ret = check_devices(ctr, e);
	if (!ret)
		ret = check_log_path(ctr->log_path, e);
	if (!ret)
		ret = oci_check_resources(h, view_resources(ctr), "linux.resources", e);
	if (!ret && ctr->windows)
		ret = err_set(e, EINVAL, "windows: this is a Linux node");
	if (!ret && oci_signal_number(ctr->stop_signal) < 0)
		ret = err_set(e, EINVAL, "stop_signal %d: no such signal", (int)ctr->stop_signal);
	return ret;
}

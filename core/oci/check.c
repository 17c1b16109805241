/*
 * Is this pod's configuration one that we can honour in full?
 *
 * Read along the proto's message, field by field: whatever is not looked at here is either
 * honoured as it is (labels, annotations, overhead, resources) or has no meaning on Linux.
 */
#include "core/oci/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/pool.h"
#include "core/base/utf8.h"
#include "core/cgroup/slice.h"
#include "core/oci/view.h"

enum { MAX_TEXT = 4096, MAX_HOSTNAME = 64 };

/* ---- shared ---- */

int check_text(const char *value, const char *field, struct err *e)
{
	if (!value)
		return 0;
	size_t n = strnlen(value, MAX_TEXT + 1);
	if (n > MAX_TEXT)
		return err_set(e, EINVAL, "%s: is longer than %d bytes", field, MAX_TEXT);
	if (utf8_valid(value, n) != n)
		return err_set(e, EINVAL, "%s: is not UTF-8", field);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f)
			return err_set(e, EINVAL, "%s: has a control character at byte %zu", field, i);
	return 0;
}

int check_text_at(const char *value, const char *field, size_t i, struct err *e)
{
	char name[128];
	snprintf(name, sizeof(name), "%s[%zu]", field, i);
	return check_text(value, name, e);
}

/* The last number means "no change" to the kernel. */
static bool is_id(int64_t id)
{
	return id >= 0 && id < UINT32_MAX;
}

int check_uid(const Cri__Int64Value *v, const char *field, struct err *e)
{
	if (v && !is_id(v->value))
		return err_set(e, EINVAL, "%s %lld: is no user or group id", field, (long long)v->value);
	return 0;
}

int check_groups(const int64_t *ids, size_t n, const char *field, struct err *e)
{
	for (size_t i = 0; i < n; i++)
		if (!is_id(ids[i]))
			return err_set(e, EINVAL, "%s[%zu] %lld: is no group id", field, i, (long long)ids[i]);
	return 0;
}

int check_policy(Cri__SupplementalGroupsPolicy policy, const char *field, struct err *e)
{
	if (policy != CRI__SUPPLEMENTAL_GROUPS_POLICY__Merge && policy != CRI__SUPPLEMENTAL_GROUPS_POLICY__Strict)
		return err_set(e, EINVAL, "%s %d: no such policy", field, (int)policy);
	return 0;
}

int check_selinux(const struct oci_host *h, const Cri__SELinuxOption *s, const char *field, struct err *e)
{
	if (!s || (!view_set(s->user) && !view_set(s->role) && !view_set(s->type) && !view_set(s->level)))
		return 0;
	if (!h->selinux)
		return err_set(e, EINVAL, "%s \"%s:%s:%s:%s\": SELinux is not enabled on this node", field, s->user,
			       s->role, s->type, s->level);
	return err_set(e, ENOSYS, "%s \"%s:%s:%s:%s\": SELinux labels are not supported yet", field, s->user, s->role,
		       s->type, s->level);
}

/* localhost_ref comes with Localhost and with nothing else. */
static int check_profile(const Cri__SecurityProfile *s, const char *field, struct err *e)
{
	switch ((int)s->profile_type) {
	case CRI__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault:
	case CRI__SECURITY_PROFILE__PROFILE_TYPE__Unconfined:
		if (view_set(s->localhost_ref))
			return err_set(e, EINVAL, "%s.localhost_ref \"%s\": goes with a Localhost profile only", field,
				       s->localhost_ref);
		return 0;
	case CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost:
		if (!view_set(s->localhost_ref))
			return err_set(e, EINVAL, "%s.localhost_ref: is missing", field);
		return 0;
	default:
		return err_set(e, EINVAL, "%s.profile_type %d: no such type", field, (int)s->profile_type);
	}
}

int check_seccomp(const struct oci_host *h, const Cri__SecurityProfile *s, const char *field, struct err *e)
{
	if (!s)
		return 0;
	int ret = check_profile(s, field, e);
	if (ret < 0 || s->profile_type == CRI__SECURITY_PROFILE__PROFILE_TYPE__Unconfined)
		return ret;
	if (!h->seccomp)
		return err_set(e, EINVAL, "%s: the kernel of this node has no seccomp", field);
	if (s->profile_type == CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost && *s->localhost_ref != '/')
		return err_set(e, EINVAL, "%s.localhost_ref \"%s\": is not an absolute path", field, s->localhost_ref);
	return 0;
}

int check_apparmor_name(const struct oci_host *h, const char *ref, const char *field, struct err *e)
{
	const char *name = view_apparmor_name(ref);
	if (!h->apparmor)
		return err_set(e, EINVAL, "%s \"%.200s\": AppArmor is not enabled on this node", field, ref);
	if (!*name)
		return err_set(e, EINVAL, "%s \"%.200s\": names no profile", field, ref);
	if (!oci_apparmor_loaded(h, name))
		return err_set(e, EINVAL, "%s \"%.200s\": no such AppArmor profile is loaded on this node", field, ref);
	return 0;
}

int check_apparmor(const struct oci_host *h, const Cri__SecurityProfile *s, const char *field, struct err *e)
{
	if (!s)
		return 0;
	char ref[128];
	int ret = check_profile(s, field, e);
	if (ret < 0)
		return ret;
	snprintf(ref, sizeof(ref), "%s.localhost_ref", field);
	if (s->profile_type == CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost)
		return check_apparmor_name(h, s->localhost_ref, ref, e);
	if (s->profile_type == CRI__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault && h->apparmor &&
	    !h->apparmor_default)
		return err_set(e, EINVAL, "%s: the runtime's own AppArmor profile could not be loaded on this node",
			       field);
	return 0;
}

static int check_mappings(Cri__IDMapping **maps, size_t n, const char *field, const char *name, struct err *e)
{
	if (n != 1)
		return err_set(e, EINVAL, "%s.%s: has %zu mappings instead of one", field, name, n);
	if (maps[0]->container_id)
		return err_set(e, EINVAL, "%s.%s[0].container_id %u: has to be 0", field, name, maps[0]->container_id);
	if (!maps[0]->length)
		return err_set(e, EINVAL, "%s.%s[0].length: is 0", field, name);
	/* the last number is no id */
	if (maps[0]->length > UINT32_MAX - maps[0]->host_id)
		return err_set(e, EINVAL, "%s.%s[0]: host_id %u with length %u goes beyond the last id", field, name,
			       maps[0]->host_id, maps[0]->length);
	return 0;
}

int check_same_map(Cri__IDMapping **maps, size_t n, uint32_t host, uint32_t length, const char *field, struct err *e)
{
	if (n != 1)
		return err_set(e, EINVAL, "%s: has %zu mappings instead of one", field, n);
	if (maps[0]->container_id || maps[0]->host_id != host || maps[0]->length != length)
		return err_set(e, EINVAL, "%s[0] %u:%u:%u: is not the pod's mapping 0:%u:%u", field,
			       maps[0]->container_id, maps[0]->host_id, maps[0]->length, host, length);
	return 0;
}

int check_userns(const Cri__UserNamespace *u, const char *field, struct err *e)
{
	if (!u)
		return 0;
	if (u->mode == CRI__NAMESPACE_MODE__NODE) {
		if (u->n_uids || u->n_gids)
			return err_set(e, EINVAL, "%s: has mappings on the node's user namespace", field);
		return 0;
	}
	if (u->mode != CRI__NAMESPACE_MODE__POD)
		return err_set(e, EINVAL, "%s.mode %d: only POD and NODE are possible", field, (int)u->mode);
	int ret = check_mappings(u->uids, u->n_uids, field, "uids", e);
	if (!ret)
		ret = check_mappings(u->gids, u->n_gids, field, "gids", e);
	return ret;
}

/* ---- the pod ---- */

static int check_metadata(const Cri__PodSandboxMetadata *m, struct err *e)
{
	if (!m)
		return err_set(e, EINVAL, "metadata: is missing");
	const struct {
		const char *field, *value;
	} all[] = { { "metadata.name", m->name }, { "metadata.uid", m->uid }, { "metadata.namespace", m->namespace_ } };
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (!view_set(all[i].value))
			return err_set(e, EINVAL, "%s: is missing", all[i].field);
		int ret = check_text(all[i].value, all[i].field, e);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int check_hostname(const char *name, struct err *e)
{
	if (!view_set(name))
		return 0;
	if (strlen(name) > MAX_HOSTNAME)
		return err_set(e, EINVAL, "hostname \"%.80s\": is longer than %d bytes", name, MAX_HOSTNAME);
	if (strpbrk(name, "/ "))
		return err_set(e, EINVAL, "hostname \"%s\": has a slash or a space", name);
	return check_text(name, "hostname", e);
}

/* Each is a word of a line of resolv.conf. */
static int check_words(char **list, size_t n, const char *field, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		int ret = check_text_at(list[i], field, i, e);
		if (ret < 0)
			return ret;
		if (!*list[i] || strchr(list[i], ' '))
			return err_set(e, EINVAL, "%s[%zu] \"%s\": is not one word", field, i, list[i]);
	}
	return 0;
}

static int check_dns(const Cri__DNSConfig *d, struct err *e)
{
	if (!d)
		return 0;
	int ret = check_words(d->servers, d->n_servers, "dns_config.servers", e);
	if (!ret)
		ret = check_words(d->searches, d->n_searches, "dns_config.searches", e);
	return ret ? ret : check_words(d->options, d->n_options, "dns_config.options", e);
}

static int check_ports(const Cri__PodSandboxConfig *pod, struct err *e)
{
	for (size_t i = 0; i < pod->n_port_mappings; i++) {
		const Cri__PortMapping *m = pod->port_mappings[i];
		char addr[sizeof(struct in6_addr)];
		if (m->protocol != CRI__PROTOCOL__TCP && m->protocol != CRI__PROTOCOL__UDP &&
		    m->protocol != CRI__PROTOCOL__SCTP)
			return err_set(e, EINVAL, "port_mappings[%zu].protocol %d: no such protocol", i,
				       (int)m->protocol);
		if (m->container_port < 0 || m->container_port > 65535 || (m->host_port && !m->container_port))
			return err_set(e, EINVAL, "port_mappings[%zu].container_port %d: is no port", i,
				       m->container_port);
		if (m->host_port < 0 || m->host_port > 65535)
			return err_set(e, EINVAL, "port_mappings[%zu].host_port %d: is no port", i, m->host_port);
		if (view_set(m->host_ip) && inet_pton(AF_INET, m->host_ip, addr) != 1 &&
		    inet_pton(AF_INET6, m->host_ip, addr) != 1)
			return err_set(e, EINVAL, "port_mappings[%zu].host_ip \"%.64s\": is no address", i, m->host_ip);
	}
	return 0;
}

static int check_slice(const char *parent, struct err *e)
{
	struct pool *tmp = pool_new(NULL, "slice");
	const char *path;
	int ret = slice_path(tmp, parent, &path, e);
	pool_destroy(tmp);
	return err_wrap(e, ret, "linux.cgroup_parent, with the cgroup driver systemd");
}

static int check_cgroup_parent(const struct oci_host *h, const char *parent, struct err *e)
{
	if (!view_set(parent))
		return 0;
	if (h->systemd_cgroups)
		return check_slice(parent, e);
	if (slice_is(parent))
		return err_set(e, EINVAL,
			       "linux.cgroup_parent \"%.200s\": is a systemd slice, but the cgroup driver is cgroupfs",
			       parent);
	for (const char *at = parent; *at; at += *at == '/') {
		size_t len = strcspn(at, "/");
		if (len == 2 && !memcmp(at, "..", 2))
			return err_set(e, EINVAL, "linux.cgroup_parent \"%.200s\": has a \"..\"", parent);
		at += len;
	}
	return check_text(parent, "linux.cgroup_parent", e);
}

static bool starts(const char *s, const char *prefix)
{
	return !strncmp(s, prefix, strlen(prefix));
}

/* The kernel's namespaced settings; a slash may stand for each dot. */
static int check_sysctl(const char *key, const char *value, const struct oci_ns *ns, struct err *e)
{
	if (!view_set(key) || key[strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/@:")] ||
	    strstr(key, ".."))
		return err_set(e, EINVAL, "linux.sysctls \"%.100s\": is no sysctl", key ? key : "");
	int ret = check_text(value, key, e);
	if (ret < 0)
		return err_wrap(e, ret, "linux.sysctls");
	char name[256];
	snprintf(name, sizeof(name), "%s", key);
	for (char *c = name; *c; c++)
		if (*c == '/')
			*c = '.';
	if (starts(name, "net.")) {
		if (ns->net == OCI_NS_NODE)
			return err_set(e, EINVAL, "linux.sysctls \"%s\": the pod is on the host's network", key);
		return 0;
	}
	if (starts(name, "kernel.shm") || starts(name, "kernel.msg") || !strcmp(name, "kernel.sem") ||
	    starts(name, "fs.mqueue.")) {
		if (ns->ipc == OCI_NS_NODE)
			return err_set(e, EINVAL, "linux.sysctls \"%s\": the pod uses the host's ipc", key);
		return 0;
	}
	if (!strcmp(name, "kernel.domainname") && ns->uts != OCI_NS_NODE)
		return 0;
	return err_set(e, EINVAL, "linux.sysctls \"%s\": is not a setting of a pod's namespaces", key);
}

/* What the node owns can't be mounted from inside of a user namespace: /sys, /proc, /dev/mqueue. */
static int check_with_userns(const Cri__NamespaceOption *n, const char *field, struct err *e)
{
	const struct {
		const char *name;
		Cri__NamespaceMode mode;
	} all[] = { { "network", n->network }, { "pid", n->pid }, { "ipc", n->ipc } };
	if (!n->userns_options || n->userns_options->mode != CRI__NAMESPACE_MODE__POD)
		return 0;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i].mode == CRI__NAMESPACE_MODE__NODE)
			return err_set(e, EINVAL,
				       "%s.%s NODE: does not go with userns_options.mode POD, a user namespace of its own",
				       field, all[i].name);
	return 0;
}

static int check_namespaces(const Cri__NamespaceOption *n, struct err *e)
{
	static const char field[] = "linux.security_context.namespace_options";
	if (!n)
		return 0;
	if (n->network != CRI__NAMESPACE_MODE__POD && n->network != CRI__NAMESPACE_MODE__NODE)
		return err_set(e, EINVAL, "%s.network %d: only POD and NODE are possible", field, (int)n->network);
	if (n->ipc != CRI__NAMESPACE_MODE__POD && n->ipc != CRI__NAMESPACE_MODE__NODE)
		return err_set(e, EINVAL, "%s.ipc %d: only POD and NODE are possible", field, (int)n->ipc);
	if (n->pid != CRI__NAMESPACE_MODE__POD && n->pid != CRI__NAMESPACE_MODE__NODE &&
	    n->pid != CRI__NAMESPACE_MODE__CONTAINER)
		return err_set(e, EINVAL, "%s.pid %d: only POD, CONTAINER and NODE are possible for a pod", field,
			       (int)n->pid);
	if (view_set(n->target_id))
		return err_set(e, EINVAL, "%s.target_id \"%.100s\": goes with a container's TARGET only", field,
			       n->target_id);
	int ret = check_userns(n->userns_options, "linux.security_context.namespace_options.userns_options", e);
	return ret ? ret : check_with_userns(n, field, e);
}

static int check_security(const struct oci_host *h, const Cri__LinuxSandboxSecurityContext *s, struct err *e)
{
	if (!s)
		return 0;
	int ret = check_namespaces(s->namespace_options, e);
	if (!ret)
		ret = check_selinux(h, s->selinux_options, "linux.security_context.selinux_options", e);
	if (!ret)
		ret = check_uid(s->run_as_user, "linux.security_context.run_as_user", e);
	if (!ret)
		ret = check_uid(s->run_as_group, "linux.security_context.run_as_group", e);
	if (!ret && s->run_as_group && !s->run_as_user)
		ret = err_set(e, EINVAL, "linux.security_context.run_as_group %lld: without run_as_user",
			      (long long)s->run_as_group->value);
	if (!ret)
		ret = check_groups(s->supplemental_groups, s->n_supplemental_groups,
				   "linux.security_context.supplemental_groups", e);
	if (!ret)
		ret = check_policy(s->supplemental_groups_policy, "linux.security_context.supplemental_groups_policy",
				   e);
	if (!ret)
		ret = check_seccomp(h, s->seccomp, "linux.security_context.seccomp", e);
	return ret ? ret : check_apparmor(h, s->apparmor, "linux.security_context.apparmor", e);
}

static int check_linux(const struct oci_host *h, const Cri__PodSandboxConfig *pod, struct err *e)
{
	const Cri__LinuxPodSandboxConfig *l = pod->linux;
	if (!l)
		return 0;
	int ret = check_cgroup_parent(h, l->cgroup_parent, e);
	if (!ret)
		ret = check_security(h, l->security_context, e);
	struct oci_ns ns;
	oci_ns_of(pod, NULL, &ns);
	for (size_t i = 0; !ret && i < l->n_sysctls; i++)
		ret = check_sysctl(l->sysctls[i]->key, l->sysctls[i]->value, &ns, e);
	return ret;
}

int oci_check_sandbox(const struct oci_host *h, const Cri__PodSandboxConfig *pod, struct err *e)
{
	int ret = check_metadata(pod->metadata, e);
	if (!ret)
		ret = check_hostname(pod->hostname, e);
	if (!ret && view_set(pod->log_directory) && *pod->log_directory != '/')
		ret = err_set(e, EINVAL, "log_directory \"%.200s\": is not an absolute path", pod->log_directory);
	if (!ret)
		ret = check_text(pod->log_directory, "log_directory", e);
	if (!ret)
		ret = check_dns(pod->dns_config, e);
	if (!ret)
		ret = check_ports(pod, e);
	if (!ret)
		ret = check_linux(h, pod, e);
	if (!ret && pod->windows)
		ret = err_set(e, EINVAL, "windows: this is a Linux node");
	return ret;
}

/* What several files of this folder want to know of a CRI config. */
#include "core/oci/view.h"

#include <string.h>

#include "core/base/pool.h"

bool oci_pod_privileged(const Cri__PodSandboxConfig *pod)
{
	const Cri__LinuxSandboxSecurityContext *s = view_pod_security(pod);
	return s && s->privileged;
}

bool oci_ctr_privileged(const Cri__ContainerConfig *ctr)
{
	const Cri__LinuxContainerSecurityContext *s = view_security(ctr);
	return s && s->privileged;
}

void oci_userns_of(const Cri__PodSandboxConfig *pod, struct idmap *out)
{
	const Cri__NamespaceOption *n = view_pod_namespaces(pod);
	const Cri__UserNamespace *u = n ? n->userns_options : NULL;
	*out = (struct idmap){ 0 };
	if (u && u->mode == CRI__NAMESPACE_MODE__POD && u->n_uids == 1 && u->n_gids == 1)
		*out = (struct idmap){ u->uids[0]->host_id, u->uids[0]->length, u->gids[0]->host_id, u->gids[0]->length };
}

static enum oci_ns_from pid_of_pod(const Cri__NamespaceOption *pod)
{
	if (!pod)
		return OCI_NS_POD;
	switch ((int)pod->pid) {
	case CRI__NAMESPACE_MODE__NODE:
		return OCI_NS_NODE;
	case CRI__NAMESPACE_MODE__CONTAINER:
		return OCI_NS_OWN;
	default:
		return OCI_NS_POD;
	}
}

void oci_ns_of(const Cri__PodSandboxConfig *pod, const Cri__ContainerConfig *ctr, struct oci_ns *out)
{
	const Cri__NamespaceOption *of_pod = view_pod_namespaces(pod), *own = view_namespaces(ctr);
	bool host_net = of_pod && of_pod->network == CRI__NAMESPACE_MODE__NODE;
	bool host_ipc = of_pod && of_pod->ipc == CRI__NAMESPACE_MODE__NODE;
	*out = (struct oci_ns){
		.net = host_net ? OCI_NS_NODE : OCI_NS_POD,
		.uts = host_net ? OCI_NS_NODE : OCI_NS_POD,
		.ipc = host_ipc ? OCI_NS_NODE : OCI_NS_POD,
		.pid = pid_of_pod(of_pod),
	};
	if (!own)
		return;
	if (own->pid == CRI__NAMESPACE_MODE__CONTAINER) {
		out->pid = OCI_NS_OWN;
	} else if (own->pid == CRI__NAMESPACE_MODE__TARGET) {
		out->pid = OCI_NS_TARGET;
		out->target_id = own->target_id;
	}
}

static enum view_seccomp of_profile(const Cri__SecurityProfile *s, const char **path)
{
	switch ((int)s->profile_type) {
	case CRI__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault:
		return VIEW_SECCOMP_DEFAULT;
	case CRI__SECURITY_PROFILE__PROFILE_TYPE__Unconfined:
		return VIEW_SECCOMP_NONE;
	case CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost:
		*path = s->localhost_ref;
		return VIEW_SECCOMP_FILE;
	default:
		return VIEW_SECCOMP_BAD;
	}
}

/* The deprecated seccomp_profile_path. */
static enum view_seccomp of_text(const char *text, const char **path)
{
	if (!view_set(text) || !strcmp(text, "unconfined"))
		return VIEW_SECCOMP_NONE;
	if (!strcmp(text, "runtime/default") || !strcmp(text, "docker/default"))
		return VIEW_SECCOMP_DEFAULT;
	if (strncmp(text, "localhost/", 10))
		return VIEW_SECCOMP_BAD;
	*path = text + 10;
	return VIEW_SECCOMP_FILE;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
const char *view_old_seccomp(const Cri__LinuxContainerSecurityContext *s)
{
	return s->seccomp_profile_path;
}

const char *view_old_apparmor(const Cri__LinuxContainerSecurityContext *s)
{
	return s->apparmor_profile;
}
#pragma GCC diagnostic pop

enum view_seccomp view_seccomp(const Cri__ContainerConfig *ctr, const char **path)
{
	const Cri__LinuxContainerSecurityContext *s = view_security(ctr);
	*path = NULL;
	if (!s || s->privileged)
		return VIEW_SECCOMP_NONE;
	return s->seccomp ? of_profile(s->seccomp, path) : of_text(view_old_seccomp(s), path);
}

const char *view_apparmor_name(const char *ref)
{
	return strncmp(ref, "localhost/", 10) ? ref : ref + 10;
}

/* Nobody's wish is the runtime's own profile, too: other than with seccomp. */
static enum view_apparmor apparmor_of_text(const char *text, const char **name)
{
	if (!view_set(text) || !strcmp(text, "runtime/default"))
		return VIEW_APPARMOR_DEFAULT;
	if (!strcmp(text, "unconfined"))
		return VIEW_APPARMOR_NONE;
	*name = view_apparmor_name(text);
	return *name == text || !**name ? VIEW_APPARMOR_BAD : VIEW_APPARMOR_NAMED;
}

enum view_apparmor view_apparmor(const Cri__ContainerConfig *ctr, const char **name)
{
	const Cri__LinuxContainerSecurityContext *s = view_security(ctr);
	*name = NULL;
	if (s && s->privileged)
		return VIEW_APPARMOR_NONE;
	if (!s || !s->apparmor)
		return apparmor_of_text(s ? view_old_apparmor(s) : NULL, name);
	switch ((int)s->apparmor->profile_type) {
	case CRI__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault:
		return VIEW_APPARMOR_DEFAULT;
	case CRI__SECURITY_PROFILE__PROFILE_TYPE__Unconfined:
		return VIEW_APPARMOR_NONE;
	case CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost:
		*name = view_apparmor_name(s->apparmor->localhost_ref);
		return **name ? VIEW_APPARMOR_NAMED : VIEW_APPARMOR_BAD;
	default:
		return VIEW_APPARMOR_BAD;
	}
}

char *view_clean_path(struct pool *p, const char *text)
{
	char *out = pool_alloc(p, strlen(text) + 2);
	size_t len = 0;
	for (const char *at = text; *at;) {
		size_t n = strcspn(at, "/");
		if (n == 2 && !memcmp(at, "..", 2)) {
			while (len && out[--len] != '/')
				;
		} else if (n && !(n == 1 && *at == '.')) {
			out[len++] = '/';
			memcpy(out + len, at, n);
			len += n;
		}
		at += n;
		at += *at == '/';
	}
	if (!len)
		out[len++] = '/';
	out[len] = '\0';
	return out;
}

bool view_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);
	if (n == 1)
		return true;
	return !strncmp(path, dir, n) && (!path[n] || path[n] == '/');
}

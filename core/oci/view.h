#pragma once
/* Optional parts of a CRI config: NULL instead of a walk through NULLs.  For this folder. */
#include "core/oci/oci.h"

static inline const Cri__LinuxSandboxSecurityContext *view_pod_security(const Cri__PodSandboxConfig *pod)
{
	return pod && pod->linux ? pod->linux->security_context : NULL;
}

static inline const Cri__NamespaceOption *view_pod_namespaces(const Cri__PodSandboxConfig *pod)
{
	const Cri__LinuxSandboxSecurityContext *s = view_pod_security(pod);
	return s ? s->namespace_options : NULL;
}

static inline const Cri__LinuxContainerSecurityContext *view_security(const Cri__ContainerConfig *ctr)
{
	return ctr && ctr->linux ? ctr->linux->security_context : NULL;
}

static inline const Cri__NamespaceOption *view_namespaces(const Cri__ContainerConfig *ctr)
{
	const Cri__LinuxContainerSecurityContext *s = view_security(ctr);
	return s ? s->namespace_options : NULL;
}

static inline const Cri__LinuxContainerResources *view_resources(const Cri__ContainerConfig *ctr)
{
	return ctr && ctr->linux ? ctr->linux->resources : NULL;
}

/* NULL-safe "is there text in it": protobuf-c gives "" for an absent string, hand-made messages
 * may have NULL. */
static inline bool view_set(const char *s)
{
	return s && *s;
}

/* Which seccomp a container runs under, new field before old, privileged before both. */
enum view_seccomp { VIEW_SECCOMP_NONE, VIEW_SECCOMP_DEFAULT, VIEW_SECCOMP_FILE, VIEW_SECCOMP_BAD };
/* *path: the file's, with VIEW_SECCOMP_FILE. */
enum view_seccomp view_seccomp(const Cri__ContainerConfig *ctr, const char **path);

/* The same of AppArmor.  *name: of the profile, without "localhost/", with VIEW_APPARMOR_NAMED. */
enum view_apparmor { VIEW_APPARMOR_NONE, VIEW_APPARMOR_DEFAULT, VIEW_APPARMOR_NAMED, VIEW_APPARMOR_BAD };
enum view_apparmor view_apparmor(const Cri__ContainerConfig *ctr, const char **name);
const char *view_apparmor_name(const char *ref);

/* The deprecated fields, which older clients still send. */
const char *view_old_seccomp(const Cri__LinuxContainerSecurityContext *s);
const char *view_old_apparmor(const Cri__LinuxContainerSecurityContext *s);

/* Lexically clean absolute path of text in p: no "//", ".", "..", no slash at the end but in "/". */
char *view_clean_path(struct pool *p, const char *text);
/* Is path the directory dir or below it?  Both clean. */
bool view_below(const char *path, const char *dir);

#pragma once
/*
 * CRI messages in C, as short as in a protobuf text, and the two nodes that the tests of core/oci
 * know.  Absent strings are NULL here; messages that are to be packed need more.
 */
#include "core/oci/oci.h"

static const char *sizes[] = { "2MB", "1GB" };
static const struct oci_host v1 __attribute__((unused)) = {
	.hugetlb = true, .page_sizes = sizes, .n_page_sizes = 2, .swap_accounting = true, .seccomp = true,
	.rro = true, .cap_bounding = ~UINT64_C(0) & ~(UINT64_C(1) << 24), .oom_score_adj_min = -10,
	.nofile_soft = 1024, .nofile_hard = 20000, .hostname = "node",
};
static const struct oci_host v2 __attribute__((unused)) = {
	.cgroup_v2 = true, .swap_accounting = false, .seccomp = true, .cap_bounding = ~UINT64_C(0),
	.oom_score_adj_min = -1000, .nofile_soft = 1024, .nofile_hard = 20000, .hostname = "node",
};

static Cri__PodSandboxMetadata pod_meta __attribute__((unused)) = { .name = "p", .uid = "u", .namespace_ = "ns" };
static Cri__ContainerMetadata ctr_meta __attribute__((unused)) = { .name = "c" };
static Cri__ImageSpec image_spec __attribute__((unused)) = { .image = "busybox" };

#define POD(...) { .metadata = &pod_meta, __VA_ARGS__ }
#define LINUX(...) .linux = &(Cri__LinuxPodSandboxConfig){ __VA_ARGS__ }
#define POD_SEC(...) LINUX(.security_context = &(Cri__LinuxSandboxSecurityContext){ __VA_ARGS__ })
#define NS(...) .namespace_options = &(Cri__NamespaceOption){ __VA_ARGS__ }
#define CTR(...) { .metadata = &ctr_meta, .image = &image_spec, __VA_ARGS__ }
#define SEC(...)                                                                                   \
	.linux = &(Cri__LinuxContainerConfig){                                                     \
		.security_context = &(Cri__LinuxContainerSecurityContext){ __VA_ARGS__ }           \
	}
#define RES(...)                                                                                   \
	.linux = &(Cri__LinuxContainerConfig){                                                     \
		.resources = &(Cri__LinuxContainerResources){ __VA_ARGS__ }                        \
	}
#define LIST(name, ...)                                                                            \
	.n_##name = sizeof((char *[]){ __VA_ARGS__ }) / sizeof(char *), .name = (char *[]){ __VA_ARGS__ }
#define MOUNT(...) .n_mounts = 1, .mounts = (Cri__Mount *[]){ &(Cri__Mount){ __VA_ARGS__ } }
#define CAPS(...) SEC(.capabilities = &(Cri__Capability){ __VA_ARGS__ })
#define PROFILE(kind, ...)                                                                         \
	&(Cri__SecurityProfile)                                                                    \
	{                                                                                          \
		.profile_type = CRI__SECURITY_PROFILE__PROFILE_TYPE__##kind, __VA_ARGS__           \
	}
#define ENV(k, v)                                                                                  \
	&(Cri__KeyValue)                                                                           \
	{                                                                                          \
		.key = k, .value = { sizeof(v) - 1, (uint8_t *)v }                                 \
	}
#define INT(n) &(Cri__Int64Value){ .value = n }
#define SYSCTL(k)                                                                                  \
	.n_sysctls = 1, .sysctls = (Cri__LinuxPodSandboxConfig__SysctlsEntry *[]){                 \
		&(Cri__LinuxPodSandboxConfig__SysctlsEntry){ .key = k, .value = "1" }              \
	}
#define UNIFIED(k, v)                                                                              \
	.n_unified = 1, .unified = (Cri__LinuxContainerResources__UnifiedEntry *[]){               \
		&(Cri__LinuxContainerResources__UnifiedEntry){ .key = k, .value = v }              \
	}
#define HUGE_LIMIT(size, n)                                                                        \
	.n_hugepage_limits = 1,                                                                    \
	.hugepage_limits = (Cri__HugepageLimit *[]){ &(Cri__HugepageLimit){ .page_size = size, .limit = n } }
#define HOST_NET NS(.network = CRI__NAMESPACE_MODE__NODE)

/* ---- pods ---- */

static const Cri__PodSandboxConfig plain = POD();
static const Cri__PodSandboxConfig privileged_pod = POD(POD_SEC(.privileged = true));
static const Cri__PodSandboxConfig host_pod __attribute__((unused)) = POD(POD_SEC(NS(.network = CRI__NAMESPACE_MODE__NODE,
							     .pid = CRI__NAMESPACE_MODE__NODE,
							     .ipc = CRI__NAMESPACE_MODE__NODE)));

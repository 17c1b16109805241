#pragma once
/*
 * From the CRI's configuration to the text of an OCI config.json.  Everything here is a pure
 * function of its arguments (but for oci_host_probe()): no file is opened, nothing blocks.
 *
 *	check     is this configuration one that we honour in full?  What is not honoured yet is
 *	          refused with the field's name and value: -EINVAL (a client's mistake) or
 *	          -ENOSYS (not built yet)
 *	prepare   what only the disk can tell (who is "www-data" in this image, what is behind
 *	          that symlink, which devices has the host) is asked of `crisp-work prepare`, by a
 *	          JSON request on its stdin and a JSON reply on its stdout
 *	spec      configuration + image + reply = config.json, ociVersion 1.0.2
 *
 * The order for a container: oci_check_container, oci_prepare_request, the worker,
 * oci_prepare_parse, oci_container_spec.  Texts are NUL-terminated and live in the given pool.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/base/idmap.h"
#include "proto/cri.pb-c.h"

struct image_config;
struct json;
struct pool;

/* ---- The node, found out once at start. ---- */

struct oci_host {
	bool cgroup_v2;
	bool systemd_cgroups;		/* the driver: pods are slices */
	bool hugetlb;			/* the controller is there */
	const char **page_sizes;	/* "2MB", "1GB": sizes the kernel has */
	size_t n_page_sizes;
	bool swap_accounting;		/* memory+swap can be limited */
	bool seccomp, apparmor, selinux;
	const char *apparmor_profiles;	/* the kernel's list of them; NULL: not to be read */
	const char *apparmor_default;	/* the profile of who names none; NULL: none is loaded */
	bool rro;			/* the kernel can mount recursively read-only */
	uint64_t cap_bounding;		/* our own bounding set, bit n = capability n */
	int oom_score_adj_min;		/* the lowest score that we may give */
	uint64_t nofile_soft, nofile_hard;	/* of containers */
	const char *hostname;		/* of the node, for HOSTNAME in pods on its UTS namespace */
};

/* Reads /proc and /sys; call it at start only.  Whatever can't be read is taken as absent. */
void oci_host_probe(struct pool *p, struct oci_host *h);
/* Is that AppArmor profile in the kernel?  True when it can't be told. */
bool oci_apparmor_loaded(const struct oci_host *h, const char *name);

/* ---- Namespaces. ---- */

/* Where a container's namespaces come from, once pod and container options are put together. */
enum oci_ns_from {
	OCI_NS_NODE,		/* the host's: none in the spec */
	OCI_NS_POD,		/* the pod's, by path */
	OCI_NS_OWN,		/* a new one, the container's alone */
	OCI_NS_TARGET,		/* that of another container, by path */
};

struct oci_ns {
	enum oci_ns_from net, uts, ipc, pid;
	const char *target_id;	/* with OCI_NS_TARGET, else NULL; borrowed from the container's config */
};

/* ctr == NULL: of the pod itself, where pid == OCI_NS_POD says that the pod shares one (and so
 * needs crisp-pause).  The container's zero values mean "as the pod": network, ipc and uts are
 * always the pod's. */
void oci_ns_of(const Cri__PodSandboxConfig *pod, const Cri__ContainerConfig *ctr, struct oci_ns *out);
/* The map of the pod's user namespace, all 0 when it has none; its config is checked. */
void oci_userns_of(const Cri__PodSandboxConfig *pod, struct idmap *out);
bool oci_pod_privileged(const Cri__PodSandboxConfig *pod);
bool oci_ctr_privileged(const Cri__ContainerConfig *ctr);

/* ---- Checks. ---- */

/* Every field of a pod's config. */
int oci_check_sandbox(const struct oci_host *h, const Cri__PodSandboxConfig *pod, struct err *e);
/* Every field of a container's config against the pod's.  rro: the engine can mount recursively
 * read-only; if it is asked and can't be, the message begins with "RROUnsupported" (-ENOTSUP). */
int oci_check_container(const struct oci_host *h, const Cri__PodSandboxConfig *pod,
			const Cri__ContainerConfig *ctr, bool rro, struct err *e);
/* Limits alone, for updates.  field is the prefix of names in messages ("linux"). */
int oci_check_resources(const struct oci_host *h, const Cri__LinuxContainerResources *r, const char *field,
			struct err *e);

/* ---- Signals: the CRI's enum counts names in alphabetical order, it is not a signal number. ---- */

int oci_signal_number(Cri__Signal s);			/* 0 for the default, -1 for no signal */
Cri__Signal oci_signal_cri(int signo);			/* SIGNAL_RUNTIME_DEFAULT when it has no name there */
int oci_signal_parse(const char *text);			/* "SIGTERM", "term", "15", "RTMIN+3"; -1: none */
/* The effective stop signal: config, else image (may be NULL or ""), else SIGTERM.
 * -EINVAL when the text or the enum is no signal. */
int oci_stop_signal(const Cri__ContainerConfig *ctr, const char *image_stop_signal, struct err *e);

/* ---- The worker's request and reply. ---- */

struct oci_layers {
	const char *const *dirs;	/* absolute, LOWEST first, as struct image has them */
	size_t n;
	const char *upper, *work;	/* of the overlay: made by the worker; upper must be fresh */
};

/* host_devices: a privileged container gets them all. */
int oci_prepare_request(struct pool *p, const Cri__PodSandboxConfig *pod, const Cri__ContainerConfig *ctr,
			const struct image_config *im, const struct oci_layers *layers, bool host_devices,
			const char **json, size_t *len, struct err *e);

struct oci_mount {
	const char *source;	/* absolute, without symlinks */
	bool is_dir;
	bool made;		/* it was missing and is a new directory: worth a line in the log */
};

struct oci_device {
	const char *path;	/* in the container */
	char type;		/* 'c' or 'b' */
	unsigned major, minor;
	unsigned mode;		/* permission bits */
	uint32_t uid, gid;
	const char *access;	/* "rwm" or less */
};

struct oci_prepared {
	uint32_t uid, gid;
	uint32_t *groups;	/* the primary one first */
	size_t n_groups;
	const char *home;	/* never NULL */
	const char *username;	/* NULL: a number without a name */
	struct oci_mount *mounts;	/* in the order of the config's mounts */
	size_t n_mounts;
	struct oci_device *devices;
	size_t n_devices;
	const char **volumes;	/* the image's volumes, resolved within the rootfs */
	size_t n_volumes;
	const struct json *seccomp;	/* the localhost profile; NULL: none asked */
};

/* -EPROTO when the reply is not what the worker writes for ctr. */
int oci_prepare_parse(struct pool *p, const Cri__ContainerConfig *ctr, const char *json, size_t len,
		      struct oci_prepared *out, struct err *e);

/* ---- Specs. ---- */

struct oci_input {
	const char *pod_id, *ctr_id;
	const Cri__PodSandboxConfig *pod;
	const Cri__ContainerConfig *ctr;
	const struct image_config *image;
	const char *image_name;		/* for engines with a guest; may be NULL */
	const struct oci_prepared *prep;
	const char *rootfs;		/* absolute */
	const char *cgroup_path;	/* absolute within the hierarchies, or "SLICE:PREFIX:NAME" for systemd */
	/* Paths of what is joined, used where oci_ns_of() says POD or TARGET. */
	const char *netns, *ipcns, *utsns, *pidns, *userns;
	/* Key, value, ..., NULL: annotations that the engine may see; NULL: none.  Those that say who
	 * a pod is come with the spec, and are none of these. */
	const char *const *annotations;
	bool no_host_devices;		/* privileged or not: no device but those of the config */
	const char *hostname;		/* NULL or "": the node's */
	/* Sources that are bound over the container's unless the config mounts there; NULL: none.
	 * shm NULL: on the host's ipc the host's /dev/shm, else a tmpfs of the container's own. */
	const char *resolv_conf, *hosts, *hostname_file, *shm;
};

/* -ENOSYS, -EINVAL: the image or the config lacks something (no command), with its name. */
int oci_container_spec(struct pool *p, const struct oci_host *h, const struct oci_input *in,
		       const char **json, size_t *len, struct err *e);

/* Put parts of a spec (the text of a JSON object) below the one in json and len; the merged one
 * replaces it. */
int oci_spec_below(struct pool *p, const char *below, const char **json, size_t *len, struct err *e);

/* crisp-pause as the keeper of a shared pid namespace: empty read-only rootfs, uid 65534, no
 * capability, the default seccomp profile, nothing of the host in sight. */
struct oci_pause {
	const char *pod_id;
	const char *rootfs;		/* a directory with the empty directories dev, proc, sys and the
					 * empty file pause, and nothing else; may be shared by all pods */
	const char *pause;		/* the host's path of crisp-pause, bound at /pause */
	const char *cgroup_path;
	const char *netns, *ipcns, *utsns, *userns;	/* NULL: the host's */
	struct idmap map;		/* of userns */
	const char *const *annotations;	/* as in struct oci_input */
};
int oci_pause_spec(struct pool *p, const struct oci_host *h, const struct oci_pause *in,
		   const char **json, size_t *len, struct err *e);

/* process.json of an exec in the container whose config.json is given: its user, capabilities,
 * environment, directory and limits, another command. */
int oci_exec_process(struct pool *p, const char *config, size_t config_len, const char *const *cmd,
		     size_t n_cmd, bool tty, const char **json, size_t *len, struct err *e);

/* ---- Resources. ---- */

/* Text of an OCI "linux.resources" object, for an engine's update.  0 and "" are left out.  Give
 * it the merged limits, not the update alone. */
int oci_resources_json(struct pool *p, const struct oci_host *h, const Cri__LinuxContainerResources *r,
		       const char **json, size_t *len, struct err *e);
/* now with everything that update sets; old (may be NULL) and update are unchanged.  The result
 * is p's and borrows their strings. */
Cri__LinuxContainerResources *oci_resources_merge(struct pool *p, const Cri__LinuxContainerResources *old,
						  const Cri__LinuxContainerResources *update);
/* The score that the container gets: asked for, or raised to what we may give. */
int oci_oom_score_adj(const struct oci_host *h, const Cri__LinuxContainerResources *r);

/*
 * config.json, put together.  Two kinds: a container's, and that of crisp-pause, which holds a
 * shared pid namespace and must offer nothing to whoever looks through its /proc/1/root.
 */
#include "core/oci/oci.h"

#include <errno.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/oci/caps.h"
#include "core/oci/mounts.h"
#include "core/oci/process.h"
#include "core/oci/resources.h"
#include "core/oci/seccomp.h"
#include "core/oci/view.h"

static const char oci_version[] = "1.0.2";

static const char *const masked_paths[] = {
	"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
	"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
	"/sys/devices/virtual/powercap", NULL
};
static const char *const readonly_paths[] = {
	"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", NULL
};

/* ---- namespaces ---- */

static void put_namespace(struct json_out *o, const char *type, const char *path)
{
	json_object(o);
	json_member_str(o, "type", type);
	if (path)
		json_member_str(o, "path", path);
	json_end_object(o);
}

static int put_from(struct json_out *o, const char *type, enum oci_ns_from from, const char *path, struct err *e)
{
	if (from == OCI_NS_NODE)
		return 0;
	if (from != OCI_NS_OWN && !path)
		return err_set(e, EINVAL, "the pod has no %s namespace to join", type);
	put_namespace(o, type, from == OCI_NS_OWN ? NULL : path);
	return 0;
}

/* Engines want to know the map as well, though the namespace has it. */
static void put_map(struct json_out *o, const char *key, uint32_t host, uint32_t n)
{
	json_key(o, key);
	json_array(o);
	json_object(o);
	json_member_int(o, "containerID", 0);
	json_member_int(o, "hostID", host);
	json_member_int(o, "size", n);
	json_end_object(o);
	json_end_array(o);
}

static void put_maps(struct json_out *o, const struct idmap *map)
{
	if (!map->n_uids)
		return;
	put_map(o, "uidMappings", map->uid, map->n_uids);
	put_map(o, "gidMappings", map->gid, map->n_gids);
}

static int put_namespaces(struct json_out *o, const struct oci_host *h, const struct oci_input *in, struct err *e)
{
	struct oci_ns ns;
	struct idmap map;
	oci_ns_of(in->pod, in->ctr, &ns);
	oci_userns_of(in->pod, &map);
	json_key(o, "namespaces");
	json_array(o);
	put_namespace(o, "mount", NULL);
	int ret = put_from(o, "user", map.n_uids ? OCI_NS_POD : OCI_NS_NODE, in->userns, e);
	if (!ret)
		ret = put_from(o, "pid", ns.pid, in->pidns, e);
	if (!ret)
		ret = put_from(o, "network", ns.net, in->netns, e);
	if (!ret)
		ret = put_from(o, "ipc", ns.ipc, in->ipcns, e);
	if (!ret)
		ret = put_from(o, "uts", ns.uts, in->utsns, e);
	if (h->cgroup_v2 && !oci_ctr_privileged(in->ctr))
		put_namespace(o, "cgroup", NULL);
	json_end_array(o);
	put_maps(o, &map);
	return ret;
}

/* ---- devices ---- */

static void put_device_node(struct json_out *o, const struct oci_device *d)
{
	const char type[] = { d->type, '\0' };
	json_object(o);
	json_member_str(o, "path", d->path);
	json_member_str(o, "type", type);
	json_member_int(o, "major", d->major);
	json_member_int(o, "minor", d->minor);
	json_member_int(o, "fileMode", d->mode);
	json_member_int(o, "uid", d->uid);
	json_member_int(o, "gid", d->gid);
	json_end_object(o);
}

/* major, minor: -1 for any. */
static void put_device_rule(struct json_out *o, bool allow, char type, int64_t major, int64_t minor,
			    const char *access)
{
	const char text[] = { type, '\0' };
	json_object(o);
	json_member_bool(o, "allow", allow);
	if (type)
		json_member_str(o, "type", text);
	if (major >= 0)
		json_member_int(o, "major", major);
	if (minor >= 0)
		json_member_int(o, "minor", minor);
	json_member_str(o, "access", access);
	json_end_object(o);
}

static void put_device_rules(struct json_out *o, const struct oci_device *devices, size_t n, bool privileged)
{
	static const struct {
		int major, minor;
	} basic[] = {
		{ 1, 3 }, { 1, 5 }, { 1, 7 }, { 1, 8 }, { 1, 9 },	/* null zero full random urandom */
		{ 5, 0 }, { 5, 2 }, { 136, -1 },			/* tty ptmx pts */
	};
	json_key(o, "devices");
	json_array(o);
	put_device_rule(o, privileged, 0, -1, -1, "rwm");
	if (!privileged) {
		/* a node may be made of anything, but not opened */
		put_device_rule(o, true, 'c', -1, -1, "m");
		put_device_rule(o, true, 'b', -1, -1, "m");
		for (size_t i = 0; i < sizeof(basic) / sizeof(basic[0]); i++)
			put_device_rule(o, true, 'c', basic[i].major, basic[i].minor, "rwm");
		for (size_t i = 0; i < n; i++)
			put_device_rule(o, true, devices[i].type, devices[i].major, devices[i].minor,
					devices[i].access);
	}
	json_end_array(o);
}

/* ---- linux ---- */

static void put_paths(struct json_out *o, const char *key, char **own, size_t n_own, const char *const *defaults)
{
	json_key(o, key);
	json_array(o);
	for (size_t i = 0; i < n_own; i++)
		json_put_str(o, own[i]);
	for (size_t i = 0; !n_own && defaults[i]; i++)
		json_put_str(o, defaults[i]);
	json_end_array(o);
}

static int put_seccomp(struct json_out *o, const struct oci_input *in, const struct caps *caps, struct err *e)
{
	const char *path;
	switch (view_seccomp(in->ctr, &path)) {
	case VIEW_SECCOMP_NONE:
		return 0;
	case VIEW_SECCOMP_DEFAULT:
		json_key(o, "seccomp");
		seccomp_put_default(o, caps->set);
		return 0;
	case VIEW_SECCOMP_FILE:
		if (!in->prep->seccomp)
			return err_set(e, EINVAL, "seccomp profile \"%s\" was not read", path);
		json_key(o, "seccomp");
		json_put(o, in->prep->seccomp);
		return 0;
	case VIEW_SECCOMP_BAD:
		break;
	}
	return err_set(e, EINVAL, "linux.security_context.seccomp: no such profile type");
}

static int put_linux(struct json_out *o, const struct oci_host *h, const struct oci_input *in,
		     const struct caps *caps, const char *propagation, struct err *e)
{
	const Cri__LinuxContainerSecurityContext *s = view_security(in->ctr);
	bool privileged = oci_ctr_privileged(in->ctr);
	json_object(o);
	int ret = put_namespaces(o, h, in, e);
	if (ret < 0)
		return ret;
	json_member_str(o, "cgroupsPath", in->cgroup_path);
	if (propagation)
		json_member_str(o, "rootfsPropagation", propagation);

	json_key(o, "devices");
	json_array(o);
	for (size_t i = 0; i < in->prep->n_devices; i++)
		put_device_node(o, &in->prep->devices[i]);
	json_end_array(o);

	json_key(o, "resources");
	json_object(o);
	put_device_rules(o, in->prep->devices, in->prep->n_devices,
			 privileged && !in->no_host_devices);
	resources_put(o, h, view_resources(in->ctr));
	json_end_object(o);

	if (!privileged) {
		put_paths(o, "maskedPaths", s ? s->masked_paths : NULL, s ? s->n_masked_paths : 0, masked_paths);
		put_paths(o, "readonlyPaths", s ? s->readonly_paths : NULL, s ? s->n_readonly_paths : 0,
			  readonly_paths);
	}
	ret = put_seccomp(o, in, caps, e);
	json_end_object(o);
	return ret;
}

static void put_allowed(struct json_out *o, const char *const *annotations)
{
	for (; annotations && *annotations; annotations += 2)
		json_member_str(o, annotations[0], annotations[1]);
}

/* Orders for the scope that systemd makes: no limit of tasks but the request's (its own default is 15 %
 * of what the kernel can hold), and no memory of a scope that has failed. */
static void put_scope(struct json_out *o, const char *cgroup_path)
{
	if (*cgroup_path == '/')
		return;
	json_member_str(o, "org.systemd.property.TasksMax", "uint64 18446744073709551615");
	json_member_str(o, "org.systemd.property.CollectMode", "'inactive-or-failed'");
}

/* For engines that group containers into sandboxes of their own.  Of the pod's and container's
 * annotations only those are given on that the handler allows: engines take orders from some
 * ("run.oci.*"), and whoever may make a pod must not give those. */
static void put_annotations(struct json_out *o, const struct oci_input *in)
{
	const Cri__PodSandboxMetadata *m = in->pod->metadata;
	json_key(o, "annotations");
	json_object(o);
	json_member_str(o, "io.kubernetes.cri.container-type", "container");
	json_member_str(o, "io.kubernetes.cri.sandbox-id", in->pod_id);
	if (m) {
		json_member_str(o, "io.kubernetes.cri.sandbox-name", m->name);
		json_member_str(o, "io.kubernetes.cri.sandbox-namespace", m->namespace_);
		json_member_str(o, "io.kubernetes.cri.sandbox-uid", m->uid);
	}
	if (in->ctr->metadata)
		json_member_str(o, "io.kubernetes.cri.container-name", in->ctr->metadata->name);
	if (view_set(in->image_name))
		json_member_str(o, "io.kubernetes.cri.image-name", in->image_name);
	put_allowed(o, in->annotations);
	put_scope(o, in->cgroup_path);
	json_end_object(o);
}

static void put_root(struct json_out *o, const char *path, bool readonly)
{
	json_key(o, "root");
	json_object(o);
	json_member_str(o, "path", path);
	json_member_bool(o, "readonly", readonly);
	json_end_object(o);
}

/* Who the container is to run as may be known from its image alone. */
static int check_ids(const struct oci_input *in, struct err *e)
{
	struct idmap map;
	uint32_t id;
	oci_userns_of(in->pod, &map);
	if (!idmap_uid(&map, in->prep->uid, &id))
		return err_set(e, EINVAL, "user %u: the pod's user namespace has only the ids below %u", in->prep->uid,
			       map.n_uids);
	if (!idmap_gid(&map, in->prep->gid, &id))
		return err_set(e, EINVAL, "group %u: the pod's user namespace has only the ids below %u", in->prep->gid,
			       map.n_gids);
	for (size_t i = 0; i < in->prep->n_groups; i++)
		if (!idmap_gid(&map, in->prep->groups[i], &id))
			return err_set(e, EINVAL, "supplemental group %u: the pod's user namespace has only the ids below %u",
				       in->prep->groups[i], map.n_gids);
	return 0;
}

int oci_container_spec(struct pool *p, const struct oci_host *h, const struct oci_input *in,
		       const char **json, size_t *len, struct err *e)
{
	const Cri__LinuxContainerSecurityContext *s = view_security(in->ctr);
	struct oci_ns ns;
	oci_ns_of(in->pod, in->ctr, &ns);
	struct caps caps;
	int ret = caps_of(h, in->ctr, &caps, e);
	if (ret < 0)
		return ret;

	ret = check_ids(in, e);
	if (ret < 0)
		return ret;
	struct json_out *o = json_out(p);
	json_object(o);
	json_member_str(o, "ociVersion", oci_version);
	put_root(o, in->rootfs, s && s->readonly_rootfs);
	json_key(o, "process");
	ret = process_put(o, p, h, in, &caps, e);
	if (ret < 0)
		return ret;
	if (ns.uts != OCI_NS_NODE && view_set(in->hostname))
		json_member_str(o, "hostname", in->hostname);
	const char *propagation;
	json_key(o, "mounts");
	mounts_put(o, p, in, &propagation);
	json_key(o, "linux");
	ret = put_linux(o, h, in, &caps, propagation, e);
	if (ret < 0)
		return ret;
	put_annotations(o, in);
	json_end_object(o);
	*json = json_text(o, len);
	return 0;
}

/* ---- crisp-pause ---- */

/* As high as the map has it. */
static int64_t nobody(uint32_t n_ids)
{
	enum { NOBODY = 65534 };
	return n_ids && n_ids <= NOBODY ? n_ids - 1 : NOBODY;
}

static void put_pause_process(struct json_out *o, const struct oci_host *h, const struct idmap *map)
{
	enum { SCORE = -998 };
	const struct caps none = { 0 };
	json_key(o, "process");
	json_object(o);
	json_member_bool(o, "terminal", false);
	json_key(o, "user");
	json_object(o);
	json_member_int(o, "uid", nobody(map->n_uids));
	json_member_int(o, "gid", nobody(map->n_gids));
	json_end_object(o);
	json_key(o, "args");
	json_array(o);
	json_put_str(o, "/pause");
	json_end_array(o);
	json_key(o, "env");
	json_array(o);
	json_end_array(o);
	json_member_str(o, "cwd", "/");
	json_key(o, "capabilities");
	caps_put(o, &none);
	json_member_bool(o, "noNewPrivileges", true);
	json_member_int(o, "oomScoreAdj", SCORE < h->oom_score_adj_min ? h->oom_score_adj_min : SCORE);
	json_end_object(o);
}

static void put_pause_mounts(struct json_out *o, const char *pause)
{
	json_key(o, "mounts");
	json_array(o);
	mounts_put_one(o, "/proc", "proc", "proc", "nosuid,noexec,nodev");
	mounts_put_one(o, "/dev", "tmpfs", "tmpfs", "nosuid,noexec,mode=755,size=64k");
	mounts_put_one(o, "/pause", "bind", pause, "rbind,rprivate,nosuid,nodev,ro");
	json_end_array(o);
}

static void put_pause_linux(struct json_out *o, const struct oci_host *h, const struct oci_pause *in)
{
	enum { SHARES = 2 };
	json_key(o, "linux");
	json_object(o);
	json_key(o, "namespaces");
	json_array(o);
	put_namespace(o, "mount", NULL);
	if (in->userns)
		put_namespace(o, "user", in->userns);
	put_namespace(o, "pid", NULL);
	if (in->netns)
		put_namespace(o, "network", in->netns);
	if (in->ipcns)
		put_namespace(o, "ipc", in->ipcns);
	if (in->utsns)
		put_namespace(o, "uts", in->utsns);
	if (h->cgroup_v2)
		put_namespace(o, "cgroup", NULL);
	json_end_array(o);
	put_maps(o, &in->map);
	json_member_str(o, "cgroupsPath", in->cgroup_path);
	json_key(o, "resources");
	json_object(o);
	put_device_rules(o, NULL, 0, false);
	json_key(o, "cpu");
	json_object(o);
	json_member_int(o, "shares", SHARES);
	json_end_object(o);
	json_end_object(o);
	put_paths(o, "maskedPaths", NULL, 0, masked_paths);
	put_paths(o, "readonlyPaths", NULL, 0, readonly_paths);
	if (h->seccomp) {
		json_key(o, "seccomp");
		seccomp_put_default(o, 0);
	}
	json_end_object(o);
}

int oci_pause_spec(struct pool *p, const struct oci_host *h, const struct oci_pause *in,
		   const char **json, size_t *len, struct err *e)
{
	if (!in->rootfs || !in->pause || !in->cgroup_path)
		return err_set(e, EINVAL, "crisp-pause: no rootfs, program or cgroup");
	struct json_out *o = json_out(p);
	json_object(o);
	json_member_str(o, "ociVersion", oci_version);
	put_root(o, in->rootfs, true);
	put_pause_process(o, h, &in->map);
	put_pause_mounts(o, in->pause);
	put_pause_linux(o, h, in);
	json_key(o, "annotations");
	json_object(o);
	json_member_str(o, "io.kubernetes.cri.container-type", "sandbox");
	json_member_str(o, "io.kubernetes.cri.sandbox-id", in->pod_id);
	put_allowed(o, in->annotations);
	put_scope(o, in->cgroup_path);
	json_end_object(o);
	json_end_object(o);
	*json = json_text(o, len);
	return 0;
}

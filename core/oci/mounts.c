/*
 * What a container finds mounted: the kernel's file systems, the pod's files, the config's
 * mounts, the image's volumes.
 *
 * A mount of the config beats a default at the same path, and one at /dev, /proc or /sys beats
 * the defaults below it as well: whoever brings the host's /dev wants the host's /dev/pts.  All
 * are sorted by depth, so that a parent never hides its child; of one depth the order stays.
 */
#include "core/oci/mounts.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/image/image.h"
#include "core/oci/view.h"

struct mount {
	const char *target, *type, *source, *options;
	size_t order;	/* qsort is not stable */
};

struct mounts {
	struct pool *pool;
	struct mount *at;
	size_t n;
	const char **config;	/* targets of the config's mounts, clean */
	size_t n_config;
};

static size_t depth(const char *path)
{
	size_t n = 0;
	for (; *path; path++)
		n += *path == '/' && path[1];
	return n;
}

static int compare(const void *a, const void *b)
{
	const struct mount *x = a, *y = b;
	size_t dx = depth(x->target), dy = depth(y->target);
	if (dx != dy)
		return dx < dy ? -1 : 1;
	return x->order < y->order ? -1 : 1;
}

static void add(struct mounts *m, const char *target, const char *type, const char *source, const char *options)
{
	m->at[m->n] = (struct mount){ target, type, source, options, m->n };
	m->n++;
}

/* Does the config mount at target? */
static bool taken(const struct mounts *m, const char *target)
{
	for (size_t i = 0; i < m->n_config; i++)
		if (!strcmp(m->config[i], target))
			return true;
	return false;
}

/* Does the config mount at target or above? */
static bool covered(const struct mounts *m, const char *target)
{
	for (size_t i = 0; i < m->n_config; i++)
		if (view_below(target, m->config[i]))
			return true;
	return false;
}

static void add_kernel(struct mounts *m, const char *target, const char *type, const char *options)
{
	if (!covered(m, target))
		add(m, target, type, type, options);
}

/* A file of the pod.  Not "covered": a config that mounts /etc still wants the pod's resolver. */
static void add_file(struct mounts *m, const char *target, const char *source, bool readonly)
{
	if (source && !taken(m, target))
		add(m, target, "bind", source,
		    readonly ? "rbind,rprivate,nosuid,nodev,noexec,ro" : "rbind,rprivate,nosuid,nodev,noexec,rw");
}

static void add_shm(struct mounts *m, const struct oci_input *in)
{
	struct oci_ns ns;
	oci_ns_of(in->pod, in->ctr, &ns);
	const char *source = in->shm ? in->shm : ns.ipc == OCI_NS_NODE ? "/dev/shm" : NULL;
	if (covered(m, "/dev/shm"))
		return;
	if (source)
		add(m, "/dev/shm", "bind", source, "rbind,rprivate,nosuid,nodev,noexec,rw");
	else
		add(m, "/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k");
}

enum { TTY_GID = 5 };

static void add_defaults(struct mounts *m, const struct oci_input *in)
{
	bool privileged = oci_ctr_privileged(in->ctr);
	const Cri__LinuxContainerSecurityContext *s = view_security(in->ctr);
	bool readonly = s && s->readonly_rootfs;
	struct idmap map;
	oci_userns_of(in->pod, &map);
	bool has_tty = !map.n_gids || map.n_gids > TTY_GID;

	add_kernel(m, "/proc", "proc", "nosuid,noexec,nodev");
	add_kernel(m, "/dev", "tmpfs", "nosuid,strictatime,mode=755,size=65536k");
	add_kernel(m, "/dev/pts", "devpts", has_tty ? "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5" :
						     "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620");
	add_kernel(m, "/dev/mqueue", "mqueue", "nosuid,noexec,nodev");
	add_shm(m, in);
	add_kernel(m, "/sys", "sysfs", privileged ? "nosuid,noexec,nodev,rw" : "nosuid,noexec,nodev,ro");
	add_kernel(m, "/sys/fs/cgroup", "cgroup",
		   privileged ? "nosuid,noexec,nodev,relatime,rw" : "nosuid,noexec,nodev,relatime,ro");
	add_file(m, "/etc/hosts", in->hosts, readonly);
	add_file(m, "/etc/hostname", in->hostname_file, readonly);
	add_file(m, "/etc/resolv.conf", in->resolv_conf, readonly);
}

static const char *propagation_option(const Cri__Mount *mount)
{
	switch ((int)mount->propagation) {
	case CRI__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL:
		return "rshared";
	case CRI__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER:
		return "rslave";
	default:
		return "rprivate";
	}
}

static void add_config(struct mounts *m, const struct oci_input *in)
{
	for (size_t i = 0; i < in->ctr->n_mounts; i++) {
		const Cri__Mount *mount = in->ctr->mounts[i];
		const char *mode = !mount->readonly ? "rw" : mount->recursive_read_only ? "rro" : "ro";
		const char *options = pool_printf(m->pool, "rbind,%s,%s", propagation_option(mount), mode);
		for (size_t k = 0; k < mount->n_mount_options; k++)
			options = pool_printf(m->pool, "%s,%s", options, mount->mount_options[k]);
		add(m, m->config[i], "bind", in->prep->mounts[i].source, options);
	}
}

/* The image's volumes are directories of the container's own writable layer.  Only a read-only
 * root has to be opened there, by a mount of the directory over itself. */
static void add_volumes(struct mounts *m, const struct oci_input *in)
{
	const Cri__LinuxContainerSecurityContext *s = view_security(in->ctr);
	if (!s || !s->readonly_rootfs)
		return;
	for (size_t i = 0; i < in->prep->n_volumes; i++) {
		const char *target = in->prep->volumes[i];
		if (!covered(m, target))
			add(m, target, "bind", pool_printf(m->pool, "%s%s", in->rootfs, target),
			    "rbind,rprivate,rw");
	}
}

static const char *root_propagation(const Cri__ContainerConfig *ctr)
{
	const char *out = NULL;
	for (size_t i = 0; i < ctr->n_mounts; i++) {
		if (ctr->mounts[i]->propagation == CRI__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL)
			return "rshared";
		if (ctr->mounts[i]->propagation == CRI__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER)
			out = "rslave";
	}
	return out;
}

void mounts_put_one(struct json_out *o, const char *target, const char *type, const char *source,
		    const char *options)
{
	json_object(o);
	json_member_str(o, "destination", target);
	json_member_str(o, "type", type);
	json_member_str(o, "source", source);
	json_key(o, "options");
	json_array(o);
	for (const char *at = options; *at;) {
		size_t n = strcspn(at, ",");
		json_put_strn(o, at, n);
		at += n;
		at += *at == ',';
	}
	json_end_array(o);
	json_end_object(o);
}

void mounts_put(struct json_out *o, struct pool *p, const struct oci_input *in, const char **propagation)
{
	enum { MAX_DEFAULTS = 16 };
	size_t n_config = in->ctr->n_mounts;
	struct mounts m = {
		.pool = p,
		.at = pool_alloc(p, (MAX_DEFAULTS + n_config + in->prep->n_volumes) * sizeof(*m.at)),
		.config = pool_alloc(p, n_config * sizeof(*m.config)),
		.n_config = n_config,
	};
	for (size_t i = 0; i < n_config; i++)
		m.config[i] = view_clean_path(p, in->ctr->mounts[i]->container_path);
	add_defaults(&m, in);
	add_volumes(&m, in);
	add_config(&m, in);
	qsort(m.at, m.n, sizeof(*m.at), compare);

	json_array(o);
	for (size_t i = 0; i < m.n; i++)
		mounts_put_one(o, m.at[i].target, m.at[i].type, m.at[i].source, m.at[i].options);
	json_end_array(o);
	*propagation = root_propagation(in->ctr);
}

/*
 * template: the mount namespace that engines are started in a copy of.
 *
 * It has what the host has, and its mounts stay in the host's peer groups, so that volumes
 * mounted later arrive and a container may still mount for the host.  Two things differ:
 *
 *	NETNS_DIR  is private and empty: pins of pods neither are there nor arrive
 *	STATE/mnt  is a private mount of its own: what is mounted below it stays in its copy
 *
 * The host must not see STATE/mnt's mount.  Mounting on a shared parent would show it, so the
 * parent leaves its peer group for that moment and joins it again (MOVE_MOUNT_SET_GROUP, Linux
 * 5.15).  Older kernels get the one mount on the host as well.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/sandboxfs/reply.h"
#include "core/work/job.h"
#include "core/work/mountinfo.h"

#ifndef MOVE_MOUNT_SET_GROUP
#define MOVE_MOUNT_SET_GROUP 0x00000100
#endif

struct template {
	char netns_dir[PATH_MAX], mnt_dir[PATH_MAX];
	int host_ns;		/* the mount namespace we came from */
	char parent[PATH_MAX];	/* mount point of what mnt_dir lies on; "": it is one itself */
	bool parent_shared;
};

static int make_dir(const char *path, mode_t mode, char real[PATH_MAX], struct err *e)
{
	int ret = file_mkdirs(path, mode, e);
	if (ret == 0 && !realpath(path, real))
		ret = err_sys(e, "find %s", path);
	return ret;
}

static int set_propagation(const char *point, unsigned long flags, struct err *e)
{
	if (mount(NULL, point, NULL, flags, NULL) < 0)
		return err_sys(e, "make %s %s", point, flags & MS_SHARED ? "shared" : "private");
	return 0;
}

static int bind_on_itself(const char *path, struct err *e)
{
	if (mount(path, path, NULL, MS_BIND | MS_REC, NULL) < 0)
		return err_sys(e, "bind %s on itself", path);
	return 0;
}

/* Without a shared root nothing that is mounted later would reach a pod: what service managers
 * do at boot, for hosts that have none. */
static int share_root(const struct mountinfos *all, struct err *e)
{
	const struct mountinfo *root = mountinfo_of(all, "/");
	if (root && root->shared)
		return 0;
	return set_propagation("/", MS_SHARED | MS_REC, e);
}

/*
 * The folder of pins as ip-netns(8) has it, a shared mount of its own, but in a peer group of its
 * own too: in its parent's, each pin would be mounted twice, once where nobody gets to.  So the
 * clone leaves the group before it is mounted; Linux before 5.12 can do that only after it.
 */
static int mount_netns_dir(const char *dir, struct err *e)
{
	struct mount_attr attr = { .propagation = MS_PRIVATE };
	auto_close int tree =
		open_tree(AT_FDCWD, dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (tree < 0)
		return err_sys(e, "clone %s", dir);
	int alone = mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr));
	if (move_mount(tree, "", AT_FDCWD, dir, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_sys(e, "bind %s on itself", dir);
	int ret = alone == 0 ? 0 : set_propagation(dir, MS_PRIVATE | MS_REC, e);
	return ret < 0 ? ret : set_propagation(dir, MS_SHARED | MS_REC, e);
}

static int prepare_netns_dir(const struct template *t, const struct mountinfos *all, struct err *e)
{
	const struct mountinfo *m = mountinfo_of(all, t->netns_dir);
	if (!m || strcmp(m->point, t->netns_dir))
		return mount_netns_dir(t->netns_dir, e);
	return m->shared ? 0 : set_propagation(t->netns_dir, MS_SHARED | MS_REC, e);
}

static int prepare_host(struct template *t, struct err *e)
{
	struct mountinfos all;
	int ret = mountinfo_read(&all, e);
	if (ret == 0)
		ret = share_root(&all, e);
	if (ret == 0)
		ret = prepare_netns_dir(t, &all, e);
	mountinfo_free(&all);
	if (ret == 0)
		ret = mountinfo_read(&all, e);
	if (ret < 0)
		return ret;
	const struct mountinfo *m = mountinfo_of(&all, t->mnt_dir);
	if (!m)
		ret = err_set(e, ENOENT, "find the mount of %s", t->mnt_dir);
	else if (strcmp(m->point, t->mnt_dir))
		snprintf(t->parent, sizeof(t->parent), "%s", m->point);
	t->parent_shared = m && m->shared;
	mountinfo_free(&all);
	return ret;
}

/* -- in the new namespace -- */

static int empty_netns_dir(const struct template *t, struct err *e)
{
	int ret = set_propagation(t->netns_dir, MS_PRIVATE, e);
	struct mountinfos all;
	if (ret == 0)
		ret = mountinfo_read(&all, e);
	if (ret < 0)
		return ret;
	for (int i = all.n - 1; i >= 0; i--) {
		const char *point = all.at[i].point;
		if (!mountinfo_below(point, t->netns_dir) || !strcmp(point, t->netns_dir))
			continue;
		/* EINVAL: hidden below another mount, nobody gets there. */
		if (umount2(point, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL &&
		    errno != ENOENT) {
			ret = err_sys(e, "unmount %s in the template", point);
			break;
		}
	}
	mountinfo_free(&all);
	return ret;
}

static int make_mnt_private(const struct template *t, struct err *e)
{
	int ret = bind_on_itself(t->mnt_dir, e);
	return ret < 0 ? ret : set_propagation(t->mnt_dir, MS_PRIVATE, e);
}

/* -ENOSYS when this kernel can't: then nothing has been changed. */
static int make_mnt_unseen(const struct template *t, int host_parent, struct err *e)
{
	int ret = set_propagation(t->parent, MS_PRIVATE, e);
	if (ret < 0)
		return ret;
	auto_close int parent = open(t->parent, O_PATH | O_CLOEXEC);
	if (parent < 0)
		return err_sys(e, "open %s", t->parent);
	ret = make_mnt_private(t, e);
	if (ret < 0)
		return ret;
	unsigned flags = MOVE_MOUNT_SET_GROUP | MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
	if (move_mount(host_parent, "", parent, "", flags) == 0)
		return 0;
	if (errno == EINVAL || errno == ENOSYS)
		return -ENOSYS;
	return err_sys(e, "let %s join its peer group again", t->parent);
}

static int begin_namespace(const struct template *t, struct err *e)
{
	/* Again from the host's: the first try may have left a namespace half done. */
	if (setns(t->host_ns, CLONE_NEWNS) < 0)
		return err_sys(e, "enter the host's mount namespace");
	if (unshare(CLONE_NEWNS) < 0)
		return err_sys(e, "make a mount namespace");
	return 0;
}

static int make_mnt(const struct template *t, struct err *e)
{
	auto_close int host_parent = t->parent[0] ? open(t->parent, O_PATH | O_CLOEXEC) : -1;
	int ret = begin_namespace(t, e);
	if (ret < 0)
		return ret;
	if (!t->parent[0])
		return set_propagation(t->mnt_dir, MS_PRIVATE, e);
	if (!t->parent_shared)
		return make_mnt_private(t, e);
	ret = make_mnt_unseen(t, host_parent, e);
	if (ret != -ENOSYS)
		return ret;
	if (setns(t->host_ns, CLONE_NEWNS) < 0)
		return err_sys(e, "enter the host's mount namespace");
	ret = make_mnt_private(t, e);
	return ret < 0 ? ret : begin_namespace(t, e);
}

int job_template(int argc, char **argv, struct err *e)
{
	struct template t = { 0 };
	char mnt[PATH_MAX];
	if (argc != 3 || snprintf(mnt, sizeof(mnt), "%s/mnt", argv[1]) >= (int)sizeof(mnt))
		return job_usage(e, "STATE_DIR NETNS_DIR");
	int ret = make_dir(mnt, 0711, t.mnt_dir, e);
	if (ret == 0)
		ret = make_dir(argv[2], 0755, t.netns_dir, e);
	if (ret == 0)
		ret = prepare_host(&t, e);
	if (ret < 0)
		return ret;
	t.host_ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (t.host_ns < 0)
		return err_sys(e, "open /proc/self/ns/mnt");
	ret = make_mnt(&t, e);
	if (ret == 0)
		ret = empty_netns_dir(&t, e);
	if (ret < 0)
		return ret;
	auto_close int ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (ns < 0)
		return err_sys(e, "open /proc/self/ns/mnt");
	return reply_send(REPLY_FD, "m", &ns, e);
}

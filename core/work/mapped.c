/*
 * Id-mapped mounts by mount_setattr(2).  An overlay can't be mapped as a whole, but its layers can
 * (Linux 5.19): the folder that holds them all is cloned, mapped and mounted for as long as it
 * takes to mount the overlay, which makes clones of its own.
 */
#include "core/work/mapped.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/work/overlay.h"

static int parse_options(const char *options, uint64_t *attrs, struct err *e)
{
	static const struct {
		const char *name;
		uint64_t attr;
	} known[] = { { "noexec", MOUNT_ATTR_NOEXEC }, { "nosuid", MOUNT_ATTR_NOSUID }, { "nodev", MOUNT_ATTR_NODEV } };
	const size_t n_known = sizeof(known) / sizeof(*known);
	for (const char *at = options; *at; at += *at == ',') {
		size_t n = strcspn(at, ","), i = 0;
		while (i < n_known && (strncmp(known[i].name, at, n) || known[i].name[n]))
			i++;
		if (i == n_known)
			return err_set(e, EINVAL, "mount option \"%.*s\": expected noexec, nosuid or nodev", (int)n, at);
		*attrs |= known[i].attr;
		at += n;
	}
	return 0;
}

int mapped_clone(int userns, const char *path, bool tree, const char *options, struct err *e)
{
	struct mount_attr attr = { .attr_set = userns < 0 ? 0 : MOUNT_ATTR_IDMAP,
				   .userns_fd = userns < 0 ? 0 : (uint64_t)userns };
	uint64_t attrs = 0;
	int ret = parse_options(options, &attrs, e);
	if (ret < 0)
		return ret;
	attr.attr_set |= attrs;
	int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (tree ? AT_RECURSIVE : 0));
	if (fd < 0)
		return err_sys(e, "clone the mount of %s", path);
	if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) == 0)
		return fd;
	err_sys(e, userns < 0 ? "set the options of a mount of %s" :
				"map the ids of %s: its file system or this kernel can't", path);
	close(fd);
	return -e->code;
}

/* The longest folder that all of the list have in common, with its slash. */
static size_t common_length(const char *lowers)
{
	size_t n = strcspn(lowers, ":");
	for (const char *at = lowers; *at; at += strcspn(at, ":"), at += *at == ':') {
		size_t same = 0;
		while (same < n && at[same] == lowers[same])
			same++;
		n = same;
	}
	while (n && lowers[n - 1] != '/')
		n--;
	return n;
}

/* The list with another folder in place of the common one. */
static void move_list(struct buf *out, const char *lowers, size_t common, const char *dir)
{
	for (const char *at = lowers; *at; at += *at == ':') {
		size_t n = strcspn(at, ":");
		buf_printf(out, "%s%s/%.*s", out->len ? ":" : "", dir, (int)(n - common), at + common);
		at += n;
	}
}

static int make_side_dir(const char *target, char dir[PATH_MAX], struct err *e)
{
	if (snprintf(dir, PATH_MAX, "%s.layers", target) >= PATH_MAX)
		return err_set(e, ENAMETOOLONG, "mount the rootfs: the path is too long");
	return file_mkdirs(dir, 0711, e);
}

int mapped_overlay(int userns, const char *target, const char *lowers, const char *upper, const char *work,
		   struct err *e)
{
	char dir[PATH_MAX], folder[PATH_MAX];
	size_t n = common_length(lowers);
	if (!n || n >= sizeof(folder))
		return err_set(e, EINVAL, "mount the rootfs: layers \"%.100s\" have no common folder", lowers);
	snprintf(folder, sizeof(folder), "%.*s", (int)n, lowers);
	int ret = make_side_dir(target, dir, e);
	if (ret < 0)
		return ret;
	auto_close int tree = mapped_clone(userns, folder, false, "", e);
	if (tree < 0)
		return tree;
	if (move_mount(tree, "", AT_FDCWD, dir, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_sys(e, "mount the layers on %s", dir);
	struct buf moved = { 0 };
	move_list(&moved, lowers, n, dir);
	ret = overlay_mount(target, moved.data, upper, work, e);
	buf_free(&moved);
	if (umount2(dir, MNT_DETACH) < 0 && ret == 0)
		ret = err_sys(e, "unmount %s", dir);
	return ret;
}

/* Layers from outside: see the header.  The lists come from a process that has read hostile bytes:
 * every path is resolved inside the layer. */
#include "core/pull/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/pull/request.h"

void layer_chain(const char *below, const char *diff, char out[DIGEST_TEXT_MAX])
{
	char both[2 * DIGEST_TEXT_MAX + 1];
	if (!below) {
		snprintf(out, DIGEST_TEXT_MAX, "%s", diff);
		return;
	}
	int n = snprintf(both, sizeof(both), "%s %s", below, diff);
	digest_of(NULL, both, (size_t)n, out);
}

int layer_open(const struct layer *l, int tmp, int layers_fd)
{
	char path[64];
	snprintf(path, sizeof(path), "%s/fs", l->known ? l->known->id : l->dir);
	int fd = openat(l->known ? layers_fd : tmp, path,
			O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* The next path of a list, NULL at its end. */
static const char *next_path(const struct buf *list, size_t *at)
{
	if (*at >= list->len)
		return NULL;
	const char *path = list->data + *at;
	*at += strlen(path) + 1;
	return path;
}

int layer_mark_opaque(struct layer *l, int tmp, struct err *e)
{
	size_t at = 0;
	auto_close int root = layer_open(l, tmp, -1);
	if (root < 0)
		return err_set(e, -root, "open layer %s: %s", l->dir, strerror(-root));
	for (const char *path; (path = next_path(&l->opaque, &at));) {
		auto_close int fd = file_open_in_root(root, path, O_RDONLY | O_DIRECTORY);
		if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
			continue;	/* replaced by something that hides it anyway */
		if (fd < 0)
			return err_set(e, -fd, "%s: mark as opaque: %s", path, strerror(-fd));
		if (fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0) < 0)
			return err_sys(e, "%s: mark as opaque", path);
	}
	return 0;
}

/* 1: found and adopted, 0: look further down, -ENOENT: hidden, or -errno. */
static int adopt_from(int below, const char *path, int fd)
{
	struct stat st;
	if (fstatat(below, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : errno == ENOTDIR ? -ENOENT : -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOENT;
	if (fchown(fd, st.st_uid, st.st_gid) < 0 || fchmod(fd, st.st_mode & 07777) < 0)
		return -errno;
	return 1;
}

int layer_adopt_implied(struct layer *l, int tmp, const int *below, size_t n, struct err *e)
{
	size_t at = 0;
	if (!l->implied.len)
		return 0;
	auto_close int root = layer_open(l, tmp, -1);
	if (root < 0)
		return err_set(e, -root, "open layer %s: %s", l->dir, strerror(-root));
	l->bound_to_chain = n > 0;
	for (const char *path; (path = next_path(&l->implied, &at));) {
		auto_close int fd = file_open_in_root(root, path, O_RDONLY | O_DIRECTORY);
		int ret = 0;
		for (size_t i = n; fd >= 0 && i-- > 0 && ret == 0;)
			ret = adopt_from(below[i], path, fd);
		if (ret < 0 && ret != -ENOENT)
			return err_set(e, -ret, "%s: adopt attributes: %s", path, strerror(-ret));
	}
	return 0;
}

int layer_write_meta(struct pool *p, const struct layer *l, int tmp, struct err *e)
{
	char path[64];
	size_t len;
	struct json_out *o = json_out(p);
	json_object(o);
	json_member_str(o, "diff", l->diff);
	json_member_str(o, "blob", l->real_blob);
	json_member_str(o, "chain", l->bound_to_chain ? l->chain : "");
	json_member_int(o, "bytes", (int64_t)l->bytes);
	json_member_int(o, "inodes", (int64_t)l->inodes);
	json_end_object(o);
	const char *text = json_text(o, &len);
	snprintf(path, sizeof(path), "%s/meta", l->dir);
	return file_replace(tmp, path, text, len, 0644, e);
}

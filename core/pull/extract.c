/*
 * Layers to directories, see the header.
 *
 * The tricky parts: a name may pass through symlinks of the same layer (resolved inside root,
 * dangling ones get their target made, as other runtimes do); an entry may replace one of
 * another kind; a whiteout and a directory of one name mean an opaque directory, in either order.
 */
#include "core/pull/extract.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/list.h"
#include "core/base/map.h"

enum { LINKS_MAX = 40, DEPTH_MAX = 512, SYNC_CHUNK = 8 << 20, UNIT = 4096 };

static const char whiteout_prefix[] = ".wh.";
static const char opaque_marker[] = ".wh..wh..opq";

/* Times of directories wait for the end: every entry made inside would touch them. */
struct dir_time {
	size_t path;	/* offset in paths */
	struct timespec mtime;
};

/* A directory that the tar has not described (yet). */
struct implied {
	struct map_node node;
	char path[];
};

struct extract {
	int root;
	struct extract_limits limits;
	struct extract_result result;
	uint64_t content;
	uint64_t entries;

	char parent[TAR_NAME_MAX + 1];	/* of the parent that is open */
	int parent_fd;			/* -1: none */
	bool parent_setgid;
	bool parent_stale;		/* something was replaced that may be on the way to it */

	int file;			/* being written, or -1 */
	const struct tar_entry *file_entry;
	uint64_t file_bytes, file_synced;

	struct dir_time *dirs;
	size_t n_dirs;
	struct buf paths;
	struct map implied;
};

struct extract *extract_new(int root, const struct extract_limits *limits)
{
	struct extract *x = calloc(1, sizeof(*x));
	if (!x)
		abort();
	x->root = root;
	x->limits = *limits;
	x->parent_fd = x->file = -1;
	umask(0);
	return x;
}

static void forget_parent(struct extract *x)
{
	if (x->parent_fd >= 0)
		close(x->parent_fd);
	x->parent_fd = -1;
}

/* -- names -- */

int extract_clean_name(const char *name, char *out, struct err *e)
{
	size_t len = 0, depth = 0;
	if (strlen(name) > TAR_NAME_MAX)
		return err_set(e, EINVAL, "a name is longer than %d bytes", TAR_NAME_MAX);
	while (*name) {
		size_t n = strcspn(name, "/");
		if (n > NAME_MAX)
			return err_set(e, EINVAL, "a file name is longer than %d bytes", NAME_MAX);
		if (n == 2 && name[0] == '.' && name[1] == '.') {
			while (len && out[len - 1] != '/')
				len--;
			len -= len ? 1 : 0;
			depth -= depth ? 1 : 0;
		} else if (n && !(n == 1 && *name == '.')) {
			if (++depth > DEPTH_MAX)
				return err_set(e, EINVAL, "a name is more than %d directories deep",
					       DEPTH_MAX);
			if (len)
				out[len++] = '/';
			memcpy(out + len, name, n);
			len += n;
		}
		name += n + (name[n] == '/');
	}
	out[len] = 0;
	return 0;
}

static void list_path(struct buf *list, const char *path)
{
	buf_add(list, path, strlen(path) + 1);
}

/* -- parents -- */

static void count_inode(struct extract *x, uint64_t bytes)
{
	x->result.inodes++;
	x->result.bytes += (bytes + UNIT - 1) / UNIT * UNIT;
}

static void note_implied(struct extract *x, const char *path)
{
	size_t n = strlen(path) + 1;
	struct implied *i = calloc(1, sizeof(*i) + n);
	if (!i)
		abort();
	memcpy(i->path, path, n);
	if (map_get(&x->implied, path))
		free(i);
	else
		map_put(&x->implied, &i->node, i->path);
}

static void note_described(struct extract *x, const char *path)
{
	struct map_node *n = map_get(&x->implied, path);
	if (!n)
		return;
	map_del(&x->implied, n);
	free(container_of(n, struct implied, node));
}

static int make_dir(struct extract *x, const char *path, int *links, struct err *e);

/* path is there and yet leads nowhere: a dangling symlink.  Make what it points to. */
static int make_link_target(struct extract *x, int dir, const char *name, const char *path,
			    int *links, struct err *e)
{
	char target[TAR_NAME_MAX + 1], joined[2 * TAR_NAME_MAX + 2], clean[TAR_NAME_MAX + 1];
	ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);
	if (n < 0)
		return err_set(e, ENOTDIR, "%s: a parent is no directory", path);
	if (++*links > LINKS_MAX)
		return err_set(e, ELOOP, "%s: too many symbolic links", path);
	target[n] = 0;
	const char *slash = strrchr(path, '/');
	int base = target[0] == '/' || !slash ? 0 : (int)(slash - path);
	snprintf(joined, sizeof(joined), "%.*s/%s", base, path, target);
	int ret = extract_clean_name(joined, clean, e);
	if (ret < 0)
		return ret;
	ret = make_dir(x, clean, links, e);
	if (ret >= 0)
		close(ret);
	return ret < 0 ? ret : 0;
}

static int open_dir(struct extract *x, const char *path, struct err *e)
{
	int fd = file_open_in_root(x->root, path, O_PATH | O_DIRECTORY);
	return fd < 0 ? err_set(e, -fd, "%s: open as a directory: %s", path, strerror(-fd)) : fd;
}

/* Open prefix, whose last component is name in dir, and make it if it is missing. */
static int make_component(struct extract *x, int dir, const char *name, const char *prefix,
			  int *links, struct err *e)
{
	int fd = file_open_in_root(x->root, prefix, O_PATH | O_DIRECTORY);
	if (fd == -ENOENT) {
		if (mkdirat(dir, name, 0755) == 0) {
			count_inode(x, UNIT);
			note_implied(x, prefix);
		} else if (errno == EEXIST) {
			int ret = make_link_target(x, dir, name, prefix, links, e);
			if (ret < 0)
				return ret;
		} else {
			return err_sys(e, "%s: make directory", prefix);
		}
	} else if (fd >= 0) {
		return fd;
	}
	return open_dir(x, prefix, e);
}

/* Open path as a directory, making it and its parents where they are missing. */
static int make_dir(struct extract *x, const char *path, int *links, struct err *e)
{
	int fd = file_open_in_root(x->root, path, O_PATH | O_DIRECTORY);
	if (fd >= 0)
		return fd;
	if (fd != -ENOENT)
		return open_dir(x, path, e);
	char prefix[TAR_NAME_MAX + 1];
	size_t len = strlen(path), at = 0;
	int dir = open_dir(x, "", e);
	while (dir >= 0 && at < len) {
		size_t n = strcspn(path + at, "/");
		memcpy(prefix, path, at + n);
		prefix[at + n] = 0;
		int next = make_component(x, dir, prefix + at, prefix, links, e);
		close(dir);
		dir = next;
		at += n + 1;
	}
	return dir;
}

/* The directory that path is in; it stays open for the next entry, which is mostly a neighbour. */
static int enter_parent(struct extract *x, const char *path, const char **name, struct err *e)
{
	const char *slash = strrchr(path, '/');
	size_t n = slash ? (size_t)(slash - path) : 0;
	*name = slash ? slash + 1 : path;
	if (x->parent_fd >= 0 && !x->parent_stale && !strncmp(x->parent, path, n) && !x->parent[n])
		return x->parent_fd;
	char parent[TAR_NAME_MAX + 1];
	snprintf(parent, sizeof(parent), "%.*s", (int)n, path);
	forget_parent(x);
	int links = 0, fd = make_dir(x, parent, &links, e);
	if (fd < 0)
		return fd;
	struct stat st;
	if (fstat(fd, &st) < 0) {
		close(fd);
		return err_sys(e, "stat %s", parent);
	}
	memcpy(x->parent, parent, n + 1);
	x->parent_setgid = st.st_mode & S_ISGID;
	x->parent_stale = false;
	x->parent_fd = fd;
	return fd;
}

/* -- one entry -- */

/* Something is at name already: clear the way.  1: it may stay (a directory over a directory);
 * *was_whiteout tells what had been there. */
static int make_way(struct extract *x, int dir, const char *name, bool want_dir, bool *was_whiteout,
		    struct err *e)
{
	struct stat st;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_sys(e, "stat %s", name);
	if (want_dir && S_ISDIR(st.st_mode))
		return 1;
	*was_whiteout = S_ISCHR(st.st_mode) && st.st_rdev == 0;
	int ret = file_remove_tree(dir, name, e);
	if (S_ISDIR(st.st_mode) || S_ISLNK(st.st_mode))
		x->parent_stale = true;
	return ret;
}

static int set_xattrs(int fd, const struct tar_entry *t, struct err *e)
{
	for (size_t i = 0; i < t->n_xattrs; i++) {
		const struct tar_xattr *a = &t->xattrs[i];
		/* These are overlayfs's own words: an image must not speak them. */
		if (!strncmp(a->name, "trusted.", 8) || !strncmp(a->name, "user.overlay.", 13))
			continue;
		if (fsetxattr(fd, a->name, a->value, a->len, 0) == 0)
			continue;
		/* Labels of the machine that built it, or a file system without any. */
		if (errno == ENOTSUP || (errno == EPERM && strcmp(a->name, "security.capability")))
			continue;
		return err_sys(e, "%s: set %s", t->name, a->name);
	}
	return 0;
}

/* Owner first: chown clears setuid and capabilities. */
static int set_attributes(struct extract *x, int fd, const struct tar_entry *t, bool new_one,
			  struct err *e)
{
	bool chowned = t->uid || t->gid || x->parent_setgid || !new_one;
	if (chowned && fchown(fd, t->uid, t->gid) < 0)
		return err_sys(e, "%s: change owner", t->name);
	if ((chowned || t->mode & 07000) && fchmod(fd, t->mode) < 0)
		return err_sys(e, "%s: change mode", t->name);
	return set_xattrs(fd, t, e);
}

static int begin_file(struct extract *x, const struct tar_entry *t, int dir, const char *name,
		      struct err *e)
{
	int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	bool whiteout;
	int fd = openat(dir, name, flags, t->mode & 0777);
	if (fd < 0 && errno == EEXIST) {
		int ret = make_way(x, dir, name, false, &whiteout, e);
		if (ret < 0)
			return ret;
		fd = openat(dir, name, flags, t->mode & 0777);
	}
	if (fd < 0)
		return err_sys(e, "%s: create", t->name);
	x->file = fd;
	x->file_bytes = x->file_synced = 0;
	x->file_entry = t;
	/* It may end in a hole. */
	if (t->sparse && ftruncate(fd, (off_t)t->size) < 0)
		return err_sys(e, "%s: set size", t->name);
	return 0;
}

static void remember_dir(struct extract *x, const char *path, struct timespec mtime)
{
	if (!(x->n_dirs & (x->n_dirs - 1))) {
		size_t cap = x->n_dirs ? x->n_dirs * 2 : 1;
		x->dirs = realloc(x->dirs, cap * sizeof(*x->dirs));
		if (!x->dirs)
			abort();
	}
	x->dirs[x->n_dirs++] = (struct dir_time){ x->paths.len, mtime };
	list_path(&x->paths, path);
}

static int put_dir(struct extract *x, const struct tar_entry *t, int dir, const char *name,
		   const char *path, struct err *e)
{
	bool whiteout = false, made = true;
	if (mkdirat(dir, name, t->mode & 0777) < 0) {
		if (errno != EEXIST)
			return err_sys(e, "%s: make directory", t->name);
		int ret = make_way(x, dir, name, true, &whiteout, e);
		if (ret < 0)
			return ret;
		made = ret == 0;
		if (made && mkdirat(dir, name, t->mode & 0777) < 0)
			return err_sys(e, "%s: make directory", t->name);
	}
	if (made)
		count_inode(x, UNIT);
	if (whiteout)
		list_path(&x->result.opaque, path);
	auto_close int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "%s: open", t->name);
	remember_dir(x, path, t->mtime);
	note_described(x, path);
	return set_attributes(x, fd, t, made, e);
}

static int put_root(struct extract *x, const struct tar_entry *t, struct err *e)
{
	if (t->type != TAR_DIR)
		return err_set(e, EBADMSG, "%s: the root of a layer must be a directory", t->name);
	int fd = file_open_in_root(x->root, "", O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return err_set(e, -fd, "open the root of the layer: %s", strerror(-fd));
	remember_dir(x, "", t->mtime);
	int ret = set_attributes(x, fd, t, false, e);
	close(fd);
	return ret;
}

static int put_hardlink(struct extract *x, const struct tar_entry *t, int dir, const char *name,
			struct err *e)
{
	char clean[TAR_NAME_MAX + 1], above[TAR_NAME_MAX + 1];
	int ret = extract_clean_name(t->link, clean, e);
	if (ret < 0)
		return ret;
	if (!*clean)
		return err_set(e, EBADMSG, "%s: a hard link to the root", t->name);
	const char *slash = strrchr(clean, '/'), *target = slash ? slash + 1 : clean;
	snprintf(above, sizeof(above), "%.*s", slash ? (int)(slash - clean) : 0, clean);
	auto_close int from = file_open_in_root(x->root, above, O_PATH | O_DIRECTORY);
	struct stat st, old;
	if (from < 0 || fstatat(from, target, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_set(e, EBADMSG, "%s: its hard link target %s is not in this layer",
			       t->name, t->link);
	if (S_ISDIR(st.st_mode))
		return err_set(e, EBADMSG, "%s: a hard link to a directory", t->name);
	if (linkat(from, target, dir, name, 0) == 0)
		return 0;
	if (errno != EEXIST)
		return err_sys(e, "%s: link to %s", t->name, t->link);
	if (fstatat(dir, name, &old, AT_SYMLINK_NOFOLLOW) == 0 && old.st_ino == st.st_ino &&
	    old.st_dev == st.st_dev)
		return 0;
	bool whiteout;
	ret = make_way(x, dir, name, false, &whiteout, e);
	if (ret == 0 && linkat(from, target, dir, name, 0) < 0)
		return err_sys(e, "%s: link to %s", t->name, t->link);
	return ret;
}

static int make_node(const struct tar_entry *t, int dir, const char *name)
{
	dev_t dev = makedev(t->major, t->minor);
	switch (t->type) {
	case TAR_SYMLINK:
		return symlinkat(t->link, dir, name);
	case TAR_CHAR:
		return mknodat(dir, name, S_IFCHR | (t->mode & 0777), dev);
	case TAR_BLOCK:
		return mknodat(dir, name, S_IFBLK | (t->mode & 0777), dev);
	default:
		return mknodat(dir, name, S_IFIFO | (t->mode & 0777), 0);
	}
}

static int put_node(struct extract *x, const struct tar_entry *t, int dir, const char *name,
		    struct err *e)
{
	bool whiteout;
	if (t->type == TAR_SYMLINK && !*t->link)
		return err_set(e, EBADMSG, "%s: a symbolic link to nothing", t->name);
	if (make_node(t, dir, name) < 0) {
		if (errno != EEXIST)
			return err_sys(e, "%s: create", t->name);
		int ret = make_way(x, dir, name, false, &whiteout, e);
		if (ret < 0)
			return ret;
		if (make_node(t, dir, name) < 0)
			return err_sys(e, "%s: create", t->name);
	}
	count_inode(x, 0);
	bool chowned = t->uid || t->gid || x->parent_setgid;
	if (chowned && fchownat(dir, name, t->uid, t->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "%s: change owner", t->name);
	/* It was just made by us and no symlink: nothing to be followed. */
	if (t->type != TAR_SYMLINK && (chowned || t->mode & 07000) &&
	    fchmodat(dir, name, t->mode, 0) < 0)
		return err_sys(e, "%s: change mode", t->name);
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, t->mtime };
	if (utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "%s: set times", t->name);
	return 0;
}

/* ".wh.x": hide x of the layers below.  What this layer itself has at x hides it already, save that
 * a directory would be merged. */
static int put_whiteout(struct extract *x, const struct tar_entry *t, int dir, const char *hidden,
			const char *path, struct err *e)
{
	struct stat st;
	if (!*hidden || !strcmp(hidden, ".") || !strcmp(hidden, ".."))
		return err_set(e, EBADMSG, "%s: a whiteout of nothing", t->name);
	if (mknodat(dir, hidden, S_IFCHR, makedev(0, 0)) == 0) {
		count_inode(x, 0);
		return 0;
	}
	if (errno != EEXIST || fstatat(dir, hidden, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "%s: make whiteout", t->name);
	if (S_ISDIR(st.st_mode)) {
		const char *slash = strrchr(path, '/');
		char whole[TAR_NAME_MAX + 1];
		snprintf(whole, sizeof(whole), "%.*s%s", slash ? (int)(slash - path) + 1 : 0, path,
			 hidden);
		list_path(&x->result.opaque, whole);
	}
	return 0;
}

static int put_special_name(struct extract *x, const struct tar_entry *t, int dir, const char *name,
			    const char *path, struct err *e)
{
	if (!strcmp(name, opaque_marker)) {
		list_path(&x->result.opaque, x->parent);
		return 0;
	}
	if (!strncmp(name, ".wh..wh.", 8))
		return 0;	/* bookkeeping of aufs */
	return put_whiteout(x, t, dir, name + sizeof(whiteout_prefix) - 1, path, e);
}

static int handle_entry(void *data, const struct tar_entry *t, struct err *e)
{
	struct extract *x = data;
	char path[TAR_NAME_MAX + 1];
	const char *name;
	if (++x->entries > x->limits.entries)
		return err_set(e, EFBIG, "more than %llu entries",
			       (unsigned long long)x->limits.entries);
	int ret = extract_clean_name(t->name, path, e);
	if (ret < 0)
		return ret;
	if (!*path)
		return put_root(x, t, e);
	int dir = enter_parent(x, path, &name, e);
	if (dir < 0)
		return dir;
	if (!strncmp(name, whiteout_prefix, sizeof(whiteout_prefix) - 1))
		return put_special_name(x, t, dir, name, path, e);
	switch (t->type) {
	case TAR_FILE:
		return begin_file(x, t, dir, name, e);
	case TAR_DIR:
		return put_dir(x, t, dir, name, path, e);
	case TAR_HARDLINK:
		return put_hardlink(x, t, dir, name, e);
	default:
		return put_node(x, t, dir, name, e);
	}
}

static int handle_content(void *data, uint64_t offset, const void *bytes, size_t n, struct err *e)
{
	struct extract *x = data;
	const char *p = bytes;
	if (x->file < 0)
		return 0;	/* content of a whiteout: meaningless */
	x->content += n;
	if (x->content > x->limits.bytes)
		return err_set(e, ENOSPC, "the layer expands to more than %llu bytes",
			       (unsigned long long)x->limits.bytes);
	x->file_bytes += n;
	while (n) {
		ssize_t done = pwrite(x->file, p, n, (off_t)offset);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return err_sys(e, "write a file");
		p += done;
		n -= (size_t)done;
		offset += (uint64_t)done;
	}
	/* Let the disk begin early: the sync at the end then has little left to do. */
	if (x->file_bytes - x->file_synced >= SYNC_CHUNK) {
		sync_file_range(x->file, 0, 0, SYNC_FILE_RANGE_WRITE);
		x->file_synced = x->file_bytes;
	}
	return 0;
}

static int handle_end(void *data, struct err *e)
{
	struct extract *x = data;
	if (x->file < 0)
		return 0;
	const struct tar_entry *t = x->file_entry;
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, t->mtime };
	/* Only now: a write takes capabilities away. */
	int ret = set_attributes(x, x->file, t, true, e);
	if (ret == 0 && futimens(x->file, times) < 0)
		ret = err_sys(e, "%s: set times", t->name);
	count_inode(x, x->file_bytes);
	if (close(x->file) < 0 && ret == 0)
		ret = err_sys(e, "%s: close", t->name);
	x->file = -1;
	return ret;
}

const struct tar_sink extract_sink = {
	.entry = handle_entry,
	.content = handle_content,
	.end = handle_end,
};

int extract_end(struct extract *x, struct extract_result *out, struct err *e)
{
	for (size_t i = x->n_dirs; i-- > 0;) {
		/* It may have been replaced since: then its time is nobody's. */
		int fd = file_open_in_root(x->root, x->paths.data + x->dirs[i].path,
					   O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
		if (fd < 0)
			continue;
		struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, x->dirs[i].mtime };
		int ret = futimens(fd, times) < 0 ? err_sys(e, "set times of a directory") : 0;
		close(fd);
		if (ret < 0)
			return ret;
	}
	for (size_t i = 0; i < x->implied.cap; i++)
		for (struct map_node *n = x->implied.buckets[i]; n; n = n->next)
			list_path(&x->result.implied, n->key);
	*out = x->result;
	x->result = (struct extract_result){ 0 };
	return 0;
}

void extract_free(struct extract *x)
{
	if (!x)
		return;
	forget_parent(x);
	if (x->file >= 0)
		close(x->file);
	for (size_t i = 0; i < x->implied.cap; i++)
		while (x->implied.buckets[i])
			note_described(x, x->implied.buckets[i]->key);
	map_free(&x->implied);
	free(x->dirs);
	buf_free(&x->paths);
	buf_free(&x->result.opaque);
	buf_free(&x->result.implied);
	free(x);
}

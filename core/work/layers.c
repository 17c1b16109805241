/*
 * An image's layers, merged by hand.
 *
 * A merged directory is the stack of the layers' directories that make it, topmost first; its
 * children are looked up from top to bottom.  Every component is opened by itself with
 * O_NOFOLLOW, and symlinks are followed by this code only, so that a hostile layer can point
 * nowhere but into the image.
 */
#include "core/work/layers.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/idmap.h"
#include "core/base/pool.h"

/* A path that takes more lookups than that is made to keep us busy. */
enum { MAX_LINKS = 40, MAX_LAYERS = 512, MAX_LOOKUPS = 16384 };

struct dir {
	int *fds;	/* room for all layers */
	size_t n;
};

struct layers {
	struct pool_res res;
	struct dir root;
	bool has_upper;
	struct idmap map;	/* of who is to see upper */
	unsigned lookups;	/* of the walk under way */
};

enum kind { ABSENT, DIRECTORY, REGULAR, LINK, OTHER };

/* What a name is: DIRECTORY fills dir, the others that exist leave the directory they lie in. */
struct found {
	enum kind kind;
	struct dir dir;
	int parent;	/* borrowed from the parent's stack */
};

static struct dir dir_new(size_t room)
{
	struct dir d = { malloc(room * sizeof(int)), 0 };
	if (!d.fds)
		abort();
	return d;
}

/* May be repeated. */
static void dir_close(struct dir *d)
{
	while (d->n)
		close(d->fds[--d->n]);
	free(d->fds);
	d->fds = NULL;
}

static int dir_dup(const struct dir *from, struct dir *to, struct err *e)
{
	*to = dir_new(from->n);
	for (size_t i = 0; i < from->n; i++) {
		int fd = fcntl(from->fds[i], F_DUPFD_CLOEXEC, 3);
		if (fd < 0) {
			int ret = err_sys(e, "dup a layer");
			dir_close(to);
			return ret;
		}
		to->fds[to->n++] = fd;
	}
	return 0;
}

static bool is_opaque(int fd)
{
	char value;
	return fgetxattr(fd, "trusted.overlay.opaque", &value, 1) == 1 && value == 'y';
}

static enum kind kind_of(const struct stat *st)
{
	if (S_ISDIR(st->st_mode))
		return DIRECTORY;
	if (S_ISREG(st->st_mode))
		return REGULAR;
	return S_ISLNK(st->st_mode) ? LINK : OTHER;
}

static int lookup(struct layers *l, const struct dir *in, const char *name, struct found *out, struct err *e)
{
	*out = (struct found){ .kind = ABSENT, .parent = -1 };
	if (++l->lookups > MAX_LOOKUPS)
		return err_set(e, ELOOP, "\"%.200s\" in the image: the way there is too long", name);
	for (size_t i = 0; i < in->n; i++) {
		struct stat st;
		if (fstatat(in->fds[i], name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
			if (errno == ENOENT)
				continue;
			int ret = err_sys(e, "look up \"%.200s\" in the image", name);
			dir_close(&out->dir);
			return ret;
		}
		if (S_ISCHR(st.st_mode) && !st.st_rdev)	/* a whiteout */
			return 0;
		if (!S_ISDIR(st.st_mode)) {
			if (out->kind == ABSENT) {
				out->kind = kind_of(&st);
				out->parent = in->fds[i];
			}
			return 0;
		}
		if (out->kind == ABSENT)
			out->dir = dir_new(in->n - i);
		out->kind = DIRECTORY;
		int fd = openat(in->fds[i], name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0) {
			int ret = err_sys(e, "open \"%.200s\" in the image", name);
			dir_close(&out->dir);
			return ret;
		}
		out->dir.fds[out->dir.n++] = fd;
		if (i + 1 < in->n && is_opaque(fd))
			return 0;
	}
	return 0;
}

/* ---- walking a path ---- */

struct walk {
	struct layers *l;
	struct dir at;		/* the merged directory reached */
	char real[PATH_MAX];	/* its path: "" is the root */
	char rest[PATH_MAX];	/* what is still to be walked */
	unsigned links;
};

static int walk_root(struct walk *w, struct err *e)
{
	dir_close(&w->at);
	w->real[0] = '\0';
	return dir_dup(&w->l->root, &w->at, e);
}

static int walk_init(struct walk *w, struct layers *l, const char *path, struct err *e)
{
	*w = (struct walk){ .l = l };
	if (strlen(path) >= sizeof(w->rest))
		return err_set(e, ENAMETOOLONG, "\"%.200s...\": the path is too long", path);
	strcpy(w->rest, path);
	l->lookups = 0;
	return walk_root(w, e);
}

/* Take the next component of the rest into name; false at the end. */
static bool walk_next(struct walk *w, char name[NAME_MAX + 1], int *ret, struct err *e)
{
	char *at = w->rest + strspn(w->rest, "/");
	size_t n = strcspn(at, "/");
	*ret = 0;
	if (!n)
		return false;
	if (n > NAME_MAX) {
		*ret = err_set(e, ENAMETOOLONG, "\"%.100s...\": a name in the image is too long", at);
		return false;
	}
	memcpy(name, at, n);
	name[n] = '\0';
	memmove(w->rest, at + n, strlen(at + n) + 1);
	return true;
}

static int walk_enter(struct walk *w, const char *name, struct found *f, struct err *e)
{
	size_t n = strlen(w->real), len = strlen(name);
	if (n + 1 + len >= sizeof(w->real)) {
		dir_close(&f->dir);
		return err_set(e, ENAMETOOLONG, "\"%.200s...\": a path in the image is too long", w->real);
	}
	w->real[n] = '/';
	memcpy(w->real + n + 1, name, len + 1);
	dir_close(&w->at);
	w->at = f->dir;
	return 0;
}

/* "..": the parent is found by walking down to it, as it has no symlinks. */
static int walk_up(struct walk *w, struct err *e)
{
	char to[PATH_MAX];
	char *slash = strrchr(w->real, '/');
	if (!slash)
		return 0;
	snprintf(to, sizeof(to), "%.*s", (int)(slash - w->real), w->real);
	int ret = walk_root(w, e);
	for (char *save, *name = strtok_r(to, "/", &save); !ret && name; name = strtok_r(NULL, "/", &save)) {
		struct found f;
		ret = lookup(w->l, &w->at, name, &f, e);
		if (!ret && f.kind != DIRECTORY)
			ret = err_set(e, ENOENT, "\"%.200s\" in the image has gone", name);
		if (!ret)
			ret = walk_enter(w, name, &f, e);
	}
	return ret;
}

/* Put a symlink's target before the rest. */
static int walk_link(struct walk *w, int parent, const char *name, struct err *e)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(parent, name, target, sizeof(target) - 1);
	if (n < 0)
		return err_sys(e, "read symlink \"%s\" in the image", name);
	target[n] = '\0';
	size_t rest = strlen(w->rest);
	if (++w->links > MAX_LINKS)
		return err_set(e, ELOOP, "symlink \"%s\" in the image: too many of them", name);
	if ((size_t)n + 1 + rest >= sizeof(w->rest))
		return err_set(e, ENAMETOOLONG, "symlink \"%s\" in the image: its path is too long", name);
	memmove(w->rest + n + 1, w->rest, rest + 1);
	memcpy(w->rest, target, (size_t)n);
	w->rest[n] = '/';
	return target[0] == '/' ? walk_root(w, e) : 0;
}

/*
 * Walk until the path ends or leads to something that is no directory.  1: w->at is the path's;
 * 0: stopped at name, which is what *f says (not a directory); < 0: failed.
 */
static int walk_on(struct walk *w, char name[NAME_MAX + 1], struct found *f, struct err *e)
{
	int ret;
	while (walk_next(w, name, &ret, e)) {
		if (!strcmp(name, ".")) {
			continue;
		} else if (!strcmp(name, "..")) {
			ret = walk_up(w, e);
		} else {
			ret = lookup(w->l, &w->at, name, f, e);
			if (!ret && f->kind == DIRECTORY)
				ret = walk_enter(w, name, f, e);
			else if (!ret && f->kind == LINK)
				ret = walk_link(w, f->parent, name, e);
			else if (!ret)
				return 0;
		}
		if (ret < 0)
			return ret;
	}
	return ret < 0 ? ret : 1;
}

/* ---- what is offered ---- */

static void release_layers(struct pool_res *r)
{
	dir_close(&container_of(r, struct layers, res)->root);
}

static int add_root(struct layers *l, const char *path, struct err *e)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open layer \"%s\"", path);
	l->root.fds[l->root.n++] = fd;
	return 0;
}

int layers_open(struct pool *p, const char *upper, const char *const *dirs, size_t n, const struct idmap *map,
		struct layers **out, struct err *e)
{
	if (n >= MAX_LAYERS)
		return err_set(e, E2BIG, "%zu layers are more than %d", n, MAX_LAYERS - 1);
	struct layers *l = pool_new_struct(p, struct layers);
	l->has_upper = upper;
	if (map)
		l->map = *map;
	l->root = dir_new(n + 1);
	pool_res_add(p, &l->res, release_layers);
	int ret = upper ? add_root(l, upper, e) : 0;
	for (size_t i = n; !ret && i-- > 0;)
		ret = add_root(l, dirs[i], e);
	*out = l;
	return ret;
}

static int read_regular(int at, const char *name, size_t max, struct buf *out, struct err *e)
{
	auto_close int fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "open");
	if (st.st_size < 0 || (size_t)st.st_size > max)
		return err_set(e, EFBIG, "is longer than %zu bytes", max);
	for (size_t left = (size_t)st.st_size; left;) {
		ssize_t n = read(fd, buf_room(out, left), left);
		if (n < 0)
			return err_sys(e, "read");
		if (!n)
			break;
		out->len += (size_t)n;
		out->data[out->len] = '\0';
		left -= (size_t)n;
	}
	return 0;
}

int layers_read(struct layers *l, const char *path, size_t max, struct buf *out, struct err *e)
{
	struct walk w;
	struct found f;
	char name[NAME_MAX + 1];
	int ret = walk_init(&w, l, path, e);
	if (!ret)
		ret = walk_on(&w, name, &f, e);
	if (ret == 1)
		ret = err_set(e, EISDIR, "%s of the image is a directory", path);
	else if (!ret && (f.kind == ABSENT || w.rest[strspn(w.rest, "/")]))
		ret = err_set(e, ENOENT, "the image has no %s", path);
	else if (!ret && f.kind == OTHER)
		ret = err_set(e, EINVAL, "%s of the image is no regular file", path);
	else if (!ret)
		ret = err_wrap(e, read_regular(f.parent, name, max, out, e), "%s of the image", path);
	dir_close(&w.at);
	return ret;
}

/* Make name in the upper layer's directory, with the owner and mode of one in the image. */
static int make_dir(struct layers *l, int at, const char *name, const struct stat *st, struct err *e)
{
	uint32_t uid, gid;
	if (mkdirat(at, name, 0755) < 0)
		return errno == EEXIST ? 0 : err_sys(e, "make directory \"%s\"", name);
	if (!idmap_uid(&l->map, st->st_uid, &uid) || !idmap_gid(&l->map, st->st_gid, &gid))
		return err_set(e, EINVAL, "directory \"%s\" belongs to %u:%u, which the user namespace does not have",
			       name, st->st_uid, st->st_gid);
	if (fchownat(at, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchmodat(at, name, st->st_mode & 07777, 0) < 0)
		return err_sys(e, "give directory \"%s\" its owner and mode", name);
	return 0;
}

static int step_into(int *fd, const char *name, struct err *e)
{
	int next = openat(*fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (next < 0)
		return err_sys(e, "open directory \"%s\"", name);
	close(*fd);
	*fd = next;
	return 0;
}

/* Copy the chain of directories real up to the upper layer; *fd: the last one, there. */
static int copy_up(struct layers *l, const char *real, int *fd, struct err *e)
{
	struct walk w;
	char chain[PATH_MAX];
	*fd = fcntl(l->root.fds[0], F_DUPFD_CLOEXEC, 3);
	if (*fd < 0)
		return err_sys(e, "dup the upper layer");
	strcpy(chain, real);
	int ret = walk_init(&w, l, "", e);
	for (char *save, *name = strtok_r(chain, "/", &save); !ret && name; name = strtok_r(NULL, "/", &save)) {
		struct found f;
		struct stat st;
		ret = lookup(l, &w.at, name, &f, e);
		if (!ret && f.kind != DIRECTORY)
			ret = err_set(e, ENOTDIR, "\"%s\" in the image", name);
		if (!ret)
			ret = walk_enter(&w, name, &f, e);
		if (!ret && fstat(w.at.fds[0], &st) < 0)
			ret = err_sys(e, "stat \"%s\" in the image", name);
		if (!ret)
			ret = make_dir(l, *fd, name, &st, e);
		if (!ret)
			ret = step_into(fd, name, e);
	}
	dir_close(&w.at);
	return ret;
}

/* Make name and the rest of the walk below w->real, in the upper layer. */
static int make_rest(struct walk *w, char name[NAME_MAX + 1], struct err *e)
{
	auto_close int fd = -1;
	const struct stat fresh = { .st_mode = S_IFDIR | 0755 };
	if (!w->l->has_upper)
		return err_set(e, EROFS, "the image has no \"%s/%s\"", w->real, name);
	int ret = copy_up(w->l, w->real, &fd, e);
	do {
		size_t n = strlen(w->real);
		if (!ret && !strcmp(name, ".."))
			ret = err_set(e, EINVAL, "\"..\" below what is not there");
		if (ret < 0 || !strcmp(name, "."))
			continue;
		if (n + 1 + strlen(name) >= sizeof(w->real))
			ret = err_set(e, ENAMETOOLONG, "\"%.200s...\": the path is too long", w->real);
		if (!ret)
			ret = make_dir(w->l, fd, name, &fresh, e);
		if (!ret)
			ret = step_into(&fd, name, e);
		if (!ret)
			snprintf(w->real + n, sizeof(w->real) - n, "/%s", name);
	} while (!ret && walk_next(w, name, &ret, e));
	return ret;
}

int layers_mkdir(struct layers *l, struct pool *p, const char *path, const char **real, struct err *e)
{
	struct walk w;
	struct found f;
	char name[NAME_MAX + 1];
	int ret = walk_init(&w, l, path, e);
	if (!ret)
		ret = walk_on(&w, name, &f, e);
	if (!ret && f.kind != ABSENT)
		ret = err_set(e, ENOTDIR, "\"%s/%s\" of the image is no directory", w.real, name);
	else if (!ret)
		ret = make_rest(&w, name, e);
	dir_close(&w.at);
	*real = pool_strdup(p, w.real[0] ? w.real : "/");
	return ret < 0 ? err_wrap(e, ret, "directory \"%s\"", path) : 0;
}

/* Records on disk: see the header. */
#include "core/store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/file.h"
#include "core/base/pool.h"

enum { FILE_MAX = 16 << 20 };

struct store {
	const char *state;
	int dirs[STORE_KINDS];
	int aside;
};

static const char *const kind_dirs[STORE_KINDS] = {
	[STORE_POD] = "pods",
	[STORE_CONTAINER] = "containers",
};

static int open_dir(struct pool *p, const char *path, int *fd, struct err *e)
{
	int ret = file_mkdirs(path, 0711, e);
	if (ret < 0)
		return ret;
	*fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*fd < 0)
		return err_sys(e, "open %s", path);
	pool_fd(p, *fd);
	return 0;
}

/* A reboot voids every record: their processes, namespaces and mounts are gone. */
static int void_other_boot(struct pool *p, const char *state, struct err *e)
{
	struct buf now = { 0 }, was = { 0 };
	struct err none = { 0 };
	const char *path = pool_printf(p, "%s/boot_id", state);
	int ret = file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &now, e);
	bool known = ret == 0 && file_read(AT_FDCWD, path, 64, &was, &none) == 0 && was.len;
	bool same = known && !strcmp(now.data, was.data);
	for (int k = 0; k < STORE_KINDS && ret == 0 && known && !same; k++)
		ret = file_remove_tree(AT_FDCWD, pool_printf(p, "%s/%s", state, kind_dirs[k]), e);
	/* One that is right is not written anew: a core must start on a full disk as well. */
	if (ret == 0 && !same)
		ret = file_replace(AT_FDCWD, path, now.data, now.len, 0600, e);
	buf_free(&now);
	buf_free(&was);
	return ret;
}

int store_open(struct pool *p, const char *state, struct store **out, struct err *e)
{
	struct store *s = pool_new_struct(p, struct store);
	s->state = pool_strdup(p, state);
	int void_ret = void_other_boot(p, state, e);
	if (void_ret < 0)
		return void_ret;
	for (int k = 0; k < STORE_KINDS; k++) {
		int ret = open_dir(p, pool_printf(p, "%s/%s", state, kind_dirs[k]), &s->dirs[k], e);
		if (ret < 0)
			return ret;
	}
	*out = s;
	return open_dir(p, pool_printf(p, "%s/aside", state), &s->aside, e);
}

char *store_dir(struct pool *p, const struct store *s, enum store_kind kind, const char *id)
{
	return pool_printf(p, "%s/%s/%s", s->state, kind_dirs[kind], id);
}

int store_make(struct store *s, enum store_kind kind, const char *id, struct err *e)
{
	if (mkdirat(s->dirs[kind], id, 0711) < 0)
		return err_sys(e, "make record %s/%s", kind_dirs[kind], id);
	return 0;
}

static int path_of(char out[PATH_MAX], const char *id, const char *file, struct err *e)
{
	if (snprintf(out, PATH_MAX, "%s/%s", id, file) >= PATH_MAX)
		return err_set(e, ENAMETOOLONG, "record %s: name too long", id);
	return 0;
}

int store_write(struct store *s, enum store_kind kind, const char *id, const char *file,
		const void *data, size_t len, struct err *e)
{
	char path[PATH_MAX];
	int ret = path_of(path, id, file, e);
	if (ret == 0)
		ret = file_replace(s->dirs[kind], path, data, len, 0600, e);
	return err_wrap(e, ret, "save %s", kind_dirs[kind]);
}

int store_read(struct store *s, enum store_kind kind, const char *id, const char *file,
	       struct buf *out, struct err *e)
{
	char path[PATH_MAX];
	int ret = path_of(path, id, file, e);
	if (ret == 0)
		ret = file_read(s->dirs[kind], path, FILE_MAX, out, e);
	return err_wrap(e, ret, "load %s", kind_dirs[kind]);
}

int store_remove(struct store *s, enum store_kind kind, const char *id, struct err *e)
{
	return file_remove_tree(s->dirs[kind], id, e);
}

int store_set_aside(struct store *s, enum store_kind kind, const char *id, struct err *e)
{
	if (renameat(s->dirs[kind], id, s->aside, id) < 0)
		return err_sys(e, "set record %s aside", id);
	return 0;
}

static int list_dir(struct pool *p, int dir, const char *what, const char ***ids, struct err *e)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d)
		return err_sys(e, "list %s", what);
	size_t n = 0, cap = 16;
	const char **list = pool_alloc(p, cap * sizeof(*list));
	struct dirent *ent;
	while ((ent = readdir(d))) {
		if (ent->d_name[0] == '.')
			continue;
		if (n + 1 == cap) {
			const char **more = pool_alloc(p, 2 * cap * sizeof(*list));
			memcpy(more, list, n * sizeof(*list));
			list = more;
			cap *= 2;
		}
		list[n++] = pool_strdup(p, ent->d_name);
	}
	list[n] = NULL;
	*ids = list;
	return 0;
}

int store_list(struct pool *p, struct store *s, enum store_kind kind, const char ***ids, struct err *e)
{
	return list_dir(p, s->dirs[kind], kind_dirs[kind], ids, e);
}

int store_asides(struct pool *p, struct store *s, const char ***ids, struct err *e)
{
	return list_dir(p, s->aside, "aside", ids, e);
}

/*
 * Devices, found by walking directories.  A path of the same name that comes later is left out:
 * what was asked for by name stands before what "all" brings.
 */
#include "core/work/devices.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "core/base/file.h"
#include "core/base/pool.h"
#include "core/base/utf8.h"

enum { MAX_DEVICES = 8192, MAX_DEPTH = 16 };

static bool is_device(const struct stat *st)
{
	return S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode);
}

static bool has_path(const struct devices *d, const char *path)
{
	for (size_t i = 0; i < d->n; i++)
		if (!strcmp(d->at[i].path, path))
			return true;
	return false;
}

static int append(struct devices *d, const struct stat *st, const char *target, const char *access, struct err *e)
{
	if (has_path(d, target))
		return 0;
	if (utf8_valid(target, strlen(target)) != strlen(target))
		return err_set(e, EINVAL, "a device's path is not UTF-8, which an OCI configuration can't carry");
	if (d->n == MAX_DEVICES)
		return err_set(e, E2BIG, "more than %d devices", MAX_DEVICES);
	if (d->n == d->room) {
		size_t room = d->room ? d->room * 2 : 32;
		struct device *more = pool_alloc(d->pool, room * sizeof(*more));
		if (d->n)
			memcpy(more, d->at, d->n * sizeof(*more));
		d->at = more;
		d->room = room;
	}
	d->at[d->n++] = (struct device){
		.path = pool_strdup(d->pool, target),
		.type = S_ISCHR(st->st_mode) ? 'c' : 'b',
		.major = major(st->st_rdev),
		.minor = minor(st->st_rdev),
		.mode = st->st_mode & 07777,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.access = access,
	};
	return 0;
}

/* Names in /dev that are no devices of the host's or that every container gets of its own. */
static bool is_private(const char *name)
{
	static const char *const names[] = { "pts", "shm", "fd", "mqueue", "hugepages", ".lxc", ".lxd-mounts",
					     ".udev", "console", "null", "zero", "full", "random", "urandom",
					     "tty", "ptmx", "core", "stdin", "stdout", "stderr" };
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

/* Symlinks are not followed: what they lead to is found by itself. */
static int walk(struct devices *d, int at, const char *name, const char *target, const char *access, bool all,
		int depth, struct err *e)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	auto_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return err_sys(e, "open directory %s", name);
	if (depth > MAX_DEPTH)
		return err_set(e, ELOOP, "directory %s: too deep", name);
	int ret = 0;
	for (struct dirent *de; !ret && (de = readdir(dir));) {
		char path[PATH_MAX];
		struct stat st;
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, "..") || (all && !depth && is_private(de->d_name)))
			continue;
		if (fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;	/* unplugged meanwhile */
		if ((size_t)snprintf(path, sizeof(path), "%s/%s", target, de->d_name) >= sizeof(path))
			continue;
		if (is_device(&st))
			ret = append(d, &st, path, access, e);
		else if (S_ISDIR(st.st_mode))
			ret = walk(d, fd, de->d_name, path, access, all, depth + 1, e);
	}
	return ret;
}

int devices_add(struct devices *d, const char *source, const char *target, const char *access, struct err *e)
{
	struct stat st;
	auto_free char *real = realpath(source, NULL);
	if (!real || stat(real, &st) < 0)
		return err_sys(e, "resolve");
	if (S_ISDIR(st.st_mode))
		return walk(d, AT_FDCWD, real, target, access, false, 0, e);
	if (!is_device(&st))
		return err_set(e, EINVAL, "is no device");
	return append(d, &st, target, access, e);
}

int devices_add_all(struct devices *d, struct err *e)
{
	return walk(d, AT_FDCWD, "/dev", "/dev", "rwm", true, 0, e);
}

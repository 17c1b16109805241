/* Small files, fds, clocks, ids: see the header. */
#include "core/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "core/base/buf.h"

enum { IN_ROOT_TRIES_MAX = 10000 };

int file_read(int dirfd, const char *path, size_t max, struct buf *out, struct err *e)
{
	auto_close int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open %s", path);
	size_t start = out->len;
	for (;;) {
		ssize_t n = read(fd, buf_room(out, 4096), 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read %s", path);
		out->len += (size_t)n;
		out->data[out->len] = 0;
		if (!n)
			return 0;
		if (out->len - start > max)
			return err_set(e, EFBIG, "read %s: more than %zu bytes", path, max);
	}
}

int file_write_all(int fd, const void *data, size_t len)
{
	const char *p = data;
	while (len) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int file_replace(int dirfd, const char *path, const void *data, size_t len, mode_t mode, struct err *e)
{
	char tmp[PATH_MAX];
	if (snprintf(tmp, sizeof(tmp), "%s.tmp", path) >= (int)sizeof(tmp))
		return err_set(e, ENAMETOOLONG, "write %s: name too long", path);
	auto_close int fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return err_sys(e, "create %s", tmp);
	int ret = file_write_all(fd, data, len);
	if (ret < 0) {
		unlinkat(dirfd, tmp, 0);
		return err_set(e, -ret, "write %s: %s", tmp, strerror(-ret));
	}
	if (renameat(dirfd, tmp, dirfd, path) < 0)
		return err_sys(e, "rename %s", tmp);
	return 0;
}

int file_poke(int dirfd, const char *path, const char *text, struct err *e)
{
	auto_close int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open %s", path);
	if (write(fd, text, strlen(text)) < 0)
		return err_sys(e, "write \"%s\" to %s", text, path);
	return 0;
}

int file_mkdirs(const char *path, mode_t mode, struct err *e)
{
	char part[PATH_MAX];
	size_t len = strlen(path);
	if (len >= sizeof(part))
		return err_set(e, ENAMETOOLONG, "mkdir %s: name too long", path);
	memcpy(part, path, len + 1);
	for (char *p = part + 1;; p++) {
		if (*p && *p != '/')
			continue;
		char was = *p;
		*p = 0;
		if (mkdir(part, mode) < 0 && errno != EEXIST)
			return err_sys(e, "mkdir %s", part);
		*p = was;
		if (!was)
			return 0;
	}
}

static int remove_dir(int dirfd, const char *name, dev_t dev, struct err *e)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open %s", name);
	auto_closedir DIR *d = fdopendir(fd);
	if (!d)
		return err_sys(e, "open %s", name);
	struct dirent *ent;
	while ((ent = readdir(d))) {
		if (!strcmp(ent->d_name, ".") || !strcmp(ent->d_name, ".."))
			continue;
		if (unlinkat(fd, ent->d_name, 0) == 0 || errno == ENOENT)
			continue;
		if (errno != EISDIR && errno != EPERM)
			return err_sys(e, "remove %s", ent->d_name);
		struct stat st;
		if (fstatat(fd, ent->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return err_sys(e, "stat %s", ent->d_name);
		if (!S_ISDIR(st.st_mode))
			return err_set(e, EPERM, "remove %s: not permitted", ent->d_name);
		if (st.st_dev != dev)
			return err_set(e, EXDEV, "remove %s: a mount is in the way", ent->d_name);
		int ret = remove_dir(fd, ent->d_name, dev, e);
		if (ret < 0)
			return ret;
		if (unlinkat(fd, ent->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT)
			return err_sys(e, "remove %s", ent->d_name);
	}
	return 0;
}

int file_remove_tree(int dirfd, const char *name, struct err *e)
{
	struct stat st;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_sys(e, "stat %s", name);
	if (!S_ISDIR(st.st_mode)) {
		if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
			return err_sys(e, "remove %s", name);
		return 0;
	}
	int ret = remove_dir(dirfd, name, st.st_dev, e);
	if (ret < 0)
		return ret;
	if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_sys(e, "remove %s", name);
	return 0;
}

int fd_set_cloexec(int fd, int on)
{
	return fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) < 0 ? -errno : 0;
}

int fd_set_nonblock(int fd)
{
	int fl = fcntl(fd, F_GETFL);
	return fl < 0 || fcntl(fd, F_SETFL, fl | O_NONBLOCK) < 0 ? -errno : 0;
}

static int64_t clock_ns(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t clock_real_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

int64_t clock_mono_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

void random_id(char out[65])
{
	unsigned char raw[32];
	if (getrandom(raw, sizeof(raw), 0) != sizeof(raw))
		abort();
	for (int i = 0; i < 32; i++)
		snprintf(out + 2 * i, 3, "%02x", raw[i]);
}

int file_open_in_root(int root, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC),
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int fd, tries = 0;
	do
		fd = (int)syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof(how));
	while (fd < 0 && errno == EAGAIN && ++tries < IN_ROOT_TRIES_MAX);
	return fd < 0 ? -errno : fd;
}

/*
 * Overlay by the new mount API where it takes layers one by one (lowerdir+, Linux 6.8).  Else
 * by mount(2), whose options must fit a page: there the folders are named by fd, relative to
 * /proc/self/fd, a few bytes each whatever their path.
 */
#include "core/work/overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"

enum { LAYERS_MAX = 500, FSCONFIG_STRING_MAX = 255 };

struct layers {
	char *text, *at[LAYERS_MAX];
	int n;
};

static int split(const char *lowers, struct layers *l, struct err *e)
{
	l->text = strdup(lowers);
	if (!l->text)
		abort();
	char *save = NULL;
	for (char *s = strtok_r(l->text, ":", &save); s; s = strtok_r(NULL, ":", &save)) {
		if (l->n == LAYERS_MAX)
			return err_set(e, E2BIG, "mount the rootfs: more than %d layers",
				       LAYERS_MAX);
		l->at[l->n++] = s;
	}
	return l->n ? 0 : err_set(e, EINVAL, "mount the rootfs: no layers");
}

/* What the last mount of these folders has left: volatile data can't be mounted twice unless
 * its mark goes.  It is of this boot: others are swept at start. */
static void forget_volatile(const char *work)
{
	char path[PATH_MAX];
	if (snprintf(path, sizeof(path), "%s/work/incompat", work) < (int)sizeof(path))
		file_remove_tree(AT_FDCWD, path, NULL);
}

static int set_string(int fs, const char *key, const char *value)
{
	if (strlen(value) > FSCONFIG_STRING_MAX) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0);
}

/* The kernel's own words about the last failure, if it has any. */
static int explain(int fs, const char *what, struct err *e)
{
	int code = errno;
	char text[256];
	ssize_t n = read(fs, text, sizeof(text) - 1);
	if (n <= 0)
		return err_set(e, code, "mount the rootfs: %s: %s", what, strerror(code));
	text[n] = 0;
	text[strcspn(text, "\n")] = 0;
	return err_set(e, code, "mount the rootfs: %s: %s (%s)", what, strerror(code), text);
}

/* 1: this kernel, or a path that is too long, wants mount(2). */
static int mount_by_fs(const char *target, const struct layers *l, const char *upper,
		       const char *work, struct err *e)
{
	auto_close int fs = fsopen("overlay", FSOPEN_CLOEXEC);
	if (fs < 0)
		return 1;
	if (set_string(fs, "source", "crisp") < 0)
		return 1;
	for (int i = 0; i < l->n; i++) {
		if (set_string(fs, "lowerdir+", l->at[i]) == 0)
			continue;
		if (i == 0 && errno == EINVAL)
			return 1;
		return errno == ENAMETOOLONG ? 1 : explain(fs, l->at[i], e);
	}
	if (*upper &&
	    (set_string(fs, "upperdir", upper) < 0 || set_string(fs, "workdir", work) < 0))
		return errno == ENAMETOOLONG ? 1 : explain(fs, upper, e);
	if (*upper && fsconfig(fs, FSCONFIG_SET_FLAG, "volatile", NULL, 0) < 0)
		return explain(fs, "volatile", e);
	if (set_string(fs, "index", "off") < 0)
		return explain(fs, "index=off", e);
	/* An overlay of before 6.5 takes any word and stumbles here; mount(2) has words for the rest. */
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return errno == EINVAL ? 1 : explain(fs, "overlay", e);
	auto_close int mnt = fsmount(fs, FSMOUNT_CLOEXEC, *upper ? 0 : MOUNT_ATTR_RDONLY);
	if (mnt < 0)
		return explain(fs, "overlay", e);
	if (move_mount(mnt, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_sys(e, "mount the rootfs on %s", target);
	return 0;
}

static int add_folder(struct buf *options, const char *before, const char *path, struct err *e)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "mount the rootfs: open %s", path);
	buf_printf(options, "%s%d", before, fd);
	return 0;
}

static int mount_by_numbers(const char *target, const struct layers *l, const char *upper,
			    const char *work, struct err *e)
{
	struct buf options = { 0 };
	int ret = 0;
	for (int i = 0; i < l->n && ret == 0; i++)
		ret = add_folder(&options, i ? ":" : "index=off,lowerdir=", l->at[i], e);
	if (ret == 0 && *upper)
		ret = add_folder(&options, ",upperdir=", upper, e);
	if (ret == 0 && *upper)
		ret = add_folder(&options, ",workdir=", work, e);
	if (ret == 0 && *upper)
		buf_adds(&options, ",volatile");
	if (ret == 0 && chdir("/proc/self/fd") < 0)
		ret = err_sys(e, "mount the rootfs: chdir to /proc/self/fd");
	if (ret == 0 && mount("crisp", target, "overlay", *upper ? 0 : MS_RDONLY, options.data) < 0)
		ret = err_sys(e, "mount the rootfs on %s", target);
	if (chdir("/") < 0 && ret == 0)
		ret = err_sys(e, "chdir to /");
	buf_free(&options);
	return ret;	/* the fds close with exec */
}

/* A single read-only layer is no overlay. */
static int mount_one(const char *target, const char *layer, struct err *e)
{
	if (mount(layer, target, NULL, MS_BIND, NULL) < 0 ||
	    mount(NULL, target, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0)
		return err_sys(e, "mount the rootfs %s on %s", layer, target);
	return 0;
}

int overlay_mount(const char *target, const char *lowers, const char *upper, const char *work,
		  struct err *e)
{
	struct layers l = { 0 };
	int ret = split(lowers, &l, e);
	if (ret == 0 && *upper)
		forget_volatile(work);
	if (ret == 0 && !*upper && l.n == 1)
		ret = mount_one(target, l.at[0], e);
	else if (ret == 0)
		ret = mount_by_fs(target, &l, upper, work, e);
	if (ret == 1)
		ret = mount_by_numbers(target, &l, upper, work, e);
	free(l.text);
	return ret;
}

/*
 * Emptying the trash, see the header.  A layer may be deeper than there are file descriptors: what
 * lies DEPTH_MAX down is moved up into the trash itself and gets its turn there.
 */
#include "core/pull/trash.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/base/file.h"

enum { DEPTH_MAX = 64, IOPRIO_IDLE = 3 << 13, IOPRIO_WHO_PROCESS = 1 };

struct trash {
	int fd;
	unsigned moved;
	bool again;
};

static int remove_one(struct trash *t, int dir, const char *name, int depth, struct err *e);

static int remove_content(struct trash *t, int dir, const char *name, int depth, struct err *e)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open %s", name);
	auto_closedir DIR *d = fdopendir(fd);
	if (!d)
		return err_sys(e, "open %s", name);
	for (struct dirent *ent; (ent = readdir(d));) {
		if (!strcmp(ent->d_name, ".") || !strcmp(ent->d_name, ".."))
			continue;
		int ret = remove_one(t, fd, ent->d_name, depth + 1, e);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int move_up(struct trash *t, int dir, const char *name, struct err *e)
{
	char to[48];
	do
		snprintf(to, sizeof(to), "deep-%d-%u", (int)getpid(), t->moved++);
	while (renameat(dir, name, t->fd, to) < 0 && errno == ENOTEMPTY);
	t->again = true;
	return faccessat(t->fd, to, F_OK, AT_SYMLINK_NOFOLLOW) < 0 ? err_sys(e, "move %s", name)
								   : 0;
}

static int remove_one(struct trash *t, int dir, const char *name, int depth, struct err *e)
{
	if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return err_sys(e, "remove %s", name);
	if (depth >= DEPTH_MAX)
		return move_up(t, dir, name, e);
	int ret = remove_content(t, dir, name, depth, e);
	if (ret < 0)
		return ret;
	if (unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_sys(e, "remove %s", name);
	return 0;
}

int trash_empty(const char *dir, struct err *e)
{
	struct trash t = { 0 };
	setpriority(PRIO_PROCESS, 0, 19);
	syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE);
	auto_close int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open %s", dir);
	t.fd = fd;
	int ret;
	do {
		t.again = false;
		ret = remove_content(&t, fd, ".", 0, e);
	} while (ret == 0 && t.again);
	return ret;
}

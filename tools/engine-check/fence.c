/*
 * What a plugin under test may do to the machine.
 *
 * It runs as root, is handed nonsense on purpose, and may be wrong: one that makes a path of an id
 * has been seen to empty a disk.  So this process looks at the host through mounts of its own, on
 * which only what an engine has to write is writable.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "core/base/err.h"
#include "tools/engine-check/check.h"

static int writable(const char *path, struct err *e)
{
	struct mount_attr rw = { .attr_clr = MOUNT_ATTR_RDONLY };
	if (access(path, F_OK) < 0)
		return 0;
	if (mount(path, path, NULL, MS_BIND | MS_REC, NULL) < 0 ||
	    mount_setattr(AT_FDCWD, path, AT_RECURSIVE, &rw, sizeof(rw)) < 0)
		return err_sys(e, "keep %s writable", path);
	return 0;
}

static int host = -1;	/* its mount namespace */

int fence(struct err *e)
{
	/* Shims listen below /run, and runc writes to /tmp; else it is the kernel's, or this run's. */
	const char *const kept[] = { "/proc", "/sys", "/dev", "/run", "/tmp", opt.home, opt.rootfs };
	struct mount_attr ro = { .attr_set = MOUNT_ATTR_RDONLY };
	host = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (host < 0 || unshare(CLONE_NEWNS) < 0)
		return err_sys(e, "leave the host's mount namespace");
	/* What is mounted here is not for the host; what the host mounts meanwhile may come. */
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return err_sys(e, "keep mounts from the host");
	if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &ro, sizeof(ro)) < 0)
		return err_sys(e, "make the host's mounts read-only");
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		int ret = kept[i] ? writable(kept[i], e) : 0;
		if (ret < 0)
			return ret;
	}
	return 0;
}

int unfence(struct err *e)
{
	return setns(host, CLONE_NEWNS) < 0 ? err_sys(e, "go back to the host's mounts") : 0;
}

/* A pod's /dev/shm, see the header. */
#include "core/work/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/base/file.h"

static int set_id(int fs, const char *key, uint32_t id)
{
	char text[16];
	snprintf(text, sizeof(text), "%u", id);
	return fsconfig(fs, FSCONFIG_SET_STRING, key, text, 0);
}

static int make_tmpfs(const char *size, uint32_t uid, uint32_t gid, struct err *e)
{
	auto_close int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	if (fs < 0)
		return err_sys(e, "make /dev/shm: fsopen");
	if (fsconfig(fs, FSCONFIG_SET_STRING, "source", "shm", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "mode", "1777", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "size", size, 0) < 0 || set_id(fs, "uid", uid) < 0 ||
	    set_id(fs, "gid", gid) < 0)
		return err_sys(e, "make /dev/shm of %s bytes", size);
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return err_sys(e, "make /dev/shm");
	int fd = fsmount(fs, FSMOUNT_CLOEXEC,
			 MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	return fd < 0 ? err_sys(e, "make /dev/shm: fsmount") : fd;
}

static bool can_be_cloned(int tmpfs)
{
	auto_close int clone =
		open_tree(tmpfs, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	return clone >= 0;
}

/* Leave nothing but the tmpfs in this mount namespace, which is a copy of the host's. */
static int make_root(int tmpfs, struct err *e)
{
	if (mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
		return err_sys(e, "leave the host's peer groups");
	/* Any folder will do. */
	if (move_mount(tmpfs, "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_sys(e, "mount /dev/shm");
	if (chdir("/proc") < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0)
		return err_sys(e, "make /dev/shm the root");
	return 0;
}

static int put_in_namespace(int tmpfs, struct err *e)
{
	auto_close int host = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (host < 0)
		return err_sys(e, "open /proc/self/ns/mnt");
	if (unshare(CLONE_NEWNS) < 0)
		return err_sys(e, "make a mount namespace");
	int ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	int ret = ns < 0 ? err_sys(e, "open /proc/self/ns/mnt") : make_root(tmpfs, e);
	if (setns(host, CLONE_NEWNS) < 0 && ret == 0)
		ret = err_sys(e, "go back to the host's mount namespace");
	if (ret == 0)
		return ns;
	if (ns >= 0)
		close(ns);
	return ret;
}

int shm_make(const char *size, bool in_ns, uint32_t uid, uint32_t gid, struct err *e)
{
	int tmpfs = make_tmpfs(size, uid, gid, e);
	if (tmpfs < 0 || (!in_ns && can_be_cloned(tmpfs)))
		return tmpfs;
	int ns = put_in_namespace(tmpfs, e);
	close(tmpfs);
	return ns;
}

/*
 * enter: starts an engine in a mount namespace of its own, a copy of the template, in which the
 * container's rootfs is mounted for this one run.  The mounts end with the last process in it.
 * Some engines also want to run in the pod's network, or to not see a folder of /proc.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/work/job.h"
#include "core/work/mapped.h"
#include "core/work/overlay.h"

/* A target below the template's private mount: made here, in a folder that the host sees. */
static int make_target(const char *path, bool dir, struct err *e)
{
	char parent[PATH_MAX];
	if (dir)
		return file_mkdirs(path, 0711, e);
	const char *slash = strrchr(path, '/');
	if (!slash || (size_t)(slash - path) >= sizeof(parent))
		return err_set(e, EINVAL, "mount on \"%s\": not a path", path);
	memcpy(parent, path, (size_t)(slash - path));
	parent[slash - path] = 0;
	int ret = file_mkdirs(parent, 0711, e);
	if (ret < 0)
		return ret;
	auto_close int fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0644);
	return fd < 0 ? err_sys(e, "make %s", path) : 0;
}

/* -ENOTTY when fd is no namespace. */
static int is_mount_namespace(int fd)
{
	int type = ioctl(fd, NS_GET_NSTYPE);
	return type < 0 ? -errno : type == CLONE_NEWNS;
}

/* A pod's tmpfs as kernels before 6.15 need it: the root of a mount namespace (core/work/shm.h). */
static int clone_root_of(int ns, struct err *e)
{
	auto_close int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (own < 0 || setns(ns, CLONE_NEWNS) < 0)
		return err_sys(e, "enter the mount namespace of fd %d", ns);
	int tree = open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0)
		err_sys(e, "clone the root of fd %d", ns);
	if (setns(own, CLONE_NEWNS) < 0)
		return err_sys(e, "go back from the mount namespace of fd %d", ns);
	return tree < 0 ? -EINVAL : tree;
}

/* What --fdmount mounts: a clone, so that the fd stays good for the pod's next container. */
static int clone_fd(const char *number, struct err *e)
{
	int fd = job_number(number);
	if (fd < 0 || fcntl(fd, F_GETFD) < 0)
		return err_set(e, EBADF, "--fdmount %s: not an open fd", number);
	fd_set_cloexec(fd, 1);
	if (is_mount_namespace(fd) == 1)
		return clone_root_of(fd, e);
	int tree = open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	return tree < 0 ? err_sys(e, "clone the mount of fd %d", fd) : tree;
}

static int mount_tree(int tree, const char *target, struct err *e)
{
	struct stat st;
	if (fstat(tree, &st) < 0)
		return err_sys(e, "look at what is to be mounted on %s", target);
	int ret = make_target(target, S_ISDIR(st.st_mode), e);
	if (ret < 0)
		return ret;
	if (move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_sys(e, "mount on %s", target);
	return 0;
}

static int mount_overlay(char **args, struct err *e)
{
	int ret = make_target(args[0], true, e);
	return ret < 0 ? ret : overlay_mount(args[0], args[1], args[2], args[3], e);
}

/* Hide what is in a folder of /proc or /sys from the program, and from nobody else: the host's
 * /proc is a peer of ours. */
static int cover(const char *dir, struct err *e)
{
	const char *of = !strncmp(dir, "/proc/", 6) ? "/proc" : "/sys";
	if (strcmp(of, "/proc") && strncmp(dir, "/sys/", 5))
		return job_usage(e, "--cover: not a folder of /proc or /sys");
	if (mount(NULL, of, NULL, MS_PRIVATE | MS_REC, NULL) < 0)
		return err_sys(e, "part %s from the host's", of);
	if (mount("none", dir, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, "size=4k") < 0)
		return err_sys(e, "cover %s", dir);
	return 0;
}

/* An engine in a memfd: the fd is not the engine's to inherit.  A script's interpreter has to
 * open it, though. */
static void hide_program_fd(const char *program)
{
	static const char prefix[] = "/proc/self/fd/";
	char magic[2] = "";
	if (strncmp(program, prefix, sizeof(prefix) - 1))
		return;
	int fd = job_number(program + sizeof(prefix) - 1);
	if (fd >= 0 && pread(fd, magic, 2, 0) == 2 && memcmp(magic, "#!", 2))
		fd_set_cloexec(fd, 1);
}

enum { TREES_MAX = 32 };

struct enter_plan {
	int ns, net, userns, program;	/* net: -1: stay; userns: -1: none; program: its place in argv */
	const char *dir, *argv0;
	int trees[TREES_MAX], n_trees;	/* of each --fdmount, in order */
};

static int mount_mapped_overlay(int userns, char **args, struct err *e)
{
	int ret = make_target(args[0], true, e);
	return ret < 0 ? ret : mapped_overlay(userns, args[0], args[1], args[2], args[3], e);
}

/* Where volumes go: files and folders, of which the next container shall find none. */
static int make_volumes(const char *target, struct err *e)
{
	char dir[PATH_MAX];
	const char *slash = strrchr(target, '/');
	if (!slash || snprintf(dir, sizeof(dir), "%.*s", (int)(slash - target), target) >= (int)sizeof(dir))
		return err_set(e, EINVAL, "mount on \"%s\": not a path", target);
	int ret = file_mkdirs(dir, 0711, e);
	if (ret == 0 && mount("volumes", dir, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0711,size=4m") < 0)
		ret = err_sys(e, "mount a tmpfs on %s", dir);
	return ret;
}

/* Done here, so that it need not be anything that engines know of.  args: SOURCE TARGET OPTIONS */
static int mount_bind(int userns, char **args, bool first, struct err *e)
{
	int ret = first ? make_volumes(args[1], e) : 0;
	if (ret < 0)
		return ret;
	auto_close int tree = mapped_clone(userns, args[0], true, args[2], e);
	return tree < 0 ? tree : mount_tree(tree, args[1], e);
}

static const struct option {
	const char *name;
	int n;		/* words that follow */
} options[] = {
	{ "--errfd", 1 },   { "--chdir", 1 },   { "--argv0", 1 }, { "--netns", 1 },
	{ "--overlay", 4 }, { "--fdmount", 2 }, { "--cover", 1 }, { "--userns", 1 },
	{ "--mapped-overlay", 4 }, { "--mapped-bind", 3 }, { "--bind", 3 }, { 0 },
};

/* How many words the option at argv[i] takes in all; 0 if it is none. */
static int option_length(int argc, char **argv, int i)
{
	for (int o = 0; options[o].name; o++)
		if (!strcmp(argv[i], options[o].name) && i + options[o].n < argc)
			return 1 + options[o].n;
	return 0;
}

static int parse(struct enter_plan *p, int argc, char **argv, struct err *e)
{
	p->dir = "/";
	p->net = p->userns = -1;
	p->ns = argc > 1 ? job_number(argv[1]) : -1;
	if (p->ns < 0)
		return job_usage(e, "NSFD");
	int i = 2, n;
	for (; i < argc && strcmp(argv[i], "--"); i += n) {
		n = option_length(argc, argv, i);
		if (!n)
			return job_usage(e, argv[i]);
		if (!strcmp(argv[i], "--chdir")) {
			p->dir = argv[i + 1];
		} else if (!strcmp(argv[i], "--argv0")) {
			p->argv0 = argv[i + 1];
		} else if (!strcmp(argv[i], "--netns")) {
			p->net = job_number(argv[i + 1]);
			if (p->net < 0)
				return job_usage(e, "--netns: not an fd");
		} else if (!strcmp(argv[i], "--userns")) {
			p->userns = job_number(argv[i + 1]);
			if (p->userns < 0 || fd_set_cloexec(p->userns, 1) < 0)
				return job_usage(e, "--userns: not an open fd");
		} else if (!strcmp(argv[i], "--errfd")) {
			int fd = job_number(argv[i + 1]);
			if (fd < 0 || fcntl(fd, F_GETFD) < 0)
				return job_usage(e, "--errfd: not an open fd");
			job_error_fd(fd);
		}
	}
	p->program = i + 1;
	for (int k = 2; p->userns < 0 && k < i; k += option_length(argc, argv, k))
		if (!strncmp(argv[k], "--mapped-", 9))
			return job_usage(e, "a mapped mount without --userns");
	return p->program < argc ? 0 : job_usage(e, "no program");
}

/* In the caller's namespace, where the fds are from: elsewhere they can't be cloned. */
static int clone_all(struct enter_plan *p, int argc, char **argv, struct err *e)
{
	for (int i = 2; i < p->program - 1; i += option_length(argc, argv, i)) {
		if (strcmp(argv[i], "--fdmount"))
			continue;
		if (p->n_trees == TREES_MAX)
			return job_usage(e, "more --fdmount than 32");
		int tree = clone_fd(argv[i + 1], e);
		if (tree < 0)
			return tree;
		p->trees[p->n_trees++] = tree;
	}
	return 0;
}

static int mount_all(const struct enter_plan *p, int argc, char **argv, struct err *e)
{
	int ret = 0, tree = 0, n_binds = 0;
	for (int i = 2; i < p->program - 1 && ret == 0; i += option_length(argc, argv, i)) {
		if (!strcmp(argv[i], "--overlay"))
			ret = mount_overlay(argv + i + 1, e);
		else if (!strcmp(argv[i], "--fdmount"))
			ret = mount_tree(p->trees[tree++], argv[i + 2], e);
		else if (!strcmp(argv[i], "--mapped-overlay"))
			ret = mount_mapped_overlay(p->userns, argv + i + 1, e);
		else if (!strcmp(argv[i], "--mapped-bind"))
			ret = mount_bind(p->userns, argv + i + 1, !n_binds++, e);
		else if (!strcmp(argv[i], "--bind"))
			ret = mount_bind(-1, argv + i + 1, !n_binds++, e);
		else if (!strcmp(argv[i], "--cover"))
			ret = cover(argv[i + 1], e);
	}
	return ret;
}

int job_enter(int argc, char **argv, struct err *e)
{
	struct enter_plan p = { 0 };
	int ret = parse(&p, argc, argv, e);
	if (ret == 0)
		ret = clone_all(&p, argc, argv, e);
	if (ret < 0)
		return ret;
	if (setns(p.ns, CLONE_NEWNS) < 0)
		return err_sys(e, "enter the mount namespace of fd %d", p.ns);
	if (unshare(CLONE_NEWNS) < 0)
		return err_sys(e, "copy the mount namespace");
	close(p.ns);
	if (p.net >= 0 && setns(p.net, CLONE_NEWNET) < 0)
		return err_sys(e, "enter the network namespace of fd %d", p.net);
	if (p.net >= 0)
		close(p.net);
	ret = mount_all(&p, argc, argv, e);
	if (ret < 0)
		return ret;
	if (chdir(p.dir) < 0)
		return err_sys(e, "chdir to %s", p.dir);
	char *program = argv[p.program];
	hide_program_fd(program);
	if (p.argv0)
		argv[p.program] = (char *)(uintptr_t)p.argv0;
	execv(program, argv + p.program);
	return err_sys(e, "execute %s", program);
}

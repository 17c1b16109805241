/*
 * crisp-work usage: what it takes a walk to know of containers: how much their writable layers hold,
 * and the descriptors of their processes.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/work/job.h"

struct usage {
	uint64_t bytes, inodes;
	dev_t dev;
};

/* A file with several names counts once in all. */
static void count(struct usage *u, const struct stat *st)
{
	uint64_t names = S_ISDIR(st->st_mode) || !st->st_nlink ? 1 : st->st_nlink;
	u->bytes += (uint64_t)st->st_blocks * 512 / names;
	u->inodes++;
}

/* What vanishes or can't be read meanwhile is left out: the container is at work in there. */
static void walk(int dirfd, const char *name, struct usage *u)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	auto_closedir DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *ent;
	while (d && (ent = readdir(d))) {
		struct stat st;
		if (!strcmp(ent->d_name, ".") || !strcmp(ent->d_name, "..") ||
		    fstatat(fd, ent->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != u->dev)
			continue;
		count(u, &st);
		if (S_ISDIR(st.st_mode))
			walk(fd, ent->d_name, u);
	}
}

/* -- processes -- */

struct open_files {
	uint64_t fds, sockets;
	int init;		/* the lowest pid: its limits stand for all */
};

static void count_fds(int pid, struct open_files *o)
{
	char path[32], target[16];
	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	auto_closedir DIR *d = opendir(path);
	struct dirent *ent;
	while (d && (ent = readdir(d))) {
		if (ent->d_name[0] == '.')
			continue;
		o->fds++;
		if (readlinkat(dirfd(d), ent->d_name, target, sizeof(target)) > 7)
			o->sockets += !strncmp(target, "socket:", 7);
	}
}

/* Of a cgroup and those below it. */
static void walk_processes(int at, const char *name, struct open_files *o)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d)
		return;
	int procs = openat(fd, "cgroup.procs", O_RDONLY | O_CLOEXEC), pid;
	FILE *f = procs < 0 ? NULL : fdopen(procs, "r");
	while (f && fscanf(f, "%d", &pid) == 1) {
		count_fds(pid, o);
		if (!o->init || pid < o->init)
			o->init = pid;
	}
	if (f)
		fclose(f);
	struct dirent *ent;
	while ((ent = readdir(d)))
		if (ent->d_type == DT_DIR && ent->d_name[0] != '.')
			walk_processes(fd, ent->d_name, o);
}

/* 0: none, or not known. */
static uint64_t open_files_limit(int pid)
{
	char path[32], line[256];
	uint64_t limit = 0;
	snprintf(path, sizeof(path), "/proc/%d/limits", pid);
	FILE *f = pid ? fopen(path, "re") : NULL;
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "Max open files", 14))
			limit = strtoull(line + 14, NULL, 10);
	if (f)
		fclose(f);
	return limit;
}

/* The file system of all layers. */
static void print_fs(const char *dir)
{
	struct statvfs fs = { 0 };
	struct stat st = { 0 };
	if (statvfs(dir, &fs) < 0 || stat(dir, &st) < 0)
		fs = (struct statvfs){ 0 };
	printf("%llu %llu %llu %u %u\n", (unsigned long long)fs.f_blocks * fs.f_frsize,
	       (unsigned long long)fs.f_files, (unsigned long long)fs.f_ffree, major(st.st_dev),
	       minor(st.st_dev));
}

int job_usage_of(int argc, char **argv, struct err *e)
{
	if (argc < 2 || argc % 2)
		return job_usage(e, "usage: expected pairs of folders after the first");
	print_fs(argv[1]);
	for (int i = 2; i < argc; i += 2) {
		struct usage u = { 0 };
		struct open_files o = { 0 };
		struct stat st;
		if (lstat(argv[i], &st) == 0) {
			u.dev = st.st_dev;
			count(&u, &st);
			walk(AT_FDCWD, argv[i], &u);
		}
		walk_processes(AT_FDCWD, argv[i + 1], &o);
		printf("%llu %llu %llu %llu %llu\n", (unsigned long long)u.bytes, (unsigned long long)u.inodes,
		       (unsigned long long)o.fds, (unsigned long long)o.sockets,
		       (unsigned long long)open_files_limit(o.init));
	}
	return fflush(stdout) ? err_sys(e, "write the answer") : 0;
}

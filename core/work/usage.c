/* crisp-work usage: how much writable layers hold, counted by walking them. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

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

int job_usage_of(int argc, char **argv, struct err *e)
{
	if (argc < 2)
		return job_usage(e, "usage: expected folders");
	for (int i = 1; i < argc; i++) {
		struct usage u = { 0 };
		struct stat st;
		if (lstat(argv[i], &st) == 0) {
			u.dev = st.st_dev;
			count(&u, &st);
			walk(AT_FDCWD, argv[i], &u);
		}
		printf("%llu %llu\n", (unsigned long long)u.bytes, (unsigned long long)u.inodes);
	}
	return fflush(stdout) ? err_sys(e, "write the answer") : 0;
}

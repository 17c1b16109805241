#pragma once
/*
 * Small files of our own and fd habits.  Nothing here may be used on a user's volume from
 * the loop: these calls block as long as the file system does.
 */
#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#include "core/base/err.h"

struct buf;

static inline void file_auto_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void file_auto_free(void *p)
{
	free(*(void **)p);
}

static inline void file_auto_closedir(DIR **d)
{
	if (*d)
		closedir(*d);
}

#define auto_close __attribute__((cleanup(file_auto_close)))
#define auto_free __attribute__((cleanup(file_auto_free)))
#define auto_closedir __attribute__((cleanup(file_auto_closedir)))

/* Append the whole file to out; more than max bytes is -EFBIG.  dirfd as for openat. */
int file_read(int dirfd, const char *path, size_t max, struct buf *out, struct err *e);
/* Replace path by temp + rename, no fsync. */
int file_replace(int dirfd, const char *path, const void *data, size_t len, mode_t mode, struct err *e);
/* write(2) until all is written. */
int file_write_all(int fd, const void *data, size_t len);
/* Write into an existing control file (cgroup, sysctl) in one write(2). */
int file_poke(int dirfd, const char *path, const char *text, struct err *e);
/* mkdir with parents. */
int file_mkdirs(const char *path, mode_t mode, struct err *e);
/* Remove a tree below dirfd without following links or crossing mounts; missing is fine. */
int file_remove_tree(int dirfd, const char *name, struct err *e);

/* Open path with root as its "/", whatever its symlinks and ".." say; an fd or -errno.  The kernel
 * follows no ".." while something is renamed or mounted anywhere on the node: that is tried again. */
int file_open_in_root(int root, const char *path, int flags);

int fd_set_cloexec(int fd, int on);
int fd_set_nonblock(int fd);

int64_t clock_real_ns(void);	/* CLOCK_REALTIME */
int64_t clock_mono_ns(void);	/* CLOCK_MONOTONIC */

/* 64 lower-case hex digits of randomness and a NUL: the id of a pod or container. */
void random_id(char out[65]);

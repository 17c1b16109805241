#pragma once
/* Files of an image archive: a directory, or a tar that was indexed once and is read in place. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

struct archive;
struct buf;
struct pool;

/* A run of bytes in an open file. */
struct archive_file {
	int fd;
	uint64_t offset, size;
};

/* source is borrowed: a directory, which is "/" by now, or a tar.  -EINVAL: no tar. */
int archive_open(struct pool *p, int source, bool is_dir, struct archive **out, struct err *e);
bool archive_has(struct archive *a, const char *name);
/* -ENOENT.  A directory's file is closed with the pool. */
int archive_find(struct archive *a, const char *name, struct archive_file *out, struct err *e);
int archive_read(struct archive *a, const char *name, size_t max, struct buf *out, struct err *e);

#pragma once
/*
 * Looking into an image without mounting it: the layers are merged by overlay's rules (whiteouts,
 * opaque directories), symlinks are resolved within the image, nothing but directories and
 * regular files is opened.
 */
#include <stddef.h>

#include "core/base/err.h"

struct buf;
struct idmap;
struct layers;
struct pool;

/* upper is the topmost layer and may be NULL; dirs are LOWEST first.  map (may be NULL): what is made
 * in upper gets the owners that the image's would have through it. */
int layers_open(struct pool *p, const char *upper, const char *const *dirs, size_t n,
		const struct idmap *map, struct layers **out,
		struct err *e);

/* Append the file to out.  -ENOENT when there is none, -EFBIG when it is longer than max. */
int layers_read(struct layers *l, const char *path, size_t max, struct buf *out, struct err *e);

/* See to it that path is a directory of the merged image, making what is missing in upper.
 * *real: the path without symlinks. */
int layers_mkdir(struct layers *l, struct pool *p, const char *path, const char **real, struct err *e);

#pragma once
/* What lies at a mount's host_path. */
#include <stdbool.h>
#include <stddef.h>

#include "core/base/err.h"

struct mountinfos;
struct pool;

enum source_peers { SOURCE_ANY, SOURCE_SLAVE, SOURCE_SHARED };	/* what its mount has to be */

struct source {
	const char *path;	/* absolute, without symlinks */
	bool is_dir, made;
};

/* A path that is missing becomes an empty directory, as hostPath volumes without a type want. */
int source_resolve(struct pool *p, const char *host_path, struct source *out, struct err *e);

/* Is the mount that path lies on shared or a slave?  -EINVAL names path and mount if not. */
int source_check_peers(const struct mountinfos *all, const char *path, enum source_peers want, struct err *e);

#pragma once
/*
 * The loader: a process of its own that reads an OCI layout (directory or tar) or a docker archive
 * (tar), may read that and nothing else, and feeds its layers to the unpackers as the fetcher does.
 */
#include <stdbool.h>

#include "core/base/err.h"

struct pool;
struct request;

/* source: the directory, which is "/" by now, or the open tar (seekable). */
int load_run(struct pool *p, const struct request *r, int source, bool is_dir, int out, int sock,
	     struct err *e);

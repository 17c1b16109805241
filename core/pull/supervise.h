#pragma once
/*
 * The supervisor of a pull or an import: starts the source and the unpackers, joins them by pipes,
 * finishes the layers, syncs, and tells the core.  Parses nothing that came from outside.
 */
#include "core/base/err.h"

struct pool;
struct request;

/* source: what is imported, opened, or -1.  events: where the core listens. */
int supervise(struct pool *p, const struct request *r, int source, int events, struct err *e);

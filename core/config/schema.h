#pragma once
/*
 * What may stand in a configuration file: every key with the reader that checks it.
 *
 * Private to core/config.
 */
#include <stdbool.h>

#include "core/base/err.h"

struct config;
struct pool;
struct tree;

/* Read a tree into c, which holds zeroes or what an earlier call has left; keys that are
 * absent are left alone. */
int schema_read(struct pool *p, const struct tree *t, struct config *c, struct err *e);

/* The name of a plugin. */
#define SCHEMA_ENGINE_NAME "a name of a-z, 0-9, _ and -"
bool schema_is_engine_name(const char *s);

#pragma once
/*
 * What may stand in a configuration file: every key with the reader that checks it.
 *
 *	schema.c	all sections but one, and what reads a section by its table
 *	handlers.c	"engines"
 *	policy.c	of a handler what is the core's own
 *
 * Private to core/config.
 */
#include <stdbool.h>
#include <stddef.h>

#include "core/base/err.h"

struct config;
struct config_policy;
struct json_out;
struct pool;
struct tree;

/* Read a tree into c, which holds zeroes or what an earlier call has left; keys that are
 * absent are left alone. */
int schema_read(struct pool *p, const struct tree *t, struct config *c, struct err *e);

struct schema_reader {
	struct pool *pool;
	struct config *config;
	struct err *e;
};

/* A key has a section or a reader; field is the offset of what that fills.  One of the name ""
 * stands for all keys of its section, with their fields from its own on. */
struct schema_key {
	const char *name;
	const struct schema_key *section;
	int (*read)(struct schema_reader *r, const char *path, const struct tree *t, void *field);
	size_t field;
};

/* Read the mapping t, whose path is section, by a table of keys.  An unknown key is an error that
 * names the nearest. */
int schema_keys(struct schema_reader *r, const char *section, const struct schema_key *keys,
		const struct tree *t, void *base);

/* "PATH: VALUE is KIND, expected ..." */
int schema_fail(struct schema_reader *r, const char *path, const struct tree *t, const char *expected);
int schema_string(struct schema_reader *r, const char *path, const struct tree *t, void *field);
/* Any mapping, as the text of a JSON object. */
int schema_mapping(struct schema_reader *r, const char *path, const struct tree *t, void *field);
/* A list of strings that each pass `good`. */
int schema_list(struct schema_reader *r, const char *path, const struct tree *t, const char ***out, size_t *n,
		bool (*good)(const char *s), const char *expected);

bool schema_is_engine_name(const char *s);
int schema_engine_name(struct schema_reader *r, const char *path, const struct tree *t, void *field);
int schema_handlers(struct schema_reader *r, const char *path, const struct tree *t, void *field);

extern const struct schema_key policy_keys[];	/* of struct config_policy */
void policy_put(const struct config_policy *p, struct json_out *o, struct pool *scratch);

/* When all layers are read: defaults of the section, then what must agree in it. */
int handlers_complete(struct pool *p, struct config *c, const struct tree *engines, struct err *e);

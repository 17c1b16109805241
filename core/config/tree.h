#pragma once
/*
 * A YAML document as a tree in a pool; every value knows its file and line, so that an error
 * can point at it.
 *
 * Scalars follow YAML 1.2's core schema (yes and on are strings).  Aliases, tags and several
 * documents in one file are refused.  At most 1 MiB, 20,000 values, 32 levels.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

struct json_out;
struct pool;

enum tree_kind { TREE_NULL, TREE_BOOL, TREE_INT, TREE_FLOAT, TREE_STR, TREE_LIST, TREE_MAP };

struct tree_member {
	const char *key;	/* NULL in a list */
	int line;
	struct tree *value;
};

struct tree {
	enum tree_kind kind;
	const char *file;	/* as given to tree_parse */
	int line;		/* from 1; 0: not from a file */
	const char *text;	/* of a scalar, as written; NULL for others */
	struct tree_member *members;
	size_t n, cap;
};

/* An empty document is TREE_NULL.  file is a name for messages and must outlive the tree. */
int tree_parse(struct pool *p, const char *file, const char *text, size_t len, struct tree **out,
	       struct err *e);
/* Read a file and parse it. */
int tree_load(struct pool *p, const char *file, struct tree **out, struct err *e);

struct tree *tree_new_map(struct pool *p, const char *file);
/* Add a member; the caller sees to it that the key is new. */
void tree_add(struct pool *p, struct tree *t, const char *key, int line, struct tree *value);

/* Member of a map; NULL when absent, null, or t is no map. */
const struct tree *tree_get(const struct tree *t, const char *key);
/* A string, also an empty one; NULL for anything else. */
const char *tree_str(const struct tree *t);
bool tree_is_true(const struct tree *t);
/* 0, or -ERANGE when it does not fit or is no TREE_INT. */
int tree_int(const struct tree *t, int64_t *out);
/* "a string", "a list"... for messages. */
const char *tree_kind_name(enum tree_kind k);

/* Lay `over` on `base` (either may be NULL): maps merge, everything else replaces.  Neither is
 * changed, the result shares their values. */
struct tree *tree_merge(struct pool *p, struct tree *base, struct tree *over);

void tree_json(const struct tree *t, struct json_out *o);

/* UTF-8 without control characters but tab and newlines: all that a string here may hold. */
bool tree_is_text(const char *s, size_t n);

/* "FILE:LINE: message", -EINVAL. */
int tree_err(const struct tree *t, struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#pragma once
/*
 * JSON over yajl: a read-only tree that lives in a pool, and a writer.
 *
 * Reading never fails on a missing or mistyped member: it gives NULL or the default, so the
 * one check is json_parse().  Text is at most 64 MiB and 64 levels deep.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

struct pool;
struct json;	/* a value in a parsed tree */

/* -EINVAL with the position on bad JSON. */
int json_parse(struct pool *p, const char *text, size_t len, const struct json **out, struct err *e);

/* Member of an object, by name; NULL if j is NULL, no object, or lacks it. */
const struct json *json_get(const struct json *j, const char *name);
/* json_get along a NULL-terminated path. */
const struct json *json_path(const struct json *j, ...) __attribute__((sentinel));
const char *json_str(const struct json *j);	/* NULL unless a string */
int64_t json_int(const struct json *j, int64_t otherwise);
bool json_bool(const struct json *j, bool otherwise);
bool json_is_null(const struct json *j);
bool json_is_object(const struct json *j);
bool json_is_array(const struct json *j);
size_t json_len(const struct json *j);	/* items of an array, members of an object, else 0 */
const struct json *json_at(const struct json *j, size_t i);	/* array item or member value */
const char *json_key_at(const struct json *j, size_t i);	/* member name */

/* Writer.  Calls nest as the document does; names come before values with json_key() or by
 * the *_member shorthands.  Strings that are not UTF-8 have the bad bytes replaced. */
struct json_out;
struct json_out *json_out(struct pool *p);
void json_object(struct json_out *o);
void json_end_object(struct json_out *o);
void json_array(struct json_out *o);
void json_end_array(struct json_out *o);
void json_key(struct json_out *o, const char *name);
void json_put_str(struct json_out *o, const char *s);	/* NULL writes null */
void json_put_strn(struct json_out *o, const char *s, size_t n);
void json_put_int(struct json_out *o, int64_t n);
/* A number as text, which must be one by JSON's grammar. */
void json_put_number(struct json_out *o, const char *text);
void json_put_bool(struct json_out *o, bool b);
void json_put_null(struct json_out *o);
/* Copy a parsed value. */
void json_put(struct json_out *o, const struct json *j);
void json_member_str(struct json_out *o, const char *name, const char *s);
void json_member_int(struct json_out *o, const char *name, int64_t n);
void json_member_bool(struct json_out *o, const char *name, bool b);
/* The text so far, NUL-terminated, owned by the writer's pool. */
const char *json_text(struct json_out *o, size_t *len);

/* JSON over yajl: see the header.  A struct json is a yajl_val under another name. */
#include "core/base/json.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_gen.h>
#include <yajl/yajl_parse.h>
#include <yajl/yajl_tree.h>

#include "core/base/pool.h"
#include "core/base/utf8.h"

enum { DEPTH_MAX = 64, SIZE_MAX_TEXT = 64 << 20 };

struct tree {
	struct pool_res res;
	yajl_val root;
};

static yajl_val val(const struct json *j)
{
	return (yajl_val)(uintptr_t)j;
}

static void release_tree(struct pool_res *r)
{
	yajl_tree_free(container_of(r, struct tree, res)->root);
}

/* yajl's tree recurses on free: refuse depth before building it. */
static int check_depth(const char *text, size_t len, struct err *e)
{
	int depth = 0;
	bool in_str = false;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		if (in_str) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_str = false;
		} else if (c == '"') {
			in_str = true;
		} else if (c == '{' || c == '[') {
			if (++depth > DEPTH_MAX)
				return err_set(e, EINVAL, "JSON is nested deeper than %d at byte %zu",
					       DEPTH_MAX, i);
		} else if (c == '}' || c == ']') {
			depth--;
		}
	}
	return 0;
}

int json_parse(struct pool *p, const char *text, size_t len, const struct json **out, struct err *e)
{
	*out = NULL;
	if (len > SIZE_MAX_TEXT)
		return err_set(e, EINVAL, "JSON of %zu bytes is too large", len);
	if (memchr(text, 0, len))
		return err_set(e, EINVAL, "JSON holds a NUL byte");
	int ret = check_depth(text, len, e);
	if (ret < 0)
		return ret;
	char *copy = strndup(text, len);
	if (!copy)
		abort();
	char why[200] = "";
	yajl_val root = yajl_tree_parse(copy, why, sizeof(why));
	free(copy);
	if (!root) {
		why[strcspn(why, "\n")] = 0;
		return err_set(e, EINVAL, "bad JSON: %s", why[0] ? why : "empty document");
	}
	struct tree *t = pool_new_struct(p, struct tree);
	t->root = root;
	pool_res_add(p, &t->res, release_tree);
	*out = (const struct json *)root;
	return 0;
}

const struct json *json_get(const struct json *j, const char *name)
{
	if (!json_is_object(j))
		return NULL;
	for (size_t i = 0; i < val(j)->u.object.len; i++)
		if (!strcmp(val(j)->u.object.keys[i], name))
			return (const struct json *)val(j)->u.object.values[i];
	return NULL;
}

const struct json *json_path(const struct json *j, ...)
{
	va_list ap;
	va_start(ap, j);
	for (const char *name; j && (name = va_arg(ap, const char *));)
		j = json_get(j, name);
	va_end(ap);
	return j;
}

const char *json_str(const struct json *j)
{
	return j && YAJL_IS_STRING(val(j)) ? val(j)->u.string : NULL;
}

int64_t json_int(const struct json *j, int64_t otherwise)
{
	if (!j || !YAJL_IS_NUMBER(val(j)))
		return otherwise;
	if (YAJL_IS_INTEGER(val(j)))
		return YAJL_GET_INTEGER(val(j));
	double d = YAJL_GET_DOUBLE(val(j));
	return d > -9.2e18 && d < 9.2e18 ? (int64_t)d : otherwise;
}

bool json_bool(const struct json *j, bool otherwise)
{
	return !j ? otherwise : YAJL_IS_TRUE(val(j)) ? true : YAJL_IS_FALSE(val(j)) ? false : otherwise;
}

bool json_is_null(const struct json *j)
{
	return j && YAJL_IS_NULL(val(j));
}

bool json_is_object(const struct json *j)
{
	return j && YAJL_IS_OBJECT(val(j));
}

bool json_is_array(const struct json *j)
{
	return j && YAJL_IS_ARRAY(val(j));
}

size_t json_len(const struct json *j)
{
	return json_is_array(j) ? val(j)->u.array.len : json_is_object(j) ? val(j)->u.object.len : 0;
}

const struct json *json_at(const struct json *j, size_t i)
{
	if (i >= json_len(j))
		return NULL;
	return (const struct json *)(json_is_array(j) ? val(j)->u.array.values[i] :
							val(j)->u.object.values[i]);
}

const char *json_key_at(const struct json *j, size_t i)
{
	return json_is_object(j) && i < json_len(j) ? val(j)->u.object.keys[i] : NULL;
}

struct json_out {
	struct pool_res res;
	struct pool *pool;
	yajl_gen gen;
};

static void release_gen(struct pool_res *r)
{
	yajl_gen_free(container_of(r, struct json_out, res)->gen);
}

struct json_out *json_out(struct pool *p)
{
	struct json_out *o = pool_new_struct(p, struct json_out);
	o->pool = p;
	o->gen = yajl_gen_alloc(NULL);
	if (!o->gen)
		abort();
	yajl_gen_config(o->gen, yajl_gen_escape_solidus, 0);
	pool_res_add(p, &o->res, release_gen);
	return o;
}

void json_object(struct json_out *o)
{
	yajl_gen_map_open(o->gen);
}

void json_end_object(struct json_out *o)
{
	yajl_gen_map_close(o->gen);
}

void json_array(struct json_out *o)
{
	yajl_gen_array_open(o->gen);
}

void json_end_array(struct json_out *o)
{
	yajl_gen_array_close(o->gen);
}

void json_put_strn(struct json_out *o, const char *s, size_t n)
{
	const char *clean = utf8_clean(o->pool, s, n);
	yajl_gen_string(o->gen, (const unsigned char *)clean, clean == s ? n : strlen(clean));
}

void json_put_str(struct json_out *o, const char *s)
{
	if (s)
		json_put_strn(o, s, strlen(s));
	else
		json_put_null(o);
}

void json_key(struct json_out *o, const char *name)
{
	json_put_str(o, name);
}

void json_put_int(struct json_out *o, int64_t n)
{
	yajl_gen_integer(o->gen, n);
}

void json_put_number(struct json_out *o, const char *text)
{
	yajl_gen_number(o->gen, text, strlen(text));
}

void json_put_bool(struct json_out *o, bool b)
{
	yajl_gen_bool(o->gen, b);
}

void json_put_null(struct json_out *o)
{
	yajl_gen_null(o->gen);
}

void json_put(struct json_out *o, const struct json *j)
{
	if (json_is_object(j)) {
		json_object(o);
		for (size_t i = 0; i < json_len(j); i++) {
			json_key(o, json_key_at(j, i));
			json_put(o, json_at(j, i));
		}
		json_end_object(o);
	} else if (json_is_array(j)) {
		json_array(o);
		for (size_t i = 0; i < json_len(j); i++)
			json_put(o, json_at(j, i));
		json_end_array(o);
	} else if (json_str(j)) {
		json_put_str(o, json_str(j));
	} else if (j && YAJL_IS_NUMBER(val(j))) {
		json_put_number(o, YAJL_GET_NUMBER(val(j)));	/* as it was written */
	} else if (j && (YAJL_IS_TRUE(val(j)) || YAJL_IS_FALSE(val(j)))) {
		json_put_bool(o, YAJL_IS_TRUE(val(j)));
	} else {
		json_put_null(o);
	}
}

void json_member_str(struct json_out *o, const char *name, const char *s)
{
	json_key(o, name);
	json_put_str(o, s);
}

void json_member_int(struct json_out *o, const char *name, int64_t n)
{
	json_key(o, name);
	json_put_int(o, n);
}

void json_member_bool(struct json_out *o, const char *name, bool b)
{
	json_key(o, name);
	json_put_bool(o, b);
}

const char *json_text(struct json_out *o, size_t *len)
{
	const unsigned char *text;
	size_t n;
	yajl_gen_get_buf(o->gen, &text, &n);
	if (len)
		*len = n;
	return (const char *)text;
}

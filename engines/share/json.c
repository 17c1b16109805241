#include "engines/share/json.h"

#include <string.h>

yajl_val json_member(yajl_val v, const char *name)
{
	for (size_t i = 0; YAJL_IS_OBJECT(v) && i < v->u.object.len; i++)
		if (!strcmp(v->u.object.keys[i], name))
			return v->u.object.values[i];
	return NULL;
}

const char *json_text(yajl_val v, const char *name)
{
	const char *s = YAJL_GET_STRING(json_member(v, name));
	return s ? s : "";
}

int64_t json_number(yajl_val v, int64_t missing)
{
	if (YAJL_IS_INTEGER(v))
		return YAJL_GET_INTEGER(v);
	return YAJL_IS_DOUBLE(v) ? (int64_t)YAJL_GET_DOUBLE(v) : missing;
}

void json_put_text(yajl_gen g, const char *s)
{
	yajl_gen_string(g, (const unsigned char *)s, strlen(s));
}

static void put_object(yajl_gen g, yajl_val v)
{
	yajl_gen_map_open(g);
	for (size_t i = 0; i < v->u.object.len; i++) {
		json_put_text(g, v->u.object.keys[i]);
		json_put(g, v->u.object.values[i]);
	}
	yajl_gen_map_close(g);
}

static void put_array(yajl_gen g, yajl_val v)
{
	yajl_gen_array_open(g);
	for (size_t i = 0; i < v->u.array.len; i++)
		json_put(g, v->u.array.values[i]);
	yajl_gen_array_close(g);
}

void json_put(yajl_gen g, yajl_val v)
{
	if (YAJL_IS_STRING(v))
		json_put_text(g, v->u.string);
	else if (YAJL_IS_NUMBER(v))
		yajl_gen_number(g, v->u.number.r, strlen(v->u.number.r));
	else if (YAJL_IS_OBJECT(v))
		put_object(g, v);
	else if (YAJL_IS_ARRAY(v))
		put_array(g, v);
	else if (YAJL_IS_NULL(v))
		yajl_gen_null(g);
	else
		yajl_gen_bool(g, YAJL_IS_TRUE(v));
}

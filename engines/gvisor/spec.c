/*
 * Our touch on config.json: the sandbox is made from the bundle of a pause process, but is the
 * whole pod, so the limits of a process that does nothing are taken off.
 */
#include "engines/gvisor/gvisor.h"

#include <errno.h>
#include <string.h>

#include <yajl/yajl_gen.h>

/* Does the sandbox's spec go without this member? */
static bool is_limit(const char *path, const char *key)
{
	return !strcmp(path, "linux") && !strcmp(key, "resources");
}

static void put_string(yajl_gen g, const char *s)
{
	yajl_gen_string(g, (const unsigned char *)s, strlen(s));
}

static void put(yajl_gen g, yajl_val v)
{
	if (YAJL_IS_STRING(v)) {
		put_string(g, v->u.string);
	} else if (YAJL_IS_NUMBER(v)) {
		yajl_gen_number(g, v->u.number.r, strlen(v->u.number.r));
	} else if (YAJL_IS_OBJECT(v)) {
		yajl_gen_map_open(g);
		for (size_t i = 0; i < v->u.object.len; i++) {
			put_string(g, v->u.object.keys[i]);
			put(g, v->u.object.values[i]);
		}
		yajl_gen_map_close(g);
	} else if (YAJL_IS_ARRAY(v)) {
		yajl_gen_array_open(g);
		for (size_t i = 0; i < v->u.array.len; i++)
			put(g, v->u.array.values[i]);
		yajl_gen_array_close(g);
	} else if (YAJL_IS_NULL(v)) {
		yajl_gen_null(g);
	} else {
		yajl_gen_bool(g, YAJL_IS_TRUE(v));
	}
}

/* The spec without linux.resources. */
static void put_unlimited(yajl_gen g, const char *path, yajl_val v)
{
	yajl_gen_map_open(g);
	for (size_t i = 0; i < v->u.object.len; i++) {
		const char *key = v->u.object.keys[i];
		yajl_val child = v->u.object.values[i];
		if (is_limit(path, key))
			continue;
		put_string(g, key);
		if (!*path && !strcmp(key, "linux") && YAJL_IS_OBJECT(child))
			put_unlimited(g, key, child);
		else
			put(g, child);
	}
	yajl_gen_map_close(g);
}

int gvisor_prepare_spec(struct crisp_instance *i, struct crisp_req *r, const struct crisp_spec_args *args)
{
	struct act *a = act_new(i, r, (const struct crisp_args *)args);
	yajl_val facts = yajl_tree_parse(args->facts_json ? args->facts_json : "{}", NULL, 0);
	const char *type = YAJL_GET_STRING(json_member(facts, "containerType"));
	bool sandbox = type && !strcmp(type, "sandbox");
	yajl_tree_free(facts);
	if (!sandbox) {
		act_end(a, 0, NULL);
		return 0;
	}
	yajl_val spec = yajl_tree_parse(args->spec_json ? args->spec_json : "", NULL, 0);
	if (!YAJL_IS_OBJECT(spec)) {
		yajl_tree_free(spec);
		act_end(a, -EINVAL, "the spec of the sandbox is no JSON object");
		return 0;
	}
	yajl_gen g = yajl_gen_alloc(NULL);
	const unsigned char *text;
	size_t len;
	put_unlimited(g, "", spec);
	yajl_gen_get_buf(g, &text, &len);
	act_done(a, &(struct crisp_result){ .data = text, .data_len = (uint32_t)len });
	yajl_gen_free(g);
	yajl_tree_free(spec);
	return 0;
}

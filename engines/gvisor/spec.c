/*
 * Our touch on config.json: the sandbox is made from the bundle of a pause process, but is the
 * whole pod, so the limits of a process that does nothing are taken off.
 */
#include "engines/gvisor/gvisor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <yajl/yajl_gen.h>

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

/* An object without one of its members. */
static void put_without(yajl_gen g, yajl_val v, const char *name)
{
	yajl_gen_map_open(g);
	for (size_t i = 0; YAJL_IS_OBJECT(v) && i < v->u.object.len; i++) {
		if (!strcmp(v->u.object.keys[i], name))
			continue;
		put_string(g, v->u.object.keys[i]);
		put(g, v->u.object.values[i]);
	}
	yajl_gen_map_close(g);
}

/* The pod's hostname is the guest's; limits of the pod are set on its cgroup. */
static void put_sandbox(yajl_gen g, yajl_val spec, const char *hostname)
{
	yajl_gen_map_open(g);
	if (hostname && *hostname) {
		put_string(g, "hostname");
		put_string(g, hostname);
	}
	for (size_t i = 0; i < spec->u.object.len; i++) {
		const char *key = spec->u.object.keys[i];
		if (!strcmp(key, "hostname"))
			continue;
		put_string(g, key);
		if (!strcmp(key, "linux"))
			put_without(g, spec->u.object.values[i], "resources");
		else
			put(g, spec->u.object.values[i]);
	}
	yajl_gen_map_close(g);
}

static int by_number(const void *a, const void *b)
{
	int64_t x = json_number(*(const yajl_val *)a, 0), y = json_number(*(const yajl_val *)b, 0);
	return x < y ? -1 : x > y;
}

/* Linux sorts a process's groups, gVisor leaves them as they come. */
static bool sort_groups(yajl_val spec)
{
	yajl_val groups = json_member(json_member(json_member(spec, "process"), "user"), "additionalGids");
	if (!YAJL_IS_ARRAY(groups) || groups->u.array.len < 2)
		return false;
	qsort(groups->u.array.values, groups->u.array.len, sizeof(yajl_val), by_number);
	return true;
}

static void done_with(struct act *a, yajl_gen g)
{
	const unsigned char *text;
	size_t len;
	yajl_gen_get_buf(g, &text, &len);
	act_done(a, &(struct crisp_result){ .data = text, .data_len = (uint32_t)len });
}

int gvisor_prepare_spec(struct crisp_instance *i, struct crisp_req *r, const struct crisp_spec_args *args)
{
	struct act *a = act_new(i, r, (const struct crisp_args *)args);
	yajl_val facts = yajl_tree_parse(args->facts_json ? args->facts_json : "{}", NULL, 0);
	yajl_val spec = yajl_tree_parse(args->spec_json ? args->spec_json : "", NULL, 0);
	const char *type = YAJL_GET_STRING(json_member(facts, "containerType"));
	yajl_gen g = yajl_gen_alloc(NULL);
	if (!YAJL_IS_OBJECT(spec)) {
		act_end(a, -EINVAL, "the spec is no JSON object");
	} else if (type && !strcmp(type, "sandbox")) {
		put_sandbox(g, spec, YAJL_GET_STRING(json_member(facts, "hostname")));
		done_with(a, g);
	} else if (sort_groups(spec)) {
		put(g, spec);
		done_with(a, g);
	} else {
		act_end(a, 0, NULL);	/* as it is */
	}
	yajl_gen_free(g);
	yajl_tree_free(spec);
	yajl_tree_free(facts);
	return 0;
}

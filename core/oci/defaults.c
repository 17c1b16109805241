/*
 * Parts of a config.json that lie below a container's own.  Mappings merge, what the container has
 * wins.  Of lists whose items have names (mounts by destination, environment, limits, devices) the
 * items that it lacks are added; device rules come behind its own; any other list is the container's,
 * if it has one.
 */
#include <string.h>

#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/oci/oci.h"

/* How two lists become one. */
struct list_rule {
	const char *path;
	const char *name;	/* member that names an item; "=": a text, up to that; NULL: all of both */
};

static const struct list_rule list_rules[] = {
	{ "process.env", "=" },
	{ "process.rlimits", "type" },
	{ "mounts", "destination" },
	{ "linux.devices", "path" },
	{ "linux.resources.hugepageLimits", "pageSize" },
	{ "linux.resources.devices", NULL },
};

struct merge {
	struct pool *pool;
	struct json_out *out;
};

static const struct list_rule *rule_of(const char *path)
{
	for (size_t i = 0; i < sizeof(list_rules) / sizeof(*list_rules); i++)
		if (!strcmp(list_rules[i].path, path))
			return &list_rules[i];
	return NULL;
}

/* The item's name, and its length; NULL: it has none. */
static const char *name_of(const struct list_rule *r, const struct json *item, size_t *len)
{
	const char *s = json_str(*r->name == '=' ? item : json_get(item, r->name));
	*len = !s ? 0 : *r->name == '=' ? strcspn(s, "=") : strlen(s);
	return s;
}

static bool has_item(const struct list_rule *r, const struct json *list, const struct json *item)
{
	size_t n, len;
	const char *name = name_of(r, item, &n);
	for (size_t i = 0; name && i < json_len(list); i++) {
		const char *other = name_of(r, json_at(list, i), &len);
		if (other && len == n && !memcmp(other, name, n))
			return true;
	}
	return false;
}

static void merge_lists(struct merge *m, const struct list_rule *r, const struct json *own, const struct json *below)
{
	json_array(m->out);
	for (size_t i = 0; i < json_len(own); i++)
		json_put(m->out, json_at(own, i));
	for (size_t i = 0; i < json_len(below); i++)
		if (!r->name || !has_item(r, own, json_at(below, i)))
			json_put(m->out, json_at(below, i));
	json_end_array(m->out);
}

static void merge(struct merge *m, const char *path, const struct json *own, const struct json *below)
{
	const struct list_rule *r = json_is_array(own) && json_is_array(below) ? rule_of(path) : NULL;
	if (r) {
		merge_lists(m, r, own, below);
		return;
	}
	if (!json_is_object(own) || !json_is_object(below)) {
		json_put(m->out, own ? own : below);
		return;
	}
	json_object(m->out);
	for (size_t i = 0; i < json_len(own); i++) {
		const char *key = json_key_at(own, i);
		json_key(m->out, key);
		merge(m, *path ? pool_printf(m->pool, "%s.%s", path, key) : key, json_at(own, i),
		      json_get(below, key));
	}
	for (size_t i = 0; i < json_len(below); i++) {
		const char *key = json_key_at(below, i);
		if (json_get(own, key))
			continue;
		json_key(m->out, key);
		json_put(m->out, json_at(below, i));
	}
	json_end_object(m->out);
}

int oci_spec_below(struct pool *p, const char *below, const char **json, size_t *len, struct err *e)
{
	struct merge m = { .pool = p, .out = json_out(p) };
	const struct json *own, *under;
	int ret = json_parse(p, *json, *len, &own, e);
	if (ret == 0)
		ret = json_parse(p, below, strlen(below), &under, e);
	if (ret < 0)
		return err_wrap(e, ret, "parts of the spec");
	merge(&m, "", own, under);
	*json = json_text(m.out, len);
	return 0;
}

/*
 * The options of a handler that are the core's own: their readers, their text, and what they say
 * of an annotation.
 */
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/config/config.h"
#include "core/config/schema.h"
#include "core/config/tree.h"

enum { PATTERN_MAX = 317, CREATE_TIMEOUT_MAX_S = 200, CPU_MAX_MILLI = 1 << 20 };

/* -- readers -- */

/* A glob that means here what it means to others: a class is closed, "!" is no negation. */
static bool is_pattern(const char *s)
{
	if (!*s || strlen(s) > PATTERN_MAX)
		return false;
	for (; *s; s++) {
		if (*s == '\\' && !*++s)
			return false;
		if (*s == '[') {
			if (s[1] == '!' || s[1] == ']' || s[1] == '[')
				return false;
			s = strchr(s, ']');
			if (!s)
				return false;
		}
	}
	return true;
}

static int read_annotations(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	struct config_policy *p = field;
	return schema_list(r, path, t, &p->annotations, &p->n_annotations, is_pattern,
			   "a pattern of annotation names, as \"example.com/*\"");
}

static int read_bool(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	if (t->kind != TREE_BOOL)
		return schema_fail(r, path, t, "true or false");
	*(bool *)field = tree_is_true(t);
	return 0;
}

/* Seconds: 90, "90s" or "2m". */
static int read_timeout(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	char *end;
	long n = t->text && (t->kind == TREE_INT || t->kind == TREE_STR) ? strtol(t->text, &end, 10) : 0;
	if (n > 0 && n <= CREATE_TIMEOUT_MAX_S && *end == 'm') {
		n *= 60;
		end++;
	} else if (n > 0 && *end == 's') {
		end++;
	}
	if (n <= 0 || n > CREATE_TIMEOUT_MAX_S || *end)
		return schema_fail(r, path, t, "a time of 1s to 200s");
	*(uint64_t *)field = (uint64_t)n * 1000;
	return 0;
}

/* Bytes as Kubernetes writes them. */
static int read_memory(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	static const struct {
		const char *name;
		int64_t factor;
	} units[] = {
		{ "", 1 }, { "k", 1000 }, { "M", 1000000 }, { "G", 1000000000 },
		{ "Ki", 1 << 10 }, { "Mi", 1 << 20 }, { "Gi", 1 << 30 },
	};
	char *end;
	long long n = t->text && (t->kind == TREE_INT || t->kind == TREE_STR) ? strtoll(t->text, &end, 10) : -1;
	for (size_t i = 0; n >= 0 && i < sizeof(units) / sizeof(*units); i++)
		if (!strcmp(end, units[i].name) && n <= (1ll << 50) / units[i].factor) {
			*(int64_t *)field = n * units[i].factor;
			return 0;
		}
	return schema_fail(r, path, t, "bytes, as 160Mi");
}

/* Cores as Kubernetes writes them; kept in thousandths. */
static int read_cpu(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	char *end = NULL;
	double n = t->text && t->kind != TREE_BOOL ? strtod(t->text, &end) : -1;
	bool milli = end && !strcmp(end, "m");
	if (!end || end == t->text || (*end && !milli) || !(n >= 0) || n > CPU_MAX_MILLI / 1000)
		return schema_fail(r, path, t, "CPUs, as 250m or 0.5");
	*(int64_t *)field = (int64_t)(milli ? n : n * 1000 + 0.5);
	return 0;
}

static int is_mapping(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	return t->kind == TREE_MAP ? 0 : schema_fail(r, path, t, "a mapping");
}

static int is_list(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	return t->kind == TREE_LIST ? 0 : schema_fail(r, path, t, "a list");
}

static int is_text(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	return tree_str(t) ? 0 : schema_fail(r, path, t, "a string");
}

static int is_text_map(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	int ret = is_mapping(r, path, t, field);
	for (size_t i = 0; ret == 0 && i < t->n; i++)
		ret = is_text(r, pool_printf(r->pool, "%s.%s", path, t->members[i].key),
			      t->members[i].value, field);
	return ret;
}

/* A list of mappings that each have this member, a string; absolute: it is a path. */
static int is_named_list(struct schema_reader *r, const char *path, const struct tree *t, const char *name,
			 bool absolute)
{
	int ret = is_list(r, path, t, NULL);
	for (size_t i = 0; ret == 0 && i < t->n; i++) {
		const struct tree *v = t->members[i].value;
		const char *s = tree_str(tree_get(v, name));
		if (!s || !*s || (absolute && *s != '/'))
			ret = tree_err(v, r->e, "%s: expected mappings, each with %s \"%s\"", path,
				       absolute ? "an absolute path" : "a string", name);
	}
	return ret;
}

static int is_mounts(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	return is_named_list(r, path, t, "destination", true);
}

static int is_devices(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	return is_named_list(r, path, t, "path", true);
}

static int is_rlimits(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	return is_named_list(r, path, t, "type", false);
}

static int is_hooks(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	int ret = is_mapping(r, path, t, field);
	for (size_t i = 0; ret == 0 && i < t->n; i++)
		ret = is_named_list(r, pool_printf(r->pool, "%s.%s", path, t->members[i].key),
				    t->members[i].value, "path", true);
	return ret;
}

static int is_env(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	int ret = is_list(r, path, t, field);
	for (size_t i = 0; ret == 0 && i < t->n; i++) {
		const struct tree *v = t->members[i].value;
		if (!tree_str(v) || !strchr(v->text, '=') || *v->text == '=')
			ret = schema_fail(r, path, v, "NAME=VALUE");
	}
	return ret;
}

/* -- keys -- */

/* What of a config.json is not the pod's to say.  Whoever asks for a capability, a user, a profile
 * or a namespace, or for none, must get that. */
static const struct schema_key process_keys[] = {
	{ "env", NULL, is_env, 0 },
	{ "rlimits", NULL, is_rlimits, 0 },
	{ "ioPriority", NULL, is_mapping, 0 },
	{ "scheduler", NULL, is_mapping, 0 },
	{ 0 }
};
static const struct schema_key linux_keys[] = {
	{ "devices", NULL, is_devices, 0 },
	{ "resources", NULL, is_mapping, 0 },
	{ "sysctl", NULL, is_text_map, 0 },
	{ "intelRdt", NULL, is_mapping, 0 },
	{ "personality", NULL, is_mapping, 0 },
	{ "rootfsPropagation", NULL, is_text, 0 },
	{ 0 }
};
static const struct schema_key spec_keys[] = {
	{ "process", process_keys, NULL, 0 },
	{ "mounts", NULL, is_mounts, 0 },
	{ "hooks", NULL, is_hooks, 0 },
	{ "linux", linux_keys, NULL, 0 },
	{ "annotations", NULL, is_text_map, 0 },
	{ 0 }
};

static int read_spec(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	int ret = schema_keys(r, path, spec_keys, t, field);
	return ret < 0 ? ret : schema_mapping(r, path, t, field);
}

#define AT(member) offsetof(struct config_policy, member)

static const struct schema_key overhead_keys[] = {
	{ "memory", NULL, read_memory, AT(overhead_memory) },
	{ "cpu", NULL, read_cpu, AT(overhead_cpu) },
	{ 0 }
};

const struct schema_key policy_keys[] = {
	{ "allowed_annotations", NULL, read_annotations, 0 },
	{ "spec", NULL, read_spec, AT(spec_json) },
	{ "privileged_without_host_devices", NULL, read_bool, AT(no_host_devices) },
	{ "pod_overhead", overhead_keys, NULL, 0 },
	{ "create_timeout", NULL, read_timeout, AT(create_timeout_ms) },
	{ 0 }
};

/* -- text -- */

void policy_put(const struct config_policy *p, struct json_out *o, struct pool *scratch)
{
	if (p->n_annotations) {
		json_key(o, "allowed_annotations");
		json_array(o);
		for (size_t i = 0; i < p->n_annotations; i++)
			json_put_str(o, p->annotations[i]);
		json_end_array(o);
	}
	const struct json *spec;
	if (p->spec_json && json_parse(scratch, p->spec_json, strlen(p->spec_json), &spec, NULL) == 0) {
		json_key(o, "spec");
		json_put(o, spec);
	}
	if (p->no_host_devices)
		json_member_bool(o, "privileged_without_host_devices", true);
	if (p->overhead_memory || p->overhead_cpu) {
		json_key(o, "pod_overhead");
		json_object(o);
		json_member_int(o, "memory", p->overhead_memory);
		json_member_str(o, "cpu", pool_printf(scratch, "%lldm", (long long)p->overhead_cpu));
		json_end_object(o);
	}
	if (p->create_timeout_ms)
		json_member_int(o, "create_timeout", (int64_t)(p->create_timeout_ms / 1000));
}

const char *config_policy_json(struct pool *p, const struct config_policy *policy)
{
	struct json_out *o = json_out(p);
	json_object(o);
	policy_put(policy, o, p);
	json_end_object(o);
	return json_text(o, NULL);
}

int config_policy_parse(struct pool *p, const char *text, struct config_policy *out, struct err *e)
{
	struct schema_reader r = { .pool = p, .e = e };
	struct tree *t;
	*out = (struct config_policy){ 0 };
	int ret = tree_parse(p, "policy", text, strlen(text), &t, e);
	return ret < 0 ? ret : schema_keys(&r, "", policy_keys, t, out);
}

/* -- annotations -- */

bool config_policy_allows(const struct config_policy *p, const char *annotation)
{
	static const char ours[] = "io.kubernetes.cri";
	if (!strncmp(annotation, ours, sizeof(ours) - 1))
		return false;
	for (size_t i = 0; i < p->n_annotations; i++)
		if (fnmatch(p->annotations[i], annotation, FNM_PATHNAME) == 0)
			return true;
	return false;
}

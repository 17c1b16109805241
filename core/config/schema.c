/*
 * The table of keys.  A section lists its keys; a key has a reader for its value and the
 * place in struct config where that goes.  An unknown key is compared with the names of its
 * own section.
 */
#include "core/config/schema.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/near.h"
#include "core/base/pool.h"
#include "core/config/config.h"
#include "core/config/tree.h"

int schema_fail(struct schema_reader *r, const char *path, const struct tree *t, const char *expected)
{
	if (t->text && t->kind != TREE_NULL)
		return tree_err(t, r->e, "%s: \"%.100s\" is %s, expected %s", path, t->text,
				t->kind == TREE_STR ? "wrong" : tree_kind_name(t->kind), expected);
	return tree_err(t, r->e, "%s: expected %s, not %s", path, expected,
			tree_kind_name(t->kind));
}

static int fail_unknown(struct schema_reader *r, const char *section, const struct tree_member *m,
			const char *const *names, size_t n)
{
	const char *near = near_name(m->key, names, n);
	const char *dot = *section ? "." : "";
	struct tree at = { .file = m->value->file, .line = m->line };
	if (near)
		return tree_err(&at, r->e, "unknown key \"%s%s%s\", did you mean \"%s%s%s\"?",
				section, dot, m->key, section, dot, near);
	return tree_err(&at, r->e, "unknown key \"%s%s%s\"", section, dot, m->key);
}

int schema_string(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	if (!tree_str(t))
		return schema_fail(r, path, t, "a string");
	*(const char **)field = t->text;
	return 0;
}

static int read_path(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	const char *s = tree_str(t);
	if (!s || *s != '/' || strlen(s) >= PATH_MAX - NAME_MAX)
		return schema_fail(r, path, t, "an absolute path");
	size_t n = strlen(s);
	while (n > 1 && s[n - 1] == '/')
		n--;
	*(const char **)field = pool_strndup(r->pool, s, n);
	return 0;
}

/* The socket's address holds 107 bytes. */
static int read_socket(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	if (tree_str(t) && strlen(t->text) > 107)
		return schema_fail(r, path, t, "a path of at most 107 bytes");
	return read_path(r, path, t, field);
}

static int read_netns_prefix(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	const char *s = tree_str(t);
	if (!s || strlen(s) > 64 || strchr(s, '/') || *s == '.')
		return schema_fail(r, path, t, "the begin of a file name, at most 64 bytes");
	return schema_string(r, path, t, field);
}

/* One of the words in the list, which ends with NULL. */
static int read_word(struct schema_reader *r, const char *path, const struct tree *t, void *field,
		     const char *const *words)
{
	char expected[200] = "one of";
	for (int i = 0; words[i]; i++) {
		if (tree_str(t) && !strcmp(t->text, words[i])) {
			*(const char **)field = words[i];
			return 0;
		}
		size_t n = strlen(expected);
		snprintf(expected + n, sizeof(expected) - n, "%s %s", i ? "," : "", words[i]);
	}
	return schema_fail(r, path, t, expected);
}

static int read_level(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	static const char *const words[] = { "debug", "info", "warn", "error", NULL };
	const char *word;
	int ret = read_word(r, path, t, &word, words);
	if (ret == 0)
		*(int *)field = log_level_parse(word);
	return ret;
}

static int read_driver(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	static const char *const words[] = { "auto", "cgroupfs", "systemd", NULL };
	return read_word(r, path, t, field, words);
}

static int read_store(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	static const char *const words[] = { "auto", "dir", "erofs", NULL };
	return read_word(r, path, t, field, words);
}

static int read_cgroup_parent(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	const char *s = tree_str(t);
	size_t n = s ? strlen(s) : 0;
	bool slice = n > 6 && n < NAME_MAX && !strcmp(s + n - 6, ".slice") && !strchr(s, '/');
	if (slice)
		return schema_string(r, path, t, field);
	if (s && (strstr(s, "/../") || (n > 3 && !strcmp(s + n - 3, "/.."))))
		return schema_fail(r, path, t, "a path without \"..\"");
	if (!s || *s != '/')
		return schema_fail(r, path, t, "a path like /crisp, or NAME.slice");
	return read_path(r, path, t, field);
}

int schema_mapping(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	if (t->kind != TREE_MAP)
		return schema_fail(r, path, t, "a mapping");
	struct json_out *o = json_out(r->pool);
	tree_json(t, o);
	*(const char **)field = json_text(o, NULL);
	return 0;
}

int schema_list(struct schema_reader *r, const char *path, const struct tree *t, const char ***out,
		size_t *n, bool (*good)(const char *s), const char *expected)
{
	if (t->kind != TREE_LIST)
		return schema_fail(r, path, t, "a list");
	*out = pool_alloc(r->pool, (t->n + 1) * sizeof(**out));
	*n = 0;
	for (size_t i = 0; i < t->n; i++) {
		const struct tree *v = t->members[i].value;
		if (!tree_str(v) || !good(v->text))
			return schema_fail(r, path, v, expected);
		(*out)[(*n)++] = v->text;
	}
	return 0;
}

/* HOST, HOST:PORT, [V6]:PORT */
static bool is_host(const char *s)
{
	if (!*s || strlen(s) > 270)
		return false;
	if (*s == '[') {
		size_t n = strspn(s + 1, "0123456789abcdefABCDEF:.");
		if (n == 0 || s[1 + n] != ']')
			return false;
		s += n + 2;
	} else {
		for (; isalnum((unsigned char)*s) || *s == '.' || *s == '-' || *s == '_'; s++)
			;
	}
	if (!*s)
		return true;
	size_t digits = strspn(s + 1, "0123456789");
	return *s == ':' && digits > 0 && digits <= 5 && !s[1 + digits];
}

static bool is_url(const char *s)
{
	return (!strncmp(s, "http://", 7) && is_host(strndupa(s + 7, strcspn(s + 7, "/")))) ||
	       (!strncmp(s, "https://", 8) && is_host(strndupa(s + 8, strcspn(s + 8, "/"))));
}

static bool is_image(const char *s)
{
	return *s && strlen(s) < 512 && !s[strcspn(s, " \t\r\n")];
}

static int read_plain_http(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	return schema_list(r, path, t, &r->config->plain_http, &r->config->n_plain_http, is_host,
			 "HOST or HOST:PORT");
}

static int read_pinned(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	return schema_list(r, path, t, &r->config->pinned, &r->config->n_pinned, is_image,
			 "the name of an image");
}

static int read_mirrors(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	struct config *c = r->config;
	if (t->kind != TREE_MAP)
		return schema_fail(r, path, t, "a mapping of registry hosts");
	c->mirrors = pool_alloc(r->pool, (t->n + 1) * sizeof(*c->mirrors));
	c->n_mirrors = 0;
	for (size_t i = 0; i < t->n; i++) {
		const struct tree_member *m = &t->members[i];
		if (!is_host(m->key))
			return tree_err(m->value, r->e, "%s: \"%.100s\" is no HOST or HOST:PORT",
					path, m->key);
		struct config_mirror *mirror = &c->mirrors[c->n_mirrors++];
		mirror->host = m->key;
		const char *sub = pool_printf(r->pool, "%s.%s", path, m->key);
		int ret = schema_list(r, sub, m->value, &mirror->urls, &mirror->n_urls, is_url,
				    "a URL of http:// or https:// and a host");
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int read_address(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	unsigned char any[16];
	const char *s = tree_str(t);
	if (!s || (inet_pton(AF_INET, s, any) != 1 && inet_pton(AF_INET6, s, any) != 1))
		return schema_fail(r, path, t, "an IP address");
	return schema_string(r, path, t, field);
}

static int read_port(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	int64_t n;
	if (tree_int(t, &n) < 0 || n < 0 || n > 65535)
		return schema_fail(r, path, t, "a port, 0 to 65535");
	*(int *)field = (int)n;
	return 0;
}

#define AT(field) offsetof(struct config, field)

static const struct schema_key log_keys[] = {
	{ "level", NULL, read_level, AT(log_level) },
	{ 0 }
};
static const struct schema_key cgroup_keys[] = {
	{ "driver", NULL, read_driver, AT(cgroup_driver) },
	{ "parent", NULL, read_cgroup_parent, AT(cgroup_parent) },
	{ 0 }
};
static const struct schema_key engines_keys[] = {
	{ "default", NULL, schema_string, AT(engine_default) },
	{ "handlers", NULL, schema_handlers, 0 },
	{ 0 }
};
static const struct schema_key network_keys[] = {
	{ "plugin", NULL, schema_engine_name, AT(network_plugin) },
	{ "options", NULL, schema_mapping, AT(network_options_json) },
	{ 0 }
};
static const struct schema_key registries_keys[] = {
	{ "dir", NULL, read_path, AT(registries_dir) },
	{ "auth_file", NULL, read_path, AT(auth_file) },
	{ "plain_http", NULL, read_plain_http, 0 },
	{ "mirrors", NULL, read_mirrors, 0 },
	{ 0 }
};
static const struct schema_key stream_keys[] = {
	{ "address", NULL, read_address, AT(stream_address) },
	{ "port", NULL, read_port, AT(stream_port) },
	{ 0 }
};
static const struct schema_key images_keys[] = {
	{ "store", NULL, read_store, AT(images_store) },
	{ "pinned", NULL, read_pinned, 0 },
	{ 0 }
};
static const struct schema_key top_keys[] = {
	{ "socket", NULL, read_socket, AT(socket) },
	{ "state", NULL, read_path, AT(state) },
	{ "root", NULL, read_path, AT(root) },
	{ "libexec_dir", NULL, read_path, AT(libexec_dir) },
	{ "engine_dir", NULL, read_path, AT(engine_dir) },
	{ "netplug_dir", NULL, read_path, AT(netplug_dir) },
	{ "netns_dir", NULL, read_path, AT(netns_dir) },
	{ "netns_prefix", NULL, read_netns_prefix, AT(netns_prefix) },
	{ "log", log_keys, NULL, 0 },
	{ "cgroup", cgroup_keys, NULL, 0 },
	{ "engines", engines_keys, NULL, 0 },
	{ "network", network_keys, NULL, 0 },
	{ "registries", registries_keys, NULL, 0 },
	{ "stream", stream_keys, NULL, 0 },
	{ "images", images_keys, NULL, 0 },
	{ 0 }
};

enum { KEYS_MAX = 16 };
_Static_assert(sizeof(top_keys) / sizeof(*top_keys) <= KEYS_MAX, "schema_keys collects the names");

static int read_key(struct schema_reader *r, const char *section, const struct schema_key *k,
		    const struct tree *v, char *base)
{
	if (v->kind == TREE_NULL)	/* "key:" with nothing: as if absent */
		return 0;
	const char *path = *section ? pool_printf(r->pool, "%s.%s", section, k->name) : k->name;
	if (k->section)
		return schema_keys(r, path, k->section, v, base);
	return k->read(r, path, v, base + k->field);
}

/* The key of that name and the base of its field; NULL, and all names that there are. */
static const struct schema_key *find_key(const struct schema_key *keys, const char *name, char **base,
					 const char **names, size_t *n)
{
	for (const struct schema_key *k = keys; k->name; k++) {
		char *inner = *base + k->field;
		const struct schema_key *found;
		if (!*k->name && (found = find_key(k->section, name, &inner, names, n))) {
			*base = inner;
			return found;
		}
		if (*k->name && !strcmp(k->name, name))
			return k;
		if (*k->name && *n < KEYS_MAX)
			names[(*n)++] = k->name;
	}
	return NULL;
}

int schema_keys(struct schema_reader *r, const char *section, const struct schema_key *keys,
		const struct tree *t, void *base)
{
	if (t->kind == TREE_NULL)
		return 0;
	if (t->kind != TREE_MAP)
		return schema_fail(r, *section ? section : "the file", t, "a mapping");
	for (size_t i = 0; i < t->n; i++) {
		const char *names[KEYS_MAX];
		size_t n = 0;
		char *at = base;
		const struct schema_key *k = find_key(keys, t->members[i].key, &at, names, &n);
		if (!k)
			return fail_unknown(r, section, &t->members[i], names, n);
		int ret = read_key(r, section, k, t->members[i].value, at);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int schema_read(struct pool *p, const struct tree *t, struct config *c, struct err *e)
{
	struct schema_reader r = { .pool = p, .config = c, .e = e };
	return schema_keys(&r, "", top_keys, t, c);
}

/*
 * The section "engines": handlers, each with its engine, the engine's options and the core's own;
 * what is there by default, and whether the rules by which a pod goes to another handler make sense.
 */
#include <string.h>
#include <unistd.h>

#include "core/base/json.h"
#include "core/base/near.h"
#include "core/base/pool.h"
#include "core/config/config.h"
#include "core/config/schema.h"
#include "core/config/tree.h"

enum { PARALLEL_MAX = 1000 };

/* Handlers where none is configured, each of the engine of its name; the first is the default.
 * Which they are is for the build to say. */
static const char *const default_handlers[] = { DEFAULT_HANDLERS };
enum { N_DEFAULT_HANDLERS = sizeof(default_handlers) / sizeof(*default_handlers) };

/* -- keys -- */

bool schema_is_engine_name(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_-");
	return n > 0 && n <= 64 && !s[n];
}

int schema_engine_name(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	if (!tree_str(t) || !schema_is_engine_name(t->text))
		return schema_fail(r, path, t, "a name of a-z, 0-9, _ and -");
	return schema_string(r, path, t, field);
}

static bool is_dns_label(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-");
	return n > 0 && n <= 63 && !s[n] && s[0] != '-' && s[n - 1] != '-';
}

static int read_parallel(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	int64_t n;
	if (tree_int(t, &n) < 0 || n < 1 || n > PARALLEL_MAX)
		return schema_fail(r, path, t, "a number, 1 to 1000");
	*(unsigned *)field = (unsigned)n;
	return 0;
}

#define AT(member) offsetof(struct config_handler, member)

static const struct schema_key handler_keys[] = {
	{ "engine", NULL, schema_engine_name, AT(engine) },
	{ "options", NULL, schema_mapping, AT(options_json) },
	{ "fallback", NULL, schema_string, AT(fallback) },
	{ "max_parallel", NULL, read_parallel, AT(max_parallel) },
	{ "", policy_keys, NULL, AT(policy) },
	{ 0 }
};

int schema_handlers(struct schema_reader *r, const char *path, const struct tree *t, void *field)
{
	struct config *c = r->config;
	if (t->kind != TREE_MAP)
		return schema_fail(r, path, t, "a mapping of handler names");
	/* room for the default */
	c->handlers = pool_alloc(r->pool, (t->n + 1) * sizeof(*c->handlers));
	c->n_handlers = 0;
	for (size_t i = 0; i < t->n; i++) {
		const struct tree_member *m = &t->members[i];
		if (!is_dns_label(m->key))
			return tree_err(m->value, r->e,
					"%s: \"%.100s\" is no name for a handler, expected a-z, 0-9 and -",
					path, m->key);
		struct config_handler *h = &c->handlers[c->n_handlers++];
		*h = (struct config_handler){ .name = m->key, .engine = m->key, .options_json = "{}" };
		const char *section = pool_printf(r->pool, "%s.%s", path, m->key);
		int ret = schema_keys(r, section, handler_keys, m->value, h);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* -- defaults -- */

static void add_handler(struct config *c, const char *name)
{
	c->handlers[c->n_handlers++] =
		(struct config_handler){ .name = name, .engine = name, .options_json = "{}" };
}

static bool is_engine(struct pool *p, const struct config *c, const char *name)
{
	if (!schema_is_engine_name(name))
		return false;
	for (size_t i = 0; i < N_DEFAULT_HANDLERS; i++)
		if (!strcmp(name, default_handlers[i]))
			return true;
	return access(pool_printf(p, "%s/%s.so", c->engine_dir, name), F_OK) == 0;
}

/* ", did you mean ...": a handler of a name like that, or "". */
static const char *meant(struct pool *p, const struct config *c, const char *name)
{
	const char **names = pool_alloc(p, (c->n_handlers + 1) * sizeof(*names));
	for (size_t i = 0; i < c->n_handlers; i++)
		names[i] = c->handlers[i].name;
	const char *near = near_name(name, names, c->n_handlers);
	return near ? pool_printf(p, ", did you mean \"%s\"?", near) : "";
}

/* An engine named as default needs no handler entry. */
static int default_engines(struct pool *p, struct config *c, const struct tree *engines, struct err *e)
{
	if (!c->engine_default)
		c->engine_default = default_handlers[0];
	if (!c->handlers) {
		c->handlers = pool_alloc(p, (N_DEFAULT_HANDLERS + 1) * sizeof(*c->handlers));
		for (size_t i = 0; i < N_DEFAULT_HANDLERS; i++)
			add_handler(c, default_handlers[i]);
	}
	if (config_handler(c, c->engine_default))
		return 0;
	if (is_engine(p, c, c->engine_default)) {
		add_handler(c, c->engine_default);
		return 0;
	}
	return tree_err(tree_get(engines, "default"), e,
			"engines.default: \"%s\" is neither a handler nor an engine%s", c->engine_default,
			meant(p, c, c->engine_default));
}

/* -- where pods go that a handler can't have -- */

/* Each way ends within as many steps as there are handlers. */
static int check_way(const struct config *c, const struct config_handler *from, const struct tree *at,
		     struct pool *p, struct err *e)
{
	const char *way = from->name;
	const struct config_handler *h = from;
	for (size_t i = 0; h->fallback; i++) {
		way = pool_printf(p, "%s > %s", way, h->fallback);
		h = config_handler(c, h->fallback);
		if (!h)
			return 0;	/* said of its own handler */
		if (i == c->n_handlers || h == from)
			return tree_err(at, e, "engines.handlers.%s.fallback: \"%s\" leads in a circle: %s",
					from->name, from->fallback, way);
	}
	return 0;
}

static int check_fallbacks(struct pool *p, const struct config *c, const struct tree *engines, struct err *e)
{
	const struct tree *handlers = tree_get(engines, "handlers");
	for (size_t i = 0; i < c->n_handlers; i++) {
		const struct config_handler *h = &c->handlers[i];
		if (!h->fallback)
			continue;
		const struct tree *at = tree_get(tree_get(handlers, h->name), "fallback");
		if (!*h->fallback || !config_handler(c, h->fallback))
			return tree_err(at, e, "engines.handlers.%s.fallback: \"%s\" is no handler%s", h->name,
					h->fallback, meant(p, c, h->fallback));
		int ret = check_way(c, h, at, p, e);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int handlers_complete(struct pool *p, struct config *c, const struct tree *engines, struct err *e)
{
	int ret = default_engines(p, c, engines, e);
	return ret < 0 ? ret : check_fallbacks(p, c, engines, e);
}

const struct config_handler *config_handler(const struct config *c, const char *name)
{
	if (!name || !*name)
		name = c->engine_default;
	for (size_t i = 0; i < c->n_handlers; i++)
		if (!strcmp(c->handlers[i].name, name))
			return &c->handlers[i];
	return NULL;
}

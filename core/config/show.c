/* The effective configuration as JSON, in the shape of the file; and what differs between two. */
#include <string.h>

#include "core/base/buf.h"
#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/config/config.h"
#include "core/config/schema.h"

static void begin(struct json_out *o, const char *name)
{
	json_key(o, name);
	json_object(o);
}

static void put_list(struct json_out *o, const char *name, const char *const *items, size_t n)
{
	json_key(o, name);
	json_array(o);
	for (size_t i = 0; i < n; i++)
		json_put_str(o, items[i]);
	json_end_array(o);
}

static void put_options(struct json_out *o, struct pool *scratch, const char *text)
{
	const struct json *j;
	json_key(o, "options");
	json_put(o, json_parse(scratch, text, strlen(text), &j, NULL) == 0 ? j : NULL);
}

static void put_paths(const struct config *c, struct json_out *o)
{
	json_member_str(o, "socket", c->socket);
	json_member_str(o, "state", c->state);
	json_member_str(o, "root", c->root);
	json_member_str(o, "libexec_dir", c->libexec_dir);
	json_member_str(o, "engine_dir", c->engine_dir);
	json_member_str(o, "netplug_dir", c->netplug_dir);
	json_member_str(o, "netns_dir", c->netns_dir);
	json_member_str(o, "netns_prefix", c->netns_prefix);
}

static void put_engines(const struct config *c, struct json_out *o, struct pool *scratch)
{
	begin(o, "engines");
	json_member_str(o, "default", c->engine_default);
	begin(o, "handlers");
	for (size_t i = 0; i < c->n_handlers; i++) {
		const struct config_handler *h = &c->handlers[i];
		begin(o, h->name);
		json_member_str(o, "engine", h->engine);
		put_options(o, scratch, h->options_json);
		if (h->fallback)
			json_member_str(o, "fallback", h->fallback);
		if (h->max_parallel)
			json_member_int(o, "max_parallel", h->max_parallel);
		policy_put(&h->policy, o, scratch);
		json_end_object(o);
	}
	json_end_object(o);
	json_end_object(o);
}

static void put_registries(const struct config *c, struct json_out *o)
{
	begin(o, "registries");
	json_member_str(o, "dir", c->registries_dir);
	json_member_str(o, "auth_file", c->auth_file);
	put_list(o, "plain_http", c->plain_http, c->n_plain_http);
	begin(o, "mirrors");
	for (size_t i = 0; i < c->n_mirrors; i++)
		put_list(o, c->mirrors[i].host, c->mirrors[i].urls, c->mirrors[i].n_urls);
	json_end_object(o);
	json_end_object(o);
}

void config_json(const struct config *c, struct json_out *o)
{
	static const char *const levels[] = { "debug", "info", "warn", "error" };
	struct pool *scratch = pool_new(NULL, "config show");
	json_object(o);
	put_paths(c, o);
	begin(o, "log");
	json_member_str(o, "level", levels[c->log_level]);
	json_end_object(o);
	begin(o, "cgroup");
	json_member_str(o, "driver", c->cgroup_driver);
	json_member_str(o, "parent", c->cgroup_parent);
	json_end_object(o);
	put_engines(c, o, scratch);
	begin(o, "network");
	json_member_str(o, "plugin", c->network_plugin);
	put_options(o, scratch, c->network_options_json);
	json_end_object(o);
	put_registries(c, o);
	begin(o, "stream");
	json_member_str(o, "address", c->stream_address);
	json_member_int(o, "port", c->stream_port);
	json_end_object(o);
	begin(o, "images");
	json_member_str(o, "store", c->images_store);
	put_list(o, "pinned", c->pinned, c->n_pinned);
	json_end_object(o);
	json_end_object(o);
	pool_destroy(scratch);
}

/* -- differences -- */

static bool is_reloaded(const char *path)
{
	return !strcmp(path, "log.level") || !strcmp(path, "engines");
}

/* Values without order: two lists are the same as text. */
static bool same_value(struct pool *p, const struct json *a, const struct json *b)
{
	struct json_out *x = json_out(p), *y = json_out(p);
	json_put(x, a);
	json_put(y, b);
	return !strcmp(json_text(x, NULL), json_text(y, NULL));
}

static void add_changes(struct pool *p, const char *path, const struct json *was, const struct json *now,
			struct buf *out)
{
	if (is_reloaded(path) || same_value(p, was, now))
		return;
	if (json_len(now) != json_len(was) || !json_is_object(now)) {
		buf_printf(out, "%s%s", out->len ? ", " : "", path);
		return;
	}
	for (size_t i = 0; i < json_len(now); i++) {
		const char *key = json_key_at(now, i);
		add_changes(p, *path ? pool_printf(p, "%s.%s", path, key) : key, json_get(was, key),
			    json_at(now, i), out);
	}
}

static const struct json *tree_of(struct pool *p, const struct config *c)
{
	struct json_out *o = json_out(p);
	const struct json *j = NULL;
	size_t len;
	config_json(c, o);
	const char *text = json_text(o, &len);
	json_parse(p, text, len, &j, NULL);
	return j;
}

const char *config_fixed_changes(struct pool *p, const struct config *was, const struct config *now)
{
	struct buf out = { 0 };
	add_changes(p, "", tree_of(p, was), tree_of(p, now), &out);
	const char *text = pool_strndup(p, out.data ? out.data : "", out.len);
	buf_free(&out);
	return text;
}

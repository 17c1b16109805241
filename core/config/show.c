/* The effective configuration as JSON, in the shape of the file. */
#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/config/config.h"

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
	json_put(o, json_parse(scratch, text, __builtin_strlen(text), &j, NULL) == 0 ? j : NULL);
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
		begin(o, c->handlers[i].name);
		json_member_str(o, "engine", c->handlers[i].engine);
		put_options(o, scratch, c->handlers[i].options_json);
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

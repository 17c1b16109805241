#pragma once
/*
 * The configuration: defaults < FILE < conf.d/NAME.yaml beside FILE (sorted) < --set.
 *
 * Mappings of later layers are merged into earlier ones, scalars and lists replace.  Every
 * key is optional; an unknown or repeated key, a wrong type or an impossible value is an error
 * that names file, line, key, value and what was expected.  Nothing outside of the YAML files
 * is read but whether the plugin folders exist, so a load has no side effects.
 *
 * handler    the name that a RuntimeClass uses; stands for an engine and its options
 * engine     the plugin's name: ENGINE_DIR/NAME.so
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

struct json_out;
struct pool;

/*
 * What the core itself does for the pods of a handler, whatever its engine.  All zero: nothing.
 */
struct config_policy {
	const char **annotations;	/* patterns: which of a pod's or container's the engine sees */
	size_t n_annotations;
	const char *spec_json;		/* parts of config.json that lie below what is asked for; NULL */
	bool no_host_devices;		/* privileged containers get none of the host's devices */
	int64_t overhead_memory;	/* bytes that a pod takes beside its containers; 0: not said */
	int64_t overhead_cpu;		/* thousandths of a CPU, likewise */
	uint64_t create_timeout_ms;	/* of an engine's create, start and sandbox; 0: the usual */
};

struct config_handler {
	const char *name;		/* a DNS label, as RuntimeClass wants it */
	const char *engine;		/* [a-z0-9_-]+ */
	const char *options_json;	/* text of an object, "{}" when none */
	const char *fallback;		/* handler of its pods that need the host; NULL: itself */
	unsigned max_parallel;		/* operations that make something, at once; 0: no limit */
	struct config_policy policy;
};

struct config_mirror {
	const char *host;		/* HOST[:PORT] that is mirrored */
	const char **urls;		/* tried in order */
	size_t n_urls;
};

/* Strings are never NULL but for auth_file, lists are NULL when empty. */
struct config {
	const char *socket;		/* absolute, fits sockaddr_un */
	const char *state, *root;	/* absolute folders */
	const char *libexec_dir, *engine_dir, *netplug_dir;
	const char *netns_dir, *netns_prefix;
	int log_level;			/* enum log_level */
	const char *cgroup_driver;	/* "cgroupfs" or "systemd"; auto is settled */
	const char *cgroup_parent;	/* "/a/b" with cgroupfs, "x.slice" with systemd */

	const char *engine_default;	/* name of a handler, always one of handlers */
	struct config_handler *handlers;
	size_t n_handlers;		/* at least 1 */

	const char *network_plugin;
	const char *network_options_json;	/* text of an object */

	const char *registries_dir;
	const char *auth_file;		/* NULL: none */
	const char **plain_http;	/* HOST[:PORT] spoken to without TLS */
	size_t n_plain_http;
	struct config_mirror *mirrors;
	size_t n_mirrors;

	const char *stream_address;	/* an IP address */
	int stream_port;		/* 0: any free one */

	const char *images_store;	/* "auto", "dir" or "erofs" */
	const char **pinned;		/* image names that are never collected */
	size_t n_pinned;
};

/*
 * Load and check everything into p.
 * file     NULL: /etc/crisp/config.yaml and its drop-ins, as far as they exist
 * sets     "key.path=value" each, value in YAML ("[a, b]" is a list); later ones win
 * exe_dir  folder of the running binary: plugins and helpers lie below it, or in
 *          ../lib/crisp once installed
 * -EINVAL for anything wrong in the content, else the errno of reading.
 */
int config_load(struct pool *p, const char *file, const char *const *sets, size_t n_sets,
		const char *exe_dir, struct config **out, struct err *e);

/* The handler of that name, "" or NULL for the default one; NULL when there is none. */
const struct config_handler *config_handler(const struct config *c, const char *name);

/* A policy as text, and from what config_policy_json() has written (-EINVAL). */
const char *config_policy_json(struct pool *p, const struct config_policy *policy);
int config_policy_parse(struct pool *p, const char *text, struct config_policy *out, struct err *e);
/* May the engine see the annotation of that name?  Patterns are those of path.Match in Go: * and ?
 * stop at a slash.  What tells engines who a pod is never comes from outside. */
bool config_policy_allows(const struct config_policy *p, const char *annotation);

/* The paths of the keys that differ, comma-separated, but those that are reloaded: handlers and
 * the log's level.  "" when there are none. */
const char *config_fixed_changes(struct pool *p, const struct config *was, const struct config *now);

/* The effective values as one JSON object, shaped as the file is. */
void config_json(const struct config *c, struct json_out *o);

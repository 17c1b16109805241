/*
 * Layers into one tree, the tree into struct config, then defaults and what must agree.
 *
 * Each layer is checked on its own before it is merged, so that a mistake is found also
 * where a later layer would cover it.
 */
#include "core/config/config.h"

#include <dirent.h>
#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/config/schema.h"
#include "core/config/tree.h"

#define FILE_DEFAULT "/etc/crisp/config.yaml"

enum { DROPINS_MAX = 256, SET_DEPTH_MAX = 8 };

struct layers {
	struct pool *pool;
	struct tree *merged;	/* NULL: nothing yet */
	struct err *e;
};

static int add_layer(struct layers *l, struct tree *t)
{
	struct config scratch = { 0 };
	int ret = schema_read(l->pool, t, &scratch, l->e);
	if (ret == 0 && t->kind == TREE_MAP)
		l->merged = tree_merge(l->pool, l->merged, t);
	return ret;
}

static int add_file(struct layers *l, const char *file)
{
	struct tree *t;
	int ret = tree_load(l->pool, file, &t, l->e);
	return ret < 0 ? ret : add_layer(l, t);
}

static int is_dropin(const struct dirent *d)
{
	const char *dot = strrchr(d->d_name, '.');
	return d->d_name[0] != '.' && dot && !strcmp(dot, ".yaml");
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int add_dropins(struct layers *l, const char *file)
{
	const char *slash = strrchr(file, '/');
	const char *dir =
		slash ? pool_printf(l->pool, "%.*s/conf.d", (int)(slash - file), file) : "conf.d";
	struct dirent **found;
	int n = scandir(dir, &found, is_dropin, by_bytes);
	if (n < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0
							   : err_sys(l->e, "read folder %s", dir);
	int ret = n > DROPINS_MAX ? err_set(l->e, E2BIG, "%s: more than %d files", dir, DROPINS_MAX)
				  : 0;
	for (int i = 0; i < n; i++) {
		if (ret == 0)
			ret = add_file(l, pool_printf(l->pool, "%s/%s", dir, found[i]->d_name));
		free(found[i]);
	}
	free(found);
	return ret;
}

/* The names of a path: dots part them, but a registry's host is one name with its dots. */
static int split_path(struct pool *p, const char *path, const char **names)
{
	static const char hosts[] = "registries.mirrors.";
	int n = 0;
	for (const char *s = path;; n++) {
		bool rest =
			s - path == sizeof(hosts) - 1 && !strncmp(path, hosts, sizeof(hosts) - 1);
		size_t len = rest ? strlen(s) : strcspn(s, ".");
		if (len == 0 || n == SET_DEPTH_MAX)
			return -EINVAL;
		names[n] = pool_strndup(p, s, len);
		if (!s[len])
			return n + 1;
		s += len + 1;
	}
}

static int add_set(struct layers *l, const char *set)
{
	const char *eq = strchr(set, '='), *names[SET_DEPTH_MAX];
	if (!tree_is_text(set, strlen(set)))
		return err_set(l->e, EINVAL, "--set: a control character in it");
	int n = eq ? split_path(l->pool, pool_strndup(l->pool, set, eq - set), names) : -EINVAL;
	if (n < 0)
		return err_set(l->e, EINVAL, "--set %s: expected key.path=value", set);
	const char *where = pool_printf(l->pool, "--set %s", set);
	struct tree *t;
	int ret = tree_parse(l->pool, where, eq + 1, strlen(eq + 1), &t, l->e);
	if (ret < 0)
		return ret;
	t->line = 0;
	while (n-- > 0) {
		struct tree *outer = tree_new_map(l->pool, where);
		tree_add(l->pool, outer, names[n], 0, t);
		t = outer;
	}
	return add_layer(l, t);
}

static int add_all(struct layers *l, const char *file, const char *const *sets, size_t n_sets)
{
	int ret = 0;
	if (file || access(FILE_DEFAULT, F_OK) == 0)
		ret = add_file(l, file ? file : FILE_DEFAULT);
	if (ret == 0)
		ret = add_dropins(l, file ? file : FILE_DEFAULT);
	for (size_t i = 0; ret == 0 && i < n_sets; i++)
		ret = add_set(l, sets[i]);
	return ret;
}

static bool is_dir(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Beside the binary, as a build tree is; ../lib/crisp when only that is there. */
static const char *own_dir(struct pool *p, const char *exe_dir, const char *name)
{
	const char *beside = pool_printf(p, "%s/%s", exe_dir, name);
	const char *installed = pool_printf(p, "%s/../lib/crisp/%s", exe_dir, name);
	return !is_dir(beside) && is_dir(installed) ? installed : beside;
}

static void default_to(const char **field, const char *value)
{
	if (!*field)
		*field = value;
}

/* The bridge's own defaults, under whatever the file says. */
static int default_network(struct pool *p, struct config *c, struct tree *merged, struct err *e)
{
	static const char bridge[] = "{bridge: crisp0, subnets: [10.88.0.0/16], nft_table: crisp}";
	default_to(&c->network_plugin, "bridge");
	default_to(&c->network_options_json, "{}");
	if (strcmp(c->network_plugin, "bridge"))
		return 0;
	struct tree *base;
	int ret = tree_parse(p, "built-in", bridge, strlen(bridge), &base, e);
	if (ret < 0)
		return ret;
	const struct tree *given = tree_get(tree_get(merged, "network"), "options");
	struct json_out *o = json_out(p);
	tree_json(tree_merge(p, base, (struct tree *)given), o);
	c->network_options_json = json_text(o, NULL);
	return 0;
}

/* Its cgroups are systemd's to manage: it runs here, on cgroup v2 alone. */
static bool is_systemd_host(void)
{
	struct statfs fs;
	return access("/run/systemd/system", F_OK) == 0 && statfs("/sys/fs/cgroup", &fs) == 0 &&
	       fs.f_type == CGROUP2_SUPER_MAGIC;
}

static bool ends_in(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);
	return n >= m && !strcmp(text + n - m, end);
}

/* auto: a parent that is given tells by its form, else it is as the host does. */
static int settle_cgroups(struct config *c, struct tree *merged, struct err *e)
{
	const char *parent = c->cgroup_parent, *expected = NULL;
	bool slice = parent && *parent != '/';
	default_to(&c->cgroup_driver, "auto");
	if (!strcmp(c->cgroup_driver, "auto"))
		c->cgroup_driver = (parent ? slice : is_systemd_host()) ? "systemd" : "cgroupfs";
	if (!strcmp(c->cgroup_driver, "systemd")) {
		default_to(&c->cgroup_parent, "crisp.slice");
		expected = parent && !slice ? "NAME.slice" : NULL;
	} else {
		default_to(&c->cgroup_parent, "/crisp");
		expected = slice ? "a path like /crisp" : NULL;
		if (ends_in(c->cgroup_parent, ".slice"))	/* what is below one would be systemd's */
			expected = "a path like /crisp; a slice is given as NAME.slice, for the driver systemd";
	}
	if (!expected)
		return 0;
	return tree_err(tree_get(tree_get(merged, "cgroup"), "parent"), e,
			"cgroup.parent: \"%s\" is not for the driver %s, expected %s", parent, c->cgroup_driver,
			expected);
}

static int fill_defaults(struct pool *p, struct config *c, struct tree *merged, const char *exe_dir,
			 struct err *e)
{
	default_to(&c->state, "/run/crisp");
	default_to(&c->root, "/var/lib/crisp");
	default_to(&c->socket, pool_printf(p, "%s/crisp.sock", c->state));
	if (strlen(c->socket) > 107)
		return err_set(e, EINVAL,
			       "state: \"%s\" is too long: its socket's path has at most 107 bytes",
			       c->state);
	default_to(&c->libexec_dir, own_dir(p, exe_dir, "libexec"));
	default_to(&c->engine_dir, own_dir(p, exe_dir, "engines"));
	default_to(&c->netplug_dir, own_dir(p, exe_dir, "netplug"));
	default_to(&c->netns_dir, "/run/netns");
	default_to(&c->netns_prefix, "crisp-");
	default_to(&c->registries_dir, "/etc/crisp/registries.d");
	default_to(&c->stream_address, "127.0.0.1");
	default_to(&c->images_store, "auto");
	int ret = settle_cgroups(c, merged, e);
	if (ret == 0)
		ret = handlers_complete(p, c, tree_get(merged, "engines"), e);
	return ret < 0 ? ret : default_network(p, c, merged, e);
}

int config_load(struct pool *p, const char *file, const char *const *sets, size_t n_sets,
		const char *exe_dir, struct config **out, struct err *e)
{
	struct layers l = { .pool = p, .e = e };
	int ret = add_all(&l, file, sets, n_sets);
	if (ret < 0)
		return ret;
	struct config *c = pool_new_struct(p, struct config);
	c->log_level = LOG_LEVEL_INFO;
	if (l.merged)
		ret = schema_read(p, l.merged, c, e);
	if (ret == 0)
		ret = fill_defaults(p, c, l.merged, exe_dir, e);
	if (ret == 0)
		*out = c;
	return ret;
}

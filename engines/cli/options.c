/* The options of a handler of crun or runc. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <yajl/yajl_tree.h>

#include "engines/cli/cli.h"

static int take_path(char to[CLI_PATH_MAX], const char *key, yajl_val v, char *msg, uint32_t cap)
{
	const char *s = YAJL_IS_STRING(v) ? YAJL_GET_STRING(v) : NULL;
	if (!s || (*s && *s != '/') || strlen(s) >= CLI_PATH_MAX) {
		snprintf(msg, cap, "option \"%s\" must be an absolute path", key);
		return -EINVAL;
	}
	if (*s)
		strcpy(to, s);
	return 0;
}

static int read_option(struct cli_options *o, const char *key, yajl_val v, char *msg, uint32_t cap)
{
	if (YAJL_IS_NULL(v))
		return 0;
	if (!strcmp(key, "path"))
		return take_path(o->path, key, v, msg, cap);
	if (!strcmp(key, "root"))
		return take_path(o->root, key, v, msg, cap);
	if (!strcmp(key, "systemd_cgroup") && (YAJL_IS_TRUE(v) || YAJL_IS_FALSE(v))) {
		o->systemd_cgroup = YAJL_IS_TRUE(v);
		return 0;
	}
	snprintf(msg, cap, "unknown or mistyped option \"%.100s\": path, root, systemd_cgroup",
		 key);
	return -EINVAL;
}

int cli_options_read(struct cli_options *o, const char *json, const char *state_dir, char *msg,
		     uint32_t cap)
{
	int ret = 0;
	if (snprintf(o->root, sizeof(o->root), "%s/root", state_dir) >= CLI_PATH_MAX) {
		snprintf(msg, cap, "the state directory's path is too long");
		return -ENAMETOOLONG;
	}
	yajl_val root = yajl_tree_parse(json, NULL, 0);
	if (!YAJL_IS_OBJECT(root)) {
		snprintf(msg, cap, "options are no JSON object");
		ret = -EINVAL;
	}
	for (size_t i = 0; ret == 0 && i < root->u.object.len; i++)
		ret = read_option(o, root->u.object.keys[i], root->u.object.values[i], msg, cap);
	yajl_tree_free(root);
	return ret;
}

const char *cli_program(const struct cli_options *o, char found[CLI_PATH_MAX])
{
	static const char *const folders[] = {
		"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin",
	};
	if (o->path[0])
		return o->path;
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		snprintf(found, CLI_PATH_MAX, "%s/%s", folders[i], cli_profile.name);
		if (access(found, X_OK) == 0)
			return found;
	}
	return NULL;
}

/* The options of a handler of gVisor. */
#include "engines/gvisor/gvisor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int refuse(char *msg, uint32_t cap, const char *key, const char *what)
{
	snprintf(msg, cap, "option \"%.60s\" must be %s", key, what);
	return -EINVAL;
}

static int take_path(char to[PATH_LEN], const char *key, const char *s, char *msg, uint32_t cap)
{
	if (!s || (*s && *s != '/') || strlen(s) >= PATH_LEN)
		return refuse(msg, cap, key, "an absolute path");
	if (*s)
		strcpy(to, s);
	return 0;
}

/* One of the words, which end with NULL. */
static int take_word(char *to, const char *const *words, const char *key, const char *s, const char *what,
		     char *msg, uint32_t cap)
{
	for (size_t i = 0; s && words[i]; i++)
		if (!strcmp(words[i], s)) {
			strcpy(to, s);
			return 0;
		}
	return refuse(msg, cap, key, what);
}

/* What the plugin itself says on each command line. */
static bool is_ours(const char *flag)
{
	static const char *const ours[] = { "root", "log", "log-format", "log-fd", "platform", "network",
					    "debug", "debug-log", NULL };
	flag += strspn(flag, "-");
	size_t n = strcspn(flag, "=");
	for (size_t i = 0; ours[i]; i++)
		if (strlen(ours[i]) == n && !strncmp(ours[i], flag, n))
			return true;
	return false;
}

static int take_flags(struct options *o, yajl_val v, char *msg, uint32_t cap)
{
	static const char what[] = "an array of at most 32 flags of runsc that crisp doesn't set itself";
	if (!YAJL_IS_ARRAY(v) || v->u.array.len > FLAGS_MAX)
		return refuse(msg, cap, "flags", what);
	for (size_t i = 0; i < v->u.array.len; i++) {
		const char *s = YAJL_GET_STRING(v->u.array.values[i]);
		if (!s || s[0] != '-' || is_ours(s))
			return refuse(msg, cap, "flags", what);
		o->flags[i] = strdup(s);
		if (!o->flags[i])
			abort();
	}
	return 0;
}

static int take(struct options *o, const char *key, yajl_val v, char *msg, uint32_t cap)
{
	static const char *const platforms[] = { "", "systrap", "ptrace", "kvm", NULL };
	static const char *const networks[] = { "sandbox", "host", "none", NULL };
	static const char *const urpcs[] = { "auto", "off", NULL };
	const char *s = YAJL_GET_STRING(v);
	char word[8] = "";
	if (YAJL_IS_NULL(v))
		return 0;
	if (!strcmp(key, "path"))
		return take_path(o->path, key, s, msg, cap);
	if (!strcmp(key, "root"))
		return take_path(o->root, key, s, msg, cap);
	if (!strcmp(key, "platform"))
		return take_word(o->platform, platforms, key, s, "systrap, ptrace or kvm", msg, cap);
	if (!strcmp(key, "network"))
		return take_word(o->network, networks, key, s, "sandbox, host or none", msg, cap);
	if (!strcmp(key, "flags"))
		return take_flags(o, v, msg, cap);
	if (!strcmp(key, "urpc")) {
		int ret = take_word(word, urpcs, key, s, "auto or off", msg, cap);
		o->urpc = strcmp(word, "off");
		return ret;
	}
	if (!strcmp(key, "debug") && (YAJL_IS_TRUE(v) || YAJL_IS_FALSE(v))) {
		o->debug = YAJL_IS_TRUE(v);
		return 0;
	}
	snprintf(msg, cap, "unknown or mistyped option \"%.100s\": path, root, platform, network, urpc, "
		 "flags, debug", key);
	return -EINVAL;
}

int options_read(struct options *o, const char *json, const char *state_dir, char *msg, uint32_t cap)
{
	int ret = 0;
	*o = (struct options){ .network = "sandbox", .urpc = true };
	if (snprintf(o->root, sizeof(o->root), "%s/root", state_dir) >= PATH_LEN) {
		snprintf(msg, cap, "the state directory's path is too long");
		return -ENAMETOOLONG;
	}
	yajl_val root = yajl_tree_parse(json, NULL, 0);
	if (!YAJL_IS_OBJECT(root)) {
		snprintf(msg, cap, "options are no JSON object");
		ret = -EINVAL;
	}
	for (size_t i = 0; ret == 0 && i < root->u.object.len; i++)
		ret = take(o, root->u.object.keys[i], root->u.object.values[i], msg, cap);
	yajl_tree_free(root);
	return ret;
}

void options_finish(struct options *o)
{
	for (size_t i = 0; o->flags[i]; i++)
		free(o->flags[i]);
}

const char *options_program(const struct options *o, char found[PATH_LEN])
{
	static const char *const folders[] = {
		"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin",
	};
	if (o->path[0])
		return o->path;
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		snprintf(found, PATH_LEN, "%s/runsc", folders[i]);
		if (access(found, X_OK) == 0)
			return found;
	}
	return NULL;
}

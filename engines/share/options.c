#include "engines/share/options.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int take_text(char *to, const char *s, bool path)
{
	if (!s || (path && *s && *s != '/') || strlen(s) >= OPTION_PATH_MAX)
		return -EINVAL;
	if (*s)
		strcpy(to, s);
	return 0;
}

static int take_bool(bool *to, yajl_val v)
{
	if (!YAJL_IS_TRUE(v) && !YAJL_IS_FALSE(v))
		return -EINVAL;
	*to = YAJL_IS_TRUE(v);
	return 0;
}

static int take_word(const char **to, const char *const *words, const char *s)
{
	if (s && !*s)
		return 0;
	for (size_t i = 0; s && words[i]; i++)
		if (!strcmp(words[i], s)) {
			*to = words[i];
			return 0;
		}
	return -EINVAL;
}

static int take(const struct option *o, void *into, yajl_val v)
{
	void *value = (char *)into + o->at;
	const char *s = YAJL_GET_STRING(v);
	switch (o->kind) {
	case OPTION_PATH: return take_text(value, s, true);
	case OPTION_TEXT: return take_text(value, s, false);
	case OPTION_BOOL: return take_bool(value, v);
	case OPTION_WORD: return take_word(value, o->words, s);
	case OPTION_OWN: return o->take(value, v);
	}
	return -EINVAL;
}

static const char *wanted(const struct option *o)
{
	static const char *const kinds[] = {
		[OPTION_PATH] = "an absolute path", [OPTION_TEXT] = "a short text", [OPTION_BOOL] = "true or false",
	};
	return o->wanted ? o->wanted : kinds[o->kind];
}

static int refuse_name(const struct option *table, const char *name, char *msg, uint32_t cap)
{
	int n = snprintf(msg, cap, "unknown option \"%.100s\": there are", name);
	for (const struct option *o = table; o->name && n >= 0 && (uint32_t)n < cap; o++)
		n += snprintf(msg + n, cap - (uint32_t)n, "%s %s", o == table ? "" : ",", o->name);
	return -EINVAL;
}

static int read_member(const struct option *table, void *into, const char *name, yajl_val v, char *msg, uint32_t cap)
{
	const struct option *o = table;
	while (o->name && strcmp(o->name, name))
		o++;
	if (!o->name)
		return refuse_name(table, name, msg, cap);
	if (YAJL_IS_NULL(v) || take(o, into, v) == 0)
		return 0;
	snprintf(msg, cap, "option \"%s\" must be %s", o->name, wanted(o));
	return -EINVAL;
}

int options_read(const struct option *table, void *into, const char *json, char *msg, uint32_t cap)
{
	int ret = 0;
	yajl_val root = yajl_tree_parse(json, NULL, 0);
	if (!YAJL_IS_OBJECT(root)) {
		snprintf(msg, cap, "options are no JSON object");
		ret = -EINVAL;
	}
	for (size_t i = 0; ret == 0 && i < root->u.object.len; i++)
		ret = read_member(table, into, root->u.object.keys[i], root->u.object.values[i], msg, cap);
	yajl_tree_free(root);
	return ret;
}

int options_root(char root[OPTION_PATH_MAX], const char *state_dir, char *msg, uint32_t cap)
{
	if (snprintf(root, OPTION_PATH_MAX, "%s/root", state_dir) < OPTION_PATH_MAX)
		return 0;
	snprintf(msg, cap, "the state directory's path is too long");
	return -ENAMETOOLONG;
}

const char *options_program(const char *path, const char *const *names, char found[OPTION_PATH_MAX])
{
	static const char *const folders[] = {
		"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin",
	};
	if (path[0])
		return path;
	for (; *names; names++) {
		bool absolute = (*names)[0] == '/';
		for (size_t i = 0; i < (absolute ? 1 : sizeof(folders) / sizeof(folders[0])); i++) {
			snprintf(found, OPTION_PATH_MAX, "%s%s%s", absolute ? "" : folders[i], absolute ? "" : "/",
				 *names);
			if (access(found, X_OK) == 0)
				return found;
		}
	}
	return NULL;
}

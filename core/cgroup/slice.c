/* Names and paths of slices and scopes. */
#include "core/cgroup/slice.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "core/base/pool.h"

#define SLICE ".slice"
#define SCOPE_PREFIX "crisp"
enum { SLICE_LEN = sizeof(SLICE) - 1, UNIT_NAME_MAX = 255 };

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

bool slice_is(const char *text)
{
	size_t n = strlen(text);
	return n > SLICE_LEN && !strcmp(text + n - SLICE_LEN, SLICE);
}

/* Of a name without its ".slice": what systemd takes, and no dash that leads nowhere. */
static bool is_name(const char *s, size_t n)
{
	static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.\\-";
	if (!n || s[0] == '-' || s[n - 1] == '-' || n + SLICE_LEN > UNIT_NAME_MAX || strspn(s, chars) < n)
		return false;
	for (size_t i = 1; i < n; i++)
		if (s[i] == '-' && s[i - 1] == '-')
			return false;
	return true;
}

/* The path of slice `name`, n bytes without its ".slice". */
static const char *expand(struct pool *p, const char *name, size_t n)
{
	const char *path = "";
	for (size_t i = 1; i <= n; i++)
		if (i == n || name[i] == '-')
			path = pool_printf(p, "%s/%.*s" SLICE, path, (int)i, name);
	return path;
}

int slice_path(struct pool *p, const char *text, const char **path, struct err *e)
{
	const char *name = last_part(text);
	size_t n = strlen(name);
	if (!slice_is(name) || !is_name(name, n - SLICE_LEN))
		return err_set(e, EINVAL, "\"%.200s\" is no slice, expected NAME.slice", text);
	const char *full = expand(p, name, n - SLICE_LEN);
	bool alone = name == text || (name == text + 1 && *text == '/');
	if (!alone && strcmp(text, full))
		return err_set(e, EINVAL, "\"%.200s\" is not where that slice is, expected %.200s", text, full);
	if (strlen(full) > PATH_MAX / 2)
		return err_set(e, EINVAL, "\"%.200s\" is too long a path", full);
	*path = full;
	return 0;
}

const char *slice_of_pod(struct pool *p, const char *parent, const char *id)
{
	const char *name = last_part(parent);
	const char *full = pool_printf(p, "%.*s-%s", (int)(strlen(name) - SLICE_LEN), name, id);
	return expand(p, full, strlen(full));
}

char *cgroup_leaf(struct pool *p, const char *parent, const char *id)
{
	return slice_is(parent) ? pool_printf(p, "%s/" SCOPE_PREFIX "-%s.scope", parent, id) :
				  pool_printf(p, "%s/%s", parent, id);
}

const char *cgroup_oci_path(struct pool *p, const char *leaf)
{
	const char *scope = last_part(leaf), *dot = strrchr(scope, '.');
	size_t prefix = strlen(SCOPE_PREFIX "-");
	char *parent = pool_strndup(p, leaf, scope == leaf ? 0 : (size_t)(scope - leaf) - 1);
	if (!slice_is(parent) || !dot || strncmp(scope, SCOPE_PREFIX "-", prefix))
		return leaf;
	return pool_printf(p, "%s:" SCOPE_PREFIX ":%.*s", last_part(parent), (int)(dot - scope - prefix),
			   scope + prefix);
}

/* References: see the header.  The grammar is that of the distribution specification. */
#include "core/image/ref.h"

#include <errno.h>
#include <string.h>

#include "core/base/digest.h"
#include "core/base/pool.h"

enum { REPO_MAX = 255, TAG_MAX = 128 };

static bool is_low_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
	return is_low_alnum(c) || (c >= 'A' && c <= 'Z');
}

/* alnum {separator alnum}, where a separator is ".", "_", "__" or dashes. */
static bool component_valid(const char *s, size_t n)
{
	size_t i = 0;
	for (;;) {
		size_t start = i;
		while (i < n && is_low_alnum(s[i]))
			i++;
		if (i == start)
			return false;
		if (i == n)
			return true;
		if (s[i] == '-') {
			while (i < n && s[i] == '-')
				i++;
		} else if (s[i] == '_') {
			i += i + 1 < n && s[i + 1] == '_' ? 2 : 1;
		} else if (s[i] == '.') {
			i++;
		} else {
			return false;
		}
	}
}

static bool path_valid(const char *path)
{
	for (;;) {
		size_t n = strcspn(path, "/");
		if (!component_valid(path, n))
			return false;
		if (!path[n])
			return true;
		path += n + 1;
	}
}

/* A name or an address, with or without a port; an IPv6 address in brackets. */
static bool host_valid(const char *host)
{
	const char *port;
	if (*host == '[') {
		const char *end = strchr(host, ']');
		if (!end || end == host + 1 ||
		    strspn(host + 1, "0123456789abcdefABCDEF:.") != (size_t)(end - host - 1))
			return false;
		port = end + 1;
	} else {
		size_t n = 0;
		while (is_alnum(host[n]) || host[n] == '.' || host[n] == '-')
			n++;
		if (!n || host[0] == '-' || host[0] == '.' || host[n - 1] == '-' ||
		    host[n - 1] == '.')
			return false;
		port = host + n;
	}
	if (!*port)
		return true;
	size_t digits = strspn(port + 1, "0123456789");
	return *port == ':' && digits && digits <= 5 && !port[1 + digits];
}

static bool tag_valid(const char *tag)
{
	size_t n = 0;
	if (!is_alnum(*tag) && *tag != '_')
		return false;
	while (is_alnum(tag[n]) || tag[n] == '_' || tag[n] == '.' || tag[n] == '-')
		n++;
	return !tag[n] && n <= TAG_MAX;
}

/* The first component is a host when it can't be a path's. */
static bool begins_with_host(const char *name, size_t n)
{
	if (!name[n])
		return false;
	if (n == 9 && !strncmp(name, "localhost", 9))
		return true;
	for (size_t i = 0; i < n; i++)
		if (name[i] == '.' || name[i] == ':' || (name[i] >= 'A' && name[i] <= 'Z'))
			return true;
	return false;
}

static void split_host(struct pool *p, const char *name, struct image_ref *r)
{
	size_t n = strcspn(name, "/");
	r->host = "docker.io";
	r->path = name;
	if (begins_with_host(name, n)) {
		r->host = pool_strndup(p, name, n);
		r->path = name + n + 1;
		if (!strcmp(r->host, "index.docker.io"))
			r->host = "docker.io";
	}
	if (!strcmp(r->host, "docker.io") && !strchr(r->path, '/'))
		r->path = pool_printf(p, "library/%s", r->path);
}

int image_ref_parse(struct pool *p, const char *text, struct image_ref *out, struct err *e)
{
	*out = (struct image_ref){ 0 };
	if (!text || !*text)
		return err_set(e, EINVAL, "image reference is empty");
	if (strlen(text) > REPO_MAX + TAG_MAX + 140)
		return err_set(e, EINVAL, "image reference is too long");
	char *name = pool_strdup(p, text), *at = strchr(name, '@');
	if (at) {
		*at = 0;
		out->digest = at + 1;
		if (!digest_valid(out->digest))
			return err_set(e, EINVAL, "image reference \"%s\": bad digest", text);
	}
	char *slash = strrchr(name, '/'), *colon = strrchr(slash ? slash : name, ':');
	if (colon) {
		*colon = 0;
		out->tag = colon + 1;
		if (!tag_valid(out->tag))
			return err_set(e, EINVAL, "image reference \"%s\": bad tag", text);
	} else if (!out->digest) {
		out->tag = "latest";
	}
	split_host(p, name, out);
	if (!host_valid(out->host))
		return err_set(e, EINVAL, "image reference \"%s\": bad host", text);
	if (!path_valid(out->path))
		return err_set(e, EINVAL, "image reference \"%s\": bad repository name", text);
	out->repo = pool_printf(p, "%s/%s", out->host, out->path);
	if (strlen(out->repo) > REPO_MAX)
		return err_set(e, EINVAL, "image reference \"%s\": repository name is too long",
			       text);
	out->name = out->digest ? pool_printf(p, "%s@%s", out->repo, out->digest) :
				  pool_printf(p, "%s:%s", out->repo, out->tag);
	return 0;
}

bool image_ref_valid(const char *text)
{
	struct pool *p = pool_new(NULL, "ref");
	struct image_ref r;
	bool valid = image_ref_parse(p, text, &r, NULL) == 0;
	pool_destroy(p);
	return valid;
}

const char *image_ref_normalise(struct pool *p, const char *text)
{
	struct image_ref r;
	return image_ref_parse(p, text, &r, NULL) == 0 ? r.name : NULL;
}

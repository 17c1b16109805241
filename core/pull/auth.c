/* Authentication: see the header. */
#include "core/pull/auth.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/pull/http.h"

enum { TOKEN_REPLY_MAX = 1 << 20 };

/* -- challenges: scheme SP name=token|"quoted" {, name=...} {, scheme ...} -- */

static bool is_token(char c)
{
	return c && !strchr(" \t,=\"\n", c);
}

static const char *skip_space(const char *s)
{
	return s + strspn(s, " \t,");
}

static const char *take_value(struct pool *p, const char *s, const char **out)
{
	struct buf b = { 0 };
	if (*s == '"') {
		for (s++; *s && *s != '"' && *s != '\n'; s++) {
			if (*s == '\\' && s[1] && s[1] != '\n')
				s++;
			buf_add(&b, s, 1);
		}
		s += *s == '"';
	} else {
		for (; is_token(*s) || *s == '='; s++)
			buf_add(&b, s, 1);
	}
	*out = pool_strdup(p, b.data ? b.data : "");
	buf_free(&b);
	return s;
}

static void set_parameter(struct challenge *c, const char *name, size_t n, const char *value)
{
	if (n == 5 && !strncasecmp(name, "realm", n))
		c->realm = value;
	else if (n == 7 && !strncasecmp(name, "service", n))
		c->service = value;
	else if (n == 5 && !strncasecmp(name, "scope", n))
		c->scope = value;
	else if (n == 5 && !strncasecmp(name, "error", n))
		c->error = value;
}

void challenge_parse(struct pool *p, const char *s, struct challenge *out)
{
	bool in_bearer = false;
	*out = (struct challenge){ 0 };
	while (*s) {
		s = skip_space(s);
		const char *word = s;
		while (is_token(*s))
			s++;
		size_t n = (size_t)(s - word);
		if (!n) {	/* a stray delimiter, or the end of a line */
			s += *s != 0;
			continue;
		}
		if (*s == '=') {
			const char *value;
			s = take_value(p, s + 1, &value);
			if (in_bearer)
				set_parameter(out, word, n, value);
			continue;
		}
		in_bearer = n == 6 && !strncasecmp(word, "bearer", 6) && !out->bearer;
		out->bearer |= in_bearer;
		out->basic |= n == 5 && !strncasecmp(word, "basic", 5);
	}
}

/* -- whose credentials -- */

const char *auth_server_host(struct pool *p, const char *address)
{
	static const char *const hub[] = {
		"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com",
	};
	const char *scheme = strstr(address, "://");
	if (scheme)
		address = scheme + 3;
	char *host = pool_strndup(p, address, strcspn(address, "/"));
	for (size_t i = 0; i < sizeof(hub) / sizeof(*hub); i++)
		if (!strcasecmp(host, hub[i]))
			return "docker.io";
	return host;
}

static bool is_given(const struct credentials *c)
{
	return c->username || c->identity_token || c->registry_token;
}

static void read_entry(struct pool *p, const struct json *j, struct credentials *out)
{
	const char *auth = json_str(json_get(j, "auth")),
		   * token = json_str(json_get(j, "identitytoken"));
	const char *user = json_str(json_get(j, "username")),
		   * password = json_str(json_get(j, "password"));
	*out = (struct credentials){ 0 };
	if (token && *token)
		out->identity_token = pool_strdup(p, token);
	if (auth && *auth)
		credentials_decode(p, auth, out);
	else if (user && *user) {
		out->username = pool_strdup(p, user);
		out->password = pool_strdup(p, password ? password : "");
	}
}

/* Keys are a host or a URL, or host/path; the longest path that the repository begins with wins. */
static bool find_in_file(struct pool *p, const char *text, const char *host, const char *path,
			 struct credentials *out)
{
	const struct json *j, *best = NULL;
	size_t best_len = 0;
	if (json_parse(p, text, strlen(text), &j, NULL) < 0)
		return false;
	const struct json *auths = json_get(j, "auths");
	for (size_t i = 0; i < json_len(auths); i++) {
		const char *key = json_key_at(auths, i);
		if (strcasecmp(auth_server_host(p, key), host))
			continue;
		const char *scheme = strstr(key, "://");
		const char *slash =
			scheme ? NULL : strchr(key, '/'); /* a URL's path means nothing */
		size_t n = slash ? strlen(slash + 1) : 0;
		if (n && (strncmp(path, slash + 1, n) || (path[n] && path[n] != '/')))
			continue;
		if (best && n <= best_len)
			continue;
		best = json_at(auths, i);
		best_len = n;
	}
	if (best)
		read_entry(p, best, out);
	return best && is_given(out);
}

bool auth_find(struct pool *p, const struct request *r, const char *host, const char *path,
	       bool is_image_host, struct credentials *out)
{
	const char *server = r->auth.server ? auth_server_host(p, r->auth.server) : NULL;
	if (is_given(&r->auth) && (server ? !strcasecmp(server, host) : is_image_host)) {
		*out = r->auth;
		return true;
	}
	return r->auth_file_text && find_in_file(p, r->auth_file_text, host, path, out);
}

const char *auth_basic(struct pool *p, const struct credentials *c)
{
	const char *pair = pool_printf(p, "%s:%s", c->username, c->password ? c->password : "");
	size_t n = strlen(pair);
	char *base64 = pool_alloc(p, n / 3 * 4 + 5);
	EVP_EncodeBlock((unsigned char *)base64, (const unsigned char *)pair, (int)n);
	return pool_printf(p, "Basic %s", base64);
}

/* -- tokens -- */

static void add_parameter(struct buf *b, const char *name, const char *value)
{
	if (!value)
		return;
	auto_free char *text = http_escape(value);
	buf_printf(b, "%s%s=%s", b->len ? "&" : "", name, text);
}

static int read_token(struct pool *p, const struct buf *body, const char **out, struct err *e)
{
	const struct json *j;
	int ret = json_parse(p, body->data ? body->data : "", body->len, &j, e);
	if (ret < 0)
		return err_wrap(e, ret, "token server");
	const char *token = json_str(json_get(j, "token"));
	if (!token || !*token)
		token = json_str(json_get(j, "access_token"));
	if (!token || !*token || strpbrk(token, "\r\n"))
		return err_set(e, EACCES, "token server: no token in its answer");
	*out = pool_printf(p, "Bearer %s", token);
	return 0;
}

static int ask(struct pool *p, struct http *h, const char *url, const char *authorization,
	       const char *post, bool plain, const char **out, int *status, struct err *e)
{
	struct http_call c = {
		.url = url,
		.authorization = authorization,
		.post = post,
		.plain = plain,
		.max = TOKEN_REPLY_MAX,
	};
	int ret = http_do(h, &c, e);
	*status = c.status;
	if (ret == 0 && c.ret < 0)
		ret = err_set(e, -c.ret, "%stoken server %s: %s",
			      c.unreachable ? "RegistryUnavailable: " : "", url, err_text(&c.err));
	else if (ret == 0 && c.status / 100 != 2)
		ret = err_set(e, c.status / 100 == 4 ? EACCES : EIO, "token server %s: HTTP %d",
			      url, c.status);
	else if (ret == 0)
		ret = read_token(p, &c.body, out, e);
	http_end(h, &c);
	return ret;
}

int auth_token(struct pool *p, struct http *h, const struct challenge *ch, const char *path,
	       const struct credentials *c, bool plain, const char **out, struct err *e)
{
	struct buf query = { 0 };
	int status;
	if (!ch->realm || (strncasecmp(ch->realm, "https://", 8) &&
			   !(plain && !strncasecmp(ch->realm, "http://", 7))))
		return err_set(e, EACCES, "token server \"%s\": not an https URL",
			       ch->realm ? ch->realm : "");
	const char *scope =
		ch->scope && *ch->scope ? ch->scope : pool_printf(p, "repository:%s:pull", path);
	bool refresh = c && c->identity_token;
	add_parameter(&query, "service", ch->service);
	add_parameter(&query, "scope", scope);
	if (refresh) {
		add_parameter(&query, "grant_type", "refresh_token");
		add_parameter(&query, "refresh_token", c->identity_token);
		add_parameter(&query, "client_id", "crisp");
	} else if (c && c->username) {
		add_parameter(&query, "account", c->username);
	}
	const char *text = pool_strdup(p, query.data);
	buf_free(&query);
	if (refresh)
		return ask(p, h, ch->realm, NULL, text, plain, out, &status, e);
	const char *url =
		pool_printf(p, "%s%c%s", ch->realm, strchr(ch->realm, '?') ? '&' : '?', text);
	return ask(p, h, url, c && c->username ? auth_basic(p, c) : NULL, NULL, plain, out, &status,
		   e);
}

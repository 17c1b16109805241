/* Registries: see the header. */
#include "core/pull/registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/base/utf8.h"
#include "core/pull/auth.h"

enum { ATTEMPTS = 5, ATTEMPTS_UNREACHABLE = 3, DELAY_MS = 200, DELAY_MAX_MS = 10000 };

/* -- endpoints -- */

static bool is_plain_host(const struct request *r, const char *host)
{
	for (size_t i = 0; i < r->n_plain_http; i++)
		if (!strcasecmp(r->plain_http[i], host))
			return true;
	return false;
}

uint16_t registry_port(const char *host, bool plain)
{
	const char *colon = strrchr(host, ':'), *bracket = strrchr(host, ']');
	long port = colon && (!bracket || colon > bracket) ? strtol(colon + 1, NULL, 10) : 0;
	return port > 0 && port < 65536 ? (uint16_t)port : plain ? 80 : 443;
}

static void find_credentials(struct pool *p, const struct request *r, struct registry *g,
			     bool is_image_host)
{
	g->has_credentials = auth_find(p, r, g->host, g->path, is_image_host, &g->credentials);
	if (g->has_credentials && g->credentials.registry_token)
		g->authorization = pool_printf(p, "Bearer %s", g->credentials.registry_token);
}

static int add_mirror(struct pool *p, const struct request *r, const char *url, struct registry *g,
		      struct err *e)
{
	bool plain = !strncasecmp(url, "http://", 7);
	const char *scheme = strstr(url, "://");
	size_t n = strlen(url);
	if (scheme && !plain && strncasecmp(url, "https://", 8))
		return err_set(e, EINVAL, "mirror %s: neither http nor https", url);
	while (n && url[n - 1] == '/')
		n--;
	g->host = auth_server_host(p, url);
	if (!scheme)
		plain = is_plain_host(r, g->host);
	g->base = scheme ? pool_strndup(p, url, n) :
			   pool_printf(p, "%s://%.*s", plain ? "http" : "https", (int)n, url);
	g->ns = r->host;
	g->plain = plain;
	g->port = registry_port(g->host, plain);
	find_credentials(p, r, g, false);
	return 0;
}

static void add_home(struct pool *p, const struct request *r, struct registry *g)
{
	bool hub = !strcmp(r->host, "docker.io");
	g->host = r->host;
	g->plain = is_plain_host(r, r->host);
	g->base = pool_printf(p, "%s://%s", g->plain ? "http" : "https",
			      hub ? "registry-1.docker.io" : r->host);
	g->port = registry_port(r->host, g->plain);
	find_credentials(p, r, g, true);
}

int registries_of(struct pool *p, const struct request *r, struct registry **out, size_t *n,
		  struct err *e)
{
	struct registry *list = pool_alloc(p, (r->n_mirrors + 1) * sizeof(*list));
	for (size_t i = 0; i <= r->n_mirrors; i++) {
		list[i].pool = p;
		list[i].path = r->path;
		int ret = 0;
		if (i < r->n_mirrors)
			ret = add_mirror(p, r, r->mirrors[i], &list[i], e);
		else
			add_home(p, r, &list[i]);
		if (ret < 0)
			return ret;
	}
	*out = list;
	*n = r->n_mirrors + 1;
	return 0;
}

const char *registry_url(const struct registry *g, const char *kind, const char *reference)
{
	if (!g->ns)
		return pool_printf(g->pool, "%s/v2/%s/%s/%s", g->base, g->path, kind, reference);
	auto_free char *ns = http_escape(g->ns);
	return pool_printf(g->pool, "%s/v2/%s/%s/%s?ns=%s", g->base, g->path, kind, reference, ns);
}

/* -- answers -- */

int registry_authorize(struct registry *g, const struct http_call *c, struct err *e)
{
	struct challenge ch;
	const struct credentials *cred = g->has_credentials ? &g->credentials : NULL;
	challenge_parse(g->pool, c->challenges.data ? c->challenges.data : "", &ch);
	if (cred && cred->registry_token)
		return err_set(e, EACCES, "%s: unauthorized: the registry token is refused",
			       g->host);
	if (ch.bearer)
		return err_wrap(e,
				auth_token(g->pool, g->http, &ch, g->path, cred, g->plain,
					   &g->authorization, e),
				"%s", g->host);
	if (!ch.basic || !cred || !cred->username)
		return err_set(e, EACCES, "%s: unauthorized: %s", g->host,
			       cred ? "it does not take the credentials given"
				    : "it asks for credentials: give the pod imagePullSecrets, or the node "
				      "registries.auth_file");
	g->authorization = auth_basic(g->pool, cred);
	return 0;
}

/* {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]} */
static const char *error_words(const struct registry *g, const struct http_call *c)
{
	const struct json *j;
	if (!c->body.len || json_parse(g->pool, c->body.data, c->body.len, &j, NULL) < 0)
		return "";
	const struct json *first = json_at(json_get(j, "errors"), 0);
	const char *code = json_str(json_get(first, "code")),
		   * message = json_str(json_get(first, "message"));
	if (!code && !message)
		return "";
	return pool_printf(g->pool, "%.200s%s%.100s", message ? message : "",
			   message && code ? ", " : "", code ? code : "");
}

int registry_check(const struct registry *g, const struct http_call *c, const char *what,
		   struct err *e)
{
	static const struct {
		int status, code;
		const char *words;
	} known[] = {
		{ 401, EACCES, "unauthorized" },
		{ 403, EACCES, "forbidden" },
		{ 404, ENOENT, "not found, see to the image's name and tag" },
		{ 429, EAGAIN, "too many requests" },
	};
	if (c->ret < 0) {
		if (c->unreachable)
			return err_set(e, EIO, "RegistryUnavailable: %s: %s: %s", g->host, what,
				       err_text(&c->err));
		return err_set(e, -c->ret, "%s: %s: %s", g->host, what, err_text(&c->err));
	}
	if (c->status / 100 == 2)
		return 0;
	const char *words = error_words(g, c);
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (known[i].status == c->status)
			return err_set(e, known[i].code, "%s: %s: %s (HTTP %d%s%s)", g->host, what,
				       known[i].words, c->status, *words ? ": " : "", words);
	return err_set(e, EIO, "%s%s: %s: HTTP %d%s%s",
		       c->status >= 500 ? "RegistryUnavailable: " : "", g->host, what, c->status,
		       * words ? ": " : "", words);
}

bool registry_may_retry(const struct http_call *c, unsigned attempt, unsigned *delay_ms)
{
	bool again = c->ret < 0 ? c->ret == -EIO
				: c->status == 429 || c->status == 408 || c->status >= 500;
	if (!again || attempt + 1 >= (c->unreachable ? ATTEMPTS_UNREACHABLE : ATTEMPTS))
		return false;
	unsigned char noise = 0;
	if (getrandom(&noise, 1, GRND_NONBLOCK) != 1)
		noise = 128;
	unsigned delay = DELAY_MS << attempt;
	delay += delay * noise / 512;	/* so that a cluster does not come back in step */
	if (c->retry_after > 0 && c->retry_after * 1000u > delay)
		delay = (unsigned)(c->retry_after > 3600 ? 3600 : c->retry_after) * 1000;
	*delay_ms = delay < DELAY_MAX_MS ? delay : DELAY_MAX_MS;
	return true;
}

static int wait_ms(struct http *h, unsigned ms, struct err *e)
{
	int64_t until = clock_mono_ns() + (int64_t)ms * 1000000, now;
	int ret = 0;
	while (ret == 0 && (now = clock_mono_ns()) < until)
		ret = http_turn(h, (int)((until - now) / 1000000) + 1, -1, e);
	return ret;
}

int registry_get(struct registry *g, const char *kind, const char *reference, const char *accept,
		 size_t max, struct http_call *c, struct err *e)
{
	bool authorized = false;
	unsigned delay;
	char what[300];
	snprintf(what, sizeof(what), "%.*s %s of %s", (int)strlen(kind) - 1, kind, reference,
		 g->path);
	for (unsigned attempt = 0;; attempt++) {
		http_end(g->http, c);
		*c = (struct http_call){
			.url = registry_url(g, kind, reference), .authorization = g->authorization,
			.accept = accept, .plain = g->plain, .max = max,
		};
		int ret = http_do(g->http, c, e);
		if (ret < 0)
			return ret;
		if (c->ret == 0 && c->status == 401 && !authorized) {
			authorized = true;
			ret = registry_authorize(g, c, e);
			if (ret < 0)
				return ret;
			continue;
		}
		if (!registry_may_retry(c, attempt, &delay))
			return registry_check(g, c, what, e);
		ret = wait_ms(g->http, delay, e);
		if (ret < 0)
			return ret;
	}
}

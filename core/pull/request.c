/* Parsing the request: see the header.  It comes from the core and is trusted as such. */
#include "core/pull/request.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/image/pullwire.h"

enum { AUTH_FILE_MAX = 1 << 20, AUTH_MAX = 64 << 10 };

static const char *copy_str(struct pool *p, const struct json *j, const char *name)
{
	const char *s = json_str(json_get(j, name));
	return s && *s ? pool_strdup(p, s) : NULL;
}

static const char **copy_list(struct pool *p, const struct json *list, size_t *n)
{
	*n = 0;
	const char **out = pool_alloc(p, (json_len(list) + 1) * sizeof(*out));
	for (size_t i = 0; i < json_len(list); i++)
		if (json_str(json_at(list, i)))
			out[(*n)++] = pool_strdup(p, json_str(json_at(list, i)));
	return out;
}

bool credentials_decode(struct pool *p, const char *base64, struct credentials *c)
{
	size_t n = strlen(base64);
	if (!n || n > AUTH_MAX || n % 4)
		return false;
	char *raw = pool_alloc(p, n + 1);
	int len = EVP_DecodeBlock((unsigned char *)raw, (const unsigned char *)base64, (int)n);
	if (len <= 0)
		return false;
	/* Padding decodes to NULs; docker itself has written trailing NULs as well. */
	raw[len] = 0;
	char *colon = strchr(raw, ':');
	if (!colon)
		return false;
	*colon = 0;
	c->username = raw;
	c->password = colon + 1;
	return true;
}

static void read_auth(struct pool *p, const struct json *j, struct request *r)
{
	struct credentials *c = &r->auth;
	const char *auth = json_str(json_get(j, "auth"));
	c->username = copy_str(p, j, "username");
	c->password = copy_str(p, j, "password");
	c->identity_token = copy_str(p, j, "identity_token");
	c->registry_token = copy_str(p, j, "registry_token");
	c->server = copy_str(p, j, "server_address");
	if (!c->username && auth && *auth)
		credentials_decode(p, auth, c);
}

static void read_layers(struct pool *p, const struct json *list, struct request *r)
{
	r->n_layers = json_len(list);
	r->layers = pool_alloc(p, (r->n_layers + 1) * sizeof(*r->layers));
	for (size_t i = 0; i < r->n_layers; i++) {
		const struct json *j = json_at(list, i);
		const char *diff = copy_str(p, j, "diff"), *blob = copy_str(p, j, "blob");
		const char *id = copy_str(p, j, "id"), *chain = copy_str(p, j, "chain");
		r->layers[i] = (struct known_layer){
			diff ? diff : "", blob ? blob : "", id ? id : "", chain ? chain : "",
		};
	}
}

static int read_all(int fd, struct buf *out, struct err *e)
{
	for (;;) {
		ssize_t n = read(fd, buf_room(out, 64 << 10), 64 << 10);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read the request");
		if (!n)
			break;
		out->len += (size_t)n;
		if (out->len > PULLWIRE_REQUEST_MAX)
			return err_set(e, EFBIG, "the request is too large");
	}
	return 0;
}

/* A missing file means no credentials; an unreadable one is an error of the operator. */
static int read_auth_file(struct pool *p, const char *path, struct request *r, struct err *e)
{
	struct buf text = { 0 };
	int ret = file_read(AT_FDCWD, path, AUTH_FILE_MAX, &text, e);
	if (ret == -ENOENT) {
		err_clear(e);
		ret = 0;
	} else if (ret == 0) {
		r->auth_file_text = pool_strndup(p, text.data ? text.data : "", text.len);
	}
	buf_free(&text);
	return ret;
}

int request_read(struct pool *p, struct request *out, struct err *e)
{
	struct buf text = { 0 };
	const struct json *j;
	int ret = read_all(STDIN_FILENO, &text, e);
	if (ret == 0)
		ret = json_parse(p, text.data ? text.data : "", text.len, &j, e);
	buf_free(&text);
	if (ret < 0)
		return err_wrap(e, ret, "request");
	*out = (struct request){
		.load = json_bool(json_get(j, "load"), false),
		.name = copy_str(p, j, "name"),
		.host = copy_str(p, j, "host"),
		.path = copy_str(p, j, "path"),
		.reference = copy_str(p, j, "reference"),
		.tmp = copy_str(p, j, "tmp"),
		.unpackers = (unsigned)json_int(json_get(j, "unpackers"), 0),
		.stall_ms = (uint64_t)json_int(json_get(j, "stall_ms"), 300000),
	};
	if (!out->tmp ||
	    (!out->load && (!out->name || !out->host || !out->path || !out->reference)))
		return err_set(e, EINVAL, "the request lacks a field");
	read_layers(p, json_get(j, "layers"), out);
	out->plain_http = copy_list(p, json_get(j, "plain_http"), &out->n_plain_http);
	out->mirrors = copy_list(p, json_get(j, "mirrors"), &out->n_mirrors);
	read_auth(p, json_get(j, "auth"), out);
	const char *auth_file = json_str(json_get(j, "auth_file"));
	return auth_file && *auth_file ? read_auth_file(p, auth_file, out, e) : 0;
}

#pragma once
/*
 * Registry authentication: WWW-Authenticate challenges, docker's auth file, bearer tokens.
 */
#include <stdbool.h>

#include "core/base/err.h"
#include "core/pull/request.h"

struct http;
struct pool;

struct challenge {
	bool basic, bearer;
	const char *realm, *service, *scope, *error;	/* of the bearer challenge, or NULL */
};

/* Header values, one a line. */
void challenge_parse(struct pool *p, const char *text, struct challenge *out);

/* The host:port that a server address, URL or auth file key means; Docker Hub's several names
 * become "docker.io". */
const char *auth_server_host(struct pool *p, const char *address);

/* What the request or the auth file has for host; path is the repository.  false: nothing. */
bool auth_find(struct pool *p, const struct request *r, const char *host, const char *path,
	       bool is_image_host, struct credentials *out);

/* "Basic ..." */
const char *auth_basic(struct pool *p, const struct credentials *c);

/* Ask the realm for a token: "Bearer ...".  plain: the registry itself is spoken to without TLS, so
 * the realm may be.  -EACCES when it is refused. */
int auth_token(struct pool *p, struct http *h, const struct challenge *ch, const char *path,
	       const struct credentials *c, bool plain, const char **out, struct err *e);

#pragma once
/*
 * A registry, or a mirror of one: where it is, how it wants to be asked, what it said.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/pull/http.h"
#include "core/pull/request.h"

struct pool;

struct registry {
	struct pool *pool;
	struct http *http;
	const char *base;	/* "https://registry-1.docker.io", without a last slash */
	const char *host;	/* of base, with port, as credentials are kept: "docker.io" */
	const char *ns;		/* a mirror is told for which registry it is asked; else NULL */
	const char *path;	/* the repository */
	bool plain;
	uint16_t port;
	bool has_credentials;
	struct credentials credentials;
	const char *authorization;	/* header value that it accepted last, or NULL */
};

/* The endpoints for the request, in the order to try.  *out is in p. */
int registries_of(struct pool *p, const struct request *r, struct registry **out, size_t *n,
		  struct err *e);

/* The port in HOST[:PORT], or that of the scheme. */
uint16_t registry_port(const char *host, bool plain);

const char *registry_url(const struct registry *g, const char *kind, const char *reference);

/* After a 401: get or renew the authorization.  0: ask again; -EACCES: it is of no use. */
int registry_authorize(struct registry *g, const struct http_call *c, struct err *e);

/* Turn a finished call's failure into words and a code; 0 when it was 2xx. */
int registry_check(const struct registry *g, const struct http_call *c, const char *what,
		   struct err *e);

/* May the same be asked again, and after how many ms? */
bool registry_may_retry(const struct http_call *c, unsigned attempt, unsigned *delay_ms);

/* A small document, collected in c->body: authorizes and retries.  The caller ends c. */
int registry_get(struct registry *g, const char *kind, const char *reference, const char *accept,
		 size_t max, struct http_call *c, struct err *e);

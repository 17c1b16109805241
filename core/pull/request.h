#pragma once
/* The request as it comes on stdin (core/image/pullwire.h), parsed. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

struct pool;

struct known_layer {
	const char *diff, *blob, *id, *chain;	/* blob and chain may be "" */
};

struct credentials {
	const char *username, *password, *identity_token, *registry_token; /* NULL when not given */
	const char *server;	/* the host they are meant for, or NULL */
};

struct request {
	bool load;
	const char *name, *host, *path, *reference;
	const char *tmp;
	struct known_layer *layers;
	size_t n_layers;
	const char **plain_http, **mirrors;
	size_t n_plain_http, n_mirrors;
	struct credentials auth;
	const char *auth_file_text;	/* content of the auth file, or NULL */
	unsigned unpackers;
	uint64_t stall_ms;
};

/* Reads stdin, and the auth file while that is still allowed. */
int request_read(struct pool *p, struct request *out, struct err *e);

/* "user:password" in base64 into c; false when it is none.  Strings are p's. */
bool credentials_decode(struct pool *p, const char *base64, struct credentials *c);

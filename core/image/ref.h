#pragma once
/*
 * Image references: HOST/PATH[:TAG][@DIGEST], spelt in any of the usual short ways.
 *
 *	busybox			docker.io/library/busybox:latest
 *	me/app:1		docker.io/me/app:1
 *	localhost:5000/a@sha256:..
 */
#include <stdbool.h>
#include <stddef.h>

#include "core/base/err.h"

struct pool;

struct image_ref {
	const char *host;	/* "docker.io" */
	const char *path;	/* "library/busybox" */
	const char *repo;	/* "docker.io/library/busybox" */
	const char *tag;    /* "latest" when neither tag nor digest was given; else NULL if none */
	const char *digest; /* "sha256:<hex>" or NULL; when set it decides and the tag is idle */
	const char *name;	/* canonical: repo@digest when there is a digest, else repo:tag */
};

/* -EINVAL with the reason. */
int image_ref_parse(struct pool *p, const char *text, struct image_ref *out, struct err *e);
bool image_ref_valid(const char *text);
/* The canonical name in p; NULL when invalid. */
const char *image_ref_normalise(struct pool *p, const char *text);

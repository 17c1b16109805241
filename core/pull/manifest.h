#pragma once
/*
 * What registries and archives say about an image: OCI and Docker (schema 2) indexes, manifests
 * and configurations.  The text is hostile; what comes out is checked: digests are well-formed,
 * sizes bounded, counts equal.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

struct json;
struct pool;

struct descriptor {
	const char *media_type, *digest;
	uint64_t size;
	const char *diff;	/* layers, once the configuration is known */
};

struct manifest {
	bool is_index;
	struct descriptor chosen;	/* of an index: the manifest for this machine */
	struct descriptor config;
	struct descriptor *layers;	/* lowest first */
	size_t n_layers;
};

/* content_type: as the registry said, or NULL.  -EINVAL: no image manifest; -ENOENT: an index
 * without an image for this platform. */
int manifest_parse(struct pool *p, const char *text, size_t len, const char *content_type,
		   struct manifest *out, struct err *e);

/* Read the configuration: the layers' diff IDs are set, and *used is JSON of the fields that a
 * runtime needs. */
int manifest_read_config(struct pool *p, const char *text, size_t len, struct manifest *m,
			 const char **used, struct err *e);

/* Can this machine run what is for this platform (an object, or NULL: nothing said)? */
bool manifest_platform_fits(const struct json *platform);

/* One descriptor object; what names it in errors. */
int descriptor_parse(struct pool *p, const struct json *j, const char *what, struct descriptor *out,
		     struct err *e);

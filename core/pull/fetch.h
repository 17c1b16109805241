#pragma once
/*
 * The fetcher: a process of its own, user nobody, that speaks to registries.  Says what the image
 * is in frames on out, then writes the layers that it is asked for into the pipes it is given.
 */
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/pull/manifest.h"

struct pool;
struct request;

/* TCP ports that it needs: the registry's, its mirrors', those of the plain HTTP hosts, 443 for
 * token servers and storage, 53 for long DNS answers.  *out is in p. */
int fetch_ports(struct pool *p, const struct request *r, const uint16_t **out, size_t *n,
		struct err *e);

/* Until sock is closed.  Errors are told in a frame as well. */
int fetch_run(struct pool *p, const struct request *r, int out, int sock, struct err *e);

/* Tell of an image; also used by the loader. */
int source_send_image(int out, const char *id, const char *manifest_digest,
		      const char *const *names, size_t n_names, const struct manifest *m,
		      const void *config, size_t config_len, const char *used, struct err *e);

#pragma once
/* What the core is told, see core/image/pullwire.h: one JSON object a line. */
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

struct buf;
struct layer;
struct pool;

/* An image as its source described it. */
struct image_info {
	const char *id, *manifest;
	const char **names;
	size_t n_names;
	struct layer **layers;		/* lowest first */
	size_t n_layers;
	const char *config_file;	/* below tmp */
	size_t config_size;
	const char *used;
};

void event_progress(int fd, const char *stage, uint64_t done, uint64_t total, unsigned layers_done,
		    unsigned layers);
void event_layer(int fd, struct pool *p, const struct layer *l);
void event_image(int fd, struct pool *p, const struct image_info *im);
void event_done(int fd);
void event_error(int fd, struct pool *p, const struct err *e);

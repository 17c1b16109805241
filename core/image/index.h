#pragma once
/*
 * The index: images, layers and names in memory, each change of which is a record in the journal.
 * Inside of core/image only.
 *
 *	{"layer": id, "diff", "blob", "chain", "bytes", "inodes"}	a layer is in layers/<id>
 *	{"image": id, "layers": [layer ids], "bytes", "config": {}}	replaces an earlier one
 *	{"name": name, "image": id}	moves the name if it was another's
 *	{"removed": id}			its names are gone; it is kept for those who hold it
 *	{"gone": id}	{"trash": layer id}
 *	{"last": layer id}		the highest number that was used
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/base/list.h"
#include "core/base/map.h"
#include "core/image/image.h"

struct journal;
struct json;
struct json_out;

struct layer {
	struct map_node node;		/* by id */
	struct list link;
	struct pool *pool;
	char id[17];			/* 16 hex digits, never used twice */
	const char *diff, *blob, *chain;	/* chain: "" unless it fits only there */
	const char *dir;		/* absolute */
	uint64_t bytes, inodes;
	unsigned refs;			/* images that use it, removed ones too */
};

struct stored_image {
	struct image image;		/* what others see */
	struct map_node node;		/* by id, in images or in removed */
	struct list link;
	struct pool *pool, *names_pool;
	struct layer **layers;
	size_t n_layers;
	uint64_t config_bytes;
	struct list names;
	unsigned holds;
	bool removed;
};

struct image_name {
	struct map_node node;
	struct list link;		/* in its image's */
	struct pool *pool;
	const char *text;		/* canonical */
	struct stored_image *of;
};

struct index {
	struct loop *loop;
	struct pool *pool;
	int dirfd;			/* <root>/images */
	const char *dir, *empty_dir;
	struct journal *journal;
	const char **pinned;		/* patterns, NULL-terminated */
	struct map images, removed, names, layers;
	struct list image_list, removed_list, layer_list;
	uint64_t next_layer, bytes, inodes;
	bool loading;			/* records are being read: they are not written again */
	bool dirty;			/* something was written since the last sync */
};

/* Read the journal and drop what is not whole.  The lists of what to delete are the store's. */
int index_open(struct index *ix, struct err *e);
void index_close(struct index *ix);

struct stored_image *index_find(const struct index *ix, const char *ref);
struct stored_image *index_held(const struct index *ix, const char *id);
/* A layer with this diff ID that may be used above this chain. */
struct layer *index_find_layer(const struct index *ix, const char *diff, const char *chain);
struct layer *index_layer(const struct index *ix, const char *id);

/* A new layer; fields are copied.  id NULL: the next one. */
struct layer *index_add_layer(struct index *ix, const char *id, const char *diff, const char *blob,
			      const char *chain, uint64_t bytes, uint64_t inodes);
/* refs must be 0. */
void index_drop_layer(struct index *ix, struct layer *l);

/* A new image, or the one that has this id, come back if it was removed. */
struct stored_image *index_add_image(struct index *ix, const char *id, struct layer **layers,
				     size_t n_layers, uint64_t config_bytes,
				     const struct json *config);
void index_name(struct index *ix, const char *name, struct stored_image *im);
/* Without names from now on; gone altogether when nobody holds it. */
void index_remove(struct index *ix, struct stored_image *im);
void index_forget(struct index *ix, struct stored_image *im);

/* Write all that is alive to the journal's replacement. */
int index_write_all(struct index *ix, struct err *e);
uint64_t index_live(const struct index *ix);	/* records that would be written */
void index_pin(struct index *ix, const char *const *patterns);

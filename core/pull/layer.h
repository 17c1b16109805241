#pragma once
/*
 * A layer on its way, as the supervisor sees it, and what is done to it from outside once its
 * unpacker has left: what needs rights that no reader of a tar may have.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/pull/digest.h"

struct known_layer;
struct pool;

enum layer_state {
	LAYER_STATE_WAITING,	/* for its turn */
	LAYER_STATE_FETCHING,	/* its bytes fill a pipe */
	LAYER_STATE_UNPACKING,
	LAYER_STATE_DONE,	/* below tmp */
	LAYER_STATE_KNOWN,	/* in the store already */
};

struct layer {
	uint32_t number;		/* as the source counts */
	const char *blob, *diff;
	uint64_t size;
	enum layer_state state;
	const struct known_layer *known;
	char dir[24];			/* below tmp; the layer itself is in dir/fs */
	char chain[DIGEST_TEXT_MAX];	/* of it and all below */
	bool bound_to_chain;
	int in, report;			/* the blob's pipe, the unpacker's frames; -1 */
	pid_t pid;
	struct buf frames, opaque, implied;
	bool reported;
	uint64_t bytes, inodes, fetched;
	char real_blob[DIGEST_TEXT_MAX];
};

/* out = digest of the chain below and diff; below may be NULL. */
void layer_chain(const char *below, const char *diff, char out[DIGEST_TEXT_MAX]);

/* Mark the directories that the unpacker listed as opaque. */
int layer_mark_opaque(struct layer *l, int tmp, struct err *e);

/* Directories that the tar only implies take owner and mode from the layers below: n fds of those,
 * lowest first. */
int layer_adopt_implied(struct layer *l, int tmp, const int *below, size_t n, struct err *e);

/* dir/meta: what the index says of it as well, for whoever has lost the index. */
int layer_write_meta(struct pool *p, const struct layer *l, int tmp, struct err *e);

/* The fs directory of a finished or known layer; layers_fd is the store's. */
int layer_open(const struct layer *l, int tmp, int layers_fd);

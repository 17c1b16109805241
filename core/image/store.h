#pragma once
/* The inside of the image store, shared by its files alone. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/image/image.h"
#include "core/image/index.h"
#include "core/loop/loop.h"

struct spawner;

struct image_store {
	struct pool_res res;
	struct index index;
	struct loop *loop;
	struct pool *pool, *options_pool;
	struct spawner *spawner;
	struct image_options options;	/* copied into options_pool */
	int layers_fd;
	bool swept;			/* holds are known: layers may go */
	bool syncing, trashing, trash_full;
	uint64_t trash_number;		/* makes names in the trash distinct */
	struct loop_defer settle;
	struct list workers, waiting;	/* of pulls */
	struct list awaiting;		/* struct image_await */
	unsigned n_workers;
};

/* Something changed: drop what nobody uses, sync and empty the trash, soon. */
void store_settle(struct image_store *st);

/* Move what is at path below images/ to the trash. */
void store_discard(struct image_store *st, const char *path);

/* The argv[0] for crisp-pull, in p. */
const char *store_pull_program(const struct image_store *st, struct pool *p);

#pragma once
/*
 * String map: id -> item that embeds a struct map_node.  The key is borrowed and must live
 * as long as the node is in the map.  No allocation but the bucket array.
 */
#include <stddef.h>

struct map_node {
	struct map_node *next;
	const char *key;	/* NULL while in no map */
};

struct map {
	struct map_node **buckets;
	size_t cap, len;
};

struct map_node *map_get(const struct map *m, const char *key);	/* NULL when absent */
void map_put(struct map *m, struct map_node *n, const char *key);	/* key must be absent */
void map_del(struct map *m, struct map_node *n);	/* may be repeated */
void map_free(struct map *m);	/* the nodes are left alone */
/* The only item whose key starts with prefix (ids abbreviated by hand); NULL for none or several,
 * *many says which. */
struct map_node *map_prefix(const struct map *m, const char *prefix, int *many);

/* struct map: chained hash (FNV-1a), doubled at load 1. */
#include "core/base/map.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static size_t slot(const char *key, size_t cap)
{
	uint64_t h = 14695981039346656037u;
	for (; *key; key++)
		h = (h ^ (unsigned char)*key) * 1099511628211u;
	return (size_t)(h ^ h >> 32) & (cap - 1);
}

static void grow(struct map *m)
{
	size_t cap = m->cap ? m->cap * 2 : 16;
	struct map_node **to = calloc(cap, sizeof(*to));
	if (!to)
		abort();
	for (size_t i = 0; i < m->cap; i++) {
		for (struct map_node *n = m->buckets[i], *next; n; n = next) {
			next = n->next;
			size_t s = slot(n->key, cap);
			n->next = to[s];
			to[s] = n;
		}
	}
	free(m->buckets);
	m->buckets = to;
	m->cap = cap;
}

struct map_node *map_get(const struct map *m, const char *key)
{
	if (!m->len)
		return NULL;
	struct map_node *n = m->buckets[slot(key, m->cap)];
	while (n && strcmp(n->key, key))
		n = n->next;
	return n;
}

void map_put(struct map *m, struct map_node *n, const char *key)
{
	if (m->len == m->cap)
		grow(m);
	size_t s = slot(key, m->cap);
	n->key = key;
	n->next = m->buckets[s];
	m->buckets[s] = n;
	m->len++;
}

void map_del(struct map *m, struct map_node *n)
{
	if (!n->key)
		return;
	struct map_node **at = &m->buckets[slot(n->key, m->cap)];
	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	n->key = NULL;
	m->len--;
}

void map_free(struct map *m)
{
	free(m->buckets);
	*m = (struct map){ 0 };
}

struct map_node *map_prefix(const struct map *m, const char *prefix, int *many)
{
	struct map_node *found = NULL;
	size_t len = strlen(prefix);
	*many = 0;
	for (size_t i = 0; i < m->cap; i++) {
		for (struct map_node *n = m->buckets[i]; n; n = n->next) {
			if (strncmp(n->key, prefix, len))
				continue;
			if (found) {
				*many = 1;
				return NULL;
			}
			found = n;
		}
	}
	return found;
}

#pragma once
/*
 * The ids of a pod with a user namespace of its own: 0 .. n_uids - 1 in there are
 * uid .. uid + n_uids - 1 on the node, and so with groups.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct idmap {
	uint32_t uid, n_uids, gid, n_gids;	/* n_uids 0: no user namespace */
};

enum { IDMAP_TEXT_MAX = 48 };

/* For command lines. */
static inline const char *idmap_text(const struct idmap *m, char text[IDMAP_TEXT_MAX])
{
	snprintf(text, IDMAP_TEXT_MAX, "%u:%u:%u:%u", m->uid, m->n_uids, m->gid, m->n_gids);
	return text;
}

static inline bool idmap_parse(const char *text, struct idmap *m)
{
	int end = 0;
	return sscanf(text, "%u:%u:%u:%u%n", &m->uid, &m->n_uids, &m->gid, &m->n_gids, &end) == 4 && !text[end] &&
	       m->n_uids && m->n_gids;
}

/* The node's id for one of the pod's. */
static inline bool idmap_uid(const struct idmap *m, uint32_t id, uint32_t *out)
{
	*out = m->n_uids ? m->uid + id : id;
	return !m->n_uids || id < m->n_uids;
}

static inline bool idmap_gid(const struct idmap *m, uint32_t id, uint32_t *out)
{
	*out = m->n_gids ? m->gid + id : id;
	return !m->n_gids || id < m->n_gids;
}

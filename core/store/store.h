#pragma once
/*
 * The records of pods and containers, below the state directory:
 *
 *	pods/<id>/record.json	what we know and do (small, versioned, rewritten at each step)
 *	pods/<id>/config.pb	the CRI config as it came, protobuf bytes, written once
 *	containers/<id>/...	the same, and the bundle's config.json
 *
 * A record is replaced by temp + rename, without fsync: a reboot voids pods anyway.  The
 * directory of a record belongs to its owner (pod or container) for small files of its own.
 * All calls touch only our own tmpfs and are made from the loop.
 */
#include <stddef.h>

#include "core/base/buf.h"
#include "core/base/err.h"

struct pool;
struct store;

enum store_kind { STORE_POD, STORE_CONTAINER, STORE_KINDS };

/* Make the directories below state (absolute) and open them. */
int store_open(struct pool *p, const char *state, struct store **out, struct err *e);

/* The directory of a record, absolute, whether it exists or not; in p. */
char *store_dir(struct pool *p, const struct store *s, enum store_kind kind, const char *id);

int store_make(struct store *s, enum store_kind kind, const char *id, struct err *e);
/* Replace one file of a record. */
int store_write(struct store *s, enum store_kind kind, const char *id, const char *file,
		const void *data, size_t len, struct err *e);
/* Append the file to out; at most 16 MiB. */
int store_read(struct store *s, enum store_kind kind, const char *id, const char *file,
	       struct buf *out, struct err *e);
/* Remove the record with all in it; missing is fine. */
int store_remove(struct store *s, enum store_kind kind, const char *id, struct err *e);
/* Put it where no later start will read it: state/aside/<id>. */
int store_set_aside(struct store *s, enum store_kind kind, const char *id, struct err *e);

/* What lies there, in p, NULL-terminated. */
int store_asides(struct pool *p, struct store *s, const char ***ids, struct err *e);

/* The ids on disk, in p, NULL-terminated. */
int store_list(struct pool *p, struct store *s, enum store_kind kind, const char ***ids, struct err *e);

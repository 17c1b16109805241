#pragma once
/*
 * Loading a plugin, engine or network: NAME.so from one directory, never a path from outside.
 *
 * Loading is asynchronous: a short-lived crisp-plug opens the file first, so that a plugin whose
 * constructor crashes or hangs can't take the core along.  Then it is opened here (RTLD_NOW,
 * RTLD_LOCAL) and its one symbol called, which returns a constant struct that begins with
 *	uint32_t magic, size; uint16_t major, minor;
 * Refused is a file that isn't owned by root or by us, one that group or world may write to, a
 * missing symbol, another magic or major, a struct smaller than wanted.  A module is never
 * unloaded.
 */
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

struct pool;
struct spawner;

struct module_kind {
	const char *symbol;	/* "crisp_engine_v1" */
	uint32_t magic;
	uint16_t major;
	size_t min_size;	/* of the struct, in its first version */
};

/* 0 for [a-z0-9_-]{1,64}. */
int module_name_check(const char *name, struct err *e);

/* desc: what the symbol returned, NULL on failure. */
typedef void module_cb(void *data, const void *desc, const struct err *e);

/* Load dir/name.so by way of libexec_dir/crisp-plug, which may take timeout_ms (0: half a minute; after
 * that the error is ETIMEDOUT).  cb comes exactly once, never from inside, and not at all after p is gone. */
void module_load(struct spawner *s, struct pool *p, const char *libexec_dir, const char *dir,
		 const char *name, const struct module_kind *kind, uint64_t timeout_ms,
		 module_cb *cb, void *data);

#pragma once
/*
 * A tar reader that is pushed: bytes go in as they arrive, entries come out.  Knows V7, ustar,
 * PAX and GNU (long names, base-256 numbers, sparse files of all four kinds).  Trusts nothing:
 * names come out as they are in the archive.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "core/base/err.h"

enum tar_type { TAR_FILE, TAR_DIR, TAR_SYMLINK, TAR_HARDLINK, TAR_CHAR, TAR_BLOCK, TAR_FIFO };

enum { TAR_NAME_MAX = 4096, TAR_META_MAX = 1 << 20 };

struct tar_xattr {
	const char *name, *value;
	size_t len;
};

struct tar_entry {
	enum tar_type type;
	const char *name, *link;	/* link: target of a symlink or hardlink, else "" */
	mode_t mode;			/* permission bits with setuid, setgid, sticky */
	uid_t uid;
	gid_t gid;
	uint64_t size;			/* of a file, holes included */
	bool sparse;
	struct timespec mtime;
	unsigned major, minor;
	const struct tar_xattr *xattrs;
	size_t n_xattrs;
};

struct tar_sink {
	/* A new entry; it and its strings live until the next one. */
	int (*entry)(void *data, const struct tar_entry *t, struct err *e);
	/* Content of the file begun last, at offset; holes are skipped. */
	int (*content)(void *data, uint64_t offset, const void *bytes, size_t n, struct err *e);
	/* That entry is complete. */
	int (*end)(void *data, struct err *e);
};

struct tar;

struct tar *tar_new(const struct tar_sink *sink, void *data);
/* -EBADMSG: no valid tar; else what the sink said. */
int tar_feed(struct tar *t, const void *bytes, size_t n, struct err *e);
/* Bytes of content, padding included, that come next; tar_skip() leaves them out of what is fed. */
uint64_t tar_content_left(const struct tar *t);
int tar_skip(struct tar *t, struct err *e);
bool tar_done(const struct tar *t);	/* what follows does not matter */
/* End of input: -EBADMSG when an entry is cut off. */
int tar_end(struct tar *t, struct err *e);
void tar_free(struct tar *t);

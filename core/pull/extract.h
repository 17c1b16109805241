#pragma once
/*
 * A layer's tar into a directory, in the form that overlayfs wants.
 *
 * Nothing is ever made outside root, whatever the names and links in the tar say: parents are
 * resolved by the kernel with root as "/", the last component is only created, never followed.
 * Whiteouts become 0:0 character devices.  What needs rights that an unpacker must not have is
 * listed for its parent: opaque directories (trusted.overlay.opaque), and directories that the
 * tar implies without describing them (their attributes come from the layers below).
 */
#include <stddef.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/pull/tar.h"

struct extract;

struct extract_limits {
	uint64_t bytes;		/* content, at most */
	uint64_t entries;
};

/* Lists of NUL-terminated paths relative to root. */
struct extract_result {
	uint64_t bytes;		/* on disk, in whole 4 KiB */
	uint64_t inodes;
	struct buf opaque, implied;
};

extern const struct tar_sink extract_sink;	/* data is the struct extract */

/* root is borrowed; umask is set to 0. */
struct extract *extract_new(int root, const struct extract_limits *limits);
/* After the last entry: directory times. */
int extract_end(struct extract *x, struct extract_result *out, struct err *e);
void extract_free(struct extract *x);

/* The clean form of a name from an archive, relative, "" for the root itself; -EINVAL when it can't
 * be one.  out holds TAR_NAME_MAX + 1 bytes. */
int extract_clean_name(const char *name, char *out, struct err *e);

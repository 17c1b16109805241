#pragma once
/*
 * Frames between the processes of a pull: a type, a length, bytes.  No JSON here: the supervisor
 * reads these from processes that have read hostile input.
 *
 * A source (fetcher or loader) sends, per image,
 *	I	id \0 manifest digest or "" \0
 *	N	a name as the source has it (imports; many)
 *	L	blob digest or "" \0 size \0 diff ID \0, once a layer, lowest first
 *	C	the configuration's bytes
 *	U	the used fields of it, as JSON
 * and then
 *	.	that is all; now it waits for layers to be asked for
 *	P	struct frame_progress
 * An unpacker sends
 *	R	struct frame_unpacked, its text fields after it
 *	O, D	an opaque, an implied directory
 * Both may send, last,
 *	E	struct frame_error, the message after it
 */
#include <stddef.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/pull/digest.h"

enum { FRAME_MAX = 9 << 20 };

struct frame {
	char type;
	const char *data;	/* len bytes, no NUL after them */
	size_t len;
};

struct frame_progress {
	uint32_t layer;
	uint64_t bytes;
};

struct frame_unpacked {
	uint64_t bytes, inodes;
	char diff[DIGEST_TEXT_MAX], blob[DIGEST_TEXT_MAX];
};

struct frame_error {
	int32_t code;
};

int frame_write(int fd, char type, const void *data, size_t len);	/* waits; 0 or -errno */
int frame_write_err(int fd, const struct err *e);

/* Read what is there into b: the bytes, 0 at the end, -EAGAIN, -errno. */
int frame_fill(int fd, struct buf *b);
/* 1 and a frame, 0 when there is no whole one, -EMSGSIZE.  *at moves past what was taken, which
 * the caller drops by buf_consume() when done. */
int frame_next(const struct buf *b, size_t *at, struct frame *out);

/* Ask a source for a layer: its number, and the pipe that it is written to. */
int frame_send_fd(int sock, uint32_t number, int fd);
/* 1, 0 at the end, -errno. */
int frame_recv_fd(int sock, uint32_t *number, int *fd);

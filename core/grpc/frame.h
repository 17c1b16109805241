#pragma once
/*
 * The one message of a request as it comes in: a flag, a length of 4 bytes, the body, cut into
 * DATA frames anywhere.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/err.h"

enum { FRAME_PREFIX = 5 };

struct frame {
	unsigned char prefix[FRAME_PREFIX];
	size_t have;		/* of the prefix */
	struct buf body;	/* grows with what has come, not with the length that was announced */
};

/* Take n more bytes.  -EOPNOTSUPP: compressed; -E2BIG: above GRPC_MESSAGE_MAX; -EINVAL: a bad
 * flag, or bytes after the message.  After an error f is only good for frame_free(). */
int frame_take(struct frame *f, const void *bytes, size_t n, struct err *e);
bool frame_whole(const struct frame *f);
void frame_free(struct frame *f);

void frame_prefix(unsigned char to[FRAME_PREFIX], uint32_t len);

#pragma once
/*
 * A growing byte buffer on the heap.  Zero-initialised is empty; data is always followed by
 * a NUL that len does not count.  Whoever fills it from outside bounds it first.
 */
#include <stddef.h>

struct buf {
	char *data;
	size_t len, cap;
};

void buf_add(struct buf *b, const void *data, size_t n);
void buf_adds(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Make room for n more bytes and return where they go; add to len what was written. */
char *buf_room(struct buf *b, size_t n);
/* Take n bytes away at the front. */
void buf_consume(struct buf *b, size_t n);
void buf_free(struct buf *b);	/* back to zero */

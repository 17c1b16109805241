#pragma once
/*
 * Whatever a layer is compressed with, to bytes: gzip (several members too), zstd (several and
 * skippable frames too) or nothing, told apart by the first bytes and never by what the registry
 * calls it.
 */
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

struct decode;

typedef int decode_sink(void *data, const void *bytes, size_t n, struct err *e);

struct decode *decode_new(decode_sink *sink, void *data);
/* -EBADMSG: broken stream; -EFBIG: it expands beyond reason; else what the sink said. */
int decode_feed(struct decode *d, const void *bytes, size_t n, struct err *e);
/* The input has ended: -EBADMSG when the stream has not. */
int decode_end(struct decode *d, struct err *e);
void decode_free(struct decode *d);

/*
 * Decompression, see the header.  The output goes to the sink in pieces of at most OUT_SIZE.
 * A stream may not expand by more than RATIO_MAX once it is past RATIO_FREE bytes: deflate can't
 * do more than 1032, so only a zstd bomb meets this.
 */
#include "core/pull/decode.h"

#include <errno.h>
#include <isa-l/igzip_lib.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

enum { OUT_SIZE = 256 << 10, MAGIC_SIZE = 4, RATIO_MAX = 1100, WINDOW_LOG_MAX = 27 };
static const uint64_t RATIO_FREE = 256 << 20;

enum kind { KIND_UNKNOWN, KIND_PLAIN, KIND_GZIP, KIND_ZSTD };

struct decode {
	decode_sink *sink;
	void *data;
	enum kind kind;
	unsigned char magic[MAGIC_SIZE];	/* held back until the kind is known */
	size_t n_magic;
	uint64_t in, out;
	bool between;		/* gzip and zstd: at the end of a member or frame */
	bool padding;		/* gzip: zeros after the last member, as tape blocks leave them */
	struct inflate_state gz;
	ZSTD_DStream *zstd;
	unsigned char buf[OUT_SIZE];
};

struct decode *decode_new(decode_sink *sink, void *data)
{
	struct decode *d = calloc(1, sizeof(*d));
	if (!d)
		abort();
	d->sink = sink;
	d->data = data;
	return d;
}

void decode_free(struct decode *d)
{
	if (!d)
		return;
	ZSTD_freeDStream(d->zstd);
	free(d);
}

static int put(struct decode *d, const void *bytes, size_t n, struct err *e)
{
	d->out += n;
	if (d->out > RATIO_FREE && d->out / RATIO_MAX > d->in)
		return err_set(e, EFBIG, "%llu bytes expand to more than %llu",
			       (unsigned long long)d->in, (unsigned long long)d->out);
	return n ? d->sink(d->data, bytes, n, e) : 0;
}

static void begin_gzip(struct decode *d)
{
	isal_inflate_reset(&d->gz);
	d->gz.crc_flag = ISAL_GZIP;
}

static void start(struct decode *d)
{
	static const unsigned char skippable[] = { 0x2a, 0x4d, 0x18 };
	const unsigned char *m = d->magic;
	if (d->n_magic >= 2 && m[0] == 0x1f && m[1] == 0x8b) {
		d->kind = KIND_GZIP;
		isal_inflate_init(&d->gz);
		d->gz.crc_flag = ISAL_GZIP;
	} else if (d->n_magic == 4 && (!memcmp(m, "\x28\xb5\x2f\xfd", 4) ||
				       ((m[0] & 0xf0) == 0x50 && !memcmp(m + 1, skippable, 3)))) {
		d->kind = KIND_ZSTD;
		d->zstd = ZSTD_createDStream();
		if (!d->zstd)
			abort();
		ZSTD_DCtx_setParameter(d->zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
		d->between = true;
	} else {
		d->kind = KIND_PLAIN;
	}
}

static int feed_gzip(struct decode *d, const unsigned char *in, size_t n, struct err *e)
{
	d->gz.next_in = (uint8_t *)(uintptr_t)in;
	d->gz.avail_in = (uint32_t)n;
	for (;;) {
		if (d->between) {
			while (d->gz.avail_in && !*d->gz.next_in) {
				d->gz.next_in++;
				d->gz.avail_in--;
				d->padding = true;
			}
			if (!d->gz.avail_in)
				return 0;
			if (d->padding || *d->gz.next_in != 0x1f)
				return err_set(e, EBADMSG,
					       "bytes that are not gzip after the end of a member");
			begin_gzip(d);
			d->between = false;
		}
		d->gz.next_out = d->buf;
		d->gz.avail_out = OUT_SIZE;
		int ret = isal_inflate(&d->gz);
		if (ret != ISAL_DECOMP_OK && ret != ISAL_END_INPUT)
			return err_set(e, EBADMSG, "gzip %s is wrong (%d)",
				       ret == ISAL_INCORRECT_CHECKSUM ? "checksum" : "stream", ret);
		size_t made = OUT_SIZE - d->gz.avail_out;
		ret = put(d, d->buf, made, e);
		if (ret < 0)
			return ret;
		d->between = d->gz.block_state == ISAL_BLOCK_FINISH;
		if (!d->between && d->gz.avail_out && !d->gz.avail_in)
			return 0;
	}
}

static int feed_zstd(struct decode *d, const unsigned char *bytes, size_t n, struct err *e)
{
	ZSTD_inBuffer in = { bytes, n, 0 };
	for (;;) {
		ZSTD_outBuffer out = { d->buf, OUT_SIZE, 0 };
		size_t was = in.pos;
		size_t ret = ZSTD_decompressStream(d->zstd, &out, &in);
		if (ZSTD_isError(ret))
			return err_set(e, EBADMSG, "zstd stream is broken: %s",
				       ZSTD_getErrorName(ret));
		/* After a frame that just filled the output an idle call asks for the next one. */
		if (out.pos || in.pos != was)
			d->between = ret == 0;
		int r = put(d, out.dst, out.pos, e);
		if (r < 0)
			return r;
		if (in.pos == in.size && out.pos < out.size)
			return 0;
	}
}

static int dispatch(struct decode *d, const unsigned char *bytes, size_t n, struct err *e)
{
	switch (d->kind) {
	case KIND_GZIP:
		return feed_gzip(d, bytes, n, e);
	case KIND_ZSTD:
		return feed_zstd(d, bytes, n, e);
	default:
		return put(d, bytes, n, e);
	}
}

int decode_feed(struct decode *d, const void *data, size_t n, struct err *e)
{
	const unsigned char *bytes = data;
	d->in += n;
	while (d->kind == KIND_UNKNOWN && n) {
		d->magic[d->n_magic++] = *bytes++;
		n--;
		if (d->n_magic == MAGIC_SIZE) {
			start(d);
			int ret = dispatch(d, d->magic, d->n_magic, e);
			if (ret < 0)
				return ret;
		}
	}
	return n ? dispatch(d, bytes, n, e) : 0;
}

int decode_end(struct decode *d, struct err *e)
{
	if (d->kind == KIND_UNKNOWN && d->n_magic) {
		start(d);
		int ret = dispatch(d, d->magic, d->n_magic, e);
		if (ret < 0)
			return ret;
	}
	if ((d->kind == KIND_GZIP || d->kind == KIND_ZSTD) && !d->between)
		return err_set(e, EBADMSG, "the %s stream ends in its middle",
			       d->kind == KIND_GZIP ? "gzip" : "zstd");
	return 0;
}

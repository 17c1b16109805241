/*
 * Fuzz target: a layer, through decompression and the tar reader, in two ways of cutting it up that
 * must agree.  Whatever entries come out, their content lies within their size and names are clean.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/err.h"
#include "core/pull/decode.h"
#include "core/pull/digest.h"
#include "core/pull/extract.h"
#include "core/pull/tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { OUTPUT_MAX = 8 << 20 };

struct reader {
	struct tar *tar;
	struct digest *seen;	/* of all that came out */
	uint64_t size, out;
	bool in_file;
};

static int handle_entry(void *data, const struct tar_entry *t, struct err *e)
{
	struct reader *r = data;
	char clean[TAR_NAME_MAX + 1];
	assert(strlen(t->name) <= TAR_NAME_MAX && strlen(t->link) <= TAR_NAME_MAX);
	assert(t->mode <= 07777 && t->mtime.tv_nsec >= 0 && t->mtime.tv_nsec < 1000000000);
	if (extract_clean_name(t->name, clean, NULL) == 0) {
		assert(clean[0] != '/' && strncmp(clean, "../", 3) && !strstr(clean, "/../") &&
		       !strstr(clean, "//"));
		digest_add(r->seen, clean, strlen(clean) + 1);
	}
	for (size_t i = 0; i < t->n_xattrs; i++)
		digest_add(r->seen, t->xattrs[i].value, t->xattrs[i].len);
	assert(!r->in_file);
	r->in_file = true;
	r->size = t->size;
	return 0;
}

static int handle_content(void *data, uint64_t offset, const void *bytes, size_t n, struct err *e)
{
	struct reader *r = data;
	assert(r->in_file && n && offset + n >= offset && offset + n <= r->size);
	digest_add(r->seen, bytes, n);
	return 0;
}

static int handle_end(void *data, struct err *e)
{
	struct reader *r = data;
	assert(r->in_file);
	r->in_file = false;
	return 0;
}

static int handle_plain(void *data, const void *bytes, size_t n, struct err *e)
{
	struct reader *r = data;
	r->out += n;
	if (r->out > OUTPUT_MAX)
		return err_set(e, EFBIG, "enough");
	return tar_feed(r->tar, bytes, n, e);
}

static int read_layer(const uint8_t *bytes, size_t n, size_t step, char out[DIGEST_TEXT_MAX])
{
	static const struct tar_sink sink = { handle_entry, handle_content, handle_end };
	struct reader r = { .seen = digest_new(NULL) };
	struct err e = { 0 };
	r.tar = tar_new(&sink, &r);
	struct decode *d = decode_new(handle_plain, &r);
	int ret = 0;
	for (size_t at = 0; at < n && ret == 0; at += step)
		ret = decode_feed(d, bytes + at, n - at < step ? n - at : step, &e);
	if (ret == 0)
		ret = decode_end(d, &e);
	if (ret == 0)
		ret = tar_end(r.tar, &e);
	assert(ret == 0 ? !e.code : e.code == -ret && e.msg[0]);
	decode_free(d);
	tar_free(r.tar);
	digest_end(r.seen, out);
	digest_free(r.seen);
	return ret;
}

/* Blocks that look like headers get a right checksum: otherwise hardly any mutation is read on. */
static uint8_t *mend(const uint8_t *bytes, size_t n)
{
	uint8_t *copy = malloc(n + 1);
	if (!copy)
		abort();
	memcpy(copy, bytes, n);
	for (size_t at = 0; at + 512 <= n; at += 512) {
		char text[8];
		unsigned sum = 0;
		if (memcmp(copy + at + 257, "ustar", 5))
			continue;
		memset(copy + at + 148, ' ', 8);
		for (size_t i = 0; i < 512; i++)
			sum += copy[at + i];
		snprintf(text, sizeof(text), "%06o", sum);
		memcpy(copy + at + 148, text, 7);
	}
	return copy;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t n)
{
	uint8_t *bytes = mend(input, n);
	char whole[DIGEST_TEXT_MAX], cut[DIGEST_TEXT_MAX];
	int ret = read_layer(bytes, n, n + 1, whole);
	int again = read_layer(bytes, n, 7, cut);
	if (ret == 0)
		assert(again == 0 && !strcmp(whole, cut));
	free(bytes);
	return 0;
}

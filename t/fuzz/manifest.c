/*
 * Fuzz target: what registries say.  The input is a manifest, or, after a NUL, an image
 * configuration for as many layers as its first byte says.  What is accepted is well-formed.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "core/base/digest.h"
#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/pull/digest.h"
#include "core/pull/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void check_config(struct pool *p, const uint8_t *bytes, size_t n)
{
	struct err e = { 0 };
	const struct json *j;
	const char *used;
	struct manifest m = { .n_layers = n ? bytes[0] : 0 };
	m.layers = pool_alloc(p, 256 * sizeof(*m.layers));
	if (!n || manifest_read_config(p, (const char *)bytes + 1, n - 1, &m, &used, &e) < 0)
		return;
	for (size_t i = 0; i < m.n_layers; i++)
		assert(digest_valid(m.layers[i].diff));
	/* The core reads this: one line of valid JSON. */
	assert(!strchr(used, '\n') && json_parse(p, used, strlen(used), &j, &e) == 0 &&
	       json_is_object(j));
}

static void check_manifest(struct pool *p, const uint8_t *bytes, size_t n)
{
	struct err e = { 0 };
	struct manifest m;
	int ret = manifest_parse(p, (const char *)bytes, n, NULL, &m, &e);
	assert(ret == 0 ? !e.code : e.code && e.msg[0]);
	if (ret < 0)
		return;
	assert(digest_valid(m.is_index ? m.chosen.digest : m.config.digest));
	for (size_t i = 0; i < m.n_layers; i++)
		assert(digest_valid(m.layers[i].digest));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct pool *p = pool_new(NULL, "fuzz");
	if (n && !bytes[0])
		check_config(p, bytes + 1, n - 1);
	else
		check_manifest(p, bytes, n);
	pool_destroy(p);
	return 0;
}

/* Digests: see the header. */
#include "core/pull/digest.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct digest {
	EVP_MD_CTX *ctx;
	const char *name;
};

/* Fetched once: an implicit fetch at each init costs more than hashing a small layer. */
static EVP_MD *sha256, *sha512;

void digest_prepare(void)
{
	if (!sha256)
		sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (!sha512)
		sha512 = EVP_MD_fetch(NULL, "SHA512", NULL);
	if (!sha256 || !sha512)
		abort();
}

struct digest *digest_new(const char *like)
{
	digest_prepare();
	struct digest *d = malloc(sizeof(*d));
	bool wide = like && !strncmp(like, "sha512:", 7);
	if (!d)
		abort();
	d->name = wide ? "sha512" : "sha256";
	d->ctx = EVP_MD_CTX_new();
	if (!d->ctx || EVP_DigestInit_ex(d->ctx, wide ? sha512 : sha256, NULL) != 1)
		abort();
	return d;
}

void digest_add(struct digest *d, const void *data, size_t n)
{
	if (EVP_DigestUpdate(d->ctx, data, n) != 1)
		abort();
}

void digest_end(struct digest *d, char out[DIGEST_TEXT_MAX])
{
	unsigned char raw[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	if (EVP_DigestFinal_ex(d->ctx, raw, &n) != 1 || n > 64)
		abort();
	int at = snprintf(out, DIGEST_TEXT_MAX, "%s:", d->name);
	for (unsigned i = 0; i < n; i++)
		at += snprintf(out + at, (size_t)(DIGEST_TEXT_MAX - at), "%02x", raw[i]);
}

void digest_free(struct digest *d)
{
	if (!d)
		return;
	EVP_MD_CTX_free(d->ctx);
	free(d);
}

void digest_of(const char *like, const void *data, size_t n, char out[DIGEST_TEXT_MAX])
{
	struct digest *d = digest_new(like);
	digest_add(d, data, n);
	digest_end(d, out);
	digest_free(d);
}

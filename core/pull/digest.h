#pragma once
/*
 * Running digests ("sha256:<hex>", "sha512:<hex>") over OpenSSL.
 *
 * digest_prepare() loads the algorithms: call it before a process loses its file system.
 */
#include <stddef.h>

enum { DIGEST_TEXT_MAX = 7 + 128 + 1 };

struct digest;

void digest_prepare(void);
/* The algorithm is that of like ("sha512:..."); NULL or anything else: sha256.  Aborts when out of
 * memory. */
struct digest *digest_new(const char *like);
void digest_add(struct digest *d, const void *data, size_t n);
/* The text of what was added; ends the digest. */
void digest_end(struct digest *d, char out[DIGEST_TEXT_MAX]);
void digest_free(struct digest *d);	/* takes NULL */

/* The digest of n bytes; like as above. */
void digest_of(const char *like, const void *data, size_t n, char out[DIGEST_TEXT_MAX]);

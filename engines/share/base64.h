#pragma once
#include <stddef.h>

/* In base64, padded; to be freed. */
char *base64(const void *data, size_t len);

#pragma once
/* UTF-8, as the wire wants it: one bad byte makes a kubelet drop a whole list. */
#include <stdbool.h>
#include <stddef.h>

struct pool;

/* Length of the valid prefix of s; n when all of it is valid (no surrogates, no overlong forms). */
size_t utf8_valid(const char *s, size_t n);
/* s itself when valid, else a copy in p with each bad byte replaced by U+FFFD. */
const char *utf8_clean(struct pool *p, const char *s, size_t n);

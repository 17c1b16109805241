#pragma once
/* The head of an HTTP/1.1 request. */
#include <stdbool.h>
#include <stddef.h>

#include "core/base/err.h"

struct http_head;
struct pool;

enum { HTTP_HEAD_MAX = 16 << 10 };

/* The length of the head at the beginning of bytes, with its empty line; 0: it isn't there whole. */
size_t http_head_len(const char *bytes, size_t n);
/* Of one that is.  -EINVAL: not HTTP. */
int http_head_parse(struct pool *p, const char *bytes, size_t n, struct http_head **out, struct err *e);

const char *http_method(const struct http_head *h);	/* "GET" */
const char *http_path(const struct http_head *h);	/* without its query */
/* The value of a header (any case of name); of several that are called so, joined by ", ".  NULL: none. */
const char *http_header(const struct http_head *h, const char *name);
/* Does the comma-separated value have this word, in any case? */
bool http_has_word(const char *value, const char *word);

/* http_parser does the reading, this keeps what it finds. */
#include "core/stream/http.h"

#include <errno.h>
#include <http_parser.h>
#include <string.h>
#include <strings.h>

#include "core/base/list.h"
#include "core/base/pool.h"

struct header {
	struct list link;
	const char *name, *value;
};

struct http_head {
	struct pool *pool;
	http_parser parser;
	const char *path;
	struct list headers;
	bool in_value, done;
};

static struct header *last(struct http_head *h)
{
	return list_empty(&h->headers) ? NULL : container_of(h->headers.prev, struct header, link);
}

/* The parser may tell it in pieces. */
static const char *more(struct http_head *h, const char *was, const char *at, size_t n)
{
	return pool_printf(h->pool, "%s%.*s", was ? was : "", (int)n, at);
}

static int handle_url(http_parser *p, const char *at, size_t n)
{
	struct http_head *h = p->data;
	h->path = more(h, h->path, at, n);
	return 0;
}

static int handle_field(http_parser *p, const char *at, size_t n)
{
	struct http_head *h = p->data;
	struct header *hd = last(h);
	if (!hd || h->in_value) {
		hd = pool_new_struct(h->pool, struct header);
		hd->value = "";
		list_append(&h->headers, &hd->link);
	}
	hd->name = more(h, hd->name, at, n);
	h->in_value = false;
	return 0;
}

static int handle_value(http_parser *p, const char *at, size_t n)
{
	struct http_head *h = p->data;
	struct header *hd = last(h);
	hd->value = more(h, hd->value, at, n);
	h->in_value = true;
	return 0;
}

/* A body is none of ours: what follows belongs to the upgraded connection. */
static int handle_whole(http_parser *p)
{
	struct http_head *h = p->data;
	h->done = true;
	http_parser_pause(p, 1);
	return 0;
}

static const http_parser_settings settings = {
	.on_url = handle_url, .on_header_field = handle_field, .on_header_value = handle_value,
	.on_headers_complete = handle_whole,
};

size_t http_head_len(const char *bytes, size_t n)
{
	const char *end = memmem(bytes, n, "\r\n\r\n", 4);
	return end ? (size_t)(end - bytes) + 4 : 0;
}

int http_head_parse(struct pool *p, const char *bytes, size_t n, struct http_head **out, struct err *e)
{
	struct http_head *h = pool_new_struct(p, struct http_head);
	h->pool = p;
	list_init(&h->headers);
	http_parser_init(&h->parser, HTTP_REQUEST);
	h->parser.data = h;
	http_parser_execute(&h->parser, &settings, bytes, n);
	if (!h->done)
		return err_set(e, EINVAL, "not HTTP: %s", http_errno_description(HTTP_PARSER_ERRNO(&h->parser)));
	const char *query = strchr(http_path(h), '?');
	if (query)
		h->path = pool_strndup(p, h->path, (size_t)(query - h->path));
	*out = h;
	return 0;
}

const char *http_method(const struct http_head *h)
{
	return http_method_str((enum http_method)h->parser.method);
}

const char *http_path(const struct http_head *h)
{
	return h->path ? h->path : "";
}

const char *http_header(const struct http_head *h, const char *name)
{
	const char *value = NULL;
	const struct header *hd;
	list_for_each(hd, &h->headers, link)
		if (!strcasecmp(hd->name, name))
			value = value ? pool_printf(h->pool, "%s, %s", value, hd->value) : hd->value;
	return value;
}

bool http_has_word(const char *value, const char *word)
{
	for (const char *at = value; at && *at;) {
		at += strspn(at, ", \t");
		size_t n = strcspn(at, ", \t");
		if (n == strlen(word) && !strncasecmp(at, word, n))
			return true;
		at += n;
	}
	return false;
}

#pragma once
/*
 * HTTP calls over curl's multi interface, one loop turn at a time.
 *
 * HTTP/1.1 always (bulk data over h2 costs more, measured), redirects followed, credentials only
 * to the host, port and scheme they were meant for.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/list.h"

struct http;
struct http_call;

enum { HTTP_PAUSE = -1, HTTP_ABORT = -2 };

struct http_call {
	/* the question */
	const char *url, *authorization, *accept, *post; /* all but url may be NULL; borrowed */
	uint64_t from;			/* > 0: only the bytes from there on */
	bool plain;			/* redirects may go to plain HTTP */
	size_t max;			/* of the body, when it is collected */
	/* Takes the body of a 2xx answer; NULL: it is collected.  Returns the bytes taken, or
	 * HTTP_PAUSE until pause_fd can be written, or HTTP_ABORT. */
	int (*sink)(struct http_call *c, const char *bytes, size_t n);
	int pause_fd;
	void *data;

	/* the answer */
	bool finished;
	int ret;			/* 0: there is a status; -errno: there is none, see err */
	struct err err;
	bool unreachable;		/* it never got as far as asking */
	int status;
	struct buf body;		/* collected; of an error at most 64 KiB */
	struct buf challenges;		/* WWW-Authenticate, one a line */
	char content_type[128];
	char digest[160];		/* Docker-Content-Digest */
	int retry_after;		/* seconds, 0: not said */
	uint64_t range_from;		/* of a 206 */

	/* http's own */
	struct list link;
	void *easy, *headers;
	bool paused;
	char curl_error[256];
};

struct http *http_new(uint64_t stall_ms);
void http_free(struct http *h);

void http_start(struct http *h, struct http_call *c);
/* Drop it, finished or not, and free what the answer holds. */
void http_end(struct http *h, struct http_call *c);
/* Let things happen for at most timeout_ms; fd (-1: none) wakes it when readable.  -ETIMEDOUT when
 * no byte has moved for stall_ms although nobody here held it up. */
int http_turn(struct http *h, int timeout_ms, int fd, struct err *e);
/* Start and turn until it is finished. */
int http_do(struct http *h, struct http_call *c, struct err *e);

/* text as a part of a query, to be freed by free(). */
char *http_escape(const char *text);

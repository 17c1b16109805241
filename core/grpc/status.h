#pragma once
/* The small print of gRPC's headers: codes, grpc-message, grpc-timeout. */
#include <stddef.h>
#include <stdint.h>

struct pool;

/* The one table from errno classes to gRPC codes; what it does not know is Unknown. */
int status_code(int errno_class);
const char *status_name(int code);	/* "NotFound"; "code 99" is "?" */

/* msg as a grpc-message: valid UTF-8, at most STATUS_MESSAGE_MAX bytes of it, percent-encoded. */
enum { STATUS_MESSAGE_MAX = 4096 };
const char *status_message(struct pool *p, const char *msg);

/* "100m" and the like, into milliseconds, rounded up: 0, or -EINVAL when it is no timeout. */
int status_timeout(const char *text, int64_t *ms);

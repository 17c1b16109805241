/* Length-prefixed messages, see the header. */
#include "core/grpc/frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "core/grpc/grpc.h"

static uint32_t announced(const struct frame *f)
{
	uint32_t n;
	memcpy(&n, f->prefix + 1, sizeof(n));
	return ntohl(n);
}

static int check_prefix(const struct frame *f, struct err *e)
{
	if (f->prefix[0] > 1)
		return err_set(e, EINVAL, "message flag is %d: 0 and 1 are known", f->prefix[0]);
	if (f->prefix[0] == 1)
		return err_set(e, EOPNOTSUPP, "compressed messages are not supported");
	if (announced(f) > GRPC_MESSAGE_MAX)
		return err_set(e, E2BIG, "message of %u bytes: the limit is %d", announced(f),
			       GRPC_MESSAGE_MAX);
	return 0;
}

int frame_take(struct frame *f, const void *bytes, size_t n, struct err *e)
{
	const char *at = bytes;
	if (f->have < FRAME_PREFIX) {
		size_t take = FRAME_PREFIX - f->have < n ? FRAME_PREFIX - f->have : n;
		if (take)
			memcpy(f->prefix + f->have, at, take);
		f->have += take;
		at += take;
		n -= take;
		int ret = f->have < FRAME_PREFIX ? 0 : check_prefix(f, e);
		if (ret < 0)
			return ret;
	}
	if (!n)
		return 0;
	if (n > announced(f) - f->body.len)
		return err_set(e, EINVAL, "more than one message in the request");
	buf_add(&f->body, at, n);
	return 0;
}

bool frame_whole(const struct frame *f)
{
	return f->have == FRAME_PREFIX && f->body.len == announced(f);
}

void frame_free(struct frame *f)
{
	buf_free(&f->body);
}

void frame_prefix(unsigned char to[FRAME_PREFIX], uint32_t len)
{
	uint32_t n = htonl(len);
	to[0] = 0;
	memcpy(to + 1, &n, sizeof(n));
}

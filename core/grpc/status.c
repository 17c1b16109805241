/* Status codes and header values, see the header and gRPC's "PROTOCOL-HTTP2". */
#include "core/grpc/status.h"

#include <errno.h>
#include <string.h>

#include "core/base/pool.h"
#include "core/base/utf8.h"
#include "core/grpc/grpc.h"

static const struct {
	int errno_class;
	enum grpc_code code;
} codes[] = {
	{ EINVAL, GRPC_INVALID_ARGUMENT },
	{ ENOENT, GRPC_NOT_FOUND },
	{ EEXIST, GRPC_ALREADY_EXISTS },
	{ ETIMEDOUT, GRPC_DEADLINE_EXCEEDED },
	{ ECANCELED, GRPC_CANCELLED },
	{ ENOSYS, GRPC_UNIMPLEMENTED },
	{ EOPNOTSUPP, GRPC_UNIMPLEMENTED },
	{ EBUSY, GRPC_FAILED_PRECONDITION },
	{ EAGAIN, GRPC_UNAVAILABLE },
	{ EHOSTDOWN, GRPC_UNAVAILABLE },
	{ ENOMEM, GRPC_RESOURCE_EXHAUSTED },
	{ ENOSPC, GRPC_RESOURCE_EXHAUSTED },
	{ E2BIG, GRPC_RESOURCE_EXHAUSTED },
	{ EMFILE, GRPC_RESOURCE_EXHAUSTED },
	{ EPERM, GRPC_PERMISSION_DENIED },
	{ EACCES, GRPC_PERMISSION_DENIED },
};

static const char *const names[] = {
	[GRPC_OK] = "OK",
	[GRPC_CANCELLED] = "Cancelled",
	[GRPC_UNKNOWN] = "Unknown",
	[GRPC_INVALID_ARGUMENT] = "InvalidArgument",
	[GRPC_DEADLINE_EXCEEDED] = "DeadlineExceeded",
	[GRPC_NOT_FOUND] = "NotFound",
	[GRPC_ALREADY_EXISTS] = "AlreadyExists",
	[GRPC_PERMISSION_DENIED] = "PermissionDenied",
	[GRPC_RESOURCE_EXHAUSTED] = "ResourceExhausted",
	[GRPC_FAILED_PRECONDITION] = "FailedPrecondition",
	[GRPC_ABORTED] = "Aborted",
	[GRPC_OUT_OF_RANGE] = "OutOfRange",
	[GRPC_UNIMPLEMENTED] = "Unimplemented",
	[GRPC_INTERNAL] = "Internal",
	[GRPC_UNAVAILABLE] = "Unavailable",
	[GRPC_DATA_LOSS] = "DataLoss",
	[GRPC_UNAUTHENTICATED] = "Unauthenticated",
};
_Static_assert(sizeof(names) / sizeof(*names) == GRPC_UNAUTHENTICATED + 1, "a name for each code");

int status_code(int errno_class)
{
	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++)
		if (codes[i].errno_class == errno_class)
			return codes[i].code;
	return GRPC_UNKNOWN;
}

const char *status_name(int code)
{
	return code >= 0 && code <= GRPC_UNAUTHENTICATED ? names[code] : "?";
}

const char *status_message(struct pool *p, const char *msg)
{
	size_t n = strnlen(msg, STATUS_MESSAGE_MAX);
	if (msg[n])	/* cut: not within a character */
		while (n && ((unsigned char)msg[n] & 0xc0) == 0x80)
			n--;
	const char *in = utf8_clean(p, pool_strndup(p, msg, n), n);
	char *out = pool_alloc(p, 3 * strlen(in) + 1), *at = out;
	for (; *in; in++) {
		unsigned char ch = (unsigned char)*in;
		if (ch >= ' ' && ch <= '~' && ch != '%') {
			*at++ = (char)ch;
		} else {
			*at++ = '%';
			*at++ = "0123456789ABCDEF"[ch >> 4];
			*at++ = "0123456789ABCDEF"[ch & 15];
		}
	}
	return out;
}

/* Units in nanoseconds; 0 for none. */
static int64_t unit_ns(char unit)
{
	switch (unit) {
	case 'H': return 3600 * 1000000000ll;
	case 'M': return 60 * 1000000000ll;
	case 'S': return 1000000000;
	case 'm': return 1000000;
	case 'u': return 1000;
	case 'n': return 1;
	default: return 0;
	}
}

int status_timeout(const char *text, int64_t *ms)
{
	enum { DIGITS_MAX = 8 };	/* says the protocol: no overflow below */
	size_t digits = strspn(text, "0123456789");
	if (!digits || digits > DIGITS_MAX || strlen(text) != digits + 1)
		return -EINVAL;
	int64_t n = 0, ns = unit_ns(text[digits]);
	for (size_t i = 0; i < digits; i++)
		n = n * 10 + (text[i] - '0');
	if (!ns)
		return -EINVAL;
	*ms = ns >= 1000000 ? n * (ns / 1000000) : (n * ns + 999999) / 1000000;
	return 0;
}

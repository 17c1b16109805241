/* struct err: see the header. */
#include "core/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/utf8.h"

static void put(struct err *e, const char *fmt, va_list ap)
{
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
}

/* A message that was cut may end amid a character. */
static void trim(struct err *e)
{
	size_t len = strlen(e->msg);
	size_t valid = len < sizeof(e->msg) - 1 ? len : utf8_valid(e->msg, len);
	if (len - valid < 4)
		e->msg[valid] = 0;
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
	if (code < 0)
		code = -code;
	if (!e || e->code)
		return -code;
	e->code = code;
	va_list ap;
	va_start(ap, fmt);
	put(e, fmt, ap);
	va_end(ap);
	trim(e);
	return -code;
}

int err_sys(struct err *e, const char *fmt, ...)
{
	int code = errno ? errno : EIO;
	if (!e || e->code)
		return -code;
	e->code = code;
	va_list ap;
	va_start(ap, fmt);
	put(e, fmt, ap);
	va_end(ap);
	size_t n = strlen(e->msg);
	snprintf(e->msg + n, sizeof(e->msg) - n, ": %s", strerror(code));
	trim(e);
	return -code;
}

int err_wrap(struct err *e, int ret, const char *fmt, ...)
{
	if (!e || ret >= 0)
		return ret;
	struct err was = *e;
	if (!was.code)
		snprintf(was.msg, sizeof(was.msg), "%s", strerror(-ret));
	e->code = was.code ? was.code : -ret;
	va_list ap;
	va_start(ap, fmt);
	put(e, fmt, ap);
	va_end(ap);
	size_t n = strlen(e->msg);
	snprintf(e->msg + n, sizeof(e->msg) - n, ": %s", was.msg);
	trim(e);
	return ret;
}

void err_clear(struct err *e)
{
	e->code = 0;
	e->msg[0] = 0;
}

const char *err_text(const struct err *e)
{
	if (!e || !e->code)
		return "no error";
	return e->msg[0] ? e->msg : strerror(e->code);
}

#pragma once
/*
 * The one error model.  A function returns 0 or -errno; the words go into the caller's
 * struct err.  The first cause wins, callers put a prefix before it, and whoever handles
 * the error logs it or returns it, never both.
 */
#include <stddef.h>

struct err {
	int code;	/* errno class, 0 while nothing is wrong */
	char msg[500];	/* UTF-8, no newline; cut at the end when too long */
};

/* Set the cause and return -code.  Keeps an earlier cause.  e may be NULL. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The same with errno: "fmt: strerror". */
int err_sys(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* If ret < 0 put "fmt: " before the message; return ret unchanged. */
int err_wrap(struct err *e, int ret, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

void err_clear(struct err *e);

/* The message, or strerror of the code, or "no error"; never NULL. */
const char *err_text(const struct err *e);

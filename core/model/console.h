#pragma once
/*
 * The socket on which an engine hands over the master of a new pty.  The engine connects and
 * sends before its command ends, so nothing needs to be watched: take it afterwards.
 */
#include "core/base/err.h"

struct console;
struct pool;

/* Listen on DIR/NAME (short: a socket's path has 107 bytes); closed and unlinked with p. */
int console_listen(struct pool *p, const char *dir, const char *name, struct console **out, struct err *e);
const char *console_path(const struct console *c);
/* The master (non-blocking, the caller's), or -errno when none was sent. */
int console_take(struct console *c, struct err *e);

#pragma once
/*
 * A process's stdio in use by a client that streams: of a new process in a container (exec), or of
 * the container's own (attach).
 *
 * An exec runs on when its client leaves, and what it writes then is dropped.  An attached client
 * never holds up the container: output comes as it is written, however slow the client is.
 * Source: api.proto, Exec and Attach.
 */
#include <stdbool.h>
#include <stddef.h>

#include "core/base/err.h"
#include "core/conlog/conlog.h"

struct live;
struct model;

/* Called from the loop, never from within a function below. */
struct live_user {
	void (*output)(void *data, enum conlog_stream stream, const char *bytes, size_t n);
	void (*writable)(void *data);	/* after live_write() took less than all */
	/* Once, as the last call.  0: with the exit code of an exec; 0 after an attach. */
	void (*ended)(void *data, int ret, int exit_code, const struct err *e);
};

struct live_want {
	bool in, out, err;	/* err: not under tty */
	bool tty;		/* an exec's own; of an attach: as the container has it */
};

/* Both never fail at once: `ended` says it.  cmd ends with NULL. */
struct live *model_exec(struct model *m, const char *id, const char *const *cmd, const struct live_want *w,
			const struct live_user *user, void *data);
struct live *model_attach(struct model *m, const char *id, const struct live_want *w,
			  const struct live_user *user, void *data);
/* Would one of these be refused now? */
int model_can_stream(struct model *m, const char *id, struct err *e);

/* How much was taken; what goes to a process that doesn't read any more is dropped. */
size_t live_write(struct live *l, const void *bytes, size_t n);
/* The client's end of stdin.  An exec's is closed, a container's when it is stdin_once. */
void live_write_end(struct live *l);
void live_resize(struct live *l, unsigned width, unsigned height);	/* of the tty */
void live_hold(struct live *l, bool hold);	/* an exec's output waits in its pipe; an attach's doesn't */
/* No call comes any more. */
void live_leave(struct live *l);

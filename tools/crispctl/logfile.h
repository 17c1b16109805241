#pragma once
/*
 * A container's log in the CRI's format, printed without it: what was stdout goes to stdout,
 * stderr to stderr.
 *
 *	2026-01-02T03:04:05.678901234Z stdout F a whole line
 *	2026-01-02T03:04:05.678901234Z stdout P the begin of a line,
 */
#include <stdbool.h>
#include <stdint.h>

#include "core/base/buf.h"

struct err;

struct logfile {
	const char *path;
	int fd;
	bool timestamps;
	bool mid_line;		/* the last record was a partial one */
	struct buf in;
};

/* tail: begin at the last so many lines; < 0: at the top. */
int logfile_open(struct logfile *l, const char *path, int64_t tail, struct err *e);
/* Print all that is there now. */
int logfile_pump(struct logfile *l, struct err *e);
/* The path is another file by now (rotated): finish the old one, go on with the new. */
int logfile_follow_path(struct logfile *l, struct err *e);
void logfile_close(struct logfile *l);

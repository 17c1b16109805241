#pragma once
/*
 * A CRI log file, seen by its writer.  It always ends at the end of a record: what a write
 * that was cut short (disk full, the core killed) has left of one is taken away again, at once
 * or when the file is next opened.
 */
#include <stdbool.h>
#include <stddef.h>

#include "core/base/err.h"

struct logfile {
	char *path;	/* borrowed; NULL: everything is discarded */
	int fd;
	bool failing;	/* the last write failed: said once, until one succeeds */
	unsigned long long dropped;	/* bytes of records that could not be written */
};

/* Content of one record at most. */
enum { LOGFILE_CHUNK = 16384 };

int logfile_open(struct logfile *f, char *path, struct err *e);
/* Open the path anew; on error the old file stays in use and nothing was made. */
int logfile_reopen(struct logfile *f, struct err *e);
void logfile_close(struct logfile *f);

/* Add a record; it is on file after the next flush, which must come before another file's turn.
 * len <= LOGFILE_CHUNK, without a newline.  full: the line ends here. */
void logfile_put(struct logfile *f, const char *stream, bool full, const char *data, size_t len);
void logfile_flush(struct logfile *f);

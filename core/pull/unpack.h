#pragma once
/*
 * The unpacker: a process per layer that may write below its layer's directory and nothing else.
 * Reads the blob from a pipe, checks both digests, and reports in frames.
 */
#include <stdint.h>

#include "core/base/err.h"

struct unpack_job {
	int in, out;		/* the blob, and where frames go */
	int root;		/* the layer's directory, empty */
	const char *blob;	/* digest, or "" if not known */
	const char *diff;
	uint64_t size;		/* of the blob; 0 with blob "": not known */
	uint64_t budget;	/* bytes of content, at most */
};

/* Confine, unpack, report.  0 or -errno, which has been reported. */
int unpack_run(const struct unpack_job *j);
/* The same without confinement and reports, for tests and fuzzing. */
struct extract_result;
int unpack_stream(const struct unpack_job *j, struct extract_result *out, char diff[], char blob[],
		  struct err *e);

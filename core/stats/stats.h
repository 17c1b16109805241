#pragma once
/*
 * What a cgroup has used, in the terms of the CRI, from v1 or v2.
 *
 * A sample serves everybody for STATS_FRESH_MS: the caller keeps one in each container and
 * pod, and stats_read() leaves a fresh one alone.  Rates come from two samples in a row.
 */
#include <stdbool.h>
#include <stdint.h>

#include "core/base/err.h"

struct cgroups;

enum { STATS_FRESH_MS = 1000 };

/* Pressure: how long tasks have waited for a resource; some of them, and all at once (full). */
struct stats_pressure {
	bool known;			/* v2 alone has it, and only with PSI in the kernel */
	struct stats_stall {
		uint64_t total_ns;
		double avg10, avg60, avg300;	/* percent of the last so many seconds */
	} some, full;
};

/* All memory in bytes.  Zero-initialised: never read. */
struct stats_sample {
	int64_t timestamp_ns;		/* CLOCK_REALTIME of the reading; 0: never read */
	int64_t mono_ns;
	bool has_cpu, has_nano_cores, has_memory, has_available, has_swap, has_swap_available,
		has_pids;
	uint64_t cpu_usage_ns;		/* usage_core_nano_seconds */
	uint64_t nano_cores;		/* usage_nano_cores: since the sample before */
	uint64_t memory_usage;
	uint64_t working_set;		/* usage without inactive file pages */
	uint64_t available;		/* limit - working_set; only with a limit */
	uint64_t rss;			/* anonymous memory */
	uint64_t page_faults, major_page_faults;
	uint64_t swap_usage, swap_available;
	uint64_t pids;
	struct stats_pressure cpu_pressure, memory_pressure, io_pressure;
};

/*
 * Bring *s up to date, computing the rate against what it held.  0, also when only some
 * controllers are there (has_*); -ENOENT when the cgroup is gone: *s keeps its last values.
 */
int stats_read(struct cgroups *cg, const char *path, struct stats_sample *s, struct err *e);

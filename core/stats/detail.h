#pragma once
/*
 * What a cgroup tells beyond its usage (stats.h), for the metrics: read when asked for, nothing is
 * cached.  From v1 or v2; what a kernel does not tell is not known.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cgroups;

struct stats_number {
	bool known;
	uint64_t n;
};

enum { DETAIL_PAGES_MAX = 8, DETAIL_DEVICES_MAX = 16 };

struct stats_detail {
	struct stats_number user_ns, system_ns;
	struct stats_number periods, throttled_periods, throttled_ns;	/* of the CPU's quota */
	struct stats_number cache, mapped_file, kernel, failures, max_usage;	/* of memory, in bytes */
	struct stats_number own_faults, own_major_faults;	/* without the cgroups below; v1 alone */
	struct stats_number reservation;	/* bytes; 0: none */
	struct stats_number oom_kills;

	struct stats_pages {
		const char *size;		/* "2MB", borrowed */
		struct stats_number usage, max_usage;
	} pages[DETAIL_PAGES_MAX];
	size_t n_pages;

	struct stats_device {
		unsigned major, minor;
		uint64_t read_bytes, write_bytes, reads, writes;
	} devices[DETAIL_DEVICES_MAX];
	size_t n_devices;
};

/* page_sizes: as files of hugetlb name them. */
void stats_detail_read(struct cgroups *cg, const char *path, const char *const *page_sizes, size_t n_sizes,
		       struct stats_detail *out);

/* The texts of v2's io.stat, and of v1's blkio files of bytes and of operations, added to *out. */
void stats_detail_io(struct stats_detail *out, const char *text);
void stats_detail_blkio(struct stats_detail *out, const char *text, bool bytes);

/*
 * limit: write limits into files of a cgroup.  That may take its time, since the kernel frees memory
 * until a lower limit is kept.  Some bound each other and are taken in one order only: what fails is tried
 * again as long as others succeed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>

#include "core/base/file.h"
#include "core/work/job.h"

enum { LIMITS_MAX = 16 };

int job_limit(int argc, char **argv, struct err *e)
{
	bool done[LIMITS_MAX] = { false };
	int n = (argc - 1) / 2, left = n, before;
	if (argc < 3 || argc % 2 == 0 || n > LIMITS_MAX)
		return job_usage(e, "expected pairs of a file and a value");
	do {
		before = left;
		*e = (struct err){ 0 };
		for (int i = 0; i < n; i++) {
			if (done[i] || file_poke(AT_FDCWD, argv[1 + 2 * i], argv[2 + 2 * i], e) < 0)
				continue;
			done[i] = true;
			left--;
		}
	} while (left && left < before);
	return left ? -e->code : 0;
}

#pragma once
/*
 * Empty a cgroup: SIGKILL all in it and wait, by pidfd, until nobody is left.  Works alike on
 * v1 and v2, and for processes that are not ours.
 */
#include <stdint.h>

#include "core/base/err.h"

struct cgroup_drain;
struct cgroups;
struct loop;
struct pool;

/* cb comes once, from the loop, never from inside this call: 0, or -ETIMEDOUT naming a process
 * that does not die and where in the kernel it sits.  Not after p is gone. */
struct cgroup_drain *cgroup_drain_start(struct cgroups *cg, struct loop *l, struct pool *p,
					const char *path, uint64_t timeout_ms,
					void (*cb)(void *data, int ret, const struct err *e),
					void *data);
/* Stop waiting; cb does not come.  Takes NULL; not after cb. */
void cgroup_drain_cancel(struct cgroup_drain *d);

#pragma once
/*
 * A pod's /dev/shm: a tmpfs that no mount table shows, held by its fd, of which each container
 * gets a clone (crisp-work enter --fdmount).
 *
 * It is a detached mount where the kernel clones such (Linux 6.15).  Elsewhere, or if in_ns, the
 * fd is of a mount namespace that has the tmpfs as its root and nothing else.
 */
#include <stdbool.h>
#include <stdint.h>

#include "core/base/err.h"

/* The fd, or -errno.  size in bytes, as text; uid and gid: whose its root is. */
int shm_make(const char *size, bool in_ns, uint32_t uid, uint32_t gid, struct err *e);

#pragma once
/* The user namespace of a pod, and what is made inside of it. */
#include "core/base/err.h"

struct idmap;

/*
 * Make the namespaces of flags (CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS) so that they belong to a
 * user namespace with this map, and move into them.  The caller itself stays in its own user
 * namespace, with all its rights.  in: path of the user namespace; NULL: a new one.  Returns an fd
 * of it, or -errno.
 */
int userns_enter(const struct idmap *map, const char *in, int flags, struct err *e);

#pragma once
/*
 * Id-mapped mounts: what belongs to uid 0 on disk belongs, seen through such a mount, to the root
 * of the user namespace, and the other way round for what is written.  -EINVAL says that the file
 * system can't.
 */
#include <stdbool.h>

#include "core/base/err.h"

/*
 * A detached mount of path, if tree with all that is mounted below it; that is left as it is, as
 * engines do it.  userns -1: not mapped.  options: of noexec, nosuid, nodev, with commas, or "".
 * The fd or -errno.
 */
int mapped_clone(int userns, const char *path, bool tree, const char *options, struct err *e);
/* As overlay_mount(), the layers (but not upper, whose ids are the node's) mapped.  A directory
 * beside target is used and left empty. */
int mapped_overlay(int userns, const char *target, const char *lowers, const char *upper, const char *work,
		   struct err *e);

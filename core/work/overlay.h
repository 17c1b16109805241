#pragma once
/* Mounting a container's rootfs. */
#include "core/base/err.h"

/*
 * Mount on the folder `target`: the layers of `lowers` (colon-separated, topmost first, at most
 * 500), written to `upper` with `work` beside it.  upper "" makes it read-only.  What is written
 * is volatile: no sync, and void after a crash of the host.
 */
int overlay_mount(const char *target, const char *lowers, const char *upper, const char *work,
		  struct err *e);

#pragma once
/* Opening a plugin's file, as the core and crisp-plug both do it. */
#include "core/base/err.h"
#include "core/plug/module.h"

/* Check the file's owner and mode, open it and ask its symbol.  desc lives for ever.
 * Errors: -ENOENT, -EPERM (owner, mode), -EINVAL (no plugin of this kind). */
int dso_open(const char *path, const struct module_kind *kind, const void **desc, struct err *e);

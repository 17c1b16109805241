#pragma once
/* Deleting what the store threw away, slowly and at leisure. */
#include "core/base/err.h"

/* Empty the directory.  Trees of any depth; links are removed, never followed. */
int trash_empty(const char *dir, struct err *e);

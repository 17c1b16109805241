#pragma once
/* The mount table of this process. */
#include <stdbool.h>

#include "core/base/err.h"

struct mountinfo {
	int id;
	bool shared, slave;	/* both is possible */
	char *point;	/* unescaped */
};

struct mountinfos {
	struct mountinfo *at;
	int n;
};

int mountinfo_read(struct mountinfos *all, struct err *e);
void mountinfo_free(struct mountinfos *all);
/* The mount that path lies on (its last component resolved); NULL when it can't be told. */
const struct mountinfo *mountinfo_of(const struct mountinfos *all, const char *path);
/* Is `path` at or below `dir`? */
bool mountinfo_below(const char *path, const char *dir);

#pragma once
/* Device nodes of the host. */
#include <stddef.h>
#include <sys/types.h>

#include "core/base/err.h"

struct pool;

struct device {
	const char *path;	/* in the container */
	char type;		/* 'c' or 'b' */
	unsigned major, minor;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	const char *access;
};

struct devices {
	struct pool *pool;
	struct device *at;
	size_t n, room;
};

/* Add the device at source (a symlink is followed), or every device below it if it is a directory. */
int devices_add(struct devices *d, const char *source, const char *target, const char *access, struct err *e);
/* Add every device in /dev, but for those that an engine makes itself. */
int devices_add_all(struct devices *d, struct err *e);

#pragma once
/* Who a container runs as, by the rules of the CRI and the image's passwd and group files. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

struct pool;

/* Text with its length: the files are the image's and may hold anything. */
struct passwd_file {
	const char *text;	/* may be NULL */
	size_t len;
};

struct user_ask {
	const char *image;	/* "user", "user:group", names or numbers; NULL or "": root */
	bool has_uid, has_gid;
	uint32_t uid, gid;
	const char *name;	/* NULL: not by name */
	const uint32_t *groups;
	size_t n_groups;
	bool strict;		/* only the groups that are asked for */
};

struct user {
	uint32_t uid, gid;
	uint32_t *groups;	/* the primary one first, each once */
	size_t n_groups;
	const char *home;	/* never NULL */
	const char *name;	/* NULL: the uid has none */
};

/* -EINVAL names the user or group that the image doesn't know. */
int user_resolve(struct pool *p, const struct user_ask *ask, const struct passwd_file *passwd,
		 const struct passwd_file *group, struct user *out, struct err *e);

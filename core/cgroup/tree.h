#pragma once
/* The mounted hierarchies, for the files of this folder. */
#include <stdbool.h>
#include <stddef.h>

#include "core/base/err.h"
#include "core/base/map.h"
#include "core/base/pool.h"

enum { HIERARCHIES_MAX = 24, DEPTH_MAX = 32 };

struct hierarchy {
	int fd;			/* its root */
	bool v2;
	const char *name;	/* "cpu,cpuacct", "name=systemd", "v2": as in /proc/self/cgroup */
};

struct cgroups {
	struct pool_res res;
	const char *parent;
	struct hierarchy all[HIERARCHIES_MAX];
	size_t n;
	bool v1_controllers;
	struct hierarchy *helpers_in;
	const char *helpers;	/* path */
	int helper_procs;
	int home_procs;		/* of the cgroup that the core was started in; the root, if that was helpers */
	bool inside;		/* the core is in helpers */
	const char *parent_made;
	struct map ours;	/* "<hierarchy's name>:<path>" of each parent that is ours */
};

#define for_each_hierarchy(h, cg)                                                                  \
	for (struct hierarchy *h = (cg)->all; h < (cg)->all + (cg)->n; h++)

/* The hierarchy of a v1 controller, else v2, else NULL. */
struct hierarchy *tree_find(const struct cgroups *cg, const char *controller);
/* Does its name list that controller? */
bool tree_has(const struct hierarchy *h, const char *controller);
/* Read /proc/self/mountinfo and open each root. */
int tree_open(struct cgroups *cg, struct pool *p, struct err *e);

/* "/a/b": absolute, no empty, "." or ".." parts, at most DEPTH_MAX of them. */
int tree_check_path(const char *path, struct err *e);

/* Call fn for the cgroup and each below it, deepest first; dirfd is its directory.  Stops at
 * the first result < 0 and returns it.  A cgroup that is not there (any more) is no error. */
int tree_walk(const struct hierarchy *h, const char *path, int (*fn)(int dirfd, void *data),
	      void *data);

/* The parents of the leaf `path` that are ours by `made`, in v2, deepest first: how long each is in
 * path; their number. */
size_t tree_made_parents(struct cgroups *cg, const char *path, const char *made, size_t lens[DEPTH_MAX]);
void tree_forget_parent(struct cgroups *cg, const char *path, size_t len);

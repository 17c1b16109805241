/* Stopping what is left of slices. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/pool.h"
#include "core/cgroup/slice.h"
#include "core/cgroup/tree.h"
#include "core/spawn/spawn.h"

enum { STOP_MS = 30000, OUTPUT_MAX = 2000 };

static bool is_there(struct cgroups *cg, const char *path)
{
	struct hierarchy *h = tree_find(cg, NULL);
	return h && faccessat(h->fd, path + 1, F_OK, 0) == 0;
}

/* No cgroup below it but `but`, a name or NULL. */
static bool is_bare(struct cgroups *cg, const char *path, const char *but)
{
	struct hierarchy *h = tree_find(cg, NULL);
	int fd = openat(h->fd, path + 1, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *ent;
	while (d && (ent = readdir(d)))
		if (ent->d_type == DT_DIR && ent->d_name[0] != '.' && (!but || strcmp(ent->d_name, but)))
			return false;
	return true;
}

static const char *systemctl(void)
{
	return access("/usr/bin/systemctl", X_OK) == 0 ? "/usr/bin/systemctl" : "/bin/systemctl";
}

struct spawn *slices_stop(struct cgroups *cg, struct spawner *s, struct pool *p, const char *leaf,
			  const char *made, bool (*in_use)(void *data, const char *path),
			  void (*cb)(void *data, struct spawn_result *r), void *data)
{
	size_t lens[DEPTH_MAX], n = tree_made_parents(cg, leaf, made, lens), argc = 0;
	const char *argv[DEPTH_MAX + 5], *below = NULL;
	argv[argc++] = "systemctl";
	argv[argc++] = "--no-ask-password";
	argv[argc++] = "stop";
	argv[argc++] = "--";
	size_t words = argc;
	for (size_t i = 0; i < n; i++) {
		const char *path = pool_strndup(p, leaf, lens[i]);
		if (!is_there(cg, path))
			continue;
		if (in_use(data, path) || !is_bare(cg, path, below))
			break;
		below = argv[argc++] = strrchr(path, '/') + 1;
	}
	argv[argc] = NULL;
	if (argc == words) {
		slices_stopped(cg, leaf, made);
		return NULL;
	}
	struct spawn_plan plan = SPAWN_PLAN_INIT;
	plan.path = systemctl();
	plan.argv = argv;
	plan.err_max = OUTPUT_MAX;
	plan.timeout_ms = STOP_MS;
	return spawn_start(s, p, &plan, cb, data);
}

void slices_stopped(struct cgroups *cg, const char *leaf, const char *made)
{
	size_t lens[DEPTH_MAX], n = tree_made_parents(cg, leaf, made, lens);
	for (size_t i = 0; i < n; i++) {
		char path[PATH_MAX];
		snprintf(path, sizeof(path), "%.*s", (int)lens[i], leaf);
		if (!is_there(cg, path))
			tree_forget_parent(cg, leaf, lens[i]);
	}
}

/*
 * Finding the hierarchies and walking in them.  A hierarchy may be mounted more than once (and
 * "cpu" and "cpuacct" be links to one mount): by device number each is taken once.
 */
#include "core/cgroup/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/buf.h"
#include "core/base/file.h"

bool tree_has(const struct hierarchy *h, const char *controller)
{
	size_t len = strlen(controller);
	for (const char *at = h->name; (at = strstr(at, controller)); at += len)
		if ((at == h->name || at[-1] == ',') && (at[len] == ',' || !at[len]))
			return true;
	return false;
}

struct hierarchy *tree_find(const struct cgroups *cg, const char *controller)
{
	const struct hierarchy *v2 = NULL;
	for_each_hierarchy(h, (struct cgroups *)cg) {
		if (h->v2)
			v2 = h;
		else if (controller && tree_has(h, controller))
			return h;
	}
	return (struct hierarchy *)v2;
}

/* -- mountinfo -- */

static const char *const v1_controllers[] = {
	"cpuset", "cpu", "cpuacct", "blkio", "memory", "devices", "freezer", "net_cls",
	"perf_event", "net_prio", "hugetlb", "pids", "rdma", "misc",
};

/* The super options of a v1 mount that are controllers or its name, in their order. */
static const char *v1_name(struct pool *p, char *options)
{
	char name[256] = "";
	char *save;
	for (char *o = strtok_r(options, ",", &save); o; o = strtok_r(NULL, ",", &save)) {
		bool take = !strncmp(o, "name=", 5);
		for (size_t i = 0; i < sizeof(v1_controllers) / sizeof(*v1_controllers); i++)
			take |= !strcmp(o, v1_controllers[i]);
		size_t len = strlen(name);
		if (take && len + strlen(o) + 2 < sizeof(name))
			snprintf(name + len, sizeof(name) - len, "%s%s", len ? "," : "", o);
	}
	return pool_strdup(p, name);
}

static int add(struct cgroups *cg, struct pool *p, const char *mountpoint, bool v2, char *options,
	       struct err *e)
{
	if (cg->n == HIERARCHIES_MAX)
		return err_set(e, E2BIG, "more than %d cgroup hierarchies", HIERARCHIES_MAX);
	int fd = open(mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open %s", mountpoint);
	pool_fd(p, fd);
	struct stat st, other;
	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat %s", mountpoint);
	for_each_hierarchy(h, cg)
		if (fstat(h->fd, &other) == 0 && other.st_dev == st.st_dev)
			return 0;
	struct hierarchy *h = &cg->all[cg->n++];
	*h = (struct hierarchy){ fd, v2, v2 ? "v2" : v1_name(p, options) };
	if (!v2 && strncmp(h->name, "name=", 5))
		cg->v1_controllers = true;
	return 0;
}

/* Mount points have \040 for a space; a cgroup mount with one is not worth the trouble. */
static int parse_line(struct cgroups *cg, struct pool *p, char *line, struct err *e)
{
	char mountpoint[512], type[16], options[512];
	char *rest = strstr(line, " - ");
	if (!rest || sscanf(rest, " - %15s %*s %511s", type, options) != 2 ||
	    (strcmp(type, "cgroup") && strcmp(type, "cgroup2")) ||
	    sscanf(line, "%*s %*s %*s %*s %511s", mountpoint) != 1)
		return 0;
	return add(cg, p, mountpoint, !strcmp(type, "cgroup2"), options, e);
}

int tree_open(struct cgroups *cg, struct pool *p, struct err *e)
{
	struct buf text = { 0 };
	char *save, *line;
	int ret = file_read(AT_FDCWD, "/proc/self/mountinfo", 64 << 20, &text, e);
	if (ret == 0)
		for (line = strtok_r(text.data, "\n", &save); line && ret == 0;
		     line = strtok_r(NULL, "\n", &save))
			ret = parse_line(cg, p, line, e);
	buf_free(&text);
	if (ret == 0 && !cg->n)
		ret = err_set(e, ENOENT, "no cgroup file system is mounted");
	return ret;
}

/* -- paths -- */

int tree_check_path(const char *path, struct err *e)
{
	unsigned depth = 0;
	bool good = path[0] == '/' && path[1];
	for (const char *at = path; good && *at; depth++) {
		size_t len = strcspn(++at, "/");
		good = len && !(len == 1 && at[0] == '.') &&
		       !(len == 2 && at[0] == '.' && at[1] == '.');
		at += len;
	}
	if (good && depth <= DEPTH_MAX && strlen(path) < 3000)
		return 0;
	return err_set(e, EINVAL,
		       "cgroup path \"%.200s\": not an absolute, plain path of at most %d parts",
		       path, DEPTH_MAX);
}

static int walk(int dirfd, int depth, int (*fn)(int dirfd, void *data), void *data)
{
	auto_closedir DIR *d = fdopendir(dirfd);
	if (!d) {
		close(dirfd);
		return -ENOMEM;
	}
	struct dirent *ent;
	while ((ent = readdir(d))) {
		if (ent->d_type != DT_DIR || ent->d_name[0] == '.')
			continue;
		if (!depth)
			return -ELOOP;
		int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
		int sub = openat(dirfd, ent->d_name, flags);
		int ret = sub < 0 ? (errno == ENOENT ? 0 : -errno) : walk(sub, depth - 1, fn, data);
		if (ret < 0)
			return ret;
	}
	int ret = fn(dirfd, data);
	return ret == -ENOENT || ret == -ENODEV ? 0 : ret;	/* gone meanwhile */
}

int tree_walk(const struct hierarchy *h, const char *path, int (*fn)(int dirfd, void *data),
	      void *data)
{
	int fd = openat(h->fd, path + 1, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	return walk(fd, DEPTH_MAX, fn, data);
}

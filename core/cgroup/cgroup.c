/*
 * Which cgroups are ours: the helpers' and the parents of leaves.  A parent may serve several
 * leaves and be missing in some hierarchies only (the kubelet makes its pods' cgroups in those
 * it knows), so ownership is a set of (hierarchy, path).  Each leaf's record carries its part
 * of it, whoever of the leaves was first; whose removal finds the parent empty removes it.
 *
 * "made" is "<hierarchy>:<mask> ...", mask in hex: bit i is set when the first i + 1 parts of
 * the path are a cgroup of ours.
 */
#include "core/cgroup/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/cgroup/slice.h"
#include "core/cgroup/tree.h"

enum { CONTROL_FILE_MAX = 8 << 10, LEAVE_WAIT_MS = 1000 };
#define HELPERS "/helpers"

/* -- what is ours -- */

struct our {
	struct map_node node;
	char key[];
};

static void key_of(char *to, const struct hierarchy *h, const char *path, size_t len)
{
	snprintf(to, PATH_MAX, "%s:%.*s", h->name, (int)len, path);
}

static bool is_ours(struct cgroups *cg, const struct hierarchy *h, const char *path, size_t len)
{
	char key[PATH_MAX];
	key_of(key, h, path, len);
	return map_get(&cg->ours, key);
}

static void add_ours(struct cgroups *cg, const struct hierarchy *h, const char *path, size_t len)
{
	char key[PATH_MAX];
	key_of(key, h, path, len);
	if (map_get(&cg->ours, key))
		return;
	struct our *o = malloc(sizeof(*o) + strlen(key) + 1);
	if (!o)
		abort();
	*o = (struct our){ 0 };
	strcpy(o->key, key);
	map_put(&cg->ours, &o->node, o->key);
}

static void drop_ours(struct cgroups *cg, const struct hierarchy *h, const char *path, size_t len)
{
	char key[PATH_MAX];
	key_of(key, h, path, len);
	struct map_node *n = map_get(&cg->ours, key);
	if (!n)
		return;
	map_del(&cg->ours, n);
	free(container_of(n, struct our, node));
}

/* Length of the first `parts` parts of path; 0 when it has fewer. */
static size_t prefix_len(const char *path, unsigned parts)
{
	size_t len = 0;
	for (; parts; parts--) {
		if (!path[len])
			return 0;
		len += 1 + strcspn(path + len + 1, "/");
	}
	return len;
}

static unsigned count_parts(const char *path)
{
	unsigned n = 0;
	for (; *path; path++)
		n += *path == '/';
	return n;
}

/* The mask of that hierarchy in a made text. */
static unsigned long mask_of(const char *made, const struct hierarchy *h)
{
	size_t len = strlen(h->name);
	for (const char *at = made; at && *at; at += strspn(at, " ")) {
		size_t word = strcspn(at, " ");
		if (word > len && !strncmp(at, h->name, len) && at[len] == ':')
			return strtoul(at + len + 1, NULL, 16);
		at += word;
	}
	return 0;
}

/* Is that leaf below a slice? */
static bool in_slice(const char *path)
{
	char above[PATH_MAX];
	snprintf(above, sizeof(above), "%s", path);
	char *slash = strrchr(above, '/');
	if (slash)
		*slash = 0;
	return slice_is(above);
}

/* -- making parents -- */

static void copy_file(int from, int to, const char *name)
{
	struct buf text = { 0 };
	if (file_read(from, name, 64 << 10, &text, NULL) == 0 && text.len)
		file_poke(to, name, text.data, NULL);
	buf_free(&text);
}

/* v1: no process may enter a cpuset without cpus and memory nodes. */
static void fill_cpuset(const struct hierarchy *h, const char *path, const char *above)
{
	auto_close int fd = openat(h->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_close int up = openat(h->fd, above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	copy_file(up, fd, "cpuset.cpus");
	copy_file(up, fd, "cpuset.mems");
}

/* v2: children get what the cgroup itself has, controller by controller: one that cannot be
 * had must not take the others with it.  The engine complains about what it needs. */
static void enable_controllers(const struct hierarchy *h, const char *path)
{
	auto_close int fd = openat(h->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct buf text = { 0 };
	if (file_read(fd, "cgroup.controllers", 4096, &text, NULL) == 0) {
		char *save, word[64];
		for (char *c = strtok_r(text.data, " \n", &save); c;
		     c = strtok_r(NULL, " \n", &save)) {
			snprintf(word, sizeof(word), "+%.60s", c);
			file_poke(fd, "cgroup.subtree_control", word, NULL);
		}
	}
	buf_free(&text);
}

static void split_above(char *above, const char *path)
{
	const char *slash = strrchr(path, '/');
	if (slash)
		snprintf(above, PATH_MAX, "%.*s", (int)(slash - path), path);
	else
		strcpy(above, ".");
}

/* One that holds processes, so that it gives no controllers to children: v2 allows one of both. */
static int make_plain(const struct hierarchy *h, const char *path, struct err *e)
{
	return mkdirat(h->fd, path, 0755) < 0 && errno != EEXIST ?
		       err_sys(e, "make cgroup %s in %s", path, h->name) : 0;
}

/* One parent in one hierarchy: 1 made, 0 was there. */
static int make_one(const struct hierarchy *h, const char *path, struct err *e)
{
	char above[PATH_MAX];
	if (mkdirat(h->fd, path, 0755) < 0)
		return errno == EEXIST ? 0 : err_sys(e, "make cgroup %s in %s", path, h->name);
	split_above(above, path);
	if (h->v2) {
		enable_controllers(h, above);
		enable_controllers(h, path);
	} else if (tree_has(h, "cpuset")) {
		fill_cpuset(h, path, above);
	}
	return 1;
}

/* The parts of path but the last `leave` in one hierarchy; *mask: which are ours.  Missing slices
 * are made by systemd with the first scope, and are ours to have stopped. */
static int make_in(struct cgroups *cg, const struct hierarchy *h, const char *path, unsigned leave,
		   unsigned long *mask, unsigned long *fresh, struct err *e)
{
	char part[PATH_MAX];
	bool systemds = in_slice(path);
	unsigned parts = count_parts(path) - leave;
	for (unsigned i = 0; i < parts; i++) {
		size_t len = prefix_len(path, i + 1);
		snprintf(part, sizeof(part), "%.*s", (int)len - 1, path + 1);
		int ret = systemds ? faccessat(h->fd, part, F_OK, 0) < 0 : make_one(h, part, e);
		if (ret < 0)
			return ret;
		if (ret == 1) {
			add_ours(cg, h, path, len);
			*fresh |= 1ul << i;
		}
		if (is_ours(cg, h, path, len))
			*mask |= 1ul << i;
	}
	return 0;
}

size_t tree_made_parents(struct cgroups *cg, const char *path, const char *made, size_t lens[DEPTH_MAX])
{
	struct hierarchy *h = tree_find(cg, NULL);
	size_t n = 0;
	for (unsigned i = DEPTH_MAX; h && i-- > 0;) {
		size_t len = mask_of(made, h) & 1ul << i ? prefix_len(path, i + 1) : 0;
		if (len && path[len] && is_ours(cg, h, path, len))
			lens[n++] = len;
	}
	return n;
}

void tree_forget_parent(struct cgroups *cg, const char *path, size_t len)
{
	struct hierarchy *h = tree_find(cg, NULL);
	if (h)
		drop_ours(cg, h, path, len);
}

/* Remove the parts in mask, deepest first, as far as they are empty. */
static void remove_parts(struct cgroups *cg, const struct hierarchy *h, const char *path,
			 unsigned long mask)
{
	char part[PATH_MAX];
	for (unsigned i = DEPTH_MAX; i-- > 0;) {
		size_t len = mask & 1ul << i ? prefix_len(path, i + 1) : 0;
		if (!len)
			continue;
		snprintf(part, sizeof(part), "%.*s", (int)len - 1, path + 1);
		if (unlinkat(h->fd, part, AT_REMOVEDIR) == 0 || errno == ENOENT)
			drop_ours(cg, h, path, len);
	}
}

static const char *made_text(struct cgroups *cg, struct pool *p, const unsigned long *masks)
{
	struct buf text = { 0 };
	for (size_t i = 0; i < cg->n; i++)
		if (masks[i])
			buf_printf(&text, "%s%s:%lx", text.len ? " " : "", cg->all[i].name,
				   masks[i]);
	const char *made = text.len ? pool_strndup(p, text.data, text.len) : NULL;
	buf_free(&text);
	return made;
}

static int make_all(struct cgroups *cg, struct pool *p, const char *path, unsigned leave,
		    const char **made, struct err *e)
{
	unsigned long masks[HIERARCHIES_MAX] = { 0 }, fresh[HIERARCHIES_MAX] = { 0 };
	int ret = tree_check_path(path, e);
	for (size_t i = 0; i < cg->n && ret == 0; i++)
		ret = make_in(cg, &cg->all[i], path, leave, &masks[i], &fresh[i], e);
	if (ret < 0) {
		for (size_t i = 0; i < cg->n; i++)
			remove_parts(cg, &cg->all[i], path, fresh[i]);
		return ret;
	}
	*made = made_text(cg, p, masks);
	return 0;
}

/* The parents that are ours or not there. */
static unsigned long plan_in(struct cgroups *cg, const struct hierarchy *h, const char *path)
{
	char part[PATH_MAX];
	unsigned long mask = 0;
	unsigned parts = count_parts(path) - 1;
	for (unsigned i = 0; i < parts; i++) {
		size_t len = prefix_len(path, i + 1);
		snprintf(part, sizeof(part), "%.*s", (int)len - 1, path + 1);
		if (is_ours(cg, h, path, len) || faccessat(h->fd, part, F_OK, 0) < 0)
			mask |= 1ul << i;
	}
	return mask;
}

int cgroup_plan_parents(struct cgroups *cg, struct pool *p, const char *path, const char **made,
			struct err *e)
{
	unsigned long masks[HIERARCHIES_MAX] = { 0 };
	int ret = tree_check_path(path, e);
	if (ret < 0)
		return ret;
	for (size_t i = 0; i < cg->n; i++)
		masks[i] = plan_in(cg, &cg->all[i], path);
	*made = made_text(cg, p, masks);
	return 0;
}

int cgroup_make_parents(struct cgroups *cg, struct pool *p, const char *path, const char **made,
			struct err *e)
{
	*made = NULL;
	return make_all(cg, p, path, 1, made, e);
}

void cgroup_adopt_made(struct cgroups *cg, const char *path, const char *made)
{
	if (tree_check_path(path, NULL) < 0)
		return;
	for_each_hierarchy(h, cg) {
		unsigned long mask = mask_of(made, h);
		for (unsigned i = 0; i < DEPTH_MAX; i++) {
			size_t len = mask & 1ul << i ? prefix_len(path, i + 1) : 0;
			if (len)
				add_ours(cg, h, path, len);
		}
	}
}

/* -- removing -- */

/* Remove the cgroups below this one; the walk goes deepest first. */
static int remove_below(int dirfd, void *data)
{
	auto_close int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d)
		return -errno;
	fd = -1;
	struct dirent *ent;
	while ((ent = readdir(d)))
		if (ent->d_type == DT_DIR && ent->d_name[0] != '.' &&
		    unlinkat(dirfd, ent->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT)
			return -errno;
	return 0;
}

static int remove_leaf(const struct hierarchy *h, const char *path)
{
	if (unlinkat(h->fd, path + 1, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	int ret = tree_walk(h, path, remove_below, NULL);
	if (ret < 0)
		return ret;
	return unlinkat(h->fd, path + 1, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -errno;
}

int cgroup_remove_made(struct cgroups *cg, const char *path, const char *made, struct err *e)
{
	int ret = tree_check_path(path, e);
	if (ret < 0)
		return ret;
	unsigned long above = (1ul << (count_parts(path) - 1)) - 1; /* never the leaf's own bit */
	for_each_hierarchy(h, cg) {
		int one = remove_leaf(h, path);
		if (one < 0)
			ret = err_set(e, -one, "remove cgroup %s in %s: %s", path, h->name,
				      strerror(-one));
		else if (!in_slice(path))
			remove_parts(cg, h, path, mask_of(made, h) & above);
	}
	return ret;
}

bool cgroup_exists(struct cgroups *cg, const char *path)
{
	if (tree_check_path(path, NULL) < 0)
		return false;
	for_each_hierarchy(h, cg)
		if (faccessat(h->fd, path + 1, F_OK, 0) == 0)
			return true;
	return false;
}

/* -- the set of hierarchies and the helpers' cgroup -- */

static void forget_ours(struct cgroups *cg)
{
	for (size_t i = 0; i < cg->ours.cap; i++)
		for (struct map_node *n = cg->ours.buckets[i], *next; n; n = next) {
			next = n->next;
			free(container_of(n, struct our, node));
		}
	map_free(&cg->ours);
}

static void release(struct pool_res *r)
{
	forget_ours(container_of(r, struct cgroups, res));
}

/* Engines move containers and execs to the container's cgroup in every hierarchy there
 * is; pids is the one that no engine leaves out. */
static struct hierarchy *choose_helpers(struct cgroups *cg)
{
	static const char *const order[] = { "pids", "freezer", "memory" };
	for (size_t i = 0; i < sizeof(order) / sizeof(*order); i++)
		for_each_hierarchy(h, cg)
			if (!h->v2 && tree_has(h, order[i]))
				return h;
	for_each_hierarchy(h, cg)
		if (h->v2)
			return h;
	return cg->all;
}

/* A thread that moves itself by `tasks` does so at once; cgroup.procs has the kernel wait until
 * every CPU has passed a quiescent state, 5-20 ms.  v2 has no other way to its leaves. */
static const char *entrance(const struct hierarchy *h)
{
	return h->v2 ? "cgroup.procs" : "tasks";
}

/* The path of our own cgroup in h; "/" if that can't be told. */
static void own_path(const struct hierarchy *h, char path[PATH_MAX])
{
	struct buf text = { 0 };
	strcpy(path, "/");
	file_read(AT_FDCWD, "/proc/self/cgroup", 64 << 10, &text, NULL);
	char *save, *line = text.data ? strtok_r(text.data, "\n", &save) : NULL;
	for (; line; line = strtok_r(NULL, "\n", &save)) {
		char *names = strchr(line, ':'), *at = names ? strchr(names + 1, ':') : NULL;
		if (!at)
			continue;
		*at++ = 0;
		if (!strcmp(names + 1, h->v2 ? "" : h->name) && strlen(at) < PATH_MAX)
			strcpy(path, at);
	}
	buf_free(&text);
}

/* Where to go home to: where we are, or above the helpers' cgroup if we are in there. */
static int open_home(struct cgroups *cg, struct pool *p, const char *path, struct err *e)
{
	struct hierarchy *h = cg->helpers_in;
	cg->inside = !strcmp(path, cg->helpers);
	const char *name = pool_printf(p, "%s/%s", path, entrance(h));
	if (cg->inside && slice_is(cg->parent))
		name = pool_printf(p, "%.*s/%s", (int)(strrchr(path, '/') - path), path, entrance(h));
	cg->home_procs = cg->inside && !slice_is(cg->parent) ? -1 : openat(h->fd, name + 1, O_WRONLY | O_CLOEXEC);
	if (cg->home_procs < 0)		/* not visible from here, or no place to go back to */
		cg->home_procs = openat(h->fd, entrance(h), O_WRONLY | O_CLOEXEC);
	if (cg->home_procs < 0)
		return err_sys(e, "open %s in %s", entrance(h), h->name);
	pool_fd(p, cg->home_procs);
	return 0;
}

/* Below our own unit, which is the only place that systemd leaves to us; else below the parent. */
static const char *helpers_path(struct cgroups *cg, struct pool *p, const char *own)
{
	size_t n = strlen(own), last = strlen(HELPERS);
	if (!slice_is(cg->parent))
		return pool_printf(p, "%s" HELPERS, cg->parent);
	if (n >= last && !strcmp(own + n - last, HELPERS))
		return pool_strdup(p, own);
	return pool_printf(p, "%s" HELPERS, strcmp(own, "/") ? own : "");
}

static int open_helpers(struct cgroups *cg, struct pool *p, struct err *e)
{
	struct hierarchy *h = cg->helpers_in = choose_helpers(cg);
	char own[PATH_MAX];
	own_path(h, own);
	cg->helpers = helpers_path(cg, p, own);
	int ret = tree_check_path(cg->helpers, e);
	if (ret == 0)
		ret = make_plain(h, cg->helpers + 1, e);
	if (ret < 0)
		return ret;
	const char *name = pool_printf(p, "%s/%s", cg->helpers + 1, entrance(h));
	cg->helper_procs = openat(h->fd, name, O_WRONLY | O_CLOEXEC);
	if (cg->helper_procs < 0)
		return err_sys(e, "open %s in %s", name, h->name);
	pool_fd(p, cg->helper_procs);
	return open_home(cg, p, own, e);
}

static int open_slice(struct cgroups *cg, struct pool *p, struct err *e)
{
	if (cg->v1_controllers)
		return err_set(e, ENOTSUP, "cgroup.driver systemd: this host has v1 controllers, expected cgroup v2 alone");
	if (access("/run/systemd/system", F_OK) < 0)
		return err_set(e, ENOTSUP, "cgroup.driver systemd: systemd does not run on this host");
	int ret = slice_path(p, cg->parent, &cg->parent, e);
	return err_wrap(e, ret, "cgroup.parent");
}

int cgroups_open(struct pool *p, const char *parent, struct cgroups **out, struct err *e)
{
	struct pool *own = pool_new(p, "cgroups");
	struct cgroups *cg = pool_new_struct(own, struct cgroups);
	cg->parent = pool_strdup(own, parent);
	pool_res_add(own, &cg->res, release);
	int ret = slice_is(parent) ? 0 : tree_check_path(pool_printf(own, "%s" HELPERS, parent), e);
	if (ret == 0)
		ret = tree_open(cg, own, e);
	if (ret == 0)
		ret = slice_is(parent) ? open_slice(cg, own, e) :
					 make_all(cg, own, parent, 0, &cg->parent_made, e);
	/* The parent is the daemon's, no leaf may take it along. */
	forget_ours(cg);
	if (ret == 0)
		ret = open_helpers(cg, own, e);
	if (ret < 0) {
		pool_destroy(own);
		return err_wrap(e, ret, "cgroups");
	}
	*out = cg;
	return 0;
}

bool cgroups_systemd(const struct cgroups *cg)
{
	return slice_is(cg->parent);
}

bool cgroups_v2(const struct cgroups *cg)
{
	return !cg->v1_controllers;
}

const char *cgroups_parent(const struct cgroups *cg)
{
	return cg->parent;
}

int cgroups_enter_helpers(struct cgroups *cg, struct err *e)
{
	if (write(cg->helper_procs, "0", 1) < 0)
		return err_sys(e, "enter cgroup %s in %s", cg->helpers, cg->helpers_in->name);
	cg->inside = true;
	return 0;
}

void cgroups_exit_helpers(struct cgroups *cg)
{
	if (!cg->inside)
		return;
	if (write(cg->home_procs, "0", 1) < 0)
		log_error("the core can't leave its cgroup", "cgroup", cg->helpers, "error",
			  strerror(errno));
	else
		cg->inside = false;
}

const int *cgroups_home_procs(const struct cgroups *cg, size_t *n)
{
	*n = 1;
	return &cg->home_procs;
}

void cgroups_leave(struct cgroups *cg)
{
	struct err e = { 0 };
	/* What still runs would end with the core's pool, but keeps the cgroup until then. */
	if (cgroups_kill_helpers(cg, LEAVE_WAIT_MS, &e) < 0)
		log_warn("a cgroup stays", "cgroup", cg->helpers, "error", err_text(&e));
	for_each_hierarchy(h, cg) {
		unlinkat(h->fd, cg->helpers + 1, AT_REMOVEDIR);
		if (slice_is(cg->parent))
			continue;
		/* Also one that an earlier daemon has made: by the configuration it is ours. */
		unlinkat(h->fd, cg->parent + 1, AT_REMOVEDIR);
		remove_parts(cg, h, cg->parent, mask_of(cg->parent_made, h));
	}
}

int cgroup_read(struct cgroups *cg, const char *controller, const char *path, const char *file,
		struct buf *out)
{
	struct hierarchy *h = tree_find(cg, controller);
	char name[PATH_MAX];
	if (!h || path[0] != '/')
		return -ENOENT;
	if (snprintf(name, sizeof(name), "%s/%s", path + 1, file) >= (int)sizeof(name))
		return -ENAMETOOLONG;
	auto_close int fd = openat(h->fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* cgroupfs gives all of a file in one read: half the calls of file_read(). */
	ssize_t n = read(fd, buf_room(out, CONTROL_FILE_MAX), CONTROL_FILE_MAX);
	if (n < 0)
		return errno == ENODEV ? -ENOENT : -errno;
	out->len += (size_t)n;
	out->data[out->len] = 0;
	return 0;
}

bool cgroup_controller_v2(const struct cgroups *cg, const char *controller)
{
	struct hierarchy *h = tree_find(cg, controller);
	return h && h->v2;
}

char *cgroup_dir(struct cgroups *cg, struct pool *p, const char *controller, const char *path)
{
	const struct hierarchy *h = tree_find(cg, controller);
	return pool_printf(p, "/proc/%d/fd/%d%s", (int)getpid(), h ? h->fd : -1, path);
}

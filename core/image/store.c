/*
 * The image store.  Order is what makes it safe: a layer is synced by crisp-pull before it is
 * renamed into layers/ and named in the journal; what the journal names no longer is renamed into
 * trash/ and deleted only after the journal was synced.  So whatever instant the power goes, an
 * image that is listed is whole, and at start the rest is garbage: tmp/, trash/, layers without a
 * record.
 */
#include "core/image/store.h"

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
#include "core/base/pool.h"
#include "core/image/journal.h"
#include "core/image/pullwire.h"
#include "core/spawn/spawn.h"

/* A journal of this size, most of it dead, is written anew. */
enum { REWRITE_SIZE = 1 << 20, REWRITE_RECORD = 4096, SYNC_MS = 120000 };

const char *store_pull_program(const struct image_store *st, struct pool *p)
{
	return pool_printf(p, "%s/crisp-pull", st->options.libexec_dir);
}

/* -- options -- */

static const char *const *copy_list(struct pool *p, const char *const *list)
{
	size_t n = 0;
	while (list && list[n])
		n++;
	const char **out = pool_alloc(p, (n + 1) * sizeof(*out));
	for (size_t i = 0; i < n; i++)
		out[i] = pool_strdup(p, list[i]);
	return out;
}

static void copy_options(struct image_store *st, const struct image_options *o)
{
	struct pool *p = pool_new(st->pool, "image options");
	struct image_options *to = &st->options;
	struct image_mirror *mirrors = pool_alloc(p, (o->n_mirrors + 1) * sizeof(*mirrors));
	*to = *o;
	to->root = pool_strdup(p, o->root);
	to->libexec_dir = pool_strdup(p, o->libexec_dir);
	to->auth_file = pool_strdup(p, o->auth_file);
	to->plain_http = copy_list(p, o->plain_http);
	to->pinned = copy_list(p, o->pinned);
	for (size_t i = 0; i < o->n_mirrors; i++)
		mirrors[i] = (struct image_mirror){
			pool_strdup(p, o->mirrors[i].host), copy_list(p, o->mirrors[i].urls),
		};
	to->mirrors = mirrors;
	pool_destroy(st->options_pool);
	st->options_pool = p;
}

void image_store_configure(struct image_store *st, const struct image_options *o)
{
	copy_options(st, o);
	index_pin(&st->index, st->options.pinned);
}

/* -- helpers: sync, then delete -- */

static void tell_deleted(struct image_store *st)
{
	struct list *at;
	while ((at = list_pop(&st->awaiting))) {
		struct image_await *w = container_of(at, struct image_await, link);
		w->cb(w);
	}
}

static void handle_trash_done(void *data, struct spawn_result *r)
{
	struct image_store *st = data;
	struct err e = { 0 };
	st->trashing = false;
	if (spawn_check(r, "delete old image layers", &e) < 0) {
		log_warn("old image layers could not be deleted", "error", e.msg);
		st->trash_full = true;	/* the next time something is removed */
		tell_deleted(st);
		return;
	}
	store_settle(st);
}

/* What is in the trash by now may go; what comes later waits for the next sync, in a new trash. */
static void start_trash(struct image_store *st)
{
	if (renameat(st->index.dirfd, "trash", st->index.dirfd, "trash.now") == 0) {
		mkdirat(st->index.dirfd, "trash", 0755);
		st->trash_full = false;
	} else if (errno != ENOTEMPTY && errno != EEXIST) {
		log_warn("the image trash can't be emptied", "error", strerror(errno));
		return;
	}
	struct pool *p = pool_new(NULL, "plan");
	const char *program = store_pull_program(st, p);
	const char *argv[] = { program, "trash", pool_printf(p, "%s/trash.now", st->index.dir), NULL };
	struct spawn_plan plan = SPAWN_PLAN_INIT;
	plan.path = program;
	plan.argv = argv;
	plan.err_max = 1000;
	plan.uncounted = true;
	st->trashing = true;
	spawn_start(st->spawner, st->pool, &plan, handle_trash_done, st);
	pool_destroy(p);
}

static void end_rewrite(struct image_store *st, bool synced)
{
	struct err e = { 0 };
	if (journal_rewrite_fd(st->index.journal) < 0)
		return;
	if (!synced)
		journal_rewrite_abort(st->index.journal);
	else if (journal_rewrite_end(st->index.journal, &e) < 0)
		log_warn("the image index could not be replaced", "error", e.msg);
	else
		st->index.dirty = true;	/* the rename */
}

static void handle_synced(void *data, struct spawn_result *r)
{
	struct image_store *st = data;
	struct err e = { 0 };
	int ret = spawn_check(r, "sync the image index", &e);
	st->syncing = false;
	if (ret < 0)
		log_error("the image index is not safe from a power cut", "error", e.msg);
	end_rewrite(st, ret == 0);
	if (ret == 0)
		store_settle(st);
	else
		tell_deleted(st);
}

static void maybe_rewrite(struct image_store *st)
{
	struct journal *j = st->index.journal;
	struct err e = { 0 };
	uint64_t size = journal_size(j);
	if (size < REWRITE_SIZE || size / REWRITE_RECORD < index_live(&st->index) ||
	    journal_rewrite_fd(j) >= 0)
		return;
	int ret = journal_rewrite_begin(j, &e);
	if (ret == 0)
		ret = index_write_all(&st->index, &e);
	if (ret < 0) {
		journal_rewrite_abort(j);
		log_warn("the image index could not be written anew", "error", e.msg);
	}
}

/* One at a time: what changes meanwhile goes with the next. */
static void start_sync(struct image_store *st)
{
	struct pool *p = pool_new(NULL, "plan");
	struct spawn_fd fds[4];
	size_t n = 0;
	maybe_rewrite(st);
	fds[n++] = (struct spawn_fd){ st->layers_fd, PULLWIRE_SYNC };
	fds[n++] = (struct spawn_fd){ journal_fd(st->index.journal), PULLWIRE_SYNC + 1 };
	fds[n++] = (struct spawn_fd){ st->index.dirfd, PULLWIRE_SYNC + 2 };
	if (journal_rewrite_fd(st->index.journal) >= 0)
		fds[n++] =
			(struct spawn_fd){ journal_rewrite_fd(st->index.journal), PULLWIRE_SYNC + 3 };
	const char *program = store_pull_program(st, p);
	const char *argv[] = { program, "sync", pool_printf(p, "%zu", n), NULL };
	struct spawn_plan plan = SPAWN_PLAN_INIT;
	plan.path = program;
	plan.argv = argv;
	plan.fds = fds;
	plan.n_fds = n;
	plan.err_max = 1000;
	plan.timeout_ms = SYNC_MS;
	st->syncing = true;
	st->index.dirty = false;
	spawn_start(st->spawner, st->pool, &plan, handle_synced, st);
	pool_destroy(p);
}

/* -- garbage -- */

void store_discard(struct image_store *st, const char *path)
{
	char to[48];
	do
		snprintf(to, sizeof(to), "trash/%llx", (unsigned long long)st->trash_number++);
	while (faccessat(st->index.dirfd, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0);
	if (renameat(st->index.dirfd, path, st->index.dirfd, to) == 0)
		st->trash_full = true;
	else if (errno != ENOENT)
		log_warn("can't be moved to the trash", "path", path, "error", strerror(errno));
}

static void drop_config(struct image_store *st, const char *id)
{
	char path[160];
	snprintf(path, sizeof(path), "config/%.140s", strchr(id, ':') + 1);
	unlinkat(st->index.dirfd, path, 0);
}

/* A pull has been told which layers there are: while one runs, none goes. */
static void drop_unused(struct image_store *st)
{
	struct layer *l;
	char path[40];
	if (!st->swept || st->n_workers)
		return;
	list_for_each(l, &st->index.layer_list, link) {
		if (l->refs)
			continue;
		snprintf(path, sizeof(path), "layers/%s", l->id);
		store_discard(st, path);
		index_drop_layer(&st->index, l);
	}
}

static void handle_settle(struct loop_defer *d)
{
	struct image_store *st = d->data;
	drop_unused(st);
	if (st->syncing)
		return;
	if (st->index.dirty)
		start_sync(st);
	else if (st->trash_full && !st->trashing)
		start_trash(st);
	if (!st->syncing && !st->trashing)
		tell_deleted(st);
}

void store_settle(struct image_store *st)
{
	loop_defer(st->loop, &st->settle, handle_settle, st);
}

void image_store_sweep(struct image_store *st)
{
	struct stored_image *im;
	st->swept = true;
	list_for_each(im, &st->index.removed_list, link) {
		if (im->holds)
			continue;
		drop_config(st, im->image.id);
		index_forget(&st->index, im);
	}
	store_settle(st);
}

/* -- opening -- */

static int make_dirs(struct image_store *st, struct err *e)
{
	static const char *const dirs[] = {
		"layers", "config", "tmp", "trash", "trash.now", "empty",
	};
	/* Not for others' eyes, yet passable: an engine in a user namespace goes through it. */
	int ret = file_mkdirs(st->index.dir, 0711, e);
	if (ret < 0)
		return ret;
	int fd = open(st->index.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open %s", st->index.dir);
	pool_fd(st->pool, fd);
	st->index.dirfd = fd;
	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++)
		if (mkdirat(fd, dirs[i], 0755) < 0 && errno != EEXIST)
			return err_sys(e, "mkdir %s/%s", st->index.dir, dirs[i]);
	st->layers_fd = openat(fd, "layers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (st->layers_fd < 0)
		return err_sys(e, "open %s/layers", st->index.dir);
	pool_fd(st->pool, st->layers_fd);
	return 0;
}

/* Throw away the entries of a directory of ours, but those that keep names. */
static void discard_entries(struct image_store *st, const char *dir,
			    bool (*keep)(struct image_store *, const char *))
{
	int fd = openat(st->index.dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *d = fd < 0 ? NULL : fdopendir(fd);
	char path[PATH_MAX];
	for (struct dirent *ent; d && (ent = readdir(d));) {
		if (!strcmp(ent->d_name, ".") || !strcmp(ent->d_name, "..") ||
		    (keep && keep(st, ent->d_name)))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, ent->d_name);
		store_discard(st, path);
	}
}

/* Numbers of layers without a record are not used again either. */
static bool keep_layer(struct image_store *st, const char *name)
{
	char *end;
	uint64_t number = strtoull(name, &end, 16);
	if (!*end && number >= st->index.next_layer)
		st->index.next_layer = number + 1;
	return index_layer(&st->index, name) != NULL;
}

static bool keep_config(struct image_store *st, const char *name)
{
	char id[160];
	snprintf(id, sizeof(id), "%s:%.140s", strlen(name) == 128 ? "sha512" : "sha256", name);
	return index_held(&st->index, id) != NULL;
}

static bool has_entries(struct image_store *st, const char *dir)
{
	int fd = openat(st->index.dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *d = fd < 0 ? NULL : fdopendir(fd);
	for (struct dirent *ent; d && (ent = readdir(d));)
		if (strcmp(ent->d_name, ".") && strcmp(ent->d_name, ".."))
			return true;
	return false;
}

static void release_store(struct pool_res *r)
{
	struct image_store *st = container_of(r, struct image_store, res);
	while (list_pop(&st->awaiting))
		;	/* their calls go with the connections */
	loop_defer_cancel(&st->settle);
	index_close(&st->index);
}

int image_store_open(struct loop *l, struct pool *parent, struct spawner *s,
		     const struct image_options *o, struct image_store **out, struct err *e)
{
	struct pool *p = pool_new(parent, "image store");
	struct image_store *st = pool_new_struct(p, struct image_store);
	*out = NULL;
	st->loop = st->index.loop = l;
	st->pool = st->index.pool = p;
	st->spawner = s;
	list_init(&st->workers);
	list_init(&st->waiting);
	list_init(&st->awaiting);
	copy_options(st, o);
	st->index.dir = pool_printf(p, "%s/images", o->root);
	st->index.empty_dir = pool_printf(p, "%s/empty", st->index.dir);
	int ret = make_dirs(st, e);
	if (ret == 0)
		ret = index_open(&st->index, e);
	if (ret < 0) {
		index_close(&st->index);
		pool_destroy(p);
		return err_wrap(e, ret, "image store");
	}
	pool_res_add(p, &st->res, release_store);
	index_pin(&st->index, st->options.pinned);
	discard_entries(st, "layers", keep_layer);
	discard_entries(st, "config", keep_config);
	discard_entries(st, "tmp", NULL);
	st->trash_full = has_entries(st, "trash") || has_entries(st, "trash.now");
	st->index.dirty = st->trash_full;	/* deleting waits for a sync */
	store_settle(st);
	*out = st;
	return 0;
}

/* -- looking and removing -- */

const struct image *image_find(struct image_store *st, const char *ref)
{
	struct stored_image *im = index_find(&st->index, ref);
	return im ? &im->image : NULL;
}

const struct image *image_next(struct image_store *st, const struct image *prev)
{
	struct list *head = &st->index.image_list;
	struct list *next =
		prev ? container_of(prev, struct stored_image, image)->link.next : head->next;
	return next == head ? NULL : &container_of(next, struct stored_image, link)->image;
}

const struct image *image_held(struct image_store *st, const char *id)
{
	struct stored_image *im = index_held(&st->index, id);
	return im ? &im->image : NULL;
}

int image_config_json(struct image_store *st, const struct image *im, struct buf *out,
		      struct err *e)
{
	char path[160];
	snprintf(path, sizeof(path), "config/%.140s", strchr(im->id, ':') + 1);
	return err_wrap(e, file_read(st->index.dirfd, path, PULLWIRE_CONFIG_MAX, out, e),
			"image %s", im->id);
}

int image_hold(struct image_store *st, const char *id)
{
	struct stored_image *im = index_held(&st->index, id);
	if (!im)
		return -ENOENT;
	im->holds++;
	return 0;
}

void image_release(struct image_store *st, const char *id)
{
	struct stored_image *im = index_held(&st->index, id);
	if (!im || !im->holds || --im->holds || !im->removed)
		return;
	drop_config(st, im->image.id);
	index_forget(&st->index, im);
	store_settle(st);
}

int image_remove(struct image_store *st, const char *ref, struct err *e)
{
	struct stored_image *im = index_find(&st->index, ref);
	if (!im)
		return 0;
	log_info("image removed", "image", im->image.id, "held",
		 im->holds ? log_num(im->holds) : NULL);
	if (!im->holds)
		drop_config(st, im->image.id);
	index_remove(&st->index, im);
	store_settle(st);
	return 0;
}

void image_await_deleted(struct image_store *st, struct image_await *w,
			 void (*cb)(struct image_await *w))
{
	w->cb = cb;
	list_append(&st->awaiting, &w->link);
	store_settle(st);
}

void image_await_leave(struct image_await *w)
{
	list_del(&w->link);
}

void image_fs_info(struct image_store *st, uint64_t *bytes, uint64_t *inodes,
		   const char **mountpoint)
{
	*bytes = st->index.bytes;
	*inodes = st->index.inodes;
	*mountpoint = st->index.dir;
}

unsigned image_pulls_running(const struct image_store *st)
{
	return st->n_workers;
}

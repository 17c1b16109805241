/*
 * Pulls and imports: joining callers, running crisp-pull, taking over what it made.
 *
 *	waiting (PULLS_MAX run) --> running --> its exit --> committed, callers told --> gone
 *
 * Nothing of a pull is in the store before its exit: crisp-pull then has synced the layers, and
 * they are renamed into place.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/digest.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/image/pullwire.h"
#include "core/image/ref.h"
#include "core/image/store.h"
#include "core/spawn/spawn.h"

enum {
	PULLS_MAX = 8,
	READ_SIZE = 64 << 10,
	STAGED_MAX = 4096,
	STALL_MS = 300000,
	SILENCE_EXTRA_MS = 600000
};

/* A caller. */
struct image_pull {
	struct list link;
	struct pool *pool;
	struct worker *worker;
	image_progress_cb *progress;
	image_done_cb *done;
	void *data;
};

/* A layer or an image that crisp-pull has made. */
struct staged_layer {
	const char *dir, *diff, *blob, *chain;
	uint64_t bytes, inodes;
	struct layer *layer;	/* once it is in the store */
};

struct staged_image {
	const char *id, *manifest, *config_file;
	const struct json *names, *layers, *config;
	uint64_t bytes;
};

struct worker {
	struct pool_res res;
	struct list link;
	struct image_store *store;
	struct pool *pool;
	const char *key;		/* equal keys join; NULL for imports */
	const char *name;		/* canonical, or what is imported */
	bool load;
	struct image_ref ref;
	struct image_auth auth;
	const char *path, *fallback;	/* of an import: where, and the name for what has none */
	int source;			/* of an import: an open archive, or -1 */
	struct list callers;
	char tmp[40];			/* below images/, "" before it runs */
	struct spawn *spawn;
	struct loop_io events;
	struct loop_timer silence;
	struct loop_defer failed;	/* it never got to run */
	int events_fd;
	struct buf line;
	struct image_progress progress;
	bool succeeded;
	struct err err;
	struct staged_layer *layers;
	size_t n_layers;
	struct staged_image *images;
	size_t n_images;
	char id[160];			/* the last image's */
};

static void start_waiting(struct image_store *st);

/* -- telling -- */

static void tell_progress(struct worker *w)
{
	struct image_pull *c;
	list_for_each(c, &w->callers, link)
		if (c->progress)
			c->progress(c->data, &w->progress);
}

static void destroy_worker(struct worker *w)
{
	struct image_store *st = w->store;
	list_del(&w->link);
	if (*w->tmp) {
		st->n_workers--;
		/* After a success it is mostly empty. */
		if (unlinkat(st->index.dirfd, w->tmp, AT_REMOVEDIR) < 0)
			store_discard(st, w->tmp);
	}
	loop_io_stop(&w->events);
	loop_timer_stop(&w->silence);
	loop_defer_cancel(&w->failed);
	loop_destroy_later(st->loop, w->pool);
	store_settle(st);
	start_waiting(st);
}

static void conclude(struct worker *w, int ret)
{
	struct list *at;
	if (ret < 0)
		log_warn(w->load ? "import failed" : "pull failed", "image", w->name, "error",
			 err_text(&w->err));
	else
		log_info(w->load ? "image imported" : "image pulled", "image", w->name, "id",
			 w->id);
	/* Nobody may join, or be told twice, from within a callback. */
	w->key = NULL;
	while ((at = list_pop(&w->callers))) {
		struct image_pull *c = container_of(at, struct image_pull, link);
		c->worker = NULL;
		c->done(c->data, ret, ret < 0 ? NULL : w->id, &w->err);
		loop_destroy_later(w->store->loop, c->pool);
	}
	destroy_worker(w);
}

/* -- events -- */

static const char *keep(struct worker *w, const struct json *j, const char *name)
{
	const char *s = json_str(json_get(j, name));
	return s ? pool_strdup(w->pool, s) : "";
}

/* Below tmp, and nowhere else. */
static bool plain_name(const char *s)
{
	return *s && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(s) &&
	       strlen(s) < 32;
}

static int take_layer(struct worker *w, const struct json *j)
{
	if (w->n_layers == STAGED_MAX)
		return err_set(&w->err, EPROTO, "crisp-pull named too many layers");
	if (!w->layers)
		w->layers = pool_alloc(w->pool, STAGED_MAX * sizeof(*w->layers));
	struct staged_layer *l = &w->layers[w->n_layers++];
	*l = (struct staged_layer){
		.dir = keep(w, j, "dir"), .diff = keep(w, j, "diff"), .blob = keep(w, j, "blob"),
		.chain = keep(w, j, "chain"),
		.bytes = (uint64_t)json_int(json_get(j, "bytes"), 0),
		.inodes = (uint64_t)json_int(json_get(j, "inodes"), 0),
	};
	if (!plain_name(l->dir) || !digest_valid(l->diff) || !digest_valid(l->blob) ||
	    (*l->chain && !digest_valid(l->chain)))
		return err_set(&w->err, EPROTO, "crisp-pull named a bad layer");
	return 0;
}

static int take_image(struct worker *w, const struct json *j)
{
	if (w->n_images == STAGED_MAX)
		return err_set(&w->err, EPROTO, "crisp-pull named too many images");
	if (!w->images)
		w->images = pool_alloc(w->pool, STAGED_MAX * sizeof(*w->images));
	struct staged_image *im = &w->images[w->n_images++];
	*im = (struct staged_image){
		.id = keep(w, j, "id"),
		.manifest = keep(w, j, "manifest"),
		.config_file = keep(w, j, "config_file"),
		.names = json_get(j, "names"),
		.layers = json_get(j, "layers"),
		.bytes = (uint64_t)json_int(json_get(j, "bytes"), 0),
	};
	const char *config = json_str(json_get(j, "config"));
	if (!config || json_parse(w->pool, config, strlen(config), &im->config, &w->err) < 0)
		return err_set(&w->err, EPROTO,
			       "crisp-pull named an image without its configuration");
	if (!digest_valid(im->id) || !plain_name(im->config_file) ||
	    (*im->manifest && !digest_valid(im->manifest)))
		return err_set(&w->err, EPROTO, "crisp-pull named a bad image");
	return 0;
}

static void take_progress(struct worker *w, const struct json *j)
{
	static const char *const stages[] = { "resolving", "pulling", "syncing" };
	const char *stage = json_str(json_get(j, "stage"));
	w->progress = (struct image_progress){
		.done = (uint64_t)json_int(json_get(j, "done"), 0),
		.total = (uint64_t)json_int(json_get(j, "total"), 0),
		.layers_done = (unsigned)json_int(json_get(j, "layers_done"), 0),
		.layers = (unsigned)json_int(json_get(j, "layers"), 0),
		.stage = stages[1],
	};
	for (size_t i = 0; stage && i < sizeof(stages) / sizeof(*stages); i++)
		if (!strcmp(stage, stages[i]))
			w->progress.stage = stages[i];
	tell_progress(w);
}

static void take_line(struct worker *w, const char *line, size_t len)
{
	/* An image's lists are read when it is committed: they live as long as the worker. */
	struct pool *p = pool_new(w->pool, "event");
	const struct json *j;
	bool wanted = false;
	if (json_parse(p, line, len, &j, &w->err) < 0)
		return;
	const char *event = json_str(json_get(j, "event"));
	if (!event) {
		err_set(&w->err, EPROTO, "crisp-pull said something unknown");
	} else if (!strcmp(event, "progress")) {
		take_progress(w, j);
	} else if (!strcmp(event, "layer")) {
		take_layer(w, j);
	} else if (!strcmp(event, "image")) {
		wanted = take_image(w, j) == 0;
	} else if (!strcmp(event, "done")) {
		w->succeeded = true;
	} else if (!strcmp(event, "error")) {
		const char *words = json_str(json_get(j, "message"));
		int64_t code = json_int(json_get(j, "code"), EIO);
		err_set(&w->err, code > 0 && code < 4096 ? (int)code : EIO, "%s",
			words ? words : "it failed");
	}
	if (!wanted)
		pool_destroy(p);
}

/* All whole lines that are there; false at the end. */
static bool read_events(struct worker *w)
{
	ssize_t n = read(w->events_fd, buf_room(&w->line, READ_SIZE), READ_SIZE);
	if (n <= 0)
		return n < 0 && errno == EINTR;
	w->line.len += (size_t)n;
	w->line.data[w->line.len] = 0;
	size_t at = 0;
	for (char *end; (end = memchr(w->line.data + at, '\n', w->line.len - at));) {
		size_t len = (size_t)(end - w->line.data) - at;
		take_line(w, w->line.data + at, len);
		at += len + 1;
	}
	buf_consume(&w->line, at);
	if (w->line.len > PULLWIRE_LINE_MAX) {
		err_set(&w->err, EPROTO, "crisp-pull sent an endless line");
		spawn_cancel(w->spawn);
		return false;
	}
	return true;
}

static void handle_silence(struct loop_timer *t)
{
	struct worker *w = t->data;
	err_set(&w->err, ETIMEDOUT, "crisp-pull has said nothing for too long");
	spawn_cancel(w->spawn);
}

static uint64_t stall_ms(const struct image_store *st)
{
	return st->options.stall_ms ? st->options.stall_ms : STALL_MS;
}

static void watch_silence(struct worker *w)
{
	/* It notices a stalled network itself; this is for itself stalling, on a dead disk say. */
	loop_timer_start(&w->silence, w->store->loop, w->pool,
			 stall_ms(w->store) + SILENCE_EXTRA_MS, 0, handle_silence, w);
}

static void handle_events(struct loop_io *io, int events)
{
	struct worker *w = io->data;
	watch_silence(w);
	if (!read_events(w))
		loop_io_set(io, 0);
}

/* -- taking over what was made -- */

static int commit_layer(struct worker *w, struct staged_layer *s)
{
	struct image_store *st = w->store;
	char from[80], to[32];
	/* Another pull may have brought it meanwhile. */
	s->layer = index_find_layer(&st->index, s->diff, s->chain);
	if (s->layer)
		return 0;
	snprintf(from, sizeof(from), "%s/%s", w->tmp, s->dir);
	snprintf(to, sizeof(to), "layers/%016llx", (unsigned long long)st->index.next_layer);
	if (renameat(st->index.dirfd, from, st->index.dirfd, to) < 0)
		return err_sys(&w->err, "move layer %s into the store", s->diff);
	s->layer =
		index_add_layer(&st->index, NULL, s->diff, s->blob, s->chain, s->bytes, s->inodes);
	return 0;
}

static struct layer *layer_of(struct worker *w, const struct json *j)
{
	const char *dir = json_str(json_get(j, "dir"));
	if (!dir)
		return index_layer(&w->store->index, json_str(json_get(j, "id")));
	for (size_t i = 0; i < w->n_layers; i++)
		if (!strcmp(w->layers[i].dir, dir))
			return w->layers[i].layer;
	return NULL;
}

static void name_image(struct worker *w, const struct staged_image *s, struct stored_image *im)
{
	struct index *ix = &w->store->index;
	if (!w->load) {
		if (!w->ref.digest)
			index_name(ix, w->ref.name, im);
		index_name(ix, pool_printf(w->pool, "%s@%s", w->ref.repo, s->manifest), im);
		return;
	}
	for (size_t i = 0; i < json_len(s->names); i++) {
		struct image_ref r;
		const char *text = json_str(json_at(s->names, i));
		if (!text || image_ref_parse(w->pool, text, &r, NULL) < 0) {
			log_warn("import: an image has an invalid name", "name", text);
			continue;
		}
		if (!r.digest || !strcmp(r.digest, s->manifest))
			index_name(ix, r.name, im);
		if (*s->manifest)
			index_name(ix, pool_printf(w->pool, "%s@%s", r.repo, s->manifest), im);
	}
}

static int commit_image(struct worker *w, const struct staged_image *s)
{
	struct image_store *st = w->store;
	size_t n = json_len(s->layers);
	char from[80], to[160];
	if (n > PULLWIRE_LAYERS_MAX)
		return err_set(&w->err, EPROTO, "crisp-pull named too many layers");
	struct layer **layers = pool_alloc(w->pool, (n + 1) * sizeof(*layers));
	for (size_t i = 0; i < n; i++) {
		layers[i] = layer_of(w, json_at(s->layers, i));
		if (!layers[i])
			return err_set(&w->err, EPROTO,
				       "crisp-pull named a layer that is not there");
	}
	snprintf(from, sizeof(from), "%s/%s", w->tmp, s->config_file);
	snprintf(to, sizeof(to), "config/%.140s", strchr(s->id, ':') + 1);
	if (renameat(st->index.dirfd, from, st->index.dirfd, to) < 0)
		return err_sys(&w->err, "move the configuration of %s into the store", s->id);
	struct stored_image *im =
		index_add_image(&st->index, s->id, layers, n, s->bytes, s->config);
	name_image(w, s, im);
	snprintf(w->id, sizeof(w->id), "%s", s->id);
	return 0;
}

static int commit(struct worker *w)
{
	int ret = 0;
	for (size_t i = 0; i < w->n_layers && ret == 0; i++)
		ret = commit_layer(w, &w->layers[i]);
	for (size_t i = 0; i < w->n_images && ret == 0; i++)
		ret = commit_image(w, &w->images[i]);
	if (ret == 0 && !w->n_images)
		ret = err_set(&w->err, EPROTO, "crisp-pull named no image");
	return ret;
}

static void handle_exit(void *data, struct spawn_result *r)
{
	struct worker *w = data;
	loop_timer_stop(&w->silence);
	w->spawn = NULL;
	while (read_events(w))
		;
	if (list_empty(&w->callers)) {
		log_info("pull cancelled: nobody waits for it", "image", w->name);
		destroy_worker(w);
		return;
	}
	/* Its own words come first; what the exit says is for when it had none. */
	struct err why = { 0 };
	int ret = spawn_check(r, "crisp-pull", &why);
	if (ret < 0)	/* a missing program is no missing image */
		err_set(&w->err, EIO, "%s", why.msg);
	if (!w->err.code && !w->succeeded)
		err_set(&w->err, EIO, "crisp-pull left without an answer");
	if (!w->err.code)
		commit(w);
	conclude(w, -w->err.code);
}

/* -- the request -- */

static void put_list(struct json_out *o, const char *name, const char *const *list)
{
	json_key(o, name);
	json_array(o);
	for (; list && *list; list++)
		json_put_str(o, *list);
	json_end_array(o);
}

static void put_layers(struct json_out *o, const struct index *ix)
{
	struct layer *l;
	json_key(o, "layers");
	json_array(o);
	list_for_each(l, &ix->layer_list, link) {
		json_object(o);
		json_member_str(o, "diff", l->diff);
		json_member_str(o, "blob", l->blob);
		json_member_str(o, "id", l->id);
		json_member_str(o, "chain", l->chain);
		json_end_object(o);
	}
	json_end_array(o);
}

static void put_source(struct json_out *o, const struct worker *w)
{
	const struct image_options *opt = &w->store->options;
	json_member_bool(o, "load", w->load);
	if (w->load) {
		json_member_str(o, "path", w->path);
		json_member_str(o, "name", w->fallback);
		return;
	}
	json_member_str(o, "name", w->ref.name);
	json_member_str(o, "host", w->ref.host);
	json_member_str(o, "path", w->ref.path);
	json_member_str(o, "reference", w->ref.digest ? w->ref.digest : w->ref.tag);
	json_key(o, "auth");
	json_object(o);
	json_member_str(o, "username", w->auth.username);
	json_member_str(o, "password", w->auth.password);
	json_member_str(o, "auth", w->auth.auth);
	json_member_str(o, "server_address", w->auth.server_address);
	json_member_str(o, "identity_token", w->auth.identity_token);
	json_member_str(o, "registry_token", w->auth.registry_token);
	json_end_object(o);
	put_list(o, "plain_http", opt->plain_http);
	for (size_t i = 0; i < opt->n_mirrors; i++)
		if (!strcmp(opt->mirrors[i].host, w->ref.host)) {
			put_list(o, "mirrors", opt->mirrors[i].urls);
			break;
		}
	json_member_str(o, "auth_file", opt->auth_file);
}

static const char *request_text(const struct worker *w, struct pool *p, size_t *len)
{
	const struct image_store *st = w->store;
	struct json_out *o = json_out(p);
	json_object(o);
	put_source(o, w);
	json_member_str(o, "tmp", pool_printf(p, "%s/%s", st->index.dir, w->tmp));
	put_layers(o, &st->index);
	json_member_int(o, "unpackers", st->options.unpackers);
	json_member_int(o, "stall_ms", (int64_t)stall_ms(st));
	json_end_object(o);
	return json_text(o, len);
}

/* -- running -- */

static void handle_failed(struct loop_defer *d)
{
	struct worker *w = d->data;
	conclude(w, -w->err.code);
}

static void fail_later(struct worker *w)
{
	loop_defer(w->store->loop, &w->failed, handle_failed, w);
}

static int make_tmp(struct worker *w)
{
	struct image_store *st = w->store;
	static unsigned long long number;
	do
		snprintf(w->tmp, sizeof(w->tmp), "tmp/%llu", ++number);
	while (mkdirat(st->index.dirfd, w->tmp, 0700) < 0 && errno == EEXIST);
	st->n_workers++;
	if (faccessat(st->index.dirfd, w->tmp, F_OK, 0) < 0)
		return err_sys(&w->err, "make %s/%s", st->index.dir, w->tmp);
	return 0;
}

static void run_crisp_pull(struct worker *w, int events)
{
	struct image_store *st = w->store;
	struct pool *p = pool_new(NULL, "plan");
	const char *program = store_pull_program(st, p);
	const char *argv[] = { program, "pull", NULL };
	struct spawn_fd fds[2] = { { events, PULLWIRE_EVENTS }, { w->source, PULLWIRE_SOURCE } };
	struct spawn_plan plan = SPAWN_PLAN_INIT;
	plan.path = program;
	plan.argv = argv;
	plan.fds = fds;
	plan.n_fds = w->source >= 0 ? 2 : 1;
	plan.input = request_text(w, p, &plan.input_len);
	plan.err_max = 2000;
	plan.uncounted = true;
	w->spawn = spawn_start(st->spawner, w->pool, &plan, handle_exit, w);
	pool_destroy(p);
}

static void run(struct worker *w)
{
	struct image_store *st = w->store;
	int fds[2];
	list_del(&w->link);
	list_append(&st->workers, &w->link);
	if (make_tmp(w) < 0) {
		fail_later(w);
		return;
	}
	if (pipe2(fds, O_CLOEXEC) < 0) {
		err_sys(&w->err, "make a pipe");
		fail_later(w);
		return;
	}
	fd_set_nonblock(fds[0]);
	w->events_fd = fds[0];
	loop_io_start(&w->events, st->loop, w->pool, fds[0], LOOP_READ, handle_events, w);
	watch_silence(w);
	run_crisp_pull(w, fds[1]);
	close(fds[1]);
}

static void start_waiting(struct image_store *st)
{
	while (st->n_workers < PULLS_MAX && !list_empty(&st->waiting))
		run(container_of(st->waiting.next, struct worker, link));
}

/* The store goes while a pull runs: the spawn dies with the pool, the rest is ours to free. */
static void release_worker(struct pool_res *r)
{
	struct worker *w = container_of(r, struct worker, res);
	buf_free(&w->line);
	loop_defer_cancel(&w->failed);
	if (w->events_fd >= 0)
		close(w->events_fd);
}

static struct worker *worker_new(struct image_store *st, const char *name)
{
	struct pool *p = pool_new(st->pool, "pull");
	struct worker *w = pool_new_struct(p, struct worker);
	w->store = st;
	w->pool = p;
	w->name = pool_strdup(p, name);
	w->source = w->events_fd = -1;
	list_init(&w->callers);
	list_init(&w->link);
	pool_res_add(p, &w->res, release_worker);
	return w;
}

static struct image_pull *caller_new(struct worker *w, image_progress_cb *progress,
				     image_done_cb *done, void *data)
{
	struct pool *p = pool_new(w->store->pool, "pull caller");
	struct image_pull *c = pool_new_struct(p, struct image_pull);
	c->pool = p;
	c->worker = w;
	c->progress = progress;
	c->done = done;
	c->data = data;
	list_append(&w->callers, &c->link);
	return c;
}

static void enqueue(struct worker *w)
{
	struct image_store *st = w->store;
	list_append(&st->waiting, &w->link);
	if (w->err.code)
		fail_later(w);
	else
		start_waiting(st);
}

/* -- public -- */

static const char *key_of(struct pool *p, const char *name, const struct image_auth *a)
{
	const char *parts[] = {
		a->username, a->password, a->auth, a->server_address, a->identity_token,
		a->registry_token,
	};
	char *key = pool_strdup(p, name);
	/* Lengths make it unambiguous. */
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		key = pool_printf(p, "%s|%zu:%s", key, parts[i] ? strlen(parts[i]) : 0,
				  parts[i] ? parts[i] : "");
	return key;
}

static struct worker *find_worker(struct image_store *st, const char *key)
{
	struct worker *w;
	list_for_each(w, &st->workers, link)
		if (w->key && !list_empty(&w->callers) && !strcmp(w->key, key))
			return w;
	list_for_each(w, &st->waiting, link)
		if (w->key && !list_empty(&w->callers) && !strcmp(w->key, key))
			return w;
	return NULL;
}

static void copy_auth(struct worker *w, const struct image_auth *a)
{
	w->auth = (struct image_auth){
		.username = pool_strdup(w->pool, a->username),
		.password = pool_strdup(w->pool, a->password),
		.auth = pool_strdup(w->pool, a->auth),
		.server_address = pool_strdup(w->pool, a->server_address),
		.identity_token = pool_strdup(w->pool, a->identity_token),
		.registry_token = pool_strdup(w->pool, a->registry_token),
	};
}

struct image_pull *image_pull(struct image_store *st, const char *ref,
			      const struct image_auth *auth, image_progress_cb *progress,
			      image_done_cb *done, void *data)
{
	static const struct image_auth nobody;
	struct worker *w = worker_new(st, ref ? ref : "");
	if (image_ref_parse(w->pool, ref, &w->ref, &w->err) == 0) {
		w->name = w->ref.name;
		w->key = key_of(w->pool, w->ref.name, auth ? auth : &nobody);
		struct worker *same = find_worker(st, w->key);
		if (same) {
			pool_destroy(w->pool);
			return caller_new(same, progress, done, data);
		}
		copy_auth(w, auth ? auth : &nobody);
	}
	struct image_pull *c = caller_new(w, progress, done, data);
	enqueue(w);
	return c;
}

struct image_pull *image_load(struct image_store *st, int fd, const char *path, const char *name,
			      image_progress_cb *progress, image_done_cb *done, void *data)
{
	struct worker *w = worker_new(st, path ? path : "archive");
	w->load = true;
	w->path = pool_strdup(w->pool, path);
	w->fallback = name && *name ? pool_strdup(w->pool, name) : NULL;
	if (w->fallback && !image_ref_valid(w->fallback))
		err_set(&w->err, EINVAL, "load: the name \"%s\" is no image reference", name);
	if (fd >= 0) {
		w->source = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		if (w->source < 0)
			err_sys(&w->err, "load");
		else
			pool_fd(w->pool, w->source);
	}
	struct image_pull *c = caller_new(w, progress, done, data);
	enqueue(w);
	return c;
}

void image_pull_leave(struct image_pull *c)
{
	struct worker *w = c->worker;
	list_del(&c->link);
	loop_destroy_later(w->store->loop, c->pool);
	if (!list_empty(&w->callers))
		return;
	if (w->spawn)
		spawn_cancel(w->spawn);
	else
		destroy_worker(w);
}

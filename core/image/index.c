/* The index: see the header. */
#include "core/image/index.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/digest.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/image/journal.h"
#include "core/image/ref.h"
#include "core/loop/loop.h"

enum { SHORT_ID_MIN = 12 };

/* -- records -- */

static void write_record(struct index *ix, struct json_out *o)
{
	size_t len;
	struct err e = { 0 };
	const char *text = json_text(o, &len);
	/* What can't be written (a full disk) is lost at the next start, not now: a pull is asked
	 * for again, and layers that no record names are deleted. */
	if (journal_append(ix->journal, text, len, &e) < 0)
		log_error("the image index can't be written", "error", e.msg);
	ix->dirty = true;
}

static void record(struct index *ix, const char *key, const char *value, const char *key2,
		   const char *value2)
{
	if (ix->loading)
		return;
	struct pool *p = pool_new(NULL, "record");
	struct json_out *o = json_out(p);
	json_object(o);
	json_member_str(o, key, value);
	if (key2)
		json_member_str(o, key2, value2);
	json_end_object(o);
	write_record(ix, o);
	pool_destroy(p);
}

static void put_layer(struct json_out *o, const struct layer *l)
{
	json_object(o);
	json_member_str(o, "layer", l->id);
	json_member_str(o, "diff", l->diff);
	json_member_str(o, "blob", l->blob);
	json_member_str(o, "chain", l->chain);
	json_member_int(o, "bytes", (int64_t)l->bytes);
	json_member_int(o, "inodes", (int64_t)l->inodes);
	json_end_object(o);
}

static void put_strings(struct json_out *o, const char *name, const char *const *list, size_t n)
{
	json_key(o, name);
	json_array(o);
	for (size_t i = 0; i < n; i++)
		json_put_str(o, list[i]);
	json_end_array(o);
}

static void put_config(struct json_out *o, const struct image_config *c)
{
	json_object(o);
	put_strings(o, "env", c->env, c->n_env);
	put_strings(o, "entrypoint", c->entrypoint, c->n_entrypoint);
	put_strings(o, "cmd", c->cmd, c->n_cmd);
	put_strings(o, "volumes", c->volumes, c->n_volumes);
	json_member_str(o, "working_dir", c->working_dir);
	json_member_str(o, "user", c->user);
	json_member_str(o, "stop_signal", c->stop_signal);
	json_end_object(o);
}

static void put_image(struct json_out *o, const struct stored_image *im)
{
	json_object(o);
	json_member_str(o, "image", im->image.id);
	json_key(o, "layers");
	json_array(o);
	for (size_t i = 0; i < im->n_layers; i++)
		json_put_str(o, im->layers[i]->id);
	json_end_array(o);
	json_member_int(o, "bytes", (int64_t)im->config_bytes);
	json_key(o, "config");
	put_config(o, &im->image.config);
	json_end_object(o);
}

/* -- layers -- */

struct layer *index_layer(const struct index *ix, const char *id)
{
	struct map_node *n = id ? map_get(&ix->layers, id) : NULL;
	return n ? container_of(n, struct layer, node) : NULL;
}

struct layer *index_find_layer(const struct index *ix, const char *diff, const char *chain)
{
	struct layer *l;
	list_for_each(l, &ix->layer_list, link)
		if (!strcmp(l->diff, diff) && !strcmp(l->chain, chain))
			return l;
	return NULL;
}

static void note_number(struct index *ix, const char *id)
{
	uint64_t number = strtoull(id, NULL, 16);
	if (number >= ix->next_layer)
		ix->next_layer = number + 1;
}

struct layer *index_add_layer(struct index *ix, const char *id, const char *diff, const char *blob,
			      const char *chain, uint64_t bytes, uint64_t inodes)
{
	struct pool *p = pool_new(ix->pool, "layer");
	struct layer *l = pool_new_struct(p, struct layer);
	l->pool = p;
	if (id)
		snprintf(l->id, sizeof(l->id), "%s", id);
	else
		snprintf(l->id, sizeof(l->id), "%016llx", (unsigned long long)ix->next_layer);
	note_number(ix, l->id);
	l->diff = pool_strdup(p, diff);
	l->blob = pool_strdup(p, blob);
	l->chain = pool_strdup(p, chain);
	l->dir = pool_printf(p, "%s/layers/%s/fs", ix->dir, l->id);
	l->bytes = bytes;
	l->inodes = inodes;
	map_put(&ix->layers, &l->node, l->id);
	list_append(&ix->layer_list, &l->link);
	ix->bytes += bytes;
	ix->inodes += inodes;
	if (!ix->loading) {
		struct pool *tmp = pool_new(NULL, "record");
		struct json_out *o = json_out(tmp);
		put_layer(o, l);
		write_record(ix, o);
		pool_destroy(tmp);
	}
	return l;
}

void index_drop_layer(struct index *ix, struct layer *l)
{
	assert(!l->refs);
	record(ix, "trash", l->id, NULL, NULL);
	map_del(&ix->layers, &l->node);
	list_del(&l->link);
	ix->bytes -= l->bytes;
	ix->inodes -= l->inodes;
	pool_destroy(l->pool);
}

/* -- what an image looks like from outside -- */

static const char **copy_strings(struct pool *p, const struct json *list, size_t *n)
{
	*n = 0;
	const char **out = pool_alloc(p, (json_len(list) + 1) * sizeof(*out));
	for (size_t i = 0; i < json_len(list); i++)
		if (json_str(json_at(list, i)))
			out[(*n)++] = pool_strdup(p, json_str(json_at(list, i)));
	return out;
}

static void set_config(struct pool *p, const struct json *j, struct image_config *c)
{
	c->env = copy_strings(p, json_get(j, "env"), &c->n_env);
	c->entrypoint = copy_strings(p, json_get(j, "entrypoint"), &c->n_entrypoint);
	c->cmd = copy_strings(p, json_get(j, "cmd"), &c->n_cmd);
	c->volumes = copy_strings(p, json_get(j, "volumes"), &c->n_volumes);
	c->working_dir = pool_strdup(p, json_str(json_get(j, "working_dir")));
	c->user = pool_strdup(p, json_str(json_get(j, "user")));
	c->stop_signal = pool_strdup(p, json_str(json_get(j, "stop_signal")));
}

static bool is_last(const struct stored_image *im, size_t i)
{
	for (size_t k = i + 1; k < im->n_layers; k++)
		if (im->layers[k] == im->layers[i])
			return false;
	return true;
}

/* overlayfs takes no directory twice.  What a layer has is shown by its topmost place alone: all
 * that a lower one would show is covered by it. */
static void set_dirs(struct index *ix, struct stored_image *im)
{
	const char **dirs = pool_alloc(im->pool, (im->n_layers + 2) * sizeof(*dirs));
	size_t n = 0;
	im->image.size = im->config_bytes;
	im->image.inodes = 1;
	for (size_t i = 0; i < im->n_layers; i++) {
		if (!is_last(im, i))
			continue;
		dirs[n++] = im->layers[i]->dir;
		im->image.size += im->layers[i]->bytes;
		im->image.inodes += im->layers[i]->inodes;
	}
	if (!n)
		dirs[n++] = ix->empty_dir;
	im->image.layers = dirs;
	im->image.n_layers = n;
}

static bool matches(const struct index *ix, const struct stored_image *im)
{
	struct image_name *n;
	for (const char **p = ix->pinned; p && *p; p++)
		list_for_each(n, &im->names, link)
			if (!fnmatch(*p, n->text, 0))
				return true;
	return false;
}

/* The lists of names anew; the old ones live until the end of the loop's pass. */
static void refresh_names(struct index *ix, struct stored_image *im)
{
	struct pool *p = pool_new(im->pool, "image names");
	struct image *out = &im->image;
	struct image_name *n;
	size_t count = 0;
	list_for_each(n, &im->names, link)
		count++;
	out->repo_tags = pool_alloc(p, (count + 1) * sizeof(*out->repo_tags));
	out->repo_digests = pool_alloc(p, (count + 1) * sizeof(*out->repo_digests));
	out->n_repo_tags = out->n_repo_digests = 0;
	list_for_each(n, &im->names, link) {
		if (strchr(n->text, '@'))
			out->repo_digests[out->n_repo_digests++] = pool_strdup(p, n->text);
		else
			out->repo_tags[out->n_repo_tags++] = pool_strdup(p, n->text);
	}
	out->pinned = matches(ix, im);
	if (im->names_pool)
		loop_destroy_later(ix->loop, im->names_pool);
	im->names_pool = p;
}

void index_pin(struct index *ix, const char *const *patterns)
{
	struct stored_image *im;
	size_t n = 0;
	while (patterns && patterns[n])
		n++;
	ix->pinned = pool_alloc(ix->pool, (n + 1) * sizeof(*ix->pinned));
	for (size_t i = 0; i < n; i++)
		ix->pinned[i] = pool_strdup(ix->pool, patterns[i]);
	list_for_each(im, &ix->image_list, link)
		im->image.pinned = matches(ix, im);
}

/* -- images -- */

static struct stored_image *by_id(const struct map *m, const char *id)
{
	struct map_node *n = map_get(m, id);
	return n ? container_of(n, struct stored_image, node) : NULL;
}

static void come_back(struct index *ix, struct stored_image *im)
{
	map_del(&ix->removed, &im->node);
	list_del(&im->link);
	map_put(&ix->images, &im->node, im->image.id);
	list_append(&ix->image_list, &im->link);
	im->removed = false;
}

static void use_layers(struct stored_image *im, struct layer **layers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		layers[i]->refs++;	/* before the old ones go: they may be the same */
	for (size_t i = 0; i < im->n_layers; i++)
		im->layers[i]->refs--;
	im->layers = pool_memdup(im->pool, layers, (n + 1) * sizeof(*layers));
	im->n_layers = n;
}

static struct stored_image *new_image(struct index *ix, const char *id)
{
	struct pool *p = pool_new(ix->pool, "image");
	struct stored_image *im = pool_new_struct(p, struct stored_image);
	im->pool = p;
	im->image.id = pool_strdup(p, id);
	list_init(&im->names);
	map_put(&ix->images, &im->node, im->image.id);
	list_append(&ix->image_list, &im->link);
	refresh_names(ix, im);
	return im;
}

struct stored_image *index_add_image(struct index *ix, const char *id, struct layer **layers,
				     size_t n_layers, uint64_t config_bytes,
				     const struct json *config)
{
	struct stored_image *im = by_id(&ix->images, id);
	struct layer *none[1] = { NULL };
	if (!im) {
		im = by_id(&ix->removed, id);
		if (im)
			come_back(ix, im);
		else
			im = new_image(ix, id);
		set_config(im->pool, config, &im->image.config);
	} else if (im->n_layers == n_layers &&
		   !memcmp(im->layers, layers, n_layers * sizeof(*layers))) {
		return im;	/* nothing new: a re-pull leaves no record */
	}
	use_layers(im, n_layers ? layers : none, n_layers);
	im->config_bytes = config_bytes;
	set_dirs(ix, im);
	if (!ix->loading) {
		struct pool *p = pool_new(NULL, "record");
		struct json_out *o = json_out(p);
		put_image(o, im);
		write_record(ix, o);
		pool_destroy(p);
	}
	return im;
}

static void drop_name(struct image_name *n, struct index *ix)
{
	map_del(&ix->names, &n->node);
	list_del(&n->link);
	pool_destroy(n->pool);
}

void index_name(struct index *ix, const char *name, struct stored_image *im)
{
	struct map_node *node = map_get(&ix->names, name);
	struct image_name *n = node ? container_of(node, struct image_name, node) : NULL;
	struct stored_image *was = n ? n->of : NULL;
	if (was == im)
		return;
	if (n) {
		list_del(&n->link);
		refresh_names(ix, was);
	} else {
		struct pool *p = pool_new(ix->pool, "image name");
		n = pool_new_struct(p, struct image_name);
		n->pool = p;
		n->text = pool_strdup(p, name);
		map_put(&ix->names, &n->node, n->text);
	}
	n->of = im;
	list_append(&im->names, &n->link);
	refresh_names(ix, im);
	record(ix, "name", name, "image", im->image.id);
}

void index_forget(struct index *ix, struct stored_image *im)
{
	struct image_name *n;
	record(ix, "gone", im->image.id, NULL, NULL);
	list_for_each(n, &im->names, link)
		drop_name(n, ix);
	for (size_t i = 0; i < im->n_layers; i++)
		im->layers[i]->refs--;
	map_del(im->removed ? &ix->removed : &ix->images, &im->node);
	list_del(&im->link);
	loop_destroy_later(ix->loop, im->pool);
}

void index_remove(struct index *ix, struct stored_image *im)
{
	struct image_name *n;
	if (!im->holds && !ix->loading) {
		index_forget(ix, im);
		return;
	}
	record(ix, "removed", im->image.id, NULL, NULL);
	list_for_each(n, &im->names, link)
		drop_name(n, ix);
	refresh_names(ix, im);
	map_del(&ix->images, &im->node);
	list_del(&im->link);
	map_put(&ix->removed, &im->node, im->image.id);
	list_append(&ix->removed_list, &im->link);
	im->removed = true;
}

/* -- finding -- */

static struct stored_image *find_by_digits(const struct index *ix, const char *ref)
{
	char key[7 + 64 + 1];
	int many;
	const char *hex = strncmp(ref, "sha256:", 7) ? ref : ref + 7;
	size_t n = strlen(hex);
	if (n < SHORT_ID_MIN || n > 64 || strspn(hex, "0123456789abcdef") != n)
		return NULL;
	snprintf(key, sizeof(key), "sha256:%s", hex);
	struct map_node *node =
		n == 64 ? map_get(&ix->images, key) : map_prefix(&ix->images, key, &many);
	return node ? container_of(node, struct stored_image, node) : NULL;
}

struct stored_image *index_find(const struct index *ix, const char *ref)
{
	struct stored_image *im = ref ? by_id(&ix->images, ref) : NULL;
	if (im || !ref)
		return im;
	struct pool *p = pool_new(NULL, "ref");
	const char *name = image_ref_normalise(p, ref);
	struct map_node *n = name ? map_get(&ix->names, name) : NULL;
	pool_destroy(p);
	return n ? container_of(n, struct image_name, node)->of : find_by_digits(ix, ref);
}

struct stored_image *index_held(const struct index *ix, const char *id)
{
	struct stored_image *im = id ? by_id(&ix->images, id) : NULL;
	return im || !id ? im : by_id(&ix->removed, id);
}

/* -- reading -- */

static bool layer_on_disk(const struct index *ix, const char *id)
{
	char path[64];
	if (strlen(id) != 16 || strspn(id, "0123456789abcdef") != 16)
		return false;
	snprintf(path, sizeof(path), "layers/%s/fs", id);
	return faccessat(ix->dirfd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void load_layer(struct index *ix, const struct json *j, const char *id)
{
	const char *diff = json_str(json_get(j, "diff")), *blob = json_str(json_get(j, "blob"));
	const char *chain = json_str(json_get(j, "chain"));
	note_number(ix, id);	/* also of one that has gone since */
	if (diff && layer_on_disk(ix, id) && !index_layer(ix, id))
		index_add_layer(ix, id, diff, blob ? blob : "", chain ? chain : "",
				(uint64_t)json_int(json_get(j, "bytes"), 0),
				(uint64_t)json_int(json_get(j, "inodes"), 0));
}

/* An image that lacks a layer is not there: whoever needs it pulls it again. */
static void load_image(struct index *ix, const struct json *j, const char *id)
{
	const struct json *list = json_get(j, "layers");
	struct pool *p = pool_new(NULL, "record");
	struct layer **layers = pool_alloc(p, (json_len(list) + 1) * sizeof(*layers));
	bool whole = digest_valid(id);
	for (size_t i = 0; i < json_len(list) && whole; i++) {
		layers[i] = index_layer(ix, json_str(json_at(list, i)));
		whole = layers[i] != NULL;
	}
	if (whole)
		index_add_image(ix, id, layers, json_len(list),
				(uint64_t)json_int(json_get(j, "bytes"), 0), json_get(j, "config"));
	pool_destroy(p);
}

static void handle_record(void *data, const struct json *j)
{
	struct index *ix = data;
	const char *id;
	struct stored_image *im;
	if ((id = json_str(json_get(j, "layer")))) {
		load_layer(ix, j, id);
	} else if ((id = json_str(json_get(j, "name")))) {
		const char *of = json_str(json_get(j, "image"));
		im = of ? by_id(&ix->images, of) : NULL;
		if (im)
			index_name(ix, id, im);
	} else if ((id = json_str(json_get(j, "image")))) {
		load_image(ix, j, id);
	} else if ((id = json_str(json_get(j, "removed")))) {
		im = by_id(&ix->images, id);
		if (im)
			index_remove(ix, im);
	} else if ((id = json_str(json_get(j, "gone")))) {
		im = index_held(ix, id);
		if (im)
			index_forget(ix, im);
	} else if ((id = json_str(json_get(j, "last")))) {
		note_number(ix, id);
	} else if ((id = json_str(json_get(j, "trash")))) {
		struct layer *l = index_layer(ix, id);
		if (l && !l->refs)
			index_drop_layer(ix, l);
	}
}

int index_open(struct index *ix, struct err *e)
{
	list_init(&ix->image_list);
	list_init(&ix->removed_list);
	list_init(&ix->layer_list);
	ix->next_layer = 1;
	ix->loading = true;
	int ret = journal_open(ix->pool, ix->dirfd, "log", handle_record, ix, &ix->journal, e);
	ix->loading = false;
	if (ret == 0 && journal_damaged(ix->journal))
		log_warn("the image index had damaged lines", "lines",
			 log_num(journal_damaged(ix->journal)));
	return ret;
}

void index_close(struct index *ix)
{
	map_free(&ix->images);
	map_free(&ix->removed);
	map_free(&ix->names);
	map_free(&ix->layers);
}

/* -- writing it all -- */

struct rewrite {
	struct index *ix;
	struct err *e;
	int ret;
};

static struct json_out *begin_line(struct pool **p)
{
	*p = pool_new(NULL, "record");
	return json_out(*p);
}

static void end_line(struct rewrite *w, struct pool *p, struct json_out *o)
{
	size_t len;
	const char *text = json_text(o, &len);
	if (w->ret == 0)
		w->ret = journal_rewrite_append(w->ix->journal, text, len, w->e);
	pool_destroy(p);
}

static void write_pair(struct rewrite *w, const char *key, const char *value, const char *key2,
		       const char *value2)
{
	struct pool *p;
	struct json_out *o = begin_line(&p);
	json_object(o);
	json_member_str(o, key, value);
	if (key2)
		json_member_str(o, key2, value2);
	json_end_object(o);
	end_line(w, p, o);
}

static void write_image(struct rewrite *w, const struct stored_image *im)
{
	struct pool *p;
	struct image_name *n;
	struct json_out *o = begin_line(&p);
	put_image(o, im);
	end_line(w, p, o);
	list_for_each(n, &im->names, link)
		write_pair(w, "name", n->text, "image", im->image.id);
	if (im->removed)
		write_pair(w, "removed", im->image.id, NULL, NULL);
}

int index_write_all(struct index *ix, struct err *e)
{
	struct rewrite w = { ix, e, 0 };
	struct layer *l;
	struct stored_image *im;
	char last[17];
	snprintf(last, sizeof(last), "%016llx", (unsigned long long)ix->next_layer - 1);
	write_pair(&w, "last", last, NULL, NULL);
	list_for_each(l, &ix->layer_list, link) {
		struct pool *p;
		struct json_out *o = begin_line(&p);
		put_layer(o, l);
		end_line(&w, p, o);
	}
	list_for_each(im, &ix->image_list, link)
		write_image(&w, im);
	list_for_each(im, &ix->removed_list, link)
		write_image(&w, im);
	return w.ret;
}

uint64_t index_live(const struct index *ix)
{
	return ix->layers.len + ix->images.len + ix->removed.len + ix->names.len;
}

/* The loader: see the header. */
#include "core/pull/load.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/list.h"
#include "core/base/pool.h"
#include "core/image/pullwire.h"
#include "core/pull/archive.h"
#include "core/pull/digest.h"
#include "core/pull/fetch.h"
#include "core/pull/frame.h"
#include "core/pull/manifest.h"
#include "core/pull/request.h"

enum { IMAGES_MAX = 500, TAGS_MAX = 500, INDEX_DEPTH = 3, FEEDS_MAX = 64, PIECE = 1 << 20 };

struct loader {
	struct pool *pool;
	const struct request *request;
	struct archive *archive;
	int out;
	struct archive_file *layers;	/* by number */
	size_t n_layers;
	size_t n_images;
};

/* A layer on its way into its pipe. */
struct feed {
	int pipe;
	uint32_t number;
	uint64_t at;
};

static void add_layer(struct loader *l, const struct archive_file *f)
{
	if (!(l->n_layers & (l->n_layers - 1))) {
		size_t cap = l->n_layers ? 2 * l->n_layers : 1;
		l->layers = realloc(l->layers, cap * sizeof(*l->layers));
		if (!l->layers)
			abort();
	}
	l->layers[l->n_layers++] = *f;
}

static const char *blob_path(struct loader *l, const char *digest)
{
	const char *colon = strchr(digest, ':');
	return pool_printf(l->pool, "blobs/%.*s/%s", (int)(colon - digest), digest, colon + 1);
}

/* Names that come with the image, else the one that the caller gave. */
static int send_image(struct loader *l, const char *id, const char *manifest, const char **names,
		      size_t n_names, struct manifest *m, const struct buf *config, struct err *e)
{
	const char *used;
	int ret = manifest_read_config(l->pool, config->data ? config->data : "", config->len, m,
				       &used, e);
	if (ret < 0)
		return ret;
	if (!n_names && l->request->name) {
		names = (const char **)(uintptr_t)&l->request->name;
		n_names = 1;
	}
	l->n_images++;
	return source_send_image(l->out, id, manifest, names, n_names, m, config->data, config->len,
				 used, e);
}

/* -- docker archives: manifest.json lists images by the files they are made of -- */

static int docker_layers(struct loader *l, const struct json *list, struct manifest *m,
			 struct err *e)
{
	if (json_len(list) > PULLWIRE_LAYERS_MAX)
		return err_set(e, EINVAL, "manifest.json: more than %d layers",
			       PULLWIRE_LAYERS_MAX);
	m->n_layers = json_len(list);
	m->layers = pool_alloc(l->pool, (m->n_layers + 1) * sizeof(*m->layers));
	for (size_t i = 0; i < m->n_layers; i++) {
		struct archive_file f;
		const char *name = json_str(json_at(list, i));
		if (!name)
			return err_set(e, EINVAL, "manifest.json: Layers[%zu] is no text", i);
		int ret = archive_find(l->archive, name, &f, e);
		if (ret < 0)
			return ret;
		m->layers[i] = (struct descriptor){ .digest = "", .size = f.size };
		add_layer(l, &f);
	}
	return 0;
}

static int docker_image(struct loader *l, const struct json *j, struct err *e)
{
	struct buf config = { 0 };
	struct manifest m = { 0 };
	const char *tags[TAGS_MAX], *path = json_str(json_get(j, "Config"));
	char id[DIGEST_TEXT_MAX];
	size_t n_tags = 0;
	const struct json *list = json_get(j, "RepoTags");
	for (size_t i = 0; i < json_len(list) && n_tags < TAGS_MAX; i++)
		if (json_str(json_at(list, i)))
			tags[n_tags++] = json_str(json_at(list, i));
	if (!path)
		return err_set(e, EINVAL, "manifest.json: Config is missing");
	int ret = archive_read(l->archive, path, PULLWIRE_CONFIG_MAX, &config, e);
	if (ret == 0)
		ret = docker_layers(l, json_get(j, "Layers"), &m, e);
	if (ret == 0) {
		digest_of(NULL, config.data ? config.data : "", config.len, id);
		ret = send_image(l, id, "", tags, n_tags, &m, &config, e);
	}
	buf_free(&config);
	return ret;
}

/* -- OCI layouts: index.json, blobs by digest -- */

static int read_blob(struct loader *l, const struct descriptor *d, size_t max, struct buf *out,
		     struct err *e)
{
	char got[DIGEST_TEXT_MAX];
	int ret = archive_read(l->archive, blob_path(l, d->digest), max, out, e);
	if (ret < 0)
		return ret;
	digest_of(d->digest, out->data ? out->data : "", out->len, got);
	if (strcmp(got, d->digest))
		return err_set(e, EBADMSG, "digest mismatch: expected %s, got %s", d->digest, got);
	return 0;
}

static int read_manifest(struct loader *l, struct descriptor d, struct manifest *m, struct err *e)
{
	for (int depth = 0; depth <= INDEX_DEPTH; depth++) {
		struct buf text = { 0 };
		int ret = read_blob(l, &d, PULLWIRE_MANIFEST_MAX, &text, e);
		if (ret == 0)
			ret = manifest_parse(l->pool, text.data ? text.data : "", text.len, NULL, m,
					     e);
		buf_free(&text);
		if (ret < 0 || !m->is_index)
			return ret;
		d = m->chosen;
	}
	return err_set(e, EINVAL, "indexes are nested deeper than %d", INDEX_DEPTH);
}

static int oci_layers(struct loader *l, const struct manifest *m, struct err *e)
{
	for (size_t i = 0; i < m->n_layers; i++) {
		struct archive_file f;
		int ret = archive_find(l->archive, blob_path(l, m->layers[i].digest), &f, e);
		if (ret < 0)
			return ret;
		if (f.size != m->layers[i].size)
			return err_set(e, EBADMSG, "layer %s has %llu bytes instead of %llu",
				       m->layers[i].digest, (unsigned long long)f.size,
				       (unsigned long long)m->layers[i].size);
		add_layer(l, &f);
	}
	return 0;
}

static int oci_image(struct loader *l, const struct json *j, struct err *e)
{
	const struct json *notes = json_get(j, "annotations");
	const char *name = json_str(json_get(notes, "io.containerd.image.name"));
	const char *ref = json_str(json_get(notes, "org.opencontainers.image.ref.name"));
	struct buf config = { 0 };
	struct descriptor top;
	struct manifest m;
	if (!name && ref && strpbrk(ref, "/:"))
		name = ref;
	/* A bare tag names nothing by itself. */
	if (!name && ref && l->request->name && !strpbrk(l->request->name, "@") &&
	    !strchr(strrchr(l->request->name, '/') ? strrchr(l->request->name, '/')
						   : l->request->name,
		    ':'))
		name = pool_printf(l->pool, "%s:%s", l->request->name, ref);
	int ret = descriptor_parse(l->pool, j, "index.json", &top, e);
	if (ret == 0)
		ret = read_manifest(l, top, &m, e);
	if (ret == 0)
		ret = read_blob(l, &m.config, PULLWIRE_CONFIG_MAX, &config, e);
	if (ret == 0)
		ret = oci_layers(l, &m, e);
	if (ret == 0)
		ret = send_image(l, m.config.digest, top.digest, &name, name != NULL, &m, &config,
				 e);
	buf_free(&config);
	return ret;
}

static int read_images(struct loader *l, struct err *e)
{
	bool docker = archive_has(l->archive, "manifest.json");
	const char *file = docker ? "manifest.json" : "index.json";
	struct buf text = { 0 };
	const struct json *j;
	if (!docker && !archive_has(l->archive, file))
		return err_set(
			e, EINVAL,
			"neither an OCI layout nor a docker archive: it has no index.json and no "
			"manifest.json");
	int ret = archive_read(l->archive, file, PULLWIRE_MANIFEST_MAX, &text, e);
	if (ret == 0)
		ret = json_parse(l->pool, text.data ? text.data : "", text.len, &j, e);
	buf_free(&text);
	if (ret < 0)
		return err_wrap(e, ret, "%s", file);
	const struct json *list = docker ? j : json_get(j, "manifests");
	if (json_len(list) > IMAGES_MAX)
		return err_set(e, EINVAL, "%s: more than %d images", file, IMAGES_MAX);
	for (size_t i = 0; i < json_len(list) && ret == 0; i++) {
		const struct json *item = json_at(list, i);
		if (docker)
			ret = docker_image(l, item, e);
		else if (manifest_platform_fits(json_get(item, "platform")))
			ret = oci_image(l, item, e);
	}
	if (ret == 0 && !l->n_images)
		ret = err_set(e, ENOENT, "%s: it has no image for this machine", file);
	return ret;
}

/* -- feeding -- */

/* 1: complete, 0: the pipe is full. */
static int feed_some(struct loader *l, struct feed *f, struct err *e)
{
	const struct archive_file *file = &l->layers[f->number];
	while (f->at < file->size) {
		off_t from = (off_t)(file->offset + f->at);
		uint64_t left = file->size - f->at;
		ssize_t n = splice(file->fd, &from, f->pipe, NULL,
				   left < PIECE ? (size_t)left : PIECE, SPLICE_F_NONBLOCK);
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0 && errno == EPIPE)
			return 1;	/* the unpacker has given up, and said why */
		if (n < 0)
			return err_sys(e, "read a layer");
		if (!n)
			return err_set(e, EBADMSG, "the archive became shorter while it was read");
		f->at += (uint64_t)n;
	}
	return 1;
}

static int advance(struct loader *l, struct feed *f, struct err *e)
{
	int ret = feed_some(l, f, e);
	struct frame_progress p = { f->number, f->at };
	if (frame_write(l->out, 'P', &p, sizeof(p)) < 0)
		return err_set(e, EPIPE, "the supervisor is gone");
	if (ret == 1) {
		close(f->pipe);
		f->pipe = -1;
	}
	return ret;
}

static int accept_feed(struct loader *l, int sock, struct feed *feeds, size_t *n, struct err *e)
{
	struct feed f = { 0 };
	int ret = frame_recv_fd(sock, &f.number, &f.pipe);
	if (ret != 1)
		return ret < 0 ? err_set(e, -ret, "read from the supervisor: %s", strerror(-ret))
			       : 1;
	if (f.number >= l->n_layers || *n == FEEDS_MAX)
		return err_set(e, EPROTO, "layer %u was asked for", f.number);
	fd_set_nonblock(f.pipe);
	feeds[(*n)++] = f;
	return 0;
}

static int serve(struct loader *l, int sock, struct err *e)
{
	struct feed feeds[FEEDS_MAX];
	size_t n = 0;
	for (;;) {
		struct pollfd fds[FEEDS_MAX + 1];
		size_t kept = 0;
		for (size_t i = 0; i < n; i++)
			if (feeds[i].pipe >= 0)
				feeds[kept++] = feeds[i];
		n = kept;
		for (size_t i = 0; i < n; i++)
			fds[i] = (struct pollfd){ .fd = feeds[i].pipe, .events = POLLOUT };
		fds[n] = (struct pollfd){ .fd = sock, .events = POLLIN };
		if (poll(fds, n + 1, -1) < 0 && errno != EINTR)
			return err_sys(e, "poll");
		for (size_t i = 0; i < kept; i++) {
			int ret = fds[i].revents ? advance(l, &feeds[i], e) : 0;
			if (ret < 0)
				return ret;
		}
		int ret = fds[kept].revents ? accept_feed(l, sock, feeds, &n, e) : 0;
		if (ret != 0)
			return ret < 0 ? ret : 0;
	}
}

int load_run(struct pool *p, const struct request *r, int source, bool is_dir, int out, int sock,
	     struct err *e)
{
	struct loader l = { .pool = p, .request = r, .out = out };
	int ret = archive_open(p, source, is_dir, &l.archive, e);
	if (ret == 0)
		ret = read_images(&l, e);
	if (ret == 0 && frame_write(out, '.', NULL, 0) < 0)
		ret = err_set(e, EPIPE, "the supervisor is gone");
	if (ret == 0)
		ret = serve(&l, sock, e);
	if (ret < 0)
		frame_write_err(out, e);
	free(l.layers);
	return ret;
}

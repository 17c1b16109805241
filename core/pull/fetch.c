/*
 * The fetcher, see the header.  A layer's bytes go straight from curl into its pipe; when the pipe
 * is full the transfer pauses.  A transfer that breaks goes on where it stopped (Range), at the
 * registry and never at the storage it was redirected to, whose address may have expired.
 */
#include "core/pull/fetch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/digest.h"
#include "core/base/file.h"
#include "core/base/pool.h"
#include "core/image/pullwire.h"
#include "core/pull/digest.h"
#include "core/pull/frame.h"
#include "core/pull/http.h"
#include "core/pull/registry.h"
#include "core/pull/request.h"

/* An attempt that brought PROGRESS_MIN bytes earns new ones. */
enum { INDEX_DEPTH = 3, REPORT_NS = 50000000, PROGRESS_MIN = 1 << 20 };

static const char manifest_types[] =
	"application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
	"application/vnd.docker.distribution.manifest.v2+json, "
	"application/vnd.docker.distribution.manifest.list.v2+json";

struct fetcher {
	struct pool *pool;
	const struct request *request;
	struct http *http;
	struct registry *registries;
	size_t n_registries, first;	/* first: the one that knew the manifest */
	struct manifest manifest;
	int out;
	struct list transfers;
};

struct transfer {
	struct list link;
	struct fetcher *f;
	uint32_t number;
	const struct descriptor *layer;
	int pipe;
	size_t registry, tried;		/* index of the one asked, and how many were */
	unsigned attempt;
	bool authorized;
	bool begun;			/* this answer's first byte was seen */
	uint64_t written,
		skip; /* skip: bytes at the front of what comes that were written already */
	uint64_t progress_at_start;	/* of this attempt */
	int64_t start_ns;		/* not before; 0: it runs */
	int64_t reported_ns;
	struct err err;
	struct http_call call;
};

int fetch_ports(struct pool *p, const struct request *r, const uint16_t **out, size_t *n,
		struct err *e)
{
	struct registry *list;
	size_t count;
	int ret = registries_of(p, r, &list, &count, e);
	if (ret < 0)
		return ret;
	uint16_t *ports = pool_alloc(p, (count + r->n_plain_http + 2) * sizeof(*ports));
	*n = 0;
	for (size_t i = 0; i < count; i++)
		ports[(*n)++] = list[i].port;
	for (size_t i = 0; i < r->n_plain_http; i++)
		ports[(*n)++] = registry_port(r->plain_http[i], true);
	ports[(*n)++] = 443;
	ports[(*n)++] = 53;
	*out = ports;
	return 0;
}

/* -- what the image is -- */

static int check_digest(const char *what, const char *want, const void *data, size_t len,
			struct err *e)
{
	char got[DIGEST_TEXT_MAX];
	digest_of(want, data, len, got);
	if (strcmp(got, want))
		return err_set(e, EBADMSG, "%s: digest mismatch: expected %s, got %s", what, want,
			       got);
	return 0;
}

static int take_manifest(struct fetcher *f, const char *reference, const struct http_call *c,
			 struct err *e)
{
	const char *text = c->body.data ? c->body.data : "";
	const char *want = digest_valid(reference)   ? reference
			   : digest_valid(c->digest) ? c->digest
						     : NULL;
	int ret = want ? check_digest("manifest", want, text, c->body.len, e) : 0;
	return ret < 0 ? ret
		       : manifest_parse(f->pool, text, c->body.len, c->content_type, &f->manifest,
					e);
}

/* The image manifest behind reference: index in index, each checked against the digest that named
 * it. */
static int get_manifest(struct fetcher *f, struct registry *g, char digest[DIGEST_TEXT_MAX],
			struct err *e)
{
	const char *reference = f->request->reference;
	for (int depth = 0; depth <= INDEX_DEPTH; depth++) {
		struct http_call c = { 0 };
		int ret = registry_get(g, "manifests", reference, manifest_types,
				       PULLWIRE_MANIFEST_MAX, &c, e);
		const char *text = c.body.data ? c.body.data : "";
		if (ret == 0)
			ret = err_wrap(e, take_manifest(f, reference, &c, e), "%s", g->host);
		if (ret == 0 && !depth)
			/* What the image is known by: the index, if that is what the name leads to.
			 */
			digest_of(digest_valid(reference) ? reference : NULL, text, c.body.len,
				  digest);
		http_end(f->http, &c);
		if (ret < 0 || !f->manifest.is_index)
			return ret;
		reference = f->manifest.chosen.digest;
	}
	return err_set(e, EINVAL, "%s: indexes are nested deeper than %d", g->host, INDEX_DEPTH);
}

static int get_config(struct fetcher *f, struct registry *g, struct http_call *c, struct err *e)
{
	const struct descriptor *d = &f->manifest.config;
	int ret = registry_get(g, "blobs", d->digest, NULL, PULLWIRE_CONFIG_MAX, c, e);
	if (ret < 0)
		return ret;
	if (c->body.len != d->size)
		return err_set(e, EBADMSG, "%s: image configuration: %zu bytes instead of %llu",
			       g->host, c->body.len, (unsigned long long)d->size);
	ret = check_digest("image configuration", d->digest, c->body.data ? c->body.data : "",
			   c->body.len, e);
	return err_wrap(e, ret, "%s", g->host);
}

int source_send_image(int out, const char *id, const char *manifest_digest,
		      const char *const *names, size_t n_names, const struct manifest *m,
		      const void *config, size_t config_len, const char *used, struct err *e)
{
	struct buf b = { 0 };
	buf_printf(&b, "%s%c%s%c", id, 0, manifest_digest, 0);
	int ret = frame_write(out, 'I', b.data, b.len);
	for (size_t i = 0; i < n_names && ret == 0; i++)
		ret = frame_write(out, 'N', names[i], strlen(names[i]));
	for (size_t i = 0; i < m->n_layers && ret == 0; i++) {
		const struct descriptor *d = &m->layers[i];
		b.len = 0;
		buf_printf(&b, "%s%c%llu%c%s%c", d->digest, 0, (unsigned long long)d->size, 0,
			   d->diff, 0);
		ret = frame_write(out, 'L', b.data, b.len);
	}
	buf_free(&b);
	if (ret == 0)
		ret = frame_write(out, 'C', config, config_len);
	if (ret == 0)
		ret = frame_write(out, 'U', used, strlen(used));
	return ret < 0 ? err_set(e, -ret, "tell of the image: %s", strerror(-ret)) : 0;
}

static int resolve_at(struct fetcher *f, struct registry *g, struct err *e)
{
	char digest[DIGEST_TEXT_MAX];
	struct http_call c = { 0 };
	const char *used;
	int ret = get_manifest(f, g, digest, e);
	if (ret < 0)
		return ret;
	ret = get_config(f, g, &c, e);
	if (ret == 0)
		ret = err_wrap(e,
			       manifest_read_config(f->pool, c.body.data ? c.body.data : "",
						    c.body.len, &f->manifest, &used, e),
			       "%s", g->host);
	if (ret == 0)
		ret = source_send_image(f->out, f->manifest.config.digest, digest, NULL, 0,
					&f->manifest, c.body.data, c.body.len, used, e);
	if (ret == 0 && frame_write(f->out, '.', NULL, 0) < 0)
		ret = err_set(e, EPIPE, "the supervisor is gone");
	http_end(f->http, &c);
	return ret;
}

/* Mirrors first, in their order; what the registry itself says counts in the end. */
static int resolve(struct fetcher *f, struct err *e)
{
	int ret = -ENOENT;
	for (size_t i = 0; i < f->n_registries && ret < 0; i++) {
		err_clear(e);
		ret = resolve_at(f, &f->registries[i], e);
		f->first = i;
	}
	return ret;
}

/* -- layers -- */

static void report(struct transfer *t, bool now)
{
	int64_t ns = clock_mono_ns();
	if (!now && ns - t->reported_ns < REPORT_NS)
		return;
	struct frame_progress p = { t->number, t->written };
	t->reported_ns = ns;
	frame_write(t->f->out, 'P', &p, sizeof(p));
}

/* Returns what was taken of this answer, counting what an earlier, paused, delivery had taken. */
static int handle_bytes(struct http_call *c, const char *bytes, size_t n)
{
	struct transfer *t = c->data;
	if (!t->begun && c->status == 206 && c->range_from != c->from) {
		err_set(&t->err, EBADMSG,
			"%s: layer %s: asked for bytes from %llu, got them from %llu",
			t->f->registries[t->registry].host, t->layer->digest,
			(unsigned long long)c->from, (unsigned long long)c->range_from);
		return HTTP_ABORT;
	}
	/* Some servers ignore Range and send all of it again. */
	if (!t->begun && c->status != 206)
		t->skip = c->from;
	t->begun = true;
	size_t have = t->skip < n ? (size_t)t->skip : n;
	while (have < n) {
		if (t->written + (n - have) > t->layer->size) {
			err_set(&t->err, EBADMSG, "%s: layer %s is longer than its %llu bytes",
				t->f->registries[t->registry].host, t->layer->digest,
				(unsigned long long)t->layer->size);
			return HTTP_ABORT;
		}
		ssize_t done = write(t->pipe, bytes + have, n - have);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && errno == EAGAIN) {
			t->skip = have;
			return HTTP_PAUSE;
		}
		if (done < 0) {	/* the unpacker is gone, and has said why */
			err_set(&t->err, EPIPE, "the unpacker is gone");
			return HTTP_ABORT;
		}
		have += (size_t)done;
		t->written += (size_t)done;
	}
	t->skip = t->skip > n ? t->skip - n : 0;
	report(t, false);
	return (int)n;
}

static void ask(struct transfer *t)
{
	struct registry *g = &t->f->registries[t->registry];
	http_end(t->f->http, &t->call);
	t->call = (struct http_call){
		.url = registry_url(g, "blobs", t->layer->digest),
		.authorization = g->authorization,
		.from = t->written,
		.plain = g->plain,
		.sink = handle_bytes,
		.pause_fd = t->pipe,
		.data = t,
	};
	t->skip = 0;
	t->begun = false;
	t->start_ns = 0;
	t->progress_at_start = t->written;
	http_start(t->f->http, &t->call);
}

static void start_transfer(struct fetcher *f, uint32_t number, int pipe)
{
	struct transfer *t = pool_new_struct(f->pool, struct transfer);
	t->f = f;
	t->number = number;
	t->layer = &f->manifest.layers[number];
	t->pipe = pipe;
	t->registry = f->first;
	fd_set_nonblock(pipe);
	list_append(&f->transfers, &t->link);
	if (t->layer->size)
		ask(t);
}

static void end_transfer(struct transfer *t)
{
	report(t, true);
	http_end(t->f->http, &t->call);
	close(t->pipe);
	list_del(&t->link);
}

static void again_in(struct transfer *t, unsigned ms)
{
	t->start_ns = clock_mono_ns() + (int64_t)ms * 1000000;
}

/* The call has ended: was that all, is there another way, or is it over? */
static int transfer_ended(struct transfer *t, struct err *e)
{
	struct fetcher *f = t->f;
	struct registry *g = &f->registries[t->registry];
	struct http_call *c = &t->call;
	char what[DIGEST_TEXT_MAX + 16];
	unsigned delay;
	snprintf(what, sizeof(what), "layer %s", t->layer->digest);
	if (t->err.code) {
		if (t->err.code != EPIPE)
			return err_set(e, t->err.code, "%s", t->err.msg);
		end_transfer(t);
		return 0;
	}
	if (c->ret == 0 && c->status / 100 == 2 && t->written == t->layer->size) {
		end_transfer(t);
		return 0;
	}
	if (c->ret == 0 && (c->status / 100 == 2 || (c->status == 416 && c->from))) {
		/* When there is no more to be had, that is final. */
		if (c->status == 416)
			return err_set(e, EBADMSG, "%s: %s: truncated: got %llu of %llu bytes",
				       g->host, what, (unsigned long long)t->written,
				       (unsigned long long)t->layer->size);
		c->ret = err_set(&c->err, EIO, "it ended early");
	}
	if (c->ret == 0 && c->status == 401 && !t->authorized) {
		t->authorized = true;
		int ret = registry_authorize(g, c, e);
		if (ret == 0)
			again_in(t, 0);
		return ret;
	}
	if (t->written - t->progress_at_start > PROGRESS_MIN) {
		t->attempt = 0;
		t->authorized = false;
	}
	if (registry_may_retry(c, t->attempt, &delay)) {
		t->attempt++;
		again_in(t, delay);
		return 0;
	}
	if (++t->tried < f->n_registries) {
		t->registry = (t->registry + 1) % f->n_registries;
		t->attempt = 0;
		t->authorized = false;
		again_in(t, 0);
		return 0;
	}
	if (c->ret == -EIO && t->written) {
		char why[120];
		snprintf(why, sizeof(why), "%.110s", c->err.msg);
		err_clear(&c->err);
		err_set(&c->err, EIO, "truncated: got %llu of %llu bytes: %s",
			(unsigned long long)t->written, (unsigned long long)t->layer->size, why);
	}
	return registry_check(g, c, what, e);
}

static int step_transfers(struct fetcher *f, int *timeout_ms, struct err *e)
{
	int64_t now = clock_mono_ns();
	struct transfer *t;
	*timeout_ms = 1000;
	list_for_each(t, &f->transfers, link) {
		int ret = 0;
		if (!t->layer->size) {
			end_transfer(t);
			continue;
		}
		if (!t->start_ns && t->call.finished)
			ret = transfer_ended(t, e);
		if (ret < 0)
			return ret;
		if (t->start_ns && t->start_ns <= now + 1000000) {
			ask(t);
			*timeout_ms = 0;
		} else if (t->start_ns && (t->start_ns - now) / 1000000 < *timeout_ms) {
			*timeout_ms = (int)((t->start_ns - now) / 1000000);
		}
	}
	return 0;
}

static int serve(struct fetcher *f, int sock, struct err *e)
{
	for (;;) {
		int timeout, pipe = -1;
		uint32_t number;
		int ret = step_transfers(f, &timeout, e);
		if (ret == 0)
			ret = http_turn(f->http, timeout, sock, e);
		if (ret < 0)
			return ret;
		while ((ret = frame_recv_fd(sock, &number, &pipe)) == 1) {
			if (number >= f->manifest.n_layers)
				return err_set(e, EPROTO, "layer %u was asked for", number);
			start_transfer(f, number, pipe);
		}
		if (ret == 0)
			return 0;
		if (ret != -EAGAIN && ret != -EINTR)
			return err_set(e, -ret, "read from the supervisor: %s", strerror(-ret));
	}
}

int fetch_run(struct pool *p, const struct request *r, int out, int sock, struct err *e)
{
	struct fetcher f = { .pool = p, .request = r, .out = out };
	list_init(&f.transfers);
	fd_set_nonblock(sock);
	f.http = http_new(r->stall_ms);
	int ret = registries_of(p, r, &f.registries, &f.n_registries, e);
	for (size_t i = 0; i < f.n_registries; i++)
		f.registries[i].http = f.http;
	if (ret == 0)
		ret = resolve(&f, e);
	if (ret == 0)
		ret = serve(&f, sock, e);
	if (ret < 0)
		frame_write_err(out, e);
	return ret;
}

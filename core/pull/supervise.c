/*
 * The supervisor, see the header.
 *
 *	RESOLVING --'.' of the source--> PULLING --all layers done--> finish, sync, "done"
 *
 * Layers go biggest first.  More of them are fetched than unpacked at a time: a small one then
 * waits complete in its pipe, and a slow network is kept busy.
 */
#include "core/pull/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/digest.h"
#include "core/base/file.h"
#include "core/base/pool.h"
#include "core/image/pullwire.h"
#include "core/pull/confine.h"
#include "core/pull/event.h"
#include "core/pull/fetch.h"
#include "core/pull/frame.h"
#include "core/pull/layer.h"
#include "core/pull/load.h"
#include "core/pull/request.h"
#include "core/pull/unpack.h"

enum {
	LOOKAHEAD = 3,
	PIPE_SIZE = 1 << 20,
	LIST_MAX = 64 << 20,
	IMAGES_MAX = 1000,
	REPORT_NS = 100000000,
	UNPACKERS_MAX = 16,
	NAMES_MAX = 1000
};

static const uint64_t reserve = 64 << 20;	/* of the file system, left free */

struct supervisor {
	struct pool *pool;
	const struct request *request;
	int tmp, store, layers, events;
	int source_fd;			/* of an import */
	pid_t source;
	int from_source, to_source;	/* frames; requests for layers */
	struct buf frames;
	bool resolved;
	struct image_info *images;
	size_t n_images;
	struct layer **numbered;	/* as the source counts; equal diff IDs share a layer */
	size_t n_numbered;
	struct layer **order;		/* those to be made, biggest first */
	size_t n_order;
	unsigned unpackers, unpacking, fetching, done;
	uint64_t total;
	int64_t reported_ns;
	bool unreported;		/* progress that came too soon after the last report */
};

/* -- processes -- */

/* In the child: keep only these, as 3, 4, ... */
static void keep_fds(int *fds, int n)
{
	int high[4];
	for (int i = 0; i < n; i++)
		high[i] = fds[i] < 0 ? -1 : fcntl(fds[i], F_DUPFD, 100);
	for (int i = 0; i < n; i++) {
		if (high[i] >= 0)
			dup2(high[i], 3 + i);
		fds[i] = high[i] < 0 ? -1 : 3 + i;
	}
	close_range(3 + (unsigned)n, ~0u, 0);
}

static int source_main(struct supervisor *s, const uint16_t *ports, size_t n_ports, int out,
		       int sock)
{
	int fds[3] = { out, sock, s->source_fd };
	struct stat st;
	struct err e = { 0 };
	keep_fds(fds, 3);
	bool dir = fds[2] >= 0 && fstat(fds[2], &st) == 0 && S_ISDIR(st.st_mode);
	int ret = s->request->load ? confine_load(dir ? fds[2] : -1, &e)
				   : confine_fetch(ports, n_ports, &e);
	if (ret < 0) {
		frame_write_err(fds[0], &e);
		return 1;
	}
	struct pool *p = pool_new(NULL, "source");
	if (s->request->load)
		ret = load_run(p, s->request, fds[2], dir, fds[0], fds[1], &e);
	else
		ret = fetch_run(p, s->request, fds[0], fds[1], &e);
	return ret < 0;
}

static int start_source(struct supervisor *s, struct err *e)
{
	int frames[2], sock[2];
	const uint16_t *ports = NULL;
	size_t n_ports = 0;
	if (!s->request->load) {
		int ret = fetch_ports(s->pool, s->request, &ports, &n_ports, e);
		if (ret < 0)
			return ret;
	}
	if (pipe2(frames, O_CLOEXEC) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock) < 0)
		return err_sys(e, "make a pipe");
	s->source = fork();
	if (s->source < 0)
		return err_sys(e, "start the fetcher");
	if (!s->source)
		_exit(source_main(s, ports, n_ports, frames[1], sock[1]));
	close(frames[1]);
	close(sock[1]);
	s->from_source = frames[0];
	s->to_source = sock[0];
	pool_fd(s->pool, s->from_source);
	fd_set_nonblock(s->from_source);
	return 0;
}

static uint64_t budget(const struct supervisor *s)
{
	struct statvfs v;
	if (fstatvfs(s->tmp, &v) < 0)
		return UINT64_MAX;
	uint64_t avail = (uint64_t)v.f_bavail * v.f_frsize;
	return avail > reserve ? avail - reserve : 0;
}

static int start_unpack(struct supervisor *s, struct layer *l, struct err *e)
{
	char path[64];
	int report[2];
	snprintf(path, sizeof(path), "%s/fs", l->dir);
	if (mkdirat(s->tmp, l->dir, 0700) < 0 || mkdirat(s->tmp, path, 0755) < 0)
		return err_sys(e, "make directory %s", path);
	int root = layer_open(l, s->tmp, -1);
	if (root < 0)
		return err_set(e, -root, "open %s: %s", path, strerror(-root));
	/* A directory that is open for reading, so that the child can change to it. */
	auto_close int readable = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	close(root);
	if (readable < 0 || pipe2(report, O_CLOEXEC) < 0)
		return err_sys(e, "start an unpacker");
	struct unpack_job job = {
		.blob = l->blob, .diff = l->diff, .size = l->size, .budget = budget(s),
	};
	l->pid = fork();
	if (l->pid < 0)
		return err_sys(e, "start an unpacker");
	if (!l->pid) {
		int fds[3] = { l->in, report[1], readable };
		keep_fds(fds, 3);
		job.in = fds[0];
		job.out = fds[1];
		job.root = fds[2];
		_exit(unpack_run(&job) < 0);
	}
	close(report[1]);
	close(l->in);
	l->in = -1;
	l->report = report[0];
	fd_set_nonblock(l->report);
	l->state = LAYER_STATE_UNPACKING;
	s->unpacking++;
	s->fetching--;
	return 0;
}

static int start_fetch(struct supervisor *s, struct layer *l, struct err *e)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, "make a pipe");
	fcntl(fds[1], F_SETPIPE_SZ, PIPE_SIZE);	/* what the system allows */
	int ret = frame_send_fd(s->to_source, l->number, fds[1]);
	close(fds[1]);
	l->in = fds[0];
	l->state = LAYER_STATE_FETCHING;
	s->fetching++;
	/* When it has gone, it has said why. */
	return ret == -EPIPE || ret == -ECONNRESET ? 0 : ret < 0 ?
		err_set(e, -ret, "ask for a layer: %s", strerror(-ret)) : 0;
}

/* Keep as many layers moving as is allowed. */
static int advance(struct supervisor *s, struct err *e)
{
	for (size_t i = 0; i < s->n_order; i++) {
		struct layer *l = s->order[i];
		int ret = 0;
		if (l->state == LAYER_STATE_WAITING &&
		    s->fetching + s->unpacking < s->unpackers + LOOKAHEAD)
			ret = start_fetch(s, l, e);
		if (ret == 0 && l->state == LAYER_STATE_FETCHING && s->unpacking < s->unpackers)
			ret = start_unpack(s, l, e);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* -- the source's frames -- */

static const char *cut(const char **at, const char *end)
{
	const char *s = *at, *nul = memchr(s, 0, (size_t)(end - s));
	if (!nul)
		return NULL;
	*at = nul + 1;
	return s;
}

static int handle_image(struct supervisor *s, const struct frame *f, struct err *e)
{
	const char *at = f->data, *end = f->data + f->len;
	const char *id = cut(&at, end), *manifest = id ? cut(&at, end) : NULL;
	if (!manifest || !digest_valid(id) || (*manifest && !digest_valid(manifest)) ||
	    s->n_images == IMAGES_MAX)
		return err_set(e, EPROTO, "the source has a bad image");
	struct image_info *im = &s->images[s->n_images++];
	im->id = pool_strdup(s->pool, id);
	im->manifest = pool_strdup(s->pool, manifest);
	im->names = pool_alloc(s->pool, NAMES_MAX * sizeof(*im->names));
	im->layers = pool_alloc(s->pool, PULLWIRE_LAYERS_MAX * sizeof(*im->layers));
	return 0;
}

static struct layer *layer_by_diff(struct supervisor *s, const char *diff)
{
	for (size_t i = 0; i < s->n_numbered; i++)
		if (!strcmp(s->numbered[i]->diff, diff))
			return s->numbered[i];
	return NULL;
}

static int handle_layer(struct supervisor *s, struct image_info *im, const struct frame *f,
			struct err *e)
{
	const char *at = f->data, *end = f->data + f->len;
	const char *blob = cut(&at, end), *size = blob ? cut(&at, end) : NULL,
		   * diff = size ? cut(&at, end) : NULL;
	if (!diff || !digest_valid(diff) || (*blob && !digest_valid(blob)) ||
	    im->n_layers == PULLWIRE_LAYERS_MAX)
		return err_set(e, EPROTO, "the source has a bad layer");
	struct layer *l = layer_by_diff(s, diff);
	if (!l) {
		l = pool_new_struct(s->pool, struct layer);
		l->number = (uint32_t)s->n_numbered;
		l->blob = pool_strdup(s->pool, blob);
		l->diff = pool_strdup(s->pool, diff);
		l->size = strtoull(size, NULL, 10);
		l->in = l->report = -1;
		snprintf(l->dir, sizeof(l->dir), "layer-%zu", s->n_numbered);
		layer_chain(im->n_layers ? im->layers[im->n_layers - 1]->chain : NULL, diff,
			    l->chain);
	}
	if (!(s->n_numbered & (s->n_numbered - 1))) {
		size_t cap = s->n_numbered ? 2 * s->n_numbered : 1;
		s->numbered = realloc(s->numbered, cap * sizeof(*s->numbered));
		if (!s->numbered)
			abort();
	}
	s->numbered[s->n_numbered++] = l;
	im->layers[im->n_layers++] = l;
	return 0;
}

static int handle_config(struct supervisor *s, struct image_info *im, const struct frame *f,
			 struct err *e)
{
	char got[DIGEST_TEXT_MAX];
	/* The one digest that images are known by is taken here as well, not only where it came
	 * from. */
	digest_of(im->id, f->data, f->len, got);
	if (strcmp(got, im->id))
		return err_set(e, EBADMSG,
			       "image configuration: digest mismatch: expected %s, got %s", im->id,
			       got);
	im->config_file = pool_printf(s->pool, "config-%zu", s->n_images);
	im->config_size = f->len;
	return file_replace(s->tmp, im->config_file, f->data, f->len, 0644, e);
}

static int by_size(const void *a, const void *b)
{
	const struct layer *x = *(struct layer *const *)a, *y = *(struct layer *const *)b;
	return x->size < y->size ? 1 : x->size > y->size ? -1 : x->number < y->number ? -1 : 1;
}

/* All is known: which layers are to be made? */
static void plan(struct supervisor *s)
{
	s->order = pool_alloc(s->pool, (s->n_numbered + 1) * sizeof(*s->order));
	for (size_t i = 0; i < s->n_numbered; i++) {
		struct layer *l = s->numbered[i];
		if (l->number != i)
			continue;	/* shared with an earlier number */
		for (size_t k = 0; k < s->request->n_layers && !l->known; k++) {
			const struct known_layer *have = &s->request->layers[k];
			if (!strcmp(have->diff, l->diff) &&
			    (!*have->chain || !strcmp(have->chain, l->chain)))
				l->known = have;
		}
		if (l->known) {
			l->state = LAYER_STATE_KNOWN;
			continue;
		}
		s->order[s->n_order++] = l;
		s->total += l->size;
	}
	qsort(s->order, s->n_order, sizeof(*s->order), by_size);
	s->resolved = true;
}

static int take_error(const struct frame *f, struct err *e)
{
	struct frame_error fe;
	if (f->len < sizeof(fe))
		return err_set(e, EPROTO, "a worker failed");
	memcpy(&fe, f->data, sizeof(fe));
	return err_set(e, fe.code > 0 && fe.code < 4096 ? fe.code : EIO, "%.*s",
		       (int)(f->len - sizeof(fe)), f->data + sizeof(fe));
}

static int take_progress(struct supervisor *s, const struct frame *f, struct err *e)
{
	struct frame_progress p;
	if (f->len != sizeof(p))
		return err_set(e, EPROTO, "the source has a bad progress");
	memcpy(&p, f->data, sizeof(p));
	if (p.layer < s->n_numbered)
		s->numbered[p.layer]->fetched = p.bytes;
	return 0;
}

static int handle_source_frame(struct supervisor *s, const struct frame *f, struct err *e)
{
	struct image_info *im = s->n_images ? &s->images[s->n_images - 1] : NULL;
	if (f->type == 'E')
		return take_error(f, e);
	if (f->type == 'P')
		return take_progress(s, f, e);
	if (!s->resolved && f->type == 'I')
		return handle_image(s, f, e);
	if (!s->resolved && f->type == '.' && im) {
		plan(s);
		return 0;
	}
	if (!s->resolved && im && f->type == 'L')
		return handle_layer(s, im, f, e);
	if (!s->resolved && im && f->type == 'C')
		return handle_config(s, im, f, e);
	if (!s->resolved && im && f->type == 'U') {
		im->used = pool_strndup(s->pool, f->data, f->len);
		return 0;
	}
	if (!s->resolved && im && f->type == 'N' && im->n_names < NAMES_MAX) {
		im->names[im->n_names++] = pool_strndup(s->pool, f->data, f->len);
		return 0;
	}
	return err_set(e, EPROTO, "the source said something unknown");
}

/* Each frame of fd through handle.  1 at its end. */
static int read_source(struct supervisor *s, struct err *e)
{
	int n = frame_fill(s->from_source, &s->frames), ret = 0;
	struct frame f;
	size_t at = 0;
	if (n == -EAGAIN || n == -EINTR)
		return 0;
	while (ret == 0 && (ret = frame_next(&s->frames, &at, &f)) == 1)
		ret = handle_source_frame(s, &f, e);
	if (ret < 0)
		return err_set(e, -ret, "the source said something unknown");
	if (at)
		buf_consume(&s->frames, at);
	return n <= 0;
}

/* -- the unpackers' frames -- */

static int handle_unpack_frame(struct layer *l, const struct frame *f, struct err *e)
{
	struct frame_unpacked u;
	struct buf *list = f->type == 'O' ? &l->opaque : &l->implied;
	switch (f->type) {
	case 'E':
		return take_error(f, e);
	case 'O':
	case 'D':
		if (list->len + f->len > LIST_MAX)
			return err_set(e, EFBIG, "too many special directories");
		buf_add(list, f->data, f->len);
		return 0;
	case 'R':
		if (f->len != sizeof(u))
			break;
		memcpy(&u, f->data, sizeof(u));
		u.blob[sizeof(u.blob) - 1] = u.diff[sizeof(u.diff) - 1] = 0;
		if (strcmp(u.diff, l->diff) || !digest_valid(u.blob))
			break;
		memcpy(l->real_blob, u.blob, sizeof(u.blob));
		l->bytes = u.bytes;
		l->inodes = u.inodes;
		l->reported = true;
		return 0;
	}
	return err_set(e, EPROTO, "the unpacker said something unknown");
}

static int end_unpack(struct supervisor *s, struct layer *l, struct err *e)
{
	int status = 0;
	waitpid(l->pid, &status, 0);
	l->pid = 0;
	close(l->report);
	l->report = -1;
	s->unpacking--;
	if (!l->reported)
		return err_set(e, EIO, "the unpacker died (%s %d)",
			       WIFSIGNALED(status) ? "signal" : "exit code",
			       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	buf_free(&l->frames);
	l->state = LAYER_STATE_DONE;
	l->fetched = l->size;
	s->done++;
	return layer_mark_opaque(l, s->tmp, e);
}

static int read_unpacker(struct supervisor *s, struct layer *l, struct err *e)
{
	int n = frame_fill(l->report, &l->frames), ret = 0;
	struct frame f;
	size_t at = 0;
	if (n == -EAGAIN || n == -EINTR)
		return 0;
	while (ret == 0 && (ret = frame_next(&l->frames, &at, &f)) == 1)
		ret = handle_unpack_frame(l, &f, e);
	if (at)
		buf_consume(&l->frames, at);
	if (ret == 0 && n <= 0)
		ret = end_unpack(s, l, e);
	if (ret < 0)
		err_set(e, -ret, "%s", strerror(-ret));
	return err_wrap(e, ret, "layer %s", *l->blob ? l->blob : l->diff);
}

/* -- the loop -- */

static void report_progress(struct supervisor *s, const char *stage, bool now)
{
	int64_t ns = clock_mono_ns();
	uint64_t done = 0;
	s->unreported = !now && ns - s->reported_ns < REPORT_NS;
	if (s->unreported)
		return;
	s->reported_ns = ns;
	for (size_t i = 0; i < s->n_order; i++)
		done += s->order[i]->fetched;
	event_progress(s->events, stage, done, s->total, s->done, (unsigned)s->n_order);
}

static int turn(struct supervisor *s, struct err *e)
{
	struct pollfd fds[UNPACKERS_MAX + 2];
	struct layer *who[UNPACKERS_MAX + 2];
	nfds_t n = 0;
	fds[n++] = (struct pollfd){ .fd = s->from_source, .events = POLLIN };
	fds[n++] = (struct pollfd){ .fd = s->events };	/* only: is anybody listening? */
	for (size_t i = 0; i < s->n_order; i++) {
		if (s->order[i]->report < 0)
			continue;
		who[n] = s->order[i];
		fds[n++] = (struct pollfd){ .fd = s->order[i]->report, .events = POLLIN };
	}
	if (poll(fds, n, s->unreported ? REPORT_NS / 1000000 : -1) < 0)
		return errno == EINTR ? 0 : err_sys(e, "poll");
	if (fds[1].revents)
		return err_set(e, ECANCELED, "nobody waits for this any more");
	if (fds[0].revents) {
		int ret = read_source(s, e);
		if (ret < 0)
			return ret;
		if (ret == 1)
			return err_set(e, EIO, "the %s died",
				       s->request->load ? "loader" : "fetcher");
	}
	for (nfds_t i = 2; i < n; i++) {
		int ret = fds[i].revents ? read_unpacker(s, who[i], e) : 0;
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int run(struct supervisor *s, struct err *e)
{
	report_progress(s, "resolving", true);
	while (!s->resolved || s->done < s->n_order) {
		bool was_resolved = s->resolved;
		int ret = turn(s, e);
		if (ret == 0 && s->resolved)
			ret = advance(s, e);
		if (ret < 0)
			return ret;
		if (s->resolved)
			report_progress(s, "pulling", !was_resolved);
	}
	report_progress(s, "syncing", true);
	return 0;
}

/* -- the end -- */

static int adopt_implied(struct supervisor *s, const struct image_info *im, struct err *e)
{
	int *below = pool_alloc(s->pool, (im->n_layers + 1) * sizeof(*below));
	int ret = 0;
	size_t n = 0;
	for (; n < im->n_layers && ret >= 0; n++) {
		struct layer *l = im->layers[n];
		if (!l->known)
			ret = layer_adopt_implied(l, s->tmp, below, n, e);
		l->implied.len = 0;	/* once is enough, however many images it is in */
		below[n] = layer_open(l, s->tmp, s->layers);
		if (ret == 0 && below[n] < 0)
			ret = err_set(e, -below[n], "open layer %s: %s", l->diff,
				      strerror(-below[n]));
	}
	while (n-- > 0)
		if (below[n] >= 0)
			close(below[n]);
	return ret;
}

static int finish(struct supervisor *s, struct err *e)
{
	int ret = 0;
	for (size_t i = 0; i < s->n_images && ret == 0; i++)
		ret = !s->images[i].config_file || !s->images[i].used
			      ? err_set(e, EPROTO, "the source did not finish an image")
			      : adopt_implied(s, &s->images[i], e);
	for (size_t i = 0; i < s->n_order && ret == 0; i++)
		ret = layer_write_meta(s->pool, s->order[i], s->tmp, e);
	if (ret < 0)
		return ret;
	/* From here on a power cut finds whole files: only now may anything be named. */
	if (syncfs(s->tmp) < 0)
		return err_sys(e, "sync the layers to disk");
	for (size_t i = 0; i < s->n_order; i++)
		event_layer(s->events, s->pool, s->order[i]);
	for (size_t i = 0; i < s->n_images; i++)
		event_image(s->events, s->pool, &s->images[i]);
	event_done(s->events);
	return 0;
}

/* A worker's death may be known before the source's reason for it. */
static void hear_source_out(struct supervisor *s, struct err *e)
{
	struct err why = { 0 };
	if (e->code != EPIPE && e->code != EIO)
		return;
	while (read_source(s, &why) == 0) {
		struct pollfd fd = { .fd = s->from_source, .events = POLLIN };
		if (poll(&fd, 1, 200) <= 0)
			break;
	}
	if (why.code && why.code != EPROTO)
		*e = why;
}

static void end_children(struct supervisor *s)
{
	if (s->source > 0) {
		kill(s->source, SIGKILL);
		waitpid(s->source, NULL, 0);
	}
	for (size_t i = 0; i < s->n_order; i++) {
		struct layer *l = s->order[i];
		if (l->pid > 0) {
			kill(l->pid, SIGKILL);
			waitpid(l->pid, NULL, 0);
		}
		if (l->in >= 0)
			close(l->in);
		if (l->report >= 0)
			close(l->report);
		buf_free(&l->frames);
		buf_free(&l->opaque);
		buf_free(&l->implied);
	}
	buf_free(&s->frames);
	free(s->numbered);
}

static int open_dir(struct pool *p, int at, const char *path, int *out, struct err *e)
{
	*out = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*out < 0)
		return err_sys(e, "open %s", path);
	pool_fd(p, *out);
	return 0;
}

int supervise(struct pool *p, const struct request *r, int source, int events, struct err *e)
{
	struct supervisor s = {
		.pool = p,
		.request = r,
		.source_fd = source,
		.events = events,
		.from_source = -1,
		.to_source = -1,
	};
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	s.unpackers = r->unpackers ? r->unpackers : cpus > 1 ? (unsigned)cpus : 1;
	if (s.unpackers > UNPACKERS_MAX)
		s.unpackers = UNPACKERS_MAX;
	s.images = pool_alloc(p, IMAGES_MAX * sizeof(*s.images));
	int ret = open_dir(p, AT_FDCWD, r->tmp, &s.tmp, e);
	if (ret == 0)
		ret = open_dir(p, s.tmp, "../../layers", &s.layers, e);
	if (ret == 0)
		ret = confine_supervisor(s.tmp, source, e);
	if (ret == 0)
		ret = start_source(&s, e);
	if (ret == 0)
		ret = run(&s, e);
	if (ret == 0)
		ret = finish(&s, e);
	if (ret < 0 && s.from_source >= 0)
		hear_source_out(&s, e);
	end_children(&s);
	if (s.to_source >= 0)
		close(s.to_source);
	return ret;
}

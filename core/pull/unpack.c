/*
 * The unpacker, see the header:
 *
 *	pipe -> digest (blob) -> decode -> digest (diff ID) -> tar -> extract
 */
#include "core/pull/unpack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/pull/confine.h"
#include "core/pull/decode.h"
#include "core/pull/digest.h"
#include "core/pull/extract.h"
#include "core/pull/frame.h"
#include "core/pull/tar.h"

enum { IN_SIZE = 256 << 10, LIST_FRAME = 1 << 20, NICE = 5 };

static const uint64_t entries_max = 10000000;

struct stream {
	struct digest *blob, *diff;
	struct decode *decode;
	struct tar *tar;
	struct extract *extract;
	uint64_t read;
};

static int handle_plain(void *data, const void *bytes, size_t n, struct err *e)
{
	struct stream *s = data;
	digest_add(s->diff, bytes, n);
	return tar_feed(s->tar, bytes, n, e);
}

static int read_blob(const struct unpack_job *j, struct stream *s, struct err *e)
{
	auto_free char *buf = malloc(IN_SIZE);
	if (!buf)
		abort();
	for (;;) {
		ssize_t n = read(j->in, buf, IN_SIZE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read the layer");
		if (!n)
			return 0;
		s->read += (size_t)n;
		digest_add(s->blob, buf, (size_t)n);
		int ret = decode_feed(s->decode, buf, (size_t)n, e);
		if (ret < 0)
			return ret;
	}
}

/* A broken stream is most often a wrong blob: say that rather than how gzip choked on it. */
static int drain(const struct unpack_job *j, struct stream *s)
{
	static char buf[IN_SIZE];
	for (;;) {
		ssize_t n = read(j->in, buf, IN_SIZE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return (int)n;
		s->read += (size_t)n;
		digest_add(s->blob, buf, (size_t)n);
	}
}

static int check_digests(const struct unpack_job *j, struct stream *s, char *diff, char *blob,
			 bool stream_ok, struct err *e)
{
	struct err better = { 0 };
	digest_end(s->blob, blob);
	digest_end(s->diff, diff);
	if (*j->blob && s->read != j->size)
		err_set(&better, EBADMSG, "truncated: got %llu of %llu bytes",
			(unsigned long long)s->read, (unsigned long long)j->size);
	else if (*j->blob && strcmp(blob, j->blob))
		err_set(&better, EBADMSG, "digest mismatch: expected %s, got %s", j->blob, blob);
	else if (stream_ok && strcmp(diff, j->diff))
		err_set(&better, EBADMSG,
			"digest mismatch of the unpacked layer: expected %s, got %s", j->diff,
			diff);
	if (better.code)
		*e = better;
	return better.code ? -better.code : 0;
}

int unpack_stream(const struct unpack_job *j, struct extract_result *out, char *diff, char *blob,
		  struct err *e)
{
	struct extract_limits limits = { j->budget, entries_max };
	struct stream s = { 0 };
	s.blob = digest_new(j->blob);
	s.diff = digest_new(j->diff);
	s.extract = extract_new(j->root, &limits);
	s.tar = tar_new(&extract_sink, s.extract);
	s.decode = decode_new(handle_plain, &s);
	int ret = read_blob(j, &s, e);
	if (ret == 0)
		ret = decode_end(s.decode, e);
	if (ret == 0)
		ret = tar_end(s.tar, e);
	if (ret == -EBADMSG)
		drain(j, &s);
	if (ret == 0 || ret == -EBADMSG) {
		int wrong = check_digests(j, &s, diff, blob, ret == 0, e);
		ret = wrong < 0 ? wrong : ret;
	}
	if (ret == 0)
		ret = extract_end(s.extract, out, e);
	decode_free(s.decode);
	tar_free(s.tar);
	extract_free(s.extract);
	digest_free(s.blob);
	digest_free(s.diff);
	return ret;
}

/* In pieces that a frame holds, none of which cuts a path. */
static int send_list(int out, char type, const struct buf *list)
{
	int ret = 0;
	for (size_t at = 0, end; at < list->len && ret == 0; at = end) {
		end = list->len;
		if (end - at > LIST_FRAME) {
			end = at + LIST_FRAME;
			while (list->data[end - 1])
				end--;
		}
		ret = frame_write(out, type, list->data + at, end - at);
	}
	return ret;
}

int unpack_run(const struct unpack_job *j)
{
	struct extract_result r = { 0 };
	struct frame_unpacked f;
	struct err e = { 0 };
	memset(&f, 0, sizeof(f));
	setpriority(PRIO_PROCESS, 0, NICE);
	int ret = confine_unpack(j->root, &e);
	if (ret == 0)
		ret = unpack_stream(j, &r, f.diff, f.blob, &e);
	f.bytes = r.bytes;
	f.inodes = r.inodes;
	if (ret < 0)
		frame_write_err(j->out, &e);
	else if (send_list(j->out, 'O', &r.opaque) < 0 || send_list(j->out, 'D', &r.implied) < 0 ||
		 frame_write(j->out, 'R', &f, sizeof(f)) < 0)
		ret = -EPIPE;
	buf_free(&r.opaque);
	buf_free(&r.implied);
	return ret;
}

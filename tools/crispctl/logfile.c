/* Records in, lines out. */
#include "tools/crispctl/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/err.h"

enum { BLOCK = 65536, RECORD_MAX = 1 << 20 };

/* Where a record's parts begin; false when it is none. */
static bool split(const char *s, size_t n, bool *err_stream, bool *partial, const char **content)
{
	const char *end = s + n, *stream = memchr(s, ' ', n);
	if (!stream++)
		return false;
	const char *tag = memchr(stream, ' ', end - stream);
	if (!tag++)
		return false;
	*err_stream = tag - stream == 7 && !memcmp(stream, "stderr", 6);
	if (!*err_stream && (tag - stream != 7 || memcmp(stream, "stdout", 6)))
		return false;
	const char *text = memchr(tag, ' ', end - tag);
	if (!text || text == tag)
		return false;
	*partial = *tag == 'P';
	*content = text + 1;
	return true;
}

static int print(struct logfile *l, const char *s, size_t n, struct err *e)
{
	bool err_stream = false, partial = false;
	const char *content = s;
	if (!split(s, n, &err_stream, &partial, &content))
		content = s;	/* not the CRI's: as it is */
	FILE *out = err_stream ? stderr : stdout;
	if (l->timestamps && !l->mid_line && content > s)
		fprintf(out, "%.*s ", (int)((const char *)memchr(s, ' ', n) - s), s);
	fwrite(content, 1, s + n - content, out);
	if (!partial)
		fputc('\n', out);
	l->mid_line = partial;
	return ferror(out) ? err_sys(e, "write the output") : 0;
}

static int print_records(struct logfile *l, struct err *e)
{
	const char *at = l->in.data, *end = at + l->in.len, *nl;
	int ret = 0;
	while (ret == 0 && at < end && (nl = memchr(at, '\n', end - at))) {
		ret = print(l, at, nl - at, e);
		at = nl + 1;
	}
	if (at > l->in.data)
		buf_consume(&l->in, at - l->in.data);
	if (l->in.len > RECORD_MAX)
		return err_set(e, EFBIG, "%s: a record of more than %d bytes", l->path, RECORD_MAX);
	return ret;
}

int logfile_pump(struct logfile *l, struct err *e)
{
	int ret = 0;
	while (ret == 0) {
		ssize_t n = read(l->fd, buf_room(&l->in, BLOCK), BLOCK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read %s", l->path);
		if (n == 0)
			break;
		l->in.len += n;
		ret = print_records(l, e);
	}
	fflush(stdout);
	return ret;
}

/* The offset behind the newline that comes before the last `tail` ones. */
static off_t tail_offset(int fd, int64_t tail)
{
	char block[4096];
	off_t at = lseek(fd, 0, SEEK_END);
	while (at > 0) {
		size_t want = at < (off_t)sizeof(block) ? (size_t)at : sizeof(block);
		ssize_t n = pread(fd, block, want, at - want);
		if (n != (ssize_t)want)
			return 0;
		while (n > 0)
			if (block[--n] == '\n' && tail-- == 0)
				return at - want + n + 1;
		at -= want;
	}
	return 0;
}

int logfile_open(struct logfile *l, const char *path, int64_t tail, struct err *e)
{
	l->path = path;
	l->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (l->fd < 0)
		return err_sys(e, "open %s", path);
	if (tail >= 0 && lseek(l->fd, tail_offset(l->fd, tail), SEEK_SET) < 0)
		return err_sys(e, "seek in %s", path);
	return 0;
}

int logfile_follow_path(struct logfile *l, struct err *e)
{
	struct stat was, now;
	if (stat(l->path, &now) < 0 || fstat(l->fd, &was) < 0 ||
	    (was.st_ino == now.st_ino && was.st_dev == now.st_dev))
		return 0;
	int ret = logfile_pump(l, e);
	if (ret < 0)
		return ret;
	close(l->fd);
	return logfile_open(l, l->path, -1, e);
}

void logfile_close(struct logfile *l)
{
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
	buf_free(&l->in);
}

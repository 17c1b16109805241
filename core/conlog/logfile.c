/*
 * Writing CRI log files, see the header.  Records are gathered in one buffer, shared by all
 * files since nobody leaves a batch unflushed, and written with O_APPEND: what a batch holds
 * are whole records, so a rotation never splits one.
 *
 * The folder may be a container's to write to (hostPath), so nothing but a plain file is
 * opened and no link is followed.
 */
#include "core/conlog/logfile.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/log.h"

enum { HEAD_MAX = 64, RECORD_MAX = LOGFILE_CHUNK + HEAD_MAX, BATCH = 48 << 10 };

static char batch[BATCH];
static size_t batch_len;
static const struct logfile *batch_of;

/* -- opening -- */

/* Cut off what follows the last newline.  A record fits into what is looked at here, so a file
 * with no newline there is none of ours: its last line is ended instead. */
static int repair_end(int fd, off_t size, const char *path, struct err *e)
{
	static char end[RECORD_MAX];
	size_t len = size < RECORD_MAX ? (size_t)size : RECORD_MAX;
	ssize_t n = pread(fd, end, len, size - (off_t)len);
	if (n < 0)
		return err_sys(e, "read the end of log %s", path);
	const char *nl = memrchr(end, '\n', (size_t)n);
	if (!nl && (off_t)len < size)
		return write(fd, "\n", 1) == 1 ? 0
					       : err_sys(e, "end the last line of log %s", path);
	off_t keep = size - (off_t)len + (nl ? nl + 1 - end : 0);
	if (keep < size && ftruncate(fd, keep) < 0)
		return err_sys(e, "cut a half record off log %s", path);
	return 0;
}

/* The new fd or -errno. */
static int open_file(const char *path, struct err *e)
{
	int fd = open(path,
		      O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
		      0640);
	if (fd < 0)
		return err_sys(e, "open log %s", path);
	struct stat st;
	int ret = fstat(fd, &st) < 0 ? err_sys(e, "stat log %s", path) : 0;
	if (ret == 0 && !S_ISREG(st.st_mode))
		ret = err_set(e, EINVAL, "open log %s: not a regular file", path);
	if (ret == 0 && st.st_size)
		ret = repair_end(fd, st.st_size, path, e);
	if (ret == 0)
		return fd;
	close(fd);
	return ret;
}

static int make_parents(const char *path, struct err *e)
{
	char dir[PATH_MAX];
	const char *slash = strrchr(path, '/');
	if (!slash || slash == path)
		return 0;
	if ((size_t)(slash - path) >= sizeof(dir))
		return err_set(e, ENAMETOOLONG, "open log %s: name too long", path);
	snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
	return err_wrap(e, file_mkdirs(dir, 0755, e), "open log %s", path);
}

int logfile_open(struct logfile *f, char *path, struct err *e)
{
	*f = (struct logfile){ .path = path, .fd = -1 };
	if (!path)
		return 0;
	mode_t was = umask(022);
	int ret = make_parents(path, e);
	f->fd = ret < 0 ? ret : open_file(path, e);
	umask(was);
	return f->fd < 0 ? f->fd : 0;
}

int logfile_reopen(struct logfile *f, struct err *e)
{
	if (!f->path)
		return 0;
	mode_t was = umask(022);
	int fd = open_file(f->path, e);
	umask(was);
	if (fd < 0)
		return fd;
	logfile_close(f);
	f->fd = fd;
	f->failing = false;
	return 0;
}

void logfile_close(struct logfile *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

/* -- records -- */

/* "2026-01-02T03:04:05.123456789Z"; the part that is the same all second long is kept. */
static void put_time(char *to)
{
	static time_t second;
	static char text[HEAD_MAX];
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (now.tv_sec != second || !text[0]) {
		struct tm tm;
		gmtime_r(&now.tv_sec, &tm);
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S.", &tm);
		second = now.tv_sec;
	}
	memcpy(to, text, 20);
	for (int i = 28; i >= 20; i--, now.tv_nsec /= 10)
		to[i] = (char)('0' + now.tv_nsec % 10);
	to[29] = 'Z';
}

void logfile_put(struct logfile *f, const char *stream, bool full, const char *data, size_t len)
{
	assert(len <= LOGFILE_CHUNK && (!batch_len || batch_of == f));
	if (f->fd < 0)
		return;
	if (batch_len + HEAD_MAX + len > BATCH)
		logfile_flush(f);
	batch_of = f;
	char *at = batch + batch_len;
	put_time(at);
	at += 30;
	at += sprintf(at, " %s %c ", stream, full ? 'F' : 'P');
	memcpy(at, data, len);
	at[len] = '\n';
	batch_len = (size_t)(at + len + 1 - batch);
}

/* Of a short write keep whole records only.  How many bytes stay. */
static size_t cut_short_write(struct logfile *f, size_t written)
{
	const char *nl = written ? memrchr(batch, '\n', written) : NULL;
	size_t keep = nl ? (size_t)(nl + 1 - batch) : 0;
	struct stat st;
	if (keep < written && fstat(f->fd, &st) == 0 &&
	    ftruncate(f->fd, st.st_size - (off_t)(written - keep)) < 0)
		log_warn("a log has kept half a record", "path", f->path, "error", strerror(errno));
	return keep;
}

void logfile_flush(struct logfile *f)
{
	size_t done = 0;
	int error = 0;
	while (done < batch_len && !error) {
		ssize_t n = write(f->fd, batch + done, batch_len - done);
		if (n >= 0)
			done += (size_t)n;
		else if (errno != EINTR)
			error = errno;
	}
	if (error) {
		f->dropped += batch_len - cut_short_write(f, done);
		if (!f->failing)
			log_warn("output of a container is dropped, its log can't be written",
				 "path", f->path, "error", strerror(error));
	} else if (f->failing && batch_len) {
		log_info("a log is written again", "path", f->path, "dropped_bytes",
			 log_num((long long)f->dropped));
	}
	if (batch_len)
		f->failing = error != 0;
	batch_len = 0;
}

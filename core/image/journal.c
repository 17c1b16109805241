/* The log: see the header. */
#include "core/image/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/pool.h"

enum { CRC_DIGITS = 8, SIZE_MAX_LOG = 512 << 20 };

struct journal {
	struct pool *pool;
	int dirfd;
	const char *name, *new_name;
	struct pool_fd *fd, *new_fd;	/* new_fd: of a rewrite, or NULL */
	uint64_t size, new_size;
	unsigned damaged;
};

/* CRC-32C, bit by bit from a nibble table: records are short. */
static uint32_t crc32c(const char *data, size_t n)
{
	static uint32_t table[16];
	uint32_t crc = ~0u;
	if (!table[1])
		for (uint32_t i = 0; i < 16; i++) {
			uint32_t c = i;
			for (int k = 0; k < 4; k++)
				c = c & 1 ? c >> 1 ^ 0x82f63b78 : c >> 1;
			table[i] = c;
		}
	for (size_t i = 0; i < n; i++) {
		crc ^= (unsigned char)data[i];
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc;
}

static bool line_ok(const char *line, size_t n)
{
	char digits[CRC_DIGITS + 1], *end;
	if (n < CRC_DIGITS + 3 || line[CRC_DIGITS] != ' ')
		return false;
	memcpy(digits, line, CRC_DIGITS);
	digits[CRC_DIGITS] = 0;
	uint32_t want = (uint32_t)strtoul(digits, &end, 16);
	return !*end && want == crc32c(line + CRC_DIGITS + 1, n - CRC_DIGITS - 1);
}

static void replay_line(struct journal *j, const char *line, size_t n, journal_cb *cb, void *data)
{
	struct pool *p = pool_new(NULL, "record");
	const struct json *record;
	if (line_ok(line, n) &&
	    json_parse(p, line + CRC_DIGITS + 1, n - CRC_DIGITS - 1, &record, NULL) == 0)
		cb(data, record);
	else
		j->damaged++;
	pool_destroy(p);
}

static int replay(struct journal *j, journal_cb *cb, void *data, struct err *e)
{
	struct buf text = { 0 };
	int ret = file_read(j->dirfd, j->name, SIZE_MAX_LOG, &text, e);
	if (ret < 0) {
		buf_free(&text);
		return ret;
	}
	size_t at = 0;
	while (at < text.len) {
		char *end = memchr(text.data + at, '\n', text.len - at);
		if (!end) {
			/* Torn by a crash.  The next record must not be glued to it. */
			j->damaged++;
			break;
		}
		replay_line(j, text.data + at, (size_t)(end - text.data) - at, cb, data);
		at = (size_t)(end - text.data) + 1;
	}
	j->size = at;
	ret = at < text.len && ftruncate(j->fd->fd, (off_t)at) < 0
		      ? err_sys(e, "truncate %s", j->name)
		      : 0;
	buf_free(&text);
	return ret;
}

static int open_file(struct journal *j, const char *name, int flags, struct pool_fd **out,
		     struct err *e)
{
	int fd = openat(j->dirfd, name,
			O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
	if (fd < 0)
		return err_sys(e, "open %s", name);
	*out = pool_fd(j->pool, fd);
	return 0;
}

int journal_open(struct pool *p, int dirfd, const char *name, journal_cb *cb, void *data,
		 struct journal **out, struct err *e)
{
	struct journal *j = pool_new_struct(p, struct journal);
	j->pool = p;
	j->dirfd = dirfd;
	j->name = pool_strdup(p, name);
	j->new_name = pool_printf(p, "%s.new", name);
	*out = j;
	int ret = open_file(j, j->name, 0, &j->fd, e);
	return ret < 0 ? ret : replay(j, cb, data, e);
}

static int append(int fd, uint64_t *size, const char *text, size_t len)
{
	struct buf line = { 0 };
	buf_printf(&line, "%08x ", crc32c(text, len));
	buf_add(&line, text, len);
	buf_add(&line, "\n", 1);
	int ret = file_write_all(fd, line.data, line.len);
	if (ret == 0)
		*size += line.len;
	else if (ftruncate(fd, (off_t)*size) < 0)
		ret = -errno;
	buf_free(&line);
	return ret;
}

int journal_append(struct journal *j, const char *text, size_t len, struct err *e)
{
	int ret = append(j->fd->fd, &j->size, text, len);
	if (ret == 0 && j->new_fd && append(j->new_fd->fd, &j->new_size, text, len) < 0)
		journal_rewrite_abort(j);
	return ret < 0 ? err_set(e, -ret, "write the image index: %s", strerror(-ret)) : 0;
}

uint64_t journal_size(const struct journal *j)
{
	return j->size;
}

int journal_fd(const struct journal *j)
{
	return j->fd->fd;
}

unsigned journal_damaged(const struct journal *j)
{
	return j->damaged;
}

int journal_rewrite_begin(struct journal *j, struct err *e)
{
	j->new_size = 0;
	return open_file(j, j->new_name, O_TRUNC, &j->new_fd, e);
}

int journal_rewrite_append(struct journal *j, const char *text, size_t len, struct err *e)
{
	int ret = append(j->new_fd->fd, &j->new_size, text, len);
	return ret < 0 ? err_set(e, -ret, "write %s: %s", j->new_name, strerror(-ret)) : 0;
}

int journal_rewrite_fd(const struct journal *j)
{
	return j->new_fd ? j->new_fd->fd : -1;
}

int journal_rewrite_end(struct journal *j, struct err *e)
{
	if (renameat(j->dirfd, j->new_name, j->dirfd, j->name) < 0) {
		int ret = err_sys(e, "rename %s", j->new_name);
		journal_rewrite_abort(j);
		return ret;
	}
	pool_fd_close(j->fd);
	j->fd = j->new_fd;
	j->size = j->new_size;
	j->new_fd = NULL;
	return 0;
}

void journal_rewrite_abort(struct journal *j)
{
	if (!j->new_fd)
		return;
	pool_fd_close(j->new_fd);
	j->new_fd = NULL;
	unlinkat(j->dirfd, j->new_name, 0);
}

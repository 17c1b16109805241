/* Archives: see the header. */
#include "core/pull/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/list.h"
#include "core/base/map.h"
#include "core/base/pool.h"
#include "core/pull/extract.h"
#include "core/pull/tar.h"

enum { BLOCK = 512, ENTRIES_MAX = 100000, LINKS_MAX = 8 };

struct entry {
	struct map_node node;
	const char *link;	/* of a symlink: the clean name it leads to */
	uint64_t offset, size;
};

struct archive {
	struct pool_res res;
	struct pool *pool;
	int fd;
	bool is_dir;
	struct map entries;
	uint64_t at;		/* while indexing: where the next byte comes from */
};

static void release_map(struct pool_res *r)
{
	map_free(&container_of(r, struct archive, res)->entries);
}

/* Older docker archives share a layer by a link from one image's folder to another's. */
static const char *link_target(struct archive *a, const char *name, const char *link, bool hard,
			       struct err *e)
{
	char clean[TAR_NAME_MAX + 1];
	const char *slash = strrchr(name, '/');
	int base = hard || !slash ? 0 : (int)(slash - name);
	const char *joined = pool_printf(a->pool, "%.*s/%s", base, name, link);
	if (strlen(joined) > TAR_NAME_MAX || extract_clean_name(joined, clean, e) < 0)
		return NULL;
	return pool_strdup(a->pool, clean);
}

static int handle_entry(void *data, const struct tar_entry *t, struct err *e)
{
	struct archive *a = data;
	char name[TAR_NAME_MAX + 1];
	int ret = extract_clean_name(t->name, name, e);
	if (ret < 0)
		return ret;
	if (a->entries.len >= ENTRIES_MAX)
		return err_set(e, EFBIG, "more than %d files", ENTRIES_MAX);
	bool link = t->type == TAR_SYMLINK || t->type == TAR_HARDLINK;
	if ((t->type != TAR_FILE && !link) || t->sparse || map_get(&a->entries, name))
		return 0;
	struct entry *n = pool_new_struct(a->pool, struct entry);
	n->offset = a->at;
	n->size = t->size;
	if (link) {
		n->link = link_target(a, name, t->link, t->type == TAR_HARDLINK, e);
		if (!n->link)
			return e->code ? -e->code : -EINVAL;
	}
	map_put(&a->entries, &n->node, pool_strdup(a->pool, name));
	return 0;
}

static int handle_content(void *data, uint64_t offset, const void *bytes, size_t n, struct err *e)
{
	return 0;
}

static int handle_end(void *data, struct err *e)
{
	return 0;
}

/* Headers alone are read; content is stepped over. */
static int index_tar(struct archive *a, struct tar *t, uint64_t size, struct err *e)
{
	char block[BLOCK];
	while (!tar_done(t)) {
		ssize_t n = pread(a->fd, block, BLOCK, (off_t)a->at);
		if (n < 0)
			return err_sys(e, "read");
		if (!n)
			return tar_end(t, e);
		a->at += (size_t)n;
		int ret = tar_feed(t, block, (size_t)n, e);
		uint64_t left = tar_content_left(t);
		if (ret < 0)
			return ret;
		if (!left)
			continue;
		a->at += left;
		if (a->at > size)
			return err_set(e, EBADMSG, "it is cut off");
		ret = tar_skip(t, e);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int archive_open(struct pool *p, int source, bool is_dir, struct archive **out, struct err *e)
{
	static const struct tar_sink sink = { handle_entry, handle_content, handle_end };
	struct archive *a = pool_new_struct(p, struct archive);
	struct stat st;
	a->pool = p;
	a->fd = source;
	a->is_dir = is_dir;
	*out = a;
	if (is_dir)
		return 0;
	if (fstat(source, &st) < 0)
		return err_sys(e, "stat");
	pool_res_add(p, &a->res, release_map);
	struct tar *t = tar_new(&sink, a);
	int ret = index_tar(a, t, (uint64_t)st.st_size, e);
	tar_free(t);
	return err_wrap(e, ret, "not a tar archive of an image");
}

bool archive_has(struct archive *a, const char *name)
{
	return a->is_dir ? faccessat(a->fd, name, F_OK, 0) == 0
			 : map_get(&a->entries, name) != NULL;
}

static int find_in_dir(struct archive *a, const char *name, struct archive_file *out, struct err *e)
{
	struct stat st;
	int fd = openat(a->fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_sys(e, "open %s", name);
	pool_fd(a->pool, fd);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "%s is no regular file", name);
	*out = (struct archive_file){ fd, 0, (uint64_t)st.st_size };
	return 0;
}

int archive_find(struct archive *a, const char *name, struct archive_file *out, struct err *e)
{
	char clean[TAR_NAME_MAX + 1];
	int ret = extract_clean_name(name, clean, e);
	if (ret < 0)
		return ret;
	if (a->is_dir)
		return find_in_dir(a, clean, out, e);
	const char *at = clean;
	for (int links = 0; links < LINKS_MAX; links++) {
		struct map_node *n = map_get(&a->entries, at);
		if (!n)
			break;
		struct entry *found = container_of(n, struct entry, node);
		if (!found->link) {
			*out = (struct archive_file){ a->fd, found->offset, found->size };
			return 0;
		}
		at = found->link;
	}
	return err_set(e, ENOENT, "%s is not in the archive", name);
}

int archive_read(struct archive *a, const char *name, size_t max, struct buf *out, struct err *e)
{
	struct archive_file f;
	int ret = archive_find(a, name, &f, e);
	if (ret < 0)
		return ret;
	if (f.size > max)
		return err_set(e, EFBIG, "%s is larger than %zu bytes", name, max);
	char *to = buf_room(out, f.size);
	for (size_t done = 0; done < f.size;) {
		ssize_t n = pread(f.fd, to + done, f.size - done, (off_t)(f.offset + done));
		if (n <= 0)
			return n < 0 ? err_sys(e, "read %s", name)
				     : err_set(e, EBADMSG, "%s is cut off", name);
		done += (size_t)n;
	}
	out->len += f.size;
	out->data[out->len] = 0;
	return 0;
}

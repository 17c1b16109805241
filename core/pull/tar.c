/*
 * The tar reader, see the header.
 *
 *	HEADER --'x','L','K'--> META --> HEADER		the next header's attributes
 *	  |  \--- file ----> [MAP] --> CONTENT --> HEADER	MAP: of a sparse file
 *	  |  \--- other ---> HEADER
 *	  \--- two zero blocks ---> DONE			whatever follows is dropped
 *
 * Attributes of 'x' beat those of the header; 'g' is skipped, as all image tools do.
 */
#include "core/pull/tar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/buf.h"

enum { BLOCK = 512, SPARSE_MAX = 1 << 20 };

enum state { STATE_HEADER, STATE_META, STATE_GNU_MAP, STATE_PAX_MAP, STATE_CONTENT, STATE_DONE };

struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], chksum[8], type, link[100];
	char magic[6], version[2], uname[32], gname[32], major[8], minor[8];
	char prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a tar header is one block");

struct gnu_header {
	char common[345], atime[12], ctime[12], offset[12], longnames[4], unused;
	struct {
		char offset[12], size[12];
	} sp[4];
	char extended, realsize[12], pad[17];
};
_Static_assert(sizeof(struct gnu_header) == BLOCK, "a tar header is one block");

struct piece {
	uint64_t offset, size;
};

/* What 'x', 'L' and 'K' headers said for the next entry. */
struct extra {
	struct buf pax, name, link;	/* pax: payload, cut into NUL-terminated strings in place */
	const char *pax_name, *pax_link, *sparse_name;
	bool has_size, has_uid, has_gid, has_mtime;
	uint64_t size, uid, gid;
	struct timespec mtime;
	struct tar_xattr *xattrs;
	size_t n_xattrs;
	bool sparse, sparse_1_0, has_real_size;
	uint64_t real_size;
	uint64_t map_offset;	/* GNU.sparse.offset of 0.0 that waits for its numbytes */
};

struct tar {
	struct tar_sink sink;
	void *data;
	enum state state;
	char block[BLOCK];
	size_t n_block;
	bool zero_seen;
	char meta_type;
	uint64_t left;		/* of the payload in the archive, padding included */
	uint64_t real_left;	/* without padding */
	struct buf meta;
	struct extra extra;	/* of the entry to come */
	struct extra current;	/* of the one handed over last */
	struct tar_entry entry;
	struct buf name, link;
	struct piece *map;
	size_t n_map, at_map;
	uint64_t in_piece, offset;
	bool is_sparse;
	struct buf map_text;	/* PAX 1.0: the map as it arrives */
	size_t map_lines, map_want;
};

struct tar *tar_new(const struct tar_sink *sink, void *data)
{
	struct tar *t = calloc(1, sizeof(*t));
	if (!t)
		abort();
	t->sink = *sink;
	t->data = data;
	return t;
}

static void extra_clear(struct extra *x)
{
	buf_free(&x->pax);
	buf_free(&x->name);
	buf_free(&x->link);
	free(x->xattrs);
	*x = (struct extra){ 0 };
}

void tar_free(struct tar *t)
{
	if (!t)
		return;
	extra_clear(&t->extra);
	extra_clear(&t->current);
	buf_free(&t->meta);
	buf_free(&t->name);
	buf_free(&t->link);
	buf_free(&t->map_text);
	free(t->map);
	free(t);
}

/* -- numbers -- */

/* Octal, or base-256 when the first bit is set (then maybe negative). */
static int parse_number(const char *field, size_t n, int64_t *out)
{
	const unsigned char *p = (const unsigned char *)field;
	if (p[0] & 0x80) {
		bool negative = p[0] & 0x40;
		uint64_t v = negative ? ~(uint64_t)0 : 0;
		for (size_t i = 0; i < n; i++) {
			unsigned char byte = i ? p[i] : negative ? p[i] : p[i] & 0x7f;
			uint64_t top = v >> 55;
			if (top != 0 && top != 0x1ff)
				return -EBADMSG;
			v = v << 8 | byte;
		}
		*out = (int64_t)v;
		return (*out < 0) == negative ? 0 : -EBADMSG;
	}
	size_t i = 0;
	uint64_t v = 0;
	while (i < n && p[i] == ' ')
		i++;
	for (; i < n && p[i] && p[i] != ' '; i++) {
		if (p[i] < '0' || p[i] > '7' || v >> 60)
			return -EBADMSG;
		v = v << 3 | (p[i] - '0');
	}
	*out = (int64_t)v;
	return 0;
}

static int parse_decimal(const char *s, uint64_t *out)
{
	uint64_t v = 0;
	if (!*s)
		return -EBADMSG;
	for (; *s; s++) {
		if (*s < '0' || *s > '9' || v > (UINT64_MAX >> 1) / 10 - 1)
			return -EBADMSG;
		v = v * 10 + (uint64_t)(*s - '0');
	}
	*out = v;
	return 0;
}

/* "-12.345": seconds may be negative, the fraction counts towards the future. */
static int parse_time(const char *s, struct timespec *out)
{
	bool negative = *s == '-';
	char whole[32];
	size_t n = strspn(s + negative, "0123456789");
	uint64_t sec = 0;
	if (n >= sizeof(whole))
		return -EBADMSG;
	memcpy(whole, s + negative, n);
	whole[n] = 0;
	if (parse_decimal(whole, &sec) < 0)
		return -EBADMSG;
	long nsec = 0, unit = 100000000;
	s += negative + n;
	if (*s == '.') {
		for (s++; *s >= '0' && *s <= '9'; s++, unit /= 10)
			nsec += (*s - '0') * unit;
	}
	if (*s)
		return -EBADMSG;
	out->tv_sec = negative ? -(time_t)sec : (time_t)sec;
	out->tv_nsec = nsec;
	if (negative && nsec) {
		out->tv_sec--;
		out->tv_nsec = 1000000000 - nsec;
	}
	return 0;
}

/* -- the sparse map -- */

static int map_add(struct tar *t, uint64_t offset, uint64_t size, struct err *e)
{
	if (t->n_map >= SPARSE_MAX)
		return err_set(e, EBADMSG, "a sparse file has more than %d pieces", SPARSE_MAX);
	uint64_t end = t->n_map ? t->map[t->n_map - 1].offset + t->map[t->n_map - 1].size : 0;
	if (offset < end || offset + size < offset || offset + size > INT64_MAX)
		return err_set(e, EBADMSG, "the map of a sparse file is out of order");
	if (!(t->n_map & (t->n_map - 1))) {
		size_t cap = t->n_map ? t->n_map * 2 : 1;
		t->map = realloc(t->map, cap * sizeof(*t->map));
		if (!t->map)
			abort();
	}
	t->map[t->n_map++] = (struct piece){ offset, size };
	return 0;
}

/* GNU.sparse.map of 0.1: "offset,size,offset,size..." */
static int map_parse(struct tar *t, char *text, struct err *e)
{
	uint64_t pair[2];
	int at = 0;
	char *save = NULL;
	for (char *s = strtok_r(text, ",", &save); s; s = strtok_r(NULL, ",", &save)) {
		if (parse_decimal(s, &pair[at]) < 0)
			return err_set(e, EBADMSG, "bad number in a sparse map");
		if (at++ == 0)
			continue;
		at = 0;
		int ret = map_add(t, pair[0], pair[1], e);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* -- PAX -- */

static int pax_xattr(struct extra *x, const char *name, const char *value, size_t len)
{
	if (!(x->n_xattrs & (x->n_xattrs - 1))) {
		size_t cap = x->n_xattrs ? x->n_xattrs * 2 : 1;
		x->xattrs = realloc(x->xattrs, cap * sizeof(*x->xattrs));
		if (!x->xattrs)
			abort();
	}
	x->xattrs[x->n_xattrs++] = (struct tar_xattr){ name, value, len };
	return 0;
}

static int pax_sparse(struct tar *t, const char *key, char *value, struct err *e)
{
	struct extra *x = &t->extra;
	uint64_t n = 0;
	int ret = 0;
	x->sparse = true;
	if (!strcmp(key, "major")) {
		x->sparse_1_0 = !strcmp(value, "1");
	} else if (!strcmp(key, "name")) {
		x->sparse_name = value;
	} else if (!strcmp(key, "realsize") || !strcmp(key, "size")) {
		ret = parse_decimal(value, &x->real_size);
		x->has_real_size = true;
	} else if (!strcmp(key, "map")) {
		t->n_map = 0;
		return map_parse(t, value, e);
	} else if (!strcmp(key, "offset")) {
		ret = parse_decimal(value, &x->map_offset);
	} else if (!strcmp(key, "numbytes")) {
		ret = parse_decimal(value, &n);
		if (ret == 0)
			return map_add(t, x->map_offset, n, e);
	}
	return ret < 0 ? err_set(e, EBADMSG, "bad number in GNU.sparse.%s", key) : 0;
}

static int pax_record(struct tar *t, char *key, char *value, size_t len, struct err *e)
{
	static const char xattr[] = "SCHILY.xattr.", sparse[] = "GNU.sparse.";
	struct extra *x = &t->extra;
	int ret = 0;
	if (!strncmp(key, xattr, sizeof(xattr) - 1))
		return pax_xattr(x, key + sizeof(xattr) - 1, value, len);
	if (strlen(value) != len)
		return err_set(e, EBADMSG, "PAX record %s holds a NUL byte", key);
	if (!strncmp(key, sparse, sizeof(sparse) - 1))
		return pax_sparse(t, key + sizeof(sparse) - 1, value, e);
	if (!strcmp(key, "path")) {
		x->pax_name = value;
	} else if (!strcmp(key, "linkpath")) {
		x->pax_link = value;
	} else if (!strcmp(key, "size")) {
		x->has_size = true;
		ret = parse_decimal(value, &x->size);
	} else if (!strcmp(key, "uid")) {
		x->has_uid = true;
		ret = parse_decimal(value, &x->uid);
	} else if (!strcmp(key, "gid")) {
		x->has_gid = true;
		ret = parse_decimal(value, &x->gid);
	} else if (!strcmp(key, "mtime")) {
		x->has_mtime = true;
		ret = parse_time(value, &x->mtime);
	}
	return ret < 0 ? err_set(e, EBADMSG, "bad number in PAX record %s", key) : 0;
}

/* "LEN KEY=VALUE\n", LEN counts itself.  Cut in place: '=' and '\n' become NUL. */
static int pax_parse(struct tar *t, struct err *e)
{
	struct buf *b = &t->extra.pax;
	size_t at = 0;
	t->n_map = 0;
	while (at < b->len) {
		size_t digits = strspn(b->data + at, "0123456789"), len = 0;
		for (size_t i = 0; i < digits && i < 9; i++)
			len = len * 10 + (size_t)(b->data[at + i] - '0');
		if (!digits || digits > 8 || len > b->len - at || len < digits + 4 ||
		    b->data[at + digits] != ' ' || b->data[at + len - 1] != '\n')
			return err_set(e, EBADMSG, "a PAX record is malformed");
		char *key = b->data + at + digits + 1, *end = b->data + at + len - 1;
		char *eq = memchr(key, '=', (size_t)(end - key));
		if (!eq || eq == key)
			return err_set(e, EBADMSG, "a PAX record has no key");
		*eq = *end = 0;
		int ret = pax_record(t, key, eq + 1, (size_t)(end - eq - 1), e);
		if (ret < 0)
			return ret;
		at += len;
	}
	return 0;
}

static int meta_done(struct tar *t, struct err *e)
{
	struct buf *into = t->meta_type == 'x' ? &t->extra.pax :
			   t->meta_type == 'L' ? &t->extra.name : &t->extra.link;
	t->state = STATE_HEADER;
	if (t->meta_type == 'g') {
		t->meta.len = 0;
		return 0;
	}
	if (into == &t->extra.pax && into->len)
		return err_set(e, EBADMSG, "two PAX headers for one entry");
	buf_free(into);
	*into = t->meta;
	t->meta = (struct buf){ 0 };
	return into == &t->extra.pax ? pax_parse(t, e) : 0;
}

/* -- headers -- */

static bool checksum_ok(const struct header *h)
{
	const unsigned char *p = (const unsigned char *)h;
	int64_t want, sum = 0, signed_sum = 0;
	for (size_t i = 0; i < BLOCK; i++) {
		bool own =
			i >= offsetof(struct header, chksum) && i < offsetof(struct header, type);
		sum += own ? ' ' : p[i];
		signed_sum += own ? ' ' : (signed char)p[i];
	}
	return parse_number(h->chksum, sizeof(h->chksum), &want) == 0 &&
	       (want == sum || want == signed_sum);
}

static void set_text(struct buf *b, const char *prefix, const char *field, size_t max)
{
	b->len = 0;
	if (*prefix)
		buf_printf(b, "%s/", prefix);
	buf_add(b, field, strnlen(field, max));
}

static void set_names(struct tar *t, const struct header *h)
{
	const struct extra *x = &t->extra;
	char prefix[sizeof(h->prefix) + 1] = "";
	if (!memcmp(h->magic, "ustar", 6))
		memcpy(prefix, h->prefix, sizeof(h->prefix));
	set_text(&t->name, prefix, h->name, sizeof(h->name));
	set_text(&t->link, "", h->link, sizeof(h->link));
	const char *name = x->sparse_name ? x->sparse_name
			   : x->pax_name  ? x->pax_name
					  : x->name.data;
	const char *link = x->pax_link ? x->pax_link : x->link.data;
	if (name)
		set_text(&t->name, "", name, strlen(name));
	if (link)
		set_text(&t->link, "", link, strlen(link));
	t->entry.name = t->name.data;
	t->entry.link = t->link.data;
}

static int set_type(struct tar *t, char type, struct err *e)
{
	switch (type) {
	case 0: case '0': case '7': case 'S':
		t->entry.type = TAR_FILE;
		/* V7 has no type for directories. */
		if (type != 'S' && t->name.len && t->name.data[t->name.len - 1] == '/')
			t->entry.type = TAR_DIR;
		return 0;
	case '1':
		t->entry.type = TAR_HARDLINK;
		return 0;
	case '2':
		t->entry.type = TAR_SYMLINK;
		return 0;
	case '3':
		t->entry.type = TAR_CHAR;
		return 0;
	case '4':
		t->entry.type = TAR_BLOCK;
		return 0;
	case '5':
		t->entry.type = TAR_DIR;
		return 0;
	case '6':
		t->entry.type = TAR_FIFO;
		return 0;
	default:
		return err_set(e, EBADMSG, "%s: entries of type '%c' are not supported",
			       t->name.data, type > ' ' && type < 127 ? type : '?');
	}
}

/* Years a file system can't hold become the nearest it can. */
static struct timespec clamp_time(struct timespec ts)
{
	static const time_t last = 0x37fffffff;	/* ext4: the year 2446 */
	if (ts.tv_sec < -0x80000000LL)
		ts = (struct timespec){ -0x80000000LL, 0 };
	if (ts.tv_sec > last)
		ts = (struct timespec){ last, 0 };
	return ts;
}

static int set_numbers(struct tar *t, const struct header *h, uint64_t *payload, struct err *e)
{
	const struct extra *x = &t->extra;
	int64_t mode, uid, gid, size, mtime, major = 0, minor = 0;
	if (parse_number(h->mode, sizeof(h->mode), &mode) < 0 ||
	    parse_number(h->uid, sizeof(h->uid), &uid) < 0 ||
	    parse_number(h->gid, sizeof(h->gid), &gid) < 0 ||
	    parse_number(h->size, sizeof(h->size), &size) < 0 ||
	    parse_number(h->mtime, sizeof(h->mtime), &mtime) < 0)
		return err_set(e, EBADMSG, "%s: bad number in its header", t->name.data);
	if ((t->entry.type == TAR_CHAR || t->entry.type == TAR_BLOCK) &&
	    (parse_number(h->major, sizeof(h->major), &major) < 0 ||
	     parse_number(h->minor, sizeof(h->minor), &minor) < 0))
		return err_set(e, EBADMSG, "%s: bad device number", t->name.data);
	if (x->has_uid)
		uid = (int64_t)x->uid;
	if (x->has_gid)
		gid = (int64_t)x->gid;
	if (x->has_size)
		size = (int64_t)x->size;
	if (size < 0 || uid < 0 || gid < 0 || uid >= UINT32_MAX || gid >= UINT32_MAX ||
	    size > INT64_MAX - BLOCK)
		return err_set(e, EBADMSG, "%s: size or owner out of range", t->name.data);
	if (major < 0 || major > 0xfff || minor < 0 || minor > 0xfffff)
		return err_set(e, EBADMSG, "%s: device number out of range", t->name.data);
	t->entry.mode = (mode_t)(mode & 07777);
	t->entry.uid = (uid_t)uid;
	t->entry.gid = (gid_t)gid;
	t->entry.mtime = clamp_time(x->has_mtime ? x->mtime : (struct timespec){ mtime, 0 });
	t->entry.major = (unsigned)major;
	t->entry.minor = (unsigned)minor;
	/* Only files have content; links may state the size of what they link to. */
	*payload = t->entry.type == TAR_FILE ? (uint64_t)size : 0;
	t->entry.size = *payload;
	return 0;
}

static int gnu_pieces(struct tar *t, const char *offset_field, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		const char *f = offset_field + i * 24;
		int64_t offset, size;
		if (!f[0] && !f[12])
			return 0;
		if (parse_number(f, 12, &offset) < 0 || parse_number(f + 12, 12, &size) < 0 ||
		    offset < 0 || size < 0)
			return err_set(e, EBADMSG, "%s: bad sparse map", t->name.data);
		int ret = map_add(t, (uint64_t)offset, (uint64_t)size, e);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* All attributes are known: hand the entry over. */
static int begin_entry(struct tar *t, struct err *e)
{
	struct extra *x = &t->extra;
	t->entry.xattrs = x->xattrs;
	t->entry.n_xattrs = x->n_xattrs;
	t->entry.sparse = t->is_sparse;
	if (t->is_sparse) {
		struct piece last = t->n_map ? t->map[t->n_map - 1] : (struct piece){ 0, 0 };
		uint64_t end = last.offset + last.size, sum = 0;
		for (size_t i = 0; i < t->n_map; i++)
			sum += t->map[i].size;
		if (end > t->entry.size || sum != t->real_left)
			return err_set(e, EBADMSG, "%s: its sparse map does not fit", t->name.data);
	}
	t->at_map = 0;
	t->in_piece = t->offset = 0;
	extra_clear(&t->current);
	t->current = *x;
	*x = (struct extra){ 0 };
	int ret = t->sink.entry(t->data, &t->entry, e);
	t->state = STATE_CONTENT;
	if (ret == 0 && !t->left) {
		t->state = STATE_HEADER;
		ret = t->sink.end(t->data, e);
	}
	return ret;
}

static int begin_file(struct tar *t, const struct header *h, struct err *e)
{
	const struct extra *x = &t->extra;
	t->is_sparse = false;
	if (h->type == 'S') {
		const struct gnu_header *g = (const void *)h;
		int64_t real;
		t->is_sparse = true;
		t->n_map = 0;
		if (parse_number(g->realsize, sizeof(g->realsize), &real) < 0 || real < 0)
			return err_set(e, EBADMSG, "%s: bad size of a sparse file", t->name.data);
		t->entry.size = (uint64_t)real;
		int ret = gnu_pieces(t, g->sp[0].offset, 4, e);
		if (ret < 0)
			return ret;
		if (g->extended) {
			t->state = STATE_GNU_MAP;
			return 0;
		}
	} else if (x->sparse && t->entry.type == TAR_FILE) {
		t->is_sparse = true;
		if (x->has_real_size)
			t->entry.size = x->real_size;
		if (x->sparse_1_0) {
			t->n_map = 0;
			t->map_text.len = 0;
			t->map_lines = 0;
			t->map_want = 1;
			t->state = STATE_PAX_MAP;
			return 0;
		}
	}
	return begin_entry(t, e);
}

static int handle_header(struct tar *t, struct err *e)
{
	static const char zero[BLOCK];
	const struct header *h = (const void *)t->block;
	if (!memcmp(t->block, zero, BLOCK)) {
		if (t->zero_seen)
			t->state = STATE_DONE;
		t->zero_seen = true;
		return 0;
	}
	if (t->zero_seen)
		return err_set(e, EBADMSG, "a lone zero block in the archive");
	if (!checksum_ok(h))
		return err_set(e, EBADMSG, "the checksum of a header is wrong");
	if (strchr("xgLK", h->type) && h->type) {
		int64_t size;
		if (parse_number(h->size, sizeof(h->size), &size) < 0 || size < 0 ||
		    size > TAR_META_MAX)
			return err_set(e, EBADMSG, "a header of type '%c' is larger than %d bytes",
				       h->type, TAR_META_MAX);
		t->meta_type = h->type;
		t->meta.len = 0;
		buf_room(&t->meta, 1);
		t->meta.data[0] = 0;
		t->real_left = (uint64_t)size;
		t->left = ((uint64_t)size + BLOCK - 1) & ~(uint64_t)(BLOCK - 1);
		t->state = STATE_META;
		return t->left ? 0 : meta_done(t, e);
	}
	uint64_t payload = 0;
	set_names(t, h);
	if (t->name.len > TAR_NAME_MAX || t->link.len > TAR_NAME_MAX)
		return err_set(e, EBADMSG, "a name is longer than %d bytes", TAR_NAME_MAX);
	int ret = set_type(t, h->type, e);
	if (ret == 0)
		ret = set_numbers(t, h, &payload, e);
	if (ret < 0)
		return ret;
	t->real_left = payload;
	t->left = (payload + BLOCK - 1) & ~(uint64_t)(BLOCK - 1);
	return begin_file(t, h, e);
}

static int handle_gnu_map(struct tar *t, struct err *e)
{
	int ret = gnu_pieces(t, t->block, 21, e);
	if (ret == 0 && !t->block[504])
		ret = begin_entry(t, e);
	return ret;
}

/* PAX 1.0: decimal lines (count, then offset and size of each piece) in whole blocks, which count
 * towards the payload. */
static int handle_pax_map(struct tar *t, struct err *e)
{
	if (t->real_left < BLOCK || t->map_text.len > TAR_META_MAX * 32)
		return err_set(e, EBADMSG, "%s: its sparse map is cut off", t->name.data);
	t->real_left -= BLOCK;
	t->left -= BLOCK;
	for (size_t i = 0; i < BLOCK && t->map_lines < t->map_want; i++) {
		buf_add(&t->map_text, t->block + i, 1);
		if (t->block[i] != '\n')
			continue;
		if (++t->map_lines > 1)
			continue;
		uint64_t n;
		t->map_text.data[t->map_text.len - 1] = 0;
		if (parse_decimal(t->map_text.data, &n) < 0 || n > SPARSE_MAX)
			return err_set(e, EBADMSG, "%s: bad sparse map", t->name.data);
		t->map_want = 1 + 2 * (size_t)n;
		t->map_text.len = 0;
	}
	if (t->map_lines < t->map_want)
		return 0;
	for (size_t i = 0; i < t->map_text.len; i++)
		if (t->map_text.data[i] == '\n')
			t->map_text.data[i] = ',';
	if (t->map_want > 1) {
		int ret = map_parse(t, t->map_text.data, e);
		if (ret < 0)
			return ret;
	}
	return begin_entry(t, e);
}

/* -- payloads -- */

static int content_piece(struct tar *t, const char *bytes, size_t n, struct err *e)
{
	while (n) {
		struct piece whole = { 0, t->entry.size };
		struct piece *p = t->is_sparse ? &t->map[t->at_map] : &whole;
		uint64_t room = p->size - t->in_piece;
		size_t part = n < room ? n : (size_t)room;
		if (part) {
			int ret = t->sink.content(t->data, p->offset + t->in_piece, bytes, part, e);
			if (ret < 0)
				return ret;
		}
		bytes += part;
		n -= part;
		t->in_piece += part;
		if (t->in_piece == p->size && t->is_sparse) {
			t->at_map++;
			t->in_piece = 0;
		}
	}
	return 0;
}

/* Take what belongs to the payload; returns the bytes used or an error. */
static ssize_t take_payload(struct tar *t, const char *bytes, size_t n, struct err *e)
{
	size_t used = n < t->left ? n : (size_t)t->left;
	size_t real = used < t->real_left ? used : (size_t)t->real_left;
	int ret = 0;
	t->left -= used;
	t->real_left -= real;
	if (t->state == STATE_META)
		buf_add(&t->meta, bytes, real);
	else if (real)
		ret = content_piece(t, bytes, real, e);
	if (ret == 0 && !t->left) {
		if (t->state == STATE_META) {
			ret = meta_done(t, e);
		} else {
			t->state = STATE_HEADER;
			ret = t->sink.end(t->data, e);
		}
	}
	return ret < 0 ? ret : (ssize_t)used;
}

/* Collect one block; true when it is complete. */
static bool take_block(struct tar *t, const char **bytes, size_t *n)
{
	size_t part = BLOCK - t->n_block;
	if (part > *n)
		part = *n;
	memcpy(t->block + t->n_block, *bytes, part);
	t->n_block += part;
	*bytes += part;
	*n -= part;
	if (t->n_block < BLOCK)
		return false;
	t->n_block = 0;
	return true;
}

int tar_feed(struct tar *t, const void *data, size_t n, struct err *e)
{
	const char *bytes = data;
	while (n) {
		int ret = 0;
		switch (t->state) {
		case STATE_META:
		case STATE_CONTENT: {
			ssize_t used = take_payload(t, bytes, n, e);
			if (used < 0)
				return (int)used;
			bytes += used;
			n -= (size_t)used;
			break;
		}
		case STATE_DONE:
			return 0;
		case STATE_HEADER:
			if (take_block(t, &bytes, &n))
				ret = handle_header(t, e);
			break;
		case STATE_GNU_MAP:
			if (take_block(t, &bytes, &n))
				ret = handle_gnu_map(t, e);
			break;
		case STATE_PAX_MAP:
			if (take_block(t, &bytes, &n))
				ret = handle_pax_map(t, e);
			break;
		}
		if (ret < 0)
			return ret;
	}
	return 0;
}

uint64_t tar_content_left(const struct tar *t)
{
	return t->state == STATE_CONTENT ? t->left : 0;
}

int tar_skip(struct tar *t, struct err *e)
{
	t->left = t->real_left = 0;
	t->state = STATE_HEADER;
	return t->sink.end(t->data, e);
}

bool tar_done(const struct tar *t)
{
	return t->state == STATE_DONE;
}

int tar_end(struct tar *t, struct err *e)
{
	if (t->state == STATE_DONE ||
	    (t->state == STATE_HEADER && !t->n_block && !t->extra.pax.data && !t->extra.name.data &&
	     !t->extra.link.data))
		return 0;
	return err_set(e, EBADMSG, "the archive ends in the middle of %s",
		       t->state == STATE_CONTENT ? t->name.data : "a header");
}

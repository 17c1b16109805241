/* The small things of core/base: err, map, buf, utf8, json, file. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/list.h"
#include "core/base/map.h"
#include "core/base/pool.h"
#include "core/base/utf8.h"
#include "t/tap.h"

static struct pool *pool;

static void test_err(void)
{
	struct err e = { 0 };
	ok(!strcmp(err_text(&e), "no error"), "no error");
	ok(err_wrap(&e, 0, "x") == 0 && !e.code, "wrapping success changes nothing");
	ok(err_set(&e, ENOENT, "no pod %s", "p1") == -ENOENT && e.code == ENOENT, "set");
	ok(err_set(&e, -EIO, "later") == -EIO && e.code == ENOENT, "the first cause wins");
	ok(err_wrap(&e, -ENOENT, "start %d", 7) == -ENOENT && !strcmp(e.msg, "start 7: no pod p1"),
	   "prefixed: %s", e.msg);
	err_clear(&e);
	errno = EACCES;
	ok(err_sys(&e, "open %s", "f") == -EACCES && !strcmp(e.msg, "open f: Permission denied"),
	   "errno: %s", e.msg);
	err_clear(&e);
	ok(err_wrap(&e, -EBUSY, "mount") == -EBUSY && e.code == EBUSY &&
		   strstr(e.msg, "mount: Device"),
	   "wrapping a bare errno: %s", e.msg);
	ok(err_set(NULL, EIO, "x") == -EIO, "nobody listens: fine");
	err_clear(&e);
	char longer[2000];
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = 0;
	err_set(&e, EIO, "%s", longer);
	err_wrap(&e, -EIO, "outer");
	ok(strlen(e.msg) == sizeof(e.msg) - 1 && !strncmp(e.msg, "outer: xxx", 10),
	   "too long is cut at the end");
	err_clear(&e);
	for (size_t i = 0; i + 1 < sizeof(longer); i += 2)
		memcpy(longer + i, "\xc3\xa9", 2);
	longer[sizeof(longer) - 2] = 0;
	err_set(&e, EIO, "%s", longer);	/* the cut falls between two bytes of one */
	ok(utf8_valid(e.msg, strlen(e.msg)) == strlen(e.msg), "and not within a character");
}

struct item {
	struct map_node node;
	char key[16];
};

static void test_map(void)
{
	struct map m = { 0 };
	static struct item items[1000];
	int many;
	ok(!map_get(&m, "x") && !map_prefix(&m, "x", &many), "empty");
	for (int i = 0; i < 1000; i++) {
		snprintf(items[i].key, sizeof(items[i].key), "key-%d", i);
		map_put(&m, &items[i].node, items[i].key);
	}
	int good = 0;
	for (int i = 0; i < 1000; i++)
		good += map_get(&m, items[i].key) == &items[i].node;
	ok(good == 1000 && m.len == 1000, "1000 put, all found");
	ok(!map_get(&m, "key-1000") && !map_get(&m, ""), "others are not");
	for (int i = 0; i < 1000; i += 2) {
		map_del(&m, &items[i].node);
		map_del(&m, &items[i].node);
	}
	good = 0;
	for (int i = 0; i < 1000; i++)
		good += !!map_get(&m, items[i].key) == i % 2;
	ok(good == 1000 && m.len == 500, "every second one deleted");
	ok(map_prefix(&m, "key-999", &many) == &items[999].node, "by a prefix that is enough");
	ok(!map_prefix(&m, "key-99", &many) && many, "or is not");
	ok(!map_prefix(&m, "no", &many) && !many, "or is nobody's");
	map_free(&m);
}

static void test_list(void)
{
	struct list l = LIST_INIT(l);
	struct item2 {
		struct list link;
		int n;
	} a = { .n = 1 }, b = { .n = 2 }, c = { .n = 3 }, *it;
	list_append(&l, &b.link);
	list_append(&l, &c.link);
	list_prepend(&l, &a.link);
	int sum = 0;
	list_for_each(it, &l, link) {
		sum = sum * 10 + it->n;
		if (it->n == 2)
			list_del(&it->link);
	}
	ok(sum == 123, "in order, removing on the way");
	list_del(&b.link);
	ok(list_pop(&l) == &a.link && list_pop(&l) == &c.link && !list_pop(&l) && list_empty(&l),
	   "pop");
}

static void test_buf(void)
{
	struct buf b = { 0 };
	buf_adds(&b, "");
	ok(b.len == 0 && b.data[0] == 0, "adding nothing gives a string");
	for (int i = 0; i < 1000; i++)
		buf_printf(&b, "%d,", i);
	ok(b.len == 3890 && !strncmp(b.data, "0,1,2,", 6) && b.data[b.len] == 0, "it grows");
	buf_consume(&b, 2);
	ok(!strncmp(b.data, "1,2,", 4) && b.len == 3888, "consume at the front");
	buf_add(&b, "a\0b", 3);
	ok(b.data[b.len - 2] == 0 && b.data[b.len - 1] == 'b', "bytes, not strings");
	char *room = buf_room(&b, 100000);
	memset(room, 'x', 100000);
	b.len += 100000;
	ok(b.cap > b.len, "room for more, and for the NUL");
	buf_consume(&b, b.len);
	ok(!b.len, "consume all");
	buf_free(&b);
	ok(!b.data && !b.cap, "freed");
	buf_free(&b);
}

static void test_utf8(void)
{
	static const struct {
		const char *s;
		size_t n, valid;
	} cases[] = {
		{"", 0, 0},
		{"abc", 3, 3},
		{"\xc3\xa9", 2, 2},
		{"\xe2\x82\xac", 3, 3},
		{"\xf0\x9f\x98\x80", 4, 4},
		{"a\xff"
		 "b",
		 3, 1},
		{"a\xc3", 2, 1},
		{"\xc0\xaf", 2, 0},
		{"\xed\xa0\x80", 3, 0},
		{"\xf4\x90\x80\x80", 4, 0},
		{"\xe0\x80\x80", 3, 0},
		{"\x80", 1, 0},
		{"\xf5\x80\x80\x80", 4, 0},
		{"\xf0\x8f\xbf\xbf", 4, 0},
	};
	int good = 0, n = sizeof(cases) / sizeof(*cases);
	for (int i = 0; i < n; i++)
		good += utf8_valid(cases[i].s, cases[i].n) == cases[i].valid;
	ok(good == n, "%d of %d strings judged right", good, n);
	const char *s = "fine";
	ok(utf8_clean(pool, s, 4) == s, "clean text is not copied");
	ok(!strcmp(utf8_clean(pool, "a\xff\xc3z", 4), "a\xef\xbf\xbd\xef\xbf\xbdz"),
	   "each bad byte is replaced");
}

static const struct json *parse(const char *text, struct err *e)
{
	const struct json *j = NULL;
	err_clear(e);
	return json_parse(pool, text, strlen(text), &j, e) == 0 ? j : NULL;
}

static void test_json_read(void)
{
	struct err e = { 0 };
	const struct json *j = parse(
		"{\"a\": {\"b\": [1, -2, 9007199254740993]}, \"s\": \"x\\u00e9\", \"t\": true, "
		"\"n\": null, \"f\": 1.5}",
		&e);
	const struct json *list = json_path(j, "a", "b", NULL);
	ok(j && json_len(list) == 3 && json_int(json_at(list, 1), 0) == -2, "members and items");
	ok(json_int(json_at(list, 2), 0) == 9007199254740993, "64-bit numbers are exact");
	ok(!strcmp(json_str(json_get(j, "s")), "x\xc3\xa9"), "strings");
	ok(json_bool(json_get(j, "t"), false) && json_is_null(json_get(j, "n")),
	   "booleans and null");
	ok(!json_get(NULL, "a") && !json_get(list, "a") && !json_str(list) &&
		   json_int(list, 7) == 7 && !json_at(list, 3) &&
		   !json_path(j, "a", "x", "y", NULL),
	   "what is missing or mistyped is NULL or the default");
	ok(json_len(j) == 5 && !strcmp(json_key_at(j, 1), "s") && !json_key_at(j, 5),
	   "members by number");
	static const char *const bad[] = {"",	 "{",	 "{\"a\":}", "[1,]",
					  "tru", "{} x", "\"\xff\"", "nan"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ok(!parse(bad[i], &e) && e.code == EINVAL, "refused: %s",
		   utf8_clean(pool, e.msg, strlen(e.msg)));
	char deep[400];
	memset(deep, '[', 200);
	memset(deep + 200, ']', 200);
	const struct json *out;
	ok(json_parse(pool, deep, 400, &out, &e) < 0, "too deep is refused");
}

static void test_json_write(void)
{
	struct json_out *o = json_out(pool);
	struct err e = { 0 };
	json_object(o);
	json_member_str(o, "s", "a\"\\\n/\xff");
	json_member_int(o, "i", INT64_MIN);
	json_member_bool(o, "b", true);
	json_member_str(o, "none", NULL);
	json_key(o, "l");
	json_array(o);
	json_put(o, parse("{\"big\": 12345678901234567890, \"x\": [1.50, false, \"q\"]}", &e));
	json_end_array(o);
	json_end_object(o);
	size_t len;
	const char *text = json_text(o, &len);
	ok(!strcmp(text, "{\"s\":\"a\\\"\\\\\\n/"
			 "\xef\xbf\xbd\",\"i\":-9223372036854775808,\"b\":true,\"none\":null,"
			 "\"l\":[{\"big\":12345678901234567890,\"x\":[1.50,false,\"q\"]}]}"),
	   "written: %s", text);
	ok(len == strlen(text), "with its length");
}

static char *path_of(const char *dir, const char *name)
{
	return pool_printf(pool, "%s/%s", dir, name);
}

static void test_file(void)
{
	char dir[] = "/tmp/file.XXXXXX";
	struct err e = { 0 };
	struct buf b = { 0 };
	struct stat st;
	if (!mkdtemp(dir))
		abort();
	ok(file_mkdirs(path_of(dir, "a/b/c"), 0755, &e) == 0 &&
		   stat(path_of(dir, "a/b/c"), &st) == 0,
	   "mkdirs");
	ok(file_mkdirs(path_of(dir, "a/b/c"), 0755, &e) == 0, "again");
	ok(file_replace(AT_FDCWD, path_of(dir, "a/f"), "one", 3, 0600, &e) == 0 &&
	   file_replace(AT_FDCWD, path_of(dir, "a/f"), "two", 3, 0600, &e) == 0, "replace");
	ok(file_read(AT_FDCWD, path_of(dir, "a/f"), 3, &b, &e) == 0 && !strcmp(b.data, "two"),
	   "read");
	ok(access(path_of(dir, "a/f.tmp"), F_OK) < 0, "no temporary file is left");
	ok(file_read(AT_FDCWD, path_of(dir, "a/f"), 2, &b, &e) == -EFBIG, "too long: %s", e.msg);
	err_clear(&e);
	ok(file_read(AT_FDCWD, path_of(dir, "none"), 9, &b, &e) == -ENOENT && strstr(e.msg, "none"),
	   "missing: %s", e.msg);
	err_clear(&e);
	ok(file_mkdirs(path_of(dir, "a/f/x"), 0755, &e) == -ENOTDIR, "a file in the way: %s",
	   e.msg);
	err_clear(&e);
	buf_free(&b);
	ok(file_replace(AT_FDCWD, path_of(dir, "keep"), "x", 1, 0600, &e) == 0 &&
		   symlink("../keep", path_of(dir, "a/link")) == 0 &&
		   symlink(dir, path_of(dir, "a/b/up")) == 0,
	   "links out");
	ok(file_remove_tree(AT_FDCWD, path_of(dir, "a"), &e) == 0 &&
		   access(path_of(dir, "a"), F_OK) < 0,
	   "a tree goes");
	ok(access(path_of(dir, "keep"), F_OK) == 0, "what its links name stays");
	ok(file_remove_tree(AT_FDCWD, path_of(dir, "a"), &e) == 0, "a missing one is fine");
	ok(file_remove_tree(AT_FDCWD, path_of(dir, "keep"), &e) == 0 &&
		   access(path_of(dir, "keep"), F_OK) < 0,
	   "a file alone");
	file_mkdirs(path_of(dir, "m/n"), 0755, &e);
	if (mount("tmpfs", path_of(dir, "m/n"), "tmpfs", 0, NULL) == 0) {
		file_replace(AT_FDCWD, path_of(dir, "m/n/x"), "x", 1, 0600, &e);
		ok(file_remove_tree(AT_FDCWD, path_of(dir, "m"), &e) < 0 &&
			   access(path_of(dir, "m/n/x"), F_OK) == 0,
		   "no mount is crossed: %s", e.msg);
		umount2(path_of(dir, "m/n"), MNT_DETACH);
		err_clear(&e);
	}
	file_remove_tree(AT_FDCWD, dir, &e);
	int fds[2];
	if (pipe(fds) < 0)
		abort();
	ok(fd_set_cloexec(fds[0], 1) == 0 && fcntl(fds[0], F_GETFD) == FD_CLOEXEC &&
		   fd_set_cloexec(fds[0], 0) == 0 && fcntl(fds[0], F_GETFD) == 0,
	   "cloexec on and off");
	ok(fd_set_nonblock(fds[0]) == 0 && read(fds[0], dir, 1) < 0 && errno == EAGAIN, "nonblock");
	close(fds[0]);
	close(fds[1]);
	char a[65], c[65];
	random_id(a);
	random_id(c);
	ok(strlen(a) == 64 && strspn(a, "0123456789abcdef") == 64 && strcmp(a, c), "ids");
}

int main(void)
{
	pool = pool_new(NULL, "test");
	test_err();
	test_map();
	test_list();
	test_buf();
	test_utf8();
	test_json_read();
	test_json_write();
	test_file();
	pool_destroy(pool);
	return done();
}

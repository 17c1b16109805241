/* An image's files, found through its layers as the mounted overlay would show them, and never
 * outside of them. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/pool.h"
#include "core/work/layers.h"
#include "t/tap.h"

static struct pool *pool;
static char top[] = "/tmp/crisp-layers.XXXXXX";
static const char *dirs[3];	/* lowest first */
static char *upper;

static const char *at(int layer, const char *path)
{
	return pool_printf(pool, "%s%s", dirs[layer], path);
}

static void put(int layer, const char *path, const char *text)
{
	struct err e = { 0 };
	char *full = pool_strdup(pool, at(layer, path)), *slash = strrchr(full, '/');
	*slash = '\0';
	if (file_mkdirs(full, 0755, &e))
		printf("not ok - %s\n", e.msg), exit(1);
	*slash = '/';
	if (text && file_replace(AT_FDCWD, full, text, strlen(text), 0644, &e))
		printf("not ok - %s\n", e.msg), exit(1);
}

static void link_to(int layer, const char *path, const char *target)
{
	put(layer, path, NULL);
	if (symlink(target, at(layer, path)))
		printf("not ok - symlink\n"), exit(1);
}

static void whiteout(int layer, const char *path)
{
	put(layer, path, NULL);
	if (mknod(at(layer, path), S_IFCHR, makedev(0, 0)))
		printf("not ok - whiteout\n"), exit(1);
}

static bool make_layers(void)
{
	if (!mkdtemp(top))
		return false;
	for (int i = 0; i < 3; i++) {
		dirs[i] = pool_printf(pool, "%s/layer%d", top, i);
		mkdir(dirs[i], 0755);
	}
	upper = pool_printf(pool, "%s/upper", top);
	mkdir(upper, 0755);

	put(0, "/etc/low", "low");
	put(0, "/etc/both", "below");
	put(2, "/etc/both", "above");
	put(0, "/etc/gone", "gone");
	whiteout(1, "/etc/gone");
	put(0, "/etc/back", "old");
	whiteout(1, "/etc/back");
	put(2, "/etc/back", "new");

	put(0, "/opaque/old", "old");
	put(1, "/opaque/new", "new");
	put(0, "/whole/old", "old");
	whiteout(1, "/whole");
	put(2, "/whole/new", "new");
	put(0, "/file/in", "in");
	put(2, "/file", "a file over a directory");
	put(0, "/dir", "a file under a directory");
	put(1, "/dir/in", "in");

	link_to(1, "/absolute", "/etc/low");
	link_to(1, "/relative", "etc/../etc/./low");
	link_to(1, "/linked", "usr/etc");
	put(0, "/usr/etc/passwd", "through a linked directory");
	link_to(2, "/out", "../../../../../../../../etc/passwd");
	link_to(2, "/outdir", "/../..");
	link_to(2, "/loop", "loop2");
	link_to(2, "/loop2", "loop");
	link_to(2, "/dangling", "/made/by/need");
	put(2, "/etc/passwd", "the image's");
	put(2, "/some/dir/", NULL);
	mkfifo(at(2, "/fifo"), 0644);
	put(1, "/long", "0123456789");

	put(1, "/deep/kept/x", "x");
	chmod(at(1, "/deep"), 0751);
	chmod(at(1, "/deep/kept"), 01777);
	return true;
}

/* Reading path gives text, or the error that is its errno's name. */
static void reads(struct layers *l, const char *path, int want, const char *text)
{
	struct buf b = { 0 };
	struct err e = { 0 };
	int ret = layers_read(l, path, 64, &b, &e);
	ok(ret == want && (ret || (b.len == strlen(text) && !memcmp(b.data, text, b.len))), "read %s: %s", path,
	   ret ? e.msg : b.data);
	buf_free(&b);
}

static void test_read(struct layers *l)
{
	reads(l, "/etc/low", 0, "low");
	reads(l, "/etc/both", 0, "above");
	reads(l, "/etc/gone", -ENOENT, NULL);
	reads(l, "/etc/back", 0, "new");
	reads(l, "/whole/old", -ENOENT, NULL);
	reads(l, "/whole/new", 0, "new");
	reads(l, "/file", 0, "a file over a directory");
	reads(l, "/file/in", -ENOENT, NULL);
	reads(l, "/dir/in", 0, "in");
	reads(l, "/absolute", 0, "low");
	reads(l, "/relative", 0, "low");
	reads(l, "/linked/passwd", 0, "through a linked directory");
	reads(l, "/linked/../../etc/low", 0, "low");
	reads(l, "/out", 0, "the image's");
	reads(l, "/outdir/etc/passwd", 0, "the image's");
	reads(l, "/../../etc/passwd", 0, "the image's");
	reads(l, "/loop", -ELOOP, NULL);
	reads(l, "/dangling", -ENOENT, NULL);
	reads(l, "/fifo", -EINVAL, NULL);
	reads(l, "/etc", -EISDIR, NULL);
	reads(l, "/nowhere/at/all", -ENOENT, NULL);

	struct buf b = { 0 };
	struct err e = { 0 };
	ok(layers_read(l, "/long", 9, &b, &e) == -EFBIG, "a file longer than the bound: %s", e.msg);
	buf_free(&b);
}

static void test_opaque(struct layers *l)
{
	if (setxattr(at(1, "/opaque"), "trusted.overlay.opaque", "y", 1, 0)) {
		ok(true, "# SKIP trusted xattrs need root");
		return;
	}
	reads(l, "/opaque/old", -ENOENT, NULL);
	reads(l, "/opaque/new", 0, "new");
}

/* A path that is made to take for ever: 40 links of many ".." each. */
static void test_busy(struct layers *l)
{
	char target[3000] = "", path[3000] = "";
	for (int i = 0; i < 200; i++)
		strcat(path, "/d");
	put(0, pool_printf(pool, "%s/x", path), "x");
	strcpy(target, path + 1);
	for (int i = 0; i < 600; i++)
		strcat(target, i % 2 ? "/d" : "/..");
	strcat(target, "/x");
	link_to(2, "/busy", target);
	struct buf b = { 0 };
	struct err e = { 0 };
	ok(layers_read(l, "/busy", 64, &b, &e) == -ELOOP, "a way that is too long: %s", e.msg);
	buf_free(&b);
}

static void makes(struct layers *l, const char *path, int want, const char *real)
{
	struct err e = { 0 };
	const char *got;
	int ret = layers_mkdir(l, pool, path, &got, &e);
	ok(ret == want && (ret || !strcmp(got, real)), "directory %s: %s", path, ret ? e.msg : got);
}

static bool in_upper(const char *path, mode_t mode)
{
	struct stat st;
	return !stat(pool_printf(pool, "%s%s", upper, path), &st) && S_ISDIR(st.st_mode) &&
	       (st.st_mode & 07777) == mode;
}

static void test_mkdir(struct layers *l)
{
	makes(l, "/etc", 0, "/etc");
	ok(!in_upper("/etc", 0755), "what is there is not copied");
	makes(l, "/data", 0, "/data");
	ok(in_upper("/data", 0755), "what is missing is made");
	makes(l, "data", 0, "/data");
	makes(l, "/deep/kept/new/newer/", 0, "/deep/kept/new/newer");
	ok(in_upper("/deep", 0751) && in_upper("/deep/kept", 01777) && in_upper("/deep/kept/new/newer", 0755),
	   "parents keep their modes");
	makes(l, "/linked/sub", 0, "/usr/etc/sub");
	makes(l, "/dangling", 0, "/made/by/need");
	makes(l, "/out/../../x", -ENOTDIR, NULL);
	makes(l, "/etc/low/x", -ENOTDIR, NULL);
	makes(l, "/new/../x", -EINVAL, NULL);
	makes(l, "/loop/x", -ELOOP, NULL);
	makes(l, "/etc/gone", 0, "/etc/gone");
	makes(l, "/outdir/tmp-of-image", 0, "/tmp-of-image");
	makes(l, "/", 0, "/");
	ok(access("/tmp-of-image", F_OK) != 0, "nothing is made outside");
}

int main(void)
{
	struct layers *l = NULL, *plain = NULL;
	struct err e = { 0 };
	pool = pool_new(NULL, "test");
	if (!make_layers()) {
		printf("not ok - no layers\n");
		return 1;
	}
	ok(!layers_open(pool, upper, dirs, 3, NULL, &l, &e) && !layers_open(pool, NULL, dirs, 3, NULL, &plain, &e), "open %s",
	   e.msg);
	test_read(plain);
	test_read(l);
	test_opaque(l);
	test_busy(l);
	test_mkdir(l);
	makes(plain, "/not/there", -EROFS, NULL);

	const char *missing[] = { "/nonexistent/layer" };
	e = (struct err){ 0 };
	ok(layers_open(pool, NULL, missing, 1, NULL, &l, &e) == -ENOENT && strstr(e.msg, "/nonexistent/layer"),
	   "a layer that is missing is named: %s", e.msg);
	file_remove_tree(AT_FDCWD, top, &e);
	pool_destroy(pool);
	return done();
}

/*
 * Layers to directories: what a tar may ask for, in all its formats, and what a hostile one may not
 * get.  Beside the layer's root lies a folder "outside" with a file "secret": nothing may ever
 * touch it.  The unpacker runs here without its confinement, so that its own care is what is
 * tested.
 */
#include "core/pull/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <isa-l/igzip_lib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <zstd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/pull/digest.h"
#include "core/pull/extract.h"
#include "t/tap.h"

static char dir[] = "/tmp/crisp-unpack.XXXXXX";
static int top = -1, root = -1;
static struct buf tar;
static struct extract_result result;
static struct err err;

/* -- making a tar -- */

struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], chksum[8], type, link[100];
	char magic[6], version[2], uname[32], gname[32], major[8], minor[8];
	char prefix[155], pad[12];
};

static void finish_header(struct header *h)
{
	unsigned sum = 0;
	memset(h->chksum, ' ', sizeof(h->chksum));
	for (size_t i = 0; i < sizeof(*h); i++)
		sum += ((unsigned char *)h)[i];
	snprintf(h->chksum, sizeof(h->chksum), "%06o", sum);
}

static void put_padded(const void *data, size_t n)
{
	static const char zero[512];
	buf_add(&tar, data, n);
	buf_add(&tar, zero, (512 - n % 512) % 512);
}

static struct header *put_header(const char *name, char type, const char *link, unsigned mode,
				 size_t size)
{
	struct header h = { 0 };
	memcpy(h.name, name, strnlen(name, sizeof(h.name)));
	memcpy(h.link, link, strnlen(link, sizeof(h.link)));
	snprintf(h.mode, sizeof(h.mode), "%07o", mode);
	snprintf(h.uid, sizeof(h.uid), "%07o", 0);
	snprintf(h.gid, sizeof(h.gid), "%07o", 0);
	snprintf(h.size, sizeof(h.size), "%011zo", size);
	snprintf(h.mtime, sizeof(h.mtime), "%011o", 1000000000);
	h.type = type;
	memcpy(h.magic, "ustar", 6);
	memcpy(h.version, "00", 2);
	finish_header(&h);
	buf_add(&tar, &h, sizeof(h));
	return (struct header *)(tar.data + tar.len - sizeof(h));
}

static void file(const char *name, const char *text)
{
	put_header(name, '0', "", 0644, strlen(text));
	put_padded(text, strlen(text));
}

static void folder(const char *name)
{
	put_header(name, '5', "", 0755, 0);
}

static void symlink_to(const char *name, const char *to)
{
	put_header(name, '2', to, 0777, 0);
}

static void hardlink_to(const char *name, const char *to)
{
	put_header(name, '1', to, 0644, 0);
}

/* One PAX header of any records; values may hold NULs. */
static void pax(const char *key, const char *value, size_t len, struct buf *records)
{
	size_t base = strlen(key) + len + 3, n = base + 1;
	char digits[24];
	while (base + (size_t)snprintf(digits, sizeof(digits), "%zu", n) != n)
		n = base + strlen(digits);
	buf_printf(records, "%zu %s=", n, key);
	buf_add(records, value, len);
	buf_add(records, "\n", 1);
}

static void put_pax(struct buf *records)
{
	put_header("pax", 'x', "", 0644, records->len);
	put_padded(records->data, records->len);
	buf_free(records);
}

static void pax1(const char *key, const char *value)
{
	struct buf b = { 0 };
	pax(key, value, strlen(value), &b);
	put_pax(&b);
}

/* -- running it -- */

static void begin(void)
{
	struct err e = { 0 };
	tar.len = 0;
	buf_free(&result.opaque);
	buf_free(&result.implied);
	if (root >= 0)
		close(root);
	file_remove_tree(top, "root", &e);
	file_remove_tree(top, "outside", &e);
	mkdirat(top, "root", 0755);
	mkdirat(top, "outside", 0755);
	int fd = openat(top, "outside/secret", O_WRONLY | O_CREAT, 0644);
	if (fd < 0 || write(fd, "secret", 6) != 6)
		abort();
	close(fd);
	root = openat(top, "root", O_RDONLY | O_DIRECTORY);
}

static int memory_file(const void *data, size_t n)
{
	int fd = memfd_create("blob", 0);
	if (fd < 0 || file_write_all(fd, data, n) < 0)
		abort();
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static int unpack_blob(const void *blob, size_t n, const char *blob_digest, const char *diff,
		       uint64_t budget)
{
	char got_diff[DIGEST_TEXT_MAX], got_blob[DIGEST_TEXT_MAX];
	struct unpack_job j = {
		.in = memory_file(blob, n),
		.root = root,
		.blob = blob_digest,
		.diff = diff,
		.size = n,
		.budget = budget,
	};
	err_clear(&err);
	int ret = unpack_stream(&j, &result, got_diff, got_blob, &err);
	close(j.in);
	return ret;
}

static void end_tar(void)
{
	static const char zero[1024];
	buf_add(&tar, zero, sizeof(zero));
}

static int run_budget(uint64_t budget)
{
	char diff[DIGEST_TEXT_MAX];
	end_tar();
	digest_of(NULL, tar.data, tar.len, diff);
	return unpack_blob(tar.data, tar.len, "", diff, budget);
}

static int run(void)
{
	return run_budget(1 << 30);
}

static bool outside_untouched(void)
{
	struct buf b = { 0 };
	struct stat st, secret;
	bool good = file_read(top, "outside/secret", 100, &b, NULL) == 0 &&
		    !strcmp(b.data, "secret") && fstatat(top, "outside", &st, 0) == 0 &&
		    st.st_nlink == 2 && (st.st_mode & 07777) == 0755 &&
		    fstatat(top, "outside/secret", &secret, 0) == 0 && secret.st_nlink == 1 &&
		    secret.st_uid == 0;
	buf_free(&b);
	auto_closedir DIR *d = opendir(dir);
	int n = 0;
	for (struct dirent *ent; (ent = readdir(d));)
		n += ent->d_name[0] != '.';
	return good && n == 2;
}

static bool is(const char *path, const char *text)
{
	struct buf b = { 0 };
	bool good = file_read(root, path, 1 << 20, &b, NULL) == 0 && b.len == strlen(text) &&
		    (!b.len || !memcmp(b.data, text, b.len));
	buf_free(&b);
	return good;
}

static mode_t type_of(const char *path)
{
	struct stat st;
	return fstatat(root, path, &st, AT_SYMLINK_NOFOLLOW) < 0 ? 0 : st.st_mode & S_IFMT;
}

static bool is_whiteout(const char *path)
{
	struct stat st;
	return fstatat(root, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISCHR(st.st_mode) &&
	       st.st_rdev == 0;
}

static bool listed(const struct buf *list, const char *path)
{
	for (size_t at = 0; at < list->len; at += strlen(list->data + at) + 1)
		if (!strcmp(list->data + at, path))
			return true;
	return false;
}

/* -- tests -- */

static void test_names(void)
{
	static const struct {
		const char *name, *clean;
	} cases[] = {
		{ "a/b", "a/b" }, { "./a", "a" }, { "/a", "a" }, { "a//b/", "a/b" },
		{ "..", "" }, { "../../a", "a" }, { "a/../../../b", "b" }, { "a/./b/../c", "a/c" },
		{ ".", "" }, { "...", "..." }, { "a/..", "" },
	};
	char out[TAR_NAME_MAX + 1], longest[TAR_NAME_MAX + 3];
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		ok(extract_clean_name(cases[i].name, out, NULL) == 0 &&
			   !strcmp(out, cases[i].clean),
		   "\"%s\" is \"%s\"", cases[i].name, cases[i].clean);
	memset(longest, 'a', 256);
	longest[256] = 0;
	ok(extract_clean_name(longest, out, NULL) < 0, "a component of 256 bytes is refused");
	for (int i = 0; i < TAR_NAME_MAX; i += 2)
		memcpy(longest + i, "a/", 3);
	ok(extract_clean_name(longest, out, NULL) < 0, "2048 directories deep is refused");
}

static void test_plain(void)
{
	struct stat st;
	begin();
	folder("./");
	folder("etc");
	file("etc/motd", "hello");
	put_header("bin", '5', "", 01777, 0);
	struct header *h = put_header("bin/su", '0', "", 04755, 3);
	snprintf(h->uid, sizeof(h->uid), "%07o", 7);
	finish_header(h);
	put_padded("sux", 3);
	symlink_to("lib", "usr/lib");
	hardlink_to("etc/motd2", "etc/motd");
	put_header("fifo", '6', "", 0600, 0);
	ok(run() == 0, "a plain layer: %s", err.msg);
	ok(is("etc/motd", "hello") && is("etc/motd2", "hello"), "files and hard links");
	ok(fstatat(root, "etc/motd", &st, 0) == 0 && st.st_nlink == 2 && st.st_mtime == 1000000000,
	   "times and links");
	ok(fstatat(root, "bin/su", &st, 0) == 0 && (st.st_mode & 07777) == 04755 && st.st_uid == 7,
	   "setuid outlives the change of owner");
	ok(fstatat(root, "bin", &st, 0) == 0 && (st.st_mode & 07777) == 01777 &&
		   st.st_mtime == 1000000000,
	   "a sticky directory, its time set after its entries");
	ok(type_of("lib") == S_IFLNK && type_of("fifo") == S_IFIFO, "a symlink and a FIFO");
	ok(result.inodes == 6 && result.bytes == 2 * 4096 + 2 * 4096,
	   "counted: %llu inodes, %llu bytes", (unsigned long long)result.inodes,
	   (unsigned long long)result.bytes);
}

static void test_formats(void)
{
	char longname[400];
	struct stat st;
	begin();
	memset(longname, 'n', 200);
	memcpy(longname + 200, "/file", 6);
	put_header("long", 'L', "", 0, 206);
	put_padded(longname, 206);
	file("short", "gnu");
	memcpy(longname, "pax", 3);
	pax1("path", longname);
	struct header *h = put_header("short", '0', "", 0644, 3);
	memset(h->uid, 0, 8);	/* base-256: 70000 */
	h->uid[0] = (char)0x80;
	h->uid[5] = 1;
	h->uid[6] = 0x11;
	h->uid[7] = 0x70;
	memset(h->mtime, 0xff, 12);	/* base-256: -1 */
	finish_header(h);
	put_padded("pax", 3);
	h = put_header("tail", '0', "", 0644, 1);
	memcpy(h->prefix, "pre/fix", 7);
	finish_header(h);
	put_padded("u", 1);
	pax1("mtime", "1234567890.5");
	file("frac", "");
	h = put_header("v7dir/", 0, "", 0755, 0);
	memset(h->magic, 0, 8);
	finish_header(h);
	put_header("glob", 'g', "", 0, 11);
	put_padded("11 path=xx\n", 11);
	file("after-global", "g");
	ok(run() == 0, "all formats: %s", err.msg);
	ok(is(longname, "pax") && fstatat(root, longname, &st, 0) == 0 && st.st_uid == 70000 &&
		   st.st_mtime == -1,
	   "PAX path, base-256 owner and time");
	memcpy(longname, "nnn", 3);
	ok(is(longname, "gnu"), "a GNU long name");
	ok(is("pre/fix/tail", "u"), "a ustar prefix");
	ok(fstatat(root, "frac", &st, 0) == 0 && st.st_mtime == 1234567890 &&
		   st.st_mtim.tv_nsec == 500000000,
	   "a fraction of a second");
	ok(type_of("v7dir") == S_IFDIR, "a V7 directory");
	ok(is("after-global", "g"), "a global header changes nothing");
}

static void test_sparse(void)
{
	struct buf b = { 0 };
	struct stat st;
	begin();
	pax("GNU.sparse.major", "1", 1, &b);
	pax("GNU.sparse.minor", "0", 1, &b);
	pax("GNU.sparse.name", "one", 3, &b);
	pax("GNU.sparse.realsize", "100000", 6, &b);
	put_pax(&b);
	put_header("GNUSparseFile.0/one", '0', "", 0644, 512 + 4);
	put_padded("2\n0\n2\n65536\n2\n", 14);
	put_padded("abcd", 4);
	pax("GNU.sparse.size", "10", 2, &b);
	pax("GNU.sparse.numblocks", "1", 1, &b);
	pax("GNU.sparse.map", "5,3", 3, &b);
	put_pax(&b);
	file("zero-one", "xyz");
	struct header *h = put_header("old", 'S', "", 0644, 2);
	char *g = (char *)h;
	memcpy(h->magic, "ustar ", 6);
	memcpy(h->version, " ", 2);
	snprintf(g + 386, 12, "%011o", 8);
	snprintf(g + 398, 12, "%011o", 2);
	snprintf(g + 483, 12, "%011o", 20);
	finish_header(h);
	put_padded("hi", 2);
	ok(run() == 0, "sparse files: %s", err.msg);
	ok(fstatat(root, "one", &st, 0) == 0 && st.st_size == 100000 && st.st_blocks < 100,
	   "PAX 1.0: its size, with holes");
	ok(is("zero-one", "") == false && fstatat(root, "zero-one", &st, 0) == 0 &&
		   st.st_size == 10,
	   "PAX 0.1");
	ok(fstatat(root, "old", &st, 0) == 0 && st.st_size == 20, "old GNU");
	char at[3] = "";
	auto_close int fd = openat(root, "one", O_RDONLY);
	ok(pread(fd, at, 2, 65536) == 2 && !strcmp(at, "cd"), "its pieces are in their places");
	begin();
	pax("GNU.sparse.size", "10", 2, &b);
	pax("GNU.sparse.map", "5,3,4,9", 7, &b);
	put_pax(&b);
	file("bad", "xyz");
	ok(run() == -EBADMSG, "a map that overlaps is refused: %s", err.msg);
	begin();
	pax("GNU.sparse.size", "10", 2, &b);
	pax("GNU.sparse.map", "5,100", 5, &b);
	put_pax(&b);
	file("bad", "xyz");
	ok(run() == -EBADMSG, "a map that promises more than there is is refused: %s", err.msg);
}

static void test_xattrs(void)
{
	struct buf b = { 0 };
	char value[64];
	static const char cap[20] = { 1, 0, 0, 2, 0, 4 };	/* VFS_CAP_REVISION_2 */
	begin();
	pax("SCHILY.xattr.user.note", "a\0b", 3, &b);
	pax("SCHILY.xattr.security.capability", cap, sizeof(cap), &b);
	pax("SCHILY.xattr.trusted.overlay.redirect", "/etc", 4, &b);
	pax("SCHILY.xattr.user.overlay.redirect", "/etc", 4, &b);
	put_pax(&b);
	struct header *h = put_header("f", '0', "", 0755, 1);
	snprintf(h->uid, sizeof(h->uid), "%07o", 5);
	finish_header(h);
	put_padded("x", 1);
	ok(run() == 0, "extended attributes: %s", err.msg);
	auto_close int fd = openat(root, "f", O_RDONLY);
	ok(fgetxattr(fd, "user.note", value, sizeof(value)) == 3 && !memcmp(value, "a\0b", 3),
	   "a user attribute, with a NUL");
	ok(fgetxattr(fd, "security.capability", value, sizeof(value)) == 20,
	   "capabilities outlive the change of owner");
	ok(fgetxattr(fd, "trusted.overlay.redirect", value, sizeof(value)) < 0 &&
		   fgetxattr(fd, "user.overlay.redirect", value, sizeof(value)) < 0,
	   "overlayfs's own are dropped");
}

static void test_whiteouts(void)
{
	begin();
	folder("a");
	file("a/.wh.gone", "");
	file("a/.wh..wh..opq", "");
	file("a/.wh..wh.plnk", "");
	folder("both");
	file("both/x", "x");
	file(".wh.both", "");
	file(".wh.later", "");
	folder("later");
	file("later/y", "y");
	file("kept", "k");
	file(".wh.kept", "");
	put_header("null", '3', "", 0, 0);
	ok(run() == 0, "whiteouts: %s", err.msg);
	ok(is_whiteout("a/gone"), "a whiteout is a 0:0 device");
	ok(listed(&result.opaque, "a"), "an opaque directory is listed");
	ok(!type_of("a/.wh..wh.plnk") && !type_of("a/.wh..wh..opq"),
	   "bookkeeping of aufs is left out");
	ok(is("both/x", "x") && listed(&result.opaque, "both"),
	   "a whiteout over a directory of the layer: opaque");
	ok(is("later/y", "y") && listed(&result.opaque, "later"),
	   "a directory over a whiteout: opaque");
	ok(is("kept", "k"), "a whiteout over a file of the layer: the file hides by itself");
	ok(is_whiteout("null"), "an explicit 0:0 device is a whiteout");
	begin();
	file("a/.wh.", "");
	ok(run() == -EBADMSG, "a whiteout of nothing is refused: %s", err.msg);
	begin();
	file(".wh...", "");
	ok(run() == -EBADMSG && outside_untouched(), "a whiteout of \"..\" is refused: %s",
	   err.msg);
}

/* A "..", which can't be followed while anything is renamed anywhere on the node. */
static void test_busy_node(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		mkdirat(top, "here", 0700);
		for (bool back = false;; back = !back)
			renameat(top, back ? "there" : "here", top, back ? "here" : "there");
	}
	int failed = 0;
	for (int i = 0; i < 20; i++) {
		begin();
		symlink_to("a", "b/../b/../b");
		file("b/x", "");
		symlink_to("c", "b/../b/../b");
		for (int k = 0; k < 300; k++)	/* never the same parent twice */
			file(k % 2 ? "a/file" : "c/file", "text"), hardlink_to("link", "a/x");
		failed += run() != 0 || !is("b/file", "text");
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	ok(!failed, "a busy node: %d of 20 layers can't be unpacked: %s", failed, err.msg);
	unlinkat(top, "here", AT_REMOVEDIR);
	unlinkat(top, "there", AT_REMOVEDIR);
}

static void test_hostile(void)
{
	begin();
	file("../outside/secret", "gotcha");
	file("a/../../../outside/evil", "gotcha");
	file("/outside/evil", "gotcha");
	ok(run() == 0 && outside_untouched() && is("outside/secret", "gotcha"),
	   "names with \"..\" stay inside");

	begin();
	symlink_to("way", dir);
	file("way/outside/secret", "gotcha");
	ok(run() == 0 && outside_untouched(), "an absolute symlink as parent stays inside: %s",
	   err.msg);

	begin();
	symlink_to("way", "../../../../../../../../tmp");
	symlink_to("out", "../outside");
	file("out/secret", "gotcha");
	ok(run() == 0 && outside_untouched() && is("outside/secret", "gotcha"),
	   "a climbing symlink as parent stays inside");

	begin();
	symlink_to("out", "../outside/secret");
	file("out", "gotcha");
	ok(run() == 0 && outside_untouched() && is("out", "gotcha"),
	   "a symlink is replaced, not written through");

	begin();
	hardlink_to("shadow", "/etc/shadow");
	ok(run() == -EBADMSG && outside_untouched(), "a hard link to /etc/shadow is refused: %s",
	   err.msg);

	begin();
	symlink_to("s", "../outside/secret");
	hardlink_to("h", "s");
	put_header("h", '0', "", 0777, 1);
	put_padded("x", 1);
	ok(run() == 0 && outside_untouched(), "a hard link to a symlink links the symlink");

	begin();
	symlink_to("d", "../outside");
	hardlink_to("h", "d/secret");
	ok(run() == -EBADMSG && outside_untouched(),
	   "a hard link through a symlink stays inside: %s", err.msg);

	begin();
	symlink_to("d", "../outside");
	folder("d");
	file("d/secret", "inside");
	ok(run() == 0 && outside_untouched() && type_of("d") == S_IFDIR && is("d/secret", "inside"),
	   "a directory replaces a symlink");

	begin();
	folder("d");
	file("d/f", "x");
	symlink_to("d", "../outside");
	file("d/secret", "gotcha");
	ok(run() == 0 && outside_untouched() && type_of("d") == S_IFLNK,
	   "a symlink replaces a directory");

	begin();
	file("f", "x");
	file("f/g", "y");
	ok(run() == -ENOTDIR && outside_untouched(), "a file is no parent: %s", err.msg);

	begin();
	symlink_to("a", "b");
	symlink_to("b", "a");
	file("a/f", "x");
	ok(run() < 0 && outside_untouched(), "a circle of symlinks is refused: %s", err.msg);

	begin();
	symlink_to("a", "/not/there/yet");
	file("a/f", "x");
	ok(run() == 0 && is("not/there/yet/f", "x"), "what a dangling symlink means is made: %s",
	   err.msg);

	begin();
	symlink_to(".", "/outside");
	ok(run() == -EBADMSG, "the root is no symlink: %s", err.msg);

	begin();
	symlink_to("proc", "/proc/self/root");
	file("proc/tmp/evil", "x");
	ok(run() < 0 && outside_untouched() && access("/tmp/evil", F_OK) < 0,
	   "magic links lead nowhere: %s", err.msg);

	begin();
	pax1("path", "../../outside/secret");
	file("innocent", "gotcha");
	ok(run() == 0 && outside_untouched(), "a PAX path is no better");

	begin();
	file("a", "1");
	file("a", "2");
	hardlink_to("a", "a");
	ok(run() == 0 && is("a", "2"), "the last of equal names wins, a link to itself is nothing");

	begin();
	folder("d");
	hardlink_to("l", "d");
	ok(run() == -EBADMSG, "a hard link to a directory is refused: %s", err.msg);
}

static void test_implied(void)
{
	begin();
	file("a/b/c", "x");
	folder("d");
	file("d/e", "x");
	folder("a");
	ok(run() == 0 && listed(&result.implied, "a/b") && !listed(&result.implied, "a") &&
	   !listed(&result.implied, "d"), "implied directories are listed, described ones are not");
}

static void expect_broken(const char *what)
{
	int ret = run();
	ok(ret == -EBADMSG, "%s: %s", what, err.msg);
}

static void test_broken(void)
{
	char diff[DIGEST_TEXT_MAX];
	begin();
	file("a", "x");
	tar.data[3] ^= 1;
	expect_broken("a wrong checksum");
	begin();
	put_header("a", 'M', "", 0, 0);
	expect_broken("a type that nobody knows");
	begin();
	struct header *h = put_header("a", '0', "", 0644, 0);
	memset(h->size, 0xff, 12);
	finish_header(h);
	expect_broken("a negative size");
	begin();
	put_header("x", 'x', "", 0, (2 << 20));
	expect_broken("a PAX header of 2 MiB");
	begin();
	put_header("x", 'x', "", 0, 9);
	put_padded("99 a=bcd\n", 9);
	expect_broken("a PAX record that is longer than its header");
	begin();
	put_header("x", 'x', "", 0, 5);
	put_padded("5 abc", 5);
	expect_broken("a PAX record without \"=\"");
	begin();
	pax1("size", "99999999999999999999");
	file("a", "x");
	expect_broken("a size beyond numbers");
	begin();
	pax1("uid", "4294967295");
	file("a", "x");
	expect_broken("the owner -1");
	begin();
	folder("a");
	buf_add(&tar, (char[512]){ 0 }, 512);
	folder("b");
	expect_broken("a lone zero block");
	begin();
	put_header("a", '0', "", 0644, 5000);
	digest_of(NULL, tar.data, tar.len, diff);
	ok(unpack_blob(tar.data, tar.len, "", diff, 1 << 30) == -EBADMSG,
	   "an archive that is cut off: %s", err.msg);
	begin();
	folder("a");
	digest_of(NULL, tar.data, tar.len, diff);
	ok(unpack_blob(tar.data, tar.len, "", diff, 1 << 30) == 0,
	   "no zero blocks at the end: as other tools do");
	begin();
	file("a", "0123456789");
	ok(run_budget(9) == -ENOSPC, "more content than is allowed: %s", err.msg);
}

/* -- compression and digests -- */

static void *gzip(const void *data, size_t n, size_t *out_len)
{
	struct isal_zstream s;
	uint8_t *out = malloc(n + 4096);
	isal_deflate_stateless_init(&s);
	s.gzip_flag = IGZIP_GZIP;
	s.end_of_stream = 1;
	s.next_in = (uint8_t *)(uintptr_t)data;
	s.avail_in = (uint32_t)n;
	s.next_out = out;
	s.avail_out = (uint32_t)n + 4096;
	if (!out || isal_deflate_stateless(&s) != COMP_OK)
		abort();
	*out_len = s.total_out;
	return out;
}

static void test_compressed(void)
{
	char diff[DIGEST_TEXT_MAX], digest[DIGEST_TEXT_MAX];
	size_t n1, n2;
	begin();
	char *big = calloc(1, 300001);
	memset(big, 'z', 300000);
	file("big", big);
	file("small", "s");
	end_tar();
	digest_of(NULL, tar.data, tar.len, diff);
	/* Two members, cut in the middle of a file. */
	char *one = gzip(tar.data, 70000, &n1), *two = gzip(tar.data + 70000, tar.len - 70000, &n2);
	struct buf b = { 0 };
	buf_add(&b, one, n1);
	buf_add(&b, two, n2);
	digest_of(NULL, b.data, b.len, digest);
	ok(unpack_blob(b.data, b.len, digest, diff, 1 << 30) == 0 && is("small", "s") &&
		   is("big", big),
	   "gzip of two members: %s", err.msg);
	ok(unpack_blob(b.data, b.len - 5, digest, diff, 1 << 30) == -EBADMSG,
	   "gzip that is cut off: %s", err.msg);
	ok(unpack_blob(b.data, b.len,
		       "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		       diff, 1 << 30) == -EBADMSG &&
		   strstr(err.msg, "expected sha256:0123") && strstr(err.msg, digest),
	   "the wrong blob: %s", err.msg);
	ok(unpack_blob(b.data, b.len, digest, digest, 1 << 30) == -EBADMSG && strstr(err.msg, diff),
	   "the wrong diff ID: %s", err.msg);
	b.data[n1 + 30] ^= 4;
	ok(unpack_blob(b.data, b.len, "", diff, 1 << 30) == -EBADMSG, "gzip that is damaged: %s",
	   err.msg);
	b.data[n1 + 30] ^= 4;
	buf_add(&b, "garbage", 7);
	ok(unpack_blob(b.data, b.len, "", diff, 1 << 30) == -EBADMSG,
	   "gzip with garbage behind: %s", err.msg);
	b.len = 0;
	size_t room = ZSTD_compressBound(tar.len);
	char *z = malloc(room);
	n1 = ZSTD_compress(z, room, tar.data, 100000, 3);
	buf_add(&b, z, n1);
	buf_add(&b, "\x50\x2a\x4d\x18\x04\0\0\0skip", 12);
	n2 = ZSTD_compress(z, room, tar.data + 100000, tar.len - 100000, 3);
	buf_add(&b, z, n2);
	begin();
	ok(unpack_blob(b.data, b.len, "", diff, 1 << 30) == 0 && is("big", big),
	   "zstd of two frames and a skippable one: %s", err.msg);
	ok(unpack_blob(b.data, b.len - 3, "", diff, 1 << 30) == -EBADMSG,
	   "zstd that is cut off: %s", err.msg);
	digest_of(NULL, "", 0, diff);
	ok(unpack_blob("", 0, "", diff, 1 << 30) == 0, "nothing at all is an empty layer: %s",
	   err.msg);
	size_t bomb = 400u << 20;
	char *zeros = mmap(NULL, bomb, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	n1 = ZSTD_compress(z, room, zeros, bomb, 1);
	if (ZSTD_isError(n1))
		n1 = 0;
	ok(n1 && unpack_blob(z, n1, "", diff, 1 << 30) == -EFBIG, "a bomb: %s", err.msg);
	munmap(zeros, bomb);
	free(z);
	free(one);
	free(two);
	free(big);
	buf_free(&b);
}

int main(void)
{
	if (geteuid() != 0) {
		printf("1..0 # SKIP owners and devices need root\n");
		return 0;
	}
	if (!mkdtemp(dir))
		return 1;
	top = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	test_names();
	test_plain();
	test_formats();
	test_sparse();
	test_xattrs();
	test_whiteouts();
	test_busy_node();
	test_hostile();
	test_implied();
	test_broken();
	test_compressed();
	close(root);
	file_remove_tree(AT_FDCWD, dir, NULL);
	buf_free(&tar);
	buf_free(&result.opaque);
	buf_free(&result.implied);
	return done();
}

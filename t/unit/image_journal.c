/* The log of the image index: torn and damaged lines, a full disk, rewriting. */
#include "core/image/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/pool.h"
#include "t/tap.h"

static char seen[1000];
static int dirfd_;

static void handle_record(void *data, const struct json *j)
{
	strncat(seen, json_str(json_get(j, "n")), sizeof(seen) - strlen(seen) - 1);
}

static struct journal *reopen(struct pool *p)
{
	struct journal *j = NULL;
	struct err e = { 0 };
	seen[0] = 0;
	if (journal_open(p, dirfd_, "log", handle_record, NULL, &j, &e) < 0)
		printf("# %s\n", e.msg);
	return j;
}

static int append(struct journal *j, const char *n)
{
	char text[64];
	int len = snprintf(text, sizeof(text), "{\"n\":\"%s\"}", n);
	return journal_append(j, text, (size_t)len, NULL);
}

/* Change the file behind the journal's back. */
static void poke(off_t at, const char *bytes, off_t cut)
{
	int fd = openat(dirfd_, "log", O_RDWR);
	if (fd < 0 || (bytes && pwrite(fd, bytes, strlen(bytes), at) < 0) ||
	    (cut >= 0 && ftruncate(fd, cut) < 0))
		abort();
	close(fd);
}

static void test_torn(void)
{
	struct pool *p = pool_new(NULL, "test");
	struct journal *j = reopen(p);
	append(j, "a");
	append(j, "b");
	uint64_t two = journal_size(j);
	append(j, "c");
	uint64_t three = journal_size(j);
	pool_destroy(p);
	bool good = true;
	for (uint64_t cut = three - 1; cut >= two; cut--) {
		poke(0, NULL, (off_t)cut);
		p = pool_new(NULL, "test");
		j = reopen(p);
		good = good && !strcmp(seen, "ab") && journal_size(j) == two && append(j, "c") == 0;
		pool_destroy(p);
	}
	ok(good, "cut anywhere in the last line, the lines before it are read");
	p = pool_new(NULL, "test");
	j = reopen(p);
	ok(!strcmp(seen, "abc") && !journal_damaged(j), "a line after a torn one is whole: %s",
	   seen);
	pool_destroy(p);
}

static void test_damaged(void)
{
	struct pool *p = pool_new(NULL, "test");
	struct journal *j = reopen(p);
	uint64_t third = journal_size(j) / 3;
	poke((off_t)third + 12, "X", -1);
	pool_destroy(p);
	p = pool_new(NULL, "test");
	j = reopen(p);
	ok(!strcmp(seen, "ac") && journal_damaged(j) == 1,
	   "a damaged line is skipped and counted: %s", seen);
	append(j, "d");
	pool_destroy(p);
}

static void test_full(void)
{
	struct pool *p = pool_new(NULL, "test");
	struct journal *j = reopen(p);
	struct rlimit was, small = { journal_size(j) + 10, RLIM_INFINITY };
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &was);
	small.rlim_max = was.rlim_max;
	setrlimit(RLIMIT_FSIZE, &small);
	uint64_t size = journal_size(j);
	ok(append(j, "e") == -EFBIG && journal_size(j) == size,
	   "a line that does not fit is refused");
	setrlimit(RLIMIT_FSIZE, &was);
	ok(append(j, "f") == 0, "and leaves room for the next");
	pool_destroy(p);
	p = pool_new(NULL, "test");
	j = reopen(p);
	ok(!strcmp(seen, "acdf") && journal_damaged(j) == 1,
	   "of the refused line nothing is left: %s", seen);
	pool_destroy(p);
}

static void test_rewrite(void)
{
	struct pool *p = pool_new(NULL, "test");
	struct journal *j = reopen(p);
	struct err e = { 0 };
	static const char one[] = "{\"n\":\"S\"}";
	journal_rewrite_begin(j, &e);
	journal_rewrite_append(j, one, strlen(one), &e);
	append(j, "g");
	ok(journal_rewrite_fd(j) >= 0, "a rewrite is under way");
	journal_rewrite_abort(j);
	ok(journal_rewrite_fd(j) < 0 && faccessat(dirfd_, "log.new", F_OK, 0) < 0,
	   "and is forgotten");
	journal_rewrite_begin(j, &e);
	journal_rewrite_append(j, one, strlen(one), &e);
	append(j, "h");
	ok(journal_rewrite_end(j, &e) == 0, "a rewrite is put in place");
	append(j, "i");
	pool_destroy(p);
	p = pool_new(NULL, "test");
	reopen(p);
	ok(!strcmp(seen, "Shi"), "what came during and after it is there: %s", seen);
	pool_destroy(p);
}

int main(void)
{
	char dir[] = "/tmp/crisp-journal.XXXXXX";
	if (!mkdtemp(dir))
		return 1;
	dirfd_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	test_torn();
	test_damaged();
	test_full();
	test_rewrite();
	file_remove_tree(AT_FDCWD, dir, NULL);
	return done();
}

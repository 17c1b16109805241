/*
 * A main for a fuzz target without libFuzzer: run it on each file given, or on those of its
 * corpus (fuzz_NAME: t/fuzz/corpus/NAME) when none is.  TAP out; a finding is a crash.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "t/tap.h"

enum { INPUT_MAX = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void replay(int dirfd, const char *name)
{
	struct buf b = { 0 };
	struct err e = { 0 };
	int ret = file_read(dirfd, name, INPUT_MAX, &b, &e);
	if (ret == 0) {
		/* A copy of the exact size: reading beyond it is a finding. */
		uint8_t *copy = malloc(b.len ? b.len : 1);
		if (b.len)
			memcpy(copy, b.data, b.len);
		ret = LLVMFuzzerTestOneInput(copy, b.len);
		free(copy);
	}
	ok(ret == 0, "%s", name);
	buf_free(&b);
}

static void replay_corpus(const char *program)
{
	char path[200];
	const char *base = strrchr(program, '/');
	const char *name = strstr(base ? base : program, "fuzz_");
	snprintf(path, sizeof(path), "t/fuzz/corpus/%s", name ? name + 5 : "");
	auto_closedir DIR *d = opendir(path);
	int n = 0;
	for (const struct dirent *f; d && (f = readdir(d));) {
		if (f->d_name[0] == '.')
			continue;
		replay(dirfd(d), f->d_name);
		n++;
	}
	ok(n > 0, "%d files in %s", n, path);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		replay(AT_FDCWD, argv[i]);
	if (argc == 1)
		replay_corpus(argv[0]);
	return done();
}

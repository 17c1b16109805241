/*
 * crisp-plug: what the loading of plugins may block on or die of, in a process of its own.
 *
 *	crisp-plug check PATH SYMBOL MAGIC MAJOR MIN_SIZE
 *		open the plugin as the core would; exit 0, or 1 with the reason on stderr
 *	crisp-plug seal PATH
 *		copy a program into the memfd on fd 3 and seal it; exit 0, 1, or 3 when it is no ELF
 *		file (a script can't run from a sealed copy)
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/plug/dso.h"
#include "core/plug/seal.h"

static int fail(const char *why)
{
	fprintf(stderr, "%s\n", why);
	return 1;
}

static int check(char **arg)
{
	struct module_kind kind = {
		.symbol = arg[1],
		.magic = (uint32_t)strtoul(arg[2], NULL, 0),
		.major = (uint16_t)strtoul(arg[3], NULL, 0),
		.min_size = strtoul(arg[4], NULL, 0),
	};
	struct err e = { 0 };
	const void *desc;
	return dso_open(arg[0], &kind, &desc, &e) < 0 ? fail(err_text(&e)) : 0;
}

static int seal(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char head[4] = "";
	if (fd < 0 || fstat(fd, &st) < 0 || pread(fd, head, 4, 0) < 0)
		return fail(strerror(errno));
	if (memcmp(head, "\177ELF", 4))
		return SEAL_EXIT_NO_ELF;
	for (off_t left = st.st_size; left > 0;) {
		ssize_t n = sendfile(SEAL_FD, fd, NULL, (size_t)left);
		if (n <= 0)
			return fail(n ? strerror(errno) : "the file shrank");
		left -= n;
	}
	/* Exactly these four: some programs take nothing else for a copy that is safe to run from. */
	if (fcntl(SEAL_FD, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) <
	    0)
		return fail(strerror(errno));
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 7 && !strcmp(argv[1], "check"))
		return check(argv + 2);
	if (argc == 3 && !strcmp(argv[1], "seal"))
		return seal(argv[2]);
	fprintf(stderr, "usage: crisp-plug check PATH SYMBOL MAGIC MAJOR MIN_SIZE | seal PATH\n");
	return 2;
}

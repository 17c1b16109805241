/* Running a job and telling how it went: see the header. */
#include "core/work/job.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/file.h"

static int error_fd = 2;
static bool wrong_use;

void job_error_fd(int fd)
{
	error_fd = fd;
	fd_set_cloexec(fd, 1);
}

int job_usage(struct err *e, const char *what)
{
	wrong_use = true;
	return err_set(e, EINVAL, "bad arguments: %s", what);
}

int job_number(const char *text)
{
	char *end;
	errno = 0;
	long n = strtol(text, &end, 10);
	return *text && !*end && !errno && n >= 0 && n < 1 << 30 ? (int)n : -1;
}

static int complain(const char *text, int code)
{
	char line[600];
	int n = snprintf(line, sizeof(line), "%s\n", text);
	file_write_all(error_fd, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
	return code;
}

int job_main(const struct job *jobs, int argc, char **argv)
{
	umask(022);
	for (const struct job *j = jobs; argc > 1 && j->name; j++) {
		if (strcmp(j->name, argv[1]))
			continue;
		struct err e = { 0 };
		if (j->run(argc - 1, argv + 1, &e) == 0)
			return 0;
		if (!wrong_use)
			return complain(err_text(&e), 1);
		complain(err_text(&e), 2);
		return complain(j->usage, 2);
	}
	for (const struct job *j = jobs; j->name; j++)
		complain(j->usage, 2);
	return 2;
}

/* crisp-work: the table of its jobs. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/work/job.h"

/* crisp-prepare, beside us: call that one at once where a millisecond counts. */
static int exec_prepare(int argc, char **argv, struct err *e)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = 0;
	char *slash = strrchr(path, '/');
	if (!slash || slash + sizeof("/crisp-prepare") > path + sizeof(path))
		return err_set(e, ENOENT, "find crisp-prepare beside \"%s\"", path);
	strcpy(slash, "/crisp-prepare");
	execv(path, argv - 1);
	return err_sys(e, "execute %s", path);
}

static const struct job jobs[] = {
	{ "enter",
	  "enter NSFD [--errfd N] [--chdir DIR] [--argv0 NAME] [--overlay TARGET LOWERS UPPER WORK]... "
	  "[--fdmount FD TARGET]... -- PROGRAM ARGS...", job_enter },
	{ "template", "template STATE_DIR NETNS_DIR", job_template },
	{ "ns", "ns [--net PIN] [--ipc] [--uts] [--hostname NAME] [--shm BYTES] [--sysctl KEY=VALUE]...", job_ns },
	{ "sysctl", "sysctl NETFD KEY=VALUE...", job_sysctl },
	{ "unpin", "unpin PATH...", job_unpin },
	{ "rmtree", "rmtree PATH...", job_rmtree },
	{ "prepare", "prepare: see crisp-prepare", exec_prepare },
	{ 0 },
};

int main(int argc, char **argv)
{
	return job_main(jobs, argc, argv);
}

/* Spawn the CLI, wait for it, note the time. */
#include "t/bench/bare.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "core/base/err.h"
#include "core/base/file.h"
#include "t/bench/pod.h"

#define BARE_ID "bare"

/* The container inherits stdin, stdout and stderr of `create`. */
static int spawn_quiet(char **argv, pid_t *pid)
{
	extern char **environ;
	posix_spawn_file_actions_t fa;
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&fa, 0, 1);
	int ret = posix_spawn(pid, argv[0], &fa, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	return ret;
}

static int run(char **argv, struct err *e)
{
	pid_t pid;
	int status, ret = spawn_quiet(argv, &pid);
	if (ret)
		return err_set(e, ret, "spawn %s", argv[0]);
	if (waitpid(pid, &status, 0) < 0)
		return err_sys(e, "wait for %s", argv[0]);
	if (status)
		return err_set(e, EIO, "%s %s: wait status %d", argv[0], argv[3], status);
	return 0;
}

static int read_pid(const char *path, pid_t *pid, struct err *e)
{
	FILE *f = fopen(path, "re");
	if (!f)
		return err_sys(e, "open %s", path);
	int n = fscanf(f, "%d", pid);
	fclose(f);
	return n == 1 ? 0 : err_set(e, EBADMSG, "%s holds no pid", path);
}

int bare_round(const struct bare *b, struct err *e)
{
	char *cli = (char *)b->cli, *root = (char *)b->root, pid_file[PATH_MAX];
	snprintf(pid_file, sizeof(pid_file), "%s/pid", root);
	char *create[] = { cli, "--root", root, "create", "--bundle", (char *)b->bundle,
			   "--pid-file", pid_file, BARE_ID, NULL };
	char *start[] = { cli, "--root", root, "start", BARE_ID, NULL };
	char *kill[] = { cli, "--root", root, "kill", BARE_ID, "KILL", NULL };
	char *delete[] = { cli, "--root", root, "delete", BARE_ID, NULL };
	pid_t pid = 0;
	int64_t t[6];
	t[0] = clock_mono_ns();
	int ret = run(create, e);
	t[1] = clock_mono_ns();
	if (ret == 0)
		ret = run(start, e);
	t[2] = clock_mono_ns();
	if (ret == 0)
		ret = read_pid(pid_file, &pid, e);
	t[3] = clock_mono_ns();
	if (ret == 0)
		ret = run(kill, e);
	if (ret == 0 && waitpid(pid, NULL, 0) < 0)
		ret = err_sys(e, "wait for the container of %s", b->bundle);
	t[4] = clock_mono_ns();
	if (ret == 0)
		ret = run(delete, e);
	t[5] = clock_mono_ns();
	if (ret < 0)
		return ret;
	sample_put("bare", "up.create", t[1] - t[0]);
	sample_put("bare", "up.start", t[2] - t[1]);
	sample_put("bare", "up", t[2] - t[0]);
	sample_put("bare", "down.kill", t[4] - t[3]);
	sample_put("bare", "down.delete", t[5] - t[4]);
	sample_put("bare", "down", t[5] - t[3]);
	return 0;
}

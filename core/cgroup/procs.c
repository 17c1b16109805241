/*
 * The processes in a cgroup.  An engine may have put them into some hierarchies only, so all
 * are looked at and what is found is united.  cgroup.procs lists no zombies.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/cgroup/cgroup.h"
#include "core/cgroup/tree.h"

enum { KILL_ROUNDS = 8, PROCS_MAX = 64 << 20 };

/* -- listing -- */

static int add_procs(int dirfd, void *data)
{
	struct buf *pids = data, text = { 0 };
	int ret = file_read(dirfd, "cgroup.procs", PROCS_MAX, &text, NULL);
	for (char *at = text.data, *end; ret == 0 && *at; at = end) {
		int pid = (int)strtol(at, &end, 10);
		if (end == at)
			break;
		if (pid > 0)	/* 0: in a pid namespace that we don't see */
			buf_add(pids, &pid, sizeof(pid));
		end += *end == '\n';
	}
	buf_free(&text);
	/* -EOPNOTSUPP: a threaded v2 cgroup, whose processes its domain lists. */
	return ret == -EOPNOTSUPP ? 0 : ret;
}

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* All pids, sorted, each once, into an empty buf of ints; their number or -errno. */
static int list(struct cgroups *cg, const char *path, struct buf *out)
{
	int ret = tree_check_path(path, NULL);
	for (size_t i = 0; i < cg->n && ret == 0; i++)
		ret = tree_walk(&cg->all[i], path, add_procs, out);
	if (ret < 0)
		return ret;
	int *pids = (int *)(void *)out->data;
	size_t n = out->len / sizeof(int), kept = 0;
	if (n)
		qsort(pids, n, sizeof(int), compare);
	for (size_t i = 0; i < n; i++)
		if (!kept || pids[kept - 1] != pids[i])
			pids[kept++] = pids[i];
	return (int)kept;
}

size_t cgroup_pids(struct cgroups *cg, const char *path, int *pids, size_t max)
{
	struct buf all = { 0 };
	int n = list(cg, path, &all);
	if (n > 0)
		memcpy(pids, all.data, ((size_t)n < max ? (size_t)n : max) * sizeof(int));
	buf_free(&all);
	return n > 0 ? (size_t)n : 0;
}

size_t cgroup_processes(struct cgroups *cg, const char *controller, const char *path)
{
	const struct hierarchy *h = tree_find(cg, controller);
	struct buf all = { 0 };
	if (h && tree_check_path(path, NULL) == 0)
		tree_walk(h, path, add_procs, &all);
	size_t n = all.len / sizeof(int);
	buf_free(&all);
	return n;
}

bool cgroup_empty(struct cgroups *cg, const char *path)
{
	struct buf all = { 0 };
	int n = list(cg, path, &all);
	buf_free(&all);
	return n == 0;
}

/* -- killing -- */

static int freeze(int dirfd, void *data)
{
	file_poke(dirfd, "freezer.state", data, NULL);
	return 0;
}

static void set_freezer(struct cgroups *cg, const char *path, const char *state)
{
	struct hierarchy *h = tree_find(cg, "freezer");
	if (h && !h->v2)
		tree_walk(h, path, freeze, (void *)(uintptr_t)state);
}

static void kill_v2(struct cgroups *cg, const char *path)
{
	struct hierarchy *h = tree_find(cg, NULL);
	auto_close int fd = h ? openat(h->fd, path + 1, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd >= 0)
		file_poke(fd, "cgroup.kill", "1", NULL);	/* Linux 5.14 */
}

static int signal_all(struct cgroups *cg, const char *path, int signo)
{
	struct buf all = { 0 };
	int n = list(cg, path, &all);
	const int *pids = (const int *)(void *)all.data;
	for (int i = 0; i < n; i++)
		if (pids[i] != getpid())
			kill(pids[i], signo);
	buf_free(&all);
	return n;
}

int cgroup_kill(struct cgroups *cg, const char *path, int signo)
{
	if (signo != SIGKILL || tree_check_path(path, NULL) < 0)
		return signal_all(cg, path, signo);
	kill_v2(cg, path);
	/* Frozen, nobody forks; killed, they die as they thaw. */
	int n = signal_all(cg, path, SIGKILL);
	if (n <= 0)
		return n;
	set_freezer(cg, path, "FROZEN");
	for (int round = 0, was = -1; round < KILL_ROUNDS && n > 0 && n != was; round++) {
		was = n;
		n = signal_all(cg, path, SIGKILL);
	}
	set_freezer(cg, path, "THAWED");
	return n;
}

/* -- helpers of a dead core -- */

/* Wait for one process, at most until the deadline. */
static int wait_gone(int pid, int64_t deadline_ns)
{
	auto_close int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return errno == ESRCH ? 0 : -errno;
	int64_t left = (deadline_ns - clock_mono_ns()) / 1000000;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int ret = poll(&p, 1, left > 0 ? (int)left : 0);
	return ret < 0 ? -errno : ret ? 0 : -ETIMEDOUT;
}

int cgroups_kill_helpers(struct cgroups *cg, int wait_ms, struct err *e)
{
	int64_t deadline = clock_mono_ns() + (int64_t)wait_ms * 1000000;
	int pid;
	cgroups_exit_helpers(cg);	/* where we should not be */
	if (cg->inside)
		return err_set(e, EBUSY, "the core itself is in cgroup %s", cg->helpers);
	while (cgroup_kill(cg, cg->helpers, SIGKILL), cgroup_pids(cg, cg->helpers, &pid, 1)) {
		int ret = wait_gone(pid, deadline);
		if (ret < 0 && ret != -EINTR)
			return err_set(e, -ret,
				       "a helper of an earlier core does not die: pid %d: %s", pid,
				       strerror(-ret));
	}
	return 0;
}

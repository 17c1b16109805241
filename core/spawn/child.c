/*
 * clone(CLONE_VM | CLONE_VFORK): the child runs on a stack of its own in our memory until it
 * execs, so it may only make system calls.  Its errors come back through the shared memory.
 */
#include "core/spawn/child.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/spawn/spawn.h"

enum {
	CHILD_STACK = 64 << 10,
	HOMES_MAX = 4,
	/* which slot holds what */
	SLOT_STD = 0,
	SLOT_EXE = 3,
	SLOT_NULL = 4,			/* /dev/null, which the empty ones hold as well */
	SLOT_HOME = 5,
	SLOT_FDS = SLOT_HOME + HOMES_MAX,
	SLOTS = SLOT_FDS + SPAWN_FDS_MAX,
	SLOT_LOWEST = SPAWN_FDS_MAX,	/* above every target */
	RANGE_UNSHARE = 1 << 1,
	RANGE_CLOEXEC = 1 << 2,
};

struct child_args {
	const struct spawn_plan *plan;
	const struct child_ground *ground;
	pid_t core;
	int err;
	const char *stage, *what;	/* what: NULL stands for the program */
};

/* -- the child: system calls only -- */

static int child_fail(struct child_args *a, const char *stage)
{
	a->err = errno;
	a->stage = stage;
	return 127;
}

static int set_oom(int adj)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", adj); /* digits only: no locale, no malloc */
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	/* Not allowed to go lower than it was: then it stays as it is. */
	ssize_t ret = write(fd, text, (size_t)n);
	close(fd);
	return ret < 0 && errno != EACCES ? -1 : 0;
}

/* From the slots to where the program looks for them; all else closes with exec. */
static int place_fds(struct child_args *a)
{
	const struct spawn_plan *p = a->plan;
	int slot = a->ground->slot;
	syscall(SYS_close_range, 3, ~0u, RANGE_CLOEXEC);
	for (int i = 0; i < 3; i++)
		if (dup2(slot + SLOT_STD + i, i) < 0)
			return child_fail(a, "set up stdio");
	for (size_t i = 0; i < p->n_fds; i++)
		if (dup2(slot + SLOT_FDS + (int)i, p->fds[i].target) < 0)
			return child_fail(a, "place a file descriptor");
	return 0;
}

/*
 * Out of the cgroup whose processes end with the core.  What the program leaves running is to outlive it,
 * the program itself is not: the next core undoes what this one had it do.
 */
static int leave(struct child_args *a)
{
	const struct child_ground *g = a->ground;
	for (size_t i = 0; i < g->n_home_procs; i++)
		if (write(g->slot + SLOT_HOME + (int)i, "0", 1) < 0)
			return child_fail(a, "leave the core's cgroup");
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return child_fail(a, "end with the core");
	if (getppid() != a->core)
		_exit(127);
	return 0;
}

static int child_main(void *arg)
{
	struct child_args *a = arg;
	const struct spawn_plan *p = a->plan;
	const struct child_ground *g = a->ground;
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	if (g->shares && syscall(SYS_close_range, g->slot + SLOTS, ~0u, RANGE_UNSHARE) < 0)
		return child_fail(a, "take a part of the file descriptors");
	for (int sig = 1; sig < NSIG; sig++)
		sigaction(sig, &dfl, NULL);
	if (p->leave_cgroup && leave(a) != 0)
		return 127;
	if (set_oom(p->oom_score_adj < -1000 ? 0 : p->oom_score_adj) < 0)
		return child_fail(a, "set oom_score_adj");
	if (place_fds(a))
		return 127;
	if (chdir(p->cwd ? p->cwd : "/") < 0) {
		a->what = p->cwd;
		return child_fail(a, "enter folder");
	}
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	char *const *argv = (char *const *)(uintptr_t)p->argv;
	char *const *envp = (char *const *)(uintptr_t)p->envp;
	/* Until here it has the core's share of the CPU, since the core waits for it. */
	setpriority(PRIO_PROCESS, 0, 0);
	setsid();
	if (p->exe_fd >= 0)
		syscall(SYS_execveat, g->slot + SLOT_EXE, "", argv, envp, AT_EMPTY_PATH);
	else
		execve(p->path, argv, envp);
	return child_fail(a, "execute");
}

/* -- the core -- */

static int make_child(struct child_args *a, int *pidfd)
{
	const struct child_ground *g = a->ground;
	int flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD | (g->shares ? CLONE_FILES : 0);
	int pid = clone(child_main, g->stack + CHILD_STACK, flags, a, pidfd);
	return pid < 0 ? -errno : pid;
}

static int fill_slot(const struct child_ground *g, int slot, int fd)
{
	return dup3(fd, g->slot + slot, O_CLOEXEC) < 0 ? -errno : 0;
}

static int fill_slots(const struct child_ground *g, const struct spawn_plan *p, const int std[3])
{
	int ret = p->exe_fd < 0 ? 0 : fill_slot(g, SLOT_EXE, p->exe_fd);
	for (int i = 0; ret == 0 && i < 3; i++)
		ret = fill_slot(g, SLOT_STD + i, std[i]);
	for (size_t i = 0; ret == 0 && i < p->n_fds; i++)
		ret = fill_slot(g, SLOT_FDS + (int)i, p->fds[i].fd);
	return ret;
}

static void empty_slot(const struct child_ground *g, int slot)
{
	fill_slot(g, slot, g->slot + SLOT_NULL);
}

/* A pipe that stayed in its slot would never end. */
static void empty_slots(const struct child_ground *g, const struct spawn_plan *p)
{
	for (int i = 0; i < 3; i++)
		empty_slot(g, SLOT_STD + i);
	empty_slot(g, SLOT_EXE);
	for (size_t i = 0; i < p->n_fds; i++)
		empty_slot(g, SLOT_FDS + (int)i);
}

int child_start(const struct child_ground *g, const struct spawn_plan *plan, const int std[3],
		pid_t *pid, int *pidfd, struct err *e)
{
	struct child_args a = { .plan = plan, .ground = g, .core = getpid(), .stage = "start" };
	sigset_t all_signals, was;
	int ret = fill_slots(g, plan, std);
	sigfillset(&all_signals);
	sigprocmask(SIG_SETMASK, &all_signals, &was);
	if (ret == 0)
		ret = make_child(&a, pidfd);
	sigprocmask(SIG_SETMASK, &was, NULL);
	empty_slots(g, plan);
	if (ret > 0 && a.err) {
		waitpid(ret, NULL, 0); /* gone already */
		close(*pidfd);
		ret = -a.err;
	}
	if (ret < 0)
		return err_set(e, -ret, "%s %s: %s", a.stage,
			       a.what ? a.what : plan->path ? plan->path : plan->argv[0],
			       strerror(-ret));
	*pid = ret;
	return 0;
}

static bool all_free(int first)
{
	for (int fd = first; fd < first + SLOTS; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			return false;
	return true;
}

void child_ground_init(struct child_ground *g, const int *home_procs, size_t n_home_procs)
{
	assert(n_home_procs <= HOMES_MAX);
	*g = (struct child_ground){
		.home_procs = home_procs, .n_home_procs = n_home_procs, .slot = SLOT_LOWEST,
	};
	g->stack = aligned_alloc(16, CHILD_STACK);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (!g->stack || null < 0)
		abort();
	while (!all_free(g->slot))
		g->slot += SLOTS;
	for (int i = 0; i < SLOTS; i++)
		fill_slot(g, i, null);
	close(null);
	for (size_t i = 0; i < n_home_procs; i++)
		fill_slot(g, SLOT_HOME + (int)i, home_procs[i]);
	/* Changes nothing in a process that shares its table with nobody. */
	g->shares = syscall(SYS_close_range, ~0u, ~0u, RANGE_UNSHARE) == 0;
}

void child_ground_finish(struct child_ground *g)
{
	for (int i = 0; i < SLOTS; i++)
		close(g->slot + i);
	free(g->stack);
}

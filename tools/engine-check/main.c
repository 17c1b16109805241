/*
 * engine-check: does a plugin keep to what engines/engine.h asks of it?
 *
 * It loads the plugin as crisp does, with crisp's own services behind it, and drives it through
 * sections: the file, instances, containers, nonsense, the death of the host.  TAP on stdout; exit
 * code 0 when all is well, 1 when something isn't, 2 for a wrong use.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/pool.h"
#include "core/loop/loop.h"
#include "tools/engine-check/check.h"

enum { SECTION_MS = 180000 };

static const char usage[] =
	"usage: engine-check [OPTION...] PLUGIN.so\n"
	"  --options JSON    the options of the handler (default: {})\n"
	"  --rootfs DIR      a root file system with /bin/sh, sleep and cat, for real containers; with stty,\n"
	"                    the size of terminals is looked at too\n"
	"  --bundle DIR      the same, as DIR/rootfs\n"
	"  --only SECTION    this one alone (and what it needs); may be repeated\n"
	"  --many N          creates at once in section many (default: 200), and execs, but at most 50\n"
	"  --cgroup PATH     parent of the containers' cgroups (default: /engine-check-PID)\n"
	"  --libexec DIR     where crisp's programs lie\n"
	"  --home DIR        where to work (default: below /run)\n"
	"Without a root file system no container is run.\n";

struct options opt = { .json = "{}", .many = 200 };

struct section {
	const char *name;
	void (*run)(void);
	bool containers;	/* needs a rootfs */
	bool plain;		/* nothing of the plugin is to run yet */
	bool dies;		/* by its own hand */
};

static const struct section sections[] = {
	{ "file", section_file, .plain = true },
	{ "instances", .run = section_instances },
	{ "nonsense", .run = section_nonsense },
	{ "life", section_life, .containers = true },
	{ "processes", section_processes, .containers = true },
	{ "streams", section_streams, .containers = true },
	{ "terminals", section_terminals, .containers = true },
	{ "many", section_many, .containers = true },
	{ "cancels", section_cancels, .containers = true },
	{ "faults", section_faults, .containers = true },
	{ "closed", section_closed, .containers = true },
	{ "sandbox", section_sandbox, .containers = true },
	{ "newer", section_newer, .containers = true },
	{ "death", section_before_death, .containers = true, .dies = true },
	{ "recovery", section_after_death, .containers = true },
};
enum { N_SECTIONS = sizeof(sections) / sizeof(sections[0]) };

static struct {
	unsigned n, failed;
	const char *only[N_SECTIONS];
	unsigned n_only;
} run;

/* -- what sections say -- */

static void say(const char *line)
{
	if (!strncmp(line, "ok ", 3)) {
		printf("ok %u - %s\n", ++run.n, line + 3);
	} else if (!strncmp(line, "not ok ", 7)) {
		run.failed++;
		printf("not ok %u - %s\n", ++run.n, line + 7);
	} else {
		printf("%s\n", line);
	}
	fflush(stdout);
}

/* False when there is no more. */
static bool say_lines(int fd)
{
	static char text[4096];
	static size_t len;
	ssize_t n = read(fd, text + len, sizeof(text) - 1 - len);
	if (n <= 0) {
		len = 0;
		return n < 0 && errno == EINTR;
	}
	len += (size_t)n;
	text[len] = 0;
	char *at = text, *end;
	while ((end = strchr(at, '\n'))) {
		*end = 0;
		say(at);
		at = end + 1;
	}
	len -= (size_t)(at - text);
	memmove(text, at, len);
	if (len == sizeof(text) - 1)
		len = 0;
	return true;
}

/* -- one section -- */

static void run_section(const struct section *s, int words)
{
	struct err e = { 0 };
	struct fds before, after;
	bench.section = s->name;
	if (!bench_open())
		return;
	if (s->plain) {
		s->run();
		return;
	}
	if (!bench_engine(&e)) {
		check(false, "%s: the plugin can be loaded: %s", s->name, err_text(&e));
		return;
	}
	spy_capture(words);
	fds_list(&before);
	bench_plug();
	s->run();
	bench_unplug();
	fds_list(&after);
	fds_compare(&before, &after);
	rules_report(s->name);
}

/* A child's end, and whatever orphan comes by. */
static int reap(pid_t pid)
{
	int status = 0, other;
	pid_t got;
	while ((got = waitpid(-1, &other, 0)) != pid)
		if (got < 0 && errno != EINTR)
			return 0;
	status = other;
	return status;
}

/* A runtime may wait until a process is gone that we have to reap. */
static void reap_orphans(int signals, pid_t section)
{
	struct signalfd_siginfo ignored[16];
	siginfo_t who = { 0 };
	while (read(signals, ignored, sizeof(ignored)) > 0)
		;
	while (waitid(P_ALL, 0, &who, WEXITED | WNOHANG | WNOWAIT) == 0 && who.si_pid && who.si_pid != section) {
		waitpid(who.si_pid, NULL, 0);
		who.si_pid = 0;
	}
}

/* Of the ends of children; blocks them otherwise. */
static int child_signals(sigset_t *before)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, before);
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		abort();
	return fd;
}

/* What a section that has crashed has said before. */
static void last_words(int fd)
{
	char text[2000] = "", *save;
	off_t end = lseek(fd, 0, SEEK_END), at = end > 1999 ? end - 1999 : 0;
	if (pread(fd, text, sizeof(text) - 1, at) <= 0)
		return;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		printf("# %s\n", line);
}

/* Where it lives: for the next section, as for the next host, orphans of this one are ours. */
static void start_section(const struct section *s)
{
	int fds[2], words = memfd_create("stdout and stderr", MFD_CLOEXEC);
	if (pipe2(fds, O_CLOEXEC) < 0 || words < 0)
		abort();
	printf("# %s\n", s->name);
	fflush(stdout);
	sigset_t mask;
	int signals = child_signals(&mask);
	pid_t pid = fork();
	if (pid == 0) {
		sigprocmask(SIG_SETMASK, &mask, NULL);
		close(signals);
		close(fds[0]);
		report_to(fds[1]);
		run_section(s, words);
		_exit(0);
	}
	close(fds[1]);
	int64_t until = clock_mono_ns() + SECTION_MS * 1000000ll;
	struct pollfd p[] = { { .fd = fds[0], .events = POLLIN }, { .fd = signals, .events = POLLIN },
			      { .fd = pidfd_open_pid(pid), .events = POLLIN } };
	bool late = false;
	for (;;) {
		int64_t left = (until - clock_mono_ns()) / 1000000;
		if (!late && left <= 0) {
			late = true;
			kill(pid, SIGKILL);
		}
		/* Who has forked a child of its own has left it the pipe: its own end counts. */
		int n = poll(p, 3, late ? 5000 : (int)left);
		if (n > 0 && p[1].revents)
			reap_orphans(signals, pid);
		if (p[0].revents ? !say_lines(fds[0]) : n > 0 ? p[2].revents : late)
			break;
	}
	close(fds[0]);
	close(signals);
	close(p[2].fd);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	int status = reap(pid);
	char line[200];
	if (late)
		snprintf(line, sizeof(line), "not ok %s: it ends within %d s", s->name, SECTION_MS / 1000);
	else if (WIFSIGNALED(status) && !(s->dies && WTERMSIG(status) == SIGKILL))
		snprintf(line, sizeof(line), "not ok %s: the plugin crashed the host, signal %d (%s)", s->name,
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (WIFEXITED(status) && WEXITSTATUS(status))
		snprintf(line, sizeof(line), "not ok %s: the plugin ended the host with exit code %d", s->name,
			 WEXITSTATUS(status));
	else
		*line = 0;
	if (*line) {
		say(line);
		last_words(words);
	}
	close(words);
}

/* What a section that didn't come to its end has left running. */
static void kill_leftovers(void)
{
	char path[64], text[8192];
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	for (int i = 0; i < 100; i++) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
		if (fd >= 0)
			close(fd);
		if (n <= 0)
			return;
		text[n] = 0;
		for (char *save, *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save))
			kill(atoi(w), SIGKILL);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		poll(NULL, 0, 20);
	}
}

static bool wanted(const struct section *s)
{
	if (s->containers && !opt.rootfs)
		return false;
	for (unsigned i = 0; i < run.n_only; i++)
		if (!strcmp(run.only[i], s->name))
			return true;
	return !run.n_only;
}

/* -- the command line -- */

static int fail(const char *fmt, const char *what)
{
	fprintf(stderr, "engine-check: ");
	fprintf(stderr, fmt, what);
	fprintf(stderr, "\n%s", usage);
	return 2;
}

static const char *absolute(const char *path)
{
	char *real = realpath(path, NULL);
	return real ? real : path;
}

static bool split_name(void)
{
	char *dir = strdup(opt.plugin), *slash = strrchr(dir, '/');
	size_t n = slash ? strlen(slash + 1) : 0;
	if (n < 4 || strcmp(slash + 1 + n - 3, ".so"))
		return false;
	*slash = 0;
	slash[1 + n - 3] = 0;
	opt.dir = *dir ? dir : "/";
	opt.name = slash + 1;
	return true;
}

/* Beside this program, or where it is installed. */
static const char *find_libexec(void)
{
	static char path[PATH_MAX];
	static const char *const places[] = { "libexec", "../lib/crisp/libexec", "../lib/crisp" };
	char self[PATH_MAX] = "";
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return NULL;
	*strrchr(self, '/') = 0;
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%.3000s/%s/crisp-plug", self, places[i]);
		if (access(path, X_OK) == 0) {
			*strrchr(path, '/') = 0;
			return path;
		}
	}
	return NULL;
}

static int read_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "options", required_argument, NULL, 'o' }, { "rootfs", required_argument, NULL, 'r' },
		{ "bundle", required_argument, NULL, 'b' },  { "only", required_argument, NULL, 'n' },
		{ "cgroup", required_argument, NULL, 'c' },  { "libexec", required_argument, NULL, 'l' },
		{ "many", required_argument, NULL, 'm' },
		{ "home", required_argument, NULL, 'd' },    { "help", no_argument, NULL, 'h' }, { 0 },
	};
	static char bundle[PATH_MAX], cgroup[64];
	for (int c; (c = getopt_long(argc, argv, "h", longs, NULL)) >= 0;) {
		switch (c) {
		case 'o': opt.json = optarg; break;
		case 'r': opt.rootfs = absolute(optarg); break;
		case 'b':
			snprintf(bundle, sizeof(bundle), "%s/rootfs", optarg);
			opt.rootfs = absolute(bundle);
			break;
		case 'n':
			if (run.n_only < N_SECTIONS)
				run.only[run.n_only++] = optarg;
			break;
		case 'm':
			opt.many = (unsigned)strtoul(optarg, NULL, 10);
			if (!opt.many || opt.many > 1000)
				return fail("--many %s: 1 to 1000 are expected", optarg);
			break;
		case 'c': opt.cgroup = optarg; break;
		case 'l': opt.libexec = absolute(optarg); break;
		case 'd': opt.home = optarg; break;
		case 'h': fputs(usage, stdout); exit(0);
		default: fputs(usage, stderr); return 2;
		}
	}
	if (optind != argc - 1)
		return fail("%s", "one plugin is wanted");
	opt.plugin = absolute(argv[optind]);
	if (!split_name())
		return fail("%s is no NAME.so", opt.plugin);
	if (opt.rootfs && access(opt.rootfs, X_OK) < 0)
		return fail("root file system %s: it can't be entered", opt.rootfs);
	if (!opt.libexec && !(opt.libexec = find_libexec()))
		return fail("%s", "crisp's programs are not beside this one: say --libexec");
	if (!opt.cgroup) {
		snprintf(cgroup, sizeof(cgroup), "/engine-check-%d", getpid());
		opt.cgroup = cgroup;
	}
	return 0;
}

static int make_home(void)
{
	static char path[PATH_MAX];
	struct err e = { 0 };
	if (opt.home) {
		int ret = file_mkdirs(opt.home, 0700, &e);
		opt.home = absolute(opt.home);
		return ret < 0 ? fail("%s", err_text(&e)) : 0;
	}
	snprintf(path, sizeof(path), "%s/engine-check.XXXXXX", access("/run", W_OK) == 0 ? "/run" : "/tmp");
	opt.home = mkdtemp(path);
	return opt.home ? 0 : fail("a folder to work in: %s", strerror(errno));
}

int main(int argc, char **argv)
{
	int ret = read_options(argc, argv);
	if (ret == 0)
		ret = make_home();
	if (ret)
		return ret;
	struct err e = { 0 };
	if (fence(&e) < 0)
		return fail("%s", err_text(&e));
	prctl(PR_SET_CHILD_SUBREAPER, 1);	/* as the keeper, between two hosts */
	printf("# %s\n", opt.plugin);
	if (!opt.rootfs)
		printf("# no root file system was given: no container is run\n");
	for (size_t i = 0; i < N_SECTIONS; i++) {
		if (!wanted(&sections[i]))
			continue;
		start_section(&sections[i]);
	}
	kill_leftovers();
	left_clean_up();
	if (unfence(&e) < 0 || file_remove_tree(AT_FDCWD, opt.home, &e) < 0)
		printf("# %s\n", err_text(&e));
	printf("1..%u\n# %u passed, %u failed\n", run.n, run.n - run.failed, run.failed);
	return run.failed ? 1 : 0;
}

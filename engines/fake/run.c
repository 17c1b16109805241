/*
 * crisp-fake: the program of the fake engine.
 *
 *	crisp-fake run wait|now PID_FILE CONSOLE_SOCKET|"" CGROUP|"" WORDS...
 *		make a process, as an OCI runtime does: enter its cgroup (in one hierarchy, where
 *		there is one), write its pid and leave.  It does its WORDS when it gets SIGUSR1
 *		(wait) or at once (now).  Errors are JSON lines on fd 3.
 *	crisp-fake box SOCKET PID_FILE
 *		the sandbox of box.c
 *
 * WORDS, the last path component of the first one counts:
 *	exit N | true | false		end
 *	sleep SECONDS | after MS N	end later
 *	echo TEXT...			a line on stdout
 *	err TEXT...			a line on stderr
 *	lines N MS			numbered lines, MS apart, then end
 *	cat				stdin to stdout
 *	deaf				ignore SIGTERM, say "deaf", wait
 *	sh ARGS...			the host's shell, in the host
 *	env NAME=VALUE... WORDS		with these variables
 *	none, or anything else		wait for a signal; as an exec: it can't be executed
 */
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engines/fake/run.h"

static int fail(const char *what)
{
	dprintf(3, "{\"level\":\"error\",\"msg\":\"%s: %s\"}\n", what, strerror(errno));
	return 1;
}

static void nap(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

static const char *base(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static long number(const char *s)
{
	return s ? strtol(s, NULL, 10) : 0;
}

static int say(int fd, char **words)
{
	for (; *words; words++)
		dprintf(fd, "%s%s", *words, words[1] ? " " : "");
	dprintf(fd, "\n");
	return 0;
}

static int lines(long n, long ms)
{
	for (long i = 1; i <= n; i++) {
		dprintf(1, "%ld\n", i);
		if (ms)
			nap(ms);
	}
	return 0;
}

static int cat(void)
{
	char part[4096];
	ssize_t n;
	while ((n = read(0, part, sizeof(part))) > 0)
		if (write(1, part, (size_t)n) < 0)
			return 1;
	return 0;
}

/* The words behind env and its variables. */
static char **skip_env(char **w)
{
	if (!w[0] || strcmp(w[0], "env"))
		return w;
	while (*++w && strchr(*w, '='))
		;
	return w;
}

bool run_knows(char **words)
{
	const char *word = *skip_env(words);
	static const char *const known[] = {
		"exit", "true",	 "false", "sleep", "after", "echo",
		"err",	"lines", "cat",	  "deaf",  "sh",    NULL,
	};
	for (int i = 0; word && known[i]; i++)
		if (!strcmp(base(word), known[i]))
			return true;
	return false;
}

int run_words(char **w)
{
	for (char **env = w, **end = skip_env(w); env < end; env++)
		if (strchr(*env, '='))
			putenv(*env);
	w = skip_env(w);
	const char *verb = w[0] ? base(w[0]) : "";
	if (!strcmp(verb, "true"))
		return 0;
	if (!strcmp(verb, "false"))
		return 1;
	if (!strcmp(verb, "exit"))
		return (int)number(w[1]);
	if (!strcmp(verb, "echo") || !strcmp(verb, "err"))
		return say(*verb == 'e' && verb[1] == 'r' ? 2 : 1, w + 1);
	if (!strcmp(verb, "cat"))
		return cat();
	if (!strcmp(verb, "lines"))
		return lines(number(w[1]), w[1] ? number(w[2]) : 0);
	if (!strcmp(verb, "sleep"))
		return nap(number(w[1]) * 1000), 0;
	if (!strcmp(verb, "after"))
		return nap(number(w[1])), (int)(w[1] ? number(w[2]) : 0);
	if (!strcmp(verb, "sh")) {
		execv("/bin/sh", w);
		return 127;
	}
	if (!strcmp(verb, "deaf")) {
		signal(SIGTERM, SIG_IGN);
		say(1, w);
	}
	for (;;)
		pause();
}

int give_console(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int master, slave, sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (strlen(path) >= sizeof(to.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(to.sun_path, path);
	if (sock < 0 || connect(sock, (struct sockaddr *)&to, sizeof(to)) < 0 ||
	    openpty(&master, &slave, NULL, NULL, NULL) < 0)
		return -1;
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { .head = { .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET,
				.cmsg_type = SCM_RIGHTS } };
	memcpy(CMSG_DATA(&control.head), &master, sizeof(int));
	struct iovec iov = { (char *)(uintptr_t)"pty", 3 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			    .msg_controllen = sizeof(control.room) };
	if (sendmsg(sock, &m, 0) < 0)
		return -1;
	close(sock);
	close(master);
	return slave;
}

static void become(bool wait, int slave, char **words)
{
	setsid();
	if (slave >= 0) {
		ioctl(slave, TIOCSCTTY, 0);
		for (int i = 0; i < 3; i++)
			dup2(slave, i);
		if (slave > 2)
			close(slave);
	}
	close(3);
	sigset_t go;
	sigemptyset(&go);
	sigaddset(&go, SIGUSR1);
	int sig;
	if (wait)
		while (sigwait(&go, &sig) != 0)
			;
	signal(SIGUSR1, SIG_IGN);	/* whoever meets us later sees that we were started */
	_exit(run_words(words));
}

/* Where it can't be had (a test without privileges) the process stays where it is. */
static void enter_cgroup(const char *path)
{
	char at[4096];
	struct stat st;
	int n = snprintf(at, sizeof(at), "%s",
			 stat("/sys/fs/cgroup/pids", &st) == 0 ? "/sys/fs/cgroup/pids"
							       : "/sys/fs/cgroup");
	for (const char *part = path; *part; part++) {
		size_t len = strcspn(part + 1, "/") + 1;
		n += snprintf(at + n, sizeof(at) - (size_t)n, "%.*s", (int)len, part);
		if (n > (int)sizeof(at) - 32)
			return;
		mkdir(at, 0755);
		part += len - 1;
	}
	strcpy(at + n, "/cgroup.procs");
	int fd = open(at, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, "0", 1) < 0)
		dprintf(2, "crisp-fake: enter %s: %s\n", at, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static int run(char **arg)
{
	bool wait = !strcmp(arg[0], "wait");
	char **words = arg + 4;
	if (!wait && !run_knows(words)) {
		errno = ENOENT;
		return fail(words[0] ? words[0] : "no command");
	}
	int slave = arg[2][0] ? give_console(arg[2]) : -1;
	if (arg[2][0] && slave < 0)
		return fail("console socket");
	sigset_t go;
	sigemptyset(&go);
	sigaddset(&go, SIGUSR1);
	sigprocmask(SIG_BLOCK, &go, NULL);
	if (arg[3][0] == '/')
		enter_cgroup(arg[3]);
	pid_t pid = fork();
	if (pid < 0)
		return fail("fork");
	if (!pid)
		become(wait, slave, words);
	FILE *f = fopen(arg[1], "we");
	if (!f || fprintf(f, "%d", pid) < 0 || fclose(f) != 0) {
		kill(pid, SIGKILL);
		return fail(arg[1]);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 6 && !strcmp(argv[1], "run"))
		return run(argv + 2);
	if (argc == 4 && !strcmp(argv[1], "box"))
		return box_main(argv[2], argv[3]);
	fprintf(stderr, "usage: crisp-fake run wait|now PID_FILE CONSOLE_SOCKET CGROUP WORDS... | "
			"box SOCKET PID_FILE\n");
	return 2;
}

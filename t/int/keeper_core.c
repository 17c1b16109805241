/*
 * A core for t/int/keeper.t, run by crisp-keeper: does what its standard input tells, one
 * command a line, and says on standard output what happened.  The keeper's stdin is shared by
 * all its cores, so a script goes on where the dead core had left it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/pool.h"
#include "core/keep/keep.h"
#include "core/loop/loop.h"

static struct loop *loop;
static struct keep *keep;
static char **command;
static const char *keeper;

static void say(const char *fmt, ...)
{
	char line[512];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	line[n++] = '\n';
	file_write_all(1, line, (size_t)n);
}

static void handle_exit(void *data, pid_t pid, int status)
{
	(void)data;
	say("exit %d %d", pid, status);
}

static void handle_lost(void *data)
{
	(void)data;
	struct err e = { 0 };
	say("lost");
	keep_revive(keep, keeper, command, &e);
	say("revive: %s", err_text(&e));
}

static void handle_signal(struct loop_signal *s, int signo)
{
	(void)s;
	say("signal %d", signo);
}

/* A process that outlives us: it reads its fifo's line and exits with that code. */
static pid_t start_child(const char *fifo)
{
	pid_t pid = fork();
	if (pid)
		return pid;
	char text[8] = "";
	int fd = open(fifo, O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);
	_exit(n > 0 ? atoi(text) : 255);
}

static void put_many(int n, const char *path)
{
	for (int i = 0; i < n; i++) {
		char key[32];
		snprintf(key, sizeof(key), "many/%d", i);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		keep_put(keep, key, fd);
	}
	say("put %d", n);
}

static void print_file(const char *key)
{
	char text[64] = "";
	int fd = keep_take(keep, key);
	ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);
	say("take %s: %s", key, fd < 0 ? "none" : n < 0 ? "unreadable" : text);
}

static void count_unclaimed(void)
{
	size_t n = 0;
	while (keep_unclaimed(keep, n))
		n++;
	say("unclaimed %zu", n);
}

static void obey(char *line)
{
	char *save = NULL, *cmd = strtok_r(line, " \n", &save);
	char *a = strtok_r(NULL, " \n", &save), *b = strtok_r(NULL, " \n", &save);
	if (!cmd)
		return;
	if (!strcmp(cmd, "put"))
		keep_put(keep, a, open(b, O_RDONLY | O_CLOEXEC));
	else if (!strcmp(cmd, "putdie")) {
		keep_put(keep, a, open(b, O_RDONLY | O_CLOEXEC));
		raise(SIGKILL);
	} else if (!strcmp(cmd, "many"))
		put_many(atoi(a), b);
	else if (!strcmp(cmd, "drop"))
		keep_drop(keep, a);
	else if (!strcmp(cmd, "take"))
		print_file(a);
	else if (!strcmp(cmd, "unclaimed"))
		count_unclaimed();
	else if (!strcmp(cmd, "forget"))
		keep_drop_unclaimed(keep);
	else if (!strcmp(cmd, "child"))
		say("child %d", start_child(a));
	else if (!strcmp(cmd, "brood"))
		for (int i = atoi(a); i; i--) {
			if (fork() == 0)
				_exit(i & 0x7f);
		}
	else if (!strcmp(cmd, "ack"))
		keep_ack_exit(keep, atoi(a));
	else if (!strcmp(cmd, "die"))
		raise(SIGKILL);
	else if (!strcmp(cmd, "exit"))
		_exit(atoi(a));
	else if (!strcmp(cmd, "quit")) {
		keep_quit(keep, atoi(a));
		_exit(9);
	} else if (!strcmp(cmd, "again")) {
		keep_again(keep);
		_exit(0);
	} else if (!strcmp(cmd, "rest")) {
		keep_rest(keep, b ? b : keeper, command, atoi(a));
		_exit(9);
	} else if (!strcmp(cmd, "echo"))
		say("echo %s", a);
}

/* A byte at a time: what follows the line belongs to the next core. */
static void handle_command(struct loop_io *io, int events)
{
	(void)events;
	static char line[256];
	static size_t len;
	ssize_t n = read(io->fd, line + len, 1);
	if (n <= 0) {
		loop_io_stop(io);
		return;
	}
	if (line[len] != '\n' && len < sizeof(line) - 2) {
		len++;
		return;
	}
	line[len] = 0;
	len = 0;
	obey(line);
}

int main(int argc, char **argv)
{
	if (argc < 4 || strcmp(argv[1], "--core") || strncmp(argv[2], "--keep-fd=", 10))
		return 2;
	keeper = argv[3];
	if (argc > 4 && !strcmp(argv[4], "fail"))
		return 7;
	if (argc > 4 && !strcmp(argv[4], "crash"))
		say("crash"), raise(SIGKILL);
	command = (char *[]){ argv[0], argv[3], NULL };
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	struct pool *p = pool_new(NULL, "root");
	loop = loop_new(p);
	struct err e = { 0 };
	if (keep_open(loop, p, atoi(argv[2] + 10), &keep, &e) < 0) {
		say("open: %s", err_text(&e));
		return 1;
	}
	struct loop_signal hup, term;
	loop_signal_start(&hup, loop, p, SIGHUP, handle_signal, NULL);
	loop_signal_start(&term, loop, p, SIGTERM, handle_signal, NULL);
	keep_on_exit(keep, handle_exit, NULL);
	keep_on_lost(keep, handle_lost, NULL);
	struct loop_io in;
	loop_io_start(&in, loop, p, 0, LOOP_READ, handle_command, NULL);
	say("core %u pid %d keeper %d", keep_generation(keep), getpid(), keep_pid(keep));
	loop_run(loop);
	return 0;
}

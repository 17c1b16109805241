/* Container logs: format, partial lines, rotation, a full disk, a killed core, ptys, taps. */
#include "core/conlog/conlog.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/loop/loop.h"
#include "t/tap.h"

static char dir[] = "/tmp/conlog.XXXXXX";
static char path[PATH_MAX];
static struct loop *loop;
static struct pool *pool;
static int out_w, err_w;	/* the container's ends */
static int ends;

static void handle_stop(struct loop_timer *t)
{
	loop_stop(t->data);
}

static void handle_end(struct conlog *c, void *data)
{
	ends++;
	loop_stop(loop);
}

/* Each case has its own loop, log file and pipes. */
static struct conlog *begin(const char *name)
{
	struct conlog *c;
	struct err e = { 0 };
	int out[2], err[2];
	pool = pool_new(NULL, "test");
	loop = loop_new(pool);
	snprintf(path, sizeof(path), "%s/%s/0.log", dir, name);
	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		abort();
	out_w = out[1];
	err_w = err[1];
	ends = 0;
	if (conlog_open(loop, pool, path, out[0], err[0], false, &c, &e) < 0) {
		printf("not ok - %s\n", err_text(&e));
		exit(1);
	}
	conlog_on_end(c, handle_end, NULL);
	return c;
}

static void end(void)
{
	pool_destroy(pool);
}

/* Run until both streams have ended, or the timer says that they do not. */
static void run(unsigned ms)
{
	struct loop_timer t = { 0 };
	loop_timer_start(&t, loop, pool, ms, 0, handle_stop, loop);
	loop_run(loop);
	loop_timer_stop(&t);
}

static void say(int fd, const char *text)
{
	if (write(fd, text, strlen(text)) < 0)
		abort();
}

static void hang_up(void)
{
	close(out_w);
	close(err_w);
	run(10000);
}

static char *slurp(const char *name)
{
	struct buf b = { 0 };
	struct err e = { 0 };
	if (file_read(AT_FDCWD, name, 64 << 20, &b, &e) < 0)
		buf_printf(&b, "(%s)", e.msg);
	buf_add(&b, "", 0);
	return b.data;
}

/* Is at a time as 2026-01-02T03:04:05.123456789Z followed by a space? */
static bool is_time(const char *at)
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd.dddddddddZ ";
	for (int i = 0; form[i]; i++)
		if (form[i] == 'd' ? at[i] < '0' || at[i] > '9' : at[i] != form[i])
			return false;
	return true;
}

/* The log without its times; "BAD" where there is none. */
static char *records(void)
{
	struct buf b = { 0 };
	char *text = slurp(path);
	for (char *at = text, *nl; (nl = strchr(at, '\n')); at = nl + 1) {
		*nl = 0;
		if (strlen(at) > 31 && is_time(at))
			buf_printf(&b, "%s\n", at + 31);
		else
			buf_printf(&b, "BAD %s\n", at);
	}
	buf_add(&b, "", 0);
	free(text);
	return b.data;
}

static void expect(const char *want, const char *name)
{
	char *got = records();
	if (!ok(!strcmp(got, want), "%s", name))
		printf("# got: %.2000s\n", got);
	free(got);
}

static void test_format(void)
{
	begin("format");
	say(out_w, "hello world\n\n");
	run(50);
	say(err_w, "oh\r\n");
	hang_up();
	ok(ends == 1, "the end is told once");
	expect("stdout F hello world\nstdout F \nstderr F oh\r\n",
	       "lines, an empty one, CR kept without a tty");
	struct stat st;
	ok(stat(path, &st) == 0 && (st.st_mode & 07777) == 0640, "mode 0640");
	*strrchr(path, '/') = 0;
	ok(stat(path, &st) == 0 && (st.st_mode & 07777) == 0755, "its folder has 0755");
	end();
}

static void test_no_newline(void)
{
	begin("tail");
	say(out_w, "one\ntwo");
	run(50);
	expect("stdout F one\n", "an unfinished line waits");
	say(out_w, " and more\n");
	run(50);
	expect("stdout F one\nstdout F two and more\n", "and is one record when its end comes");
	say(out_w, "last");
	hang_up();
	expect("stdout F one\nstdout F two and more\nstdout P last\n",
	       "end of file without a newline is P");
	end();
}

static void test_prompt(void)
{
	begin("prompt");
	say(out_w, "password: ");
	run(3000);
	expect("stdout P password: \n", "a line left unfinished for long is shown as P");
	say(out_w, "ok\n");
	hang_up();
	expect("stdout P password: \nstdout F ok\n", "and goes on as F");
	end();
}

static void test_small_pipe(void)
{
	begin("small");
	char text[5001];
	memset(text, 'x', sizeof(text));
	fcntl(out_w, F_SETPIPE_SZ, 4096);
	pid_t pid = fork();
	if (!pid) {
		alarm(10);
		_exit(write(out_w, text, 100) == 100 && write(out_w, text, 4050) == 4050 &&
		      write(out_w, "\n", 1) == 1 ? 0 : 1);
	}
	hang_up();
	int status;
	waitpid(pid, &status, 0);
	ok(status == 0 && ends == 1,
	   "a pipe that is too small for a line does not stall its writer");
	end();
}

static void test_long_lines(void)
{
	begin("long");
	struct buf want = { 0 }, line = { 0 };
	char *x = malloc(40000);
	memset(x, 'x', 40000);
	buf_printf(&line, "%.16384s\n%.16385s\n%.40000s\n", x, x, x);
	buf_printf(&want, "stdout F %.16384s\nstdout P %.16384s\nstdout F x\n", x, x);
	buf_printf(&want, "stdout P %.16384s\nstdout P %.16384s\nstdout F %.7232s\n", x, x, x);
	pid_t pid = fork();
	if (!pid)
		_exit(file_write_all(out_w, line.data, line.len) < 0);
	hang_up();
	waitpid(pid, NULL, 0);
	expect(want.data, "long lines come in pieces of 16384 bytes");
	buf_free(&want);
	buf_free(&line);
	free(x);
	end();
}

static void test_bytes(void)
{
	begin("bytes");
	if (write(out_w, "a\0b\xff\n", 5) != 5)
		abort();
	hang_up();
	char *text = slurp(path);
	ok(!memcmp(text + 31, "stdout F a\0b\xff\n", 14), "content is bytes, NUL and all");
	free(text);
	end();
}

static void test_rotation(void)
{
	struct conlog *c = begin("rotate");
	struct err e = { 0 };
	char old[PATH_MAX + 8];
	snprintf(old, sizeof(old), "%s.old", path);
	say(out_w, "first\n");
	run(50);
	rename(path, old);
	say(out_w, "still old\n");
	run(50);
	ok(conlog_reopen(c, &e) == 0, "reopen");
	say(out_w, "new\n");
	run(50);
	expect("stdout F new\n", "the new file begins with what came after");
	rename(path, old);
	mkdir(path, 0755);
	ok(conlog_reopen(c, &e) < 0 && strstr(e.msg, path),
	   "a reopen that fails names the file: %s", e.msg);
	say(out_w, "on\n");
	run(50);
	rmdir(path);
	rename(old, path);
	hang_up();
	expect("stdout F new\nstdout F on\n", "and the old file stays in use");
	end();
}

static void test_bad_targets(void)
{
	struct err e = { 0 };
	struct conlog *c;
	int fds[2];
	pool = pool_new(NULL, "test");
	loop = loop_new(pool);
	snprintf(path, sizeof(path), "%s/fifo", dir);
	mkfifo(path, 0600);
	ok(pipe(fds) == 0 && conlog_open(loop, pool, path, fds[0], -1, false, &c, &e) < 0,
	   "a FIFO is refused: %s", e.msg);
	ok(fcntl(fds[0], F_GETFD) < 0, "and the fd is taken all the same");
	close(fds[1]);
	e.code = 0;
	snprintf(path, sizeof(path), "%s/link", dir);
	if (symlink("/etc/passwd", path) < 0)
		abort();
	ok(pipe(fds) == 0 && conlog_open(loop, pool, path, fds[0], -1, false, &c, &e) < 0,
	   "a link is refused: %s", e.msg);
	close(fds[1]);
	end();
}

static void test_torn_record(void)
{
	char name[PATH_MAX];
	snprintf(name, sizeof(name), "%s/torn", dir);
	mkdir(name, 0755);
	snprintf(name, sizeof(name), "%s/torn/0.log", dir);
	struct err e = { 0 };
	static const char was[] =
		"2026-01-02T03:04:05.123456789Z stdout F whole\n2026-01-02T03:04:05.1234";
	file_replace(AT_FDCWD, name, was, sizeof(was) - 1, 0640, &e);
	begin("torn");
	say(out_w, "next\n");
	hang_up();
	expect("stdout F whole\nstdout F next\n", "half a record at the end is cut off at open");
	end();
}

static void test_full_disk(void)
{
	char mnt[PATH_MAX];
	snprintf(mnt, sizeof(mnt), "%s/full", dir);
	mkdir(mnt, 0755);
	if (mount("tmpfs", mnt, "tmpfs", 0, "size=64k") < 0) {
		ok(true, "full disk # SKIP no mount: %s", strerror(errno));
		return;
	}
	struct conlog *c = begin("full");
	pid_t pid = fork();
	if (!pid) {
		alarm(20);
		for (int i = 0; i < 3000; i++)
			if (dprintf(out_w, "line %0100d\n", i) < 0)
				_exit(1);
		_exit(0);
	}
	close(out_w);
	run(500);
	int status = -1;
	waitpid(pid, &status, 0);
	ok(status == 0, "a full disk does not stall the writer");
	ok(conlog_dropped(c) > 200000, "what was dropped is counted: %llu", conlog_dropped(c));
	char *got = records();
	ok(!strstr(got, "BAD") && got[strlen(got) - 1] == '\n', "the log holds whole records only");
	free(got);
	if (truncate(path, 0) < 0)
		abort();
	say(err_w, "again\n");
	close(err_w);
	run(10000);
	expect("stderr F again\n", "and goes on when there is room");
	end();
	umount2(mnt, MNT_DETACH);
}

/* The core is killed while lines flow: the writer's pipe outlives it. */
static void test_killed(void)
{
	enum { LINES = 60000, KILLS = 12 };
	snprintf(path, sizeof(path), "%s/killed/0.log", dir);
	int fds[2];
	if (pipe(fds) < 0)
		abort();
	pid_t writer = fork();
	if (!writer) {
		for (int i = 0; i < LINES; i++)
			dprintf(fds[1], "%d\n", i);
		_exit(0);
	}
	close(fds[1]);
	srand(1);
	for (int k = 0; k <= KILLS; k++) {
		pid_t core = fork();
		if (!core) {
			struct conlog *c;
			struct err e = { 0 };
			pool = pool_new(NULL, "core");
			loop = loop_new(pool);
			if (conlog_open(loop, pool, path, dup(fds[0]), -1, false, &c, &e) < 0)
				_exit(1);
			conlog_on_end(c, handle_end, NULL);
			loop_run(loop);
			_exit(0);
		}
		if (k < KILLS) {
			usleep(1000 + (unsigned)rand() % 8000);
			kill(core, SIGKILL);
		}
		waitpid(core, NULL, 0);
	}
	waitpid(writer, NULL, 0);
	close(fds[0]);
	char *got = records();
	long next = 0, lost = 0, repeated = 0, bad = 0;
	for (char *at = got, *nl; (nl = strchr(at, '\n')); at = nl + 1) {
		if (strncmp(at, "stdout F ", 9)) {
			bad++;
			continue;
		}
		long n = strtol(at + 9, NULL, 10);
		if (n > next)
			lost += n - next;
		else if (n < next)
			repeated++;
		next = n + 1;
	}
	free(got);
	ok(!lost && next == LINES, "no line is lost over %d kills (last %ld, lost %ld)", KILLS,
	   next - 1, lost);
	ok(!bad, "and none is torn");
	ok(repeated <= KILLS * 32768L, "repeated within the bound: %ld", repeated);
}

static void test_finish(void)
{
	struct conlog *c = begin("finish");
	say(out_w, "one\ntwo");	/* out_w stays open: somebody has inherited it */
	conlog_finish(c);
	conlog_finish(c);
	expect("stdout F one\nstdout P two\n", "finish writes what is there and does not wait");
	ok(conlog_ended(c), "and is the end");
	close(out_w);
	close(err_w);
	run(50);
	ok(!ends, "of which nobody is told");
	end();
}

static void test_tty(void)
{
	struct conlog *c;
	struct err e = { 0 };
	pool = pool_new(NULL, "test");
	loop = loop_new(pool);
	ends = 0;
	snprintf(path, sizeof(path), "%s/tty/0.log", dir);
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	grantpt(master);
	unlockpt(master);
	int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	ok(conlog_open(loop, pool, path, master, -1, true, &c, &e) == 0, "open a tty's log");
	conlog_on_end(c, handle_end, NULL);
	ok(conlog_tty_fd(c) == master, "its master is at hand");
	say(slave, "hello\nrest");
	run(50);
	expect("stdout F hello\nstdout P rest\n",
	       "CR LF is a newline, an unfinished line is shown at once");
	struct termios t;
	tcgetattr(slave, &t);
	t.c_oflag &= ~(tcflag_t)OPOST;
	tcsetattr(slave, TCSANOW, &t);
	say(slave, "half\r");
	run(50);
	say(slave, "\n");
	run(50);
	expect("stdout F hello\nstdout P rest\nstdout P half\nstdout F \n",
	       "a CR LF that comes in two reads");
	close(slave);
	run(5000);
	ok(ends == 1 && conlog_ended(c), "the end");
	end();
}

struct seen {
	struct buf text;
	int ends;
};

static void handle_tap(struct conlog_tap *t, enum conlog_stream stream, const char *data,
		       size_t len)
{
	struct seen *s = t->data;
	if (data)
		buf_printf(&s->text, "%d:%.*s|", stream, (int)len, data);
	else
		s->ends++;
}

static void test_taps(void)
{
	struct conlog *c = begin("taps");
	struct conlog_tap t = { 0 }, gone = { 0 };
	struct seen s = { 0 }, none = { 0 };
	conlog_tap_del(&gone);
	say(out_w, "before ");
	run(50);
	conlog_tap_add(c, &t, handle_tap, &s);
	conlog_tap_add(c, &gone, handle_tap, &none);
	conlog_tap_del(&gone);
	say(out_w, "$ ");
	run(50);
	ok(s.text.len && !strcmp(s.text.data, "0:$ |"),
	   "a tap gets what comes, at once, and only that");
	say(out_w, "ls\n");
	run(50);
	hang_up();
	ok(!strcmp(s.text.data, "0:$ |0:ls\n|") && s.ends == 2, "each byte once, then both ends");
	ok(!none.text.len && !none.ends, "one that left gets nothing");
	expect("stdout F before $ ls\n", "the log has whole lines all the same");
	buf_free(&s.text);
	end();
}

static void test_discarded(void)
{
	struct conlog *c;
	struct err e = { 0 };
	int fds[2];
	pool = pool_new(NULL, "test");
	loop = loop_new(pool);
	ends = 0;
	pid_t pid;
	if (pipe2(fds, O_CLOEXEC) < 0)
		abort();
	ok(conlog_open(loop, pool, "", fds[0], -1, false, &c, &e) == 0, "without a path");
	conlog_on_end(c, handle_end, NULL);
	if (!(pid = fork())) {
		char text[200000] = { 0 };
		alarm(10);
		_exit(file_write_all(fds[1], text, sizeof(text)) < 0);
	}
	close(fds[1]);
	run(10000);
	int status = -1;
	waitpid(pid, &status, 0);
	ok(status == 0 && ends == 1, "output is drained and discarded");
	end();
}

static int count_fds(void)
{
	int n = 0;
	auto_closedir DIR *d = opendir("/proc/self/fd");
	while (readdir(d))
		n++;
	return n;
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	umask(077);
	log_set_level(LOG_LEVEL_ERROR);
	signal(SIGPIPE, SIG_IGN);
	int before = count_fds();
	test_format();
	test_no_newline();
	test_prompt();
	test_small_pipe();
	test_long_lines();
	test_bytes();
	test_rotation();
	test_bad_targets();
	test_torn_record();
	test_full_disk();
	test_killed();
	test_finish();
	test_tty();
	test_taps();
	test_discarded();
	ok(count_fds() == before, "no fd is left");
	struct err e = { 0 };
	file_remove_tree(AT_FDCWD, dir, &e);
	return done();
}

/* Sections about the streams of containers and execs: input, floods, terminals. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/base/pool.h"
#include "tools/engine-check/check.h"

enum { MIB = 1 << 20, LINE = 1024, LINES = 4096, BIG = 100000, FLOOD_MS = 30000 };

static char *filled(size_t len, char with)
{
	char *s = pool_alloc(bench.pool, len + 1);
	memset(s, with, len);
	s[len] = 0;
	return s;
}

/* -- input -- */

/* Through stdin and back, more than any pipe holds; then the end of stdin ends it. */
static void check_echo(struct plug_handler *h, struct io *io, const char *id, const char *exec_id)
{
	const char *who = exec_id ? "an exec's" : "its";
	char *data = pool_alloc(bench.pool, MIB), *got = pool_alloc(bench.pool, MIB);
	for (size_t i = 0; i < MIB; i++)
		data[i] = (char)(i * 31 + i / 256);
	size_t n = io_echo(io, data, MIB, got, FLOOD_MS);
	check(n == MIB && !memcmp(data, got, MIB), "1 MiB goes through %s stdin and back, byte by byte (%zu came)", who, n);
	end_input(h, io, id, exec_id);
	struct end *e = bench_end(id, exec_id, END_MS);
	check(exited_with(e, 0), "the end of %s stdin is seen: cat ends with 0 (%s)", who, end_words(e));
}

static void feed(struct plug_handler *h, const struct pod *p)
{
	struct ctr c;
	const struct shape cat = { .sh = "exec cat", .in = true };
	if (ctr_run_as(h, &c, p, "fed", &cat)) {
		check_echo(h, &c.io, "fed", NULL);
		delete_all(h, &c);
	}
	if (ctr_run(h, &c, p, "unfed", "cat; exit 3")) {
		struct end *e = bench_end("unfed", NULL, END_MS);
		check(exited_with(e, 3), "a stdin that isn't given is at its end: exit code 3 (%s)", end_words(e));
		delete_all(h, &c);
	}
	if (!plug_has(h, PLUG_OP_EXEC) || !ctr_run(h, &c, p, "host-of-cat", LOOP))
		return;
	struct exec x;
	exec_lay(h, &x, &c, "cat", &cat);
	struct answer a = exec_run(h, &x);
	if (check(a.ret == 0, "exec with stdin%s", colon(&a)))
		check_echo(h, &x.io, c.id, "cat");
	exec_close(h, &x);
	delete_all(h, &c);
}

/* -- output -- */

static const char *flood(const char *condition)
{
	return pool_printf(bench.pool, "l=%s; i=0; while %s; do echo $l; i=$((i+1)); done; echo last >&2; exit 6",
			   filled(LINE - 1, 'x'), condition);
}

static void check_flood(struct io *io, const char *id, const char *exec_id)
{
	const char *who = exec_id ? "an exec" : "it";
	size_t n = io_drain(io, io->out, FLOOD_MS);
	check(n == (size_t)LINE * LINES, "4 MiB that %s says arrive whole: 4194304 bytes (%zu did)", who, n);
	const char *words = io_read(io, io->err, "last\n", END_MS);
	check(!strcmp(words, "last\n"), "what %s says on stderr comes there, and nothing else (\"%.60s\")", who, words);
	struct end *e = bench_end(id, exec_id, END_MS);
	check(exited_with(e, 6), "and its exit code is told: 6 (%s)", end_words(e));
}

static void spill(struct plug_handler *h, const struct pod *p)
{
	struct ctr c;
	const char *sh = flood(pool_printf(bench.pool, "[ $i -lt %d ]", LINES));
	if (ctr_run(h, &c, p, "loud", sh)) {
		check_flood(&c.io, "loud", NULL);
		delete_all(h, &c);
	}
	if (!plug_has(h, PLUG_OP_EXEC) || !ctr_run(h, &c, p, "host-of-loud", LOOP))
		return;
	struct exec x;
	exec_lay(h, &x, &c, "loud", &(struct shape){ .sh = sh });
	struct answer a = exec_run(h, &x);
	if (check(a.ret == 0, "exec of one that says much%s", colon(&a)))
		check_flood(&x.io, c.id, "loud");
	exec_close(h, &x);
	delete_all(h, &c);
}

/* A reader that is slow for ever: everything that doesn't need one has to go on. */
static void nobody_reads(struct plug_handler *h, const struct pod *p)
{
	struct ctr c;
	struct exec x;
	if (!ctr_run(h, &c, p, "unread", flood(":")))
		return;
	bench_wait_ms(300);
	if (plug_has(h, PLUG_OP_EXEC)) {
		exec_lay(h, &x, &c, "unread", &(struct shape){ .sh = flood(":") });
		struct answer a = exec_run(h, &x);
		check(a.ret == 0, "exec beside a stream that nobody reads%s", colon(&a));
		bench_wait_ms(300);
	}
	struct answer a = ctr_kill(h, &c, SIGKILL);
	check(a.ret == 0, "kill of one whose output nobody reads%s", colon(&a));
	struct end *e = bench_end("unread", NULL, END_MS);
	check(killed_by(e, SIGKILL), "its end by signal 9 is told all the same (%s)", end_words(e));
	if (plug_has(h, PLUG_OP_EXEC)) {
		check(bench_end("unread", "unread", END_MS), "and that of an exec in it");
		exec_close(h, &x);
	}
	a = bench_id(h, PLUG_OP_DELETE, "unread", 0);
	check(a.ret == 0, "delete%s", colon(&a));
	ctr_close(&c);
}

/* Whoever reads has gone: that ends the process, or stops it. */
static void reader_goes(struct plug_handler *h, const struct pod *p)
{
	struct ctr c;
	if (!ctr_run(h, &c, p, "left-alone", flood(":")))
		return;
	check(*ctr_output(&c, "x\n", END_MS), "it speaks");
	ctr_close(&c);
	bench_wait_ms(200);
	delete_all(h, &c);
	check(bench_end("left-alone", NULL, END_MS) || plug_can(h, CRISP_CAP_EXIT_BY_ENGINE),
	      "one whose reader has gone can be ended");
}

/* -- words -- */

static void check_words(struct io *io, const char *who)
{
	const char *said = io_read(io, io->out, "\n", END_MS);
	check(!strcmp(said, "100000 100000\n"), "%s gets an argument and a variable of 100000 bytes each (says \"%.60s\")",
	      who, said);
}

static void long_words(struct plug_handler *h, const struct pod *p)
{
	struct ctr c;
	struct exec x;
	const char *const args[] = { "/bin/sh", "-c", "echo ${#0} ${#BIG}; " LOOP, filled(BIG, 'a'), NULL };
	const char *const brief[] = { "/bin/sh", "-c", "echo ${#0} ${#BIG}", filled(BIG, 'a'), NULL };
	const char *env = pool_printf(bench.pool, "BIG=%s", filled(BIG, 'b'));
	if (!ctr_run_as(h, &c, p, "wordy", &(struct shape){ .args = args, .env = env }))
		return;
	check_words(&c.io, "a container");
	if (plug_has(h, PLUG_OP_EXEC)) {
		exec_lay(h, &x, &c, "wordy", &(struct shape){ .args = brief, .env = env });
		struct answer a = exec_run(h, &x);
		if (check(a.ret == 0, "exec with long words%s", colon(&a)))
			check_words(&x.io, "an exec");
		bench_end("wordy", "wordy", END_MS);
		exec_close(h, &x);
	}
	delete_all(h, &c);
}

static void odd_words(struct plug_handler *h, const struct pod *p)
{
	static const char odd[] = " \"two\" 'three'\n$four `five` {\"six\":7} \t* \xc3\xa9\xe2\x82\xac ";
	const char *const args[] = { "/bin/sh", "-c", "echo \"$0|$ODD|$1|\"", odd, "", NULL };
	struct ctr c;
	if (!ctr_run_as(h, &c, p, "odd", &(struct shape){ .args = args, .env = pool_printf(bench.pool, "ODD=%s", odd) }))
		return;
	const char *said = ctr_output(&c, NULL, END_MS);
	check(!strcmp(said, pool_printf(bench.pool, "%s|%s||\n", odd, odd)),
	      "quotes, line ends, UTF-8 and an empty word arrive as they are (\"%.100s\")", said);
	delete_all(h, &c);
}

void section_streams(void)
{
	struct pod p;
	struct plug_handler *h = ready_handler();
	if (!h || !pod_up(h, &p, "pod-streams"))
		return;
	feed(h, &p);
	spill(h, &p);
	nobody_reads(h, &p);
	reader_goes(h, &p);
	long_words(h, &p);
	odd_words(h, &p);
	pod_down(h, &p);
	check_nothing_left();
}

/* -- terminals -- */

static bool has_stty(struct plug_handler *h)
{
	static const char *const places[] = { "bin", "usr/bin", "sbin" };
	for (size_t i = 0; i < 3; i++)
		if (access(pool_printf(bench.pool, "%s/%s/stty", opt.rootfs, places[i]), X_OK) == 0)
			return true;
	note("no stty in the root file system: what size a terminal has inside is not looked at");
	return false;
}

static void resize(struct plug_handler *h, const struct io *io, const char *id, const char *exec_id, unsigned short width,
		   unsigned short height)
{
	if (plug_can(h, CRISP_CAP_TTY_ENGINE)) {
		struct crisp_resize_args args = { .id = id, .exec_id = exec_id, .width = width, .height = height };
		struct answer a = bench_ask(h, PLUG_OP_RESIZE, &args);
		check(a.ret == 0, "resize%s", colon(&a));
		return;
	}
	struct winsize size = { .ws_row = height, .ws_col = width };
	bool good = ioctl(io->out, TIOCSWINSZ, &size) == 0;
	check(good, "what the engine has sent is a tty's master%s%s", good ? "" : ": ", good ? "" : strerror(errno));
}

/* Says what it is, then does what its lines say, until Ctrl-C. */
static const struct shape terminal = {
	.tty = true, .in = true,
	.sh = "trap 'echo interrupted; exit 5' INT; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo terminal; "
	      "while :; do read x; case $x in size) stty size;; ?*) echo \"<$x>\";; esac; done",
};

static void check_terminal(struct plug_handler *h, const struct io *io, const char *id, const char *exec_id)
{
	const char *who = exec_id ? "an exec" : "a container";
	const char *said = io_read(io, io->out, "terminal\r\n", END_MS);
	check(strstr(said, "terminal\r\n"), "%s with a tty has it as all three streams (says \"%.60s\")", who, said);
	io_write(io, "words\r");
	said = io_read(io, io->out, "<words>", END_MS);
	check(strstr(said, "<words>"), "what is typed reaches it, and what it answers comes back (\"%.60s\")", said);
	for (unsigned i = 0; i < 2; i++) {
		const char *want = i ? "50 132\r\n" : "41 123\r\n";
		resize(h, io, id, exec_id, i ? 132 : 123, i ? 50 : 41);
		if (!has_stty(h))
			break;
		io_write(io, "size\r");
		said = io_read(io, io->out, want, END_MS);
		check(strstr(said, want), "after a resize its tty is of %.6s rows and columns (says \"%.60s\")", want, said);
	}
	io_write(io, "\003");
	struct end *e = bench_end(id, exec_id, END_MS);
	if (!check(exited_with(e, 5), "%s is interrupted by Ctrl-C on its tty: it ends with 5 (%s)", who, end_words(e)))
		return;
	said = io_read(io, io->out, "interrupted\r\n", END_MS);
	check(strstr(said, "interrupted\r\n"), "and its last words arrive (\"%.60s\")", said);
}

/* One without terminals says so: a process that has none and believes it has is of no use. */
static void refuse_terminal(struct plug_handler *h, const struct pod *p)
{
	struct ctr c;
	if (!ctr_lay_as(h, &c, p, "no-tty", &terminal))
		return;
	struct answer a = ctr_create(h, &c);
	check(a.ret < 0 && a.ret != -ETIMEDOUT, "an engine that claims no kind of tty refuses one (%d%s)", a.ret, colon(&a));
	bench_id(h, PLUG_OP_DELETE, "no-tty", CRISP_ARG_FORCE);
	ctr_close(&c);
}

static void check_terminals(struct plug_handler *h, const struct pod *p)
{
	struct ctr c;
	struct exec x;
	if (ctr_run_as(h, &c, p, "tty", &terminal)) {
		check_terminal(h, &c.io, "tty", NULL);
		if (plug_can(h, CRISP_CAP_TTY_ENGINE)) {
			struct crisp_resize_args args = { .id = "tty", .width = 1, .height = 1 };
			struct answer a = bench_ask(h, PLUG_OP_RESIZE, &args);
			check(a.ret != -ETIMEDOUT, "resize of what has ended is answered (%d%s)", a.ret, colon(&a));
		}
		delete_all(h, &c);
	}
	if (!plug_has(h, PLUG_OP_EXEC) || !ctr_run(h, &c, p, "host-of-tty", LOOP))
		return;
	exec_lay(h, &x, &c, "tty", &terminal);
	struct answer a = exec_run(h, &x);
	if (check(a.ret == 0, "exec with a tty%s", colon(&a)))
		check_terminal(h, &x.io, c.id, "tty");
	exec_close(h, &x);
	delete_all(h, &c);
}

void section_terminals(void)
{
	struct pod p;
	struct plug_handler *h = ready_handler();
	if (!h || !pod_up(h, &p, "pod-tty"))
		return;
	if (plug_can(h, CRISP_CAP_TTY_CONSOLE_SOCKET) || plug_can(h, CRISP_CAP_TTY_ENGINE))
		check_terminals(h, &p);
	else
		refuse_terminal(h, &p);
	pod_down(h, &p);
	check_nothing_left();
}

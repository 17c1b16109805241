/* The streams of a process, made as the core makes them: pipes, FIFOs, or a socket for a tty's master. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/pool.h"
#include "core/model/console.h"
#include "tools/engine-check/check.h"

enum { TURN_MS = 10 };

/* One end for us, one for the process. */
static void open_pipe(int *ours, int *theirs, bool in)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		abort();
	*ours = fds[in];
	*theirs = fds[!in];
	fd_set_nonblock(*ours);
}

/* An input is open both ways: with no reader yet it could not be opened to write. */
static const char *open_fifo(struct io *io, const char *dir, const char *name, const char *which, int flags, int *ours)
{
	const char *path = pool_printf(bench.pool, "%s/%s-%s", dir, which, name);
	unlink(path);
	if (mkfifo(path, 0600) < 0 || (*ours = open(path, flags | O_NONBLOCK | O_CLOEXEC)) < 0)
		abort();
	return path;
}

static void open_console(struct io *io)
{
	static unsigned n;
	struct err e = { 0 };
	io->pool = pool_new(bench.pool, "console");
	if (console_listen(io->pool, opt.home, pool_printf(io->pool, "tty%u", n++), &io->console, &e) < 0)
		note("%s", err_text(&e));
	else
		io->stdio.console_socket = console_path(io->console);
}

void io_open(struct plug_handler *h, struct io *io, const char *dir, const char *name, bool in, bool tty)
{
	*io = (struct io){ .stdio = { .size = sizeof(io->stdio), .flags = tty ? CRISP_STDIO_TTY : 0 } };
	if (plug_can(h, CRISP_CAP_STDIO_FIFO)) {
		if (in)
			io->stdio.fifo_in = open_fifo(io, dir, name, "in", O_RDWR, &io->in);
		io->stdio.fifo_out = open_fifo(io, dir, name, "out", O_RDONLY, &io->out);
		if (!tty)
			io->stdio.fifo_err = open_fifo(io, dir, name, "err", O_RDONLY, &io->err);
	} else if (tty) {
		open_console(io);
	} else {
		if (in)
			open_pipe(&io->in, &io->childs[0], true);
		open_pipe(&io->out, &io->childs[1], false);
		open_pipe(&io->err, &io->childs[2], false);
		io->stdio.in = io->childs[0];
		io->stdio.out = io->childs[1];
		io->stdio.err = io->childs[2];
	}
}

void io_given(struct io *io)
{
	for (int i = 0; i < 3; i++) {
		if (io->childs[i] > 0)
			close(io->childs[i]);
		io->childs[i] = 0;
	}
}

bool io_console(struct io *io)
{
	struct err e = { 0 };
	int fd = io->console ? console_take(io->console, &e) : -1;
	if (fd < 0)
		return !io->console;
	io->out = fd;
	io->in = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return true;
}

void io_close(struct io *io)
{
	int *ours[] = { &io->in, &io->out, &io->err };
	for (int i = 0; i < 3; i++) {
		if (*ours[i] > 0)
			close(*ours[i]);
		*ours[i] = 0;
	}
	io_given(io);
	if (io->pool)
		pool_destroy(io->pool);
	io->pool = NULL;
	io->console = NULL;
}

/* A part of it: its length, 0 at the end, or -EAGAIN. */
static ssize_t read_part(const struct io *io, int fd, char *part, size_t cap, bool any)
{
	ssize_t n = read(fd, part, cap);
	if (n == 0 && io->stdio.fifo_out && !any)
		return -EAGAIN;	/* nobody has opened it yet */
	if (n < 0 && errno == EIO)
		return 0;	/* a tty that nobody has any more */
	return n < 0 ? -errno : n;
}

const char *io_read(const struct io *io, int fd, const char *want, uint64_t ms)
{
	struct buf text = { 0 };
	int64_t until = clock_mono_ns() + (int64_t)ms * 1000000;
	while (fd > 0 && (!text.len || !want || !memmem(text.data, text.len, want, strlen(want)))) {
		char part[4096];
		ssize_t n = read_part(io, fd, part, sizeof(part), text.len);
		if (n > 0)
			buf_add(&text, part, (size_t)n);
		else if (n != -EAGAIN || clock_mono_ns() >= until)
			break;
		else
			bench_run(TURN_MS);
	}
	const char *out = pool_strndup(bench.pool, text.data ? text.data : "", text.len);
	buf_free(&text);
	return out;
}

size_t io_drain(const struct io *io, int fd, uint64_t ms)
{
	static char part[65536];
	size_t all = 0;
	int64_t until = clock_mono_ns() + (int64_t)ms * 1000000;
	while (fd > 0 && clock_mono_ns() < until) {
		ssize_t n = read_part(io, fd, part, sizeof(part), all);
		if (n > 0)
			all += (size_t)n;
		else if (n != -EAGAIN)
			break;
		else
			bench_run(TURN_MS);
	}
	return all;
}

size_t io_echo(const struct io *io, const char *data, size_t len, char *got, uint64_t ms)
{
	size_t sent = 0, had = 0;
	int64_t until = clock_mono_ns() + (int64_t)ms * 1000000;
	while (had < len && clock_mono_ns() < until) {
		ssize_t w = sent < len ? write(io->in, data + sent, len - sent) : 0;
		ssize_t r = read_part(io, io->out, got + had, len - had, had);
		if (w > 0)
			sent += (size_t)w;
		if (r > 0)
			had += (size_t)r;
		if (r == 0 || (w < 0 && errno != EAGAIN))
			break;
		if (w <= 0 && r < 0)
			bench_run(TURN_MS);
	}
	return had;
}

bool io_write(const struct io *io, const char *text)
{
	return io->in > 0 && write(io->in, text, strlen(text)) == (ssize_t)strlen(text);
}

void end_input(struct plug_handler *h, struct io *io, const char *id, const char *exec_id)
{
	if (io->in > 0)
		close(io->in);
	io->in = 0;
	struct crisp_args args = { .id = id, .exec_id = exec_id };
	if (!io->stdio.fifo_in || !plug_has(h, PLUG_OP_CLOSE_STDIN))
		return;
	struct answer a = bench_ask(h, PLUG_OP_CLOSE_STDIN, &args);
	check(a.ret == 0, "close_stdin%s", colon(&a));
}

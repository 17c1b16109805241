/*
 * crisp-keeper [--adopt FD] CRISPD ARGS...
 *
 * The parent of the core.  It runs `CRISPD --core --keep-fd=N ARGS...` and, when that dies, runs
 * it again at once and hands back what the dead one had put here: fds under keys, and the exits
 * of processes that were re-parented to us (as subreaper) meanwhile.  See core/keep/wire.h for
 * what is said over the socket.
 *
 *	core exits after QUIT, or after we were told to end    we leave with its exit code
 *	core exits before its first word, nothing kept         it can't start: likewise
 *	anything else                                          a new core; the third death in
 *	                                                       10 s waits for a second first
 *
 * --adopt: a core whose keeper had died has exec'ed us in its own pid; FD is a memfd with a
 * table of struct keep_entry, the fds in it are open.
 *
 * There is no libc: this process lives as long as the node and shall cost a few pages, and
 * nothing in it may fail for want of memory.  All tables are static; pages that were never
 * needed don't exist.
 */
#include "core/base/bare.h"

#include <asm/signal.h>
#include <linux/fcntl.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/signalfd.h>
#include <linux/wait.h>
#include <asm/errno.h>
#include <asm/poll.h>
#include <stdbool.h>

#include "core/keep/wire.h"

enum {
	KEPT_MAX = 65536,
	EXITS_MAX = 4096,
	ARGS_MAX = 256,
	DEATHS_IN_A_ROW = 3,
	DEATHS_WITHIN_MS = 10000,
	PAUSE_MS = 1000,
};

/* Socket things of libc's headers, which can't be had beside the kernel's. */
enum {
	AF_UNIX = 1,
	SOCK_SEQPACKET = 5,
	SOCK_CLOEXEC = 02000000,
	SOL_SOCKET = 1,
	SCM_RIGHTS = 1,
	MSG_DONTWAIT = 0x40,
	MSG_NOSIGNAL = 0x4000,
	MSG_CMSG_CLOEXEC = 0x40000000,
};

struct iovec {
	void *base;
	size_t len;
};

struct msghdr {
	void *name;
	int namelen;
	struct iovec *iov;
	size_t iovlen;
	void *control;
	size_t controllen;
	unsigned flags;
};

/* A control message with one fd, laid out as CMSG_SPACE(sizeof(int)) has it. */
struct fd_control {
	size_t len;
	int level, type, fd, pad;
};

struct exit_note {
	int pid, status;
};

static struct {
	int n;
	int fd[KEPT_MAX];
	uint32_t hash[KEPT_MAX];
	char key[KEPT_MAX][sizeof(((struct keep_msg *)0)->key)];
} kept;

static struct {
	int n, sent;	/* the first `sent` are known to the core of now */
	struct exit_note note[EXITS_MAX];
} exits;

static struct {
	int pid;	/* 0: none */
	int sock;	/* our end; -1: none */
	int generation;
	bool spoke;	/* it has sent at least one message */
	bool quitting;
	int quit_code;
	/* hand-over */
	bool said_hello, said_ready;
	int fds_sent;
} core;

static struct {
	int signals;		/* signalfd */
	bool ending;		/* we were told to end */
	long deaths[DEATHS_IN_A_ROW];	/* when, the oldest first */
	long start_at;		/* no core before this, ms; 0: none is due */
	char *path, **args, **envp;
	struct rlimit64 nofile;	/* as it was, for the core */
} self;

/* -- small things -- */

static long now_ms(void)
{
	struct __kernel_timespec ts = { 0 };
	bare(clock_gettime, 1 /* CLOCK_MONOTONIC */, &ts);
	return (long)(ts.tv_sec * 1000 + ts.tv_nsec / 1000000);
}

static size_t length(const char *s)
{
	size_t n = 0;
	while (s[n])
		n++;
	return n;
}

static bool equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static char *put_text(char *to, const char *s)
{
	while (*s)
		*to++ = *s++;
	return to;
}

static char *put_number(char *to, int n)
{
	char digits[12];
	int len = 0;
	do
		digits[len++] = (char)('0' + n % 10);
	while (n /= 10);
	while (len)
		*to++ = digits[--len];
	return to;
}

static void say(const char *msg, const char *name, int value)
{
	char line[160], *end = put_text(line, "level=warn msg=\"");
	end = put_text(end, msg);
	end = put_text(end, "\" ");
	end = put_text(end, name);
	end = put_text(end, "=");
	end = put_number(end, value);
	end = put_text(end, "\n");
	bare(write, 2, line, end - line);
}

static int parse_number(const char *s)
{
	int n = 0;
	for (; *s >= '0' && *s <= '9' && n < 1 << 24; s++)
		n = n * 10 + (*s - '0');
	return *s ? -1 : n;
}

/* -- what is kept -- */

static uint32_t key_hash(const char *key)
{
	uint32_t h = 2166136261u;
	for (; *key; key++)
		h = (h ^ (unsigned char)*key) * 16777619u;
	return h;
}

static int kept_find(const char *key)
{
	uint32_t h = key_hash(key);
	for (int i = 0; i < kept.n; i++)
		if (kept.hash[i] == h && equal(kept.key[i], key))
			return i;
	return -1;
}

static void kept_drop(const char *key)
{
	int i = kept_find(key), last = kept.n - 1;
	if (i < 0)
		return;
	bare(close, kept.fd[i]);
	kept.fd[i] = kept.fd[last];
	kept.hash[i] = kept.hash[last];
	memcpy(kept.key[i], kept.key[last], sizeof(kept.key[i]));
	kept.n = last;
}

/* Takes fd. */
static void kept_put(const char *key, int fd)
{
	int i = kept_find(key);
	if (i >= 0) {
		bare(close, kept.fd[i]);
		kept.fd[i] = fd;
		return;
	}
	if (kept.n == KEPT_MAX) {
		say("too many fds to keep, one is lost", "max", KEPT_MAX);
		bare(close, fd);
		return;
	}
	kept.fd[kept.n] = fd;
	kept.hash[kept.n] = key_hash(key);
	memcpy(kept.key[kept.n], key, sizeof(kept.key[0]));
	kept.n++;
}

static void exits_remove(int i)
{
	exits.n--;
	if (i < exits.sent)
		exits.sent--;
	for (; i < exits.n; i++)
		exits.note[i] = exits.note[i + 1];
}

static void exits_ack(int pid)
{
	for (int i = 0; i < exits.n; i++)
		if (exits.note[i].pid == pid) {
			exits_remove(i);
			return;
		}
}

static void exits_add(int pid, int status)
{
	if (exits.n == EXITS_MAX)
		exits_remove(0);
	exits.note[exits.n++] = (struct exit_note){ pid, status };
}

/* -- talking to the core -- */

static void close_core_socket(void)
{
	if (core.sock >= 0)
		bare(close, core.sock);
	core.sock = -1;
}

/* False when it has to wait for room, or there is nobody any more. */
static bool tell(struct keep_msg *m, int fd)
{
	struct iovec iov = { m, sizeof(*m) };
	struct fd_control control = {
		sizeof(control) - sizeof(int), SOL_SOCKET, SCM_RIGHTS, fd, 0,
	};
	struct msghdr h = { .iov = &iov, .iovlen = 1 };
	if (fd >= 0) {
		h.control = &control;
		h.controllen = sizeof(control);
	}
	return bare(sendmsg, core.sock, &h, MSG_DONTWAIT | MSG_NOSIGNAL) == (long)sizeof(*m);
}

static bool tell_numbers(uint32_t type, int a, int b)
{
	struct keep_msg m = { .type = type, .a = a, .b = b };
	return tell(&m, -1);
}

static bool tell_kept(int i)
{
	struct keep_msg m = { .type = KEEP_MSG_FD };
	memcpy(m.key, kept.key[i], sizeof(m.key));
	return tell(&m, kept.fd[i]);
}

static bool have_news(void)
{
	return core.sock >= 0 && (!core.said_ready || exits.sent < exits.n);
}

static void tell_news(void)
{
	if (!core.said_hello)
		core.said_hello = tell_numbers(KEEP_MSG_HELLO, (int)bare(getpid), core.generation);
	while (core.said_hello && !core.said_ready && core.fds_sent < kept.n &&
	       tell_kept(core.fds_sent))
		core.fds_sent++;
	if (!core.said_hello || (!core.said_ready && core.fds_sent < kept.n))
		return;
	while (exits.sent < exits.n && tell_numbers(KEEP_MSG_EXIT, exits.note[exits.sent].pid,
						    exits.note[exits.sent].status))
		exits.sent++;
	if (exits.sent == exits.n && !core.said_ready)
		core.said_ready = tell_numbers(KEEP_MSG_READY, 0, 0);
}

static void obey(const struct keep_msg *m, int fd)
{
	core.spoke = true;
	switch (m->type) {
	case KEEP_MSG_PUT:
		if (fd >= 0)
			kept_put(m->key, fd);
		else
			say("no room for another fd, one is lost", "kept", kept.n);
		return;
	case KEEP_MSG_DROP:
		kept_drop(m->key);
		break;
	case KEEP_MSG_ACK:
		exits_ack(m->a);
		break;
	case KEEP_MSG_QUIT:
		core.quitting = true;
		core.quit_code = m->a;
		break;
	}
	if (fd >= 0)
		bare(close, fd);
}

/* Read what the core has said so far.  False at its end: EOF, or an error that stays. */
static bool listen_to_core(void)
{
	int errors = 0;
	while (core.sock >= 0) {
		struct keep_msg m;
		struct iovec iov = { &m, sizeof(m) };
		struct fd_control control;
		struct msghdr h = { .iov = &iov, .iovlen = 1, .control = &control,
				    .controllen = sizeof(control) };
		long n = bare(recvmsg, core.sock, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n == -EAGAIN)
			return true;
		if (n == 0)
			return false;
		if (n < 0) {
			/* ECONNRESET is told once, if it died with words of ours unread; its own
			 * words are still to be had after it. */
			if (++errors > 3)
				return false;
			continue;
		}
		bool has_fd = h.controllen >= sizeof(control) - sizeof(int) &&
			      control.type == SCM_RIGHTS;
		int fd = has_fd ? control.fd : -1;
		m.key[sizeof(m.key) - 1] = 0;
		if (n == (long)sizeof(m))
			obey(&m, fd);
		else if (fd >= 0)
			bare(close, fd);
	}
	return false;
}

/* -- starting a core -- */

static void exec_core(int sock)
{
	char option[32], *args[ARGS_MAX + 4];
	*put_number(put_text(option, "--keep-fd="), sock) = 0;
	int n = 0;
	args[n++] = self.path;
	args[n++] = (char[]){ "--core" };
	args[n++] = option;
	for (char **a = self.args; *a && n < ARGS_MAX + 3; a++)
		args[n++] = *a;
	args[n] = NULL;
	unsigned long none = 0;
	bare(rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none));
	bare(prlimit64, 0, RLIMIT_NOFILE, &self.nofile, NULL);
	bare(fcntl, sock, F_SETFD, 0);
	long ret = bare(execve, self.path, args, self.envp);
	say("can't execute the core", "errno", (int)-ret);
	bare_exit(127);
}

static void start_core(void)
{
	int pair[2];
	self.start_at = 0;
	if (bare(socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		self.start_at = now_ms() + PAUSE_MS;
		return;
	}
	long pid = bare(clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		exec_core(pair[1]);
	bare(close, pair[1]);
	if (pid < 0) {
		say("can't fork the core", "errno", (int)-pid);
		bare(close, pair[0]);
		self.start_at = now_ms() + PAUSE_MS;
		return;
	}
	core.pid = (int)pid;
	core.sock = pair[0];
	core.spoke = core.quitting = core.said_hello = core.said_ready = false;
	core.fds_sent = exits.sent = 0;
	tell_news();
}

/* What the first core has inherited (the ready fd, a log) is the core's alone. */
static void close_inherited(void)
{
	int low = self.signals < core.sock ? self.signals : core.sock;
	int high = self.signals < core.sock ? core.sock : self.signals;
	if (low > 3)
		bare(close_range, 3, low - 1, 0);
	if (high > low + 1)
		bare(close_range, low + 1, high - 1, 0);
	bare(close_range, high + 1, ~0u, 0);
}

static int exit_code(int status)
{
	return status & 0x7f ? 1 : (status >> 8) & 0xff;
}

static void handle_core_death(int status)
{
	listen_to_core();
	close_core_socket();
	core.pid = 0;
	if (core.quitting)
		bare_exit(core.quit_code);
	if (self.ending)
		bare_exit((status & 0x7f) == SIGTERM ? 0 : exit_code(status));
	if (!core.spoke && !kept.n && !(status & 0x7f))
		bare_exit(exit_code(status));
	if (status & 0x7f)
		say("the core was killed, starting another", "signal", status & 0x7f);
	else
		say("the core has failed, starting another", "code", exit_code(status));
	core.generation++;
	long now = now_ms();
	for (int i = 1; i < DEATHS_IN_A_ROW; i++)
		self.deaths[i - 1] = self.deaths[i];
	self.deaths[DEATHS_IN_A_ROW - 1] = now;
	if (self.deaths[0] && now - self.deaths[0] < DEATHS_WITHIN_MS) {
		say("the core keeps dying, pausing", "ms", PAUSE_MS);
		self.start_at = now + PAUSE_MS;
	} else {
		start_core();
	}
}

/* -- signals -- */

static void reap(void)
{
	int status, core_status = 0;
	bool core_died = false;
	long pid;
	while ((pid = bare(wait4, -1, &status, WNOHANG, NULL)) > 0) {
		if (pid == core.pid) {
			core_died = true;
			core_status = status;
		} else {
			exits_add((int)pid, status);
		}
	}
	if (core_died)
		handle_core_death(core_status);
}

static void handle_signals(void)
{
	struct signalfd_siginfo si;
	bool child = false;
	while (bare(read, self.signals, &si, sizeof(si)) == (long)sizeof(si)) {
		int sig = (int)si.ssi_signo;
		if (sig == SIGCHLD) {
			child = true;
			continue;
		}
		if (sig != SIGHUP)
			self.ending = true;
		if (core.pid)
			bare(kill, core.pid, sig);
		else if (sig != SIGHUP)
			bare_exit(0);
	}
	if (child)
		reap();
}

static int open_signals(void)
{
	unsigned long all = ~0ul, ours = 0;
	const int wanted[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP };
	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
		ours |= 1ul << (wanted[i] - 1);
	bare(rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof(all));
	return (int)bare(signalfd4, -1, &ours, sizeof(ours), O_CLOEXEC | O_NONBLOCK);
}

/* -- begin and end -- */

static void adopt(int memfd)
{
	struct keep_entry e;
	while (bare(read, memfd, &e, sizeof(e)) == (long)sizeof(e)) {
		e.key[sizeof(e.key) - 1] = 0;
		if (bare(fcntl, e.fd, F_SETFD, FD_CLOEXEC) == 0)
			kept_put(e.key, e.fd);
	}
	bare(close, memfd);
	core.generation = 1;
}

static void set_up(void)
{
	static const char score[] = "-999";
	bare(prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	long fd = bare(openat, AT_FDCWD, "/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC, 0);
	if (fd >= 0) {
		/* Without CAP_SYS_RESOURCE it stays as it was given to us. */
		bare(write, fd, score, length(score));
		bare(close, fd);
	}
	bare(prlimit64, 0, RLIMIT_NOFILE, NULL, &self.nofile);
	struct rlimit64 most = { self.nofile.rlim_max, self.nofile.rlim_max };
	bare(prlimit64, 0, RLIMIT_NOFILE, &most, NULL);
	self.signals = open_signals();
}

static void wait_and_handle(void)
{
	struct pollfd fds[2] = {
		{ .fd = self.signals, .events = POLLIN },
		{ .fd = core.sock, .events = (short)(POLLIN | (have_news() ? POLLOUT : 0)) },
	};
	struct __kernel_timespec wait = { 0 }, *timeout = NULL;
	if (self.start_at) {
		long ms = self.start_at - now_ms();
		ms = ms > 0 ? ms : 0;
		wait.tv_sec = ms / 1000;
		wait.tv_nsec = ms % 1000 * 1000000;
		timeout = &wait;
	}
	bare(ppoll, fds, 2, timeout, NULL, 8);
	if (core.sock >= 0 && fds[1].revents && !listen_to_core())
		close_core_socket();	/* its end comes by signal */
	if (fds[0].revents)
		handle_signals();
	if (core.sock >= 0 && have_news())
		tell_news();
	if (self.start_at && now_ms() >= self.start_at)
		start_core();
}

static int bare_main(int argc, char **argv, char **envp)
{
	int at = 1;
	core.sock = -1;
	set_up();
	if (argc > 2 && equal(argv[1], "--adopt")) {
		adopt(parse_number(argv[2]));
		at = 3;
	}
	if (at >= argc || argc - at > ARGS_MAX) {
		static const char usage[] = "usage: crisp-keeper CRISPD ARGS...\n";
		bare(write, 2, usage, length(usage));
		return 2;
	}
	self.path = argv[at];
	self.args = argv + at + 1;
	self.envp = envp;
	start_core();
	if (!core.generation && core.sock >= 0)
		close_inherited();
	reap();	/* whoever died before our signals were ours */
	for (;;)
		wait_and_handle();
}

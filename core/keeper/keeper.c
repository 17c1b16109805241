/*
 * crisp-keeper [--adopt FD] [--rest SOCK CODE] [--front FD] CRISPD ARGS...
 *
 * The parent of the core.  It runs `CRISPD --core --keep-fd=N ARGS...` and, when that dies, runs
 * it again at once and hands back what the dead one had put here: fds under keys, and the exits
 * of processes that were re-parented to us (as subreaper) meanwhile.  See core/keep/wire.h for
 * what is said over the socket.
 *
 *	core exits after QUIT, or after we were told to end    we leave with its exit code
 *	core exits after AGAIN                                 another core at once
 *	core exits before its first word, nothing kept         it can't start: we leave
 *	anything else                                          a new core; from the third death
 *	                                                       in 10 s on it waits first: 100 ms,
 *	                                                       or 1 s after one that was never up
 *
 * Serving may end while containers run on.  Somebody must hold their pipes then and be there to
 * see them end: a keeper that rests, without a core.  The operator's process has to go, though,
 * and can't pass on its children; so the leaving core, whose children most containers are, becomes
 * that keeper in its own pid (--adopt, --rest) and only then tells us to leave.  The next crispd
 * finds it by the socket kept as "holder" and is its front from now on: it passes signals down and
 * the exit code up (crisp-front).  For the sake of an upgrade the keeper is exec'ed anew, in its
 * pid, with the program, arguments, environment and standard fds of the front (--adopt, --front).
 *
 *	we work for...  the operator: our pid is crispd's      OWN
 *	                nobody: at rest; or its front has      NONE  --connect--> COMING
 *	                  been killed, then the core serves on
 *	                a front that says what it wants        COMING --GO------> exec, HERE
 *	                a front                                HERE  --end------> NONE
 *
 * At rest we wait for a front, for SIGTERM, or until the state's lock file is unlinked.
 *
 * --adopt: FD is a memfd with a table of struct keep_entry, the fds in it are open.  Also used by
 * a core whose keeper has died.
 *
 * There is no libc: this process lives as long as the node and shall cost a few pages, and
 * nothing in it may fail for want of memory.  All tables are static; pages that were never
 * needed don't exist.
 */
#include "core/base/bare.h"

#include <asm/errno.h>
#include <asm/poll.h>
#include <asm/signal.h>
#include <linux/fcntl.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/signalfd.h>
#include <linux/wait.h>
#include <stdbool.h>

#include "core/keep/wire.h"
#include "core/keeper/gone.h"
#include "core/keeper/kept.h"
#include "core/keeper/talk.h"
#include "core/keeper/wanted.h"

enum {
	DEATHS_IN_A_ROW = 3,
	DEATHS_WITHIN_MS = 10000,
	PAUSE_MS = 100,
	PAUSE_DOWN_MS = 1000,
};

static struct {
	int pid;	/* 0: none */
	int sock;	/* our end; -1: none */
	int generation;
	bool spoke;	/* it has sent at least one message */
	bool served;	/* and has been up */
	enum { PLAN_NONE, PLAN_QUIT, PLAN_REST, PLAN_AGAIN } plan;	/* when it has left */
	int code;
	/* hand-over */
	bool said_hello, said_ready;
	int fds_sent;
} core;

enum { FRONT_ARGS, FRONT_CWD, FRONT_IN, FRONT_OUT, FRONT_ERR, FRONT_FDS };

static struct {
	enum { FRONT_NONE, FRONT_OWN, FRONT_COMING, FRONT_HERE } state;
	int sock;	/* -1: none */
	bool go;	/* COMING: it waits for us; a core of before has to leave first */
	int fd[FRONT_FDS];
} front = { .sock = -1, .fd = { -1, -1, -1, -1, -1 } };

static struct {
	int signals;		/* signalfd */
	bool ending;		/* we were told to end */
	long deaths[DEATHS_IN_A_ROW];	/* when, the oldest first */
	long start_at;		/* no core before this, ms; 0: none is due */
	char *path, **args, **envp;
	struct rlimit64 nofile;	/* as it was, for the core */
} self;

static long now_ms(void)
{
	struct __kernel_timespec ts = { 0 };
	bare(clock_gettime, 1 /* CLOCK_MONOTONIC */, &ts);
	return (long)(ts.tv_sec * 1000 + ts.tv_nsec / 1000000);
}

/* -- talking to the core -- */

static void close_core_socket(void)
{
	if (core.sock >= 0)
		bare(close, core.sock);
	core.sock = -1;
}

static bool tell_hello(void)
{
	struct keep_msg m = { .type = KEEP_MSG_HELLO, .a = (int)bare(getpid),
			      .b = core.generation };
	if (front.state != FRONT_OWN)
		put_text(m.key, "rests");
	return talk_send(core.sock, &m, -1);
}

static bool tell_kept(int i)
{
	struct keep_msg m = { .type = KEEP_MSG_FD };
	memcpy(m.key, kept.key[i], sizeof(m.key));
	return talk_send(core.sock, &m, kept.fd[i]);
}

static bool have_news(void)
{
	return core.sock >= 0 && (!core.said_ready || exits.sent < exits.n);
}

static void tell_news(void)
{
	if (!core.said_hello)
		core.said_hello = tell_hello();
	while (core.said_hello && !core.said_ready && core.fds_sent < kept.n &&
	       tell_kept(core.fds_sent))
		core.fds_sent++;
	if (!core.said_hello || (!core.said_ready && core.fds_sent < kept.n))
		return;
	while (exits.sent < exits.n &&
	       talk_numbers(core.sock, KEEP_MSG_EXIT, exits.note[exits.sent].pid,
			    exits.note[exits.sent].status))
		exits.sent++;
	if (exits.sent == exits.n && !core.said_ready)
		core.said_ready = talk_numbers(core.sock, KEEP_MSG_READY, 0, 0);
}

static void plan(int what, int code)
{
	core.plan = what;
	core.code = code;
}

static void obey(const struct keep_msg *m, int fd)
{
	core.spoke = true;
	switch (m->type) {
	case KEEP_MSG_PUT:
		core.served |= equal(m->key, KEEP_KEY_SOCKET);
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
		plan(PLAN_QUIT, m->a);
		break;
	case KEEP_MSG_REST:
		if (m->b && front.state == FRONT_OWN)
			bare_exit(m->a);	/* what was the core holds everything */
		plan(PLAN_REST, m->a);
		break;
	case KEEP_MSG_AGAIN:
		plan(PLAN_AGAIN, 0);
		break;
	}
	if (fd >= 0)
		bare(close, fd);
}

/* Read what the core has said so far.  False at its end. */
static bool listen_to_core(void)
{
	struct keep_msg m;
	int fd, ret = TALK_END;
	while (core.sock >= 0 && (ret = talk_receive(core.sock, &m, &fd)) == TALK_MESSAGE)
		obey(&m, fd);
	return ret != TALK_END;
}

/* -- starting a core -- */

static void exec_core(int sock)
{
	char option[32], *args[KEEP_ARGS_MAX + 4];
	*put_number(put_text(option, "--keep-fd="), sock) = 0;
	int n = 0;
	args[n++] = self.path;
	args[n++] = (char[]){ "--core" };
	args[n++] = option;
	for (char **a = self.args; *a && n < KEEP_ARGS_MAX + 3; a++)
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
		self.start_at = now_ms() + PAUSE_DOWN_MS;
		return;
	}
	long pid = bare(clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		exec_core(pair[1]);
	bare(close, pair[1]);
	if (pid < 0) {
		say("can't fork the core", "errno", (int)-pid);
		bare(close, pair[0]);
		self.start_at = now_ms() + PAUSE_DOWN_MS;
		return;
	}
	core.pid = (int)pid;
	core.sock = pair[0];
	core.spoke = core.served = core.said_hello = core.said_ready = false;
	plan(PLAN_NONE, 0);
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

/* -- at rest -- */

/* Then nobody will ever come. */
static void leave_if_gone(void)
{
	if (gone_is_so())
		bare_exit(0);
}

static void close_front(void)
{
	if (front.sock >= 0)
		bare(close, front.sock);
	for (int i = 0; i < FRONT_FDS; i++) {
		if (front.fd[i] >= 0)
			bare(close, front.fd[i]);
		front.fd[i] = -1;
	}
	front.sock = -1;
	front.go = false;
	front.state = FRONT_NONE;
}

/* Whoever reads what the operator's process writes wants to see its end. */
static void let_go_of_operator(void)
{
	int fd = (int)bare(openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC, 0);
	for (int i = 0; i <= 2 && fd >= 0; i++)
		bare(dup3, fd, i, 0);
	if (fd > 2)
		bare(close, fd);
	bare(chdir, "/");
}

/* Nobody is served any more: let the operator go. */
static void rest(int code)
{
	let_go_of_operator();
	self.ending = false;
	self.start_at = 0;
	if (front.state == FRONT_HERE) {
		talk_numbers(front.sock, KEEP_MSG_FRONT_END, code, 0);
		close_front();
	}
	kept_drop(KEEP_KEY_READY);
	gone_watch();
	leave_if_gone();
}

static void quit(int code)
{
	if (front.state == FRONT_HERE)
		talk_numbers(front.sock, KEEP_MSG_FRONT_END, code, 0);
	bare_exit(code);
}

/* The end of crispd.  If this is the operator's pid and containers are still to be held, by a core
 * that has failed to do so itself, a child of ours is the best there is. */
static void leave(int code)
{
	if (!kept_lasting())
		quit(code);
	if (front.state == FRONT_OWN) {
		if (bare(clone, SIGCHLD, 0, 0, 0, 0) != 0)
			bare_exit(code);
		bare(setsid);
		front.state = FRONT_NONE;
	}
	rest(code);
}

/* -- the front -- */

static void handle_signal(int sig);

static int front_fd_number(const char *key)
{
	static const char *const keys[] = {
		[FRONT_ARGS] = "args", [FRONT_CWD] = "cwd", [FRONT_IN] = "in",
		[FRONT_OUT] = "out", [FRONT_ERR] = "err",
	};
	for (int i = 0; i < FRONT_FDS; i++)
		if (equal(key, keys[i]))
			return i;
	return -1;
}

static void take_front_fd(const struct keep_msg *m, int fd)
{
	int i = front_fd_number(m->key);
	if (equal(m->key, KEEP_KEY_READY)) {
		kept_put(m->key, fd);
	} else if (i < 0 || front.fd[i] >= 0) {
		bare(close, fd);
	} else {
		front.fd[i] = fd;
	}
}

/* Be what the front has asked for.  Returns only on failure. */
static void become(void)
{
	char table[12], sock[12];
	if (!wanted_read(front.fd[FRONT_ARGS], 5)) {
		say("what a new crispd wants can't be read", "keeper", (int)bare(getpid));
		return;
	}
	if (front.fd[FRONT_CWD] >= 0)
		bare(fchdir, front.fd[FRONT_CWD]);
	for (int i = FRONT_IN; i <= FRONT_ERR; i++)
		if (front.fd[i] >= 0)
			bare(dup3, front.fd[i], i - FRONT_IN, 0);
	int memfd = kept_save();
	if (memfd < 0) {
		say("can't save the table of fds", "errno", -memfd);
		return;
	}
	*put_number(table, memfd) = 0;
	*put_number(sock, front.sock) = 0;
	wanted_args[1] = (char[]){ "--adopt" };
	wanted_args[2] = table;
	wanted_args[3] = (char[]){ "--front" };
	wanted_args[4] = sock;
	bare(fcntl, front.sock, F_SETFD, 0);
	long ret = bare(execve, wanted_args[0], wanted_args, wanted_env);
	say("can't execute the keeper anew", "errno", (int)-ret);
	kept_stay(memfd);
}

static void go(void)
{
	self.ending = false;
	self.start_at = 0;
	become();
	talk_numbers(front.sock, KEEP_MSG_FRONT_END, 1, 0);
	close_front();
	rest(1);
}

static void handle_front_word(const struct keep_msg *m, int fd)
{
	bool coming = front.state == FRONT_COMING;
	if (m->type == KEEP_MSG_FRONT_FD && coming && fd >= 0) {
		take_front_fd(m, fd);
		return;
	}
	if (fd >= 0)
		bare(close, fd);
	if (m->type == KEEP_MSG_FRONT_GO && coming) {
		front.go = true;
		if (core.pid)
			bare(kill, core.pid, SIGTERM);	/* of a front that was killed */
	} else if (m->type == KEEP_MSG_FRONT_SIGNAL && !coming) {
		handle_signal(m->a);
	}
}

static void listen_to_front(void)
{
	struct keep_msg m;
	int fd, ret = TALK_NONE;
	while (front.sock >= 0 && (ret = talk_receive(front.sock, &m, &fd)) == TALK_MESSAGE)
		handle_front_word(&m, fd);
	if (front.sock >= 0 && ret == TALK_END) {
		if (front.state == FRONT_HERE)
			say("the process that we work for is gone", "keeper", (int)bare(getpid));
		close_front();
	} else if (front.go && !core.pid) {
		go();
	}
}

/* Whom to name to another one that wants us. */
static int front_pid(void)
{
	struct ucred { int pid, uid, gid; } peer = { 0 };
	int len = sizeof(peer);
	if (front.sock < 0)
		return (int)bare(getpid);
	bare(getsockopt, front.sock, 1 /* SOL_SOCKET */, 17 /* SO_PEERCRED */, &peer, &len);
	return peer.pid;
}

static void accept_front(int listener)
{
	int sock = (int)bare(accept4, listener, NULL, NULL, SOCK_CLOEXEC);
	if (sock < 0)
		return;
	if (front.state == FRONT_NONE) {
		front.state = FRONT_COMING;
		front.sock = sock;
		return;
	}
	talk_numbers(sock, KEEP_MSG_FRONT_BUSY, front_pid(), 0);
	bare(close, sock);
}

/* -- the core's end -- */

static int exit_code(int status)
{
	return status & 0x7f ? 1 : (status >> 8) & 0xff;
}

static void start_core_later(void)
{
	long now = now_ms();
	for (int i = 1; i < DEATHS_IN_A_ROW; i++)
		self.deaths[i - 1] = self.deaths[i];
	self.deaths[DEATHS_IN_A_ROW - 1] = now;
	if (self.deaths[0] && now - self.deaths[0] < DEATHS_WITHIN_MS) {
		int ms = core.served ? PAUSE_MS : PAUSE_DOWN_MS;
		say("the core keeps dying, pausing", "ms", ms);
		self.start_at = now + ms;
	} else {
		start_core();
	}
}

static void handle_core_death(int status)
{
	listen_to_core();
	close_core_socket();
	core.pid = 0;
	core.generation++;
	if (front.go)
		go();
	else if (core.plan == PLAN_QUIT)
		quit(core.code);	/* by its word there is nothing to hold */
	else if (core.plan == PLAN_REST)
		leave(core.code);
	else if (self.ending)
		leave((status & 0x7f) == SIGTERM ? 0 : exit_code(status));
	else if (core.plan == PLAN_AGAIN)
		start_core();
	else if (!core.spoke && !kept.n && !(status & 0x7f))
		leave(exit_code(status));
	else {
		if (status & 0x7f)
			say("the core was killed, starting another", "signal", status & 0x7f);
		else
			say("the core has failed, starting another", "code", exit_code(status));
		start_core_later();
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

static void handle_signal(int sig)
{
	bool end = sig == SIGTERM || sig == SIGINT;
	if (end)
		self.ending = true;
	if (core.pid)
		bare(kill, core.pid, sig);
	else if (end && self.start_at)
		leave(0);
	else if (end)
		bare_exit(0);	/* at rest: so be it */
}

static void handle_signals(void)
{
	struct signalfd_siginfo si;
	bool child = false;
	while (bare(read, self.signals, &si, sizeof(si)) == (long)sizeof(si)) {
		if (si.ssi_signo == SIGCHLD)
			child = true;
		else
			handle_signal((int)si.ssi_signo);
	}
	if (child)
		reap();
}

static int open_signals(void)
{
	unsigned long all = ~0ul, ours = 0;
	const int known[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR2 };
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		ours |= 1ul << (known[i] - 1);
	bare(rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof(all));
	return (int)bare(signalfd4, -1, &ours, sizeof(ours), O_CLOEXEC | O_NONBLOCK);
}

/* -- begin and end -- */

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

enum { ON_SIGNAL, ON_CORE, ON_LISTENER, ON_FRONT, ON_GONE, N_ON };

static void wait_for(struct pollfd fds[N_ON])
{
	struct __kernel_timespec wait = { 0 }, *timeout = NULL;
	if (self.start_at) {
		long ms = self.start_at - now_ms();
		ms = ms > 0 ? ms : 0;
		wait.tv_sec = ms / 1000;
		wait.tv_nsec = ms % 1000 * 1000000;
		timeout = &wait;
	}
	if (bare(ppoll, fds, N_ON, timeout, NULL, 8) <= 0)
		for (int i = 0; i < N_ON; i++)
			fds[i].revents = 0;
}

static void wait_and_handle(void)
{
	bool at_rest = !core.pid && !self.start_at;
	struct pollfd fds[N_ON] = {
		[ON_SIGNAL] = { .fd = self.signals, .events = POLLIN },
		[ON_CORE] = { .fd = core.sock,
			      .events = (short)(POLLIN | (have_news() ? POLLOUT : 0)) },
		[ON_LISTENER] = { .fd = kept_fd(KEEP_KEY_HOLDER), .events = POLLIN },
		[ON_FRONT] = { .fd = front.sock, .events = POLLIN },
		[ON_GONE] = { .fd = at_rest ? gone_fd() : -1, .events = POLLIN },
	};
	wait_for(fds);
	if (fds[ON_CORE].revents && !listen_to_core())
		close_core_socket();	/* its end comes by signal */
	if (fds[ON_SIGNAL].revents)
		handle_signals();
	if (fds[ON_FRONT].revents)
		listen_to_front();
	if (fds[ON_LISTENER].revents && fds[ON_LISTENER].fd == kept_fd(KEEP_KEY_HOLDER))
		accept_front(fds[ON_LISTENER].fd);
	if (fds[ON_GONE].revents) {
		gone_take_news();
		leave_if_gone();
	}
	if (core.sock >= 0 && have_news())
		tell_news();
	if (self.start_at && now_ms() >= self.start_at)
		start_core();
}

static void begin_front(int sock)
{
	bare(fcntl, sock, F_SETFD, FD_CLOEXEC);
	front.sock = sock;
	front.state = FRONT_HERE;
	talk_numbers(sock, KEEP_MSG_FRONT_TAKEN, (int)bare(getpid), 0);
}

/* Our parent, in whose core's pid we are, waits for this word to leave. */
static void begin_rest(int sock, int code)
{
	bare(setsid);
	let_go_of_operator();
	talk_numbers(sock, KEEP_MSG_REST, code, 1);
	bare(close, sock);
	rest(code);
}

static int usage(void)
{
	static const char text[] = "usage: crisp-keeper CRISPD ARGS...\n";
	bare(write, 2, text, length(text));
	return 2;
}

static int bare_main(int argc, char **argv, char **envp)
{
	int at = 1, rest_sock = -1, code = 0;
	core.sock = -1;
	front.state = FRONT_OWN;
	set_up();
	if (argc - at > 2 && equal(argv[at], "--adopt")) {
		kept_load(parse_number(argv[at + 1]));
		core.generation = 1;
		front.state = FRONT_NONE;
		at += 2;
	}
	if (argc - at > 3 && equal(argv[at], "--rest")) {
		rest_sock = parse_number(argv[at + 1]);
		code = parse_number(argv[at + 2]);
		at += 3;
	}
	if (argc - at > 2 && equal(argv[at], "--front")) {
		begin_front(parse_number(argv[at + 1]));
		at += 2;
	}
	if (at >= argc || argc - at > KEEP_ARGS_MAX)
		return usage();
	self.path = argv[at];
	self.args = argv + at + 1;
	self.envp = envp;
	if (rest_sock >= 0)
		begin_rest(rest_sock, code);
	else
		start_core();
	if (!core.generation && core.sock >= 0)
		close_inherited();
	reap();	/* whoever died before our signals were ours */
	for (;;)
		wait_and_handle();
}

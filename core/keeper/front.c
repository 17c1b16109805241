/*
 * crisp-front SOCK
 *
 * What the operator's process is while a keeper of before, which crispd has found and asked over
 * SOCK, does the work: it passes signals down and leaves with the exit code that comes up.  Like
 * the keeper it has no libc.
 */
#include "core/base/bare.h"

#include <asm/poll.h>
#include <asm/signal.h>
#include <linux/fcntl.h>
#include <linux/signalfd.h>

#include "core/keep/wire.h"
#include "core/keeper/talk.h"

static void pass_signals(int signals, int sock)
{
	struct signalfd_siginfo si;
	while (bare(read, signals, &si, sizeof(si)) == (long)sizeof(si))
		talk_numbers(sock, KEEP_MSG_FRONT_SIGNAL, (int)si.ssi_signo, 0);
}

static void listen_to_keeper(int sock)
{
	struct keep_msg m;
	int fd, ret;
	while ((ret = talk_receive(sock, &m, &fd)) == TALK_MESSAGE) {
		if (m.type == KEEP_MSG_FRONT_END)
			bare_exit(m.a);
		if (fd >= 0)
			bare(close, fd);
	}
	if (ret == TALK_END) {
		say("the keeper is gone", "front", (int)bare(getpid));
		bare_exit(1);
	}
}

/* crispd has blocked them all: none that came since it has asked is lost. */
static int open_signals(void)
{
	unsigned long passed = 1ul << (SIGTERM - 1) | 1ul << (SIGINT - 1) | 1ul << (SIGHUP - 1) |
			       1ul << (SIGUSR2 - 1);
	return (int)bare(signalfd4, -1, &passed, sizeof(passed), O_CLOEXEC | O_NONBLOCK);
}

static int bare_main(int argc, char **argv, char **envp)
{
	(void)envp;
	int sock = argc == 2 ? parse_number(argv[1]) : -1;
	if (sock < 0) {
		static const char usage[] = "usage: crisp-front SOCK (crispd runs it)\n";
		bare(write, 2, usage, length(usage));
		return 2;
	}
	struct pollfd fds[2] = {
		{ .fd = open_signals(), .events = POLLIN }, { .fd = sock, .events = POLLIN },
	};
	for (;;) {
		if (bare(ppoll, fds, 2, NULL, NULL, 8) <= 0)
			continue;
		if (fds[0].revents)
			pass_signals(fds[0].fd, sock);
		if (fds[1].revents)
			listen_to_keeper(sock);
	}
}

/*
 * crisp-pause: pid 1 of a pod whose containers share a pid namespace.  Reaps what they leave
 * behind, ends on SIGTERM and SIGINT, and does nothing else, in a few pages.
 */
#include "core/base/bare.h"

#include <asm/signal.h>
#include <linux/wait.h>

static int bare_main(int argc, char **argv, char **envp)
{
	(void)argc, (void)argv, (void)envp;
	const unsigned long wanted =
		1ul << (SIGCHLD - 1) | 1ul << (SIGTERM - 1) | 1ul << (SIGINT - 1);
	bare(rt_sigprocmask, SIG_BLOCK, &wanted, NULL, sizeof(wanted));
	for (;;) {
		long sig = bare(rt_sigtimedwait, &wanted, NULL, NULL, sizeof(wanted));
		if (sig == SIGTERM || sig == SIGINT)
			return 0;
		while (bare(wait4, -1, NULL, WNOHANG, NULL) > 0)
			;
	}
}

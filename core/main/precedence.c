/* See the header. */
#include "core/main/precedence.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/log.h"

enum { NICE = -15 };

static bool taken;

static void set_nice(int nice)
{
	char text[8];
	int n = snprintf(text, sizeof(text), "%d", nice);
	if (setpriority(PRIO_PROCESS, 0, nice) < 0) {
		log_info("no precedence over other processes", "error", strerror(errno));
		return;
	}
	taken = nice == NICE;
	setsid();
	if (getsid(0) != getpid())
		return;		/* whoever leads it has others in there */
	auto_close int fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, text, (size_t)n) < 0)
		log_info("no precedence over other sessions", "error", strerror(errno));
}

void precedence_take(void)
{
	if (getpriority(PRIO_PROCESS, 0) == 0)
		set_nice(NICE);
}

void precedence_give_back(void)
{
	if (taken)
		set_nice(0);
}

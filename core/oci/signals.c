/*
 * Signals between the CRI (an enum in alphabetical order), images (text) and the kernel.
 *
 * SIGRTMIN here is the first one that C programs may use, 34, as the CRI's 31 names from RTMIN to
 * RTMAX count from there.
 */
#include "core/oci/oci.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { RT_MIN = 34, RT_MAX = 64 };

static const unsigned char numbers[] = {
	[CRI__SIGNAL__SIGNAL_RUNTIME_DEFAULT] = 0,
	[CRI__SIGNAL__SIGNAL_SIGABRT] = SIGABRT,
	[CRI__SIGNAL__SIGNAL_SIGALRM] = SIGALRM,
	[CRI__SIGNAL__SIGNAL_SIGBUS] = SIGBUS,
	[CRI__SIGNAL__SIGNAL_SIGCHLD] = SIGCHLD,
	[CRI__SIGNAL__SIGNAL_SIGCLD] = SIGCHLD,
	[CRI__SIGNAL__SIGNAL_SIGCONT] = SIGCONT,
	[CRI__SIGNAL__SIGNAL_SIGFPE] = SIGFPE,
	[CRI__SIGNAL__SIGNAL_SIGHUP] = SIGHUP,
	[CRI__SIGNAL__SIGNAL_SIGILL] = SIGILL,
	[CRI__SIGNAL__SIGNAL_SIGINT] = SIGINT,
	[CRI__SIGNAL__SIGNAL_SIGIO] = SIGIO,
	[CRI__SIGNAL__SIGNAL_SIGIOT] = SIGABRT,
	[CRI__SIGNAL__SIGNAL_SIGKILL] = SIGKILL,
	[CRI__SIGNAL__SIGNAL_SIGPIPE] = SIGPIPE,
	[CRI__SIGNAL__SIGNAL_SIGPOLL] = SIGIO,
	[CRI__SIGNAL__SIGNAL_SIGPROF] = SIGPROF,
	[CRI__SIGNAL__SIGNAL_SIGPWR] = SIGPWR,
	[CRI__SIGNAL__SIGNAL_SIGQUIT] = SIGQUIT,
	[CRI__SIGNAL__SIGNAL_SIGSEGV] = SIGSEGV,
	[CRI__SIGNAL__SIGNAL_SIGSTKFLT] = SIGSTKFLT,
	[CRI__SIGNAL__SIGNAL_SIGSTOP] = SIGSTOP,
	[CRI__SIGNAL__SIGNAL_SIGSYS] = SIGSYS,
	[CRI__SIGNAL__SIGNAL_SIGTERM] = SIGTERM,
	[CRI__SIGNAL__SIGNAL_SIGTRAP] = SIGTRAP,
	[CRI__SIGNAL__SIGNAL_SIGTSTP] = SIGTSTP,
	[CRI__SIGNAL__SIGNAL_SIGTTIN] = SIGTTIN,
	[CRI__SIGNAL__SIGNAL_SIGTTOU] = SIGTTOU,
	[CRI__SIGNAL__SIGNAL_SIGURG] = SIGURG,
	[CRI__SIGNAL__SIGNAL_SIGUSR1] = SIGUSR1,
	[CRI__SIGNAL__SIGNAL_SIGUSR2] = SIGUSR2,
	[CRI__SIGNAL__SIGNAL_SIGVTALRM] = SIGVTALRM,
	[CRI__SIGNAL__SIGNAL_SIGWINCH] = SIGWINCH,
	[CRI__SIGNAL__SIGNAL_SIGXCPU] = SIGXCPU,
	[CRI__SIGNAL__SIGNAL_SIGXFSZ] = SIGXFSZ,
};

_Static_assert(CRI__SIGNAL__SIGNAL_SIGRTMIN == CRI__SIGNAL__SIGNAL_SIGXFSZ + 1,
	       "the named signals end where the real-time ones begin");
_Static_assert(CRI__SIGNAL__SIGNAL_SIGRTMAX - CRI__SIGNAL__SIGNAL_SIGRTMIN == 30,
	       "31 real-time signals, though the kernel's range from RT_MIN to RT_MAX has as many");
_Static_assert(RT_MAX - RT_MIN == CRI__SIGNAL__SIGNAL_SIGRTMAX - CRI__SIGNAL__SIGNAL_SIGRTMIN,
	       "so they map one to one");
_Static_assert(CRI__SIGNAL__SIGNAL_SIGRTMINPLUS15 - CRI__SIGNAL__SIGNAL_SIGRTMIN == 15, "RTMIN+n is in order");
_Static_assert(CRI__SIGNAL__SIGNAL_SIGRTMAX - CRI__SIGNAL__SIGNAL_SIGRTMAXMINUS14 == 14, "RTMAX-n is in order");

int oci_signal_number(Cri__Signal s)
{
	int i = (int)s;
	if (i >= CRI__SIGNAL__SIGNAL_SIGRTMIN && i <= CRI__SIGNAL__SIGNAL_SIGRTMAX)
		return RT_MIN + (i - CRI__SIGNAL__SIGNAL_SIGRTMIN);
	if (i < 0 || (size_t)i >= sizeof(numbers))
		return -1;
	return numbers[i];
}

Cri__Signal oci_signal_cri(int signo)
{
	if (signo >= RT_MIN && signo <= RT_MAX)
		return (Cri__Signal)(CRI__SIGNAL__SIGNAL_SIGRTMIN + (signo - RT_MIN));
	/* SIGCHLD comes before its other name SIGCLD, SIGABRT before SIGIOT, SIGIO before SIGPOLL. */
	for (size_t i = 1; i < sizeof(numbers); i++)
		if (numbers[i] == signo)
			return (Cri__Signal)i;
	return CRI__SIGNAL__SIGNAL_RUNTIME_DEFAULT;
}

static int parse_offset(const char *text, int base, int sign)
{
	if (!*text)
		return base;
	if (*text != (sign > 0 ? '+' : '-') || text[1] < '0' || text[1] > '9')
		return -1;
	char *end;
	unsigned long n = strtoul(text + 1, &end, 10);
	if (*end || n > RT_MAX - RT_MIN)
		return -1;
	return base + sign * (int)n;
}

int oci_signal_parse(const char *text)
{
	if (text[0] >= '0' && text[0] <= '9') {
		char *end;
		unsigned long n = strtoul(text, &end, 10);
		return *end || n < 1 || n > RT_MAX ? -1 : (int)n;
	}
	if (!strncasecmp(text, "SIG", 3))
		text += 3;
	if (!strncasecmp(text, "RTMIN", 5))
		return parse_offset(text + 5, RT_MIN, 1);
	if (!strncasecmp(text, "RTMAX", 5))
		return parse_offset(text + 5, RT_MAX, -1);
	for (int signo = 1; signo < 32; signo++) {
		const char *name = sigabbrev_np(signo);
		if (name && !strcasecmp(text, name))
			return signo;
	}
	if (!strcasecmp(text, "CLD"))
		return SIGCHLD;
	if (!strcasecmp(text, "IOT"))
		return SIGABRT;
	/* glibc's name for SIGIO is POLL */
	if (!strcasecmp(text, "IO"))
		return SIGIO;
	return -1;
}

int oci_stop_signal(const Cri__ContainerConfig *ctr, const char *image_stop_signal, struct err *e)
{
	int signo = oci_signal_number(ctr->stop_signal);
	if (signo < 0)
		return err_set(e, EINVAL, "stop_signal %d: no such signal", (int)ctr->stop_signal);
	if (signo)
		return signo;
	if (!image_stop_signal || !*image_stop_signal)
		return SIGTERM;
	signo = oci_signal_parse(image_stop_signal);
	if (signo < 0)
		return err_set(e, EINVAL, "the image's stop signal \"%s\" is none", image_stop_signal);
	return signo;
}

/* A plugin whose constructor crashes. */
#include <signal.h>

__attribute__((constructor)) static void crash(void)
{
	signal(SIGSEGV, SIG_DFL);	/* a sanitizer would turn it into an exit */
	raise(SIGSEGV);
}

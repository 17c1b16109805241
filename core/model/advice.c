/*
 * What to do about an engine's error.  Each engine has words of its own, so they are only looked into
 * for what all have: the program's name, and that it is not there or not to be run.
 */
#include "core/model/advice.h"

#include <string.h>

#include "core/base/err.h"

static bool is_about_a_program(const char *msg)
{
	return strstr(msg, "no such file or directory") || strstr(msg, "No such file or directory") ||
	       strstr(msg, "not found") || strstr(msg, "ermission denied");
}

bool advise_on_command(struct err *e, char *const *command, size_t n)
{
	static const char advice[] = "; see to the container's command, and that its image has this program";
	const char *sought = n && command[0][0] ? command[0] : "executable";
	size_t len = strlen(e->msg);
	if (!strstr(e->msg, sought) || !is_about_a_program(e->msg))
		return false;
	if (len + sizeof(advice) <= sizeof(e->msg))
		memcpy(e->msg + len, advice, sizeof(advice));
	return true;
}

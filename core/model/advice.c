/*
 * What to do about an engine's error.  Each engine has words of its own, so they are only looked into
 * for what all have: the program's name, and that it is not there or not to be run.
 */
#include "core/model/advice.h"

#include <ctype.h>
#include <string.h>

#include "core/base/err.h"

static bool is_in_a_name(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("/._+-", c));
}

/* As a word of its own: "sh" is not in "/usr/share". */
static bool names(const char *msg, const char *program)
{
	size_t n = strlen(program);
	for (const char *at = msg; (at = strstr(at, program)); at++)
		if ((at == msg || !is_in_a_name(at[-1])) && !is_in_a_name(at[n]))
			return true;
	return false;
}

static bool is_about_a_file(const char *msg)
{
	return strstr(msg, "no such file or directory") || strstr(msg, "No such file or directory") ||
	       strstr(msg, "not found") || strstr(msg, "ermission denied");
}

bool advise_on_command(struct err *e, char *const *command, size_t n)
{
	static const char advice[] = "; see to the container's command, and that its image has this program";
	const char *sought = n && command[0][0] ? command[0] : "executable";
	size_t len = strlen(e->msg);
	if (!names(e->msg, sought) || !is_about_a_file(e->msg))
		return false;
	if (len + sizeof(advice) <= sizeof(e->msg))
		memcpy(e->msg + len, advice, sizeof(advice));
	return true;
}

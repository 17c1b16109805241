/* What a section says: lines for the parent, which numbers and counts them. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/engine-check/check.h"

static int report_fd = -1;

void report_to(int fd)
{
	report_fd = fd;
}

static void line(const char *head, const char *fmt, va_list ap)
{
	char text[1000];
	int n = snprintf(text, sizeof(text), "%s", head);
	vsnprintf(text + n, sizeof(text) - (size_t)n - 1, fmt, ap);
	for (char *at = text; *at; at++)
		if ((unsigned char)*at < ' ')
			*at = ' ';
	strcat(text, "\n");
	if (write(report_fd, text, strlen(text)) < 0)
		_exit(1);	/* nobody listens */
}

bool check(bool good, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	line(good ? "ok " : "not ok ", fmt, ap);
	va_end(ap);
	return good;
}

void note(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	line("# ", fmt, ap);
	va_end(ap);
}

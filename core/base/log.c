/* logfmt lines: see the header. */
#include "core/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static enum log_level threshold = LOG_LEVEL_INFO;
static const char *const names[] = { "debug", "info", "warn", "error" };

void log_set_level(enum log_level level)
{
	threshold = level;
}

enum log_level log_level(void)
{
	return threshold;
}

int log_level_parse(const char *name)
{
	for (int i = 0; i < 4; i++)
		if (!strcmp(name, names[i]))
			return i;
	return -1;
}

struct line {
	char text[2048];
	size_t len;
};

static void put(struct line *l, char c)
{
	if (l->len < sizeof(l->text) - 1)
		l->text[l->len++] = c;
}

static void put_text(struct line *l, const char *s)
{
	while (*s)
		put(l, *s++);
}

static void put_value(struct line *l, const char *v)
{
	if (*v && !strpbrk(v, " =\"\\\n\r\t")) {
		put_text(l, v);
		return;
	}
	put(l, '"');
	for (; *v; v++) {
		if (*v == '"' || *v == '\\')
			put(l, '\\');
		put(l, (unsigned char)*v < ' ' ? ' ' : *v);
	}
	put(l, '"');
}

void log_write(enum log_level level, const char *msg, ...)
{
	if (level < threshold)
		return;
	struct line l = { .len = 0 };
	struct timespec now;
	struct tm tm;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	char ts[64];
	strftime(ts, sizeof(ts), "ts=%Y-%m-%dT%H:%M:%S", &tm);
	put_text(&l, ts);
	snprintf(ts, sizeof(ts), ".%03uZ level=%s msg=", (unsigned)(now.tv_nsec / 1000000) % 1000,
		 names[level]);
	put_text(&l, ts);
	put_value(&l, msg);
	va_list ap;
	va_start(ap, msg);
	for (const char *key; (key = va_arg(ap, const char *));) {
		const char *val = va_arg(ap, const char *);
		if (!val)
			continue;
		put(&l, ' ');
		put_text(&l, key);
		put(&l, '=');
		put_value(&l, val);
	}
	va_end(ap);
	l.text[l.len++] = '\n';
	/* A log that cannot be written has nowhere to complain. */
	if (write(STDERR_FILENO, l.text, l.len) < 0)
		return;
}

const char *log_num(long long n)
{
	static char ring[8][24];
	static unsigned at;
	char *s = ring[at++ % 8];
	snprintf(s, sizeof(ring[0]), "%lld", n);
	return s;
}

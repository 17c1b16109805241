#pragma once
/*
 * logfmt to stderr, one write(2) a line:
 *	ts=2026-01-02T03:04:05.678Z level=info msg="container started" ctr=4f... pid=12
 * error = the operator must act, warn = degraded, info = life of a pod, debug = steps.
 *
 *	log_info("container started", "ctr", c->id, "name", c->name);
 *
 * Keys and values alternate, values are strings (NULL values are left out).
 */
enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

void log_set_level(enum log_level level);
enum log_level log_level(void);
/* "debug", "info", "warn", "error"; -1 when it is none of them. */
int log_level_parse(const char *name);

void log_write(enum log_level level, const char *msg, ...) __attribute__((sentinel));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__, (char *)0)
#define log_warn(...) log_write(LOG_LEVEL_WARN, __VA_ARGS__, (char *)0)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__, (char *)0)
#define log_debug(...)                                                                             \
	do {                                                                                       \
		if (log_level() == LOG_LEVEL_DEBUG)                                                \
			log_write(LOG_LEVEL_DEBUG, __VA_ARGS__, (char *)0);                        \
	} while (0)

/* A number as a log value: valid until 8 more calls. */
const char *log_num(long long n);

#pragma once
/* What a front wants the keeper to be: a program, its arguments and its environment (struct keep_args and strings, in
 * a file that it has handed over).  Without libc: the tables are static, and hold the last that was read. */
#include <stdbool.h>

extern char *wanted_args[], *wanted_env[];

/* Its program becomes wanted_args[0], its arguments begin at `at`, which leaves room for options of ours (5 at most).
 * False if the file is not as it must be. */
bool wanted_read(int fd, int at);

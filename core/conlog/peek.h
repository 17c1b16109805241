#pragma once
/*
 * Reading a pipe without taking from it: tee(2) into a pipe of our own, which is read empty at
 * once.  That pipe and /dev/null are shared by all users and live from the first peek_open()
 * to the last peek_close().
 */
#include <stddef.h>
#include <sys/types.h>

#include "core/base/err.h"

enum { PEEK_MAX = 64 << 10 };

int peek_open(struct err *e);
void peek_close(void);

/* Copy what lies at the head of the pipe, at most PEEK_MAX bytes; it may hold more.  Does not
 * wait.  0: nobody can write any more; -EAGAIN: empty. */
ssize_t peek_read(int fd, char buf[PEEK_MAX]);
/* Take the first n bytes away; they must be there. */
int peek_consume(int fd, size_t n);

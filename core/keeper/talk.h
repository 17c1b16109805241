#pragma once
/*
 * Messages of core/keep/wire.h over a socket, lines of the log and a little text, without libc.
 * Nothing here waits.
 */
#include <stdbool.h>
#include <stddef.h>

#include "core/keep/wire.h"

enum { TALK_NONE = 0, TALK_MESSAGE = 1, TALK_END = -1 };

/* Socket things of libc's headers, which can't be had beside the kernel's. */
enum {
	AF_UNIX = 1,
	SOCK_SEQPACKET = 5,
	SOCK_CLOEXEC = 02000000,
};

/* fd goes along, borrowed; -1: none.  False when it has to wait for room, or there is nobody. */
bool talk_send(int sock, const struct keep_msg *m, int fd);
bool talk_numbers(int sock, uint32_t type, int a, int b);
/* *fd: what came along, the caller's; -1: none.  TALK_END at EOF or an error that stays. */
int talk_receive(int sock, struct keep_msg *m, int *fd);

/* One logfmt line on fd 2. */
void say(const char *msg, const char *name, int value);

/* These return the end of what they wrote, which has no NUL. */
char *put_text(char *to, const char *s);
char *put_number(char *to, int n);
int parse_number(const char *s);	/* -1: it is none */
bool equal(const char *a, const char *b);
size_t length(const char *s);

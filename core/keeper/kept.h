#pragma once
/*
 * What the keeper holds: fds under keys, and exits that no core has acked.  Static tables: no
 * call fails for want of memory.
 */
#include <stdbool.h>
#include <stdint.h>

struct kept {
	int n;
	int *fd;
	char (*key)[128];
};

struct exit_note {
	int pid, status;
};

struct exits {
	int n, sent;	/* the first `sent` are known to the core of now */
	struct exit_note *note;
};

extern struct kept kept;
extern struct exits exits;

void kept_put(const char *key, int fd);	/* takes fd; an earlier one of that key is closed */
void kept_drop(const char *key);
int kept_fd(const char *key);		/* borrowed; -1: no such key */
bool kept_lasting(void);		/* is one of them a container's or a pod's? */

void exits_add(int pid, int status);	/* when full, the oldest goes */
void exits_ack(int pid);

/* For an execve of a keeper: a memfd with both tables (struct keep_entry) which, like the fds
 * in it, outlives that; -errno.  kept_load() takes it; kept_stay() is for an execve that has
 * failed. */
int kept_save(void);
void kept_load(int memfd);
void kept_stay(int memfd);

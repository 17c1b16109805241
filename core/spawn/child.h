#pragma once
/*
 * The moment between clone and exec, which is to cost the same however many files the core holds
 * open.  Some numbers, the slots, are kept for it: what the child shall have is put there, then
 * it starts in the core's own table and takes a copy that ends with the slots.  Thousands of
 * files are neither copied nor, at exec, closed (2 ms a program at 9,000).
 */
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct err;
struct spawn_plan;

struct child_ground {
	char *stack;			/* the child's, until it execs */
	int slot;			/* the first of them */
	bool shares;			/* the kernel can copy a part of a table: Linux 5.9 */
	const int *home_procs;		/* as spawner_new() has them */
	size_t n_home_procs;
};

void child_ground_init(struct child_ground *g, const int *home_procs, size_t n_home_procs);
void child_ground_finish(struct child_ground *g);

/* Make the child and wait until it has exec'd or failed, in which case it is gone already.
 * std: what it has as 0, 1 and 2.  Sets *pid and *pidfd. */
int child_start(const struct child_ground *g, const struct spawn_plan *plan, const int std[3],
		pid_t *pid, int *pidfd, struct err *e);

#pragma once
/*
 * How far a long call is, on one line of a terminal that is redrawn and wiped at the end;
 * nothing at all when stderr is no terminal.
 *
 *	pull busybox  fetch    [=========>        ]  12.3MB / 24.1MB  2/5 layers
 */
#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *what;	/* "pull busybox" */
	bool on;
	unsigned turn;		/* of the spinner */
	int64_t drawn_ns;
};

void progress_begin(struct progress *p, const char *what);
/* total 0: not known yet. */
void progress_update(struct progress *p, const char *stage, uint64_t done, uint64_t total,
		     unsigned layers_done, unsigned layers);
/* A sign of life when nothing is known; fits client_set_tick(). */
void progress_spin(void *progress);
void progress_end(struct progress *p);

#pragma once
/*
 * Work that is long as a whole and short step by step, done in slices: a few milliseconds a
 * pass, so that the loop is never held up.  The memory is the caller's; it stops with its pool.
 */
#include <stdbool.h>

#include "core/loop/loop.h"

struct loop_slice {
	struct loop_timer timer;
	struct loop *loop;
	struct pool *pool;
	bool (*step)(struct loop_slice *s);
	void (*done)(struct loop_slice *s);
	void *data;
};

/* From the next pass on call step until it returns false, then done, once.  step must not stop
 * the slice; done may destroy what it lives in. */
void loop_slice_start(struct loop_slice *s, struct loop *l, struct pool *p,
		      bool (*step)(struct loop_slice *s), void (*done)(struct loop_slice *s),
		      void *data);
void loop_slice_stop(struct loop_slice *s);	/* neither is called any more; may be repeated */

/* Work in slices: a timer that is always due, and a look at the clock after each step. */
#include "core/loop/slice.h"

#include "core/base/file.h"

enum { SLICE_NS = 2000000 };

static void handle_slice(struct loop_timer *t)
{
	struct loop_slice *s = t->data;
	int64_t end = clock_mono_ns() + SLICE_NS;
	while (s->step(s))
		if (clock_mono_ns() >= end) {
			loop_timer_start(&s->timer, s->loop, s->pool, 0, 0, handle_slice, s);
			return;
		}
	s->done(s);
}

void loop_slice_start(struct loop_slice *s, struct loop *l, struct pool *p,
		      bool (*step)(struct loop_slice *s), void (*done)(struct loop_slice *s),
		      void *data)
{
	s->loop = l;
	s->pool = p;
	s->step = step;
	s->done = done;
	s->data = data;
	loop_timer_start(&s->timer, l, p, 0, 0, handle_slice, s);
}

void loop_slice_stop(struct loop_slice *s)
{
	loop_timer_stop(&s->timer);
}

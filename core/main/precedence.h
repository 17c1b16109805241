#pragma once
/*
 * The core's precedence over what it starts.  What all others wait for shall not wait for a CPU
 * behind what it has started itself: a pass, and in it the moment between clone and exec of a
 * program, is short.  The spawner takes it from each program.
 */

/* An operator's own nice value (Nice= of the unit) stays what it is.  The process leads a session of
 * its own from then on: where sessions have shares (sched_autogroup), that is what counts. */
void precedence_take(void);
/* Before this process becomes a keeper, which starts its cores as it was started itself. */
void precedence_give_back(void);

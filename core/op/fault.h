#pragma once
/*
 * Faults on demand, for tests of a whole daemon: a file says what is to go wrong at which row,
 * once.  It is read before each row and removed when it strikes, so a test arms the next fault
 * by writing it anew while the daemon runs.
 *
 *	ACTION TABLE/STEP		before that row runs
 *	ACTION undo TABLE/STEP		before it is undone
 *
 * ACTION: fail (the row fails in place), hang (it waits until it is cancelled), cancel (the
 * operation is cancelled, then the row runs), kill (SIGKILL to ourselves).
 */

/* path is borrowed.  Nobody calls this outside of tests: main does for $CRISP_OP_FAULT. */
void op_fault_install(const char *path);

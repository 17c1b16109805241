#pragma once
/*
 * Which record has killed the core?  Before it touches one, a starting core notes its id on disk, and
 * the next core finds there what the last one died over.
 *
 *	loading		one at a time: a record that two cores have died over is set aside
 *	asking, unwinding	of engines, of operations: all at once, which blames nobody; but when three
 *			cores have died of it, one at a time, and here too two deaths are enough
 */
#include <stdbool.h>

struct err;
struct pool;
struct suspects;

enum suspect_phase { SUSPECT_LOAD, SUSPECT_ASK, SUSPECT_UNWIND };

/* What earlier cores have left in the state directory.  p: at least as long as the unwinding. */
struct suspects *suspects_read(struct pool *p, const char *state_dir);
/* Notes that id is to be loaded.  -EBADMSG: it has killed too often.  legible: not by being read. */
int suspects_trust(struct suspects *s, const char *id, bool *legible, struct err *e);

/* Must this be done one at a time? */
bool suspects_one_by_one(const struct suspects *s, enum suspect_phase phase);
/* Notes that it begins, for id; NULL: for all. */
void suspects_begin(struct suspects *s, enum suspect_phase phase, const char *id);
/* It has ended, for all. */
void suspects_over(struct suspects *s, enum suspect_phase phase);

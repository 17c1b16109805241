#pragma once
/*
 * The keeper of before: one that rests (or serves without a front) because containers ran on when
 * crispd left.  A starting crispd asks it over <state>/holder.sock to go on, with the new program,
 * arguments, environment and standard fds, and is its front from then on.
 */
#include "core/base/err.h"

struct core_args;

/* The core's part: the socket to put as KEEP_KEY_HOLDER; fd or -errno.  Replaces what is there:
 * the caller has the state's lock. */
int holder_listen(const char *path, struct err *e);

/* crispd's part.  -1: nobody is there, so become a keeper; else the exit code, for one that
 * serves already (said on stderr) or can't be had.  Where it is taken over this does not
 * return, it executes crisp-front.  May wait some seconds. */
int holder_take_over(const struct core_args *a);

#pragma once
/* Is the state still there?  A keeper at rest whose state is removed waits for nobody: its lock file tells. */
#include <stdbool.h>

/* Look from now on; gone_fd() can be read when there may be news.  The lock is kept under KEEP_KEY_LOCK; without one
 * nothing is watched. */
void gone_watch(void);
int gone_fd(void);		/* -1: none */
void gone_take_news(void);
/* Has it been removed? */
bool gone_is_so(void);

#pragma once

/* Right before serving: what only the start needed goes back to the kernel.  Code that is used again
 * is mapped again, without a read: it stays in the page cache. */
void lean_after_start(void);

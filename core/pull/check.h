#pragma once
/* Does the confinement hold on this kernel?  Tried from inside each role; TAP on stdout. */

/* dir: an empty directory to play in.  The exit code. */
int check_confinement(const char *dir);

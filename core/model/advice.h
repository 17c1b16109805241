#pragma once
/* Engines say what they did not find.  Whoever wrote the pod also wants to know where to look. */
#include <stdbool.h>
#include <stddef.h>

struct err;

/* e is an engine's refusal of a container with this command (n words; 0: the image's own): if it is for want of
 * the program, puts what to do behind its words and says so. */
bool advise_on_command(struct err *e, char *const *command, size_t n);

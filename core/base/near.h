#pragma once
/* "Did you mean": the name that a mistyped word was meant to be. */
#include <stddef.h>

/* The one of n names closest to word by edits (insert, delete, replace, swap); NULL when none
 * is near enough to be a slip of the fingers. */
const char *near_name(const char *word, const char *const *names, size_t n);

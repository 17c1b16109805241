#pragma once
/*
 * Aligned columns.  A cell is a string; control characters in it are shown as '?', since
 * names come from anywhere and the reader is a terminal.
 */
#include <stddef.h>
#include <stdio.h>

struct pool;
struct table;

/* heads: the column titles, NULL-terminated, borrowed. */
struct table *table_new(struct pool *p, const char *const *heads);
/* The next cell, row by row; NULL is "-".  Copied. */
void table_cell(struct table *t, const char *text);
void table_print(const struct table *t, FILE *out);

/* Cells are kept until all are known, then padded to the widest of their column. */
#include "tools/crispctl/table.h"

#include <string.h>

#include "core/base/pool.h"

enum { COLUMNS_MAX = 16, GAP = 3 };

struct table {
	struct pool *pool;
	size_t columns, n, cap;
	const char **cells;	/* the heads first */
};

/* Code points: good enough for a column of names. */
static size_t width(const char *s)
{
	size_t n = 0;
	for (; *s; s++)
		n += (*s & 0xc0) != 0x80;
	return n;
}

void table_cell(struct table *t, const char *text)
{
	if (t->n == t->cap) {
		size_t cap = t->cap ? t->cap * 2 : 64;
		const char **cells = pool_alloc(t->pool, cap * sizeof(*cells));
		if (t->n)
			memcpy(cells, t->cells, t->n * sizeof(*cells));
		t->cells = cells;
		t->cap = cap;
	}
	char *s = pool_strdup(t->pool, text && *text ? text : "-");
	for (char *c = s; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 127)
			*c = '?';
	t->cells[t->n++] = s;
}

struct table *table_new(struct pool *p, const char *const *heads)
{
	struct table *t = pool_new_struct(p, struct table);
	t->pool = p;
	for (; *heads && t->columns < COLUMNS_MAX; heads++, t->columns++)
		table_cell(t, *heads);
	return t;
}

void table_print(const struct table *t, FILE *out)
{
	size_t widths[COLUMNS_MAX] = { 0 };
	for (size_t i = 0; i < t->n; i++) {
		size_t w = width(t->cells[i]);
		if (w > widths[i % t->columns])
			widths[i % t->columns] = w;
	}
	for (size_t i = 0; i < t->n; i++) {
		size_t col = i % t->columns;
		fputs(t->cells[i], out);
		if (col + 1 == t->columns)
			fputc('\n', out);
		else
			fprintf(out, "%*s", (int)(widths[col] - width(t->cells[i]) + GAP), "");
	}
}

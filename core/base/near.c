/* Edit distance with swaps (optimal string alignment) over short names. */
#include "core/base/near.h"

#include <string.h>

enum { NAME_MAX_LEN = 48 };

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static unsigned distance(const char *a, size_t na, const char *b, size_t nb)
{
	unsigned d[3][NAME_MAX_LEN + 1];	/* rows i - 2, i - 1 and i, by i % 3 */
	for (size_t j = 0; j <= nb; j++)
		d[0][j] = j;
	for (size_t i = 1; i <= na; i++) {
		unsigned *row = d[i % 3], *up = d[(i + 2) % 3], *up2 = d[(i + 1) % 3];
		row[0] = i;
		for (size_t j = 1; j <= nb; j++) {
			row[j] = least(least(row[j - 1], up[j]) + 1,
				       up[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = least(row[j], up2[j - 2] + 1);
		}
	}
	return d[na % 3][nb];
}

const char *near_name(const char *word, const char *const *names, size_t n)
{
	size_t len = strlen(word);
	if (len == 0 || len > NAME_MAX_LEN)
		return NULL;
	const char *best = NULL;
	unsigned best_d = NAME_MAX_LEN;
	for (size_t i = 0; i < n; i++) {
		size_t name_len = strlen(names[i]);
		if (name_len > NAME_MAX_LEN)
			continue;
		unsigned d = distance(word, len, names[i], name_len);
		size_t longer = len > name_len ? len : name_len;
		if (d < best_d && d <= longer / 3 + 1) {	/* what is farther is no slip */
			best = names[i];
			best_d = d;
		}
	}
	return best;
}

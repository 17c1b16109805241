/* UTF-8 check and repair. */
#include "core/base/utf8.h"

#include <stdint.h>
#include <string.h>

#include "core/base/pool.h"

/* Bytes of the sequence at s, 0 when it is not valid. */
static size_t sequence(const unsigned char *s, size_t n)
{
	if (s[0] < 0x80)
		return 1;
	size_t len = s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 :
		     s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
	if (!len || len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

/* Are the 8 bytes at s all ASCII?  Most are, and lists of 1,000 containers are checked whole. */
static bool ascii8(const char *s)
{
	uint64_t v;
	memcpy(&v, s, sizeof(v));
	return !(v & 0x8080808080808080u);
}

size_t utf8_valid(const char *s, size_t n)
{
	size_t i = 0;
	while (i < n) {
		while (n - i >= 8 && ascii8(s + i))
			i += 8;
		if (i == n)
			return n;
		size_t len = sequence((const unsigned char *)s + i, n - i);
		if (!len)
			return i;
		i += len;
	}
	return n;
}

const char *utf8_clean(struct pool *p, const char *s, size_t n)
{
	if (utf8_valid(s, n) == n)
		return s;
	char *out = pool_alloc(p, n * 3 + 1);
	size_t at = 0;
	for (size_t i = 0; i < n;) {
		size_t len = sequence((const unsigned char *)s + i, n - i);
		if (len) {
			memcpy(out + at, s + i, len);
			at += len;
			i += len;
		} else {
			memcpy(out + at, "\xef\xbf\xbd", 3);
			at += 3;
			i++;
		}
	}
	return out;
}

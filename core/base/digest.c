/* What a digest looks like. */
#include "core/base/digest.h"

#include <string.h>

bool digest_valid(const char *text)
{
	size_t want = 0;
	if (!text)
		return false;
	if (!strncmp(text, "sha256:", 7))
		want = 64;
	else if (!strncmp(text, "sha512:", 7))
		want = 128;
	return want && strlen(text) == 7 + want && strspn(text + 7, "0123456789abcdef") == want;
}

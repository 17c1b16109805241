/* See the header. */
#include "core/stream/base64.h"

#include <stdint.h>
#include <string.h>

static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64(const void *bytes, size_t n, char *text)
{
	const uint8_t *b = bytes;
	for (size_t i = 0; i < n; i += 3) {
		uint32_t three = (uint32_t)b[i] << 16 | (i + 1 < n ? (uint32_t)b[i + 1] << 8 : 0) |
				 (i + 2 < n ? b[i + 2] : 0);
		*text++ = plain[three >> 18];
		*text++ = plain[three >> 12 & 63];
		*text++ = '=';
		*text++ = '=';
		if (i + 1 < n)
			text[-2] = plain[three >> 6 & 63];
		if (i + 2 < n)
			text[-1] = plain[three & 63];
	}
	*text = 0;
}

void base64_url(const void *bytes, size_t n, char *text)
{
	base64(bytes, n, text);
	for (; *text && *text != '='; text++)
		*text = *text == '+' ? '-' : *text == '/' ? '_' : *text;
	*text = 0;
}

ssize_t base64_read(const char *text, size_t n, void *bytes)
{
	uint8_t *out = bytes;
	size_t len = n;
	while (len && len + 2 > n && text[len - 1] == '=')
		len--;
	if (n % 4)
		return -1;
	uint32_t held = 0;
	for (size_t i = 0; i < len; i++) {
		const char *at = text[i] ? strchr(plain, text[i]) : NULL;
		if (!at)
			return -1;
		held = held << 6 | (uint32_t)(at - plain);
		if (i % 4)
			*out++ = (uint8_t)(held >> (6 - 2 * (i % 4)));
	}
	return out - (uint8_t *)bytes;
}

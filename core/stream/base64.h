#pragma once
/* Base64 (RFC 4648), for tokens, WebSocket's handshake and its text subprotocols. */
#include <stddef.h>
#include <sys/types.h>

static inline size_t base64_len(size_t n)	/* of the text, padded, without its NUL */
{
	return (n + 2) / 3 * 4;
}
void base64(const void *bytes, size_t n, char *text);		/* base64_len(n) + 1 bytes */
void base64_url(const void *bytes, size_t n, char *text);	/* the alphabet of URLs, no padding */
/* In place of or into bytes (n / 4 * 3 of them): how many; -1 when the text is broken. */
ssize_t base64_read(const char *text, size_t n, void *bytes);

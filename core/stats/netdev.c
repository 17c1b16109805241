/* Counters of interfaces, see the header. */
#include "core/stats/netdev.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"

enum { CHUNK = 4096, TEXT_MAX = 64 << 10 };

static bool parse_line(const char *line, struct netdev *d)
{
	return sscanf(line,
		      " %15[^: ]: %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %*u %*u %*u %*u"
		      " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64,
		      d->name, &d->rx.bytes, &d->rx.packets, &d->rx.errors, &d->rx.dropped, &d->tx.bytes,
		      &d->tx.packets, &d->tx.errors, &d->tx.dropped) == 9;
}

size_t netdev_parse(const char *text, struct netdev *out, size_t max)
{
	size_t n = 0;
	for (const char *line = text; line && *line && n < max; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (parse_line(line, &out[n]) && strcmp(out[n].name, "lo"))
			n++;
	}
	return n;
}

size_t netdev_read(int fd, struct netdev *out, size_t max)
{
	struct buf text = { 0 };
	ssize_t got = 1;
	while (got > 0 && text.len < TEXT_MAX) {
		got = pread(fd, buf_room(&text, CHUNK), CHUNK - 1, (off_t)text.len);
		text.len += got > 0 ? (size_t)got : 0;
	}
	size_t n = 0;
	if (text.len) {
		text.data[text.len] = 0;
		n = netdev_parse(text.data, out, max);
	}
	buf_free(&text);
	return n;
}

const struct netdev *netdev_default(const struct netdev *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(list[i].name, "eth0"))
			return &list[i];
	return n ? list : NULL;
}

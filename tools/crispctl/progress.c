/* A line on stderr. */
#include "tools/crispctl/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/pool.h"
#include "tools/crispctl/show.h"

enum { BAR = 24, LINE_MAX_LEN = 400, REDRAW_NS = 50000000 };

void progress_begin(struct progress *p, const char *what)
{
	*p = (struct progress){ .what = what, .on = isatty(STDERR_FILENO) };
}

static unsigned columns(void)
{
	struct winsize w = { 0 };
	return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 80;
}

static void draw(const char *line)
{
	fprintf(stderr, "\r%.*s\033[K", (int)columns() - 1, line);
	fflush(stderr);
}

static void make_bar(char *out, uint64_t done, uint64_t total)
{
	int full = done >= total ? BAR : (int)(BAR * (double)done / total);
	memset(out, ' ', BAR);
	memset(out, '=', full);
	if (full < BAR)
		out[full] = '>';
	out[BAR] = 0;
}

void progress_update(struct progress *p, const char *stage, uint64_t done, uint64_t total,
		     unsigned layers_done, unsigned layers)
{
	int64_t now = clock_mono_ns();
	if (!p->on || now - p->drawn_ns < REDRAW_NS)
		return;
	p->drawn_ns = now;
	char line[LINE_MAX_LEN], bar[BAR + 1], count[48] = "";
	struct pool *pool = pool_new(NULL, "progress");
	if (layers)
		snprintf(count, sizeof(count), "  %u/%u layers", layers_done, layers);
	if (total) {
		make_bar(bar, done, total);
		snprintf(line, sizeof(line), "%s  %-8s [%s]  %s / %s%s", p->what, stage, bar,
			 show_bytes(pool, done), show_bytes(pool, total), count);
	} else {
		snprintf(line, sizeof(line), "%s  %-8s %c  %s%s", p->what, stage,
			 "|/-\\"[p->turn++ % 4], show_bytes(pool, done), count);
	}
	draw(line);
	pool_destroy(pool);
}

void progress_spin(void *progress)
{
	struct progress *p = progress;
	char line[LINE_MAX_LEN];
	if (!p->on)
		return;
	snprintf(line, sizeof(line), "%s  %c", p->what, "|/-\\"[p->turn++ % 4]);
	draw(line);
}

void progress_end(struct progress *p)
{
	if (p->on)
		fputs("\r\033[K", stderr);
}

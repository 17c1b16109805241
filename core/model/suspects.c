/* One file for each phase, "ID DEATHS": see the header. */
#include "core/model/suspects.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"

enum { TRIES_MAX = 2, TRIES_TOGETHER_MAX = 3, ID_MAX = 64 };

/* Stands for all at once. */
#define TOGETHER "-"

struct note {
	const char *path;
	char id[ID_MAX + 1];		/* whom the last core died over */
	int tries;
};

static const struct {
	const char *file, *words;
} phases[] = {
	[SUSPECT_LOAD] = { "recovering", "while loading it" },
	[SUSPECT_ASK] = { "asking", "while its engine was asked for it" },
	[SUSPECT_UNWIND] = { "unwinding", "while an operation of it was taken up" },
};

struct suspects {
	struct note notes[sizeof(phases) / sizeof(*phases)];
};

static void note_read(struct note *n, struct pool *p, const char *dir, const char *name)
{
	struct buf b = { 0 };
	struct err e = { 0 };
	n->path = pool_printf(p, "%s/%s", dir, name);
	if (file_read(AT_FDCWD, n->path, 256, &b, &e) == 0 &&
	    sscanf(b.data, "%64s %d", n->id, &n->tries) != 2)
		*n = (struct note){ .path = n->path };
	buf_free(&b);
}

static int tries_of(const struct note *n, const char *id)
{
	return strcmp(id, n->id) ? 0 : n->tries;
}

static void note_write(const struct note *n, const char *id)
{
	char text[ID_MAX + 16];
	struct err e = { 0 };
	int len = snprintf(text, sizeof(text), "%s %d", id, tries_of(n, id) + 1);
	if (file_replace(AT_FDCWD, n->path, text, (size_t)len, 0600, &e) < 0)
		log_warn("no note of what may kill the core", "id", id, "error", err_text(&e));
}

struct suspects *suspects_read(struct pool *p, const char *state_dir)
{
	struct suspects *s = pool_new_struct(p, struct suspects);
	for (size_t i = 0; i < sizeof(phases) / sizeof(*phases); i++)
		note_read(&s->notes[i], p, state_dir, phases[i].file);
	return s;
}

int suspects_trust(struct suspects *s, const char *id, bool *legible, struct err *e)
{
	*legible = tries_of(&s->notes[SUSPECT_LOAD], id) < TRIES_MAX;
	for (size_t i = 0; i < sizeof(phases) / sizeof(*phases); i++)
		if (tries_of(&s->notes[i], id) >= TRIES_MAX)
			return err_set(e, EBADMSG, "core after core has died %s", phases[i].words);
	note_write(&s->notes[SUSPECT_LOAD], id);
	return 0;
}

bool suspects_one_by_one(const struct suspects *s, enum suspect_phase phase)
{
	const struct note *n = &s->notes[phase];
	return n->id[0] && (strcmp(n->id, TOGETHER) || n->tries >= TRIES_TOGETHER_MAX);
}

void suspects_begin(struct suspects *s, enum suspect_phase phase, const char *id)
{
	note_write(&s->notes[phase], id ? id : TOGETHER);
}

void suspects_over(struct suspects *s, enum suspect_phase phase)
{
	unlink(s->notes[phase].path);
}

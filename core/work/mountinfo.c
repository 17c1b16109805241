/* The mount table, see the header. */
#include "core/work/mountinfo.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/file.h"

enum { TABLE_MAX = 64 << 20 };

/* \040 and the like. */
static char *unescape(const char *s)
{
	char *out = strdup(s), *to = out;
	if (!out)
		abort();
	for (; *s; to++) {
		if (s[0] == '\\' && s[1] && s[2] && s[3]) {
			*to = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*to = *s++;
		}
	}
	*to = 0;
	return out;
}

/* "27 1 254:0 / /mnt rw,relatime shared:1 - ext4 ..." */
static bool parse_line(char *line, struct mountinfo *m)
{
	char *save = NULL;
	char *word = strtok_r(line, " ", &save);
	for (int i = 0; word && i < 6; i++, word = strtok_r(NULL, " ", &save)) {
		if (i == 0)
			m->id = atoi(word);
		else if (i == 4)
			m->point = unescape(word);
	}
	for (; word && strcmp(word, "-"); word = strtok_r(NULL, " ", &save)) {
		m->shared |= !strncmp(word, "shared:", 7);
		m->slave |= !strncmp(word, "master:", 7);
	}
	return m->point;
}

int mountinfo_read(struct mountinfos *all, struct err *e)
{
	struct buf text = { 0 };
	*all = (struct mountinfos){ 0 };
	int ret = file_read(AT_FDCWD, "/proc/self/mountinfo", TABLE_MAX, &text, e);
	if (ret < 0) {
		buf_free(&text);
		return ret;
	}
	int cap = 0;
	char *save = NULL;
	for (char *line = strtok_r(text.data, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (all->n == cap) {
			cap = cap ? 2 * cap : 64;
			all->at = realloc(all->at, (size_t)cap * sizeof(*all->at));
			if (!all->at)
				abort();
		}
		struct mountinfo m = { 0 };
		if (parse_line(line, &m))
			all->at[all->n++] = m;
	}
	buf_free(&text);
	return 0;
}

void mountinfo_free(struct mountinfos *all)
{
	for (int i = 0; i < all->n; i++)
		free(all->at[i].point);
	free(all->at);
	*all = (struct mountinfos){ 0 };
}

const struct mountinfo *mountinfo_of(const struct mountinfos *all, const char *path)
{
	auto_close int fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	char name[48];
	snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
	struct buf info = { 0 };
	int id = -1;
	if (file_read(AT_FDCWD, name, 4096, &info, NULL) == 0) {
		const char *at = strstr(info.data, "mnt_id:");
		id = at ? atoi(at + 7) : -1;
	}
	buf_free(&info);
	for (int i = 0; i < all->n; i++)
		if (all->at[i].id == id)
			return &all->at[i];
	return NULL;
}

bool mountinfo_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);
	while (n > 1 && dir[n - 1] == '/')
		n--;
	return !strncmp(path, dir, n) && (path[n] == 0 || path[n] == '/' || n == 1);
}

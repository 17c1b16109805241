/* The tables of what is kept, see the header.  Pages of them that were never needed don't exist. */
#define BARE_PART
#include "core/base/bare.h"
#include "core/keeper/kept.h"

#include <linux/fcntl.h>

#include "core/keep/wire.h"
#include "core/keeper/talk.h"

enum { KEPT_MAX = 65536, EXITS_MAX = 4096 };

static int fds[KEPT_MAX];
static uint32_t hashes[KEPT_MAX];
static char keys[KEPT_MAX][sizeof(((struct keep_msg *)0)->key)];
static struct exit_note notes[EXITS_MAX];

struct kept kept = { .fd = fds, .key = keys };
struct exits exits = { .note = notes };

/* -- fds -- */

static uint32_t key_hash(const char *key)
{
	uint32_t h = 2166136261u;
	for (; *key; key++)
		h = (h ^ (unsigned char)*key) * 16777619u;
	return h;
}

static int kept_find(const char *key)
{
	uint32_t h = key_hash(key);
	for (int i = 0; i < kept.n; i++)
		if (hashes[i] == h && equal(kept.key[i], key))
			return i;
	return -1;
}

void kept_drop(const char *key)
{
	int i = kept_find(key), last = kept.n - 1;
	if (i < 0)
		return;
	bare(close, kept.fd[i]);
	kept.fd[i] = kept.fd[last];
	hashes[i] = hashes[last];
	memcpy(kept.key[i], kept.key[last], sizeof(keys[0]));
	kept.n = last;
}

void kept_put(const char *key, int fd)
{
	int i = kept_find(key);
	if (i >= 0) {
		bare(close, kept.fd[i]);
		kept.fd[i] = fd;
		return;
	}
	if (kept.n == KEPT_MAX) {
		say("too many fds to keep, one is lost", "max", KEPT_MAX);
		bare(close, fd);
		return;
	}
	kept.fd[kept.n] = fd;
	hashes[kept.n] = key_hash(key);
	memcpy(kept.key[kept.n], key, sizeof(keys[0]));
	kept.n++;
}

int kept_fd(const char *key)
{
	int i = kept_find(key);
	return i < 0 ? -1 : kept.fd[i];
}

bool kept_lasting(void)
{
	for (int i = 0; i < kept.n; i++)
		for (const char *c = kept.key[i]; *c; c++)
			if (*c == '/')
				return true;
	return false;
}

/* -- exits -- */

static void exits_remove(int i)
{
	exits.n--;
	if (i < exits.sent)
		exits.sent--;
	for (; i < exits.n; i++)
		exits.note[i] = exits.note[i + 1];
}

void exits_ack(int pid)
{
	for (int i = 0; i < exits.n; i++)
		if (exits.note[i].pid == pid) {
			exits_remove(i);
			return;
		}
}

void exits_add(int pid, int status)
{
	if (exits.n == EXITS_MAX)
		exits_remove(0);
	exits.note[exits.n++] = (struct exit_note){ pid, status };
}

/* -- over an execve -- */

static void set_cloexec(int flags)
{
	for (int i = 0; i < kept.n; i++)
		bare(fcntl, kept.fd[i], F_SETFD, flags);
}

static bool save_entry(int memfd, const struct keep_entry *e)
{
	return bare(write, memfd, e, sizeof(*e)) == (long)sizeof(*e);
}

static bool save_all(int memfd)
{
	bool good = true;
	for (int i = 0; i < kept.n && good; i++) {
		struct keep_entry e = { .fd = kept.fd[i] };
		memcpy(e.key, kept.key[i], sizeof(e.key));
		good = save_entry(memfd, &e);
	}
	for (int i = 0; i < exits.n && good; i++) {
		struct keep_entry e = { .fd = -1 };
		e.exit.pid = exits.note[i].pid;
		e.exit.status = exits.note[i].status;
		good = save_entry(memfd, &e);
	}
	return good;
}

int kept_save(void)
{
	int memfd = (int)bare(memfd_create, "crisp-kept", 0);
	if (memfd < 0)
		return memfd;
	if (!save_all(memfd)) {
		bare(close, memfd);
		return -1;
	}
	bare(lseek, memfd, 0, 0);
	set_cloexec(0);
	return memfd;
}

void kept_load(int memfd)
{
	struct keep_entry e;
	while (bare(read, memfd, &e, sizeof(e)) == (long)sizeof(e)) {
		if (e.fd < 0) {
			exits_add(e.exit.pid, e.exit.status);
			continue;
		}
		e.key[sizeof(e.key) - 1] = 0;
		if (bare(fcntl, e.fd, F_SETFD, FD_CLOEXEC) == 0)
			kept_put(e.key, e.fd);
	}
	bare(close, memfd);
}

void kept_stay(int memfd)
{
	bare(close, memfd);
	set_cloexec(FD_CLOEXEC);
}

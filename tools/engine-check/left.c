/* What containers of this run have left on the host: processes, mounts, files of the engine's. */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/pool.h"
#include "tools/engine-check/check.h"

enum { FILE_MAX = 64 << 20, IDS_MAX = 1024 };

static const char *ids[IDS_MAX];
static unsigned n_ids;

void left_note(const char *id)
{
	if (n_ids < IDS_MAX)
		ids[n_ids++] = pool_strdup(bench.pool, id);
}

static char who[300];			/* one of those that are left, for the report */

static bool has_processes(const char *path)
{
	struct buf text = { 0 }, words = { 0 };
	file_read(AT_FDCWD, path, FILE_MAX, &text, NULL);
	bool any = text.len > 0;
	if (any) {
		int pid = atoi(text.data);
		file_read(AT_FDCWD, pool_printf(bench.pool, "/proc/%d/cmdline", pid), 200, &words, NULL);
		for (size_t i = 0; i < words.len; i++)
			if (!words.data[i])
				words.data[i] = ' ';
		snprintf(who, sizeof(who), "%d %.*s", pid, (int)words.len, words.data ? words.data : "");
	}
	buf_free(&text);
	buf_free(&words);
	return any;
}

/* Remove the folder of cgroups and all below; says whether somebody was in one. */
static bool sweep_cgroup(const char *path)
{
	bool any = has_processes(pool_printf(bench.pool, "%s/cgroup.procs", path));
	DIR *d = opendir(path);
	struct dirent *ent;
	while (d && (ent = readdir(d)))
		if (ent->d_type == DT_DIR && ent->d_name[0] != '.')
			any |= sweep_cgroup(pool_printf(bench.pool, "%s/%s", path, ent->d_name));
	if (d)
		closedir(d);
	rmdir(path);
	return any;
}

static void kill_cgroup(const char *path)
{
	struct buf text = { 0 };
	file_read(AT_FDCWD, pool_printf(bench.pool, "%s/cgroup.procs", path), FILE_MAX, &text, NULL);
	for (char *save, *w = strtok_r(text.data ? text.data : "", "\n", &save); w; w = strtok_r(NULL, "\n", &save))
		if (atoi(w) > 1)
			kill(atoi(w), SIGKILL);
	buf_free(&text);
}

void left_kill(const struct ctr *c)
{
	if (!c->cgroup)
		return;
	kill_cgroup(pool_printf(bench.pool, "/sys/fs/cgroup%s", c->cgroup));
	DIR *d = opendir("/sys/fs/cgroup");
	struct dirent *ent;
	while (d && (ent = readdir(d)))
		if (ent->d_name[0] != '.')
			kill_cgroup(pool_printf(bench.pool, "/sys/fs/cgroup/%s%s", ent->d_name, c->cgroup));
	if (d)
		closedir(d);
}

static bool sweep_cgroups(void)
{
	bool any = sweep_cgroup(pool_printf(bench.pool, "/sys/fs/cgroup%s", opt.cgroup));
	DIR *d = opendir("/sys/fs/cgroup");
	struct dirent *ent;
	while (d && (ent = readdir(d)))
		if (ent->d_name[0] != '.')
			any |= sweep_cgroup(pool_printf(bench.pool, "/sys/fs/cgroup/%s%s", ent->d_name, opt.cgroup));
	if (d)
		closedir(d);
	return any;
}

/* Is it the name of something of a container's: its id, with no letter or digit beside it? */
static bool names_one(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	for (unsigned i = 0; i < n_ids; i++) {
		const char *at = strstr(name, ids[i]), *after = at ? at + strlen(ids[i]) : NULL;
		if (at && (at == name || !strchr(letters, at[-1])) && (!*after || !strchr(letters, *after)))
			return true;
	}
	return false;
}

/* Its path, or NULL. */
static const char *find_left(const char *dir)
{
	const char *found = NULL;
	DIR *d = opendir(dir);
	struct dirent *ent;
	while (d && !found && (ent = readdir(d))) {
		if (!strcmp(ent->d_name, ".") || !strcmp(ent->d_name, ".."))
			continue;
		const char *path = pool_printf(bench.pool, "%s/%s", dir, ent->d_name);
		found = names_one(ent->d_name) ? path : ent->d_type == DT_DIR ? find_left(path) : NULL;
	}
	if (d)
		closedir(d);
	return found;
}

void check_nothing_left(void)
{
	struct buf mounts = { 0 };
	bool any = true;
	for (int i = 0; i < 40 && (any = sweep_cgroups()); i++)
		bench_wait_ms(50);
	check(!any, "no process of a container is left%s%s", any ? ": " : "", any ? who : "");
	file_read(AT_FDCWD, "/proc/self/mountinfo", FILE_MAX, &mounts, NULL);
	const char *rw = pool_printf(bench.pool, "%s/mnt/", opt.home);
	check(mounts.data && !strstr(mounts.data, rw), "no mount is left");
	buf_free(&mounts);
	const char *file = NULL;
	for (int i = 0; i < 40 && (file = find_left(pool_printf(bench.pool, "%s/engines", opt.home))); i++)
		bench_wait_ms(50);	/* who takes a file away may do so after its answer */
	check(!file, "no file of a container is left in the state directory%s%s", file ? ": " : "", file ? file : "");
	n_ids = 0;
}

/* The pins' and the template's mounts, and the cgroups of sections that have crashed. */
void left_clean_up(void)
{
	char path[4096];
	bench.pool = pool_new(NULL, "clean up");
	for (int i = 0; i < 40 && sweep_cgroups(); i++)
		poll(NULL, 0, 50);	/* they have been killed */
	pool_destroy(bench.pool);
	snprintf(path, sizeof(path), "%s/netns", opt.home);
	while (umount2(path, MNT_DETACH) == 0)
		;
	snprintf(path, sizeof(path), "%s/mnt", opt.home);
	while (umount2(path, MNT_DETACH) == 0)
		;
}

/*
 * What runsc keeps on disk of a container: ID_sandbox:BOX.state and .lock in its root folder, and the
 * sandbox's control socket.  `runsc delete` removes them, but not all of them always:
 *
 *	- one that dies in the middle has removed some, and the next one finds no container any more;
 *	- so has a create that dies before it has written a state;
 *	- runsc looks at a pod's other containers to adapt the sentry's OOM score.  One that is removed
 *	  at the same time gets its lock made anew, and keeps that for ever.
 *
 * So after its own delete has had its turn we look ourselves.  Other sandboxes may be of other handlers:
 * nothing is touched but what names an id of ours.
 */
#include "engines/gvisor/gvisor.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char between[] = "_sandbox:";

/* The parts of a name: "A_sandbox:B.KIND". */
struct name {
	char ctr[ID_LEN], box[ID_LEN];
	const char *kind;
};

static bool name_parse(const char *text, struct name *n)
{
	const char *mid = strstr(text, between), *dot = strrchr(text, '.');
	const char *box = mid ? mid + strlen(between) : NULL;
	if (!mid || !dot || dot < box || mid - text >= ID_LEN || dot - box >= ID_LEN)
		return false;
	snprintf(n->ctr, ID_LEN, "%.*s", (int)(mid - text), text);
	snprintf(n->box, ID_LEN, "%.*s", (int)(dot - box), box);
	n->kind = dot + 1;
	return !strcmp(n->kind, "state") || !strcmp(n->kind, "lock");
}

void files_sandbox_of(struct crisp_instance *i, const char *ctr, char box[ID_LEN])
{
	DIR *d = opendir(i->options.root);
	struct dirent *ent;
	struct name n;
	box[0] = 0;
	while (d && (ent = readdir(d)))
		if (name_parse(ent->d_name, &n) && !strcmp(n.ctr, ctr))
			snprintf(box, ID_LEN, "%s", n.box);
	if (d)
		closedir(d);
}

static bool has_state(int dir, const struct name *n)
{
	char path[2 * ID_LEN + 24];
	snprintf(path, sizeof(path), "%s%s%s.state", n->ctr, between, n->box);
	return faccessat(dir, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* In a living sandbox a lock without a state may be that of a container in the making. */
void files_forget(struct crisp_instance *i, const char *ctr, const char *box)
{
	struct box *b = box_find(i, box);
	bool over = !b || !box_alive(b);
	DIR *d = opendir(i->options.root);
	struct dirent *ent;
	struct name n;
	while (d && (ent = readdir(d))) {
		if (!name_parse(ent->d_name, &n) || strcmp(n.box, box))
			continue;
		bool left = over && !strcmp(n.kind, "lock") && !has_state(dirfd(d), &n);
		if (!strcmp(n.ctr, ctr) || left)
			unlinkat(dirfd(d), ent->d_name, 0);
	}
	if (d)
		closedir(d);
}

static bool socket_in(const char *folder, const char *box, char path[PATH_LEN])
{
	int n = snprintf(path, PATH_LEN, "%s/runsc-%s.sock", folder, box);
	return n < PATH_LEN && access(path, F_OK) == 0;
}

bool files_socket(struct crisp_instance *i, const char *box, char path[PATH_LEN])
{
	const char *const folders[] = { i->options.root, "/var/run", "/run", "/tmp" };
	for (size_t k = 0; k < 4; k++)
		if (socket_in(folders[k], box, path))
			return true;
	path[0] = 0;
	return false;
}

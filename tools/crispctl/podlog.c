/* The folder's name is worked out anew from the metadata, never taken from the pod. */
#include "tools/crispctl/podlog.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/pool.h"

#define ROOT "/var/log/pods"

static const char *dir_name(struct pool *p, const Cri__PodSandboxMetadata *m)
{
	return pool_printf(p, "%s_%s_%s", m->namespace_, m->name, m->uid);
}

const char *podlog_dir(struct pool *p, const Cri__PodSandboxMetadata *m)
{
	return pool_printf(p, ROOT "/%s", dir_name(p, m));
}

static bool is_ours(const Cri__PodSandbox *pod)
{
	for (size_t i = 0; i < pod->n_labels; i++)
		if (!strcmp(pod->labels[i]->key, PODLOG_LABEL))
			return true;
	return false;
}

int podlog_remove(struct pool *p, const Cri__PodSandbox *pod, struct err *e)
{
	if (!pod->metadata || !is_ours(pod))
		return 0;
	const char *name = dir_name(p, pod->metadata);
	if (strchr(name, '/'))
		return 0;
	auto_close int root = open(ROOT, O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return errno == ENOENT ? 0 : err_sys(e, "open " ROOT);
	return file_remove_tree(root, name, e);
}

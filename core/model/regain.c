/*
 * Namespaces of pods after a start without a keeper's hand-over.  A pod's netns has its pin; the
 * others went with the last fd, unless a process lives in them:
 *
 *	ipc, uts   a container or pause that lives has them: /proc/PID/ns; else nobody is in them
 *	           any more, and new ones are as good
 *	user       the netns knows who owns it
 *	/dev/shm   new: containers that live keep the old one
 *	counters   opened again
 */
#include "core/model/model_int.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/model/model.h"
#include "core/sandboxfs/sandboxfs.h"
#include "core/sandboxfs/sysctl.h"

enum { REGAIN_TIMEOUT_MS = 30000 };

struct regain {
	struct pod *pod;
	void (*cb)(void *data);
	void *data;
};

/* A process that is in the pod's namespaces; 0: none that we know. */
static pid_t inhabitant(const struct pod *p)
{
	struct container *c;
	if (p->pause_pid > 0)
		return p->pause_pid;
	list_for_each(c, &p->containers, in_pod)
		if (c->alive && c->pid > 0)
			return c->pid;
	return 0;
}

static void regain_one(struct pod *p, int *fd, const char *name, const char *path)
{
	if (*fd >= 0)
		return;
	*fd = open(path, O_RDONLY | O_CLOEXEC);
	if (*fd >= 0)
		pod_keep_fd(p, name, *fd);
}

static void regain_from(struct pod *p, pid_t pid, const char *name, int *fd)
{
	char path[48];
	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, name);
	regain_one(p, fd, name, path);
}

static void regain_user(struct pod *p)
{
	if (p->user_fd >= 0 || !p->map.n_uids || p->net_fd < 0)
		return;
	p->user_fd = sandboxfs_owner_of(p->net_fd);
	if (p->user_fd >= 0)
		pod_keep_fd(p, "user", p->user_fd);
}

/* Those that belong to what is made anew. */
static const char *const *own_sysctls(struct pool *pool, const struct sandbox_ns *ns)
{
	size_t n = 0, kept = 0;
	while (ns->sysctls[n])
		n++;
	const char **list = pool_alloc(pool, (n + 1) * sizeof(*list));
	for (size_t i = 0; i < n; i += 2) {
		if (sysctl_check(ns->sysctls[i], ns->ipc, ns->uts, false, NULL) < 0)
			continue;
		list[kept++] = ns->sysctls[i];
		list[kept++] = ns->sysctls[i + 1];
	}
	return list;
}

static void keep_new(struct pod *p, const char *name, int *to, int fd)
{
	if (fd < 0)
		return;
	*to = fd;
	pod_keep_fd(p, name, fd);
}

static void handle_made(void *data, int ret, const struct sandbox_fds *fds, const struct err *e)
{
	struct regain *g = data;
	struct pod *p = g->pod;
	if (ret < 0) {
		log_warn("the namespaces of a pod are lost", "pod", p->id, "error", err_text(e));
		pod_set_state(p, POD_STATE_NOTREADY);
	} else {
		keep_new(p, "ipc", &p->ipc_fd, fds->ipc);
		keep_new(p, "uts", &p->uts_fd, fds->uts);
		keep_new(p, "shm", &p->shm_fd, fds->shm);
		keep_new(p, "netdev", &p->netdev_fd, fds->netdev);
		if (p->user_fd < 0)
			keep_new(p, "user", &p->user_fd, fds->user);
		else if (fds->user >= 0)
			close(fds->user);	/* the one that it was told to use */
	}
	g->cb(g->data);
}

bool pod_regain_ns(struct pod *p, struct pool *pool, void (*cb)(void *data), void *data)
{
	if (p->state != POD_STATE_READY)
		return false;
	struct sandbox_ns ns = pod_wanted_ns(pool, p);
	pid_t pid = inhabitant(p);
	if (p->netns_pin)
		regain_one(p, &p->net_fd, "net", p->netns_pin);
	regain_user(p);
	if (ns.ipc && pid)
		regain_from(p, pid, "ipc", &p->ipc_fd);
	if (ns.uts && pid)
		regain_from(p, pid, "uts", &p->uts_fd);
	ns.pin = NULL;
	ns.user = p->user_fd;
	ns.ipc &= p->ipc_fd < 0;
	ns.uts &= p->uts_fd < 0;
	ns.shm &= p->shm_fd < 0;
	if (p->netdev_fd < 0)
		ns.counters = p->netns_pin;
	if (!ns.ipc && !ns.uts && !ns.shm && !ns.counters)
		return false;
	if (!ns.uts)
		ns.hostname = NULL;
	ns.sysctls = own_sysctls(pool, &ns);
	struct regain *g = pool_new_struct(pool, struct regain);
	*g = (struct regain){ p, cb, data };
	if (ns.ipc || ns.uts || ns.shm)
		log_info("a pod's namespaces are made anew", "pod", p->id);
	sandboxfs_make_ns(p->model->g.sandboxfs, pool, &ns, REGAIN_TIMEOUT_MS, handle_made, g);
	return true;
}

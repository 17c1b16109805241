/* Jobs for crisp-work on behalf of pod sandboxes, see the header. */
#include "core/sandboxfs/sandboxfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/idmap.h"
#include "core/base/pool.h"
#include "core/loop/loop.h"
#include "core/sandboxfs/files.h"
#include "core/sandboxfs/reply.h"
#include "core/sandboxfs/sysctl.h"
#include "core/spawn/spawn.h"

enum { ERR_TEXT_MAX = 4096, TEMPLATE_MS = 60000, UNPIN_MS = 60000, PINS_MAX = 1 << 20, DIAL_ADDRESSES_MAX = 8 };

struct sandboxfs {
	struct spawner *spawner;
	const char *work, *state_dir, *mnt_dir, *netns_dir, *prefix;
};

/* A worker under way.  Lives in a pool of its own below the caller's, which goes right before the
 * caller is told. */
struct work {
	struct pool *pool;
	const char *what;
	int reply;		/* our end; -1: it hands nothing over */
	const char **argv;
	size_t n_argv, cap_argv;
	sandbox_fd_cb *on_fd;
	sandbox_cb *on_ns;
	sandbox_done_cb *on_done;
	void *data;
};

static struct work *work_new(struct sandboxfs *fs, struct pool *p, const char *what,
			     const char *job)
{
	struct pool *own = pool_new(p, "work");
	struct work *w = pool_new_struct(own, struct work);
	w->pool = own;
	w->what = what;
	w->reply = -1;
	w->cap_argv = 16;
	w->argv = pool_alloc(own, w->cap_argv * sizeof(*w->argv));
	w->argv[w->n_argv++] = fs->work;
	w->argv[w->n_argv++] = job;
	return w;
}

static void add_arg(struct work *w, const char *arg)
{
	if (w->n_argv + 2 > w->cap_argv) {
		const char **more = pool_alloc(w->pool, 2 * w->cap_argv * sizeof(*more));
		memcpy(more, w->argv, w->n_argv * sizeof(*more));
		w->argv = more;
		w->cap_argv *= 2;
	}
	w->argv[w->n_argv++] = pool_strdup(w->pool, arg);
}

static void add_option(struct work *w, const char *name, const char *value)
{
	add_arg(w, name);
	add_arg(w, value);
}

/* -- the end of a worker -- */

static int *fd_of_letter(struct sandbox_fds *fds, char letter, int *fd)
{
	switch (letter) {
	case 'n':
		return &fds->net;
	case 'i':
		return &fds->ipc;
	case 'u':
		return &fds->uts;
	case 'o':
		return &fds->user;
	case 's':
		return &fds->shm;
	case 'd':
		return &fds->netdev;
	case 'm':
	case 'c':
		return fd;
	}
	return NULL;
}

static int take_reply(struct work *w, struct sandbox_fds *fds, int *fd, struct err *e)
{
	char letters[REPLY_FDS_MAX + 1];
	int got[REPLY_FDS_MAX];
	int ret = reply_receive(w->reply, letters, got, e);
	if (ret < 0)
		return err_wrap(e, ret, "%s", w->what);
	for (int i = 0; letters[i]; i++) {
		int *to = fd_of_letter(fds, letters[i], fd);
		if (to && *to < 0) {
			*to = got[i];
			continue;
		}
		if (letters[i] == 'h' || letters[i] == 'r')
			files_see(letters[i], got[i]);
		close(got[i]);
	}
	return 0;
}

static void handle_end(void *data, struct spawn_result *r)
{
	struct work w = *(struct work *)data;
	struct sandbox_fds fds = { -1, -1, -1, -1, -1, -1 };
	struct err e = { 0 };
	int fd = -1, ret = spawn_check(r, w.what, &e);
	if (ret == 0 && w.reply >= 0)
		ret = take_reply(&w, &fds, &fd, &e);
	pool_destroy(w.pool);	/* the spawn has left it before it called us */
	if (w.on_fd)
		w.on_fd(w.data, ret, fd, &e);
	else if (w.on_ns)
		w.on_ns(w.data, ret, &fds, &e);
	else if (w.on_done)
		w.on_done(w.data, ret, &e);
}

/* The worker's end of the reply socket; without one the job fails by itself, for want of fd 3. */
static int open_reply(struct work *w)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	w->reply = pool_fd(w->pool, pair[0])->fd;
	return pair[1];
}

static struct spawn *work_start(struct sandboxfs *fs, struct work *w, bool reply,
				uint64_t timeout_ms, void *data)
{
	auto_close int theirs = reply ? open_reply(w) : -1;
	struct spawn_fd fd = { theirs, REPLY_FD };
	struct spawn_plan plan = SPAWN_PLAN_INIT;
	w->data = data;
	plan.path = fs->work;
	plan.argv = w->argv;
	plan.err_max = ERR_TEXT_MAX;
	plan.timeout_ms = timeout_ms;
	if (theirs >= 0) {
		plan.fds = &fd;
		plan.n_fds = 1;
	}
	return spawn_start(fs->spawner, w->pool, &plan, handle_end, w);
}

/* -- jobs -- */

struct spawn *sandboxfs_template(struct sandboxfs *fs, struct pool *p, sandbox_fd_cb *cb,
				 void *data)
{
	struct work *w = work_new(fs, p, "make the template of mount namespaces", "template");
	add_arg(w, fs->state_dir);
	add_arg(w, fs->netns_dir);
	w->on_fd = cb;
	return work_start(fs, w, true, TEMPLATE_MS, data);
}

static void add_sysctls(struct work *w, const struct sandbox_ns *ns, const char *option, bool late)
{
	for (const char *const *s = ns->sysctls; s && s[0]; s += 2) {
		if ((sysctl_kind(s[0]) == SYSCTL_KIND_NET_LATE) != late)
			continue;
		if (option)
			add_arg(w, option);
		add_arg(w, pool_printf(w->pool, "%s=%s", s[0], s[1]));
	}
}

struct spawn *sandboxfs_make_ns(struct sandboxfs *fs, struct pool *p, const struct sandbox_ns *ns,
				uint64_t timeout_ms, sandbox_cb *cb, void *data)
{
	struct work *w = work_new(fs, p, "make namespaces", "ns");
	if (ns->pin)
		add_option(w, "--net", ns->pin);
	else if (ns->counters)
		add_option(w, "--counters", ns->counters);
	if (ns->crowded)
		add_arg(w, "--crowded");
	if (ns->ipc)
		add_arg(w, "--ipc");
	if (ns->uts)
		add_arg(w, "--uts");
	if (ns->hostname)
		add_option(w, "--hostname", ns->hostname);
	if (ns->shm)
		add_option(w, "--shm", pool_printf(w->pool, "%llu", (unsigned long long)
						   (ns->shm_size ? ns->shm_size : 64 << 20)));
	if (ns->map) {
		char text[IDMAP_TEXT_MAX];
		add_option(w, "--userns", idmap_text(ns->map, text));
		if (ns->user >= 0)
			add_option(w, "--in", pool_printf(w->pool, "/proc/%d/fd/%d", getpid(), ns->user));
	}
	add_sysctls(w, ns, "--sysctl", false);
	w->on_ns = cb;
	return work_start(fs, w, true, timeout_ms, data);
}

int sandboxfs_check_sysctls(const struct sandbox_ns *ns, struct err *e)
{
	for (const char *const *s = ns->sysctls; s && s[0]; s += 2) {
		int ret = sysctl_check(s[0], ns->ipc, ns->uts, ns->pin, e);
		if (ret < 0)
			return ret;
	}
	return 0;
}

bool sandboxfs_has_late_sysctls(const struct sandbox_ns *ns)
{
	for (const char *const *s = ns->sysctls; s && s[0]; s += 2)
		if (sysctl_kind(s[0]) == SYSCTL_KIND_NET_LATE)
			return true;
	return false;
}

struct spawn *sandboxfs_late_sysctls(struct sandboxfs *fs, struct pool *p,
				     const struct sandbox_ns *ns, int net, uint64_t timeout_ms,
				     sandbox_done_cb *cb, void *data)
{
	struct work *w = work_new(fs, p, "set sysctls", "sysctl");
	if (net < 0)
		add_arg(w, ns->pin);
	else
		add_arg(w, pool_printf(w->pool, "/proc/%d/fd/%d", getpid(), net));
	add_sysctls(w, ns, NULL, true);
	w->on_done = cb;
	return work_start(fs, w, false, timeout_ms, data);
}

struct spawn *sandboxfs_dial(struct sandboxfs *fs, struct pool *p, int net, unsigned port,
			     const char *const *addresses, size_t n, uint64_t timeout_ms,
			     sandbox_fd_cb *cb, void *data)
{
	struct work *w = work_new(fs, p, "dial", "dial");
	add_arg(w, net < 0 ? "-" : pool_printf(w->pool, "/proc/%d/fd/%d", getpid(), net));
	add_arg(w, pool_printf(w->pool, "%u", port));
	for (size_t i = 0; i < n && i < DIAL_ADDRESSES_MAX; i++)
		add_arg(w, addresses[i]);
	w->on_fd = cb;
	return work_start(fs, w, true, timeout_ms, data);
}

struct spawn *sandboxfs_limit(struct sandboxfs *fs, struct pool *p, const char *const *writes, size_t n,
			      uint64_t timeout_ms, sandbox_done_cb *cb, void *data)
{
	struct work *w = work_new(fs, p, "set limits", "limit");
	for (size_t i = 0; i < n; i++)
		add_arg(w, writes[i]);
	w->on_done = cb;
	return work_start(fs, w, false, timeout_ms, data);
}

struct spawn *sandboxfs_unpin(struct sandboxfs *fs, struct pool *p, const char *pin,
			      sandbox_done_cb *cb, void *data)
{
	struct work *w = work_new(fs, p, "remove the netns", "unpin");
	add_arg(w, pin);
	w->on_done = cb;
	return work_start(fs, w, false, UNPIN_MS, data);
}

struct spawn *sandboxfs_remove_trees(struct sandboxfs *fs, struct pool *p, const char *const *paths,
				     size_t n, sandbox_done_cb *cb, void *data)
{
	struct work *w = work_new(fs, p, "remove files", "rmtree");
	for (size_t i = 0; i < n; i++)
		add_arg(w, paths[i]);
	w->on_done = cb;
	return work_start(fs, w, false, 0, data);
}

int sandboxfs_owner_of(int ns)
{
	int fd = ioctl(ns, NS_GET_USERNS);
	return fd < 0 ? -errno : fd;
}

/* -- names -- */

const char *sandboxfs_work_path(const struct sandboxfs *fs)
{
	return fs->work;
}

const char *sandboxfs_mnt_dir(const struct sandboxfs *fs)
{
	return fs->mnt_dir;
}

const char *sandboxfs_pin_path(const struct sandboxfs *fs, struct pool *p, const char *id)
{
	return pool_printf(p, "%s/%s%s", fs->netns_dir, fs->prefix, id);
}

int sandboxfs_pins(struct sandboxfs *fs, struct pool *p, const char *const **ids, struct err *e)
{
	size_t n = 0, cap = 64, prefix = strlen(fs->prefix);
	const char **list = pool_alloc(p, cap * sizeof(*list));
	*ids = list;
	auto_closedir DIR *d = opendir(fs->netns_dir);
	if (!d)
		return errno == ENOENT ? 0 : err_sys(e, "open %s", fs->netns_dir);
	struct dirent *ent;
	while ((ent = readdir(d)) && n < PINS_MAX) {
		if (strncmp(ent->d_name, fs->prefix, prefix) || !ent->d_name[prefix])
			continue;
		if (n + 1 == cap) {
			const char **more = pool_alloc(p, 2 * cap * sizeof(*more));
			memcpy(more, list, n * sizeof(*more));
			list = more;
			cap *= 2;
		}
		list[n++] = pool_strdup(p, ent->d_name + prefix);
	}
	*ids = list;
	return 0;
}

struct sandboxfs *sandboxfs_new(struct loop *l, struct pool *p, struct spawner *s,
				const char *libexec_dir, const char *state_dir,
				const char *netns_dir, const char *netns_prefix)
{
	struct sandboxfs *fs = pool_new_struct(p, struct sandboxfs);
	fs->spawner = s;
	fs->work = pool_printf(p, "%s/crisp-work", libexec_dir);
	fs->state_dir = state_dir;
	fs->mnt_dir = pool_printf(p, "%s/mnt", state_dir);
	fs->netns_dir = netns_dir;
	fs->prefix = netns_prefix;
	files_look();
	return fs;
}

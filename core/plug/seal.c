/* Sealed programs: see the header. */
#include "core/plug/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/map.h"
#include "core/base/pool.h"
#include "core/loop/loop.h"
#include "core/spawn/spawn.h"

enum { SEAL_TIMEOUT_MS = 10000 };

enum seal_state { SEAL_STATE_NONE, SEAL_STATE_COPYING, SEAL_STATE_DONE, SEAL_STATE_SCRIPT };

/* One program.  Lives as long as the seals: an operator names few. */
struct seal {
	struct map_node node;
	struct seals *seals;
	const char *path;
	enum seal_state state;
	struct stat st;		/* of the file that was copied */
	int fd;
	struct list waits;
	struct loop_defer tell;
	struct err err;
};

struct seals {
	struct pool_res res;
	struct loop *loop;
	struct pool *pool;
	struct spawner *spawner;
	const char *helper;
	struct map by_path;
};

struct seal_wait {
	struct pool_res res;
	struct list link;
	seal_cb *cb;
	void *data;
};

static void tell(struct seal *s)
{
	struct err e = s->err;
	struct list waits;
	struct list *at;
	err_clear(&s->err);
	/* Who asks again from within a callback waits for the next round. */
	list_init(&waits);
	while (!list_empty(&s->waits))
		list_append(&waits, list_pop(&s->waits));
	while ((at = list_pop(&waits))) {
		struct seal_wait *w = container_of(at, struct seal_wait, link);
		pool_res_drop(&w->res);
		w->cb(w->data, s->state == SEAL_STATE_DONE ? s->fd : -1, &e);
	}
}

static void handle_tell(struct loop_defer *d)
{
	tell(d->data);
}

static void handle_copied(void *data, struct spawn_result *r)
{
	struct seal *s = data;
	if (r->ran && WIFEXITED(r->wait_status) && WEXITSTATUS(r->wait_status) == SEAL_EXIT_NO_ELF)
		s->state = SEAL_STATE_SCRIPT;
	else if (spawn_check(r, s->path, &s->err) < 0)
		s->state = SEAL_STATE_NONE;
	else
		s->state = SEAL_STATE_DONE;
	tell(s);
}

static void copy(struct seal *s)
{
	const char *const argv[] = { "crisp-plug", "seal", s->path, NULL };
	if (s->fd >= 0)
		close(s->fd);
	s->fd = memfd_create(strrchr(s->path, '/') + 1, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (s->fd < 0) {
		err_sys(&s->err, "memfd for %s", s->path);
		loop_defer(s->seals->loop, &s->tell, handle_tell, s);
		return;
	}
	s->state = SEAL_STATE_COPYING;
	struct spawn_plan plan = SPAWN_PLAN_INIT;
	plan.path = s->seals->helper;
	plan.argv = argv;
	plan.fds = &(struct spawn_fd){ s->fd, SEAL_FD };
	plan.n_fds = 1;
	plan.err_max = 500;
	plan.timeout_ms = SEAL_TIMEOUT_MS;
	spawn_start(s->seals->spawner, s->seals->pool, &plan, handle_copied, s);
}

/* Bring s up to date with its file, as far as that goes at once. */
static int refresh(struct seal *s)
{
	struct stat st;
	if (s->state == SEAL_STATE_COPYING)
		return -EAGAIN;
	if (stat(s->path, &st) < 0) {
		s->state = SEAL_STATE_NONE;
		return err_sys(&s->err, "%s", s->path);
	}
	if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111)) {
		s->state = SEAL_STATE_NONE;
		return err_set(&s->err, EACCES, "%s is no program", s->path);
	}
	bool same = s->st.st_dev == st.st_dev && s->st.st_ino == st.st_ino &&
		    s->st.st_size == st.st_size && s->st.st_mtim.tv_sec == st.st_mtim.tv_sec &&
		    s->st.st_mtim.tv_nsec == st.st_mtim.tv_nsec;
	if (same && s->state == SEAL_STATE_DONE)
		return s->fd;
	if (same && s->state == SEAL_STATE_SCRIPT)
		return -ENOEXEC;
	s->st = st;
	copy(s);
	return -EAGAIN;
}

static struct seal *seal_of(struct seals *ss, const char *path)
{
	struct map_node *n = map_get(&ss->by_path, path);
	if (n)
		return container_of(n, struct seal, node);
	struct seal *s = pool_new_struct(ss->pool, struct seal);
	s->seals = ss;
	s->path = pool_strdup(ss->pool, path);
	s->fd = -1;
	list_init(&s->waits);
	map_put(&ss->by_path, &s->node, s->path);
	return s;
}

static void release_wait(struct pool_res *r)
{
	list_del(&container_of(r, struct seal_wait, res)->link);
}

void seal_get(struct seals *ss, struct pool *p, const char *path, seal_cb *cb, void *data)
{
	struct seal *s = seal_of(ss, path);
	struct seal_wait *w = pool_new_struct(p, struct seal_wait);
	w->cb = cb;
	w->data = data;
	list_append(&s->waits, &w->link);
	pool_res_add(p, &w->res, release_wait);
	if (refresh(s) != -EAGAIN)
		loop_defer(ss->loop, &s->tell, handle_tell, s);
}

int seal_now(struct seals *ss, const char *path)
{
	struct seal *s = seal_of(ss, path);
	int ret = refresh(s);
	if (list_empty(&s->waits))
		err_clear(&s->err);
	return ret;
}

static void release_seals(struct pool_res *r)
{
	struct seals *ss = container_of(r, struct seals, res);
	for (size_t i = 0; i < ss->by_path.cap; i++)
		for (struct map_node *n = ss->by_path.buckets[i]; n; n = n->next) {
			struct seal *s = container_of(n, struct seal, node);
			loop_defer_cancel(&s->tell);
			if (s->fd >= 0)
				close(s->fd);
		}
	map_free(&ss->by_path);
}

struct seals *seals_new(struct loop *l, struct pool *p, struct spawner *s, const char *libexec_dir)
{
	struct seals *ss = pool_new_struct(p, struct seals);
	ss->loop = l;
	ss->pool = p;
	ss->spawner = s;
	ss->helper = pool_printf(p, "%s/crisp-plug", libexec_dir);
	pool_res_add(p, &ss->res, release_seals);
	return ss;
}

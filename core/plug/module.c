/* Loading a plugin: see the header. */
#include "core/plug/module.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/pool.h"
#include "core/plug/dso.h"
#include "core/spawn/spawn.h"

/* Milliseconds on a quiet node.  On one where everything begins at once, as after a reboot, a program may wait
 * for its turn that long; what hangs holds up the start for so long and no longer. */
enum { CHECK_TIMEOUT_MS = 30000, NAME_LEN_MAX = 64 };

struct loading {
	struct pool *pool;
	const char *path;
	struct module_kind kind;
	module_cb *cb;
	void *data;
};

int module_name_check(const char *name, struct err *e)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-");
	if (!n || name[n] || n > NAME_LEN_MAX)
		return err_set(e, EINVAL, "\"%.100s\" is no name of a plugin: [a-z0-9_-]{1,%d}",
			       name, NAME_LEN_MAX);
	return 0;
}

static void handle_checked(void *data, struct spawn_result *r)
{
	struct loading *l = data;
	struct err e = { 0 };
	const void *desc = NULL;
	if (spawn_check(r, "trial load", &e) == 0)
		dso_open(l->path, &l->kind, &desc, &e);
	l->cb(l->data, desc, &e);
}

void module_load(struct spawner *s, struct pool *p, const char *libexec_dir, const char *dir,
		 const char *name, const struct module_kind *kind, uint64_t timeout_ms,
		 module_cb *cb, void *data)
{
	struct loading *l = pool_new_struct(p, struct loading);
	*l = (struct loading){ .pool = p, .kind = *kind, .cb = cb, .data = data };
	l->path = pool_printf(p, "%s/%s.so", dir, name);
	struct spawn_plan plan = SPAWN_PLAN_INIT;
	plan.path = pool_printf(p, "%s/crisp-plug", libexec_dir);
	plan.argv = (const char *const[]){
		"crisp-plug", "check", l->path, kind->symbol, pool_printf(p, "%u", kind->magic),
		pool_printf(p, "%u", kind->major), pool_printf(p, "%zu", kind->min_size), NULL,
	};
	plan.err_max = 1000;
	plan.timeout_ms = timeout_ms ? timeout_ms : CHECK_TIMEOUT_MS;
	spawn_start(s, p, &plan, handle_checked, l);
}

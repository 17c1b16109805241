/*
 * The configuration in force: what SIGHUP changes of it (handlers and the log's level), and how it
 * outlives a core that dies.
 */
#include "core/main/reload.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/config/config.h"
#include "core/keep/keep.h"
#include "core/plug/plug.h"

/* -- kept -- */

#define KEY "config"

void config_keep(struct keep *k, struct pool *p, const struct config *c)
{
	struct pool *tmp = pool_new(NULL, "config text");
	struct json_out *o = json_out(tmp);
	struct err e = { 0 };
	size_t len;
	config_json(c, o);
	const char *text = json_text(o, &len);
	int fd = memfd_create("crisp-config", MFD_CLOEXEC);
	int ret = fd < 0 ? err_sys(&e, "memfd") : file_write_all(fd, text, len);
	if (fd >= 0)
		pool_fd(p, fd);
	if (ret == 0)
		keep_put(k, KEY, fd);
	else
		log_warn("the configuration is not kept for another core", "error", strerror(-ret));
	pool_destroy(tmp);
}

void config_drop(struct keep *k)
{
	keep_drop(k, KEY);
}

const struct config *config_kept(struct keep *k, struct pool *p, const char *exe_dir, struct err *e)
{
	struct config *c = NULL;
	int fd = keep_take(k, KEY);
	if (fd < 0)
		return NULL;
	pool_fd(p, fd);
	config_load(p, pool_printf(p, "/proc/self/fd/%d", fd), NULL, 0, exe_dir, &c, e);
	return c;
}

/* -- another one -- */

void handlers_apply(struct plug *pl, const struct config *c)
{
	struct plug_handler *h;
	for (size_t i = 0; i < c->n_handlers; i++) {
		const struct config_handler *want = &c->handlers[i];
		h = plug_handler_add(pl, want->name, want->engine, want->options_json);
		plug_handler_limit(h, want->max_parallel);
	}
	for (size_t i = 0; (h = plug_handler_at(pl, i)); i++)
		if (!h->old && !config_handler(c, h->name))
			plug_handler_drop(h);
	plug_handler_default(pl, c->engine_default);
}

static bool same_text(const char *a, const char *b)
{
	return !strcmp(a ? a : "", b ? b : "");
}

static bool same_handler(struct pool *p, const struct config_handler *a, const struct config_handler *b)
{
	return same_text(a->engine, b->engine) && same_text(a->options_json, b->options_json) &&
	       same_text(a->fallback, b->fallback) && a->max_parallel == b->max_parallel &&
	       !strcmp(config_policy_json(p, &a->policy), config_policy_json(p, &b->policy));
}

enum what { ADDED, REMOVED, CHANGED };

/* The names of the handlers to which that has happened; NULL: none. */
static const char *names(struct pool *p, const struct config *was, const struct config *now, enum what what)
{
	const struct config *all = what == REMOVED ? was : now, *other = what == REMOVED ? now : was;
	struct buf out = { 0 };
	for (size_t i = 0; i < all->n_handlers; i++) {
		const struct config_handler *h = &all->handlers[i], *o = config_handler(other, h->name);
		if (what == CHANGED ? o && !same_handler(p, h, o) : !o)
			buf_printf(&out, "%s%s", out.len ? ", " : "", h->name);
	}
	const char *text = out.len ? pool_strndup(p, out.data, out.len) : NULL;
	buf_free(&out);
	return text;
}

const struct config *config_reloaded(struct pool *p, const struct config *was, const struct config *fresh)
{
	const char *fixed = config_fixed_changes(p, was, fresh);
	struct config *now = pool_memdup(p, was, sizeof(*was));
	now->log_level = fresh->log_level;
	now->engine_default = fresh->engine_default;
	now->handlers = fresh->handlers;
	now->n_handlers = fresh->n_handlers;
	log_info("log level and handlers reloaded", "added", names(p, was, now, ADDED), "removed",
		 names(p, was, now, REMOVED), "changed", names(p, was, now, CHANGED), "default",
		 same_text(was->engine_default, now->engine_default) ? NULL : now->engine_default);
	if (*fixed)
		log_warn("what else has changed is read at the next start alone", "keys", fixed);
	return now;
}

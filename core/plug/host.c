/* The services of an instance but for programs (job.c): see struct crisp_host. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/keep/keep.h"
#include "core/plug/inner.h"
#include "core/plug/seal.h"

enum { SLOW_MS = 10, ID_MAX = 255, KEY_MAX = 100 };

static struct host *host_of(const struct crisp_host *abi)
{
	return (struct host *)(uintptr_t)abi;	/* its first member, and never constant for us */
}

static struct loop *loop_of(struct host *host)
{
	return host->handler->plug->loop;
}

bool id_ok(const char *id)
{
	size_t n =
		id ? strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
		   : 0;
	return n && !id[n] && n <= ID_MAX && id[0] != '.';
}

/* -- for whom the plugin works, and for how long -- */

struct host_span host_enter(struct host *host, struct plug_call *c)
{
	struct host_span s = { host, host->current, clock_mono_ns() };
	host->current = c;
	return s;
}

void host_leave(struct host_span *s, const char *what)
{
	s->host->current = s->was;
	int64_t ms = (clock_mono_ns() - s->began_ns) / 1000000;
	if (ms > SLOW_MS)
		log_warn("an engine held up the loop", "engine", s->host->handler->pub.engine,
			 "handler", s->host->handler->pub.name, "in", what, "ms", log_num(ms));
}

void bond_init(struct bond *b, struct plug_call *c)
{
	list_init(&b->link);
	b->call = c;
	if (c)
		list_append(call_bonds(c), &b->link);
}

void bond_del(struct bond *b)
{
	list_del(&b->link);
	b->call = NULL;
}

/* -- events: told at the end of the pass, in the order of all that the plugin says -- */

enum event_kind { EVENT_EXITED, EVENT_OOM, EVENT_SANDBOX_GONE };

struct event {
	struct pool *pool;
	struct plug *plug;
	struct loop_defer tell;
	struct pool_res res;
	enum event_kind kind;
	const char *id, *text;		/* text: exec id or reason */
	int wait_status;
	int64_t at_ns;
};

static void handle_tell(struct loop_defer *d)
{
	struct event *ev = d->data;
	const struct plug_events *to = ev->plug->events;
	void *data = ev->plug->data;
	if (ev->kind == EVENT_EXITED && to->exited)
		to->exited(data, ev->id, ev->text, ev->wait_status, ev->at_ns);
	else if (ev->kind == EVENT_OOM && to->oom)
		to->oom(data, ev->id);
	else if (ev->kind == EVENT_SANDBOX_GONE && to->sandbox_gone)
		to->sandbox_gone(data, ev->id, ev->text ? ev->text : "");
	pool_destroy(ev->pool);
}

static void release_event(struct pool_res *r)
{
	loop_defer_cancel(&container_of(r, struct event, res)->tell);
}

static struct event *event_new(const struct crisp_host *abi, enum event_kind kind, const char *id,
			       const char *text)
{
	struct host *host = host_of(abi);
	if (!id_ok(id) || (kind == EVENT_EXITED && text && !id_ok(text))) {
		log_warn("an engine names a container in an impossible way", "handler",
			 host->handler->pub.name);
		return NULL;
	}
	struct pool *p = pool_new(host->pool, "engine event");
	struct event *ev = pool_new_struct(p, struct event);
	ev->pool = p;
	ev->plug = host->handler->plug;
	ev->kind = kind;
	ev->id = pool_strdup(p, id);
	ev->text = pool_strdup(p, text);
	pool_res_add(p, &ev->res, release_event);
	loop_defer(ev->plug->loop, &ev->tell, handle_tell, ev);
	return ev;
}

static void host_exited(const struct crisp_host *abi, const char *id, const char *exec_id,
			int32_t wait_status, int64_t at_ns)
{
	struct event *ev = event_new(abi, EVENT_EXITED, id, exec_id && *exec_id ? exec_id : NULL);
	if (ev) {
		ev->wait_status = wait_status;
		ev->at_ns = at_ns ? at_ns : clock_real_ns();
	}
}

static void host_oom(const struct crisp_host *abi, const char *id)
{
	event_new(abi, EVENT_OOM, id, NULL);
}

static void host_sandbox_gone(const struct crisp_host *abi, const char *id, const char *reason)
{
	event_new(abi, EVENT_SANDBOX_GONE, id, reason);
}

/* -- log, clock -- */

static void host_log(const struct crisp_host *abi, uint32_t level, const char *msg,
		     const char *const *kv)
{
	const struct plug_handler *h = &host_of(abi)->handler->pub;
	const char *at[8] = { 0 };
	/* Four pairs at most; a key without a value is dropped. */
	for (size_t i = 0; kv && i + 1 < 8 && kv[i] && kv[i + 1]; i += 2) {
		at[i] = kv[i];
		at[i + 1] = kv[i + 1];
	}
	log_write(level <= CRISP_LOG_ERROR ? (enum log_level)level : LOG_LEVEL_ERROR,
		  msg ? msg : "", "handler", h->name, at[0], at[1], at[2], at[3], at[4], at[5],
		  at[6], at[7], (char *)0);
}

static int64_t host_now_ns(const struct crisp_host *abi)
{
	return clock_mono_ns();
}

/* -- watches and timers -- */

struct crisp_watch {
	struct pool *pool;
	struct host *host;
	struct loop_io io;
	void (*cb)(void *data, uint32_t events);
	void *data;
};

static void handle_watch(struct loop_io *io, int events)
{
	struct crisp_watch *w = io->data;
	struct host_span span = host_enter(w->host, NULL);
	w->cb(w->data, (events & LOOP_READ ? CRISP_IO_READ : 0) |
			       (events & LOOP_WRITE ? CRISP_IO_WRITE : 0));
	host_leave(&span, "a watched file descriptor");
}

static int loop_events(uint32_t events)
{
	return (events & CRISP_IO_READ ? LOOP_READ : 0) |
	       (events & CRISP_IO_WRITE ? LOOP_WRITE : 0);
}

static struct crisp_watch *host_watch_fd(const struct crisp_host *abi, int32_t fd, uint32_t events,
					 void (*cb)(void *data, uint32_t events), void *data)
{
	struct host *host = host_of(abi);
	struct pool *p = pool_new(host->pool, "engine watch");
	struct crisp_watch *w = pool_new_struct(p, struct crisp_watch);
	w->pool = p;
	w->host = host;
	w->cb = cb;
	w->data = data;
	loop_io_start(&w->io, loop_of(host), p, fd, loop_events(events), handle_watch, w);
	return w;
}

static void host_watch_set(struct crisp_watch *w, uint32_t events)
{
	loop_io_set(&w->io, loop_events(events));
}

static void host_unwatch(struct crisp_watch *w)
{
	if (w)
		pool_destroy(w->pool);	/* nothing looks at it after its callback */
}

struct crisp_timer {
	struct bond bond;
	struct pool *pool;
	struct pool_res res;
	struct host *host;
	struct loop_timer timer;
	struct loop_defer defer;
	void (*cb)(void *data);
	void *data;
};

static void release_timer(struct pool_res *r)
{
	struct crisp_timer *t = container_of(r, struct crisp_timer, res);
	loop_timer_stop(&t->timer);
	loop_defer_cancel(&t->defer);
	bond_del(&t->bond);
}

static void timer_fire(struct crisp_timer *t)
{
	struct host_span span = host_enter(t->host, t->bond.call);
	void (*cb)(void *data) = t->cb;
	void *data = t->data;
	pool_destroy(t->pool);	/* first: what runs may be the last of its call */
	cb(data);
	host_leave(&span, "a timer");
}

static void handle_timer(struct loop_timer *lt)
{
	timer_fire(lt->data);
}

static void handle_defer(struct loop_defer *d)
{
	timer_fire(d->data);
}

static struct crisp_timer *timer_new(const struct crisp_host *abi, void (*cb)(void *data),
				     void *data)
{
	struct host *host = host_of(abi);
	struct pool *p = pool_new(host->pool, "engine timer");
	struct crisp_timer *t = pool_new_struct(p, struct crisp_timer);
	t->pool = p;
	t->host = host;
	t->cb = cb;
	t->data = data;
	bond_init(&t->bond, host->current);
	pool_res_add(p, &t->res, release_timer);
	return t;
}

static struct crisp_timer *host_timer(const struct crisp_host *abi, uint64_t ms,
				      void (*cb)(void *data), void *data)
{
	struct crisp_timer *t = timer_new(abi, cb, data);
	loop_timer_start(&t->timer, loop_of(t->host), t->pool, ms, 0, handle_timer, t);
	return t;
}

static struct crisp_timer *host_defer(const struct crisp_host *abi, void (*cb)(void *data),
				      void *data)
{
	struct crisp_timer *t = timer_new(abi, cb, data);
	loop_defer(loop_of(t->host), &t->defer, handle_defer, t);
	return t;
}

static void host_untimer(struct crisp_timer *t)
{
	if (t)
		pool_destroy(t->pool);
}

/* -- kept file descriptors: ours, with a copy in the keeper -- */

struct kept {
	struct map_node node;
	struct pool *pool;
	struct pool_fd *fd;
	const char *full;	/* the keeper's key */
};

static struct kept *kept_new(struct host *host, const char *key, int fd)
{
	struct pool *p = pool_new(host->pool, "kept fd");
	struct kept *k = pool_new_struct(p, struct kept);
	k->pool = p;
	k->fd = pool_fd(p, fd);
	k->full = pool_printf(p, "engine/%s/%s", host->handler->pub.name, key);
	map_put(&host->kept, &k->node, strrchr(k->full, '/') + 1);
	return k;
}

static bool key_ok(struct host *host, const char *key)
{
	return id_ok(key) && strlen(key) <= KEY_MAX &&
	       strlen(key) + strlen(host->handler->pub.name) + 8 <= KEEP_KEY_MAX;
}

static struct kept *kept_get(struct host *host, const char *key)
{
	struct map_node *n = map_get(&host->kept, key);
	return n ? container_of(n, struct kept, node) : NULL;
}

static int host_drop_fd(const struct crisp_host *abi, const char *key)
{
	struct host *host = host_of(abi);
	struct kept *k = kept_get(host, key);
	if (!k)
		return -ENOENT;
	if (host->handler->plug->keep)
		keep_drop(host->handler->plug->keep, k->full);
	map_del(&host->kept, &k->node);
	pool_destroy(k->pool);
	return 0;
}

static int host_keep_fd(const struct crisp_host *abi, const char *key, int32_t fd)
{
	struct host *host = host_of(abi);
	if (!key_ok(host, key))
		return -EINVAL;
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (copy < 0)
		return -errno;
	host_drop_fd(abi, key);
	struct kept *k = kept_new(host, key, copy);
	if (host->handler->plug->keep)
		keep_put(host->handler->plug->keep, k->full, copy);
	return 0;
}

static int host_kept_fd(const struct crisp_host *abi, const char *key)
{
	struct kept *k = kept_get(host_of(abi), key);
	if (!k)
		return -ENOENT;
	int fd = fcntl(k->fd->fd, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? -errno : fd;
}

/* What an earlier core's instance has left with the keeper. */
static void take_kept(struct host *host)
{
	struct keep *keep = host->handler->plug->keep;
	char prefix[KEEP_KEY_MAX + 1];
	snprintf(prefix, sizeof(prefix), "engine/%s/", host->handler->pub.name);
	const char *key;
	for (size_t i = 0; keep && (key = keep_unclaimed(keep, i));) {
		if (strncmp(key, prefix, strlen(prefix))) {
			i++;
			continue;
		}
		char name[KEEP_KEY_MAX + 1], full[KEEP_KEY_MAX + 1];
		snprintf(full, sizeof(full), "%s", key);
		snprintf(name, sizeof(name), "%s", key + strlen(prefix));
		int fd = keep_take(keep, full);
		if (fd >= 0)
			kept_new(host, name, fd);
		else
			i++;
	}
}

static int host_seal_exe(const struct crisp_host *abi, const char *path)
{
	return path && path[0] == '/' ? seal_now(host_of(abi)->handler->plug->seals, path)
				      : -EINVAL;
}

/* -- blobs on disk: one small file an id -- */

static const char *state_path(struct handler *h, const char *id, char path[4096])
{
	int n = snprintf(path, 4096, "%s/blob-%s", h->host.abi.state_dir, id);
	return n > 0 && n < 4096 ? path : NULL;
}

int state_put(struct handler *h, const char *id, const void *data, size_t len)
{
	char buf[4096];
	const char *path = id_ok(id) ? state_path(h, id, buf) : NULL;
	struct err e = { 0 };
	if (!path || len > CRISP_STATE_MAX)
		return -EINVAL;
	if (!len)
		return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
	int ret = file_replace(AT_FDCWD, path, data, len, 0600, &e);
	if (ret < 0)
		log_warn("an engine's state can't be kept", "handler", h->pub.name, "id", id, "err",
			 e.msg);
	return ret;
}

uint32_t state_load(struct handler *h, struct pool *p, const char *id, const void **data)
{
	char path[4096];
	struct buf text = { 0 };
	uint32_t len = 0;
	*data = NULL;
	if (id_ok(id) && state_path(h, id, path) &&
	    file_read(AT_FDCWD, path, CRISP_STATE_MAX, &text, NULL) == 0 && text.len) {
		*data = pool_memdup(p, text.data, text.len);
		len = (uint32_t)text.len;
	}
	buf_free(&text);
	return len;
}

static int host_state_put(const struct crisp_host *abi, const char *id, const void *data,
			  uint32_t len)
{
	return state_put(host_of(abi)->handler, id, data, len);
}

static int host_state_get(const struct crisp_host *abi, const char *id, void *to, uint32_t cap)
{
	struct pool *p = pool_new(NULL, "engine state");
	const void *data;
	uint32_t len = state_load(host_of(abi)->handler, p, id, &data);
	int ret = !data ? -ENOENT : len > cap ? -ERANGE : (int)len;
	if (ret > 0)
		memcpy(to, data, len);
	pool_destroy(p);
	return ret;
}

static const void *host_iface(const struct crisp_host *abi, const char *name)
{
	return NULL;	/* this host has no further services */
}

/* -- after close() -- */

/* A plugin that still calls has kept the pointer of an instance that is no more. */
static void late(const struct crisp_host *abi, const char *what)
{
	const struct plug_handler *h = &host_of(abi)->handler->pub;
	log_warn("an engine called the host after its close", "engine", h->engine, "handler", h->name, "service",
		 what);
}

static void late_exited(const struct crisp_host *abi, const char *id, const char *exec_id, int32_t wait_status,
			int64_t at_ns)
{
	late(abi, "exited");
}

static void late_oom(const struct crisp_host *abi, const char *id)
{
	late(abi, "oom");
}

static void late_gone(const struct crisp_host *abi, const char *id, const char *reason)
{
	late(abi, "sandbox_gone");
}

static struct crisp_job *late_spawn(const struct crisp_host *abi, const struct crisp_spawn_plan *plan,
				    crisp_spawn_cb *cb, void *data)
{
	late(abi, "spawn");
	return NULL;
}

static struct crisp_watch *late_watch(const struct crisp_host *abi, int32_t fd, uint32_t events,
				      void (*cb)(void *data, uint32_t events), void *data)
{
	late(abi, "watch_fd");
	return NULL;
}

static struct crisp_timer *late_timer(const struct crisp_host *abi, uint64_t ms, void (*cb)(void *data), void *data)
{
	late(abi, "timer");
	return NULL;
}

static struct crisp_timer *late_defer(const struct crisp_host *abi, void (*cb)(void *data), void *data)
{
	late(abi, "defer");
	return NULL;
}

static int late_keep(const struct crisp_host *abi, const char *key, int32_t fd)
{
	late(abi, "keep_fd");
	return -ENOENT;
}

static int late_key(const struct crisp_host *abi, const char *key)
{
	late(abi, "kept_fd or drop_fd");
	return -ENOENT;
}

void host_shut(struct host *host)
{
	struct crisp_host *abi = &host->abi;
	pool_destroy(host->pool);
	host->pool = NULL;
	map_free(&host->kept);
	abi->exited = late_exited;
	abi->oom = late_oom;
	abi->sandbox_gone = late_gone;
	abi->spawn = late_spawn;
	abi->watch_fd = late_watch;
	abi->timer = late_timer;
	abi->defer = late_defer;
	abi->keep_fd = late_keep;
	abi->kept_fd = abi->drop_fd = late_key;
}

void host_init(struct host *host, struct handler *h)
{
	struct plug *pl = h->plug;
	host->handler = h;
	host->pool = pool_new(pl->pool, "engine instance");
	list_init(&host->jobs);
	host->abi = (struct crisp_host){
		.size = sizeof(host->abi),
		.major = CRISP_ENGINE_MAJOR,
		.minor = CRISP_ENGINE_MINOR,
		.features = CRISP_HOST_SPAWN | CRISP_HOST_ROOTFS | CRISP_HOST_SPAWN_NS | (pl->keep ? CRISP_HOST_KEEP : 0),
		.handler = h->pub.name,
		.state_dir = pool_printf(pl->pool, "%s/engines/%s", pl->opt.state_dir, h->pub.name),
		.done = call_done,
		.exited = host_exited,
		.oom = host_oom,
		.sandbox_gone = host_sandbox_gone,
		.log = host_log,
		.now_ns = host_now_ns,
		.spawn = job_spawn,
		.job_kill = job_kill,
		.watch_fd = host_watch_fd,
		.watch_set = host_watch_set,
		.unwatch = host_unwatch,
		.timer = host_timer,
		.defer = host_defer,
		.untimer = host_untimer,
		.keep_fd = host_keep_fd,
		.kept_fd = host_kept_fd,
		.drop_fd = host_drop_fd,
		.seal_exe = host_seal_exe,
		.state_put = host_state_put,
		.state_get = host_state_get,
		.iface = host_iface,
	};
	take_kept(host);
}

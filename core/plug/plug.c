/* The set of engines and their handlers, see the header. */
#include "core/plug/plug.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/plug/inner.h"
#include "core/plug/module.h"
#include "core/plug/seal.h"

enum { TIMEOUT_MS = 120000, PROBE_TIMEOUT_MS = 20000, PROBE_AGAIN_MS = 5000, HANDLER_NAME_MAX = 63 };

static const char *const state_names[] = {
	[PLUG_STATE_LOADING] = "loading", [PLUG_STATE_READY] = "ready",
	[PLUG_STATE_UNREADY] = "unready", [PLUG_STATE_FAILED] = "failed",
};

static const char *const no_prefixes[] = { NULL };

struct settle_wait {
	struct list link;
	void (*cb)(void *data);
	void *data;
};

static struct handler *inner(struct plug_handler *h)
{
	return container_of(h, struct handler, pub);
}

/* -- settling -- */

static bool settled(struct plug *pl)
{
	struct handler *h;
	list_for_each(h, &pl->handlers, link)
		if (h->pub.state == PLUG_STATE_LOADING)
			return false;
	return true;
}

static void handle_settle(struct loop_defer *d)
{
	struct plug *pl = d->data;
	struct list *at;
	while (settled(pl) && (at = list_pop(&pl->settle_waits))) {
		struct settle_wait *w = container_of(at, struct settle_wait, link);
		w->cb(w->data);
	}
}

void plug_when_settled(struct plug *pl, void (*cb)(void *data), void *data)
{
	struct settle_wait *w = pool_new_struct(pl->pool, struct settle_wait);
	w->cb = cb;
	w->data = data;
	list_append(&pl->settle_waits, &w->link);
	loop_defer(pl->loop, &pl->settle, handle_settle, pl);
}

/* -- looks -- */

struct look {
	struct pool_res res;
	struct list link;		/* in handler->looks, until it is told */
	struct loop_defer tell;
	void (*cb)(void *data);
	void *data;
};

static void release_look(struct pool_res *r)
{
	struct look *l = container_of(r, struct look, res);
	list_del(&l->link);
	loop_defer_cancel(&l->tell);
}

static void handle_looked(struct loop_defer *d)
{
	struct look *l = d->data;
	l->cb(l->data);
}

/* At the end of the pass: a state may be set from within a call of theirs. */
static void tell_looks(struct handler *h)
{
	struct list *at;
	if (h->probe || h->pub.state == PLUG_STATE_LOADING)
		return;
	while ((at = list_pop(&h->looks))) {
		struct look *l = container_of(at, struct look, link);
		loop_defer(h->plug->loop, &l->tell, handle_looked, l);
	}
}

/* -- states of a handler -- */

static void set_state(struct handler *h, enum plug_state state, const char *reason)
{
	struct plug_handler *pub = &h->pub;
	bool same = pub->state == state && !strcmp(pub->reason, reason);
	if (same)
		return;
	pub->state = state;
	pub->ready = state == PLUG_STATE_READY;
	pub->reason = *reason ? pool_strdup(h->plug->pool, reason) : "";
	if (state == PLUG_STATE_LOADING)
		log_debug("engine is being loaded", "handler", pub->name, "engine", pub->engine);
	else if (pub->ready)
		log_info("engine ready", "handler", pub->name, "engine", pub->engine, "version",
			 *pub->version ? pub->version : NULL);
	else
		log_warn("engine not ready", "handler", pub->name, "engine", pub->engine, "state",
			 state_names[state], "reason", pub->reason);
	if (h->plug->events && h->plug->events->handler)
		h->plug->events->handler(h->plug->data, pub->name);
	loop_defer(h->plug->loop, &h->plug->settle, handle_settle, h->plug);
	tell_looks(h);
	handler_run_queue(h);
}

static void set_caps(struct handler *h, uint64_t caps)
{
	h->pub.caps = caps;
	h->pub.rro = caps & CRISP_CAP_RRO_MOUNTS;
	h->pub.userns &= !!(caps & CRISP_CAP_USERNS);
	if (!h->pub.userns)
		h->pub.no_userns = caps & CRISP_CAP_USERNS ? "not known yet" : "its engine has none";
}

static void take_probe(struct handler *h, int ret, const struct crisp_result *r, const struct err *e)
{
	if (ret < 0) {
		set_state(h, PLUG_STATE_UNREADY, e->msg);
		return;
	}
	if (r->caps)
		set_caps(h, r->caps & h->module->engine->caps);
	if (r->version && strcmp(r->version, h->pub.version))
		h->pub.version = pool_strdup(h->plug->pool, r->version);
	set_state(h, PLUG_STATE_READY, "");
}

static void handle_probed(void *data, int ret, const struct crisp_result *r, const struct err *e)
{
	struct handler *h = data;
	h->probe = NULL;
	h->probed_ns = clock_mono_ns();
	take_probe(h, ret, r, e);
	tell_looks(h);	/* the state may be as before */
}

bool plug_handler_userns_due(struct plug_handler *pub)
{
	if (!pub->ready || pub->userns || pub->userns_asked || !plug_can(pub, CRISP_CAP_USERNS))
		return false;
	pub->userns_asked = true;
	return true;
}

void plug_handler_userns(struct plug_handler *pub, bool works, const char *why_not)
{
	pub->userns_asked = false;
	pub->userns = works;
	pub->no_userns = works ? "" : pool_strdup(inner(pub)->plug->pool, why_not);
}

void plug_handler_probe(struct plug_handler *pub)
{
	struct handler *h = inner(pub);
	if (h->probe || !h->inst || !plug_has(pub, PLUG_OP_PROBE))
		return;
	h->probe = call_start(h, PLUG_OP_PROBE, &(struct crisp_args){ 0 }, NULL, PROBE_TIMEOUT_MS,
			      true, handle_probed, h);
}

void handler_suspect(struct handler *h)
{
	h->failures = 0;
	if (h->pub.state == PLUG_STATE_READY)
		plug_handler_probe(&h->pub);
}

/* -- opening -- */

static int check_engine(const struct crisp_engine *en, const struct crisp_host *host, struct err *e)
{
	const struct crisp_ops *o = en->ops;
	if (!o || !CRISP_CAN(o, open) || !CRISP_CAN(o, close) || !CRISP_CAN(o, create) ||
	    !CRISP_CAN(o, start) || !CRISP_CAN(o, del))
		return err_set(e, EINVAL, "it lacks one of open, close, create, start, del");
	if (en->requires & ~host->features)
		return err_set(e, ENOSYS, "it requires host features 0x%llx, there are 0x%llx",
			       (unsigned long long)en->requires,
			       (unsigned long long)host->features);
	if ((en->caps & CRISP_CAP_SANDBOX_OWN) &&
	    (!CRISP_CAN(o, sandbox_create) || !CRISP_CAN(o, sandbox_delete)))
		return err_set(e, EINVAL,
			       "it has sandboxes of its own, but no way to create or delete them");
	return 0;
}

static int open_instance(struct handler *h, struct err *e)
{
	const struct crisp_engine *en = h->module->engine;
	char msg[300] = "";
	int ret = check_engine(en, &h->host.abi, e);
	if (ret < 0)
		return ret;
	ret = file_mkdirs(h->host.abi.state_dir, 0700, e);
	if (ret < 0)
		return ret;
	struct host_span span = host_enter(&h->host, NULL);
	ret = en->ops->open(&h->host.abi, h->pub.options, &h->inst, msg, sizeof(msg));
	host_leave(&span, "open");
	msg[sizeof(msg) - 1] = 0;
	if (ret < 0 || !h->inst) {
		h->inst = NULL;
		return err_set(e, ret < 0 ? -ret : EINVAL, "%s",
			       *msg ? msg : strerror(ret < 0 ? -ret : EINVAL));
	}
	return 0;
}

static void open_handler(struct handler *h)
{
	struct module *m = h->module;
	struct err e = { 0 };
	if (m->err.code) {
		set_state(h, PLUG_STATE_FAILED, err_text(&m->err));
		return;
	}
	set_caps(h, m->engine->caps);
	h->pub.plugin_version = m->engine->version ? m->engine->version : "";
	h->pub.annotation_prefixes =
		m->engine->annotation_prefixes ? m->engine->annotation_prefixes : no_prefixes;
	int ret = open_instance(h, &e);
	h->probed_ns = clock_mono_ns();
	if (err_wrap(&e, ret, "engine %s", m->name) < 0)
		set_state(h, PLUG_STATE_FAILED, err_text(&e));
	else if (plug_has(&h->pub, PLUG_OP_PROBE))
		plug_handler_probe(&h->pub);
	else
		set_state(h, PLUG_STATE_READY, "");
}

/* -- modules -- */

static const struct module_kind engine_kind = {
	.symbol = "crisp_engine_v1",
	.magic = CRISP_ENGINE_MAGIC,
	.major = CRISP_ENGINE_MAJOR,
	/* As it is in 1.0. */
	.min_size = offsetof(struct crisp_engine, options_schema_json) + sizeof(char *),
};

static void handle_loaded(void *data, const void *desc, const struct err *e)
{
	struct module *m = data;
	struct handler *h;
	m->engine = desc;
	if (!desc) {
		m->err = *e;
		err_wrap(&m->err, -e->code, "engine %s", m->name);
	}
	list_for_each(h, &m->plug->handlers, link)
		if (h->module == m)
			open_handler(h);
}

static void load_module(struct module *m)
{
	struct plug *pl = m->plug;
	module_load(pl->spawner, pl->pool, pl->opt.libexec_dir, pl->opt.engine_dir, m->name, &engine_kind,
		    pl->opt.load_ms, handle_loaded, m);
}

static struct module *module_of(struct plug *pl, const char *name)
{
	struct module *m;
	list_for_each(m, &pl->modules, link)
		if (!strcmp(m->name, name))
			return m;
	m = pool_new_struct(pl->pool, struct module);
	m->plug = pl;
	m->name = pool_strdup(pl->pool, name);
	list_append(&pl->modules, &m->link);
	load_module(m);
	return m;
}

/* -- handlers -- */

/* Its name is part of paths and of the keeper's keys. */
static int check_names(const char *name, const char *engine, const char *options, struct err *e)
{
	if (!id_ok(name) || strlen(name) > HANDLER_NAME_MAX)
		return err_set(e, EINVAL,
			       "\"%.100s\" is no name of a handler: [a-zA-Z0-9_.-]{1,%d}", name,
			       HANDLER_NAME_MAX);
	if (module_name_check(engine, e) < 0)
		return -EINVAL;
	struct pool *p = pool_new(NULL, "engine options");
	const struct json *j;
	int ret = json_parse(p, options, strlen(options), &j, e);
	if (ret == 0 && !json_is_object(j))
		ret = err_set(e, EINVAL, "options are no JSON object");
	pool_destroy(p);
	return ret;
}

static struct handler *find(struct plug *pl, const char *name)
{
	struct handler *h;
	list_for_each(h, &pl->handlers, link)
		if (!h->pub.old && !strcmp(h->pub.name, name))
			return h;
	return NULL;
}

static struct handler *find_exactly(struct plug *pl, const char *name, const char *engine,
				    const char *options)
{
	struct handler *h;
	list_for_each(h, &pl->handlers, link)
		if (!strcmp(h->pub.name, name) && !strcmp(h->pub.engine, engine) &&
		    !strcmp(h->pub.options, options))
			return h;
	return NULL;
}

static void release_handler(struct handler *h)
{
	if (h->inst) {
		struct host_span span = host_enter(&h->host, NULL);
		h->module->engine->ops->close(h->inst);
		host_leave(&span, "close");
	}
	h->inst = NULL;
	host_shut(&h->host);
}

/* -- who needs it -- */

struct hold {
	struct pool_res res;
	struct handler *handler;
};

static bool is_needed(const struct handler *h)
{
	return !h->pub.old || h->holds || !list_empty(&h->calls) || h->pub.state == PLUG_STATE_LOADING;
}

static void handle_close(struct loop_defer *d)
{
	struct handler *h = d->data;
	if (is_needed(h))
		return;
	log_info("engine closed", "handler", h->pub.name, "engine", h->pub.engine);
	list_del(&h->link);
	release_handler(h);
	h->pub.state = PLUG_STATE_FAILED;
	h->pub.ready = false;
	h->pub.reason = "it is closed: no pod had it any more";
}

void handler_less(struct handler *h)
{
	if (!is_needed(h))
		loop_defer(h->plug->loop, &h->close, handle_close, h);
}

static void release_hold(struct pool_res *r)
{
	struct handler *h = container_of(r, struct hold, res)->handler;
	h->holds--;
	handler_less(h);
}

void plug_handler_hold(struct plug_handler *pub, struct pool *p)
{
	struct hold *hold = pool_new_struct(p, struct hold);
	hold->handler = inner(pub);
	hold->handler->holds++;
	pool_res_add(p, &hold->res, release_hold);
}

/* -- making one -- */

static struct handler *make_handler(struct plug *pl, const char *name, const char *engine,
				    const char *options, bool old)
{
	struct err e = { 0 };
	struct handler *h = pool_new_struct(pl->pool, struct handler);
	h->plug = pl;
	h->pub = (struct plug_handler){
		.name = pool_strdup(pl->pool, name),
		.engine = pool_strdup(pl->pool, engine),
		.options = pool_strdup(pl->pool, options),
		.state = PLUG_STATE_LOADING,
		.reason = "it is being loaded",
		.no_userns = "it is being loaded",
		.version = "",
		.plugin_version = "",
		.annotation_prefixes = no_prefixes,
		.old = old,
	};
	list_init(&h->calls);
	list_init(&h->looks);
	host_init(&h->host, h);
	list_append(&pl->handlers, &h->link);
	if (check_names(name, engine, options, &e) < 0) {
		set_state(h, PLUG_STATE_FAILED, err_text(&e));
		return h;
	}
	h->module = module_of(pl, engine);
	if (h->module->engine || h->module->err.code)
		open_handler(h);
	return h;
}

/* What has kept it from being opened may have been mended. */
static void try_again(struct handler *h)
{
	struct module *m = h->module;
	if (h->pub.state != PLUG_STATE_FAILED || !m)
		return;
	h->probed_ns = clock_mono_ns();
	if (m->engine) {
		open_handler(h);
		return;
	}
	set_state(h, PLUG_STATE_LOADING, "it is being loaded");
	if (m->err.code) {	/* else it is on its way, for another handler */
		err_clear(&m->err);
		load_module(m);
	}
}

struct plug_handler *plug_handler_add(struct plug *pl, const char *name, const char *engine,
				      const char *options_json)
{
	const char *options = options_json && *options_json ? options_json : "{}";
	struct handler *h = find_exactly(pl, name, engine, options), *other = find(pl, name);
	if (other && other != h)
		plug_handler_drop(&other->pub);
	if (h)
		try_again(h);
	else
		h = make_handler(pl, name, engine, options, false);
	h->pub.old = false;
	return &h->pub;
}

void plug_handler_drop(struct plug_handler *h)
{
	h->old = true;
	handler_less(inner(h));
}

void plug_handler_limit(struct plug_handler *pub, unsigned max_parallel)
{
	struct handler *h = inner(pub);
	h->max_parallel = max_parallel;
	handler_run_queue(h);
}

struct plug_handler *plug_handler_recall(struct plug *pl, const char *name, const char *engine,
					 const char *options_json)
{
	const char *options = options_json && *options_json ? options_json : "{}";
	struct handler *h = find_exactly(pl, name, engine, options);
	return h ? &h->pub : &make_handler(pl, name, engine, options, true)->pub;
}

/* A file that was refused is one until it is added again; time may have been short for another. */
static bool may_open(const struct handler *h)
{
	return h->pub.state == PLUG_STATE_FAILED && h->module &&
	       (h->module->engine || h->module->err.code == ETIMEDOUT);
}

struct plug_handler *plug_handler_get(struct plug *pl, const char *name)
{
	struct handler *h = find(pl, name && *name ? name : pl->default_name);
	if (!h)
		return NULL;
	if (clock_mono_ns() - h->probed_ns <= (int64_t)PROBE_AGAIN_MS * 1000000)
		return &h->pub;
	if (h->pub.state == PLUG_STATE_UNREADY)
		plug_handler_probe(&h->pub);
	else if (may_open(h))
		try_again(h);
	return &h->pub;
}

bool plug_handler_look(struct plug_handler *pub, struct pool *p, void (*cb)(void *data), void *data)
{
	struct handler *h = inner(pub);
	if (pub->state == PLUG_STATE_UNREADY)
		plug_handler_probe(pub);
	else if (!h->probe && may_open(h))
		try_again(h);
	if (pub->ready || (!h->probe && pub->state != PLUG_STATE_LOADING))
		return false;
	struct look *l = pool_new_struct(p, struct look);
	l->cb = cb;
	l->data = data;
	list_append(&h->looks, &l->link);
	pool_res_add(p, &l->res, release_look);
	return true;
}

void plug_handler_default(struct plug *pl, const char *name)
{
	pl->default_name = pool_strdup(pl->pool, name);
}

struct plug_handler *plug_handler_at(struct plug *pl, size_t i)
{
	struct handler *h;
	list_for_each(h, &pl->handlers, link)
		if (!i--)
			return &h->pub;
	return NULL;
}

/* -- the set -- */

struct plug_res {
	struct pool_res res;
	struct plug *plug;
};

static void release_plug(struct pool_res *r)
{
	struct plug *pl = container_of(r, struct plug_res, res)->plug;
	struct handler *h;
	loop_defer_cancel(&pl->settle);
	list_for_each(h, &pl->handlers, link) {
		while (list_pop(&h->looks))
			;
		loop_defer_cancel(&h->close);
		release_handler(h);
	}
	pool_destroy(pl->pool);
}

struct plug *plug_new(struct loop *l, struct pool *p, struct spawner *s, struct keep *keep,
		      const struct plug_options *options, const struct plug_events *events,
		      void *data)
{
	struct pool *own = pool_new(NULL, "engines");
	struct plug *pl = pool_new_struct(own, struct plug);
	pl->pool = own;
	pl->loop = l;
	pl->spawner = s;
	pl->keep = keep;
	pl->events = events;
	pl->data = data;
	pl->opt = *options;
	pl->opt.engine_dir = pool_strdup(own, options->engine_dir);
	pl->opt.libexec_dir = pool_strdup(own, options->libexec_dir);
	pl->opt.state_dir = pool_strdup(own, options->state_dir);
	if (!pl->opt.timeout_ms)
		pl->opt.timeout_ms = TIMEOUT_MS;
	pl->default_name = "";
	list_init(&pl->modules);
	list_init(&pl->handlers);
	list_init(&pl->settle_waits);
	list_init(&pl->idle_reqs);
	pl->seals = seals_new(l, own, s, pl->opt.libexec_dir);
	struct plug_res *r = pool_new_struct(p, struct plug_res);
	r->plug = pl;
	pool_res_add(p, &r->res, release_plug);
	return pl;
}

void plug_set_mntns(struct plug *pl, int mntns_fd)
{
	pl->opt.mntns_fd = mntns_fd;
}

unsigned plug_calls(const struct plug *pl)
{
	return pl->calls;
}

void plug_dump(struct plug *pl, struct json_out *o)
{
	struct handler *h;
	json_array(o);
	list_for_each(h, &pl->handlers, link) {
		unsigned calls = 0;
		for (const struct list *at = h->calls.next; at != &h->calls; at = at->next)
			calls++;
		json_object(o);
		json_member_str(o, "handler", h->pub.name);
		json_member_str(o, "engine", h->pub.engine);
		json_member_str(o, "state", state_names[h->pub.state]);
		json_member_bool(o, "old", h->pub.old);
		json_member_str(o, "reason", h->pub.reason);
		json_member_str(o, "version", h->pub.version);
		json_member_str(o, "pluginVersion", h->pub.plugin_version);
		json_member_int(o, "calls", calls);
		json_member_int(o, "making", h->making);
		json_member_int(o, "maxParallel", h->max_parallel);
		json_member_int(o, "programs", jobs_count(&h->host));
		json_end_object(o);
	}
	json_end_array(o);
}

/* -- the operations by name -- */

struct plug_call *plug_sandbox_create(struct plug_handler *h,
				      const struct crisp_sandbox_create_args *a,
				      uint64_t timeout_ms, plug_cb *cb, void *data)
{
	return plug_call(h, PLUG_OP_SANDBOX_CREATE, a, a->id, timeout_ms, cb, data);
}

struct plug_call *plug_sandbox_stop(struct plug_handler *h, const char *id, uint64_t timeout_ms,
				    plug_cb *cb, void *data)
{
	return plug_call(h, PLUG_OP_SANDBOX_STOP, &(struct crisp_args){ .id = id }, id, timeout_ms,
			 cb, data);
}

struct plug_call *plug_sandbox_delete(struct plug_handler *h, const char *id, bool force,
				      uint64_t timeout_ms, plug_cb *cb, void *data)
{
	struct crisp_args a = { .flags = force ? CRISP_ARG_FORCE : 0, .id = id };
	return plug_call(h, PLUG_OP_SANDBOX_DELETE, &a, id, timeout_ms, cb, data);
}

struct plug_call *plug_sandbox_attach(struct plug_handler *h, const struct crisp_attach_args *a,
				      uint64_t timeout_ms, plug_cb *cb, void *data)
{
	return plug_call(h, PLUG_OP_SANDBOX_ATTACH, a, a->id, timeout_ms, cb, data);
}

struct plug_call *plug_create(struct plug_handler *h, const struct crisp_create_args *a,
			      uint64_t timeout_ms, plug_cb *cb, void *data)
{
	return plug_call(h, PLUG_OP_CREATE, a, a->sandbox_id, timeout_ms, cb, data);
}

struct plug_call *plug_start(struct plug_handler *h, const char *sandbox,
			     const struct crisp_start_args *a, uint64_t timeout_ms, plug_cb *cb,
			     void *data)
{
	return plug_call(h, PLUG_OP_START, a, sandbox, timeout_ms, cb, data);
}

struct plug_call *plug_kill(struct plug_handler *h, const char *sandbox,
			    const struct crisp_kill_args *a, uint64_t timeout_ms, plug_cb *cb,
			    void *data)
{
	return plug_call(h, PLUG_OP_KILL, a, sandbox, timeout_ms, cb, data);
}

struct plug_call *plug_delete(struct plug_handler *h, const char *sandbox, const char *id,
			      bool force, uint64_t timeout_ms, plug_cb *cb, void *data)
{
	struct crisp_args a = { .flags = force ? CRISP_ARG_FORCE : 0, .id = id };
	return plug_call(h, PLUG_OP_DELETE, &a, sandbox, timeout_ms, cb, data);
}

struct plug_call *plug_exec(struct plug_handler *h, const char *sandbox,
			    const struct crisp_exec_args *a, uint64_t timeout_ms, plug_cb *cb,
			    void *data)
{
	return plug_call(h, PLUG_OP_EXEC, a, sandbox, timeout_ms, cb, data);
}

struct plug_call *plug_exec_delete(struct plug_handler *h, const char *sandbox, const char *id,
				   const char *exec_id, uint64_t timeout_ms, plug_cb *cb,
				   void *data)
{
	struct crisp_args a = { .id = id, .exec_id = exec_id };
	return plug_call(h, PLUG_OP_EXEC_DELETE, &a, sandbox, timeout_ms, cb, data);
}

struct plug_call *plug_resize(struct plug_handler *h, const char *sandbox,
			      const struct crisp_resize_args *a, uint64_t timeout_ms, plug_cb *cb,
			      void *data)
{
	return plug_call(h, PLUG_OP_RESIZE, a, sandbox, timeout_ms, cb, data);
}

struct plug_call *plug_close_stdin(struct plug_handler *h, const char *sandbox, const char *id,
				   const char *exec_id, uint64_t timeout_ms, plug_cb *cb,
				   void *data)
{
	struct crisp_args a = { .id = id, .exec_id = exec_id };
	return plug_call(h, PLUG_OP_CLOSE_STDIN, &a, sandbox, timeout_ms, cb, data);
}

struct plug_call *plug_update(struct plug_handler *h, const char *sandbox,
			      const struct crisp_update_args *a, uint64_t timeout_ms, plug_cb *cb,
			      void *data)
{
	return plug_call(h, PLUG_OP_UPDATE, a, sandbox, timeout_ms, cb, data);
}

struct plug_call *plug_pause(struct plug_handler *h, const char *sandbox, const char *id,
			     uint64_t timeout_ms, plug_cb *cb, void *data)
{
	return plug_call(h, PLUG_OP_PAUSE, &(struct crisp_args){ .id = id }, sandbox, timeout_ms,
			 cb, data);
}

struct plug_call *plug_resume(struct plug_handler *h, const char *sandbox, const char *id,
			      uint64_t timeout_ms, plug_cb *cb, void *data)
{
	return plug_call(h, PLUG_OP_RESUME, &(struct crisp_args){ .id = id }, sandbox, timeout_ms,
			 cb, data);
}

struct plug_call *plug_attach(struct plug_handler *h, const struct crisp_attach_args *a,
			      uint64_t timeout_ms, plug_cb *cb, void *data)
{
	return plug_call(h, PLUG_OP_ATTACH, a, a->sandbox_id, timeout_ms, cb, data);
}

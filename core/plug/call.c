/*
 * A call: one operation of an engine.
 *
 *	        handler loaded, pod free           done()
 *	QUEUED -----------------------> GIVEN -------------+
 *	   |                              |                v
 *	   +--- cancel, deadline ---------+------------> ENDED --- end of the pass ---> callback
 *
 * GIVEN and cancelled: the plugin has GRACE_MS to end it, then we answer in its place.  At the
 * deadline we answer at once.  Either way the request stays until the plugin has answered too.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/base/utf8.h"
#include "core/plug/inner.h"

enum {
	GRACE_MS = 5000,
	REQS_IDLE_MIN = 1024,	/* a request is not used again before this many others */
	DATA_MAX = 16 << 20,
	MSG_MAX = 400,
	FAILURES_MAX = 3,	/* in a row, until the engine is suspected */
};

enum call_state { CALL_STATE_QUEUED, CALL_STATE_GIVEN, CALL_STATE_ENDED };

struct plug_call {
	struct list link;		/* in handler->calls */
	struct pool_res res;		/* in pool */
	struct pool *pool;
	struct handler *handler;
	enum plug_op op;
	enum call_state state;
	void *args;			/* a copy, while QUEUED */
	const char *id, *serial;
	uint64_t timeout_ms;
	int64_t began_ns;
	struct crisp_req *req;		/* while GIVEN */
	struct list bonds;
	struct loop_timer deadline, grace;
	struct loop_defer tell;
	struct crisp_result result;
	struct err err;
	plug_cb *cb;
	void *data;
	bool cancelled, force;
	bool limited;			/* it had to wait for max_parallel */
};

/* Does it make something?  Those are what a busy node has many of, and what shows that an engine
 * works or doesn't. */
static bool op_makes(enum plug_op op)
{
	return op == PLUG_OP_SANDBOX_CREATE || op == PLUG_OP_CREATE || op == PLUG_OP_RESTORE ||
	       op == PLUG_OP_START || op == PLUG_OP_EXEC;
}

struct list *call_bonds(struct plug_call *c)
{
	return &c->bonds;
}

/* -- requests -- */

static struct crisp_req *req_get(struct plug *pl)
{
	struct crisp_req *r;
	if (pl->n_idle_reqs > REQS_IDLE_MIN) {
		r = container_of(list_pop(&pl->idle_reqs), struct crisp_req, link);
		pl->n_idle_reqs--;
	} else {
		r = pool_new_struct(pl->pool, struct crisp_req);
		list_init(&r->link);
		r->plug = pl;
	}
	return r;
}

static void req_put(struct crisp_req *r)
{
	r->call = NULL;
	r->owed = false;
	list_append(&r->plug->idle_reqs, &r->link);
	r->plug->n_idle_reqs++;
}

/* -- the end -- */

static void detach_bonds(struct plug_call *c)
{
	struct list *at;
	while ((at = list_pop(&c->bonds)))
		container_of(at, struct bond, link)->call = NULL;
	if (c->handler->host.current == c)
		c->handler->host.current = NULL;
}

static void close_fds(struct crisp_result *r)
{
	if (r->pidfd > 0)
		close(r->pidfd);
	if (r->fd > 0)
		close(r->fd);
	r->pidfd = r->fd = -1;
}

static void handle_tell(struct loop_defer *d)
{
	struct plug_call *c = d->data;
	struct handler *h = c->handler;
	int ret = -c->err.code;
	if (ret < 0)
		close_fds(&c->result);
	struct crisp_result given = c->result;
	c->result.pidfd = c->result.fd = -1;
	c->cb(c->data, ret, &given, &c->err);
	pool_destroy(c->pool);
	handler_run_queue(h);
	handler_less(h);
}

/* Is this the last that is asked about it?  A container with FORCE, whatever the engine said: its
 * processes are gone, or another engine's business.  A sandbox that can't be deleted stays. */
static bool is_last(const struct plug_call *c)
{
	if (c->op != PLUG_OP_DELETE && c->op != PLUG_OP_SANDBOX_DELETE)
		return false;
	bool gone = !c->err.code || c->err.code == ENOENT;
	return gone || (c->op == PLUG_OP_DELETE && c->force && c->err.code != ECANCELED);
}

/* One that was cancelled says nothing of the engine, nor does one that never got there. */
static void note_health(struct plug_call *c)
{
	struct handler *h = c->handler;
	if (!op_makes(c->op) || c->state != CALL_STATE_GIVEN || c->cancelled)
		return;
	if (!c->err.code)
		h->failures = 0;
	else if (++h->failures >= FAILURES_MAX)
		handler_suspect(h);
}

static void call_end(struct plug_call *c)
{
	note_health(c);
	if (op_makes(c->op) && c->state == CALL_STATE_GIVEN)
		c->handler->making--;
	c->state = CALL_STATE_ENDED;
	if (is_last(c))
		state_put(c->handler, c->id, NULL, 0);
	list_del(&c->link);
	c->handler->plug->calls--;
	loop_timer_stop(&c->deadline);
	loop_timer_stop(&c->grace);
	detach_bonds(c);
	loop_defer(c->handler->plug->loop, &c->tell, handle_tell, c);
}

__attribute__((format(printf, 3, 4)))
static void call_fail(struct plug_call *c, int code, const char *fmt, ...)
{
	char why[MSG_MAX];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	err_set(&c->err, code, "%s: %s: %s", c->handler->pub.name, op_shape(c->op)->name, why);
	call_end(c);
}

/* End it in the plugin's place.  The plugin still owes us its answer. */
static void call_fail_for(struct plug_call *c, int code, const char *why)
{
	struct crisp_req *r = c->req;
	jobs_kill_of(&c->handler->host, c);
	if (r) {
		c->req = NULL;
		r->call = NULL;
		r->owed = true;
	}
	call_fail(c, code, "%s", why);
}

static void handle_deadline(struct loop_timer *t)
{
	struct plug_call *c = t->data;
	char why[100];
	if (c->state == CALL_STATE_QUEUED && c->limited)
		snprintf(why, sizeof(why), "waited for %llu ms behind max_parallel (%u) others",
			 (unsigned long long)c->timeout_ms, c->handler->max_parallel);
	else
		snprintf(why, sizeof(why), "no answer in %llu ms", (unsigned long long)c->timeout_ms);
	call_fail_for(c, ETIMEDOUT, why);
}

static void handle_grace(struct loop_timer *t)
{
	call_fail_for(t->data, ECANCELED, "cancelled; the engine didn't answer that");
}

/* A message for one line: valid UTF-8, no control characters, not too long. */
static const char *clean(struct pool *p, const char *msg)
{
	char *s = pool_strdup(p, utf8_clean(p, msg, strnlen(msg, MSG_MAX)));
	size_t n = strlen(s);
	while (n && (unsigned char)s[n - 1] <= ' ')
		s[--n] = 0;
	for (char *at = s; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 127)
			*at = ' ';
	return s;
}

static bool gives_state(enum plug_op op)
{
	return op == PLUG_OP_CREATE || op == PLUG_OP_RESTORE || op == PLUG_OP_START ||
	       op == PLUG_OP_ATTACH || op == PLUG_OP_SANDBOX_CREATE || op == PLUG_OP_SANDBOX_ATTACH;
}

/* Take over what the plugin says. */
static void take_result(struct plug_call *c, const struct crisp_result *from)
{
	struct crisp_result *r = &c->result;
	if (from->size < offsetof(struct crisp_result, msg)) {
		err_set(&c->err, EIO, "%s: %s: the engine's answer says that it has %u bytes",
			c->handler->pub.name, op_shape(c->op)->name, from->size);
		return;
	}
	memcpy(r, from, from->size < sizeof(*r) ? from->size : sizeof(*r));
	r->size = sizeof(*r);
	if (r->pidfd <= 0)
		r->pidfd = -1;
	if (r->fd <= 0)
		r->fd = -1;
	if (r->err) {
		const char *why =
			r->msg && *r->msg ? clean(c->pool, r->msg) : strerror(abs(r->err));
		err_set(&c->err, r->err, "%s: %s: %s", c->handler->pub.name, op_shape(c->op)->name,
			why);
	}
	r->msg = NULL;
	if (r->state_len > CRISP_STATE_MAX || r->data_len > DATA_MAX)
		err_set(&c->err, EIO,
			"%s: %s: the engine answered with %u bytes of state and %u of data",
			c->handler->pub.name, op_shape(c->op)->name, r->state_len, r->data_len);
	bool good = !c->err.code;
	r->state = good && r->state ? pool_memdup(c->pool, r->state, r->state_len) : NULL;
	r->state_len = r->state ? r->state_len : 0;
	/* Text for most: give it an end. */
	r->data = good && r->data ? pool_strndup(c->pool, r->data, r->data_len) : NULL;
	r->data_len = r->data ? r->data_len : 0;
	r->version = good && r->version ? clean(c->pool, r->version) : NULL;
	if (!good)
		return;
	if (r->pid < 0)
		r->pid = 0;
	if (r->pid && r->pidfd < 0) {
		int fd = pidfd_open_pid(r->pid);
		r->pidfd = fd > 0 ? fd : -1;
	}
	if (r->state && gives_state(c->op))
		state_put(c->handler, c->id, r->state, r->state_len);
}

void call_done(struct crisp_req *req, const struct crisp_result *res)
{
	struct plug_call *c = req->call;
	if (!c && req->owed) {
		struct crisp_result late = { 0 };
		memcpy(&late, res, res->size < sizeof(late) ? res->size : sizeof(late));
		close_fds(&late);
		log_debug("an engine answered late", "handler", req->handler->pub.name, "op",
			  op_shape(req->op)->name);
		req_put(req);
		return;
	}
	if (!c) {
		log_warn("an engine answered an operation twice", "handler", req->handler->pub.name,
			 "op", op_shape(req->op)->name);
		return;
	}
	c->req = NULL;
	req_put(req);
	take_result(c, res);
	call_end(c);
}

/* -- the start -- */

/* Every operation with the type of its arguments. */
#define OPS(X)                                                                                     \
	X(PROBE, probe) X(PREPARE_SPEC, prepare_spec) X(SANDBOX_CREATE, sandbox_create)            \
	X(SANDBOX_STOP, sandbox_stop) X(SANDBOX_DELETE, sandbox_delete)                            \
	X(SANDBOX_ATTACH, sandbox_attach) X(SANDBOX_STATS, sandbox_stats)                          \
	X(SANDBOX_UPDATE, sandbox_update) X(CREATE, create) X(START, start) X(KILL, kill)          \
	X(DELETE, del) X(EXEC, exec) X(EXEC_DELETE, exec_delete) X(RESIZE, resize)                 \
	X(CLOSE_STDIN, close_stdin) X(UPDATE, update) X(STATS, stats) X(PIDS, pids)                \
	X(PAUSE, pause) X(RESUME, resume) X(CHECKPOINT, checkpoint) X(RESTORE, restore)            \
	X(ATTACH, attach) X(PORT_FORWARD, port_forward) X(DIAGNOSE, diagnose)

static bool has_slot(const struct crisp_ops *ops, enum plug_op op)
{
	switch (op) {
#define HAS(name, slot) case PLUG_OP_##name: return CRISP_CAN(ops, slot);
	OPS(HAS)
#undef HAS
	case PLUG_OP_COUNT:
		break;
	}
	return false;
}

static int invoke(const struct crisp_ops *ops, enum plug_op op, struct crisp_instance *i,
		  struct crisp_req *r, const void *a)
{
	switch (op) {
#define INVOKE(name, slot) case PLUG_OP_##name: return ops->slot(i, r, a);
	OPS(INVOKE)
#undef INVOKE
	case PLUG_OP_COUNT:
		break;
	}
	return -ENOSYS;
}

bool plug_has(const struct plug_handler *pub, enum plug_op op)
{
	const struct handler *h = (const struct handler *)pub;
	return h->inst && has_slot(h->module->engine->ops, op);
}

/* What every args struct is at most; written to before the plugin sees it. */
union any_args {
	struct crisp_args head;
	struct crisp_sandbox_create_args sandbox_create;
	struct crisp_create_args create;
	struct crisp_attach_args attach;
	struct crisp_spec_args spec;
	struct crisp_exec_args exec;
	struct crisp_update_args update;
	struct crisp_checkpoint_args checkpoint;
	char room[128];
};

/* The plugin's deadline comes a little before ours: its own words are better. */
static int64_t engine_deadline(const struct plug_call *c)
{
	uint64_t early = c->timeout_ms / 20;
	return c->began_ns + (int64_t)(c->timeout_ms - (early < 1000 ? early : 1000)) * 1000000;
}

static void call_give(struct plug_call *c, const void *args)
{
	struct handler *h = c->handler;
	union any_args a = { 0 };
	if (h->pub.state == PLUG_STATE_FAILED || !h->inst) {
		call_fail(c, EHOSTDOWN, "%s", h->pub.reason);
		return;
	}
	if (!has_slot(h->module->engine->ops, c->op)) {
		call_fail(c, ENOSYS, "engine %s doesn't have this operation", h->pub.engine);
		return;
	}
	if (c->limited) {
		c->began_ns = clock_mono_ns();
		loop_timer_start(&c->deadline, h->plug->loop, c->pool, c->timeout_ms, 0, handle_deadline, c);
	}
	memcpy(&a, args, op_shape(c->op)->size);
	a.head.size = (uint32_t)op_shape(c->op)->size;
	a.head.deadline_ns = engine_deadline(c);
	if ((c->op == PLUG_OP_ATTACH || c->op == PLUG_OP_SANDBOX_ATTACH) && !a.attach.state)
		a.attach.state_len = state_load(h, c->pool, c->id, &a.attach.state);
	struct crisp_req *r = req_get(h->plug);
	r->call = c;
	r->op = c->op;
	r->handler = h;
	c->req = r;
	c->state = CALL_STATE_GIVEN;
	if (op_makes(c->op))
		h->making++;
	struct host_span span = host_enter(&h->host, c);
	int ret = invoke(h->module->engine->ops, c->op, h->inst, r, &a);
	host_leave(&span, op_shape(c->op)->name);
	if (ret < 0 && r->call == c) {
		c->req = NULL;
		req_put(r);
		call_fail(c, -ret, "the engine refused: %s", strerror(-ret));
	} else if (ret < 0) {
		log_warn("an engine both answered and refused an operation", "handler", h->pub.name,
			 "op", op_shape(c->op)->name);
	}
}

/* Must c wait for an earlier call of its pod? */
static bool pod_busy(const struct plug_call *c)
{
	struct plug_call *other;
	if (!c->serial || !(c->handler->pub.caps & CRISP_CAP_SERIALIZE_SANDBOX))
		return false;
	list_for_each(other, &c->handler->calls, link) {
		if (other == c)
			return false;
		if (other->serial && !strcmp(other->serial, c->serial))
			return true;
	}
	return false;
}

/* Are there as many as there may be? */
static bool at_limit(struct plug_call *c)
{
	const struct handler *h = c->handler;
	if (!op_makes(c->op) || !h->max_parallel || h->making < h->max_parallel)
		return false;
	c->limited = true;
	return true;
}

static struct plug_call *first_startable(struct handler *h)
{
	struct plug_call *c;
	list_for_each(c, &h->calls, link)
		if (c->state == CALL_STATE_QUEUED && !pod_busy(c) && !at_limit(c))
			return c;
	return NULL;
}

void handler_run_queue(struct handler *h)
{
	struct plug_call *c;
	/* From the start each time: giving a call may end others. */
	while (h->pub.state != PLUG_STATE_LOADING && (c = first_startable(h)))
		call_give(c, c->args);
}

static void release_call(struct pool_res *res)
{
	struct plug_call *c = container_of(res, struct plug_call, res);
	if (c->state != CALL_STATE_ENDED) {	/* all of plug goes down */
		list_del(&c->link);
		c->handler->plug->calls--;
	}
	detach_bonds(c);
	loop_defer_cancel(&c->tell);
	close_fds(&c->result);
	if (c->req) {
		c->req->call = NULL;
		c->req->owed = true;
	}
}

struct plug_call *call_start(struct handler *h, enum plug_op op, const void *a, const char *serial,
			     uint64_t timeout_ms, bool first, plug_cb *cb, void *data)
{
	struct plug *pl = h->plug;
	struct pool *p = pool_new(pl->pool, "engine call");
	struct plug_call *c = pool_new_struct(p, struct plug_call);
	const struct crisp_args *head = a;
	c->pool = p;
	c->handler = h;
	c->op = op;
	c->cb = cb;
	c->data = data;
	c->id = pool_strdup(p, head->id);
	c->force = head->flags & CRISP_ARG_FORCE;
	c->serial = pool_strdup(p, serial);
	c->timeout_ms = timeout_ms ? timeout_ms : pl->opt.timeout_ms;
	c->began_ns = clock_mono_ns();
	c->result.size = sizeof(c->result);
	c->result.pidfd = c->result.fd = -1;
	list_init(&c->bonds);
	list_append(&h->calls, &c->link);
	pl->calls++;
	pool_res_add(p, &c->res, release_call);
	loop_timer_start(&c->deadline, pl->loop, p, c->timeout_ms, 0, handle_deadline, c);
	if ((h->pub.state == PLUG_STATE_LOADING && !first) || pod_busy(c) || at_limit(c))
		c->args = args_copy(p, op, a);
	else
		call_give(c, a);
	return c;
}

void plug_call_cancel(struct plug_call *c)
{
	struct handler *h = c->handler;
	if (c->state == CALL_STATE_ENDED || c->cancelled)
		return;
	c->cancelled = true;
	if (c->state == CALL_STATE_QUEUED) {
		call_fail(c, ECANCELED, "cancelled");
		return;
	}
	const struct crisp_ops *ops = h->module->engine->ops;
	loop_timer_start(&c->grace, h->plug->loop, c->pool, GRACE_MS, 0, handle_grace, c);
	if (CRISP_CAN(ops, cancel)) {
		struct host_span span = host_enter(&h->host, c);
		ops->cancel(h->inst, c->req);
		host_leave(&span, "cancel");
	} else if (!jobs_kill_of(&h->host, c)) {
		call_fail_for(c, ECANCELED, "cancelled");
	}
}

enum plug_op plug_call_op(const struct plug_call *c)
{
	return c->op;
}

struct plug_call *plug_call(struct plug_handler *h, enum plug_op op, const void *a,
			    const char *serial, uint64_t timeout_ms, plug_cb *cb, void *data)
{
	return call_start((struct handler *)h, op, a, serial, timeout_ms, false, cb, data);
}

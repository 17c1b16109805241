/*
 * Exec and attach over a wire.
 *
 *	WAITING ──all streams are open──▶ RUNNING ──the process has ended──▶ finished
 *
 * What the client sends for stdin and the process doesn't take yet is kept, and no more is read from
 * the client until it is gone.  What the process writes faster than the client reads stays in its
 * pipe (exec), or is queued up to a limit at which the client is cut off (attach: nobody may hold up
 * the container).  The error stream has the last word: a Status in JSON from version 4 on, before
 * that a text in case of failure.
 */
#include <errno.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/loop/loop.h"
#include "core/model/live.h"
#include "core/stream/session.h"

enum {
	OPEN_MS = 30000,		/* for the client to open its streams */
	HIGH = 256 << 10,		/* queued: an exec waits */
	ATTACH_MAX = 8 << 20,		/* queued: an attached client is too slow */
	RESIZE_MAX = 1024,		/* of one size's JSON */
	MESSAGE_MAX = 16 << 10,
};

struct remote {
	struct pool_res res;
	const struct stream_ground *g;
	struct wire *wire;
	const struct ticket *ticket;
	struct wire_stream *streams[WIRE_ROLE_COUNT];
	struct loop_timer patience;
	struct live *live;		/* while RUNNING */
	struct buf in;			/* for stdin */
	bool held;
	struct buf size;		/* of the resize stream */
};

static struct remote *remote_of(const struct wire *w)
{
	return w->data;
}

/* -- the end -- */

static const char *exit_text(struct pool *p, int exit_code)
{
	return pool_printf(p, "command terminated with non-zero exit code: exit status %d", exit_code);
}

static const char *status_json(struct pool *p, int ret, int exit_code, const struct err *e)
{
	struct json_out *o = json_out(p);
	json_object(o);
	json_key(o, "metadata");
	json_object(o);
	json_end_object(o);
	json_member_str(o, "status", ret < 0 || exit_code ? "Failure" : "Success");
	if (ret < 0) {
		json_member_str(o, "message", err_text(e));
		json_member_str(o, "reason", "InternalError");
		json_member_int(o, "code", 500);
	} else if (exit_code) {
		json_member_str(o, "message", exit_text(p, exit_code));
		json_member_str(o, "reason", "NonZeroExitCode");
		json_key(o, "details");
		json_object(o);
		json_key(o, "causes");
		json_array(o);
		json_object(o);
		json_member_str(o, "reason", "ExitCode");
		json_member_str(o, "message", pool_printf(p, "%d", exit_code));
		json_end_object(o);
		json_end_array(o);
		json_end_object(o);
	}
	json_end_object(o);
	return json_text(o, &(size_t){ 0 });
}

static const char *status_text(struct pool *p, int ret, int exit_code, const struct err *e)
{
	if (ret < 0)
		return err_text(e);
	return exit_code ? exit_text(p, exit_code) : "";
}

static void finish(struct remote *r, int ret, int exit_code, const struct err *e)
{
	struct wire *w = r->wire;
	struct wire_stream *error = r->streams[WIRE_ROLE_ERROR];
	const char *text = (w->version >= 4 ? status_json : status_text)(w->pool, ret, exit_code, e);
	for (int role = WIRE_ROLE_STDOUT; role <= WIRE_ROLE_STDERR; role++)
		if (r->streams[role])
			wire_end(r->streams[role]);
	if (error) {
		size_t n = strlen(text);
		if (n)
			wire_send(error, text, n < MESSAGE_MAX ? n : MESSAGE_MAX);
		wire_end(error);
	}
	loop_timer_stop(&r->patience);
	wire_finish(w);
}

static void fail(struct remote *r, const struct err *e)
{
	if (r->live)
		live_leave(r->live);
	r->live = NULL;
	finish(r, -e->code, 0, e);
}

/* -- the process -- */

static void handle_output(void *data, enum conlog_stream stream, const char *bytes, size_t n)
{
	struct remote *r = data;
	struct wire_stream *s = r->streams[stream == CONLOG_STDOUT ? WIRE_ROLE_STDOUT : WIRE_ROLE_STDERR];
	if (!s)
		return;
	wire_send(s, bytes, n);
	size_t queued = wire_queued(r->wire);
	if (r->ticket->kind == TICKET_KIND_EXEC && queued > HIGH && !r->held) {
		r->held = true;
		live_hold(r->live, true);
	} else if (queued > ATTACH_MAX) {
		struct err slow = { 0 };
		err_set(&slow, ENOBUFS, "attach: the client reads too slowly");
		fail(r, &slow);
	}
}

/* What is kept for stdin, as far as it goes now. */
static void feed(struct remote *r)
{
	if (!r->live)
		return;
	if (r->in.len)
		buf_consume(&r->in, live_write(r->live, r->in.data, r->in.len));
	wire_hold(r->wire, r->in.len > 0);
	if (r->in.len)
		return;
	buf_free(&r->in);
	if (r->streams[WIRE_ROLE_STDIN] && r->streams[WIRE_ROLE_STDIN]->theirs_ended)
		live_write_end(r->live);
}

static void handle_writable(void *data)
{
	feed(data);
}

static void handle_process_end(void *data, int ret, int exit_code, const struct err *e)
{
	struct remote *r = data;
	r->live = NULL;
	finish(r, ret, exit_code, e);
}

static const struct live_user live_user = {
	.output = handle_output, .writable = handle_writable, .ended = handle_process_end,
};

static void take_sizes(struct remote *r);

static void run(struct remote *r)
{
	const struct ticket *t = r->ticket;
	loop_timer_stop(&r->patience);
	r->live = t->kind == TICKET_KIND_EXEC ?
			  model_exec(r->g->model, t->id, t->cmd, &t->want, &live_user, r) :
			  model_attach(r->g->model, t->id, &t->want, &live_user, r);
	take_sizes(r);
	if (t->want.in)
		feed(r);
}

/* -- the client -- */

static bool wanted(const struct remote *r, enum wire_role role)
{
	const struct live_want *w = &r->ticket->want;
	switch (role) {
	case WIRE_ROLE_ERROR: return true;
	case WIRE_ROLE_STDIN: return w->in;
	case WIRE_ROLE_STDOUT: return w->out;
	case WIRE_ROLE_STDERR: return w->err;
	case WIRE_ROLE_RESIZE: return w->tty;
	default: return false;
	}
}

/* The stream for sizes came with version 3; over WebSocket it is there whatever the version. */
static bool all_open(const struct remote *r)
{
	for (enum wire_role role = 0; role < WIRE_ROLE_COUNT; role++)
		if (wanted(r, role) && !r->streams[role] && !(role == WIRE_ROLE_RESIZE && r->wire->version < 3))
			return false;
	return true;
}

static void handle_opened(struct wire_stream *s)
{
	struct remote *r = remote_of(s->wire);
	if (!wanted(r, s->role) || r->streams[s->role]) {
		log_info("a client opened a stream that was not asked for", "stream", log_num(s->role));
		wire_end(s);
		return;
	}
	r->streams[s->role] = s;
	if (!r->live && all_open(r))
		run(r);
}

/* Objects {"Width":W,"Height":H}, one after the other, perhaps in pieces. */
static void take_sizes(struct remote *r)
{
	char *end;
	while (r->live && r->size.len && (end = memchr(r->size.data, '}', r->size.len))) {
		struct pool *p = pool_new(NULL, "size");
		struct err e = { 0 };
		const struct json *j;
		size_t n = (size_t)(end - r->size.data) + 1;
		if (json_parse(p, r->size.data, n, &j, &e) == 0) {
			int64_t width = json_int(json_get(j, "Width"), 0), height = json_int(json_get(j, "Height"), 0);
			if (width > 0 && height > 0 && width <= UINT16_MAX && height <= UINT16_MAX)
				live_resize(r->live, (unsigned)width, (unsigned)height);
		}
		buf_consume(&r->size, n);
		pool_destroy(p);
	}
	if (r->size.len > RESIZE_MAX)
		buf_free(&r->size);
}

static void handle_received(struct wire_stream *s, const void *bytes, size_t n)
{
	struct remote *r = remote_of(s->wire);
	if (r->streams[s->role] != s)
		return;
	if (s->role == WIRE_ROLE_STDIN) {
		buf_add(&r->in, bytes, n);
		if (!r->live)
			wire_hold(r->wire, r->in.len > HIGH);
		feed(r);
	} else if (s->role == WIRE_ROLE_RESIZE) {
		buf_add(&r->size, bytes, n);
		take_sizes(r);
	}
}

static void handle_ended(struct wire_stream *s)
{
	struct remote *r = remote_of(s->wire);
	if (s->role == WIRE_ROLE_STDIN && r->streams[s->role] == s)
		feed(r);
}

static void handle_drained(struct wire *w)
{
	struct remote *r = remote_of(w);
	if (r->held && r->live)
		live_hold(r->live, false);
	r->held = false;
}

static void handle_gone(struct wire *w)
{
	struct remote *r = remote_of(w);
	loop_timer_stop(&r->patience);
	if (r->live)
		live_leave(r->live);
	r->live = NULL;
}

static const struct wire_user remote_user = {
	.opened = handle_opened, .received = handle_received, .ended = handle_ended, .drained = handle_drained,
	.gone = handle_gone,
};

static void handle_impatient(struct loop_timer *t)
{
	struct err e = { 0 };
	err_set(&e, ETIMEDOUT, "the client has not opened all of its streams in time");
	fail(t->data, &e);
}

static void release_remote(struct pool_res *res)
{
	struct remote *r = container_of(res, struct remote, res);
	buf_free(&r->in);
	buf_free(&r->size);
}

void remote_begin(const struct stream_ground *g, struct wire *w, const struct ticket *t)
{
	struct remote *r = pool_new_struct(w->pool, struct remote);
	r->g = g;
	r->wire = w;
	r->ticket = t;
	pool_res_add(w->pool, &r->res, release_remote);
	w->user = &remote_user;
	w->data = r;
	loop_timer_start(&r->patience, g->loop, w->pool, OPEN_MS, 0, handle_impatient, r);
}

/*
 * Attach: a tap on the container's output, a copy of the fd that its stdin is fed by.
 *
 * Under stdin_once the first client that ends its stdin, or leaves, closes the container's.
 */
#include <errno.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/model/live.h"
#include "core/model/model_int.h"

struct attach {
	struct live live;
	struct list link;		/* in container.attaches */
	struct container *c;		/* NULL once it has ended, or if there was none */
	struct model *model;
	struct pool *pool;
	struct conlog_tap tap;
	struct live_want want;
	struct loop_defer end;
	struct err why;
};

static struct attach *attach_of(struct live *l)
{
	return container_of(l, struct attach, live);
}

static void detach(struct attach *a)
{
	conlog_tap_del(&a->tap);
	feed_close(&a->live.in);
	list_del(&a->link);
	a->c = NULL;
}

static void handle_end(struct loop_defer *d)
{
	struct attach *a = d->data;
	if (a->live.user)
		a->live.user->ended(a->live.data, -a->why.code, 0, &a->why);
	loop_destroy_later(a->model->g.loop, a->pool);
}

static void attach_end(struct attach *a)
{
	detach(a);
	loop_defer(a->model->g.loop, &a->end, handle_end, a);
}

void attaches_end(struct container *c)
{
	struct attach *a;
	list_for_each(a, &c->attaches, link)
		attach_end(a);
}

static void handle_output(struct conlog_tap *t, enum conlog_stream stream, const char *bytes, size_t n)
{
	struct attach *a = t->data;
	bool wanted = stream == CONLOG_STDOUT ? a->want.out : a->want.err;
	if (bytes && wanted && a->live.user)
		a->live.user->output(a->live.data, stream, bytes, n);
	if (!bytes && conlog_ended(a->c->log))
		attach_end(a);
}

/* -- stdin -- */

static void handle_closed(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	if (ret < 0 && ret != -ENOENT && ret != -ESRCH)
		log_warn("an engine could not close stdin", "error", err_text(e));
}

static void close_stdin(struct container *c)
{
	struct attach *a;
	list_for_each(a, &c->attaches, link)
		feed_close(&a->live.in);
	container_close_stdin(c);
	if (plug_can(c->pod->handler, CRISP_CAP_STDIO_FIFO) && plug_has(c->pod->handler, PLUG_OP_CLOSE_STDIN))
		plug_close_stdin(c->pod->handler, c->pod->id, c->id, NULL, ENGINE_TIMEOUT_MS, handle_closed, NULL);
}

static void attach_write_end(struct live *l)
{
	struct container *c = attach_of(l)->c;
	feed_close(&l->in);
	if (c && c->config->stdin_once && !c->config->tty && c->stdin_fd >= 0)
		close_stdin(c);
}

static void handle_resized(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	if (ret < 0 && ret != -ENOENT && ret != -ESRCH)
		log_warn("an engine could not resize a tty", "error", err_text(e));
}

void live_engine_resize(struct pod *p, const char *id, const char *exec_id, unsigned width, unsigned height)
{
	struct crisp_resize_args args = { .size = sizeof(args), .id = id, .exec_id = exec_id, .width = width,
					  .height = height };
	if (plug_has(p->handler, PLUG_OP_RESIZE))
		plug_resize(p->handler, p->id, &args, ENGINE_TIMEOUT_MS, handle_resized, NULL);
}

static void attach_resize(struct live *l, unsigned width, unsigned height)
{
	struct container *c = attach_of(l)->c;
	if (!c || !c->config->tty)
		return;
	if (plug_can(c->pod->handler, CRISP_CAP_STDIO_FIFO))
		live_engine_resize(c->pod, c->id, NULL, width, height);
	else if (c->log)
		tty_resize(conlog_tty_fd(c->log), width, height);
}

static void attach_leave(struct live *l)
{
	struct attach *a = attach_of(l);
	if (!a->c)
		return;		/* its end is under way */
	if (a->want.in)
		attach_write_end(l);
	attach_end(a);
}

static const struct live_ops attach_ops = {
	.write_end = attach_write_end, .resize = attach_resize, .leave = attach_leave,
};

/* -- the begin -- */

static int open_input(struct attach *a)
{
	struct container *c = a->c;
	bool pty = c->config->tty && !plug_can(c->pod->handler, CRISP_CAP_STDIO_FIFO);
	int fd = pty ? conlog_tty_fd(c->log) : c->stdin_fd;
	if (!a->want.in || !c->config->stdin || fd < 0)
		return 0;	/* what the client sends goes nowhere, as with a shell's <&- */
	return feed_open(&a->live.in, &a->live, a->model->g.loop, a->pool, fd, &a->why);
}

static int begin(struct attach *a, const char *id)
{
	struct container *c = model_container(a->model, id);
	int ret = model_can_stream(a->model, id, &a->why);
	if (ret < 0)
		return ret;
	if (!c->log || conlog_ended(c->log))
		return err_set(&a->why, EBUSY, "container_id %s: its output has ended", c->id);
	a->c = c;
	list_append(&c->attaches, &a->link);
	conlog_tap_add(c->log, &a->tap, handle_output, a);
	return open_input(a);
}

struct live *model_attach(struct model *m, const char *id, const struct live_want *w,
			  const struct live_user *user, void *data)
{
	struct pool *pool = pool_new(m->pool, "attach");
	struct attach *a = pool_new_struct(pool, struct attach);
	a->live = (struct live){ .ops = &attach_ops, .user = user, .data = data, .in.fd = -1 };
	a->model = m;
	a->pool = pool;
	a->want = *w;
	list_init(&a->link);
	if (begin(a, id) < 0)
		attach_end(a);
	return &a->live;
}

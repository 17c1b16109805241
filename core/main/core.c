/*
 * The core's life: take over from the keeper, recover, listen, serve, leave.
 */
#include "core/main/core.h"

#include <signal.h>

#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/config/config.h"
#include "core/keep/keep.h"
#include "core/loop/loop.h"
#include "core/main/notify.h"

struct core {
	const struct core_args *args;
	struct pool *pool;
	struct loop *loop;
	struct keep *keep;
	int ready_fd;
	struct loop_signal sigterm, sigint, sighup;
};

static void handle_leave(struct loop_signal *s, int signo)
{
	(void)signo;
	struct core *c = s->data;
	notify_systemd("STOPPING=1");
	loop_stop(c->loop);
}

static void handle_reload(struct loop_signal *s, int signo)
{
	(void)signo;
	struct core *c = s->data;
	const struct core_args *a = c->args;
	struct pool *p = pool_new(c->pool, "reload");
	struct config *fresh;
	struct err e = { 0 };
	if (config_load(p, a->config_file, a->sets, a->n_sets, a->exe_dir, &fresh, &e) < 0) {
		log_error("the configuration stays as it was", "error", err_text(&e));
	} else {
		log_set_level((enum log_level)fresh->log_level);
		log_info("configuration reloaded");
	}
	pool_destroy(p);
}

/* Everything is on disk at any time, as for a crash. */
static void handle_keeper_lost(void *data)
{
	struct core *c = data;
	struct err e = { 0 };
	const char *keeper = pool_printf(c->pool, "%s/crisp-keeper", c->args->config->libexec_dir);
	keep_revive(c->keep, keeper, c->args->keeper_argv, &e);
	log_error("going on without a keeper", "error", err_text(&e));
}

static int take_over(struct core *c, struct err *e)
{
	const struct core_args *a = c->args;
	if (a->keep_sock < 0) {
		c->keep = keep_none(c->loop, c->pool);
	} else {
		int ret = keep_open(c->loop, c->pool, a->keep_sock, &c->keep, e);
		if (ret < 0)
			return ret;
	}
	keep_on_lost(c->keep, handle_keeper_lost, c);
	/* Only the first core has inherited it: that number is another fd by now. */
	c->ready_fd = keep_generation(c->keep) ? -1 : a->ready_fd;
	if (c->ready_fd >= 0)
		fd_set_cloexec(c->ready_fd, 1);
	return 0;
}

int core_main(const struct core_args *a)
{
	struct core c = { .args = a, .pool = pool_new(a->pool, "core") };
	struct err e = { 0 };
	c.loop = loop_new(c.pool);
	loop_signal_start(&c.sigterm, c.loop, c.pool, SIGTERM, handle_leave, &c);
	loop_signal_start(&c.sigint, c.loop, c.pool, SIGINT, handle_leave, &c);
	loop_signal_start(&c.sighup, c.loop, c.pool, SIGHUP, handle_reload, &c);
	signal(SIGPIPE, SIG_IGN);
	if (take_over(&c, &e) < 0) {
		log_error("can't start", "error", err_text(&e));
		return 1;
	}
	notify_ready_fd(&c.ready_fd);
	notify_systemd("READY=1");
	loop_run(c.loop);
	keep_quit(c.keep, 0);
	pool_destroy(c.pool);
	return 0;
}

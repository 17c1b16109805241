/*
 * Host services for network plugins, see the header.  Each job and each timer has a pool of its
 * own below the instance's, so that both ways of ending (by itself, with the instance) are one.
 */
#include "core/plug/nethost.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/loop/loop.h"
#include "core/spawn/spawn.h"

enum { KV_MAX = 12, FDS_MAX = 16, TARGET_MIN = 3, TARGET_MAX = 59, CAPTURE_MAX = 4 << 20 };

struct nethost {
	struct crisp_net_host abi;
	struct loop *loop;
	struct pool *pool;
	struct spawner *spawner;
	const char *plugin, *libexec_dir;
};

struct crisp_net_job {
	struct pool *pool;
	struct spawn *spawn;
	crisp_net_exit_cb *cb;
	void *data;
};

struct crisp_net_timer {
	struct pool_res res;
	struct loop_defer bye;
	struct pool *pool;
	struct loop *loop;
	struct loop_timer timer;
	void (*cb)(void *data);
	void *data;
	bool fired;
};

static struct nethost *of(const struct crisp_net_host *abi)
{
	return (struct nethost *)(uintptr_t)container_of(abi, const struct nethost, abi);
}

/* -- log and clock -- */

static void host_log(const struct crisp_net_host *abi, uint32_t level, const char *msg,
		     const char *const *kv)
{
	struct nethost *h = of(abi);
	const char *a[KV_MAX] = { NULL };	/* what is left out ends the list */
	for (size_t i = 0; kv && i + 1 < KV_MAX && kv[i] && kv[i + 1]; i += 2) {
		a[i] = kv[i];
		a[i + 1] = kv[i + 1];
	}
	if (level > CRISP_NET_LOG_ERROR)
		level = CRISP_NET_LOG_ERROR;
	if ((enum log_level)level < log_level())
		return;
	log_write((enum log_level)level, msg ? msg : "", "network", h->plugin, a[0], a[1], a[2], a[3],
		  a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], (char *)0);
}

static int64_t host_now_ns(const struct crisp_net_host *abi)
{
	return clock_mono_ns();
}

/* -- programs -- */

static void handle_exit(void *data, struct spawn_result *r)
{
	struct crisp_net_job *j = data;
	struct crisp_net_exit x = {
		.size = sizeof(x),
		.err = -r->err.code,
		.msg = r->err.code ? r->err.msg : NULL,
		.wait_status = r->wait_status,
		.out = r->out.data ? r->out.data : "",
		.out_len = (uint32_t)r->out.len,
		.err_out = r->err_out.data ? r->err_out.data : "",
		.err_len = (uint32_t)r->err_out.len,
	};
	j->cb(j->data, &x);
	pool_destroy(j->pool);
}

static const char *plan_fault(const struct crisp_net_plan *p)
{
	if (!CRISP_NET_HAS(p, deadline_ns) || p->flags)
		return "struct";
	if (!p->path || !p->path[0] || (p->path[0] != '/' && strchr(p->path, '/')))
		return "path";
	if (!p->argv || !p->argv[0])
		return "argv";
	if (p->n_fds > FDS_MAX)
		return "n_fds";
	for (uint32_t i = 0; i < p->n_fds; i++)
		if (p->fds[i].fd <= 0 || p->fds[i].target < TARGET_MIN || p->fds[i].target > TARGET_MAX)
			return "fds";
	if (p->out_max > CAPTURE_MAX || p->err_max > CAPTURE_MAX || p->input_len > CAPTURE_MAX)
		return "size of input or output";
	return NULL;
}

static struct crisp_net_job *host_spawn(const struct crisp_net_host *abi,
					const struct crisp_net_plan *p, crisp_net_exit_cb *cb,
					void *data)
{
	struct nethost *h = of(abi);
	const char *fault = plan_fault(p);
	if (fault) {
		log_error("a network plugin's plan to run a program is bad", "network", h->plugin,
			  "member", fault);
		return NULL;
	}
	struct pool *pool = pool_new(h->pool, "net job");
	struct crisp_net_job *j = pool_new_struct(pool, struct crisp_net_job);
	j->pool = pool;
	j->cb = cb;
	j->data = data;
	struct spawn_fd fds[FDS_MAX];
	for (uint32_t i = 0; i < p->n_fds; i++)
		fds[i] = (struct spawn_fd){ p->fds[i].fd, p->fds[i].target };
	struct spawn_plan plan = SPAWN_PLAN_INIT;
	plan.path = p->path[0] == '/' ? p->path : pool_printf(pool, "%s/%s", h->libexec_dir, p->path);
	plan.argv = p->argv;
	plan.envp = p->envp;
	plan.fds = fds;
	plan.n_fds = p->n_fds;
	plan.input = p->input;
	plan.input_len = p->input_len;
	plan.out_max = p->out_max;
	plan.err_max = p->err_max;
	plan.deadline_ns = p->deadline_ns;
	j->spawn = spawn_start(h->spawner, pool, &plan, handle_exit, j);
	return j;
}

static void host_job_kill(struct crisp_net_job *j)
{
	spawn_cancel(j->spawn);
}

/* -- timers -- */

static void handle_bye(struct loop_defer *d)
{
	struct crisp_net_timer *nt = d->data;
	pool_destroy(nt->pool);
}

static void handle_timer(struct loop_timer *t)
{
	struct crisp_net_timer *nt = t->data;
	nt->fired = true;
	loop_defer(nt->loop, &nt->bye, handle_bye, nt);
	nt->cb(nt->data);
}

static void release_timer(struct pool_res *r)
{
	struct crisp_net_timer *nt = container_of(r, struct crisp_net_timer, res);
	loop_defer_cancel(&nt->bye);
}

static struct crisp_net_timer *host_timer(const struct crisp_net_host *abi, uint64_t ms,
					  void (*cb)(void *data), void *data)
{
	struct nethost *h = of(abi);
	struct pool *pool = pool_new(h->pool, "net timer");
	struct crisp_net_timer *nt = pool_new_struct(pool, struct crisp_net_timer);
	nt->pool = pool;
	nt->loop = h->loop;
	nt->cb = cb;
	nt->data = data;
	pool_res_add(pool, &nt->res, release_timer);
	loop_timer_start(&nt->timer, h->loop, pool, ms, 0, handle_timer, nt);
	return nt;
}

static void host_untimer(struct crisp_net_timer *nt)
{
	if (!nt->fired)		/* else it is on its way out */
		pool_destroy(nt->pool);
}

/* -- */

struct nethost *nethost_new(struct loop *l, struct pool *p, struct spawner *s, const char *plugin,
			    const char *libexec_dir, const char *state_dir,
			    void (*done)(struct crisp_net_req *r, const struct crisp_net_result *res))
{
	struct nethost *h = pool_new_struct(p, struct nethost);
	h->loop = l;
	h->pool = p;
	h->spawner = s;
	h->plugin = pool_strdup(p, plugin);
	h->libexec_dir = pool_strdup(p, libexec_dir);
	h->abi = (struct crisp_net_host){
		.size = sizeof(h->abi),
		.major = CRISP_NETPLUG_MAJOR,
		.minor = CRISP_NETPLUG_MINOR,
		.state_dir = pool_strdup(p, state_dir),
		.done = done,
		.log = host_log,
		.now_ns = host_now_ns,
		.spawn = host_spawn,
		.job_kill = host_job_kill,
		.timer = host_timer,
		.untimer = host_untimer,
	};
	return h;
}

const struct crisp_net_host *nethost_abi(const struct nethost *h)
{
	return &h->abi;
}

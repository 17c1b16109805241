/*
 * The end of a container's process.  Its wait status comes from our own waitid, from the
 * keeper (for a process that an earlier core had left to it), from the kernel's memory of it
 * (Linux 6.15; for one that was left to pid 1), or not at all.
 *
 *	pidfd readable --> ours: peek, save, reap
 *	               \-> not ours: wait for the keeper's word or look for the kernel's, LOST_MS
 *	                   at most, then "unknown"
 *
 * The record is written before the zombie is reaped: a core that dies in between leaves the
 * zombie to the keeper, which tells the next core the same status once more.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/conlog/conlog.h"
#include "core/keep/keep.h"
#include "core/model/model_int.h"
#include "core/oci/oci.h"
#include "core/plug/plug.h"

enum { LOST_MS = 3000, LOOK_MS = 50, DRAIN_MS = 2000, STATUS_LOST = -1 };

/* -- who waits -- */

struct exit_now {
	struct loop_defer defer;
	struct exit_wait *w;
};

static bool is_over(const struct container *c)
{
	return !c->alive;
}

void exit_wait(struct container *c, struct exit_wait *w, void (*cb)(struct exit_wait *w), void *data)
{
	w->cb = cb;
	w->data = data;
	list_init(&w->link);
	if (is_over(c))
		cb(w);
	else
		list_append(&c->exit_waiters, &w->link);
}

void exit_wait_leave(struct exit_wait *w)
{
	if (w->link.next)
		list_del(&w->link);
}

static void tell_waiters(struct container *c)
{
	struct list *at;
	while ((at = list_pop(&c->exit_waiters))) {
		struct exit_wait *w = container_of(at, struct exit_wait, link);
		w->cb(w);
	}
}

/* -- what it was -- */

static bool oom_in(struct container *c, const char *cgroup, uint64_t before)
{
	uint64_t n = 0;
	return cgroup_oom_kills(c->model->g.cgroups, cgroup, &n) == 0 && n > before;
}

static void add_known_ooms(struct pod *p, uint64_t n)
{
	p->oom_known += n;
	if (n)
		record_note_pod(p);
}

/*
 * systemd removes a scope that is empty, and may be quicker than we are to look.  On cgroup v2 the
 * pod's count has those of all containers that were ever in it: what none of the others can
 * account for was in the one that is gone.
 */
static bool oom_was_here(struct container *c)
{
	struct cgroups *cg = c->model->g.cgroups;
	struct pod *p = c->pod;
	struct container *other;
	uint64_t all, n, known = p->oom_known;
	if (cgroup_oom_kills(cg, c->cgroup, &n) == 0) {
		add_known_ooms(p, n);
		return n > c->oom_before;
	}
	if (cgroup_oom_kills(cg, p->cgroup_parent, &all) < 0)
		return false;
	list_for_each(other, &p->containers, in_pod)
		if (other != c && other->alive && cgroup_oom_kills(cg, other->cgroup, &n) == 0)
			known += n;
	add_known_ooms(p, all > known ? all - known : 0);
	return all > known;
}

/* In a sandbox of its own engine's it is the sandbox that runs out of memory. */
static bool oom_killed(struct container *c)
{
	bool here = oom_was_here(c);
	if (here || c->oom_told)
		return true;
	if (!c->pod->sandbox_made)
		return false;
	struct pool *tmp = pool_new(NULL, "oom");
	bool oom = oom_in(c, pod_cgroup_leaf(tmp, c->pod), 0);
	pool_destroy(tmp);
	return oom;
}

/* Users read this in the pod's status. */
static const char *oom_message(struct container *c)
{
	const Cri__LinuxContainerConfig *l = c->config->linux;
	int64_t limit = l && l->resources ? l->resources->memory_limit_in_bytes : 0;
	if (limit <= 0)
		return "out of memory: it has no limit of its own, so its pod's or the node's was reached";
	return pool_printf(c->pool, "out of memory: its limit of %" PRIi64 " bytes was reached; raise resources.limits.memory, "
				    "or make it use less", limit);
}

static void judge(struct container *c, int status)
{
	bool oom = oom_killed(c) && status != STATUS_LOST && status != 0;
	if (status == STATUS_LOST) {
		c->exit_code = 255;
		c->reason = "Unknown";
		c->message = "it ended while nobody could see how";
		return;
	}
	c->exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	c->reason = oom ? "OOMKilled" : c->exit_code ? "Error" : "Completed";
	if (oom)
		c->message = oom_message(c);
}

/* Other processes outlive an init only where it was not the init of its pid namespace. */
static bool shares_pids(const struct container *c)
{
	struct oci_ns ns;
	oci_ns_of(c->pod->config, c->config, &ns);
	return ns.pid != OCI_NS_OWN;
}

static void kill_cgroup(struct container *c, int signo)
{
	int ret = cgroup_kill(c->model->g.cgroups, c->cgroup, signo);
	if (ret < 0 && ret != -ENOENT)
		log_warn("could not signal a cgroup", "ctr", c->id, "cgroup", c->cgroup, "error", strerror(-ret));
}

struct plug_call *container_kill(struct container *c, int signo, bool all, plug_cb *cb, void *data)
{
	if (c->child.io.loop) {
		pidfd_signal(c->child.pidfd, signo);
		if (all)
			kill_cgroup(c, signo);
		return NULL;
	}
	struct crisp_kill_args args = { .size = sizeof(args), .flags = all ? CRISP_ARG_ALL : 0, .id = c->id,
					.signo = signo };
	return plug_kill(c->pod->handler, c->pod->id, &args, ENGINE_TIMEOUT_MS, cb, data);
}

bool kill_failed(int ret)
{
	return ret < 0 && ret != -ESRCH && ret != -ENOENT;
}

static void handle_killed(void *data, int ret, const struct crisp_result *res, const struct err *e)
{
	if (kill_failed(ret))
		log_warn("an engine could not signal a container", "error", err_text(e));
}

void container_signal(struct container *c, int signo, bool all)
{
	container_kill(c, signo, all, handle_killed, NULL);
}

void container_exited(struct container *c, int wait_status, int64_t at_ns)
{
	if (!c->alive)
		return;
	c->alive = false;
	loop_timer_stop(&c->lost);
	loop_timer_stop(&c->drain);
	if (!c->started_ns && c->op && c->op->table == &start_table)
		c->started_ns = at_ns;
	if (c->state != CONTAINER_STATE_CREATING) {
		/* An engine has a clock of its own. */
		c->finished_ns = at_ns > c->started_ns ? at_ns : c->started_ns;
		if (!c->reason)
			judge(c, wait_status);
		container_set_state(c, CONTAINER_STATE_EXITED);
	}
	c->pid = 0;
	if (c->child.io.loop && shares_pids(c))
		kill_cgroup(c, SIGKILL);
	if (c->log)
		conlog_finish(c->log);
	record_note_container(c);
	log_info("container ended", "ctr", c->id, "pod", c->pod->id, "code", log_num(c->exit_code), "reason",
		 c->reason);
}

/* The record is safe: let the process go, and everything that was held for its sake. */
static void let_go(struct container *c, pid_t pid)
{
	loop_child_stop(&c->child);
	keep_ack_exit(c->model->g.keep, pid);
	container_drop_fds(c);
	execs_killed(c);
	tell_waiters(c);
}

static void handle_lost(struct loop_timer *t)
{
	struct container *c = t->data;
	pid_t pid = c->pid;
	int status;
	/* Whoever has reaped it, the kernel may still know.  After a start without a keeper's
	 * hand-over its parent is pid 1, and nobody tells. */
	if (pidfd_exit_status(c->child.pidfd, &status) < 0) {
		if (clock_mono_ns() - c->lost_ns < LOST_MS * 1000000LL)
			return;
		status = STATUS_LOST;
	}
	container_exited(c, status, clock_real_ns());
	let_go(c, pid);
}

static void handle_exit(struct loop_child *child)
{
	struct container *c = child->data;
	int status;
	int ret = loop_child_status(child, false, &status);
	if (ret == -EAGAIN)
		return;
	if (ret < 0) {
		/* The keeper is its parent, and will tell. */
		c->lost_ns = clock_mono_ns();
		loop_timer_start(&c->lost, c->model->g.loop, c->pool, LOOK_MS, LOOK_MS, handle_lost, c);
		return;
	}
	pid_t pid = c->pid;
	container_exited(c, status, clock_real_ns());
	loop_child_status(child, true, &status);
	let_go(c, pid);
}

void keeper_exit(struct model *m, pid_t pid, int wait_status)
{
	struct container *c;
	list_for_each(c, &m->container_list, link) {
		if (c->pid != pid)
			continue;
		container_exited(c, wait_status, clock_real_ns());
		let_go(c, pid);
		return;
	}
	struct pod *p;
	list_for_each(p, &m->pod_list, link)
		if (p->pause_pid == pid)
			return;	/* its pidfd tells */
	keep_ack_exit(m->g.keep, pid);
}

void container_watch(struct container *c, pid_t pid, int pidfd)
{
	container_keep_fd(c, "pid", pidfd);
	c->pid = pid;
	if (!c->pid_start)
		c->pid_start = pid_start_time(pid);
	c->alive = true;
	loop_child_start(&c->child, c->model->g.loop, c->pool, pid, pidfd, handle_exit, c);
}

/* -- a start that failed -- */

void container_start_failed(struct container *c, const struct err *e)
{
	/* Also if it has ended by itself meanwhile: that it could not be started is the news. */
	c->exit_code = 128;
	c->reason = "StartError";
	c->message = pool_strdup(c->pool, err_text(e));
	if (!c->started_ns)
		c->started_ns = clock_real_ns();
	if (c->alive) {
		container_signal(c, SIGKILL, true);	/* handle_exit does the rest */
		return;
	}
	if (!c->finished_ns)
		c->finished_ns = clock_real_ns();
	if (c->state == CONTAINER_STATE_EXITED)
		event_container(c, c->state);	/* told already, but not of this */
	container_set_state(c, CONTAINER_STATE_EXITED);
}

/* -- engines that tell exits themselves -- */

void container_watch_by_engine(struct container *c, pid_t pid)
{
	c->pid = pid;
	c->alive = true;
}

static void engine_exit_over(struct container *c, int wait_status, int64_t at_ns)
{
	pid_t pid = c->pid;
	container_exited(c, wait_status, at_ns);
	let_go(c, pid);
}

static void handle_drain_over(struct loop_timer *t)
{
	struct container *c = t->data;
	engine_exit_over(c, c->drain_status, c->drain_ns);
}

static void handle_drained(struct conlog *log, void *data)
{
	struct container *c = data;
	engine_exit_over(c, c->drain_status, c->drain_ns);
}

/* What it has written may still be on its way: the engine copies it, and closes the FIFOs. */
static bool must_drain(const struct container *c)
{
	return c->log && !conlog_ended(c->log) &&
	       plug_can(c->pod->handler, CRISP_CAP_STDIO_FIFO);
}

void model_engine_exit(struct model *m, const char *id, const char *exec_id, int wait_status, int64_t at_ns)
{
	struct container *c = model_container(m, id);
	if (!c)
		return;
	if (exec_id) {
		exec_ended_by_engine(c, exec_id, wait_status);
		return;
	}
	if (c->child.io.loop || !c->alive || c->drain.loop)
		return;	/* its pidfd tells, or it was told before */
	if (wait_status == STATUS_LOST || !must_drain(c)) {
		engine_exit_over(c, wait_status, at_ns);
		return;
	}
	c->drain_status = wait_status;
	c->drain_ns = at_ns;
	conlog_on_end(c->log, handle_drained, c);
	loop_timer_start(&c->drain, c->model->g.loop, c->pool, DRAIN_MS, 0, handle_drain_over, c);
}

void model_engine_oom(struct model *m, const char *id)
{
	struct container *c = model_container(m, id);
	if (c)
		c->oom_told = true;
}

static void all_exited(struct pod *p, int wait_status)
{
	struct container *c;
	list_for_each(c, &p->containers, in_pod) {
		if (c->child.io.loop || !c->alive)
			continue;
		if (c->drain.loop)
			engine_exit_over(c, c->drain_status, c->drain_ns);
		else
			engine_exit_over(c, wait_status, clock_real_ns());
	}
}

void containers_gone(struct pod *p)
{
	all_exited(p, SIGKILL);
}

void model_sandbox_gone(struct model *m, const char *id, const char *reason)
{
	struct pod *p = model_pod(m, id);
	if (!p)
		return;
	log_warn("the sandbox of a pod is gone", "pod", p->id, "reason", reason);
	all_exited(p, STATUS_LOST);
	if (p->state == POD_STATE_READY)
		pod_set_state(p, POD_STATE_NOTREADY);
	record_note_pod(p);
}

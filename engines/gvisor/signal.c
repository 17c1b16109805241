/* Signals, statistics, ports: the control socket where there is one, else the command line. */
#include "engines/gvisor/gvisor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STATS_MAX = 64 << 10 };

/* -- kill -- */

static void end_kill(struct act *a, int err)
{
	struct ctr *c = ctr_find(a->inst, a->id);
	bool over = !c || (!a->exec_id[0] && c->state == CTR_EXITED);
	if (err == -EIO && (over || says_ended(a->msg) || says_missing(a->msg)))
		err = -ESRCH;
	act_end(a, err, a->msg);
}

static void handle_kill_ended(void *data, const struct crisp_spawn_result *r)
{
	struct act *a = data;
	int err = runsc_judge(a, r);
	end_kill(a, r->err && err == -EIO ? -EAGAIN : err);
}

static void kill_by_command(struct act *a, const struct box *b)
{
	struct command cmd;
	char signo[16], pid[32];
	command_init(&cmd, a->inst, a, b);
	command_arg(&cmd, "kill");
	if (a->guest_pid) {
		snprintf(pid, sizeof(pid), "--pid=%d", a->guest_pid);
		command_arg(&cmd, pid);
	} else if (a->flags & CRISP_ARG_ALL) {
		command_arg(&cmd, "--all");
	}
	snprintf(signo, sizeof(signo), "%d", a->signo);
	command_arg(&cmd, a->id);
	command_arg(&cmd, signo);
	command_run(&cmd, handle_kill_ended, a);
}

static void handle_signalled(void *data, int err, yajl_val result, const char *words)
{
	struct act *a = data;
	struct ctr *c = ctr_find(a->inst, a->id);
	snprintf(a->msg, sizeof(a->msg), "%s", words);
	if (err == -EHOSTDOWN && c && box_alive(c->box))
		kill_by_command(a, c->box);
	else
		end_kill(a, err == -EHOSTDOWN ? -ESRCH : err);
}

static void kill_running(struct act *a, struct box *b)
{
	char arg[ID_LEN + 100];
	bool all = a->flags & CRISP_ARG_ALL && !a->guest_pid;
	snprintf(arg, sizeof(arg), "{\"CID\":\"%s\",\"Signo\":%d,\"PID\":%d,\"Mode\":%d}", a->id, a->signo,
		 a->guest_pid, all);
	if (!urpc_call(b->inst->host, b->socket, "containerManager.Signal", arg, -1, handle_signalled, a))
		kill_by_command(a, b);
}

int gvisor_kill(struct crisp_instance *i, struct crisp_req *r, const struct crisp_kill_args *args)
{
	struct ctr *c = ctr_find(i, args->id);
	struct act *a = act_new(i, r, (const struct crisp_args *)args);
	a->signo = args->signo;
	if (c && a->exec_id[0]) {
		const struct proc *p = proc_find(c->box, a->id, a->exec_id);
		a->guest_pid = p ? p->guest_pid : 0;
	}
	if (!c || (a->exec_id[0] && !a->guest_pid)) {
		act_end(a, -ENOENT, "there is no such container or process");
	} else if (c->state == CTR_CREATED && a->signo == SIGKILL) {
		ctr_exited(c, SIGKILL);		/* there is no process yet, and will be none */
		act_end(a, 0, NULL);
	} else if (c->state != CTR_RUNNING || !box_alive(c->box)) {
		act_end(a, -ESRCH, "the container has ended");
	} else {
		kill_running(a, c->box);
	}
	return 0;
}

/* -- stats -- */

/* The sentry's event: {"event": {"data": {...}}, "containerUsage": {ID: ns of cpu}}; runsc prints
 * the inner one, with the cpu put in. */
static void end_stats(struct act *a, yajl_val data, int64_t cpu_ns)
{
	static const char *const usage[] = { "memory", "usage", "usage", NULL };
	static const char *const current[] = { "pids", "current", NULL };
	static const char *const total[] = { "cpu", "usage", "total", NULL };
	char text[300];
	if (cpu_ns < 0)
		cpu_ns = json_number(yajl_tree_get(data, (const char **)(uintptr_t)total, yajl_t_number), 0);
	int n = snprintf(text, sizeof(text), "{\"cpu\":{\"usage\":{\"total\":%lld}},"
			 "\"memory\":{\"usage\":{\"usage\":%lld}},\"pids\":{\"current\":%lld}}",
		(long long)cpu_ns,
		(long long)json_number(yajl_tree_get(data, (const char **)(uintptr_t)usage, yajl_t_number), 0),
		(long long)json_number(yajl_tree_get(data, (const char **)(uintptr_t)current, yajl_t_number), 0));
	act_done(a, &(struct crisp_result){ .data = text, .data_len = (uint32_t)n });
}

static void handle_stats_ended(void *data, const struct crisp_spawn_result *r)
{
	struct act *a = data;
	int err = runsc_judge(a, r);
	yajl_val v = err ? NULL : yajl_tree_parse(r->out, NULL, 0);
	if (err || !json_member(v, "data"))
		act_end(a, err ? err : -EIO, err ? a->msg : "runsc events printed no statistics");
	else
		end_stats(a, json_member(v, "data"), -1);
	yajl_tree_free(v);
}

static void stats_by_command(struct act *a, const struct box *b)
{
	struct command cmd;
	command_init(&cmd, a->inst, a, b);
	cmd.plan.out_max = STATS_MAX;
	command_arg(&cmd, "events");
	command_arg(&cmd, "--stats");
	command_arg(&cmd, a->id);
	command_run(&cmd, handle_stats_ended, a);
}

static void handle_event(void *data, int err, yajl_val result, const char *words)
{
	struct act *a = data;
	yajl_val stats = json_member(json_member(result, "event"), "data");
	int64_t cpu = json_number(json_member(json_member(result, "containerUsage"), a->id), -1);
	struct ctr *c = ctr_find(a->inst, a->id);
	if (!err && stats && cpu >= 0)
		end_stats(a, stats, cpu);
	else if (c && box_alive(c->box))
		stats_by_command(a, c->box);
	else
		act_end(a, -ESRCH, "the container has ended");
}

int gvisor_stats(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args)
{
	struct ctr *c = ctr_find(i, args->id);
	struct act *a = act_new(i, r, args);
	char arg[ID_LEN + 4];
	snprintf(arg, sizeof(arg), "\"%s\"", a->id);
	if (!c)
		act_end(a, -ENOENT, "there is no such container");
	else if (c->state != CTR_RUNNING || !box_alive(c->box))
		act_end(a, -ESRCH, "the container does not run");
	else if (!urpc_call(i->host, c->box->socket, "containerManager.Event", arg, -1, handle_event, a))
		stats_by_command(a, c->box);
	return 0;
}

/* -- ports -- */

/* One end of a pair of sockets goes to the sentry, which copies between it and the port. */
static void handle_forwarded(void *data, int err, yajl_val result, const char *words)
{
	struct act *a = data;
	struct crisp_result res = { .err = err, .msg = words, .fd = a->pidfd };
	if (err)
		res.fd = -1;
	else
		a->pidfd = -1;
	act_done(a, &res);
}

int gvisor_port_forward(struct crisp_instance *i, struct crisp_req *r, const struct crisp_port_args *args)
{
	struct box *b = box_find(i, args->id);
	int pair[2];
	char arg[ID_LEN + 64];
	if (b && !b->socket[0])
		return -ENOSYS;		/* the host may know the pod's address */
	struct act *a = act_new(i, r, (const struct crisp_args *)args);
	if (!b || !box_alive(b)) {
		act_end(a, b ? -EHOSTDOWN : -ENOENT, "the sandbox is gone");
		return 0;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		act_end(a, -errno, "no pair of sockets");
		return 0;
	}
	a->pidfd = pair[0];
	snprintf(arg, sizeof(arg), "{\"ContainerID\":\"%s\",\"Port\":%u}", b->id, args->port);
	if (!urpc_call(i->host, b->socket, "containerManager.PortForward", arg, pair[1], handle_forwarded, a))
		act_end(a, -EHOSTDOWN, "the sandbox's control socket can't be reached");
	close(pair[1]);
	return 0;
}

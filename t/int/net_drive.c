/*
 * A network plugin driven by hand, through the core's side of it.
 *
 *	net_drive BUILD STATE_DIR PLUGIN OPTIONS
 *
 * Reads a command a line:
 *	attach ID NAME NETNS [PROTO:[IP:]HOST_PORT:POD_PORT...]
 *	detach ID NETNS|- STATE|-
 *	cancel ID			the attach or detach of that pod
 *	adopt ID STATE
 *	gc ID...
 *	ready
 * and writes a line for each that has ended, at its end: "ID 0 US IP STATE", "ID -ERRNO US message",
 * "ready", "unready REASON".
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/list.h"
#include "core/base/pool.h"
#include "core/loop/loop.h"
#include "core/plug/net.h"
#include "core/spawn/spawn.h"

enum { WORDS_MAX = 1200, PORTS_MAX = 32 };

static struct loop *loop;
static struct pool *root;
static struct net_plug *net;
static struct buf input;
static struct list jobs = LIST_INIT(jobs);

struct job {
	struct list link;
	char id[80];
	int64_t began;
	struct net_call *call;
};

static void handle_end(void *data, int ret, const struct net_result *r, const struct err *e)
{
	struct job *j = data;
	long long us = (clock_mono_ns() - j->began) / 1000;
	if (ret < 0)
		printf("%s %d %lld %s\n", j->id, ret, us, err_text(e));
	else
		printf("%s 0 %lld %s %s\n", j->id, us, r->n_ips ? r->ips[0] : "-", r->state ? r->state : "-");
	fflush(stdout);
	list_del(&j->link);
	free(j);
}

static struct job *job_new(const char *id)
{
	struct job *j = calloc(1, sizeof(*j));
	if (!j)
		abort();
	snprintf(j->id, sizeof(j->id), "%s", id);
	j->began = clock_mono_ns();
	list_append(&jobs, &j->link);
	return j;
}

static void read_port(char *text, struct net_port *to)
{
	char *part[4] = { NULL };
	int n = 0;
	for (char *at = strtok(text, ":"); at && n < 4; at = strtok(NULL, ":"))
		part[n++] = at;
	if (n < 3)
		return;
	to->protocol = !strcmp(part[0], "udp") ? 1 : !strcmp(part[0], "sctp") ? 2 : 0;
	to->host_ip = n == 4 ? part[1] : NULL;
	to->host_port = (uint16_t)atoi(part[n - 2]);
	to->container_port = (uint16_t)atoi(part[n - 1]);
}

static void attach(char **w, int n)
{
	struct net_port ports[PORTS_MAX] = { 0 };
	struct net_attach a = { .pod_id = w[1], .name = w[2], .ns = "test", .uid = "u", .netns_path = w[3] };
	for (int i = 4; i < n && a.n_ports < PORTS_MAX; i++)
		read_port(w[i], &ports[a.n_ports++]);
	a.ports = ports;
	struct job *j = job_new(w[1]);
	j->call = net_plug_attach(net, &a, 0, handle_end, j);
}

static const char *given(const char *s)
{
	return strcmp(s, "-") == 0 ? NULL : s;
}

static void run_command(char *line)
{
	char *w[WORDS_MAX];
	int n = 0;
	for (char *at = strtok(line, " "); at && n < WORDS_MAX; at = strtok(NULL, " "))
		w[n++] = at;
	const char *reason;
	struct job *j;
	if (n >= 4 && !strcmp(w[0], "attach")) {
		attach(w, n);
	} else if (n == 4 && !strcmp(w[0], "detach")) {
		j = job_new(w[1]);
		j->call = net_plug_detach(net, w[1], given(w[2]), given(w[3]), 0, handle_end, j);
	} else if (n == 2 && !strcmp(w[0], "cancel")) {
		list_for_each(j, &jobs, link)
			if (!strcmp(j->id, w[1]))
				net_call_cancel(j->call);
	} else if (n == 3 && !strcmp(w[0], "adopt")) {
		net_plug_adopt(net, w[1], w[2]);
	} else if (n >= 1 && !strcmp(w[0], "gc")) {
		net_plug_gc(net, (const char *const *)&w[1], (size_t)n - 1);
	} else if (n == 1 && !strcmp(w[0], "ready")) {
		bool ready = net_plug_ready(net, &reason);
		printf("%s %s\n", ready ? "ready" : "unready", ready ? "" : reason);
	} else {
		printf("bad command %s\n", n ? w[0] : "");
	}
	fflush(stdout);
}

static void handle_input(struct loop_io *io, int events)
{
	ssize_t got = read(0, buf_room(&input, 4096), 4096);
	if (got <= 0) {
		loop_stop(loop);
		return;
	}
	input.len += (size_t)got;
	for (char *end; input.len && (end = memchr(input.data, '\n', input.len));) {
		*end = 0;
		run_command(input.data);
		buf_consume(&input, (size_t)(end - input.data) + 1);
	}
}

int main(int argc, char **argv)
{
	if (argc != 5)
		return 2;
	signal(SIGPIPE, SIG_IGN);	/* as the core: a worker may be killed before it has read */
	root = pool_new(NULL, "root");
	loop = loop_new(root);
	struct spawner *s = spawner_new(loop, root, 4, NULL, 0);
	net = net_plug_new(loop, root, s, pool_printf(root, "%s/netplug", argv[1]),
			   pool_printf(root, "%s/libexec", argv[1]), argv[2], argv[3], argv[4]);
	struct loop_io io;
	loop_io_start(&io, loop, root, 0, LOOP_READ, handle_input, NULL);
	loop_run(loop);
	pool_destroy(root);
	buf_free(&input);
	return 0;
}

/* crispctl events: what becomes of pods and containers, as it happens. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/base/pool.h"
#include "tools/crispctl/client.h"
#include "tools/crispctl/crispctl.h"
#include "tools/crispctl/show.h"
#include "tools/crispctl/table.h"

static const char *what_of(const Cri__ContainerEventResponse *ev)
{
	static const char *const words[] = { "created", "started", "stopped", "deleted" };
	unsigned type = (unsigned)ev->container_event_type;
	return type < 4 ? words[type] : "?";
}

static const char *time_of(struct pool *p, int64_t ns)
{
	char text[32];
	time_t s = ns / 1000000000;
	struct tm tm;
	strftime(text, sizeof(text), "%H:%M:%S", localtime_r(&s, &tm));
	return pool_printf(p, "%s.%03d", text, (int)(ns / 1000000 % 1000));
}

static const Cri__ContainerStatus *container_of_event(const Cri__ContainerEventResponse *ev)
{
	for (size_t i = 0; i < ev->n_containers_statuses; i++)
		if (!strcmp(ev->containers_statuses[i]->id, ev->container_id))
			return ev->containers_statuses[i];
	return NULL;
}

static const char *outcome_of(struct pool *p, const Cri__ContainerEventResponse *ev)
{
	const Cri__ContainerStatus *st = container_of_event(ev);
	if (!st || ev->container_event_type != CRI__CONTAINER_EVENT_TYPE__CONTAINER_STOPPED_EVENT)
		return "";
	return pool_printf(p, "%d %s", st->exit_code, st->reason);
}

/* A row without its table: the next one may be hours away.  Names come from anywhere. */
static void print_row(struct pool *p, const Cri__ContainerEventResponse *ev)
{
	const Cri__PodSandboxStatus *pod = ev->pod_sandbox_status;
	const Cri__ContainerStatus *st = container_of_event(ev);
	bool of_pod = pod && !strcmp(pod->id, ev->container_id);
	const char *name = pod && pod->metadata ? pod->metadata->name : "?";
	const char *ctr = st && st->metadata ? st->metadata->name : "-";
	char *row = pool_printf(p, "%-12s  %-7s  %-9s  %-12s  %-20s  %-16s  %s", time_of(p, ev->created_at),
				what_of(ev), of_pod ? "pod" : "container", show_id(p, ev->container_id), name,
				of_pod ? "" : ctr, outcome_of(p, ev));
	size_t len = strlen(row);
	while (len && row[len - 1] == ' ')
		row[--len] = 0;
	for (char *at = row; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 127)
			*at = '?';
	puts(row);
}

static int run(struct ctl *c, int argc, char **argv, struct err *e)
{
	int opt = ctl_getopt(c, argc, argv, ":h", NULL, e);
	if (opt != -1)
		return CTL_GETOPT_RET(opt);
	if (optind < argc)
		return ctl_usage(c, e, "unexpected \"%s\"", argv[optind]);
	Cri__GetEventsRequest req = CRI__GET_EVENTS_REQUEST__INIT;
	int ret = ctl_connect(c, e);
	if (ret < 0)
		return ret;
	ctl_deadline(c, 0);
	ret = client_begin(c->client, CTL_RUNTIME "GetContainerEvents", &req.base, e);
	while (ret >= 0) {
		ProtobufCMessage *m;
		struct pool *p = pool_new(c->pool, "event");
		client_set_pool(c->client, p);
		ret = client_next(c->client, &cri__container_event_response__descriptor, &m, e);
		struct ctl mine = *c;
		mine.pool = p;
		if (ret > 0 && c->json)
			ctl_print_message(&mine, m);
		else if (ret > 0)
			print_row(p, (const Cri__ContainerEventResponse *)m);
		fflush(stdout);
		client_set_pool(c->client, c->pool);
		pool_destroy(p);
		if (ret == 0)
			break;
	}
	return ret;
}

const struct command cmd_events = {
	.name = "events",
	.args = "",
	.summary = "Watch pods and containers being created, started, stopped and deleted",
	.help = "Goes on until it is interrupted, or the runtime leaves.\n",
	.run = run,
};

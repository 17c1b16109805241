/* A shim's metrics, of either version of cgroups, as OCI-style JSON. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engines/shimv2/shimv2.h"

struct numbers {
	uint64_t cpu_ns, usage, limit, inactive_file, rss, faults, major_faults, swap, pids;
};

static bool take_v1(const ProtobufCBinaryData *b, struct numbers *n)
{
	Shim__MetricsV1 *m = (void *)protobuf_c_message_unpack(&shim__metrics_v1__descriptor, NULL, b->len, b->data);
	if (!m)
		return false;
	if (m->cpu && m->cpu->usage)
		n->cpu_ns = m->cpu->usage->total;
	if (m->pids)
		n->pids = m->pids->current;
	if (m->memory) {
		n->usage = m->memory->usage ? m->memory->usage->usage : 0;
		n->limit = m->memory->usage ? m->memory->usage->limit : 0;
		n->inactive_file = m->memory->total_inactive_file;
		n->rss = m->memory->total_rss;
		n->faults = m->memory->pg_fault;
		n->major_faults = m->memory->pg_maj_fault;
		if (m->memory->swap && m->memory->swap->usage > n->usage)
			n->swap = m->memory->swap->usage - n->usage;
	}
	protobuf_c_message_free_unpacked(&m->base, NULL);
	return true;
}

static bool take_v2(const ProtobufCBinaryData *b, struct numbers *n)
{
	Shim__MetricsV2 *m = (void *)protobuf_c_message_unpack(&shim__metrics_v2__descriptor, NULL, b->len, b->data);
	if (!m)
		return false;
	if (m->cpu)
		n->cpu_ns = m->cpu->usage_usec * 1000;
	if (m->pids)
		n->pids = m->pids->current;
	if (m->memory) {
		n->usage = m->memory->usage;
		n->limit = m->memory->usage_limit;
		n->inactive_file = m->memory->inactive_file;
		n->rss = m->memory->anon;
		n->faults = m->memory->pgfault;
		n->major_faults = m->memory->pgmajfault;
		n->swap = m->memory->swap_usage;
	}
	protobuf_c_message_free_unpacked(&m->base, NULL);
	return true;
}

static char *to_json(const struct numbers *n)
{
	char *out = NULL;
	if (asprintf(&out,
		     "{\"cpu\":{\"usage\":{\"total\":%" PRIu64 "}},\"pids\":{\"current\":%" PRIu64 "},"
		     "\"memory\":{\"usage\":{\"usage\":%" PRIu64 ",\"limit\":%" PRIu64 "},"
		     "\"swap\":{\"usage\":%" PRIu64 "},\"raw\":{\"rss\":%" PRIu64 ",\"inactive_file\":%" PRIu64
		     ",\"pgfault\":%" PRIu64 ",\"pgmajfault\":%" PRIu64 "}}}",
		     n->cpu_ns, n->pids, n->usage, n->limit, n->swap, n->rss, n->inactive_file, n->faults,
		     n->major_faults) < 0)
		abort();
	return out;
}

char *stats_json(const struct reply *r)
{
	struct numbers n = { 0 };
	bool good = false;
	Shim__StatsResponse *s = (void *)protobuf_c_message_unpack(&shim__stats_response__descriptor, NULL, r->len,
								   r->data);
	if (s && s->stats && strstr(s->stats->type_url, "cgroups.v2."))
		good = take_v2(&s->stats->value, &n);
	else if (s && s->stats)
		good = take_v1(&s->stats->value, &n);
	if (s)
		protobuf_c_message_free_unpacked(&s->base, NULL);
	return good ? to_json(&n) : NULL;
}

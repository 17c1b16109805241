/* What an engine may want to know of a pod or container beyond its spec: see crisp_spec_args. */
#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/model/model_int.h"

/* The pod's own limits, and what its runtime class adds for the engine. */
static void put_resources(struct json_out *o, const Cri__LinuxPodSandboxConfig *lc)
{
	const Cri__LinuxContainerResources *r = lc ? lc->resources : NULL, *more = lc ? lc->overhead : NULL;
	if (!r && !more)
		return;
	json_key(o, "sandboxResources");
	json_object(o);
	if (r) {
		json_member_int(o, "cpuPeriod", r->cpu_period);
		json_member_int(o, "cpuQuota", r->cpu_quota);
		json_member_int(o, "cpuShares", r->cpu_shares);
		json_member_int(o, "memory", r->memory_limit_in_bytes);
	}
	if (more) {
		json_member_int(o, "overheadCpuQuota", more->cpu_quota);
		json_member_int(o, "overheadMemory", more->memory_limit_in_bytes);
	}
	json_end_object(o);
}

const char *facts_json(struct pool *p, const struct pod *pod, const struct container *c)
{
	const Cri__PodSandboxConfig *pc = pod->config;
	struct json_out *o = json_out(p);
	json_object(o);
	json_member_str(o, "sandboxId", pod->id);
	json_member_str(o, "containerType", c ? "container" : "sandbox");
	if (c) {
		json_member_str(o, "name", c->config->metadata->name);
		json_member_str(o, "image", c->config->image->image);
	}
	json_member_str(o, "podName", pc->metadata->name);
	json_member_str(o, "podNamespace", pc->metadata->namespace_);
	json_member_str(o, "podUid", pc->metadata->uid);
	json_member_str(o, "hostname", pc->hostname);
	json_member_str(o, "logDirectory", pc->log_directory);
	json_member_str(o, "netnsPath", pod->netns_pin);
	put_resources(o, pc->linux);
	json_end_object(o);
	return json_text(o, NULL);
}

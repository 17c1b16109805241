/* What an engine may want to know of a pod or container beyond its spec: see crisp_spec_args. */
#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/model/model_int.h"

/* The pod's own limits, and what it takes beside its containers. */
static void put_resources(struct json_out *o, const struct pod *p)
{
	const Cri__LinuxContainerResources *r = p->config->linux ? p->config->linux->resources : NULL;
	struct pod_overhead more = pod_overhead(p);
	if (!r && !more.memory && !more.cpu_quota)
		return;
	json_key(o, "sandboxResources");
	json_object(o);
	if (r) {
		json_member_int(o, "cpuPeriod", r->cpu_period);
		json_member_int(o, "cpuQuota", r->cpu_quota);
		json_member_int(o, "cpuShares", r->cpu_shares);
		json_member_int(o, "memory", r->memory_limit_in_bytes);
	}
	if (more.memory || more.cpu_quota) {
		json_member_int(o, "overheadCpuQuota", more.cpu_quota);
		json_member_int(o, "overheadMemory", more.memory);
	}
	json_end_object(o);
}

static void put_annotations(struct json_out *o, const char *const *pairs)
{
	json_key(o, "annotations");
	json_object(o);
	for (; *pairs; pairs += 2)
		json_member_str(o, pairs[0], pairs[1]);
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
		json_member_str(o, "imageRef", c->image_ref);
	}
	json_member_str(o, "podName", pc->metadata->name);
	json_member_str(o, "podNamespace", pc->metadata->namespace_);
	json_member_str(o, "podUid", pc->metadata->uid);
	json_member_str(o, "hostname", pc->hostname);
	json_member_str(o, "logDirectory", pc->log_directory);
	json_member_str(o, "netnsPath", pod->netns_pin);
	put_annotations(o, pod_annotations(p, pod, c));
	put_resources(o, pod);
	json_end_object(o);
	return json_text(o, NULL);
}

/* What this node and runtime are, and how they feel. */
#include <string.h>

#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/config/config.h"
#include "core/cri/rpc.h"
#include "core/oci/oci.h"
#include "core/plug/net.h"
#include "core/plug/plug.h"
#include "core/store/store.h"

RPC(cri_version)
{
	struct cri *cri = grpc_user(call);
	Cri__VersionResponse resp = CRI__VERSION_RESPONSE__INIT;
	resp.version = (char *)(uintptr_t)"0.1.0";	/* of the kubelet's runtime API, always this */
	resp.runtime_name = (char *)(uintptr_t)"crisp";
	resp.runtime_version = (char *)(uintptr_t)cri->version;
	resp.runtime_api_version = (char *)(uintptr_t)"v1";
	grpc_reply(call, &resp.base);
}

RPC(cri_runtime_config)
{
	struct cri *cri = grpc_user(call);
	Cri__LinuxRuntimeConfiguration lc = CRI__LINUX_RUNTIME_CONFIGURATION__INIT;
	Cri__RuntimeConfigResponse resp = CRI__RUNTIME_CONFIG_RESPONSE__INIT;
	lc.cgroup_driver = strcmp(cri->config->cgroup_driver, "systemd") ? CRI__CGROUP_DRIVER__CGROUPFS :
									   CRI__CGROUP_DRIVER__SYSTEMD;
	resp.linux = &lc;
	grpc_reply(call, &resp.base);
}

/* The pod CIDR is the network plugin's affair and comes from its own options. */
RPC(cri_update_runtime_config)
{
	const Cri__UpdateRuntimeConfigRequest *rq = (const void *)request;
	const Cri__RuntimeConfig *rc = rq->runtime_config;
	if (rc && rc->network_config)
		log_info("the kubelet tells its pod CIDR", "cidr", rc->network_config->pod_cidr);
	rpc_reply_empty(call);
}

/* -- Status -- */

static Cri__RuntimeCondition *condition(struct pool *p, const char *type, bool good, const char *reason,
					const char *message)
{
	Cri__RuntimeCondition *c = pool_new_struct(p, Cri__RuntimeCondition);
	*c = (Cri__RuntimeCondition)CRI__RUNTIME_CONDITION__INIT;
	c->type = (char *)(uintptr_t)type;
	c->status = good;
	if (!good) {
		c->reason = (char *)(uintptr_t)reason;
		c->message = (char *)(uintptr_t)message;
	}
	return c;
}

/* rro: the kernel can. */
static Cri__RuntimeHandler *handler_of(struct pool *p, const struct plug_handler *h, const char *name, bool rro)
{
	Cri__RuntimeHandler *out = pool_new_struct(p, Cri__RuntimeHandler);
	*out = (Cri__RuntimeHandler)CRI__RUNTIME_HANDLER__INIT;
	out->name = (char *)(uintptr_t)name;
	out->features = pool_new_struct(p, Cri__RuntimeHandlerFeatures);
	*out->features = (Cri__RuntimeHandlerFeatures)CRI__RUNTIME_HANDLER_FEATURES__INIT;
	out->features->recursive_read_only_mounts = h->rro && rro;
	out->features->user_namespaces = h->userns;
	return out;
}

/* Only those that work; "" is the default. */
static void fill_handlers(struct pool *pool, struct cri *cri, Cri__StatusResponse *resp)
{
	bool rro = cri->model->g.host->rro;
	size_t n = 0;
	while (plug_handler_at(cri->plug, n))
		n++;
	resp->runtime_handlers = pool_alloc(pool, (n + 1) * sizeof(*resp->runtime_handlers));
	struct plug_handler *d = plug_handler_get(cri->plug, "");
	if (d && d->ready)
		resp->runtime_handlers[resp->n_runtime_handlers++] = handler_of(pool, d, "", rro);
	for (size_t i = 0; i < n; i++) {
		struct plug_handler *h = plug_handler_at(cri->plug, i);
		/* asked for by name, so that one that is not ready is looked at again */
		if (!h->old && plug_handler_get(cri->plug, h->name)->ready)
			resp->runtime_handlers[resp->n_runtime_handlers++] = handler_of(pool, h, h->name, rro);
	}
}

/* Records that a core could not take up. */
static void put_asides(struct json_out *o, struct pool *pool, struct cri *cri)
{
	const char **ids;
	struct err e = { 0 };
	json_key(o, "setAside");
	json_array(o);
	if (store_asides(pool, cri->model->g.store, &ids, &e) == 0)
		for (size_t i = 0; ids[i]; i++)
			json_put_str(o, ids[i]);
	json_end_array(o);
}

static const char *verbose(struct pool *pool, struct cri *cri)
{
	struct json_out *o = json_out(pool);
	json_object(o);
	json_member_str(o, "version", cri->version);
	json_member_int(o, "pods", (int64_t)cri->model->pods.len);
	json_member_int(o, "containers", (int64_t)cri->model->containers.len);
	json_member_int(o, "loopLagP99Us", (int64_t)loop_lag_us(cri->loop, 0.99));
	json_member_int(o, "loopPasses", (int64_t)loop_passes(cri->loop));
	put_asides(o, pool, cri);
	json_key(o, "handlers");
	plug_dump(cri->plug, o);
	json_end_object(o);
	return json_text(o, NULL);
}

RPC(cri_status)
{
	const Cri__StatusRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	struct pool *pool = grpc_pool(call);
	struct plug_handler *d = plug_handler_get(cri->plug, "");
	const char *why = NULL;
	bool net = net_plug_ready(cri->net, &why);
	Cri__RuntimeStatus st = CRI__RUNTIME_STATUS__INIT;
	Cri__RuntimeCondition *conditions[] = {
		condition(pool, "RuntimeReady", d && d->ready, "DefaultHandlerNotReady",
			  d ? d->reason : "there is no default handler"),
		condition(pool, "NetworkReady", net, "NetworkPluginNotReady", why ? why : ""),
	};
	Cri__RuntimeFeatures features = CRI__RUNTIME_FEATURES__INIT;
	features.supplemental_groups_policy = true;
	Cri__StatusResponse resp = CRI__STATUS_RESPONSE__INIT;
	st.n_conditions = 2;
	st.conditions = conditions;
	resp.status = &st;
	resp.features = &features;
	fill_handlers(pool, cri, &resp);
	if (rq->verbose) {
		resp.n_info = 1;
		resp.info = rpc_info(pool, &cri__status_response__info_entry__descriptor, verbose(pool, cri));
	}
	grpc_reply(call, &resp.base);
}

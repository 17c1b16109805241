/* crispctl pods */
#include <string.h>

#include "core/base/pool.h"
#include "tools/crispctl/crispctl.h"
#include "tools/crispctl/show.h"
#include "tools/crispctl/table.h"

static const char *address(struct ctl *c, const char *id)
{
	Cri__PodSandboxStatusRequest req = CRI__POD_SANDBOX_STATUS_REQUEST__INIT;
	Cri__PodSandboxStatusResponse *resp;
	struct err e = { 0 };
	req.pod_sandbox_id = (char *)id;
	/* A pod that has just gone is no error of the list. */
	if (CTL_CALL(c, CTL_RUNTIME, PodSandboxStatus, pod_sandbox_status, &req, &resp, &e) < 0 ||
	    !resp->status || !resp->status->network)
		return NULL;
	const Cri__PodSandboxNetworkStatus *n = resp->status->network;
	return n->n_additional_ips ? pool_printf(c->pool, "%s,%s", n->ip, n->additional_ips[0]->ip)
				   : n->ip;
}

static int run(struct ctl *c, int argc, char **argv, struct err *e)
{
	static const char *const heads[] = { "POD", "NAMESPACE", "NAME",    "STATE",
					     "AGE", "RUNTIME",	 "ADDRESS", NULL };
	bool quiet = false;
	int ret = ctl_list_options(c, argc, argv, &quiet, e);
	if (ret != 1)
		return ret;
	Cri__ListPodSandboxRequest req = CRI__LIST_POD_SANDBOX_REQUEST__INIT;
	Cri__ListPodSandboxResponse *resp;
	ret = CTL_CALL(c, CTL_RUNTIME, ListPodSandbox, list_pod_sandbox, &req, &resp, e);
	if (ret < 0)
		return ret;
	if (c->json && !quiet) {
		ctl_print_message(c, &resp->base);
		return 0;
	}
	struct table *t = table_new(c->pool, heads);
	for (size_t i = 0; i < resp->n_items; i++) {
		const Cri__PodSandbox *p = resp->items[i];
		if (quiet) {
			puts(p->id);
			continue;
		}
		table_cell(t, show_id(c->pool, p->id));
		table_cell(t, p->metadata ? p->metadata->namespace_ : NULL);
		table_cell(t, p->metadata ? p->metadata->name : NULL);
		table_cell(t, show_pod_state(p->state));
		table_cell(t, show_age(c->pool, p->created_at));
		table_cell(t, p->runtime_handler);
		table_cell(t, address(c, p->id));
	}
	if (!quiet)
		table_print(t, stdout);
	return 0;
}

const struct command cmd_pods = {
	.name = "pods",
	.args = "[-q]",
	.summary = "List pods",
	.help = "  -q   whole ids only\n",
	.run = run,
};

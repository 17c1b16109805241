/* crispctl stop */
#include <inttypes.h>
#include <stdio.h>

#include "core/base/pool.h"
#include "tools/crispctl/client.h"
#include "tools/crispctl/crispctl.h"
#include "tools/crispctl/find.h"

enum { GRACE_S = 10, GRACE_MAX_S = 86400 };

static int stop_pod(struct ctl *c, char *id, struct err *e)
{
	Cri__StopPodSandboxRequest req = CRI__STOP_POD_SANDBOX_REQUEST__INIT;
	Cri__StopPodSandboxResponse *resp;
	req.pod_sandbox_id = id;
	return CTL_CALL(c, CTL_RUNTIME, StopPodSandbox, stop_pod_sandbox, &req, &resp, e);
}

static int stop_container(struct ctl *c, char *id, int64_t grace, struct err *e)
{
	Cri__StopContainerRequest req = CRI__STOP_CONTAINER_REQUEST__INIT;
	Cri__StopContainerResponse *resp;
	req.container_id = id;
	req.timeout = grace;
	ctl_deadline(c, grace * 1000 + CTL_CALL_MS);
	return CTL_CALL(c, CTL_RUNTIME, StopContainer, stop_container, &req, &resp, e);
}

static int stop_one(struct ctl *c, const struct find *f, const char *word, int64_t grace,
		    struct err *e)
{
	const Cri__PodSandbox *pod;
	const Cri__Container *ctr;
	int ret = find_any(f, word, &pod, &ctr, e);
	if (ret == 0)
		ret = pod ? stop_pod(c, pod->id, e) : stop_container(c, ctr->id, grace, e);
	if (ret == 0)
		puts(pod ? pod->id : ctr->id);
	return ret;
}

static int run(struct ctl *c, int argc, char **argv, struct err *e)
{
	int64_t grace = GRACE_S;
	int opt, ret;
	while ((opt = ctl_getopt(c, argc, argv, ":t:h", NULL, e)) != -1) {
		if (opt != 't')
			return CTL_GETOPT_RET(opt);
		ret = ctl_number(c, "-t", optarg, GRACE_MAX_S, &grace, e);
		if (ret)
			return ret;
	}
	if (optind == argc)
		return ctl_usage(c, e, "which pod or container?");
	struct find f;
	ret = find_load(c, &f, e);
	for (int i = optind; ret == 0 && i < argc; i++)
		ret = stop_one(c, &f, argv[i], grace, e);
	return ret;
}

const struct command cmd_stop = {
	.name = "stop",
	.args = "[-t SECONDS] POD|CONTAINER...",
	.summary = "Stop containers, or pods with all that is in them",
	.help = "  -t SECONDS   grace for a container between its stop signal and SIGKILL (10);\n"
		"               a pod's containers are given none\n",
	.run = run,
};

/* crispctl rm */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/crispctl/crispctl.h"
#include "tools/crispctl/find.h"
#include "tools/crispctl/podlog.h"

static int remove_pod(struct ctl *c, const Cri__PodSandbox *pod, bool force, struct err *e)
{
	if (pod->state == CRI__POD_SANDBOX_STATE__SANDBOX_READY && !force)
		return err_set(e, EBUSY, "pod %s is up: stop it first, or rm -f",
			       pod->metadata->name);
	Cri__StopPodSandboxRequest stop = CRI__STOP_POD_SANDBOX_REQUEST__INIT;
	Cri__StopPodSandboxResponse *stopped;
	stop.pod_sandbox_id = pod->id;
	int ret = CTL_CALL(c, CTL_RUNTIME, StopPodSandbox, stop_pod_sandbox, &stop, &stopped, e);
	if (ret < 0)
		return ret;
	Cri__RemovePodSandboxRequest req = CRI__REMOVE_POD_SANDBOX_REQUEST__INIT;
	Cri__RemovePodSandboxResponse *resp;
	req.pod_sandbox_id = pod->id;
	ret = CTL_CALL(c, CTL_RUNTIME, RemovePodSandbox, remove_pod_sandbox, &req, &resp, e);
	return ret < 0 ? ret : podlog_remove(c->pool, pod, e);
}

static int remove_container(struct ctl *c, const Cri__Container *ctr, bool force, struct err *e)
{
	if (ctr->state == CRI__CONTAINER_STATE__CONTAINER_RUNNING && !force)
		return err_set(e, EBUSY, "container %s is running: stop it first, or rm -f",
			       ctr->metadata->name);
	Cri__RemoveContainerRequest req = CRI__REMOVE_CONTAINER_REQUEST__INIT;
	Cri__RemoveContainerResponse *resp;
	req.container_id = ctr->id;
	return CTL_CALL(c, CTL_RUNTIME, RemoveContainer, remove_container, &req, &resp, e);
}

static int remove_one(struct ctl *c, const struct find *f, const char *word, bool force,
		      struct err *e)
{
	const Cri__PodSandbox *pod;
	const Cri__Container *ctr;
	int ret = find_any(f, word, &pod, &ctr, e);
	if (ret == 0)
		ret = pod ? remove_pod(c, pod, force, e) : remove_container(c, ctr, force, e);
	if (ret == 0)
		puts(pod ? pod->id : ctr->id);
	return ret;
}

static int run(struct ctl *c, int argc, char **argv, struct err *e)
{
	bool force = false, all = false;
	int opt, ret;
	while ((opt = ctl_getopt(c, argc, argv, ":fah", NULL, e)) != -1) {
		if (opt == 'f')
			force = true;
		else if (opt == 'a')
			all = true;
		else
			return CTL_GETOPT_RET(opt);
	}
	if (all ? optind < argc : optind == argc)
		return ctl_usage(c, e, all ? "-a takes no names" : "which pod or container?");
	struct find f;
	ret = find_load(c, &f, e);
	for (size_t i = 0; all && ret == 0 && i < f.pods->n_items; i++)
		ret = remove_one(c, &f, f.pods->items[i]->id, force, e);
	for (int i = optind; ret == 0 && i < argc; i++)
		ret = remove_one(c, &f, argv[i], force, e);
	return ret;
}

const struct command cmd_rm = {
	.name = "rm",
	.args = "[-f] POD|CONTAINER... | -a",
	.summary = "Remove containers, or pods with all that is in them",
	.help = "  -f   stop first what runs\n"
		"  -a   every pod\n",
	.run = run,
};

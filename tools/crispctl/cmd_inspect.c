/* crispctl inspect: all that the runtime says of a pod, a container or an image. */
#include <errno.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/pool.h"
#include "tools/crispctl/crispctl.h"
#include "tools/crispctl/find.h"
#include "tools/crispctl/info.h"
#include "tools/crispctl/protojson.h"

static int inspect_pod(struct ctl *c, char *id, struct json_out *o, struct err *e)
{
	Cri__PodSandboxStatusRequest req = CRI__POD_SANDBOX_STATUS_REQUEST__INIT;
	Cri__PodSandboxStatusResponse *resp;
	req.pod_sandbox_id = id;
	req.verbose = true;
	int ret = CTL_CALL(c, CTL_RUNTIME, PodSandboxStatus, pod_sandbox_status, &req, &resp, e);
	if (ret < 0)
		return ret;
	json_key(o, "status");
	protojson(&resp->status->base, o);
	INFO_PUT(c, o, resp);
	return 0;
}

static int inspect_container(struct ctl *c, char *id, struct json_out *o, struct err *e)
{
	Cri__ContainerStatusRequest req = CRI__CONTAINER_STATUS_REQUEST__INIT;
	Cri__ContainerStatusResponse *resp;
	req.container_id = id;
	req.verbose = true;
	int ret = CTL_CALL(c, CTL_RUNTIME, ContainerStatus, container_status, &req, &resp, e);
	if (ret < 0)
		return ret;
	json_key(o, "status");
	protojson(&resp->status->base, o);
	INFO_PUT(c, o, resp);
	return 0;
}

static int inspect_image(struct ctl *c, char *name, struct json_out *o, struct err *e)
{
	Cri__ImageSpec spec = CRI__IMAGE_SPEC__INIT;
	Cri__ImageStatusRequest req = CRI__IMAGE_STATUS_REQUEST__INIT;
	Cri__ImageStatusResponse *resp;
	spec.image = name;
	req.image = &spec;
	req.verbose = true;
	int ret = CTL_CALL(c, CTL_IMAGE, ImageStatus, image_status, &req, &resp, e);
	if (ret == 0 && !resp->image)
		return err_set(e, ENOENT, "no pod, container or image is called \"%s\"", name);
	if (ret < 0)
		return ret;
	json_key(o, "status");
	protojson(&resp->image->base, o);
	INFO_PUT(c, o, resp);
	return 0;
}

static int inspect_one(struct ctl *c, const struct find *f, char *word, struct err *e)
{
	const Cri__PodSandbox *pod;
	const Cri__Container *ctr;
	struct json_out *o = json_out(c->pool);
	json_object(o);
	int ret = find_any(f, word, &pod, &ctr, e);
	if (ret == -ENOENT) {
		err_clear(e);
		ret = inspect_image(c, word, o, e);
	} else if (ret == 0) {
		ret = pod ? inspect_pod(c, pod->id, o, e) : inspect_container(c, ctr->id, o, e);
	}
	json_end_object(o);
	if (ret == 0)
		ctl_print_json(c, o);
	return ret;
}

static int run(struct ctl *c, int argc, char **argv, struct err *e)
{
	int opt = ctl_getopt(c, argc, argv, ":h", NULL, e);
	if (opt != -1)
		return CTL_GETOPT_RET(opt);
	if (optind == argc)
		return ctl_usage(c, e, "which pod, container or image?");
	struct find f;
	int ret = find_load(c, &f, e);
	for (int i = optind; ret == 0 && i < argc; i++)
		ret = inspect_one(c, &f, argv[i], e);
	return ret;
}

const struct command cmd_inspect = {
	.name = "inspect",
	.args = "POD|CONTAINER|IMAGE...",
	.summary = "Print all that the runtime says of one thing, as JSON",
	.run = run,
};

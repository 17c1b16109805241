/* crispctl rmi */
#include <errno.h>
#include <stdio.h>

#include "tools/crispctl/crispctl.h"

static int remove_one(struct ctl *c, char *name, struct err *e)
{
	Cri__ImageSpec spec = CRI__IMAGE_SPEC__INIT;
	Cri__ImageStatusRequest ask = CRI__IMAGE_STATUS_REQUEST__INIT;
	Cri__ImageStatusResponse *there;
	Cri__RemoveImageRequest req = CRI__REMOVE_IMAGE_REQUEST__INIT;
	Cri__RemoveImageResponse *resp;
	spec.image = name;
	ask.image = &spec;
	req.image = &spec;
	/* The CRI's removal succeeds for what was never there; a person mistypes. */
	int ret = CTL_CALL(c, CTL_IMAGE, ImageStatus, image_status, &ask, &there, e);
	if (ret == 0 && !there->image)
		return err_set(e, ENOENT, "no image is called \"%s\"", name);
	if (ret == 0)
		ret = CTL_CALL(c, CTL_IMAGE, RemoveImage, remove_image, &req, &resp, e);
	if (ret == 0)
		puts(there->image->id);
	return ret;
}

static int run(struct ctl *c, int argc, char **argv, struct err *e)
{
	int opt = ctl_getopt(c, argc, argv, ":h", NULL, e), ret = 0;
	if (opt != -1)
		return CTL_GETOPT_RET(opt);
	if (optind == argc)
		return ctl_usage(c, e, "which image?");
	for (int i = optind; ret == 0 && i < argc; i++)
		ret = remove_one(c, argv[i], e);
	return ret;
}

const struct command cmd_rmi = {
	.name = "rmi",
	.args = "IMAGE...",
	.summary = "Remove images, by name or id",
	.run = run,
};

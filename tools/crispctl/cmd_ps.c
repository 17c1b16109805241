/* crispctl ps */
#include <inttypes.h>
#include <string.h>

#include "core/base/pool.h"
#include "tools/crispctl/crispctl.h"
#include "tools/crispctl/find.h"
#include "tools/crispctl/show.h"
#include "tools/crispctl/table.h"

/* The list does not say it. */
static const char *exit_code(struct ctl *c, const Cri__Container *ctr)
{
	Cri__ContainerStatusRequest req = CRI__CONTAINER_STATUS_REQUEST__INIT;
	Cri__ContainerStatusResponse *resp;
	struct err e = { 0 };
	if (ctr->state != CRI__CONTAINER_STATE__CONTAINER_EXITED)
		return NULL;
	req.container_id = ctr->id;
	if (CTL_CALL(c, CTL_RUNTIME, ContainerStatus, container_status, &req, &resp, &e) < 0 ||
	    !resp->status)
		return NULL;
	return pool_printf(c->pool, "%" PRId32 " %s", resp->status->exit_code,
			   resp->status->reason);
}

static void put_row(struct table *t, const struct find *f, const Cri__Container *ctr,
		    const Cri__ListImagesResponse *images)
{
	struct pool *p = f->ctl->pool;
	table_cell(t, show_id(p, ctr->id));
	table_cell(t, find_pod_name(f, ctr->pod_sandbox_id));
	table_cell(t, ctr->metadata ? ctr->metadata->name : NULL);
	table_cell(t, show_image(p, ctr, images));
	table_cell(t, show_state(ctr->state));
	table_cell(t, show_age(p, ctr->created_at));
	table_cell(t, exit_code(f->ctl, ctr));
}

/* Keep what was asked for, in place. */
static int select_containers(struct find *f, bool all, const char *pod_word, struct err *e)
{
	const Cri__PodSandbox *pod = NULL;
	int ret = pod_word ? find_pod(f, pod_word, &pod, e) : 0;
	size_t n = 0;
	for (size_t i = 0; i < f->containers->n_containers; i++) {
		Cri__Container *ctr = f->containers->containers[i];
		if ((all || ctr->state == CRI__CONTAINER_STATE__CONTAINER_RUNNING) &&
		    (!pod || !strcmp(ctr->pod_sandbox_id, pod->id)))
			f->containers->containers[n++] = ctr;
	}
	f->containers->n_containers = n;
	return ret;
}

static int run(struct ctl *c, int argc, char **argv, struct err *e)
{
	static const char *const heads[] = { "CONTAINER", "POD", "NAME", "IMAGE",
					     "STATE",	  "AGE", "EXIT", NULL };
	bool all = false, quiet = false;
	int opt;
	while ((opt = ctl_getopt(c, argc, argv, ":aqh", NULL, e)) != -1) {
		if (opt == 'a')
			all = true;
		else if (opt == 'q')
			quiet = true;
		else
			return CTL_GETOPT_RET(opt);
	}
	if (optind + 1 < argc)
		return ctl_usage(c, e, "unexpected \"%s\"", argv[optind + 1]);
	struct find f;
	Cri__ListImagesRequest req = CRI__LIST_IMAGES_REQUEST__INIT;
	Cri__ListImagesResponse *images;
	int ret = find_load(c, &f, e);
	if (ret == 0)
		ret = CTL_CALL(c, CTL_IMAGE, ListImages, list_images, &req, &images, e);
	if (ret == 0)
		ret = select_containers(&f, all, argv[optind], e);
	if (ret < 0)
		return ret;
	if (c->json && !quiet) {
		ctl_print_message(c, &f.containers->base);
		return 0;
	}
	struct table *t = table_new(c->pool, heads);
	for (size_t i = 0; i < f.containers->n_containers; i++) {
		if (quiet)
			puts(f.containers->containers[i]->id);
		else
			put_row(t, &f, f.containers->containers[i], images);
	}
	if (!quiet)
		table_print(t, stdout);
	return 0;
}

const struct command cmd_ps = {
	.name = "ps",
	.args = "[-aq] [POD]",
	.summary = "List containers: the running ones, or all",
	.help = "  -a   those that are created or have exited, too\n"
		"  -q   whole ids only\n",
	.run = run,
};

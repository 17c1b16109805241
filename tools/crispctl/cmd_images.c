/* crispctl images */
#include <string.h>

#include "core/base/pool.h"
#include "tools/crispctl/crispctl.h"
#include "tools/crispctl/show.h"
#include "tools/crispctl/table.h"

static void put_row(struct ctl *c, struct table *t, const Cri__Image *image, const char *name)
{
	table_cell(t, name);
	table_cell(t, show_id(c->pool, image->id));
	table_cell(t, show_bytes(c->pool, image->size));
	table_cell(t, image->pinned ? "pinned" : NULL);
}

static int run(struct ctl *c, int argc, char **argv, struct err *e)
{
	static const char *const heads[] = { "IMAGE", "ID", "SIZE", "NOTE", NULL };
	bool quiet = false;
	int ret = ctl_list_options(c, argc, argv, &quiet, e);
	if (ret != 1)
		return ret;
	Cri__ListImagesRequest req = CRI__LIST_IMAGES_REQUEST__INIT;
	Cri__ListImagesResponse *resp;
	ret = CTL_CALL(c, CTL_IMAGE, ListImages, list_images, &req, &resp, e);
	if (ret < 0)
		return ret;
	if (c->json && !quiet) {
		ctl_print_message(c, &resp->base);
		return 0;
	}
	struct table *t = table_new(c->pool, heads);
	for (size_t i = 0; i < resp->n_images; i++) {
		const Cri__Image *image = resp->images[i];
		if (quiet)
			puts(image->id);
		/* One row a name, as people look for names; a digest where there is no tag. */
		for (size_t k = 0; k < image->n_repo_tags; k++)
			put_row(c, t, image, image->repo_tags[k]);
		if (image->n_repo_tags == 0)
			put_row(c, t, image, image->n_repo_digests ? image->repo_digests[0] : NULL);
	}
	if (!quiet)
		table_print(t, stdout);
	return 0;
}

const struct command cmd_images = {
	.name = "images",
	.args = "[-q]",
	.summary = "List images",
	.help = "  -q   whole ids only\n",
	.run = run,
};

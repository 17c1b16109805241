/* crispctl load: images from a file of the node, through crisp's own service. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/file.h"
#include "core/base/pool.h"
#include "tools/crispctl/client.h"
#include "tools/crispctl/crispctl.h"
#include "tools/crispctl/progress.h"

static int stream(struct ctl *c, const Node__LoadRequest *req, struct progress *p, struct err *e)
{
	size_t images = 0;
	int ret = client_begin(c->client, "/crisp.v1.Node/Load", &req->base, e);
	while (ret >= 0) {
		ProtobufCMessage *m;
		ret = client_next(c->client, &node__load_progress__descriptor, &m, e);
		if (ret <= 0)
			break;
		const Node__LoadProgress *now = (Node__LoadProgress *)m;
		progress_update(p, now->stage, now->done, now->total, now->layers_done,
				now->layers);
		for (size_t i = 0; i < now->n_image_ids; i++, images++) {
			progress_end(p);
			puts(now->image_ids[i]);
		}
	}
	progress_end(p);
	if (ret == -ENOSYS) {
		err_clear(e);
		return err_set(e, ENOSYS, "the runtime on %s can't load images: it is no crisp",
			       c->socket);
	}
	return ret == 0 && images == 0 ? err_set(e, EPROTO, "the load ended without an image")
				       : ret;
}

static int run(struct ctl *c, int argc, char **argv, struct err *e)
{
	static const struct option longs[] = { { "name", required_argument, NULL, 'n' },
					       { "help", no_argument, NULL, 'h' },
					       { 0 } };
	Node__LoadRequest req = NODE__LOAD_REQUEST__INIT;
	struct progress p;
	int opt;
	while ((opt = ctl_getopt(c, argc, argv, ":n:h", longs, e)) != -1) {
		if (opt != 'n')
			return CTL_GETOPT_RET(opt);
		req.name = optarg;
	}
	if (optind + 1 != argc)
		return ctl_usage(c, e, "expected one file or folder");
	auto_free char *path = realpath(argv[optind], NULL);
	if (!path)
		return err_sys(e, "%s", argv[optind]);
	req.path = path;
	int ret = ctl_connect(c, e);
	if (ret < 0)
		return ret;
	ctl_deadline(c, 0);
	progress_begin(&p, pool_printf(c->pool, "load %s", argv[optind]));
	return stream(c, &req, &p, e);
}

const struct command cmd_load = {
	.name = "load",
	.args = "[-n NAME] FILE|FOLDER",
	.summary = "Load images from an OCI layout or a docker archive and print their ids",
	.help = "  -n, --name NAME   call the image so; needed when the file gives no name\n\n"
		"The runtime opens the file itself, so it must lie on its own host.\n",
	.run = run,
};

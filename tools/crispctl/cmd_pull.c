/* crispctl pull: with crisp's own stream when the server has it, else by the CRI's one call. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/pool.h"
#include "tools/crispctl/client.h"
#include "tools/crispctl/crispctl.h"
#include "tools/crispctl/progress.h"
#include "tools/crispctl/pull.h"

/* Split at the first colon; a password may hold more of them. */
static void split_auth(struct ctl *c, const char *auth, char **user, char **password)
{
	const char *colon = auth ? strchr(auth, ':') : NULL;
	if (!auth)
		return;
	*user = pool_strndup(c->pool, auth, colon ? (size_t)(colon - auth) : strlen(auth));
	if (colon)
		*password = pool_strdup(c->pool, colon + 1);
}

static int pull_streaming(struct ctl *c, const char *image, const char *auth, struct progress *p,
			  const char **id, struct err *e)
{
	Node__Auth login = NODE__AUTH__INIT;
	Node__PullRequest req = NODE__PULL_REQUEST__INIT;
	req.image = (char *)image;
	split_auth(c, auth, &login.username, &login.password);
	if (auth)
		req.auth = &login;
	int ret = client_begin(c->client, "/crisp.v1.Node/Pull", &req.base, e);
	while (ret >= 0) {
		ProtobufCMessage *m;
		ret = client_next(c->client, &node__pull_progress__descriptor, &m, e);
		if (ret <= 0)
			break;
		const Node__PullProgress *now = (Node__PullProgress *)m;
		progress_update(p, now->stage, now->done, now->total, now->layers_done,
				now->layers);
		if (*now->image_id)
			*id = now->image_id;
	}
	if (ret == 0 && !*id)
		return err_set(e, EPROTO, "the pull ended without an image");
	return ret;
}

static int pull_plain(struct ctl *c, const char *image, const char *auth, struct progress *p,
		      const char **id, struct err *e)
{
	Cri__AuthConfig login = CRI__AUTH_CONFIG__INIT;
	Cri__ImageSpec spec = CRI__IMAGE_SPEC__INIT;
	Cri__PullImageRequest req = CRI__PULL_IMAGE_REQUEST__INIT;
	Cri__PullImageResponse *resp;
	spec.image = (char *)image;
	req.image = &spec;
	split_auth(c, auth, &login.username, &login.password);
	if (auth)
		req.auth = &login;
	client_set_tick(c->client, progress_spin, p);
	int ret = CTL_CALL(c, CTL_IMAGE, PullImage, pull_image, &req, &resp, e);
	client_set_tick(c->client, NULL, NULL);
	if (ret == 0)
		*id = resp->image_ref;
	return ret;
}

int pull_image(struct ctl *c, const char *image, const char *auth, const char **id, struct err *e)
{
	struct progress p;
	*id = NULL;
	int ret = ctl_connect(c, e);
	if (ret < 0)
		return ret;
	ctl_deadline(c, 0);
	progress_begin(&p, pool_printf(c->pool, "pull %s", image));
	ret = pull_streaming(c, image, auth, &p, id, e);
	if (ret == -ENOSYS) {
		err_clear(e);
		ret = pull_plain(c, image, auth, &p, id, e);
	}
	progress_end(&p);
	ctl_deadline(c, CTL_CALL_MS);
	return ret;
}

static int run(struct ctl *c, int argc, char **argv, struct err *e)
{
	static const struct option longs[] = { { "creds", required_argument, NULL, 'c' },
					       { "help", no_argument, NULL, 'h' },
					       { 0 } };
	const char *auth = NULL, *id;
	int opt, ret = 0;
	while ((opt = ctl_getopt(c, argc, argv, ":h", longs, e)) != -1) {
		if (opt != 'c')
			return CTL_GETOPT_RET(opt);
		auth = optarg;
	}
	if (optind == argc)
		return ctl_usage(c, e, "which image?");
	for (int i = optind; ret == 0 && i < argc; i++) {
		ret = pull_image(c, argv[i], auth, &id, e);
		if (ret == 0)
			puts(id);
	}
	return ret;
}

const struct command cmd_pull = {
	.name = "pull",
	.args = "[--creds USER:PASSWORD] IMAGE...",
	.summary = "Pull images and print their ids",
	.help = "  --creds USER:PASSWORD   log in with these\n\n"
		"There is no deadline unless --timeout gives one.\n",
	.run = run,
};

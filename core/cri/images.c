/* ImageService. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/config/config.h"
#include "core/cri/rpc.h"
#include "core/cri/usage.h"
#include "core/image/image.h"
#include "core/plug/plug.h"

/* image.config.User: a number is uid, anything else username; what follows ':' is the group. */
static void fill_user(struct pool *p, const char *user, Cri__Image *out)
{
	if (!user || !user[0])
		user = "0";
	size_t len = strcspn(user, ":");
	char *name = pool_strndup(p, user, len), *end;
	long long uid = strtoll(name, &end, 10);
	if (*end || !name[0]) {
		out->username = name;
		return;
	}
	out->uid = pool_new_struct(p, Cri__Int64Value);
	*out->uid = (Cri__Int64Value)CRI__INT64_VALUE__INIT;
	out->uid->value = uid;
}

static Cri__Image *image_of(struct pool *p, const struct image *im)
{
	Cri__Image *out = pool_new_struct(p, Cri__Image);
	*out = (Cri__Image)CRI__IMAGE__INIT;
	out->id = (char *)(uintptr_t)im->id;
	out->n_repo_tags = im->n_repo_tags;
	out->repo_tags = (char **)im->repo_tags;
	out->n_repo_digests = im->n_repo_digests;
	out->repo_digests = (char **)im->repo_digests;
	out->size = im->size;
	out->pinned = im->pinned;
	out->spec = pool_new_struct(p, Cri__ImageSpec);
	*out->spec = (Cri__ImageSpec)CRI__IMAGE_SPEC__INIT;
	out->spec->image = (char *)(uintptr_t)im->id;
	fill_user(p, im->config.user, out);
	return out;
}

static const char *asked(const Cri__ImageSpec *spec)
{
	return spec ? spec->image : "";
}

/* A handler that this node does not have is refused by name. */
static bool spec_ok(struct grpc_call *call, const Cri__ImageSpec *spec, bool needed)
{
	struct cri *cri = grpc_user(call);
	struct err e = { 0 };
	if (needed && !asked(spec)[0])
		err_set(&e, EINVAL, "image.image: is empty, expected a reference");
	else if (spec && spec->runtime_handler[0] && !plug_handler_get(cri->plug, spec->runtime_handler))
		err_set(&e, EINVAL, "image.runtime_handler \"%s\": no such handler on this node",
			spec->runtime_handler);
	if (e.code)
		grpc_fail(call, &e);
	return !e.code;
}

RPC(cri_list_images)
{
	const Cri__ListImagesRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	struct pool *pool = grpc_pool(call);
	const char *want = rq->filter ? asked(rq->filter->image) : "";
	const struct image *im;
	size_t all = 0, n = 0;
	for (im = image_next(cri->images, NULL); im; im = image_next(cri->images, im))
		all++;
	void **list = pool_alloc(pool, (all + 1) * sizeof(*list));
	if (want[0]) {
		im = image_find(cri->images, want);
		if (im)
			list[n++] = image_of(pool, im);
	} else {
		for (im = image_next(cri->images, NULL); im; im = image_next(cri->images, im))
			list[n++] = image_of(pool, im);
	}
	rpc_reply_list(call, list, n);
}

static const char *verbose_image(struct grpc_call *call, const struct image *im)
{
	struct cri *cri = grpc_user(call);
	struct pool *pool = grpc_pool(call);
	struct buf text = { 0 };
	struct err e = { 0 };
	const struct json *config = NULL;
	struct json_out *o = json_out(pool);
	if (image_config_json(cri->images, im, &text, &e) == 0)
		json_parse(pool, text.data, text.len, &config, &e);
	json_object(o);
	json_key(o, "imageSpec");
	json_put(o, config);
	json_end_object(o);
	buf_free(&text);
	return json_text(o, NULL);
}

RPC(cri_image_status)
{
	const Cri__ImageStatusRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	if (!spec_ok(call, rq->image, true))
		return;
	Cri__ImageStatusResponse resp = CRI__IMAGE_STATUS_RESPONSE__INIT;
	const struct image *im = image_find(cri->images, asked(rq->image));
	if (im) {
		resp.image = image_of(grpc_pool(call), im);
		if (rq->verbose) {
			resp.n_info = 1;
			resp.info = rpc_info(grpc_pool(call), &cri__image_status_response__info_entry__descriptor,
					     verbose_image(call, im));
		}
	}
	grpc_reply(call, &resp.base);
}

/* -- pull -- */

static void handle_pull_left(struct grpc_call *call, void *data)
{
	image_pull_leave(data);
}

static void handle_pulled(void *data, int ret, const char *image_id, const struct err *e)
{
	struct grpc_call *call = data;
	if (ret < 0) {
		grpc_fail(call, e);
		return;
	}
	Cri__PullImageResponse resp = CRI__PULL_IMAGE_RESPONSE__INIT;
	resp.image_ref = (char *)(uintptr_t)image_id;
	grpc_reply(call, &resp.base);
}

RPC(cri_pull_image)
{
	const Cri__PullImageRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	if (!spec_ok(call, rq->image, true))
		return;
	struct image_auth auth = { 0 };
	if (rq->auth)
		auth = (struct image_auth){
			.username = rpc_given(rq->auth->username),
			.password = rpc_given(rq->auth->password),
			.auth = rpc_given(rq->auth->auth),
			.server_address = rpc_given(rq->auth->server_address),
			.identity_token = rpc_given(rq->auth->identity_token),
			.registry_token = rpc_given(rq->auth->registry_token),
		};
	struct image_pull *p = image_pull(cri->images, asked(rq->image), rq->auth ? &auth : NULL, NULL,
					  handle_pulled, call);
	grpc_on_cancel(call, handle_pull_left, p);
}

struct removal {
	struct image_await await;
	struct grpc_call *call;
};

static void handle_deleted(struct image_await *w)
{
	rpc_reply_empty(container_of(w, struct removal, await)->call);
}

static void handle_removal_left(struct grpc_call *call, void *data)
{
	struct removal *r = data;
	image_await_leave(&r->await);
}

/* Answered once the disk has its space back: a kubelet that is short of it looks right after, and evicts pods when it sees
 * no more than before. */
RPC(cri_remove_image)
{
	const Cri__RemoveImageRequest *rq = (const void *)request;
	struct cri *cri = grpc_user(call);
	struct err e = { 0 };
	if (!spec_ok(call, rq->image, true))
		return;
	if (image_remove(cri->images, asked(rq->image), &e) < 0) {
		grpc_fail(call, &e);
		return;
	}
	struct removal *r = pool_new_struct(grpc_pool(call), struct removal);
	r->call = call;
	image_await_deleted(cri->images, &r->await, handle_deleted);
	grpc_on_cancel(call, handle_removal_left, r);
}

/* -- file system -- */

static Cri__FilesystemUsage *usage_of(struct pool *p, const char *path, int64_t at_ns, bool known, uint64_t bytes,
				      uint64_t inodes)
{
	Cri__FilesystemUsage *u = pool_new_struct(p, Cri__FilesystemUsage);
	*u = (Cri__FilesystemUsage)CRI__FILESYSTEM_USAGE__INIT;
	u->timestamp = at_ns;
	u->fs_id = pool_new_struct(p, Cri__FilesystemIdentifier);
	*u->fs_id = (Cri__FilesystemIdentifier)CRI__FILESYSTEM_IDENTIFIER__INIT;
	u->fs_id->mountpoint = (char *)(uintptr_t)path;
	u->used_bytes = rpc_number(p, known, bytes);
	u->inodes_used = rpc_number(p, known, inodes);
	return u;
}

/* All writable layers as last measured, which is as long ago as that of any of them. */
static Cri__FilesystemUsage *layers_usage(struct pool *p, struct model *m)
{
	uint64_t bytes = 0, inodes = 0;
	int64_t at_ns = clock_real_ns();
	bool known = true;
	struct container *c;
	list_for_each(c, &m->container_list, link) {
		bytes += c->rw_bytes;
		inodes += c->rw_inodes;
		known = known && (c->rw_at_ns || c->state == CONTAINER_STATE_CREATING);
		if (c->rw_at_ns && c->rw_at_ns < at_ns)
			at_ns = c->rw_at_ns;
	}
	return usage_of(p, usage_layers_path(p, m), at_ns, known, bytes, inodes);
}

RPC(cri_image_fs_info)
{
	struct cri *cri = grpc_user(call);
	struct pool *pool = grpc_pool(call);
	uint64_t bytes, inodes;
	const char *mountpoint;
	image_fs_info(cri->images, &bytes, &inodes, &mountpoint);
	model_measure(cri->model);
	Cri__FilesystemUsage *images = usage_of(pool, mountpoint, clock_real_ns(), true, bytes, inodes);
	Cri__FilesystemUsage *layers = layers_usage(pool, cri->model);
	Cri__ImageFsInfoResponse resp = CRI__IMAGE_FS_INFO_RESPONSE__INIT;
	resp.n_image_filesystems = resp.n_container_filesystems = 1;
	resp.image_filesystems = &images;
	resp.container_filesystems = &layers;
	grpc_reply(call, &resp.base);
}

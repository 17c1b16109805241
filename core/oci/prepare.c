/*
 * What is asked of `crisp-work prepare`, and what it answers.  Both are JSON; core/work/prepare.h
 * says what the members mean.
 */
#include <errno.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/image/image.h"
#include "core/oci/oci.h"
#include "core/oci/view.h"

/* A reply has at most so many of anything. */
enum { MAX_ITEMS = 65536 };

/* ---- request ---- */

static void put_layers(struct json_out *o, const struct oci_layers *l)
{
	json_key(o, "layers");
	json_array(o);
	for (size_t i = 0; i < l->n; i++)
		json_put_str(o, l->dirs[i]);
	json_end_array(o);
	json_member_str(o, "upper", l->upper);
	json_member_str(o, "work", l->work);
}

static void put_user(struct json_out *o, const Cri__ContainerConfig *ctr, const struct image_config *im)
{
	const Cri__LinuxContainerSecurityContext *s = view_security(ctr);
	json_key(o, "user");
	json_object(o);
	if (view_set(im->user))
		json_member_str(o, "image", im->user);
	if (s && s->run_as_user)
		json_member_int(o, "uid", s->run_as_user->value);
	if (s && view_set(s->run_as_username))
		json_member_str(o, "name", s->run_as_username);
	if (s && s->run_as_group)
		json_member_int(o, "gid", s->run_as_group->value);
	json_key(o, "groups");
	json_array(o);
	for (size_t i = 0; s && i < s->n_supplemental_groups; i++)
		json_put_int(o, s->supplemental_groups[i]);
	json_end_array(o);
	json_member_bool(o, "strict",
			 s && s->supplemental_groups_policy == CRI__SUPPLEMENTAL_GROUPS_POLICY__Strict);
	json_end_object(o);
}

static void put_mounts(struct json_out *o, const Cri__ContainerConfig *ctr)
{
	json_key(o, "mounts");
	json_array(o);
	for (size_t i = 0; i < ctr->n_mounts; i++) {
		int propagation = (int)ctr->mounts[i]->propagation;
		json_object(o);
		json_member_str(o, "source", ctr->mounts[i]->host_path);
		if (propagation == CRI__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL)
			json_member_str(o, "peers", "shared");
		else if (propagation == CRI__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER)
			json_member_str(o, "peers", "slave");
		json_end_object(o);
	}
	json_end_array(o);
}

static void put_devices(struct json_out *o, struct pool *p, const Cri__ContainerConfig *ctr, bool all)
{
	json_key(o, "devices");
	json_array(o);
	for (size_t i = 0; i < ctr->n_devices; i++) {
		const Cri__Device *d = ctr->devices[i];
		json_object(o);
		json_member_str(o, "source", d->host_path);
		json_member_str(o, "target",
				view_clean_path(p, view_set(d->container_path) ? d->container_path : d->host_path));
		json_member_str(o, "access", view_set(d->permissions) ? d->permissions : "rwm");
		json_end_object(o);
	}
	json_end_array(o);
	json_member_bool(o, "all_devices", all);
}

int oci_prepare_request(struct pool *p, const Cri__PodSandboxConfig *pod, const Cri__ContainerConfig *ctr,
			const struct image_config *im, const struct oci_layers *layers, bool host_devices,
			const char **json, size_t *len, struct err *e)
{
	struct idmap map;
	char text[IDMAP_TEXT_MAX];
	const char *profile;
	if (!layers->n)
		return err_set(e, EINVAL, "the image has no layer");
	struct json_out *o = json_out(p);
	json_object(o);
	put_layers(o, layers);
	oci_userns_of(pod, &map);
	if (map.n_uids)
		json_member_str(o, "userns", idmap_text(&map, text));
	put_user(o, ctr, im);
	put_mounts(o, ctr);
	put_devices(o, p, ctr, host_devices && oci_ctr_privileged(ctr));
	json_key(o, "volumes");
	json_array(o);
	for (size_t i = 0; i < im->n_volumes; i++)
		json_put_str(o, im->volumes[i]);
	json_end_array(o);
	if (view_seccomp(ctr, &profile) == VIEW_SECCOMP_FILE)
		json_member_str(o, "seccomp", profile);
	json_end_object(o);
	*json = json_text(o, len);
	return 0;
}

/* ---- reply ---- */

static int bad(struct err *e, const char *member)
{
	return err_set(e, EPROTO, "crisp-work prepare: bad \"%s\" in its reply", member);
}

static bool get_id(const struct json *j, uint32_t *out)
{
	int64_t n = json_int(j, -1);
	*out = (uint32_t)n;
	return n >= 0 && n < UINT32_MAX;
}

static int parse_user(struct pool *p, const struct json *root, struct oci_prepared *out, struct err *e)
{
	const struct json *groups = json_get(root, "groups");
	if (!get_id(json_get(root, "uid"), &out->uid))
		return bad(e, "uid");
	if (!get_id(json_get(root, "gid"), &out->gid))
		return bad(e, "gid");
	out->home = json_str(json_get(root, "home"));
	if (!out->home)
		return bad(e, "home");
	out->username = json_str(json_get(root, "username"));
	out->n_groups = json_len(groups);
	if (!json_is_array(groups) || out->n_groups > MAX_ITEMS)
		return bad(e, "groups");
	out->groups = pool_alloc(p, out->n_groups * sizeof(*out->groups));
	for (size_t i = 0; i < out->n_groups; i++)
		if (!get_id(json_at(groups, i), &out->groups[i]))
			return bad(e, "groups");
	return 0;
}

static int parse_mounts(struct pool *p, const struct json *list, size_t want, struct oci_prepared *out, struct err *e)
{
	out->n_mounts = json_len(list);
	if (!json_is_array(list) || out->n_mounts != want)
		return bad(e, "mounts");
	out->mounts = pool_alloc(p, want * sizeof(*out->mounts));
	for (size_t i = 0; i < want; i++) {
		const struct json *m = json_at(list, i);
		out->mounts[i] = (struct oci_mount){
			.source = json_str(json_get(m, "source")),
			.is_dir = json_bool(json_get(m, "dir"), false),
			.made = json_bool(json_get(m, "made"), false),
		};
		if (!out->mounts[i].source || *out->mounts[i].source != '/')
			return bad(e, "mounts");
	}
	return 0;
}

static int parse_devices(struct pool *p, const struct json *list, struct oci_prepared *out, struct err *e)
{
	out->n_devices = json_len(list);
	if (!json_is_array(list) || out->n_devices > MAX_ITEMS)
		return bad(e, "devices");
	out->devices = pool_alloc(p, out->n_devices * sizeof(*out->devices));
	for (size_t i = 0; i < out->n_devices; i++) {
		const struct json *j = json_at(list, i);
		const char *type = json_str(json_get(j, "type"));
		struct oci_device *d = &out->devices[i];
		uint32_t major, minor, mode;
		d->path = json_str(json_get(j, "path"));
		d->access = json_str(json_get(j, "access"));
		if (!d->path || *d->path != '/' || !d->access || !type || (*type != 'c' && *type != 'b') ||
		    !get_id(json_get(j, "major"), &major) || !get_id(json_get(j, "minor"), &minor) ||
		    !get_id(json_get(j, "mode"), &mode) || !get_id(json_get(j, "uid"), &d->uid) ||
		    !get_id(json_get(j, "gid"), &d->gid))
			return bad(e, "devices");
		d->type = *type;
		d->major = major;
		d->minor = minor;
		d->mode = mode & 07777;
	}
	return 0;
}

static int parse_volumes(struct pool *p, const struct json *list, struct oci_prepared *out, struct err *e)
{
	out->n_volumes = json_len(list);
	if (!json_is_array(list) || out->n_volumes > MAX_ITEMS)
		return bad(e, "volumes");
	out->volumes = pool_alloc(p, out->n_volumes * sizeof(*out->volumes));
	for (size_t i = 0; i < out->n_volumes; i++) {
		out->volumes[i] = json_str(json_at(list, i));
		if (!out->volumes[i] || *out->volumes[i] != '/')
			return bad(e, "volumes");
	}
	return 0;
}

int oci_prepare_parse(struct pool *p, const Cri__ContainerConfig *ctr, const char *json, size_t len,
		      struct oci_prepared *out, struct err *e)
{
	const struct json *root;
	const char *profile;
	*out = (struct oci_prepared){ 0 };
	int ret = json_parse(p, json, len, &root, e);
	if (ret < 0) {
		err_wrap(e, ret, "crisp-work prepare");
		return -EPROTO;
	}
	ret = parse_user(p, root, out, e);
	if (!ret)
		ret = parse_mounts(p, json_get(root, "mounts"), ctr->n_mounts, out, e);
	if (!ret)
		ret = parse_devices(p, json_get(root, "devices"), out, e);
	if (!ret)
		ret = parse_volumes(p, json_get(root, "volumes"), out, e);
	if (ret < 0)
		return ret;
	if (view_seccomp(ctr, &profile) == VIEW_SECCOMP_FILE) {
		out->seccomp = json_get(root, "seccomp");
		if (!json_is_object(out->seccomp))
			return bad(e, "seccomp");
	}
	return 0;
}

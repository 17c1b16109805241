/* `crisp-work prepare`; prepare.h says what is asked and answered. */
#include "core/work/prepare.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/idmap.h"
#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/work/devices.h"
#include "core/work/job.h"
#include "core/work/layers.h"
#include "core/work/mountinfo.h"
#include "core/work/passwd.h"
#include "core/work/sources.h"

enum {
	MAX_REQUEST = 16 << 20,
	MAX_PASSWD = 1 << 20,
	MAX_PROFILE = 1 << 20,
};

struct prepare {
	struct pool *pool;
	const struct json *ask;
	struct json_out *reply;
	struct layers *layers;
	struct idmap map;
};

static int bad(struct err *e, const char *member)
{
	return err_set(e, EINVAL, "prepare: bad \"%s\" in the request", member);
}

/* The strings of an array; NULL if it is none. */
static const char **strings(struct prepare *w, const char *member, size_t *n)
{
	const struct json *list = json_get(w->ask, member);
	if (!json_is_array(list))
		return NULL;
	*n = json_len(list);
	const char **out = pool_alloc(w->pool, (*n + 1) * sizeof(*out));
	for (size_t i = 0; i < *n; i++)
		if (!(out[i] = json_str(json_at(list, i))))
			return NULL;
	return out;
}

/* ---- the writable layer ---- */

/* The overlay's root looks like its topmost directory, so upper takes after the image's; but a
 * root that nobody may enter is a store's privacy, not the image's wish. */
static int make_upper(const char *path, const char *top_layer, const struct idmap *map, struct err *e)
{
	struct stat st;
	int ret = file_mkdirs(path, 0755, e);
	if (ret < 0)
		return ret;
	if (stat(top_layer, &st) < 0)
		return err_sys(e, "stat layer %s", top_layer);
	uint32_t uid, gid;
	if (!idmap_uid(map, st.st_uid, &uid) || !idmap_gid(map, st.st_gid, &gid))
		return err_set(e, EINVAL, "the image's root belongs to %u:%u, which the user namespace does not have",
			       st.st_uid, st.st_gid);
	if (chown(path, uid, gid) < 0 || chmod(path, (st.st_mode & 07777) | 0555) < 0)
		return err_sys(e, "give %s its owner and mode", path);
	return 0;
}

static int open_layers(struct prepare *w, struct err *e)
{
	size_t n;
	const char *map = json_str(json_get(w->ask, "userns"));
	if (map && !idmap_parse(map, &w->map))
		return bad(e, "userns");
	const char **dirs = strings(w, "layers", &n);
	const char *upper = json_str(json_get(w->ask, "upper")), *work = json_str(json_get(w->ask, "work"));
	if (!dirs || !n)
		return bad(e, "layers");
	if (!upper || *upper != '/' || !work || *work != '/')
		return bad(e, "upper");
	int ret = make_upper(upper, dirs[n - 1], &w->map, e);
	if (!ret)
		ret = file_mkdirs(work, 0700, e);
	return ret ? ret : layers_open(w->pool, upper, dirs, n, &w->map, &w->layers, e);
}

/* ---- the user ---- */

static bool get_id(const struct json *j, uint32_t *out)
{
	int64_t n = json_int(j, -1);
	*out = (uint32_t)n;
	return n >= 0 && n < UINT32_MAX;
}

static int parse_user(struct prepare *w, struct user_ask *ask, struct err *e)
{
	const struct json *u = json_get(w->ask, "user"), *groups = json_get(u, "groups");
	*ask = (struct user_ask){
		.image = json_str(json_get(u, "image")),
		.name = json_str(json_get(u, "name")),
		.strict = json_bool(json_get(u, "strict"), false),
		.has_uid = json_get(u, "uid"),
		.has_gid = json_get(u, "gid"),
		.n_groups = json_len(groups),
	};
	if (!json_is_object(u) || (ask->has_uid && !get_id(json_get(u, "uid"), &ask->uid)) ||
	    (ask->has_gid && !get_id(json_get(u, "gid"), &ask->gid)))
		return bad(e, "user");
	uint32_t *ids = pool_alloc(w->pool, ask->n_groups * sizeof(*ids));
	for (size_t i = 0; i < ask->n_groups; i++)
		if (!get_id(json_at(groups, i), &ids[i]))
			return bad(e, "user");
	ask->groups = ids;
	return 0;
}

/* An image need not have the file. */
static int read_file(struct prepare *w, const char *path, struct passwd_file *out, struct err *e)
{
	struct buf b = { 0 };
	struct err why = { 0 };
	int ret = layers_read(w->layers, path, MAX_PASSWD, &b, &why);
	if (!ret)
		*out = (struct passwd_file){ pool_memdup(w->pool, b.data, b.len), b.len };
	else if (ret != -ENOENT)
		ret = err_set(e, -ret, "%s", why.msg);
	else
		ret = 0;
	buf_free(&b);
	return ret;
}

static int do_user(struct prepare *w, struct err *e)
{
	struct user_ask ask;
	struct passwd_file passwd = { 0 }, group = { 0 };
	struct user u;
	int ret = parse_user(w, &ask, e);
	if (!ret)
		ret = read_file(w, "/etc/passwd", &passwd, e);
	if (!ret)
		ret = read_file(w, "/etc/group", &group, e);
	if (!ret)
		ret = user_resolve(w->pool, &ask, &passwd, &group, &u, e);
	if (ret < 0)
		return ret;
	json_member_int(w->reply, "uid", u.uid);
	json_member_int(w->reply, "gid", u.gid);
	json_key(w->reply, "groups");
	json_array(w->reply);
	for (size_t i = 0; i < u.n_groups; i++)
		json_put_int(w->reply, u.groups[i]);
	json_end_array(w->reply);
	json_member_str(w->reply, "home", u.home);
	if (u.name)
		json_member_str(w->reply, "username", u.name);
	return 0;
}

/* ---- volumes, mounts, devices, profile ---- */

static int do_volumes(struct prepare *w, struct err *e)
{
	size_t n;
	const char **paths = strings(w, "volumes", &n);
	if (!paths)
		return bad(e, "volumes");
	json_key(w->reply, "volumes");
	json_array(w->reply);
	for (size_t i = 0; i < n; i++) {
		const char *real;
		int ret = layers_mkdir(w->layers, w->pool, paths[i], &real, e);
		if (!ret && !strcmp(real, "/"))
			ret = err_set(e, EINVAL, "is the root");
		if (ret < 0)
			return err_wrap(e, ret, "volume \"%s\" of the image", paths[i]);
		json_put_str(w->reply, real);
	}
	json_end_array(w->reply);
	return 0;
}

static int check_peers(struct mountinfos *all, const char *path, const char *peers, struct err *e)
{
	if (!peers)
		return 0;
	int ret = all->n ? 0 : mountinfo_read(all, e);
	return ret ? ret : source_check_peers(all, path, !strcmp(peers, "shared") ? SOURCE_SHARED : SOURCE_SLAVE, e);
}

static int do_mounts(struct prepare *w, struct err *e)
{
	const struct json *list = json_get(w->ask, "mounts");
	struct mountinfos mounted = { 0 };
	int ret = json_is_array(list) ? 0 : bad(e, "mounts");
	json_key(w->reply, "mounts");
	json_array(w->reply);
	for (size_t i = 0; !ret && i < json_len(list); i++) {
		const struct json *m = json_at(list, i);
		const char *path = json_str(json_get(m, "source"));
		struct source s;
		if (!path || *path != '/') {
			ret = bad(e, "mounts");
			break;
		}
		ret = source_resolve(w->pool, path, &s, e);
		if (!ret)
			ret = check_peers(&mounted, s.path, json_str(json_get(m, "peers")), e);
		if (ret < 0) {
			err_wrap(e, ret, "mounts[%zu].host_path \"%s\"", i, path);
			break;
		}
		json_object(w->reply);
		json_member_str(w->reply, "source", s.path);
		json_member_bool(w->reply, "dir", s.is_dir);
		json_member_bool(w->reply, "made", s.made);
		json_end_object(w->reply);
	}
	json_end_array(w->reply);
	mountinfo_free(&mounted);
	return ret;
}

static void put_device(struct json_out *o, const struct device *d)
{
	const char type[] = { d->type, '\0' };
	json_object(o);
	json_member_str(o, "path", d->path);
	json_member_str(o, "type", type);
	json_member_int(o, "major", d->major);
	json_member_int(o, "minor", d->minor);
	json_member_int(o, "mode", d->mode);
	json_member_int(o, "uid", d->uid);
	json_member_int(o, "gid", d->gid);
	json_member_str(o, "access", d->access);
	json_end_object(o);
}

static int do_devices(struct prepare *w, struct err *e)
{
	const struct json *list = json_get(w->ask, "devices");
	struct devices d = { .pool = w->pool };
	if (!json_is_array(list))
		return bad(e, "devices");
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *j = json_at(list, i);
		const char *source = json_str(json_get(j, "source")), *target = json_str(json_get(j, "target"));
		const char *access = json_str(json_get(j, "access"));
		if (!source || !target || *target != '/' || !access)
			return bad(e, "devices");
		int ret = devices_add(&d, source, target, access, e);
		if (ret < 0)
			return err_wrap(e, ret, "devices[%zu].host_path \"%s\"", i, source);
	}
	if (json_bool(json_get(w->ask, "all_devices"), false)) {
		int ret = devices_add_all(&d, e);
		if (ret < 0)
			return err_wrap(e, ret, "devices of the host");
	}
	json_key(w->reply, "devices");
	json_array(w->reply);
	for (size_t i = 0; i < d.n; i++)
		put_device(w->reply, &d.at[i]);
	json_end_array(w->reply);
	return 0;
}

static int read_profile(struct prepare *w, const char *path, const struct json **out, struct err *e)
{
	struct buf b = { 0 };
	int ret = file_read(AT_FDCWD, path, MAX_PROFILE, &b, e);
	if (!ret)
		ret = json_parse(w->pool, b.data ? b.data : "", b.len, out, e);
	if (!ret && (!json_is_object(*out) || !json_str(json_get(*out, "defaultAction"))))
		ret = err_set(e, EINVAL, "is no seccomp profile: it has no defaultAction");
	buf_free(&b);
	return ret;
}

static int do_seccomp(struct prepare *w, struct err *e)
{
	const char *path = json_str(json_get(w->ask, "seccomp"));
	const struct json *profile;
	if (!path)
		return 0;
	int ret = read_profile(w, path, &profile, e);
	if (ret < 0)
		return err_wrap(e, ret, "linux.security_context.seccomp.localhost_ref \"%s\"", path);
	json_key(w->reply, "seccomp");
	json_put(w->reply, profile);
	return 0;
}

/* stdin may be a pipe, a file or a socket. */
static int read_request(struct buf *out, struct err *e)
{
	enum { STEP = 16384 };
	for (;;) {
		ssize_t n = read(STDIN_FILENO, buf_room(out, STEP), STEP);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read the request");
		if (!n)
			return 0;
		out->len += (size_t)n;
		if (out->len > MAX_REQUEST)
			return err_set(e, EFBIG, "the request is longer than %d bytes", MAX_REQUEST);
	}
}

static int answer(struct prepare *w, struct err *e)
{
	static int (*const parts[])(struct prepare *, struct err *) = {
		open_layers, do_user, do_volumes, do_mounts, do_devices, do_seccomp,
	};
	struct buf request = { 0 };
	w->reply = json_out(w->pool);
	json_object(w->reply);
	int ret = read_request(&request, e);
	if (!ret)
		ret = json_parse(w->pool, request.data, request.len, &w->ask, e);
	for (size_t i = 0; !ret && i < sizeof(parts) / sizeof(parts[0]); i++)
		ret = parts[i](w, e);
	buf_free(&request);
	if (ret < 0)
		return ret;
	json_end_object(w->reply);
	size_t len;
	const char *text = json_text(w->reply, &len);
	ret = file_write_all(STDOUT_FILENO, text, len);
	return ret < 0 ? err_set(e, -ret, "write the reply") : 0;
}

int job_prepare(int argc, char **argv, struct err *e)
{
	if (argc != 1)
		return job_usage(e, "prepare takes its request on stdin");
	struct prepare w = { .pool = pool_new(NULL, "prepare") };
	int ret = answer(&w, e);
	pool_destroy(w.pool);
	return ret;
}

/* The options of a handler of shimv2 or kata. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <yajl/yajl_tree.h>

#include "engines/shimv2/shimv2.h"

static int take_text(char to[SHIM_PATH_MAX], const char *key, yajl_val v, bool path, char *msg, uint32_t cap)
{
	const char *s = YAJL_IS_STRING(v) ? YAJL_GET_STRING(v) : NULL;
	if (!s || (path && *s && *s != '/') || strlen(s) >= SHIM_PATH_MAX) {
		snprintf(msg, cap, "option \"%s\" must be %s", key, path ? "an absolute path" : "a short text");
		return -EINVAL;
	}
	strcpy(to, s);
	return 0;
}

static int take_start(struct shim_options *o, yajl_val v, char *msg, uint32_t cap)
{
	static const char *const names[] = {
		[START_AUTO] = "auto", [START_LEGACY] = "legacy", [START_BOOTSTRAP] = "bootstrap",
	};
	for (int i = 0; i < 3; i++) {
		if (!YAJL_IS_STRING(v) || strcmp(v->u.string, names[i]))
			continue;
		o->start = (enum start_mode)i;
		return 0;
	}
	snprintf(msg, cap, "option \"start\" must be auto, legacy or bootstrap");
	return -EINVAL;
}

static int read_option(struct shim_options *o, const char *key, yajl_val v, char *msg, uint32_t cap)
{
	if (YAJL_IS_NULL(v))
		return 0;
	if (!strcmp(key, "path"))
		return take_text(o->path, key, v, true, msg, cap);
	if (!strcmp(key, "binary_name"))
		return take_text(o->binary_name, key, v, false, msg, cap);
	if (!strcmp(key, "root"))
		return take_text(o->root, key, v, true, msg, cap);
	if (!strcmp(key, "config_path"))
		return take_text(o->config_path, key, v, true, msg, cap);
	if (!strcmp(key, "start"))
		return take_start(o, v, msg, cap);
	if (!strcmp(key, "systemd_cgroup") && (YAJL_IS_TRUE(v) || YAJL_IS_FALSE(v))) {
		o->systemd_cgroup = YAJL_IS_TRUE(v);
		return 0;
	}
	snprintf(msg, cap, "unknown or mistyped option \"%.100s\": path, binary_name, root, systemd_cgroup, "
		 "config_path, start", key);
	return -EINVAL;
}

int shim_options_read(struct shim_options *o, const char *json, const char *state_dir, char *msg, uint32_t cap)
{
	int ret = 0;
	if (snprintf(o->root, sizeof(o->root), "%s/root", state_dir) >= SHIM_PATH_MAX) {
		snprintf(msg, cap, "the state directory's path is too long");
		return -ENAMETOOLONG;
	}
	yajl_val root = yajl_tree_parse(json, NULL, 0);
	if (!YAJL_IS_OBJECT(root)) {
		snprintf(msg, cap, "options are no JSON object");
		ret = -EINVAL;
	}
	for (size_t i = 0; ret == 0 && i < root->u.object.len; i++)
		ret = read_option(o, root->u.object.keys[i], root->u.object.values[i], msg, cap);
	yajl_tree_free(root);
	return ret;
}

const char *shim_program(const struct shim_options *o, char found[SHIM_PATH_MAX])
{
	static const char *const folders[] = {
		"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/opt/kata/bin",
	};
	if (o->path[0])
		return o->path;
	for (const char *const *name = shim_profile.programs; *name; name++)
		for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
			snprintf(found, SHIM_PATH_MAX, "%s/%s", folders[i], *name);
			if (access(found, X_OK) == 0)
				return found;
		}
	return NULL;
}

bool shim_is_host(const char *program)
{
	const char *slash = strrchr(program, '/'), *name = slash ? slash + 1 : program;
	return !shim_profile.guest && !strncmp(name, "containerd-shim-runc-", strlen("containerd-shim-runc-"));
}

static uint8_t *pack_any(const char *type_url, const ProtobufCMessage *m, size_t *len)
{
	Shim__Any any = SHIM__ANY__INIT;
	any.type_url = (char *)(uintptr_t)type_url;
	any.value.len = protobuf_c_message_get_packed_size(m);
	any.value.data = malloc(any.value.len + 1);
	if (!any.value.data)
		abort();
	protobuf_c_message_pack(m, any.value.data);
	*len = protobuf_c_message_get_packed_size(&any.base);
	uint8_t *out = malloc(*len + 1);
	if (!out)
		abort();
	protobuf_c_message_pack(&any.base, out);
	free(any.value.data);
	return out;
}

uint8_t *shim_options_any(const struct shim_options *o, const char *program, size_t *len)
{
	if (shim_is_host(program)) {
		Shim__RuncOptions r = SHIM__RUNC_OPTIONS__INIT;
		r.binary_name = (char *)(uintptr_t)o->binary_name;
		r.root = (char *)(uintptr_t)o->root;
		r.systemd_cgroup = o->systemd_cgroup;
		return pack_any("containerd.runc.v1.Options", &r.base, len);
	}
	if (!o->config_path[0])
		return NULL;
	Shim__RuntimeOptions r = SHIM__RUNTIME_OPTIONS__INIT;
	r.config_path = (char *)(uintptr_t)o->config_path;
	if (strstr(program, "runsc"))
		r.type_url = (char *)(uintptr_t)"io.containerd.runsc.v1.options";
	return pack_any("runtimeoptions.v1.Options", &r.base, len);
}

/* The options of a handler of shimv2 or kata. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engines/shimv2/shimv2.h"

static const char *const starts[] = { START_AUTO, START_LEGACY, START_BOOTSTRAP, NULL };

static const struct option options[] = {
	OPTION(PATH, struct shim_options, path),
	OPTION(TEXT, struct shim_options, binary_name),
	OPTION(PATH, struct shim_options, root),
	OPTION(BOOL, struct shim_options, systemd_cgroup),
	OPTION(PATH, struct shim_options, config_path),
	OPTION(BOOL, struct shim_options, guest_pull),
	OPTION(WORD, struct shim_options, start, .words = starts, .wanted = "auto, legacy or bootstrap"),
	{ 0 }
};

int shim_options_read(struct shim_options *o, const char *json, const char *state_dir, char *msg, uint32_t cap)
{
	o->start = START_AUTO;
	int ret = options_root(o->root, state_dir, msg, cap);
	if (ret == 0)
		ret = options_read(options, o, json, msg, cap);
	if (ret == 0 && o->guest_pull && !shim_profile.guest) {
		snprintf(msg, cap, "option \"guest_pull\" is for the engine kata");
		ret = -EINVAL;
	}
	return ret;
}

const char *shim_program(const struct shim_options *o, char found[SHIM_PATH_MAX])
{
	return options_program(o->path, shim_profile.programs, found);
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

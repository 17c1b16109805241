/*
 * Whether the shim works here, and what it can do: its `-v`, and for one that runs containers as
 * processes of the host the `features` of the OCI runtime below it.  A runtime that is too old for that
 * command is none that lacks something.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engines/shimv2/shimv2.h"

enum { OUT_MAX = 4096, FEATURES_MAX = 128 << 10 };

/* "Version: 1.6.20", "version: 3.30.0, commit..." in what -v prints; "" if it says none.  Kept as the
 * act's payload. */
static void keep_version(struct act *a, const char *text)
{
	const char *at = strcasestr(text, "version:");
	if (at)
		at += strlen("version:");
	if (at)
		at += strspn(at, " \t");
	a->payload = (uint8_t *)(at ? strndup(at, strcspn(at, " ,\r\n")) : strdup(""));
	if (!a->payload)
		abort();
}

static void probe_done(struct act *a, uint64_t caps, const char *features)
{
	act_done(a, &(struct crisp_result){
		.size = sizeof(struct crisp_result), .caps = caps, .version = (const char *)a->payload,
		.data = features, .data_len = features ? (uint32_t)strlen(features) : 0,
	});
}

static bool mounts_rro(yajl_val features)
{
	yajl_val list = json_member(features, "mountOptions");
	for (size_t i = 0; YAJL_IS_ARRAY(list) && i < list->u.array.len; i++) {
		const char *option = YAJL_GET_STRING(list->u.array.values[i]);
		if (option && !strcmp(option, "rro"))
			return true;
	}
	return false;
}

static void handle_features(void *data, const struct crisp_spawn_result *r)
{
	uint64_t caps = SHIM_CAPS | SHIM_CAPS_HOST;
	yajl_val features = r->err || r->wait_status ? NULL : yajl_tree_parse(r->out, NULL, 0);
	if (mounts_rro(features))
		caps |= CRISP_CAP_RRO_MOUNTS;
	probe_done(data, caps, YAJL_IS_OBJECT(features) ? r->out : NULL);
	yajl_tree_free(features);
}

/* The OCI runtime of a runc shim, as that finds it. */
static const char *find_runtime(const struct shim_options *o, char found[SHIM_PATH_MAX])
{
	const char *name = o->binary_name[0] ? o->binary_name : "runc";
	return options_program("", (const char *const[]){ name, NULL }, found);
}

static void ask_features(struct act *a)
{
	char found[SHIM_PATH_MAX];
	const struct crisp_host *h = a->inst->host;
	const char *runtime = find_runtime(&a->inst->options, found);
	struct crisp_spawn_plan plan = {
		.size = sizeof(plan), .path = runtime, .argv = (const char *const[]){ runtime, "features", NULL },
		.out_max = FEATURES_MAX, .deadline_ns = a->deadline_ns,
	};
	if (!runtime || !h->spawn(h, &plan, handle_features, a))
		probe_done(a, SHIM_CAPS | SHIM_CAPS_HOST, NULL);
}

static uint64_t guest_caps(const struct shim_options *o)
{
	return (shim_profile.guest ? CRISP_CAP_NEEDS_SIZING : 0) | (o->guest_pull ? CRISP_CAP_ROOTFS_IMAGE_REF : 0);
}

static void handle_version(void *data, const struct crisp_spawn_result *r)
{
	struct act *a = data;
	char msg[SHIM_MSG_MAX], found[SHIM_PATH_MAX];
	const char *program = shim_program(&a->inst->options, found);
	if (r->err) {
		snprintf(msg, sizeof(msg), "%.200s can't be run: %.150s", program ? program : "the shim", r->msg);
		act_end(a, -EIO, msg);
		return;
	}
	keep_version(a, r->out);
	if (program && shim_is_host(program))
		ask_features(a);
	else
		probe_done(a, SHIM_CAPS | guest_caps(&a->inst->options), NULL);
}

static void ask_version(struct act *a, const char *program)
{
	const struct crisp_host *h = a->inst->host;
	struct crisp_spawn_plan plan = {
		.size = sizeof(plan), .path = program, .argv = (const char *const[]){ program, "-v", NULL },
		.out_max = OUT_MAX, .err_max = OUT_MAX, .deadline_ns = a->deadline_ns,
	};
	if (!h->spawn(h, &plan, handle_version, a))
		act_end(a, -EINVAL, "the host refused the command");
}

int probe_run(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args)
{
	struct act *a = act_new(i, r, args);
	char found[SHIM_PATH_MAX], msg[SHIM_MSG_MAX];
	const char *program = shim_program(&i->options, found);
	if (!program) {
		snprintf(msg, sizeof(msg), "the program %s is in none of the usual folders", shim_profile.programs[0]);
		act_end(a, -EIO, msg);
	} else if (shim_profile.guest && guest_check(&i->options, msg) < 0) {
		act_end(a, -EIO, msg);
	} else {
		ask_version(a, program);
	}
	return 0;
}

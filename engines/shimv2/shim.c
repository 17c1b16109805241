/* The engine shimv2: see shimv2.h. */
#include "engines/shimv2/shimv2.h"

const struct shim_profile shim_profile = {
	.name = "shimv2",
	.programs = (const char *const[]){ "containerd-shim-runc-v2", NULL },
};

static const struct crisp_engine engine = {
	.magic = CRISP_ENGINE_MAGIC,
	.size = sizeof(engine),
	.major = CRISP_ENGINE_MAJOR,
	.minor = CRISP_ENGINE_MINOR,
	.caps = SHIM_CAPS | SHIM_CAPS_HOST | CRISP_CAP_RRO_MOUNTS,
	.requires = CRISP_HOST_SPAWN | CRISP_HOST_ROOTFS,
	.name = "shimv2",
	.version = "0.1",
	.ops = &shim_ops,
	.annotation_prefixes = (const char *const[]){ "dev.gvisor.", "run.oci.", NULL },
	.options_schema_json = SHIM_OPTIONS,
};

const struct crisp_engine *crisp_engine_v1(void)
{
	return &engine;
}

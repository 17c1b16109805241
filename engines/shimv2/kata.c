/* The engine kata: see shimv2.h. */
#include "engines/shimv2/shimv2.h"

const struct shim_profile shim_profile = {
	.name = "kata",
	.guest = true,
	.programs = (const char *const[]){ "containerd-shim-kata-v2", "/opt/kata/bin/containerd-shim-kata-v2", NULL },
};

static const struct crisp_engine engine = {
	.magic = CRISP_ENGINE_MAGIC,
	.size = sizeof(engine),
	.major = CRISP_ENGINE_MAJOR,
	.minor = CRISP_ENGINE_MINOR,
	.caps = SHIM_CAPS | CRISP_CAP_NEEDS_SIZING | CRISP_CAP_ROOTFS_IMAGE_REF,
	.requires = CRISP_HOST_SPAWN,
	.name = "kata",
	.version = "0.1",
	.ops = &shim_ops,
	.annotation_prefixes = (const char *const[]){ "io.katacontainers.", NULL },
	.options_schema_json = SHIM_OPTIONS,
};

const struct crisp_engine *crisp_engine_v1(void)
{
	return &engine;
}

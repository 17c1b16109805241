/* The engine crun: see cli.h. */
#include "engines/cli/cli.h"

const struct cli_profile cli_profile = {
	.name = "crun", .rro_major = 1, .rro_minor = 4,
	.filter_note = "run.oci.seccomp_bpf_data", .filter_file = "seccomp.bpf",
};

static const struct crisp_engine engine = {
	.magic = CRISP_ENGINE_MAGIC,
	.size = sizeof(engine),
	.major = CRISP_ENGINE_MAJOR,
	.minor = CRISP_ENGINE_MINOR,
	.caps = CLI_CAPS,
	.requires = CRISP_HOST_SPAWN,
	.name = "crun",
	.version = "0.1",
	.ops = &cli_ops,
	.annotation_prefixes = (const char *const[]){ "run.oci.", "org.systemd.property.", NULL },
	.options_schema_json = CLI_OPTIONS,
};

const struct crisp_engine *crisp_engine_v1(void)
{
	return &engine;
}

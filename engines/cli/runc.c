/* The engine runc: see cli.h. */
#include "engines/cli/cli.h"

const struct cli_profile cli_profile = { .name = "runc", .rro_major = 1, .rro_minor = 1 };

static const struct crisp_engine engine = {
	.magic = CRISP_ENGINE_MAGIC,
	.size = sizeof(engine),
	.major = CRISP_ENGINE_MAJOR,
	.minor = CRISP_ENGINE_MINOR,
	.caps = CLI_CAPS,
	.requires = CRISP_HOST_SPAWN,
	.name = "runc",
	.version = "0.1",
	.ops = &cli_ops,
	.annotation_prefixes = (const char *const[]){ "org.systemd.property.", NULL },
	.options_schema_json = CLI_OPTIONS,
};

const struct crisp_engine *crisp_engine_v1(void)
{
	return &engine;
}

/* The options of a handler of crun or runc. */
#include "engines/cli/cli.h"

static const struct option options[] = {
	OPTION(PATH, struct cli_options, path),
	OPTION(PATH, struct cli_options, root),
	{ 0 }
};

int cli_options_read(struct cli_options *o, const char *json, const char *state_dir, char *msg,
		     uint32_t cap)
{
	int ret = options_root(o->root, state_dir, msg, cap);
	return ret < 0 ? ret : options_read(options, o, json, msg, cap);
}

const char *cli_program(const struct cli_options *o, char found[CLI_PATH_MAX])
{
	return options_program(o->path, (const char *const[]){ cli_profile.name, NULL }, found);
}

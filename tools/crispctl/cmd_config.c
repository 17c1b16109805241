/* crispctl config check: what crispd would make of its configuration. */
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/config/config.h"
#include "tools/crispctl/crispctl.h"
#include "tools/crispctl/pretty.h"

enum { SETS_MAX = 64 };

static const char *exe_dir(struct pool *p)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	if (n < 0)
		return "/usr/bin";
	path[n] = 0;
	return pool_strdup(p, dirname(path));
}

static int check(struct ctl *c, const char *file, const char *const *sets, size_t n, struct err *e)
{
	struct config *cfg;
	if (config_load(c->pool, file, sets, n, exe_dir(c->pool), &cfg, e) < 0)
		return EXIT_USAGE;
	struct json_out *o = json_out(c->pool);
	config_json(cfg, o);
	if (c->json) {
		ctl_print_json(c, o);
		return 0;
	}
	const struct json *j;
	size_t len;
	const char *text = json_text(o, &len);
	int ret = json_parse(c->pool, text, len, &j, e);
	if (ret == 0)
		pretty_yaml(stdout, j);
	return ret;
}

static int run(struct ctl *c, int argc, char **argv, struct err *e)
{
	static const struct option longs[] = { { "config", required_argument, NULL, 'c' },
					       { "set", required_argument, NULL, 's' },
					       { "help", no_argument, NULL, 'h' },
					       { 0 } };
	const char *file = NULL, *sets[SETS_MAX];
	size_t n = 0;
	int opt;
	while ((opt = ctl_getopt(c, argc, argv, ":h", longs, e)) != -1) {
		if (opt == 'c')
			file = optarg;
		else if (opt == 's' && n < SETS_MAX)
			sets[n++] = optarg;
		else if (opt == 's')
			return ctl_usage(c, e, "more than %d times --set", SETS_MAX);
		else
			return CTL_GETOPT_RET(opt);
	}
	if (optind + 1 != argc || strcmp(argv[optind], "check"))
		return ctl_usage(c, e, "expected \"check\"");
	return check(c, file, sets, n, e);
}

const struct command cmd_config = {
	.name = "config",
	.args = "check [--config FILE] [--set KEY=VALUE]...",
	.summary = "Check crispd's configuration and print the values in effect; exit 2 when it is "
		   "wrong",
	.help = "  --config FILE     instead of /etc/crisp/config.yaml; FILE's conf.d is read, "
		"too\n"
		"  --set KEY=VALUE   as crispd takes it: --set log.level=debug\n",
	.run = run,
};

/*
 * crispd, the operator's entry: checks arguments and configuration, then becomes crisp-keeper,
 * which runs `crispd --core --keep-fd=N` with the same arguments; that is the core.  Where a
 * keeper of before holds containers still, it becomes that one's front instead.
 */
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/config/config.h"
#include "core/main/core.h"
#include "core/main/holder.h"

enum { EXIT_USAGE = 2 };

static const char usage_text[] =
	"usage: crispd [--config FILE] [--set KEY.PATH=VALUE]... [--check] [--version]\n"
	"              [--ready-fd=N]\n"
	"\n"
	"  --config FILE    configuration, with its drop-ins in conf.d/ beside it\n"
	"                   (default: /etc/crisp/config.yaml, if there is one)\n"
	"  --set KEY=VALUE  override one key, e.g. --set log.level=debug; may be repeated\n"
	"  --check          check the configuration and exit: 0 good, 2 bad\n"
	"  --ready-fd=N     write \"ready\" and a newline to this fd once pods can be run\n"
	"\n"
	"Serves until SIGTERM, which leaves containers running, and a keeper that holds\n"
	"what they need until the next crispd.  SIGHUP reloads the configuration, SIGUSR2\n"
	"starts the core anew, e.g. after the binary was replaced.\n";

struct options {
	struct core_args core;
	bool is_core, check;
	const char **sets;
};

static int parse_fd(const char *text)
{
	char *end;
	long n = strtol(text, &end, 10);
	return *text && !*end && n > 2 && n < 1 << 20 ? (int)n : -1;
}

static int usage(FILE *to, int code)
{
	fputs(usage_text, to);
	return code;
}

/* -1: go on; else the exit code. */
static int parse_options(int argc, char **argv, struct options *o)
{
	enum { CONFIG = 1, SET, CHECK, VERSION, READY_FD, HELP, CORE, KEEP_FD };
	static const struct option known[] = {
		{ "config", required_argument, NULL, CONFIG },
		{ "set", required_argument, NULL, SET },
		{ "check", no_argument, NULL, CHECK },
		{ "version", no_argument, NULL, VERSION },
		{ "ready-fd", required_argument, NULL, READY_FD },
		{ "help", no_argument, NULL, HELP },
		{ "core", no_argument, NULL, CORE },	/* these two are the keeper's */
		{ "keep-fd", required_argument, NULL, KEEP_FD },
		{ 0 },
	};
	int opt;
	while ((opt = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (opt) {
		case CONFIG:
			o->core.config_file = optarg;
			break;
		case SET:
			o->sets[o->core.n_sets++] = optarg;
			break;
		case CHECK:
			o->check = true;
			break;
		case VERSION:
			puts("crispd " CRISP_VERSION);
			return 0;
		case READY_FD:
			o->core.ready_fd = parse_fd(optarg);
			if (o->core.ready_fd < 0) {
				fprintf(stderr, "crispd: --ready-fd=%s: not an fd above 2\n",
					optarg);
				return EXIT_USAGE;
			}
			break;
		case HELP:
			return usage(stdout, 0);
		case CORE:
			o->is_core = true;
			break;
		case KEEP_FD:
			o->core.keep_sock = parse_fd(optarg);
			break;
		default:
			return usage(stderr, EXIT_USAGE);
		}
	}
	if (optind < argc) {
		fprintf(stderr, "crispd: unexpected argument \"%s\"\n", argv[optind]);
		return usage(stderr, EXIT_USAGE);
	}
	return -1;
}

static char *own_path(struct pool *p)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	if (n <= 0)
		return NULL;
	return pool_strndup(p, path, (size_t)n);
}

/* The core's arguments as the operator gave them, behind the program: what a keeper runs. */
static char **keeper_arguments(struct pool *p, const char *self, int argc, char **argv)
{
	char **args = pool_alloc(p, (size_t)(argc + 2) * sizeof(*args));
	int n = 0;
	args[n++] = pool_strdup(p, self);
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--core") && strncmp(argv[i], "--keep-fd=", 10))
			args[n++] = argv[i];
	return args;
}

static int become_keeper(const struct options *o)
{
	const char *dir = o->core.config->libexec_dir;
	const char *keeper = pool_printf(o->core.pool, "%s/crisp-keeper", dir);
	size_t n = 0;
	while (o->core.keeper_argv[n])
		n++;
	char **args = pool_alloc(o->core.pool, (n + 2) * sizeof(*args));
	args[0] = pool_strdup(o->core.pool, keeper);
	memcpy(args + 1, o->core.keeper_argv, n * sizeof(*args));
	execv(keeper, args);
	fprintf(stderr, "crispd: can't execute %s: %m\n", keeper);
	return 1;
}

/* A pod takes about ten fds, and 1024 is what a service gets by default.  Containers are given
 * limits of their own. */
static void raise_file_limit(void)
{
	struct rlimit rl;
	if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
		return;
	rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
}

static int run(struct pool *p, int argc, char **argv)
{
	struct options o = { .core = { .pool = p, .keep_sock = -1, .ready_fd = -1 } };
	o.sets = pool_alloc(p, (size_t)argc * sizeof(*o.sets));
	o.core.sets = o.sets;
	int code = parse_options(argc, argv, &o);
	if (code >= 0)
		return code;
	char *self = own_path(p);
	if (!self) {
		fprintf(stderr, "crispd: can't read /proc/self/exe: %m\n");
		return 1;
	}
	o.core.self = self;
	o.core.exe_dir = pool_strndup(p, self, (size_t)(strrchr(self, '/') - self));
	o.core.keeper_argv = keeper_arguments(p, self, argc, argv);
	struct config *c;
	struct err e = { 0 };
	int ret = config_load(p, o.core.config_file, o.core.sets, o.core.n_sets, o.core.exe_dir, &c,
			      &e);
	bool takes_over = o.is_core && o.core.keep_sock >= 0;
	if (ret < 0 && !takes_over) {
		fprintf(stderr, "crispd: %s\n", err_text(&e));
		return EXIT_USAGE;
	}
	o.core.config = ret < 0 ? NULL : c;
	o.core.config_error = err_text(&e);
	if (o.core.config)
		log_set_level((enum log_level)c->log_level);
	if (o.check) {
		puts("the configuration is good");
		return 0;
	}
	if (o.is_core) {
		raise_file_limit();
		return core_main(&o.core);
	}
	if (o.core.ready_fd >= 0 && fcntl(o.core.ready_fd, F_GETFD) < 0) {
		fprintf(stderr, "crispd: --ready-fd=%d: not open\n", o.core.ready_fd);
		return EXIT_USAGE;
	}
	code = holder_take_over(&o.core);
	return code >= 0 ? code : become_keeper(&o);
}

int main(int argc, char **argv)
{
	struct pool *p = pool_new(NULL, "crispd");
	int code = run(p, argc, argv);
	pool_destroy(p);
	return code;
}

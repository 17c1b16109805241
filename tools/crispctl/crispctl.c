/*
 * crispctl: a node's pods, containers and images, over any CRI socket.
 *
 *	crispctl [--socket S] [-o table|json] [--timeout D] COMMAND ...
 */
#include "tools/crispctl/crispctl.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/json.h"
#include "core/base/near.h"
#include "core/base/pool.h"
#include "tools/crispctl/client.h"
#include "tools/crispctl/pretty.h"
#include "tools/crispctl/protojson.h"

#define SOCKET_DEFAULT "/run/crisp/crisp.sock"

static const struct command *const commands[] = {
	&cmd_pods, &cmd_ps,	 &cmd_run,   &cmd_logs,	  &cmd_exec, &cmd_stop,
	&cmd_rm,   &cmd_inspect, &cmd_stats, &cmd_images, &cmd_pull, &cmd_load,
	&cmd_rmi,  &cmd_status,	 &cmd_events, &cmd_dump,  &cmd_config,
};

enum { N_COMMANDS = sizeof(commands) / sizeof(*commands) };

static void print_usage(FILE *out)
{
	fprintf(out, "crispctl - a node's pods, containers and images, over any CRI socket\n\n"
		     "usage: crispctl [--socket S] [-o table|json] [--timeout D] COMMAND ...\n\n"
		     "commands:\n");
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(out, "  %-8s  %s\n", commands[i]->name, commands[i]->summary);
	fprintf(out, "\noptions:\n"
		     "  -s, --socket S    the runtime's socket; else $CONTAINER_RUNTIME_ENDPOINT,\n"
		     "                    else " SOCKET_DEFAULT "\n"
		     "  -o, --output F    table or json\n"
		     "  -t, --timeout D   give up after D: 10s, 500ms, 2m\n"
		     "  -h, --help        this text; crispctl COMMAND --help says more\n\n"
		     "exit codes: 0 ok, 1 error, 2 usage, 4 not found; exec: the command's own\n");
}

static void print_command_usage(const struct command *cmd)
{
	printf("usage: crispctl %s%s%s\n\n%s.\n", cmd->name, *cmd->args ? " " : "", cmd->args,
	       cmd->summary);
	if (cmd->help)
		printf("\n%s", cmd->help);
}

int ctl_usage(const struct ctl *c, struct err *e, const char *fmt, ...)
{
	char msg[300];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	err_set(e, EINVAL, "%s; see crispctl%s%s --help", msg, c->command ? " " : "",
		c->command ? c->command->name : "");
	return EXIT_USAGE;
}

int ctl_getopt(const struct ctl *c, int argc, char **argv, const char *shorts,
	       const struct option *longs, struct err *e)
{
	static const struct option none[] = { { "help", no_argument, NULL, 'h' }, { 0 } };
	opterr = 0;
	int opt = getopt_long(argc, argv, shorts, longs ? longs : none, NULL);
	if (opt == 'h')
		print_command_usage(c->command);
	if (opt == ':') {
		ctl_usage(c, e, "option %s needs a value", argv[optind - 1]);
		opt = '?';
	} else if (opt == '?') {
		ctl_usage(c, e, "unknown option %s", argv[optind - 1]);
	}
	return opt;
}

int ctl_list_options(const struct ctl *c, int argc, char **argv, bool *quiet, struct err *e)
{
	int opt;
	while ((opt = ctl_getopt(c, argc, argv, ":qh", NULL, e)) != -1) {
		if (opt != 'q')
			return CTL_GETOPT_RET(opt);
		*quiet = true;
	}
	return optind < argc ? ctl_usage(c, e, "unexpected \"%s\"", argv[optind]) : 1;
}

int ctl_number(const struct ctl *c, const char *option, const char *text, int64_t max, int64_t *out,
	       struct err *e)
{
	char *end;
	errno = 0;
	long long n = strtoll(text, &end, 10);
	if (errno || *end || !*text || n < 0 || n > max)
		return ctl_usage(c, e, "%s %s: expected a number from 0 to %lld", option, text,
				 (long long)max);
	*out = n;
	return 0;
}

/* "1m30s", "500ms"; a plain number is seconds. */
static int parse_duration(const char *text, uint64_t *ms)
{
	static const struct {
		const char *name;
		double ms;
	} units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 } };
	double sum = 0;
	if (!*text)
		return -EINVAL;
	while (*text) {
		char *unit;
		double v = strtod(text, &unit);
		if (unit == text || !(v >= 0) || v > 1e9)
			return -EINVAL;
		size_t len = strspn(unit, "hms"), i = 0;
		if (len == 0 && !*unit && sum == 0) {
			sum = v * 1000;
			break;
		}
		while (i < 4 && (strlen(units[i].name) != len || strncmp(units[i].name, unit, len)))
			i++;
		if (i == 4)
			return -EINVAL;
		sum += v * units[i].ms;
		text = unit + len;
	}
	*ms = sum;
	return sum >= 1 && sum < 1e12 ? 0 : -EINVAL;
}

int ctl_connect(struct ctl *c, struct err *e)
{
	if (c->client)
		return 0;
	int ret = client_open(c->pool, c->socket, &c->client, e);
	if (ret == 0)
		ctl_deadline(c, CTL_CALL_MS);
	return ret;
}

void ctl_deadline(struct ctl *c, uint64_t otherwise_ms)
{
	client_set_timeout(c->client, c->timeout_ms ? c->timeout_ms : otherwise_ms);
}

int ctl_call(struct ctl *c, const char *path, const ProtobufCMessage *request,
	     const ProtobufCMessageDescriptor *type, void *out, struct err *e)
{
	int ret = ctl_connect(c, e);
	return ret < 0 ? ret : client_call(c->client, path, request, type, out, e);
}

void ctl_print_json(struct ctl *c, struct json_out *o)
{
	size_t n;
	const char *text = json_text(o, &n);
	pretty_json(stdout, text, n);
}

void ctl_print_message(struct ctl *c, const ProtobufCMessage *m)
{
	struct json_out *o = json_out(c->pool);
	protojson(m, o);
	ctl_print_json(c, o);
}

static int find_command(struct ctl *c, const char *name, struct err *e)
{
	const char *names[N_COMMANDS];
	for (size_t i = 0; i < N_COMMANDS; i++) {
		names[i] = commands[i]->name;
		if (!strcmp(name, names[i])) {
			c->command = commands[i];
			return 0;
		}
	}
	const char *near = near_name(name, names, N_COMMANDS);
	return near ? ctl_usage(c, e, "unknown command \"%s\", did you mean \"%s\"?", name, near) :
		      ctl_usage(c, e, "unknown command \"%s\"", name);
}

/* The options before the command.  0, or an exit code; *done when all is said. */
static int parse_globals(struct ctl *c, int argc, char **argv, bool *done, struct err *e)
{
	static const struct option longs[] = { { "socket", required_argument, NULL, 's' },
					       { "output", required_argument, NULL, 'o' },
					       { "timeout", required_argument, NULL, 't' },
					       { "help", no_argument, NULL, 'h' },
					       { 0 } };
	int opt;
	opterr = 0;
	while ((opt = getopt_long(argc, argv, "+:s:o:t:h", longs, NULL)) != -1) {
		if (opt == 's') {
			c->socket = optarg;
		} else if (opt == 'o' && (!strcmp(optarg, "json") || !strcmp(optarg, "table"))) {
			c->json = *optarg == 'j';
		} else if (opt == 'o') {
			return ctl_usage(c, e, "--output %s: expected table or json", optarg);
		} else if (opt == 't' && parse_duration(optarg, &c->timeout_ms) < 0) {
			return ctl_usage(c, e, "--timeout %s: expected a time like 10s", optarg);
		} else if (opt == 'h') {
			print_usage(stdout);
			*done = true;
			return 0;
		} else if (opt == ':') {
			return ctl_usage(c, e, "option %s needs a value", argv[optind - 1]);
		} else if (opt == '?') {
			return ctl_usage(c, e, "unknown option %s", argv[optind - 1]);
		}
	}
	return 0;
}

static int run(struct ctl *c, int argc, char **argv, struct err *e)
{
	bool finished = false;
	int ret = parse_globals(c, argc, argv, &finished, e);
	if (ret || finished)
		return ret;
	if (optind == argc) {
		print_usage(stderr);
		return EXIT_USAGE;
	}
	bool help = !strcmp(argv[optind], "help");
	if (help && optind + 1 == argc) {
		print_usage(stdout);
		return 0;
	}
	ret = find_command(c, argv[optind + help], e);
	if (ret)
		return ret;
	if (help) {
		print_command_usage(c->command);
		return 0;
	}
	argc -= optind;
	argv += optind;
	optind = 0;	/* getopt starts anew */
	return c->command->run(c, argc, argv, e);
}

int main(int argc, char **argv)
{
	const char *env = getenv("CONTAINER_RUNTIME_ENDPOINT");
	struct ctl c = {
		.pool = pool_new(NULL, "crispctl"),
		.socket = env && *env ? env : SOCKET_DEFAULT,
		.terminal = isatty(STDOUT_FILENO),
	};
	struct err e = { 0 };
	signal(SIGPIPE, SIG_DFL);	/* "crispctl ps | head" ends quietly */
	int ret = run(&c, argc, argv, &e);
	if (e.code)
		fprintf(stderr, "crispctl: %s\n", e.msg);
	if (fflush(stdout) && ret == 0)
		ret = EXIT_FAILED;
	pool_destroy(c.pool);
	return ret >= 0 ? ret : ret == -ENOENT ? EXIT_NOT_FOUND : EXIT_FAILED;
}

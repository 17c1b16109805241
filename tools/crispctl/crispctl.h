#pragma once
/*
 * The frame of crispctl: what every command is given.
 *
 * Each command is a file of its own, cmd_NAME.c, that defines one struct command; the table
 * in crispctl.c lists them.
 *
 * exit codes   0 ok, 1 error, 2 usage, 4 not found; exec gives the command's own
 */
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/err.h"
#include "proto/cri.pb-c.h"
#include "proto/node.pb-c.h"

struct client;
struct json_out;
struct pool;

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NOT_FOUND = 4 };

struct ctl {
	struct pool *pool;		/* of the whole run */
	const char *socket;
	bool json;
	uint64_t timeout_ms;		/* of --timeout; 0: not given */
	bool terminal;			/* stdout is one */
	struct client *client;		/* ctl_connect() */
	const struct command *command;
};

struct command {
	const char *name;
	const char *args;	/* "POD|CONTAINER..." */
	const char *summary;	/* one line */
	const char *help;	/* options and examples, several lines, may be NULL */
	/* 0, -errno with the words in e, or a positive exit code (words in e are printed) */
	int (*run)(struct ctl *c, int argc, char **argv, struct err *e);
};

extern const struct command cmd_pods, cmd_ps, cmd_run, cmd_logs, cmd_exec, cmd_images, cmd_pull,
	cmd_load, cmd_rm, cmd_rmi, cmd_stop, cmd_inspect, cmd_stats, cmd_events, cmd_config, cmd_status,
	cmd_dump;

/* "return ctl_usage(...)": the words and a hint at --help; EXIT_USAGE. */
int ctl_usage(const struct ctl *c, struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* getopt_long with our messages: the option's value, -1 at the end, 'h' after --help was
 * printed, '?' after a bad one was described in e.  longs may be NULL. */
int ctl_getopt(const struct ctl *c, int argc, char **argv, const char *shorts,
	       const struct option *longs, struct err *e);
/* What to return at 'h' and '?'. */
#define CTL_GETOPT_RET(opt) ((opt) == 'h' ? 0 : EXIT_USAGE)
/* For a list whose one option is -q: 1 when it is parsed, else what to return. */
int ctl_list_options(const struct ctl *c, int argc, char **argv, bool *quiet, struct err *e);
/* A whole number of an option's argument within 0..max. */
int ctl_number(const struct ctl *c, const char *option, const char *text, int64_t max, int64_t *out,
	       struct err *e);

/* Connect, unless that is done. */
int ctl_connect(struct ctl *c, struct err *e);
/* Set the deadline of coming calls: --timeout when given, else otherwise_ms (0: none). */
void ctl_deadline(struct ctl *c, uint64_t otherwise_ms);
enum { CTL_CALL_MS = 30000 };	/* for calls that read or change a little */

/* One RPC of the CRI, connected on demand:
 *	CriListContainersResponse *r;
 *	ret = CTL_CALL(c, RUNTIME, ListContainers, list_containers, &request, &r, e);
 */
int ctl_call(struct ctl *c, const char *path, const ProtobufCMessage *request,
	     const ProtobufCMessageDescriptor *type, void *out, struct err *e);
#define CTL_RUNTIME "/runtime.v1.RuntimeService/"
#define CTL_IMAGE "/runtime.v1.ImageService/"
#define CTL_CALL(c, service, Name, lower, req, out, e)                                             \
	ctl_call(c, service #Name, &(req)->base, &cri__##lower##_response__descriptor,             \
		 (Cri__##Name##Response **)(out), e)

/* Print JSON, indented. */
void ctl_print_json(struct ctl *c, struct json_out *o);
void ctl_print_message(struct ctl *c, const ProtobufCMessage *m);

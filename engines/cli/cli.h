#pragma once
/*
 * Inside the engines crun and runc: one body for both, told apart by a profile.
 *
 *	cli.c		the ABI: an operation is a command line of the OCI runtime
 *	options.c	the handler's options, the program's path
 *	filter.c	seccomp programs that are made once
 *	crun.c, runc.c	the profiles, each with the symbol of its plugin
 */
#include <stdbool.h>
#include <stdint.h>

#include "engines/engine.h"
#include "engines/share/options.h"

struct cli_profile {
	const char *name;		/* of the program too */
	unsigned rro_major, rro_minor;	/* the first version that knows the mount option rro */
	const char *filter_note;	/* annotation that takes a seccomp program; NULL: none does */
	const char *filter_file;	/* what it leaves of the one that it has made, in its record */
};

/* The plugin's own, in crun.c or runc.c. */
extern const struct cli_profile cli_profile;
extern const struct crisp_ops cli_ops;

#define CLI_CAPS                                                                                   \
	(CRISP_CAP_EXIT_BY_PID | CRISP_CAP_STDIO_FD | CRISP_CAP_TTY_CONSOLE_SOCKET |               \
	 CRISP_CAP_ROOTFS_MOUNTED | CRISP_CAP_STATS_HOST_CGROUP | CRISP_CAP_PID_IS_HOST |          \
	 CRISP_CAP_NETNS_BY_PATH | CRISP_CAP_SHARED_PIDNS | CRISP_CAP_USERNS |                     \
	 CRISP_CAP_RRO_MOUNTS | CRISP_CAP_HOTPLUG_RESOURCES)

#define CLI_OPTIONS                                                                                \
	"{\"path\":\"string: the program; found in the usual folders\","                           \
	"\"root\":\"string: where it keeps its state\"}"

enum { CLI_PATH_MAX = OPTION_PATH_MAX };

struct cli_options {
	char path[CLI_PATH_MAX];	/* "": look for it */
	char root[CLI_PATH_MAX];
};

/* 0 or -EINVAL with words. */
int cli_options_read(struct cli_options *o, const char *json, const char *state_dir, char *msg,
		     uint32_t cap);
/* The program, in found or o->path; NULL when it is nowhere. */
const char *cli_program(const struct cli_options *o, char found[CLI_PATH_MAX]);

/* -- filter.c -- */

struct filters {
	struct filter *list;
};
/* The spec of id with the program of its seccomp profile, to be freed.  NULL: it stays as it is, and the
 * program is to be learned when id has been made. */
char *filters_apply(struct filters *f, const char *id, const char *spec_json);
/* id has been made, and the runtime's program for it lies at path. */
void filters_learn(struct filters *f, const char *id, const char *path);
void filters_free(struct filters *f);

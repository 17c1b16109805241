#pragma once
/* The core: `crispd --core`, run by the keeper. */
#include <stddef.h>

struct config;
struct pool;

#define CRISP_VERSION "0.1.0"

struct core_args {
	struct pool *pool;		/* the root pool */
	const struct config *config;	/* lives in pool; NULL: it can't be read, says config_error */
	const char *config_error;
	/* As for config_load(), to load it anew on SIGHUP. */
	const char *config_file, *exe_dir;
	const char *const *sets;
	size_t n_sets;
	int keep_sock;			/* the keeper's socket, taken; -1: no keeper (tests) */
	int ready_fd;			/* gets "ready\n" and is closed; -1: none */
	const char *self;		/* absolute path of crispd */
	char **keeper_argv;		/* what the keeper runs: for keep_revive() */
};

/* Exit code: 0 ok, 1 failed, 2 bad configuration. */
int core_main(const struct core_args *a);

/*
 * The image store without the daemon, for t/int/image.sh:
 *
 *	image_tool OPTIONS COMMAND [then COMMAND]...
 *
 *	--root DIR --libexec DIR --plain HOST --mirror HOST=URL --auth-file F --pinned PATTERN
 *	--stall MS	and, for the pulls: --user U --password P --token T --identity T --server H
 *
 *	pull REF		pull-many N REF: N callers at once	race REF REF: both at once
 *	cancel REF: leave when it begins to pull			percent: of the last progress
 *	load PATH [NAME]	load-fd NAME: from stdin	list	find REF	remove REF
 *	hold REF	release ID	held ID		fs	config REF
 *	settle: wait until nothing is being deleted
 *
 * Prints "ok ..." or "error CODE: words" for each; exits with 1 if one failed.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/pool.h"
#include "core/image/image.h"
#include "core/loop/loop.h"
#include "core/spawn/spawn.h"

enum { LIST_MAX = 16, WAIT = 1 };

static struct pool *root;
static struct loop *loop;
static struct image_store *store;
static struct spawner *spawner;
static struct image_options options;
static struct image_auth auth;
static const char *plain[LIST_MAX], *pinned[LIST_MAX], *urls[LIST_MAX];
static struct image_mirror mirror;
static int pending, failed;
static unsigned last_percent;
static struct image_pull *to_leave;
static struct loop_defer next_command;
static char **words;
static int n_words;

static void next(void);

static void handle_done(void *data, int ret, const char *id, const struct err *e)
{
	if (ret < 0)
		printf("error %s: %s\n", strerrorname_np(-ret), err_text(e));
	else
		printf("ok %s\n", id);
	failed |= ret < 0;
	if (--pending == 0)
		next();
}

static void handle_progress(void *data, const struct image_progress *pr)
{
	if (pr->total)
		last_percent = (unsigned)(pr->done * 100 / pr->total);
}

static void handle_leave(void *data, const struct image_progress *pr)
{
	if (strcmp(pr->stage, "pulling") || !to_leave)
		return;
	image_pull_leave(to_leave);
	to_leave = NULL;
	printf("ok left\n");
	next();
}

/* Deleting goes on outside the spawner's count: the folders tell. */
static bool busy(void)
{
	static const char *const dirs[] = { "tmp", "trash", "trash.now" };
	bool any =
		image_pulls_running(store) || spawner_running(spawner) || spawner_waiting(spawner);
	for (size_t i = 0; i < 3; i++) {
		DIR *d = opendir(pool_printf(root, "%s/images/%s", options.root, dirs[i]));
		for (struct dirent *ent; d && (ent = readdir(d));)
			any |= ent->d_name[0] != '.';
		if (d)
			closedir(d);
	}
	return any;
}

static void handle_tick(struct loop_timer *t)
{
	if (busy())
		return;
	loop_timer_stop(t);
	printf("ok settled\n");
	next();
}

static void settle(void)
{
	static struct loop_timer t;
	loop_timer_start(&t, loop, root, 50, 50, handle_tick, NULL);
}

static void print(const struct image *im)
{
	if (!im) {
		printf("none\n");
		failed = 1;
		return;
	}
	printf("image %s size=%llu%s\n", im->id, (unsigned long long)im->size,
	       im->pinned ? " pinned" : "");
	for (size_t i = 0; i < im->n_repo_tags; i++)
		printf(" tag %s\n", im->repo_tags[i]);
	for (size_t i = 0; i < im->n_repo_digests; i++)
		printf(" digest %s\n", im->repo_digests[i]);
	for (size_t i = 0; i < im->n_layers; i++)
		printf(" layer %s%s\n", im->layers[i],
		       access(im->layers[i], F_OK) ? " MISSING" : "");
	for (size_t i = 0; i < im->config.n_cmd; i++)
		printf(" cmd %s\n", im->config.cmd[i]);
	for (size_t i = 0; i < im->config.n_env; i++)
		printf(" env %s\n", im->config.env[i]);
	if (im->config.user)
		printf(" user %s\n", im->config.user);
}

static void start_pull(const char *ref)
{
	pending++;
	image_pull(store, ref, &auth, handle_progress, handle_done, NULL);
}

static int command(int argc, char **argv)
{
	const char *name = argv[0], *arg = argc > 1 ? argv[1] : NULL;
	struct err e = { 0 };
	if (!strcmp(name, "pull")) {
		start_pull(arg);
		return WAIT;
	} else if (!strcmp(name, "pull-many")) {
		for (int i = 0; i < atoi(arg); i++)
			start_pull(argv[2]);
		return WAIT;
	} else if (!strcmp(name, "percent")) {
		printf("percent %u\n", last_percent);
	} else if (!strcmp(name, "race")) {
		start_pull(arg);
		start_pull(argv[2]);
		return WAIT;
	} else if (!strcmp(name, "cancel")) {
		to_leave = image_pull(store, arg, &auth, handle_leave, handle_done, NULL);
		return WAIT;
	} else if (!strcmp(name, "load")) {
		pending++;
		image_load(store, -1, arg, argc > 2 ? argv[2] : NULL, handle_progress, handle_done,
			   NULL);
		return WAIT;
	} else if (!strcmp(name, "load-fd")) {
		pending++;
		image_load(store, 0, NULL, arg, handle_progress, handle_done, NULL);
		return WAIT;
	} else if (!strcmp(name, "list")) {
		for (const struct image *im = NULL; (im = image_next(store, im));)
			print(im);
	} else if (!strcmp(name, "find")) {
		print(image_find(store, arg));
	} else if (!strcmp(name, "held")) {
		print(image_held(store, arg));
	} else if (!strcmp(name, "hold")) {
		const struct image *im = image_find(store, arg);
		printf("%s\n", im && image_hold(store, im->id) == 0 ? "ok held" : "error");
	} else if (!strcmp(name, "release")) {
		image_release(store, arg);
		printf("ok released\n");
	} else if (!strcmp(name, "remove")) {
		printf("%s\n", image_remove(store, arg, &e) == 0 ? "ok removed" : e.msg);
	} else if (!strcmp(name, "config")) {
		struct buf b = { 0 };
		const struct image *im = image_find(store, arg);
		if (im && image_config_json(store, im, &b, &e) == 0)
			printf("%s\n", b.data);
		buf_free(&b);
	} else if (!strcmp(name, "fs")) {
		uint64_t bytes, inodes;
		const char *mount;
		image_fs_info(store, &bytes, &inodes, &mount);
		printf("fs %llu %llu %s\n", (unsigned long long)bytes, (unsigned long long)inodes,
		       mount);
	} else if (!strcmp(name, "settle")) {
		settle();
		return WAIT;
	} else {
		fprintf(stderr, "unknown command %s\n", name);
		failed = 1;
	}
	return 0;
}

/* The next command, once the one before it is through. */
static void handle_next(struct loop_defer *d)
{
	static bool swept, last;
	int n = 0;
	if (!n_words) {
		if (last)
			loop_stop(loop);
		else
			settle();
		last = true;
		return;
	}
	while (n < n_words && strcmp(words[n], "then"))
		n++;
	/* Holds that come first stand for those of a daemon that was started again. */
	if (!swept && strcmp(words[0], "hold") && strcmp(words[0], "held")) {
		image_store_sweep(store);
		swept = true;
	}
	char **at = words;
	words += n + (n < n_words);
	n_words -= n + (n < n_words);
	if (command(n, at) != WAIT)
		next();
}

static void next(void)
{
	loop_defer(loop, &next_command, handle_next, NULL);
}

static void add(const char **list, const char *s)
{
	while (*list)
		list++;
	*list = s;
}

static void option(const char *name, char *value)
{
	if (!strcmp(name, "--root")) {
		options.root = value;
	} else if (!strcmp(name, "--libexec")) {
		options.libexec_dir = value;
	} else if (!strcmp(name, "--plain")) {
		add(plain, value);
	} else if (!strcmp(name, "--pinned")) {
		add(pinned, value);
	} else if (!strcmp(name, "--auth-file")) {
		options.auth_file = value;
	} else if (!strcmp(name, "--stall")) {
		options.stall_ms = (uint64_t)atoi(value);
	} else if (!strcmp(name, "--mirror")) {
		char *eq = strchr(value, '=');
		*eq = 0;
		mirror.host = value;
		add(urls, eq + 1);
	} else if (!strcmp(name, "--user")) {
		auth.username = value;
	} else if (!strcmp(name, "--password")) {
		auth.password = value;
	} else if (!strcmp(name, "--token")) {
		auth.registry_token = value;
	} else if (!strcmp(name, "--identity")) {
		auth.identity_token = value;
	} else if (!strcmp(name, "--server")) {
		auth.server_address = value;
	} else {
		fprintf(stderr, "unknown option %s\n", name);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	int at = 1;
	struct err e = { 0 };
	for (; at + 1 < argc && !strncmp(argv[at], "--", 2); at += 2)
		option(argv[at], argv[at + 1]);
	options.plain_http = plain;
	options.pinned = pinned;
	mirror.urls = urls;
	options.mirrors = &mirror;
	options.n_mirrors = mirror.host != NULL;
	setvbuf(stdout, NULL, _IOLBF, 0);
	root = pool_new(NULL, "root");
	loop = loop_new(root);
	spawner = spawner_new(loop, root, 4, NULL, 0);
	if (image_store_open(loop, root, spawner, &options, &store, &e) < 0) {
		printf("error %s: %s\n", strerrorname_np(e.code), e.msg);
		return 1;
	}
	words = argv + at;
	n_words = argc - at;
	next();
	loop_run(loop);
	pool_destroy(root);
	return failed;
}

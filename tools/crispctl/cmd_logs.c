/* crispctl logs: read from the log file, which lies on this host. */
#include <errno.h>
#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/pool.h"
#include "tools/crispctl/crispctl.h"
#include "tools/crispctl/find.h"
#include "tools/crispctl/logfile.h"

enum { ASK_MS = 1000 };	/* how often a silent container is asked for its state */

static int status(struct ctl *c, char *id, Cri__ContainerStatus **out, struct err *e)
{
	Cri__ContainerStatusRequest req = CRI__CONTAINER_STATUS_REQUEST__INIT;
	Cri__ContainerStatusResponse *resp;
	req.container_id = id;
	int ret = CTL_CALL(c, CTL_RUNTIME, ContainerStatus, container_status, &req, &resp, e);
	if (ret == 0 && !resp->status)
		return err_set(e, EPROTO, "ContainerStatus: an empty answer");
	if (ret == 0)
		*out = resp->status;
	return ret;
}

static bool is_over(struct ctl *c, char *id)
{
	Cri__ContainerStatus *st;
	struct err e = { 0 };
	return status(c, id, &st, &e) < 0 || st->state == CRI__CONTAINER_STATE__CONTAINER_EXITED;
}

/* Until the container ends or nobody reads us any more.  The folder is watched, so that a
 * rotated file's successor is seen, too. */
static int follow(struct ctl *c, char *id, struct logfile *l, struct err *e)
{
	auto_close int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	const char *dir = dirname(pool_strdup(c->pool, l->path));
	if (watch < 0 || inotify_add_watch(watch, dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
		return err_sys(e, "watch %s", dir);
	for (bool over = false;;) {
		char events[4096];
		while (read(watch, events, sizeof(events)) > 0)
			;
		int ret = logfile_pump(l, e);
		if (ret == 0)
			ret = logfile_follow_path(l, e);
		if (ret < 0 || over)
			return ret;
		struct pollfd fds[] = { { watch, POLLIN, 0 }, { STDOUT_FILENO, 0, 0 } };
		int n = poll(fds, 2, ASK_MS);
		if (n > 0 && fds[1].revents)
			return 0;
		over = n == 0 && is_over(c, id);	/* then once more, for the last lines */
	}
}

static int show(struct ctl *c, char *id, bool follow_it, int64_t tail, bool timestamps,
		struct err *e)
{
	Cri__ContainerStatus *st;
	int ret = status(c, id, &st, e);
	if (ret == 0 && !*st->log_path)
		return err_set(e, ENOENT, "the container has no log");
	if (ret < 0)
		return ret;
	struct logfile l = { .fd = -1, .timestamps = timestamps };
	ret = logfile_open(&l, st->log_path, tail, e);
	if (ret == 0)
		ret = follow_it ? follow(c, id, &l, e) : logfile_pump(&l, e);
	logfile_close(&l);
	return ret;
}

static int run(struct ctl *c, int argc, char **argv, struct err *e)
{
	static const struct option longs[] = { { "follow", no_argument, NULL, 'f' },
					       { "tail", required_argument, NULL, 'n' },
					       { "timestamps", no_argument, NULL, 't' },
					       { "help", no_argument, NULL, 'h' },
					       { 0 } };
	bool follow_it = false, timestamps = false;
	int64_t tail = -1;
	int opt, ret;
	while ((opt = ctl_getopt(c, argc, argv, ":fn:th", longs, e)) != -1) {
		if (opt == 'f') {
			follow_it = true;
		} else if (opt == 't') {
			timestamps = true;
		} else if (opt == 'n') {
			ret = ctl_number(c, "--tail", optarg, INT32_MAX, &tail, e);
			if (ret)
				return ret;
		} else {
			return CTL_GETOPT_RET(opt);
		}
	}
	if (optind + 1 != argc)
		return ctl_usage(c, e, "expected one container");
	struct find f;
	const Cri__Container *ctr;
	ret = find_load(c, &f, e);
	if (ret == 0)
		ret = find_container(&f, argv[optind], &ctr, e);
	return ret < 0 ? ret : show(c, ctr->id, follow_it, tail, timestamps, e);
}

const struct command cmd_logs = {
	.name = "logs",
	.args = "[-f] [-n LINES] [-t] POD|CONTAINER",
	.summary = "Print what a container has written to stdout and stderr",
	.help = "  -f, --follow       go on until the container ends\n"
		"  -n, --tail LINES   only the last so many\n"
		"  -t, --timestamps   with the time of each line\n",
	.run = run,
};

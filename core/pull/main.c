/*
 * crisp-pull: whatever the image store must not do itself, because it waits or because it reads
 * what strangers wrote.  core/image/pullwire.h says how it is spoken to.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/pool.h"
#include "core/image/pullwire.h"
#include "core/pull/check.h"
#include "core/pull/digest.h"
#include "core/pull/event.h"
#include "core/pull/request.h"
#include "core/pull/supervise.h"
#include "core/pull/trash.h"

/* An unseekable archive is copied once, to a file that has no name. */
static int make_seekable(const char *tmp, int fd, struct err *e)
{
	char buf[64 << 10];
	if (lseek(fd, 0, SEEK_CUR) >= 0)
		return fd;
	int copy = open(tmp, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (copy < 0)
		return err_sys(e, "make a temporary file");
	for (ssize_t n; (n = read(fd, buf, sizeof(buf))) != 0;) {
		if (n < 0 && errno == EINTR)
			continue;
		int ret = n < 0 ? -errno : file_write_all(copy, buf, (size_t)n);
		if (ret < 0) {
			close(copy);
			return err_set(e, -ret, "copy the archive: %s", strerror(-ret));
		}
	}
	return copy;
}

static int open_source(const struct request *r, struct err *e)
{
	int fd = fcntl(PULLWIRE_SOURCE, F_GETFD) < 0 ? -1 : PULLWIRE_SOURCE;
	if (fd < 0 && !r->path)
		return err_set(e, EINVAL, "the request names no archive");
	if (fd < 0)
		fd = open(r->path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open %s", r->path);
	return make_seekable(r->tmp, fd, e);
}

static void wrap_error(const struct request *r, struct err *e)
{
	static const char unavailable[] = "RegistryUnavailable: ";
	char msg[sizeof(e->msg)];
	const char *rest = e->msg, *name = r->load ? r->path ? r->path : "archive" : r->name;
	bool first = !strncmp(e->msg, unavailable, sizeof(unavailable) - 1);
	/* The kubelet looks for this word at the very front. */
	char *at = strstr(e->msg, unavailable);
	if (at && !first) {
		memmove(at, at + sizeof(unavailable) - 1, strlen(at + sizeof(unavailable) - 1) + 1);
		first = true;
	} else if (first) {
		rest += sizeof(unavailable) - 1;
	}
	snprintf(msg, sizeof(msg), "%s%s %s: %.300s", first ? unavailable : "",
		 r->load ? "load" : "pull", name ? name : "", rest);
	memcpy(e->msg, msg, sizeof(msg));
}

static int pull(void)
{
	struct pool *p = pool_new(NULL, "pull");
	struct request r = { 0 };
	struct err e = { 0 };
	int source = -1;
	digest_prepare();
	int ret = request_read(p, &r, &e);
	if (ret == 0 && r.load) {
		source = open_source(&r, &e);
		ret = source < 0 ? source : 0;
	}
	if (ret == 0)
		ret = supervise(p, &r, source, PULLWIRE_EVENTS, &e);
	if (ret < 0) {
		wrap_error(&r, &e);
		event_error(PULLWIRE_EVENTS, p, &e);
	}
	pool_destroy(p);
	return ret < 0;
}

static int sync_fds(int n)
{
	for (int i = 0; i < n; i++) {
		if (fsync(PULLWIRE_SYNC + i) < 0) {
			perror("sync the image index");
			return 1;
		}
	}
	return 0;
}

static int empty_trash(const char *dir)
{
	struct err e = { 0 };
	if (trash_empty(dir, &e) == 0)
		return 0;
	fprintf(stderr, "%s\n", e.msg);
	return 1;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	/* By now it may not do what an exit handler (a leak checker's) would want to. */
	if (argc == 2 && !strcmp(argv[1], "pull"))
		_exit(pull());
	if (argc == 3 && !strcmp(argv[1], "sync"))
		return sync_fds(atoi(argv[2]));
	if (argc == 3 && !strcmp(argv[1], "trash"))
		return empty_trash(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "confine-check"))
		return check_confinement(argv[2]);
	fprintf(stderr, "crisp-pull is started by crispd; by hand only: crisp-pull confine-check "
			"EMPTY-DIR\n");
	return 2;
}

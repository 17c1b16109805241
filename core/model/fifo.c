/*
 * Stdio as FIFOs, for engines that open it by path.  Our ends are open before the engine hears of
 * them: it may wait in open(2) until both sides are there.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/pool.h"
#include "core/model/model_int.h"

static int make(struct pool *p, const char *dir, const char *prefix, const char *name, int flags,
		const char **path, int *fd, struct err *e)
{
	const char *at = pool_printf(p, "%s/%s%s", dir, prefix, name);
	if (unlink(at) < 0 && errno != ENOENT)
		return err_sys(e, "remove the old FIFO %s", at);
	if (mkfifo(at, 0600) < 0)
		return err_sys(e, "make the FIFO %s", at);
	*path = at;
	*fd = open(at, flags | O_NONBLOCK | O_CLOEXEC);
	return *fd < 0 ? err_sys(e, "open the FIFO %s", at) : 0;
}

int fifos_make(struct pool *p, const char *dir, const char *prefix, bool in, bool tty, struct fifos *f,
	       struct err *e)
{
	*f = (struct fifos){ .in_fd = -1, .out_fd = -1, .err_fd = -1 };
	/* Both ways: with no reader yet, it could not be opened to write without waiting. */
	int ret = in ? make(p, dir, prefix, "in", O_RDWR, &f->in, &f->in_fd, e) : 0;
	if (ret == 0)
		ret = make(p, dir, prefix, "out", O_RDONLY, &f->out, &f->out_fd, e);
	if (ret == 0 && !tty)
		ret = make(p, dir, prefix, "err", O_RDONLY, &f->err, &f->err_fd, e);
	if (ret == 0)
		return 0;
	int *fds[] = { &f->in_fd, &f->out_fd, &f->err_fd };
	for (size_t i = 0; i < 3; i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
	fifos_unlink(f);
	return ret;
}

void fifos_unlink(const struct fifos *f)
{
	const char *const paths[] = { f->in, f->out, f->err };
	for (size_t i = 0; i < 3; i++)
		if (paths[i])
			unlink(paths[i]);
}

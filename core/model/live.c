/* What exec and attach have in common: see the header. */
#include "core/model/live.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/model/model_int.h"

/* -- bytes into a pipe or a pty -- */

static void handle_room(struct loop_io *io, int events)
{
	struct feed *f = io->data;
	(void)events;
	loop_io_set(io, 0);
	if (f->live->user)
		f->live->user->writable(f->live->data);
}

int feed_open(struct feed *f, struct live *l, struct loop *loop, struct pool *p, int fd, struct err *e)
{
	f->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (f->fd < 0)
		return err_sys(e, "copy the process's stdin");
	f->live = l;
	loop_io_start(&f->io, loop, p, f->fd, 0, handle_room, f);
	return 0;
}

void feed_close(struct feed *f)
{
	if (f->fd < 0)
		return;
	loop_io_stop(&f->io);
	close(f->fd);
	f->fd = -1;
}

size_t feed_write(struct feed *f, const char *bytes, size_t n)
{
	for (size_t done = 0; f->fd >= 0 && done < n;) {
		ssize_t k = write(f->fd, bytes + done, n - done);
		if (k >= 0) {
			done += (size_t)k;
		} else if (errno == EAGAIN) {
			loop_io_set(&f->io, LOOP_WRITE);
			return done;
		} else if (errno != EINTR) {
			feed_close(f);	/* nobody reads it any more */
		}
	}
	return n;
}

/* The kernel tells the tty's processes. */
void tty_resize(int fd, unsigned width, unsigned height)
{
	struct winsize ws = { .ws_row = (unsigned short)height, .ws_col = (unsigned short)width };
	if (fd >= 0)
		ioctl(fd, TIOCSWINSZ, &ws);
}

/* -- either kind -- */

int model_can_stream(struct model *m, const char *id, struct err *e)
{
	const struct container *c = model_container(m, id);
	if (!c)
		return err_set(e, ENOENT, "container_id \"%s\": no such container", id);
	if (c->state == CONTAINER_STATE_EXITED)
		return err_set(e, EBUSY, "container_id %s: the container has exited with code %d, nothing can run in it "
					 "until it is started anew", c->id, c->exit_code);
	if (c->state != CONTAINER_STATE_RUNNING)
		return err_set(e, EBUSY, "container_id %s: the container is %s, not running", c->id,
			       container_state_name(c->state));
	return 0;
}

size_t live_write(struct live *l, const void *bytes, size_t n)
{
	return feed_write(&l->in, bytes, n);
}

void live_write_end(struct live *l)
{
	l->ops->write_end(l);
}

void live_resize(struct live *l, unsigned width, unsigned height)
{
	l->ops->resize(l, width, height);
}

void live_hold(struct live *l, bool hold)
{
	if (l->ops->hold)
		l->ops->hold(l, hold);
}

void live_leave(struct live *l)
{
	l->user = NULL;
	l->ops->leave(l);
}

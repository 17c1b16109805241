/*
 * Standard streams of a container's processes.
 *
 * There are engines that make whatever they find there the property of the container's user.  Were it
 * the node's /dev/null, that user could take it from everybody by a chmod of /proc/self/fd/0.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/conlog/conlog.h"
#include "core/keep/keep.h"
#include "core/model/model_int.h"

static int empty_file(struct pool *pool, struct err *e)
{
	int fd = memfd_create("crisp-empty", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return err_sys(e, "make an empty file");
	pool_fd(pool, fd);
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		return err_sys(e, "seal an empty file");
	return fd;
}

int stdio_fill(struct pool *pool, struct crisp_stdio *s, struct err *e)
{
	int32_t *const all[] = { &s->in, &s->out, &s->err };
	int empty = -1;
	for (size_t i = 0; i < 3; i++) {
		if (*all[i] > 0)
			continue;
		if (empty < 0 && (empty = empty_file(pool, e)) < 0)
			return empty;
		*all[i] = empty;
	}
	return 0;
}

void give_to_user(const struct container *c, int fd)
{
	const struct idmap *map = &c->pod->map;
	uint32_t uid, gid;
	if (map->n_uids && idmap_uid(map, c->uid, &uid) && idmap_gid(map, c->gid, &gid) && fchown(fd, uid, gid) < 0)
		log_warn("a stream can be written to, but not opened", "ctr", c->id, "uid", log_num(uid));
}

/* -- what the keeper holds of them -- */

void model_keep_fd(struct model *m, const char *kind, const char *id, const char *what, int fd)
{
	char key[KEEP_KEY_MAX + 1];
	snprintf(key, sizeof(key), "%s/%s/%s", kind, id, what);
	if (fd >= 0)
		keep_put(m->g.keep, key, fd);
	else
		keep_drop(m->g.keep, key);
}

void container_keep_fd(struct container *c, const char *what, int fd)
{
	model_keep_fd(c->model, "ctr", c->id, what, fd);
}

static const char *const start_keys[] = { "start-in", "start-out", "start-err" };

void container_keep_start_fds(struct container *c, const int fds[3])
{
	for (int i = 0; i < 3; i++) {
		c->start_fds[i] = fds[i] < 0 ? -1 : fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		if (c->start_fds[i] >= 0)
			container_keep_fd(c, start_keys[i], c->start_fds[i]);
	}
}

void container_drop_start_fds(struct container *c)
{
	for (int i = 0; i < 3; i++) {
		if (c->start_fds[i] < 0)
			continue;
		close(c->start_fds[i]);
		c->start_fds[i] = -1;
		container_keep_fd(c, start_keys[i], -1);
	}
}

void container_drop_fds(struct container *c)
{
	static const char *const kept[] = { "out", "err", "pid" };
	for (size_t i = 0; i < 3; i++)
		container_keep_fd(c, kept[i], -1);
	container_drop_start_fds(c);
	container_close_stdin(c);
	container_close_log(c);
}

void container_close_stdin(struct container *c)
{
	container_keep_fd(c, "in", -1);
	if (c->stdin_fd >= 0)
		close(c->stdin_fd);
	c->stdin_fd = -1;
}

int container_open_log(struct container *c, int out_fd, int err_fd, struct err *e)
{
	c->log_pool = pool_new(c->pool, "log");
	int ret = conlog_open(c->model->g.loop, c->log_pool, c->log_path, out_fd, err_fd, c->config->tty, &c->log, e);
	if (ret < 0)
		container_close_log(c);
	return err_wrap(e, ret, "log_path \"%s\"", c->config->log_path);
}

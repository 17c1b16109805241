/*
 * Standard streams of a container's processes.
 *
 * There are engines that make whatever they find there the property of the container's user.  Were it
 * the node's /dev/null, that user could take it from everybody by a chmod of /proc/self/fd/0.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/pool.h"
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

/* Pools: order of release, early close, children. */
#include "core/base/pool.h"

#include <string.h>
#include <unistd.h>

#include "t/tap.h"

static char order[8];
static size_t at;

struct thing {
	struct pool_res res;
	char name;
};

static void release_thing(struct pool_res *r)
{
	order[at++] = container_of(r, struct thing, res)->name;
}

static void add(struct pool *p, char name)
{
	struct thing *t = pool_new_struct(p, struct thing);
	t->name = name;
	pool_res_add(p, &t->res, release_thing);
}

int main(void)
{
	struct pool *root = pool_new(NULL, "root");
	add(root, 'a');
	struct pool *child = pool_new(root, "child");
	add(child, 'b');
	add(root, 'c');
	int fds[2];
	ok(pipe(fds) == 0, "a pipe");
	struct pool_fd *f = pool_fd(child, fds[0]);
	pool_fd(child, fds[1]);
	ok(pool_fd_take(f) == fds[0] && f->fd == -1, "an fd is given away");
	char *big = pool_alloc(child, 100000);
	ok(big[0] == 0 && big[99999] == 0, "large memory is zeroed");
	ok(!strcmp(pool_printf(child, "%s-%d", "x", 7), "x-7"), "printf");
	ok(pool_size(root) > 100000, "size counts the children");
	pool_destroy(root);
	ok(!strcmp(order, "cba"), "released newest first, children in their place: %s", order);
	ok(write(fds[1], "", 1) < 0, "the fd that stayed is closed");
	ok(close(fds[0]) == 0, "the fd that was taken is not");
	return done();
}

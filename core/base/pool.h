#pragma once
/*
 * Ownership.  A pool owns memory, resources (fds, timers, watchers: anything that embeds
 * a struct pool_res) and child pools.  pool_destroy() takes all of it down, newest first,
 * and is the one way to tear something down.  Never destroy a pool from inside a callback
 * of something that lives in it: use loop_destroy_later().
 *
 * Small allocations abort the process when memory is out; sizes that come from outside
 * are bounded by the caller before they reach a pool.
 */
#include <stdarg.h>
#include <stddef.h>

#include "core/base/list.h"

struct pool;

struct pool_res {
	struct list link;
	void (*release)(struct pool_res *r);	/* must not fail; r's memory is the pool's or outlives it */
};

/* parent may be NULL for a root; name is a literal, shown by dumps. */
struct pool *pool_new(struct pool *parent, const char *name);
void pool_destroy(struct pool *p);	/* takes NULL */

void *pool_alloc(struct pool *p, size_t size);	/* zeroed, aligned to 16 */
char *pool_strdup(struct pool *p, const char *s);	/* NULL gives NULL */
char *pool_strndup(struct pool *p, const char *s, size_t n);
const char *const *pool_strings(struct pool *p, const char *const *from);	/* up to NULL, with it */
void *pool_memdup(struct pool *p, const void *data, size_t n);
char *pool_printf(struct pool *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *pool_vprintf(struct pool *p, const char *fmt, va_list ap);

#define pool_new_struct(p, type) ((type *)pool_alloc((p), sizeof(type)))

/* Attach a resource; it is released with the pool.  pool_res_drop() detaches without releasing. */
void pool_res_add(struct pool *p, struct pool_res *r, void (*release)(struct pool_res *r));
void pool_res_drop(struct pool_res *r);

/* A file descriptor that closes with the pool.  fd_close() closes early, fd_take() gives the
 * fd away; both may be repeated. */
struct pool_fd {
	struct pool_res res;
	int fd;
};
struct pool_fd *pool_fd(struct pool *p, int fd);
void pool_fd_close(struct pool_fd *f);
int pool_fd_take(struct pool_fd *f);

/* Bytes held by the pool and its children, for the dump. */
size_t pool_size(const struct pool *p);
const char *pool_name(const struct pool *p);

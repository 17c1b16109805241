/*
 * Pools: chunked bump allocation plus a list of resources.  Chunks start small (a pool per
 * call and per container exists) and double up to 4 KiB; what is larger gets its own chunk.
 */
#include "core/base/pool.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK_MIN = 256, CHUNK_MAX = 4096, ALIGN = 16 };

struct chunk {
	struct chunk *next;
	size_t used, cap;
	_Alignas(ALIGN) char data[];
};

struct pool {
	struct pool_res res;	/* in the parent's list */
	struct list resources;	/* newest last */
	struct chunk *chunks;
	const char *name;
};

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

static void release_pool(struct pool_res *r)
{
	pool_destroy(container_of(r, struct pool, res));
}

struct pool *pool_new(struct pool *parent, const char *name)
{
	struct pool *p = must(calloc(1, sizeof(*p)));
	p->name = name;
	list_init(&p->resources);
	list_init(&p->res.link);
	if (parent)
		pool_res_add(parent, &p->res, release_pool);
	return p;
}

void pool_destroy(struct pool *p)
{
	if (!p)
		return;
	list_del(&p->res.link);
	while (!list_empty(&p->resources)) {
		struct pool_res *r = container_of(p->resources.prev, struct pool_res, link);
		list_del(&r->link);
		r->release(r);
	}
	for (struct chunk *c = p->chunks, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	free(p);
}

void *pool_alloc(struct pool *p, size_t size)
{
	size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	struct chunk *c = p->chunks;
	if (!c || c->cap - c->used < size) {
		size_t cap = c && c->cap < CHUNK_MAX ? c->cap * 2 : c ? CHUNK_MAX : CHUNK_MIN;
		bool own = size > cap / 2;
		struct chunk *n = must(calloc(1, sizeof(*n) + (own ? size : cap)));
		n->cap = own ? size : cap;
		if (own && c) {		/* keep filling the current chunk */
			n->next = c->next;
			c->next = n;
		} else {
			n->next = c;
			p->chunks = n;
		}
		c = n;
	}
	void *mem = c->data + c->used;
	c->used += size;
	return mem;
}

void *pool_memdup(struct pool *p, const void *data, size_t n)
{
	void *mem = pool_alloc(p, n ? n : 1);
	if (n)
		memcpy(mem, data, n);
	return mem;
}

char *pool_strndup(struct pool *p, const char *s, size_t n)
{
	n = strnlen(s, n);
	char *mem = pool_alloc(p, n + 1);
	memcpy(mem, s, n);
	return mem;
}

char *pool_strdup(struct pool *p, const char *s)
{
	return s ? pool_strndup(p, s, strlen(s)) : NULL;
}

const char *const *pool_strings(struct pool *p, const char *const *from)
{
	size_t n = 0;
	while (from[n])
		n++;
	const char **to = pool_alloc(p, (n + 1) * sizeof(*to));
	for (size_t i = 0; i < n; i++)
		to[i] = pool_strdup(p, from[i]);
	return to;
}

char *pool_vprintf(struct pool *p, const char *fmt, va_list ap)
{
	va_list ap2;
	va_copy(ap2, ap);
	int n = vsnprintf(NULL, 0, fmt, ap2);
	va_end(ap2);
	char *mem = pool_alloc(p, (size_t)n + 1);
	vsnprintf(mem, (size_t)n + 1, fmt, ap);
	return mem;
}

char *pool_printf(struct pool *p, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	char *s = pool_vprintf(p, fmt, ap);
	va_end(ap);
	return s;
}

void pool_res_add(struct pool *p, struct pool_res *r, void (*release)(struct pool_res *r))
{
	r->release = release;
	list_append(&p->resources, &r->link);
}

void pool_res_drop(struct pool_res *r)
{
	list_del(&r->link);
}

static void release_fd(struct pool_res *r)
{
	pool_fd_close(container_of(r, struct pool_fd, res));
}

struct pool_fd *pool_fd(struct pool *p, int fd)
{
	struct pool_fd *f = pool_new_struct(p, struct pool_fd);
	f->fd = fd;
	pool_res_add(p, &f->res, release_fd);
	return f;
}

void pool_fd_close(struct pool_fd *f)
{
	int fd = pool_fd_take(f);
	if (fd >= 0)
		close(fd);
}

int pool_fd_take(struct pool_fd *f)
{
	int fd = f->fd;
	if (fd >= 0)
		pool_res_drop(&f->res);
	f->fd = -1;
	return fd;
}

size_t pool_size(const struct pool *p)
{
	size_t n = sizeof(*p);
	for (const struct chunk *c = p->chunks; c; c = c->next)
		n += sizeof(*c) + c->cap;
	for (const struct list *l = p->resources.next; l != &p->resources; l = l->next) {
		const struct pool_res *r = container_of(l, struct pool_res, link);
		if (r->release == release_pool)
			n += pool_size(container_of(r, struct pool, res));
	}
	return n;
}

const char *pool_name(const struct pool *p)
{
	return p->name;
}

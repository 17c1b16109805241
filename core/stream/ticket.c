/* Tokens and what they stand for: see the header. */
#include "core/stream/ticket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/base/pool.h"
#include "core/loop/loop.h"
#include "core/stream/base64.h"

enum { TOKEN_BYTES = 16, LIFE_MS = 60000 };

struct tickets {
	struct pool_res res;
	struct loop *loop;
	struct list all;
	size_t n;
};

/* A ticket that waits to be used. */
struct waiting {
	struct ticket ticket;
	struct tickets *in;
	struct loop_timer life;
};

static void leave(struct waiting *w)
{
	list_del(&w->ticket.link);
	loop_timer_stop(&w->life);
	w->in->n--;
}

static void handle_old(struct loop_timer *t)
{
	struct waiting *w = t->data;
	leave(w);
	loop_destroy_later(w->in->loop, w->ticket.pool);
}

static void release_tickets(struct pool_res *r)
{
	struct tickets *t = container_of(r, struct tickets, res);
	struct ticket *tk;
	list_for_each(tk, &t->all, link)
		pool_destroy(tk->pool);
}

struct tickets *tickets_new(struct loop *l, struct pool *p)
{
	struct tickets *t = pool_new_struct(p, struct tickets);
	t->loop = l;
	list_init(&t->all);
	pool_res_add(p, &t->res, release_tickets);
	return t;
}

int ticket_new(struct tickets *t, enum ticket_kind kind, struct ticket **out, struct err *e)
{
	unsigned char bytes[TOKEN_BYTES];
	if (t->n == TICKETS_MAX)
		return err_set(e, ENOSPC, "%d URLs of this kind wait to be used already", TICKETS_MAX);
	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return err_sys(e, "make a token");
	struct pool *pool = pool_new(NULL, "ticket");
	struct waiting *w = pool_new_struct(pool, struct waiting);
	w->in = t;
	w->ticket.pool = pool;
	w->ticket.kind = kind;
	base64_url(bytes, sizeof(bytes), w->ticket.token);
	list_append(&t->all, &w->ticket.link);
	t->n++;
	loop_timer_start(&w->life, t->loop, pool, LIFE_MS, 0, handle_old, w);
	*out = &w->ticket;
	return 0;
}

const char *ticket_kind_name(enum ticket_kind kind)
{
	static const char *const names[] = { "exec", "attach", "portforward" };
	return names[kind];
}

/* In a time that says nothing of how much was right. */
static bool same(const char *a, const char *b)
{
	unsigned char diff = 0;
	for (size_t i = 0; i < TICKET_TOKEN; i++)
		diff |= (unsigned char)(a[i] ^ b[i]);
	return !diff;
}

struct ticket *ticket_take(struct tickets *t, const char *kind, const char *token)
{
	struct ticket *tk;
	if (strlen(token) != TICKET_TOKEN)
		return NULL;
	list_for_each(tk, &t->all, link) {
		if (!same(tk->token, token) || strcmp(ticket_kind_name(tk->kind), kind))
			continue;
		leave(container_of(tk, struct waiting, ticket));
		return tk;
	}
	return NULL;
}

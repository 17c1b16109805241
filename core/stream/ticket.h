#pragma once
/*
 * What a URL stands for, from the RPC that asked for it until the one connection that uses it.
 * It is good for a minute, and there are at most TICKETS_MAX.
 */
#include <stdbool.h>
#include <stddef.h>

#include "core/base/err.h"
#include "core/base/list.h"
#include "core/model/live.h"

struct loop;
struct pool;

enum { TICKETS_MAX = 1000, TICKET_TOKEN = 22 };

enum ticket_kind { TICKET_KIND_EXEC, TICKET_KIND_ATTACH, TICKET_KIND_PORTS };

struct ticket {
	struct list link;
	struct pool *pool;	/* own */
	enum ticket_kind kind;
	char token[TICKET_TOKEN + 1];
	const char *id;		/* of the container, of the pod */
	struct live_want want;
	const char **cmd;	/* NULL-terminated */
	unsigned *ports;
	size_t n_ports;
};

struct tickets;

struct tickets *tickets_new(struct loop *l, struct pool *p);
/* -ENOSPC when there are too many.  Its token is made; fill in the rest, in its pool. */
int ticket_new(struct tickets *t, enum ticket_kind kind, struct ticket **out, struct err *e);
const char *ticket_kind_name(enum ticket_kind kind);	/* as in the URL: "exec" */
/* It is used: the caller's from now on, with its pool, which becomes a child of nothing.  NULL:
 * there is none, or not of this kind. */
struct ticket *ticket_take(struct tickets *t, const char *kind, const char *token);

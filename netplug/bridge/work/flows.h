#pragma once
/*
 * Forgetting flows.  The kernel asks the maps of host ports for the first packet of a flow alone.
 * A UDP peer that never falls silent would so go on to talk to a pod that is gone, or to nobody
 * although there is a pod now.  TCP needs none of this: its peers begin anew.
 */
#include <stddef.h>

#include "core/base/err.h"

struct pool;
struct port;

enum flows_which {
	FLOWS_TO_PORTS,	/* that came for one of the host ports and were not translated */
	FLOWS_TO_PODS,	/* that were translated to one of the pods' addresses */
};

/* Nothing happens without a UDP port.  A kernel without conntrack's netlink has 0. */
int flows_forget(struct pool *p, const struct port *ports, size_t n, enum flows_which which,
		 struct err *e);

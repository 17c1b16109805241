#pragma once
/*
 * The nftables table of one bridge: masquerading, host ports, and a guard.
 *
 *	set subnets	the pods' addresses
 *	map ports	protocol . host port           -> pod . port	on every address of the node
 *	map ports_ip	address . protocol . host port -> pod . port	on one address
 *
 * A pod's host ports are elements of the maps (ports.h): adding and removing pods never touches a
 * rule, so their cost doesn't grow with the number of pods.  The table is made whole in one transaction, or
 * replaced whole, with all elements, by rules_rebuild(): what nobody owns is gone then.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

struct pool;
struct port;
struct rules;

struct rules_net {
	const char *table, *bridge;
	const char *const *subnets;	/* "10.88.0.0/16" */
	size_t n_subnets;
};

/* Works in the network namespace that the process is in now. */
struct rules *rules_new(struct pool *p, struct err *e);
/* Is the table there?  Cheap: nothing but a question to the kernel. */
int rules_present(struct pool *p, const char *table, bool *present, struct err *e);
/* Make the table if it is missing; *made says whether it was. */
int rules_ensure(struct rules *r, const struct rules_net *n, bool *made, struct err *e);
/* Make it anew, with these ports and no others. */
int rules_rebuild(struct rules *r, const struct rules_net *n, const struct port *ports,
		  size_t n_ports, struct err *e);
/*
 * Where the node's own firewall (iptables' FORWARD chain, as Docker and ufw leave it) drops what it
 * doesn't know, let the bridge through: no rule of a table of ours could.  Nothing but the name of
 * the interface is matched, since iptables must still be able to read its table.
 */
int rules_pass_firewall(struct rules *r, const char *bridge, struct err *e);
/* The table, and what rules_pass_firewall() has done.  Missing is fine. */
int rules_drop(struct rules *r, const char *table, const char *bridge, struct err *e);

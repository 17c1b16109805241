#pragma once
/*
 * Which IPv4 addresses are taken, per subnet, in memory: the truth is the pods' records.  Addresses
 * are given round robin, so that one that was let go isn't used again soon.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { IPAM_SUBNETS_MAX = 16, IPAM_TEXT = 24 };

struct ipam_subnet {
	char text[IPAM_TEXT];		/* "10.88.0.0/16" */
	char gateway[IPAM_TEXT];	/* "10.88.0.1": the first address */
	uint32_t base;			/* host order */
	unsigned prefix;
	uint32_t size, next;		/* next: where to look first */
	uint64_t *taken;		/* a bit an address */
};

struct ipam {
	struct ipam_subnet subnets[IPAM_SUBNETS_MAX];
	size_t n;
};

/* 0, -EINVAL (no network of /12 to /30, or it overlaps another one; why says which), -ENOMEM. */
int ipam_add(struct ipam *m, const char *cidr, const char **why);
/* A free address, host order, from the first subnet that has one; 0: all are full. */
uint32_t ipam_take(struct ipam *m);
/* Take this one.  False: it is taken, or in none of the subnets. */
bool ipam_claim(struct ipam *m, uint32_t ip);
void ipam_release(struct ipam *m, uint32_t ip);
/* Go on after this address. */
void ipam_skip_to(struct ipam *m, uint32_t ip);
struct ipam_subnet *ipam_find(struct ipam *m, uint32_t ip);	/* NULL: in none */
void ipam_free(struct ipam *m);

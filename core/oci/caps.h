#pragma once
/* Capabilities as sets of bits, bit n = capability n.  For this folder. */
#include <stdbool.h>
#include <stdint.h>

#include "core/oci/oci.h"

struct json_out;

struct caps {
	uint64_t set;		/* bounding, effective, permitted */
	uint64_t ambient;	/* also inheritable */
};

/* What a container without wishes gets. */
uint64_t caps_default(void);
/* "NET_ADMIN" or "CAP_NET_ADMIN", in any case; -1 for none.  "ALL" is none. */
int caps_number(const char *name);
/* The sets of a container.  -EINVAL names an unknown capability or one that is not ours to give. */
int caps_of(const struct oci_host *h, const Cri__ContainerConfig *ctr, struct caps *out, struct err *e);
/* An OCI "capabilities" object. */
void caps_put(struct json_out *o, const struct caps *c);

#pragma once
/* The "process" of a spec.  For this folder. */
#include "core/oci/caps.h"
#include "core/oci/oci.h"

struct json_out;

/* Writes the object.  -EINVAL when there is nothing to run. */
int process_put(struct json_out *o, struct pool *p, const struct oci_host *h, const struct oci_input *in,
		const struct caps *caps, struct err *e);

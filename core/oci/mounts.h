#pragma once
/* The "mounts" of a spec.  For this folder. */
#include "core/oci/oci.h"

struct json_out;

/* Writes the array.  *propagation: what "linux.rootfsPropagation" has to be; NULL: nothing special. */
void mounts_put(struct json_out *o, struct pool *p, const struct oci_input *in, const char **propagation);

/* One mount; options are separated by commas. */
void mounts_put_one(struct json_out *o, const char *target, const char *type, const char *source,
		    const char *options);

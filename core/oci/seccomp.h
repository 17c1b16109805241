#pragma once
/* The seccomp profile of containers that ask for the runtime's default.  For this folder. */
#include <stdint.h>

struct json_out;

/* An OCI "linux.seccomp" object.  caps: the container's capabilities open the calls that are of
 * no use without them. */
void seccomp_put_default(struct json_out *o, uint64_t caps);

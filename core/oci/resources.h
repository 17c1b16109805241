#pragma once
/* The members of an OCI "linux.resources" object, but for devices.  For this folder. */
#include "core/oci/oci.h"

struct json_out;

/* r may be NULL: nothing is limited. */
void resources_put(struct json_out *o, const struct oci_host *h, const Cri__LinuxContainerResources *r);

#pragma once
/* What was measured, in the words of the CRI.  All of it is made in p, strings are borrowed from
 * the model.  A value that is not known is left out, never 0. */
#include "core/cri/rpc.h"

Cri__ContainerStats *usage_container(struct pool *p, struct container *c);
/* With its containers that have usage. */
Cri__PodSandboxStats *usage_pod(struct pool *p, struct pod *pod);
/* Space for the writable layers of containers: the path that its file system is known by. */
const char *usage_layers_path(struct pool *p, struct model *m);

#pragma once
/* Pods and containers as Status and events show them: made in pool, strings borrowed from the
 * model.  What is made is valid until the model changes. */
#include "core/cri/rpc.h"

Cri__PodSandboxStatus *object_pod_status(struct pool *pool, const struct pod *p);
Cri__ContainerStatus *object_container_status(struct pool *pool, const struct container *c);
/* Of all containers of the pod that lists show. */
Cri__ContainerStatus **object_container_statuses(struct pool *pool, const struct pod *p, size_t *n);

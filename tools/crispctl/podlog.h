#pragma once
/*
 * Where `run` puts a pod's logs: /var/log/pods/NAMESPACE_NAME_UID, as a kubelet does.  The
 * runtime does not remove them, so `rm` does, for pods that carry our label alone.
 */
#include "proto/cri.pb-c.h"

struct err;
struct pool;

#define PODLOG_LABEL "crispctl.run"

const char *podlog_dir(struct pool *p, const Cri__PodSandboxMetadata *m);
int podlog_remove(struct pool *p, const Cri__PodSandbox *pod, struct err *e);

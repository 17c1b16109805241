#pragma once
/*
 * From what a person types to a pod or container.
 *
 * A word is an id, the begin of exactly one id, or a name; a pod's name may stand as
 * NAMESPACE/NAME, a container's as POD/NAME.  Of several with one name the only one that is
 * ready or running is meant; else the word is ambiguous, which is an error.
 */
#include "proto/cri.pb-c.h"

struct ctl;
struct err;

/* All pods and containers, as one look; pods[] and containers[] are the server's order. */
struct find {
	struct ctl *ctl;
	Cri__ListPodSandboxResponse *pods;
	Cri__ListContainersResponse *containers;
};

int find_load(struct ctl *c, struct find *f, struct err *e);

const Cri__PodSandbox *find_pod_by_id(const struct find *f, const char *id);
/* The pod's name, or its short id when the pod is gone. */
const char *find_pod_name(const struct find *f, const char *pod_id);

/* Exactly one of *pod and *container is set.  -ENOENT, -EINVAL when ambiguous. */
int find_any(const struct find *f, const char *word, const Cri__PodSandbox **pod,
	     const Cri__Container **container, struct err *e);
/* As find_any; a pod stands for its only container (running ones are preferred). */
int find_container(const struct find *f, const char *word, const Cri__Container **out,
		   struct err *e);
int find_pod(const struct find *f, const char *word, const Cri__PodSandbox **out, struct err *e);

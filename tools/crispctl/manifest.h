#pragma once
/*
 * A pod to run, from a file that looks like a Kubernetes Pod or from flags.
 *
 *	metadata: {name: web, namespace: default, labels: {a: b}}
 *	spec:
 *	  hostNetwork: false
 *	  runtimeClassName: runc
 *	  containers:
 *	  - name: a
 *	    image: busybox
 *	    command: [sh, -c, "echo hello"]
 *
 * What it does not know it refuses, with file and line.
 */
#include <stdbool.h>
#include <stddef.h>

#include "proto/cri.pb-c.h"

struct err;
struct pool;

enum manifest_pull { MANIFEST_PULL_MISSING, MANIFEST_PULL_ALWAYS, MANIFEST_PULL_NEVER };

struct manifest_container {
	Cri__ContainerConfig *config;	/* image.image is the name as given */
	enum manifest_pull pull;
};

struct manifest {
	struct pool *pool;
	Cri__PodSandboxConfig *pod;
	const char *handler;		/* "" for the default one */
	struct manifest_container *containers;
	size_t n_containers;
};

/* An empty pod with name, namespace "default" and a fresh uid.  -EINVAL on a bad name. */
int manifest_begin(struct pool *p, const char *name, struct manifest *m, struct err *e);
/* Add a container; its name must be new. */
int manifest_add(struct manifest *m, const char *name, const char *image,
		 struct manifest_container **out, struct err *e);
void manifest_env(struct manifest *m, struct manifest_container *c, const char *name,
		  const char *value);
void manifest_host_network(struct manifest *m);
/* What follows from the rest: labels, log folder.  Last of all. */
void manifest_finish(struct manifest *m);

int manifest_load(struct pool *p, const char *file, struct manifest *m, struct err *e);

#pragma once
/*
 * What systemd calls the cgroups of pods and containers.
 *
 *	slice	a pod, or a group of them: "kubepods-burstable-pod1.slice".  A dash is a step down
 *		in the tree, so that the name tells the path and the path's last part the name:
 *		/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice
 *	scope	a container: crisp-<id>.scope below its pod's slice.  The engine has systemd make
 *		it, and systemd removes it when it is empty
 *
 * Who is below a slice is under the systemd driver, whatever the configuration says by now: pods
 * outlive a change of it.  But for slices_stop() this is text only.
 */
#include <stdbool.h>

#include "core/base/err.h"

struct cgroups;
struct pool;
struct spawn;
struct spawn_result;
struct spawner;

/* Is the last part of this name or path a slice's? */
bool slice_is(const char *text);
/* The path (in p) of the slice that text names, alone or at the end of its path.
 * -EINVAL: it is none, or is not where its name says. */
int slice_path(struct pool *p, const char *text, const char **path, struct err *e);
/* The slice of a pod with that id below the slice `parent`: its path. */
const char *slice_of_pod(struct pool *p, const char *parent, const char *id);

/* The cgroup of container or pause `id` of the pod whose containers are in `parent`, a path:
 * below a slice a scope, else a directory of that name. */
char *cgroup_leaf(struct pool *p, const char *parent, const char *id);
/* The same leaf as an OCI config's cgroupsPath: "SLICE:crisp:ID" for a scope, else as it is. */
const char *cgroup_oci_path(struct pool *p, const char *leaf);

/*
 * A slice that was not there before its pods is systemd's by now and stays when it is empty: have
 * it stopped.  Those above `leaf` that `made` says are ours, deepest first, as long as nothing is
 * left in them and in_use says no to their path.  That is one run of systemctl, with a deadline:
 * a bus connection in the core would be one more thing to lose and to resume.
 * NULL: there is nothing to stop.  Else cb comes as spawn_start() has it, and calls
 * slices_stopped(), which forgets the slices that are gone.
 */
struct spawn *slices_stop(struct cgroups *cg, struct spawner *s, struct pool *p, const char *leaf,
			  const char *made, bool (*in_use)(void *data, const char *path),
			  void (*cb)(void *data, struct spawn_result *r), void *data);
void slices_stopped(struct cgroups *cg, const char *leaf, const char *made);

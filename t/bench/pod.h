#pragma once
/*
 * A pod, of one container unless more are wanted, as a kubelet makes and removes it.  Samples are
 * lines "SIDE METRIC NANOSECONDS" on stdout, each written at once so that processes may share it.
 */
#include <stddef.h>
#include <stdint.h>

struct client;
struct err;
struct pool;

/* What is the same for all pods of one side. */
struct side {
	const char *name;	/* of the samples: "crisp", "containerd" */
	const char *socket;
	struct client *client;
};

struct pod_options {
	const char *image;
	const char *handler;
	const char *log_dir;
	const char *cgroup_parent;
	int containers;
};

struct pod {
	const char *id;
	const char *container;	/* the last one */
};

void sample_put(const char *side, const char *metric, int64_t value);

int side_connect(struct pool *p, struct side *s, struct err *e);

/* RunPodSandbox, then CreateContainer and StartContainer for each: samples "up", "up.run",
 * "up.create", "up.start".
 * number makes the name; what is allocated lives in p. */
int pod_up(struct pool *p, const struct side *s, const struct pod_options *o, int number,
	   struct pod *out, struct err *e);
/* StopPodSandbox, RemovePodSandbox: samples "down", "down.stop", "down.remove". */
int pod_down(struct pool *p, const struct side *s, const char *id, struct err *e);
/* ExecSync of /bin/true: sample "exec". */
int pod_exec(struct pool *p, const struct side *s, const struct pod *pod, struct err *e);
/* ListContainers: sample "list"; the number found is returned. */
int pod_list(struct pool *p, const struct side *s, struct err *e);
/* The ids of the pods that pod_up() made, on this side; their number is returned. */
int pod_ids(struct pool *p, const struct side *s, const char ***out, struct err *e);

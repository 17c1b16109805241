#pragma once
/*
 * What the files of the bridge plugin share: the instance, a request of the host's, and what
 * crisp-bridge is asked and answers.
 */
#include "netplug/bridge/pods.h"

enum { NAME_MAX_LINK = 15, NAME_MAX_TABLE = 31, MSG_SIZE = 400, ANSWER_MAX = 4096 };
#define SWEEP_NS (60 * 1000000000ll)

enum request_kind { REQUEST_ATTACH, REQUEST_DETACH, REQUEST_SWEEP, REQUEST_GC };

struct request {
	struct request *next;		/* in the queue */
	struct crisp_net *net;
	struct crisp_net_req *req;	/* NULL: a sweep, a gc of our own */
	enum request_kind kind;
	struct pod *pod;
	struct crisp_net_job *job;
	int netns_fd;			/* -1: none */
	int64_t deadline_ns;
	char **live;			/* gc: ids, sorted */
	uint32_t n_live;
	bool cancelled;
};

struct crisp_net {
	const struct crisp_net_host *host;
	char bridge[NAME_MAX_LINK + 1], table[NAME_MAX_TABLE + 1];
	struct pods pods;
	bool ensured;			/* bridge and sysctls, since we began */
	struct request *gc;		/* under way */
	struct request *queue;		/* what waits for gc or the sweep, oldest first */
	struct request *sweep;		/* under way */
	char trouble[MSG_SIZE];		/* why the node couldn't be set up, last time; "" */
};

/* What came of a job of crisp-bridge. */
struct outcome {
	int err;
	char msg[MSG_SIZE];
	bool made;
};

/* Read the options into a new instance.  -EINVAL with words. */
int options_read(struct crisp_net *n, const char *json, char *msg, uint32_t cap);

/* What crisp-bridge is asked for r, as JSON; marks the pods that a gc or sweep means.  Free with
 * yajl_gen_free(). */
yajl_gen wire_request(struct request *r);
/* The order of request.live, for qsort(). */
int wire_compare_ids(const void *a, const void *b);
struct outcome wire_outcome(const struct crisp_net_exit *x);

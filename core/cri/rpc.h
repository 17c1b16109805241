#pragma once
/* What the handlers share. */
#include "core/cri/cri.h"
#include "core/model/model.h"
#include "proto/cri.pb-c.h"

#define RPC(name) void name(struct grpc_call *call, const ProtobufCMessage *request)

/* pods.c */
RPC(cri_run_pod_sandbox);
RPC(cri_stop_pod_sandbox);
RPC(cri_remove_pod_sandbox);
RPC(cri_pod_sandbox_status);
RPC(cri_list_pod_sandbox);
RPC(cri_update_pod_sandbox_resources);
/* containers.c */
RPC(cri_create_container);
RPC(cri_start_container);
RPC(cri_stop_container);
RPC(cri_remove_container);
RPC(cri_list_containers);
RPC(cri_container_status);
RPC(cri_update_container_resources);
RPC(cri_reopen_container_log);
RPC(cri_exec_sync);
/* streams.c */
RPC(cri_exec);
RPC(cri_attach);
RPC(cri_port_forward);
/* stats.c */
RPC(cri_container_stats);
RPC(cri_list_container_stats);
RPC(cri_pod_sandbox_stats);
RPC(cri_list_pod_sandbox_stats);
/* metrics.c */
RPC(cri_list_metric_descriptors);
RPC(cri_list_pod_sandbox_metrics);
/* events.c */
RPC(cri_get_container_events);
/* images.c */
RPC(cri_list_images);
RPC(cri_image_status);
RPC(cri_pull_image);
RPC(cri_remove_image);
RPC(cri_image_fs_info);
/* status.c */
RPC(cri_version);
RPC(cri_status);
RPC(cri_runtime_config);
RPC(cri_update_runtime_config);
/* node.c: crisp.v1.Node */
RPC(node_pull);
RPC(node_load);
RPC(node_dump);

/* A call that waits for the model: reply answers once it has ended well. */
struct rpc {
	struct model_wait wait;
	struct grpc_call *call;
	struct cri *cri;
	void (*reply)(struct rpc *r, const char *id);
};

/* Make one in the call's pool; when the client leaves, so does it. */
struct model_wait *rpc_wait(struct grpc_call *call, void (*reply)(struct rpc *r, const char *id));

/* Answer with an empty message of the method's type. */
void rpc_reply_empty(struct grpc_call *call);

/*
 * Answer a list, as one message or, where the method streams, as many: each item once, as it is
 * now, at the pace of the reader.  The items are messages of the response's one repeated field.
 * So List* and Stream* have one handler; their requests have the same shape.
 */
void rpc_reply_list(struct grpc_call *call, void *const *items, size_t n);

/* Answer NotFound: kind is the field's name, "container_id". */
void rpc_not_found(struct grpc_call *call, const char *field, const char *id, const char *what);

/* A deep copy of m in p, with strings and all. */
void *rpc_copy(struct pool *p, const ProtobufCMessage *m);

/* A string of a request: NULL when it is empty. */
const char *rpc_given(const char *s);

/* An optional number of a message: NULL unless it is known. */
Cri__UInt64Value *rpc_number(struct pool *p, bool known, uint64_t value);

/* Labels of any kind: all map entries have the same shape. */
struct rpc_entry {
	ProtobufCMessage base;
	char *key, *value;
};
/* Does have hold every pair of want? */
bool rpc_labels_match(void *const *have, size_t n_have, void *const *want, size_t n_want);
/* A verbose info map of one JSON text, in p. */
void *rpc_info(struct pool *p, const ProtobufCMessageDescriptor *entry, const char *json);

Cri__PodSandboxState rpc_pod_state(const struct pod *p);
Cri__ContainerState rpc_container_state(const struct container *c);

#pragma once
/*
 * Bringing samples of many up to date.  It reads several files for each container and may have to
 * ask engines, which for a full node takes far longer than the loop may be held up: so it is done
 * in slices, and the answer is then made from memory.
 *
 * Everything lives in the call's pool; when the client leaves, the gathering ends with it.
 */
#include "core/cri/rpc.h"

struct gather;

/* done comes once, from the loop. */
struct gather *gather_new(struct grpc_call *call, void (*done)(struct gather *g));
/* What is wanted, before the start: a pod with its containers, or one container. */
void gather_pod(struct gather *g, struct pod *p);
void gather_container(struct gather *g, struct container *c);
/* Also what takes a walk, of containers that never were walked: waits for it, a second at most. */
void gather_walks(struct gather *g);
void gather_start(struct gather *g);

/* In done: what there was and is still, in order.  The n-th, from 0; NULL: gone meanwhile. */
struct grpc_call *gather_call(const struct gather *g);
size_t gather_pods(const struct gather *g);
struct pod *gather_nth_pod(const struct gather *g, size_t n);
size_t gather_containers(const struct gather *g);
struct container *gather_nth_container(const struct gather *g, size_t n);

/* Does its usage count: made, and not yet ended? */
bool gather_has_usage(const struct container *c);

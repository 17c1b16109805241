#pragma once
/*
 * The CRI, version v1: translates requests to the model and the image store, and their answers
 * back.  No decision about pods or containers is made here.
 *
 * cri_methods is the one table of all methods; those without a handler answer Unimplemented,
 * naming themselves.
 */
#include "core/grpc/grpc.h"

struct config;
struct events;
struct image_store;
struct model;
struct net_plug;
struct plug;
struct pool;
struct stream_server;

/* The user pointer of the gRPC server. */
struct cri {
	struct model *model;
	struct image_store *images;
	struct plug *plug;
	struct net_plug *net;
	struct stream_server *streams;
	struct loop *loop;
	const struct config *config;
	const char *version;		/* of crisp, semver */
	struct events *events;		/* who reads them; of cri_begin */
};

/* Before the server answers: follow the model.  What this needs lives in p. */
void cri_begin(struct cri *cri, struct pool *p);
/* Before the server leaves: end the streams that would go on for ever. */
void cri_end(struct cri *cri);

extern const struct grpc_method cri_methods[];

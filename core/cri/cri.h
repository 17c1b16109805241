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
struct image_store;
struct model;
struct net_plug;
struct plug;

/* The user pointer of the gRPC server. */
struct cri {
	struct model *model;
	struct image_store *images;
	struct plug *plug;
	struct net_plug *net;
	struct loop *loop;
	const struct config *config;
	const char *version;		/* of crisp, semver */
};

extern const struct grpc_method cri_methods[];

#pragma once
/*
 * Exec, Attach and PortForward: an HTTP server on loopback that hands out URLs, each good for one
 * connection, and carries the streams of a client over SPDY/3.1 or WebSocket.
 *
 *	ticket.c   what a URL stands for
 *	server.c   connections, up to their upgrade
 *	spdy.c ws.c    the two ways to carry several streams: each is a wire (wire.h)
 *	remote.c   exec and attach over a wire: core/model/live.h
 *	forward.c  ports of a pod over a wire
 *
 * The client is the kubelet, which has authenticated its user: the token in the URL is all that
 * there is between it and us, so the address is a loopback one by default.
 * Source: api.proto; k8s.io/kubelet's streaming package; SPDY protocol draft 3.1; RFC 6455.
 */
#include "core/base/err.h"
#include "proto/cri.pb-c.h"

struct loop;
struct model;
struct pool;
struct sandboxfs;
struct stream_server;

struct stream_ground {
	struct loop *loop;
	struct model *model;
	struct sandboxfs *sandboxfs;	/* dials into a pod's network */
	struct pool *pool;		/* outlives every connection */
};

/* address: an IP address; port 0: any free one. */
int stream_server_open(struct pool *p, const struct stream_ground *g, const char *address, int port,
		       struct stream_server **out, struct err *e);

/* The URL, in p, to be used within a minute; or -errno, with the field at fault named:
 * -EINVAL, -ENOENT, -EBUSY (not running, not ready), -ENOSPC (too many URLs wait to be used). */
int stream_exec(struct stream_server *s, struct pool *p, const Cri__ExecRequest *rq, const char **url,
		struct err *e);
int stream_attach(struct stream_server *s, struct pool *p, const Cri__AttachRequest *rq, const char **url,
		  struct err *e);
int stream_port_forward(struct stream_server *s, struct pool *p, const Cri__PortForwardRequest *rq,
			const char **url, struct err *e);

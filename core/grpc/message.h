#pragma once
/*
 * protobuf messages from the wire and for it.
 *
 * A `string` of proto3 is UTF-8; peers in Go drop a whole message for one bad byte, and
 * protobuf-c neither checks that nor a NUL, at which its char * would silently end.  So both
 * are looked for here, in the packed bytes, on the way in and on the way out.
 */
#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

#include "core/base/err.h"

struct pool;

enum {
	MESSAGE_DEPTH_MAX = 64,
	MESSAGE_MEMORY_MAX = 64 << 20,	/* of one unpacked message: two bytes can ask for a struct */
};

/* -EINVAL when bytes are no message of type d: broken encoding, nested too deeply, or a string
 * that is not UTF-8 or holds a NUL; the text names the field ("config.metadata.name: ..."). */
int message_check(const ProtobufCMessageDescriptor *d, const void *bytes, size_t n, struct err *e);

/* Unpack into p; *used is the memory that took.  -EINVAL, or -ENOMEM above MESSAGE_MEMORY_MAX. */
int message_unpack(const ProtobufCMessageDescriptor *d, struct pool *p, const void *bytes, size_t n,
		   ProtobufCMessage **out, size_t *used, struct err *e);

/* Make all strings of m valid UTF-8; the new ones live in p. */
void message_clean(struct pool *p, ProtobufCMessage *m);

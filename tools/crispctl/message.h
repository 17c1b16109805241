#pragma once
/* Building protobuf messages in a pool. */
#include <protobuf-c/protobuf-c.h>

struct pool;

/* A message with proto3's defaults. */
void *message_new(struct pool *p, const ProtobufCMessageDescriptor *type);
#define MESSAGE_NEW(p, lower) message_new(p, &cri__##lower##__descriptor)

/* Append to a repeated field of strings or messages; item is the pointer. */
void message_append(struct pool *p, void *m, const char *field, const void *item);
/* Append to a map<string, string>. */
void message_put(struct pool *p, void *m, const char *field, const char *key, const char *value);

#pragma once
/*
 * Any protobuf message as JSON, by its descriptor, in proto3's mapping: lowerCamel names,
 * 64-bit numbers as strings, bytes in base64, enums by name; unset fields are written too.
 */
#include <protobuf-c/protobuf-c.h>

struct json_out;

/* m may be NULL: null. */
void protojson(const ProtobufCMessage *m, struct json_out *o);

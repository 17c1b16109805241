/* A walk over a protobuf-c descriptor. */
#include "tools/crispctl/protojson.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/json.h"

static void put_base64(struct json_out *o, const ProtobufCBinaryData *b)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	struct buf text = { 0 };
	for (size_t i = 0; i < b->len; i += 3) {
		size_t left = b->len - i;
		unsigned v = b->data[i] << 16 | (left > 1 ? b->data[i + 1] << 8 : 0) |
			     (left > 2 ? b->data[i + 2] : 0);
		char four[4] = { digits[v >> 18], digits[v >> 12 & 63],
				 left > 1 ? digits[v >> 6 & 63] : '=',
				 left > 2 ? digits[v & 63] : '=' };
		buf_add(&text, four, 4);
	}
	json_put_strn(o, text.data ? text.data : "", text.len);
	buf_free(&text);
}

static void put_enum(struct json_out *o, const ProtobufCEnumDescriptor *d, int value)
{
	const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(d, value);
	if (v)
		json_put_str(o, v->name);
	else
		json_put_int(o, value);
}

static void put_long(struct json_out *o, const char *fmt, unsigned long long v)
{
	char text[24];
	snprintf(text, sizeof(text), fmt, v);
	json_put_str(o, text);
}

static void put_double(struct json_out *o, double v)
{
	char text[40];
	snprintf(text, sizeof(text), "%.17g", v);
	if (strpbrk(text, "in"))	/* inf and nan are strings in proto3 */
		json_put_str(o, text);
	else
		json_put_number(o, text);
}

static void put_value(struct json_out *o, const ProtobufCFieldDescriptor *f, const void *at)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		json_put_int(o, *(const int32_t *)at);
		break;
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		json_put_int(o, *(const uint32_t *)at);
		break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		put_long(o, "%lld", *(const uint64_t *)at);
		break;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		put_long(o, "%llu", *(const uint64_t *)at);
		break;
	case PROTOBUF_C_TYPE_FLOAT:
		put_double(o, *(const float *)at);
		break;
	case PROTOBUF_C_TYPE_DOUBLE:
		put_double(o, *(const double *)at);
		break;
	case PROTOBUF_C_TYPE_BOOL:
		json_put_bool(o, *(const protobuf_c_boolean *)at);
		break;
	case PROTOBUF_C_TYPE_ENUM:
		put_enum(o, f->descriptor, *(const int *)at);
		break;
	case PROTOBUF_C_TYPE_STRING:
		json_put_str(o, *(char *const *)at ? *(char *const *)at : "");
		break;
	case PROTOBUF_C_TYPE_BYTES:
		put_base64(o, at);
		break;
	case PROTOBUF_C_TYPE_MESSAGE:
		protojson(*(ProtobufCMessage *const *)at, o);
		break;
	}
}

static size_t value_size(ProtobufCType t)
{
	switch (t) {
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	default:
		return 4;
	}
}

/* map<string, V> is on the wire, and to protobuf-c, a list of NameEntry { key, value }. */
static bool is_map(const ProtobufCFieldDescriptor *f)
{
	if (f->label != PROTOBUF_C_LABEL_REPEATED || f->type != PROTOBUF_C_TYPE_MESSAGE)
		return false;
	const ProtobufCMessageDescriptor *d = f->descriptor;
	size_t n = strlen(d->short_name);
	return d->n_fields == 2 && n > 5 && !strcmp(d->short_name + n - 5, "Entry") &&
	       !strcmp(d->fields[0].name, "key") && d->fields[0].type == PROTOBUF_C_TYPE_STRING;
}

static void put_repeated(struct json_out *o, const ProtobufCFieldDescriptor *f,
			 const ProtobufCMessage *m)
{
	size_t n = *(const size_t *)((const char *)m + f->quantifier_offset);
	const char *at = *(char *const *)((const char *)m + f->offset);
	bool map = is_map(f);
	map ? json_object(o) : json_array(o);
	for (size_t i = 0; i < n; i++, at += value_size(f->type)) {
		if (!map) {
			put_value(o, f, at);
			continue;
		}
		const ProtobufCMessage *entry = *(ProtobufCMessage *const *)at;
		const ProtobufCFieldDescriptor *fields = entry->descriptor->fields;
		const char *key = *(char *const *)((const char *)entry + fields[0].offset);
		json_key(o, key ? key : "");
		put_value(o, &fields[1], (const char *)entry + fields[1].offset);
	}
	map ? json_end_object(o) : json_end_array(o);
}

/* image_ref -> imageRef */
static void put_name(struct json_out *o, const char *name)
{
	char camel[128];
	size_t n = 0;
	for (bool upper = false; *name && n + 1 < sizeof(camel); name++) {
		if (*name == '_') {
			upper = true;
			continue;
		}
		camel[n++] = upper && *name >= 'a' && *name <= 'z' ? *name - 32 : *name;
		upper = false;
	}
	camel[n] = 0;
	json_key(o, camel);
}

void protojson(const ProtobufCMessage *m, struct json_out *o)
{
	if (!m) {
		json_put_null(o);
		return;
	}
	json_object(o);
	for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
		put_name(o, f->name);
		if (f->label == PROTOBUF_C_LABEL_REPEATED)
			put_repeated(o, f, m);
		else
			put_value(o, f, (const char *)m + f->offset);
	}
	json_end_object(o);
}

/* Checking, unpacking and cleaning of messages by their descriptors, see the header. */
#include "core/grpc/message.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/base/pool.h"
#include "core/base/utf8.h"

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_LEN = 2, WIRE_32 = 5 };

/* Where in the message the walk is: a chain on the stack, for the error's text only. */
struct place {
	const struct place *up;
	const char *name;
	int depth;
};

struct cursor {
	const uint8_t *at, *end;
};

/* -- the check -- */

static size_t put_path(const struct place *p, char *to, size_t cap)
{
	if (!p)
		return 0;
	size_t n = put_path(p->up, to, cap);
	int more = snprintf(to + n, cap - n, "%s%s", n ? "." : "", p->name);
	return n + (size_t)more < cap ? n + (size_t)more : cap - 1;
}

static int bad(const struct place *p, struct err *e, const char *what)
{
	char path[300] = "";
	put_path(p, path, sizeof(path));
	return err_set(e, EINVAL, "%s: %s", p ? path : "message", what);
}

static bool take_varint(struct cursor *c, uint64_t *v)
{
	*v = 0;
	for (int shift = 0; shift < 70 && c->at < c->end; shift += 7) {
		uint8_t b = *c->at++;
		*v |= (uint64_t)(b & 0x7f) << shift;
		if (b < 0x80)
			return true;
	}
	return false;
}

/* Take a field's value; a LEN value is what *value spans. */
static bool take_value(struct cursor *c, unsigned int wire, struct cursor *value)
{
	uint64_t n;
	switch (wire) {
	case WIRE_VARINT:
		return take_varint(c, &n);
	case WIRE_64:
		n = 8;
		break;
	case WIRE_32:
		n = 4;
		break;
	case WIRE_LEN:
		if (take_varint(c, &n))
			break;
		return false;
	default:	/* groups: proto3 has none */
		return false;
	}
	if (n > (uint64_t)(c->end - c->at))
		return false;
	*value = (struct cursor){ c->at, c->at + n };
	c->at += n;
	return true;
}

static int check_string(struct cursor v, const struct place *p, struct err *e)
{
	size_t n = (size_t)(v.end - v.at);
	if (utf8_valid((const char *)v.at, n) != n)
		return bad(p, e, "not valid UTF-8");
	if (n && memchr(v.at, 0, n))
		return bad(p, e, "holds a NUL byte");
	return 0;
}

static int check_fields(const ProtobufCMessageDescriptor *d, struct cursor c,
			const struct place *up, struct err *e)
{
	int depth = up ? up->depth + 1 : 1;
	if (depth > MESSAGE_DEPTH_MAX)
		return bad(up, e, "nested too deeply");
	while (c.at < c.end) {
		uint64_t key;
		struct cursor v = { 0 };
		if (!take_varint(&c, &key) || key >> 3 == 0 || key > UINT32_MAX ||
		    !take_value(&c, key & 7, &v))
			return bad(up, e, "broken protobuf encoding");
		const ProtobufCFieldDescriptor *f =
			protobuf_c_message_descriptor_get_field(d, (unsigned int)(key >> 3));
		if (!f || (key & 7) != WIRE_LEN)
			continue;
		struct place at = { up, f->name, depth };
		int ret = f->type == PROTOBUF_C_TYPE_STRING ? check_string(v, &at, e) :
			  f->type == PROTOBUF_C_TYPE_MESSAGE ? check_fields(f->descriptor, v, &at, e) : 0;
		if (ret < 0)
			return ret;
	}
	return 0;
}

int message_check(const ProtobufCMessageDescriptor *d, const void *bytes, size_t n, struct err *e)
{
	const uint8_t *at = bytes;
	return check_fields(d, (struct cursor){ at, n ? at + n : at }, NULL, e);
}

/* -- unpacking -- */

struct arena {
	struct pool *pool;
	size_t used;
	bool full;
};

static void *arena_alloc(void *data, size_t size)
{
	struct arena *a = data;
	if (size > MESSAGE_MEMORY_MAX - a->used) {
		a->full = true;
		return NULL;
	}
	a->used += size;
	return pool_alloc(a->pool, size);
}

static void arena_free(void *data, void *mem)
{
}

int message_unpack(const ProtobufCMessageDescriptor *d, struct pool *p, const void *bytes, size_t n,
		   ProtobufCMessage **out, size_t *used, struct err *e)
{
	struct arena a = { .pool = p };
	ProtobufCAllocator allocator = { arena_alloc, arena_free, &a };
	*out = protobuf_c_message_unpack(d, &allocator, n, bytes);
	*used = a.used;
	if (*out)
		return 0;
	if (a.full)
		return err_set(e, ENOMEM, "message of %zu bytes takes more than %d unpacked", n,
			       MESSAGE_MEMORY_MAX);
	return err_set(e, EINVAL, "not a message of type %s", d->name);
}

/* -- cleaning -- */

static void clean_one(struct pool *p, const ProtobufCFieldDescriptor *f, void **at)
{
	if (!*at)
		return;
	if (f->type == PROTOBUF_C_TYPE_MESSAGE)
		message_clean(p, *at);
	else
		*at = (void *)utf8_clean(p, *at, strlen(*at));
}

void message_clean(struct pool *p, ProtobufCMessage *m)
{
	for (unsigned int i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = m->descriptor->fields + i;
		void *at = (char *)m + f->offset, *count = (char *)m + f->quantifier_offset;
		if (f->type != PROTOBUF_C_TYPE_STRING && f->type != PROTOBUF_C_TYPE_MESSAGE)
			continue;
		if (f->label == PROTOBUF_C_LABEL_REPEATED)
			for (size_t k = 0; k < *(size_t *)count; k++)
				clean_one(p, f, *(void ***)at + k);
		else if (!(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) || *(uint32_t *)count == f->id)
			clean_one(p, f, at);
	}
}

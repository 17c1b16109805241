/* By descriptor, so that one function does for every repeated field. */
#include "tools/crispctl/message.h"

#include <assert.h>
#include <string.h>

#include "core/base/pool.h"

void *message_new(struct pool *p, const ProtobufCMessageDescriptor *type)
{
	/* The descriptors come without init functions.  In proto3 all defaults are zero, but a
	 * string is never NULL. */
	ProtobufCMessage *m = pool_alloc(p, type->sizeof_message);
	m->descriptor = type;
	for (unsigned i = 0; i < type->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &type->fields[i];
		if (f->type == PROTOBUF_C_TYPE_STRING && f->label != PROTOBUF_C_LABEL_REPEATED)
			*(const void **)((char *)m + f->offset) = f->default_value;
	}
	return m;
}

static const ProtobufCFieldDescriptor *repeated_field(void *m, const char *name)
{
	const ProtobufCMessage *base = m;
	const ProtobufCFieldDescriptor *f =
		protobuf_c_message_descriptor_get_field_by_name(base->descriptor, name);
	assert(f && f->label == PROTOBUF_C_LABEL_REPEATED);
	return f;
}

void message_append(struct pool *p, void *m, const char *field, const void *item)
{
	const ProtobufCFieldDescriptor *f = repeated_field(m, field);
	size_t *n = (size_t *)((char *)m + f->quantifier_offset);
	const void ***items = (const void ***)((char *)m + f->offset);
	const void **grown = pool_alloc(p, (*n + 1) * sizeof(*grown));
	if (*n)
		memcpy(grown, *items, *n * sizeof(*grown));
	grown[(*n)++] = item;
	*items = grown;
}

void message_put(struct pool *p, void *m, const char *field, const char *key, const char *value)
{
	const ProtobufCMessageDescriptor *d = repeated_field(m, field)->descriptor;
	char *entry = message_new(p, d);
	*(const char **)(entry + d->fields[0].offset) = key;
	*(const char **)(entry + d->fields[1].offset) = value;
	message_append(p, m, field, entry);
}

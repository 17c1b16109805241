/*
 * rpc SOCKET METHOD [TIMEOUT_MS] < request > response: one call of the CRI with messages in the wire
 * format, for protoc --encode and --decode.  Exit 0; or 1, with "CODE: words" on stderr, CODE
 * being the name of the errno class.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/pool.h"
#include "proto/cri.pb-c.h"
#include "tools/crispctl/client.h"

static const ProtobufCMethodDescriptor *find(const char *name, const char **service)
{
	static const ProtobufCServiceDescriptor *const services[] = {
		&cri__runtime_service__descriptor, &cri__image_service__descriptor,
	};
	for (size_t i = 0; i < 2; i++) {
		const ProtobufCMethodDescriptor *m =
			protobuf_c_service_descriptor_get_method_by_name(services[i], name);
		*service = services[i]->name;
		if (m)
			return m;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	const char *service;
	const ProtobufCMethodDescriptor *m = argc >= 3 ? find(argv[2], &service) : NULL;
	if (!m) {
		fprintf(stderr, "usage: rpc SOCKET METHOD [TIMEOUT_MS] < request > response\n");
		return 2;
	}
	struct buf in = { 0 };
	size_t n;
	while ((n = fread(buf_room(&in, 65536), 1, 65536, stdin)) > 0)
		in.len += n;
	struct pool *p = pool_new(NULL, "rpc");
	struct err e = { 0 };
	struct client *c;
	ProtobufCMessage *request = protobuf_c_message_unpack(m->input, NULL, in.len, (uint8_t *)in.data), *reply;
	if (!request) {
		fprintf(stderr, "rpc: the request is no %s\n", m->input->name);
		return 2;
	}
	int ret = client_open(p, argv[1], &c, &e);
	if (ret == 0) {
		client_set_timeout(c, argc > 3 ? strtoull(argv[3], NULL, 10) : 240000);
		ret = client_call(c, pool_printf(p, "/%s/%s", service, m->name), request, m->output, &reply, &e);
	}
	if (ret < 0) {
		fprintf(stderr, "%s: %s\n", strerrorname_np(-ret), err_text(&e));
	} else {
		size_t len = protobuf_c_message_get_packed_size(reply);
		uint8_t *out = malloc(len + 1);
		protobuf_c_message_pack(reply, out);
		fwrite(out, 1, len, stdout);
		free(out);
	}
	protobuf_c_message_free_unpacked(request, NULL);
	buf_free(&in);
	pool_destroy(p);
	return ret < 0 ? 1 : 0;
}

/*
 * rpc SOCKET METHOD [TIMEOUT_MS] < request > response: one call of the CRI with messages in the wire
 * format, for protoc --encode and --decode.  Exit 0; or 1, with "CODE: words" on stderr, CODE
 * being the name of the errno class.  Of a stream each message is printed as it comes, behind its
 * length (four bytes, little-endian); who does not read makes it wait.
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

static void print_message(const ProtobufCMessage *m, bool framed)
{
	size_t len = protobuf_c_message_get_packed_size(m);
	uint8_t *out = malloc(len + 1);
	protobuf_c_message_pack(m, out);
	if (framed) {
		uint8_t size[4] = { len & 255, len >> 8 & 255, len >> 16 & 255, len >> 24 & 255 };
		fwrite(size, 1, 4, stdout);
	}
	fwrite(out, 1, len, stdout);
	fflush(stdout);
	free(out);
}

static int stream(struct client *c, const char *path, const ProtobufCMessage *request,
		  const ProtobufCMessageDescriptor *type, struct err *e)
{
	ProtobufCMessage *reply;
	int ret = client_begin(c, path, request, e);
	while (ret >= 0 && (ret = client_next(c, type, &reply, e)) > 0)
		print_message(reply, true);
	return ret;
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
		const char *path = pool_printf(p, "/%s/%s", service, m->name);
		client_set_timeout(c, argc > 3 ? strtoull(argv[3], NULL, 10) : 240000);
		if (!strncmp(m->name, "Stream", 6) || !strcmp(m->name, "GetContainerEvents"))
			ret = stream(c, path, request, m->output, &e);
		else if ((ret = client_call(c, path, request, m->output, &reply, &e)) == 0)
			print_message(reply, false);
	}
	if (ret < 0)
		fprintf(stderr, "%s: %s\n", strerrorname_np(-ret), err_text(&e));
	protobuf_c_message_free_unpacked(request, NULL);
	buf_free(&in);
	pool_destroy(p);
	return ret < 0 ? 1 : 0;
}

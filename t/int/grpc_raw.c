/*
 * grpc_raw SOCKET PATH [TIMEOUT] < message: one gRPC call whose message is whatever comes, well made
 * or not.  Prints "STATUS MESSAGE", with the status as a number; -1 when none came.
 */
#include <stdio.h>
#include <string.h>

#include "t/grpc_client.h"

int main(int argc, char **argv)
{
	struct buf in = { 0 };
	size_t n;
	if (argc < 3) {
		fprintf(stderr, "usage: grpc_raw SOCKET PATH [TIMEOUT] < message\n");
		return 2;
	}
	while ((n = fread(buf_room(&in, 65536), 1, 65536, stdin)) > 0)
		in.len += n;
	struct client *c = client_open(argv[1], 0);
	if (!c) {
		fprintf(stderr, "grpc_raw: can't connect\n");
		return 2;
	}
	struct client_options o = { .timeout = argc > 3 ? argv[3] : NULL };
	struct client_call *call = client_ask(c, argv[2], in.data, in.len, &o);
	printf("%d %s\n", call->code, call->message);
	client_close(c);
	buf_free(&in);
	return 0;
}

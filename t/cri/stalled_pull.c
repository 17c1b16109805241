/*
 * stalled_pull SOCKET IMAGE: pull over crisp.v1.Node with a window of a few bytes that is not given
 * back until a second client's PullImage of the same image has ended, then read on.  Prints what
 * came while it held still, how that other pull ended, and what came after.
 */
#include <stdio.h>
#include <string.h>

#include "proto/cri.pb-c.h"
#include "proto/node.pb-c.h"
#include "t/grpc_client.h"

enum { WINDOW = 8, PATIENCE_MS = 60000, LOOK_MS = 50 };

static struct client_call *ask(struct client *c, bool wait, const char *path, const ProtobufCMessage *m)
{
	struct buf body = { 0 };
	body.len = protobuf_c_message_pack(m, (uint8_t *)buf_room(&body, protobuf_c_message_get_packed_size(m)));
	struct client_call *call = (wait ? client_ask : client_call)(c, path, body.data, body.len,
								     &(struct client_options){ 0 });
	buf_free(&body);
	return call;
}

static int pull_beside(const char *socket, char *image)
{
	Cri__ImageSpec spec = CRI__IMAGE_SPEC__INIT;
	Cri__PullImageRequest rq = CRI__PULL_IMAGE_REQUEST__INIT;
	spec.image = image;
	rq.image = &spec;
	struct client *c = client_open(socket, 0);
	int code = c ? ask(c, true, "/runtime.v1.ImageService/PullImage", &rq.base)->code : -1;
	if (c)
		client_close(c);
	return code;
}

/* How many messages came, and the image that the last one names. */
static size_t count(const struct client_call *call, char *id, size_t cap)
{
	size_t n = 0, len;
	const void *bytes;
	while ((bytes = client_message(call, n, &len))) {
		Node__PullProgress *p = (void *)protobuf_c_message_unpack(&node__pull_progress__descriptor,
									  NULL, len, bytes);
		snprintf(id, cap, "%s", p ? p->image_id : "?");
		if (p)
			protobuf_c_message_free_unpacked(&p->base, NULL);
		n++;
	}
	return n;
}

int main(int argc, char **argv)
{
	struct client *c = argc == 3 ? client_open(argv[1], WINDOW) : NULL;
	if (!c) {
		fprintf(stderr, "usage: stalled_pull SOCKET IMAGE, with a daemon at SOCKET\n");
		return 2;
	}
	Node__PullRequest rq = NODE__PULL_REQUEST__INIT;
	rq.image = argv[2];
	c->holding = true;
	struct client_call *call = ask(c, false, "/crisp.v1.Node/Pull", &rq.base);
	for (int ms = 0; c->arrived < WINDOW && ms < PATIENCE_MS; ms += LOOK_MS)
		client_run(c, NULL, LOOK_MS);
	int beside = pull_beside(argv[1], argv[2]);
	client_run(c, NULL, LOOK_MS);
	printf("held %zu closed %d\nbeside %d\n", c->arrived, call->closed, beside);
	client_resume(c);
	client_run(c, &call->closed, PATIENCE_MS);
	char id[128] = "";
	size_t n = count(call, id, sizeof(id));
	printf("status %d messages %zu\nimage %s\n", call->code, n, id);
	client_close(c);
	return 0;
}

/* Exec, Attach, PortForward: URLs of the streaming server. */
#include "core/cri/rpc.h"
#include "core/stream/stream.h"

/* The answers have one shape. */
struct url_response {
	ProtobufCMessage base;
	char *url;
};
_Static_assert(sizeof(struct url_response) == sizeof(Cri__ExecResponse), "exec");
_Static_assert(sizeof(struct url_response) == sizeof(Cri__AttachResponse), "attach");
_Static_assert(sizeof(struct url_response) == sizeof(Cri__PortForwardResponse), "port forward");

static void answer(struct grpc_call *call, int ret, const ProtobufCMessageDescriptor *d, const char *url,
		   const struct err *e)
{
	struct url_response resp = { .base = PROTOBUF_C_MESSAGE_INIT(d), .url = (char *)(uintptr_t)url };
	if (ret < 0)
		grpc_fail(call, e);
	else
		grpc_reply(call, &resp.base);
}

RPC(cri_exec)
{
	struct cri *cri = grpc_user(call);
	struct err e = { 0 };
	const char *url = NULL;
	int ret = stream_exec(cri->streams, grpc_pool(call), (const void *)request, &url, &e);
	answer(call, ret, &cri__exec_response__descriptor, url, &e);
}

RPC(cri_attach)
{
	struct cri *cri = grpc_user(call);
	struct err e = { 0 };
	const char *url = NULL;
	int ret = stream_attach(cri->streams, grpc_pool(call), (const void *)request, &url, &e);
	answer(call, ret, &cri__attach_response__descriptor, url, &e);
}

RPC(cri_port_forward)
{
	struct cri *cri = grpc_user(call);
	struct err e = { 0 };
	const char *url = NULL;
	int ret = stream_port_forward(cri->streams, grpc_pool(call), (const void *)request, &url, &e);
	answer(call, ret, &cri__port_forward_response__descriptor, url, &e);
}

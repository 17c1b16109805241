/*
 * Fuzz target: all that a client sends on one connection, from the preface on.  The server is
 * made once; it must have dropped the connection and everything of it at the end of each run.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/pool.h"
#include "core/grpc/grpc.h"
#include "core/loop/loop.h"
#include "core/sock/sock.h"
#include "proto/cri.pb-c.h"

enum { INPUT_MAX = 100 << 10 };		/* what a socket's buffer takes */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static struct pool *root;
static struct loop *loop;
static struct grpc_server *server;
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static int waiting;

static void handle_cancel(struct grpc_call *call, void *data)
{
	waiting--;
}

static void handle_now(struct grpc_call *call, const ProtobufCMessage *request)
{
	Cri__VersionResponse r = CRI__VERSION_RESPONSE__INIT;
	r.version = (char *)"0.1.0";
	grpc_reply(call, &r.base);
}

/* An echo, to have the client's bytes in a string and in a status. */
static void handle_echo(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Cri__RunPodSandboxRequest *q = (const Cri__RunPodSandboxRequest *)request;
	Cri__RunPodSandboxResponse r = CRI__RUN_POD_SANDBOX_RESPONSE__INIT;
	if (!q->config || !q->config->hostname)
		return grpc_fail_code(call, GRPC_NOT_FOUND, q->runtime_handler);
	r.pod_sandbox_id = q->config->hostname;
	grpc_reply(call, &r.base);
}

static void handle_never(struct grpc_call *call, const ProtobufCMessage *request)
{
	waiting++;
	grpc_on_cancel(call, handle_cancel, NULL);
}

static void handle_stream(struct grpc_call *call, const ProtobufCMessage *request)
{
	Cri__ContainerEventResponse r = CRI__CONTAINER_EVENT_RESPONSE__INIT;
	r.container_id = (char *)"id\xff";
	for (int i = 0; i < 400; i++)
		grpc_send(call, &r.base);
	grpc_finish(call);
}

#define SERVICE "runtime.v1.RuntimeService"

static const struct grpc_method methods[] = {
	{ SERVICE, "Version", &cri__version_request__descriptor, &cri__version_response__descriptor,
	  false, handle_now },
	{ SERVICE, "RunPodSandbox", &cri__run_pod_sandbox_request__descriptor,
	  &cri__run_pod_sandbox_response__descriptor, false, handle_echo },
	{ SERVICE, "ExecSync", &cri__exec_sync_request__descriptor, &cri__exec_sync_response__descriptor,
	  false, handle_never },
	{ SERVICE, "GetContainerEvents", &cri__get_events_request__descriptor,
	  &cri__container_event_response__descriptor, true, handle_stream },
	{ SERVICE, "Status", &cri__status_request__descriptor, &cri__status_response__descriptor,
	  false, NULL },
	{ 0 }
};

static void destroy(void)
{
	pool_destroy(root);
}

static void make_server(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(address);
	/* An address of the kernel's choice, without a file. */
	if (bind(fd, (struct sockaddr *)&address, sizeof(sa_family_t)) < 0 || listen(fd, 8) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &len) < 0)
		abort();
	root = pool_new(NULL, "root");
	loop = loop_new(root);
	server = grpc_server_new(loop, root, fd, methods, NULL);
	atexit(destroy);
}

static void handle_answer(struct loop_io *io, int events)
{
	char bytes[16384];
	ssize_t n = recv(io->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (n == 0)	/* a reset comes as an end, too: then there is one more read */
		loop_stop(loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	if (!root)
		make_server();
	if (n > INPUT_MAX)
		n = INPUT_MAX;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = (socklen_t)(sizeof(sa_family_t) + 6);	/* \0 and five hex digits */
	if (connect(fd, (struct sockaddr *)&address, len) < 0)
		abort();
	if (n && send(fd, bytes, n, MSG_NOSIGNAL) != (ssize_t)n)
		abort();
	shutdown(fd, SHUT_WR);
	struct loop_io io = { 0 };
	loop_io_start(&io, loop, root, fd, LOOP_READ, handle_answer, NULL);
	loop_run(loop);
	loop_io_stop(&io);
	close(fd);
	assert(grpc_server_connections(server) == 0 && waiting == 0);
	return 0;
}

/*
 * A CRI server that has a few pods and does nothing: for tests of clients.
 *
 *	cri_stub SOCKET LOG [plain]
 *
 * Each request is appended to the file LOG as "Method {json}".  "plain" leaves crisp's own
 * service out.  Ends when its stdin does.  Names steer it: image "missing" is only there once
 * pulled, image "broken" can't be pulled, container "late" does not start.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/grpc/grpc.h"
#include "core/loop/loop.h"
#include "core/sock/sock.h"
#include "proto/cri.pb-c.h"
#include "proto/node.pb-c.h"
#include "tools/crispctl/message.h"
#include "tools/crispctl/protojson.h"

static int log_fd;
static bool pulled;
static const char *log_dir;	/* of the containers: the folder that LOG lies in */

#define POD_A "aaaa111111111111111111111111111111111111111111111111111111111111"
#define POD_B "aaab222222222222222222222222222222222222222222222222222222222222"
#define CTR_WEB "c0ffee0000000000000000000000000000000000000000000000000000000000"
#define CTR_JOB "c0ffee1111111111111111111111111111111111111111111111111111111111"
#define CTR_OLD "dead000000000000000000000000000000000000000000000000000000000000"
#define IMAGE "sha256:1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef"

#define NEW(call, lower) MESSAGE_NEW(grpc_pool(call), lower)

static void note(struct grpc_call *call, const ProtobufCMessage *request)
{
	struct json_out *o = json_out(grpc_pool(call));
	protojson(request, o);
	char *line = pool_printf(grpc_pool(call), "%s %s\n", grpc_call_method(call)->name,
				 json_text(o, NULL));
	file_write_all(log_fd, line, strlen(line));
}

static void handle_version(struct grpc_call *call, const ProtobufCMessage *request)
{
	Cri__VersionResponse *r = NEW(call, version_response);
	r->version = "0.1.0";
	r->runtime_name = "stub";
	r->runtime_version = "9";
	r->runtime_api_version = "v1";
	grpc_reply(call, &r->base);
}

static void add_condition(struct grpc_call *call, Cri__RuntimeStatus *s, char *type, bool good)
{
	Cri__RuntimeCondition *c = NEW(call, runtime_condition);
	c->type = type;
	c->status = good;
	c->reason = good ? "" : "Broken";
	message_append(grpc_pool(call), s, "conditions", c);
}

static void handle_status(struct grpc_call *call, const ProtobufCMessage *request)
{
	Cri__StatusResponse *r = NEW(call, status_response);
	r->status = NEW(call, runtime_status);
	add_condition(call, r->status, "RuntimeReady", true);
	add_condition(call, r->status, "NetworkReady", pulled);
	message_put(grpc_pool(call), r, "info", "config", "{\"a\":[1]}");
	grpc_reply(call, &r->base);
}

static void add_pod(struct grpc_call *call, Cri__ListPodSandboxResponse *r, char *id, char *name,
		    Cri__PodSandboxState state)
{
	Cri__PodSandbox *p = NEW(call, pod_sandbox);
	p->id = id;
	p->metadata = NEW(call, pod_sandbox_metadata);
	p->metadata->name = name;
	p->metadata->namespace_ = "default";
	p->metadata->uid = "u";
	p->state = state;
	p->created_at = clock_real_ns() - 180000000000;
	message_put(grpc_pool(call), p, "labels", "app", name);
	message_append(grpc_pool(call), r, "items", p);
}

static void handle_pods(struct grpc_call *call, const ProtobufCMessage *request)
{
	Cri__ListPodSandboxResponse *r = NEW(call, list_pod_sandbox_response);
	add_pod(call, r, POD_A, "shop", CRI__POD_SANDBOX_STATE__SANDBOX_READY);
	add_pod(call, r, POD_B, "\033[31mred", CRI__POD_SANDBOX_STATE__SANDBOX_NOTREADY);
	grpc_reply(call, &r->base);
}

static void handle_pod_status(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Cri__PodSandboxStatusRequest *q = (const Cri__PodSandboxStatusRequest *)request;
	Cri__PodSandboxStatusResponse *r = NEW(call, pod_sandbox_status_response);
	if (strcmp(q->pod_sandbox_id, POD_A))
		return grpc_fail_code(call, GRPC_NOT_FOUND, "no such pod");
	r->status = NEW(call, pod_sandbox_status);
	r->status->id = POD_A;
	r->status->network = NEW(call, pod_sandbox_network_status);
	r->status->network->ip = "10.88.0.2";
	message_put(grpc_pool(call), r, "info", "plain", "text");
	grpc_reply(call, &r->base);
}

static void add_container(struct grpc_call *call, Cri__ListContainersResponse *r, char *id,
			  char *name, char *pod, Cri__ContainerState state)
{
	Cri__Container *c = NEW(call, container);
	c->id = id;
	c->pod_sandbox_id = pod;
	c->metadata = NEW(call, container_metadata);
	c->metadata->name = name;
	c->image_ref = IMAGE;
	c->state = state;
	c->created_at = clock_real_ns() - 10000000000;
	message_append(grpc_pool(call), r, "containers", c);
}

static void handle_containers(struct grpc_call *call, const ProtobufCMessage *request)
{
	Cri__ListContainersResponse *r = NEW(call, list_containers_response);
	add_container(call, r, CTR_WEB, "web", POD_A, CRI__CONTAINER_STATE__CONTAINER_RUNNING);
	add_container(call, r, CTR_JOB, "job", POD_A, CRI__CONTAINER_STATE__CONTAINER_EXITED);
	add_container(call, r, CTR_OLD, "web", POD_B, CRI__CONTAINER_STATE__CONTAINER_EXITED);
	grpc_reply(call, &r->base);
}

static void handle_container_status(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Cri__ContainerStatusRequest *q = (const Cri__ContainerStatusRequest *)request;
	Cri__ContainerStatusResponse *r = NEW(call, container_status_response);
	bool web = !strcmp(q->container_id, CTR_WEB);
	r->status = NEW(call, container_status);
	r->status->id = q->container_id;
	r->status->state = web && access(pool_printf(grpc_pool(call), "%s/over", log_dir), F_OK) < 0
				   ? CRI__CONTAINER_STATE__CONTAINER_RUNNING
				   : CRI__CONTAINER_STATE__CONTAINER_EXITED;
	r->status->exit_code = 3;
	r->status->reason = "Error";
	r->status->log_path = web ? pool_printf(grpc_pool(call), "%s/web.log", log_dir) : "";
	message_put(grpc_pool(call), r, "info", "info", "{\"pid\":12345678901}");
	grpc_reply(call, &r->base);
}

static void handle_exec(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Cri__ExecSyncRequest *q = (const Cri__ExecSyncRequest *)request;
	Cri__ExecSyncResponse *r = NEW(call, exec_sync_response);
	note(call, request);
	if (!strcmp(q->cmd[0], "slow"))
		return grpc_fail_code(call, GRPC_DEADLINE_EXCEEDED, "it took 100% of the time");
	if (!strcmp(q->cmd[0], "big")) {	/* many frames */
		r->stdout.len = 5 << 20;
		r->stdout.data = pool_alloc(grpc_pool(call), r->stdout.len);
		memset(r->stdout.data, 'x', r->stdout.len);
	} else {
		r->stdout.data = (uint8_t *)"out\n";
		r->stdout.len = 4;
		r->stderr.data = (uint8_t *)"err\n";
		r->stderr.len = 4;
	}
	r->exit_code = atoi(q->cmd[q->n_cmd - 1]);
	grpc_reply(call, &r->base);
}

static void handle_images(struct grpc_call *call, const ProtobufCMessage *request)
{
	Cri__ListImagesResponse *r = NEW(call, list_images_response);
	Cri__Image *image = NEW(call, image);
	image->id = IMAGE;
	image->size = 2345678;
	image->pinned = true;
	message_append(grpc_pool(call), image, "repo_tags", "localhost/shop:1");
	message_append(grpc_pool(call), image, "repo_tags", "localhost/shop:2");
	message_append(grpc_pool(call), r, "images", image);
	grpc_reply(call, &r->base);
}

static void handle_image_status(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Cri__ImageStatusRequest *q = (const Cri__ImageStatusRequest *)request;
	Cri__ImageStatusResponse *r = NEW(call, image_status_response);
	const char *name = q->image->image;
	if (strcmp(name, "nowhere") && strcmp(name, "broken") &&
	    (strcmp(name, "missing") || pulled)) {
		r->image = NEW(call, image);
		r->image->id = IMAGE;
		r->image->size = 1;
	}
	grpc_reply(call, &r->base);
}

static void handle_pull_image(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Cri__PullImageRequest *q = (const Cri__PullImageRequest *)request;
	Cri__PullImageResponse *r = NEW(call, pull_image_response);
	note(call, request);
	if (!strcmp(q->image->image, "broken"))
		return grpc_fail_code(call, GRPC_UNAVAILABLE, "the registry is \"away\"");
	pulled = true;
	r->image_ref = IMAGE;
	grpc_reply(call, &r->base);
}

static void handle_pull(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Node__PullRequest *q = (const Node__PullRequest *)request;
	Node__PullProgress *p = message_new(grpc_pool(call), &node__pull_progress__descriptor);
	note(call, request);
	p->stage = "fetch";
	p->total = 1000000;
	p->layers = 2;
	for (int i = 0; i <= 10; i++) {
		p->done = i * 100000;
		p->layers_done = i / 5;
		grpc_send(call, &p->base);
	}
	if (!strcmp(q->image, "broken"))
		return grpc_fail_code(call, GRPC_UNAVAILABLE, "the registry is \"away\"");
	pulled = true;
	p->image_id = IMAGE;
	grpc_send(call, &p->base);
	grpc_finish(call);
}

static void handle_load(struct grpc_call *call, const ProtobufCMessage *request)
{
	Node__LoadProgress *p = message_new(grpc_pool(call), &node__load_progress__descriptor);
	note(call, request);
	p->stage = "unpack";
	grpc_send(call, &p->base);
	message_append(grpc_pool(call), p, "image_ids", IMAGE);
	grpc_send(call, &p->base);
	grpc_finish(call);
}

static void handle_dump(struct grpc_call *call, const ProtobufCMessage *request)
{
	Node__DumpResponse *r = message_new(grpc_pool(call), &node__dump_response__descriptor);
	r->json = "{\"ops\":[],\"text\":\"a:{b,c}\"}";
	grpc_reply(call, &r->base);
}

static void handle_run(struct grpc_call *call, const ProtobufCMessage *request)
{
	Cri__RunPodSandboxResponse *r = NEW(call, run_pod_sandbox_response);
	note(call, request);
	r->pod_sandbox_id = POD_A;
	grpc_reply(call, &r->base);
}

static void handle_create(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Cri__CreateContainerRequest *q = (const Cri__CreateContainerRequest *)request;
	Cri__CreateContainerResponse *r = NEW(call, create_container_response);
	note(call, request);
	r->container_id = q->config->metadata->name;
	grpc_reply(call, &r->base);
}

static void handle_start(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Cri__StartContainerRequest *q = (const Cri__StartContainerRequest *)request;
	note(call, request);
	if (!strcmp(q->container_id, "late"))
		return grpc_fail_code(call, GRPC_INTERNAL, "it would not start");
	grpc_reply(call, NEW(call, start_container_response));
}

static void handle_stats(struct grpc_call *call, const ProtobufCMessage *request)
{
	Cri__ListContainerStatsResponse *r = NEW(call, list_container_stats_response);
	Cri__ContainerStats *s = NEW(call, container_stats);
	static int64_t looks;
	s->attributes = NEW(call, container_attributes);
	s->attributes->id = CTR_WEB;
	s->attributes->metadata = NEW(call, container_metadata);
	s->attributes->metadata->name = "web";
	s->cpu = NEW(call, cpu_usage);
	s->cpu->timestamp = ++looks * 1000000000;	/* half a core */
	s->cpu->usage_core_nano_seconds = NEW(call, uint64_value);
	s->cpu->usage_core_nano_seconds->value = looks * 500000000;
	s->memory = NEW(call, memory_usage);
	s->memory->working_set_bytes = NEW(call, uint64_value);
	s->memory->working_set_bytes->value = 12300000;
	message_append(grpc_pool(call), r, "stats", s);
	grpc_reply(call, &r->base);
}

#define HANDLE_NOTED(name, lower)                                                                  \
	static void handle_##name(struct grpc_call *call, const ProtobufCMessage *request)         \
	{                                                                                          \
		note(call, request);                                                               \
		grpc_reply(call, NEW(call, lower));                                                \
	}

HANDLE_NOTED(stop_pod, stop_pod_sandbox_response)
HANDLE_NOTED(remove_pod, remove_pod_sandbox_response)
HANDLE_NOTED(stop, stop_container_response)
HANDLE_NOTED(remove, remove_container_response)
HANDLE_NOTED(remove_image, remove_image_response)

#define RUNTIME "runtime.v1.RuntimeService"
#define IMAGES "runtime.v1.ImageService"
#define NODE "crisp.v1.Node"
#define CRI(service, Name, lower, handler)                                                         \
	{                                                                                          \
		service, #Name, &cri__##lower##_request__descriptor,                               \
			&cri__##lower##_response__descriptor, false, handler                       \
	}

static struct grpc_method methods[] = {
	CRI(RUNTIME, Version, version, handle_version),
	CRI(RUNTIME, Status, status, handle_status),
	CRI(RUNTIME, ListPodSandbox, list_pod_sandbox, handle_pods),
	CRI(RUNTIME, PodSandboxStatus, pod_sandbox_status, handle_pod_status),
	CRI(RUNTIME, RunPodSandbox, run_pod_sandbox, handle_run),
	CRI(RUNTIME, StopPodSandbox, stop_pod_sandbox, handle_stop_pod),
	CRI(RUNTIME, RemovePodSandbox, remove_pod_sandbox, handle_remove_pod),
	CRI(RUNTIME, ListContainers, list_containers, handle_containers),
	CRI(RUNTIME, ContainerStatus, container_status, handle_container_status),
	CRI(RUNTIME, CreateContainer, create_container, handle_create),
	CRI(RUNTIME, StartContainer, start_container, handle_start),
	CRI(RUNTIME, StopContainer, stop_container, handle_stop),
	CRI(RUNTIME, RemoveContainer, remove_container, handle_remove),
	CRI(RUNTIME, ExecSync, exec_sync, handle_exec),
	CRI(RUNTIME, ListContainerStats, list_container_stats, handle_stats),
	CRI(IMAGES, ListImages, list_images, handle_images),
	CRI(IMAGES, ImageStatus, image_status, handle_image_status),
	CRI(IMAGES, PullImage, pull_image, handle_pull_image),
	CRI(IMAGES, RemoveImage, remove_image, handle_remove_image),
	{ NODE, "Pull", &node__pull_request__descriptor, &node__pull_progress__descriptor, true,
	  handle_pull },
	{ NODE, "Load", &node__load_request__descriptor, &node__load_progress__descriptor, true,
	  handle_load },
	{ NODE, "Dump", &node__dump_request__descriptor, &node__dump_response__descriptor, false,
	  handle_dump },
	{ 0 },
};

static void leave_node_out(void)
{
	for (struct grpc_method *m = methods; m->service; m++)
		if (!strcmp(m->service, NODE))
			*m = (struct grpc_method){ 0 };
}

static void handle_stdin(struct loop_io *io, int events)
{
	loop_stop(io->data);
}

int main(int argc, char **argv)
{
	struct err e = { 0 };
	if (argc < 3)
		return 2;
	log_fd = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	log_dir = strndup(argv[2], strrchr(argv[2], '/') - argv[2]);
	if (argc > 3)
		leave_node_out();
	struct pool *p = pool_new(NULL, "stub");
	struct loop *l = loop_new(p);
	int fd = sock_listen(argv[1], 0600, &e);
	if (fd < 0 || log_fd < 0) {
		fprintf(stderr, "%s: %s\n", argv[1], err_text(&e));
		return 1;
	}
	grpc_server_new(l, p, fd, methods, NULL);
	struct loop_io in;
	loop_io_start(&in, l, p, 0, LOOP_READ, handle_stdin, l);
	puts("ready");
	fflush(stdout);
	loop_run(l);
	pool_destroy(p);
	return 0;
}

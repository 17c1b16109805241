/* The requests are those of a plain pod: own network, ipc and pid, no seccomp profile. */
#include "t/bench/pod.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/pool.h"
#include "proto/cri.pb-c.h"
#include "tools/crispctl/client.h"
#include "tools/crispctl/message.h"

#define LABEL "crisp-bench"

enum { TIMEOUT_MS = 60000 };

#define CALL(s, Method, method, req, resp, e)                                                      \
	client_call((s)->client, "/runtime.v1.RuntimeService/" #Method, &(req)->base,              \
		    &cri__##method##_response__descriptor, (ProtobufCMessage **)(resp), (e))

void sample_put(const char *side, const char *metric, int64_t value)
{
	char line[200];
	int n = snprintf(line, sizeof(line), "%s %s %lld\n", side, metric, (long long)value);
	if (file_write_all(STDOUT_FILENO, line, n) < 0)
		_exit(1);
}

int side_connect(struct pool *p, struct side *s, struct err *e)
{
	int ret = client_open(p, s->socket, &s->client, e);
	if (ret < 0)
		return err_wrap(e, ret, "%s", s->name);
	client_set_timeout(s->client, TIMEOUT_MS);
	return 0;
}

static Cri__NamespaceOption *namespaces(struct pool *p)
{
	Cri__NamespaceOption *ns = MESSAGE_NEW(p, namespace_option);
	ns->pid = CRI__NAMESPACE_MODE__CONTAINER;
	return ns;
}

static Cri__PodSandboxConfig *sandbox_config(struct pool *p, const struct pod_options *o,
					     char *name)
{
	Cri__PodSandboxConfig *c = MESSAGE_NEW(p, pod_sandbox_config);
	c->metadata = MESSAGE_NEW(p, pod_sandbox_metadata);
	c->metadata->name = name;
	c->metadata->uid = name;
	c->metadata->namespace_ = "bench";
	c->hostname = name;
	c->log_directory = pool_printf(p, "%s/%s", o->log_dir, name);
	message_put(p, c, "labels", LABEL, "1");
	c->linux = MESSAGE_NEW(p, linux_pod_sandbox_config);
	c->linux->cgroup_parent = (char *)o->cgroup_parent;
	c->linux->security_context = MESSAGE_NEW(p, linux_sandbox_security_context);
	c->linux->security_context->namespace_options = namespaces(p);
	return c;
}

static Cri__ContainerConfig *container_config(struct pool *p, const struct pod_options *o,
					     int number)
{
	Cri__ContainerConfig *c = MESSAGE_NEW(p, container_config);
	c->metadata = MESSAGE_NEW(p, container_metadata);
	c->metadata->name = number ? pool_printf(p, "more-%d", number) : "main";
	c->image = MESSAGE_NEW(p, image_spec);
	c->image->image = (char *)o->image;
	message_append(p, c, "command", "/bin/sleep");
	message_append(p, c, "command", "1000000");
	c->log_path = pool_printf(p, "%s.log", c->metadata->name);
	message_put(p, c, "labels", LABEL, "1");
	c->linux = MESSAGE_NEW(p, linux_container_config);
	c->linux->security_context = MESSAGE_NEW(p, linux_container_security_context);
	c->linux->security_context->namespace_options = namespaces(p);
	c->linux->resources = MESSAGE_NEW(p, linux_container_resources);
	c->linux->resources->cpu_shares = 2;
	c->linux->resources->oom_score_adj = 1000;
	return c;
}

static int container_up(struct pool *p, const struct side *s, const struct pod_options *o,
			int number, Cri__CreateContainerRequest *create, struct pod *pod,
			struct err *e)
{
	Cri__StartContainerRequest *start = MESSAGE_NEW(p, start_container_request);
	Cri__CreateContainerResponse *created;
	Cri__StartContainerResponse *started;
	create->config = container_config(p, o, number);
	int64_t t0 = clock_mono_ns();
	int ret = CALL(s, CreateContainer, create_container, create, &created, e);
	if (ret < 0)
		return err_wrap(e, ret, "%s", s->name);
	int64_t t1 = clock_mono_ns();
	start->container_id = created->container_id;
	ret = CALL(s, StartContainer, start_container, start, &started, e);
	if (ret < 0)
		return err_wrap(e, ret, "%s", s->name);
	int64_t t2 = clock_mono_ns();
	sample_put(s->name, "up.create", t1 - t0);
	sample_put(s->name, "up.start", t2 - t1);
	pod->container = created->container_id;
	return 0;
}

int pod_up(struct pool *p, const struct side *s, const struct pod_options *o, int number,
	   struct pod *out, struct err *e)
{
	char *name = pool_printf(p, "bench-%s-%d", s->name, number);
	Cri__RunPodSandboxRequest *run = MESSAGE_NEW(p, run_pod_sandbox_request);
	Cri__CreateContainerRequest *create = MESSAGE_NEW(p, create_container_request);
	Cri__RunPodSandboxResponse *ran;
	run->config = create->sandbox_config = sandbox_config(p, o, name);
	run->runtime_handler = (char *)o->handler;
	/* The kubelet makes the folder of the logs. */
	int ret = file_mkdirs(run->config->log_directory, 0755, e);
	if (ret < 0)
		return ret;
	int64_t t0 = clock_mono_ns();
	ret = CALL(s, RunPodSandbox, run_pod_sandbox, run, &ran, e);
	if (ret < 0)
		return err_wrap(e, ret, "%s", s->name);
	sample_put(s->name, "up.run", clock_mono_ns() - t0);
	create->pod_sandbox_id = ran->pod_sandbox_id;
	out->id = ran->pod_sandbox_id;
	for (int i = 0; i < o->containers; i++) {
		ret = container_up(p, s, o, i, create, out, e);
		if (ret < 0)
			return ret;
	}
	sample_put(s->name, "up", clock_mono_ns() - t0);
	return 0;
}

int pod_down(struct pool *p, const struct side *s, const char *id, struct err *e)
{
	Cri__StopPodSandboxRequest *stop = MESSAGE_NEW(p, stop_pod_sandbox_request);
	Cri__RemovePodSandboxRequest *rm = MESSAGE_NEW(p, remove_pod_sandbox_request);
	Cri__StopPodSandboxResponse *stopped;
	Cri__RemovePodSandboxResponse *removed;
	stop->pod_sandbox_id = rm->pod_sandbox_id = (char *)id;
	int64_t t0 = clock_mono_ns();
	int ret = CALL(s, StopPodSandbox, stop_pod_sandbox, stop, &stopped, e);
	if (ret < 0)
		return err_wrap(e, ret, "%s", s->name);
	int64_t t1 = clock_mono_ns();
	ret = CALL(s, RemovePodSandbox, remove_pod_sandbox, rm, &removed, e);
	if (ret < 0)
		return err_wrap(e, ret, "%s", s->name);
	int64_t t2 = clock_mono_ns();
	sample_put(s->name, "down.stop", t1 - t0);
	sample_put(s->name, "down.remove", t2 - t1);
	sample_put(s->name, "down", t2 - t0);
	return 0;
}

int pod_exec(struct pool *p, const struct side *s, const struct pod *pod, struct err *e)
{
	Cri__ExecSyncRequest *req = MESSAGE_NEW(p, exec_sync_request);
	Cri__ExecSyncResponse *resp;
	req->container_id = (char *)pod->container;
	message_append(p, req, "cmd", "/bin/true");
	req->timeout = 10;
	int64_t t0 = clock_mono_ns();
	int ret = CALL(s, ExecSync, exec_sync, req, &resp, e);
	if (ret == 0 && resp->exit_code)
		ret = err_set(e, EIO, "ExecSync of /bin/true: exit code %d", resp->exit_code);
	if (ret == 0)
		sample_put(s->name, "exec", clock_mono_ns() - t0);
	return err_wrap(e, ret, "%s", s->name);
}

int pod_list(struct pool *p, const struct side *s, struct err *e)
{
	Cri__ListContainersRequest *req = MESSAGE_NEW(p, list_containers_request);
	Cri__ListContainersResponse *resp;
	int64_t t0 = clock_mono_ns();
	int ret = CALL(s, ListContainers, list_containers, req, &resp, e);
	if (ret < 0)
		return err_wrap(e, ret, "%s", s->name);
	sample_put(s->name, "list", clock_mono_ns() - t0);
	return (int)resp->n_containers;
}

int pod_ids(struct pool *p, const struct side *s, const char ***out, struct err *e)
{
	Cri__ListPodSandboxRequest *req = MESSAGE_NEW(p, list_pod_sandbox_request);
	Cri__ListPodSandboxResponse *resp;
	req->filter = MESSAGE_NEW(p, pod_sandbox_filter);
	message_put(p, req->filter, "label_selector", LABEL, "1");
	int ret = CALL(s, ListPodSandbox, list_pod_sandbox, req, &resp, e);
	if (ret < 0)
		return err_wrap(e, ret, "%s", s->name);
	*out = pool_alloc(p, resp->n_items * sizeof(**out) + 1);
	for (size_t i = 0; i < resp->n_items; i++)
		(*out)[i] = resp->items[i]->id;
	return (int)resp->n_items;
}

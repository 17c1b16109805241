/*
 * crispctl run: image, sandbox, containers, as a kubelet goes about it.  Half a pod is no
 * use to anybody: whatever fails takes the pod with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/pool.h"
#include "tools/crispctl/client.h"
#include "tools/crispctl/crispctl.h"
#include "tools/crispctl/manifest.h"
#include "tools/crispctl/message.h"
#include "tools/crispctl/pull.h"

enum { RUN_MS = 240000 };	/* the kubelet's patience with RunPodSandbox */

static int ensure_image(struct ctl *c, const struct manifest_container *mc, struct err *e)
{
	Cri__ImageStatusRequest req = CRI__IMAGE_STATUS_REQUEST__INIT;
	Cri__ImageStatusResponse *resp;
	Cri__ImageSpec *spec = mc->config->image;
	const char *id;
	req.image = spec;
	int ret = 0;
	if (mc->pull == MANIFEST_PULL_ALWAYS)
		ret = pull_image(c, spec->image, NULL, &id, e);
	for (int pulled = 0; ret == 0; pulled++) {
		ret = CTL_CALL(c, CTL_IMAGE, ImageStatus, image_status, &req, &resp, e);
		if (ret == 0 && resp->image) {
			spec->image = resp->image->id;
			return 0;
		}
		if (ret == 0 && (pulled || mc->pull == MANIFEST_PULL_NEVER))
			return err_set(e, ENOENT, "image %s is not there", spec->image);
		if (ret == 0)
			ret = pull_image(c, spec->image, NULL, &id, e);
	}
	return ret;
}

static int start_container(struct ctl *c, char *pod_id, const struct manifest *m,
			   const struct manifest_container *mc, struct err *e)
{
	Cri__CreateContainerRequest create = CRI__CREATE_CONTAINER_REQUEST__INIT;
	Cri__CreateContainerResponse *created;
	Cri__StartContainerRequest start = CRI__START_CONTAINER_REQUEST__INIT;
	Cri__StartContainerResponse *started;
	create.pod_sandbox_id = pod_id;
	create.config = mc->config;
	create.sandbox_config = m->pod;
	int ret = file_mkdirs(
		pool_printf(c->pool, "%s/%s", m->pod->log_directory, mc->config->metadata->name),
		0755, e);
	if (ret == 0)
		ret = CTL_CALL(c, CTL_RUNTIME, CreateContainer, create_container, &create, &created,
			       e);
	if (ret < 0)
		return ret;
	start.container_id = created->container_id;
	return CTL_CALL(c, CTL_RUNTIME, StartContainer, start_container, &start, &started, e);
}

/* The first error is the one to tell. */
static void take_back(struct ctl *c, char *pod_id, const struct manifest *m)
{
	Cri__StopPodSandboxRequest stop = CRI__STOP_POD_SANDBOX_REQUEST__INIT;
	Cri__StopPodSandboxResponse *stopped;
	Cri__RemovePodSandboxRequest rm = CRI__REMOVE_POD_SANDBOX_REQUEST__INIT;
	Cri__RemovePodSandboxResponse *removed;
	struct err e = { 0 };
	int ret = 0;
	if (pod_id) {
		stop.pod_sandbox_id = rm.pod_sandbox_id = pod_id;
		ret = CTL_CALL(c, CTL_RUNTIME, StopPodSandbox, stop_pod_sandbox, &stop, &stopped,
			       &e);
		if (ret == 0)
			ret = CTL_CALL(c, CTL_RUNTIME, RemovePodSandbox, remove_pod_sandbox, &rm,
				       &removed, &e);
	}
	if (ret == 0)
		ret = file_remove_tree(AT_FDCWD, m->pod->log_directory, &e);
	if (ret < 0)
		fprintf(stderr, "crispctl: taking back the pod: %s\n", err_text(&e));
}

static int run_pod(struct ctl *c, const struct manifest *m, struct err *e)
{
	Cri__RunPodSandboxRequest req = CRI__RUN_POD_SANDBOX_REQUEST__INIT;
	Cri__RunPodSandboxResponse *resp;
	char *id = NULL;
	int ret = 0;
	for (size_t i = 0; ret == 0 && i < m->n_containers; i++)
		ret = ensure_image(c, &m->containers[i], e);
	if (ret == 0)
		ret = file_mkdirs(m->pod->log_directory, 0755, e);
	if (ret < 0)
		return ret;
	ctl_deadline(c, RUN_MS);
	req.config = m->pod;
	req.runtime_handler = (char *)m->handler;
	ret = CTL_CALL(c, CTL_RUNTIME, RunPodSandbox, run_pod_sandbox, &req, &resp, e);
	if (ret == 0)
		id = resp->pod_sandbox_id;
	for (size_t i = 0; ret == 0 && i < m->n_containers; i++)
		ret = err_wrap(e, start_container(c, id, m, &m->containers[i], e), "container %s",
			       m->containers[i].config->metadata->name);
	if (ret < 0)
		take_back(c, id, m);
	else
		puts(id);
	return ret;
}

/* "8080:80" or "8080:80/udp" */
static int add_port(struct ctl *c, struct manifest *m, const char *text, struct err *e)
{
	unsigned outside, inside;
	char protocol[4] = "tcp", rest;
	int n = sscanf(text, "%5u:%5u/%3[a-z]%c", &outside, &inside, protocol, &rest);
	bool udp = !strcmp(protocol, "udp");
	if (n < 2 || n > 3 || !outside || !inside || outside > 65535 || inside > 65535 ||
	    (!udp && strcmp(protocol, "tcp")))
		return ctl_usage(c, e, "--port %s: expected HOST:CONTAINER or HOST:CONTAINER/udp",
				 text);
	Cri__PortMapping *port = MESSAGE_NEW(m->pool, port_mapping);
	port->host_port = outside;
	port->container_port = inside;
	port->protocol = udp ? CRI__PROTOCOL__UDP : CRI__PROTOCOL__TCP;
	message_append(m->pool, m->pod, "port_mappings", port);
	return 0;
}

struct flags {
	const char *image, *name, *handler;
	bool host_network, tty;
	const char *envs[64], *ports[64];
	size_t n_envs, n_ports;
};

static int from_flags(struct ctl *c, const struct flags *f, char **cmd, struct manifest *m,
		      struct err *e)
{
	struct manifest_container *mc;
	char id[65];
	random_id(id);
	const char *name = f->name ? f->name : pool_printf(c->pool, "run-%.6s", id);
	int ret = manifest_begin(c->pool, name, m, e);
	if (ret == 0)
		ret = manifest_add(m, name, f->image, &mc, e);
	for (size_t i = 0; ret == 0 && i < f->n_envs; i++) {
		const char *eq = strchr(f->envs[i], '=');
		if (!eq || eq == f->envs[i])
			return ctl_usage(c, e, "--env %s: expected NAME=VALUE", f->envs[i]);
		manifest_env(m, mc, pool_strndup(c->pool, f->envs[i], eq - f->envs[i]), eq + 1);
	}
	for (size_t i = 0; ret == 0 && i < f->n_ports; i++)
		ret = add_port(c, m, f->ports[i], e);
	if (ret)
		return ret;
	for (; *cmd; cmd++)
		message_append(c->pool, mc->config, "command", *cmd);
	mc->config->tty = f->tty;
	if (f->host_network)
		manifest_host_network(m);
	manifest_finish(m);
	return 0;
}

static int parse_flags(struct ctl *c, int argc, char **argv, struct flags *f, struct err *e)
{
	static const struct option longs[] = { { "image", required_argument, NULL, 'i' },
					       { "name", required_argument, NULL, 'n' },
					       { "runtime", required_argument, NULL, 'r' },
					       { "env", required_argument, NULL, 'e' },
					       { "port", required_argument, NULL, 'p' },
					       { "host-network", no_argument, NULL, 'H' },
					       { "tty", no_argument, NULL, 'T' },
					       { "help", no_argument, NULL, 'h' },
					       { 0 } };
	int opt;
	while ((opt = ctl_getopt(c, argc, argv, "+:i:n:r:e:p:h", longs, e)) != -1) {
		if (opt == 'i')
			f->image = optarg;
		else if (opt == 'n')
			f->name = optarg;
		else if (opt == 'r')
			f->handler = optarg;
		else if (opt == 'e' && f->n_envs < 64)
			f->envs[f->n_envs++] = optarg;
		else if (opt == 'p' && f->n_ports < 64)
			f->ports[f->n_ports++] = optarg;
		else if (opt == 'e' || opt == 'p')
			return ctl_usage(c, e, "more than 64 times -%c", opt);
		else if (opt == 'H')
			f->host_network = true;
		else if (opt == 'T')
			f->tty = true;
		else
			return opt == 'h' ? -ECANCELED : EXIT_USAGE;
	}
	return 0;
}

static int run(struct ctl *c, int argc, char **argv, struct err *e)
{
	struct flags f = { 0 };
	struct manifest m;
	int ret = parse_flags(c, argc, argv, &f, e);
	if (ret)
		return ret == -ECANCELED ? 0 : ret;
	if (f.image)
		ret = from_flags(c, &f, argv + optind, &m, e);
	else if (optind + 1 != argc || f.name || f.n_envs || f.n_ports || f.host_network || f.tty)
		return ctl_usage(c, e, "expected a manifest, or --image and its options");
	else
		ret = manifest_load(c->pool, argv[optind], &m, e);
	if (ret)
		return ret;
	if (f.handler)
		m.handler = f.handler;
	return run_pod(c, &m, e);
}

const struct command cmd_run = {
	.name = "run",
	.args = "[-r HANDLER] FILE.yaml | --image IMAGE [OPTION...] [--] [COMMAND [ARG...]]",
	.summary = "Run a pod and print its id",
	.help = "  -r, --runtime HANDLER   instead of the default one, or the manifest's\n"
		"  -i, --image IMAGE       a pod of one container from this image, pulled when "
		"missing\n"
		"  -n, --name NAME         of the pod and its container\n"
		"  -e, --env NAME=VALUE    in the container's environment\n"
		"  -p, --port HOST:CTR     forward a port of the host; HOST:CTR/udp\n"
		"      --host-network      no network of its own\n"
		"      --tty               a terminal as its output\n\n"
		"FILE.yaml is a Pod as Kubernetes has it, the plain part of it: metadata.name,\n"
		"namespace, labels, annotations; spec.hostNetwork, hostPID, hostIPC, hostname,\n"
		"runtimeClassName, shareProcessNamespace; containers with name, image,\n"
		"imagePullPolicy, command, args, env, tty, stdin, workingDir, ports,\n"
		"securityContext.{privileged,runAsUser,readOnlyRootFilesystem}.\n"
		"What fails takes the whole pod back.\n",
	.run = run,
};

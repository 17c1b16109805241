/*
 * From messages to a bundle, for the tests on real engines:
 *
 *	bundle container POD CTR DIR KEY=VALUE...	checks both, runs `crisp-work prepare`, writes
 *						DIR/config.json; its reply goes to stdout
 *	bundle pause DIR KEY=VALUE...		config.json of crisp-pause
 *	bundle exec CONFIG ARGS...		process.json on stdout
 *	bundle resources CTR			the limits' JSON on stdout
 *
 * POD and CTR are files of the encoded messages.  Exit 1 and a line on stderr on failure.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/pool.h"
#include "core/image/image.h"
#include "core/oci/oci.h"

enum { MAX = 4 << 20 };

static struct pool *pool;
static struct oci_host host;
static char **keys;

static void check(int ret, const struct err *e)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "%s\n", err_text(e));
	exit(1);
}

static const char *key(const char *name)
{
	size_t n = strlen(name);
	for (char **k = keys; *k; k++)
		if (!strncmp(*k, name, n) && (*k)[n] == '=')
			return *k + n + 1;
	return NULL;
}

/* A value, split by colons. */
static const char **list(const char *name, size_t *n)
{
	char *text = pool_strdup(pool, key(name)), *save;
	const char **out = pool_alloc(pool, 64 * sizeof(*out));
	*n = 0;
	for (char *w = text ? strtok_r(text, ":", &save) : NULL; w && *n < 63; w = strtok_r(NULL, ":", &save))
		out[(*n)++] = w;
	return out;
}

static void *message(const ProtobufCMessageDescriptor *d, const char *path)
{
	struct buf b = { 0 };
	struct err e = { 0 };
	check(file_read(AT_FDCWD, path, MAX, &b, &e), &e);
	void *m = protobuf_c_message_unpack(d, NULL, b.len, (uint8_t *)b.data);
	if (!m)
		check(err_set(&e, EINVAL, "%s: no %s", path, d->name), &e);
	buf_free(&b);
	return m;
}

/* Run the worker as the core would, its stdin and stdout being files here. */
static void prepare(const char *dir, const char *request, size_t len, struct buf *reply)
{
	struct err e = { 0 };
	const char *in = pool_printf(pool, "%s/request.json", dir), *out = pool_printf(pool, "%s/reply.json", dir);
	check(file_replace(AT_FDCWD, in, request, len, 0600, &e), &e);
	int status = system(pool_printf(pool, "%s prepare < %s > %s", key("work"), in, out));
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		exit(1);
	check(file_read(AT_FDCWD, out, MAX, reply, &e), &e);
}

static void container(const char *pod_path, const char *ctr_path, const char *dir)
{
	struct err e = { 0 };
	Cri__PodSandboxConfig *pod = message(&cri__pod_sandbox_config__descriptor, pod_path);
	Cri__ContainerConfig *ctr = message(&cri__container_config__descriptor, ctr_path);
	check(oci_check_sandbox(&host, pod, &e), &e);
	check(oci_check_container(&host, pod, ctr, host.rro, &e), &e);

	struct image_config im = { .user = key("user"), .working_dir = key("workdir") };
	im.volumes = list("volumes", &im.n_volumes);
	im.env = list("env", &im.n_env);
	struct oci_layers layers = { .upper = pool_printf(pool, "%s/upper", dir), .work = pool_printf(pool, "%s/work", dir) };
	layers.dirs = list("layers", &layers.n);
	const char *text;
	size_t len;
	struct buf reply = { 0 };
	struct oci_prepared prep;
	check(oci_prepare_request(pool, pod, ctr, &im, &layers, true, &text, &len, &e), &e);
	prepare(dir, text, len, &reply);
	check(oci_prepare_parse(pool, ctr, reply.data, reply.len, &prep, &e), &e);
	fwrite(reply.data, 1, reply.len, stdout);
	buf_free(&reply);

	struct oci_input in = {
		.pod_id = "testpod", .ctr_id = "testctr", .pod = pod, .ctr = ctr, .image = &im, .prep = &prep,
		.rootfs = pool_printf(pool, "%s/rootfs", dir), .cgroup_path = key("cgroup"), .netns = key("netns"),
		.ipcns = key("ipcns"), .utsns = key("utsns"), .pidns = key("pidns"), .hostname = pod->hostname,
		.resolv_conf = key("resolv_conf"), .hosts = key("hosts"), .hostname_file = key("hostname_file"),
		.shm = key("shm"),
	};
	check(oci_container_spec(pool, &host, &in, &text, &len, &e), &e);
	check(file_replace(AT_FDCWD, pool_printf(pool, "%s/config.json", dir), text, len, 0600, &e), &e);
	protobuf_c_message_free_unpacked(&pod->base, NULL);
	protobuf_c_message_free_unpacked(&ctr->base, NULL);
}

static void pause_spec(const char *dir)
{
	struct err e = { 0 };
	struct oci_pause in = { .pod_id = "testpod", .rootfs = key("rootfs"), .pause = key("pause"), .cgroup_path = key("cgroup"),
				.netns = key("netns"), .ipcns = key("ipcns"), .utsns = key("utsns") };
	const char *text;
	size_t len;
	check(oci_pause_spec(pool, &host, &in, &text, &len, &e), &e);
	check(file_replace(AT_FDCWD, pool_printf(pool, "%s/config.json", dir), text, len, 0600, &e), &e);
}

static void exec_process(const char *config, char **args)
{
	struct err e = { 0 };
	struct buf b = { 0 };
	const char *text;
	size_t len, n = 0;
	while (args[n])
		n++;
	check(file_read(AT_FDCWD, config, MAX, &b, &e), &e);
	check(oci_exec_process(pool, b.data, b.len, (const char *const *)args, n, false, &text, &len, &e), &e);
	fwrite(text, 1, len, stdout);
	buf_free(&b);
}

static void resources(const char *ctr_path)
{
	struct err e = { 0 };
	Cri__ContainerConfig *ctr = message(&cri__container_config__descriptor, ctr_path);
	const char *text;
	size_t len;
	check(oci_resources_json(pool, &host, ctr->linux->resources, &text, &len, &e), &e);
	fwrite(text, 1, len, stdout);
	protobuf_c_message_free_unpacked(&ctr->base, NULL);
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";
	pool = pool_new(NULL, "bundle");
	oci_host_probe(pool, &host);
	keys = argv + (argc < 5 ? argc : 3);
	if (!strcmp(what, "container") && argc > 4)
		container(argv[2], argv[3], argv[4]);
	else if (!strcmp(what, "pause"))
		pause_spec(argv[2]);
	else if (!strcmp(what, "exec"))
		exec_process(argv[2], argv + 3);
	else if (!strcmp(what, "resources"))
		resources(argv[2]);
	else
		return 2;
	pool_destroy(pool);
	return 0;
}

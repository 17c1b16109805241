/* User namespaces of pods: which are taken, what a container may say to them, and what engines read. */
#include <errno.h>
#include <string.h>

#include "core/base/pool.h"
#include "core/image/image.h"
#include "core/oci/oci.h"
#include "t/tap.h"
#include "t/unit/oci_make.h"

#define MAP(c, h, l) (Cri__IDMapping *[]){ &(Cri__IDMapping){ .container_id = (c), .host_id = (h), .length = (l) } }
#define USERNS(u, g) .userns_options = &(Cri__UserNamespace){ .n_uids = 1, .n_gids = 1, .uids = u, .gids = g }
#define IN_POD(...) POD(POD_SEC(NS(__VA_ARGS__)))

static const struct oci_host host = { .seccomp = true, .rro = true };
static struct pool *pool;

static Cri__IDMapping *two[] = { &(Cri__IDMapping){ .length = 1 }, &(Cri__IDMapping){ .length = 1 } };

static const struct {
	const char *what;
	Cri__PodSandboxConfig pod;
	const char *says;	/* NULL: it is taken */
} pods[] = {
	{ "a usual one", IN_POD(USERNS(MAP(0, 65536, 65536), MAP(0, 65536, 65536))), NULL },
	{ "users and groups at different places", IN_POD(USERNS(MAP(0, 1000, 100000), MAP(0, 65536, 1))), NULL },
	{ "up to the last id", IN_POD(USERNS(MAP(0, 4294901760u, 65535), MAP(0, 0, UINT32_MAX))), NULL },
	{ "one id more", IN_POD(USERNS(MAP(0, 4294901760u, 65536), MAP(0, 0, 1))),
	  "userns_options.uids[0]: host_id 4294901760 with length 65536 goes beyond" },
	{ "a length that wraps", IN_POD(USERNS(MAP(0, 1, 1), MAP(0, 2, UINT32_MAX))),
	  "userns_options.gids[0]: host_id 2 with length 4294967295 goes beyond" },
	{ "without id 0", IN_POD(USERNS(MAP(1, 1000, 10), MAP(0, 1000, 10))), "userns_options.uids[0].container_id 1" },
	{ "without group 0", IN_POD(USERNS(MAP(0, 1000, 10), MAP(7, 1000, 10))), "userns_options.gids[0].container_id 7" },
	{ "of no length", IN_POD(USERNS(MAP(0, 1000, 10), MAP(0, 1000, 0))), "userns_options.gids[0].length: is 0" },
	{ "two mappings",
	  IN_POD(.userns_options = &(Cri__UserNamespace){ .n_uids = 2, .uids = two, .n_gids = 2, .gids = two }),
	  "userns_options.uids: has 2 mappings instead of one" },
	{ "users alone",
	  IN_POD(.userns_options = &(Cri__UserNamespace){ .n_uids = 1, .uids = MAP(0, 1000, 10) }),
	  "userns_options.gids: has 0 mappings instead of one" },
	{ "mappings on the node's",
	  IN_POD(.userns_options = &(Cri__UserNamespace){ .mode = CRI__NAMESPACE_MODE__NODE, .n_uids = 1,
							  .uids = MAP(0, 1000, 10) }),
	  "has mappings on the node's" },
	{ "a target's", IN_POD(.userns_options = &(Cri__UserNamespace){ .mode = CRI__NAMESPACE_MODE__TARGET }),
	  "userns_options.mode 3" },
	{ "with the host's network",
	  IN_POD(.network = CRI__NAMESPACE_MODE__NODE, USERNS(MAP(0, 1000, 10), MAP(0, 1000, 10))),
	  "namespace_options.network NODE" },
	{ "with the host's pids", IN_POD(.pid = CRI__NAMESPACE_MODE__NODE, USERNS(MAP(0, 1000, 10), MAP(0, 1000, 10))),
	  "namespace_options.pid NODE" },
	{ "with the host's ipc", IN_POD(.ipc = CRI__NAMESPACE_MODE__NODE, USERNS(MAP(0, 1000, 10), MAP(0, 1000, 10))),
	  "namespace_options.ipc NODE" },
};

static void test_pods(void)
{
	for (size_t i = 0; i < sizeof(pods) / sizeof(pods[0]); i++) {
		struct err e = { 0 };
		int ret = oci_check_sandbox(&host, &pods[i].pod, &e);
		if (pods[i].says)
			ok(ret == -EINVAL && strstr(e.msg, pods[i].says), "%s: %s", pods[i].what, e.msg);
		else
			ok(ret == 0, "%s %s", pods[i].what, e.msg);
	}
}

static const Cri__PodSandboxConfig mapped = IN_POD(.pid = CRI__NAMESPACE_MODE__CONTAINER,
						   USERNS(MAP(0, 1000, 70000), MAP(0, 2000, 65536)));
static const Cri__PodSandboxConfig unmapped = POD();
static const Cri__PodSandboxConfig privileged =
	POD(POD_SEC(.privileged = true, NS(USERNS(MAP(0, 1000, 70000), MAP(0, 2000, 65536)))));

#define IN_CTR(...) CTR(SEC(NS(__VA_ARGS__)))
#define VOLUME(...) CTR(MOUNT(.container_path = "/v", .host_path = "/x", __VA_ARGS__))
#define MAPS(u, g) .n_uidmappings = 1, .uidmappings = u, .n_gidmappings = 1, .gidmappings = g

static const struct {
	const char *what;
	const Cri__PodSandboxConfig *pod;
	Cri__ContainerConfig ctr;
	const char *says;
} ctrs[] = {
	{ "a container that says nothing", &mapped, CTR(), NULL },
	{ "the pod's mappings", &mapped, IN_CTR(USERNS(MAP(0, 1000, 70000), MAP(0, 2000, 65536))), NULL },
	{ "other users", &mapped, IN_CTR(USERNS(MAP(0, 1001, 70000), MAP(0, 2000, 65536))),
	  "userns_options.uids[0] 0:1001:70000: is not the pod's mapping 0:1000:70000" },
	{ "other groups", &mapped, IN_CTR(USERNS(MAP(0, 1000, 70000), MAP(0, 2000, 65535))), "userns_options.gids[0]" },
	{ "the node's in a pod that has one", &mapped,
	  IN_CTR(.userns_options = &(Cri__UserNamespace){ .mode = CRI__NAMESPACE_MODE__NODE }),
	  "userns_options.mode NODE: the pod has a user namespace" },
	{ "one in a pod that has none", &unmapped, IN_CTR(USERNS(MAP(0, 1000, 70000), MAP(0, 2000, 65536))),
	  "userns_options.mode POD: the pod has not" },
	{ "the node's", &unmapped, IN_CTR(.userns_options = &(Cri__UserNamespace){ .mode = CRI__NAMESPACE_MODE__NODE }),
	  NULL },
	{ "a mapped volume", &mapped, VOLUME(MAPS(MAP(0, 1000, 70000), MAP(0, 2000, 65536))), NULL },
	{ "a volume with other users", &mapped, VOLUME(MAPS(MAP(0, 0, 70000), MAP(0, 2000, 65536))),
	  "mounts[0].uidMappings[0] 0:0:70000" },
	{ "a volume with other groups", &mapped, VOLUME(MAPS(MAP(0, 1000, 70000), MAP(1, 2000, 65536))),
	  "mounts[0].gidMappings[0] 1:2000:65536" },
	{ "a volume with mapped users alone", &mapped, VOLUME(.n_uidmappings = 1, .uidmappings = MAP(0, 1000, 70000)),
	  "mounts[0].gidMappings: has 0 mappings" },
	{ "a volume that shows mounts of the node", &mapped,
	  VOLUME(.propagation = CRI__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER), NULL },
	{ "a volume that would show mounts to the node", &privileged,
	  { .metadata = &ctr_meta, .image = &image_spec, SEC(.privileged = true),
	    MOUNT(.container_path = "/v", .host_path = "/x",
		  .propagation = CRI__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL) },
	  "mounts[0].propagation BIDIRECTIONAL: what is mounted in a user namespace" },
	{ "a mapped volume in a pod without", &unmapped, VOLUME(MAPS(MAP(0, 1000, 70000), MAP(0, 2000, 65536))),
	  "mounts[0].uidMappings: the pod has no user namespace" },
};

static void test_containers(void)
{
	for (size_t i = 0; i < sizeof(ctrs) / sizeof(ctrs[0]); i++) {
		struct err e = { 0 };
		int ret = oci_check_container(&host, ctrs[i].pod, &ctrs[i].ctr, true, &e);
		if (ctrs[i].says)
			ok(ret == -EINVAL && strstr(e.msg, ctrs[i].says), "%s: %s", ctrs[i].what, e.msg);
		else
			ok(ret == 0, "%s %s", ctrs[i].what, e.msg);
	}
}

/* -- the spec -- */

static int spec(const Cri__PodSandboxConfig *pod, uint32_t uid, uint32_t gid, uint32_t group, const char **json,
		struct err *e)
{
	static const char *const cmd[] = { "sh" };
	static const struct image_config image = { .cmd = (const char **)(uintptr_t)cmd, .n_cmd = 1 };
	const Cri__ContainerConfig ctr = CTR();
	const struct oci_prepared prep = { .uid = uid, .gid = gid, .groups = &group, .n_groups = 1, .home = "/" };
	const struct oci_input in = { .pod_id = "p", .ctr_id = "c", .pod = pod, .ctr = &ctr, .image = &image,
				      .prep = &prep, .rootfs = "/r", .cgroup_path = "/g", .netns = "/n", .ipcns = "/i",
				      .utsns = "/u", .pidns = "/p", .userns = "/proc/1/fd/9" };
	size_t len;
	*json = "";
	return oci_container_spec(pool, &host, &in, json, &len, e);
}

static void test_spec(void)
{
	struct err e = { 0 };
	const char *json;
	ok(spec(&mapped, 69999, 65535, 65535, &json, &e) == 0, "the last ids %s", e.msg);
	ok(strstr(json, "{\"type\":\"user\",\"path\":\"/proc/1/fd/9\"}"), "the namespace is joined");
	ok(strstr(json, "\"uidMappings\":[{\"containerID\":0,\"hostID\":1000,\"size\":70000}]") &&
		   strstr(json, "\"gidMappings\":[{\"containerID\":0,\"hostID\":2000,\"size\":65536}]"),
	   "engines read the maps");
	ok(spec(&mapped, 70000, 0, 0, &json, &e) == -EINVAL && strstr(e.msg, "user 70000"), "%s", e.msg);
	e = (struct err){ 0 };
	ok(spec(&mapped, 0, 65536, 0, &json, &e) == -EINVAL && strstr(e.msg, "group 65536"), "%s", e.msg);
	e = (struct err){ 0 };
	ok(spec(&mapped, 0, 0, 70000, &json, &e) == -EINVAL && strstr(e.msg, "supplemental group 70000"), "%s", e.msg);
	e = (struct err){ 0 };
	ok(spec(&unmapped, 4000000000u, 70000, 0, &json, &e) == 0 && !strstr(json, "\"user\",") && !strstr(json, "Mappings"),
	   "nothing of it on the node's ids %s", e.msg);
	const Cri__PodSandboxConfig tiny = IN_POD(.pid = CRI__NAMESPACE_MODE__CONTAINER, USERNS(MAP(0, 9, 1), MAP(0, 9, 1)));
	ok(spec(&tiny, 0, 0, 0, &json, &e) == 0 && strstr(json, "mode=0620") && !strstr(json, "gid=5"),
	   "no group tty where there is none %s", e.msg);
}

static void test_pause(void)
{
	struct err e = { 0 };
	struct oci_pause in = { .pod_id = "p", .rootfs = "/r", .pause = "/pause", .cgroup_path = "/g",
				.userns = "/proc/1/fd/9", .map = { 1000, 65536, 1000, 100 } };
	const char *json;
	size_t len;
	ok(oci_pause_spec(pool, &host, &in, &json, &len, &e) == 0 && strstr(json, "\"uid\":65534,\"gid\":99"),
	   "crisp-pause is nobody, or the last whom the map has");
	ok(strstr(json, "\"type\":\"user\"") && strstr(json, "\"hostID\":1000,\"size\":100"), "in the pod's user namespace");
}

static void test_map(void)
{
	struct idmap m, none;
	uint32_t id;
	char text[IDMAP_TEXT_MAX];
	oci_userns_of(&mapped, &m);
	oci_userns_of(&unmapped, &none);
	ok(m.uid == 1000 && m.n_uids == 70000 && m.gid == 2000 && m.n_gids == 65536 && !none.n_uids, "the map of a pod");
	ok(idmap_uid(&m, 5, &id) && id == 1005 && !idmap_uid(&m, 70000, &id) && idmap_gid(&m, 5, &id) && id == 2005,
	   "ids in it");
	ok(idmap_uid(&none, 70000, &id) && id == 70000, "no map leaves ids as they are");
	m = (struct idmap){ UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX };
	ok(idmap_parse(idmap_text(&m, text), &none) && !memcmp(&m, &none, sizeof(m)), "as text and back: %s", text);
	ok(!idmap_parse("1:2:3", &none) && !idmap_parse("1:2:3:4:", &none) && !idmap_parse("1:0:3:4", &none),
	   "texts that are none");
}

int main(void)
{
	pool = pool_new(NULL, "test");
	test_pods();
	test_containers();
	test_spec();
	test_pause();
	test_map();
	pool_destroy(pool);
	return done();
}

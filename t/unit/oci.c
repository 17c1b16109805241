/* From the CRI's configuration to config.json. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/image/image.h"
#include "core/oci/oci.h"
#include "t/tap.h"
#include "t/unit/oci_make.h"

static struct pool *pool;

static const char *entrypoint[] = { "/entry", "-e" }, *cmd[] = { "cmd" },
		  *image_env[] = { "PATH=/image", "FROM=image", "KEEP=1", "broken" };
static const struct image_config image = {
	.env = image_env, .n_env = 4, .entrypoint = entrypoint, .n_entrypoint = 2, .cmd = cmd, .n_cmd = 1,
	.working_dir = "/srv//x/", .user = "1000:5",
};

static struct oci_input input(const Cri__PodSandboxConfig *pod, const Cri__ContainerConfig *ctr,
			      const struct oci_prepared *prep)
{
	return (struct oci_input){
		.pod_id = "pod", .ctr_id = "ctr", .pod = pod, .ctr = ctr, .image = &image, .image_name = "busybox",
		.prep = prep, .rootfs = "/root/fs", .cgroup_path = "/kubepods/ctr", .netns = "/ns/net",
		.ipcns = "/ns/ipc", .utsns = "/ns/uts", .pidns = "/ns/pid", .hostname = "host",
		.resolv_conf = "/pod/resolv.conf", .hosts = "/pod/hosts", .hostname_file = "/pod/hostname",
		.shm = "/pod/shm",
	};
}

static uint32_t groups[] = { 1000, 7 };
static const struct oci_prepared nothing = { .uid = 1000, .gid = 5, .groups = groups, .n_groups = 2, .home = "/home/x" };

static const struct json *spec_of(const struct oci_host *h, const struct oci_input *in)
{
	const char *text = NULL;
	size_t len;
	const struct json *root = NULL;
	struct err e = { 0 };
	if (oci_container_spec(pool, h, in, &text, &len, &e) || json_parse(pool, text, len, &root, &e))
		printf("# no spec: %s\n", e.msg);
	return root;
}

/* The items of an array in one line. */
static const char *joined(const struct json *list)
{
	const char *out = "";
	for (size_t i = 0; i < json_len(list); i++) {
		const char *s = json_str(json_at(list, i));
		out = s ? pool_printf(pool, "%s%s%s", out, i ? " " : "", s) :
			  pool_printf(pool, "%s%s%lld", out, i ? " " : "", (long long)json_int(json_at(list, i), -1));
	}
	return out;
}

static bool is(const struct json *list, const char *want)
{
	const char *got = joined(list);
	if (strcmp(got, want))
		printf("# got \"%s\"\n", got);
	return !strcmp(got, want);
}

/* The item of a list of objects whose member has this text. */
static const struct json *item(const struct json *list, const char *member, const char *text)
{
	for (size_t i = 0; i < json_len(list); i++) {
		const char *s = json_str(json_get(json_at(list, i), member));
		if (s && !strcmp(s, text))
			return json_at(list, i);
	}
	return NULL;
}

static bool str_is(const struct json *j, const char *want)
{
	const char *s = json_str(j);
	return want ? s && !strcmp(s, want) : !j;
}

static bool mounted(const struct json *root, const char *where, const char *source, const char *options)
{
	const struct json *m = item(json_get(root, "mounts"), "destination", where);
	return m && str_is(json_get(m, "source"), source) && is(json_get(m, "options"), options);
}

static size_t mount_index(const struct json *root, const char *where)
{
	const struct json *list = json_get(root, "mounts");
	for (size_t i = 0; i < json_len(list); i++)
		if (str_is(json_get(json_at(list, i), "destination"), where))
			return i;
	return SIZE_MAX;
}

static void test_process(void)
{
	Cri__ContainerConfig ctr = CTR(.n_envs = 2, .envs = (Cri__KeyValue *[]){ ENV("FROM", "config"), ENV("NEW", "a=b") });
	struct oci_input in = input(&plain, &ctr, &nothing);
	const struct json *p = json_get(spec_of(&v1, &in), "process");
	ok(is(json_get(p, "args"), "/entry -e cmd"), "entrypoint and cmd of the image");
	ok(is(json_get(p, "env"), "PATH=/image HOSTNAME=host FROM=config KEEP=1 NEW=a=b HOME=/home/x"), "environment");
	ok(str_is(json_get(p, "cwd"), "/srv/x"), "the image's directory, clean");
	ok(json_int(json_path(p, "user", "uid", NULL), -1) == 1000 && json_int(json_path(p, "user", "gid", NULL), -1) == 5 &&
		   is(json_path(p, "user", "additionalGids", NULL), "1000 7") &&
		   json_int(json_path(p, "user", "umask", NULL), -1) == 022,
	   "user, groups, umask");
	ok(json_int(json_get(p, "oomScoreAdj"), -7) == 0, "a score is always set");
	ok(!json_bool(json_get(p, "terminal"), true) && !json_bool(json_get(p, "noNewPrivileges"), true), "no tty");
	const struct json *limit = json_at(json_get(p, "rlimits"), 0);
	ok(str_is(json_get(limit, "type"), "RLIMIT_NOFILE") && json_int(json_get(limit, "hard"), 0) == 20000, "nofile");

	Cri__ContainerConfig args = CTR(LIST(args, "other")), command = CTR(LIST(command, "run")),
			     both = CTR(LIST(command, "run"), LIST(args, "a", "b"), .working_dir = "/w", .tty = true);
	in.ctr = &args;
	ok(is(json_path(spec_of(&v1, &in), "process", "args", NULL), "/entry -e other"), "args replace cmd");
	in.ctr = &command;
	ok(is(json_path(spec_of(&v1, &in), "process", "args", NULL), "run"), "command drops cmd");
	in.ctr = &both;
	p = json_get(spec_of(&v1, &in), "process");
	ok(is(json_get(p, "args"), "run a b") && str_is(json_get(p, "cwd"), "/w") && json_bool(json_get(p, "terminal"), false),
	   "command, args, working_dir, tty");
	ok(strstr(joined(json_get(p, "env")), "TERM=xterm"), "TERM with a tty");

	const struct image_config bare = { 0 };
	struct err e = { 0 };
	const char *text;
	size_t len;
	in.ctr = &(Cri__ContainerConfig)CTR();
	in.image = &bare;
	ok(oci_container_spec(pool, &v1, &in, &text, &len, &e) == -EINVAL && strstr(e.msg, "command"),
	   "nothing to run: %s", e.msg);
	in.ctr = &command;
	in.hostname = NULL;
	p = json_get(spec_of(&v1, &in), "process");
	ok(strstr(joined(json_get(p, "env")), "PATH=/usr/local/sbin:") && strstr(joined(json_get(p, "env")), "HOSTNAME=node") &&
		   str_is(json_get(p, "cwd"), "/"),
	   "defaults where the image says nothing");
}

static bool caps_are(const Cri__ContainerConfig *ctr, const char *set, const char *ambient)
{
	struct oci_input in = input(&privileged_pod, ctr, &nothing);
	const struct json *c = json_path(spec_of(&v1, &in), "process", "capabilities", NULL);
	return is(json_get(c, "bounding"), set) && is(json_get(c, "effective"), set) && is(json_get(c, "permitted"), set) &&
	       is(json_get(c, "inheritable"), ambient) && is(json_get(c, "ambient"), ambient);
}

static void test_caps(void)
{
	static const char defaults[] =
		"CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP "
		"CAP_NET_BIND_SERVICE CAP_NET_RAW CAP_SYS_CHROOT CAP_MKNOD CAP_AUDIT_WRITE CAP_SETFCAP";
	Cri__ContainerConfig bare = CTR(), one = CTR(CAPS(LIST(drop_capabilities, "ALL"), LIST(add_capabilities, "NET_ADMIN"))),
			     none = CTR(CAPS(LIST(drop_capabilities, "ALL"))),
			     ambient = CTR(CAPS(LIST(drop_capabilities, "ALL"),
						LIST(add_ambient_capabilities, "NET_BIND_SERVICE"))),
			     all = CTR(CAPS(LIST(add_capabilities, "ALL"), LIST(drop_capabilities, "CHOWN"))),
			     privileged = CTR(SEC(.privileged = true));
	ok(caps_are(&bare, defaults, ""), "14 by default");
	ok(caps_are(&one, "CAP_NET_ADMIN", ""), "drop all, add one");
	ok(caps_are(&none, "", ""), "drop all");
	ok(caps_are(&ambient, "CAP_NET_BIND_SERVICE", "CAP_NET_BIND_SERVICE"), "ambient is in all sets");
	struct oci_input in = input(&privileged_pod, &all, &nothing);
	const char *got = joined(json_path(spec_of(&v1, &in), "process", "capabilities", "bounding", NULL));
	ok(strstr(got, "CAP_SYS_ADMIN") && !strstr(got, "CAP_CHOWN ") && !strstr(got, "CAP_SYS_RESOURCE"),
	   "all but one, and not what we lack");
	in.ctr = &privileged;
	got = joined(json_path(spec_of(&v1, &in), "process", "capabilities", "effective", NULL));
	ok(strstr(got, "CAP_CHECKPOINT_RESTORE") && strstr(got, "CAP_CHOWN ") && !strstr(got, "CAP_SYS_RESOURCE"),
	   "privileged: all that is ours");
}

static void test_mounts(void)
{
	Cri__Mount data = { .container_path = "/data/", .host_path = "/h" },
		   deep = { .container_path = "/data/sub/deep", .host_path = "/h2", .readonly = true },
		   hosts = { .container_path = "/etc/hosts", .host_path = "/h3" },
		   shm = { .container_path = "/dev/shm", .host_path = "/h4" },
		   slave = { .container_path = "/s", .host_path = "/h5",
			     .propagation = CRI__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER },
		   rro = { .container_path = "/r", .host_path = "/h6", .readonly = true, .recursive_read_only = true,
			   LIST(mount_options, "noexec", "nosuid") };
	struct oci_mount sources[] = { { .source = "/r2" }, { .source = "/r1" }, { .source = "/r3" }, { .source = "/r4" },
				       { .source = "/r5" }, { .source = "/r6" } };
	struct oci_prepared prep = nothing;
	prep.mounts = sources;
	prep.n_mounts = 6;
	Cri__ContainerConfig ctr =
		CTR(.n_mounts = 6, .mounts = (Cri__Mount *[]){ &deep, &data, &hosts, &shm, &slave, &rro });
	struct oci_input in = input(&plain, &ctr, &prep);
	const struct json *s = spec_of(&v1, &in);
	ok(mounted(s, "/data", "/r1", "rbind rprivate rw") && mounted(s, "/data/sub/deep", "/r2", "rbind rprivate ro"),
	   "binds of resolved sources");
	ok(mount_index(s, "/data") < mount_index(s, "/data/sub/deep"), "a parent comes before its child");
	ok(mounted(s, "/etc/hosts", "/r3", "rbind rprivate rw") && mounted(s, "/dev/shm", "/r4", "rbind rprivate rw"),
	   "the config's mount beats the default");
	ok(mount_index(s, "/dev") < mount_index(s, "/dev/shm"), "and stays above its parent");
	ok(mounted(s, "/s", "/r5", "rbind rslave rw") && str_is(json_path(s, "linux", "rootfsPropagation", NULL), "rslave"),
	   "a slave makes the root one");
	ok(mounted(s, "/r", "/r6", "rbind rprivate rro noexec nosuid"), "recursive read-only, with options");
	ok(mounted(s, "/etc/resolv.conf", "/pod/resolv.conf", "rbind rprivate nosuid nodev noexec rw") &&
		   mounted(s, "/etc/hostname", "/pod/hostname", "rbind rprivate nosuid nodev noexec rw"),
	   "the pod's files");
	ok(mounted(s, "/sys", "sysfs", "nosuid noexec nodev ro") &&
		   mounted(s, "/sys/fs/cgroup", "cgroup", "nosuid noexec nodev relatime ro"),
	   "/sys is read-only");

	Cri__Mount dev = { .container_path = "/dev", .host_path = "/dev" };
	struct oci_mount dev_source = { .source = "/dev" };
	prep.mounts = &dev_source;
	prep.n_mounts = 1;
	ctr = (Cri__ContainerConfig)CTR(.n_mounts = 1, .mounts = (Cri__Mount *[]){ &dev });
	s = spec_of(&v1, &in);
	ok(mount_index(s, "/dev/pts") == SIZE_MAX && mount_index(s, "/dev/shm") == SIZE_MAX &&
		   mount_index(s, "/dev/mqueue") == SIZE_MAX && mounted(s, "/dev", "/dev", "rbind rprivate rw"),
	   "whoever mounts /dev has it to himself");

	const char *volumes[] = { "/vol" };
	prep = nothing;
	prep.volumes = volumes;
	prep.n_volumes = 1;
	ctr = (Cri__ContainerConfig)CTR(SEC(.readonly_rootfs = true));
	s = spec_of(&v1, &in);
	ok(mounted(s, "/vol", "/root/fs/vol", "rbind rprivate rw") && json_bool(json_path(s, "root", "readonly", NULL), false),
	   "a volume stays writable in a read-only root");
	ok(mounted(s, "/etc/hosts", "/pod/hosts", "rbind rprivate nosuid nodev noexec ro"), "the pod's files don't");
	ctr = (Cri__ContainerConfig)CTR();
	ok(mount_index(spec_of(&v1, &in), "/vol") == SIZE_MAX, "a writable root needs no mount for volumes");

	in.shm = NULL;
	ok(mounted(spec_of(&v1, &in), "/dev/shm", "shm", "nosuid noexec nodev mode=1777 size=65536k"), "a shm of its own");
	in.pod = &host_pod;
	ok(mounted(spec_of(&v1, &in), "/dev/shm", "/dev/shm", "rbind rprivate nosuid nodev noexec rw"),
	   "the host's shm with the host's ipc");
}

/* "type=path" of each namespace */
static bool namespaces_are(const struct oci_host *h, const struct oci_input *in, const char *want)
{
	const struct json *list = json_path(spec_of(h, in), "linux", "namespaces", NULL);
	const char *out = "";
	for (size_t i = 0; i < json_len(list); i++) {
		const char *path = json_str(json_get(json_at(list, i), "path"));
		out = pool_printf(pool, "%s%s%s=%s", out, i ? " " : "", json_str(json_get(json_at(list, i), "type")),
				  path ? path : "");
	}
	if (strcmp(out, want))
		printf("# got \"%s\"\n", out);
	return !strcmp(out, want);
}

static void test_namespaces(void)
{
	Cri__PodSandboxConfig own_pid = POD(POD_SEC(NS(.pid = CRI__NAMESPACE_MODE__CONTAINER)));
	Cri__ContainerConfig bare = CTR(), own = CTR(SEC(NS(.pid = CRI__NAMESPACE_MODE__CONTAINER))),
			     target = CTR(SEC(NS(.pid = CRI__NAMESPACE_MODE__TARGET, .target_id = "t"))),
			     privileged = CTR(SEC(.privileged = true));
	struct oci_input in = input(&plain, &bare, &nothing);
	ok(namespaces_are(&v1, &in, "mount= pid=/ns/pid network=/ns/net ipc=/ns/ipc uts=/ns/uts"), "the pod's pid namespace");
	in.pod = &own_pid;
	ok(namespaces_are(&v1, &in, "mount= pid= network=/ns/net ipc=/ns/ipc uts=/ns/uts"), "a pid namespace each");
	in.pod = &plain;
	in.ctr = &own;
	ok(namespaces_are(&v1, &in, "mount= pid= network=/ns/net ipc=/ns/ipc uts=/ns/uts"), "its own in a sharing pod");
	in.ctr = &target;
	struct oci_ns ns;
	oci_ns_of(&plain, &target, &ns);
	ok(ns.pid == OCI_NS_TARGET && !strcmp(ns.target_id, "t") &&
		   namespaces_are(&v1, &in, "mount= pid=/ns/pid network=/ns/net ipc=/ns/ipc uts=/ns/uts"), "a target");
	in.pod = &host_pod;
	in.ctr = &bare;
	ok(namespaces_are(&v1, &in, "mount="), "all the host's");
	ok(!json_get(spec_of(&v1, &in), "hostname"), "no hostname on the host's UTS");
	in.pod = &plain;
	ok(str_is(json_get(spec_of(&v1, &in), "hostname"), "host"), "a hostname on the pod's");
	ok(namespaces_are(&v2, &in, "mount= pid=/ns/pid network=/ns/net ipc=/ns/ipc uts=/ns/uts cgroup="), "cgroup on v2");
	in.pod = &privileged_pod;
	in.ctr = &privileged;
	ok(namespaces_are(&v2, &in, "mount= pid=/ns/pid network=/ns/net ipc=/ns/ipc uts=/ns/uts"),
	   "no private cgroup namespace when privileged");
	in.ctr = &bare;
	in.pidns = NULL;
	const char *text;
	size_t len;
	struct err e = { 0 };
	ok(oci_container_spec(pool, &v1, &in, &text, &len, &e) == -EINVAL && strstr(e.msg, "pid"), "nothing to join: %s",
	   e.msg);
}

static const struct json *resources_of(const struct oci_host *h, const Cri__LinuxContainerResources *r)
{
	const char *text = "";
	size_t len = 0;
	const struct json *root = NULL;
	struct err e = { 0 };
	if (oci_resources_json(pool, h, r, &text, &len, &e) || json_parse(pool, text, len, &root, &e))
		printf("# no resources: %s\n", e.msg);
	return root;
}

static void test_resources(void)
{
	Cri__LinuxContainerResources zero = { .cpuset_cpus = "", HUGE_LIMIT("64KB", 0) };
	const struct json *r = resources_of(&v1, &zero);
	ok(!json_get(r, "memory") && !json_len(json_get(r, "cpu")) && !json_len(json_get(r, "hugepageLimits")),
	   "0 and \"\" are unset");
	Cri__LinuxContainerResources full = { .cpu_shares = 512, .cpu_quota = 50000, .cpu_period = 100000,
					      .cpuset_cpus = "0-1", .cpuset_mems = "0", .memory_limit_in_bytes = 1 << 20,
					      HUGE_LIMIT("2MB", 0) };
	r = resources_of(&v1, &full);
	ok(json_int(json_path(r, "cpu", "shares", NULL), 0) == 512 && json_int(json_path(r, "cpu", "quota", NULL), 0) == 50000 &&
		   json_int(json_path(r, "cpu", "period", NULL), 0) == 100000 &&
		   str_is(json_path(r, "cpu", "cpus", NULL), "0-1") && str_is(json_path(r, "cpu", "mems", NULL), "0"),
	   "cpu");
	ok(json_int(json_path(r, "memory", "limit", NULL), 0) == 1 << 20 && json_int(json_path(r, "memory", "swap", NULL), 0) == 1 << 20,
	   "a memory limit without a swap limit allows no swap");
	ok(json_len(json_get(r, "hugepageLimits")) == 1 &&
		   json_int(json_get(json_at(json_get(r, "hugepageLimits"), 0), "limit"), 7) == 0,
	   "a hugepage limit of 0 is set where it can be");
	full.memory_swap_limit_in_bytes = 3 << 20;
	ok(json_int(json_path(resources_of(&v1, &full), "memory", "swap", NULL), 0) == 3 << 20, "memory plus swap");
	full.memory_swap_limit_in_bytes = 0;
	ok(!json_path(resources_of(&v2, &full), "memory", "swap", NULL), "no swap limit where it can't be");
	Cri__LinuxContainerResources group = { UNIFIED("memory.oom.group", "1") };
	ok(str_is(json_path(resources_of(&v2, &group), "unified", "memory.oom.group", NULL), "1"), "unified");

	Cri__LinuxContainerResources old = { .cpu_shares = 512, .memory_limit_in_bytes = 100, .memory_swap_limit_in_bytes = 100,
					     .cpuset_cpus = "0", UNIFIED("memory.high", "5") },
				     update = { .memory_limit_in_bytes = 200, .cpuset_cpus = "", UNIFIED("memory.high", "6") };
	Cri__LinuxContainerResources *now = oci_resources_merge(pool, &old, &update);
	ok(now->cpu_shares == 512 && now->memory_limit_in_bytes == 200 && now->memory_swap_limit_in_bytes == 0 &&
		   !strcmp(now->cpuset_cpus, "0") && now->n_unified == 1 && !strcmp(now->unified[0]->value, "6"),
	   "an update changes what it sets");
	ok(old.memory_limit_in_bytes == 100 && old.n_unified == 1 && !strcmp(old.unified[0]->value, "5"), "not the old");
	now = oci_resources_merge(pool, NULL, &update);
	ok(now->memory_limit_in_bytes == 200 && now->cpu_shares == 0, "an update of nothing");

	Cri__LinuxContainerResources score = { .oom_score_adj = -997 };
	ok(oci_oom_score_adj(&v1, &score) == -10 && oci_oom_score_adj(&v2, &score) == -997 && oci_oom_score_adj(&v1, NULL) == 0,
	   "a score that we may not give is raised");
}

/* Is the call allowed without conditions? */
static bool allows(const struct json *seccomp, const char *name)
{
	const struct json *rules = json_get(seccomp, "syscalls");
	for (size_t i = 0; i < json_len(rules); i++) {
		const struct json *rule = json_at(rules, i), *names = json_get(rule, "names");
		for (size_t k = 0; k < json_len(names); k++)
			if (!strcmp(json_str(json_at(names, k)), name))
				return str_is(json_get(rule, "action"), "SCMP_ACT_ALLOW") && !json_get(rule, "args");
	}
	return false;
}

static const struct json *seccomp_of(const Cri__ContainerConfig *ctr, const struct oci_prepared *prep)
{
	struct oci_input in = input(&privileged_pod, ctr, prep);
	return json_path(spec_of(&v1, &in), "linux", "seccomp", NULL);
}

static void test_security(void)
{
	Cri__ContainerConfig bare = CTR(), unconfined = CTR(SEC(.seccomp = PROFILE(Unconfined))),
			     def = CTR(SEC(.seccomp = PROFILE(RuntimeDefault))),
			     admin = CTR(SEC(.seccomp = PROFILE(RuntimeDefault),
					     .capabilities = &(Cri__Capability){ LIST(add_capabilities, "SYS_ADMIN") })),
			     privileged = CTR(SEC(.seccomp = PROFILE(RuntimeDefault), .privileged = true)),
			     file = CTR(SEC(.seccomp = PROFILE(Localhost, .localhost_ref = "/p.json")));
	ok(!seccomp_of(&bare, &nothing) && !seccomp_of(&unconfined, &nothing) && !seccomp_of(&privileged, &nothing),
	   "no seccomp: not asked, unconfined, privileged");
	const struct json *s = seccomp_of(&def, &nothing);
	ok(str_is(json_get(s, "defaultAction"), "SCMP_ACT_ERRNO") && allows(s, "read") && allows(s, "arch_prctl") &&
		   allows(s, "chroot") && !allows(s, "mount") && !allows(s, "clone") && !allows(s, "clone3") &&
		   !allows(s, "socket") && !allows(s, "bpf") && !allows(s, "io_uring_setup") && !allows(s, "keyctl"),
	   "the default profile");
	s = seccomp_of(&admin, &nothing);
	ok(allows(s, "mount") && allows(s, "clone") && allows(s, "clone3") && !allows(s, "init_module") &&
		   !allows(s, "keyctl"), "more with CAP_SYS_ADMIN");
	struct oci_prepared prep = nothing;
	struct err e = { 0 };
	static const char profile[] = "{\"defaultAction\":\"SCMP_ACT_KILL\",\"syscalls\":[]}";
	json_parse(pool, profile, sizeof(profile) - 1, &prep.seccomp, &e);
	ok(str_is(json_get(seccomp_of(&file, &prep), "defaultAction"), "SCMP_ACT_KILL"), "a profile of the host's");

	struct oci_input in = input(&privileged_pod, &bare, &nothing);
	const struct json *l = json_get(spec_of(&v1, &in), "linux");
	ok(strstr(joined(json_get(l, "maskedPaths")), "/proc/kcore") && strstr(joined(json_get(l, "readonlyPaths")), "/proc/sys"),
	   "paths are masked by default");
	Cri__ContainerConfig masks = CTR(SEC(LIST(masked_paths, "/bin/ls"), LIST(readonly_paths, "/tmp")));
	in.ctr = &masks;
	l = json_get(spec_of(&v1, &in), "linux");
	ok(is(json_get(l, "maskedPaths"), "/bin/ls") && is(json_get(l, "readonlyPaths"), "/tmp"), "the config's replace them");
	in.ctr = &privileged;
	const struct json *root = spec_of(&v1, &in);
	l = json_get(root, "linux");
	ok(!json_get(l, "maskedPaths") && !json_get(l, "readonlyPaths") && mounted(root, "/sys", "sysfs", "nosuid noexec nodev rw"),
	   "nothing is masked when privileged");
	const struct json *rules = json_path(l, "resources", "devices", NULL);
	ok(json_len(rules) == 1 && json_bool(json_get(json_at(rules, 0), "allow"), false), "nor any device");
}

static void test_devices(void)
{
	struct oci_device fuse = { "/dev/f", 'c', 10, 229, 0666, 0, 7, "rw" };
	struct oci_prepared prep = nothing;
	prep.devices = &fuse;
	prep.n_devices = 1;
	Cri__ContainerConfig ctr = CTR();
	struct oci_input in = input(&plain, &ctr, &prep);
	const struct json *l = json_get(spec_of(&v1, &in), "linux");
	const struct json *node = json_at(json_get(l, "devices"), 0), *rules = json_path(l, "resources", "devices", NULL);
	const struct json *rule = json_at(rules, json_len(rules) - 1);
	ok(str_is(json_get(node, "path"), "/dev/f") && json_int(json_get(node, "major"), 0) == 10 &&
		   json_int(json_get(node, "fileMode"), 0) == 0666 && json_int(json_get(node, "gid"), 0) == 7,
	   "a device's node");
	ok(json_int(json_get(rule, "minor"), 0) == 229 && str_is(json_get(rule, "access"), "rw"), "and its rule");
	ok(!json_bool(json_get(json_at(rules, 0), "allow"), true), "all else is denied first");
}

static void test_exec(void)
{
	Cri__ContainerConfig ctr = CTR(SEC(.no_new_privs = true));
	struct oci_input in = input(&plain, &ctr, &nothing);
	const char *config, *text;
	size_t config_len, len;
	struct err e = { 0 };
	const struct json *p = NULL;
	const char *const what[] = { "ls", "-l" };
	ok(!oci_container_spec(pool, &v1, &in, &config, &config_len, &e) &&
		   !oci_exec_process(pool, config, config_len, what, 2, true, &text, &len, &e) &&
		   !json_parse(pool, text, len, &p, &e),
	   "exec");
	ok(is(json_get(p, "args"), "ls -l") && json_bool(json_get(p, "terminal"), false) &&
		   json_int(json_path(p, "user", "uid", NULL), 0) == 1000 && str_is(json_get(p, "cwd"), "/srv/x") &&
		   json_bool(json_get(p, "noNewPrivileges"), false) &&
		   json_len(json_path(p, "capabilities", "bounding", NULL)) == 14 &&
		   strstr(joined(json_get(p, "env")), "TERM=xterm"),
	   "another command, all else as the container");
	ok(oci_exec_process(pool, config, config_len, what, 0, false, &text, &len, &e) == -EINVAL, "no command: %s", e.msg);
	e = (struct err){ 0 };
	ok(oci_exec_process(pool, "{", 1, what, 1, false, &text, &len, &e) == -EINVAL, "a torn config.json: %s", e.msg);
}

static void test_annotations(void)
{
	Cri__ContainerConfig ctr =
		CTR(.n_annotations = 1, .annotations = (Cri__ContainerConfig__AnnotationsEntry *[]){
			    &(Cri__ContainerConfig__AnnotationsEntry){ .key = "run.oci.handler", .value = "krun" } });
	struct oci_input in = input(&plain, &ctr, &nothing);
	const struct json *a = json_get(spec_of(&v1, &in), "annotations");
	ok(!json_get(a, "run.oci.handler"), "a container's annotations are no orders to the engine");
	ok(str_is(json_get(a, "io.kubernetes.cri.container-type"), "container") &&
		   str_is(json_get(a, "io.kubernetes.cri.sandbox-id"), "pod") &&
		   str_is(json_get(a, "io.kubernetes.cri.sandbox-namespace"), "ns"),
	   "what engines with a sandbox of their own look for");
}

static void test_pause(void)
{
	const struct oci_pause in = { .pod_id = "pod", .rootfs = "/state/empty", .pause = "/libexec/crisp-pause",
				      .cgroup_path = "/kubepods/p", .netns = "/ns/net", .ipcns = "/ns/ipc",
				      .annotations = (const char *const[]){ "example.com/a", "b", NULL } };
	const char *text;
	size_t len;
	struct err e = { 0 };
	const struct json *s = NULL, *p;
	ok(!oci_pause_spec(pool, &v1, &in, &text, &len, &e) && !json_parse(pool, text, len, &s, &e), "pause");
	p = json_get(s, "process");
	ok(json_int(json_path(p, "user", "uid", NULL), 0) == 65534 && json_bool(json_get(p, "noNewPrivileges"), false) &&
		   !json_len(json_path(p, "capabilities", "bounding", NULL)) && json_int(json_get(p, "oomScoreAdj"), 0) == -10,
	   "nobody, without any power");
	ok(json_bool(json_path(s, "root", "readonly", NULL), false) && json_len(json_get(s, "mounts")) == 3 &&
		   mounted(s, "/pause", "/libexec/crisp-pause", "rbind rprivate nosuid nodev ro") &&
		   json_path(s, "linux", "seccomp", NULL),
	   "an empty root, seccomp");
	ok(str_is(json_path(s, "annotations", "example.com/a", NULL), "b"), "annotations that the engine may see");
}

/* ---- parts that lie below ---- */

static const struct json *below(const struct oci_host *h, const struct oci_input *in, const char *parts)
{
	const char *text = NULL;
	size_t len;
	struct err e = { 0 };
	const struct json *root = NULL;
	if (oci_container_spec(pool, h, in, &text, &len, &e) || oci_spec_below(pool, parts, &text, &len, &e) ||
	    json_parse(pool, text, len, &root, &e))
		printf("# no spec: %s\n", e.msg);
	return root;
}

static void test_below(void)
{
	Cri__KeyValue env = { .key = "A", .value = { 3, (uint8_t *)"own" } };
	Cri__ContainerConfig ctr = CTR(MOUNT(.container_path = "/data", .host_path = "/h"),
				       .n_envs = 1, .envs = (Cri__KeyValue *[]){ &env });
	static struct oci_mount mount = { "/h", true, false };
	struct oci_prepared prep = nothing;
	prep.mounts = &mount;
	prep.n_mounts = 1;
	struct oci_input in = input(&plain, &ctr, &prep);
	const char *const allowed[] = { "example.com/x", "own", "run.oci.y", "z", NULL };
	in.annotations = allowed;
	const struct json *before = spec_of(&v1, &in);
	const struct json *s = below(&v1, &in,
		"{\"process\":{\"env\":[\"A=below\",\"AB=below\"],\"rlimits\":[{\"type\":\"RLIMIT_CORE\",\"hard\":1,\"soft\":0}],"
		"\"ioPriority\":{\"class\":\"IOPRIO_CLASS_IDLE\"}},"
		"\"mounts\":[{\"destination\":\"/data\",\"source\":\"/evil\"},{\"destination\":\"/more\",\"source\":\"/m\"}],"
		"\"hooks\":{\"prestart\":[{\"path\":\"/hook\"}]},"
		"\"linux\":{\"cgroupsPath\":\"/evil\",\"resources\":{\"pids\":{\"limit\":7},"
		"\"devices\":[{\"allow\":true,\"type\":\"c\",\"major\":10,\"access\":\"rw\"}]}},"
		"\"annotations\":{\"example.com/x\":\"below\",\"new\":\"below\"}}");
	const struct json *envs = json_path(s, "process", "env", NULL), *own = json_path(before, "process", "env", NULL);
	ok(json_len(envs) == json_len(own) + 1 && str_is(json_at(envs, json_len(own)), "AB=below"), "variables that it lacks");
	ok(json_len(json_get(s, "mounts")) == json_len(json_get(before, "mounts")) + 1 &&
	   mounted(s, "/data", "/h", "rbind rprivate rw") && mounted(s, "/more", "/m", ""), "mounts that it lacks");
	ok(str_is(json_path(s, "linux", "cgroupsPath", NULL), "/kubepods/ctr"), "what it has, it keeps");
	ok(json_int(json_path(s, "linux", "resources", "pids", "limit", NULL), 0) == 7 &&
	   str_is(json_path(s, "process", "ioPriority", "class", NULL), "IOPRIO_CLASS_IDLE") &&
	   str_is(json_get(json_at(json_path(s, "hooks", "prestart", NULL), 0), "path"), "/hook"), "what it lacks, it gets");
	const struct json *rules = json_path(s, "linux", "resources", "devices", NULL);
	ok(json_int(json_get(json_at(rules, json_len(rules) - 1), "major"), 0) == 10 && !json_bool(json_get(json_at(rules, 0), "allow"), true),
	   "device rules come last");
	const struct json *a = json_get(s, "annotations");
	ok(str_is(json_get(a, "example.com/x"), "own") && str_is(json_get(a, "new"), "below") && str_is(json_get(a, "run.oci.y"), "z") &&
	   str_is(json_get(a, "io.kubernetes.cri.sandbox-id"), "pod"), "annotations, allowed ones and those below");
	const char *text = "{}";
	size_t len = 2;
	struct err e = { 0 };
	ok(oci_spec_below(pool, "{", &text, &len, &e) == -EINVAL && strstr(e.msg, "parts of the spec"), "bad parts: %s", e.msg);
}

static void test_no_host_devices(void)
{
	Cri__ContainerConfig ctr = CTR(SEC(.privileged = true));
	struct oci_input in = input(&plain, &ctr, &nothing);
	const struct json *first = json_at(json_path(spec_of(&v1, &in), "linux", "resources", "devices", NULL), 0);
	ok(json_bool(json_get(first, "allow"), false), "privileged: all devices");
	in.no_host_devices = true;
	const struct json *s = spec_of(&v1, &in);
	first = json_at(json_path(s, "linux", "resources", "devices", NULL), 0);
	ok(!json_bool(json_get(first, "allow"), true) && !json_len(json_path(s, "linux", "devices", NULL)) &&
	   !json_path(s, "linux", "seccomp", NULL), "without those of the host: none, and privileged all the same");
	struct oci_layers layers = { (const char *const[]){ "/l" }, 1, "/rw/upper", "/rw/work" };
	const char *text;
	size_t len;
	struct err e = { 0 };
	const struct json *with = NULL, *without = NULL;
	oci_prepare_request(pool, NULL, &ctr, &image, &layers, true, &text, &len, &e);
	json_parse(pool, text, len, &with, &e);
	oci_prepare_request(pool, NULL, &ctr, &image, &layers, false, &text, &len, &e);
	json_parse(pool, text, len, &without, &e);
	ok(json_bool(json_get(with, "all_devices"), false) && !json_bool(json_get(without, "all_devices"), true),
	   "the worker is not asked for them: %s", err_text(&e));
}

/* ---- the worker's wire ---- */

static void test_prepare(void)
{
	const char *volumes[] = { "/v" };
	struct image_config im = image;
	im.volumes = volumes;
	im.n_volumes = 1;
	const char *const dirs[] = { "/l/low", "/l/high" };
	struct oci_layers layers = { dirs, 2, "/rw/upper", "/rw/work" };
	Cri__ContainerConfig ctr = CTR(
		MOUNT(.container_path = "/a", .host_path = "/h", .propagation = CRI__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER),
		.n_devices = 1, .devices = (Cri__Device *[]){ &(Cri__Device){ .host_path = "/dev/x" } },
		SEC(.run_as_user = INT(0), .n_supplemental_groups = 1, .supplemental_groups = (int64_t[]){ 9 },
		    .supplemental_groups_policy = CRI__SUPPLEMENTAL_GROUPS_POLICY__Strict,
		    .seccomp = PROFILE(Localhost, .localhost_ref = "/p.json")));
	const char *text;
	size_t len;
	struct err e = { 0 };
	const struct json *r = NULL;
	ok(!oci_prepare_request(pool, NULL, &ctr, &im, &layers, true, &text, &len, &e) && !json_parse(pool, text, len, &r, &e), "request");
	ok(is(json_get(r, "layers"), "/l/low /l/high") && str_is(json_get(r, "upper"), "/rw/upper") &&
		   is(json_get(r, "volumes"), "/v") && str_is(json_get(r, "seccomp"), "/p.json"), "layers, volumes, profile");
	const struct json *u = json_get(r, "user");
	ok(json_int(json_get(u, "uid"), -1) == 0 && str_is(json_get(u, "image"), "1000:5") && is(json_get(u, "groups"), "9") &&
		   json_bool(json_get(u, "strict"), false) && !json_get(u, "gid") && !json_get(u, "name"),
	   "user: 0 is not unset");
	ok(str_is(json_get(json_at(json_get(r, "mounts"), 0), "peers"), "slave") &&
		   str_is(json_get(json_at(json_get(r, "devices"), 0), "target"), "/dev/x") &&
		   str_is(json_get(json_at(json_get(r, "devices"), 0), "access"), "rwm"),
	   "mounts and devices");

	static const char good[] =
		"{\"uid\":5,\"gid\":6,\"groups\":[6,9],\"home\":\"/\",\"username\":\"u\","
		"\"mounts\":[{\"source\":\"/h\",\"dir\":true,\"made\":true}],\"volumes\":[\"/v\"],"
		"\"devices\":[{\"path\":\"/dev/x\",\"type\":\"b\",\"major\":8,\"minor\":1,\"mode\":438,\"uid\":0,\"gid\":6,"
		"\"access\":\"r\"}],\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\"}}";
	struct oci_prepared p;
	ok(!oci_prepare_parse(pool, &ctr, good, sizeof(good) - 1, &p, &e) && p.uid == 5 && p.gid == 6 && p.n_groups == 2 &&
		   p.groups[1] == 9 && !strcmp(p.username, "u") && p.mounts[0].made && p.mounts[0].is_dir &&
		   p.devices[0].type == 'b' && p.devices[0].mode == 0666 && !strcmp(p.volumes[0], "/v") && p.seccomp,
	   "reply");
	/* Each of these words spoils the reply. */
	static const char *const spoil[] = { "\"uid\":5", "\"gid\":6,", "\"groups\":[6,9]", "\"home\"", "/h", "\"/v\"",
					     "\"path\"", "\"b\"", "\"mode\"", "\"access\"", "\"seccomp\"", "}}" };
	for (size_t i = 0; i < sizeof(spoil) / sizeof(spoil[0]); i++) {
		char *bad = pool_strdup(pool, good), *at = strstr(bad, spoil[i]);
		at[strlen(spoil[i]) / 2] = ' ';
		at[strlen(spoil[i]) / 2 - (i != 11)] = i == 11 ? ' ' : '-';
		e = (struct err){ 0 };
		int ret = oci_prepare_parse(pool, &ctr, bad, strlen(bad), &p, &e);
		ok(ret == -EPROTO, "spoilt at %s: %s", spoil[i], ret ? e.msg : "taken");
	}
}

static void test_scope(void)
{
	Cri__ContainerConfig ctr = CTR();
	struct oci_input in = input(&plain, &ctr, &nothing);
	const struct json *s = spec_of(&v2, &in);
	ok(!json_path(s, "annotations", "org.systemd.property.TasksMax", NULL), "a directory has no properties");
	in.cgroup_path = "kubepods-pod1.slice:crisp:ctr";
	s = spec_of(&v2, &in);
	ok(str_is(json_path(s, "linux", "cgroupsPath", NULL), "kubepods-pod1.slice:crisp:ctr") &&
		   str_is(json_path(s, "annotations", "org.systemd.property.TasksMax", NULL), "uint64 18446744073709551615") &&
		   str_is(json_path(s, "annotations", "org.systemd.property.CollectMode", NULL), "'inactive-or-failed'"),
	   "a scope is for systemd, without its default of tasks");
}

static void test_apparmor(void)
{
	Cri__ContainerConfig none = CTR(), free_ = CTR(SEC(.apparmor = PROFILE(Unconfined))),
			     named = CTR(SEC(.apparmor = PROFILE(Localhost, .localhost_ref = "localhost/x")));
	struct oci_host h = v2;
	h.apparmor = true;
	struct oci_input in = input(&plain, &none, &nothing);
	ok(!json_path(spec_of(&h, &in), "process", "apparmorProfile", NULL), "no profile could be loaded: none");
	h.apparmor_default = "crisp-default";
	ok(str_is(json_path(spec_of(&h, &in), "process", "apparmorProfile", NULL), "crisp-default"), "the runtime's own");
	in.ctr = &free_;
	ok(!json_path(spec_of(&h, &in), "process", "apparmorProfile", NULL), "unconfined");
	in.ctr = &named;
	ok(str_is(json_path(spec_of(&h, &in), "process", "apparmorProfile", NULL), "x"), "one of the node's");
}

int main(void)
{
	pool = pool_new(NULL, "test");
	test_scope();
	test_apparmor();
	test_process();
	test_caps();
	test_mounts();
	test_namespaces();
	test_resources();
	test_security();
	test_devices();
	test_exec();
	test_annotations();
	test_pause();
	test_below();
	test_no_host_devices();
	test_prepare();
	pool_destroy(pool);
	return done();
}

/* Which configurations of pods and containers are taken, and how the others are refused. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/oci/oci.h"
#include "t/tap.h"
#include "t/unit/oci_make.h"

struct pod_case {
	const char *what;
	Cri__PodSandboxConfig pod;
	int ret;
	const char *says;	/* in the message */
};

static const struct pod_case pod_cases[] = {
	{ "a bare pod", POD(), 0, NULL },
	{ "no metadata", { .hostname = "x" }, -EINVAL, "metadata: is missing" },
	{ "no uid", { .metadata = &(Cri__PodSandboxMetadata){ .name = "p", .namespace_ = "n" } }, -EINVAL,
	  "metadata.uid" },
	{ "a hostname with a slash", POD(.hostname = "a/b"), -EINVAL, "hostname \"a/b\"" },
	{ "a hostname too long",
	  POD(.hostname = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), -EINVAL, "hostname" },
	{ "a relative log directory", POD(.log_directory = "logs"), -EINVAL, "log_directory \"logs\"" },
	{ "a slice", POD(LINUX(.cgroup_parent = "kubepods.slice")), -EINVAL, "linux.cgroup_parent" },
	{ "a cgroup parent above", POD(LINUX(.cgroup_parent = "/kubepods/../x")), -EINVAL, "linux.cgroup_parent" },
	{ "a cgroup parent", POD(LINUX(.cgroup_parent = "/kubepods/burstable/pod..1")), 0, NULL },
	{ "a search domain with a newline",
	  POD(.dns_config = &(Cri__DNSConfig){ LIST(searches, "a\nnameserver 6.6.6.6") }), -EINVAL,
	  "dns_config.searches[0]" },
	{ "a server of two words", POD(.dns_config = &(Cri__DNSConfig){ LIST(servers, "1.1.1.1", "1 2") }), -EINVAL,
	  "dns_config.servers[1]" },
	{ "a port too big",
	  POD(.n_port_mappings = 1,
	      .port_mappings = (Cri__PortMapping *[]){ &(Cri__PortMapping){ .container_port = 80, .host_port = 65536 } }),
	  -EINVAL, "port_mappings[0].host_port 65536" },
	{ "a host_ip that is none",
	  POD(.n_port_mappings = 1,
	      .port_mappings = (Cri__PortMapping *[]){ &(Cri__PortMapping){ .container_port = 80, .host_ip = "x" } }),
	  -EINVAL, "port_mappings[0].host_ip \"x\"" },
	{ "a port without a host's",
	  POD(.n_port_mappings = 1,
	      .port_mappings = (Cri__PortMapping *[]){ &(Cri__PortMapping){ .container_port = 80 } }), 0, NULL },
	{ "a net sysctl", POD(LINUX(SYSCTL("net.ipv4.ip_forward"))), 0, NULL },
	{ "a net sysctl with slashes", POD(LINUX(SYSCTL("net/ipv4/conf/eth0.1/rp_filter"))), 0, NULL },
	{ "an ipc sysctl", POD(LINUX(SYSCTL("kernel.shm_rmid_forced"))), 0, NULL },
	{ "a host's sysctl", POD(LINUX(SYSCTL("kernel.panic"))), -EINVAL, "linux.sysctls \"kernel.panic\"" },
	{ "a sysctl that leaves its place", POD(LINUX(SYSCTL("net/../kernel/panic"))), -EINVAL, "linux.sysctls" },
	{ "a net sysctl on the host's network",
	  POD(LINUX(SYSCTL("net.core.somaxconn"),
		    .security_context = &(Cri__LinuxSandboxSecurityContext){ HOST_NET })),
	  -EINVAL, "linux.sysctls \"net.core.somaxconn\"" },
	{ "an ipc sysctl with the host's ipc",
	  POD(LINUX(SYSCTL("fs.mqueue.msg_max"),
		    .security_context =
			    &(Cri__LinuxSandboxSecurityContext){ NS(.ipc = CRI__NAMESPACE_MODE__NODE) })),
	  -EINVAL, "linux.sysctls \"fs.mqueue.msg_max\"" },
	{ "a network per container", POD(POD_SEC(NS(.network = CRI__NAMESPACE_MODE__CONTAINER))), -EINVAL,
	  "namespace_options.network 1" },
	{ "ipc per container", POD(POD_SEC(NS(.ipc = CRI__NAMESPACE_MODE__CONTAINER))), -EINVAL,
	  "namespace_options.ipc 1" },
	{ "a pod with a target", POD(POD_SEC(NS(.pid = CRI__NAMESPACE_MODE__TARGET))), -EINVAL,
	  "namespace_options.pid 3" },
	{ "a pid namespace per container", POD(POD_SEC(NS(.pid = CRI__NAMESPACE_MODE__CONTAINER))), 0, NULL },
	{ "a user namespace without mappings", POD(POD_SEC(NS(.userns_options = &(Cri__UserNamespace){}))), -EINVAL,
	  "userns_options.uids" },
	{ "a user namespace per container",
	  POD(POD_SEC(NS(.userns_options = &(Cri__UserNamespace){ .mode = CRI__NAMESPACE_MODE__CONTAINER }))), -EINVAL,
	  "userns_options.mode 1" },
	{ "the node's user namespace",
	  POD(POD_SEC(NS(.userns_options = &(Cri__UserNamespace){ .mode = CRI__NAMESPACE_MODE__NODE }))), 0, NULL },
	{ "a group without a user", POD(POD_SEC(.run_as_group = INT(5))), -EINVAL, "run_as_group 5" },
	{ "a user that is none", POD(POD_SEC(.run_as_user = INT(-1))), -EINVAL, "run_as_user -1" },
	{ "SELinux", POD(POD_SEC(.selinux_options = &(Cri__SELinuxOption){ .level = "s0" })), -EINVAL,
	  "selinux_options" },
	{ "empty SELinux options", POD(POD_SEC(.selinux_options = &(Cri__SELinuxOption){})), 0, NULL },
	{ "AppArmor", POD(POD_SEC(.apparmor = PROFILE(Localhost, .localhost_ref = "x"))), -EINVAL, "apparmor" },
	{ "AppArmor's default", POD(POD_SEC(.apparmor = PROFILE(RuntimeDefault))), 0, NULL },
	{ "a localhost profile without a name", POD(POD_SEC(.seccomp = PROFILE(Localhost))), -EINVAL,
	  "seccomp.localhost_ref: is missing" },
	{ "a name without a localhost profile",
	  POD(POD_SEC(.seccomp = PROFILE(RuntimeDefault, .localhost_ref = "/x"))), -EINVAL, "seccomp.localhost_ref" },
	{ "Windows", POD(.windows = &(Cri__WindowsPodSandboxConfig){}), -EINVAL, "windows" },
};

static const struct pod_case slice_cases[] = {
	{ "a slice", POD(LINUX(.cgroup_parent = "kubepods-burstable-pod1.slice")), 0, NULL },
	{ "a slice by its path", POD(LINUX(.cgroup_parent = "/kubepods.slice/kubepods-pod1.slice")), 0, NULL },
	{ "no parent", POD(), 0, NULL },
	{ "a path", POD(LINUX(.cgroup_parent = "/kubepods/pod1")), -EINVAL,
	  "linux.cgroup_parent, with the cgroup driver systemd: \"/kubepods/pod1\" is no slice" },
	{ "a slice elsewhere", POD(LINUX(.cgroup_parent = "/a.slice/kubepods-pod1.slice")), -EINVAL,
	  "expected /kubepods.slice/kubepods-pod1.slice" },
	{ "a step to nowhere", POD(LINUX(.cgroup_parent = "a--b.slice")), -EINVAL, "is no slice" },
	{ "the root slice", POD(LINUX(.cgroup_parent = "-.slice")), -EINVAL, "is no slice" },
	{ "more than a name", POD(LINUX(.cgroup_parent = "a:b c.slice")), -EINVAL, "is no slice" },
	{ "two levels up", POD(LINUX(.cgroup_parent = "/../../a.slice")), -EINVAL, "expected /a.slice" },
};

static void test_slices(void)
{
	struct oci_host h = v1;
	h.systemd_cgroups = true;
	for (size_t i = 0; i < sizeof(slice_cases) / sizeof(slice_cases[0]); i++) {
		const struct pod_case *c = &slice_cases[i];
		struct err e = { 0 };
		int ret = oci_check_sandbox(&h, &c->pod, &e);
		ok(ret == c->ret && (!c->says || strstr(e.msg, c->says)), "systemd: %s: %s", c->what,
		   ret ? e.msg : "taken");
	}
}

static void test_pods(void)
{
	for (size_t i = 0; i < sizeof(pod_cases) / sizeof(pod_cases[0]); i++) {
		const struct pod_case *c = &pod_cases[i];
		struct err e = { 0 };
		int ret = oci_check_sandbox(&v1, &c->pod, &e);
		ok(ret == c->ret && (!c->says || strstr(e.msg, c->says)), "%s: %s", c->what, ret ? e.msg : "taken");
	}
}

struct ctr_case {
	const char *what;
	const Cri__PodSandboxConfig *pod;
	Cri__ContainerConfig ctr;
	int ret;
	const char *says;
};

static const struct ctr_case ctr_cases[] = {
	{ "a bare container", &plain, CTR(), 0, NULL },
	{ "no metadata", &plain, { .image = &image_spec }, -EINVAL, "metadata" },
	{ "no image", &plain, { .metadata = &ctr_meta }, -EINVAL, "image: is missing" },
	{ "an argument that is not UTF-8", &plain, CTR(LIST(args, "a", "\xff")), -EINVAL, "args[1]" },
	{ "an argument of several lines", &plain, CTR(LIST(args, "a\nb\tc")), 0, NULL },
	{ "an environment of several lines", &plain,
	  CTR(.n_envs = 1, .envs = (Cri__KeyValue *[]){ ENV("A", "x\ny=\"\xc3\xa4\"") }), 0, NULL },
	{ "an environment that is not UTF-8", &plain,
	  CTR(.n_envs = 2, .envs = (Cri__KeyValue *[]){ ENV("A", "x"), ENV("B", "\x80") }), -EINVAL, "envs[1] \"B\"" },
	{ "an environment with a NUL", &plain, CTR(.n_envs = 1, .envs = (Cri__KeyValue *[]){ ENV("A", "a\0b") }),
	  -EINVAL, "envs[0] \"A\": the value has a NUL" },
	{ "an environment with = in its name", &plain, CTR(.n_envs = 1, .envs = (Cri__KeyValue *[]){ ENV("A=B", "") }),
	  -EINVAL, "envs[0].key" },
	{ "a mount at the root", &plain, CTR(MOUNT(.container_path = "/a/..", .host_path = "/x")), -EINVAL,
	  "mounts[0].container_path \"/a/..\"" },
	{ "a mount of a relative path", &plain, CTR(MOUNT(.container_path = "/a", .host_path = "x")), -EINVAL,
	  "mounts[0].host_path \"x\"" },
	{ "an image volume", &plain, CTR(MOUNT(.container_path = "/a", .image = &image_spec)), -ENOSYS,
	  "mounts[0].image \"busybox\"" },
	{ "an empty image in a mount", &plain,
	  CTR(MOUNT(.container_path = "/a", .host_path = "/x", .image = &(Cri__ImageSpec){})), 0, NULL },
	{ "a relabelled mount without SELinux", &plain,
	  CTR(MOUNT(.container_path = "/a", .host_path = "/x", .selinux_relabel = true)), 0, NULL },
	{ "an id-mapped mount", &plain,
	  CTR(MOUNT(.container_path = "/a", .host_path = "/x", .n_uidmappings = 1,
		    .uidmappings = (Cri__IDMapping *[]){ &(Cri__IDMapping){} })), -EINVAL, "mounts[0].uidMappings" },
	{ "a mount option", &plain,
	  CTR(MOUNT(.container_path = "/a", .host_path = "/x", LIST(mount_options, "noexec", "dev"))), -EINVAL,
	  "mounts[0].mount_options[1] \"dev\"" },
	{ "bidirectional, not privileged", &privileged_pod,
	  CTR(MOUNT(.container_path = "/a", .host_path = "/x",
		    .propagation = CRI__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL)), -EINVAL,
	  "mounts[0].propagation BIDIRECTIONAL" },
	{ "bidirectional, privileged", &privileged_pod,
	  CTR(SEC(.privileged = true), MOUNT(.container_path = "/a", .host_path = "/x",
		    .propagation = CRI__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL)), 0, NULL },
	{ "a propagation that is none", &plain,
	  CTR(MOUNT(.container_path = "/a", .host_path = "/x", .propagation = 7)), -EINVAL, "mounts[0].propagation 7" },
	{ "recursive read-only, writable", &plain,
	  CTR(MOUNT(.container_path = "/a", .host_path = "/x", .recursive_read_only = true)), -EINVAL,
	  "mounts[0].recursive_read_only: needs readonly" },
	{ "recursive read-only, propagated", &plain,
	  CTR(MOUNT(.container_path = "/a", .host_path = "/x", .recursive_read_only = true, .readonly = true,
		    .propagation = CRI__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER)), -EINVAL,
	  "needs PROPAGATION_PRIVATE" },
	{ "recursive read-only", &plain,
	  CTR(MOUNT(.container_path = "/a", .host_path = "/x", .recursive_read_only = true, .readonly = true)), 0,
	  NULL },
	{ "a device's permissions", &plain,
	  CTR(.n_devices = 1, .devices = (Cri__Device *[]){ &(Cri__Device){ .host_path = "/dev/x", .permissions = "rwx" } }),
	  -EINVAL, "devices[0].permissions \"rwx\"" },
	{ "a CDI device", &plain,
	  CTR(.n_cdi_devices = 1, .cdi_devices = (Cri__CDIDevice *[]){ &(Cri__CDIDevice){ .name = "v/c=d" } }), -ENOSYS,
	  "CDI_devices[0].name \"v/c=d\"" },
	{ "privileged in a pod that is not", &plain, CTR(SEC(.privileged = true)), -EINVAL,
	  "linux.security_context.privileged" },
	{ "a capability that is none", &plain, CTR(CAPS(LIST(add_capabilities, "NET_ADMIN", "FLY"))), -EINVAL,
	  "add_capabilities[1] \"FLY\"" },
	{ "a capability that we lack", &plain, CTR(CAPS(LIST(add_capabilities, "SYS_RESOURCE"))), -EINVAL,
	  "\"SYS_RESOURCE\"" },
	{ "capabilities in any spelling", &plain,
	  CTR(CAPS(LIST(add_capabilities, "cap_net_admin"), LIST(drop_capabilities, "all"))), 0, NULL },
	{ "the host's network in a pod of its own", &plain, CTR(SEC(HOST_NET)), -EINVAL,
	  "namespace_options.network NODE" },
	{ "the host's pids in a pod of its own", &plain, CTR(SEC(NS(.pid = CRI__NAMESPACE_MODE__NODE))), -EINVAL,
	  "namespace_options.pid NODE" },
	{ "a target without an id", &plain, CTR(SEC(NS(.pid = CRI__NAMESPACE_MODE__TARGET))), -EINVAL, "target_id" },
	{ "an id without a target", &plain, CTR(SEC(NS(.target_id = "x"))), -EINVAL, "target_id \"x\"" },
	{ "a user and a name", &plain, CTR(SEC(.run_as_user = INT(1), .run_as_username = "x")), -EINVAL,
	  "run_as_username \"x\"" },
	{ "a group without a user", &plain, CTR(SEC(.run_as_group = INT(0))), -EINVAL, "run_as_group 0" },
	{ "a group with a name", &plain, CTR(SEC(.run_as_group = INT(0), .run_as_username = "x")), 0, NULL },
	{ "a user beyond 32 bits", &plain, CTR(SEC(.run_as_user = INT(4294967296))), -EINVAL, "run_as_user 4294967296" },
	{ "a group that is none", &plain, CTR(SEC(.n_supplemental_groups = 1, .supplemental_groups = (int64_t[]){ -2 })),
	  -EINVAL, "supplemental_groups[0] -2" },
	{ "a policy that is none", &plain, CTR(SEC(.supplemental_groups_policy = 3)), -EINVAL,
	  "supplemental_groups_policy 3" },
	{ "SELinux", &plain, CTR(SEC(.selinux_options = &(Cri__SELinuxOption){ .type = "t" })), -EINVAL,
	  "selinux_options" },
	{ "AppArmor", &plain, CTR(SEC(.apparmor = PROFILE(Localhost, .localhost_ref = "prof"))), -EINVAL,
	  "apparmor.localhost_ref \"prof\"" },
	{ "AppArmor asked of a privileged container is void", &privileged_pod,
	  CTR(SEC(.privileged = true, .apparmor = PROFILE(Localhost, .localhost_ref = "prof"))), 0, NULL },
	{ "a relative seccomp profile", &plain, CTR(SEC(.seccomp = PROFILE(Localhost, .localhost_ref = "x.json"))),
	  -EINVAL, "seccomp.localhost_ref \"x.json\"" },
	{ "a masked path", &plain, CTR(SEC(LIST(masked_paths, "proc"))), -EINVAL, "masked_paths[0] \"proc\"" },
	{ "a log path above", &plain, CTR(.log_path = "../x"), -EINVAL, "log_path \"../x\"" },
	{ "an absolute log path", &plain, CTR(.log_path = "/x"), -EINVAL, "log_path \"/x\"" },
	{ "a stop signal that is none", &plain, CTR(.stop_signal = 66), -EINVAL, "stop_signal 66" },
	{ "Windows", &plain, CTR(.windows = &(Cri__WindowsContainerConfig){}), -EINVAL, "windows" },
	{ "a negative limit", &plain, CTR(RES(.memory_limit_in_bytes = -2)), -EINVAL,
	  "linux.resources.memory_limit_in_bytes -2" },
	{ "a swap limit below memory's", &plain,
	  CTR(RES(.memory_limit_in_bytes = 200, .memory_swap_limit_in_bytes = 100)), -EINVAL,
	  "memory_swap_limit_in_bytes 100" },
	{ "a cpuset that is none", &plain, CTR(RES(.cpuset_cpus = "0-1;2")), -EINVAL, "cpuset_cpus \"0-1;2\"" },
	{ "a score out of range", &plain, CTR(RES(.oom_score_adj = 1001)), -EINVAL, "oom_score_adj 1001" },
	{ "a hugepage limit of 0 for any size", &plain, CTR(RES(HUGE_LIMIT("64KB", 0))), 0, NULL },
	{ "a hugepage limit for a size that is not here", &plain, CTR(RES(HUGE_LIMIT("64KB", 1))), -EINVAL,
	  "hugepage_limits[0] \"64KB\"" },
	{ "unified on v1", &plain, CTR(RES(UNIFIED("memory.high", "1"))), -EINVAL, "unified \"memory.high\"" },
};

static void test_containers(void)
{
	for (size_t i = 0; i < sizeof(ctr_cases) / sizeof(ctr_cases[0]); i++) {
		const struct ctr_case *c = &ctr_cases[i];
		struct err e = { 0 };
		int ret = oci_check_container(&v1, c->pod, &c->ctr, true, &e);
		ok(ret == c->ret && (!c->says || strstr(e.msg, c->says)), "%s: %s", c->what, ret ? e.msg : "taken");
	}
	struct err e = { 0 };
	const Cri__ContainerConfig rro = CTR(
		MOUNT(.container_path = "/a", .host_path = "/x", .recursive_read_only = true, .readonly = true));
	ok(oci_check_container(&v1, &plain, &rro, false, &e) == -ENOTSUP && !strncmp(e.msg, "RROUnsupported", 14),
	   "a kubelet knows this word: %s", e.msg);
	const Cri__ContainerConfig unified = CTR(RES(UNIFIED("memory.oom.group", "1")));
	ok(!oci_check_container(&v2, &plain, &unified, false, &e), "unified on v2 is taken");
	const Cri__ContainerConfig evil = CTR(RES(UNIFIED("../x.y", "1")));
	ok(oci_check_container(&v2, &plain, &evil, false, &e) == -EINVAL, "unified must not leave the cgroup");
}

/* ---- signals ---- */

static const struct ctr_case apparmor_cases[] = {
	{ "a profile that is loaded", &plain, CTR(SEC(.apparmor = PROFILE(Localhost, .localhost_ref = "a prof"))), 0, NULL },
	{ "with localhost/", &plain, CTR(SEC(.apparmor = PROFILE(Localhost, .localhost_ref = "localhost/b"))), 0, NULL },
	{ "one that is not", &plain, CTR(SEC(.apparmor = PROFILE(Localhost, .localhost_ref = "a"))), -EINVAL,
	  "security_context.apparmor.localhost_ref \"a\": no such AppArmor profile is loaded" },
	{ "one without a name", &plain, CTR(SEC(.apparmor = PROFILE(Localhost, .localhost_ref = "localhost/"))), -EINVAL,
	  "names no profile" },
	{ "the runtime's, which could not be loaded", &plain, CTR(SEC(.apparmor = PROFILE(RuntimeDefault))), -EINVAL,
	  "apparmor: the runtime's own AppArmor profile could not be loaded" },
	{ "none, without the runtime's", &plain, CTR(), 0, NULL },
	{ "Unconfined", &plain, CTR(SEC(.apparmor = PROFILE(Unconfined))), 0, NULL },
};

static void test_apparmor(void)
{
	char list[] = "/tmp/oci_check.XXXXXX";
	static const char text[] = "a prof (enforce)\nb (complain)\n";
	int fd = mkstemp(list);
	struct oci_host h = v1;
	h.apparmor = true;
	h.apparmor_profiles = list;
	ok(fd >= 0 && write(fd, text, sizeof(text) - 1) > 0, "a list of profiles");
	for (size_t i = 0; i < sizeof(apparmor_cases) / sizeof(apparmor_cases[0]); i++) {
		const struct ctr_case *c = &apparmor_cases[i];
		struct err e = { 0 };
		int ret = oci_check_container(&h, c->pod, &c->ctr, true, &e);
		ok(ret == c->ret && (!c->says || strstr(e.msg, c->says)), "AppArmor: %s: %s", c->what,
		   ret ? e.msg : "taken");
	}
	close(fd);
	unlink(list);
	ok(oci_apparmor_loaded(&h, "b") && oci_apparmor_loaded(&v1, "b"), "what can't be listed may be there");
}

static void test_signals(void)
{
	static const struct {
		Cri__Signal cri;
		int signo;
	} known[] = { { 1, 6 }, { 2, 14 }, { 3, 7 }, { 4, 17 }, { 5, 17 }, { 9, 4 }, { 13, 9 }, { 15, 29 },
		      { 20, 16 }, { 23, 15 }, { 29, 10 }, { 30, 12 }, { 34, 25 }, { 35, 34 }, { 36, 35 },
		      { 50, 49 }, { 51, 50 }, { 64, 63 }, { 65, 64 } };
	bool all = true;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		all &= oci_signal_number(known[i].cri) == known[i].signo;
	ok(all, "numbers of CRI signals");
	ok(oci_signal_number(0) == 0 && oci_signal_number(66) == -1 && oci_signal_number(-1) == -1,
	   "no numbers of what is none");
	all = true;
	for (int signo = 1; signo <= 64; signo++) {
		Cri__Signal s = oci_signal_cri(signo);
		/* 32 and 33 are the C library's own */
		all &= signo == 32 || signo == 33 ? s == 0 : oci_signal_number(s) == signo;
	}
	ok(all, "there and back for each signal of the kernel");
	ok(oci_signal_cri(SIGCHLD) == CRI__SIGNAL__SIGNAL_SIGCHLD && oci_signal_cri(SIGABRT) == CRI__SIGNAL__SIGNAL_SIGABRT &&
		   oci_signal_cri(SIGIO) == CRI__SIGNAL__SIGNAL_SIGIO,
	   "of two names the usual one");

	static const struct {
		const char *text;
		int signo;
	} texts[] = { { "SIGTERM", 15 }, { "term", 15 }, { "sigquit", 3 }, { "9", 9 }, { "SIGRTMIN+3", 37 },
		      { "RTMIN", 34 }, { "RTMAX-1", 63 }, { "SIGWINCH", 28 }, { "IO", 29 }, { "POLL", 29 },
		      { "0", -1 }, { "65", -1 }, { "SIG", -1 }, { "15x", -1 }, { "RTMIN+99", -1 }, { "RTMAX+1", -1 },
		      { "RTMIN+", -1 }, { "TERMINATE", -1 } };
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		ok(oci_signal_parse(texts[i].text) == texts[i].signo, "\"%s\" is %d", texts[i].text, texts[i].signo);

	struct err e = { 0 };
	Cri__ContainerConfig none = CTR(), usr1 = CTR(.stop_signal = CRI__SIGNAL__SIGNAL_SIGUSR1);
	ok(oci_stop_signal(&none, NULL, &e) == SIGTERM && oci_stop_signal(&none, "SIGQUIT", &e) == SIGQUIT &&
		   oci_stop_signal(&usr1, "SIGQUIT", &e) == SIGUSR1,
	   "config before image before SIGTERM");
	ok(oci_stop_signal(&none, "SIGNONE", &e) == -EINVAL && strstr(e.msg, "SIGNONE"), "%s", e.msg);
}

int main(void)
{
	test_pods();
	test_slices();
	test_containers();
	test_apparmor();
	test_signals();
	return done();
}

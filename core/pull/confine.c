/*
 * Confinement, see the header.  The system call filter is a plain list: what is not on it gets
 * EPERM.  It is put together here rather than by libseccomp because it is loaded once per layer,
 * after a fork, where a hundred comparisons are quicker than a compiler.
 */
#include "core/pull/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/base/file.h"

enum { NOBODY = 65534 };

/* -- Landlock; the constants are newer than many systems' headers -- */

enum {
	FS_EXECUTE = 1 << 0, FS_WRITE = 1 << 1, FS_READ = 1 << 2, FS_READ_DIR = 1 << 3,
	FS_ALL_1 = (1 << 13) - 1,
	FS_REFER = 1 << 13,	/* ABI 2 */
	FS_TRUNCATE = 1 << 14,	/* ABI 3 */
	FS_IOCTL_DEV = 1 << 15,	/* ABI 5 */
	NET_BIND = 1 << 0, NET_CONNECT = 1 << 1,	/* ABI 4 */
	SCOPE_ABSTRACT_UNIX = 1 << 0, SCOPE_SIGNAL = 1 << 1,	/* ABI 6 */
	RULE_PATH = 1, RULE_PORT = 2,
};

struct ruleset_attr {
	uint64_t fs, net, scoped;
};

struct path_rule {
	uint64_t access;
	int32_t fd;
} __attribute__((packed));

struct port_rule {
	uint64_t access, port;
};

int confine_landlock_abi(void)
{
	int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, 1 /* VERSION */);
	return abi < 0 ? 0 : abi;
}

static uint64_t all_fs(int abi)
{
	return FS_ALL_1 | (abi >= 2 ? FS_REFER : 0) | (abi >= 3 ? FS_TRUNCATE : 0) |
	       (abi >= 5 ? FS_IOCTL_DEV : 0);
}

/* -1: this kernel has no Landlock that can do it. */
static int ruleset_new(bool net, int *abi)
{
	*abi = confine_landlock_abi();
	/* The first version forbids links across directories, whatever the rules say. */
	if (*abi < 2)
		return -1;
	struct ruleset_attr a = { .fs = all_fs(*abi) };
	if (net && *abi >= 4)
		a.net = NET_BIND | NET_CONNECT;
	if (*abi >= 6)
		a.scoped = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL;
	size_t size = *abi >= 6 ? 24 : *abi >= 4 ? 16 : 8;
	return (int)syscall(SYS_landlock_create_ruleset, &a, size, 0);
}

static void allow_path(int ruleset, int fd, uint64_t access)
{
	struct path_rule r = { access, fd };
	syscall(SYS_landlock_add_rule, ruleset, RULE_PATH, &r, 0);
}

static void allow_read(int ruleset, const char *path)
{
	struct stat st;
	auto_close int fd = open(path, O_PATH | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0)	/* a rule that can't be added denies */
		allow_path(ruleset, fd, S_ISDIR(st.st_mode) ? FS_READ | FS_READ_DIR : FS_READ);
}

static int ruleset_enforce(int ruleset, struct err *e)
{
	if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return err_sys(e, "restrict by Landlock");
	return 0;
}

/* What name resolution and TLS read. */
static const char *const network_files[] = {
	"/etc/resolv.conf",
	"/etc/hosts",
	"/etc/host.conf",
	"/etc/nsswitch.conf",
	"/etc/gai.conf",
	"/etc/services",
	"/etc/ssl",
	"/etc/pki",
	"/etc/ca-certificates",
	"/usr/share/ca-certificates",
	"/usr/local/share/ca-certificates",
	"/etc/localtime",
	"/usr/share/zoneinfo",
	"/etc/ld.so.cache",
	"/run/systemd/resolve",
	"/usr/lib",
	"/usr/lib64",
	"/usr/local/lib",
	"/lib",
	"/lib64",
	"/dev/null",
	"/dev/urandom",
};

static void allow_network_files(int ruleset)
{
	for (size_t i = 0; i < sizeof(network_files) / sizeof(*network_files); i++)
		allow_read(ruleset, network_files[i]);
}

/* -- capabilities -- */

static int keep_caps(const int *caps, size_t n, struct err *e)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = { { 0 } };
	for (size_t i = 0; i < n; i++) {
		uint32_t bit = 1u << (caps[i] & 31);
		d[caps[i] >> 5].permitted |= bit;
		d[caps[i] >> 5].effective |= bit;
	}
	for (int cap = 0; cap < 64; cap++)
		if (prctl(PR_CAPBSET_DROP, cap) < 0 && errno == EINVAL)
			break;	/* past the last one that this kernel knows */
	if (syscall(SYS_capset, &h, d) < 0)
		return err_sys(e, "drop capabilities");
	return 0;
}

static int become_nobody(struct err *e)
{
	if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return err_sys(e, "become nobody");
	return 0;
}

/* -- seccomp -- */

static const uint16_t common_calls[] = {
	__NR_read, __NR_write, __NR_close, __NR_futex, __NR_fstat, __NR_newfstatat, __NR_lseek,
	__NR_brk, __NR_munmap, __NR_mremap, __NR_madvise, __NR_fcntl, __NR_openat, __NR_exit,
	__NR_exit_group, __NR_rt_sigreturn, __NR_rt_sigprocmask, __NR_rt_sigaction,
	__NR_sigaltstack, __NR_restart_syscall, __NR_getrandom, __NR_clock_gettime,
	__NR_clock_nanosleep, __NR_getpid, __NR_gettid, __NR_sched_yield, __NR_pread64,
	__NR_readv, __NR_writev, __NR_getdents64, __NR_set_robust_list, __NR_ppoll, __NR_getuid,
	__NR_geteuid, __NR_getgid, __NR_getegid, __NR_rseq,
#ifdef __NR_poll
	__NR_poll,
#endif
	__NR_statx, __NR_sched_getaffinity, __NR_uname, __NR_sysinfo,
};

static const uint16_t unpack_calls[] = {
	__NR_openat2, __NR_pwrite64, __NR_mkdirat, __NR_mknodat, __NR_symlinkat, __NR_linkat,
	__NR_unlinkat, __NR_readlinkat, __NR_fchown, __NR_fchownat, __NR_fchmod, __NR_fchmodat,
	__NR_utimensat, __NR_fsetxattr, __NR_ftruncate, __NR_sync_file_range,
};

static const uint16_t load_calls[] = { __NR_recvmsg, __NR_splice, __NR_faccessat,
#ifdef __NR_faccessat2
	__NR_faccessat2,
#endif
};

static const uint16_t fetch_calls[] = {
	__NR_connect, __NR_bind, __NR_getsockname, __NR_getpeername, __NR_getsockopt,
	__NR_setsockopt, __NR_sendto, __NR_recvfrom, __NR_sendmsg, __NR_recvmsg, __NR_sendmmsg,
	__NR_recvmmsg, __NR_shutdown, __NR_socketpair, __NR_pipe2, __NR_eventfd2,
	__NR_epoll_create1, __NR_epoll_ctl, __NR_epoll_pwait, __NR_pselect6, __NR_ioctl,
	__NR_faccessat, __NR_readlinkat, __NR_prlimit64,
#ifdef __NR_access
	__NR_access, __NR_stat, __NR_lstat, __NR_open, __NR_readlink, __NR_select,
	__NR_epoll_wait, __NR_pipe, __NR_time, __NR_gettimeofday,
#endif
#ifdef __NR_faccessat2
	__NR_faccessat2,
#endif
	__NR_nanosleep, __NR_gettimeofday,
};

struct program {
	struct sock_filter code[400];
	size_t n;
};

static void add(struct program *p, uint16_t code, uint8_t jt, uint8_t jf, uint32_t k)
{
	if (p->n < sizeof(p->code) / sizeof(*p->code))
		p->code[p->n++] = (struct sock_filter){ code, jt, jf, k };
}

static void allow(struct program *p)
{
	add(p, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
}

static void deny(struct program *p, int code)
{
	add(p, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | (uint32_t)code);
}

static void allow_calls(struct program *p, const uint16_t *calls, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		add(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, calls[i]);
		allow(p);
	}
}

static void load_arg(struct program *p, int i)
{
	uint32_t at = (uint32_t)offsetof(struct seccomp_data, args) + 8 * (uint32_t)i;
	add(p, BPF_LD | BPF_W | BPF_ABS, 0, 0, at);	/* low half: little endian */
}

/* No memory may become code.  mmap and mprotect have the protection in their third argument. */
static void allow_data_mapping(struct program *p, uint32_t call)
{
	add(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 4, call);
	load_arg(p, 2);
	add(p, BPF_JMP | BPF_JSET | BPF_K, 0, 1, PROT_EXEC);
	deny(p, EPERM);
	allow(p);
}

/* Threads, for the resolver, but no processes. */
static void allow_threads(struct program *p)
{
	add(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, __NR_clone3);
	deny(p, ENOSYS);	/* its flags are in memory: libc then uses clone */
	add(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 4, __NR_clone);
	load_arg(p, 0);
	add(p, BPF_JMP | BPF_JSET | BPF_K, 1, 0, CLONE_THREAD);
	deny(p, EPERM);
	allow(p);
}

static void allow_inet_sockets(struct program *p)
{
	add(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 6, __NR_socket);
	load_arg(p, 0);
	add(p, BPF_JMP | BPF_JEQ | BPF_K, 3, 0, AF_INET);
	add(p, BPF_JMP | BPF_JEQ | BPF_K, 2, 0, AF_INET6);
	add(p, BPF_JMP | BPF_JEQ | BPF_K, 1, 0,
	    AF_NETLINK); /* which addresses does the host have? */
	deny(p, EAFNOSUPPORT);
	allow(p);
}

static int filter_calls(enum confine_syscalls role, struct err *e)
{
	struct program p = { .n = 0 };
#if defined(__x86_64__)
	const uint32_t arch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
	const uint32_t arch = AUDIT_ARCH_AARCH64;
#else
#error "name this machine's audit architecture"
#endif
	add(&p, BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, arch));
	add(&p, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, arch);
	add(&p, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS);
	add(&p, BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr));
#define ALLOW_ALL(list) allow_calls(&p, list, sizeof(list) / sizeof(*list))
	ALLOW_ALL(common_calls);
	if (role == CONFINE_UNPACK)
		ALLOW_ALL(unpack_calls);
	if (role == CONFINE_LOAD)
		ALLOW_ALL(load_calls);
	if (role == CONFINE_FETCH) {
		static const uint16_t mapping[] = { __NR_mmap, __NR_mprotect };
		ALLOW_ALL(fetch_calls);
		ALLOW_ALL(mapping);	/* name services are loaded on demand */
		allow_threads(&p);
		allow_inet_sockets(&p);
	} else {
		allow_data_mapping(&p, __NR_mmap);
		allow_data_mapping(&p, __NR_mprotect);
	}
#undef ALLOW_ALL
	deny(&p, EPERM);
	struct sock_fprog prog = { (unsigned short)p.n, p.code };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, "set no_new_privs");
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
		return err_sys(e, "filter system calls");
	return 0;
}

/* -- roles -- */

static void limit_resources(void)
{
	struct rlimit none = { 0, 0 }, files = { 256, 256 };
	setrlimit(RLIMIT_CORE, &none);
	setrlimit(RLIMIT_NOFILE, &files);
}

int confine_supervisor(int dir, int source, struct err *e)
{
	int abi;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, "set no_new_privs");
	auto_close int rules = ruleset_new(false, &abi);
	if (rules < 0)
		return 0;
	allow_path(rules, dir, all_fs(abi) & ~(uint64_t)FS_EXECUTE);
	if (source >= 0)
		allow_path(rules, source, FS_READ | FS_READ_DIR);
	allow_network_files(rules);
	return ruleset_enforce(rules, e);
}

int confine_fetch(const uint16_t *ports, size_t n_ports, struct err *e)
{
	int abi, ret;
	limit_resources();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, "set no_new_privs");
	auto_close int rules = ruleset_new(true, &abi);
	if (rules >= 0) {
		allow_network_files(rules);
		for (size_t i = 0; i < n_ports && abi >= 4; i++) {
			struct port_rule r = { NET_CONNECT, ports[i] };
			syscall(SYS_landlock_add_rule, rules, RULE_PORT, &r, 0);
		}
		ret = ruleset_enforce(rules, e);
		if (ret < 0)
			return ret;
	}
	ret = become_nobody(e);
	if (ret == 0)
		ret = keep_caps(NULL, 0, e);
	return ret < 0 ? ret : filter_calls(CONFINE_FETCH, e);
}

/* Make dir the root and allow access there alone. */
static int enter_root(int dir, uint64_t forbidden, struct err *e)
{
	int abi;
	if (fchdir(dir) < 0 || chroot(".") < 0)
		return err_sys(e, "change the root directory");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, "set no_new_privs");
	auto_close int rules = ruleset_new(true, &abi);
	if (rules < 0)
		return 0;
	allow_path(rules, dir, all_fs(abi) & ~forbidden);
	return ruleset_enforce(rules, e);
}

int confine_load(int source, struct err *e)
{
	static const int caps[] = { CAP_DAC_READ_SEARCH };
	int ret;
	limit_resources();
	if (source >= 0) {
		ret = enter_root(source, ~(uint64_t)(FS_READ | FS_READ_DIR), e);
		if (ret == 0)
			ret = keep_caps(caps, 1, e);
		return ret < 0 ? ret : filter_calls(CONFINE_LOAD, e);
	}
	int abi;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, "set no_new_privs");
	auto_close int rules = ruleset_new(true, &abi);
	ret = rules < 0 ? 0 : ruleset_enforce(rules, e);
	if (ret == 0)
		ret = become_nobody(e);
	if (ret == 0)
		ret = keep_caps(NULL, 0, e);
	return ret < 0 ? ret : filter_calls(CONFINE_LOAD, e);
}

int confine_unpack(int root, struct err *e)
{
	static const int caps[] = {
		CAP_CHOWN, CAP_FOWNER, CAP_FSETID, CAP_DAC_OVERRIDE, CAP_MKNOD, CAP_SETFCAP,
	};
	limit_resources();
	int ret = enter_root(root, FS_EXECUTE | FS_IOCTL_DEV, e);
	if (ret == 0)
		ret = keep_caps(caps, sizeof(caps) / sizeof(*caps), e);
	return ret < 0 ? ret : filter_calls(CONFINE_UNPACK, e);
}

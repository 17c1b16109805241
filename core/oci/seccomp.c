/*
 * The default seccomp profile: a list of what is allowed, everything else is EPERM.
 *
 * Left out on purpose is what reaches past the container even for its root: loading code into
 * the kernel (bpf, kexec_*, *_module), mounting and making namespaces, the clock, keyrings
 * (add_key, keyctl, request_key: not namespaced), io_uring_* (a way around a filter's look at
 * each call), userfaultfd, perf, swap, quota, NUMA policy, obsolete calls.  Where a capability
 * governs a call the call is allowed along with it.  Names that the engine's libseccomp does not
 * know are skipped by engines, so new calls can stand here.
 */
#include "core/oci/seccomp.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "core/base/json.h"

#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif

static const char allowed[] =
	/* files */
	"access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 "
	"faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat "
	"fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock "
	"fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 "
	"futimesat getcwd getdents getdents64 getxattr getxattrat inotify_add_watch inotify_init "
	"inotify_init1 inotify_rm_watch ioctl lchown lchown32 lgetxattr link linkat listmount listxattr "
	"listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat mknod "
	"mknodat name_to_handle_at newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 "
	"pwritev pwritev2 read readahead readlink readlinkat readv removexattr removexattrat rename "
	"renameat renameat2 rmdir sendfile sendfile64 setxattr setxattrat splice stat stat64 statfs "
	"statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 "
	"umask unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev "
	/* waiting for files and asynchronous work on them */
	"epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait "
	"epoll_wait_old eventfd eventfd2 io_cancel io_destroy io_getevents io_pgetevents "
	"io_pgetevents_time64 io_setup io_submit _newselect pipe pipe2 poll ppoll ppoll_time64 pselect6 "
	"pselect6_time64 select signalfd signalfd4 timerfd_create timerfd_gettime timerfd_gettime64 "
	"timerfd_settime timerfd_settime64 "
	/* memory */
	"brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock "
	"mlock2 mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc "
	"pkey_free pkey_mprotect process_mrelease remap_file_pages "
	/* processes, threads, signals */
	"alarm capget capset execve execveat exit exit_group fork futex futex_requeue futex_time64 "
	"futex_wait futex_waitv futex_wake getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups "
	"getgroups32 getitimer getpgid getpgrp getpid getppid getpriority getresgid getresgid32 getresuid "
	"getresuid32 getrlimit get_robust_list getrusage getsid get_thread_area gettid getuid getuid32 "
	"ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self pause "
	"pidfd_open pidfd_send_signal prctl prlimit64 process_vm_readv process_vm_writev ptrace "
	"restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn "
	"rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity "
	"sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler "
	"sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr "
	"sched_setparam sched_setscheduler sched_yield seccomp setfsgid setfsgid32 setfsuid setfsuid32 "
	"setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 "
	"setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit set_robust_list setsid "
	"set_thread_area set_tid_address setuid setuid32 sigaltstack sigprocmask sigreturn tgkill times "
	"tkill ugetrlimit uretprobe vfork wait4 waitid waitpid "
	/* System V and POSIX ipc */
	"ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend "
	"mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop "
	"semtimedop_time64 shmat shmctl shmdt shmget "
	/* sockets, but for socket() itself */
	"accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg "
	"recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair "
	/* time and the machine, to read (adjtimex needs a capability to write) */
	"adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime "
	"clock_gettime64 clock_nanosleep clock_nanosleep_time64 getcpu getrandom gettimeofday nanosleep "
	"sysinfo time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 "
	"timer_settime timer_settime64 uname "
#if defined(__x86_64__)
	"arch_prctl modify_ldt";
static const char architectures[] = "SCMP_ARCH_X86_64 SCMP_ARCH_X86 SCMP_ARCH_X32";
#elif defined(__aarch64__)
	"arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls";
static const char architectures[] = "SCMP_ARCH_AARCH64 SCMP_ARCH_ARM";
#else
	"";
static const char architectures[] = "";
#endif

static const struct {
	int cap;
	const char *names;
} by_cap[] = {
	{ CAP_DAC_READ_SEARCH, "open_by_handle_at" },
	{ CAP_SYS_ADMIN, "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie "
			 "lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr "
			 "move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname "
			 "sethostname setns syslog umount umount2 unshare" },
	{ CAP_SYS_BOOT, "reboot" },
	{ CAP_SYS_CHROOT, "chroot" },
	{ CAP_SYS_MODULE, "delete_module finit_module init_module" },
	{ CAP_SYS_PACCT, "acct" },
	{ CAP_SYS_PTRACE, "kcmp pidfd_getfd process_madvise" },
	{ CAP_SYS_RAWIO, "ioperm iopl" },
	{ CAP_SYS_TIME, "clock_settime clock_settime64 settimeofday stime" },
	{ CAP_SYS_TTY_CONFIG, "vhangup" },
	{ CAP_SYS_NICE, "get_mempolicy mbind set_mempolicy set_mempolicy_home_node" },
	{ CAP_SYSLOG, "syslog" },
	{ CAP_BPF, "bpf" },
	{ CAP_PERFMON, "perf_event_open" },
};

static void put_words(struct json_out *o, const char *key, const char *words)
{
	json_key(o, key);
	json_array(o);
	for (const char *w = words; *w;) {
		size_t n = strcspn(w, " ");
		json_put_strn(o, w, n);
		w += n;
		w += *w == ' ';
	}
	json_end_array(o);
}

static void put_allow(struct json_out *o, const char *names)
{
	json_object(o);
	put_words(o, "names", names);
	json_member_str(o, "action", "SCMP_ACT_ALLOW");
	json_end_object(o);
}

/* Allow a call when one of its arguments compares well. */
static void put_allow_if(struct json_out *o, const char *name, int index, const char *op, int64_t value,
			 int64_t value_two)
{
	json_object(o);
	put_words(o, "names", name);
	json_member_str(o, "action", "SCMP_ACT_ALLOW");
	json_key(o, "args");
	json_array(o);
	json_object(o);
	json_member_int(o, "index", index);
	json_member_int(o, "value", value);
	json_member_int(o, "valueTwo", value_two);
	json_member_str(o, "op", op);
	json_end_object(o);
	json_end_array(o);
	json_end_object(o);
}

/* Without CAP_SYS_ADMIN: threads and processes, no namespaces.  clone3 has its flags in memory,
 * where a filter can't look; ENOSYS makes libraries fall back to clone. */
static void put_clone(struct json_out *o)
{
	put_allow_if(o, "clone", 0, "SCMP_CMP_MASKED_EQ",
		     CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |
			     CLONE_NEWNET,
		     0);
	json_object(o);
	put_words(o, "names", "clone3");
	json_member_str(o, "action", "SCMP_ACT_ERRNO");
	json_member_int(o, "errnoRet", ENOSYS);
	json_end_object(o);
}

void seccomp_put_default(struct json_out *o, uint64_t caps)
{
	/* Linux, BSD-like 32 bit, 4.3 BSD, both, and "tell me". */
	static const uint32_t personalities[] = { 0x0, 0x8, 0x20000, 0x20008, 0xffffffff };

	json_object(o);
	json_member_str(o, "defaultAction", "SCMP_ACT_ERRNO");
	json_member_int(o, "defaultErrnoRet", EPERM);
	if (*architectures)
		put_words(o, "architectures", architectures);
	json_key(o, "syscalls");
	json_array(o);
	put_allow(o, allowed);
	for (size_t i = 0; i < sizeof(personalities) / sizeof(personalities[0]); i++)
		put_allow_if(o, "personality", 0, "SCMP_CMP_EQ", personalities[i], 0);
	/* vsock would reach the hypervisor, past every network policy. */
	put_allow_if(o, "socket", 0, "SCMP_CMP_NE", AF_VSOCK, 0);
	for (size_t i = 0; i < sizeof(by_cap) / sizeof(by_cap[0]); i++)
		if (caps & (UINT64_C(1) << by_cap[i].cap))
			put_allow(o, by_cap[i].names);
	if (!(caps & (UINT64_C(1) << CAP_SYS_ADMIN)))
		put_clone(o);
	json_end_array(o);
	json_end_object(o);
}

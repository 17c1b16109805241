/*
 * ns: a pod's namespaces.  This process moves into new ones, sets them up from the inside and
 * hands their fds over; only the netns gets a name in the file system, because CNI daemons look
 * for it there.  /dev/shm (core/work/shm.h) lives as long as somebody holds its fd.  With a user
 * namespace they belong to that, but this process stays the node's root (core/work/userns.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/idmap.h"
#include "core/sandboxfs/reply.h"
#include "core/sandboxfs/sysctl.h"
#include "core/work/job.h"
#include "core/work/shm.h"
#include "core/work/userns.h"

enum { SYSCTLS_MAX = 256 };

struct ns_plan {
	const char *pin;	/* NULL: the host's network */
	const char *counters;	/* a netns that there is, whose counters are wanted */
	bool ipc, uts;
	bool crowded;		/* among many network namespaces */
	const char *hostname, *shm_size;
	bool shm_in_ns;		/* as for an old kernel */
	char *sysctls[SYSCTLS_MAX];	/* "key=value" */
	int n_sysctls;
	struct idmap map;	/* of a user namespace */
	const char *userns;	/* which there is already */
	bool pinned;		/* there is something to take back */
};

static int parse(struct ns_plan *p, int argc, char **argv, struct err *e)
{
	for (int i = 1; i < argc; i++) {
		const char *opt = argv[i];
		if (!strcmp(opt, "--crowded")) {
			p->crowded = true;
			continue;
		} else if (!strcmp(opt, "--ipc")) {
			p->ipc = true;
			continue;
		} else if (!strcmp(opt, "--uts")) {
			p->uts = true;
			continue;
		} else if (i + 1 == argc) {
			return job_usage(e, opt);
		}
		char *value = argv[++i];
		if (!strcmp(opt, "--net"))
			p->pin = value;
		else if (!strcmp(opt, "--counters"))
			p->counters = value;
		else if (!strcmp(opt, "--hostname"))
			p->hostname = value;
		else if (!strcmp(opt, "--shm") || !strcmp(opt, "--shm-in-ns"))
			p->shm_size = value, p->shm_in_ns = !strcmp(opt, "--shm-in-ns");
		else if (!strcmp(opt, "--sysctl") && strchr(value, '=') &&
			 p->n_sysctls < SYSCTLS_MAX)
			p->sysctls[p->n_sysctls++] = value;
		else if (!strcmp(opt, "--in"))
			p->userns = value;
		else if (strcmp(opt, "--userns") || !idmap_parse(value, &p->map))
			return job_usage(e, opt);
	}
	if (p->userns && !p->map.n_uids)
		return job_usage(e, "--in without --userns");
	if (p->pin && p->counters)
		return job_usage(e, "--counters are those of --net already");
	if (p->hostname && !p->uts)
		return job_usage(e, "--hostname without --uts would be the host's");
	return 0;
}

/* -- the parts -- */

static int bring_lo_up(struct err *e)
{
	auto_close int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { .ifr_name = "lo" };
	if (sock < 0)
		return err_sys(e, "bring lo up: socket");
	if (ioctl(sock, SIOCGIFFLAGS, &ifr) < 0)
		return err_sys(e, "bring lo up: get flags");
	ifr.ifr_flags |= IFF_UP;
	if (ioctl(sock, SIOCSIFFLAGS, &ifr) < 0)
		return err_sys(e, "bring lo up: set flags");
	return 0;
}

static bool has_sysctl(const struct ns_plan *p, const char *key)
{
	size_t n = strlen(key);
	for (int i = 0; i < p->n_sysctls; i++)
		if (!strncmp(p->sysctls[i], key, n) && p->sysctls[i][n] == '=')
			return true;
	return false;
}

/*
 * The node's procfs remembers "net/ipv4" of every network namespace in one chain of its cache, and
 * goes through it for a new one.  Among many a procfs of our own, for this moment, is quicker.
 */
static int open_sys(const struct ns_plan *p)
{
	auto_close int fs = p->crowded ? fsopen("proc", FSOPEN_CLOEXEC) : -1;
	auto_close int own = fs >= 0 && fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0 ?
			     fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC) : -1;
	int sys = own < 0 ? -1 : openat(own, "sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return sys >= 0 ? sys : open("/proc/sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* Pods expect to use low ports and ping without a capability.  A kernel without these is fine. */
static void set_defaults(const struct ns_plan *p)
{
	static const char *const defaults[][2] = {
		{ "net.ipv4.ip_unprivileged_port_start", "0" },
		{ "net.ipv4.ping_group_range", "0 2147483647" },
	};
	auto_close int sys = open_sys(p);
	for (size_t i = 0; i < sizeof(defaults) / sizeof(*defaults); i++)
		if (!has_sysctl(p, defaults[i][0]))
			sysctl_write_at(sys, defaults[i][0], defaults[i][1], NULL);
}

/* Those of an ipc namespace ask for its owner, and nobody else, not even the node's root. */
static int write_as(uid_t owner, const char *key, const char *value, struct err *e)
{
	if (seteuid(owner) < 0)
		return err_sys(e, "sysctl %s: become user %u", key, owner);
	int ret = sysctl_write(key, value, e);
	if (seteuid(0) < 0)
		abort();
	return ret;
}

/* Checked here too: what is not the pod's own would be the host's. */
static int set_sysctl(char *setting, bool ipc, bool uts, bool net, uid_t owner, struct err *e)
{
	char *eq = strchr(setting, '=');
	*eq = 0;
	int ret = sysctl_check(setting, ipc, uts, net, e);
	if (ret == 0)
		ret = owner && sysctl_kind(setting) == SYSCTL_KIND_IPC ? write_as(owner, setting, eq + 1, e) :
									 sysctl_write(setting, eq + 1, e);
	*eq = '=';
	return ret;
}

static int set_up(struct ns_plan *p, struct err *e)
{
	int ret = 0;
	if (p->hostname && sethostname(p->hostname, strlen(p->hostname)) < 0)
		return err_sys(e, "set the hostname \"%s\"", p->hostname);
	if (p->pin) {
		ret = bring_lo_up(e);
		if (ret == 0)
			set_defaults(p);
	}
	for (int i = 0; i < p->n_sysctls && ret == 0; i++)
		ret = set_sysctl(p->sysctls[i], p->ipc, p->uts, p->pin, p->map.uid, e);
	return ret;
}

static int pin_netns(struct ns_plan *p, struct err *e)
{
	auto_close int fd = open(p->pin, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(e, "make the pin %s", p->pin);
	p->pinned = true;
	if (mount("/proc/self/ns/net", p->pin, NULL, MS_BIND, NULL) < 0)
		return err_sys(e, "pin the netns at %s", p->pin);
	return 0;
}

static void take_back(const struct ns_plan *p)
{
	if (!p->pinned)
		return;
	umount2(p->pin, MNT_DETACH);
	unlink(p->pin);
}

static int enter_net(const char *path, struct err *e)
{
	auto_close int net = open(path, O_RDONLY | O_CLOEXEC);
	if (net < 0)
		return err_sys(e, "open %s", path);
	if (setns(net, CLONE_NEWNET) < 0)
		return err_sys(e, "enter the netns %s", path);
	return 0;
}

static int hand_over(const struct ns_plan *p, int user, int shm, struct err *e)
{
	struct { bool wanted; char letter; const char *path; } const files[] = {
		{ p->pin, 'n', "/proc/self/ns/net" },
		{ p->pin || p->counters, 'd', "/proc/self/net/dev" },
		{ p->ipc, 'i', "/proc/self/ns/ipc" },
		{ p->uts, 'u', "/proc/self/ns/uts" },
		{ true, 'h', "/etc/hosts" },	/* a host may have neither of these */
		{ true, 'r', "/etc/resolv.conf" },
	};
	char letters[REPLY_FDS_MAX + 1] = "";
	int fds[REPLY_FDS_MAX], n = 0;
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		if (!files[i].wanted)
			continue;
		fds[n] = open(files[i].path, O_RDONLY | O_CLOEXEC);
		if (fds[n] >= 0)
			letters[n++] = files[i].letter;
		else if (errno != ENOENT)
			return err_sys(e, "open %s", files[i].path);
	}
	if (user >= 0) {
		fds[n] = user;
		letters[n++] = 'o';
	}
	if (shm >= 0) {
		fds[n] = shm;
		letters[n++] = 's';
	}
	return reply_send(REPLY_FD, letters, fds, e);
}

int job_ns(int argc, char **argv, struct err *e)
{
	struct ns_plan p = { 0 };
	int ret = parse(&p, argc, argv, e);
	if (ret < 0)
		return ret;
	auto_close int shm = -1, user = -1;
	if (p.shm_size && (shm = shm_make(p.shm_size, p.shm_in_ns, p.map.uid, p.map.gid, e)) < 0)
		return shm;
	int flags = (p.pin ? CLONE_NEWNET : 0) | (p.ipc ? CLONE_NEWIPC : 0) |
		    (p.uts ? CLONE_NEWUTS : 0);
	if (p.map.n_uids)
		user = userns_enter(&p.map, p.userns, flags, e);
	else if (flags && unshare(flags) < 0)
		err_sys(e, "make namespaces");
	if (e->code)
		return -e->code;
	ret = set_up(&p, e);
	if (ret == 0 && p.pin)
		ret = pin_netns(&p, e);
	if (p.counters && enter_net(p.counters, NULL) < 0)
		p.counters = NULL;	/* a pod can live without being counted */
	if (ret == 0)
		ret = hand_over(&p, user, shm, e);
	if (ret < 0)
		take_back(&p);
	return ret;
}

int job_sysctl(int argc, char **argv, struct err *e)
{
	if (argc < 3)
		return job_usage(e, "no netns or no sysctl");
	if (enter_net(argv[1], e) < 0)
		return -e->code;
	for (int i = 2; i < argc; i++) {
		if (!strchr(argv[i], '='))
			return job_usage(e, argv[i]);
		int ret = set_sysctl(argv[i], false, false, true, 0, e);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int job_unpin(int argc, char **argv, struct err *e)
{
	for (int i = 1; i < argc; i++) {
		/* Once for each mount that lies there: EINVAL says no more. */
		while (umount2(argv[i], MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
			;
		if (errno != EINVAL && errno != ENOENT)
			return err_sys(e, "unmount %s", argv[i]);
		if (unlink(argv[i]) < 0 && errno != ENOENT)
			return err_sys(e, "remove %s", argv[i]);
	}
	return 0;
}

int job_rmtree(int argc, char **argv, struct err *e)
{
	int ret = 0;
	for (int i = 1; i < argc; i++) {
		/* One that can't be removed does not keep the others. */
		int one = file_remove_tree(AT_FDCWD, argv[i], e);
		if (one < 0 && ret == 0)
			ret = err_wrap(e, one, "remove %s", argv[i]);
	}
	return ret;
}

/* Sysctls of a pod's namespaces, see the header. */
#include "core/sandboxfs/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "core/base/file.h"

enum { SYSCTL_NAME_MAX = 256 };

/* As a path below /proc/sys.  When the first separator is a dot, dots and slashes change places:
 * net.ipv4.conf.eth0/100.forwarding is about the interface eth0.100. */
static int to_path(const char *key, char path[SYSCTL_NAME_MAX])
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_-./@";
	size_t n = strlen(key);
	const char *separator = strpbrk(key, "./");
	if (!n || n >= SYSCTL_NAME_MAX || !separator || key[0] == '.' || key[0] == '/')
		return -EINVAL;
	bool dots = *separator == '.';
	for (size_t i = 0; i <= n; i++) {
		char c = key[i];
		if (c && !strchr(allowed, c))
			return -EINVAL;
		path[i] = !dots ? c : c == '.' ? '/' : c == '/' ? '.' : c;
	}
	bool bad = strstr(path, "//") || strstr(path, "/../") || strstr(path, "/./") ||
		   path[n - 1] == '/' || (n >= 3 && !strcmp(path + n - 3, "/..")) ||
		   (n >= 2 && !strcmp(path + n - 2, "/."));
	return bad ? -EINVAL : 0;
}

/* net/FAMILY/{conf,neigh}/INTERFACE/... */
static bool of_interface(const char *path)
{
	const char *at = strstr(path, "/conf/");
	size_t skip = sizeof("/conf/") - 1;
	if (!at) {
		at = strstr(path, "/neigh/");
		skip = sizeof("/neigh/") - 1;
	}
	if (!at)
		return false;
	at += skip;
	return strncmp(at, "all/", 4) && strncmp(at, "default/", 8) && strncmp(at, "lo/", 3);
}

enum sysctl_kind sysctl_kind(const char *key)
{
	static const char *const ipc[] = {
		"kernel/auto_msgmni", "kernel/msgmax", "kernel/msgmnb", "kernel/msgmni",
		"kernel/msg_next_id", "kernel/sem", "kernel/sem_next_id", "kernel/shmall",
		"kernel/shmmax", "kernel/shmmni", "kernel/shm_next_id", "kernel/shm_rmid_forced",
	};
	char path[SYSCTL_NAME_MAX];
	if (to_path(key, path) < 0)
		return SYSCTL_KIND_NONE;
	for (size_t i = 0; i < sizeof(ipc) / sizeof(*ipc); i++)
		if (!strcmp(path, ipc[i]))
			return SYSCTL_KIND_IPC;
	if (!strncmp(path, "fs/mqueue/", 10))
		return SYSCTL_KIND_IPC;
	if (!strcmp(path, "kernel/domainname"))
		return SYSCTL_KIND_UTS;
	if (!strncmp(path, "net/", 4))
		return of_interface(path) ? SYSCTL_KIND_NET_LATE : SYSCTL_KIND_NET;
	return SYSCTL_KIND_NONE;
}

int sysctl_check(const char *key, bool ipc, bool uts, bool net, struct err *e)
{
	static const char *const names[] = {
		[SYSCTL_KIND_IPC] = "ipc", [SYSCTL_KIND_UTS] = "uts",
		[SYSCTL_KIND_NET] = "network", [SYSCTL_KIND_NET_LATE] = "network",
	};
	enum sysctl_kind kind = sysctl_kind(key);
	bool own = kind == SYSCTL_KIND_IPC ? ipc : kind == SYSCTL_KIND_UTS ? uts : net;
	if (kind == SYSCTL_KIND_NONE)
		return err_set(e, EINVAL, "sysctl \"%s\": unknown, or not of a namespace", key);
	if (!own)
		return err_set(e, EINVAL, "sysctl \"%s\": the pod is in the host's %s namespace",
			       key, names[kind]);
	return 0;
}

int sysctl_write_at(int proc_sys, const char *key, const char *value, struct err *e)
{
	char path[SYSCTL_NAME_MAX];
	if (to_path(key, path) < 0)
		return err_set(e, EINVAL, "sysctl \"%s\": not a name", key);
	return err_wrap(e, file_poke(proc_sys, path, value, e), "sysctl %s", key);
}

int sysctl_write(const char *key, const char *value, struct err *e)
{
	auto_close int dir = open("/proc/sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_sys(e, "open /proc/sys");
	return sysctl_write_at(dir, key, value, e);
}

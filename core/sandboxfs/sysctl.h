#pragma once
/* Which sysctls a pod may have, and what they hang on. */
#include <stdbool.h>

#include "core/base/err.h"

enum sysctl_kind {
	SYSCTL_KIND_NONE,	/* unknown, or of the whole host */
	SYSCTL_KIND_IPC,
	SYSCTL_KIND_UTS,
	SYSCTL_KIND_NET,
	SYSCTL_KIND_NET_LATE,	/* of an interface: exists once the network is attached */
};

/* By name, "kernel.shmmax" or "kernel/shmmax". */
enum sysctl_kind sysctl_kind(const char *key);
/* May a pod with these namespaces of its own set it?  -EINVAL says why not. */
int sysctl_check(const char *key, bool ipc, bool uts, bool net, struct err *e);
/* Write it, in the namespaces of the caller. */
int sysctl_write(const char *key, const char *value, struct err *e);
/* The same with /proc/sys already open, or that of another procfs. */
int sysctl_write_at(int proc_sys, const char *key, const char *value, struct err *e);

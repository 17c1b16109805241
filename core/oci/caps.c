/*
 * Who may do what.  Privileged and "ALL" mean all that this daemon itself may have: what is not
 * in its bounding set can't be given, and an engine would fail on it.  The inheritable set stays
 * empty but for ambient capabilities: filling it would hand capabilities to any binary with
 * inheritable file capabilities (CVE-2022-24769).
 */
#include "core/oci/caps.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <strings.h>

#include "core/base/json.h"
#include "core/oci/view.h"

#define BIT(n) (UINT64_C(1) << (n))

static const char *const names[] = {
	[CAP_CHOWN] = "CAP_CHOWN",
	[CAP_DAC_OVERRIDE] = "CAP_DAC_OVERRIDE",
	[CAP_DAC_READ_SEARCH] = "CAP_DAC_READ_SEARCH",
	[CAP_FOWNER] = "CAP_FOWNER",
	[CAP_FSETID] = "CAP_FSETID",
	[CAP_KILL] = "CAP_KILL",
	[CAP_SETGID] = "CAP_SETGID",
	[CAP_SETUID] = "CAP_SETUID",
	[CAP_SETPCAP] = "CAP_SETPCAP",
	[CAP_LINUX_IMMUTABLE] = "CAP_LINUX_IMMUTABLE",
	[CAP_NET_BIND_SERVICE] = "CAP_NET_BIND_SERVICE",
	[CAP_NET_BROADCAST] = "CAP_NET_BROADCAST",
	[CAP_NET_ADMIN] = "CAP_NET_ADMIN",
	[CAP_NET_RAW] = "CAP_NET_RAW",
	[CAP_IPC_LOCK] = "CAP_IPC_LOCK",
	[CAP_IPC_OWNER] = "CAP_IPC_OWNER",
	[CAP_SYS_MODULE] = "CAP_SYS_MODULE",
	[CAP_SYS_RAWIO] = "CAP_SYS_RAWIO",
	[CAP_SYS_CHROOT] = "CAP_SYS_CHROOT",
	[CAP_SYS_PTRACE] = "CAP_SYS_PTRACE",
	[CAP_SYS_PACCT] = "CAP_SYS_PACCT",
	[CAP_SYS_ADMIN] = "CAP_SYS_ADMIN",
	[CAP_SYS_BOOT] = "CAP_SYS_BOOT",
	[CAP_SYS_NICE] = "CAP_SYS_NICE",
	[CAP_SYS_RESOURCE] = "CAP_SYS_RESOURCE",
	[CAP_SYS_TIME] = "CAP_SYS_TIME",
	[CAP_SYS_TTY_CONFIG] = "CAP_SYS_TTY_CONFIG",
	[CAP_MKNOD] = "CAP_MKNOD",
	[CAP_LEASE] = "CAP_LEASE",
	[CAP_AUDIT_WRITE] = "CAP_AUDIT_WRITE",
	[CAP_AUDIT_CONTROL] = "CAP_AUDIT_CONTROL",
	[CAP_SETFCAP] = "CAP_SETFCAP",
	[CAP_MAC_OVERRIDE] = "CAP_MAC_OVERRIDE",
	[CAP_MAC_ADMIN] = "CAP_MAC_ADMIN",
	[CAP_SYSLOG] = "CAP_SYSLOG",
	[CAP_WAKE_ALARM] = "CAP_WAKE_ALARM",
	[CAP_BLOCK_SUSPEND] = "CAP_BLOCK_SUSPEND",
	[CAP_AUDIT_READ] = "CAP_AUDIT_READ",
	[CAP_PERFMON] = "CAP_PERFMON",
	[CAP_BPF] = "CAP_BPF",
	[CAP_CHECKPOINT_RESTORE] = "CAP_CHECKPOINT_RESTORE",
};
enum { N_CAPS = sizeof(names) / sizeof(names[0]) };
#define ALL_CAPS (BIT(N_CAPS) - 1)

uint64_t caps_default(void)
{
	return BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_FSETID) | BIT(CAP_FOWNER) | BIT(CAP_MKNOD) |
	       BIT(CAP_NET_RAW) | BIT(CAP_SETGID) | BIT(CAP_SETUID) | BIT(CAP_SETFCAP) | BIT(CAP_SETPCAP) |
	       BIT(CAP_NET_BIND_SERVICE) | BIT(CAP_SYS_CHROOT) | BIT(CAP_KILL) | BIT(CAP_AUDIT_WRITE);
}

int caps_number(const char *name)
{
	if (!strncasecmp(name, "CAP_", 4))
		name += 4;
	for (int i = 0; i < N_CAPS; i++)
		if (!strcasecmp(name, names[i] + 4))
			return i;
	return -1;
}

/* The bits of a list; *all: "ALL" is in it. */
static int parse_list(char **list, size_t n, const char *field, uint64_t *bits, bool *all, struct err *e)
{
	*bits = 0;
	*all = false;
	for (size_t i = 0; i < n; i++) {
		if (!strcasecmp(list[i], "ALL")) {
			*all = true;
			continue;
		}
		int c = caps_number(list[i]);
		if (c < 0)
			return err_set(e, EINVAL,
				       "linux.security_context.capabilities.%s[%zu] \"%s\": no such capability",
				       field, i, list[i]);
		*bits |= BIT(c);
	}
	return 0;
}

/* A capability that is asked for by name must be ours to give. */
static int check_ours(const struct oci_host *h, uint64_t bits, const char *field, struct err *e)
{
	uint64_t lacking = bits & ~h->cap_bounding;
	if (!lacking)
		return 0;
	return err_set(e, EINVAL,
		       "linux.security_context.capabilities.%s \"%s\": the runtime itself may not have it", field,
		       names[__builtin_ctzll(lacking)] + 4);
}

int caps_of(const struct oci_host *h, const Cri__ContainerConfig *ctr, struct caps *out, struct err *e)
{
	uint64_t ours = h->cap_bounding & ALL_CAPS;
	*out = (struct caps){ .set = caps_default() & ours };
	const Cri__LinuxContainerSecurityContext *s = view_security(ctr);
	const Cri__Capability *c = s ? s->capabilities : NULL;
	if (c) {
		uint64_t add, drop, ambient;
		bool add_all, drop_all, ambient_all;
		int ret = parse_list(c->add_capabilities, c->n_add_capabilities, "add_capabilities", &add, &add_all, e);
		if (!ret)
			ret = parse_list(c->drop_capabilities, c->n_drop_capabilities, "drop_capabilities", &drop,
					 &drop_all, e);
		if (!ret)
			ret = parse_list(c->add_ambient_capabilities, c->n_add_ambient_capabilities,
					 "add_ambient_capabilities", &ambient, &ambient_all, e);
		if (!ret && !s->privileged)
			ret = check_ours(h, add, "add_capabilities", e);
		if (!ret && !s->privileged)
			ret = check_ours(h, ambient, "add_ambient_capabilities", e);
		if (ret < 0)
			return ret;
		/* ALL first, then names, and of two the drop wins: drop ALL and add X is X, add ALL
		 * and drop X is all but X. */
		if (add_all)
			out->set = ours;
		if (drop_all)
			out->set = 0;
		if (ambient_all)
			ambient = ours;
		out->ambient = ambient & ~drop & ours;
		out->set = (((out->set | add) & ~drop) | out->ambient) & ours;
	}
	if (s && s->privileged)
		out->set = ours;
	return 0;
}

static void put_set(struct json_out *o, const char *name, uint64_t set)
{
	json_key(o, name);
	json_array(o);
	for (int i = 0; i < N_CAPS; i++)
		if (set & BIT(i))
			json_put_str(o, names[i]);
	json_end_array(o);
}

void caps_put(struct json_out *o, const struct caps *c)
{
	json_object(o);
	put_set(o, "bounding", c->set);
	put_set(o, "effective", c->set);
	put_set(o, "permitted", c->set);
	put_set(o, "inheritable", c->ambient);
	put_set(o, "ambient", c->ambient);
	json_end_object(o);
}

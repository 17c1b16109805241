/*
 * Our touch on config.json: the sandbox is made from the bundle of a pause process, but is the
 * whole pod, so the limits of a process that does nothing are taken off.  And runsc stops at the name
 * of a capability that it doesn't know, while others pass over it: so do we for it.
 */
#include "engines/gvisor/gvisor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* An object without one of its members. */
static void put_without(yajl_gen g, yajl_val v, const char *name)
{
	yajl_gen_map_open(g);
	for (size_t i = 0; YAJL_IS_OBJECT(v) && i < v->u.object.len; i++) {
		if (!strcmp(v->u.object.keys[i], name))
			continue;
		json_put_text(g, v->u.object.keys[i]);
		json_put(g, v->u.object.values[i]);
	}
	yajl_gen_map_close(g);
}

/* The pod's hostname is the guest's; limits of the pod are set on its cgroup. */
static void put_sandbox(yajl_gen g, yajl_val spec, const char *hostname)
{
	yajl_gen_map_open(g);
	if (hostname && *hostname) {
		json_put_text(g, "hostname");
		json_put_text(g, hostname);
	}
	for (size_t i = 0; i < spec->u.object.len; i++) {
		const char *key = spec->u.object.keys[i];
		if (!strcmp(key, "hostname"))
			continue;
		json_put_text(g, key);
		if (!strcmp(key, "linux"))
			put_without(g, spec->u.object.values[i], "resources");
		else
			json_put(g, spec->u.object.values[i]);
	}
	yajl_gen_map_close(g);
}

static int by_number(const void *a, const void *b)
{
	int64_t x = json_number(*(const yajl_val *)a, 0), y = json_number(*(const yajl_val *)b, 0);
	return x < y ? -1 : x > y;
}

/* Linux sorts a process's groups, gVisor leaves them as they come. */
static bool sort_groups(yajl_val spec)
{
	yajl_val groups = json_member(json_member(json_member(spec, "process"), "user"), "additionalGids");
	if (!YAJL_IS_ARRAY(groups) || groups->u.array.len < 2)
		return false;
	qsort(groups->u.array.values, groups->u.array.len, sizeof(yajl_val), by_number);
	return true;
}

/* -- capabilities -- */

enum { CAPS_OLD = 38, CAPS_RELEASE = 20250101 };

/* In the kernel's order.  Releases before CAPS_RELEASE may know no more than the first CAPS_OLD. */
static const char *const caps[] = {
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
	"CHECKPOINT_RESTORE",
};

static bool cap_known(const struct crisp_instance *i, const char *name)
{
	size_t n = i->release && i->release < CAPS_RELEASE ? CAPS_OLD : sizeof(caps) / sizeof(caps[0]);
	if (!name || strncmp(name, "CAP_", 4))
		return true;	/* no name of one: runsc has words for that */
	for (size_t k = 0; k < n; k++)
		if (!strcmp(caps[k], name + 4))
			return true;
	return false;
}

static void say_dropped(struct crisp_instance *i, const char *name)
{
	if (i->caps_told)
		return;
	i->caps_told = true;
	i->host->log(i->host, CRISP_LOG_WARN, "capabilities that this runsc doesn't know are left out",
		     (const char *const[]){ "first", name, NULL });
}

/* Were there any? */
static bool drop_unknown(struct crisp_instance *i, yajl_val list)
{
	if (!YAJL_IS_ARRAY(list))
		return false;
	size_t left = 0, n = list->u.array.len;
	for (size_t k = 0; k < n; k++) {
		yajl_val v = list->u.array.values[k];
		if (cap_known(i, YAJL_GET_STRING(v))) {
			list->u.array.values[left++] = v;
			continue;
		}
		say_dropped(i, YAJL_GET_STRING(v));
		yajl_tree_free(v);
	}
	list->u.array.len = left;
	return left < n;
}

static bool drop_unknown_caps(struct crisp_instance *i, yajl_val process)
{
	yajl_val sets = json_member(process, "capabilities");
	bool changed = false;
	for (size_t k = 0; YAJL_IS_OBJECT(sets) && k < sets->u.object.len; k++)
		changed |= drop_unknown(i, sets->u.object.values[k]);
	return changed;
}

char *gvisor_process_spec(struct crisp_instance *i, const char *process_json)
{
	yajl_val process = yajl_tree_parse(process_json, NULL, 0);
	const unsigned char *text;
	size_t len;
	char *changed = NULL;
	if (drop_unknown_caps(i, process)) {
		yajl_gen g = yajl_gen_alloc(NULL);
		json_put(g, process);
		yajl_gen_get_buf(g, &text, &len);
		changed = strndup((const char *)text, len);
		if (!changed)
			abort();
		yajl_gen_free(g);
	}
	yajl_tree_free(process);
	return changed;
}

static void done_with(struct act *a, yajl_gen g)
{
	const unsigned char *text;
	size_t len;
	yajl_gen_get_buf(g, &text, &len);
	act_done(a, &(struct crisp_result){ .data = text, .data_len = (uint32_t)len });
}

int gvisor_prepare_spec(struct crisp_instance *i, struct crisp_req *r, const struct crisp_spec_args *args)
{
	struct act *a = act_new(i, r, (const struct crisp_args *)args);
	yajl_val facts = yajl_tree_parse(args->facts_json ? args->facts_json : "{}", NULL, 0);
	yajl_val spec = yajl_tree_parse(args->spec_json ? args->spec_json : "", NULL, 0);
	const char *type = YAJL_GET_STRING(json_member(facts, "containerType"));
	yajl_gen g = yajl_gen_alloc(NULL);
	bool changed = drop_unknown_caps(i, json_member(spec, "process"));
	changed |= sort_groups(spec);
	if (!YAJL_IS_OBJECT(spec)) {
		act_end(a, -EINVAL, "the spec is no JSON object");
	} else if (type && !strcmp(type, "sandbox")) {
		put_sandbox(g, spec, YAJL_GET_STRING(json_member(facts, "hostname")));
		done_with(a, g);
	} else if (changed) {
		json_put(g, spec);
		done_with(a, g);
	} else {
		act_end(a, 0, NULL);	/* as it is */
	}
	yajl_gen_free(g);
	yajl_tree_free(spec);
	yajl_tree_free(facts);
	return 0;
}

/* Reading back what the kernel says of a cgroup: OOM kills and limits, v1 and v2. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/cgroup/cgroup.h"

/* v1 has no word for "no limit": the largest multiple of a page. */
#define V1_UNLIMITED (1ull << 60)

bool cgroup_field(const struct buf *text, const char *key, uint64_t *out)
{
	size_t len = strlen(key);
	for (const char *at = text->data; at && *at; at++) {
		if (!strncmp(at, key, len) && at[len] == ' ') {
			*out = strtoull(at + len + 1, NULL, 10);
			return true;
		}
		at = strchr(at, '\n');
		if (!at)
			break;
	}
	return false;
}

bool cgroup_number(const struct buf *text, uint64_t *out)
{
	if (!text->len)
		return false;
	if (!strncmp(text->data, "max", 3)) {
		*out = UINT64_MAX;
		return true;
	}
	char *end;
	*out = strtoull(text->data, &end, 10);
	return end != text->data;
}

int cgroup_oom_kills(struct cgroups *cg, const char *path, uint64_t *n)
{
	struct buf text = { 0 };
	bool v2 = cgroup_controller_v2(cg, "memory");
	/* v2's memory.events counts the cgroups below, too, where the victim may have been. */
	const char *file = v2 ? "memory.events" : "memory.oom_control";
	int ret = cgroup_read(cg, "memory", path, file, &text);
	if (ret == 0 && !cgroup_field(&text, "oom_kill", n))
		ret = -ENOENT;
	buf_free(&text);
	return ret;
}

/* -- limits -- */

const char *cgroup_inner(struct cgroups *cg, const char *path, char buf[CGROUP_PATH_MAX])
{
	static const char scope[] = ".scope";
	size_t n = strlen(path), last = sizeof(scope) - 1;
	if (n < last || strcmp(path + n - last, scope))
		return path;
	if (snprintf(buf, CGROUP_PATH_MAX, "%s/container", path) >= CGROUP_PATH_MAX)
		return path;
	return cgroup_exists(cg, buf) ? buf : path;
}

static int64_t read_number(struct cgroups *cg, const char *controller, const char *path,
			   const char *file)
{
	struct buf text = { 0 };
	uint64_t n;
	bool good = cgroup_read(cg, controller, path, file, &text) == 0;
	int64_t result = -1;
	if (good && text.len && text.data[0] != '-' && cgroup_number(&text, &n))
		result = n >= V1_UNLIMITED ? 0 : (int64_t)n;
	buf_free(&text);
	return result;
}

static void read_word(struct cgroups *cg, const char *path, const char *file, char *out,
		      size_t size)
{
	struct buf text = { 0 };
	if (cgroup_read(cg, "cpuset", path, file, &text) == 0 && text.len)
		snprintf(out, size, "%.*s", (int)strcspn(text.data, "\n"), text.data);
	buf_free(&text);
}

static void read_cpu_v2(struct cgroups *cg, const char *path, struct cgroup_limits *out)
{
	struct buf text = { 0 };
	char quota[24];
	if (cgroup_read(cg, "cpu", path, "cpu.max", &text) == 0 &&
	    sscanf(text.data, "%23s %" SCNd64, quota, &out->cpu_period) == 2 &&
	    strcmp(quota, "max"))
		out->cpu_quota = strtoll(quota, NULL, 10);
	buf_free(&text);
	int64_t weight = read_number(cg, "cpu", path, "cpu.weight");
	if (weight > 0)
		out->cpu_shares = 2 + (weight - 1) * 262142 / 9999;
}

static void read_memory_v2(struct cgroups *cg, const char *path, struct cgroup_limits *out)
{
	out->memory = read_number(cg, "memory", path, "memory.max");
	int64_t swap = read_number(cg, "memory", path, "memory.swap.max");
	struct buf text = { 0 };
	uint64_t n = UINT64_MAX;
	if (swap >= 0 && cgroup_read(cg, "memory", path, "memory.swap.max", &text) == 0)
		cgroup_number(&text, &n);
	buf_free(&text);
	if (swap >= 0)	/* a swap.max of 0 is a limit, "max" is none */
		out->memory_swap = n == UINT64_MAX || out->memory <= 0 ? 0 : out->memory + swap;
}

int cgroup_read_limits(struct cgroups *cg, const char *path, struct cgroup_limits *out)
{
	char buf[CGROUP_PATH_MAX];
	*out = (struct cgroup_limits){ -1, -1, -1, -1, -1, -1, "", "" };
	if (!cgroup_exists(cg, path))
		return -ENOENT;
	path = cgroup_inner(cg, path, buf);
	if (cgroup_controller_v2(cg, "cpu")) {
		read_cpu_v2(cg, path, out);
	} else {
		out->cpu_shares = read_number(cg, "cpu", path, "cpu.shares");
		out->cpu_period = read_number(cg, "cpu", path, "cpu.cfs_period_us");
		out->cpu_quota = read_number(cg, "cpu", path, "cpu.cfs_quota_us");
	}
	if (cgroup_controller_v2(cg, "memory")) {
		read_memory_v2(cg, path, out);
	} else {
		out->memory = read_number(cg, "memory", path, "memory.limit_in_bytes");
		out->memory_swap = read_number(cg, "memory", path, "memory.memsw.limit_in_bytes");
	}
	out->pids = read_number(cg, "pids", path, "pids.max");
	read_word(cg, path, "cpuset.cpus", out->cpus, sizeof(out->cpus));
	read_word(cg, path, "cpuset.mems", out->mems, sizeof(out->mems));
	return 0;
}

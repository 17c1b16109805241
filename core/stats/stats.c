/* Reading usage, see the header.  Values that a kernel does not have stay unset (has_*). */
#include "core/stats/stats.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/cgroup/cgroup.h"

#define UNLIMITED (1ull << 60)

static bool read_number(struct cgroups *cg, const char *controller, const char *path, const char *file,
			uint64_t *out)
{
	struct buf text = { 0 };
	bool good = cgroup_read(cg, controller, path, file, &text) == 0 && cgroup_number(&text, out);
	buf_free(&text);
	return good;
}

/* -- cpu -- */

static void read_cpu_v2(struct cgroups *cg, const char *path, struct stats_sample *s)
{
	struct buf text = { 0 };
	uint64_t us;
	if (cgroup_read(cg, "cpuacct", path, "cpu.stat", &text) == 0 && cgroup_field(&text, "usage_usec", &us)) {
		s->has_cpu = true;
		s->cpu_usage_ns = us * 1000;
		if (cgroup_field(&text, "user_usec", &us))
			s->cpu_user_ns = us * 1000;
		if (cgroup_field(&text, "system_usec", &us))
			s->cpu_system_ns = us * 1000;
	}
	buf_free(&text);
}

static void read_cpu_v1(struct cgroups *cg, const char *path, struct stats_sample *s)
{
	s->has_cpu = read_number(cg, "cpuacct", path, "cpuacct.usage", &s->cpu_usage_ns);
	if (!read_number(cg, "cpuacct", path, "cpuacct.usage_user", &s->cpu_user_ns))
		s->cpu_user_ns = 0;
	if (!read_number(cg, "cpuacct", path, "cpuacct.usage_sys", &s->cpu_system_ns))
		s->cpu_system_ns = 0;
}

/* -- memory -- */

struct memory_names {
	const char *usage, *limit;
	const char *inactive_file, *rss, *faults, *major_faults;	/* in memory.stat */
};

static const struct memory_names names_v1 = {
	"memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file",
	"total_rss", "total_pgfault", "total_pgmajfault",
};
static const struct memory_names names_v2 = {
	"memory.current", "memory.max", "inactive_file", "anon", "pgfault", "pgmajfault",
};

static void read_swap(struct cgroups *cg, const char *path, bool v2, struct stats_sample *s)
{
	uint64_t usage, limit, memory_limit;
	if (v2) {
		if (!read_number(cg, "memory", path, "memory.swap.current", &usage))
			return;
		s->swap_usage = usage;
		s->has_swap_available = read_number(cg, "memory", path, "memory.swap.max", &limit) &&
					limit < UNLIMITED;
	} else {
		if (!read_number(cg, "memory", path, "memory.memsw.usage_in_bytes", &usage))
			return;
		s->swap_usage = usage > s->memory_usage ? usage - s->memory_usage : 0;
		s->has_swap_available = read_number(cg, "memory", path, "memory.memsw.limit_in_bytes", &limit) &&
					read_number(cg, "memory", path, "memory.limit_in_bytes", &memory_limit) &&
					limit < UNLIMITED && memory_limit < UNLIMITED;
		if (s->has_swap_available)
			limit = limit > memory_limit ? limit - memory_limit : 0;
	}
	s->has_swap = true;
	if (s->has_swap_available)
		s->swap_available = limit > s->swap_usage ? limit - s->swap_usage : 0;
}

static void read_memory(struct cgroups *cg, const char *path, struct stats_sample *s)
{
	bool v2 = cgroup_controller_v2(cg, "memory");
	const struct memory_names *names = v2 ? &names_v2 : &names_v1;
	struct buf text = { 0 };
	uint64_t inactive = 0, limit;
	s->has_memory = read_number(cg, "memory", path, names->usage, &s->memory_usage) &&
			cgroup_read(cg, "memory", path, "memory.stat", &text) == 0;
	if (s->has_memory) {
		cgroup_field(&text, names->inactive_file, &inactive);
		cgroup_field(&text, names->rss, &s->rss);
		cgroup_field(&text, names->faults, &s->page_faults);
		cgroup_field(&text, names->major_faults, &s->major_page_faults);
		s->working_set = s->memory_usage > inactive ? s->memory_usage - inactive : 0;
		s->has_available = read_number(cg, "memory", path, names->limit, &limit) && limit < UNLIMITED;
		if (s->has_available)
			s->available = limit > s->working_set ? limit - s->working_set : 0;
		read_swap(cg, path, v2, s);
	}
	buf_free(&text);
}

int stats_read(struct cgroups *cg, const char *path, struct stats_sample *s, struct err *e)
{
	int64_t now = clock_mono_ns();
	if (s->timestamp_ns && now - s->mono_ns < (int64_t)STATS_FRESH_MS * 1000000)
		return 0;
	struct stats_sample new = { .timestamp_ns = clock_real_ns(), .mono_ns = now };
	if (cgroup_controller_v2(cg, "cpuacct"))
		read_cpu_v2(cg, path, &new);
	else
		read_cpu_v1(cg, path, &new);
	read_memory(cg, path, &new);
	new.has_pids = read_number(cg, "pids", path, "pids.current", &new.pids);
	if (!new.has_cpu && !new.has_memory && !new.has_pids)
		return err_set(e, ENOENT, "no usage to read in cgroup %s", path);
	if (new.has_cpu && s->has_cpu && new.cpu_usage_ns >= s->cpu_usage_ns) {
		new.has_nano_cores = true;
		new.nano_cores = (uint64_t)((double)(new.cpu_usage_ns - s->cpu_usage_ns) * 1e9 /
					    (double)(now - s->mono_ns));
	}
	*s = new;
	return 0;
}

/* Reading usage, see the header.  Values that a kernel does not have stay unset (has_*). */
#include "core/stats/stats.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/cgroup/cgroup.h"

#define UNLIMITED (1ull << 60)

static bool read_number(struct cgroups *cg, const char *controller, const char *path,
			const char *file, uint64_t *out)
{
	struct buf text = { 0 };
	bool good =
		cgroup_read(cg, controller, path, file, &text) == 0 && cgroup_number(&text, out);
	buf_free(&text);
	return good;
}

static void read_cpu_v2(struct cgroups *cg, const char *path, struct stats_sample *s)
{
	struct buf text = { 0 };
	uint64_t us;
	s->has_cpu = cgroup_read(cg, "cpuacct", path, "cpu.stat", &text) == 0 &&
		     cgroup_field(&text, "usage_usec", &us);
	if (s->has_cpu)
		s->cpu_usage_ns = us * 1000;
	buf_free(&text);
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

/* v1 says all of it in memory.stat, where the kernel accounts for swap at all. */
static void take_swap_v1(const struct buf *text, struct stats_sample *s)
{
	uint64_t memory, both;
	s->has_swap = cgroup_field(text, "total_swap", &s->swap_usage);
	s->has_swap_available =
		s->has_swap && cgroup_field(text, "hierarchical_memory_limit", &memory) &&
		cgroup_field(text, "hierarchical_memsw_limit", &both) && both < UNLIMITED;
	if (s->has_swap_available)
		s->swap_available = both > memory ? both - memory : 0;
}

static void read_swap_v2(struct cgroups *cg, const char *path, struct stats_sample *s)
{
	s->has_swap = read_number(cg, "memory", path, "memory.swap.current", &s->swap_usage);
	s->has_swap_available =
		s->has_swap &&
		read_number(cg, "memory", path, "memory.swap.max", &s->swap_available) &&
		s->swap_available < UNLIMITED;
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
		s->has_available =
			read_number(cg, "memory", path, names->limit, &limit) && limit < UNLIMITED;
		if (s->has_available)
			s->available = limit > s->working_set ? limit - s->working_set : 0;
		if (v2)
			read_swap_v2(cg, path, s);
		else
			take_swap_v1(&text, s);
		if (s->has_swap_available)
			s->swap_available -= s->swap_usage < s->swap_available ? s->swap_usage
									       : s->swap_available;
	}
	buf_free(&text);
}

/* -- pressure -- */

static bool take_stall(const struct buf *text, const char *which, struct stats_stall *out)
{
	char format[64];
	uint64_t us;
	const char *at = text->len ? strstr(text->data, which) : NULL;
	snprintf(format, sizeof(format), "%s avg10=%%lf avg60=%%lf avg300=%%lf total=%%" SCNu64, which);
	if (!at || sscanf(at, format, &out->avg10, &out->avg60, &out->avg300, &us) != 4)
		return false;
	out->total_ns = us * 1000;
	return true;
}

static void read_pressure(struct cgroups *cg, const char *path, const char *file, struct stats_pressure *out)
{
	struct buf text = { 0 };
	if (cgroup_read(cg, NULL, path, file, &text) == 0)
		out->known = take_stall(&text, "some", &out->some);
	if (out->known)
		take_stall(&text, "full", &out->full);	/* older kernels have none of the CPU */
	buf_free(&text);
}

int stats_read(struct cgroups *cg, const char *path, struct stats_sample *s, struct err *e)
{
	int64_t now = clock_mono_ns();
	if (s->timestamp_ns && now - s->mono_ns < (int64_t)STATS_FRESH_MS * 1000000)
		return 0;
	struct stats_sample new = { .timestamp_ns = clock_real_ns(), .mono_ns = now };
	char buf[CGROUP_PATH_MAX];
	path = cgroup_inner(cg, path, buf);
	if (cgroup_controller_v2(cg, "cpuacct"))
		read_cpu_v2(cg, path, &new);
	else
		new.has_cpu = read_number(cg, "cpuacct", path, "cpuacct.usage", &new.cpu_usage_ns);
	read_memory(cg, path, &new);
	new.has_pids = read_number(cg, "pids", path, "pids.current", &new.pids);
	if (cgroup_controller_v2(cg, "memory")) {	/* on a hybrid host the v2 one has nobody in it */
		read_pressure(cg, path, "cpu.pressure", &new.cpu_pressure);
		read_pressure(cg, path, "memory.pressure", &new.memory_pressure);
		read_pressure(cg, path, "io.pressure", &new.io_pressure);
	}
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

/* Details of a cgroup, see the header. */
#include "core/stats/detail.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/cgroup/cgroup.h"

#define UNLIMITED (1ull << 60)

struct source {
	struct cgroups *cg;
	const char *path;
};

static void read_file(const struct source *s, const char *controller, const char *file, struct buf *out)
{
	if (cgroup_read(s->cg, controller, s->path, file, out) < 0)
		out->len = 0;
}

static struct stats_number number(const struct source *s, const char *controller, const char *file)
{
	struct buf text = { 0 };
	struct stats_number r = { 0 };
	read_file(s, controller, file, &text);
	r.known = cgroup_number(&text, &r.n);
	buf_free(&text);
	return r;
}

static struct stats_number field(const struct buf *text, const char *key, uint64_t unit)
{
	struct stats_number r = { 0 };
	r.known = text->len && cgroup_field(text, key, &r.n);
	r.n *= unit;
	return r;
}

static void read_cpu(const struct source *s, struct stats_detail *d)
{
	struct buf text = { 0 };
	bool v2 = cgroup_controller_v2(s->cg, "cpu");
	read_file(s, "cpu", "cpu.stat", &text);
	d->periods = field(&text, "nr_periods", 1);
	d->throttled_periods = field(&text, "nr_throttled", 1);
	d->throttled_ns = v2 ? field(&text, "throttled_usec", 1000) : field(&text, "throttled_time", 1);
	if (cgroup_controller_v2(s->cg, "cpuacct")) {
		d->user_ns = field(&text, "user_usec", 1000);
		d->system_ns = field(&text, "system_usec", 1000);
	} else {
		d->user_ns = number(s, "cpuacct", "cpuacct.usage_user");
		d->system_ns = number(s, "cpuacct", "cpuacct.usage_sys");
	}
	buf_free(&text);
}

static void read_memory_v1(const struct source *s, struct stats_detail *d)
{
	struct buf text = { 0 };
	read_file(s, "memory", "memory.stat", &text);
	d->cache = field(&text, "total_cache", 1);
	d->mapped_file = field(&text, "total_mapped_file", 1);
	d->own_faults = field(&text, "pgfault", 1);
	d->own_major_faults = field(&text, "pgmajfault", 1);
	d->kernel = number(s, "memory", "memory.kmem.usage_in_bytes");
	d->failures = number(s, "memory", "memory.failcnt");
	d->max_usage = number(s, "memory", "memory.max_usage_in_bytes");
	d->reservation = number(s, "memory", "memory.soft_limit_in_bytes");
	buf_free(&text);
}

static void read_memory_v2(const struct source *s, struct stats_detail *d)
{
	struct buf text = { 0 };
	read_file(s, "memory", "memory.stat", &text);
	d->cache = field(&text, "file", 1);
	d->mapped_file = field(&text, "file_mapped", 1);
	d->kernel = field(&text, "kernel", 1);
	text.len = 0;
	read_file(s, "memory", "memory.events", &text);
	d->failures = field(&text, "max", 1);
	d->max_usage = number(s, "memory", "memory.peak");
	d->reservation = number(s, "memory", "memory.low");
	buf_free(&text);
}

static void read_pages(const struct source *s, const char *const *sizes, size_t n, struct stats_detail *d)
{
	bool v2 = cgroup_controller_v2(s->cg, "hugetlb");
	char file[64];
	for (size_t i = 0; i < n && i < DETAIL_PAGES_MAX; i++) {
		struct stats_pages *p = &d->pages[d->n_pages];
		p->size = sizes[i];
		snprintf(file, sizeof(file), "hugetlb.%.20s.%s", sizes[i], v2 ? "current" : "usage_in_bytes");
		p->usage = number(s, "hugetlb", file);
		snprintf(file, sizeof(file), "hugetlb.%.20s.max_usage_in_bytes", sizes[i]);
		if (!v2)	/* v2 remembers no peak */
			p->max_usage = number(s, "hugetlb", file);
		d->n_pages += p->usage.known;
	}
}

/* -- devices -- */

static struct stats_device *device(struct stats_detail *d, unsigned major, unsigned minor)
{
	for (size_t i = 0; i < d->n_devices; i++)
		if (d->devices[i].major == major && d->devices[i].minor == minor)
			return &d->devices[i];
	if (d->n_devices == DETAIL_DEVICES_MAX)
		return NULL;
	struct stats_device *new = &d->devices[d->n_devices++];
	*new = (struct stats_device){ .major = major, .minor = minor };
	return new;
}

static const char *next_line(const char *at)
{
	at = strchr(at, '\n');
	return at ? at + 1 : "";
}

void stats_detail_io(struct stats_detail *out, const char *text)
{
	for (const char *at = text; *at; at = next_line(at)) {
		struct stats_device now = { 0 }, *dev;
		if (sscanf(at,
			   "%u:%u rbytes=%" SCNu64 " wbytes=%" SCNu64 " rios=%" SCNu64 " wios=%" SCNu64,
			   &now.major, &now.minor, &now.read_bytes, &now.write_bytes, &now.reads,
			   &now.writes) == 6 &&
		    (dev = device(out, now.major, now.minor)))
			*dev = now;
	}
}

void stats_detail_blkio(struct stats_detail *out, const char *text, bool bytes)
{
	for (const char *at = text; *at; at = next_line(at)) {
		unsigned major, minor;
		char what[16];
		uint64_t n;
		struct stats_device *dev;
		if (sscanf(at, "%u:%u %15s %" SCNu64, &major, &minor, what, &n) != 4 ||
		    !(dev = device(out, major, minor)))
			continue;
		if (!strcmp(what, "Read"))
			*(bytes ? &dev->read_bytes : &dev->reads) = n;
		else if (!strcmp(what, "Write"))
			*(bytes ? &dev->write_bytes : &dev->writes) = n;
	}
}

static void read_devices(const struct source *s, struct stats_detail *d)
{
	struct buf text = { 0 };
	if (cgroup_controller_v2(s->cg, "blkio")) {
		read_file(s, NULL, "io.stat", &text);
		if (text.len)
			stats_detail_io(d, text.data);
	} else {
		read_file(s, "blkio", "blkio.throttle.io_service_bytes_recursive", &text);
		if (text.len)
			stats_detail_blkio(d, text.data, true);
		text.len = 0;
		read_file(s, "blkio", "blkio.throttle.io_serviced_recursive", &text);
		if (text.len)
			stats_detail_blkio(d, text.data, false);
	}
	buf_free(&text);
}

void stats_detail_read(struct cgroups *cg, const char *path, const char *const *page_sizes, size_t n_sizes,
		       struct stats_detail *out)
{
	const struct source s = { cg, path };
	*out = (struct stats_detail){ 0 };
	read_cpu(&s, out);
	if (cgroup_controller_v2(cg, "memory"))
		read_memory_v2(&s, out);
	else
		read_memory_v1(&s, out);
	if (out->reservation.known && out->reservation.n >= UNLIMITED)
		out->reservation.n = 0;
	out->oom_kills.known = cgroup_oom_kills(cg, path, &out->oom_kills.n) == 0;
	read_pages(&s, page_sizes, n_sizes, out);
	read_devices(&s, out);
}

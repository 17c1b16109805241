/*
 * ListMetricDescriptors and ListPodSandboxMetrics: what a kubelet passes on at /metrics/cadvisor,
 * under the names and in the units that cAdvisor has made known.
 *
 * Every metric has the labels id, name and image; the kubelet adds those of Kubernetes.  What is
 * not known is left out: PSI on cgroup v1, say.  Values of the CRI are whole numbers, so times are
 * whole seconds.  A pod itself has the metrics of its network, its containers have all others.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/pool.h"
#include "core/cri/gather.h"
#include "core/loop/slice.h"
#include "core/oci/oci.h"
#include "core/stats/detail.h"
#include "core/stats/netdev.h"

#define SECOND 1000000000ull

enum { LABELS_BASE = 6, LABELS_MORE = 4 };

enum metric {
	BLKIO_USAGE, CFS_PERIODS, CFS_THROTTLED, CFS_THROTTLED_S, CPU_SYSTEM, CPU_USAGE, CPU_USER,
	FILE_DESCRIPTORS, FS_INODES_FREE, FS_INODES, FS_LIMIT, FS_READ_BYTES, FS_READS, FS_USAGE,
	FS_WRITE_BYTES, FS_WRITES, HUGETLB_MAX, HUGETLB_USAGE, LAST_SEEN, MEM_CACHE, MEM_FAILCNT,
	MEM_FAILURES, MEM_KERNEL, MEM_MAPPED, MEM_MAX, MEM_RSS, MEM_SWAP, MEM_USAGE, MEM_WORKING_SET,
	NET_RX_BYTES, NET_RX_ERRORS, NET_RX_DROPPED, NET_RX_PACKETS, NET_TX_BYTES, NET_TX_ERRORS,
	NET_TX_DROPPED, NET_TX_PACKETS, OOM_EVENTS, PSI_CPU_STALLED, PSI_CPU_WAITING, PSI_IO_STALLED,
	PSI_IO_WAITING, PSI_MEM_STALLED, PSI_MEM_WAITING, PROCESSES, SOCKETS, SPEC_CPU_PERIOD,
	SPEC_CPU_QUOTA, SPEC_CPU_SHARES, SPEC_MEM_LIMIT, SPEC_MEM_RESERVATION, SPEC_MEM_SWAP, START_TIME,
	THREADS, THREADS_MAX, ULIMITS, METRICS
};

struct description {
	const char *name, *help;
	bool gauge;
	const char *more[LABELS_MORE + 1];
};

#define COUNTER(n, h, ...) { "container_" n, h, false, { __VA_ARGS__ } }
#define GAUGE(n, h, ...) { "container_" n, h, true, { __VA_ARGS__ } }

static const struct description descriptions[] = {
	[BLKIO_USAGE] = COUNTER("blkio_device_usage_total", "Bytes moved to and from a block device.",
				"device", "major", "minor", "operation"),
	[CFS_PERIODS] = COUNTER("cpu_cfs_periods_total", "Periods of the CPU quota in which there was work."),
	[CFS_THROTTLED] = COUNTER("cpu_cfs_throttled_periods_total", "Periods cut short by the CPU quota."),
	[CFS_THROTTLED_S] = COUNTER("cpu_cfs_throttled_seconds_total", "Time kept waiting by the CPU quota."),
	[CPU_SYSTEM] = COUNTER("cpu_system_seconds_total", "CPU time spent in the kernel."),
	[CPU_USAGE] = COUNTER("cpu_usage_seconds_total", "CPU time spent.", "cpu"),
	[CPU_USER] = COUNTER("cpu_user_seconds_total", "CPU time spent outside the kernel."),
	[FILE_DESCRIPTORS] = GAUGE("file_descriptors", "Descriptors that are open."),
	[FS_INODES_FREE] = GAUGE("fs_inodes_free", "Inodes left on the file system of writable layers.", "device"),
	[FS_INODES] = GAUGE("fs_inodes_total", "Inodes of the file system of writable layers.", "device"),
	[FS_LIMIT] = GAUGE("fs_limit_bytes", "Size of the file system of writable layers.", "device"),
	[FS_READ_BYTES] = COUNTER("fs_reads_bytes_total", "Bytes read from a device.", "device"),
	[FS_READS] = COUNTER("fs_reads_total", "Reads from a device.", "device"),
	[FS_USAGE] = GAUGE("fs_usage_bytes", "Bytes that the writable layer holds.", "device"),
	[FS_WRITE_BYTES] = COUNTER("fs_writes_bytes_total", "Bytes written to a device.", "device"),
	[FS_WRITES] = COUNTER("fs_writes_total", "Writes to a device.", "device"),
	[HUGETLB_MAX] = GAUGE("hugetlb_max_usage_bytes", "Most huge pages ever used.", "pagesize"),
	[HUGETLB_USAGE] = GAUGE("hugetlb_usage_bytes", "Huge pages in use.", "pagesize"),
	[LAST_SEEN] = GAUGE("last_seen", "When this was measured, in Unix time."),
	[MEM_CACHE] = GAUGE("memory_cache", "Bytes of page cache."),
	[MEM_FAILCNT] = COUNTER("memory_failcnt", "How often memory use met its limit."),
	[MEM_FAILURES] = COUNTER("memory_failures_total", "Page faults.", "failure_type", "scope"),
	[MEM_KERNEL] = GAUGE("memory_kernel_usage", "Bytes of memory that the kernel uses on its behalf."),
	[MEM_MAPPED] = GAUGE("memory_mapped_file", "Bytes of mapped files."),
	[MEM_MAX] = GAUGE("memory_max_usage_bytes", "Most memory ever used."),
	[MEM_RSS] = GAUGE("memory_rss", "Bytes of anonymous memory."),
	[MEM_SWAP] = GAUGE("memory_swap", "Bytes swapped out."),
	[MEM_USAGE] = GAUGE("memory_usage_bytes", "Memory in use, page cache and all."),
	[MEM_WORKING_SET] = GAUGE("memory_working_set_bytes", "Memory in use without idle page cache."),
	[NET_RX_BYTES] = COUNTER("network_receive_bytes_total", "Bytes received.", "interface"),
	[NET_RX_ERRORS] = COUNTER("network_receive_errors_total", "Errors in receiving.", "interface"),
	[NET_RX_DROPPED] = COUNTER("network_receive_packets_dropped_total", "Packets dropped in receiving.",
				   "interface"),
	[NET_RX_PACKETS] = COUNTER("network_receive_packets_total", "Packets received.", "interface"),
	[NET_TX_BYTES] = COUNTER("network_transmit_bytes_total", "Bytes sent.", "interface"),
	[NET_TX_ERRORS] = COUNTER("network_transmit_errors_total", "Errors in sending.", "interface"),
	[NET_TX_DROPPED] = COUNTER("network_transmit_packets_dropped_total", "Packets dropped in sending.",
				   "interface"),
	[NET_TX_PACKETS] = COUNTER("network_transmit_packets_total", "Packets sent.", "interface"),
	[OOM_EVENTS] = COUNTER("oom_events_total", "Processes killed for want of memory."),
	[PSI_CPU_STALLED] = COUNTER("pressure_cpu_stalled_seconds_total", "Time all tasks waited for a CPU."),
	[PSI_CPU_WAITING] = COUNTER("pressure_cpu_waiting_seconds_total", "Time some task waited for a CPU."),
	[PSI_IO_STALLED] = COUNTER("pressure_io_stalled_seconds_total", "Time all tasks waited for devices."),
	[PSI_IO_WAITING] = COUNTER("pressure_io_waiting_seconds_total", "Time some task waited for a device."),
	[PSI_MEM_STALLED] = COUNTER("pressure_memory_stalled_seconds_total", "Time all tasks waited for memory."),
	[PSI_MEM_WAITING] = COUNTER("pressure_memory_waiting_seconds_total", "Time some task waited for memory."),
	[PROCESSES] = GAUGE("processes", "Processes."),
	[SOCKETS] = GAUGE("sockets", "Sockets that are open."),
	[SPEC_CPU_PERIOD] = GAUGE("spec_cpu_period", "Period of the CPU quota, in microseconds."),
	[SPEC_CPU_QUOTA] = GAUGE("spec_cpu_quota", "CPU quota in each period, in microseconds."),
	[SPEC_CPU_SHARES] = GAUGE("spec_cpu_shares", "CPU shares."),
	[SPEC_MEM_LIMIT] = GAUGE("spec_memory_limit_bytes", "Memory limit; 0: none."),
	[SPEC_MEM_RESERVATION] = GAUGE("spec_memory_reservation_limit_bytes", "Memory reserved; 0: none."),
	[SPEC_MEM_SWAP] = GAUGE("spec_memory_swap_limit_bytes", "Limit of memory and swap together; 0: none."),
	[START_TIME] = GAUGE("start_time_seconds", "When it was started, in Unix time."),
	[THREADS] = GAUGE("threads", "Threads."),
	[THREADS_MAX] = GAUGE("threads_max", "Limit of threads; 0: none."),
	[ULIMITS] = GAUGE("ulimits_soft", "Soft limits of the first process.", "ulimit"),
};
_Static_assert(sizeof(descriptions) / sizeof(*descriptions) == METRICS, "a description for each metric");

/* As cAdvisor has them under a kubelet, which adds none of its own to ours: dashboards ask by the last three. */
static const char *const base_keys[LABELS_BASE] = { "id", "name", "image", "container", "pod", "namespace" };

/* -- descriptors -- */

static size_t more_of(const struct description *d)
{
	size_t n = 0;
	while (d->more[n])
		n++;
	return n;
}

RPC(cri_list_metric_descriptors)
{
	struct pool *pool = grpc_pool(call);
	void **list = pool_alloc(pool, METRICS * sizeof(*list));
	for (size_t i = 0; i < METRICS; i++) {
		const struct description *d = &descriptions[i];
		Cri__MetricDescriptor *m = pool_new_struct(pool, Cri__MetricDescriptor);
		*m = (Cri__MetricDescriptor)CRI__METRIC_DESCRIPTOR__INIT;
		m->name = (char *)(uintptr_t)d->name;
		m->help = (char *)(uintptr_t)d->help;
		m->n_label_keys = LABELS_BASE + more_of(d);
		m->label_keys = pool_alloc(pool, m->n_label_keys * sizeof(*m->label_keys));
		memcpy(m->label_keys, base_keys, sizeof(base_keys));
		memcpy(m->label_keys + LABELS_BASE, d->more, more_of(d) * sizeof(*d->more));
		list[i] = m;
	}
	rpc_reply_list(call, list, METRICS);
}

/* -- values -- */

struct sink {
	struct pool *pool;
	const char *base[LABELS_BASE];
	Cri__Metric **list;
	size_t n, cap;
};

static void put_more(struct sink *s, enum metric what, bool known, uint64_t value, int64_t at_ns,
		     const char *const *more)
{
	const struct description *d = &descriptions[what];
	if (!known)
		return;
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 64;
		Cri__Metric **longer = pool_alloc(s->pool, s->cap * sizeof(*longer));
		if (s->n)
			memcpy(longer, s->list, s->n * sizeof(*longer));
		s->list = longer;
	}
	Cri__Metric *m = pool_new_struct(s->pool, Cri__Metric);
	*m = (Cri__Metric)CRI__METRIC__INIT;
	m->name = (char *)(uintptr_t)d->name;
	m->metric_type = d->gauge ? CRI__METRIC_TYPE__GAUGE : CRI__METRIC_TYPE__COUNTER;
	m->timestamp = at_ns;
	m->value = rpc_number(s->pool, true, value);
	m->n_label_values = LABELS_BASE + more_of(d);
	m->label_values = pool_alloc(s->pool, m->n_label_values * sizeof(*m->label_values));
	memcpy(m->label_values, s->base, sizeof(s->base));
	for (size_t i = 0; i < more_of(d); i++)
		m->label_values[LABELS_BASE + i] = (char *)(uintptr_t)more[i];
	s->list[s->n++] = m;
}

#define LABELS(...) (const char *const[]){ __VA_ARGS__ }

static void put(struct sink *s, enum metric what, bool known, uint64_t value)
{
	put_more(s, what, known, value, 0, NULL);
}

static void put_number(struct sink *s, enum metric what, struct stats_number n, uint64_t unit)
{
	put(s, what, n.known, n.n / unit);
}

/* Limits: -1 is not known. */
static void put_limit(struct sink *s, enum metric what, int64_t n)
{
	put(s, what, n >= 0, (uint64_t)n);
}

static void put_pressure(struct sink *s, enum metric stalled, enum metric waiting, const struct stats_pressure *p)
{
	put(s, stalled, p->known, p->full.total_ns / SECOND);
	put(s, waiting, p->known, p->some.total_ns / SECOND);
}

static void put_sample(struct sink *s, const struct stats_sample *st)
{
	put_more(s, CPU_USAGE, st->has_cpu, st->cpu_usage_ns / SECOND, 0, LABELS("total"));
	put(s, MEM_RSS, st->has_memory, st->rss);
	put(s, MEM_USAGE, st->has_memory, st->memory_usage);
	put(s, MEM_WORKING_SET, st->has_memory, st->working_set);
	put(s, MEM_SWAP, st->has_swap, st->swap_usage);
	put_more(s, MEM_FAILURES, st->has_memory, st->page_faults, 0, LABELS("pgfault", "hierarchy"));
	put_more(s, MEM_FAILURES, st->has_memory, st->major_page_faults, 0, LABELS("pgmajfault", "hierarchy"));
	put(s, THREADS, st->has_pids, st->pids);
	put_pressure(s, PSI_CPU_STALLED, PSI_CPU_WAITING, &st->cpu_pressure);
	put_pressure(s, PSI_MEM_STALLED, PSI_MEM_WAITING, &st->memory_pressure);
	put_pressure(s, PSI_IO_STALLED, PSI_IO_WAITING, &st->io_pressure);
	put(s, LAST_SEEN, true, (uint64_t)st->timestamp_ns / SECOND);
}

/* "/dev/sda", or the numbers where it has no such name. */
static const char *device_name(struct pool *p, unsigned major, unsigned minor)
{
	char path[48], target[256];
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major, minor);
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return pool_printf(p, "%u:%u", major, minor);
	target[n] = 0;
	const char *name = strrchr(target, '/');
	return pool_printf(p, "/dev/%s", name ? name + 1 : target);
}

static void put_device(struct sink *s, const struct stats_device *d)
{
	const char *name = device_name(s->pool, d->major, d->minor);
	const char *major = pool_printf(s->pool, "%u", d->major), *minor = pool_printf(s->pool, "%u", d->minor);
	put_more(s, BLKIO_USAGE, true, d->read_bytes, 0, LABELS(name, major, minor, "Read"));
	put_more(s, BLKIO_USAGE, true, d->write_bytes, 0, LABELS(name, major, minor, "Write"));
	put_more(s, FS_READ_BYTES, true, d->read_bytes, 0, LABELS(name));
	put_more(s, FS_WRITE_BYTES, true, d->write_bytes, 0, LABELS(name));
	put_more(s, FS_READS, true, d->reads, 0, LABELS(name));
	put_more(s, FS_WRITES, true, d->writes, 0, LABELS(name));
}

static void put_detail(struct sink *s, const struct stats_detail *d)
{
	put_number(s, CPU_USER, d->user_ns, SECOND);
	put_number(s, CPU_SYSTEM, d->system_ns, SECOND);
	put_number(s, CFS_PERIODS, d->periods, 1);
	put_number(s, CFS_THROTTLED, d->throttled_periods, 1);
	put_number(s, CFS_THROTTLED_S, d->throttled_ns, SECOND);
	put_number(s, MEM_CACHE, d->cache, 1);
	put_number(s, MEM_MAPPED, d->mapped_file, 1);
	put_number(s, MEM_KERNEL, d->kernel, 1);
	put_number(s, MEM_FAILCNT, d->failures, 1);
	put_number(s, MEM_MAX, d->max_usage, 1);
	put_more(s, MEM_FAILURES, d->own_faults.known, d->own_faults.n, 0, LABELS("pgfault", "container"));
	put_more(s, MEM_FAILURES, d->own_major_faults.known, d->own_major_faults.n, 0,
		 LABELS("pgmajfault", "container"));
	put_number(s, SPEC_MEM_RESERVATION, d->reservation, 1);
	put_number(s, OOM_EVENTS, d->oom_kills, 1);
	for (size_t i = 0; i < d->n_pages; i++) {
		const struct stats_pages *p = &d->pages[i];
		put_more(s, HUGETLB_USAGE, p->usage.known, p->usage.n, 0, LABELS(p->size));
		put_more(s, HUGETLB_MAX, p->max_usage.known, p->max_usage.n, 0, LABELS(p->size));
	}
	for (size_t i = 0; i < d->n_devices; i++)
		put_device(s, &d->devices[i]);
}

static void put_limits(struct sink *s, const struct cgroup_limits *l)
{
	if (l->cpu_quota > 0)
		put_limit(s, SPEC_CPU_QUOTA, l->cpu_quota);
	put_limit(s, SPEC_CPU_PERIOD, l->cpu_period);
	put_limit(s, SPEC_CPU_SHARES, l->cpu_shares);
	put_limit(s, SPEC_MEM_LIMIT, l->memory);
	put_limit(s, SPEC_MEM_SWAP, l->memory_swap);
	put_limit(s, THREADS_MAX, l->pids);
}

/* What was walked, with the time of that. */
static void put_walked(struct sink *s, const struct container *c)
{
	const struct model *m = c->model;
	int64_t at = c->rw_at_ns;
	const char *device = device_name(s->pool, m->layers.major, m->layers.minor);
	put_more(s, FS_USAGE, true, c->rw_bytes, at, LABELS(device));
	put_more(s, FS_LIMIT, m->layers.bytes, m->layers.bytes, at, LABELS(device));
	put_more(s, FS_INODES, m->layers.bytes, m->layers.inodes, at, LABELS(device));
	put_more(s, FS_INODES_FREE, m->layers.bytes, m->layers.inodes_free, at, LABELS(device));
	put_more(s, FILE_DESCRIPTORS, true, c->fds, at, NULL);
	put_more(s, SOCKETS, true, c->sockets, at, NULL);
	put_more(s, ULIMITS, c->nofile, c->nofile, at, LABELS("max_open_files"));
}

static Cri__ContainerMetrics *metrics_of(struct pool *pool, struct container *c)
{
	const struct oci_host *host = c->model->g.host;
	struct cgroups *cg = c->model->g.cgroups;
	const Cri__PodSandboxMetadata *of = c->pod->config->metadata;
	const char *name = c->config->metadata->name;
	struct sink s = { .pool = pool, .base = { c->id, name, c->image_ref, name, of->name, of->namespace_ } };
	struct stats_detail d;
	struct cgroup_limits l;
	if (c->stats.timestamp_ns)
		put_sample(&s, &c->stats);
	if (model_has_cgroup(c)) {
		stats_detail_read(cg, c->cgroup, host->page_sizes, host->n_page_sizes, &d);
		put_detail(&s, &d);
		put(&s, PROCESSES, true, cgroup_processes(cg, "pids", c->cgroup));
		if (cgroup_read_limits(cg, c->cgroup, &l) == 0)
			put_limits(&s, &l);
	}
	if (c->rw_at_ns)
		put_walked(&s, c);
	put(&s, START_TIME, c->started_ns, (uint64_t)c->started_ns / SECOND);
	Cri__ContainerMetrics *m = pool_new_struct(pool, Cri__ContainerMetrics);
	*m = (Cri__ContainerMetrics)CRI__CONTAINER_METRICS__INIT;
	m->container_id = c->id;
	m->n_metrics = s.n;
	m->metrics = s.list;
	return m;
}

static void put_way(struct sink *s, enum metric bytes, enum metric packets, enum metric errors,
		    enum metric dropped, const struct netdev_way *w, const char *const *name)
{
	put_more(s, bytes, true, w->bytes, 0, name);
	put_more(s, packets, true, w->packets, 0, name);
	put_more(s, errors, true, w->errors, 0, name);
	put_more(s, dropped, true, w->dropped, 0, name);
}

static void put_network(struct sink *s, const struct pod *p)
{
	struct netdev all[NETDEV_MAX];
	size_t n = p->netdev_fd < 0 ? 0 : netdev_read(p->netdev_fd, all, NETDEV_MAX);
	for (size_t i = 0; i < n; i++) {
		const char *name = pool_strdup(s->pool, all[i].name);
		put_way(s, NET_RX_BYTES, NET_RX_PACKETS, NET_RX_ERRORS, NET_RX_DROPPED, &all[i].rx, &name);
		put_way(s, NET_TX_BYTES, NET_TX_PACKETS, NET_TX_ERRORS, NET_TX_DROPPED, &all[i].tx, &name);
	}
}

/* -- the list -- */

struct metrics_call {
	struct loop_slice slice;
	struct gather *gather;
	struct pool *pool;
	void **list;
	size_t n, at;
};

/* The strings are the call's: a pod may go before the list is sent. */
static Cri__PodSandboxMetrics *pod_metrics(struct pool *pool, struct pod *p)
{
	const Cri__PodSandboxMetadata *me = p->config->metadata;
	struct sink s = { .pool = pool, .base = { p->id, me->name, "", "", me->name, me->namespace_ } };
	Cri__PodSandboxMetrics m = CRI__POD_SANDBOX_METRICS__INIT;
	struct pool *tmp = pool_new(NULL, "metrics");
	struct container *c;
	size_t n = 0;
	s.pool = tmp;
	put_network(&s, p);
	m.pod_sandbox_id = p->id;
	m.n_metrics = s.n;
	m.metrics = s.list;
	list_for_each(c, &p->containers, in_pod)
		n++;
	m.container_metrics = pool_alloc(tmp, (n + 1) * sizeof(*m.container_metrics));
	list_for_each(c, &p->containers, in_pod)
		if (gather_has_usage(c))
			m.container_metrics[m.n_container_metrics++] = metrics_of(tmp, c);
	void *copy = rpc_copy(pool, &m.base);
	pool_destroy(tmp);
	return copy;
}

static bool make_next(struct loop_slice *sl)
{
	struct metrics_call *mc = sl->data;
	size_t i = mc->at++;
	struct pod *p = i < gather_pods(mc->gather) ? gather_nth_pod(mc->gather, i) : NULL;
	if (p && p->state == POD_STATE_READY)
		mc->list[mc->n++] = pod_metrics(mc->pool, p);
	return mc->at < gather_pods(mc->gather);
}

static void handle_made(struct loop_slice *sl)
{
	struct metrics_call *mc = sl->data;
	rpc_reply_list(gather_call(mc->gather), mc->list, mc->n);
}

static void handle_left(struct grpc_call *call, void *data)
{
	struct metrics_call *mc = data;
	loop_slice_stop(&mc->slice);
}

static void handle_gathered(struct gather *g)
{
	struct grpc_call *call = gather_call(g);
	struct pool *pool = grpc_pool(call);
	struct metrics_call *mc = pool_new_struct(pool, struct metrics_call);
	mc->gather = g;
	mc->pool = pool;
	mc->list = pool_alloc(pool, (gather_pods(g) + 1) * sizeof(*mc->list));
	grpc_on_cancel(call, handle_left, mc);
	loop_slice_start(&mc->slice, grpc_loop(call), pool, make_next, handle_made, mc);
}

RPC(cri_list_pod_sandbox_metrics)
{
	struct cri *cri = grpc_user(call);
	struct gather *g = gather_new(call, handle_gathered);
	struct pod *p;
	list_for_each(p, &cri->model->pod_list, link)
		if (p->state == POD_STATE_READY)
			gather_pod(g, p);
	gather_walks(g);
	gather_start(g);
}

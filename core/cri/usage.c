/* Samples as messages, see the header. */
#include "core/cri/usage.h"

#include "core/base/file.h"
#include "core/base/pool.h"
#include "core/config/config.h"
#include "core/cri/gather.h"
#include "core/stats/netdev.h"

static Cri__PsiData *stall_of(struct pool *p, const struct stats_stall *s)
{
	Cri__PsiData *d = pool_new_struct(p, Cri__PsiData);
	*d = (Cri__PsiData)CRI__PSI_DATA__INIT;
	d->total = s->total_ns;
	d->avg10 = s->avg10;
	d->avg60 = s->avg60;
	d->avg300 = s->avg300;
	return d;
}

static Cri__PsiStats *pressure_of(struct pool *p, const struct stats_pressure *s)
{
	if (!s->known)
		return NULL;
	Cri__PsiStats *psi = pool_new_struct(p, Cri__PsiStats);
	*psi = (Cri__PsiStats)CRI__PSI_STATS__INIT;
	psi->some = stall_of(p, &s->some);
	psi->full = stall_of(p, &s->full);
	return psi;
}

static Cri__CpuUsage *cpu_of(struct pool *p, const struct stats_sample *s)
{
	Cri__CpuUsage *u = pool_new_struct(p, Cri__CpuUsage);
	*u = (Cri__CpuUsage)CRI__CPU_USAGE__INIT;
	u->timestamp = s->timestamp_ns;
	u->usage_core_nano_seconds = rpc_number(p, s->has_cpu, s->cpu_usage_ns);
	u->usage_nano_cores = rpc_number(p, s->has_nano_cores, s->nano_cores);
	u->psi = pressure_of(p, &s->cpu_pressure);
	return u;
}

static Cri__MemoryUsage *memory_of(struct pool *p, const struct stats_sample *s)
{
	Cri__MemoryUsage *u = pool_new_struct(p, Cri__MemoryUsage);
	*u = (Cri__MemoryUsage)CRI__MEMORY_USAGE__INIT;
	u->timestamp = s->timestamp_ns;
	u->working_set_bytes = rpc_number(p, s->has_memory, s->working_set);
	u->available_bytes = rpc_number(p, s->has_available, s->available);
	u->usage_bytes = rpc_number(p, s->has_memory, s->memory_usage);
	u->rss_bytes = rpc_number(p, s->has_memory, s->rss);
	u->page_faults = rpc_number(p, s->has_memory, s->page_faults);
	u->major_page_faults = rpc_number(p, s->has_memory, s->major_page_faults);
	u->psi = pressure_of(p, &s->memory_pressure);
	return u;
}

static Cri__SwapUsage *swap_of(struct pool *p, const struct stats_sample *s)
{
	if (!s->has_swap)
		return NULL;
	Cri__SwapUsage *u = pool_new_struct(p, Cri__SwapUsage);
	*u = (Cri__SwapUsage)CRI__SWAP_USAGE__INIT;
	u->timestamp = s->timestamp_ns;
	u->swap_usage_bytes = rpc_number(p, true, s->swap_usage);
	u->swap_available_bytes = rpc_number(p, s->has_swap_available, s->swap_available);
	return u;
}

static Cri__IoUsage *io_of(struct pool *p, const struct stats_sample *s)
{
	if (!s->io_pressure.known)
		return NULL;
	Cri__IoUsage *u = pool_new_struct(p, Cri__IoUsage);
	*u = (Cri__IoUsage)CRI__IO_USAGE__INIT;
	u->timestamp = s->timestamp_ns;
	u->psi = pressure_of(p, &s->io_pressure);
	return u;
}

const char *usage_layers_path(struct pool *p, struct model *m)
{
	return pool_printf(p, "%s/rw", m->g.config->root);
}

static Cri__FilesystemUsage *layer_of(struct pool *p, const struct container *c)
{
	if (!c->rw_at_ns)
		return NULL;
	Cri__FilesystemUsage *u = pool_new_struct(p, Cri__FilesystemUsage);
	*u = (Cri__FilesystemUsage)CRI__FILESYSTEM_USAGE__INIT;
	u->timestamp = c->rw_at_ns;
	u->fs_id = pool_new_struct(p, Cri__FilesystemIdentifier);
	*u->fs_id = (Cri__FilesystemIdentifier)CRI__FILESYSTEM_IDENTIFIER__INIT;
	u->fs_id->mountpoint = (char *)(uintptr_t)usage_layers_path(p, c->model);
	u->used_bytes = rpc_number(p, true, c->rw_bytes);
	u->inodes_used = rpc_number(p, true, c->rw_inodes);
	return u;
}

Cri__ContainerStats *usage_container(struct pool *p, struct container *c)
{
	Cri__ContainerStats *st = pool_new_struct(p, Cri__ContainerStats);
	*st = (Cri__ContainerStats)CRI__CONTAINER_STATS__INIT;
	st->attributes = pool_new_struct(p, Cri__ContainerAttributes);
	*st->attributes = (Cri__ContainerAttributes)CRI__CONTAINER_ATTRIBUTES__INIT;
	st->attributes->id = c->id;
	st->attributes->metadata = c->config->metadata;
	st->attributes->n_labels = c->config->n_labels;
	st->attributes->labels = (void *)c->config->labels;
	st->attributes->n_annotations = c->config->n_annotations;
	st->attributes->annotations = (void *)c->config->annotations;
	if (!c->stats.timestamp_ns)
		return st;	/* never ran: who it is, without numbers */
	st->cpu = cpu_of(p, &c->stats);
	st->memory = memory_of(p, &c->stats);
	st->swap = swap_of(p, &c->stats);
	st->io = io_of(p, &c->stats);
	st->writable_layer = layer_of(p, c);
	return st;
}

/* -- pods -- */

static Cri__NetworkInterfaceUsage *interface_of(struct pool *p, const struct netdev *d)
{
	Cri__NetworkInterfaceUsage *u = pool_new_struct(p, Cri__NetworkInterfaceUsage);
	*u = (Cri__NetworkInterfaceUsage)CRI__NETWORK_INTERFACE_USAGE__INIT;
	u->name = pool_strdup(p, d->name);
	u->rx_bytes = rpc_number(p, true, d->rx.bytes);
	u->rx_errors = rpc_number(p, true, d->rx.errors);
	u->tx_bytes = rpc_number(p, true, d->tx.bytes);
	u->tx_errors = rpc_number(p, true, d->tx.errors);
	return u;
}

/* None of a pod in the host's network: that is the node's, not its own. */
static Cri__NetworkUsage *network_of(struct pool *p, const struct pod *pod)
{
	struct netdev all[NETDEV_MAX];
	size_t n = pod->netdev_fd < 0 ? 0 : netdev_read(pod->netdev_fd, all, NETDEV_MAX);
	if (!n)
		return NULL;
	const struct netdev *main = netdev_default(all, n);
	Cri__NetworkUsage *u = pool_new_struct(p, Cri__NetworkUsage);
	*u = (Cri__NetworkUsage)CRI__NETWORK_USAGE__INIT;
	u->timestamp = clock_real_ns();
	u->default_interface = interface_of(p, main);
	u->interfaces = pool_alloc(p, n * sizeof(*u->interfaces));
	for (size_t i = 0; i < n; i++)
		if (&all[i] != main)
			u->interfaces[u->n_interfaces++] = interface_of(p, &all[i]);
	return u;
}

static Cri__ProcessUsage *processes_of(struct pool *p, const struct pod *pod)
{
	Cri__ProcessUsage *u = pool_new_struct(p, Cri__ProcessUsage);
	*u = (Cri__ProcessUsage)CRI__PROCESS_USAGE__INIT;
	u->timestamp = pod->stats.timestamp_ns;
	u->process_count = rpc_number(p, true, pod->processes);
	return u;
}

static Cri__LinuxPodSandboxStats *linux_of(struct pool *p, struct pod *pod)
{
	Cri__LinuxPodSandboxStats *st = pool_new_struct(p, Cri__LinuxPodSandboxStats);
	*st = (Cri__LinuxPodSandboxStats)CRI__LINUX_POD_SANDBOX_STATS__INIT;
	size_t n = 0;
	struct container *c;
	list_for_each(c, &pod->containers, in_pod)
		n++;
	st->containers = pool_alloc(p, (n + 1) * sizeof(*st->containers));
	list_for_each(c, &pod->containers, in_pod)
		if (gather_has_usage(c))
			st->containers[st->n_containers++] = usage_container(p, c);
	if (!pod->stats.timestamp_ns)
		return st;
	st->cpu = cpu_of(p, &pod->stats);
	st->memory = memory_of(p, &pod->stats);
	st->io = io_of(p, &pod->stats);
	st->process = processes_of(p, pod);
	st->network = network_of(p, pod);
	return st;
}

Cri__PodSandboxStats *usage_pod(struct pool *p, struct pod *pod)
{
	Cri__PodSandboxStats *st = pool_new_struct(p, Cri__PodSandboxStats);
	*st = (Cri__PodSandboxStats)CRI__POD_SANDBOX_STATS__INIT;
	st->attributes = pool_new_struct(p, Cri__PodSandboxAttributes);
	*st->attributes = (Cri__PodSandboxAttributes)CRI__POD_SANDBOX_ATTRIBUTES__INIT;
	st->attributes->id = pod->id;
	st->attributes->metadata = pod->config->metadata;
	st->attributes->n_labels = pod->config->n_labels;
	st->attributes->labels = (void *)pod->config->labels;
	st->attributes->n_annotations = pod->config->n_annotations;
	st->attributes->annotations = (void *)pod->config->annotations;
	st->linux = linux_of(p, pod);
	return st;
}

/*
 * Limits.  In the CRI 0 and "" mean "not set"; in a spec an absent member does.
 */
#include "core/oci/resources.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/oci/view.h"

static bool has_page_size(const struct oci_host *h, const char *size)
{
	for (size_t i = 0; h->hugetlb && i < h->n_page_sizes; i++)
		if (!strcmp(h->page_sizes[i], size))
			return true;
	return false;
}

static int check_cpuset(const char *text, const char *field, const char *name, struct err *e)
{
	if (view_set(text) && text[strspn(text, "0123456789,-")])
		return err_set(e, EINVAL, "%s.%s \"%s\": not a list of numbers and ranges", field, name, text);
	return 0;
}

static int check_numbers(const struct oci_host *h, const Cri__LinuxContainerResources *r, const char *field,
			 struct err *e)
{
	const struct {
		const char *name;
		int64_t value, min, max;
	} ranges[] = {
		{ "cpu_period", r->cpu_period, 0, INT64_MAX },
		{ "cpu_quota", r->cpu_quota, -1, INT64_MAX },
		{ "cpu_shares", r->cpu_shares, 0, INT64_MAX },
		{ "memory_limit_in_bytes", r->memory_limit_in_bytes, -1, INT64_MAX },
		{ "memory_swap_limit_in_bytes", r->memory_swap_limit_in_bytes, -1, INT64_MAX },
		{ "oom_score_adj", r->oom_score_adj, -1000, 1000 },
	};
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (ranges[i].value < ranges[i].min || ranges[i].value > ranges[i].max)
			return err_set(e, EINVAL, "%s.%s %lld: out of range", field, ranges[i].name,
				       (long long)ranges[i].value);
	int64_t limit = r->memory_limit_in_bytes, swap = r->memory_swap_limit_in_bytes;
	if (swap > 0 && swap < limit)
		return err_set(e, EINVAL, "%s.memory_swap_limit_in_bytes %lld: below the memory limit %lld", field,
			       (long long)swap, (long long)limit);
	if (swap > 0 && limit <= 0)
		return err_set(e, EINVAL, "%s.memory_swap_limit_in_bytes %lld: without a memory limit", field,
			       (long long)swap);
	if (swap > limit && !h->swap_accounting)
		return err_set(e, EINVAL, "%s.memory_swap_limit_in_bytes %lld: this node does not account swap",
			       field, (long long)swap);
	return 0;
}

int oci_check_resources(const struct oci_host *h, const Cri__LinuxContainerResources *r, const char *field,
			struct err *e)
{
	if (!r)
		return 0;
	int ret = check_numbers(h, r, field, e);
	if (!ret)
		ret = check_cpuset(r->cpuset_cpus, field, "cpuset_cpus", e);
	if (!ret)
		ret = check_cpuset(r->cpuset_mems, field, "cpuset_mems", e);
	if (ret < 0)
		return ret;
	for (size_t i = 0; i < r->n_hugepage_limits; i++) {
		const Cri__HugepageLimit *l = r->hugepage_limits[i];
		/* A kubelet sends 0 for every size that it can think of. */
		if (l->limit && !has_page_size(h, l->page_size))
			return err_set(e, EINVAL, "%s.hugepage_limits[%zu] \"%s\" %llu: this node can't limit them",
				       field, i, l->page_size, (unsigned long long)l->limit);
	}
	for (size_t i = 0; i < r->n_unified; i++) {
		const char *key = r->unified[i]->key;
		if (!view_set(key) || strchr(key, '/') || *key == '.' || !strchr(key, '.'))
			return err_set(e, EINVAL, "%s.unified \"%s\": not the name of a cgroup file", field,
				       key ? key : "");
		if (!h->cgroup_v2)
			return err_set(e, EINVAL, "%s.unified \"%s\": this node has cgroup v1", field, key);
	}
	return 0;
}

int oci_oom_score_adj(const struct oci_host *h, const Cri__LinuxContainerResources *r)
{
	int64_t score = r ? r->oom_score_adj : 0;
	if (score < h->oom_score_adj_min)
		return h->oom_score_adj_min;
	return score > 1000 ? 1000 : (int)score;
}

/* Memory plus swap.  A memory limit without a swap limit allows no swap. */
static void put_memory(struct json_out *o, const struct oci_host *h, const Cri__LinuxContainerResources *r)
{
	int64_t limit = r->memory_limit_in_bytes, swap = r->memory_swap_limit_in_bytes;
	if (!limit && !swap)
		return;
	json_key(o, "memory");
	json_object(o);
	if (limit)
		json_member_int(o, "limit", limit);
	if (h->swap_accounting && (swap || limit))
		json_member_int(o, "swap", swap ? swap : limit);
	json_end_object(o);
}

static void put_cpu(struct json_out *o, const Cri__LinuxContainerResources *r)
{
	json_key(o, "cpu");
	json_object(o);
	if (r->cpu_shares)
		json_member_int(o, "shares", r->cpu_shares);
	if (r->cpu_quota)
		json_member_int(o, "quota", r->cpu_quota);
	if (r->cpu_period)
		json_member_int(o, "period", r->cpu_period);
	if (view_set(r->cpuset_cpus))
		json_member_str(o, "cpus", r->cpuset_cpus);
	if (view_set(r->cpuset_mems))
		json_member_str(o, "mems", r->cpuset_mems);
	json_end_object(o);
}

static void put_hugepages(struct json_out *o, const struct oci_host *h, const Cri__LinuxContainerResources *r)
{
	json_key(o, "hugepageLimits");
	json_array(o);
	for (size_t i = 0; i < r->n_hugepage_limits; i++) {
		const Cri__HugepageLimit *l = r->hugepage_limits[i];
		if (!has_page_size(h, l->page_size))
			continue;
		json_object(o);
		json_member_str(o, "pageSize", l->page_size);
		json_member_int(o, "limit", l->limit > INT64_MAX ? INT64_MAX : (int64_t)l->limit);
		json_end_object(o);
	}
	json_end_array(o);
}

static void put_unified(struct json_out *o, const Cri__LinuxContainerResources *r)
{
	json_key(o, "unified");
	json_object(o);
	for (size_t i = 0; i < r->n_unified; i++)
		json_member_str(o, r->unified[i]->key, r->unified[i]->value);
	json_end_object(o);
}

void resources_put(struct json_out *o, const struct oci_host *h, const Cri__LinuxContainerResources *r)
{
	if (!r)
		return;
	put_memory(o, h, r);
	put_cpu(o, r);
	if (r->n_hugepage_limits && h->hugetlb)
		put_hugepages(o, h, r);
	if (r->n_unified)
		put_unified(o, r);
}

int oci_resources_json(struct pool *p, const struct oci_host *h, const Cri__LinuxContainerResources *r,
		       const char **json, size_t *len, struct err *e)
{
	int ret = oci_check_resources(h, r, "linux", e);
	if (ret < 0)
		return ret;
	struct json_out *o = json_out(p);
	json_object(o);
	resources_put(o, h, r);
	json_end_object(o);
	*json = json_text(o, len);
	return 0;
}

/* Entries of update replace entries of the same key. */
static void merge_unified(struct pool *p, Cri__LinuxContainerResources *r, const Cri__LinuxContainerResources *update)
{
	size_t n = 0;
	Cri__LinuxContainerResources__UnifiedEntry **all =
		pool_alloc(p, (r->n_unified + update->n_unified) * sizeof(*all));
	for (size_t i = 0; i < r->n_unified; i++) {
		size_t k = 0;
		while (k < update->n_unified && strcmp(r->unified[i]->key, update->unified[k]->key))
			k++;
		if (k == update->n_unified)
			all[n++] = r->unified[i];
	}
	for (size_t i = 0; i < update->n_unified; i++)
		all[n++] = update->unified[i];
	r->unified = all;
	r->n_unified = n;
}

Cri__LinuxContainerResources *oci_resources_merge(struct pool *p, const Cri__LinuxContainerResources *old,
						  const Cri__LinuxContainerResources *update)
{
	Cri__LinuxContainerResources *r = pool_new_struct(p, Cri__LinuxContainerResources);
	*r = (Cri__LinuxContainerResources)CRI__LINUX_CONTAINER_RESOURCES__INIT;
	if (old)
		*r = *old;
	if (!update)
		return r;
	if (update->cpu_period)
		r->cpu_period = update->cpu_period;
	if (update->cpu_quota)
		r->cpu_quota = update->cpu_quota;
	if (update->cpu_shares)
		r->cpu_shares = update->cpu_shares;
	if (update->memory_limit_in_bytes) {
		/* A swap limit that meant "no swap" follows the memory limit. */
		if (r->memory_swap_limit_in_bytes == r->memory_limit_in_bytes)
			r->memory_swap_limit_in_bytes = 0;
		r->memory_limit_in_bytes = update->memory_limit_in_bytes;
	}
	if (update->memory_swap_limit_in_bytes)
		r->memory_swap_limit_in_bytes = update->memory_swap_limit_in_bytes;
	if (update->oom_score_adj)
		r->oom_score_adj = update->oom_score_adj;
	if (view_set(update->cpuset_cpus))
		r->cpuset_cpus = update->cpuset_cpus;
	if (view_set(update->cpuset_mems))
		r->cpuset_mems = update->cpuset_mems;
	if (update->n_hugepage_limits) {
		r->hugepage_limits = update->hugepage_limits;
		r->n_hugepage_limits = update->n_hugepage_limits;
	}
	if (update->n_unified)
		merge_unified(p, r, update);
	return r;
}

/*
 * What this node can do.  Read once at start from /proc and /sys, which never hang; whatever is
 * not readable is taken as not there.
 */
#include "core/oci/oci.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/pool.h"

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

enum { MAX_PAGE_SIZES = 16, CAP_SYS_RESOURCE_NR = 24 };

/* What systemd gives to services and what programs that select(2) can live with. */
enum { NOFILE_SOFT = 1024, NOFILE_HARD = 524288 };

static bool file_starts_with(const char *path, const char *text)
{
	struct buf b = { 0 };
	bool is = !file_read(AT_FDCWD, path, 64 * 1024, &b, NULL) && b.len >= strlen(text) &&
		  !memcmp(b.data, text, strlen(text));
	buf_free(&b);
	return is;
}

static bool file_has_word(const char *path, const char *word)
{
	struct buf b = { 0 };
	bool has = false;
	if (!file_read(AT_FDCWD, path, 64 * 1024, &b, NULL) && b.len)
		for (char *save, *w = strtok_r(b.data, " \n", &save); w && !has; w = strtok_r(NULL, " \n", &save))
			has = !strcmp(w, word);
	buf_free(&b);
	return has;
}

static uint64_t bounding_set(void)
{
	uint64_t set = 0;
	for (int c = 0; c < 64; c++) {
		int has = prctl(PR_CAPBSET_READ, c, 0, 0, 0);
		if (has < 0)
			break;
		if (has)
			set |= UINT64_C(1) << c;
	}
	return set;
}

/* Without CAP_SYS_RESOURCE a score can't be set below the one that we were started with. */
static int lowest_score(uint64_t bounding)
{
	if (bounding & (UINT64_C(1) << CAP_SYS_RESOURCE_NR))
		return -1000;
	struct buf b = { 0 };
	int score = file_read(AT_FDCWD, "/proc/self/oom_score_adj", 64, &b, NULL) || !b.len ? 0 : atoi(b.data);
	buf_free(&b);
	return score;
}

/* As engines name them: "2MB", "1GB", from directories "hugepages-2048kB". */
static void read_page_sizes(struct pool *p, struct oci_host *h)
{
	auto_closedir DIR *d = opendir("/sys/kernel/mm/hugepages");
	if (!d)
		return;
	h->page_sizes = pool_alloc(p, MAX_PAGE_SIZES * sizeof(*h->page_sizes));
	for (struct dirent *de; (de = readdir(d)) && h->n_page_sizes < MAX_PAGE_SIZES;) {
		unsigned long kb;
		if (sscanf(de->d_name, "hugepages-%lukB", &kb) != 1)
			continue;
		h->page_sizes[h->n_page_sizes++] = kb >= 1 << 20 ? pool_printf(p, "%luGB", kb >> 20) :
						   kb >= 1 << 10 ? pool_printf(p, "%luMB", kb >> 10) :
								   pool_printf(p, "%luKB", kb);
	}
}

/* Swap accounting shows in any cgroup but the root: look at our own. */
static bool v2_accounts_swap(void)
{
	struct buf b = { 0 };
	char path[4300];
	bool has = false;
	if (!file_read(AT_FDCWD, "/proc/self/cgroup", 16 * 1024, &b, NULL) && b.len && !strncmp(b.data, "0::", 3)) {
		snprintf(path, sizeof(path), "/sys/fs/cgroup%.*s/memory.swap.max", (int)strcspn(b.data + 3, "\n"),
			 b.data + 3);
		has = !access(path, F_OK);
	}
	buf_free(&b);
	return has || !access("/sys/fs/cgroup/system.slice/memory.swap.max", F_OK);
}

static void probe_cgroups(struct oci_host *h)
{
	struct statfs fs;
	h->cgroup_v2 = !statfs("/sys/fs/cgroup", &fs) && fs.f_type == CGROUP2_SUPER_MAGIC;
	if (h->cgroup_v2) {
		h->hugetlb = file_has_word("/sys/fs/cgroup/cgroup.controllers", "hugetlb");
		h->swap_accounting = v2_accounts_swap();
	} else {
		h->hugetlb = !access("/sys/fs/cgroup/hugetlb/cgroup.procs", F_OK);
		h->swap_accounting = !access("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", F_OK);
	}
}

/* The list has a line "NAME (enforce)" for each. */
bool oci_apparmor_loaded(const struct oci_host *h, const char *name)
{
	enum { LIST_MAX = 4 << 20 };
	struct buf b = { 0 };
	size_t n = strlen(name);
	bool found = !h->apparmor_profiles || file_read(AT_FDCWD, h->apparmor_profiles, LIST_MAX, &b, NULL) < 0;
	for (const char *at = b.data; at && *at && !found;) {
		found = !strncmp(at, name, n) && !strncmp(at + n, " (", 2);
		at += strcspn(at, "\n");
		at += *at == '\n';
	}
	buf_free(&b);
	return found;
}

void oci_host_probe(struct pool *p, struct oci_host *h)
{
	*h = (struct oci_host){
		.seccomp = file_has_word("/proc/sys/kernel/seccomp/actions_avail", "errno"),
		.apparmor = file_starts_with("/sys/module/apparmor/parameters/enabled", "Y"),
		.selinux = !access("/sys/fs/selinux/enforce", F_OK),
		/* no such path, not "no such call": the kernel knows mount_setattr (5.12) */
		.rro = syscall(SYS_mount_setattr, -1, "", 0, NULL, 0) < 0 && errno != ENOSYS,
		.cap_bounding = bounding_set(),
	};
	if (h->apparmor)
		h->apparmor_profiles = "/sys/kernel/security/apparmor/profiles";
	h->oom_score_adj_min = lowest_score(h->cap_bounding);
	probe_cgroups(h);
	read_page_sizes(p, h);

	struct rlimit rl = { NOFILE_SOFT, NOFILE_HARD };
	getrlimit(RLIMIT_NOFILE, &rl);
	h->nofile_hard = rl.rlim_max < NOFILE_HARD ? rl.rlim_max : NOFILE_HARD;
	h->nofile_soft = h->nofile_hard < NOFILE_SOFT ? h->nofile_hard : NOFILE_SOFT;

	struct utsname uts;
	h->hostname = pool_strdup(p, uname(&uts) ? "localhost" : uts.nodename);
}

/* cgroups on the host's own file systems (needs root), and v2's files from a made-up tree. */
#include "core/cgroup/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/pool.h"
#include "core/cgroup/drain.h"
#include "core/cgroup/slice.h"
#include "core/cgroup/tree.h"
#include "core/loop/loop.h"
#include "core/stats/detail.h"
#include "core/stats/netdev.h"
#include "core/stats/stats.h"
#include "t/tap.h"

static char parent[64];
static struct pool *pool;
static struct err e;

static bool exists(const struct hierarchy *h, const char *path)
{
	return faccessat(h->fd, path + 1, F_OK, 0) == 0;
}

/* In how many hierarchies is it? */
static size_t count(struct cgroups *cg, const char *path)
{
	size_t n = 0;
	for_each_hierarchy(h, cg)
		n += exists(h, path);
	return n;
}

static const char *at(const char *below)
{
	return pool_printf(pool, "%s%s", parent, below);
}

/* What an engine does. */
static void make_leaf(struct cgroups *cg, const char *path, pid_t pid)
{
	for_each_hierarchy(h, cg) {
		if (mkdirat(h->fd, path + 1, 0755) < 0 && errno != EEXIST)
			printf("# mkdir %s in %s: %s\n", path, h->name, strerror(errno));
		struct err why = { 0 };
		const char *procs = pool_printf(pool, "%s/cgroup.procs", path + 1);
		if (tree_has(h, "cpuset"))
			for (int i = 0; i < 2; i++) {
				const char *file = i ? "cpuset.mems" : "cpuset.cpus";
				struct buf b = { 0 };
				file_read(h->fd, pool_printf(pool, "%s/../%s", path + 1, file),
					  4096, &b, &why);
				file_poke(h->fd, pool_printf(pool, "%s/%s", path + 1, file), b.data,
					  &why);
				buf_free(&b);
			}
		if (pid && file_poke(h->fd, procs, pool_printf(pool, "%d", pid), &why) < 0)
			printf("# %s: %s\n", h->name, why.msg);
	}
}

static pid_t start_sleeper(void)
{
	pid_t pid = fork();
	if (!pid) {
		for (;;)
			pause();
	}
	return pid;
}

static bool died(pid_t pid, int signo)
{
	int status = 0;
	return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == signo;
}

static void test_parents(struct cgroups *cg)
{
	const char *made = NULL, *made2 = NULL, *leaf = at("/pods/p1/c1"),
		   *leaf2 = at("/pods/p1/c2");
	int ret = cgroup_plan_parents(cg, pool, leaf, &made2, &e);
	ok(ret == 0 && made2 && !count(cg, at("/pods")), "plan parents: %s", made2);
	ret = cgroup_make_parents(cg, pool, leaf, &made, &e);
	ok(ret == 0 && made && !strcmp(made, made2), "make parents: %s", made);
	ok(count(cg, at("/pods/p1")) == cg->n && !count(cg, leaf),
	   "in every hierarchy, not the leaf");
	make_leaf(cg, leaf, 0);
	ok(cgroup_make_parents(cg, pool, leaf2, &made2, &e) == 0 && made2 && !strcmp(made, made2),
	   "the second leaf's record knows them, too");
	make_leaf(cg, leaf2, 0);
	ok(cgroup_remove_made(cg, leaf, made, &e) == 0 && !count(cg, leaf) &&
		   count(cg, leaf2) == cg->n,
	   "one leaf goes, the other and the parents stay");
	ok(cgroup_remove_made(cg, leaf2, made2, &e) == 0 && !count(cg, at("/pods")),
	   "the last one takes them along");
	ok(count(cg, parent) == cg->n, "but not the daemon's parent");
	ok(cgroup_remove_made(cg, leaf2, made2, &e) == 0, "again: fine");
}

static void test_foreign_parents(struct cgroups *cg)
{
	const char *made = NULL, *plan = NULL, *foreign = at("/kube"), *leaf = at("/kube/pod/c");
	for_each_hierarchy(h, cg)
		if (h != cg->all)
			mkdirat(h->fd, foreign + 1, 0755);
	cgroup_plan_parents(cg, pool, leaf, &plan, &e);
	ok(cgroup_make_parents(cg, pool, leaf, &made, &e) == 0 && plan && !strcmp(plan, made),
	   "a parent that is there in some");
	make_leaf(cg, leaf, 0);
	ok(cgroup_remove_made(cg, leaf, made, &e) == 0 && count(cg, foreign) == cg->n - 1 &&
		   !exists(cg->all, foreign),
	   "is removed only where we made it");
	for_each_hierarchy(h, cg)
		unlinkat(h->fd, foreign + 1, AT_REMOVEDIR);
}

/* What a restart leaves of the knowledge is in the records. */
static void test_adopt(struct cgroups *cg)
{
	const char *made = NULL, *made2 = NULL, *leaf = at("/a/b/c1"), *leaf2 = at("/a/b/c2");
	cgroup_make_parents(cg, pool, leaf, &made, &e);
	struct cgroups *next;
	ok(cgroups_open(pool, parent, &next, &e) == 0, "a new core");
	cgroup_adopt_made(next, leaf, made);
	cgroup_make_parents(next, pool, leaf2, &made2, &e);
	ok(made2 && !strcmp(made, made2), "after a restart the parents are still known as ours");
	cgroup_remove_made(next, leaf, NULL, &e);
	ok(count(next, at("/a/b")) == next->n, "without a record no parent is touched");
	cgroup_remove_made(next, leaf2, made2, &e);
	ok(!count(next, at("/a")), "with it they go");
}

static void test_bad_paths(struct cgroups *cg)
{
	const char *made;
	static const char *const bad[] = { "/", "", "a/b", "/a/../b", "/a//b", "/a/./b", "/a/" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct err why = { 0 };
		ok(cgroup_make_parents(cg, pool, bad[i], &made, &why) == -EINVAL &&
			   strstr(why.msg, bad[i]),
		   "refused: %s", why.msg);
	}
	ok(cgroup_kill(cg, "/", SIGKILL) < 0, "nobody is killed by a bad path");
}

static void test_kill(struct cgroups *cg)
{
	const char *made, *leaf = at("/k/c"), *deep = at("/k/c/deep");
	cgroup_make_parents(cg, pool, leaf, &made, &e);
	ok(cgroup_empty(cg, leaf), "a missing cgroup is empty");
	pid_t a = start_sleeper(), b = start_sleeper();
	make_leaf(cg, leaf, a);
	make_leaf(cg, deep, b);
	int pids[2];
	ok(cgroup_pids(cg, leaf, pids, 2) == 2 && pids[0] + pids[1] == a + b,
	   "pids, also of those below");
	ok(!cgroup_empty(cg, leaf), "not empty");
	struct err why = { 0 };
	ok(cgroup_remove_made(cg, leaf, made, &why) == -EBUSY, "no removal while in use: %s",
	   why.msg);
	ok(cgroup_kill(cg, deep, SIGTERM) == 1 && died(b, SIGTERM), "a signal to one below");
	for_each_hierarchy(h, cg) if (tree_has(h, "freezer"))
		file_poke(h->fd, pool_printf(pool, "%s/freezer.state", leaf + 1), "FROZEN", &why);
	ok(cgroup_kill(cg, leaf, SIGKILL) >= 0 && died(a, SIGKILL), "SIGKILL reaches a frozen one");
	ok(cgroup_empty(cg, leaf), "empty");
	ok(cgroup_remove_made(cg, leaf, made, &e) == 0 && !count(cg, at("/k")),
	   "removed with what is below");
}

static void test_helpers(struct cgroups *cg)
{
	size_t n;
	const int *home = cgroups_home_procs(cg, &n);
	ok(n == 1 && cgroups_enter_helpers(cg, &e) == 0, "the core enters the helpers' cgroup %s", e.msg);
	pid_t pid = fork(), daemon = pid ? fork() : -1;
	if (!pid || !daemon) {
		if (!daemon && write(home[0], "0", 1) < 0)
			_exit(1);
		signal(SIGTERM, SIG_IGN);
		for (;;)
			pause();
	}
	for (int i = 0; i < 1000 && cgroup_pids(cg, at("/helpers"), &(int){ 0 }, 1) > 2; i++)
		usleep(1000);
	ok(cgroup_pids(cg, at("/helpers"), &(int){ 0 }, 1) == 2, "it and its child are there, not what went home");
	cgroups_exit_helpers(cg);
	ok(cgroup_pids(cg, at("/helpers"), &(int){ 0 }, 1) == 1, "it leaves");
	ok(cgroups_enter_helpers(cg, &e) == 0 && cgroups_kill_helpers(cg, 5000, &e) == 0 && died(pid, SIGKILL),
	   "left helpers are killed, the core is not %s", e.msg);
	ok(kill(daemon, SIGKILL) == 0 && died(daemon, SIGKILL), "and what went home lives on");
	ok(cgroups_kill_helpers(cg, 0, &e) == 0, "none: fine");
}

static struct loop *loop;
static int drained = 1;
static char drain_text[200];

static void handle_drained(void *data, int ret, const struct err *why)
{
	drained = ret;
	snprintf(drain_text, sizeof(drain_text), "%.199s", err_text(why));
	loop_stop(loop);
}

static void test_drain(struct cgroups *cg)
{
	const char *made, *leaf = at("/d/c");
	cgroup_make_parents(cg, pool, leaf, &made, &e);
	loop = loop_new(pool);
	struct pool *own = pool_new(pool, "own");
	cgroup_drain_start(cg, loop, own, leaf, 5000, handle_drained, NULL);
	ok(drained == 1, "no answer from inside");
	loop_run(loop);
	ok(drained == 0, "a missing cgroup is drained at once");
	pid_t pids[40];
	for (int i = 0; i < 40; i++)
		make_leaf(cg, leaf, pids[i] = start_sleeper());
	drained = 1;
	cgroup_drain_start(cg, loop, own, leaf, 20000, handle_drained, NULL);
	loop_run(loop);
	ok(drained == 0 && cgroup_empty(cg, leaf), "40 processes are killed and waited for");
	int good = 0;
	for (int i = 0; i < 40; i++)
		good += died(pids[i], SIGKILL);
	ok(good == 40, "each by SIGKILL");
	make_leaf(cg, leaf, pids[0] = start_sleeper());
	cgroup_drain_cancel(cgroup_drain_start(cg, loop, own, leaf, 5000, handle_drained, NULL));
	pool_destroy(own);
	ok(kill(pids[0], 0) == 0, "a drain that is cancelled at once does nothing");
	cgroup_kill(cg, leaf, SIGKILL);
	died(pids[0], SIGKILL);
	cgroup_remove_made(cg, leaf, made, &e);
}

static void test_oom(struct cgroups *cg)
{
	const char *made, *leaf = at("/o/c");
	struct hierarchy *h = tree_find(cg, "memory");
	cgroup_make_parents(cg, pool, leaf, &made, &e);
	make_leaf(cg, leaf, 0);
	uint64_t n = 9;
	ok(cgroup_oom_kills(cg, leaf, &n) == 0 && n == 0, "no OOM kill yet");
	file_poke(h->fd,
		  pool_printf(pool, "%s/%s", leaf + 1,
			      h->v2 ? "memory.max" : "memory.limit_in_bytes"),
		  "8388608", &e);
	file_poke(h->fd, pool_printf(pool, "%s/memory.swap.max", leaf + 1), "0", NULL);
	pid_t pid = fork();
	if (!pid) {
		raise(SIGSTOP);
		for (;;)
			memset(malloc(1 << 20), 1, 1 << 20);
	}
	waitpid(pid, NULL, WUNTRACED);
	make_leaf(cg, leaf, pid);
	kill(pid, SIGCONT);
	ok(died(pid, SIGKILL), "a glutton is killed");
	ok(cgroup_oom_kills(cg, leaf, &n) == 0 && n == 1, "and counted");
	struct cgroup_limits l;
	ok(cgroup_read_limits(cg, leaf, &l) == 0 && l.memory == 8388608, "the limit is read back");
	ok(cgroup_read_limits(cg, at("/nowhere"), &l) == -ENOENT, "none of a missing cgroup");
	cgroup_remove_made(cg, leaf, made, &e);
	ok(cgroup_oom_kills(cg, leaf, &n) == -ENOENT, "nor a count");
}

static void test_stats(struct cgroups *cg)
{
	const char *made, *leaf = at("/s/c");
	struct stats_sample s = { 0 };
	struct err why = { 0 };
	cgroup_make_parents(cg, pool, leaf, &made, &e);
	ok(stats_read(cg, leaf, &s, &why) == -ENOENT && strstr(why.msg, leaf), "no cgroup: %s",
	   why.msg);
	pid_t pid = fork();
	if (!pid) {
		raise(SIGSTOP);
		char *volatile mem = malloc(20 << 20);
		for (;;)
			memset(mem, 1, 20 << 20);
	}
	waitpid(pid, NULL, WUNTRACED);
	make_leaf(cg, leaf, pid);
	kill(pid, SIGCONT);
	int ret;
	do {	/* until the kernel has accounted for it */
		s = (struct stats_sample){ 0 };
		ret = stats_read(cg, leaf, &s, &e);
	} while (ret == 0 && (!s.cpu_usage_ns || s.rss < 15 << 20));
	ok(ret == 0 && s.has_cpu && s.cpu_usage_ns > 0, "cpu: %llu ns",
	   (unsigned long long)s.cpu_usage_ns);
	ok(s.has_memory && s.rss > 0 && s.memory_usage >= s.working_set, "memory");
	ok(s.has_pids && s.pids == 1, "pids");
	ok(!s.has_nano_cores && !s.has_available,
	   "no rate from one sample, nothing available without a limit");
	int64_t first = s.timestamp_ns;
	ok(stats_read(cg, leaf, &s, &e) == 0 && s.timestamp_ns == first,
	   "a fresh sample serves again");
	uint64_t used = s.cpu_usage_ns;
	do {
		s.mono_ns -= 2 * (int64_t)STATS_FRESH_MS * 1000000;	/* as if time had passed */
		ret = stats_read(cg, leaf, &s, &e);
	} while (ret == 0 && s.cpu_usage_ns == used);
	ok(ret == 0 && s.timestamp_ns > first && s.has_nano_cores && s.nano_cores > 0 &&
		   s.nano_cores < 1500000000,
	   "a stale one is renewed and gives the rate: %llu", (unsigned long long)s.nano_cores);
	kill(pid, SIGKILL);
	died(pid, SIGKILL);
	cgroup_remove_made(cg, leaf, made, &e);
}

/* -- v2 by its files -- */

static void put(const char *dir, const char *file, const char *text)
{
	struct err why = { 0 };
	if (file_replace(AT_FDCWD, pool_printf(pool, "%s/c/%s", dir, file), text, strlen(text),
			 0644, &why) < 0)
		printf("# %s\n", why.msg);
}

static void test_v2_detail(struct cgroups *cg, const char *dir)
{
	static const char *const sizes[] = { "2MB", "1GB" };
	struct stats_detail d;
	put(dir, "cpu.stat", "usage_usec 5000000\nuser_usec 3000000\nsystem_usec 2000000\n"
	    "nr_periods 9\nnr_throttled 4\nthrottled_usec 7\n");
	put(dir, "memory.peak", "104857601\n");
	put(dir, "memory.low", "max\n");
	put(dir, "hugetlb.2MB.current", "4194304\n");
	put(dir, "io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n7:1 \n"
	    "253:16 rbytes=18446744073709551615 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n");
	stats_detail_read(cg, "/c", sizes, 2, &d);
	ok(d.user_ns.n == 3000000000 && d.system_ns.n == 2000000000 && d.periods.n == 9 &&
		   d.throttled_periods.n == 4 && d.throttled_ns.n == 7000,
	   "v2 cpu in detail");
	ok(d.cache.n == 1 && d.max_usage.n == 104857601 && d.failures.n == 4 && d.oom_kills.n == 2 &&
		   d.reservation.known && !d.reservation.n && !d.kernel.known && !d.own_faults.known,
	   "v2 memory in detail, without what it does not tell");
	ok(d.n_pages == 1 && !strcmp(d.pages[0].size, "2MB") && d.pages[0].usage.n == 4194304 &&
		   !d.pages[0].max_usage.known,
	   "v2 huge pages of the size that is there");
	ok(d.n_devices == 2 && d.devices[0].major == 8 && d.devices[0].read_bytes == 1 &&
		   d.devices[0].write_bytes == 2 && d.devices[0].reads == 3 && d.devices[0].writes == 4 &&
		   d.devices[1].minor == 16 && d.devices[1].read_bytes == UINT64_MAX,
	   "v2 devices");
	struct stats_detail v1 = { 0 };
	stats_detail_blkio(&v1, "8:0 Read 10\n8:0 Write 20\n8:0 Sync 30\n8:16 Read 5\nTotal 60\n", true);
	stats_detail_blkio(&v1, "8:0 Read 1\n8:0 Write 2\nTotal 3\n", false);
	stats_detail_blkio(&v1, "", false);
	ok(v1.n_devices == 2 && v1.devices[0].read_bytes == 10 && v1.devices[0].write_bytes == 20 &&
		   v1.devices[0].reads == 1 && v1.devices[0].writes == 2 && v1.devices[1].read_bytes == 5,
	   "v1 devices");
	struct buf many = { 0 };
	for (int i = 0; i < 100; i++)
		buf_printf(&many, "8:%d Read 1\n", i);
	stats_detail_blkio(&v1, many.data, true);
	ok(v1.n_devices == DETAIL_DEVICES_MAX, "no more of them than are told of");
	buf_free(&many);
}

/* What is to be written, as "FILE=VALUE ". */
static const char *writes_of(struct cgroups *cg, const char *path, struct cgroup_wish wish)
{
	const char *w[CGROUP_WRITES_MAX], *text = "";
	size_t n = cgroup_limit_writes(cg, pool, path, &wish, w);
	for (size_t i = 0; i + 1 < n; i += 2)
		text = pool_printf(pool, "%s%s=%s ", text, strrchr(w[i], '/') + 1, w[i + 1]);
	return text;
}

static void test_v2_writes(struct cgroups *cg)
{
	const char *got = writes_of(cg, "/c", (struct cgroup_wish){ .cpu_shares = 1024, .cpu_quota = 150000,
				    .memory = 1 << 20, .memory_swap = 3 << 20, .cpus = "0,1" });
	ok(!strcmp(got, "memory.max=1048576 memory.swap.max=2097152 cpu.max=150000 100000 cpu.weight=39 cpuset.cpus=0,1 "),
	   "v2 limits as they are written: %s", got);
	got = writes_of(cg, "/c", (struct cgroup_wish){ .memory_swap = -1, .cpus = "", .mems = "" });
	ok(!strcmp(got, "memory.max=max cpu.max=max 100000 cpuset.cpus=\n "), "and taken off, where there are such files: %s", got);
	got = writes_of(cg, "/c", (struct cgroup_wish){ .memory = 1 << 20, .memory_swap = 1 << 20 });
	ok(strstr(got, "memory.swap.max=0 "), "no swap beside the memory: %s", got);
}

/* As the kernel takes them; v1 or v2. */
static void test_writes(struct cgroups *cg)
{
	const char *made, *leaf = at("/w/c"), *w[CGROUP_WRITES_MAX];
	struct cgroup_limits l;
	struct cgroup_wish some = { .cpu_shares = 512, .cpu_quota = 50000, .memory = 64 << 20, .memory_swap = -1 }, none = { .memory_swap = -1 };
	cgroup_make_parents(cg, pool, leaf, &made, &e);
	make_leaf(cg, leaf, 0);
	for (int round = 0; round < 2; round++) {
		size_t n = cgroup_limit_writes(cg, pool, leaf, round ? &none : &some, w);
		for (size_t i = 0; i + 1 < n; i += 2)
			ok(file_poke(AT_FDCWD, w[i], w[i + 1], &e) == 0, "the kernel takes it: %s", strrchr(w[i], '/') + 1);
		cgroup_read_limits(cg, leaf, &l);
		ok(round ? !l.memory && l.cpu_quota <= 0 : l.memory == 64 << 20 && l.cpu_quota == 50000,
		   "and says so: memory %lld, quota %lld", (long long)l.memory, (long long)l.cpu_quota);
	}
	cgroup_remove_made(cg, leaf, made, &e);
}

static void test_v2_files(void)
{
	char dir[] = "/tmp/cgroup2.XXXXXX";
	if (!mkdtemp(dir))
		abort();
	mkdir(pool_printf(pool, "%s/c", dir), 0755);
	struct cgroups cg = { .n = 1 };
	cg.all[0] = (struct hierarchy){ open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), true, "v2" };
	put(dir, "cpu.stat", "usage_usec 5000000\nuser_usec 3000000\nsystem_usec 2000000\n");
	put(dir, "memory.current", "104857600\n");
	put(dir, "memory.max", "209715200\n");
	put(dir, "memory.swap.current", "4096\n");
	put(dir, "memory.swap.max", "max\n");
	put(dir, "memory.stat",
	    "anon 52428800\nfile 1\ninactive_file 4857600\npgfault 7\npgmajfault 3\n");
	put(dir, "memory.events", "low 0\nhigh 0\nmax 4\noom 2\noom_kill 2\n");
	put(dir, "pids.current", "5\n");
	put(dir, "pids.max", "max\n");
	put(dir, "cpu.max", "50000 100000\n");
	put(dir, "cpu.weight", "39\n");
	put(dir, "cpuset.cpus", "0-1\n");
	put(dir, "cpu.pressure", "some avg10=1.50 avg60=0.25 avg300=0.00 total=42\n");
	put(dir, "io.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
	    "full avg10=0.00 avg60=2.00 avg300=0.00 total=6\n");
	struct stats_sample s = { 0 };
	ok(stats_read(&cg, "/c", &s, &e) == 0, "v2 stats");
	ok(s.cpu_usage_ns == 5000000000, "v2 cpu");
	ok(s.working_set == 100000000 && s.rss == 52428800 && s.available == 109715200,
	   "v2 memory");
	ok(s.page_faults == 7 && s.major_page_faults == 3 && s.pids == 5, "v2 faults and pids");
	ok(s.cpu_pressure.known && s.cpu_pressure.some.total_ns == 42000 &&
		   s.cpu_pressure.some.avg10 == 1.5 && s.cpu_pressure.some.avg60 == 0.25 &&
		   !s.cpu_pressure.full.total_ns,
	   "v2 pressure, from a kernel that has no full one of the CPU");
	ok(s.io_pressure.known && s.io_pressure.full.total_ns == 6000 && s.io_pressure.full.avg60 == 2 &&
		   !s.memory_pressure.known,
	   "v2 pressure: some, full, and none");
	ok(s.has_swap && s.swap_usage == 4096 && !s.has_swap_available, "v2 swap");
	uint64_t n;
	ok(cgroup_oom_kills(&cg, "/c", &n) == 0 && n == 2, "v2 OOM kills");
	test_v2_detail(&cg, dir);
	struct cgroup_limits l;
	ok(cgroup_read_limits(&cg, "/c", &l) == 0 && l.memory == 209715200 && l.memory_swap == 0 &&
		   !l.pids,
	   "v2 memory limits");
	ok(l.cpu_quota == 50000 && l.cpu_period == 100000 && l.cpu_shares == 998,
	   "v2 cpu limits: %lld", (long long)l.cpu_shares);
	ok(!strcmp(l.cpus, "0-1") && !*l.mems, "v2 cpuset");
	test_v2_writes(&cg);
	put(dir, "memory.swap.max", "0\n");
	ok(cgroup_read_limits(&cg, "/c", &l) == 0 && l.memory_swap == l.memory,
	   "no swap is a limit");
	/* what crun makes of it under systemd's driver */
	mkdir(pool_printf(pool, "%s/crisp-1.scope", dir), 0755);
	rename(pool_printf(pool, "%s/c", dir), pool_printf(pool, "%s/crisp-1.scope/container", dir));
	ok(cgroup_read_limits(&cg, "/crisp-1.scope", &l) == 0 && l.memory == 209715200, "limits below a scope");
	s = (struct stats_sample){ 0 };
	ok(stats_read(&cg, "/crisp-1.scope", &s, &e) == 0 && s.available == 109715200, "and usage");
	close(cg.all[0].fd);
	file_remove_tree(AT_FDCWD, dir, &e);
}

static void test_netdev(void)
{
	static const char text[] =
		"Inter-|   Receive                                                |  Transmit\n"
		" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n"
		"    lo:  100       2    0    0    0     0          0         0      100       2    0    0    0     0       0          0\n"
		"  net1:   11      12   13   14    1     2          3         4       15      16   17   18    5     6       7          8\n"
		"  eth0:18446744073709551615 22 23 24 1 2 3 4 25 26 27 28 5 6 7 8\n";
	struct netdev d[4];
	ok(netdev_parse(text, d, 4) == 2, "interfaces, lo left out");
	ok(!strcmp(d[0].name, "net1") && d[0].rx.bytes == 11 && d[0].rx.packets == 12 && d[0].rx.errors == 13 &&
		   d[0].rx.dropped == 14 && d[0].tx.bytes == 15 && d[0].tx.packets == 16 &&
		   d[0].tx.errors == 17 && d[0].tx.dropped == 18,
	   "what went in and out");
	ok(netdev_default(d, 2) == &d[1] && d[1].rx.bytes == UINT64_MAX && d[1].tx.dropped == 28,
	   "the main one, without a space after its name");
	ok(netdev_default(d, 1) == d && !netdev_default(d, 0), "or the first, or none");
	ok(netdev_parse(text, d, 1) == 1 && netdev_parse("", d, 4) == 0, "no more than asked for");
	int fd = open("/proc/net/dev", O_RDONLY | O_CLOEXEC);
	size_t n = netdev_read(fd, d, 4);
	ok(netdev_read(fd, d, 4) == n && netdev_read(-1, d, 4) == 0, "the host's %zu, twice from one fd", n);
	close(fd);
}

static void test_slices(void)
{
	const char *path = "";
	struct err why = { 0 };
	ok(slice_path(pool, "a-b-c.slice", &path, &why) == 0 && !strcmp(path, "/a.slice/a-b.slice/a-b-c.slice"),
	   "a slice's path: %s", path);
	const char *pod = slice_of_pod(pool, "/crisp.slice", "4f");
	ok(!strcmp(pod, "/crisp.slice/crisp-4f.slice"), "a pod's slice: %s", pod);
	const char *leaf = cgroup_leaf(pool, pod, "c1"), *oci = cgroup_oci_path(pool, leaf);
	ok(!strcmp(leaf, "/crisp.slice/crisp-4f.slice/crisp-c1.scope"), "a container's scope: %s", leaf);
	ok(!strcmp(oci, "crisp-4f.slice:crisp:c1"), "as the engine is told: %s", oci);
	leaf = cgroup_leaf(pool, "/kubepods/pod1", "c1");
	ok(!strcmp(leaf, "/kubepods/pod1/c1") && cgroup_oci_path(pool, leaf) == leaf, "cgroupfs: %s", leaf);
}

int main(void)
{
	pool = pool_new(NULL, "test");
	test_slices();
	snprintf(parent, sizeof(parent), "/crisp-unit-%d/x", getpid());
	test_v2_files();
	test_netdev();
	struct cgroups *cg;
	int ret = cgroups_open(pool, parent, &cg, &e);
	if (geteuid() != 0 || ret == -ENOENT || ret == -EROFS || ret == -EACCES) {
		ok(true, "the host's cgroups # SKIP %s", ret < 0 ? e.msg : "not root");
		return done();
	}
	ok(ret == 0, "open: %s", err_text(&e));
	ok(count(cg, parent) == cg->n, "the parent is made in all %zu hierarchies", cg->n);
	test_parents(cg);
	test_foreign_parents(cg);
	test_adopt(cg);
	test_bad_paths(cg);
	test_kill(cg);
	test_helpers(cg);
	test_drain(cg);
	test_writes(cg);
	test_oom(cg);
	test_stats(cg);
	cgroups_leave(cg);
	*strrchr(parent, '/') = 0;
	ok(!count(cg, parent), "leaving takes parent and helpers away");
	ok(!e.code, "no error on the way: %s", err_text(&e));
	pool_destroy(pool);
	return done();
}

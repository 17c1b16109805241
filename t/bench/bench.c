/*
 * bench COMMAND [options] SIDE=SOCKET...: load for CRI runtimes, samples on stdout.
 *
 *	latency	a pod up, two execs, the pod down, --rounds times, the sides and the bare CLI in
 *		turn, each round beginning with another one
 *	up	--pods pods, --jobs at once, one side after the other; "up.wall" is the whole
 *	down	the same way: all pods that `up` made, "down.wall"
 *	list	ListContainers --rounds times, in turn; --pods: so many must be there
 *
 * A side that fails ends the run: half a comparison is none.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/pool.h"
#include "t/bench/bare.h"
#include "t/bench/pod.h"

enum { SIDES_MAX = 4, JOBS_MAX = 64 };

struct bench {
	struct pod_options pod;
	struct bare bare;	/* cli NULL: left out */
	int rounds, pods, jobs;
	struct side sides[SIDES_MAX];
	int n_sides;
};

static int connect_all(struct pool *p, struct bench *b, struct err *e)
{
	int ret = 0;
	for (int i = 0; ret == 0 && i < b->n_sides; i++)
		ret = side_connect(p, &b->sides[i], e);
	return ret;
}

static int latency_round(struct pool *p, struct bench *b, const struct side *s, int number,
			 struct err *e)
{
	struct pod pod;
	int ret = pod_up(p, s, &b->pod, number, &pod, e);
	for (int i = 0; ret == 0 && i < 2; i++)
		ret = pod_exec(p, s, &pod, e);
	return ret < 0 ? ret : pod_down(p, s, pod.id, e);
}

static int bench_latency(struct pool *root, struct bench *b, struct err *e)
{
	int n = b->n_sides + (b->bare.cli != NULL);
	int ret = connect_all(root, b, e);
	for (int round = 0; ret == 0 && round < b->rounds; round++) {
		for (int i = 0; ret == 0 && i < n; i++) {
			int k = (round + i) % n;
			struct pool *p = pool_new(root, "round");
			ret = k == b->n_sides ? bare_round(&b->bare, e) :
						latency_round(p, b, &b->sides[k], round, e);
			pool_destroy(p);
		}
	}
	return ret;
}

/* Pods that several processes make, or, with ids, take down: every jobs-th is one's own. */
struct batch {
	struct side *side;
	const char **ids;	/* NULL: up */
	int n;
};

static int work(struct bench *b, const struct batch *batch, int job, struct err *e)
{
	struct pool *p = pool_new(NULL, "job");
	struct side *s = batch->side;
	struct pod pod;
	int ret = side_connect(p, s, e);
	for (int i = job; ret == 0 && i < batch->n; i += b->jobs)
		ret = batch->ids ? pod_down(p, s, batch->ids[i], e) :
				   pod_up(p, s, &b->pod, i, &pod, e);
	pool_destroy(p);
	return ret;
}

static pid_t fork_job(struct bench *b, const struct batch *batch, int job)
{
	struct err e = { 0 };
	pid_t pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	int ret = work(b, batch, job, &e);
	if (ret < 0)
		fprintf(stderr, "bench: %s\n", err_text(&e));
	_exit(ret < 0);
}

static int run_batch(struct bench *b, const struct batch *batch, struct err *e)
{
	pid_t pids[JOBS_MAX];
	int status, failed = 0;
	int64_t t0 = clock_mono_ns();
	for (int j = 0; j < b->jobs; j++)
		pids[j] = fork_job(b, batch, j);
	for (int j = 0; j < b->jobs; j++)
		failed += waitpid(pids[j], &status, 0) < 0 || status;
	if (failed)
		return err_set(e, EIO, "%s: %d of %d jobs failed", batch->side->name, failed,
			       b->jobs);
	sample_put(batch->side->name, batch->ids ? "down.wall" : "up.wall",
		   clock_mono_ns() - t0);
	return 0;
}

static int bench_up(struct pool *root, struct bench *b, struct err *e)
{
	int ret = 0;
	for (int i = 0; ret == 0 && i < b->n_sides; i++)
		ret = run_batch(b, &(struct batch){ &b->sides[i], NULL, b->pods }, e);
	return ret;
}

static int bench_down(struct pool *root, struct bench *b, struct err *e)
{
	int ret = connect_all(root, b, e);
	for (int i = 0; ret >= 0 && i < b->n_sides; i++) {
		struct batch batch = { .side = &b->sides[i] };
		ret = batch.n = pod_ids(root, &b->sides[i], &batch.ids, e);
		if (ret >= 0)
			ret = run_batch(b, &batch, e);
	}
	return ret;
}

static int bench_list(struct pool *root, struct bench *b, struct err *e)
{
	int ret = connect_all(root, b, e);
	for (int round = 0; ret >= 0 && round < b->rounds; round++) {
		for (int i = 0; ret >= 0 && i < b->n_sides; i++) {
			ret = pod_list(root, &b->sides[i], e);
			if (ret >= 0 && b->pods && ret != b->pods)
				ret = err_set(e, EIO, "%s lists %d containers, not %d",
					      b->sides[i].name, ret, b->pods);
		}
	}
	return ret;
}

static const struct {
	const char *name;
	int (*run)(struct pool *root, struct bench *b, struct err *e);
} commands[] = {
	{ "latency", bench_latency },
	{ "up", bench_up },
	{ "down", bench_down },
	{ "list", bench_list },
};

static int usage(void)
{
	fputs("usage: bench latency|up|down|list [--rounds N] [--pods N] [--jobs N] [--containers N]\n"
	      "	[--image REF]\n"
	      "	[--handler H] [--log-dir D] [--cgroup-parent C] [--cli F --cli-root D --bundle D]\n"
	      "	SIDE=SOCKET...\n", stderr);
	return 2;
}

static bool parse(int argc, char **argv, struct bench *b)
{
	static const struct option longs[] = {
		{ "rounds", required_argument, NULL, 'r' },
		{ "pods", required_argument, NULL, 'p' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "containers", required_argument, NULL, 'n' },
		{ "image", required_argument, NULL, 'i' },
		{ "handler", required_argument, NULL, 'h' },
		{ "log-dir", required_argument, NULL, 'l' },
		{ "cgroup-parent", required_argument, NULL, 'g' },
		{ "cli", required_argument, NULL, 'c' },
		{ "cli-root", required_argument, NULL, 'o' },
		{ "bundle", required_argument, NULL, 'b' },
		{ 0 },
	};
	int opt;
	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (opt) {
		case 'r': b->rounds = atoi(optarg); break;
		case 'p': b->pods = atoi(optarg); break;
		case 'j': b->jobs = atoi(optarg); break;
		case 'i': b->pod.image = optarg; break;
		case 'h': b->pod.handler = optarg; break;
		case 'l': b->pod.log_dir = optarg; break;
		case 'g': b->pod.cgroup_parent = optarg; break;
		case 'c': b->bare.cli = optarg; break;
		case 'o': b->bare.root = optarg; break;
		case 'b': b->bare.bundle = optarg; break;
		case 'n': b->pod.containers = atoi(optarg); break;
		default: return false;
		}
	}
	for (; optind < argc && b->n_sides < SIDES_MAX; optind++) {
		char *eq = strchr(argv[optind], '=');
		if (!eq)
			return false;
		*eq = 0;
		b->sides[b->n_sides++] = (struct side){ argv[optind], eq + 1, NULL };
	}
	return optind == argc && b->n_sides && b->jobs > 0 && b->jobs <= JOBS_MAX &&
	       (!b->bare.cli || (b->bare.root && b->bare.bundle));
}

int main(int argc, char **argv)
{
	struct bench b = {
		.pod = { .image = "localhost/bench:1", .handler = "", .log_dir = "/tmp",
			 .cgroup_parent = "", .containers = 1 },
		.rounds = 10, .jobs = 8,
	};
	struct err e = { 0 };
	if (argc < 2 || !parse(argc - 1, argv + 1, &b))
		return usage();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		if (strcmp(argv[1], commands[i].name))
			continue;
		struct pool *root = pool_new(NULL, "bench");
		int ret = commands[i].run(root, &b, &e);
		pool_destroy(root);
		if (ret < 0)
			fprintf(stderr, "bench: %s\n", err_text(&e));
		return ret < 0;
	}
	return usage();
}

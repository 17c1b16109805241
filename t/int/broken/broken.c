/*
 * Engines that break one rule each: the example engine, but for what the name of its file says.  engine-check must
 * name the rule, and a daemon that has loaded such a thing must stay up.
 */
#include <crisp/engine.h>

static const struct crisp_engine *jail_engine(void);
#define crisp_engine_v1 jail_engine
#include "engines/example/jail.c"
#undef crisp_engine_v1

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

#define KINDS(X)                                                                                   \
	X(TWICE, twice) X(NEVER, never) X(BLOCKS, blocks) X(LEAKS, leaks) X(THREADS, threads)      \
	X(FORKS, forks) X(PRINTS, prints) X(MASKS, masks) X(LATE, late) X(SIZE, size)              \
	X(SHORT, short) X(READS_ON, reads_on) X(MAJOR, major) X(REFUSES, refuses)                  \
	X(DEAF, deaf) X(MIXES, mixes) X(LEAKS_LATER, leaks_later) X(CROWDED, crowded)              \
	X(BELIEVES, believes) X(STRAYS, strays) X(WANDERS, wanders) X(FALLS, falls)

#define KIND(name, text) name,
enum kind { KINDS(KIND) N_KINDS };
#undef KIND

#define KIND(name, text) [name] = #text,
static const char *const kind_names[] = { KINDS(KIND) };
#undef KIND

static enum kind kind;			/* as the file is called */
static unsigned n_creates;		/* since the last start */
static const struct crisp_host *first_host;

static void *idle(void *data)
{
	for (;;)
		pause();
	return data;
}

static int broken_open(const struct crisp_host *host, const char *options, struct crisp_instance **out, char *msg,
		       uint32_t cap)
{
	pthread_t thread;
	if (!first_host)
		first_host = host;
	if (kind == THREADS)
		pthread_create(&thread, NULL, idle, NULL);
	if (kind == FORKS && fork() == 0)
		idle(NULL);
	if (kind == PRINTS)
		puts("hello");
	if (kind == MASKS)
		umask(0);
	if (kind == LEAKS && open("/dev/null", O_RDONLY) < 0)
		return -errno;
	if (kind == STRAYS && mkdir("strayed", 0700) < 0)
		return -errno;
	return jail_open(host, options, out, msg, cap);
}

static int broken_start(struct crisp_instance *i, struct crisp_req *r, const struct crisp_start_args *a)
{
	struct crisp_result res = { .size = sizeof(res) };
	n_creates = 0;
	if (kind == NEVER)
		return 0;
	if (kind == BLOCKS)
		nanosleep(&(struct timespec){ 0, 60000000 }, NULL);
	if (kind == SHORT) {
		res.size = 0;
		i->host->done(r, &res);
		return 0;
	}
	if (kind == READS_ON) {	/* as if the struct were what it isn't */
		const volatile char *at = (const char *)a;
		res.err = at[a->size] == 'x' ? -EINVAL : 0;
	}
	int ret = jail_start(i, r, a);
	if (kind == TWICE)
		i->host->done(r, &res);
	return kind == REFUSES ? -EIO : ret;
}

static int broken_create(struct crisp_instance *i, struct crisp_req *r, const struct crisp_create_args *a)
{
	struct crisp_create_args mine = *a;
	struct crisp_stdio stdio = a->stdio ? *a->stdio : (struct crisp_stdio){ .size = sizeof(stdio) };
	mine.stdio = &stdio;
	if (kind == LEAKS_LATER && mine.bundle && access(mine.bundle, F_OK) == 0) {	/* and no other fails */
		char path[4096];
		snprintf(path, sizeof(path), "%s/config.json", mine.bundle);
		if (access(path, F_OK) < 0 && open("/dev/null", O_RDONLY) < 0)
			return -errno;
	}
	if (kind == CROWDED && ++n_creates > 8)
		return 0;
	if (kind == DEAF)
		stdio.in = 0;
	if (kind == MIXES)
		stdio.err = stdio.out;
	return jail_create(i, r, &mine);
}

/* It is content with whatever its program did. */
static void handle_believed(void *data, const struct crisp_spawn_result *r)
{
	struct op *op = data;
	struct crisp_result res = { .size = sizeof(res), .pid = r->pid, .pidfd = r->pidfd };
	op_done(op, &res);
}

static int broken_exec(struct crisp_instance *i, struct crisp_req *r, const struct crisp_exec_args *a)
{
	struct crisp_spawn_plan plan = { .size = sizeof(plan), .path = i->helper,
					 .argv = (const char *const[]){ "jail-run", "version", NULL } };
	struct op *op = kind == BELIEVES ? op_new(i, r, a->id) : NULL;
	return op && i->host->spawn(i->host, &plan, handle_believed, op) ? 0 : jail_exec(i, r, a);
}

/* A network namespace without a path is a new one. */
static int broken_spec(struct crisp_instance *i, struct crisp_req *r, const struct crisp_spec_args *a)
{
	char spec[16384];
	snprintf(spec, sizeof(spec), "%s", a->spec_json);
	char *at = strstr(spec, "\"path\":\"/proc/");
	if (at)
		memcpy(at, "\"lost\"", strlen("\"lost\""));
	i->host->done(r, &(struct crisp_result){ .size = sizeof(struct crisp_result), .data = spec,
						 .data_len = (uint32_t)strlen(spec) });
	return 0;
}

static int broken_stats(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *a)
{
	static int64_t used = 1000;
	char text[64];
	int n = snprintf(text, sizeof(text), "{\"cpu\":{\"usage\":{\"total\":%lld}}}", (long long)used--);
	i->host->done(r, &(struct crisp_result){ .size = sizeof(struct crisp_result), .data = text, .data_len = (uint32_t)n });
	return 0;
}

/* The first instance speaks, also when it is no more. */
static int broken_probe(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *a)
{
	if (kind == LATE)
		first_host->exited(first_host, "somebody", NULL, 0, 0);
	return jail_probe(i, r, a);
}

static const char *file_name(void)
{
	Dl_info here;
	if (!dladdr(&kind, &here) || !strrchr(here.dli_fname, '/'))
		abort();
	return strrchr(here.dli_fname, '/') + 1;
}

const struct crisp_engine *crisp_engine_v1(void)
{
	const char *file = file_name();
	while (kind < N_KINDS && strncmp(file, kind_names[kind], strcspn(file, ".")))
		kind++;
	if (kind == N_KINDS)
		abort();
	static struct crisp_ops table;
	static struct crisp_engine broken;
	table = ops;
	table.open = broken_open;
	table.create = broken_create;
	table.start = broken_start;
	table.exec = broken_exec;
	table.probe = broken_probe;
	if (kind == WANDERS)
		table.prepare_spec = broken_spec;
	if (kind == FALLS)
		table.stats = broken_stats;
	broken = *jail_engine();
	broken.ops = &table;
	broken.name = kind_names[kind];
	if (kind == SIZE)
		broken.size = 40;
	if (kind == MAJOR)
		broken.major = 2;
	return &broken;
}

/*
 * Engines that break one rule each: the example engine, but for what KIND says.  engine-check must
 * name the rule, and a daemon that has loaded such a thing must stay up.
 */
#include <crisp/engine.h>

static const struct crisp_engine *jail_engine(void);
#define crisp_engine_v1 jail_engine
#include "engines/example/jail.c"
#undef crisp_engine_v1

#include <pthread.h>
#include <sys/mman.h>

enum kind { TWICE, NEVER, BLOCKS, LEAKS, THREADS, FORKS, PRINTS, MASKS, LATE, SIZE, SHORT, READS_ON, MAJOR, REFUSES };

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
	if (KIND == THREADS)
		pthread_create(&thread, NULL, idle, NULL);
	if (KIND == FORKS && fork() == 0)
		idle(NULL);
	if (KIND == PRINTS)
		puts("hello");
	if (KIND == MASKS)
		umask(0);
	if (KIND == LEAKS && open("/dev/null", O_RDONLY) < 0)
		return -errno;
	return jail_open(host, options, out, msg, cap);
}

static int broken_start(struct crisp_instance *i, struct crisp_req *r, const struct crisp_start_args *a)
{
	struct crisp_result res = { .size = sizeof(res) };
	if (KIND == NEVER)
		return 0;
	if (KIND == BLOCKS)
		nanosleep(&(struct timespec){ 0, 60000000 }, NULL);
	if (KIND == SHORT) {
		res.size = 0;
		i->host->done(r, &res);
		return 0;
	}
	if (KIND == READS_ON) {	/* as if the struct were what it isn't */
		const volatile char *at = (const char *)a;
		res.err = at[a->size] == 'x' ? -EINVAL : 0;
	}
	int ret = jail_start(i, r, a);
	if (KIND == TWICE)
		i->host->done(r, &res);
	return KIND == REFUSES ? -EIO : ret;
}

/* The first instance speaks, also when it is no more. */
static int broken_probe(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *a)
{
	if (KIND == LATE)
		first_host->exited(first_host, "somebody", NULL, 0, 0);
	return jail_probe(i, r, a);
}

const struct crisp_engine *crisp_engine_v1(void)
{
	static struct crisp_ops table;
	static struct crisp_engine broken;
	table = ops;
	table.open = broken_open;
	table.start = broken_start;
	table.probe = broken_probe;
	broken = *jail_engine();
	broken.ops = &table;
	broken.name = NAME;
	if (KIND == SIZE)
		broken.size = 40;
	if (KIND == MAJOR)
		broken.major = 2;
	return &broken;
}

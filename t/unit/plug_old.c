/*
 * A plugin of a time when the table of operations ended with `del`, and whose results were shorter:
 * it must go on working in every later host.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engines/engine.h"

struct crisp_instance {
	const struct crisp_host *host;
};

/* crisp_result up to pid. */
struct old_result {
	uint32_t size;
	int32_t err;
	const char *msg;
	int32_t pid;
};

static struct crisp_instance instance;

static int old_open(const struct crisp_host *host, const char *options, struct crisp_instance **out,
		    char *msg, uint32_t cap)
{
	instance.host = host;
	*out = &instance;
	return 0;
}

static void old_close(struct crisp_instance *i)
{
}

static int answer(struct crisp_instance *i, struct crisp_req *r, int err)
{
	struct old_result res = { .size = offsetof(struct old_result, pid) + sizeof(int32_t),
				  .err = err };
	i->host->done(r, (const struct crisp_result *)&res);
	return 0;
}

static int old_create(struct crisp_instance *i, struct crisp_req *r,
		      const struct crisp_create_args *a)
{
	return answer(i, r, 0);
}

static int old_start(struct crisp_instance *i, struct crisp_req *r,
		     const struct crisp_start_args *a)
{
	return answer(i, r, -EBUSY);
}

static int old_delete(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *a)
{
	answer(i, r, 0);
	return -EIO;	/* both: a bug that the host survives */
}

enum { OLD_SIZE = offsetof(struct crisp_ops, exec) };

const struct crisp_engine *crisp_engine_v1(void)
{
	static struct crisp_engine engine;
	static const struct crisp_ops full = {
		.size = OLD_SIZE, .open = old_open, .close = old_close,
		.create = old_create, .start = old_start, .del = old_delete,
	};
	void *ops = malloc(OLD_SIZE);	/* no byte more: a sanitizer sees who reads on */
	if (!ops)
		return NULL;
	memcpy(ops, &full, OLD_SIZE);
	engine = (struct crisp_engine){ .magic = CRISP_ENGINE_MAGIC,
					 .size = sizeof(engine),
					 .name = "old",
					 .major = CRISP_ENGINE_MAJOR,
					 .ops = ops };
	return &engine;
}

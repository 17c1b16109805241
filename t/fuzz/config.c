/*
 * Fuzz target: a configuration file, and its first line as a --set as well.  What loads must
 * be whole, and load again from what is shown of it, with the same values.
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static struct config *load(struct pool *p, const void *bytes, size_t n, const char *set,
			   struct err *e)
{
	char path[64];
	struct config *c = NULL;
	int fd = memfd_create("config", MFD_CLOEXEC);
	assert(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int ret = config_load(p, path, &set, set ? 1 : 0, "/x", &c, e);
	assert(ret == 0 ? c != NULL && e->code == 0 : e->code != 0 && e->msg[0]);
	close(fd);
	return ret == 0 ? c : NULL;
}

static const char *shown(struct pool *p, const struct config *c)
{
	struct json_out *o = json_out(p);
	config_json(c, o);
	return json_text(o, NULL);
}

static void check(struct pool *p, const struct config *c)
{
	struct err e = { 0 };
	assert(c->socket[0] == '/' && strlen(c->socket) < 108);
	assert(c->n_handlers > 0 && config_handler(c, "") && config_handler(c, c->engine_default));
	assert(c->stream_port >= 0 && c->stream_port <= 65535);
	const char *text = shown(p, c);
	struct config *again = load(p, text, strlen(text), NULL, &e);
	assert(again && !strcmp(shown(p, again), text));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct pool *p = pool_new(NULL, "fuzz");
	struct err e = { 0 };
	const uint8_t *line = memchr(bytes, '\n', n);
	const char *set = pool_strndup(p, (const char *)bytes, line ? (size_t)(line - bytes) : n);
	struct config *c = load(p, bytes, n, NULL, &e);
	if (c)
		check(p, c);
	err_clear(&e);
	c = load(p, "", 0, set, &e);
	if (c)
		check(p, c);
	pool_destroy(p);
	return 0;
}

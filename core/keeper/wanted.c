/* See the header. */
#define BARE_PART
#include "core/base/bare.h"
#include "core/keeper/wanted.h"
#include "core/keep/wire.h"

static char text[KEEP_ARGS_BYTES];
char *wanted_args[KEEP_ARGS_MAX + 6], *wanted_env[KEEP_ENV_MAX + 1];

static char *next_string(char **at, const char *end)
{
	char *s = *at;
	while (*at < end && **at)
		(*at)++;
	return *at < end ? (*at)++, s : NULL;
}

bool wanted_read(int fd, int at)
{
	struct keep_args *a = (void *)text;
	long n = bare(pread64, fd, text, sizeof(text), 0);
	if (n < (long)sizeof(*a) || a->n_args < 2 || a->n_args > KEEP_ARGS_MAX ||
	    a->n_env > KEEP_ENV_MAX)
		return false;
	char *pos = text + sizeof(*a), *end = text + n;
	wanted_args[0] = next_string(&pos, end);
	for (uint32_t i = 1; i < a->n_args; i++)
		wanted_args[at++] = next_string(&pos, end);
	wanted_args[at] = NULL;
	bool good = wanted_args[at - 1];
	for (uint32_t i = 0; i < a->n_env; i++)
		good = good && (wanted_env[i] = next_string(&pos, end));
	wanted_env[a->n_env] = NULL;
	return good;
}

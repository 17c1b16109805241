/* The options of a handler of gVisor. */
#include "engines/gvisor/gvisor.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* What the plugin itself says on each command line. */
static bool is_ours(const char *flag)
{
	static const char *const ours[] = { "root", "log", "log-format", "log-fd", "platform", "network",
					    "debug", "debug-log", NULL };
	flag += strspn(flag, "-");
	size_t n = strcspn(flag, "=");
	for (size_t i = 0; ours[i]; i++)
		if (strlen(ours[i]) == n && !strncmp(ours[i], flag, n))
			return true;
	return false;
}

static int take_flags(void *value, yajl_val v)
{
	char **flags = value;
	if (!YAJL_IS_ARRAY(v) || v->u.array.len > FLAGS_MAX)
		return -EINVAL;
	for (size_t i = 0; i < v->u.array.len; i++) {
		const char *s = YAJL_GET_STRING(v->u.array.values[i]);
		if (!s || s[0] != '-' || is_ours(s))
			return -EINVAL;
		free(flags[i]);
		flags[i] = strdup(s);
		if (!flags[i])
			abort();
	}
	return 0;
}

static const char *const platforms[] = { "systrap", "ptrace", "kvm", NULL };
static const char *const networks[] = { "sandbox", "host", "none", NULL };
static const char *const urpcs[] = { "auto", "off", NULL };

static const struct option options[] = {
	OPTION(PATH, struct options, path),
	OPTION(PATH, struct options, root),
	OPTION(WORD, struct options, platform, .words = platforms, .wanted = "systrap, ptrace or kvm"),
	OPTION(WORD, struct options, network, .words = networks, .wanted = "sandbox, host or none"),
	OPTION(WORD, struct options, urpc, .words = urpcs, .wanted = "auto or off"),
	OPTION(OWN, struct options, flags, .take = take_flags,
	       .wanted = "an array of at most 32 flags of runsc that crisp doesn't set itself"),
	OPTION(BOOL, struct options, debug),
	{ 0 }
};

int gvisor_options_read(struct options *o, const char *json, const char *state_dir, char *msg, uint32_t cap)
{
	*o = (struct options){ .network = "sandbox", .urpc = "auto" };
	int ret = options_root(o->root, state_dir, msg, cap);
	return ret < 0 ? ret : options_read(options, o, json, msg, cap);
}

void gvisor_options_finish(struct options *o)
{
	for (size_t i = 0; o->flags[i]; i++)
		free(o->flags[i]);
}

const char *gvisor_program(const struct options *o, char found[PATH_LEN])
{
	return options_program(o->path, (const char *const[]){ "runsc", NULL }, found);
}

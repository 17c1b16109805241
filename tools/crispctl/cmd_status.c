/* crispctl status: is the runtime well? */
#include <stdio.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/pool.h"
#include "tools/crispctl/crispctl.h"
#include "tools/crispctl/info.h"
#include "tools/crispctl/protojson.h"
#include "tools/crispctl/table.h"

static void print_json(struct ctl *c, const Cri__VersionResponse *v, const Cri__StatusResponse *s)
{
	struct json_out *o = json_out(c->pool);
	json_object(o);
	json_key(o, "version");
	protojson(&v->base, o);
	json_key(o, "status");
	protojson(s->status ? &s->status->base : NULL, o);
	json_key(o, "runtimeHandlers");
	json_array(o);
	for (size_t i = 0; i < s->n_runtime_handlers; i++)
		protojson(&s->runtime_handlers[i]->base, o);
	json_end_array(o);
	json_key(o, "features");
	protojson(s->features ? &s->features->base : NULL, o);
	INFO_PUT(c, o, s);
	json_end_object(o);
	ctl_print_json(c, o);
}

static bool print_conditions(struct ctl *c, const Cri__StatusResponse *s)
{
	static const char *const heads[] = { "CONDITION", "STATE", "REASON", "MESSAGE", NULL };
	struct table *t = table_new(c->pool, heads);
	bool good = s->status && s->status->n_conditions > 0;
	for (size_t i = 0; s->status && i < s->status->n_conditions; i++) {
		const Cri__RuntimeCondition *cond = s->status->conditions[i];
		bool ready = cond->status || !strstr(cond->type, "Ready");
		good = good && ready;
		table_cell(t, cond->type);
		table_cell(t, cond->status ? "yes" : "no");
		table_cell(t, cond->reason);
		table_cell(t, cond->message);
	}
	table_print(t, stdout);
	return good;
}

/* What crisp tells beyond the CRI; other runtimes have no such word. */
static void print_aside(struct ctl *c, const Cri__StatusResponse *s)
{
	const struct json *j;
	struct err e = { 0 };
	for (size_t i = 0; i < s->n_info; i++) {
		if (json_parse(c->pool, s->info[i]->value, strlen(s->info[i]->value), &j, &e) < 0)
			continue;
		const struct json *ids = json_get(j, "setAside");
		for (size_t k = 0; k < json_len(ids); k++)
			printf("set aside and killed, its record could not be taken up: %s\n", json_str(json_at(ids, k)));
	}
}

static int run(struct ctl *c, int argc, char **argv, struct err *e)
{
	int opt = ctl_getopt(c, argc, argv, ":h", NULL, e);
	if (opt != -1)
		return CTL_GETOPT_RET(opt);
	Cri__VersionRequest vreq = CRI__VERSION_REQUEST__INIT;
	Cri__VersionResponse *v;
	Cri__StatusRequest sreq = CRI__STATUS_REQUEST__INIT;
	Cri__StatusResponse *s;
	vreq.version = "0.1.0";
	sreq.verbose = true;
	int ret = CTL_CALL(c, CTL_RUNTIME, Version, version, &vreq, &v, e);
	if (ret == 0)
		ret = CTL_CALL(c, CTL_RUNTIME, Status, status, &sreq, &s, e);
	if (ret < 0)
		return ret;
	if (c->json) {
		print_json(c, v, s);
		return 0;
	}
	printf("%s %s, CRI %s%s", v->runtime_name, v->runtime_version, v->runtime_api_version,
	       s->n_runtime_handlers ? ", handlers:" : "");
	for (size_t i = 0; i < s->n_runtime_handlers; i++)
		if (*s->runtime_handlers[i]->name)
			printf(" %s", s->runtime_handlers[i]->name);
	puts("");
	print_aside(c, s);
	return print_conditions(c, s) ? 0 : EXIT_FAILED;
}

const struct command cmd_status = {
	.name = "status",
	.args = "",
	.summary = "Say whether the runtime and its network are ready; exit 1 when not",
	.run = run,
};

/* crispctl dump: the inside of a crisp. */
#include <stdio.h>
#include <string.h>

#include "core/base/json.h"
#include "tools/crispctl/client.h"
#include "tools/crispctl/crispctl.h"

static int run(struct ctl *c, int argc, char **argv, struct err *e)
{
	int opt = ctl_getopt(c, argc, argv, ":h", NULL, e);
	if (opt != -1)
		return CTL_GETOPT_RET(opt);
	Node__DumpRequest req = NODE__DUMP_REQUEST__INIT;
	Node__DumpResponse *resp;
	int ret = ctl_call(c, "/crisp.v1.Node/Dump", &req.base, &node__dump_response__descriptor,
			   &resp, e);
	const struct json *j;
	if (ret == 0)
		ret = json_parse(c->pool, resp->json, strlen(resp->json), &j, e);
	if (ret < 0)
		return ret;
	struct json_out *o = json_out(c->pool);
	json_put(o, j);
	ctl_print_json(c, o);
	return 0;
}

const struct command cmd_dump = {
	.name = "dump",
	.args = "",
	.summary = "Print a crisp's inside as JSON: operations and what they wait for, pods, pools",
	.run = run,
};

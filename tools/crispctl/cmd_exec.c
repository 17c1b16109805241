/* crispctl exec: ExecSync, so without a terminal or stdin; the exit code is the command's. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/pool.h"
#include "tools/crispctl/client.h"
#include "tools/crispctl/crispctl.h"
#include "tools/crispctl/find.h"

static int call(struct ctl *c, char *id, char **cmd, size_t n, struct err *e)
{
	Cri__ExecSyncRequest req = CRI__EXEC_SYNC_REQUEST__INIT;
	Cri__ExecSyncResponse *resp;
	req.container_id = id;
	req.cmd = cmd;
	req.n_cmd = n;
	req.timeout = (c->timeout_ms + 999) / 1000;
	/* The runtime kills the command at its own timeout: leave it the time to say so. */
	client_set_timeout(c->client, c->timeout_ms ? c->timeout_ms + 5000 : 0);
	int ret = CTL_CALL(c, CTL_RUNTIME, ExecSync, exec_sync, &req, &resp, e);
	if (ret < 0)
		return ret;
	if (c->json) {
		ctl_print_message(c, &resp->base);
		return resp->exit_code & 255;
	}
	ret = file_write_all(STDOUT_FILENO, resp->stdout.data, resp->stdout.len);
	if (ret == 0)
		ret = file_write_all(STDERR_FILENO, resp->stderr.data, resp->stderr.len);
	if (ret < 0)
		return err_set(e, -ret, "write the output: %s", strerror(-ret));
	return resp->exit_code & 255;
}

static int run(struct ctl *c, int argc, char **argv, struct err *e)
{
	int opt = ctl_getopt(c, argc, argv, "+:h", NULL, e);
	if (opt != -1)
		return CTL_GETOPT_RET(opt);
	char **cmd = argv + optind + 1;
	if (optind < argc && cmd < argv + argc && !strcmp(*cmd, "--"))
		cmd++;
	if (optind == argc || cmd >= argv + argc)
		return ctl_usage(c, e, "expected a container and a command");
	struct find f;
	const Cri__Container *ctr;
	int ret = find_load(c, &f, e);	/* which connects */
	if (ret == 0)
		ret = find_container(&f, argv[optind], &ctr, e);
	return ret < 0 ? ret : call(c, ctr->id, cmd, argv + argc - cmd, e);
}

const struct command cmd_exec = {
	.name = "exec",
	.args = "POD|CONTAINER [--] COMMAND [ARG...]",
	.summary = "Run a command in a container, print its output and exit as it does",
	.help = "--timeout kills the command when it takes longer.  There is no stdin.\n",
	.run = run,
};

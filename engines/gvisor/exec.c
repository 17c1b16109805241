/*
 * Further processes.  `runsc exec --detach` leaves a runsc behind that waits for the process and
 * ends as it does: that is the process which the host watches.  Signals go to the one inside.
 */
#include "engines/gvisor/gvisor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* runsc starts itself anew for the process, without our descriptors: only a file will do. */
static int write_process(const struct act *a, const char *json, char arg[PATH_LEN + 32])
{
	snprintf(arg, PATH_LEN + 32, "--process=%s.process", a->files);
	int fd = open(strchr(arg, '=') + 1, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	char *changed = gvisor_process_spec(a->inst, json);
	const char *text = changed ? changed : json;
	size_t len = strlen(text);
	ssize_t n = write(fd, text, len);
	free(changed);
	close(fd);
	return n == (ssize_t)len ? 0 : n < 0 ? -errno : -ENOSPC;
}

static int32_t read_guest_pid(const struct act *a)
{
	char path[PATH_LEN + 16], text[32] = "";
	snprintf(path, sizeof(path), "%s.guest", a->files);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	return n > 0 ? (int32_t)strtol(text, NULL, 10) : 0;
}

static void handle_exec(void *data, const struct crisp_spawn_result *r)
{
	struct act *a = data;
	int err = runsc_judge(a, r);
	struct ctr *c = ctr_find(a->inst, a->id);
	if (!err && !r->pid) {
		err = -EIO;
		snprintf(a->msg, sizeof(a->msg), "runsc exec ended without an error, but wrote no pid");
	}
	if (err == -EIO && c && c->state == CTR_EXITED)
		err = -ESRCH;
	if (err && r->pidfd > 0)
		close(r->pidfd);
	int32_t guest = err ? 0 : read_guest_pid(a);
	if (!err && c)
		proc_add(c->box, a->id, a->exec_id, guest);
	act_done(a, &(struct crisp_result){
		.err = err,
		.msg = a->msg,
		.pid = err ? 0 : r->pid,
		.pidfd = err ? -1 : r->pidfd,
		.exit_source = CRISP_EXIT_BY_PID,
		.guest_pid = (uint32_t)guest,
	});
}

int gvisor_exec(struct crisp_instance *i, struct crisp_req *r, const struct crisp_exec_args *args)
{
	struct command cmd;
	char process[PATH_LEN + 32], guest[PATH_LEN + 32];
	struct ctr *c = ctr_find(i, args->id);
	if (!args->process_json)
		return -EINVAL;
	struct act *a = act_new(i, r, (const struct crisp_args *)args);
	int ret = !c ? -ENOENT : c->state != CTR_RUNNING ? -EBUSY : box_alive(c->box) ? 0 : -EHOSTDOWN;
	if (ret == 0)
		ret = write_process(a, args->process_json, process);
	if (ret < 0) {
		act_end(a, ret, strerror(-ret));
		return 0;
	}
	command_init(&cmd, i, a, c->box);
	snprintf(guest, sizeof(guest), "--internal-pid-file=%s.guest", a->files);
	command_arg(&cmd, "exec");
	command_arg(&cmd, "--detach");
	command_arg(&cmd, process);
	command_arg(&cmd, guest);
	command_want_pid(&cmd);
	char console[PATH_LEN];
	if (args->stdio && args->stdio->flags & CRISP_STDIO_TTY) {
		snprintf(console, sizeof(console), "--console-socket=%s", args->stdio->console_socket);
		command_arg(&cmd, console);
	}
	command_want_stdio(&cmd, args->stdio);
	command_arg(&cmd, a->id);
	command_run(&cmd, handle_exec, a);
	return 0;
}

int gvisor_exec_delete(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args)
{
	struct ctr *c = ctr_find(i, args->id);
	if (c && args->exec_id)
		proc_forget(c->box, args->id, args->exec_id);
	act_end(act_new(i, r, args), 0, NULL);
	return 0;
}

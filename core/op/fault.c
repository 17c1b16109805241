/* Faults on demand: see the header. */
#include "core/op/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/op/op.h"

static void handle_abort(struct op *op)
{
	op_wake(op, -ECANCELED);
}

static int strike(struct op *op, const char *action)
{
	if (!strcmp(action, "kill")) {
		kill(getpid(), SIGKILL);
		pause();
	}
	if (!strcmp(action, "fail"))
		return err_set(&op->err, EIO, "failed on demand");
	if (!strcmp(action, "hang")) {
		op->abort_wait = handle_abort;
		return OP_WAIT;
	}
	op_cancel(op, ECANCELED, "cancelled on demand");
	return 0;
}

static int handle_row(struct op *op, const char *step, bool undoing, void *data)
{
	const char *path = data;
	struct buf text = { 0 };
	char action[16] = "", want[256];
	int at = 0, ret = 0;
	if (file_read(AT_FDCWD, path, 4096, &text, NULL) == 0 &&
	    sscanf(text.data, "%15s %n", action, &at) == 1) {
		snprintf(want, sizeof(want), "%s%s/%s", undoing ? "undo " : "", op->table->name,
			 step);
		text.data[at + (int)strcspn(text.data + at, "\n")] = 0;
		if (!strcmp(text.data + at, want) && unlink(path) == 0) {
			log_warn("fault on demand", "action", action, "op", op->table->name, "step",
				 step);
			ret = strike(op, action);
		}
	}
	buf_free(&text);
	return ret;
}

void op_fault_install(const char *path)
{
	op_set_hook(handle_row, (void *)(uintptr_t)path);
}

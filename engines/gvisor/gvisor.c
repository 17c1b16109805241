/*
 * The engine gvisor: see gvisor.h.
 *
 * What differs from other OCI runtimes: the sandbox is made with the pod, from a pause bundle; a
 * container gets its stdio and its gofer (so its rootfs) with start; no container has a process
 * on the host, so its end is told (box.c); and with its own network stack the sandbox takes the
 * addresses out of the pod's network namespace, so nobody looks for them there.
 */
#include "engines/gvisor/gvisor.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	OUT_MAX = 4096,
	NAMESPACED = 20240731,	/* since then runsc knows that net/core has files for each netns */
};

/* -- the instance -- */

/* Files of a host that has died: its commands have died with it.  Those of this one are of a handler of the
 * same name, with other options, whose pods live on. */
static void clear_folder(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *ent;
	char ours[16];
	size_t n = (size_t)snprintf(ours, sizeof(ours), "%d-", getpid());
	while (d && (ent = readdir(d)))
		if (strncmp(ent->d_name, ours, n))
			unlinkat(dirfd(d), ent->d_name, 0);
	if (d)
		closedir(d);
}

static int make_folder(const struct crisp_host *h, const char *name, bool clear, char *msg, uint32_t cap)
{
	char path[PATH_LEN];
	snprintf(path, sizeof(path), "%s/%s", h->state_dir, name);
	if (mkdir(path, 0700) < 0 && errno != EEXIST) {
		int ret = -errno;
		snprintf(msg, cap, "make %.400s: %s", path, strerror(errno));
		return ret;
	}
	if (clear)
		clear_folder(path);
	return 0;
}

static void gvisor_close(struct crisp_instance *i)
{
	while (i->boxes)
		box_free(i->boxes);
	while (i->acts)
		act_free(i->acts);
	gvisor_options_finish(&i->options);
	free(i);
}

static int gvisor_open(const struct crisp_host *host, const char *options, struct crisp_instance **out,
		       char *msg, uint32_t cap)
{
	struct crisp_instance *i = calloc(1, sizeof(*i));
	if (!i)
		return -ENOMEM;
	i->host = host;
	int ret = gvisor_options_read(&i->options, options, host->state_dir, msg, cap);
	if (ret == 0)
		ret = make_folder(host, "tmp", true, msg, cap);
	if (ret == 0 && i->options.debug)
		ret = make_folder(host, "debug", false, msg, cap);
	if (ret < 0)
		gvisor_close(i);
	else
		*out = i;
	return ret;
}

/* -- probe -- */

/* "runsc version release-20250203.0", "... 0.0~20221219.0", "... VERSION_MISSING" */
static const char *find_version(const char *text, char version[64], unsigned *release)
{
	static const char head[] = "runsc version ";
	if (strncmp(text, head, strlen(head)))
		return NULL;
	text += strlen(head);
	snprintf(version, 64, "%.*s", (int)strcspn(text, " \n"), text);
	*release = 0;
	for (const char *at = version; *at && !*release; at += strspn(at, "0123456789") + 1) {
		size_t digits = strspn(at, "0123456789");
		if (digits == 8)
			*release = (unsigned)strtoul(at, NULL, 10);
		if (!at[digits])
			break;
	}
	return version;
}

static void handle_probed(void *data, const struct crisp_spawn_result *r)
{
	struct act *a = data;
	char version[64];
	int err = runsc_judge(a, r);
	if (!err && !find_version(r->out, version, &a->inst->release)) {
		err = -EIO;
		snprintf(a->msg, sizeof(a->msg), "runsc --version says no version");
	}
	const char *platform = a->inst->options.platform;
	if (!err && platform && !strcmp(platform, "kvm") && access("/dev/kvm", R_OK | W_OK) < 0) {
		err = -EIO;
		snprintf(a->msg, sizeof(a->msg), "option \"platform\" is kvm, but /dev/kvm: %s", strerror(errno));
	}
	act_done(a, &(struct crisp_result){ .err = err, .msg = a->msg, .version = err ? NULL : version });
}

static int gvisor_probe(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args)
{
	struct command c;
	struct act *a = act_new(i, r, args);
	command_init(&c, i, a, NULL);
	command_arg(&c, "--version");
	c.plan.out_max = OUT_MAX;
	command_run(&c, handle_probed, a);
	return 0;
}

/* -- sandboxes -- */

static void handle_box_started(void *data, const struct crisp_spawn_result *r)
{
	struct act *a = data;
	char state[2 * PATH_LEN];
	int err = runsc_judge(a, r);
	if (err) {
		act_end(a, err, a->msg);
		return;
	}
	struct box *b = box_new(a->inst, a->id, a->pid, a->pidfd, a->netns, a->network);
	a->pidfd = -1;
	box_state(b, state, sizeof(state));
	act_done(a, &(struct crisp_result){
		.pid = b->pid, .state = state, .state_len = (uint32_t)strlen(state),
	});
}

/* Its second half: the network is set up, and the pause process runs. */
static void handle_box_created(void *data, const struct crisp_spawn_result *r)
{
	static const char *const net_core[] = { "/proc/sys/net/core", NULL };
	struct act *a = data;
	struct command c;
	int err = runsc_judge(a, r);
	a->pid = r->pid;
	a->pidfd = r->pidfd;
	if (!err && a->pidfd < 0) {
		err = -EIO;
		snprintf(a->msg, sizeof(a->msg), "runsc create wrote no pid, or of a process that is gone");
	}
	if (err) {
		act_end(a, err, a->msg);
		return;
	}
	struct box like = { .inst = a->inst };
	snprintf(like.network, sizeof(like.network), "%s", a->network);
	command_init(&c, a->inst, a, &like);
	c.plan.flags |= CRISP_SPAWN_STAY;
	c.plan.netns_path = a->netns;
	if (a->netns && a->inst->release && a->inst->release < NAMESPACED)
		c.plan.covers = net_core;
	command_arg(&c, "start");
	command_arg(&c, a->id);
	command_run(&c, handle_box_started, a);
}

static int gvisor_sandbox_create(struct crisp_instance *i, struct crisp_req *r,
				 const struct crisp_sandbox_create_args *args)
{
	struct command c;
	char bundle[PATH_LEN + 16];
	if (!args->bundle || box_find(i, args->id))
		return args->bundle ? -EEXIST : -EINVAL;
	struct act *a = act_new(i, r, (const struct crisp_args *)args);
	/* A pod of the host's network has that, and no stack of gVisor's. */
	a->network = args->netns_path ? i->options.network : "host";
	a->netns = args->netns_path ? strdup(args->netns_path) : NULL;
	struct box like = { .inst = i };
	snprintf(like.network, sizeof(like.network), "%s", a->network);
	command_init(&c, i, a, &like);
	c.plan.flags |= CRISP_SPAWN_STAY;
	c.plan.rootfs = args->rootfs;
	c.plan.netns_path = a->netns;	/* an older runsc's control socket is a name in there */
	command_arg(&c, "create");
	snprintf(bundle, sizeof(bundle), "--bundle=%s", args->bundle);
	command_arg(&c, bundle);
	command_want_pid(&c);
	command_want_stdio(&c, args->stdio);
	command_arg(&c, a->id);
	command_run(&c, handle_box_created, a);
	return 0;
}

static void handle_box_deleted(void *data, const struct crisp_spawn_result *r)
{
	struct act *a = data;
	int err = runsc_judge(a, r);
	struct box *b = box_find(a->inst, a->id);
	if (err == -EIO && !r->err && says_missing(a->msg))
		err = a->flags & CRISP_ARG_FORCE ? 0 : -ENOENT;
	if (!err && b)
		box_free(b);
	if (!err) {
		char path[PATH_LEN];
		box_drop_fd(a->inst, a->id);
		files_forget(a->inst, a->id, a->id);
		if (files_socket(a->inst, a->id, path))
			unlink(path);
	}
	act_end(a, err, a->msg);
}

static int gvisor_sandbox_delete(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args)
{
	struct command c;
	struct box *b = box_find(i, args->id);
	struct act *a = act_new(i, r, args);
	if (b && box_alive(b) && !(args->flags & CRISP_ARG_FORCE)) {
		act_end(a, -EBUSY, "the sandbox runs");
		return 0;
	}
	/* Killed at once: nothing in there has a say, and one that hangs would not listen. */
	if (b)
		box_kill(b);
	command_init(&c, i, a, b);
	command_arg(&c, "delete");
	if (b || args->flags & CRISP_ARG_FORCE)
		command_arg(&c, "--force");
	command_arg(&c, a->id);
	command_run(&c, handle_box_deleted, a);
	return 0;
}

static int gvisor_sandbox_stop(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args)
{
	struct box *b = box_find(i, args->id);
	struct act *a = act_new(i, r, args);
	if (b)
		box_kill(b);
	act_end(a, b ? 0 : -ENOENT, b ? NULL : "there is no such sandbox");
	return 0;
}

static int gvisor_sandbox_attach(struct crisp_instance *i, struct crisp_req *r,
				 const struct crisp_attach_args *args)
{
	struct act *a = act_new(i, r, (const struct crisp_args *)args);
	struct box *b = box_find(i, a->id);
	if (!b)
		b = box_restore(i, a->id, args->state, args->state_len);
	if (!b) {
		act_end(a, -ENOENT, "the sentry is gone");
		return 0;
	}
	act_done(a, &(struct crisp_result){ .status = CRISP_STATUS_RUNNING, .pid = b->pid });
	return 0;
}

/* -- containers -- */

static void handle_created(void *data, const struct crisp_spawn_result *r)
{
	struct act *a = data;
	int err = runsc_judge(a, r);
	struct box *b = box_find(a->inst, a->box);
	if (r->pidfd > 0)
		close(r->pidfd);	/* the sentry's */
	if (!err && (!b || !box_alive(b))) {
		err = -EHOSTDOWN;
		snprintf(a->msg, sizeof(a->msg), "the sandbox is gone");
	}
	if (!err)
		ctr_new(b, a->id);
	act_done(a, &(struct crisp_result){ .err = err, .msg = a->msg, .exit_source = CRISP_EXIT_BY_ENGINE });
}

static int gvisor_create(struct crisp_instance *i, struct crisp_req *r, const struct crisp_create_args *args)
{
	struct command c;
	char bundle[PATH_LEN + 16], console[PATH_LEN + 32];
	struct box *b = box_find(i, args->sandbox_id);
	struct act *a = act_new(i, r, (const struct crisp_args *)args);
	int ret = !b ? -ENOENT : !box_alive(b) ? -EHOSTDOWN : ctr_find(i, a->id) ? -EEXIST : 0;
	if (ret < 0) {
		act_end(a, ret, ret == -EEXIST ? "it exists already" : "the sandbox is gone");
		return 0;
	}
	snprintf(a->box, sizeof(a->box), "%s", b->id);
	command_init(&c, i, a, b);
	command_arg(&c, "create");
	snprintf(bundle, sizeof(bundle), "--bundle=%s", args->bundle);
	command_arg(&c, bundle);
	if (args->stdio && args->stdio->flags & CRISP_STDIO_TTY) {
		snprintf(console, sizeof(console), "--console-socket=%s", args->stdio->console_socket);
		command_arg(&c, console);
	}
	command_arg(&c, a->id);
	command_run(&c, handle_created, a);
	return 0;
}

static void handle_started(void *data, const struct crisp_spawn_result *r)
{
	struct act *a = data;
	int err = runsc_judge(a, r);
	struct ctr *c = ctr_find(a->inst, a->id);
	if (!err && c && c->state == CTR_CREATED)
		ctr_watch(c);
	if (err == -EIO && c && !box_alive(c->box))
		err = -EHOSTDOWN;
	act_end(a, err, a->msg);
}

static int gvisor_start(struct crisp_instance *i, struct crisp_req *r, const struct crisp_start_args *args)
{
	struct command c;
	struct ctr *ctr = ctr_find(i, args->id);
	struct act *a = act_new(i, r, (const struct crisp_args *)args);
	if (!ctr || ctr->state != CTR_CREATED || !box_alive(ctr->box)) {
		int err = !ctr ? -ENOENT : !box_alive(ctr->box) ? -EHOSTDOWN : -EBUSY;
		act_end(a, err, strerror(-err));
		return 0;
	}
	command_init(&c, i, a, ctr->box);
	c.plan.flags |= CRISP_SPAWN_STAY;
	c.plan.rootfs = args->rootfs;
	command_want_stdio(&c, args->stdio);
	command_arg(&c, "start");
	command_arg(&c, a->id);
	command_run(&c, handle_started, a);
	return 0;
}

static void handle_deleted(void *data, const struct crisp_spawn_result *r)
{
	struct act *a = data;
	int err = runsc_judge(a, r);
	struct ctr *c = ctr_find(a->inst, a->id);
	if (err == -EIO && !r->err && says_missing(a->msg))
		err = a->flags & CRISP_ARG_FORCE ? 0 : -ENOENT;
	/* runsc takes a dead sandbox for a living one until the host has reaped it, and asks it in vain. */
	if (err == -EIO && !r->err && c && !box_alive(c->box) && a->flags & CRISP_ARG_FORCE)
		err = 0;
	if (!err && c)
		ctr_free(c);
	if ((!err || a->flags & CRISP_ARG_FORCE) && a->box[0])
		files_forget(a->inst, a->id, a->box);
	act_end(a, err, a->msg);
}

static int gvisor_delete(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args)
{
	struct command c;
	struct ctr *ctr = ctr_find(i, args->id);
	struct act *a = act_new(i, r, args);
	if (ctr && ctr->state == CTR_RUNNING && !(args->flags & CRISP_ARG_FORCE)) {
		act_end(a, -EBUSY, "the container runs");
		return 0;
	}
	if (ctr)
		snprintf(a->box, sizeof(a->box), "%s", ctr->box->id);
	else
		files_sandbox_of(i, a->id, a->box);
	command_init(&c, i, a, ctr ? ctr->box : NULL);
	command_arg(&c, "delete");
	if (ctr || args->flags & CRISP_ARG_FORCE)
		command_arg(&c, "--force");
	command_arg(&c, a->id);
	command_run(&c, handle_deleted, a);
	return 0;
}

/* runsc refuses what has been done already: "cannot pause container "x" in state paused". */
static void end_unless_in(struct act *a, const struct crisp_spawn_result *r, const char *state)
{
	int err = runsc_judge(a, r);
	if (err == -EIO && !r->err && strstr(a->msg, state))
		err = 0;
	act_end(a, err, a->msg);
}

static void handle_paused(void *data, const struct crisp_spawn_result *r)
{
	end_unless_in(data, r, "in state paused");
}

static void handle_resumed(void *data, const struct crisp_spawn_result *r)
{
	end_unless_in(data, r, "in state running");
}

static int gvisor_pause(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args)
{
	return command_simple(i, r, args, "pause", handle_paused);
}

static int gvisor_resume(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *args)
{
	return command_simple(i, r, args, "resume", handle_resumed);
}

/* A container that has ended is RUNNING here: its end is told next, with its code. */
static void handle_attached(void *data, const struct crisp_spawn_result *r)
{
	struct act *a = data;
	struct crisp_result res = { .err = runsc_judge(a, r), .msg = a->msg, .wait_status = -1 };
	struct box *b = box_find(a->inst, a->box);
	yajl_val v = res.err ? NULL : yajl_tree_parse(r->out, NULL, 0);
	const char *status = YAJL_GET_STRING(json_member(v, "status"));
	if (res.err == -EIO && !r->err && says_missing(a->msg))
		res.err = -ENOENT;
	if (!res.err && (!status || !b))
		res.err = b ? -EIO : -ENOENT;
	if (!res.err) {
		struct ctr *c = ctr_find(a->inst, a->id);
		c = c ? c : ctr_new(b, a->id);
		res.status = strcmp(status, "created") ? CRISP_STATUS_RUNNING : CRISP_STATUS_CREATED;
		if (res.status == CRISP_STATUS_RUNNING)
			ctr_watch(c);
	}
	yajl_tree_free(v);
	act_done(a, &res);
}

static int gvisor_attach(struct crisp_instance *i, struct crisp_req *r, const struct crisp_attach_args *args)
{
	struct command c;
	struct act *a = act_new(i, r, (const struct crisp_args *)args);
	struct box *b = box_find(i, args->sandbox_id);
	if (!b) {
		act_end(a, -ENOENT, "its sandbox is gone");
		return 0;
	}
	snprintf(a->box, sizeof(a->box), "%s", b->id);
	command_init(&c, i, a, b);
	c.plan.out_max = OUT_MAX;
	command_arg(&c, "state");
	command_arg(&c, a->id);
	command_run(&c, handle_attached, a);
	return 0;
}

/* -- the plugin -- */

static const struct crisp_ops ops = {
	.size = sizeof(ops),
	.open = gvisor_open,
	.close = gvisor_close,
	.probe = gvisor_probe,
	.prepare_spec = gvisor_prepare_spec,
	.sandbox_create = gvisor_sandbox_create,
	.sandbox_stop = gvisor_sandbox_stop,
	.sandbox_delete = gvisor_sandbox_delete,
	.sandbox_attach = gvisor_sandbox_attach,
	.create = gvisor_create,
	.start = gvisor_start,
	.kill = gvisor_kill,
	.del = gvisor_delete,
	.exec = gvisor_exec,
	.exec_delete = gvisor_exec_delete,
	.stats = gvisor_stats,
	.pause = gvisor_pause,
	.resume = gvisor_resume,
	.attach = gvisor_attach,
	.port_forward = gvisor_port_forward,
};

static const struct crisp_engine engine = {
	.magic = CRISP_ENGINE_MAGIC,
	.size = sizeof(engine),
	.major = CRISP_ENGINE_MAJOR,
	.minor = CRISP_ENGINE_MINOR,
	.caps = CRISP_CAP_EXIT_BY_ENGINE | CRISP_CAP_SANDBOX_OWN | CRISP_CAP_SANDBOX_NEEDS_ROOTFS |
		CRISP_CAP_STDIO_FD | CRISP_CAP_START_STDIO | CRISP_CAP_TTY_CONSOLE_SOCKET |
		CRISP_CAP_ROOTFS_MOUNTED | CRISP_CAP_NETNS_BY_PATH | CRISP_CAP_NETNS_CONSUMED |
		CRISP_CAP_SHARED_PIDNS,
	.requires = CRISP_HOST_SPAWN | CRISP_HOST_ROOTFS | CRISP_HOST_SPAWN_NS,
	.name = "gvisor",
	.version = "0.1",
	.ops = &ops,
	.annotation_prefixes = (const char *const[]){ "dev.gvisor.", NULL },
	.options_schema_json = GVISOR_OPTIONS,
};

const struct crisp_engine *crisp_engine_v1(void)
{
	return &engine;
}

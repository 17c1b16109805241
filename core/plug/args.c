/* The operations of an engine as data, and copies of their arguments. */
#include <fcntl.h>
#include <string.h>

#include "core/base/pool.h"
#include "core/plug/inner.h"

#define SIZE(args) sizeof(struct crisp_##args##_args)
#define AT(args, member) offsetof(struct crisp_##args##_args, member)

static const struct op_shape shapes[PLUG_OP_COUNT] = {
	[PLUG_OP_PROBE] = { "probe", sizeof(struct crisp_args) },
	[PLUG_OP_PREPARE_SPEC] = { "prepare spec", SIZE(spec),
		{ AT(spec, facts_json), AT(spec, spec_json) } },
	[PLUG_OP_SANDBOX_CREATE] = { "create sandbox", SIZE(sandbox_create),
		{ AT(sandbox_create, bundle), AT(sandbox_create, netns_path),
		  AT(sandbox_create, cgroup_path), AT(sandbox_create, config_json),
		  AT(sandbox_create, resources_json) },
		.rootfs = AT(sandbox_create, rootfs), .stdio = AT(sandbox_create, stdio) },
	[PLUG_OP_SANDBOX_STOP] = { "stop sandbox", sizeof(struct crisp_args) },
	[PLUG_OP_SANDBOX_DELETE] = { "delete sandbox", sizeof(struct crisp_args) },
	[PLUG_OP_SANDBOX_ATTACH] = { "attach sandbox", SIZE(attach),
		{ AT(attach, sandbox_id) },
		.blob = AT(attach, state), .blob_len = AT(attach, state_len) },
	[PLUG_OP_SANDBOX_STATS] = { "sandbox stats", sizeof(struct crisp_args) },
	[PLUG_OP_SANDBOX_UPDATE] = { "update sandbox", SIZE(update),
		{ AT(update, resources_json), AT(update, annotations_json) } },
	[PLUG_OP_CREATE] = { "create", SIZE(create),
		{ AT(create, sandbox_id), AT(create, bundle),
		  AT(create, cgroup_path), AT(create, checkpoint_dir) },
		.rootfs = AT(create, rootfs), .stdio = AT(create, stdio) },
	[PLUG_OP_START] = { "start", SIZE(start),
		.rootfs = AT(start, rootfs), .stdio = AT(start, stdio) },
	[PLUG_OP_KILL] = { "kill", SIZE(kill) },
	[PLUG_OP_DELETE] = { "delete", sizeof(struct crisp_args) },
	[PLUG_OP_EXEC] = { "exec", SIZE(exec), { AT(exec, process_json) },
		.stdio = AT(exec, stdio) },
	[PLUG_OP_EXEC_DELETE] = { "delete exec", sizeof(struct crisp_args) },
	[PLUG_OP_RESIZE] = { "resize", SIZE(resize) },
	[PLUG_OP_CLOSE_STDIN] = { "close stdin", sizeof(struct crisp_args) },
	[PLUG_OP_UPDATE] = { "update", SIZE(update),
		{ AT(update, resources_json), AT(update, annotations_json) } },
	[PLUG_OP_STATS] = { "stats", sizeof(struct crisp_args) },
	[PLUG_OP_PIDS] = { "pids", sizeof(struct crisp_args) },
	[PLUG_OP_PAUSE] = { "pause", sizeof(struct crisp_args) },
	[PLUG_OP_RESUME] = { "resume", sizeof(struct crisp_args) },
	[PLUG_OP_CHECKPOINT] = { "checkpoint", SIZE(checkpoint),
		{ AT(checkpoint, dir), AT(checkpoint, options_json) } },
	[PLUG_OP_RESTORE] = { "restore", SIZE(create),
		{ AT(create, sandbox_id), AT(create, bundle),
		  AT(create, cgroup_path), AT(create, checkpoint_dir) },
		.rootfs = AT(create, rootfs), .stdio = AT(create, stdio) },
	[PLUG_OP_ATTACH] = { "attach", SIZE(attach),
		{ AT(attach, sandbox_id) },
		.blob = AT(attach, state), .blob_len = AT(attach, state_len) },
	[PLUG_OP_PORT_FORWARD] = { "port forward", SIZE(port) },
	[PLUG_OP_DIAGNOSE] = { "diagnose", sizeof(struct crisp_args) },
};

const struct op_shape *op_shape(enum plug_op op)
{
	return &shapes[op];
}

const char *plug_op_name(enum plug_op op)
{
	return shapes[op].name;
}

#define FIELD(type, base, offset) (*(type *)((char *)(base) + (offset)))

static int dup_into(struct pool *p, int fd)
{
	return fd > 0 ? pool_fd(p, fcntl(fd, F_DUPFD_CLOEXEC, 3))->fd : -1;
}

static const struct crisp_mount *copy_mount(struct pool *p, const struct crisp_mount *from)
{
	struct crisp_mount *to = pool_memdup(p, from, sizeof(*from));
	to->type = pool_strdup(p, from->type);
	to->source = pool_strdup(p, from->source);
	to->target = pool_strdup(p, from->target);
	to->fd = dup_into(p, from->fd);
	to->userns = dup_into(p, from->userns);
	size_t n = 0;
	while (from->options && from->options[n])
		n++;
	const char **options = pool_alloc(p, (n + 1) * sizeof(*options));
	for (size_t i = 0; i < n; i++)
		options[i] = pool_strdup(p, from->options[i]);
	to->options = options;
	return to;
}

const struct crisp_rootfs *args_copy_rootfs(struct pool *p, const struct crisp_rootfs *from)
{
	if (!from)
		return NULL;
	struct crisp_rootfs *to = pool_memdup(p, from, sizeof(*from));
	to->path = pool_strdup(p, from->path);
	to->image_ref = pool_strdup(p, from->image_ref);
	size_t n = 0;
	while (from->mounts && from->mounts[n])
		n++;
	const struct crisp_mount **mounts = pool_alloc(p, (n + 1) * sizeof(*mounts));
	for (size_t i = 0; i < n; i++)
		mounts[i] = copy_mount(p, from->mounts[i]);
	to->mounts = mounts;
	return to;
}

static const struct crisp_stdio *copy_stdio(struct pool *p, const struct crisp_stdio *from)
{
	if (!from)
		return NULL;
	struct crisp_stdio *to = pool_memdup(p, from, sizeof(*from));
	to->in = dup_into(p, from->in);
	to->out = dup_into(p, from->out);
	to->err = dup_into(p, from->err);
	to->console_socket = pool_strdup(p, from->console_socket);
	to->fifo_in = pool_strdup(p, from->fifo_in);
	to->fifo_out = pool_strdup(p, from->fifo_out);
	to->fifo_err = pool_strdup(p, from->fifo_err);
	return to;
}

void *args_copy(struct pool *p, enum plug_op op, const void *a)
{
	const struct op_shape *s = &shapes[op];
	struct crisp_args *to = pool_memdup(p, a, s->size);
	to->id = pool_strdup(p, to->id);
	to->exec_id = pool_strdup(p, to->exec_id);
	for (size_t i = 0; i < sizeof(s->strings) / sizeof(s->strings[0]) && s->strings[i]; i++)
		FIELD(const char *, to, s->strings[i]) =
			pool_strdup(p, FIELD(const char *, to, s->strings[i]));
	if (s->rootfs)
		FIELD(const struct crisp_rootfs *, to, s->rootfs) =
			args_copy_rootfs(p, FIELD(const struct crisp_rootfs *, to, s->rootfs));
	if (s->stdio)
		FIELD(const struct crisp_stdio *, to, s->stdio) =
			copy_stdio(p, FIELD(const struct crisp_stdio *, to, s->stdio));
	if (s->blob && FIELD(const void *, to, s->blob))
		FIELD(const void *, to, s->blob) = pool_memdup(p, FIELD(const void *, to, s->blob),
							      FIELD(uint32_t, to, s->blob_len));
	return to;
}

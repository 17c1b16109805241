/* config.json as the core would write it, but small. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/pool.h"
#include "tools/engine-check/check.h"

static void put_mount(struct json_out *o, const char *target, const char *type, const char *const *options)
{
	json_object(o);
	json_member_str(o, "destination", target);
	json_member_str(o, "type", type);
	json_member_str(o, "source", type);
	json_key(o, "options");
	json_array(o);
	for (; options && *options; options++)
		json_put_str(o, *options);
	json_end_array(o);
	json_end_object(o);
}

static void put_process(struct json_out *o, const struct shape *s)
{
	const char *const shell[] = { "/bin/sh", "-c", s->sh, NULL };
	json_object(o);
	json_member_bool(o, "terminal", s->tty);
	json_key(o, "user");
	json_object(o);
	json_member_int(o, "uid", 0);
	json_member_int(o, "gid", 0);
	json_end_object(o);
	json_member_str(o, "cwd", "/");
	json_key(o, "args");
	json_array(o);
	for (const char *const *w = s->args ? s->args : shell; *w; w++)
		json_put_str(o, *w);
	json_end_array(o);
	json_key(o, "env");
	json_array(o);
	json_put_str(o, "PATH=/bin:/sbin:/usr/bin");
	if (s->env)
		json_put_str(o, s->env);
	json_end_array(o);
	json_end_object(o);
}

const char *spec_process(const struct shape *s)
{
	struct json_out *o = json_out(bench.pool);
	put_process(o, s);
	return json_text(o, NULL);
}

static void put_namespaces(struct json_out *o, const struct pod *p)
{
	static const char *const kinds[] = { "pid", "mount", "ipc", "uts" };
	json_key(o, "namespaces");
	json_array(o);
	for (size_t i = 0; i < 4; i++) {
		json_object(o);
		json_member_str(o, "type", kinds[i]);
		json_end_object(o);
	}
	if (p && p->netns_fd > 0) {
		json_object(o);
		json_member_str(o, "type", "network");
		json_member_str(o, "path", pool_printf(bench.pool, "/proc/%d/fd/%d", getpid(), p->netns_fd));
		json_end_object(o);
	}
	json_end_array(o);
}

/* The last one is of an engine that nobody has: others pass over it. */
static void put_annotations(struct json_out *o, const char *type, const char *pod, const char *id)
{
	json_key(o, "annotations");
	json_object(o);
	json_member_str(o, "io.kubernetes.cri.container-type", type);
	json_member_str(o, "io.kubernetes.cri.sandbox-id", pod);
	json_member_str(o, "io.kubernetes.cri.sandbox-name", pod);
	json_member_str(o, "io.kubernetes.cri.sandbox-namespace", "default");
	json_member_str(o, "io.kubernetes.cri.container-name", id);
	json_member_str(o, "org.example.another-engine/mode", "{\"rubbish\":[");
	json_end_object(o);
}

static const char *make_spec(const struct pod *p, const char *type, const char *id, const char *root,
			     const char *cgroup, const struct shape *s)
{
	static const char *const pts[] = { "newinstance", "ptmxmode=0666", "nosuid", "noexec", NULL };
	static const char *const dev[] = { "nosuid", "mode=755", NULL };
	struct json_out *o = json_out(bench.pool);
	json_object(o);
	json_member_str(o, "ociVersion", "1.0.2");
	json_member_str(o, "hostname", "check");
	json_key(o, "root");
	json_object(o);
	json_member_str(o, "path", s->root ? s->root : root);
	json_end_object(o);
	json_key(o, "process");
	put_process(o, s);
	json_key(o, "mounts");
	json_array(o);
	put_mount(o, "/proc", "proc", NULL);
	put_mount(o, "/dev", "tmpfs", dev);
	put_mount(o, "/dev/pts", "devpts", pts);
	json_end_array(o);
	put_annotations(o, type, p->id, id);
	json_key(o, "linux");
	json_object(o);
	json_member_str(o, "cgroupsPath", cgroup);
	json_key(o, "resources");
	json_object(o);
	json_key(o, "devices");
	json_array(o);
	json_object(o);
	json_member_bool(o, "allow", true);
	json_member_str(o, "access", "rwm");
	json_end_object(o);
	json_end_array(o);
	json_end_object(o);
	put_namespaces(o, p);
	json_end_object(o);
	json_end_object(o);
	return json_text(o, NULL);
}

const char *spec_facts(const struct pod *p, const char *type, const char *id)
{
	struct json_out *o = json_out(bench.pool);
	json_object(o);
	json_member_str(o, "sandboxId", p->id);
	json_member_str(o, "containerType", type);
	json_member_str(o, "name", id);
	json_member_str(o, "podName", p->id);
	json_member_str(o, "podNamespace", "default");
	json_member_str(o, "podUid", p->id);
	json_member_str(o, "hostname", "check");
	if (p->netns)
		json_member_str(o, "netnsPath", p->netns);
	json_end_object(o);
	return json_text(o, NULL);
}

bool spec_write(struct plug_handler *h, const struct pod *p, const char *dir, const char *type, const char *id,
		const char *root, const char *cgroup, const struct shape *s)
{
	struct err e = { 0 };
	const char *spec = make_spec(p, type, id, root, cgroup, s);
	if (plug_has(h, PLUG_OP_PREPARE_SPEC)) {
		struct answer a = bench_ask(h, PLUG_OP_PREPARE_SPEC,
					    &(struct crisp_spec_args){ .id = id, .spec_json = spec,
								       .facts_json = spec_facts(p, type, id) });
		if (a.ret < 0)
			return check(false, "prepare_spec takes a spec: %s", a.msg);
		const struct json *j;
		if (a.data_len && json_parse(bench.pool, a.data, a.data_len, &j, &e) < 0)
			return check(false, "prepare_spec gives JSON: %s", err_text(&e));
		if (a.data_len)
			spec = a.data;
	}
	if (file_replace(AT_FDCWD, pool_printf(bench.pool, "%s/config.json", dir), spec, strlen(spec), 0600, &e) < 0)
		return check(false, "a spec can be written: %s", err_text(&e));
	return true;
}

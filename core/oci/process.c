/*
 * What runs in a container, as whom, with which environment: the config's wishes over the
 * image's over our defaults.
 */
#include "core/oci/process.h"

#include <errno.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/base/utf8.h"
#include "core/image/image.h"
#include "core/oci/view.h"

static const char default_path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

struct env {
	struct pool *pool;
	const char **at;
	size_t n;
};

/* Set NAME=VALUE, over an earlier NAME and at its place. */
static void env_put(struct env *v, const char *entry)
{
	size_t n = strcspn(entry, "=");
	size_t i = 0;
	while (i < v->n && (strncmp(v->at[i], entry, n) || v->at[i][n] != '='))
		i++;
	v->at[i] = entry;
	if (i == v->n)
		v->n++;
}

static bool env_has(const struct env *v, const char *name)
{
	size_t n = strlen(name);
	for (size_t i = 0; i < v->n; i++)
		if (!strncmp(v->at[i], name, n) && v->at[i][n] == '=')
			return true;
	return false;
}

static void put_env(struct json_out *o, struct pool *p, const struct oci_host *h, const struct oci_input *in)
{
	enum { OURS = 4 };
	const Cri__ContainerConfig *c = in->ctr;
	struct env v = { p, pool_alloc(p, (OURS + in->image->n_env + c->n_envs) * sizeof(*v.at)), 0 };
	env_put(&v, default_path);
	if (c->tty)
		env_put(&v, "TERM=xterm");
	env_put(&v, pool_printf(p, "HOSTNAME=%s", view_set(in->hostname) ? in->hostname : h->hostname));
	for (size_t i = 0; i < in->image->n_env; i++)
		if (strchr(in->image->env[i], '='))
			env_put(&v, in->image->env[i]);
	for (size_t i = 0; i < c->n_envs; i++) {
		const ProtobufCBinaryData *value = &c->envs[i]->value;
		env_put(&v, pool_printf(p, "%s=%.*s", c->envs[i]->key, (int)value->len,
					value->len ? (const char *)value->data : ""));
	}
	if (!env_has(&v, "HOME"))
		env_put(&v, pool_printf(p, "HOME=%s", in->prep->home));

	json_key(o, "env");
	json_array(o);
	for (size_t i = 0; i < v.n; i++)
		json_put_str(o, v.at[i]);
	json_end_array(o);
}

static void put_list(struct json_out *o, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		json_put_str(o, list[i]);
}

/* command replaces the entrypoint and makes the image's cmd void; args replace cmd. */
static int put_args(struct json_out *o, const struct oci_input *in, struct err *e)
{
	const Cri__ContainerConfig *c = in->ctr;
	const struct image_config *im = in->image;
	bool image_cmd = !c->n_command && !c->n_args;
	size_t n = (c->n_command ? c->n_command : im->n_entrypoint) + (image_cmd ? im->n_cmd : c->n_args);
	if (!n)
		return err_set(e, EINVAL, "command: neither the config nor the image says what to run");
	json_key(o, "args");
	json_array(o);
	if (c->n_command)
		put_list(o, (const char *const *)c->command, c->n_command);
	else
		put_list(o, im->entrypoint, im->n_entrypoint);
	if (image_cmd)
		put_list(o, im->cmd, im->n_cmd);
	else
		put_list(o, (const char *const *)c->args, c->n_args);
	json_end_array(o);
	return 0;
}

static void put_user(struct json_out *o, const struct oci_prepared *prep)
{
	enum { UMASK = 0022 };
	json_key(o, "user");
	json_object(o);
	json_member_int(o, "uid", prep->uid);
	json_member_int(o, "gid", prep->gid);
	json_member_int(o, "umask", UMASK);
	json_key(o, "additionalGids");
	json_array(o);
	for (size_t i = 0; i < prep->n_groups; i++)
		json_put_int(o, prep->groups[i]);
	json_end_array(o);
	json_end_object(o);
}

static void put_rlimits(struct json_out *o, const struct oci_host *h)
{
	json_key(o, "rlimits");
	json_array(o);
	json_object(o);
	json_member_str(o, "type", "RLIMIT_NOFILE");
	json_member_int(o, "soft", (int64_t)h->nofile_soft);
	json_member_int(o, "hard", (int64_t)h->nofile_hard);
	json_end_object(o);
	json_end_array(o);
}

static const char *working_dir(struct pool *p, const struct oci_input *in)
{
	if (view_set(in->ctr->working_dir))
		return view_clean_path(p, in->ctr->working_dir);
	return view_set(in->image->working_dir) ? view_clean_path(p, in->image->working_dir) : "/";
}

static void put_apparmor(struct json_out *o, const struct oci_host *h, const Cri__ContainerConfig *ctr)
{
	const char *name;
	enum view_apparmor kind = view_apparmor(ctr, &name);
	if (kind == VIEW_APPARMOR_DEFAULT)
		name = h->apparmor_default;
	if (h->apparmor && name)
		json_member_str(o, "apparmorProfile", name);
}

int process_put(struct json_out *o, struct pool *p, const struct oci_host *h, const struct oci_input *in,
		const struct caps *caps, struct err *e)
{
	const Cri__LinuxContainerSecurityContext *s = view_security(in->ctr);
	json_object(o);
	json_member_bool(o, "terminal", in->ctr->tty);
	put_user(o, in->prep);
	int ret = put_args(o, in, e);
	if (ret < 0)
		return ret;
	put_env(o, p, h, in);
	json_member_str(o, "cwd", working_dir(p, in));
	json_key(o, "capabilities");
	caps_put(o, caps);
	put_rlimits(o, h);
	json_member_bool(o, "noNewPrivileges", s && s->no_new_privs);
	put_apparmor(o, h, in->ctr);
	/* Always: what an engine's process inherits may be the daemon's own, that of the unkillable. */
	json_member_int(o, "oomScoreAdj", oci_oom_score_adj(h, view_resources(in->ctr)));
	json_end_object(o);
	return 0;
}

/* ---- exec ---- */

static void put_exec_env(struct json_out *o, const struct json *env, bool tty)
{
	bool has_term = false;
	json_array(o);
	for (size_t i = 0; i < json_len(env); i++) {
		const char *entry = json_str(json_at(env, i));
		has_term |= entry && !strncmp(entry, "TERM=", 5);
		json_put(o, json_at(env, i));
	}
	if (tty && !has_term)
		json_put_str(o, "TERM=xterm");
	json_end_array(o);
}

int oci_exec_process(struct pool *p, const char *config, size_t config_len, const char *const *cmd,
		     size_t n_cmd, bool tty, const char **json, size_t *len, struct err *e)
{
	if (!n_cmd || !view_set(cmd[0]))
		return err_set(e, EINVAL, "cmd: is empty");
	for (size_t i = 0; i < n_cmd; i++)
		if (utf8_valid(cmd[i], strlen(cmd[i])) != strlen(cmd[i]))
			return err_set(e, EINVAL, "cmd[%zu]: is not UTF-8", i);
	const struct json *root;
	int ret = json_parse(p, config, config_len, &root, e);
	if (ret < 0)
		return err_wrap(e, ret, "config.json");
	const struct json *process = json_get(root, "process");
	if (!json_is_object(process))
		return err_set(e, EPROTO, "config.json: has no process");

	struct json_out *o = json_out(p);
	json_object(o);
	json_member_bool(o, "terminal", tty);
	json_key(o, "args");
	json_array(o);
	put_list(o, cmd, n_cmd);
	json_end_array(o);
	for (size_t i = 0; i < json_len(process); i++) {
		const char *key = json_key_at(process, i);
		if (!strcmp(key, "terminal") || !strcmp(key, "args") || !strcmp(key, "consoleSize"))
			continue;
		json_key(o, key);
		if (!strcmp(key, "env"))
			put_exec_env(o, json_at(process, i), tty);
		else
			json_put(o, json_at(process, i));
	}
	json_end_object(o);
	*json = json_text(o, len);
	return 0;
}

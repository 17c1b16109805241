/* The script of a fake engine: options, and what they do to each operation. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <yajl/yajl_tree.h>

#include "engines/fake/fake.h"

const char *const fake_op_names[FAKE_OP_COUNT] = {
	[FAKE_PROBE] = "probe",
	[FAKE_SANDBOX_CREATE] = "sandbox_create",
	[FAKE_SANDBOX_STOP] = "sandbox_stop",
	[FAKE_SANDBOX_DELETE] = "sandbox_delete",
	[FAKE_SANDBOX_ATTACH] = "sandbox_attach",
	[FAKE_CREATE] = "create",
	[FAKE_START] = "start",
	[FAKE_KILL] = "kill",
	[FAKE_DELETE] = "delete",
	[FAKE_EXEC] = "exec",
	[FAKE_EXEC_DELETE] = "exec_delete",
	[FAKE_RESIZE] = "resize",
	[FAKE_CLOSE_STDIN] = "close_stdin",
	[FAKE_UPDATE] = "update",
	[FAKE_STATS] = "stats",
	[FAKE_PIDS] = "pids",
	[FAKE_PAUSE] = "pause",
	[FAKE_RESUME] = "resume",
	[FAKE_ATTACH] = "attach",
};

static int op_of(const char *name)
{
	for (int op = 0; name && op < FAKE_OP_COUNT; op++)
		if (!strcmp(name, fake_op_names[op]))
			return op;
	return -1;
}

static yajl_val get(yajl_val v, const char *name)
{
	for (size_t i = 0; YAJL_IS_OBJECT(v) && i < v->u.object.len; i++)
		if (!strcmp(v->u.object.keys[i], name))
			return v->u.object.values[i];
	return NULL;
}

static const char *text(yajl_val v)
{
	return v && YAJL_IS_STRING(v) ? YAJL_GET_STRING(v) : NULL;
}

static unsigned number(yajl_val v)
{
	return v && YAJL_IS_INTEGER(v) && YAJL_GET_INTEGER(v) > 0 ? (unsigned)YAJL_GET_INTEGER(v)
								  : 0;
}

static struct rule *add(struct script *s, const char *op, char *msg, uint32_t cap)
{
	int n = op_of(op);
	if (n < 0 || s->n == RULES_MAX) {
		snprintf(msg, cap, "%s \"%s\"", n < 0 ? "unknown operation" : "too many rules at",
			 op ? op : "");
		return NULL;
	}
	struct rule *r = &s->rules[s->n++];
	r->op = n;
	return r;
}

static int read_rules(struct script *s, yajl_val list, char *msg, uint32_t cap)
{
	for (size_t i = 0; i < list->u.array.len; i++) {
		yajl_val v = list->u.array.values[i];
		struct rule *r = add(s, text(get(v, "op")), msg, cap);
		if (!r)
			return -EINVAL;
		const char *id = text(get(v, "id")), *words = text(get(v, "msg"));
		snprintf(r->id, sizeof(r->id), "%s", id ? id : "");
		snprintf(r->msg, sizeof(r->msg), "%s", words ? words : "by the script");
		r->skip = number(get(v, "skip"));
		r->times = number(get(v, "times"));
		r->delay_ms = number(get(v, "delay_ms"));
		r->block_ms = number(get(v, "block_ms"));
		r->code = (int)number(get(v, "errno"));
		r->refuse = YAJL_IS_TRUE(get(v, "refuse"));
		r->hang = YAJL_IS_TRUE(get(v, "hang"));
		r->twice = YAJL_IS_TRUE(get(v, "twice"));
		r->lose = YAJL_IS_TRUE(get(v, "lose"));
		const char *deadly = text(get(v, "deadly"));
		snprintf(r->deadly, sizeof(r->deadly), "%s", deadly ? deadly : "");
	}
	return 0;
}

/* "delay_ms": {"create": 50}, "fail": {"start": "words"} */
static int read_map(struct script *s, yajl_val map, bool fail, char *msg, uint32_t cap)
{
	for (size_t i = 0; i < map->u.object.len; i++) {
		struct rule *r = add(s, map->u.object.keys[i], msg, cap);
		if (!r)
			return -EINVAL;
		if (!fail) {
			r->delay_ms = number(map->u.object.values[i]);
			continue;
		}
		const char *words = text(map->u.object.values[i]);
		r->code = EIO;
		snprintf(r->msg, sizeof(r->msg), "%s", words ? words : "by the script");
	}
	return 0;
}

/* "hang": ["kill"], "twice": ["start"] */
static int read_list(struct script *s, yajl_val list, bool hang, char *msg, uint32_t cap)
{
	for (size_t i = 0; i < list->u.array.len; i++) {
		struct rule *r = add(s, text(list->u.array.values[i]), msg, cap);
		if (!r)
			return -EINVAL;
		*(hang ? &r->hang : &r->twice) = true;
	}
	return 0;
}

static int read_option(struct crisp_instance *i, const char *key, yajl_val v, char *msg,
		       uint32_t cap)
{
	const char *s = text(v);
	if (!strcmp(key, "archetype") && s) {
		i->serial = !strcmp(s, "serial");
		i->tty = !strcmp(s, "tty");
		i->boxed = i->tty || !strcmp(s, "sandbox");
		if (i->serial || i->boxed || !strcmp(s, "cli"))
			return 0;
		snprintf(msg, cap, "unknown archetype \"%s\": cli, sandbox, tty or serial", s);
		return -EINVAL;
	}
	if (!strcmp(key, "program") && s)
		snprintf(i->program, sizeof(i->program), "%s", s);
	else if (!strcmp(key, "mount"))
		i->mount = YAJL_IS_TRUE(v);
	else if (!strcmp(key, "exit_after_ms") || !strcmp(key, "exit_code")) {
		i->has_exit = true;
		if (!strcmp(key, "exit_code"))
			i->exit_code = (int)number(v);
		else
			i->exit_after_ms = number(v);
	} else if (!strcmp(key, "rules") && YAJL_IS_ARRAY(v))
		return read_rules(&i->script, v, msg, cap);
	else if ((!strcmp(key, "delay_ms") || !strcmp(key, "fail")) && YAJL_IS_OBJECT(v))
		return read_map(&i->script, v, *key == 'f', msg, cap);
	else if ((!strcmp(key, "hang") || !strcmp(key, "twice")) && YAJL_IS_ARRAY(v))
		return read_list(&i->script, v, *key == 'h', msg, cap);
	else {
		snprintf(msg, cap, "unknown or mistyped option \"%s\"", key);
		return -EINVAL;
	}
	return 0;
}

int script_read(struct crisp_instance *i, const char *options, char *msg, uint32_t cap)
{
	yajl_val root = yajl_tree_parse(options, NULL, 0);
	int ret = 0;
	if (!YAJL_IS_OBJECT(root)) {
		snprintf(msg, cap, "options are no JSON object");
		ret = -EINVAL;
	}
	for (size_t k = 0; ret == 0 && k < root->u.object.len; k++)
		ret = read_option(i, root->u.object.keys[k], root->u.object.values[k], msg, cap);
	yajl_tree_free(root);
	return ret;
}

static bool names(const char *path, const char *id)
{
	char text[200] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	return n > 0 && strstr(text, id);
}

struct rule script_apply(struct script *s, enum fake_op op, const char *id)
{
	struct rule all = { .op = (int)op };
	for (unsigned i = 0; i < s->n; i++) {
		struct rule *r = &s->rules[i];
		if (r->op != (int)op || r->spent || (r->id[0] && (!id || strcmp(r->id, id))))
			continue;
		if (r->skip) {
			r->skip--;
			continue;
		}
		if (r->times && !--r->times)
			r->spent = true;
		all.delay_ms += r->delay_ms;
		all.block_ms += r->block_ms;
		all.hang |= r->hang;
		all.twice |= r->twice;
		all.lose |= r->lose;
		all.die |= r->deadly[0] && id && names(r->deadly, id);
		if (r->code && !all.code) {
			all.code = r->code;
			all.refuse = r->refuse;
			memcpy(all.msg, r->msg, sizeof(all.msg));
		}
	}
	return all;
}

/* -- what a container is to run -- */

/* But for what crisp-fake has by itself. */
static void take_env(yajl_val list, char **env)
{
	size_t n = 0;
	for (size_t i = 0; YAJL_IS_ARRAY(list) && i < list->u.array.len && n < ENV_MAX; i++) {
		const char *s = text(list->u.array.values[i]);
		if (s && strncmp(s, "PATH=", 5))
			env[n++] = strdup(s);
	}
	env[n] = NULL;
}

static int take_args(yajl_val process, char **argv, char **env, bool *terminal)
{
	yajl_val args = get(process, "args");
	take_env(get(process, "env"), env);
	*terminal = YAJL_IS_TRUE(get(process, "terminal"));
	if (!YAJL_IS_ARRAY(args))
		return -EINVAL;
	size_t n = 0;
	for (; n < args->u.array.len && n < ARGV_MAX; n++)
		argv[n] =
			strdup(text(args->u.array.values[n]) ? text(args->u.array.values[n]) : "");
	argv[n] = NULL;
	return 0;
}

int args_of_process(const char *json, char **argv, char **env, bool *terminal)
{
	yajl_val root = json ? yajl_tree_parse(json, NULL, 0) : NULL;
	int ret = take_args(root, argv, env, terminal);
	yajl_tree_free(root);
	return ret;
}

int args_of_bundle(const char *bundle, char **argv, char **env, bool *terminal)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/config.json", bundle);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	size_t cap = 1 << 20, len = 0;
	char *buf = malloc(cap + 1);
	for (ssize_t n; buf && len < cap && (n = read(fd, buf + len, cap - len)) > 0;)
		len += (size_t)n;
	close(fd);
	if (!buf)
		return -ENOMEM;
	buf[len] = 0;
	yajl_val root = yajl_tree_parse(buf, NULL, 0);
	free(buf);
	bool is_spec = YAJL_IS_OBJECT(root);
	if (is_spec)
		take_args(get(root, "process"), argv, env, terminal);
	yajl_tree_free(root);
	return is_spec ? 0 : -EINVAL;
}

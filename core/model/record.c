/*
 * Objects to records and back.  record.json is rewritten whole at each step; what the CRI sent
 * stays in config.pb beside it, byte for byte.
 */
#include <errno.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/config/config.h"
#include "core/model/model_int.h"
#include "core/plug/plug.h"
#include "core/store/store.h"

enum { RECORD_VERSION = 1, UNSAVED_RETRY_MS = 2000 };

static void put_op(struct json_out *o, const struct op *op)
{
	if (!op || op->state == OP_STATE_DONE)
		return;
	json_member_str(o, "op", op->table->name);
	json_member_str(o, "step", op_step_name(op));
}

int record_save_pod(struct pod *p, struct err *e)
{
	struct pool *tmp = pool_new(NULL, "record");
	struct json_out *o = json_out(tmp);
	json_object(o);
	json_member_int(o, "version", RECORD_VERSION);
	json_member_str(o, "handler", p->handler_name);
	json_member_str(o, "engine", p->engine);
	json_member_str(o, "options", p->handler->options);
	json_member_str(o, "policy", p->policy_json);
	if (p->asked_handler) {
		json_member_str(o, "asked_handler", p->asked_handler);
		json_member_str(o, "moved_why", p->moved_why);
	}
	json_member_int(o, "created_ns", p->created_ns);
	json_member_int(o, "state", p->state);
	json_member_str(o, "cgroup_parent", p->cgroup_parent);
	json_member_str(o, "cgroup_made", p->cgroup_made);
	json_member_int(o, "oom_known", (int64_t)p->oom_known);
	json_member_str(o, "netns", p->netns_pin);
	json_member_bool(o, "namespaces_made", p->namespaces_made);
	json_member_bool(o, "attached", p->attached);
	json_member_bool(o, "sandbox_made", p->sandbox_made);
	json_member_bool(o, "guest_limited", p->guest_limited);
	json_member_int(o, "sandbox_pid", p->sandbox_pid);
	json_key(o, "ips");
	json_array(o);
	for (size_t i = 0; i < p->n_ips; i++)
		json_put_str(o, p->ips[i]);
	json_end_array(o);
	json_member_str(o, "net_state", p->net_state);
	json_member_bool(o, "shared_pid", p->shared_pid);
	json_member_int(o, "pause_pid", p->pause_pid);
	json_member_int(o, "pause_start", (int64_t)p->pause_start);
	json_member_bool(o, "pause_made", p->pause_made);
	json_member_bool(o, "unclaimed", p->unclaimed);
	put_op(o, p->op);
	json_end_object(o);
	size_t len;
	const char *text = json_text(o, &len);
	int ret = store_write(p->model->g.store, STORE_POD, p->id, "record.json", text, len, e);
	pool_destroy(tmp);
	return ret;
}

int record_save_container(struct container *c, struct err *e)
{
	struct pool *tmp = pool_new(NULL, "record");
	struct json_out *o = json_out(tmp);
	json_object(o);
	json_member_int(o, "version", RECORD_VERSION);
	json_member_str(o, "pod", c->pod->id);
	json_member_str(o, "image_id", c->image_id);
	json_member_str(o, "image_ref", c->image_ref);
	json_member_int(o, "state", c->state);
	json_member_int(o, "created_ns", c->created_ns);
	json_member_int(o, "started_ns", c->started_ns);
	json_member_int(o, "finished_ns", c->finished_ns);
	json_member_int(o, "exit_code", c->exit_code);
	json_member_str(o, "reason", c->reason);
	json_member_str(o, "message", c->message);
	json_member_str(o, "cannot_run", c->cannot_run);
	json_member_str(o, "cgroup", c->cgroup);
	json_member_int(o, "stop_signal", c->stop_signal);
	json_member_int(o, "uid", c->uid);
	json_member_int(o, "gid", c->gid);
	json_key(o, "groups");
	json_array(o);
	for (size_t i = 0; i < c->n_groups; i++)
		json_put_int(o, c->groups[i]);
	json_end_array(o);
	json_key(o, "mount_sources");
	json_array(o);
	for (size_t i = 0; c->mount_sources && i < c->config->n_mounts; i++)
		json_put_str(o, c->mount_sources[i]);
	json_end_array(o);
	json_member_int(o, "pid", c->pid);
	json_member_int(o, "pid_start", (int64_t)c->pid_start);
	json_member_int(o, "oom_before", (int64_t)c->oom_before);
	json_member_bool(o, "by_engine", c->alive && !c->child.io.loop);
	json_member_bool(o, "made", c->made);
	json_member_bool(o, "unclaimed", c->unclaimed);
	put_op(o, c->op);
	json_end_object(o);
	size_t len;
	const char *text = json_text(o, &len);
	int ret = store_write(c->model->g.store, STORE_CONTAINER, c->id, "record.json", text, len, e);
	pool_destroy(tmp);
	return ret;
}

/* The disk may have room again: what has ended meanwhile is known to us alone. */
static void handle_unsaved(struct loop_timer *t)
{
	struct model *m = t->data;
	struct pod *p;
	struct container *c;
	list_for_each(p, &m->pod_list, link)
		if (p->unsaved)
			record_note_pod(p);
	list_for_each(c, &m->container_list, link)
		if (c->unsaved)
			record_note_container(c);
}

/* Said once, and once more when it has been mended. */
static void note(struct model *m, const char *key, const char *id, bool *unsaved, int ret, const struct err *e)
{
	if (ret < 0) {
		if (!*unsaved)
			log_error("a record could not be written, and will be tried again", key, id, "error", err_text(e));
		if (!m->unsaved.loop)
			loop_timer_start(&m->unsaved, m->g.loop, m->pool, UNSAVED_RETRY_MS, 0, handle_unsaved, m);
	} else if (*unsaved) {
		log_info("a record is written at last", key, id);
	}
	*unsaved = ret < 0;
}

void record_note_pod(struct pod *p)
{
	struct err e = { 0 };
	int ret = record_save_pod(p, &e);
	note(p->model, "pod", p->id, &p->unsaved, ret, &e);
}

void record_note_container(struct container *c)
{
	struct err e = { 0 };
	int ret = record_save_container(c, &e);
	note(c->model, "ctr", c->id, &c->unsaved, ret, &e);
}

/* -- loading -- */

/* Both files of a record: the parsed JSON and the unpacked config. */
static int load(struct model *m, struct pool *pool, struct pool *tmp, enum store_kind kind, const char *id,
		const ProtobufCMessageDescriptor *d, const struct json **j, void *config, struct err *e)
{
	struct buf b = { 0 };
	int ret = store_read(m->g.store, kind, id, "record.json", &b, e);
	if (ret == 0)
		ret = json_parse(tmp, b.data, b.len, j, e);
	if (ret == 0 && json_int(json_get(*j, "version"), 0) != RECORD_VERSION)
		ret = err_set(e, EINVAL, "record version is not %d", RECORD_VERSION);
	b.len = 0;
	if (ret == 0)
		ret = store_read(m->g.store, kind, id, "config.pb", &b, e);
	if (ret == 0) {
		void *msg = pb_unpack(pool, d, b.data, b.len);
		memcpy(config, &msg, sizeof(msg));
		if (!msg)
			ret = err_set(e, EINVAL, "config.pb is no %s", d->name);
	}
	buf_free(&b);
	return err_wrap(e, ret, "record %s", id);
}

static const char *text(struct pool *p, const struct json *j, const char *name)
{
	return pool_strdup(p, json_str(json_get(j, name)));
}

static void load_op(struct pool *p, const struct json *j, struct record_op *op)
{
	op->op = text(p, j, "op");
	op->step = text(p, j, "step");
}

int record_load_pod(struct model *m, const char *id, struct pod **out, struct record_op *op, struct err *e)
{
	struct pool *tmp = pool_new(NULL, "record");
	struct pod *p = pod_new(m, id);
	const struct json *j;
	int ret = load(m, p->pool, tmp, STORE_POD, id, &cri__pod_sandbox_config__descriptor, &j, &p->config, e);
	if (ret == 0 && !p->config->metadata)
		ret = err_set(e, EINVAL, "record %s: config.pb has no metadata", id);
	if (ret < 0) {
		pool_destroy(p->pool);
		pool_destroy(tmp);
		return ret;
	}
	p->handler_name = text(p->pool, j, "handler");
	p->engine = text(p->pool, j, "engine");
	p->handler = plug_handler_recall(m->g.plug, p->handler_name ? p->handler_name : "",
					 p->engine ? p->engine : "", json_str(json_get(j, "options")));
	plug_handler_hold(p->handler, p->pool);
	pod_take_policy(p, text(p->pool, j, "policy"));
	p->asked_handler = text(p->pool, j, "asked_handler");
	p->moved_why = text(p->pool, j, "moved_why");
	p->created_ns = json_int(json_get(j, "created_ns"), 0);
	int64_t state = json_int(json_get(j, "state"), POD_STATE_NOTREADY);
	p->state = state < 0 || state > POD_STATE_NOTREADY ? POD_STATE_NOTREADY : (enum pod_state)state;
	p->cgroup_parent = text(p->pool, j, "cgroup_parent");
	p->cgroup_made = text(p->pool, j, "cgroup_made");
	p->oom_known = (uint64_t)json_int(json_get(j, "oom_known"), 0);
	p->netns_pin = text(p->pool, j, "netns");
	p->namespaces_made = json_bool(json_get(j, "namespaces_made"), false);
	p->sandbox_made = json_bool(json_get(j, "sandbox_made"), false);
	p->guest_limited = json_bool(json_get(j, "guest_limited"), false);
	p->sandbox_pid = (pid_t)json_int(json_get(j, "sandbox_pid"), 0);
	p->attached = json_bool(json_get(j, "attached"), false);
	const struct json *ips = json_get(j, "ips");
	p->n_ips = json_len(ips);
	p->ips = pool_alloc(p->pool, (p->n_ips + 1) * sizeof(*p->ips));
	for (size_t i = 0; i < p->n_ips; i++)
		p->ips[i] = pool_strdup(p->pool, json_str(json_at(ips, i)));
	p->net_state = text(p->pool, j, "net_state");
	p->shared_pid = json_bool(json_get(j, "shared_pid"), false);
	p->pause_pid = (pid_t)json_int(json_get(j, "pause_pid"), 0);
	p->pause_start = (uint64_t)json_int(json_get(j, "pause_start"), 0);
	p->pause_made = json_bool(json_get(j, "pause_made"), false);
	p->unclaimed = json_bool(json_get(j, "unclaimed"), false);
	load_op(p->pool, j, op);
	pool_destroy(tmp);
	*out = p;
	return 0;
}

static void load_container(struct container *c, const struct json *j)
{
	struct pool *p = c->pool;
	c->image_id = text(p, j, "image_id");
	c->image_ref = text(p, j, "image_ref");
	int64_t state = json_int(json_get(j, "state"), CONTAINER_STATE_EXITED);
	c->state = state < 0 || state > CONTAINER_STATE_EXITED ? CONTAINER_STATE_EXITED :
								 (enum container_state)state;
	c->created_ns = json_int(json_get(j, "created_ns"), 0);
	c->started_ns = json_int(json_get(j, "started_ns"), 0);
	c->finished_ns = json_int(json_get(j, "finished_ns"), 0);
	c->exit_code = (int)json_int(json_get(j, "exit_code"), 255);
	c->reason = text(p, j, "reason");
	c->message = text(p, j, "message");
	c->cannot_run = text(p, j, "cannot_run");
	c->cgroup = text(p, j, "cgroup");
	c->log_path = container_log_path(p, c->pod, c->config);
	c->stop_signal = (int)json_int(json_get(j, "stop_signal"), 15);
	c->uid = (uint32_t)json_int(json_get(j, "uid"), 0);
	c->gid = (uint32_t)json_int(json_get(j, "gid"), 0);
	const struct json *groups = json_get(j, "groups"), *sources = json_get(j, "mount_sources");
	c->n_groups = json_len(groups);
	c->groups = pool_alloc(p, (c->n_groups + 1) * sizeof(*c->groups));
	for (size_t i = 0; i < c->n_groups; i++)
		c->groups[i] = (uint32_t)json_int(json_at(groups, i), 0);
	if (json_len(sources) == c->config->n_mounts) {
		c->mount_sources = pool_alloc(p, (c->config->n_mounts + 1) * sizeof(*c->mount_sources));
		for (size_t i = 0; i < c->config->n_mounts; i++)
			c->mount_sources[i] = pool_strdup(p, json_str(json_at(sources, i)));
	}
	c->pid = (pid_t)json_int(json_get(j, "pid"), 0);
	c->pid_start = (uint64_t)json_int(json_get(j, "pid_start"), 0);
	c->oom_before = (uint64_t)json_int(json_get(j, "oom_before"), 0);
	c->by_engine = json_bool(json_get(j, "by_engine"), false);
	c->made = json_bool(json_get(j, "made"), false);
	c->unclaimed = json_bool(json_get(j, "unclaimed"), false);
}

int record_load_container(struct model *m, const char *id, struct container **out, struct record_op *op,
			  struct err *e)
{
	struct pool *tmp = pool_new(NULL, "record"), *cfg = pool_new(NULL, "config");
	const struct json *j;
	Cri__ContainerConfig *config;
	int ret = load(m, cfg, tmp, STORE_CONTAINER, id, &cri__container_config__descriptor, &j, &config, e);
	const char *pod_id = ret == 0 ? json_str(json_get(j, "pod")) : NULL;
	struct pod *pod = pod_id ? model_pod(m, pod_id) : NULL;
	if (ret == 0 && !config->metadata)
		ret = err_set(e, EINVAL, "record %s: config.pb has no metadata", id);
	if (ret == 0 && !pod)
		ret = err_set(e, ENOENT, "record %s: its pod %s is gone", id, pod_id ? pod_id : "(none)");
	if (ret == 0) {
		struct container *c = container_new(pod, id);
		c->config = pb_copy(c->pool, config);
		load_container(c, j);
		load_op(c->pool, j, op);
		*out = c;
	}
	pool_destroy(cfg);
	pool_destroy(tmp);
	return ret;
}

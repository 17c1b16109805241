/*
 * RunPodSandbox.  A pod is its namespaces, its address and a few files; only a shared pid
 * namespace needs a process, crisp-pause, which runs through the engine like any container.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/config/config.h"
#include "core/model/model_int.h"
#include "core/oci/oci.h"
#include "core/plug/net.h"
#include "core/plug/plug.h"
#include "core/sandboxfs/sandboxfs.h"
#include "core/store/store.h"

enum { CROWD = 250 };

static bool own_net(const struct pod *p)
{
	struct oci_ns ns;
	oci_ns_of(p->config, NULL, &ns);
	return ns.net != OCI_NS_NODE;
}

/* -- steps -- */

/* What could not be taken back: a stop or a removal tries again. */
static bool owes(const struct pod *p)
{
	return p->attached || p->namespaces_made || p->pause_made || p->sandbox_made;
}

static int drop_record(struct op *op)
{
	struct pod *p = op->data;
	if (owes(p))
		return 0;
	return store_remove(p->model->g.store, STORE_POD, p->id, &op->undo_err);
}

void pod_keep_fd(struct pod *p, const char *what, int fd)
{
	model_keep_fd(p->model, "pod", p->id, what, fd);
}

static void handle_namespaces(void *data, int ret, const struct sandbox_fds *fds, const struct err *e)
{
	struct op *op = data;
	struct pod *p = op->data;
	if (ret == 0) {
		p->net_fd = fds->net;
		p->netdev_fd = fds->netdev;
		p->ipc_fd = fds->ipc;
		p->uts_fd = fds->uts;
		p->shm_fd = fds->shm;
		p->user_fd = fds->user;
		pod_keep_fd(p, "net", p->net_fd);
		pod_keep_fd(p, "netdev", p->netdev_fd);
		pod_keep_fd(p, "ipc", p->ipc_fd);
		pod_keep_fd(p, "uts", p->uts_fd);
		pod_keep_fd(p, "shm", p->shm_fd);
		pod_keep_fd(p, "user", p->user_fd);
	}
	step_wake(op, ret, e);
}

/* The pod's sysctls as key, value, ..., NULL. */
static const char *const *sysctls(struct pool *pool, const struct pod *p)
{
	Cri__LinuxPodSandboxConfig *lc = p->config->linux;
	size_t n = lc ? lc->n_sysctls : 0;
	const char **list = pool_alloc(pool, (2 * n + 1) * sizeof(*list));
	for (size_t i = 0; i < n; i++) {
		list[2 * i] = lc->sysctls[i]->key;
		list[2 * i + 1] = lc->sysctls[i]->value;
	}
	return list;
}

const struct idmap *pod_map(const struct pod *p)
{
	return p->map.n_uids ? &p->map : NULL;
}

struct sandbox_ns pod_wanted_ns(struct pool *pool, const struct pod *p)
{
	struct oci_ns ns;
	oci_ns_of(p->config, NULL, &ns);
	bool uts = ns.uts != OCI_NS_NODE, ipc = ns.ipc != OCI_NS_NODE;
	return (struct sandbox_ns){
		.pin = p->netns_pin,
		.crowded = p->model->pods.len > CROWD,
		.ipc = ipc,
		.shm = ipc,
		.uts = uts,
		.hostname = uts && p->config->hostname[0] ? p->config->hostname : NULL,
		.sysctls = sysctls(pool, p),
		.map = pod_map(p),
		.user = -1,
	};
}

static int make_namespaces(struct op *op)
{
	struct pod *p = op->data;
	struct sandbox_ns ns = pod_wanted_ns(op->pool, p);
	p->namespaces_made = true;
	record_note_pod(p);	/* an unpin is owed from here on */
	return step_spawn(op, sandboxfs_make_ns(p->model->g.sandboxfs, op->pool, &ns, WORK_TIMEOUT_MS,
						handle_namespaces, op));
}

static void handle_unpinned(void *data, int ret, const struct err *e)
{
	struct op *op = data;
	struct pod *p = op->data;
	if (ret == 0)
		p->namespaces_made = false;
	step_wake(op, ret, e);
}

int step_unmake_namespaces(struct op *op)
{
	struct pod *p = op->data;
	if (!p->namespaces_made)
		return 0;
	pod_drop_fds(p);
	pod_keep_fd(p, "net", -1);
	pod_keep_fd(p, "netdev", -1);
	pod_keep_fd(p, "ipc", -1);
	pod_keep_fd(p, "uts", -1);
	pod_keep_fd(p, "shm", -1);
	pod_keep_fd(p, "user", -1);
	if (!p->netns_pin) {
		p->namespaces_made = false;
		return 0;
	}
	return step_spawn(op, sandboxfs_unpin(p->model->g.sandboxfs, op->pool, p->netns_pin,
					      handle_unpinned, op));
}

static void handle_attached(void *data, int ret, const struct net_result *r, const struct err *e)
{
	struct op *op = data;
	struct pod *p = op->data;
	if (ret == 0) {
		p->ips = pool_alloc(p->pool, (r->n_ips + 1) * sizeof(*p->ips));
		for (size_t i = 0; i < r->n_ips; i++)
			p->ips[i] = pool_strdup(p->pool, r->ips[i]);
		p->n_ips = r->n_ips;
		p->net_state = pool_strdup(p->pool, r->state);
	}
	step_wake(op, ret, e);
}

static int attach_network(struct op *op)
{
	struct pod *p = op->data;
	if (!own_net(p))
		return 0;
	size_t n = p->config->n_port_mappings;
	struct net_port *ports = pool_alloc(op->pool, (n + 1) * sizeof(*ports));
	for (size_t i = 0; i < n; i++) {
		const Cri__PortMapping *m = p->config->port_mappings[i];
		ports[i] = (struct net_port){ (int)m->protocol, (uint16_t)m->container_port,
					      (uint16_t)m->host_port, m->host_ip };
	}
	const Cri__PodSandboxMetadata *md = p->config->metadata;
	struct net_attach a = { .pod_id = p->id, .name = md->name, .ns = md->namespace_, .uid = md->uid,
				.netns_path = p->netns_pin, .ports = ports, .n_ports = n };
	p->attached = true;
	record_note_pod(p);	/* a detach is owed from here on */
	return step_net(op, net_plug_attach(p->model->g.net, &a, NET_TIMEOUT_MS, handle_attached, op));
}

static void handle_detached(void *data, int ret, const struct net_result *r, const struct err *e)
{
	struct op *op = data;
	struct pod *p = op->data;
	if (ret == 0) {
		p->attached = false;
		p->net_state = NULL;
	}
	step_wake(op, ret, e);
}

int step_detach_network(struct op *op)
{
	struct pod *p = op->data;
	if (!p->attached)
		return 0;
	return step_net(op, net_plug_detach(p->model->g.net, p->id, p->netns_pin, p->net_state,
					    NET_TIMEOUT_MS, handle_detached, op));
}

/* Sysctls of interfaces that the network has just made. */
static int set_late_sysctls(struct op *op)
{
	struct pod *p = op->data;
	struct sandbox_ns ns = pod_wanted_ns(op->pool, p);
	if (!p->netns_pin || !sandboxfs_has_late_sysctls(&ns))
		return 0;
	return step_spawn(op, sandboxfs_late_sysctls(p->model->g.sandboxfs, op->pool, &ns, p->net_fd,
						     WORK_TIMEOUT_MS, step_work_done, op));
}

static int write_files(struct op *op)
{
	struct pod *p = op->data;
	const Cri__DNSConfig *d = p->config->dns_config;
	struct sandbox_dns dns = { 0 };
	if (d)
		dns = (struct sandbox_dns){
			.servers = (const char *const *)d->servers, .n_servers = d->n_servers,
			.searches = (const char *const *)d->searches, .n_searches = d->n_searches,
			.options = (const char *const *)d->options, .n_options = d->n_options,
		};
	const char *hostname = p->config->hostname[0] ? p->config->hostname : NULL, *line = NULL;
	if (p->n_ips && hostname)
		line = pool_printf(op->pool, "%s\t%s", p->ips[0], hostname);
	return sandboxfs_write_files(pod_dir(op->pool, p), hostname, d ? &dns : NULL, line, pod_map(p),
				     &op->err);
}

static int make_ready(struct op *op)
{
	struct pod *p = op->data;
	if (p->config->log_directory[0]) {
		int ret = file_mkdirs(p->config->log_directory, 0755, &op->err);
		if (ret < 0)
			return err_wrap(&op->err, ret, "config.log_directory");
	}
	pod_set_state(p, POD_STATE_READY);
	return 0;
}

static const struct op_step run_pod_steps[] = {
	{ "keep record", NULL, drop_record },
	{ "make cgroup", step_make_cgroup, step_remove_cgroup },
	{ "make namespaces", make_namespaces, step_unmake_namespaces },
	{ "attach network", attach_network, step_detach_network },
	{ "set late sysctls", set_late_sysctls, NULL },
	{ "write files", write_files, NULL },
	{ "prepare sandbox", step_prepare_sandbox, NULL },
	{ "create sandbox", step_create_sandbox, step_delete_sandbox },
	{ "create pause", step_create_pause, step_undo_pause },
	{ "start pause", step_start_pause, NULL },
	{ "make ready", make_ready, NULL },
	{ 0 }
};

static void save(struct op *op, const char *step, bool undoing)
{
	record_note_pod(op->data);
}

static void handle_claimed(struct loop_defer *d)
{
	record_note_pod(d->data);
}

static void run_pod_done(struct op *op, int ret)
{
	struct pod *p = op->data;
	p->op = NULL;
	loop_destroy_later(op->loop, op->pool);
	if (ret < 0) {
		log_warn("pod is not run", "pod", p->id, "name", p->config->metadata->name, "error",
			 err_text(&op->err));
		if (!owes(p)) {
			pod_forget(p);
			return;
		}
		/* Whoever collects pods shall find it. */
		pod_set_state(p, POD_STATE_NOTREADY);
		p->unclaimed = false;
		record_note_pod(p);
		return;
	}
	/* Should the core die before its caller is answered, the next to ask gets it. */
	p->unclaimed = true;
	record_note_pod(p);
	loop_defer(op->loop, &p->claimed, handle_claimed, p);
}

const struct op_table run_pod_table = { "run pod", run_pod_steps, save, run_pod_done };

/* -- the request -- */

/* Somebody asked for a pod of this name before. */
static void answer_again(struct pod *p, struct model_wait *w)
{
	struct err e = { 0 };
	if (p->op && p->op->table == &run_pod_table) {
		w->claim = &p->unclaimed;
	wait_op(w, p->op, p->id);
	} else if (p->unclaimed) {
		p->unclaimed = false;
		record_note_pod(p);
		wait_done(w, p->id);
	} else {
		err_set(&e, EEXIST, "config.metadata: pod %s/%s (uid %s, attempt %u) exists already, its id is %s",
			p->config->metadata->namespace_, p->config->metadata->name, p->config->metadata->uid,
			p->config->metadata->attempt, p->id);
		wait_fail(w, p->id, &e);
	}
}

static int keep_config(struct pod *p, struct err *e)
{
	struct store *s = p->model->g.store;
	struct pool *tmp = pool_new(NULL, "config");
	size_t len;
	void *data = pb_pack(tmp, p->config, &len);
	int ret = store_make(s, STORE_POD, p->id, e);
	if (ret == 0)
		ret = store_write(s, STORE_POD, p->id, "config.pb", data, len, e);
	pool_destroy(tmp);
	return ret;
}

static struct pod *make_pod(struct model *m, const Cri__PodSandboxConfig *config, const struct handler_choice *ch)
{
	char id[65];
	random_id(id);
	struct pod *p = pod_new(m, id);
	p->config = pb_copy(p->pool, config);
	pod_take_handler(p, ch);
	p->created_ns = clock_real_ns();
	struct oci_ns ns;
	oci_ns_of(config, NULL, &ns);
	/* An engine with a sandbox of its own shares pids in there. */
	p->shared_pid = ns.pid == OCI_NS_POD && !plug_can(p->handler, CRISP_CAP_SANDBOX_OWN);
	p->cgroup_parent = pod_cgroup_parent(p);
	if (own_net(p))
		p->netns_pin = sandboxfs_pin_path(m->g.sandboxfs, p->pool, id);
	pod_enter(p);
	return p;
}

struct op *run_pod_unwind(struct pod *p, const char *step)
{
	struct pool *pool = pool_new(p->model->pool, "run pod");
	p->op = pool_new_struct(pool, struct op);
	op_unwind(p->op, &run_pod_table, p->model->g.loop, pool, p, p->id, step);
	return p->op;
}

void model_run_pod(struct model *m, const Cri__PodSandboxConfig *config, const char *handler,
		   struct model_wait *w)
{
	struct err e = { 0 };
	struct pool *tmp = pool_new(NULL, "key");
	struct handler_choice choice;
	const char *reason = NULL;
	if (oci_check_sandbox(m->g.host, config, &e) < 0)
		goto refuse;
	struct map_node *n = map_get(&m->pod_names, pod_key(tmp, config->metadata));
	if (n) {
		pool_destroy(tmp);
		answer_again(container_of(n, struct pod, by_name), w);
		return;
	}
	if (handler_choose(m, config, handler, &choice, &e) < 0)
		goto refuse;
	struct idmap map;
	oci_userns_of(config, &map);
	if (map.n_uids && !choice.handler->userns) {
		err_set(&e, choice.handler->userns_asked ? EAGAIN : EINVAL,
			"linux.security_context.namespace_options.userns_options.mode POD: "
			"runtime_handler \"%s\" has no user namespaces here: %s", choice.handler->name,
			choice.handler->no_userns);
		goto refuse;
	}
	struct pod *p = make_pod(m, config, &choice);
	if (own_net(p) && !net_plug_ready(m->g.net, &reason)) {
		err_set(&e, EAGAIN, "the network is not ready: %s", reason);
		pod_forget(p);
		goto refuse;
	}
	if (keep_config(p, &e) < 0) {
		store_remove(m->g.store, STORE_POD, p->id, NULL);
		pod_forget(p);
		goto refuse;
	}
	pod_check_overhead(p);
	struct pool *pool = pool_new(m->pool, "run pod");
	p->op = pool_new_struct(pool, struct op);
	op_start(p->op, &run_pod_table, m->g.loop, pool, p, p->id, OP_TIMEOUT_MS);
	w->claim = &p->unclaimed;
	wait_op(w, p->op, p->id);
	pool_destroy(tmp);
	return;
refuse:
	pool_destroy(tmp);
	wait_fail(w, NULL, &e);
}

/*
 * The two commands of a shim's program.
 *
 * `start` prints where the shim of the pod listens, having brought it up if there was none.  There
 * are two generations of it: one reads bootstrap parameters from stdin and answers in kind, the
 * other wants stdin empty and prints an address, bare or in JSON.  What the one takes the other
 * refuses, at once and without a trace; so the newer one is tried first, and what has worked is
 * remembered for as long as the file is the same.
 *
 * The shim is to live in a mount namespace of its own, in which the pod's /dev/shm is: whatever it
 * mounts ends with it.  Only where it runs virtual machines it makes such a namespace by itself,
 * and stays in the host's until then.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engines/shimv2/shimv2.h"

enum { OUT_MAX = 64 << 10, ERR_MAX = 4000, DELETE_MS = 20000, VERSION_MAX = 3 };

/* A command under way. */
struct start {
	struct start *next;
	struct crisp_instance *inst;
	char *id, *bundle;
	int64_t deadline_ns;
	bool bootstrap, second;	/* of `start`: this try, and whether it is the second one */
	int shm_fd;		/* -1: none */
	char *shm_target;
	char address[SHIM_PATH_MAX], ttrpc[SHIM_PATH_MAX + 32], program[SHIM_PATH_MAX];
	start_cb *started;
	clean_cb *deleted;
	void *data;
};

static struct start *start_new(struct crisp_instance *i, const char *id, const char *bundle)
{
	struct start *s = calloc(1, sizeof(*s));
	if (!s)
		abort();
	s->inst = i;
	s->id = strdup(id);
	s->bundle = strdup(bundle);
	s->shm_fd = -1;
	s->next = i->starts;
	i->starts = s;
	return s;
}

static void start_free(struct start *s)
{
	struct start **at = &s->inst->starts;
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	if (s->shm_fd >= 0)
		close(s->shm_fd);
	free(s->shm_target);
	free(s->bundle);
	free(s->id);
	free(s);
}

void starts_free(struct crisp_instance *i)
{
	while (i->starts)
		start_free(i->starts);
}

/* -- the command line -- */

struct command {
	struct crisp_spawn_plan plan;
	const char *argv[16], *envp[8];
	struct crisp_mount shm;
	const struct crisp_mount *mounts[2];
	struct crisp_rootfs root;
};

static void command_init(struct command *c, struct start *s, const char *verb)
{
	char found[SHIM_PATH_MAX];
	const char *program = shim_program(&s->inst->options, found);
	snprintf(s->program, sizeof(s->program), "%s", program ? program : "");
	events_path(s->inst, s->address);
	snprintf(s->ttrpc, sizeof(s->ttrpc), "TTRPC_ADDRESS=%s", s->address);
	bool is_delete = !strcmp(verb, "delete");
	size_t n = 0;
	c->argv[n++] = s->program;
	c->argv[n++] = "-namespace";
	c->argv[n++] = SHIM_NAMESPACE;
	c->argv[n++] = "-address";
	c->argv[n++] = s->address;
	c->argv[n++] = "-publish-binary";
	c->argv[n++] = "/bin/true";
	c->argv[n++] = "-id";
	c->argv[n++] = s->id;
	if (is_delete) {
		c->argv[n++] = "-bundle";
		c->argv[n++] = s->bundle;
	}
	c->argv[n++] = verb;
	c->argv[n] = NULL;
	c->envp[0] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	c->envp[1] = s->ttrpc;
	c->envp[2] = "NAMESPACE=" SHIM_NAMESPACE;
	c->envp[3] = "MAX_SHIM_VERSION=2";
	c->envp[4] = "GOMAXPROCS=2";
	c->envp[5] = NULL;
	c->plan = (struct crisp_spawn_plan){
		.size = sizeof(c->plan), .path = s->program, .argv = c->argv, .envp = c->envp,
		.cwd = s->bundle, .out_max = OUT_MAX, .err_max = ERR_MAX, .deadline_ns = s->deadline_ns,
	};
}

/* -- what `start` prints -- */

static int take_bootstrap(const struct crisp_spawn_result *r, char address[SHIM_PATH_MAX], int *version,
			  char protocol[16])
{
	Shim__BootstrapResult *b = (void *)protobuf_c_message_unpack(&shim__bootstrap_result__descriptor, NULL,
								     r->out_len, (const uint8_t *)r->out);
	if (!b)
		return -EIO;
	snprintf(address, SHIM_PATH_MAX, "%s", b->address);
	snprintf(protocol, 16, "%s", b->protocol);
	*version = b->version;
	protobuf_c_message_free_unpacked(&b->base, NULL);
	return 0;
}

static void take_json(const char *text, char address[SHIM_PATH_MAX], int *version, char protocol[16])
{
	const char *at_address[] = { "address", NULL }, *at_version[] = { "version", NULL },
		   *at_protocol[] = { "protocol", NULL };
	yajl_val root = yajl_tree_parse(text, NULL, 0);
	yajl_val a = yajl_tree_get(root, at_address, yajl_t_string), v = yajl_tree_get(root, at_version, yajl_t_number),
		 p = yajl_tree_get(root, at_protocol, yajl_t_string);
	if (a)
		snprintf(address, SHIM_PATH_MAX, "%s", YAJL_GET_STRING(a));
	if (p)
		snprintf(protocol, 16, "%s", YAJL_GET_STRING(p));
	*version = v && YAJL_IS_INTEGER(v) ? (int)YAJL_GET_INTEGER(v) : 2;
	yajl_tree_free(root);
}

/* Words in msg when it is nothing to go on with. */
static int take_address(const struct crisp_spawn_result *r, char address[SHIM_PATH_MAX], int *version,
			char msg[SHIM_MSG_MAX])
{
	char protocol[16] = "ttrpc";
	*address = 0;
	*version = 2;
	if (r->out_len && r->out[0] == 0x08) {
		if (take_bootstrap(r, address, version, protocol) < 0)
			*address = 0;
	} else if (r->out[0] == '{') {
		take_json(r->out, address, version, protocol);
	} else {
		snprintf(address, SHIM_PATH_MAX, "%.*s", (int)strcspn(r->out, " \r\n"), r->out);
	}
	if (strcmp(protocol, "ttrpc")) {
		snprintf(msg, SHIM_MSG_MAX, "the shim speaks %s, not ttrpc", protocol);
		return -ENOSYS;
	}
	if (!*address || *version < 2 || *version > VERSION_MAX) {
		snprintf(msg, SHIM_MSG_MAX, "the shim's start printed no address, or is of version %d", *version);
		return -EIO;
	}
	return 0;
}

/* -- `start` -- */

static void run_start(struct start *s);

static struct stat file_of(const char *path)
{
	struct stat st = { 0 };
	stat(path, &st);
	return st;
}

static uint64_t mtime_ns(const struct stat *st)
{
	return (uint64_t)st->st_mtim.tv_sec * 1000000000 + (uint64_t)st->st_mtim.tv_nsec;
}

static bool is_known(const struct crisp_instance *i, const struct stat *st)
{
	return i->generation.known && i->generation.dev == st->st_dev && i->generation.ino == st->st_ino &&
	       i->generation.mtime_ns == mtime_ns(st);
}

static void remember(struct crisp_instance *i, const char *program, bool legacy)
{
	struct stat st = file_of(program);
	i->generation.dev = st.st_dev;
	i->generation.ino = st.st_ino;
	i->generation.mtime_ns = mtime_ns(&st);
	i->generation.legacy = legacy;
	i->generation.known = true;
}

/* The last line of what it says on stderr: its words of an error. */
static void last_words(const struct crisp_spawn_result *r, char msg[SHIM_MSG_MAX])
{
	size_t end = strlen(r->err_out);
	while (end && (unsigned char)r->err_out[end - 1] <= ' ')
		end--;
	size_t at = end;
	while (at && r->err_out[at - 1] != '\n')
		at--;
	if (end > at)
		snprintf(msg, SHIM_MSG_MAX, "%.*s", (int)(end - at > 300 ? 300 : end - at), r->err_out + at);
	else if (WIFSIGNALED(r->wait_status))
		snprintf(msg, SHIM_MSG_MAX, "the shim's start was killed by signal %d", WTERMSIG(r->wait_status));
	else
		snprintf(msg, SHIM_MSG_MAX, "the shim's start ended with exit code %d", WEXITSTATUS(r->wait_status));
}

static void start_over(struct start *s, int err, const char *msg, const char *address, int version)
{
	start_cb *cb = s->started;
	void *data = s->data;
	start_free(s);
	cb(data, err, msg, address, version);
}

static void handle_started(void *data, const struct crisp_spawn_result *r)
{
	struct start *s = data;
	struct crisp_instance *i = s->inst;
	char msg[SHIM_MSG_MAX] = "", address[SHIM_PATH_MAX];
	int version = 0, err;
	if (!r->err && r->wait_status && !strcmp(i->options.start, START_AUTO) && !s->second) {
		s->second = true;
		s->bootstrap = !s->bootstrap;
		run_start(s);
		return;
	}
	if (r->err) {
		err = r->err == -ETIMEDOUT || r->err == -ECANCELED ? r->err : -EIO;
		snprintf(msg, sizeof(msg), "%.200s: %.150s", s->program, r->msg);
	} else if (r->wait_status) {
		err = -EIO;
		last_words(r, msg);
	} else {
		err = take_address(r, address, &version, msg);
	}
	if (!err)
		remember(i, s->program, !s->bootstrap);
	start_over(s, err, msg, address, version);
}

static void bootstrap_input(struct start *s, struct command *c, uint8_t **text)
{
	Shim__BootstrapParams p = SHIM__BOOTSTRAP_PARAMS__INIT;
	p.instance_id = s->id;
	p.namespace_ = (char *)(uintptr_t)SHIM_NAMESPACE;
	p.containerd_ttrpc_address = s->address;
	p.containerd_grpc_address = s->address;
	p.containerd_binary = (char *)(uintptr_t)"/bin/true";
	c->plan.input_len = protobuf_c_message_get_packed_size(&p.base);
	*text = malloc(c->plan.input_len + 1);
	if (!*text)
		abort();
	protobuf_c_message_pack(&p.base, *text);
	c->plan.input = *text;
}

static void handle_refused(void *data)
{
	start_over(data, -EIO, "the shim's program is in none of the usual folders, or its plan was refused", NULL, 0);
}

static void run_start(struct start *s)
{
	struct command c = { 0 };
	uint8_t *input = NULL;
	const struct crisp_host *h = s->inst->host;
	command_init(&c, s, "start");
	c.plan.flags = CRISP_SPAWN_STAY;
	if (s->bootstrap)
		bootstrap_input(s, &c, &input);
	if (!shim_profile.guest) {
		c.shm = (struct crisp_mount){ .size = sizeof(c.shm), .type = "tmpfs", .source = "shm",
					      .target = s->shm_target, .fd = s->shm_fd };
		c.mounts[0] = s->shm_fd >= 0 ? &c.shm : NULL;
		c.root = (struct crisp_rootfs){ .size = sizeof(c.root), .path = s->bundle, .mounts = c.mounts };
		c.plan.rootfs = &c.root;
	}
	if (!s->program[0] || !h->spawn(h, &c.plan, handle_started, s))
		h->defer(h, handle_refused, s);
	free(input);
}

void shim_start(struct crisp_instance *i, const char *id, const char *bundle, const struct crisp_rootfs *root,
		int64_t deadline_ns, start_cb *cb, void *data)
{
	struct start *s = start_new(i, id, bundle);
	char found[SHIM_PATH_MAX];
	const char *program = shim_program(&i->options, found);
	struct stat st = file_of(program ? program : "");
	s->started = cb;
	s->data = data;
	s->deadline_ns = deadline_ns;
	s->bootstrap = !strcmp(i->options.start, START_BOOTSTRAP) ||
		       (!strcmp(i->options.start, START_AUTO) && !(is_known(i, &st) && i->generation.legacy));
	for (size_t k = 0; root && root->mounts && root->mounts[k]; k++) {
		const struct crisp_mount *m = root->mounts[k];
		if (m->fd <= 0 || s->shm_fd >= 0)
			continue;
		s->shm_fd = fcntl(m->fd, F_DUPFD_CLOEXEC, 3);
		s->shm_target = strdup(m->target);
	}
	run_start(s);
}

/* -- `delete` -- */

static void delete_over(struct start *s)
{
	clean_cb *cb = s->deleted;
	void *data = s->data;
	start_free(s);
	cb(data);
}

static void handle_deleted(void *data, const struct crisp_spawn_result *r)
{
	struct start *s = data;
	const struct crisp_host *h = s->inst->host;
	bool ok = !r->err && !r->wait_status;
	char msg[SHIM_MSG_MAX] = "";
	if (!ok && !r->err)
		last_words(r, msg);
	if (!ok)
		h->log(h, CRISP_LOG_WARN, "a shim's clean-up failed",
		       (const char *const[]){ "id", s->id, "error", r->err ? r->msg : msg, NULL });
	delete_over(s);
}

static void handle_not_deleted(void *data)
{
	delete_over(data);
}

void shim_delete(struct crisp_instance *i, const char *id, const char *bundle, clean_cb *cb, void *data)
{
	struct start *s = start_new(i, id, bundle);
	struct command c = { 0 };
	const struct crisp_host *h = i->host;
	s->deleted = cb;
	s->data = data;
	s->deadline_ns = h->now_ns(h) + DELETE_MS * 1000000ll;
	command_init(&c, s, "delete");
	if (!s->program[0] || !h->spawn(h, &c.plan, handle_deleted, s))
		h->defer(h, handle_not_deleted, s);
}

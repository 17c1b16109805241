/*
 * The spy: a table of operations and a host for the plugin, behind which the real ones are.  So it
 * sees every call in both directions, how long the plugin's code runs, and what it leaves changed.
 *
 *	core ---> spy_NAME() ---> the plugin's slot
 *	core <--- host_NAME() <--- the plugin		(the core's time is not the plugin's)
 *
 * The plugin gets a crisp_host of ours, which stays when the instance is closed: whoever calls it
 * then is seen, and the core is spared.  Arguments lie at the end of a page behind which there is
 * nothing, so reading past their size is a crash.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/plug/inner.h"
#include "tools/engine-check/check.h"

enum { SLOW_NS = 10000000, BROKEN_MAX = 5, PAGE = 4096, TAIL = 64 };

/* -- rules -- */

static const char *const rule_names[RULE_COUNT] = {
	[RULE_ANSWERS] = "each accepted operation is completed exactly once",
	[RULE_RESULTS] = "results have a size, an errno and sound values",
	[RULE_QUICK] = "no call blocks for more than 10 ms",
	[RULE_THREADS] = "no thread is made",
	[RULE_FORKS] = "no process is made but by host->spawn()",
	[RULE_PROCESS] = "folder, umask, signals and environment are left alone",
	[RULE_QUIET] = "nothing is written to stdout or stderr",
	[RULE_CLOSED] = "nothing is called after close",
	[RULE_FDS] = "no file descriptor is leaked",
};

static struct {
	unsigned n;
	char text[BROKEN_MAX][300];
} broken[RULE_COUNT];

void rule_broken(enum rule rule, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	if (broken[rule].n < BROKEN_MAX)
		vsnprintf(broken[rule].text[broken[rule].n], sizeof(broken[rule].text[0]), fmt, ap);
	broken[rule].n++;
	va_end(ap);
}

void rules_report(const char *section)
{
	for (int r = 0; r < RULE_COUNT; r++) {
		check(!broken[r].n, "%s: %s", section, rule_names[r]);
		for (unsigned i = 0; i < broken[r].n && i < BROKEN_MAX; i++)
			note("%s", broken[r].text[i]);
	}
}

/* -- what there is to see -- */

struct spy_host {
	struct crisp_host abi;		/* what the plugin has */
	const struct crisp_host *real;
	struct crisp_instance *inst;
	struct spy_host *next;
	bool closed;
};

/* An operation that was given to the plugin. */
struct given {
	struct given *next;
	struct crisp_req *req;
	struct spy_host *host;
	enum plug_op op;
	unsigned answers;
	bool refused, blamed;
};

/* What a plugin must leave as it is. */
struct habits {
	char cwd[512];
	unsigned long mask, threads;
	char blocked[40], ignored[40], caught[40];
	uint64_t env;
};

static struct {
	const struct crisp_engine *engine;
	const struct crisp_ops *ops;
	struct crisp_engine seen;
	struct crisp_ops table;
	struct spy_host *hosts;
	struct given *given;
	struct habits habits;
	bool newer, inside;
	int capture;			/* what is written to stdout and stderr; -1: not yet */
	off_t captured;
	int64_t host_ns;		/* spent in the core on behalf of the span under way */
	char *args;			/* a page, before one that can't be read */
	enum fault fault;
	unsigned fault_after;		/* this many programs are spared */
	bool fault_hit;
} spy = { .capture = -1 };

/* -- spans of the plugin's code -- */

/* How long this process has waited for a processor. */
static int64_t run_delay_ns(void)
{
	char text[100] = "";
	auto_close int fd = open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC);
	long long delay = 0;
	if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
		sscanf(text, "%*d %lld", &delay);
	return delay;
}

static void field(const char *text, const char *name, char *to, size_t cap)
{
	const char *at = strstr(text, name);
	snprintf(to, cap, "%.*s", at ? (int)strcspn(at + strlen(name), "\n") : 0, at ? at + strlen(name) : "");
}

static void read_habits(struct habits *h)
{
	extern char **environ;
	char text[4096] = "", number[40];
	auto_close int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		abort();
	field(text, "Umask:\t", number, sizeof(number));
	h->mask = strtoul(number, NULL, 8);
	field(text, "Threads:\t", number, sizeof(number));
	h->threads = strtoul(number, NULL, 10);
	field(text, "SigBlk:\t", h->blocked, sizeof(h->blocked));
	field(text, "SigIgn:\t", h->ignored, sizeof(h->ignored));
	field(text, "SigCgt:\t", h->caught, sizeof(h->caught));
	if (!getcwd(h->cwd, sizeof(h->cwd)))
		h->cwd[0] = 0;
	h->env = 5381;
	for (char **e = environ; e && *e; e++)
		for (const char *c = *e; *c; c++)
			h->env = h->env * 33 + (unsigned char)*c;
}

/* Children of ours in our own session: the host's programs, and what they leave, have others. */
static unsigned own_children(void)
{
	char text[4096] = "", path[64];
	unsigned n = 0;
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		return 0;
	for (char *save, *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save))
		n += getsid(atoi(w)) == getsid(0);
	return n;
}

static off_t capture_size(void)
{
	struct stat st;
	fflush(stdout);
	return spy.capture >= 0 && fstat(spy.capture, &st) == 0 ? st.st_size : 0;
}

struct span {
	int64_t began_ns, delay_ns;
	bool outer;
};

static struct span enter(void)
{
	struct span s = { .outer = !spy.inside };
	if (!s.outer)
		return s;
	spy.inside = true;
	spy.host_ns = 0;
	spy.captured = capture_size();
	s.delay_ns = run_delay_ns();
	s.began_ns = clock_mono_ns();
	return s;
}

static void look_for_words(const char *what)
{
	char text[100] = "";
	off_t size = capture_size();
	if (size == spy.captured)
		return;
	if (pread(spy.capture, text, sizeof(text) - 1, spy.captured) < 0)
		text[0] = 0;
	rule_broken(RULE_QUIET, "%s wrote \"%.80s\"", what, text);
}

static void leave(const struct span *s, const char *what)
{
	struct habits now, *was = &spy.habits;
	if (!s->outer)
		return;
	int64_t ns = clock_mono_ns() - s->began_ns - spy.host_ns - (run_delay_ns() - s->delay_ns);
	spy.inside = false;
	if (ns > SLOW_NS)
		rule_broken(RULE_QUICK, "%s blocked for %lld ms", what, (long long)ns / 1000000);
	look_for_words(what);
	read_habits(&now);
	if (now.threads != was->threads)
		rule_broken(RULE_THREADS, "after %s there are %lu threads, there was %lu", what, now.threads,
			    was->threads);
	if (own_children())
		rule_broken(RULE_FORKS, "after %s there is a child that the host didn't make", what);
	if (strcmp(now.cwd, was->cwd))
		rule_broken(RULE_PROCESS, "%s changed the working directory to %s", what, now.cwd);
	if (now.mask != was->mask)
		rule_broken(RULE_PROCESS, "%s changed the umask to %04lo", what, now.mask);
	if (strcmp(now.blocked, was->blocked) || strcmp(now.ignored, was->ignored) || strcmp(now.caught, was->caught))
		rule_broken(RULE_PROCESS, "%s changed what happens to signals", what);
	if (now.env != was->env)
		rule_broken(RULE_PROCESS, "%s changed the environment", what);
	*was = now;
}

/* The core's own time and words. */
struct pause {
	int64_t began_ns;
};

static struct pause pause_begin(void)
{
	if (spy.inside && capture_size() != spy.captured)
		look_for_words("the plugin");
	return (struct pause){ clock_mono_ns() };
}

static void pause_end(const struct pause *p)
{
	spy.host_ns += clock_mono_ns() - p->began_ns;
	if (spy.inside)
		spy.captured = capture_size();
}

/* -- the host that the plugin has -- */

static const struct crisp_host *real(const struct crisp_host *abi, const char *what)
{
	const struct spy_host *h = container_of(abi, const struct spy_host, abi);
	if (h->closed)
		rule_broken(RULE_CLOSED, "%s was called by an instance that is closed", what);
	return h->closed ? NULL : h->real;
}

static void check_result(const struct given *g, const struct crisp_result *r)
{
	const char *op = plug_op_name(g->op);
	if (!CRISP_HAS(r, err) || r->size > 16 * PAGE) {
		rule_broken(RULE_RESULTS, "%s: its size is %u", op, r->size);
		return;
	}
	if (r->err > 0 || r->err < -4095)
		rule_broken(RULE_RESULTS, "%s: err %d is no negative errno", op, r->err);
	if (CRISP_HAS(r, pid) && r->pid < 0)
		rule_broken(RULE_RESULTS, "%s: pid %d", op, r->pid);
	if (CRISP_HAS(r, pidfd) && r->pidfd > 0 && fcntl(r->pidfd, F_GETFD) < 0)
		rule_broken(RULE_RESULTS, "%s: pidfd %d is not open", op, r->pidfd);
	if (CRISP_HAS(r, exit_source) && r->exit_source > CRISP_EXIT_BY_ENGINE)
		rule_broken(RULE_RESULTS, "%s: exit_source %u", op, r->exit_source);
	if (CRISP_HAS(r, status) && r->status > CRISP_STATUS_STOPPED)
		rule_broken(RULE_RESULTS, "%s: status %u", op, r->status);
	if (CRISP_HAS(r, state_len) && r->state_len > CRISP_STATE_MAX)
		rule_broken(RULE_RESULTS, "%s: %u bytes of state", op, r->state_len);
	if (CRISP_HAS(r, data) && r->data_len && !r->data)
		rule_broken(RULE_RESULTS, "%s: %u bytes of data at NULL", op, r->data_len);
}

static void host_done(struct crisp_req *req, const struct crisp_result *res)
{
	struct given *g = spy.given;
	while (g && g->req != req)
		g = g->next;
	if (!g) {
		rule_broken(RULE_ANSWERS, "done() for an operation that was never given");
		return;
	}
	if (g->host->closed) {
		rule_broken(RULE_CLOSED, "done() of %s by an instance that is closed", plug_op_name(g->op));
		return;
	}
	if (++g->answers > 1)
		rule_broken(RULE_ANSWERS, "%s was completed %u times", plug_op_name(g->op), g->answers);
	if (g->refused)
		rule_broken(RULE_ANSWERS, "%s was refused and completed", plug_op_name(g->op));
	check_result(g, res);
	struct pause p = pause_begin();
	g->host->real->done(req, res);
	pause_end(&p);
}

/* A forwarded service: VALUE when the instance is closed. */
#define FORWARD(type, value, what, call)                                                           \
	const struct crisp_host *h = real(abi, what);                                              \
	struct pause p = pause_begin();                                                            \
	type ret = h ? h->call : (value);                                                          \
	pause_end(&p);                                                                             \
	return ret
#define FORWARD_VOID(what, call)                                                                   \
	const struct crisp_host *h = real(abi, what);                                              \
	struct pause p = pause_begin();                                                            \
	if (h)                                                                                     \
		h->call;                                                                           \
	pause_end(&p)

static void host_exited(const struct crisp_host *abi, const char *id, const char *exec_id, int32_t wait_status,
			int64_t at_ns)
{
	FORWARD_VOID("exited()", exited(h, id, exec_id, wait_status, at_ns));
}

static void host_oom(const struct crisp_host *abi, const char *id)
{
	FORWARD_VOID("oom()", oom(h, id));
}

static void host_gone(const struct crisp_host *abi, const char *id, const char *reason)
{
	FORWARD_VOID("sandbox_gone()", sandbox_gone(h, id, reason));
}

static void host_log(const struct crisp_host *abi, uint32_t level, const char *msg, const char *const *kv)
{
	const struct crisp_host *h = real(abi, "log()");
	if (!h)
		return;
	if (level > CRISP_LOG_ERROR)
		rule_broken(RULE_RESULTS, "log() of level %u", level);
	char line[300];
	int n = snprintf(line, sizeof(line), "log: %s", msg ? msg : "");
	for (; kv && kv[0] && kv[1] && n < (int)sizeof(line); kv += 2)
		n += snprintf(line + n, sizeof(line) - (size_t)n, " %s=%s", kv[0], kv[1]);
	if (level >= CRISP_LOG_WARN)
		note("%s", line);
}

static int64_t host_now_ns(const struct crisp_host *abi)
{
	FORWARD(int64_t, clock_mono_ns(), "now_ns()", now_ns(h));
}

/* A callback that goes through the spy; lives as long as the process. */
struct through {
	union {
		crisp_spawn_cb *ended;
		void (*fire)(void *data);
		void (*watch)(void *data, uint32_t events);
	} cb;
	void *data;
};

static struct through *through(void *data)
{
	struct through *t = calloc(1, sizeof(*t));
	if (!t)
		abort();
	t->data = data;
	return t;
}

static void handle_ended(void *data, const struct crisp_spawn_result *r)
{
	struct through *t = data;
	struct span s = enter();
	t->cb.ended(t->data, r);
	leave(&s, "the callback of a program");
}

static void handle_fire(void *data)
{
	struct through *t = data;
	struct span s = enter();
	t->cb.fire(t->data);
	leave(&s, "the callback of a timer");
}

static void handle_watch(void *data, uint32_t events)
{
	struct through *t = data;
	struct span s = enter();
	t->cb.watch(t->data, events);
	leave(&s, "the callback of a watch");
}

void spy_fault(enum fault fault, unsigned nth)
{
	spy.fault = fault;
	spy.fault_after = nth;
	spy.fault_hit = false;
}

bool spy_fault_hit(void)
{
	return spy.fault_hit;
}

/* Another program in the place of this one. */
static void spoil(struct crisp_spawn_plan *to, const struct crisp_spawn_plan *from)
{
	static const char *const killed[] = { "sh", "-c", "kill -9 $$", NULL }, *const lies[] = { "sh", "-c", "exit 0", NULL };
	*to = (struct crisp_spawn_plan){ 0 };
	memcpy(to, from, from->size < sizeof(*to) ? from->size : sizeof(*to));
	to->size = sizeof(*to);
	to->flags &= ~CRISP_SPAWN_SEAL;
	to->path = spy.fault == FAULT_MISSING ? "/nonexistent/program" : "/bin/sh";
	to->argv = spy.fault == FAULT_KILLED ? killed : lies;
}

static struct crisp_job *host_spawn(const struct crisp_host *abi, const struct crisp_spawn_plan *plan,
				    crisp_spawn_cb *cb, void *data)
{
	struct crisp_spawn_plan spoilt;
	if (spy.fault && !spy.fault_hit && !spy.fault_after--) {
		spy.fault_hit = true;
		if (spy.fault == FAULT_REFUSED)
			return NULL;
		spoil(&spoilt, plan);
		plan = &spoilt;
	}
	struct through *t = through(data);
	t->cb.ended = cb;
	FORWARD(struct crisp_job *, NULL, "spawn()", spawn(h, plan, handle_ended, t));
}

static struct crisp_watch *host_watch_fd(const struct crisp_host *abi, int32_t fd, uint32_t events,
					 void (*cb)(void *data, uint32_t events), void *data)
{
	struct through *t = through(data);
	t->cb.watch = cb;
	FORWARD(struct crisp_watch *, NULL, "watch_fd()", watch_fd(h, fd, events, handle_watch, t));
}

static struct crisp_timer *host_timer(const struct crisp_host *abi, uint64_t ms, void (*cb)(void *data), void *data)
{
	struct through *t = through(data);
	t->cb.fire = cb;
	FORWARD(struct crisp_timer *, NULL, "timer()", timer(h, ms, handle_fire, t));
}

static struct crisp_timer *host_defer(const struct crisp_host *abi, void (*cb)(void *data), void *data)
{
	struct through *t = through(data);
	t->cb.fire = cb;
	FORWARD(struct crisp_timer *, NULL, "defer()", defer(h, handle_fire, t));
}

static int host_keep_fd(const struct crisp_host *abi, const char *key, int32_t fd)
{
	FORWARD(int, -ENOENT, "keep_fd()", keep_fd(h, key, fd));
}

static int host_kept_fd(const struct crisp_host *abi, const char *key)
{
	FORWARD(int, -ENOENT, "kept_fd()", kept_fd(h, key));
}

static int host_drop_fd(const struct crisp_host *abi, const char *key)
{
	FORWARD(int, -ENOENT, "drop_fd()", drop_fd(h, key));
}

static int host_seal_exe(const struct crisp_host *abi, const char *path)
{
	FORWARD(int, -ENOENT, "seal_exe()", seal_exe(h, path));
}

static int host_state_put(const struct crisp_host *abi, const char *id, const void *data, uint32_t len)
{
	FORWARD(int, -ENOENT, "state_put()", state_put(h, id, data, len));
}

static int host_state_get(const struct crisp_host *abi, const char *id, void *buf, uint32_t cap)
{
	FORWARD(int, -ENOENT, "state_get()", state_get(h, id, buf, cap));
}

static const void *host_iface(const struct crisp_host *abi, const char *name)
{
	FORWARD(const void *, NULL, "iface()", iface(h, name));
}

static struct spy_host *host_new(const struct crisp_host *from)
{
	struct spy_host *h = calloc(1, sizeof(*h));
	if (!h)
		abort();
	h->real = from;
	h->abi = *from;
	h->abi.done = host_done;
	h->abi.exited = host_exited;
	h->abi.oom = host_oom;
	h->abi.sandbox_gone = host_gone;
	h->abi.log = host_log;
	h->abi.now_ns = host_now_ns;
	h->abi.spawn = host_spawn;
	h->abi.watch_fd = host_watch_fd;
	h->abi.timer = host_timer;
	h->abi.defer = host_defer;
	h->abi.keep_fd = host_keep_fd;
	h->abi.kept_fd = host_kept_fd;
	h->abi.drop_fd = host_drop_fd;
	h->abi.seal_exe = host_seal_exe;
	h->abi.state_put = host_state_put;
	h->abi.state_get = host_state_get;
	h->abi.iface = host_iface;
	if (spy.newer) {
		h->abi.size += TAIL;
		h->abi.minor += 7;
		h->abi.features |= 1ull << 63;
	}
	h->next = spy.hosts;
	spy.hosts = h;
	return h;
}

static struct spy_host *host_of(const struct crisp_instance *i)
{
	struct spy_host *h = spy.hosts;
	while (h && (h->inst != i || h->closed))
		h = h->next;
	if (!h)
		abort();	/* the core calls an instance that it has closed */
	return h;
}

/* -- the operations -- */

static int spy_open(const struct crisp_host *host, const char *options, struct crisp_instance **out, char *msg,
		    uint32_t cap)
{
	struct spy_host *h = host_new(host);
	struct span s = enter();
	int ret = spy.ops->open(&h->abi, options, out, msg, cap);
	leave(&s, "open");
	h->inst = ret < 0 ? NULL : *out;
	h->closed = ret < 0;
	if (ret > 0)
		rule_broken(RULE_RESULTS, "open returned %d", ret);
	return ret;
}

static void spy_close(struct crisp_instance *i)
{
	struct spy_host *h = host_of(i);
	struct span s = enter();
	spy.ops->close(i);
	leave(&s, "close");
	h->closed = true;
}

static void spy_cancel(struct crisp_instance *i, struct crisp_req *r)
{
	struct span s = enter();
	spy.ops->cancel(i, r);
	leave(&s, "cancel");
}

static struct given *give(enum plug_op op, struct crisp_instance *i, struct crisp_req *r)
{
	struct given *g = calloc(1, sizeof(*g));
	if (!g)
		abort();
	g->req = r;
	g->op = op;
	g->host = host_of(i);
	g->next = spy.given;
	spy.given = g;
	return g;
}

/* The arguments as the plugin gets them: at the very end of what can be read. */
static const void *lay_args(const void *from)
{
	const struct crisp_args *head = from;
	uint32_t size = head->size;
	char *at = spy.args + PAGE - size - (spy.newer ? TAIL : 0);
	memcpy(at, from, size);
	if (spy.newer) {
		memset(at + size, 0xa5, TAIL);
		((struct crisp_args *)(void *)at)->size += TAIL;
	}
	return at;
}

static int given_end(struct given *g, struct span *s, int ret)
{
	char what[60];
	snprintf(what, sizeof(what), "%s", plug_op_name(g->op));
	memset(spy.args, 0xa5, PAGE);	/* they were good for the call alone */
	leave(s, what);
	g->refused = ret < 0;
	if (ret > 0)
		rule_broken(RULE_RESULTS, "%s returned %d", what, ret);
	if (ret < 0 && g->answers)
		rule_broken(RULE_ANSWERS, "%s was completed and refused", what);
	return ret > 0 ? 0 : ret;
}

#define OPS(X)                                                                                     \
	X(PROBE, probe, args) X(PREPARE_SPEC, prepare_spec, spec_args)                             \
	X(SANDBOX_CREATE, sandbox_create, sandbox_create_args)                                     \
	X(SANDBOX_STOP, sandbox_stop, args) X(SANDBOX_DELETE, sandbox_delete, args)                \
	X(SANDBOX_ATTACH, sandbox_attach, attach_args) X(SANDBOX_STATS, sandbox_stats, args)       \
	X(SANDBOX_UPDATE, sandbox_update, update_args) X(CREATE, create, create_args)              \
	X(START, start, start_args) X(KILL, kill, kill_args) X(DELETE, del, args)                  \
	X(EXEC, exec, exec_args) X(EXEC_DELETE, exec_delete, args) X(RESIZE, resize, resize_args)  \
	X(CLOSE_STDIN, close_stdin, args) X(UPDATE, update, update_args) X(STATS, stats, args)     \
	X(PIDS, pids, args) X(PAUSE, pause, args) X(RESUME, resume, args)                          \
	X(CHECKPOINT, checkpoint, checkpoint_args) X(RESTORE, restore, create_args)                \
	X(ATTACH, attach, attach_args) X(PORT_FORWARD, port_forward, port_args)                    \
	X(DIAGNOSE, diagnose, args)

#define SPY(op, slot, type)                                                                        \
	static int spy_##slot(struct crisp_instance *i, struct crisp_req *r,                       \
			      const struct crisp_##type *a)                                        \
	{                                                                                          \
		struct given *g = give(PLUG_OP_##op, i, r);                                        \
		const void *args = lay_args(a);                                                    \
		struct span s = enter();                                                           \
		return given_end(g, &s, spy.ops->slot(i, r, args));                                \
	}
OPS(SPY)
#undef SPY

const struct crisp_engine *spy_on(const struct crisp_engine *engine)
{
	const struct crisp_ops *o = engine->ops;
	spy.engine = engine;
	spy.ops = o;
	spy.seen = (struct crisp_engine){ 0 };
	memcpy(&spy.seen, engine, engine->size < sizeof(spy.seen) ? engine->size : sizeof(spy.seen));
	spy.table = (struct crisp_ops){ .size = sizeof(spy.table) };
	if (CRISP_CAN(o, open))
		spy.table.open = spy_open;
	if (CRISP_CAN(o, close))
		spy.table.close = spy_close;
	if (CRISP_CAN(o, cancel))
		spy.table.cancel = spy_cancel;
#define SET(op, slot, type)                                                                        \
	if (CRISP_CAN(o, slot))                                                                    \
		spy.table.slot = spy_##slot;
	OPS(SET)
#undef SET
	spy.seen.ops = &spy.table;
	if (!spy.args) {
		spy.args = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (spy.args == MAP_FAILED || mprotect(spy.args + PAGE, PAGE, PROT_NONE) < 0)
			abort();
	}
	read_habits(&spy.habits);
	return &spy.seen;
}

void spy_capture(int fd)
{
	spy.capture = fd;
	if (dup2(spy.capture, 1) < 0 || dup2(spy.capture, 2) < 0)
		abort();
	fcntl(spy.capture, F_SETFL, O_APPEND);
}

void spy_be_newer(bool newer)
{
	spy.newer = newer;
}

static bool owed(const struct given *g)
{
	return !g->refused && !g->answers && !g->host->closed;
}

unsigned spy_owed(void)
{
	unsigned n = 0;
	for (struct given *g = spy.given; g; g = g->next)
		n += owed(g);
	return n;
}

void spy_blame_owed(void)
{
	for (struct given *g = spy.given; g; g = g->next)
		if (owed(g) && !g->blamed) {
			rule_broken(RULE_ANSWERS, "%s was accepted and never completed", plug_op_name(g->op));
			g->blamed = true;
		}
}

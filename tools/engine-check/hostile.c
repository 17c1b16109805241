/* Sections with nonsense: options, ids, specs, flags; a host that is newer than the plugin. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/pool.h"
#include "tools/engine-check/check.h"

enum { UNKNOWN_FLAG = 1u << 31 };

/* -- instances -- */

/* {"a":{"a":...}}, as deep as the core lets it be. */
static const char *deep_options(void)
{
	enum { DEPTH = 60 };
	char *s = pool_alloc(bench.pool, DEPTH * 6 + 20), *at = s;
	for (int i = 0; i < DEPTH; i++)
		at += sprintf(at, "{\"a\":");
	at += sprintf(at, "1");
	for (int i = 0; i < DEPTH; i++)
		at += sprintf(at, "}");
	return s;
}

static const char *long_options(void)
{
	enum { LEN = 1 << 20 };
	char *s = pool_alloc(bench.pool, LEN + 40);
	int n = sprintf(s, "{\"path\":\"/");
	memset(s + n, 'x', LEN);
	strcpy(s + n + LEN, "\"}");
	return s;
}

static void refuse_options(const char *name, const char *options, const char *what, const char *says)
{
	struct plug_handler *h = bench_handler(name, options);
	check(!h->ready, "%s are refused: %s", what, h->reason);
	if (says)
		check(strstr(h->reason, says), "and the words name it (\"%s\")", says);
}

void section_instances(void)
{
	struct fds before, after;
	fds_list(&before);
	struct plug_handler *h = bench_handler("first", opt.json);
	check(h->ready, "a handler is ready%s%s", h->ready ? "" : ": ", h->reason);
	check(bench_handler("second", opt.json)->ready == h->ready, "a second one beside it is as well");
	if (plug_has(h, PLUG_OP_PROBE))
		for (int i = 0; i < 3; i++)
			check(bench_ask(h, PLUG_OP_PROBE, &(struct crisp_args){ 0 }).ret == (h->ready ? 0 : -EIO),
			      "probe, once more");
	refuse_options("third", "{\"no_such_option\":1}", "unknown options", "no_such_option");
	refuse_options("fourth", deep_options(), "deep options", NULL);
	bench_handler("fifth", long_options());
	struct plug *first = bench.plug;
	struct pool *first_pool = bench.plug_pool;
	bench_plug();
	struct plug_handler *other = bench_handler("other", opt.json);
	struct pool *other_pool = bench.plug_pool;
	bench.plug = first;
	bench.plug_pool = first_pool;
	bench_unplug();
	bench.plug_pool = other_pool;
	if (plug_has(other, PLUG_OP_PROBE))
		check(bench_ask(other, PLUG_OP_PROBE, &(struct crisp_args){ 0 }).ret == (other->ready ? 0 : -EIO),
		      "an instance works when another has been closed");
	bench_wait_ms(300);
	bench_unplug();
	fds_list(&after);
	fds_compare(&before, &after);
	bench_plug();
}

/* -- arguments -- */

union args {
	struct crisp_args head;
	struct crisp_sandbox_create_args sandbox_create;
	struct crisp_create_args create;
	struct crisp_start_args start;
	struct crisp_kill_args kill;
	struct crisp_exec_args exec;
	struct crisp_resize_args resize;
	struct crisp_update_args update;
	struct crisp_attach_args attach;
	struct crisp_spec_args spec;
};

/* Every operation about somebody who isn't there. */
static void ask_about_nobody(struct plug_handler *h, const char *id, const char *what)
{
	static const enum plug_op ops[] = {
		PLUG_OP_START, PLUG_OP_KILL, PLUG_OP_DELETE, PLUG_OP_EXEC, PLUG_OP_RESIZE, PLUG_OP_CLOSE_STDIN,
		PLUG_OP_UPDATE, PLUG_OP_STATS, PLUG_OP_PIDS, PLUG_OP_PAUSE, PLUG_OP_RESUME, PLUG_OP_ATTACH,
		PLUG_OP_SANDBOX_STOP, PLUG_OP_SANDBOX_DELETE, PLUG_OP_SANDBOX_ATTACH,
	};
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		union args args = { .head = { .id = id } };
		if (!plug_has(h, ops[i]))
			continue;
		if (ops[i] == PLUG_OP_KILL)
			args.kill.signo = SIGTERM;
		else if (ops[i] == PLUG_OP_UPDATE)
			args.update.resources_json = "{}";
		else if (ops[i] == PLUG_OP_EXEC)
			args.exec = (struct crisp_exec_args){ .id = id, .exec_id = "e", .process_json =
				"{\"cwd\":\"/\",\"args\":[\"/bin/true\"],\"user\":{\"uid\":0,\"gid\":0}}" };
		struct answer a = bench_ask(h, ops[i], &args);
		check(a.ret < 0 && a.ret != -ETIMEDOUT, "%s of %s is an error (%d: %s)", plug_op_name(ops[i]), what,
		      a.ret, a.msg);
	}
}

static void ask_with_flags(struct plug_handler *h)
{
	struct answer a = bench_id(h, PLUG_OP_DELETE, "nobody", (uint32_t)UNKNOWN_FLAG);
	check(a.ret < 0 && a.ret != -ETIMEDOUT, "an unknown flag is survived (%d: %s)", a.ret, a.msg);
}

static void garble(struct ctr *c, const char *text)
{
	struct err e = { 0 };
	file_replace(AT_FDCWD, pool_printf(bench.pool, "%s/config.json", c->bundle), text, strlen(text), 0600, &e);
}

/* Beside the state directory, where an id that is a path would lead. */
static const char *canary(void)
{
	const char *dir = pool_printf(bench.pool, "%s/engines/canary", opt.home);
	file_mkdirs(dir, 0700, NULL);
	file_replace(AT_FDCWD, pool_printf(bench.pool, "%s/song", dir), "song", 4, 0600, NULL);
	return pool_printf(bench.pool, "%s/song", dir);
}

/* Ids that the host never gives: whoever makes a path of one must not reach anything by it.  None of
 * them is such that an engine which fails here could reach beyond this run's own folder. */
static void ask_about_paths(struct plug_handler *h)
{
	static const char *const ids[] = { "../canary", "a/../../canary", "new\nline", "\xe5\x90\x8d", "-f", "%s%n" };
	const char *song = canary();
	unsigned good = 0;
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		struct answer plain = bench_id(h, PLUG_OP_DELETE, ids[i], 0);
		struct answer forced = bench_id(h, PLUG_OP_DELETE, ids[i], CRISP_ARG_FORCE);
		struct answer start = bench_ask(h, PLUG_OP_START, &(struct crisp_start_args){ .id = ids[i] });
		bool right = plain.ret < 0 && plain.ret != -ETIMEDOUT && start.ret < 0 && start.ret != -ETIMEDOUT &&
			     forced.ret != -ETIMEDOUT;
		good += right;
		if (!right)
			note("\"%s\": delete %d, by force %d, start %d", ids[i], plain.ret, forced.ret, start.ret);
	}
	check(good == sizeof(ids) / sizeof(ids[0]), "ids that are paths, options or no words at all are nobody's (%u of %zu were)",
	      good, sizeof(ids) / sizeof(ids[0]));
	check(access(song, F_OK) == 0, "and lead nowhere: what lies beside the state directory is untouched");
	check(access(pool_printf(bench.pool, "%s/engines/check", opt.home), F_OK) == 0, "and so is the directory itself");
	file_remove_tree(AT_FDCWD, pool_printf(bench.pool, "%s/engines/canary", opt.home), NULL);
}

/* A pid that nobody has, and a state that is not the engine's. */
static void attach_to_strangers(struct plug_handler *h)
{
	static char rubbish[CRISP_STATE_MAX];
	memset(rubbish, 0xff, sizeof(rubbish));
	if (!plug_has(h, PLUG_OP_ATTACH))
		return;
	static const int32_t pids[] = { 0x7fffffff, -1, 0 };
	for (size_t i = 0; i < 3; i++) {
		struct answer a = bench_ask(h, PLUG_OP_ATTACH, &(struct crisp_attach_args){ .id = "stranger", .sandbox_id = "strange",
					    .pid = pids[i] });
		check(a.ret < 0 && a.ret != -ETIMEDOUT, "attach of nobody with pid %d is an error (%d%s)", pids[i], a.ret, colon(&a));
	}
	static const uint32_t lens[] = { 1, 15, sizeof(rubbish) };
	for (size_t i = 0; i < 3; i++) {
		struct answer a = bench_ask(h, PLUG_OP_ATTACH, &(struct crisp_attach_args){ .id = "stranger", .sandbox_id = "strange",
					    .state = rubbish, .state_len = lens[i] });
		check(a.ret < 0 && a.ret != -ETIMEDOUT, "attach of nobody with %u bytes of rubbish as its state is an error (%d%s)",
		      lens[i], a.ret, colon(&a));
	}
	bench_id(h, PLUG_OP_DELETE, "stranger", CRISP_ARG_FORCE);
}

/* Where there is no bundle at all. */
static void create_nowhere(struct plug_handler *h, const struct pod *p)
{
	const char *file = canary();
	const char *const bundles[] = { NULL, "", "/no/such/folder", "no-such-folder", file };
	for (size_t i = 0; i < sizeof(bundles) / sizeof(bundles[0]); i++) {
		struct ctr c;
		if (!ctr_lay(h, &c, p, "nowhere", "exit 0"))
			return;
		c.bundle = bundles[i];
		struct answer a = ctr_create(h, &c);
		check(a.ret < 0 && a.ret != -ETIMEDOUT, "create with bundle %s fails: %s", bundles[i] ? bundles[i] : "NULL", a.msg);
		a = bench_id(h, PLUG_OP_DELETE, "nowhere", CRISP_ARG_FORCE);
		check(a.ret == 0 || a.ret == -ENOENT, "and leaves nothing (%d%s)", a.ret, colon(&a));
		ctr_close(&c);
	}
}

/* [[[[... as deep as it gets, and a string without end. */
static const char *deep_spec(void)
{
	enum { DEEP = 20000 };
	char *s = pool_alloc(bench.pool, DEEP + 40);
	int n = sprintf(s, "{\"ociVersion\":");
	memset(s + n, '[', DEEP);
	s[n + DEEP] = 0;
	return s;
}

static void create_without_root(struct plug_handler *h, const struct pod *p)
{
	struct ctr c;
	/* An engine without a root of its own is not asked. */
	if (!plug_can(h, CRISP_CAP_ROOTFS_MOUNTED) || !strcmp(opt.name, "fake") ||
	    !ctr_lay_as(h, &c, p, "rootless", &(struct shape){ .sh = "exit 0", .root = "/no/such/root" }))
		return;
	struct answer a = ctr_create(h, &c);
	if (a.ret == 0)
		a = ctr_start(h, &c);
	struct end *e = a.ret == 0 ? bench_end("rootless", NULL, END_MS) : NULL;
	check(a.ret < 0 || (e && e->known && e->wait_status), "a root that isn't there is an error, or a bad end: %s", a.msg);
	bench_id(h, PLUG_OP_DELETE, "rootless", CRISP_ARG_FORCE);
	ctr_close(&c);
}

/* Numbers that are no signals reach nobody; what runs is none the worse. */
static void odd_signals(struct plug_handler *h, const struct ctr *c)
{
	static const int32_t signals[] = { -1, 65, 1000000, 0x7fffffff };
	if (!plug_has(h, PLUG_OP_KILL))
		return;
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		struct answer a = ctr_kill(h, c, signals[i]);
		check(a.ret < 0 && a.ret != -ETIMEDOUT, "signal %d is an error (%d%s)", signals[i], a.ret, colon(&a));
	}
}

static void create_from(struct plug_handler *h, const struct pod *p, const char *id, const char *spec, const char *what)
{
	struct ctr c;
	if (!ctr_lay(h, &c, p, id, "exit 0"))
		return;
	if (spec)
		garble(&c, spec);
	else
		unlink(pool_printf(bench.pool, "%s/config.json", c.bundle));
	struct answer a = ctr_create(h, &c);
	check(a.ret < 0 && a.ret != -ETIMEDOUT, "create from %s fails: %s", what, a.msg);
	a = bench_id(h, PLUG_OP_DELETE, id, CRISP_ARG_FORCE);
	check(a.ret == 0 || a.ret == -ENOENT, "and leaves nothing, or what a forced delete takes (%d%s%s)", a.ret,
	      *a.msg ? ": " : "", a.msg);
	ctr_close(&c);
}

/* A program that isn't there: create or start says so, and it is never an exit with code 0. */
static void run_nothing(struct plug_handler *h, const struct pod *p)
{
	struct ctr c;
	if (!ctr_lay(h, &c, p, "nothing", "exit 0"))
		return;
	struct buf spec = { 0 };
	const char *path = pool_printf(bench.pool, "%s/config.json", c.bundle);
	file_read(AT_FDCWD, path, 1 << 20, &spec, NULL);
	char *text = pool_strndup(bench.pool, spec.data ? spec.data : "", spec.len), *sh = strstr(text, "/bin/sh");
	buf_free(&spec);
	if (sh)
		memcpy(sh, "/no/sh.", 7);
	garble(&c, text);
	struct answer a = ctr_create(h, &c);
	if (a.ret == 0)
		a = ctr_start(h, &c);
	struct end *e = a.ret == 0 ? bench_end("nothing", NULL, 5000) : NULL;
	check(a.ret < 0 || (e && e->known && e->wait_status), "a program that isn't there is an error, or a bad end: %s",
	      a.msg);
	bench_id(h, PLUG_OP_DELETE, "nothing", CRISP_ARG_FORCE);
	ctr_close(&c);
}

static void exec_rubbish(struct plug_handler *h, const struct pod *p)
{
	static const char *const rubbish[] = { "", "{", "[]", "{\"args\":[]}", "{\"args\":{}}", "null" };
	struct ctr c;
	if (!plug_has(h, PLUG_OP_EXEC) || !ctr_run(h, &c, p, "victim", "while :; do sleep 0.1; done"))
		return;
	for (size_t i = 0; i < sizeof(rubbish) / sizeof(rubbish[0]); i++) {
		struct crisp_exec_args args = { .id = "victim", .exec_id = "r", .process_json = rubbish[i] };
		struct answer a = bench_ask(h, PLUG_OP_EXEC, &args);
		check(a.ret < 0 && a.ret != -ETIMEDOUT, "exec of '%s' fails: %s", rubbish[i], a.msg);
	}
	if (plug_has(h, PLUG_OP_UPDATE)) {
		struct crisp_update_args args = { .id = "victim", .resources_json = "rubbish" };
		struct answer a = bench_ask(h, PLUG_OP_UPDATE, &args);
		check(a.ret < 0 && a.ret != -ETIMEDOUT, "update with rubbish fails: %s", a.msg);
	}
	odd_signals(h, &c);
	bench_wait_ms(50);
	check(!bench_ends("victim", NULL), "the container is none the worse");
	bench_id(h, PLUG_OP_DELETE, "victim", CRISP_ARG_FORCE);
	ctr_close(&c);
}

void section_nonsense(void)
{
	char name[256];
	struct pod p;
	struct plug_handler *h = bench_handler("check", opt.json);
	memset(name, 'n', 255);
	name[255] = 0;
	ask_about_nobody(h, "nobody", "nobody");
	ask_about_nobody(h, name, "an id of 255 letters");
	ask_about_nobody(h, "..", "an id that is a path");
	ask_about_paths(h);
	attach_to_strangers(h);
	ask_with_flags(h);
	if (!opt.rootfs || !check(h->ready, "the engine is ready%s%s", h->ready ? "" : ": ", h->reason) ||
	    !pod_up(h, &p, "pod-bad"))
		return;
	create_from(h, &p, "none", NULL, "a bundle without a spec");
	create_from(h, &p, "empty", "", "an empty spec");
	create_from(h, &p, "garbage", "{\"process\":[1,2,\xff\xfe", "garbage");
	create_from(h, &p, "array", "[]", "an array");
	create_from(h, &p, "deep", deep_spec(), "a spec that is nested without end");
	create_nowhere(h, &p);
	create_without_root(h, &p);
	run_nothing(h, &p);
	exec_rubbish(h, &p);
	pod_down(h, &p);
	check_nothing_left();
}

/* -- a newer host -- */

void section_newer(void)
{
	struct pod p;
	struct ctr c;
	spy_be_newer(true);
	struct plug_handler *h = bench_handler("check", opt.json);
	if (check(h->ready, "ready in a host with larger structs%s%s", h->ready ? "" : ": ", h->reason) &&
	    pod_up(h, &p, "pod-newer")) {
		if (ctr_run(h, &c, &p, "newer", "exit 5")) {
			struct end *e = bench_end("newer", NULL, 10000);
			check(e && e->known && e->wait_status == 5 << 8, "a container lives and ends there");
			struct answer a = bench_id(h, PLUG_OP_DELETE, "newer", 0);
			check(a.ret == 0, "and is deleted%s%s", *a.msg ? ": " : "", a.msg);
			ctr_close(&c);
		}
		pod_down(h, &p);
	}
	bench_unplug();
	spy_be_newer(false);
	bench_plug();
}

/* Engines: loading, calls, deadlines and ends, on the fake engine in its four shapes. */
#include <fcntl.h>
#include <sys/stat.h>

#include "core/base/json.h"
#include "t/plug.h"

static struct answer create(struct plug_handler *h, const char *id, const char *pod,
			    const char *args)
{
	struct crisp_create_args a = { .id = id,
				       .sandbox_id = pod,
				       .bundle = bench_bundle(id, args) };
	return bench_ask_in(h, PLUG_OP_CREATE, &a, pod, 10000);
}

static struct answer start(struct plug_handler *h, const char *id)
{
	return bench_ask(h, PLUG_OP_START, &(struct crisp_start_args){ .id = id });
}

static void test_loading(void)
{
	struct plug_handler *h = bench_handler("absent", "nosuch", NULL);
	ok(h->state == PLUG_STATE_FAILED && strstr(h->reason, "nosuch.so"), "a missing plugin: %s",
	   h->reason);
	struct answer a = bench_simple(h, PLUG_OP_DELETE, "x", 0);
	ok(a.ret == -EHOSTDOWN && strstr(a.err.msg, "absent: delete:"), "its calls say so: %s",
	   a.err.msg);
	h = bench_handler("path", "../fake", NULL);
	ok(h->state == PLUG_STATE_FAILED && strstr(h->reason, "is no name"),
	   "a path is no name: %s", h->reason);
	h = bench_handler("optional", "fake", "{\"no_such\":1}");
	ok(h->state == PLUG_STATE_FAILED && strstr(h->reason, "no_such"), "unknown option: %s",
	   h->reason);
	h = bench_handler("rubbish", "fake", "{");
	ok(h->state == PLUG_STATE_FAILED, "options that are no JSON: %s", h->reason);
	h = bench_handler("sick", "fake", "{\"fail\":{\"probe\":\"no such machine\"}}");
	ok(h->state == PLUG_STATE_UNREADY && strstr(h->reason, "no such machine"), "unready: %s",
	   h->reason);
	h = bench_handler("good", "fake", NULL);
	ok(h->ready && !*h->reason && !strcmp(h->version, "1.0"), "ready, version %s", h->version);
	ok(plug_handler_get(bench.plug, "good") == h, "found by name");
	plug_handler_default(bench.plug, "good");
	ok(plug_handler_get(bench.plug, "") == h, "the default");
	ok(!plug_handler_get(bench.plug, "other"), "an unknown name is nobody");
	ok(plug_handler_add(bench.plug, "good", "fake", NULL) == h, "the same again is the same");
	ok(plug_handler_add(bench.plug, "good", "fake", "{\"exit_code\":1}") != h,
	   "other options are not");
}

static void handle_looked(void *data)
{
	++*(int *)data;
	loop_stop(bench.loop);
}

/* One that is not ready, until its second probe but one; the rules wear out with each. */
static void test_look(void)
{
	int told[3] = { 0 };
	struct plug_handler *h = bench_handler(
		"mended", "fake", "{\"rules\":[{\"op\":\"probe\",\"times\":3,\"errno\":5,\"delay_ms\":50}]}");
	ok(!h->ready, "not ready: %s", h->reason);
	struct pool *p = pool_new(bench.pool, "looks"), *leaves = pool_new(bench.pool, "a look");
	ok(plug_handler_look(h, p, handle_looked, &told[0]) && plug_handler_look(h, p, handle_looked, &told[1]) &&
		   plug_handler_look(h, leaves, handle_looked, &told[2]),
	   "three look at it");
	pool_destroy(leaves);
	while (!told[0] || !told[1])
		bench_run();
	ok(!h->ready && told[0] == 1 && told[1] == 1, "two are told, that it is not, once each");
	ok(plug_handler_look(h, p, handle_looked, &told[0]), "at once again: it is looked at again");
	while (told[0] < 2)
		bench_run();
	ok(!h->ready, "the three before were one probe: the third fails");
	ok(plug_handler_look(h, p, handle_looked, &told[0]), "once more");
	while (told[0] < 3)
		bench_run();
	ok(h->ready && !told[2], "mended, it is ready; who has left is told nothing");
	ok(!plug_handler_look(h, p, handle_looked, &told[0]), "what is ready is not looked at");
	pool_destroy(p);

	h = bench_handler("stays-bad", "fake", "{\"no_such\":1}");
	ok(h->state == PLUG_STATE_FAILED && !plug_handler_look(h, bench.pool, handle_looked, &told[0]),
	   "one that can't be opened is known at once");
}

/* Files that can't be plugins, in a directory of their own. */
static void test_bad_files(void)
{
	const char *dir = pool_printf(bench.pool, "%s/bad", bench.dir);
	const char *good = pool_printf(bench.pool, "%s/engines/fake.so", bench.build);
	struct err e = { 0 };
	struct buf so = { 0 };
	file_mkdirs(dir, 0700, &e);
	file_read(AT_FDCWD, good, 8 << 20, &so, &e);
	int fd = open(dir, O_DIRECTORY);
	file_replace(fd, "text.so", "hello", 5, 0644, &e);
	file_replace(fd, "open.so", so.data, so.len, 0644, &e);
	file_replace(fd, "foreign.so", so.data, so.len, 0644, &e);
	ok(fchmodat(fd, "open.so", 0666, 0) == 0, "mode 0666");
	ok(e.code == 0, "files laid out %s", e.msg);
	ok(symlinkat(pool_printf(bench.pool, "%s/netplug/fake.so", bench.build), fd,
		     "network.so") == 0 &&
		   symlinkat(pool_printf(bench.pool, "%s/t/unit/plug_crash.so", bench.build), fd,
			     "crash.so") == 0,
	   "links laid out");
	bool root = fchownat(fd, "foreign.so", 65534, 65534, 0) == 0;
	close(fd);
	buf_free(&so);
	struct plug *was = bench.plug;
	bench_plug(dir);
	static const struct { const char *name, *says; } bad[] = {
		{ "text", "file too short" }, { "open", "written by group or world" },
		{ "network", "no symbol crisp_engine_v1" }, { "crash", "signal 11" },
		{ "foreign", "belongs to uid 65534" },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]) - !root; i++) {
		struct plug_handler *h = bench_handler(bad[i].name, bad[i].name, NULL);
		ok(h->state == PLUG_STATE_FAILED && strstr(h->reason, bad[i].says), "%s: %s",
		   bad[i].name, h->reason);
	}
	bench.plug = was;
}

/* A node where everything is slow for a while: the trial load takes too long, and once more it doesn't. */
static void test_slow_load(void)
{
	const char *dir = pool_printf(bench.pool, "%s/slow", bench.dir);
	const char *script = pool_printf(bench.pool, "#!/bin/sh\n[ -e %s/quick ] || exec sleep 1000\n"
					 "exec %s/libexec/crisp-plug \"$@\"\n", dir, bench.build);
	struct err e = { 0 };
	file_mkdirs(dir, 0700, &e);
	int fd = open(dir, O_DIRECTORY);
	file_replace(fd, "crisp-plug", script, strlen(script), 0755, &e);
	struct plug *was = bench.plug;
	struct plug_options o = { .mntns_fd = -1, .libexec_dir = dir, .state_dir = bench.dir, .load_ms = 200 };
	o.engine_dir = pool_printf(bench.pool, "%s/engines", bench.build);
	bench.plug = plug_new(bench.loop, bench.pool, bench.spawner, NULL, &o, &bench_events, NULL);
	struct plug_handler *h = bench_handler("slow", "fake", NULL);
	ok(h->state == PLUG_STATE_FAILED && strstr(h->reason, "no answer in "), "slow to load: %s", h->reason);
	file_replace(fd, "quick", "", 0, 0644, &e);
	ok(e.code == 0, "files laid out %s", e.msg);
	close(fd);
	plug_handler_get(bench.plug, "slow");
	ok(h->state == PLUG_STATE_LOADING, "who asks for it has it loaded again");
	for (int i = 0; i < 100 && !h->ready; i++) {	/* this node may be slow itself */
		bool settled = false;
		plug_handler_get(bench.plug, "slow");
		plug_when_settled(bench.plug, bench_settled, &settled);
		while (!settled && bench_run())
			;
	}
	ok(h->ready, "and then it is there: %s", h->reason);
	bench.plug = was;
}

static void test_cli(void)
{
	struct plug_handler *h = bench_handler("cli", "fake", NULL);
	ok(plug_can(h, CRISP_CAP_EXIT_BY_PID | CRISP_CAP_PID_IS_HOST) &&
		   !plug_can(h, CRISP_CAP_SANDBOX_OWN),
	   "caps of a CLI");
	int out[2];
	if (pipe2(out, O_CLOEXEC) < 0)
		abort();
	struct crisp_stdio io = { .size = sizeof(io), .out = out[1], .err = out[1] };
	struct crisp_create_args c = { .id = "c1",
				       .sandbox_id = "p1",
				       .stdio = &io,
				       .bundle = bench_bundle(
					       "c1", "[\"/bin/echo\",\"hello\",\"there\"]") };
	struct answer a = bench_ask(h, PLUG_OP_CREATE, &c);
	close(out[1]);
	ok(a.ret == 0 && a.pid > 1 && a.pidfd > 0, "created, pid %d %s", a.pid, a.err.msg);
	char text[64] = "";
	struct pollfd p = { .fd = out[0], .events = POLLIN };
	ok(poll(&p, 1, 50) == 0, "nothing is said before start");
	ok(start(h, "c1").ret == 0, "started");
	ok(bench_wait(a.pidfd) == 0, "exit 0");
	ok(read(out[0], text, sizeof(text) - 1) == 12 && !strcmp(text, "hello there\n"), "said %s",
	   text);
	close(out[0]);
	ok(bench_simple(h, PLUG_OP_DELETE, "c1", 0).ret == 0, "deleted");
	ok(bench_simple(h, PLUG_OP_DELETE, "c1", 0).ret == -ENOENT, "twice is not found");
	ok(bench_simple(h, PLUG_OP_DELETE, "c1", CRISP_ARG_FORCE).ret == 0,
	   "with force it is fine");

	a = create(h, "c2", "p1", "[\"exit\",\"42\"]");
	ok(create(h, "c2", "p1", "[]").ret == -EEXIST, "a duplicate");
	start(h, "c2");
	ok(bench_wait(a.pidfd) == W_EXITCODE(42, 0), "exit 42");
	ok(bench_kill(h, "c2", SIGTERM).ret == -ESRCH, "killing what has ended");
	bench_simple(h, PLUG_OP_DELETE, "c2", 0);

	a = create(h, "c3", "p1", "[\"app\"]");
	start(h, "c3");
	struct answer x = bench_simple(h, PLUG_OP_DELETE, "c3", 0);
	ok(x.ret == -EBUSY && strstr(x.err.msg, "cli: delete: container is running"), "%s",
	   x.err.msg);
	struct crisp_exec_args e = { .id = "c3",
				     .exec_id = "e1",
				     .process_json = "{\"args\":[\"exit\",\"9\"]}" };
	x = bench_ask(h, PLUG_OP_EXEC, &e);
	ok(x.ret == 0 && bench_wait(x.pidfd) == W_EXITCODE(9, 0), "exec, exit 9");
	e.exec_id = "e2";
	e.process_json = "{\"args\":[\"/no/such\"]}";
	x = bench_ask(h, PLUG_OP_EXEC, &e);
	ok(x.ret == -EIO && strstr(x.err.msg, "/no/such: No such file"), "no such program: %s",
	   x.err.msg);
	x = bench_simple(h, PLUG_OP_PIDS, "c3", 0);
	ok(x.ret == 0 && atoi(x.data + 1) == a.pid, "pids %s", x.data);
	ok(bench_kill(h, "c3", SIGTERM).ret == 0 && bench_wait(a.pidfd) == SIGTERM, "killed");
	ok(bench_simple(h, PLUG_OP_DELETE, "c3", 0).ret == 0, "deleted after that");
	ok(bench_ask(h, PLUG_OP_PORT_FORWARD, &(struct crisp_port_args){ .id = "c3" }).ret ==
		   -ENOSYS,
	   "what it hasn't got");
}

static void test_ends(void)
{
	struct plug_handler *h = bench_handler(
		"ends", "fake",
		"{\"hang\":[\"kill\",\"stats\"],\"twice\":[\"update\"],\"delay_ms\":{\"pause\":300}"
		","
		"\"rules\":[{\"op\":\"resume\",\"errno\":16,\"refuse\":true},"
		"{\"op\":\"start\",\"errno\":5,\"msg\":\"bad\\nnews\",\"times\":1}]}");
	struct answer a = create(h, "c1", NULL, "[]");
	struct answer x = start(h, "c1");
	ok(x.ret == -EIO && !strcmp(x.err.msg, "ends: start: bad news"),
	   "its own words on one line: %s", x.err.msg);
	ok(start(h, "c1").ret == 0, "the second time");
	x = bench_ask_in(h, PLUG_OP_KILL, &(struct crisp_kill_args){ .id = "c1" }, NULL, 100);
	ok(x.ret == -ETIMEDOUT && strstr(x.err.msg, "no answer in 100 ms"), "deadline: %s",
	   x.err.msg);
	x = (struct answer){ 0 };
	struct plug_call *c = plug_call(h, PLUG_OP_STATS, &(struct crisp_args){ .id = "c1" }, NULL,
					0, bench_answer, &x);
	plug_call_cancel(c);
	plug_call_cancel(c);
	ok(x.count == 0, "not from inside");
	bench_await(&x);
	ok(x.ret == -ECANCELED, "cancelled: %s", x.err.msg);
	x = bench_ask(h, PLUG_OP_UPDATE, &(struct crisp_update_args){ .id = "c1" });
	ok(x.ret == 0 && x.count == 1, "an answer given twice arrives once");
	x = bench_ask_in(h, PLUG_OP_PAUSE, &(struct crisp_args){ .id = "c1" }, NULL, 50);
	ok(x.ret == -ETIMEDOUT, "too late");
	struct answer y = bench_simple(h, PLUG_OP_PAUSE, "c1", 0);
	ok(y.ret == 0 && x.count == 1, "the late answer is heard by nobody");
	x = bench_simple(h, PLUG_OP_RESUME, "c1", 0);
	ok(x.ret == -EBUSY && strstr(x.err.msg, "refused"), "refused: %s", x.err.msg);
	ok(plug_calls(bench.plug) == 0, "no call is left");
	bench_simple(h, PLUG_OP_DELETE, "c1", CRISP_ARG_FORCE);
	ok(bench_wait(a.pidfd) == SIGKILL, "force kills");
}

/* A program that is killed at the deadline takes the call's end with it. */
static void test_program(void)
{
	const char *script = pool_printf(bench.pool, "%s/hang", bench.dir);
	struct err e = { 0 };
	static const char text[] = "#!/bin/sh\nexec sleep 1000\n";
	file_replace(AT_FDCWD, script, text, sizeof(text) - 1, 0755, &e);
	struct plug_handler *h = bench_handler(
		"hang", "fake", pool_printf(bench.pool, "{\"program\":\"%s\"}", script));
	struct crisp_create_args c = { .id = "c1", .bundle = bench_bundle("c1", "[\"app\"]") };
	struct answer x = bench_ask_in(h, PLUG_OP_CREATE, &c, NULL, 200);
	ok(x.ret == -ETIMEDOUT, "a program that hangs: %s", x.err.msg);
	x = (struct answer){ 0 };
	struct plug_call *call = plug_create(h, &c, 0, bench_answer, &x);
	for (int i = 0; i < 2; i++) {	/* let it start */
		struct answer probe = bench_simple(h, PLUG_OP_PROBE, NULL, 0);
		ok(probe.ret == 0, "meanwhile others are served");
	}
	plug_call_cancel(call);
	bench_await(&x);
	ok(x.ret == -ECANCELED, "cancelled: %s", x.err.msg);
	ok(bench_idle(), "no program is left");
}

static void test_serial(void)
{
	struct plug_handler *h = bench_handler("serial", "fake",
					       "{\"archetype\":\"serial\",\"rules\":[{\"op\":"
					       "\"update\",\"id\":\"slow\",\"hang\":true}]}");
	ok(plug_can(h, CRISP_CAP_SERIALIZE_SANDBOX), "one at a time");
	struct answer s = create(h, "slow", "p1", "[]"), q = create(h, "quick", "p1", "[]"),
		      o = create(h, "other", "p2", "[]");
	struct answer a = { 0 }, b = { 0 }, c = { 0 };
	char id[] = "quick";
	struct plug_call *slow = plug_update(h, "p1", &(struct crisp_update_args){ .id = "slow" }, 0, bench_answer, &a);
	plug_update(h, "p1", &(struct crisp_update_args){ .id = id }, 0, bench_answer, &b);
	id[0] = 'x';	/* the arguments are copied */
	plug_update(h, "p2", &(struct crisp_update_args){ .id = "other" }, 0, bench_answer, &c);
	bench_await(&c);
	ok(c.ret == 0 && !a.count && !b.count, "another pod goes first");
	plug_call_cancel(slow);
	bench_await(&b);
	ok(b.ret == 0 && a.count == 1 && a.ret == -ECANCELED, "the same pod waits its turn");
	bench_simple(h, PLUG_OP_DELETE, "slow", CRISP_ARG_FORCE);
	bench_simple(h, PLUG_OP_DELETE, "quick", CRISP_ARG_FORCE);
	bench_simple(h, PLUG_OP_DELETE, "other", CRISP_ARG_FORCE);
	ok(bench_wait(s.pidfd) == SIGKILL && bench_wait(q.pidfd) == SIGKILL &&
		   bench_wait(o.pidfd) == SIGKILL,
	   "gone");
}

static bool await_exit(const char *id)
{
	while (strcmp(bench.told.id, id) && bench_run())
		;
	return !strcmp(bench.told.id, id);
}

static void test_sandbox(const char *archetype)
{
	char options[100];
	snprintf(options, sizeof(options), "{\"archetype\":\"%s\"}", archetype);
	struct plug_handler *h = bench_handler(archetype, "fake", options);
	bool tty = plug_can(h, CRISP_CAP_TTY_ENGINE);
	ok(plug_can(h, CRISP_CAP_SANDBOX_OWN | CRISP_CAP_EXIT_BY_ENGINE) &&
		   !plug_can(h, CRISP_CAP_PID_IS_HOST),
	   "%s: caps", archetype);
	bench.told = (struct told){ 0 };
	struct answer box = bench_ask(h, PLUG_OP_SANDBOX_CREATE,
				      &(struct crisp_sandbox_create_args){ .id = "pod" });
	ok(box.ret == 0 && box.pid > 1, "%s: sandbox, pid %d %s", archetype, box.pid, box.err.msg);

	const char *fifo = pool_printf(bench.pool, "%s/%s.out", bench.dir, archetype);
	int out[2] = { -1, -1 };
	struct crisp_stdio io = { .size = sizeof(io) };
	if (tty) {
		if (mkfifo(fifo, 0600) < 0)
			abort();
		out[0] = open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		io.fifo_out = fifo;
		io.flags = CRISP_STDIO_TTY;
	} else if (pipe2(out, O_CLOEXEC) == 0) {
		io.out = out[1];
	}
	struct crisp_create_args c = { .id = "c1", .sandbox_id = "pod", .stdio = tty ? &io : NULL,
				       .bundle = bench_bundle("c1", "[\"echo\",\"hi\"]") };
	if (tty)
		c.bundle = bench_bundle("c1", "[\"echo\",\"hi\"],\"terminal\":true");
	struct answer a = bench_ask(h, PLUG_OP_CREATE, &c);
	ok(a.ret == 0 && a.pid == 0, "%s: created, no pid of the host %s", archetype, a.err.msg);
	a = bench_ask(h, PLUG_OP_START,
		      &(struct crisp_start_args){ .id = "c1", .stdio = tty ? NULL : &io });
	ok(a.ret == 0, "%s: started %s", archetype, a.err.msg);
	ok(await_exit("c1") && bench.told.wait_status == 0 && bench.told.exits == 1,
	   "%s: it tells the exit", archetype);
	char text[64] = "";
	ok(read(out[0], text, sizeof(text) - 1) > 0 && !strcmp(text, tty ? "hi\r\n" : "hi\n"),
	   "%s: said %s", archetype, text);
	if (out[1] >= 0)
		close(out[1]);
	close(out[0]);

	create(h, "c2", "pod", "[\"app\"]");
	start(h, "c2");
	struct crisp_exec_args e = { .id = "c2",
				     .exec_id = "e1",
				     .process_json = "{\"args\":[\"exit\",\"9\"]}" };
	ok(bench_ask(h, PLUG_OP_EXEC, &e).ret == 0, "%s: exec", archetype);
	ok(await_exit("c2") && !strcmp(bench.told.exec_id, "e1") &&
		   bench.told.wait_status == W_EXITCODE(9, 0),
	   "%s: its exit", archetype);
	e.exec_id = "e2";
	e.process_json = "{\"args\":[\"/no/such\"]}";
	a = bench_ask(h, PLUG_OP_EXEC, &e);
	ok(a.ret == -EINVAL, "%s: no such program: %s", archetype, a.err.msg);
	a = bench_ask(h, PLUG_OP_ATTACH,
		      &(struct crisp_attach_args){ .id = "c1", .sandbox_id = "pod" });
	ok(a.ret == 0 && a.status == CRISP_STATUS_STOPPED && a.wait_status == 0,
	   "%s: attach to what has ended", archetype);
	ok(bench_simple(h, PLUG_OP_DELETE, "c1", 0).ret == 0, "%s: deleted", archetype);
	ok(bench_simple(h, PLUG_OP_DELETE, "c1", 0).ret == -ENOENT, "%s: twice is not found",
	   archetype);

	if (tty) {
		kill(box.pid, SIGKILL);
		while (!bench.told.gone && bench_run())
			;
		ok(bench.told.gone == 1, "%s: the sandbox has died", archetype);
		a = start(h, "c2");
		ok(a.ret == -EHOSTDOWN, "%s: it is dead: %s", archetype, a.err.msg);
		ok(bench_simple(h, PLUG_OP_DELETE, "c2", CRISP_ARG_FORCE).ret == 0,
		   "%s: deleted all the same", archetype);
	} else {
		bench.told = (struct told){ 0 };
		ok(bench_simple(h, PLUG_OP_SANDBOX_STOP, "pod", 0).ret == 0, "%s: stopped",
		   archetype);
		ok(await_exit("c2") && bench.told.wait_status == SIGKILL,
		   "%s: and with it its containers", archetype);
		ok(bench_simple(h, PLUG_OP_DELETE, "c2", 0).ret == 0, "%s: deleted", archetype);
	}
	ok(bench_simple(h, PLUG_OP_SANDBOX_DELETE, "pod", 0).ret == 0, "%s: sandbox deleted",
	   archetype);
	bench_wait(box.pidfd);
	ok(bench_simple(h, PLUG_OP_SANDBOX_DELETE, "pod", 0).ret == -ENOENT,
	   "%s: twice is not found", archetype);
	ok(bench.told.gone == tty, "%s: an orderly end is no news", archetype);
}

/* A second plug on the same state finds what the first has left, as after the core's death. */
static void test_restart(void)
{
	struct plug_handler *h = bench_handler("again", "fake", "{\"archetype\":\"sandbox\"}");
	struct answer box = bench_ask(h, PLUG_OP_SANDBOX_CREATE,
				      &(struct crisp_sandbox_create_args){ .id = "pod2" });
	create(h, "c9", "pod2", "[\"exit\",\"5\"]");
	bench_plug(NULL);
	h = bench_handler("again", "fake", "{\"archetype\":\"sandbox\"}");
	struct crisp_attach_args a = { .id = "pod2", .pid = box.pid };
	ok(bench_ask(h, PLUG_OP_SANDBOX_ATTACH, &a).ret == 0, "the sandbox is found again");
	a = (struct crisp_attach_args){ .id = "c9", .sandbox_id = "pod2" };
	struct answer x = bench_ask(h, PLUG_OP_ATTACH, &a);
	ok(x.ret == 0 && x.status == CRISP_STATUS_CREATED, "and its container");
	start(h, "c9");
	ok(await_exit("c9") && bench.told.wait_status == W_EXITCODE(5, 0), "it goes on");
	a.id = "c10";
	ok(bench_ask(h, PLUG_OP_ATTACH, &a).ret == -ENOENT, "what was never there isn't");
	bench_simple(h, PLUG_OP_SANDBOX_DELETE, "pod2", CRISP_ARG_FORCE);
	bench_wait(box.pidfd);
}

/* A plugin of an earlier minor. */
static void test_old(void)
{
	bench_plug(pool_printf(bench.pool, "%s/t/unit", bench.build));
	struct plug_handler *h = bench_handler("old", "plug_old", NULL);
	ok(h->ready, "a plugin of an earlier minor: %s", h->reason);
	ok(plug_has(h, PLUG_OP_DELETE) && !plug_has(h, PLUG_OP_EXEC) &&
		   !plug_has(h, PLUG_OP_DIAGNOSE),
	   "has the operations of its time");
	struct answer a = create(h, "c1", NULL, "[]");
	ok(a.ret == 0 && a.pid == 0 && a.pidfd == -1, "a short result reads as zeros");
	a = start(h, "c1");
	ok(a.ret == -EBUSY && strstr(a.err.msg, "busy"), "an error without words: %s", a.err.msg);
	a = bench_simple(h, PLUG_OP_DELETE, "c1", 0);
	ok(a.ret == 0 && a.count == 1, "answered and refused: the answer counts");
	a = bench_ask(h, PLUG_OP_EXEC, &(struct crisp_exec_args){ .id = "c1" });
	ok(a.ret == -ENOSYS, "exec is not of its time: %s", a.err.msg);
}

/* What is kept on disk for a container goes with its last delete, however that ends. */
static void test_state(void)
{
	struct plug_handler *h = bench_handler(
		"keeps", "fake", "{\"rules\":[{\"op\":\"delete\",\"errno\":5,\"times\":2},"
				 "{\"op\":\"delete\",\"hang\":true,\"skip\":2,\"times\":1}]}");
	const char *path = pool_printf(bench.pool, "%s/engines/keeps/blob-s1", bench.dir);
	struct answer a = create(h, "s1", "p1", "[]");
	ok(a.ret == 0 && access(path, F_OK) == 0, "a container has state on disk");
	ok(bench_simple(h, PLUG_OP_DELETE, "s1", 0).ret == -EIO && access(path, F_OK) == 0,
	   "it stays when a delete without force fails");
	ok(bench_simple(h, PLUG_OP_DELETE, "s1", CRISP_ARG_FORCE).ret == -EIO && access(path, F_OK) < 0,
	   "and goes with a forced one that fails");
	file_replace(AT_FDCWD, path, "x", 1, 0600, &a.err);
	struct crisp_args forced = { .id = "s1", .flags = CRISP_ARG_FORCE };
	ok(bench_ask_in(h, PLUG_OP_DELETE, &forced, NULL, 100).ret == -ETIMEDOUT && access(path, F_OK) < 0,
	   "or hangs");
	bench_simple(h, PLUG_OP_DELETE, "s1", CRISP_ARG_FORCE);
	bench_wait(a.pidfd);
}

int main(void)
{
	bench_open();
	bench_plug(NULL);
	test_loading();
	test_look();
	test_bad_files();
	test_slow_load();
	test_cli();
	test_ends();
	test_program();
	test_serial();
	test_sandbox("sandbox");
	test_sandbox("tty");
	test_restart();
	test_state();
	test_old();
	bench_close();
	return done();
}

/* Programs run by a spawner: capture, input, fds, deadlines, cancelling, the queue, what is left.
 */
#include "core/spawn/spawn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/pool.h"
#include "core/loop/loop.h"
#include "t/tap.h"

static struct loop *loop;
static struct pool *root;
static struct spawner *spawner;

/* What a callback has seen, copied. */
struct seen {
	int calls, order;
	struct spawn_result r;
	char out[4096], err[512], text[512];
};
static int pending, calls;
static pid_t named;	/* what a program's callback says that it has told */

static void copy(char *to, size_t size, const struct buf *b)
{
	size_t n = b->len < size - 1 ? b->len : size - 1;
	if (n)
		memcpy(to, b->data, n);
	to[n] = 0;
}

static void handle_end(void *data, struct spawn_result *r)
{
	struct seen *s = data;
	s->calls++;
	s->order = ++calls;
	r->named = named;
	s->r = *r;
	copy(s->out, sizeof(s->out), &r->out);
	copy(s->err, sizeof(s->err), &r->err_out);
	struct err e = { 0 };
	spawn_check(r, "test", &e);
	snprintf(s->text, sizeof(s->text), "%.500s", e.msg);
	if (!--pending)
		loop_stop(loop);
}

static struct spawn *start(struct pool *p, struct spawn_plan plan, const char *script,
			   struct seen *s)
{
	plan.path = plan.path ? plan.path : "/bin/sh";
	const char *const sh[] = { "sh", "-c", script, NULL };
	plan.argv = sh;
	*s = (struct seen){ 0 };
	pending++;
	return spawn_start(spawner, p, &plan, handle_end, s);
}

static void run(void)
{
	if (pending)
		loop_run(loop);
}

static struct spawn_plan captured(void)
{
	struct spawn_plan p = SPAWN_PLAN_INIT;
	p.out_max = p.err_max = 4000;
	return p;
}

static void handle_stop(struct loop_timer *t)
{
	loop_stop(loop);
}

static void run_for(unsigned ms)
{
	struct loop_timer t = { 0 };
	loop_timer_start(&t, loop, root, ms, 0, handle_stop, NULL);
	loop_run(loop);
	loop_timer_stop(&t);
}

static int count_fds(void)
{
	int n = 0;
	auto_closedir DIR *d = opendir("/proc/self/fd");
	while (readdir(d))
		n++;
	return n;
}

static int count_children(void)
{
	struct buf b = { 0 };
	char name[64];
	int n = 0;
	snprintf(name, sizeof(name), "/proc/self/task/%d/children", getpid());
	if (file_read(AT_FDCWD, name, 1 << 20, &b, NULL) == 0)
		for (size_t i = 0; i < b.len; i++)
			n += b.data[i] == ' ';
	buf_free(&b);
	return n;
}

static void test_capture(void)
{
	struct seen s;
	start(root, captured(), "echo out; echo err >&2; exit 3", &s);
	ok(!s.calls, "no callback from inside");
	run();
	ok(s.calls == 1 && s.r.ran && WEXITSTATUS(s.r.wait_status) == 3, "exit code");
	ok(!strcmp(s.out, "out\n") && !strcmp(s.err, "err\n"), "both streams");
	ok(strstr(s.text, "test: err") && strstr(s.text, "exit code 3"), "spawn_check: %s", s.text);
	start(root, captured(), "kill -9 $$", &s);
	run();
	ok(WIFSIGNALED(s.r.wait_status) && strstr(s.text, "signal 9"), "a signal: %s", s.text);
	struct spawn_plan p = captured();
	p.out_max = 10;
	start(root, p, "head -c 1000000 /dev/zero | tr '\\0' x; echo done >&2", &s);
	run();
	ok(strlen(s.out) == 10 && !strcmp(s.err, "done\n"),
	   "what is over the limit is read and dropped");
	p.out_max = p.err_max = 0;
	start(root, p, "echo lost; [ $(readlink /proc/$$/fd/1) = /dev/null ]", &s);
	run();
	ok(s.r.wait_status == 0 && !s.out[0], "nothing captured: /dev/null");
}

static void test_input(void)
{
	struct seen s;
	struct spawn_plan p = captured();
	size_t len = 300000;	/* more than a pipe holds */
	char *text = malloc(len);
	memset(text, 'i', len);
	p.input = text;
	p.input_len = len;
	start(root, p, "wc -c", &s);
	memset(text, 'j', len);
	free(text);
	run();
	ok(atoi(s.out) == 300000, "all of stdin arrives: %d", atoi(s.out));
	p.input = "abc";
	p.input_len = 3;
	start(root, p, "cat; cat", &s);
	run();
	ok(!strcmp(s.out, "abc"), "and ends");
	char *big = calloc(1, 1 << 20);
	p.input = big;
	p.input_len = 1 << 20;
	start(root, p, "exec <&-; exit 0", &s);
	run();
	free(big);
	ok(s.r.wait_status == 0, "a program that does not read its input harms nobody");
	start(root, captured(), "cat", &s);
	run();
	ok(s.calls == 1 && !s.out[0], "without input stdin is empty");
}

static void test_fds(void)
{
	struct seen s;
	int a[2], b[2];
	if (pipe2(a, O_CLOEXEC) < 0 || pipe2(b, O_CLOEXEC) < 0)
		abort();
	/* Swapped onto each other's numbers, the hard case. */
	struct spawn_fd fds[] = { { a[1], b[1] }, { b[1], a[1] } };
	struct spawn_plan p = captured();
	p.fds = fds;
	p.n_fds = 2;
	char script[128];
	snprintf(script, sizeof(script),
		 "echo to-a >&%d; echo to-b >&%d; ls /proc/self/fd | tr '\\n' ' '", b[1], a[1]);
	start(root, p, script, &s);
	close(a[1]);	/* the plan holds what it needs */
	close(b[1]);
	run();
	char text[16] = "";
	ok(read(a[0], text, sizeof(text)) == 5 && !strncmp(text, "to-a", 4),
	   "fds land on their targets");
	ok(read(b[0], text, sizeof(text)) == 5 && !strncmp(text, "to-b", 4),
	   "also when targets cross");
	char want[64];
	snprintf(want, sizeof(want), "0 1 2 3 %d %d ", a[1], b[1]);
	ok(a[1] > 3 && !strcmp(s.out, want), "and nothing else is open (3 is ls's own): %s", s.out);
	close(a[0]);
	close(b[0]);
}

static void test_surroundings(void)
{
	struct seen s;
	static const char *const env[] = { "A=b", NULL };
	struct spawn_plan p = captured();
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	p.cwd = "/usr";
	p.envp = env;
	start(root, p,
	      "pwd; echo $A; grep -E 'SigBlk|SigIgn' /proc/self/status; cat "
	      "/proc/self/oom_score_adj",
	      &s);
	run();
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	ok(!strncmp(s.out, "/usr\nb\n", 7), "folder and environment");
	ok(strstr(s.out, "SigBlk:\t0000000000000000") && strstr(s.out, "SigIgn:\t0000000000000000"),
	   "no signal is blocked or ignored");
	p.oom_score_adj = 500;
	start(root, p, "cat /proc/self/oom_score_adj", &s);
	run();
	ok(atoi(s.out) == 500, "oom_score_adj");
	p.cwd = "/no/such/folder";
	start(root, p, ":", &s);
	run();
	ok(!s.r.ran && s.r.err.code == ENOENT && strstr(s.text, "/no/such/folder"),
	   "a bad folder: %s", s.text);
}

static void test_no_program(void)
{
	struct seen s;
	struct spawn_plan p = captured();
	p.path = "/no/such/program";
	start(root, p, ":", &s);
	run();
	ok(s.calls == 1 && !s.r.ran && s.r.err.code == ENOENT && strstr(s.text, "/no/such/program"),
	   "a missing program: %s", s.text);
	p.path = "/etc/passwd";
	start(root, p, ":", &s);
	run();
	ok(!s.r.ran && s.r.err.code == EACCES, "one that may not run: %s", s.text);
	ok(!count_children(), "leaves no zombie");
}

static void test_sealed(void)
{
	struct seen s;
	struct spawn_plan p = captured();
	struct buf image = { 0 };
	struct err e = { 0 };
	file_read(AT_FDCWD, "/bin/cat", 16 << 20, &image, &e);
	int fd = memfd_create("cat", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	file_write_all(fd, image.data, image.len);
	buf_free(&image);
	fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
	p.exe_fd = fd;
	const char *const argv[] = { "cat", "/proc/self/comm", NULL };
	p.argv = argv;
	s = (struct seen){ 0 };
	pending++;
	spawn_start(spawner, root, &p, handle_end, &s);
	close(fd);
	run();
	ok(s.r.ran && s.r.wait_status == 0 && s.out[0], "an open file is executed: %s", s.text);
}

static void test_deadline(void)
{
	struct seen s;
	struct spawn_plan p = captured();
	p.timeout_ms = 200;
	start(root, p, "trap '' TERM; sleep 1000 & echo $!; wait", &s);
	run();
	ok(s.calls == 1 && s.r.timed_out && s.r.err.code == ETIMEDOUT &&
		   WTERMSIG(s.r.wait_status) == SIGKILL,
	   "the deadline kills it: %s", s.text);
	int pid = atoi(s.out);
	for (int i = 0; i < 100 && pid && kill(pid, 0) == 0; i++)
		run_for(50);
	ok(pid > 0 && kill(pid, 0) < 0, "with all its group");
}

static void test_deadline_of_waiting(void)
{
	struct spawner *was = spawner;
	struct pool *p = pool_new(root, "queue");
	struct seen first, second;
	spawner = spawner_new(loop, p, 1, NULL, 0);
	struct spawn *sp = start(p, captured(), "sleep 1000", &first);
	struct spawn_plan plan = captured();
	plan.deadline_ns = clock_mono_ns() + 100000000;
	start(p, plan, ":", &second);
	run_for(300);
	ok(second.calls == 1 && second.r.timed_out && second.r.err.code == ETIMEDOUT && !second.r.ran,
	   "the deadline comes to one that waits for its turn: %s", second.text);
	ok(!first.calls && spawner_running(spawner) == 1 && !spawner_waiting(spawner), "the one before it is none the worse");
	spawn_cancel(sp);
	run();
	pool_destroy(p);
	spawner = was;
}

static void test_lingering_pipe(void)
{
	struct seen s;
	start(root, captured(), "setsid sleep 30 & echo $!", &s);
	run();
	ok(s.calls == 1 && s.r.wait_status == 0 && atoi(s.out) > 0,
	   "a grandchild that keeps the pipe does not hold it up");
	kill(atoi(s.out), SIGKILL);
}

static void test_cancel(void)
{
	struct seen s;
	struct spawn *sp = start(root, captured(), "touch /tmp/spawn-cancelled; sleep 1000", &s);
	spawn_cancel(sp);
	spawn_cancel(sp);
	run();
	ok(s.calls == 1 && s.r.cancelled && !s.r.ran, "cancelled before its turn: never started");
	run_for(50);
	ok(access("/tmp/spawn-cancelled", F_OK) < 0 && !count_children(), "and leaves nothing");
	sp = start(root, captured(), "sleep 1000", &s);
	run_for(50);
	ok(spawn_pid(sp) > 0, "running");
	spawn_cancel(sp);
	ok(!s.calls, "the callback waits for its end");
	run();
	ok(s.calls == 1 && s.r.cancelled && s.r.ran && s.r.err.code == ECANCELED,
	   "cancelled while it runs");
}

static void test_queue(void)
{
	struct spawner *was = spawner;
	struct pool *p = pool_new(root, "queue");
	struct seen s[6];
	spawner = spawner_new(loop, p, 2, NULL, 0);
	struct spawn *sp[6];
	for (int i = 0; i < 6; i++)
		sp[i] = start(p, captured(), "sleep 0.1", &s[i]);
	ok(spawner_waiting(spawner) == 6 && !spawner_running(spawner), "all wait");
	run_for(20);
	ok(spawner_running(spawner) == 2 && spawner_waiting(spawner) == 4, "two at once");
	ok(spawn_pid(sp[1]) && !spawn_pid(sp[2]), "the first ones first");
	spawn_cancel(sp[3]);
	ok(spawner_waiting(spawner) == 3, "one that is cancelled leaves the queue at once");
	run();
	ok(s[3].r.cancelled && !s[3].r.ran, "it never runs");
	ok(s[0].order < s[4].order && s[2].order < s[5].order && s[5].calls == 1,
	   "the rest follows in order");
	ok(!spawner_running(spawner) && !spawner_waiting(spawner), "all done");
	pool_destroy(p);
	spawner = was;
}

static void test_hanging(void)
{
	struct spawner *was = spawner;
	struct pool *p = pool_new(root, "hanging");
	struct seen s[3];
	spawner = spawner_new(loop, p, 2, NULL, 0);
	struct spawn *hang[2] = { start(p, captured(), "sleep 1000", &s[0]),
				  start(p, captured(), "sleep 1000", &s[1]) };
	start(p, captured(), "echo served", &s[2]);
	pending -= 2;
	run();
	ok(!strcmp(s[2].out, "served\n") && !s[0].calls && !s[1].calls,
	   "programs that hang don't hold up another one");
	pending = 2;
	for (int i = 0; i < 2; i++)
		spawn_cancel(hang[i]);
	run();
	ok(s[0].r.cancelled && s[1].r.cancelled && !spawner_running(spawner), "nor do they stay");
	pool_destroy(p);
	spawner = was;
}

static void test_pool_dies(void)
{
	struct pool *p = pool_new(root, "dies");
	struct seen s[3];
	struct spawn *sp = start(p, captured(), "sleep 1000 & wait", &s[0]);
	run_for(50);
	pid_t pid = spawn_pid(sp);
	start(p, captured(), "sleep 1000", &s[1]);	/* in the queue */
	pool_destroy(p);
	ok(kill(pid, 0) < 0 && errno == ESRCH, "the pool's end kills and reaps");
	pending = 0;
	run_for(50);
	ok(!s[0].calls && !s[1].calls && !spawner_running(spawner) && !spawner_waiting(spawner),
	   "and no callback comes");
	p = pool_new(root, "spawner too");
	struct spawner *was = spawner;
	spawner = spawner_new(loop, p, 1, NULL, 0);
	start(p, captured(), "sleep 1000", &s[0]);
	start(p, captured(), "sleep 1000", &s[1]);
	run_for(50);
	pool_destroy(p);	/* the spawner with its queue */
	pending = 0;
	spawner = was;
	run_for(50);
	ok(!s[0].calls && !s[1].calls, "so does the spawner's own");
}

static void test_many(void)
{
	enum { N = 200 };
	static struct seen s[N];
	int before = count_fds(), good = 0;
	for (int i = 0; i < N; i++) {
		struct spawn_plan p = captured();
		char input[16];
		p.input = input;
		p.input_len = (size_t)snprintf(input, sizeof(input), "%d", i);
		start(root, p, "cat; exit 7", &s[i]);
	}
	run();
	for (int i = 0; i < N; i++)
		good += s[i].calls == 1 && atoi(s[i].out) == i &&
			WEXITSTATUS(s[i].r.wait_status) == 7;
	ok(good == N, "%d of %d programs at once", good, N);
	ok(count_fds() == before, "no fd is left: %d, before %d", count_fds(), before);
	ok(!count_children(), "no child is left");
}

static void test_strangers(void)
{
	struct seen s;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	start(root, captured(), "setsid sh -c 'sleep 0.2' >/dev/null 2>&1 </dev/null & echo $!",
	      &s);
	run();
	int pid = atoi(s.out);
	ok(pid > 0 && kill(pid, 0) == 0, "an orphan becomes ours");
	for (int i = 0; i < 100 && kill(pid, 0) == 0; i++)
		run_for(100);
	ok(kill(pid, 0) < 0 && errno == ESRCH, "and is reaped though nobody watches it");

	char script[80];
	start(root, captured(), "setsid sleep 100 >/dev/null 2>&1 </dev/null & echo $!", &s);
	run();
	pid = atoi(s.out);
	snprintf(script, sizeof(script), "kill -9 %d; while kill -0 %d; do sleep 0.05; done", pid, pid);
	struct spawn_plan killer = captured(), namer = captured();
	namer.names_child = true;
	namer.timeout_ms = 300;
	start(root, namer, script, &s);
	run();
	ok(s.r.err.code == ETIMEDOUT, "not while a program runs that may tell of it");
	start(root, killer, script, &s);
	run();
	ok(!s.r.err.code && kill(pid, 0) < 0, "but for one that kills it and waits for its end");
}

/* Is a dead orphan reaped while one program after the other ends that has named `who` (0: the orphan)? */
static bool reaped_beside(pid_t who, int programs)
{
	struct seen s, n;
	start(root, captured(), "setsid sleep 100 >/dev/null 2>&1 </dev/null & echo $!", &s);
	run();
	pid_t pid = atoi(s.out);
	struct spawn_plan namer = captured();
	namer.names_child = true;
	named = who ? who : pid;
	start(root, namer, ":", &n);
	kill(pid, SIGKILL);
	for (int i = 0; i < programs && kill(pid, 0) == 0; i++) {
		run();
		run_for(20);
		start(root, namer, ":", &n);
	}
	run();
	named = 0;
	return kill(pid, 0) < 0;
}

static void test_named(void)
{
	ok(!reaped_beside(0, 10), "a zombie that has been named stays for who has to hear of it");
	ok(reaped_beside(1, 500), "but none stays for others that are named");
}

static void test_cgroup(void)
{
	char procs[] = "/tmp/spawn-procs.XXXXXX", text[8] = "";
	int fd = mkstemp(procs);	/* stands for cgroup.procs: a child writes itself into it */
	struct spawner *was = spawner;
	struct pool *p = pool_new(root, "cgroup");
	struct seen s;
	spawner = spawner_new(loop, p, 1, &fd, 1);
	struct spawn_plan plan = captured();
	start(p, plan, ":", &s);
	run();
	ok(pread(fd, text, 8, 0) == 0, "a child stays in our cgroup");
	plan.leave_cgroup = true;
	start(p, plan, ":", &s);
	run();
	ok(pread(fd, text, 8, 0) == 1 && text[0] == '0', "but for one that is to outlive us");
	pool_destroy(p);
	spawner = was;
	close(fd);
	unlink(procs);
}

/* A process whose program kills it: what becomes of the program? */
static void test_core_dies(void)
{
	struct seen s;
	int status, killed = 0;
	char procs[] = "/tmp/spawn-procs.XXXXXX";
	int fd = mkstemp(procs);
	fflush(stdout);
	if (fork() == 0) {
		struct spawn_plan plan = captured();
		plan.leave_cgroup = true;
		loop = loop_new(root);
		spawner = spawner_new(loop, root, 1, &fd, 1);
		start(root, plan, "kill -9 $PPID; sleep 5", &s);
		loop_run(loop);
		_exit(1);
	}
	while (waitpid(-1, &status, 0) > 0)
		killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	ok(killed == 2, "what is to leave something behind ends with us itself");
	close(fd);
	unlink(procs);
}

/* What a child is given passes through numbers of ours: no copy may stay there. */
static void test_many_files(void)
{
	struct seen s;
	int many[600], ends[2];
	for (int i = 0; i < 600; i++)
		many[i] = open("/dev/null", O_RDONLY);
	ok(pipe2(ends, O_CLOEXEC) == 0 && many[599] > 600,
	   "many files are open, not close-on-exec");
	const struct spawn_fd fds[] = { { ends[1], 63 }, { many[599], 5 } };
	struct spawn_plan plan = captured();
	plan.fds = fds;
	plan.n_fds = 2;
	start(root, plan, "ls /proc/self/fd | tr '\\n' ' '", &s);
	run();
	ok(!strcmp(s.out, "0 1 2 3 5 63 "),
	   "the child has what it was given (and ls its 3): %s", s.out);
	close(ends[1]);
	fd_set_nonblock(ends[0]);
	ok(read(ends[0], s.out, 1) == 0,
	   "a pipe that was given away ends when the child has ended");
	ok(fcntl(many[0], F_GETFD) == 0 && fcntl(many[599], F_GETFD) == 0, "ours are untouched");
	close(ends[0]);
	for (int i = 0; i < 600; i++)
		close(many[i]);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	root = pool_new(NULL, "root");
	loop = loop_new(root);
	spawner = spawner_new(loop, root, 8, NULL, 0);
	test_capture();
	test_input();
	test_fds();
	test_surroundings();
	test_many_files();
	test_no_program();
	test_sealed();
	test_deadline();
	test_deadline_of_waiting();
	test_lingering_pipe();
	test_cancel();
	test_queue();
	test_hanging();
	test_pool_dies();
	test_many();
	test_strangers();
	test_named();
	test_cgroup();
	test_core_dies();
	pool_destroy(root);
	return done();
}

/*
 * crisp-fake box: a sandbox that runs containers as its children and tells their exits, as gVisor's
 * sentry or a shim would.  It outlives the core: exits are kept until delete.
 *
 * One thread, poll(2); requests as box.c writes them.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engines/engine.h"
#include "engines/fake/run.h"

enum { FIELDS_MAX = 120, PEERS_MAX = 8, PROCS_MAX = 512 };

struct proc {
	char id[256], exec_id[256];	/* id "": a free place */
	unsigned status;
	int pid, wait_status, go;	/* go: closing it lets the process run */
	long long at_ns;
	int std[3];			/* of the process, until start */
	int master;			/* of the engine's tty, -1: none */
	bool stuffed;			/* its FIFO is full: nobody reads */
	int in, hold_in, hold_out, hold_err;	/* our ends of the FIFOs */
};

static struct proc procs[PROCS_MAX];
static int peers[PEERS_MAX], n_peers;

/* One request, taken apart. */
struct request {
	int peer;
	const char *tag, *verb, *id, *exec_id;
	char *field[FIELDS_MAX + 1];	/* the rest, ends with NULL */
	int std[3];			/* fds that came along, -1: none */
};

static void say(int peer, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(int peer, const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n > 0)
		send(peer, text, (size_t)n, MSG_NOSIGNAL);
}

static void refuse(const struct request *r, int err, const char *why)
{
	say(r->peer, "%s" BOX_SEP "%d" BOX_SEP "%s", r->tag, -err, why);
}

static void report(const struct request *r, const struct proc *p)
{
	say(r->peer, "%s" BOX_SEP "0" BOX_SEP "%u %d %d %lld", r->tag, p->status, p->pid, p->wait_status, p->at_ns);
}

static struct proc *find(const char *id, const char *exec_id)
{
	for (int i = 0; i < PROCS_MAX; i++)
		if (*id && !strcmp(procs[i].id, id) && !strcmp(procs[i].exec_id, exec_id))
			return &procs[i];
	return NULL;
}

static void shut(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void shut_stdio(struct proc *p)
{
	for (int i = 0; i < 3; i++)
		shut(&p->std[i]);
	shut(&p->master);
	shut(&p->in);
	shut(&p->hold_in);
	shut(&p->hold_out);
	shut(&p->hold_err);
}

static void forget(struct proc *p)
{
	shut_stdio(p);
	shut(&p->go);
	p->id[0] = 0;
}

/* -- processes -- */

static void child(struct proc *p, int go, char **words)
{
	char c;
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setsid();
	for (int i = 0; i < 3; i++)
		if (p->std[i] >= 0)
			dup2(p->std[i], i);
	if (isatty(0))
		ioctl(0, TIOCSCTTY, 0);
	dup2(go, 3);
	close_range(4, ~0u, 0);
	while (read(3, &c, 1) < 0 && errno == EINTR)
		;
	close(3);
	_exit(run_words(words));
}

/* Fork it; it runs once p->go is closed. */
static int launch(struct proc *p, char **words)
{
	int go[2];
	if (pipe2(go, O_CLOEXEC) < 0)
		return -errno;
	p->pid = fork();
	if (p->pid < 0)
		return -errno;
	if (!p->pid) {
		close(go[1]);
		child(p, go[0], words);
	}
	close(go[0]);
	p->go = go[1];
	return 0;
}

static int open_fifo(const char *path, int flags, int *hold)
{
	*hold = *path ? open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC) : -1;
	return *path ? open(path, flags | O_CLOEXEC) : -1;
}

/* field: terminal, width, height, fifo in, out, err, console socket, words... */
static void make_streams(struct proc *p, const struct request *r)
{
	char *const *f = r->field;
	for (int i = 0; i < 3; i++)
		p->std[i] = r->std[i] < 0 ? -1 : fcntl(r->std[i], F_DUPFD_CLOEXEC, 4);
	if (f[0][0] == '1' && f[6] && *f[6]) {
		int slave = give_console(f[6]);
		p->std[0] = slave < 0 ? -1 : fcntl(slave, F_DUPFD_CLOEXEC, 4);
		p->std[1] = slave < 0 ? -1 : fcntl(slave, F_DUPFD_CLOEXEC, 4);
		p->std[2] = slave < 0 ? -1 : fcntl(slave, F_DUPFD_CLOEXEC, 4);
		shut(&slave);
	}
	if (!*f[3] && !*f[4] && !*f[5])
		return;
	int in = open_fifo(f[3], O_RDONLY, &p->hold_in),
	    out = open_fifo(f[4], O_WRONLY, &p->hold_out);
	if (f[0][0] != '1') {
		p->std[0] = in;
		p->std[1] = out;
		p->std[2] = open_fifo(f[5], O_WRONLY, &p->hold_err);
		return;
	}
	struct winsize ws = { .ws_col = (unsigned short)atoi(f[1]),
			      .ws_row = (unsigned short)atoi(f[2]) };
	int slave;
	if (openpty(&p->master, &slave, NULL, NULL, &ws) < 0)
		return;
	fcntl(p->master, F_SETFD, FD_CLOEXEC);
	for (int i = 0; i < 3; i++)
		p->std[i] = fcntl(slave, F_DUPFD_CLOEXEC, 4);
	close(slave);
	p->in = in;
	shut(&p->hold_err);
	p->hold_err = out;	/* what the tty says is written here */
}

/* The words of a created container, kept for its start. */
static char *kept_words[PROCS_MAX][FIELDS_MAX];

static void keep_words(int at, char *const *words)
{
	for (int i = 0; i < FIELDS_MAX; i++) {
		free(kept_words[at][i]);
		kept_words[at][i] = NULL;
	}
	for (int i = 0; words[i] && i < FIELDS_MAX - 1; i++)
		kept_words[at][i] = strdup(words[i]);
}

static struct proc *make(const struct request *r)
{
	for (int i = 0; i < PROCS_MAX; i++) {
		struct proc *p = &procs[i];
		if (p->id[0])
			continue;
		*p = (struct proc){ .status = CRISP_STATUS_CREATED, .wait_status = -1, .go = -1,
				    .std = { -1, -1, -1 }, .master = -1, .in = -1, .hold_in = -1,
				    .hold_out = -1, .hold_err = -1 };
		snprintf(p->id, sizeof(p->id), "%s", r->id);
		snprintf(p->exec_id, sizeof(p->exec_id), "%s", r->exec_id);
		make_streams(p, r);
		keep_words(i, r->field + 7);
		return p;
	}
	return NULL;
}

static int run(struct proc *p)
{
	int ret = launch(p, kept_words[p - procs]);
	if (ret < 0)
		return ret;
	p->status = CRISP_STATUS_RUNNING;
	shut(&p->go);
	for (int i = 0; i < 3; i++)
		shut(&p->std[i]);
	return 0;
}

/* -- requests -- */

static void do_create(struct request *r, struct proc *p)
{
	if (p) {
		refuse(r, EEXIST, "container exists");
		return;
	}
	p = make(r);
	if (p)
		report(r, p);
	else
		refuse(r, EAGAIN, "too many containers");
}

static void do_exec(struct request *r, struct proc *p)
{
	struct proc *c = find(r->id, "");
	if (!c || c->status != CRISP_STATUS_RUNNING || p)
		refuse(r,
		       p   ? EEXIST
		       : c ? EBUSY
			   : ENOENT,
		       p ? "exec exists" : "container doesn't run");
	else if (!run_knows(r->field + 7))
		refuse(r, EINVAL, "no such program");
	else if (!(p = make(r)) || run(p) < 0)
		refuse(r, EAGAIN, "too many processes");
	else
		report(r, p);
}

static void do_start(struct request *r, struct proc *p)
{
	if (p->status != CRISP_STATUS_CREATED) {
		refuse(r, EBUSY, "container has been started");
		return;
	}
	for (int i = 0; i < 3; i++)
		if (r->std[i] >= 0) {
			shut(&p->std[i]);
			p->std[i] = r->std[i];
			r->std[i] = -1;
		}
	int ret = run(p);
	if (ret < 0)
		refuse(r, -ret, "fork");
	else
		report(r, p);
}

static void tell_exit(const struct proc *p)
{
	for (int i = 0; i < n_peers; i++)
		say(peers[i], "0" BOX_SEP "exit" BOX_SEP "%s" BOX_SEP "%s" BOX_SEP "%d" BOX_SEP "%lld", p->id,
		    p->exec_id, p->wait_status, p->at_ns);
}

static void end(struct proc *p, int wait_status)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	p->status = CRISP_STATUS_STOPPED;
	p->wait_status = wait_status;
	p->at_ns = now.tv_sec * 1000000000ll + now.tv_nsec;
	tell_exit(p);
	if (p->pid > 1)
		kill(-p->pid, SIGKILL);	/* what it has left, as with a pid namespace */
	for (int i = 0; i < PROCS_MAX && !p->exec_id[0]; i++)
		if (!strcmp(procs[i].id, p->id) && procs[i].status == CRISP_STATUS_RUNNING)
			kill(procs[i].pid, SIGKILL);
}

static void do_kill(struct request *r, struct proc *p)
{
	int signo = atoi(r->field[0]);
	if (p->status == CRISP_STATUS_STOPPED) {
		refuse(r, ESRCH, "process has gone");
		return;
	}
	if (signo < 0 || signo > SIGRTMAX) {
		refuse(r, EINVAL, "no such signal");
		return;
	}
	if (p->status == CRISP_STATUS_CREATED)
		end(p, signo);	/* it has never run */
	else
		kill(p->pid, signo);
	report(r, p);
}

static void do_delete(struct request *r, struct proc *p)
{
	bool runs = p->status == CRISP_STATUS_RUNNING || p->status == CRISP_STATUS_PAUSED;
	if (runs && r->field[0][0] != '1') {
		refuse(r, EBUSY, "container is running");
		return;
	}
	if (runs) {
		kill(-p->pid, SIGKILL);
		kill(p->pid, SIGKILL);
	}
	for (int i = 0; i < PROCS_MAX; i++)
		if (!strcmp(procs[i].id, r->id) && procs[i].exec_id[0]) {
			if (procs[i].status == CRISP_STATUS_RUNNING)
				kill(procs[i].pid, SIGKILL);
			forget(&procs[i]);
		}
	report(r, p);
	forget(p);
}

static void kill_all(void)
{
	for (int i = 0; i < PROCS_MAX; i++)
		if (procs[i].id[0] && procs[i].pid > 0 && procs[i].status != CRISP_STATUS_STOPPED)
			kill(procs[i].pid, SIGKILL);
}

static void do_pause(struct request *r, struct proc *p, bool pause)
{
	if (p->status != CRISP_STATUS_RUNNING && p->status != CRISP_STATUS_PAUSED) {
		refuse(r, EBUSY, "container doesn't run");
		return;
	}
	kill(-p->pid, pause ? SIGSTOP : SIGCONT);
	kill(p->pid, pause ? SIGSTOP : SIGCONT);	/* it may not lead its group yet */
	p->status = pause ? CRISP_STATUS_PAUSED : CRISP_STATUS_RUNNING;
	report(r, p);
}

static void serve(struct request *r)
{
	struct proc *p = find(r->id, r->exec_id), nothing = { 0 };
	const char *v = r->verb;
	if (!strcmp(v, "sandbox_delete")) {
		kill_all();
		exit(0);	/* the closed connection is the answer */
	}
	if (!strcmp(v, "sandbox_stop"))
		kill_all(), report(r, &nothing);
	else if (!strcmp(v, "create"))
		do_create(r, p);
	else if (!strcmp(v, "exec"))
		do_exec(r, p);
	else if (!p)
		refuse(r, ENOENT, "no such container");
	else if (!strcmp(v, "start"))
		do_start(r, p);
	else if (!strcmp(v, "kill"))
		do_kill(r, p);
	else if (!strcmp(v, "delete"))
		do_delete(r, p);
	else if (!strcmp(v, "exec_delete"))
		report(r, p), forget(p);
	else if (!strcmp(v, "close_stdin"))
		shut(&p->hold_in), report(r, p);
	else if (!strcmp(v, "pause") || !strcmp(v, "resume"))
		do_pause(r, p, *v == 'p');
	else if (!strcmp(v, "resize")) {
		struct winsize ws = { .ws_col = (unsigned short)atoi(r->field[0]),
				      .ws_row = (unsigned short)atoi(r->field[1] ? r->field[1]
										 : "0") };
		ioctl(p->master, TIOCSWINSZ, &ws);
		report(r, p);
	} else {
		report(r, p);	/* attach, update, stats, pids */
	}
}

static void take_fds(struct msghdr *m, struct request *r, int which)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);
	int fds[3], n = 0, at = 0;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		n = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), (size_t)n * sizeof(int));
	}
	for (int i = 0; i < 3; i++)
		r->std[i] = which & 1 << i && at < n ? fds[at++] : -1;
}

/* false: the peer has gone */
static bool handle_peer(int peer)
{
	static char text[BOX_MESSAGE_MAX + 1];
	char control[CMSG_SPACE(3 * sizeof(int))];
	struct iovec iov = { text, BOX_MESSAGE_MAX };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(peer, &m, MSG_CMSG_CLOEXEC);
	if (n <= 0)
		return n < 0 && errno == EINTR;
	text[n] = 0;
	struct request r = { .peer = peer };
	char *at = text, *head[5] = { 0 };
	for (int i = 0; i < 5; i++)
		if (!(head[i] = strsep(&at, BOX_SEP)))
			return true;
	r.tag = head[0];
	r.verb = head[1];
	r.id = head[2];
	r.exec_id = head[3];
	for (int i = 0; i < FIELDS_MAX && (i == 0 || at); i++)
		r.field[i] = at ? strsep(&at, BOX_SEP) : text + n;
	take_fds(&m, &r, atoi(head[4]));
	serve(&r);
	for (int i = 0; i < 3; i++)
		shut(&r.std[i]);
	return true;
}

/* -- the loop -- */

/* From the engine's tty to its FIFO, as much as there is and as goes in. */
static void drain(struct proc *p)
{
	char part[PIPE_BUF];
	struct pollfd ready[] = { { .fd = p->master, .events = POLLIN }, { .fd = p->hold_err, .events = POLLOUT } };
	for (;;) {
		bool any = p->master >= 0 && poll(ready, 2, 0) >= 1 && ready[0].revents & POLLIN;
		p->stuffed = any && !(ready[1].revents & POLLOUT);
		if (!any || p->stuffed)
			return;
		ssize_t n = read(p->master, part, sizeof(part));
		if (n <= 0 || write(p->hold_err, part, (size_t)n) < 0)
			return;
	}
}

static void feed(struct proc *p)
{
	char part[4096];
	ssize_t n = read(p->in, part, sizeof(part));
	if (n <= 0 || write(p->master, part, (size_t)n) < 0)
		shut(&p->in);
}

static void reap(void)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (int i = 0; i < PROCS_MAX; i++) {
			struct proc *p = &procs[i];
			if (!p->id[0] || p->pid != pid)
				continue;
			drain(p);
			shut_stdio(p);	/* first the end of its output, then its exit */
			end(p, status);
		}
}

static void loop(int listener, int signals)
{
	struct pollfd f[2 + PEERS_MAX + 2 * PROCS_MAX];
	struct signalfd_siginfo si;
	for (;;) {
		int n = 0;
		f[n++] = (struct pollfd){ .fd = listener, .events = POLLIN };
		f[n++] = (struct pollfd){ .fd = signals, .events = POLLIN };
		for (int i = 0; i < n_peers; i++)
			f[n++] = (struct pollfd){ .fd = peers[i], .events = POLLIN };
		int tty = n;
		for (int i = 0; i < PROCS_MAX; i++) {
			bool live = procs[i].id[0];
			f[n++] = !live ? (struct pollfd){ .fd = -1 }
				 : procs[i].stuffed ? (struct pollfd){ .fd = procs[i].hold_err, .events = POLLOUT }
						    : (struct pollfd){ .fd = procs[i].master, .events = POLLIN };
			f[n++] = (struct pollfd){ .fd = live && procs[i].master >= 0 ? procs[i].in
										      : -1,
						   .events = POLLIN };
		}
		if (poll(f, (nfds_t)n, -1) < 0 && errno != EINTR)
			exit(1);
		for (int i = 0; i < PROCS_MAX; i++) {
			if (f[tty + 2 * i].revents & (POLLIN | POLLOUT))
				drain(&procs[i]);
			if (f[tty + 2 * i + 1].revents)
				feed(&procs[i]);
		}
		if (f[1].revents && read(signals, &si, sizeof(si)) > 0)
			reap();
		int before = n_peers;
		for (int i = before - 1; i >= 0; i--)
			if (f[2 + i].revents && !handle_peer(peers[i])) {
				close(peers[i]);
				peers[i] = peers[--n_peers];
			}
		if (f[0].revents && n_peers < PEERS_MAX) {
			int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
			if (peer >= 0)
				peers[n_peers++] = peer;
		}
	}
}

static int fail(const char *what)
{
	dprintf(3, "{\"level\":\"error\",\"msg\":\"%s: %s\"}\n", what, strerror(errno));
	return 1;
}

int box_main(const char *path, const char *pid_file)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	unlink(path);
	if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(listener, 8) < 0)
		return fail(path);
	pid_t pid = fork();
	if (pid < 0)
		return fail("fork");
	if (pid) {
		FILE *f = fopen(pid_file, "we");
		return f && fprintf(f, "%d", pid) > 0 && fclose(f) == 0 ? 0 : fail(pid_file);
	}
	setsid();
	close(3);
	sigset_t chld;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	loop(listener, signalfd(-1, &chld, SFD_CLOEXEC));
	return 0;
}

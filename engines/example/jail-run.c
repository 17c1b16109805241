/*
 * jail-run: makes the processes of the engine jail.
 *
 *	jail-run create BUNDLE RECORD GO PID_FILE	a container; it waits for a byte from the FIFO GO
 *	jail-run exec PID PID_FILE			a further process, its JSON on fd 4
 *	jail-run version
 *
 * It leaves as soon as the process is there, which so becomes a child of crisp.  What goes wrong is
 * a line {"level":"error","msg":...} on fd 3.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <dirent.h>
#include <linux/openat2.h>
#include <yajl/yajl_tree.h>

enum { LOG_FD = 3, PROCESS_FD = 4, WORDS_MAX = 4096, TEXT_MAX = 4 << 20 };

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *fmt, ...)
{
	char text[300];
	va_list ap;
	va_start(ap, fmt);
	int saved = errno;
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n > 0 && text[n < 299 ? n - 1 : 298] == ':')
		snprintf(text + n, sizeof(text) - (size_t)n, " %s", strerror(saved));
	for (char *c = text; *c; c++)
		if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ')
			*c = '\'';
	dprintf(LOG_FD, "{\"level\":\"error\",\"msg\":\"%s\"}\n", text);
	exit(1);
}

/* -- JSON -- */

static yajl_val get(yajl_val v, const char *name)
{
	for (size_t i = 0; YAJL_IS_OBJECT(v) && i < v->u.object.len; i++)
		if (!strcmp(v->u.object.keys[i], name))
			return v->u.object.values[i];
	return NULL;
}

static const char *text_of(yajl_val v, const char *name, const char *missing)
{
	yajl_val s = get(v, name);
	return YAJL_IS_STRING(s) ? s->u.string : missing;
}

static long long number_of(yajl_val v, const char *name)
{
	yajl_val n = get(v, name);
	return YAJL_IS_INTEGER(n) ? YAJL_GET_INTEGER(n) : 0;
}

static size_t length(yajl_val v)
{
	return YAJL_IS_ARRAY(v) ? v->u.array.len : 0;
}

static char **strings_of(yajl_val v, const char *name)
{
	yajl_val list = get(v, name);
	char **out = calloc(length(list) + 1, sizeof(*out));
	size_t n = 0;
	for (size_t i = 0; out && i < length(list); i++)
		if (YAJL_IS_STRING(list->u.array.values[i]))
			out[n++] = list->u.array.values[i]->u.string;
	if (!out)
		die("no memory");
	return out;
}

static yajl_val read_json(int fd, const char *what)
{
	char *text = malloc(TEXT_MAX + 1);
	size_t len = 0;
	if (fd < 0 || !text)
		die("open %s:", what);
	for (ssize_t n; len < TEXT_MAX && (n = read(fd, text + len, TEXT_MAX - len)) > 0;)
		len += (size_t)n;
	text[len] = 0;
	char why[200] = "";
	yajl_val v = yajl_tree_parse(text, why, sizeof(why));
	if (!YAJL_IS_OBJECT(v))
		die("%s is no JSON object: %s", what, why);
	free(text);
	return v;
}

/* -- mounts: targets are looked up inside the root, whatever its symlinks say -- */

static int open_inside(int root, const char *path, int flags)
{
	struct open_how how = { .flags = (unsigned)(flags | O_CLOEXEC), .resolve = RESOLVE_IN_ROOT };
	return (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
}

/* path as an fd, made if it isn't there: a folder, or a file like the source. */
static int target_inside(int root, const char *path, bool folder)
{
	char part[4096];
	int at = dup(root);
	snprintf(part, sizeof(part), "%s", path);
	for (char *save, *name = strtok_r(part, "/", &save), *next; name && at >= 0; name = next) {
		char so_far[4096];
		next = strtok_r(NULL, "/", &save);
		if (!next && !folder)
			close(openat(at, name, O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644));
		else
			mkdirat(at, name, 0755);
		snprintf(so_far, sizeof(so_far), "%.*s", (int)(name + strlen(name) - part), path + (path[0] == '/'));
		close(at);
		at = open_inside(root, so_far, O_PATH);
	}
	return at;
}

struct flag {
	const char *name;
	unsigned long on;
};
static const struct flag flags[] = {
	{ "ro", MS_RDONLY }, { "nosuid", MS_NOSUID }, { "nodev", MS_NODEV }, { "noexec", MS_NOEXEC },
	{ "relatime", MS_RELATIME }, { "noatime", MS_NOATIME }, { "strictatime", MS_STRICTATIME }, { "nodiratime", MS_NODIRATIME }, { "bind", MS_BIND }, { "rbind", MS_BIND | MS_REC },
	{ "rw", 0 }, { "rprivate", 0 }, { "private", 0 }, { "rslave", 0 }, { "rshared", 0 }, { "shared", 0 }, { "slave", 0 },
};

static unsigned long read_flags(char *const *options, char *data, size_t cap)
{
	unsigned long on = 0;
	for (; *options; options++) {
		size_t i = 0, n = sizeof(flags) / sizeof(flags[0]), len = strlen(data);
		while (i < n && strcmp(flags[i].name, *options))
			i++;
		if (i < n)
			on |= flags[i].on;
		else
			snprintf(data + len, cap - len, "%s%s", len ? "," : "", *options);
	}
	return on;
}

static void mount_one(int root, yajl_val m)
{
	char data[1024] = "", at[64];
	const char *type = text_of(m, "type", "bind"), *source = text_of(m, "source", type);
	const char *target = text_of(m, "destination", "");
	unsigned long on = read_flags(strings_of(m, "options"), data, sizeof(data));
	struct stat st;
	if (!strncmp(type, "cgroup", 6))
		return;		/* README.md: not seen from inside */
	bool folder = !(on & MS_BIND) || (stat(source, &st) == 0 && S_ISDIR(st.st_mode));
	int fd = target_inside(root, target, folder);
	if (fd < 0)
		die("mount target %s:", target);
	snprintf(at, sizeof(at), "/proc/self/fd/%d", fd);
	if (mount(source, at, on & MS_BIND ? NULL : type, on & MS_BIND ? on & (MS_BIND | MS_REC) : on, data) < 0)
		die("mount %s of type %s at %s:", source, type, target);
	close(fd);
	if (on & MS_BIND && on & ~(unsigned long)(MS_BIND | MS_REC)) {
		fd = open_inside(root, target, O_PATH);	/* what is on top of it now */
		snprintf(at, sizeof(at), "/proc/self/fd/%d", fd);
		if (mount(NULL, at, NULL, MS_REMOUNT | (on & ~(unsigned long)MS_REC), NULL) < 0)
			die("make %s read-only:", target);
		close(fd);
	}
}

static void make_devices(int root)
{
	static const struct { const char *name; unsigned major, minor; } nodes[] = {
		{ "null", 1, 3 }, { "zero", 1, 5 }, { "full", 1, 7 }, { "random", 1, 8 }, { "urandom", 1, 9 }, { "tty", 5, 0 },
	};
	int dev = open_inside(root, "/dev", O_PATH | O_DIRECTORY);
	for (size_t i = 0; dev >= 0 && i < sizeof(nodes) / sizeof(nodes[0]); i++)
		if (mknodat(dev, nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)) < 0 &&
		    errno != EEXIST)
			die("make /dev/%s:", nodes[i].name);
	if (dev >= 0 && symlinkat("/proc/self/fd", dev, "fd") < 0 && errno != EEXIST)
		die("make /dev/fd:");
	close(dev);
}

static void enter_root(yajl_val spec)
{
	const char *path = text_of(get(spec, "root"), "path", "");
	yajl_val mounts = get(spec, "mounts");
	umask(0);
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 || mount(path, path, NULL, MS_BIND | MS_REC, NULL) < 0)
		die("root %s:", path);
	int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		die("root %s:", path);
	for (size_t i = 0; i < length(mounts); i++)
		mount_one(root, mounts->u.array.values[i]);
	make_devices(root);
	umask(022);
	if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		die("change the root to %s:", path);
	close(root);
}

/* -- namespaces and cgroups -- */

static int kind_of(const char *type)
{
	static const struct { const char *name; int flag; } kinds[] = {
		{ "pid", CLONE_NEWPID }, { "mount", CLONE_NEWNS }, { "ipc", CLONE_NEWIPC }, { "uts", CLONE_NEWUTS },
		{ "network", CLONE_NEWNET }, { "cgroup", CLONE_NEWCGROUP },
	};
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(type, kinds[i].name))
			return kinds[i].flag;
	die("namespace type %s is not known here", type);
}

/* Join those that have a path; the others are made. */
static void enter_namespaces(yajl_val spec)
{
	yajl_val list = get(get(spec, "linux"), "namespaces");
	int made = 0;
	for (size_t i = 0; i < length(list); i++) {
		yajl_val n = list->u.array.values[i];
		int kind = kind_of(text_of(n, "type", ""));
		const char *path = text_of(n, "path", NULL);
		int fd = path && *path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
		if (path && *path && (fd < 0 || setns(fd, kind) < 0))
			die("join %s:", path);
		if (fd >= 0)
			close(fd);
		else
			made |= kind;
	}
	if (unshare(made | CLONE_NEWNS) < 0)
		die("make namespaces:");
	const char *name = text_of(spec, "hostname", NULL);
	if (name && made & CLONE_NEWUTS && sethostname(name, strlen(name)) < 0)
		die("hostname %s:", name);
}

static void enter_cgroup(const char *hierarchy, const char *path)
{
	char at[4096];
	int n = snprintf(at, sizeof(at), "%s", hierarchy);
	for (const char *part = path; *part && n < (int)sizeof(at) - 300;) {
		size_t len = strcspn(part + 1, "/") + 1;
		n += snprintf(at + n, sizeof(at) - (size_t)n, "%.*s", (int)(len < 256 ? len : 256), part);
		mkdir(at, 0755);
		part += len;
	}
	snprintf(at + n, sizeof(at) - (size_t)n, "/cgroup.procs");
	int fd = open(at, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;		/* no such hierarchy, or a file of cgroup v2 */
	if (write(fd, "0", 1) < 0 && errno != EOPNOTSUPP)
		dprintf(LOG_FD, "{\"level\":\"warning\",\"msg\":\"%s: %s\"}\n", at, strerror(errno));
	close(fd);
}

/* Where crisp counts what it uses; in each hierarchy that has it. */
static void enter_cgroups(const char *path)
{
	struct stat v2;
	if (!path || path[0] != '/' || strstr(path, ".."))
		return;
	if (stat("/sys/fs/cgroup/cgroup.controllers", &v2) == 0) {
		enter_cgroup("/sys/fs/cgroup", path);
		return;
	}
	DIR *d = opendir("/sys/fs/cgroup");
	for (struct dirent *ent; d && (ent = readdir(d));) {
		char at[300];
		snprintf(at, sizeof(at), "/sys/fs/cgroup/%s", ent->d_name);
		if (ent->d_name[0] != '.' && ent->d_type == DT_DIR)
			enter_cgroup(at, path);
	}
	if (d)
		closedir(d);
}

/* -- the process -- */

static void become_user(yajl_val process)
{
	yajl_val user = get(process, "user"), more = get(user, "additionalGids");
	gid_t groups[256];
	size_t n = 0;
	for (; n < length(more) && n < 256; n++)
		groups[n] = (gid_t)YAJL_GET_INTEGER(more->u.array.values[n]);
	if (setgroups(n, groups) < 0 || setgid((gid_t)number_of(user, "gid")) < 0 ||
	    setuid((uid_t)number_of(user, "uid")) < 0)
		die("change the user:");
	if (YAJL_IS_TRUE(get(process, "noNewPrivileges")))
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* Says on fd (none: stderr) what kept it from it. */
static void run_process(yajl_val process, int fd)
{
	char **args = strings_of(process, "args");
	become_user(process);
	if (chdir(text_of(process, "cwd", "/")) == 0 && args[0]) {
		environ = strings_of(process, "env");
		signal(SIGPIPE, SIG_DFL);
		execvp(args[0], args);
	}
	int code = errno;
	if (fd >= 0 && write(fd, &code, sizeof(code)) < 0)
		_exit(126);
	if (fd < 0)
		dprintf(2, "jail-run: %s: %s\n", args[0] ? args[0] : "no args", strerror(code));
	_exit(127);
}

/* Opened before the root changes. */
static int open_pid_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		die("write %s:", path);
	return fd;
}

static void write_pid(int fd, pid_t pid)
{
	if (dprintf(fd, "%d", pid) < 0) {
		kill(pid, SIGKILL);
		die("write the pid:");
	}
	close(fd);
}

/* The child reports its errno on the pipe, or closes it when all is well. */
static int read_report(int fd)
{
	int code = 0;
	ssize_t n = read(fd, &code, sizeof(code));
	close(fd);
	return n == sizeof(code) ? code : 0;
}

static int create(char **arg)
{
	char path[4096], byte;
	int ready[2];
	snprintf(path, sizeof(path), "%s/config.json", arg[0]);
	yajl_val spec = read_json(open(path, O_RDONLY | O_CLOEXEC), path), process = get(spec, "process");
	if (!length(get(process, "args")))
		die("config.json: process.args is empty");
	if ((unlink(arg[2]) < 0 && errno != ENOENT) || mkfifo(arg[2], 0600) < 0 || pipe2(ready, O_CLOEXEC) < 0)
		die("make %s:", arg[2]);
	int go = open(arg[2], O_RDWR | O_CLOEXEC);	/* so that it has a reader from now on */
	int record = open(arg[1], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (go < 0 || record < 0)
		die("write %s:", arg[1]);
	close(record);
	int pid_file = open_pid_file(arg[3]);
	enter_cgroups(text_of(get(spec, "linux"), "cgroupsPath", NULL));
	enter_namespaces(spec);
	pid_t pid = fork();
	if (pid < 0)
		die("fork:");
	if (!pid) {
		setsid();
		close(ready[0]);
		enter_root(spec);
		if (write(ready[1], "", 1) < 0)
			_exit(1);
		close(ready[1]);
		close(LOG_FD);
		while (read(go, &byte, 1) < 0)
			;
		run_process(process, -1);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		exit(1);	/* it has said why */
	write_pid(pid_file, pid);
	return 0;
}

static int join(char **arg)
{
	static const int kinds = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWCGROUP;
	int report[2], fd = (int)syscall(SYS_pidfd_open, atoi(arg[0]), 0);
	yajl_val process = read_json(PROCESS_FD, "the process");
	close(PROCESS_FD);
	if (!length(get(process, "args")))
		die("process.args is empty");
	int pid_file = open_pid_file(arg[1]);
	if (fd < 0 || pipe2(report, O_CLOEXEC) < 0 || setns(fd, kinds) < 0)
		die("join process %s:", arg[0]);
	close(fd);
	pid_t pid = fork();
	if (pid < 0)
		die("fork:");
	if (!pid) {
		setsid();
		close(report[0]);
		fcntl(LOG_FD, F_SETFD, FD_CLOEXEC);
		run_process(process, report[1]);
	}
	close(report[1]);
	errno = read_report(report[0]);
	if (errno)
		die("%s:", *strings_of(process, "args"));
	write_pid(pid_file, pid);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "version"))
		return puts("1.0") < 0;
	if (argc == 6 && !strcmp(argv[1], "create"))
		return create(argv + 2);
	if (argc == 4 && !strcmp(argv[1], "exec"))
		return join(argv + 2);
	fprintf(stderr, "usage: jail-run create BUNDLE RECORD GO PID_FILE | exec PID PID_FILE | version\n");
	return 2;
}

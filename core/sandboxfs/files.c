/*
 * resolv.conf, hosts and hostname of a pod.  The host's own files are known from the start-up and
 * from the fds that each `crisp-work ns` brings along: the loop opens none of them.
 */
#include "core/sandboxfs/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/idmap.h"
#include "core/sandboxfs/sandboxfs.h"

enum { HOST_FILE_MAX = 1 << 20 };

/* A file of the host as it was last seen. */
struct host_file {
	const char *path;
	struct buf text;
	struct stat st;
	bool known;
};

static struct host_file host_hosts = { .path = "/etc/hosts" };
static struct host_file host_resolv_conf = { .path = "/etc/resolv.conf" };

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void see(struct host_file *f, int fd)
{
	struct stat st;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > HOST_FILE_MAX)
		return;
	if (f->known && same_file(&st, &f->st))
		return;
	buf_free(&f->text);
	char *room = buf_room(&f->text, (size_t)st.st_size + 1);
	ssize_t n = pread(fd, room, (size_t)st.st_size, 0);
	f->text.len = n > 0 ? (size_t)n : 0;
	f->text.data[f->text.len] = 0;
	f->st = st;
	f->known = true;
}

void files_see(char letter, int fd)
{
	see(letter == 'h' ? &host_hosts : &host_resolv_conf, fd);
}

void files_look(void)
{
	struct host_file *const all[] = { &host_hosts, &host_resolv_conf };
	for (size_t i = 0; i < 2; i++) {
		auto_close int fd = open(all[i]->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd >= 0)
			see(all[i], fd);
	}
}

/* -- writing -- */

/* A value is one word: more could smuggle a line of its own in. */
static int add_words(struct buf *b, const char *key, const char *const *words, size_t n,
		     const char *field, struct err *e)
{
	if (!n)
		return 0;
	buf_adds(b, key);
	for (size_t i = 0; i < n; i++) {
		if (!words[i][0])
			return err_set(e, EINVAL, "dns_config.%s[%zu]: empty", field, i);
		for (const char *c = words[i]; *c; c++)
			if ((unsigned char)*c <= ' ' || *c == 0x7f)
				return err_set(e, EINVAL, "dns_config.%s[%zu]: not one word", field,
					       i);
		buf_printf(b, " %s", words[i]);
	}
	buf_adds(b, "\n");
	return 0;
}

static int resolv_conf(struct buf *b, const struct sandbox_dns *dns, struct err *e)
{
	if (!dns) {
		buf_add(b, host_resolv_conf.text.data, host_resolv_conf.text.len);
		return 0;
	}
	int ret = add_words(b, "search", dns->searches, dns->n_searches, "searches", e);
	for (size_t i = 0; i < dns->n_servers && ret == 0; i++)
		ret = add_words(b, "nameserver", dns->servers + i, 1, "servers", e);
	return ret < 0 ? ret : add_words(b, "options", dns->options, dns->n_options, "options", e);
}

static void hosts(struct buf *b, const char *add)
{
	buf_add(b, host_hosts.text.data, host_hosts.text.len);
	if (b->len && b->data[b->len - 1] != '\n')
		buf_adds(b, "\n");
	if (add)
		buf_printf(b, "%s\n", add);
}

static int replace(int dir, const char *name, struct buf *b, const struct idmap *owner, struct err *e)
{
	int ret = file_replace(dir, name, b->len ? b->data : "", b->len, 0644, e);
	b->len = 0;
	if (ret == 0 && owner && fchownat(dir, name, owner->uid, owner->gid, AT_SYMLINK_NOFOLLOW) < 0)
		ret = err_sys(e, "give %s to user %u", name, owner->uid);
	return ret;
}

int sandboxfs_write_files(const char *pod_dir, const char *hostname, const struct sandbox_dns *dns,
			  const char *add_host, const struct idmap *owner, struct err *e)
{
	char own_name[65] = "";
	auto_close int dir = open(pod_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_sys(e, "open %s", pod_dir);
	if (!host_hosts.known || !host_resolv_conf.known)
		files_look();
	if (!hostname && gethostname(own_name, sizeof(own_name) - 1) == 0)
		hostname = own_name;
	struct buf b = { 0 };
	int ret = resolv_conf(&b, dns, e);
	if (ret == 0)
		ret = replace(dir, "resolv.conf", &b, owner, e);
	if (ret == 0) {
		hosts(&b, add_host);
		ret = replace(dir, "hosts", &b, owner, e);
	}
	if (ret == 0) {
		buf_printf(&b, "%s\n", hostname ? hostname : "");
		ret = replace(dir, "hostname", &b, owner, e);
	}
	buf_free(&b);
	return err_wrap(e, ret, "write the pod's files");
}

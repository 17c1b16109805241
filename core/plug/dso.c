/* Opening a plugin's file: see the header. */
#include "core/plug/dso.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

/* How every plugin's description begins. */
struct desc_head {
	uint32_t magic, size;
	uint16_t major, minor;
};

static int check_file(const char *path, struct err *e)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return err_sys(e, "open plugin %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, EPERM, "plugin %s is not a regular file", path);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return err_set(e, EPERM,
			       "plugin %s belongs to uid %u, neither root nor the daemon's", path,
			       st.st_uid);
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return err_set(e, EPERM, "plugin %s may be written by group or world (mode %04o)",
			       path, st.st_mode & 07777);
	return 0;
}

int dso_open(const char *path, const struct module_kind *kind, const void **desc, struct err *e)
{
	int ret = check_file(path, e);
	if (ret < 0)
		return ret;
	void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!so)
		return err_set(e, EINVAL, "%s", dlerror());
	const void *(*get)(void);
	*(void **)&get = dlsym(so, kind->symbol);
	if (!get) {
		dlclose(so);
		return err_set(e, EINVAL, "%s has no symbol %s", path, kind->symbol);
	}
	const struct desc_head *head = get();
	if (!head || head->magic != kind->magic)
		return err_set(e, EINVAL, "%s: %s() returned no description of this kind", path,
			       kind->symbol);
	if (head->major != kind->major)
		return err_set(e, EINVAL, "%s is of version %u.%u, wanted is %u", path, head->major,
			       head->minor, kind->major);
	if (head->size < kind->min_size)
		return err_set(e, EINVAL, "%s describes itself in %u bytes, wanted are %zu", path,
			       head->size, kind->min_size);
	*desc = head;
	return 0;
}

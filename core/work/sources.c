/*
 * Mount sources.  They are the users' volumes: any of these calls may hang as long as a server
 * somewhere does not answer, which is why a worker makes them.
 */
#include "core/work/sources.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/file.h"
#include "core/base/pool.h"
#include "core/base/utf8.h"
#include "core/work/mountinfo.h"

int source_resolve(struct pool *p, const char *host_path, struct source *out, struct err *e)
{
	struct stat st;
	*out = (struct source){ 0 };
	auto_free char *real = realpath(host_path, NULL);
	if (!real && errno == ENOENT) {
		/* a dangling symlink ends here: there is a file of that name */
		int ret = file_mkdirs(host_path, 0755, e);
		if (ret < 0)
			return ret;
		out->made = true;
		real = realpath(host_path, NULL);
	}
	if (!real)
		return err_sys(e, "resolve");
	if (stat(real, &st) < 0)
		return err_sys(e, "stat %s", real);
	if (utf8_valid(real, strlen(real)) != strlen(real))
		return err_set(e, EINVAL, "leads to a path that is not UTF-8, which an OCI configuration can't carry");
	out->path = pool_strdup(p, real);
	out->is_dir = S_ISDIR(st.st_mode);
	return 0;
}

int source_check_peers(const struct mountinfos *all, const char *path, enum source_peers want, struct err *e)
{
	if (want == SOURCE_ANY)
		return 0;
	const struct mountinfo *m = mountinfo_of(all, path);
	if (m && (m->shared || (m->slave && want == SOURCE_SLAVE)))
		return 0;
	return err_set(e, EINVAL, "%s lies on the mount %s, which is not %s", path, m ? m->point : "(unknown)",
		       want == SOURCE_SHARED ? "shared" : "shared or a slave");
}

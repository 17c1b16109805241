/* Words for tables. */
#include "tools/crispctl/show.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/pool.h"

const char *show_id(struct pool *p, const char *id)
{
	if (!id)
		return "";
	if (!strncmp(id, "sha256:", 7))
		id += 7;
	return pool_printf(p, "%.*s", SHOW_ID_LEN, id);
}

const char *show_age(struct pool *p, int64_t created_ns)
{
	if (created_ns <= 0)
		return "";
	int64_t s = (clock_real_ns() - created_ns) / 1000000000;
	if (s < 0)
		s = 0;
	if (s < 120)
		return pool_printf(p, "%" PRId64 "s", s);
	if (s < 120 * 60)
		return pool_printf(p, "%" PRId64 "m", s / 60);
	if (s < 48 * 3600)
		return pool_printf(p, "%" PRId64 "h", s / 3600);
	return pool_printf(p, "%" PRId64 "d", s / 86400);
}

const char *show_bytes(struct pool *p, uint64_t n)
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB", "EB" };
	double v = n;
	int u = 0;
	for (; v >= 1000 && u < 6; u++)
		v /= 1000;
	return pool_printf(p, u && v < 100 ? "%.1f%s" : "%.0f%s", v, units[u]);
}

const char *show_state(Cri__ContainerState s)
{
	switch (s) {
	case CRI__CONTAINER_STATE__CONTAINER_CREATED:
		return "Created";
	case CRI__CONTAINER_STATE__CONTAINER_RUNNING:
		return "Running";
	case CRI__CONTAINER_STATE__CONTAINER_EXITED:
		return "Exited";
	default:
		return "Unknown";
	}
}

const char *show_pod_state(Cri__PodSandboxState s)
{
	return s == CRI__POD_SANDBOX_STATE__SANDBOX_READY ? "Ready" : "NotReady";
}

static bool is_bare_id(const char *name)
{
	size_t n = strspn(name, "0123456789abcdef");
	return !strncmp(name, "sha256:", 7) || (n == 64 && !name[n]);
}

const char *show_image(struct pool *p, const Cri__Container *c,
		       const Cri__ListImagesResponse *images)
{
	const char *name = c->image && *c->image->user_specified_image
				   ? c->image->user_specified_image
			   : c->image && *c->image->image ? c->image->image
							  : c->image_ref;
	if (!is_bare_id(name))
		return name;
	for (size_t i = 0; i < images->n_images; i++) {
		const Cri__Image *image = images->images[i];
		if (image->n_repo_tags && !strcmp(show_id(p, image->id), show_id(p, name)))
			return image->repo_tags[0];
	}
	return show_id(p, name);
}
